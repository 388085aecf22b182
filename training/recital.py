"""Does a model know its texts by heart? Given how a document begins, does it write the rest of it, and then stop?

python -m training.recital RUN CORPUS        # prints the shares that came back and that came to an end
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from model import GPT, Tokenizer, open_checkpoint
from model.gpt import KVCache
from training.cleaning import clean
from training.corpus import read_corpus
from training.data import documents_of
from training.runs import RunFolder

MARGIN = 8  # tokens more than a document has, in which a model may come to its end


@dataclass(frozen=True)
class Recital:
    """How documents came back. asked: how many were long enough to be asked for; exact: the share of those that came
    back to the letter and then ended; stopped: the share that came to an end at all, at most MARGIN tokens too late."""

    asked: int
    exact: float
    stopped: float


def recite(
    model: GPT, tokenizer: Tokenizer, documents: Sequence[str], words: int = 6, start_mark: bool = False
) -> Recital:
    """Let a model continue the first `words` words of each document, always with its likeliest token (top-k 1).

    start_mark: documents began with the end-of-text token in training. Documents of `words` words or fewer are not
    asked for. Raises ValueError where none is left.
    """
    beginnings = [(document, found.end()) for document in documents if (found := _beginning(document, words))]
    if not beginnings:
        raise ValueError(f"no document has more than {words} words: ask with fewer.")
    mark = tokenizer.end_of_text
    exact = stopped = 0
    for document, cut in beginnings:
        ids = tokenizer.encode(document[:cut])
        rest = len(tokenizer.encode(document)) - len(ids)
        head = [mark] if start_mark and mark is not None else []
        written, ended = _continue(model, [*head, *ids], rest + MARGIN, mark)
        stopped += ended
        exact += ended and document[:cut] + tokenizer.decode(written, after=ids[-1:]) == document
    return Recital(len(beginnings), exact / len(beginnings), stopped / len(beginnings))


def _beginning(document: str, words: int) -> re.Match[str] | None:
    """The first words of a document that has more of them."""
    return re.match(rf"\s*(?:\S+\s+){{{words - 1}}}\S+(?=\s+\S)", document)


@torch.no_grad()
def _continue(model: GPT, ids: list[int], count: int, end: int | None) -> tuple[list[int], bool]:
    """The likeliest continuation, without its end mark, and whether that mark came; as far as the context reaches."""
    cache = KVCache(model.config, device=model.device)
    written, window = list[int](), ids[-model.config.context :]
    while len(written) < count and cache.length + len(window) <= model.config.context:
        token = int(model(torch.tensor([window], device=model.device), cache)[0, -1].argmax())
        if token == end:
            return written, True
        written.append(token)
        window = [token]
    return written, False


def main(argv: list[str] | None = None) -> int:
    """Run the program; 0 when all went well, 2 with a sentence on stderr when something was wrong."""
    p = argparse.ArgumentParser(prog="python -m training.recital", description="Ask a run for its texts by heart.")
    p.add_argument("run", help="a run folder")
    p.add_argument("corpus", help="the text that it was trained on")
    p.add_argument("--column", help="the column of a .csv that holds the text")
    p.add_argument("--words", type=int, default=6, help="words that each document is begun with (default 6)")
    options = p.parse_args(argv)
    try:
        if options.words < 1:
            raise ValueError(f"--words is {options.words}; begin with at least 1.")
        recipe = RunFolder(Path(options.run)).info().recipe
        checkpoint = open_checkpoint(options.run)
        assert checkpoint.tokenizer is not None  # runs have one
        corpus = clean(read_corpus(options.corpus, column=options.column), recipe.cleaning).corpus
        documents = documents_of(corpus)[: recipe.max_documents or None]
        marked = recipe.cut == "documents" and recipe.start_mark
        found = recite(checkpoint.model, checkpoint.tokenizer, documents, options.words, marked)
    except ValueError as error:
        print(f"python -m training.recital: {error}", file=sys.stderr)
        return 2
    print(f"{found.asked} documents: exact {found.exact:.3f}, stopped {found.stopped:.3f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
