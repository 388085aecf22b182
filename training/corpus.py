"""The corpus: what a model is trained on, from an upload, a paste or the Hub, and how it is split.

    corpus = read_corpus("tweets.csv", column="text")      # .txt .md .csv .tsv .jsonl, any usual encoding
    train, validation = split_text(corpus.text, 0.1)
    check_trainable(len(train_ids), len(val_ids), context=64)

Every refusal is a `CorpusError` whose message is a sentence for the visitor. Every repair is said in `Corpus.notes`.
The text is kept as it is: cleaning (lower case, URLs off) is a choice the visitor makes elsewhere.
"""

import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from training.encodings import Decoded, decode, tidy, tidy_notes
from training.files import (
    DEFAULT_MAX_BYTES,
    WHAT_CAN_BE_READ,
    CorpusError,
    read_bytes,
    shown,
    shown_file,
    too_large,
)
from training.tables import Documents, Preview, csv_documents, csv_preview, jsonl_documents, jsonl_preview

CSV_TYPES = (".csv", ".tsv")
JSONL_TYPES = (".jsonl", ".ndjson", ".json")
TEXT_TYPES = (".txt", ".md")
#: File types a corpus is read from. A file of another type is read as plain text when it is text.
READABLE_TYPES = (*TEXT_TYPES, *CSV_TYPES, *JSONL_TYPES)
#: A line of its own with this mark ends a document (TinyStories and many other corpora are written so).
END_OF_TEXT = "<|endoftext|>"


@dataclass(frozen=True)
class Corpus:
    """A text to train on.

    `text` has `\\n` line ends, at least two distinct characters, no NUL and no lone surrogate. `documents` are the rows
    of a table or the stretches between end-of-text marks (`text` is then the documents joined by a line break), None
    for a text that is one stream. `source` is "file", "paste" or "hub:REPOSITORY/FILE". `name` and `notes` are fit to
    stand on a page as plain text; `text` and `documents` are the visitor's and must never be put there as markup.
    """

    name: str
    text: str = field(repr=False)
    source: str
    encoding: str
    notes: tuple[str, ...] = ()
    documents: tuple[str, ...] | None = field(default=None, repr=False)


@dataclass(frozen=True)
class CorpusStatistics:
    """Figures of a corpus, counted over `Corpus.text`. Words are what stands between white space."""

    characters: int
    bytes: int  # as UTF-8
    lines: int
    words: int
    distinct_characters: int
    most_common: tuple[tuple[str, int], ...]  # (character, how often), the most frequent first, 20 at most
    longest_line: int  # in characters
    documents: int  # 0 for one stream of text


def read_corpus(
    path: str | Path,
    *,
    column: str | None = None,
    field: str | None = None,
    keep_good_lines: bool = False,
    max_bytes: int = DEFAULT_MAX_BYTES,
    name: str | None = None,
    source: str = "file",
) -> Corpus:
    """The corpus in a file: plain text, one column of a CSV or one field of a JSON Lines file.

    `column` and `field` may be left out: the one that looks most like text is taken, and named in the notes.
    `keep_good_lines` leaves broken JSON lines out instead of refusing the file. `name` is shown in place of the file's.
    Raises CorpusError, with a sentence that says what is wrong and what to do.
    """
    label = shown_file(path) if name is None else shown(name)
    kind = Path(path).suffix.lower()
    if column is not None and kind not in CSV_TYPES:
        raise CorpusError(f'"{label}" is not a CSV and has no columns. Leave the column empty.')
    if field is not None and kind not in JSONL_TYPES:
        raise CorpusError(f'"{label}" is not a JSON Lines file and has no fields. Leave the field empty.')
    read = decode(read_bytes(path, max_bytes, label), label)
    _refuse_empty(read.text, label)
    if kind in CSV_TYPES:
        return _from_table(read, csv_documents(read.text, label, column), label, source)
    if kind in JSONL_TYPES:
        return _from_table(read, jsonl_documents(read.text, label, field, keep_good_lines), label, source)
    return _from_stream(read, label, source)


def from_text(text: str, name: str = "pasted text", *, max_bytes: int = DEFAULT_MAX_BYTES) -> Corpus:
    """The corpus in a text that was pasted or typed. Raises CorpusError when it is empty, too long or too uniform."""
    label = shown(name)
    size = len(text) if len(text) > max_bytes else len(text.encode("utf-8", errors="replace"))
    if size > max_bytes:
        raise too_large(label, size, max_bytes)
    counts: Counter[str] = Counter()
    text = tidy(text, counts)
    _refuse_empty(text, label)
    return _from_stream(Decoded(text, "Unicode (pasted)", tidy_notes(counts)), label, "paste")


def csv_columns(path: str | Path, *, max_bytes: int = DEFAULT_MAX_BYTES, name: str | None = None) -> Preview:
    """The columns of a CSV file, its first rows and the column that looks most like text. Raises CorpusError."""
    label = shown_file(path) if name is None else shown(name)
    read = decode(read_bytes(path, max_bytes, label), label)
    return csv_preview(read.text, label, read.notes)


def jsonl_fields(path: str | Path, *, max_bytes: int = DEFAULT_MAX_BYTES, name: str | None = None) -> Preview:
    """The fields of a JSON Lines file, its first rows and the field that looks most like text. Raises CorpusError."""
    label = shown_file(path) if name is None else shown(name)
    read = decode(read_bytes(path, max_bytes, label), label)
    return jsonl_preview(read.text, label, read.notes)


def lines_as_documents(corpus: Corpus) -> Corpus:
    """The same corpus with each non-blank line a document of its own: names, verses, tweets in a .txt."""
    documents = tuple(line for line in corpus.text.split("\n") if line.strip())
    note = f"Each line that is not blank is a document: {len(documents):,}."
    return replace(corpus, text="\n".join(documents), documents=documents, notes=(*corpus.notes, note))


def split_text(text: str, val_fraction: float = 0.1) -> tuple[str, str]:
    """(train, validation): the last `val_fraction` of the characters validates, as in nanoGPT; 0 gives (text, "").

    `train + validation == text`. The cut never parts an accent or an emoji modifier from the character it belongs to.
    """
    cut = _cut(len(text), val_fraction)
    while 0 < cut < len(text) and _belongs_to_previous(text, cut):
        cut += 1
    return text[:cut], text[cut:]


def split_documents(documents: Sequence[str], val_fraction: float = 0.1) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(train, validation): the last `val_fraction` of the documents validates, each whole."""
    cut = _cut(len(documents), val_fraction)
    return tuple(documents[:cut]), tuple(documents[cut:])


def check_trainable(n_train_tokens: int, n_val_tokens: int, context: int) -> None:
    """Raises CorpusError when a part is too short to cut one block of `context` tokens and its next token from.

    `n_val_tokens` is 0 for training without validation. The sentence names the shortest text that will do with the
    same split, and the largest context that will do with this text.
    """
    need = context + 1
    if n_train_tokens >= need and (n_val_tokens == 0 or n_val_tokens >= need):
        return
    total = n_train_tokens + n_val_tokens
    fixes = []
    largest = min(n_train_tokens, n_val_tokens or n_train_tokens) - 1
    parts = [part for part in (n_train_tokens, n_val_tokens) if part > 0]
    shortest = max((-(-need * total // part) for part in parts), default=need)
    fixes.append(f"use a text of at least {shortest:,} tokens")
    if largest >= 4:
        fixes.append(f"set the context to at most {largest:,}")
    if n_val_tokens and total >= need:
        fixes.append(f"train without validation (then a context of up to {total - 1:,} works)")
    held = f"{n_train_tokens:,} token{'s' * (n_train_tokens != 1)} to train on" + (
        f" and {n_val_tokens:,} to validate on" if n_val_tokens else ""
    )
    each = " in each part" if n_val_tokens else ""
    raise CorpusError(
        f"The text is too short for a context of {context:,}: it gives {held}, and {need:,} are needed{each} "
        f"(a block and the token after it). To go on, {', or '.join(fixes)}."
    )


def about(corpus: Corpus) -> dict[str, Any]:
    """What a run's config keeps of its text: name, source, size, notes, and its first words as a prompt."""
    head = corpus.text.lstrip()[:32]
    opening = head.rsplit(" ", 1)[0] if len(head) == 32 and " " in head else head
    return {
        "name": corpus.name,
        "source": corpus.source,
        "characters": len(corpus.text),
        "notes": list(corpus.notes),
        "opening": opening.split("\n\n")[0],
    }


def statistics(corpus: Corpus) -> CorpusStatistics:
    """Counts over the whole text, in one pass each."""
    text = corpus.text
    counts = Counter(text)
    lines = text.split("\n")
    if lines[-1] == "":  # a line break ends the last line, it does not begin another
        lines.pop()
    return CorpusStatistics(
        characters=len(text),
        bytes=len(text.encode("utf-8")),
        lines=len(lines),
        words=len(text.split()),
        distinct_characters=len(counts),
        most_common=tuple(counts.most_common(20)),
        longest_line=max(map(len, lines), default=0),
        documents=len(corpus.documents or ()),
    )


def _from_stream(read: Decoded, label: str, source: str) -> Corpus:
    """A corpus of plain text; of documents where lines hold nothing but the end-of-text mark."""
    lines = read.text.split("\n")
    if END_OF_TEXT not in lines:
        _refuse_uniform(read.text, label)
        return Corpus(label, read.text, source, read.encoding, read.notes)
    documents, current = [], list[str]()
    for line in (*lines, END_OF_TEXT):
        if line == END_OF_TEXT:
            documents.append("\n".join(current).strip("\n"))
            current = []
        else:
            current.append(line)
    kept = tuple(document for document in documents if document.strip())
    note = f"Split at the lines {END_OF_TEXT}, which are no part of the text."
    return _from_table(read, Documents(kept, (note,)), label, source)


def _from_table(read: Decoded, documents: Documents, label: str, source: str) -> Corpus:
    text = "\n".join(documents.texts)
    _refuse_empty(text, label)
    _refuse_uniform(text, label)
    notes = (*read.notes, *documents.notes, f"Documents: {len(documents.texts):,}.")
    return Corpus(label, text, source, read.encoding, notes, documents.texts)


def _refuse_empty(text: str, label: str) -> None:
    if not text:
        raise CorpusError(f'"{label}" holds no text. {WHAT_CAN_BE_READ}')
    if text.isspace():
        raise CorpusError(f'"{label}" holds only spaces and line breaks. {WHAT_CAN_BE_READ}')


def _refuse_uniform(text: str, label: str) -> None:
    if len(text) == 1:
        raise CorpusError(
            f'"{label}" is one character long. A model learns which token follows which, so it needs '
            "a text: a page is enough to try, some hundred thousand characters are enough to learn a style."
        )
    if text == text[0] * len(text):
        raise CorpusError(
            f'"{label}" repeats one character ("{shown(text[0])}") and nothing else. There is nothing to predict; '
            "use a text with different characters."
        )


def _cut(length: int, val_fraction: float) -> int:
    if not 0 <= val_fraction < 1:
        raise CorpusError(
            f"The validation part is {val_fraction:g} of the text, but it must be at least 0 (none) and below 1. "
            "Usual is 0.1, the last tenth."
        )
    return int(length * (1 - val_fraction) + 1e-9)  # 1e-9: 0.7 * 10 is 7, whatever floating point makes of it


def _belongs_to_previous(text: str, place: int) -> bool:
    character, previous = text[place], text[place - 1]
    return (
        unicodedata.category(character).startswith("M")  # accents, variation selectors
        or character == "\u200d"  # joins two emoji
        or previous == "\u200d"
        or "\U0001f3fb" <= character <= "\U0001f3ff"  # skin tones
    )


__all__ = [
    "CSV_TYPES",
    "DEFAULT_MAX_BYTES",
    "END_OF_TEXT",
    "JSONL_TYPES",
    "READABLE_TYPES",
    "TEXT_TYPES",
    "Corpus",
    "CorpusError",
    "CorpusStatistics",
    "Preview",
    "check_trainable",
    "csv_columns",
    "from_text",
    "jsonl_fields",
    "lines_as_documents",
    "read_corpus",
    "split_documents",
    "split_text",
    "statistics",
]
