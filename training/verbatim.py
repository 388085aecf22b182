"""Which pieces of a text stand word for word in another one: did a model learn its corpus by heart, or write anew?

    index = Index(corpus_text)                        # a second a million characters
    index.pieces("and then the red fox sat down")     # longest pieces that stand there, with their number of places
    index.copied(text).share                          # of its runs of eight words, how many stand there
    verdict(index.copied(text)).sentence

Pieces are found with a suffix array (Manber and Myers 1993, "Suffix arrays: a new method for on-line string searches"),
built by doubling the sorted length (Karp, Miller and Rosenberg 1972) from packed characters on. Characters are Unicode
code points, compared exactly: case, accents and spaces count.

The share of copied n-grams is how the novelty of generated text is usually told (McCoy et al. 2023, "How much do
language models copy from their training data?"). Any text shares short pieces with any other one; eight words in a
row are hardly ever shared by chance, and longer ones hide what was copied with a word changed.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

GRAM = 8
#: At least so much of the runs of eight is copied: memorised. Less than the second: new. Between them: partly copied.
MEMORISED, NEW = 0.5, 0.1
#: Characters of a corpus that are indexed: its first ones. Building needs about 60 bytes for each, keeping it 5.
MOST_CHARACTERS = 4_000_000
_LONGEST_WORD = 12  # on average: what has longer "words" has no spaces (DNA, say), and its characters are counted
#: Scripts that put no spaces between words: Thai to Lao, Myanmar, Khmer, kana, Han.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)
_WORD = re.compile(r"\w+(?:['\u2019]\w+)*")
_MARK = re.compile(r"\S")


@dataclass(frozen=True)
class Piece:
    """text[start:end] stands `count` times in the corpus; no longer piece around it does."""

    start: int
    end: int
    count: int

    def __len__(self) -> int:
        return self.end - self.start


@dataclass(frozen=True)
class Place:
    """Where a piece stands: at this character and line (from 1), with what comes before and after it there."""

    character: int
    line: int
    before: str
    after: str


@dataclass(frozen=True)
class Copied:
    """How many runs of GRAM units of a text stand in the corpus. units: "words", or "characters" for scripts without
    spaces. total is 0 where the text is too short to have one."""

    copied: int
    total: int
    units: str

    @property
    def share(self) -> float | None:
        """0 to 1; None where the text has no run of GRAM units."""
        return self.copied / self.total if self.total else None


@dataclass(frozen=True)
class Verdict:
    """kind: "memorised", "partly copied", "new" or "too short"; and the sentence that says so, with its threshold."""

    kind: str
    sentence: str


class Index:
    """A text that pieces are looked up in. Immutable, and so safe for several threads.

    Raises nothing: any string can be indexed, lone surrogates and an empty one included. Of a text longer than `most`
    characters the first ones are indexed; `left_out` tells how many are not. lines: each line is a document of its own,
    as posts are, so that no run of words goes from one line into the next (see `copied`).
    """

    def __init__(self, text: str, most: int = MOST_CHARACTERS, lines: bool = False) -> None:
        self.lines = lines
        self.text = text if len(text) <= most else text[:most]
        self.left_out = len(text) - len(self.text)
        self._suffixes = suffix_array(self.text)
        self._order = self._suffixes.data  # a memoryview gives single items several times faster than an array
        self.units = units_of(self.text)
        self._numbers: dict[str, int] = {}
        parts = [
            [self._numbers.setdefault(unit, len(self._numbers)) for unit in split(part, self.units)]
            for part in self._parts(self.text)
        ]
        ids, within = _laid_out(parts)
        self._grams = np.unique(_hashes(ids)[within])
        self._short = {tuple(part) for part in parts if len(part) < GRAM} if lines else set[tuple[int, ...]]()

    @property
    def at_least(self) -> int:
        """The shortest piece worth showing, in characters.

        From any place on, a new text of the same kind shares about log2(n) / h characters with n characters, where h
        is the surprise of a character in bits (Wyner and Ziv 1989, "Some asymptotic properties of the entropy of a
        stationary ergodic data source"). At 1.7 bits a million characters give 12; the held-out tenth of tiny
        Shakespeare hardly has longer ones in common with the rest. Shorter pieces say that two texts are in one
        language, and no more.
        """
        return max(6, round(math.log2(len(self.text) + 2) / 1.7))

    def find(self, piece: str) -> tuple[int, int]:
        """The rows [low, high) of the suffix array whose suffixes begin with `piece`; their number is how often."""
        size, text = len(piece), self.text
        low = bisect_left(self._order, piece, key=lambda at: text[at : at + size])
        high = bisect_left(self._order, True, lo=low, key=lambda at: not text.startswith(piece, at))
        return low, high

    def longest(self, text: str, start: int, hint: int = 32) -> int:
        """How many characters of `text` from `start` on stand in the corpus in one piece. hint: a guess."""
        order, corpus = self._order, self.text
        size = max(1, hint)
        while True:
            wanted = text[start : start + size]
            row = bisect_left(order, wanted, key=lambda at: corpus[at : at + size])
            best = 0
            for near in (row - 1, row):
                if 0 <= near < len(order):
                    best = max(best, _common(wanted, corpus, order[near]))
            if best < len(wanted) or start + size >= len(text):
                return best
            size *= 2

    def pieces(self, text: str, at_least: int | None = None) -> tuple[Piece, ...]:
        """The pieces of `text` that stand in the corpus and cannot be extended, by their start; they may overlap.

        None shorter than `at_least` characters (the property of that name). Raises ValueError for an `at_least` below
        1.
        """
        least = self.at_least if at_least is None else at_least
        if least < 1:
            raise ValueError(f"a piece of {least} characters is none: look for pieces of at least one.")
        found, reach, length = list[Piece](), 0, 32
        for start in range(len(text) - least + 1):
            # What stands here is at least as long as what stood one character earlier, less that character.
            if reach >= len(text):
                break
            if reach - start >= least and not self._reaches(text, start, reach + 1):
                continue
            length = self.longest(text, start, max(least, reach - start) + 16)
            if length >= least and start + length > reach:
                low, high = self.find(text[start : start + length])
                found.append(Piece(start, start + length, high - low))
            reach = max(reach, start + length)
        return tuple(found)

    def places(self, piece: str, most: int = 20, context: int = 60) -> tuple[Place, ...]:
        """Where a piece stands in the corpus, in the order of the corpus, at most the first `most` of them.

        context: characters shown before and after it, in whole words where there are any.
        """
        if not piece:
            return ()
        low, high = self.find(piece)
        places = []
        for at in np.sort(self._suffixes[low:high])[:most].tolist():
            end = at + len(piece)
            before = _head_cut(self.text[max(0, at - context) : at], at > context)
            after = _tail_cut(self.text[end : end + context], end + context < len(self.text))
            places.append(Place(at, self.text.count("\n", 0, at) + 1, before, after))
        return tuple(places)

    def copied(self, text: str) -> Copied:
        """How many of the text's runs of eight words stand in the corpus.

        Words are runs of letters and digits, case kept; what stands between two words (spaces, line breaks,
        punctuation) does not count. Where the corpus is written without spaces, the units are its characters, white
        space left out. Where lines are documents, the runs of each line are counted, and a line with fewer words than a
        run as one; such lines alone say nothing unless one is copied.
        """
        parts = [[self._numbers.get(unit, -1) for unit in split(part, self.units)] for part in self._parts(text)]
        short = [tuple(part) for part in parts if 0 < len(part) < GRAM] if self.lines else []
        copied, total = sum(part in self._short for part in short), len(short)
        ids, within = _laid_out(parts)
        if within.any():
            known = np.logical_and.reduce(np.lib.stride_tricks.sliding_window_view(ids >= 0, GRAM), axis=1)
            grams = _hashes(ids)[within]
            row = np.searchsorted(self._grams, grams)
            inside = row < len(self._grams)
            stands = np.zeros(len(grams), dtype=bool)
            stands[inside] = self._grams[row[inside]] == grams[inside]
            copied, total = copied + int((known[within] & stands).sum()), total + len(grams)
        elif not copied:
            total = 0
        return Copied(copied, total, self.units)

    def _parts(self, text: str) -> list[str]:
        """What no run of words goes beyond."""
        return text.split("\n") if self.lines else [text]

    def _reaches(self, text: str, start: int, end: int) -> bool:
        """Whether text[start:end] stands in the corpus."""
        piece, corpus = text[start:end], self.text
        size = len(piece)
        row = bisect_left(self._order, piece, key=lambda at: corpus[at : at + size])
        return row < len(self._order) and corpus.startswith(piece, self._order[row])


def units_of(text: str) -> str:
    """What a text is counted in: "words", or "characters" where it is written without spaces between its words."""
    words = _WORD.findall(text)
    letters = sum(map(len, words))
    unspaced = sum(1 for _ in _UNSPACED.finditer(text))
    return "words" if words and letters <= _LONGEST_WORD * len(words) and 2 * unspaced < letters else "characters"


def split(text: str, units: str) -> list[str]:
    """Its words (runs of letters and digits, with what an apostrophe joins), or its characters without white space."""
    found: list[str] = (_WORD if units == "words" else _MARK).findall(text)
    return found


def verdict(copied: Copied) -> Verdict:
    """Whether a text was memorised, in a plain sentence with the threshold that it met."""
    share = copied.share
    if share is None:
        return Verdict("too short", f"Too short to tell: a run of {GRAM} {copied.units} is the least that says much.")
    percent = "under 1" if 0 < share < 0.01 else f"{100 * share:.0f}"
    said = f"{percent} % of its runs of {GRAM} {copied.units} stand in the text it was trained on"
    few, many = f"{100 * NEW:.0f} %", f"{100 * MEMORISED:.0f} %"
    if share >= MEMORISED:
        return Verdict("memorised", f"Memorised: {said} ({many} or more).")
    if share < NEW:
        return Verdict("new", f"New: {said} (less than {few}).")
    return Verdict("partly copied", f"Partly copied: {said} (from {few} to less than {many}).")


def suffix_array(text: str) -> NDArray[np.int32]:
    """(N,) the starts of all suffixes of `text` in the order of their code points. N below 2 ** 31.

    Each round sorts the suffixes that are still alike by twice as many characters; those told apart are left alone.
    """
    size = len(text)
    if size == 0:
        return np.zeros(0, dtype=np.int32)
    symbols, bits = _symbols(text)
    depth = min(max(1, 62 // bits), size)
    keys = np.zeros(size, dtype=np.int64)  # the first `depth` symbols of each suffix in one number
    for i in range(depth):
        keys <<= bits
        keys[: size - i] |= symbols[i:]
    order = np.argsort(keys)
    ranks, open_ = _ranks(keys[order], np.arange(size))
    rank = np.empty(size + 1, dtype=np.int64)
    rank[order], rank[size] = ranks, -1
    rows = np.flatnonzero(open_)
    while len(rows):
        suffixes = order[rows]
        after = rank[np.minimum(suffixes + depth, size)] + 1  # 0: nothing follows
        keys = rank[suffixes] * (size + 1) + after
        moved = np.argsort(keys)
        order[rows] = suffixes = suffixes[moved]
        ranks, open_ = _ranks(keys[moved], rows)
        rank[suffixes] = ranks
        rows = rows[open_]
        depth *= 2
    return order.astype(np.int32)


def _ranks(keys: Ints, rows: Ints) -> tuple[Ints, NDArray[np.bool_]]:
    """For sorted keys at these rows: the first row of those alike, and whether there is another one alike."""
    fresh = np.ones(len(keys) + 1, dtype=bool)
    fresh[1:-1] = keys[1:] != keys[:-1]
    ranks = np.maximum.accumulate(np.where(fresh[:-1], rows, 0))
    return ranks, ~(fresh[:-1] & fresh[1:])


def _symbols(text: str) -> tuple[Ints, int]:
    """(N,) each character's number among the distinct ones, from 1, by code point; and the bits that hold them."""
    points = np.frombuffer(text.encode("utf-32-le", errors="surrogatepass"), dtype=np.uint32)
    present = np.zeros(0x110000, dtype=bool)
    present[points] = True
    table = np.cumsum(present)
    return table[points].astype(np.int64), int(table[-1]).bit_length()


def _common(wanted: str, text: str, at: int) -> int:
    """How many characters `wanted` and text[at:] have in common from the start on."""
    there = text[at : at + len(wanted)]
    if there == wanted:
        return len(wanted)
    low, high = 0, len(there)  # the first `low` are equal
    while low < high:
        middle = (low + high + 1) // 2
        if there[low:middle] == wanted[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _laid_out(parts: Sequence[Sequence[int]]) -> tuple[Ints, NDArray[np.bool_]]:
    """Parts end to end (N,), and which of the runs of GRAM ids lie in one part (N - GRAM + 1,)."""
    ids = np.fromiter((number for part in parts for number in part), dtype=np.int64)
    of = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    within: NDArray[np.bool_] = np.equal(of[GRAM - 1 :], of[: max(0, len(of) - GRAM + 1)])
    return ids, within


def _hashes(ids: Ints) -> NDArray[np.uint64]:
    """(N - GRAM + 1,) a hash of 64 bits of each run of GRAM ids; two runs share one by chance once in 2 ** 64."""
    if len(ids) < GRAM:
        return np.zeros(0, dtype=np.uint64)
    total: NDArray[Any] = np.zeros(len(ids) - GRAM + 1, dtype=np.uint64)
    for i in range(GRAM):
        total = (total ^ ids[i : i + len(total)].astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        total ^= total >> np.uint64(29)
    return total


def _head_cut(text: str, cut: bool) -> str:
    """Without the piece of a word at its start, where it was cut there."""
    space = re.search(r"\s", text[: len(text) // 2]) if cut else None
    return text[space.end() :] if space else text


def _tail_cut(text: str, cut: bool) -> str:
    half = len(text) // 2
    spaces = list(re.finditer(r"\s", text[half:])) if cut else []
    return text[: half + spaces[-1].start()] if spaces else text


def covered(pieces: Sequence[Piece], start: int, end: int) -> int:
    """How many characters from `start` to `end` lie in a piece."""
    count, reach = 0, start
    for piece in sorted(pieces, key=lambda p: p.start):
        low, high = max(piece.start, reach), min(piece.end, end)
        count += max(0, high - low)
        reach = max(reach, high)
    return count


__all__ = [
    "GRAM",
    "MEMORISED",
    "MOST_CHARACTERS",
    "NEW",
    "Copied",
    "Index",
    "Piece",
    "Place",
    "Verdict",
    "covered",
    "split",
    "suffix_array",
    "units_of",
    "verdict",
]
