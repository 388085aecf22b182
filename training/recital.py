"""Does a model know its texts by heart? Given how a document begins, does it write the rest of it, and then stop?

python -m training.recital RUN               # of the text that the run kept: the shares that came back, and that ended
python -m training.recital RUN CORPUS        # of another text, cleaned as the run's
python -m training.recital RUN --failures    # and which did not, each with the place where it parts from the text
python -m training.recital RUN --most 60     # of so many of them, spread evenly

Of a run that read its text as one stream the lines are asked for; a line ends where the next one begins.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm

from model import GPT, Tokenizer, open_checkpoint
from model.gpt import KVCache
from training.cleaning import clean
from training.config import Recipe
from training.corpus import read_corpora
from training.data import documents_of
from training.kept import read_text
from training.origin import add_reading_flags, reading_given
from training.runs import RunFolder

MARGIN = 8  # tokens more than a document has, in which a model may come to its end


@dataclass(frozen=True)
class Recital:
    """How documents came back. asked: how many were long enough to be asked for; exact: the share of those that came
    back to the letter and then ended; stopped: the share that came to an end at all (a line: to its line break), at
    most MARGIN tokens too late."""

    asked: int
    exact: float
    stopped: float


@dataclass(frozen=True)
class Outcome:
    """One document as a model wrote it on. given: its beginning; expected: what follows there; ended: whether the model
    stopped by itself; longer: whether it has more tokens than the model sees at once, so that it cannot come back: a
    document is learnt from its beginning on, while over a stream the window moves on."""

    given: str
    expected: str
    written: str
    ended: bool
    longer: bool

    @property
    def exact(self) -> bool:
        """Whether it came back to the letter, and then ended."""
        return self.ended and self.written == self.expected

    @property
    def same(self) -> int:
        """Characters that it shares with what follows in the document, before the two part."""
        pairs = zip(self.written, self.expected, strict=False)
        return next((at for at, (ours, theirs) in enumerate(pairs) if ours != theirs), self._shorter)

    @property
    def _shorter(self) -> int:
        return min(len(self.written), len(self.expected))

    def parted(self, around: int = 60) -> str:
        """Three lines for a console: how it began, what was written and what stands there, from where they part."""
        end = "(stopped here)" if self.ended else "(went no further)"
        before = (self.given + self.expected[: self.same])[-around:]
        ours, theirs = self.written[self.same :][:around], self.expected[self.same :][:around]
        lines = (f"… {before}", f"    wrote: {ours or end}", f"    text:  {theirs or '(ends here)'}")
        return "\n".join(line.replace("\n", "↵") for line in lines)


@dataclass(frozen=True)
class Question:
    """A document to ask for. ids: what the model is given; rest: tokens that follow in the document; lines: its end is
    that of its line, not the end-of-text token."""

    given: str
    expected: str
    ids: tuple[int, ...]
    rest: int
    lines: bool

    @classmethod
    def of(
        cls, tokenizer: Tokenizer, document: str, words: int, start_mark: bool = False, lines: bool = False
    ) -> Question | None:
        """The question for a document; None where it has `words` words or fewer. Raises UnknownText.

        start_mark: documents began with the end-of-text token in training. lines: it is a line of a text, and comes
        after a line break.
        """
        found = _beginning(document, words)
        if found is None:
            return None
        cut, mark = found.end(), tokenizer.end_of_text
        ids = tokenizer.encode(document[:cut])
        rest = len(tokenizer.encode(document)) - len(ids)
        before = tokenizer.encode_known("\n").ids if lines else [mark] if start_mark and mark is not None else []
        return cls(document[:cut], document[cut:], (*before, *ids), rest, lines)


def recite(
    model: GPT, tokenizer: Tokenizer, documents: Sequence[str], words: int = 6, start_mark: bool = False
) -> Recital:
    """Let a model continue the first `words` words of each document, always with its likeliest token (top-k 1).

    start_mark: documents began with the end-of-text token in training. Documents of `words` words or fewer are not
    asked for. Raises ValueError where none is left.
    """
    return counted(list(recitals(model, tokenizer, documents, words, start_mark)), words)


def counted(found: Sequence[Outcome], words: int = 6) -> Recital:
    """The shares of some outcomes. Raises ValueError where there are none."""
    if not found:
        raise ValueError(f"no document has more than {words} words: ask with fewer.")
    asked = len(found)
    return Recital(asked, sum(one.exact for one in found) / asked, sum(one.ended for one in found) / asked)


def recitals(
    model: GPT,
    tokenizer: Tokenizer,
    documents: Iterable[str],
    words: int = 6,
    start_mark: bool = False,
    lines: bool = False,
) -> Iterator[Outcome]:
    """How each document came back that is long enough to be asked for; see `recite`, and Question for `lines`."""
    for document in documents:
        question = Question.of(tokenizer, document, words, start_mark, lines)
        outcome = write_on(model, tokenizer, question, [], None) if question is not None else None
        if outcome is not None:
            yield outcome


def write_on(
    model: GPT, tokenizer: Tokenizer, question: Question, written: list[int], count: int | None
) -> Outcome | None:
    """Append up to `count` tokens more (None: all) to what the model has `written`; the outcome once that is whole."""
    most = question.rest + MARGIN
    if not question.lines:
        most = min(most, max(1, model.config.context - len(question.ids) + 1))
    portion = most - len(written) if count is None else min(count, most - len(written))
    more, ended = _continue(model, [*question.ids, *written], portion, tokenizer.end_of_text, question.lines)
    written += more
    text = tokenizer.decode(written, after=question.ids[-1:])
    if question.lines and "\n" in text:
        text, ended = text[: text.index("\n")], True
    if not ended and len(written) < most and len(more) == portion:
        return None
    longer = not question.lines and len(question.ids) + question.rest > model.config.context
    return Outcome(question.given, question.expected, text, ended, longer)


def spread(documents: Sequence[str], most: int, words: int = 6) -> list[str]:
    """Up to `most` documents of more than `words` words, evenly spread: the first such of each of `most` stretches."""
    chosen: list[str] = []
    stretches = min(most, len(documents))
    for number in range(stretches):
        stretch = range(number * len(documents) // stretches, (number + 1) * len(documents) // stretches)
        chosen += next(([documents[i]] for i in stretch if _beginning(documents[i], words)), [])
    return chosen


def _beginning(document: str, words: int) -> re.Match[str] | None:
    """The first words of a document that has more of them."""
    return re.match(rf"\s*(?:\S+\s+){{{words - 1}}}\S+(?=\s+\S)", document)


@torch.no_grad()
def _continue(model: GPT, ids: list[int], count: int, end: int | None, slides: bool) -> tuple[list[int], bool]:
    """The likeliest continuation, without its end mark, and whether that mark came; as far as the context reaches, or
    on and on with the last tokens that it holds."""
    context, begun = model.config.context, len(ids)
    cache, window = KVCache(model.config, device=model.device), ids[-context:]
    while len(ids) - begun < count:
        if cache.length + len(window) > context:
            if not slides:
                break
            cache, window = KVCache(model.config, device=model.device), ids[-context:]
        token = int(model(torch.tensor([window], device=model.device), cache)[0, -1].argmax())
        if token == end:
            return ids[begun:], True
        ids.append(token)
        window = [token]
    return ids[begun:], False


def main(argv: list[str] | None = None) -> int:
    """Run the program; 0 when all went well, 2 with a sentence on stderr when something was wrong."""
    p = argparse.ArgumentParser(prog="python -m training.recital", description="Ask a run for its texts by heart.")
    p.add_argument("run", help="a run folder")
    p.add_argument("corpus", nargs="?", help="a text to ask for (default: what it learnt from, as the run kept it)")
    add_reading_flags(p)
    p.add_argument("--failures", action="store_true", help="list the texts that did not come back, and where they part")
    p.add_argument("--words", type=int, default=6, help="words that each document is begun with (default 6)")
    p.add_argument("--most", type=int, help="ask for no more than so many, spread evenly (default: all)")
    options = p.parse_args(argv)
    try:
        if options.words < 1:
            raise ValueError(f"--words is {options.words}; begin with at least 1.")
        if options.most is not None and options.most < 1:
            raise ValueError(f"--most is {options.most}; ask for at least 1.")
        recipe = RunFolder(Path(options.run)).info().recipe
        checkpoint = open_checkpoint(options.run)
        assert checkpoint.tokenizer is not None  # runs have one
        documents = _documents(options, recipe)
        if options.most is not None:
            documents = spread(documents, options.most, options.words)
        lines = recipe.cut == "blocks"
        asking = recitals(
            checkpoint.model, checkpoint.tokenizer, tqdm(documents, unit="line" if lines else "document"),
            options.words, recipe.start_mark and not lines, lines,
        )  # fmt: skip
        outcomes = _all_of(asking)
        found = counted(outcomes, options.words)
    except ValueError as error:
        print(f"python -m training.recital: {getattr(error, 'console', error)}", file=sys.stderr)
        return 2
    asked, ended = ("lines", "at the line break") if lines else ("documents", "stopped")
    print(f"{found.asked} {asked}: exact {found.exact:.3f}, {ended} {found.stopped:.3f}")
    if lines:
        print(
            "It was trained on a stream, which has no end: it goes on behind a line break, and does not stop by itself."
        )
    if longer := sum(outcome.longer for outcome in outcomes):
        seen = checkpoint.model.config.context
        print(f"{longer} of those asked for cannot come back: they are longer than the {seen} tokens it sees at once.")
    if short := sum(_beginning(document, options.words) is None for document in documents):
        few = "1 word" if options.words == 1 else f"{options.words} words"
        print(f"Too short to be asked for: {short} of {len(documents)} {asked}, of {few} or fewer.")
    for outcome in outcomes if options.failures else ():
        if not outcome.exact:
            print(f"\n{outcome.parted()}")
    return 0


def _all_of(asking: Iterator[Outcome]) -> list[Outcome]:
    """What was found, all of it or until Ctrl-C."""
    outcomes = []
    try:
        for outcome in asking:
            outcomes.append(outcome)
    except KeyboardInterrupt:
        print("stopped: of those asked so far", file=sys.stderr)
    return outcomes


def _documents(options: argparse.Namespace, recipe: Recipe) -> Sequence[str]:
    """The documents of the corpus that was given, else those that the run learnt from. Raises ValueError."""
    if options.corpus is not None:
        read = read_corpora(
            [options.corpus], column=options.column, delimiter=options.delimiter,
            keep_good_lines=options.keep_good_lines,
        )  # fmt: skip
        return documents_of(clean(read, recipe.cleaning).corpus)[: recipe.max_documents or None]
    if flags := reading_given(options):
        raise ValueError(
            f"{flags[0]} tells of a CORPUS, and none is given: give its path too, or leave {flags[0]} out."
        )
    texts = read_text(Path(options.run))
    if texts is None:
        raise ValueError(f"{options.run} kept no text: give the CORPUS that it was trained on.")
    return texts.documents()


if __name__ == "__main__":
    raise SystemExit(main())
