"""What a tokenizer hands out: pieces, encodings with byte spans, and errors that name what is unknown. Plain values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

PieceKind = Literal["text", "space", "newline", "bytes", "special"]

LINE_BREAKS = "\n\r\x85\u2028\u2029"
NAMED_AT_MOST = 8  # an error sentence names this many unknown characters or words, then counts the rest
SHOWN_AT_MOST = 40  # characters of one unknown word that an error sentence repeats


@dataclass(frozen=True)
class Piece:
    """One entry of the vocabulary. `raw` are its exact bytes; `text` is the same for reading, with U+FFFD where the
    bytes are no UTF-8 of their own (kind "bytes": a part of a character)."""

    id: int
    text: str
    kind: PieceKind
    raw: bytes


@dataclass(frozen=True)
class Unknown:
    """A stretch of text that the vocabulary cannot write: UTF-8 byte span [start, end) and the text itself.

    Half of a surrogate pair has no UTF-8; it counts as the three bytes of U+FFFD, and `text` is U+FFFD.
    """

    start: int
    end: int
    text: str


@dataclass(frozen=True)
class Encoding:
    """Token ids with their UTF-8 byte spans [start, end) in the text, and what was left out, in the order of the text.

    Spans and unknowns together cover the text exactly, without gaps or overlaps.
    """

    ids: list[int]
    offsets: list[tuple[int, int]]
    unknown: list[Unknown]


class UnknownText(ValueError):
    """The text holds something that the vocabulary has no token for. `unknown` lists every place."""

    def __init__(self, unknown: Sequence[Unknown], advice: str) -> None:
        self.unknown = tuple(unknown)
        names = [_name(text) for text in dict.fromkeys(entry.text for entry in unknown)]
        more = len(names) - NAMED_AT_MOST
        listed = ", ".join(names[:NAMED_AT_MOST]) + (f" and {more} more" if more > 0 else "")
        super().__init__(f"This vocabulary has no token for {listed}. {advice}")


class VocabularyTooLarge(ValueError):
    """The text has too few pairs to merge for the vocabulary asked for. `possible` is the largest it allows."""

    def __init__(self, asked: int, possible: int) -> None:
        self.possible = possible
        super().__init__(
            f"This text allows a byte-pair vocabulary of at most {possible:,} tokens: after {possible - 257:,} merges "
            f"every word of it is one token. {asked:,} were asked for. Choose {possible:,} or fewer, or use more text."
        )


def piece_kind(raw: bytes, special: bool) -> PieceKind:
    """How a piece with these bytes should be shown."""
    if special:
        return "special"
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return "bytes"
    if text and not text.strip(" "):
        return "space"
    if text and not text.strip(LINE_BREAKS):
        return "newline"
    return "text"


def _name(text: str) -> str:
    """How an error sentence calls an unknown character or word: quoted, and by code point when it cannot be seen."""
    if len(text) == 1:
        code = f"U+{ord(text):04X}"
        return f"“{text}” ({code})" if text.isprintable() and not text.isspace() else code
    shown = text if len(text) <= SHOWN_AT_MOST else text[:SHOWN_AT_MOST] + "…"
    return f"“{shown}”" if shown.isprintable() and not shown.isspace() else ascii(shown)
