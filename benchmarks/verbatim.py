"""The index behind "Where did it learn this?": building and asking it, against pydivsufsort and Python's own strings.

    python benchmarks/verbatim.py [--corpus FILE] [--characters N]

The build's peer is pydivsufsort (libdivsufsort in C; `pip install pydivsufsort`; bytes, here a byte a character), the
query's is Python's `in`, from each place of the text on. Both give the same result, which is checked.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from training.verbatim import Index, Piece, suffix_array  # noqa: E402  # the path has to be set first

TURNS = 5


def main() -> None:
    """Print the medians and ratios."""
    parser = argparse.ArgumentParser(description="Speed of the index of verbatim pieces.")
    parser.add_argument("--corpus", type=Path, default=ROOT / "assets" / "corpora" / "tales.txt")
    parser.add_argument("--characters", type=int, default=1_000_000)
    args = parser.parse_args()
    whole = args.corpus.read_text(encoding="utf-8")
    text = whole[: args.characters]
    print(f"{args.corpus.name}, {len(text):,} characters")

    ours = timed(lambda: suffix_array(text))
    line = f"suffix array            {ours:6.3f} s"
    peer = build_of_peer(text)
    if peer is not None:
        theirs = timed(peer)
        line += f"   pydivsufsort {theirs:6.3f} s   ratio ours / theirs {ours / theirs:.2f}"
    print(line)
    print(f"whole index             {timed(lambda: Index(text)):6.3f} s   (asked for: 3 s for a million characters)")

    index = Index(text)
    rest = whole[len(text) :]
    for name, query in {
        "from the corpus": text[len(text) // 2 :][:500],
        "unseen": rest[len(rest) // 2 :][:500] if len(rest) >= 1000 else text[::-1][:500],
        "shuffled": "".join(np.random.default_rng(1).permutation(list(text[:500]))),
    }.items():
        assert index.pieces(query) == by_strings(query, text, index.at_least)
        ours = timed(partial(index.pieces, query))
        theirs = timed(partial(by_strings, query, text, index.at_least), 2)
        print(
            f"query of 500, {name:15s} {1000 * ours:6.2f} ms   Python's `in` {1000 * theirs:9.1f} ms   "
            f"ratio ours / theirs {ours / theirs:.4f}"
        )


def timed(call: Callable[[], object], turns: int = TURNS) -> float:
    """Median seconds of some calls."""
    seconds = []
    for _ in range(turns):
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def build_of_peer(text: str) -> Callable[[], object] | None:
    """pydivsufsort on the same text, checked to give the same array; None where it is not installed."""
    try:
        from pydivsufsort import divsufsort
    except ImportError:
        print("pydivsufsort is not installed: no peer for the build")
        return None
    letters = sorted(set(text))
    if len(letters) > 256:
        print("more than 256 distinct characters: no peer for the build")
        return None
    table = str.maketrans({letter: chr(i) for i, letter in enumerate(letters)})
    data = text.translate(table).encode("latin-1")
    assert np.array_equal(divsufsort(data), suffix_array(text))
    return lambda: divsufsort(data)


def by_strings(text: str, corpus: str, least: int) -> tuple[Piece, ...]:
    """The same pieces, found by `in` and halving from each place on."""
    found, reach = [], 0
    for start in range(len(text) - least + 1):
        low, high = 0, len(text) - start
        while low < high:
            middle = (low + high + 1) // 2
            if text[start : start + middle] in corpus:
                low = middle
            else:
                high = middle - 1
        if low >= least and start + low > reach:
            piece, count, at = text[start : start + low], 0, -1
            while (at := corpus.find(piece, at + 1)) >= 0:
                count += 1
            found.append(Piece(start, start + low, count))
        reach = max(reach, start + low)
    return tuple(found)


if __name__ == "__main__":
    main()
