"""Text to token ids and back, exactly: characters, words, an own byte-level BPE, GPT-2's BPE.

One class over the `tokenizers` library, immutable after construction, so any number of threads may share one.
Decoding an encoding gives the text back, for every kind but one: words without their blanks (`word(spaces=False)`)
give a text back whose words stand one blank apart. Text is never read as a command: a visitor who types
`<|endoftext|>` gets the thirteen characters of it encoded, not the mark; only code appends `end_of_text`.
(A saved file opened with the `tokenizers` library itself behaves as that library does by default, and reads the mark;
set its `encode_special_tokens = True` for the same ids as here.)
"""

from __future__ import annotations

import operator
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import SupportsIndex

import tokenizers
import torch
from tokenizers import models, trainers
from torch import Tensor

from model import gpt2_vocabulary
from model.pieces import Encoding, Piece, Unknown, UnknownText, VocabularyTooLarge, piece_kind
from model.vocabulary import (
    BLANK,
    BYTE_LETTERS,
    BYTE_OF,
    END_MARKS,
    END_OF_TEXT,
    Split,
    Vocabulary,
    from_tokenizer_json,
    pre_tokenizer,
)

__all__ = ["Encoding", "Piece", "Tokenizer", "Unknown", "UnknownText", "VocabularyTooLarge"]

SMALLEST_BPE = 257  # 256 bytes and the end-of-text mark
CHUNK = 1 << 18  # characters encoded at a time; bounds memory on long texts, changes no id
READING = 0.6  # share of a BPE training's progress that is reading the text; the merges afterwards cannot be watched
ADVICE = {
    "char": "It knows only the characters of the text it was built from: leave these out, or choose a BPE tokenizer, "
    "which can write any text.",
    "word": "It knows only the words of the text it was built from: use other words, or choose a BPE tokenizer, "
    "which can write any text.",
    "words": "It knows only the words of the text it was built from, each with the punctuation that touches it: use "
    "other words, or choose a BPE tokenizer, which can write any text.",
    "bpe": "That is half of a surrogate pair and not a character: delete it.",
}

_SURROGATE = re.compile("([\ud800-\udfff])")
_BREAK = re.compile("[\r\n\v\f\x85\u2028\u2029]")
# Between a visible character and a blank every way of cutting cuts, whatever stands further left or right.
_SAFE_CUT = re.compile(r"(?<=\S)[ \n]")


class Tokenizer:
    """Use the constructors `char`, `from_characters`, `word`, `bpe`, `gpt2` and `load`.

    `kind` is "char", "word", "words" (without blanks), "bpe" or "gpt2"; `end_of_text` is the id of the mark that ends a
    text, or None; `fingerprint` is a sha256 (hex) of all that decides the ids; tokenizers with the same one are equal.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._split = vocabulary.split
        self._backend = vocabulary.backend()
        self._cutter = pre_tokenizer(vocabulary.split)
        self._raw = vocabulary.raw()
        self._merges: tuple[tuple[int, int, int], ...] | None = None
        self._specials = frozenset(vocabulary.tokens.index(token) for token in vocabulary.specials)
        self._ids = {token: i for i, token in enumerate(vocabulary.tokens) if i not in self._specials}
        self._joined = frozenset(
            [number for token, number in self._ids.items() if not _BREAK.match(token)] if self._split == "words" else ()
        )
        self.fingerprint = vocabulary.fingerprint
        self.vocab_size = len(vocabulary.tokens)
        self.end_of_text = vocabulary.end_of_text
        self.kind: str = "gpt2" if self.fingerprint == gpt2_vocabulary.FINGERPRINT else self._split

    # -- making one ---------------------------------------------------------------------------------------------------

    @classmethod
    def char(cls, text: str, end_of_text: bool = False) -> Tokenizer:
        """The distinct characters of `text` in code-point order, and the end-of-text mark only if asked for."""
        _check_text(text)
        return cls.from_characters(sorted(set(text)), end_of_text)

    @classmethod
    def from_characters(cls, characters: Sequence[str], end_of_text: bool = False) -> Tokenizer:
        """A given table of characters, ids in its order. ValueError if one is no single character or comes twice."""
        marks = (END_OF_TEXT,) if end_of_text else ()
        try:
            return cls(Vocabulary("char", (*characters, *marks), specials=marks))
        except ValueError as error:
            raise ValueError(
                f"This table of characters cannot be used: {error}. List each character once, one character an entry."
            ) from error

    @classmethod
    def word(cls, text: str, end_of_text: bool = False, spaces: bool = True) -> Tokenizer:
        """The distinct pieces of `text` in code-point order: words ("don't" is one), single line breaks, runs of other
        white space, single other characters. In scripts that write no spaces a "word" is a whole phrase.

        spaces=False (kind "words"): a piece is all that stands between white space ("tin," is a word of its own), or a
        line break, or several in a row. Blanks are no tokens: decoding writes one between two words and none beside a
        line break. So these do not come back: runs of blanks and tabs (as one blank), blanks at the begin and the end
        of a line. Raises ValueError for a text without a word or a line break.
        """
        _check_text(text)
        split: Split = "word" if spaces else "words"
        cutter = pre_tokenizer(split)
        pieces = {piece for chunk in chunks(text, CHUNK) for piece, _ in cutter.pre_tokenize_str(chunk)}
        if not pieces:
            raise ValueError("The text has only blanks and no word. Give a text with at least one word.")
        marks: tuple[str, ...] = ()
        if end_of_text:  # a word of the text may be spelt like the usual mark
            marks = tuple(mark for mark in END_MARKS if mark not in pieces)[:1]
            if not marks:
                raise ValueError(
                    f"The text uses all of {', '.join(END_MARKS)} as words, and one of them has to mark the end of a "
                    "text. Take one of them out of the text."
                )
        return cls(Vocabulary(split, (*sorted(pieces), *marks), specials=marks))

    @classmethod
    def bpe(cls, text: str, vocab_size: int, progress: Callable[[float], None] | None = None) -> Tokenizer:
        """Byte-pair encoding trained on `text`: end-of-text mark (id 0), 256 bytes, then merges, most frequent first.

        `progress` gets rising shares of the work in [0, 1]: the share of the text read, scaled to 0.6, and 1.0 at the
        very end. It may be called from a thread of the library; an exception that it raises stops the training and
        comes out here. The size asked for is the size given: ValueError if `vocab_size` is under 257, and
        VocabularyTooLarge, with the largest size possible, if the text has too few pairs to merge.
        """
        _check_text(text)
        if isinstance(vocab_size, bool) or not isinstance(vocab_size, int) or vocab_size < SMALLEST_BPE:
            raise ValueError(
                f"A byte-pair vocabulary needs at least {SMALLEST_BPE} tokens, the 256 bytes and the end-of-text mark; "
                f"{vocab_size!r} was asked for. Choose {SMALLEST_BPE} or more."
            )
        vocabulary = _train(text, vocab_size, progress)
        if len(vocabulary.tokens) < vocab_size:
            raise VocabularyTooLarge(vocab_size, len(vocabulary.tokens))
        tokenizer = cls(vocabulary)
        if progress is not None:
            progress(1.0)
        return tokenizer

    @classmethod
    def gpt2(cls) -> Tokenizer:
        """GPT-2's 50,257 tokens, from the Hub's local cache, an installed package or the Hub. May raise ValueError."""
        return cls(gpt2_vocabulary.gpt2_vocabulary())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Tokenizer:
        """Reads a `tokenizer.json`: one of ours, or another program's byte-level BPE of GPT-2's form.

        Raises ValueError, naming the file and the reason, for anything that is missing, damaged or of another form.
        """
        try:
            return cls(from_tokenizer_json(Path(path).read_text(encoding="utf-8")))
        except UnicodeDecodeError as error:
            raise ValueError(_unreadable(path, "it is not a text file")) from error
        except OSError as error:
            raise ValueError(_unreadable(path, error.strerror or "it cannot be opened")) from error
        except ValueError as error:
            raise ValueError(_unreadable(path, error)) from error

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes `to_json()` to a file. Raises OSError."""
        Path(path).write_text(self.to_json(), encoding="utf-8", newline="\n")

    def to_json(self) -> str:
        """The contents of a `tokenizer.json`, which `load` reads and `tokenizers.Tokenizer.from_file` too."""
        return self._backend.to_str(pretty=True)

    # -- text to ids and back -----------------------------------------------------------------------------------------

    def encode(self, text: str) -> list[int]:
        """Token ids of `text`. Raises UnknownText, naming what the vocabulary has no token for."""
        try:
            if self._split == "char":
                return list(map(self._ids.__getitem__, text))
            if _SURROGATE.search(text) is None:
                return [number for _, ids in self._cut(text) for number in _known(ids)]
        except KeyError:
            pass
        raise UnknownText(self.encode_known(text).unknown, ADVICE[self._split])

    def encode_tensor(self, text: str) -> Tensor:
        """(N,) the ids of `encode`, in the narrowest integers that hold the vocabulary, for long texts.

        A list of ids takes 8 bytes a token and more while it is made; this takes 1, 2 or 4. Turn them to int64 before
        they index anything: torch reads uint8 as a mask. Raises UnknownText.
        """
        kind = next(d for d in (torch.uint8, torch.int16, torch.int32) if self.vocab_size <= torch.iinfo(d).max)
        if self._split != "char":
            parts = [torch.tensor(self.encode(chunk), dtype=kind) for chunk in chunks(text, CHUNK)]
            return torch.cat(parts)
        numbers = torch.full((sys.maxunicode + 1,), -1, dtype=torch.int32)  # by code point
        numbers[[ord(character) for character in self._ids]] = torch.tensor(list(self._ids.values()), dtype=torch.int32)
        found = torch.empty(len(text), dtype=kind)
        for at in range(0, len(text), CHUNK):
            chunk = text[at : at + CHUNK]
            codes = torch.frombuffer(bytearray(chunk, "utf-32-le", "surrogatepass"), dtype=torch.int32)
            ids = numbers[codes]
            if len(ids) and int(ids.min()) < 0:
                raise UnknownText(self.encode_known(chunk).unknown, ADVICE["char"])
            found[at : at + CHUNK] = ids
        return found

    def encode_known(self, text: str) -> Encoding:
        """Ids and byte spans of all that the vocabulary knows, and a list of all that it does not. Never raises."""
        ids: list[int] = []
        offsets: list[tuple[int, int]] = []
        unknown: list[Unknown] = []
        at = 0
        for part in _SURROGATE.split(text):
            if _SURROGATE.fullmatch(part):
                unknown.append(Unknown(at, at + 3, "\ufffd"))
                at += 3
                continue
            for piece, found in self._cut(part):
                if found is None:
                    start, at = at, at + len(piece.encode())
                    unknown.append(Unknown(start, at, piece))
                    continue
                for number in found:
                    start, at = at, at + len(self._raw[number])
                    ids.append(number)
                    offsets.append((start, at))
                if not found:  # blanks that are no token
                    at += len(piece.encode())
        return Encoding(ids, offsets, unknown)

    def decode(self, ids: Iterable[SupportsIndex], after: Sequence[SupportsIndex] = ()) -> str:
        """The text of `ids`; bytes that are no UTF-8 become U+FFFD, special tokens appear as they are written.

        after: the tokens before them, whose text is not repeated; where blanks are no tokens, they decide whether one
        stands first. Raises ValueError for an id outside the vocabulary.
        """
        numbers = map(self._check_id, ids)
        if not self._joined:
            return b"".join([self._raw[number] for number in numbers]).decode(errors="replace")
        parts: list[bytes] = []
        word_before = len(after) > 0 and self._check_id(after[-1]) in self._joined
        for number in numbers:
            word = number in self._joined
            if word and word_before:
                parts.append(BLANK)
            parts.append(self._raw[number])
            word_before = word
        return b"".join(parts).decode(errors="replace")

    def piece(self, id: SupportsIndex) -> Piece:
        """One entry of the vocabulary, for showing. Raises ValueError for an id outside the vocabulary."""
        number = self._check_id(id)
        raw = self._raw[number]
        return Piece(number, raw.decode(errors="replace"), piece_kind(raw, number in self._specials), raw)

    def token_bytes(self) -> list[int]:
        """How many UTF-8 bytes of text each token stands for, by id: what bits per byte divides by. Marks: none.

        Where blanks are no tokens, a word has the blank or break before it with it, and n breaks in a row count n - 1:
        the sum over a text that is one blank between words is its bytes, to within 1 at its first and last token.
        """
        sizes = [0 if number in self._specials else len(raw) for number, raw in enumerate(self._raw)]
        if self._split != "words":
            return sizes
        return [
            size if number in self._specials else size + 1 if number in self._joined else size - 1
            for number, size in enumerate(sizes)
        ]

    # -- byte-pair encoding, laid open --------------------------------------------------------------------------------

    @property
    def merges(self) -> tuple[tuple[int, int, int], ...]:
        """(left, right, joined) ids of each merge, earliest first; none for what is no byte-pair encoding."""
        if self._merges is None:  # 50,000 of them for GPT-2: only where they are asked for
            table = {token: number for number, token in enumerate(self._vocabulary.tokens)}
            pairs = self._vocabulary.merges
            self._merges = tuple((table[left], table[right], table[left + right]) for left, right in pairs)
        return self._merges

    def stretches(self, text: str) -> list[list[int]]:
        """The stretches of `text` that merges never cross, each as the ids of its single bytes; half of a surrogate
        pair counts as U+FFFD. Raises ValueError for a tokenizer that is no byte-pair encoding.
        """
        if self._split != "bpe":
            raise ValueError(f"A vocabulary of kind {self.kind} has no merges: choose a byte-pair encoding.")
        whole = _SURROGATE.sub("\ufffd", text)
        single = [self._ids[letter] for letter in BYTE_LETTERS]
        return [
            [single[BYTE_OF[letter]] for letter in piece]
            for chunk in chunks(whole, CHUNK)
            for piece, _ in self._cutter.pre_tokenize_str(chunk)
        ]

    # -- identity -----------------------------------------------------------------------------------------------------

    @property
    def opening(self) -> int:
        """The token that stands for an empty context: end-of-text, else a line break, else the first of all."""
        if self.end_of_text is not None:
            return self.end_of_text
        return next(iter(self.encode_known("\n").ids), 0)

    def __eq__(self, other: object) -> bool:
        return self.fingerprint == other.fingerprint if isinstance(other, Tokenizer) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __reduce__(self) -> tuple[type[Tokenizer], tuple[Vocabulary]]:
        # The library's object forgets encode_special_tokens when pickled or copied, so it is built anew.
        return Tokenizer, (self._vocabulary,)

    def __repr__(self) -> str:
        return f"Tokenizer({self.kind}, {self.vocab_size:,} tokens)"

    # -- inside -------------------------------------------------------------------------------------------------------

    def _cut(self, text: str) -> Iterator[tuple[str, list[int] | None]]:
        """Consecutive stretches of `text` (without surrogates) and their ids, None where the vocabulary has none."""
        if self._split == "bpe":
            for chunk in chunks(text, CHUNK):
                yield chunk, self._backend.encode(chunk, add_special_tokens=False).ids
            return
        if self._split == "words":
            yield from self._plain_words(text)
            return
        for piece in text if self._split == "char" else self._words(text):
            number = self._ids.get(piece)
            yield piece, None if number is None else [number]

    def _plain_words(self, text: str) -> Iterator[tuple[str, list[int] | None]]:
        """As `_cut`, with an empty list for blanks; line breaks in a row that it lacks come as the single ones."""
        for chunk in chunks(text, CHUNK):
            at = 0
            for piece, (start, end) in self._cutter.pre_tokenize_str(chunk):
                if start > at:
                    yield chunk[at:start], []
                at = end
                number = self._ids.get(piece)
                if number is None and len(piece) > 1 and _BREAK.match(piece):
                    for char in piece:
                        known = self._ids.get(char)
                        yield char, [known] if known is not None else None if _BREAK.fullmatch(char) else []
                else:
                    yield piece, None if number is None else [number]
            if at < len(chunk):
                yield chunk[at:], []

    def _words(self, text: str) -> Iterator[str]:
        """The pieces of `text`; a run of blanks that the vocabulary lacks comes as its single characters instead."""
        for chunk in chunks(text, CHUNK):
            for piece, _ in self._cutter.pre_tokenize_str(chunk):
                if len(piece) > 1 and piece.isspace() and piece not in self._ids:
                    yield from piece
                else:
                    yield piece

    def _check_id(self, id: SupportsIndex) -> int:
        number = operator.index(id)
        if not 0 <= number < self.vocab_size:
            raise ValueError(
                f"Token {number} is not in this vocabulary, whose ids run from 0 to {self.vocab_size - 1}. "
                "Use the tokenizer that belongs to the model."
            )
        return number


def _known(ids: list[int] | None) -> list[int]:
    if ids is None:
        raise KeyError
    return ids


def _unreadable(path: str | os.PathLike[str], reason: object) -> str:
    name = os.fspath(path)
    return f"{name} cannot be read as a tokenizer: {reason}. Save the tokenizer again, or choose another file."


def _check_text(text: str) -> None:
    """Raises ValueError if a vocabulary cannot be built from `text`."""
    if not text:
        raise ValueError("There is no text to build a vocabulary from. Give a text with at least one character.")
    if (half := _SURROGATE.search(text)) is not None:
        raise ValueError(
            f"The text holds half of a surrogate pair at character {half.start():,}, which no file can store. "
            "Read the file again as UTF-8."
        )


def chunks(text: str, size: int) -> Iterator[str]:
    """`text` in stretches of at least `size` characters (the last may be shorter), cut only where tokens end anyway."""
    start = 0
    while (cut := _SAFE_CUT.search(text, start + size)) is not None:
        yield text[start : cut.start()]
        start = cut.start()
    yield text[start:]


def _train(text: str, vocab_size: int, progress: Callable[[float], None] | None) -> Vocabulary:
    """A byte-level BPE of at most `vocab_size` tokens."""
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizer("bpe")
    trainer = trainers.BpeTrainer(
        # The trainer reserves memory for what it is asked for; a text cannot have more merges than bytes.
        vocab_size=min(vocab_size, SMALLEST_BPE + len(text.encode())),
        min_frequency=1,
        show_progress=False,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=BYTE_LETTERS,
    )

    def reading() -> Iterator[str]:
        # The library fetches 256 stretches ahead, so some thousands of them make the share read a true measure.
        read = shown = 0
        for chunk in chunks(text, min(max(len(text) // 5000, 100), 4000)):
            yield chunk
            read += len(chunk)
            if progress is not None and read * 100 // len(text) > shown:
                shown = read * 100 // len(text)
                progress(READING * read / len(text))

    backend.train_from_iterator(reading(), trainer)
    return from_tokenizer_json(backend.to_str())
