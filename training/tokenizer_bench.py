"""One text under several tokenizers: how short it becomes, what of it they know, and how byte pairs grow.

    part = split(corpus.text)                         # vocabularies are learnt from the first nine tenths
    tokenizer, figures = measure("bpe", part, 512)    # and tried on the last tenth
    strip(tokenizer, "Once upon a time")              # the sentence, token by token
    replay(tokenizer, "Once upon a time").at(40)      # ... as it stood after the first 40 merges

At the console: `python -m training.tokenizer_bench TEXT`. Nothing here knows of a page, and nothing random is in it: of
a long text the same stretches are counted under every tokenizer.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

from model.pieces import Piece, VocabularyTooLarge
from model.tokenizer import SMALLEST_BPE, Tokenizer, chunks
from training.cleaning import add_flags, clean, from_options
from training.corpus import split_text
from training.origin import add_data_flags, given_by, told
from training.progress import shares

KINDS = ("char", "word", "words", "bpe", "gpt2")
OWN = ("char", "word", "words")
"""Those whose entries are pieces of the text itself."""
HELD_OUT = 0.1
"""Share of the text that no vocabulary is learnt from."""
STRETCH = 16_384  # characters that are encoded at once
LONGEST = 5
_SPREAD = 0.6180339887498949  # multiples of the golden section, modulo 1, spread evenly however many are taken
_SENTENCE = re.compile(r"(?:^|(?<=[.!?]\s))[^.!?\n]{20,120}[.!?]", re.MULTILINE)  # from its beginning
_SHORT = 100  # characters of a line that stands in for a sentence


@dataclass(frozen=True)
class Parts:
    """A text, cut in two: what vocabularies are learnt from, and what they are tried on."""

    learnt: str
    held_out: str


@dataclass(frozen=True)
class Figures:
    """What a tokenizer makes of a text. Lengths are in characters, `seconds` in seconds on this machine.

    entries: the size of the vocabulary; used: how many of them occur in what was read of the learnt part (all, by how
    it was made, where the entries are the text's own characters or words). tokens: what
    the `read` characters of it became, of `learnt` in all. unknown: how
    many of the `tried` characters of the held-out part stand in words or characters without a token. longest: of the
    entries that occur there, those with the most bytes, the earlier id first among equals. seconds: to learn the
    vocabulary; None where it comes ready.
    """

    kind: str
    entries: int
    used: int
    tokens: int
    read: int
    learnt: int
    tried: int
    unknown: int
    longest: tuple[Piece, ...]
    seconds: float | None
    notice: str | None = None

    @property
    def tokens_per_character(self) -> float:
        """Of the text that was read; 0 where there was none."""
        return self.tokens / self.read if self.read else 0.0

    @property
    def characters_per_token(self) -> float:
        """Of the text that was read; 0 where there was none."""
        return self.read / self.tokens if self.tokens else 0.0

    @property
    def used_share(self) -> float:
        """Entries that occur, 0 to 1."""
        return self.used / self.entries

    @property
    def unknown_share(self) -> float:
        """Held-out characters without a token, 0 to 1; 0 where nothing is held out."""
        return self.unknown / self.tried if self.tried else 0.0


def split(text: str, held_out: float = HELD_OUT) -> Parts:
    """Cut as a training would cut it: the last share is held out. Raises CorpusError for a share outside [0, 1)."""
    return Parts(*split_text(text, held_out))


def learn(
    kind: str, text: str, vocab_size: int = 512, progress: Callable[[float], None] | None = None
) -> tuple[Tokenizer, str | None]:
    """A tokenizer of this kind from `text`, and a sentence where the text allows fewer byte pairs than asked for.

    Raises ValueError for an unknown kind, an empty text, a byte-pair vocabulary under 257, and GPT-2's where it is
    nowhere to be had.
    """
    if kind == "char":
        return Tokenizer.char(text), None
    if kind in ("word", "words"):
        return Tokenizer.word(text, spaces=kind == "word"), None
    if kind == "gpt2":
        return _gpt2(), None
    if kind != "bpe":
        raise ValueError(f"There is no tokenizer called {kind!r}: choose one of {', '.join(KINDS)}.")
    try:
        return Tokenizer.bpe(text, vocab_size, progress), None
    except VocabularyTooLarge as error:
        allowed = max(error.possible, SMALLEST_BPE)
        said = (
            f"This text allows {allowed:,} entries at most: after {allowed - SMALLEST_BPE:,} merges every word of it "
            f"is one token. {vocab_size:,} were asked for."
        )
        return Tokenizer.bpe(text, allowed, progress), said


@cache
def _gpt2() -> Tokenizer:
    """One for all who ask: it takes tens of megabytes and the better part of a second to build."""
    return Tokenizer.gpt2()


def measure(
    kind: str,
    parts: Parts,
    vocab_size: int = 512,
    progress: Callable[[float], None] | None = None,
    most: int | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[Tokenizer, Figures]:
    """Learn a tokenizer from the learnt part and count what it makes of both. Raises ValueError as `learn` does.

    most: about how many characters of each part are counted, in stretches spread over it, the same ones for every kind;
    None counts all. progress: shares of the learning, 0 to 1.
    """
    begun = clock()
    tokenizer, notice = learn(kind, parts.learnt, vocab_size, progress)
    seconds = None if kind == "gpt2" else clock() - begun
    used: set[int] = set()
    tokens = read = tried = unknown = 0
    for stretch in _spread(parts.learnt, most):
        ids = tokenizer.encode(stretch)
        used.update(ids)
        tokens += len(ids)
        read += len(stretch)
    for stretch in _spread(parts.held_out, most):
        unknown += sum(len(gap.text) for gap in tokenizer.encode_known(stretch).unknown)
        tried += len(stretch)
    figures = Figures(
        kind=kind,
        entries=tokenizer.vocab_size,
        used=tokenizer.vocab_size if kind in OWN else len(used),
        tokens=tokens,
        read=read,
        learnt=len(parts.learnt),
        tried=tried,
        unknown=unknown,
        longest=longest(tokenizer, within=None if kind in OWN else used),
        seconds=seconds,
        notice=notice,
    )
    return tokenizer, figures


def _spread(text: str, most: int | None) -> Iterator[str]:
    """Stretches of `text`, spread over it, cut where tokens end anyway, until they have `most` characters."""
    stretches = list(chunks(text, STRETCH))
    taken = 0
    for number in sorted(range(len(stretches)), key=lambda number: number * _SPREAD % 1):
        if most is not None and taken >= most:
            return
        taken += len(stretches[number])
        yield stretches[number]


def longest(tokenizer: Tokenizer, count: int = LONGEST, within: AbstractSet[int] | None = None) -> tuple[Piece, ...]:
    """The entries with the most bytes, marks left out; the earlier id first among equals. within: among these alone."""
    numbers = range(tokenizer.vocab_size) if within is None else sorted(within)
    pieces = [tokenizer.piece(number) for number in numbers]
    plain = [piece for piece in pieces if piece.kind != "special"]
    return tuple(sorted(plain, key=lambda piece: -len(piece.raw))[:count])


def first_sentence(text: str) -> str:
    """A sentence to try: the first of 20 to 120 characters on one line, else the beginning of the first line."""
    if (found := _SENTENCE.search(text)) is not None:
        return found[0].strip()
    line = next((line for line in text.split("\n") if line.strip()), "").strip()
    if len(line) <= _SHORT:
        return line
    cut = line[: _SHORT + 1].rsplit(" ", 1)[0]
    return cut[:_SHORT]


def strip(tokenizer: Tokenizer, sentence: str) -> list[Piece | str]:
    """The sentence in its order: a Piece for each token, and as plain text what the vocabulary has no token for."""
    found = tokenizer.encode_known(sentence)
    known = ((start, tokenizer.piece(number)) for number, (start, _) in zip(found.ids, found.offsets, strict=True))
    placed: list[tuple[int, Piece | str]] = [*known, *((gap.start, gap.text) for gap in found.unknown)]
    return [item for _, item in sorted(placed, key=lambda pair: pair[0])]


# -- byte pairs, merge by merge ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Merge:
    """One joining of two neighbours: `left` at place `at` of the sentence and `right` behind it become `joined`.

    rank: which entry of the list of merges it is, from 0. after: it happens once the first `after` merges are known
    (rank + 1, or later where a token that it needs comes from a later merge).
    """

    after: int
    at: int
    rank: int
    left: int
    right: int
    joined: int


@dataclass(frozen=True)
class Replay:
    """A sentence from single bytes to its tokens: `start`, then the merges in the order in which they happen.

    total: how many merges the tokenizer has; only those that change the sentence are in `merges`.
    """

    total: int
    start: tuple[int, ...]
    merges: tuple[Merge, ...]

    def at(self, known: int) -> list[int]:
        """The tokens of the sentence for a tokenizer that knows only its first `known` merges."""
        ids = list(self.start)
        for merge in self.merges:
            if merge.after > known:
                break
            ids[merge.at : merge.at + 2] = [merge.joined]
        return ids


def replay(tokenizer: Tokenizer, sentence: str) -> Replay:
    """How byte pairs grow into the tokens of `sentence`; half of a surrogate pair counts as U+FFFD.

    By the definition of byte-pair encoding and not by the library's code: of all neighbours in a stretch, the earliest
    merge first, the leftmost of equals. Time grows with the square of a stretch. Raises ValueError for a tokenizer that
    has no merges to replay.
    """
    table = tokenizer.merges
    joins = {(left, right): (rank, joined) for rank, (left, right, joined) in enumerate(table)}
    stretches = tokenizer.stretches(sentence)
    happened = [(after, number, merge) for number, ids in enumerate(stretches) for after, merge in _grown(ids, joins)]
    happened.sort(key=lambda item: item[:2])  # stable: a stretch keeps its own order
    sizes = list(map(len, stretches))
    merges = []
    for after, number, (at, rank, left, right, joined) in happened:
        merges.append(Merge(after, sum(sizes[:number]) + at, rank, left, right, joined))
        sizes[number] -= 1
    return Replay(len(table), tuple(token for ids in stretches for token in ids), tuple(merges))


_Step = tuple[int, int, int, int, int]  # place in the stretch, rank, left, right, joined


def _grown(ids: list[int], joins: dict[tuple[int, int], tuple[int, int]]) -> list[tuple[int, _Step]]:
    """The merges in one stretch, in order, each with the number of merges that have to be known for it."""
    parts, steps, known = list(ids), list[tuple[int, _Step]](), 0
    while True:
        found = [(joins[pair], at) for at, pair in enumerate(pairwise(parts)) if pair in joins]
        if not found:
            return steps
        (rank, joined), at = min(found, key=lambda item: (item[0][0], item[1]))
        known = max(known, rank + 1)
        steps.append((known, (at, rank, parts[at], parts[at + 1], joined)))
        parts[at : at + 2] = [joined]


# -- at the console ---------------------------------------------------------------------------------------------------

_COUNTED = 5_000_000  # characters


def main(argv: list[str] | None = None) -> int:
    """The command line; 0 when all went well, 2 with a sentence on stderr when something was wrong."""
    p = argparse.ArgumentParser(prog="python -m training.tokenizer_bench", description="A text under each tokenizer.")
    p.add_argument("corpus", nargs="*", help="the files with the text: any that python -m training reads")
    add_data_flags(p)
    p.add_argument("--sentence", help="what to cut into tokens (default: the first sentence of the text)")
    p.add_argument("--entries", type=int, default=512, help="size of the own byte-pair vocabulary (default 512)")
    p.add_argument(
        "--merges", type=int, nargs="+", default=[], help="also after so many of its merges: --merges 0 50 100"
    )
    add_flags(p)
    options = p.parse_args(argv)
    try:
        if min(options.merges, default=0) < 0:
            raise ValueError(f"--merges has {min(options.merges)}; count from 0, which are single bytes.")
        corpus = given_by(vars(options)).read()
        print(*told(corpus), sep="\n")
        corpus = clean(corpus, from_options(vars(options))).corpus
        _compare(split(corpus.text), options.sentence or first_sentence(corpus.text), options.entries, options.merges)
    except ValueError as error:
        print(f"python -m training.tokenizer_bench: {getattr(error, 'console', error)}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # whoever read it has read enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _compare(parts: Parts, sentence: str, entries: int, merges: list[int]) -> None:
    """Print the figures of every kind, the sentence under each, and how it stood after so many merges."""
    head = f"{'':6}{'entries':>9}{'tokens/char':>13}{'chars/token':>13}{'used':>9}{'unknown':>9}{'learnt in':>11}"
    print(f"{head}  longest")
    strips, notices = list[str](), list[str]()
    for kind in KINDS:
        try:
            tokenizer, found = _measured(kind, parts, entries)
        except ValueError as error:
            if kind != "gpt2":  # which may be nowhere to be had; the others need nothing but the text
                raise
            notices.append(str(error))
            continue
        took = "ready-made" if found.seconds is None else f"{found.seconds:.1f} s"
        longest_of_all = " ".join(_shown(piece) for piece in found.longest)
        print(
            f"{kind:6}{found.entries:9,}{found.tokens_per_character:13.3f}{found.characters_per_token:13.2f}"
            f"{_share(found.used_share):>9}{_share(found.unknown_share):>9}{took:>11}  {longest_of_all}"
        )
        strips.append(f"{kind:6}{'|'.join(_shown(item) for item in strip(tokenizer, sentence))}")
        notices += [found.notice] if found.notice else []
        if kind == "bpe":
            grown = replay(tokenizer, sentence)
            for known in merges:
                cut = "|".join(_shown(tokenizer.piece(number)) for number in grown.at(known))
                strips.append(f"{'':6}after {min(known, grown.total):,} of {grown.total:,} merges: {cut}")
    if found.read < found.learnt:
        notices.append(
            f"Counted over {found.read:,} of {found.learnt:,} characters, stretches spread over all of the text, the "
            "same ones for each; more entries of bpe and gpt2 may be in use."
        )
    print("", *strips, *notices, sep="\n")


def _share(share: float) -> str:
    return "<0.1%" if 0 < share < 0.001 else f"{share:.1%}"


def _measured(kind: str, parts: Parts, entries: int) -> tuple[Tokenizer, Figures]:
    """`measure`, with a progress bar at a terminal."""
    with shares(kind) as progress:
        return measure(kind, parts, entries, progress, _COUNTED)


def _shown(item: Piece | str) -> str:
    """A token for the eye: blanks as dots, bytes in hexadecimal; in brackets what the vocabulary lacks."""
    if isinstance(item, str):
        return f"[{_shown_text(item)}?]"
    return f"<{item.raw.hex(' ')}>" if item.kind == "bytes" else _shown_text(item.text)


def _shown_text(text: str) -> str:
    return "".join("·" if c == " " else c if c.isprintable() else repr(c)[1:-1] for c in text)


if __name__ == "__main__":
    sys.exit(main())
