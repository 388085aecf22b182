"""The corpus: what a model is trained on, from an upload, a paste or the Hub, and how it is split.

    corpus = read_corpus("tweets.csv", column="text")      # .txt .md .csv .tsv .jsonl .parquet .zip, any usual encoding
    corpus = read_corpora(["one.txt", "two.txt"])
    train, validation = split_text(corpus.text, 0.1)
    check_trainable(len(train_ids), len(val_ids), context=64)

Every refusal is a `CorpusError` whose message is a sentence for the visitor. Every repair is said in `Corpus.notes`.
The text is kept as it is: cleaning (lower case, URLs off) is a choice the visitor makes elsewhere (`cleaning.py`).
Files are read in pieces; a file of DEFAULT_MAX_BYTES takes less than 1.5 GB of memory or is refused
(`benchmarks/read_memory.py`).
"""

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from training.archives import texts_in
from training.encodings import Decoded, Text, tidy, tidy_notes
from training.files import (
    DEFAULT_MAX_BYTES,
    WHAT_CAN_BE_READ,
    CorpusError,
    Source,
    join_texts,
    megabytes,
    open_source,
    shown,
    shown_list,
    too_large,
)
from training.parquet import parquet_documents, parquet_preview
from training.tables import DELIMITERS, Documents, Preview, csv_documents, csv_preview, jsonl_documents, jsonl_preview

CSV_TYPES = (".csv", ".tsv")
JSONL_TYPES = (".jsonl", ".ndjson", ".json")
PARQUET_TYPES = (".parquet",)
TEXT_TYPES = (".txt", ".md")
#: Types with columns (fields, for JSON Lines), one of which holds the texts.
TABLE_TYPES = (*CSV_TYPES, *JSONL_TYPES, *PARQUET_TYPES)
ARCHIVE_TYPES = (".zip",)
#: File types a corpus is read from. A file of another type is read as plain text when it is text.
READABLE_TYPES = (*TEXT_TYPES, *TABLE_TYPES, *ARCHIVE_TYPES)
_IN_ARCHIVES = (*TEXT_TYPES, *TABLE_TYPES)
#: Several plain texts are a document each when there are at least so many and none is longer than so many characters.
MANY_TEXTS, SHORT_TEXT = 10, 20_000
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
    delimiter: str | None = None,
    keep_good_lines: bool = False,
    max_bytes: int = DEFAULT_MAX_BYTES,
    name: str | None = None,
    source: str = "file",
) -> Corpus:
    """The corpus in a file: plain text, one column of a CSV or Parquet table, one field of a JSON Lines file, or the
    texts of a ZIP archive, in the order of their names.

    `column` and `field` may be left out: the one that looks most like text is taken, and named in the notes.
    `delimiter` of a CSV: "comma", "semicolon", "tab" or "bar"; None: the one that fits best.
    `keep_good_lines` leaves broken JSON lines and ragged rows out instead of refusing the file. `name` is shown in
    place of the file's.
    Raises CorpusError, with a sentence that says what is wrong and what to do.
    """
    source_file = open_source(path, max_bytes, name)
    label, kind = source_file.name, source_file.kind
    if column is not None and kind not in (*CSV_TYPES, *PARQUET_TYPES, *ARCHIVE_TYPES):
        raise CorpusError(f'"{label}" is not a CSV or Parquet table and has no columns. Leave the column out.')
    if field is not None and kind not in JSONL_TYPES:
        raise CorpusError(f'"{label}" is not a JSON Lines file and has no fields. Leave the field out.')
    if delimiter is not None and kind not in (*CSV_TYPES, *ARCHIVE_TYPES):
        raise CorpusError(f'"{label}" is not a CSV and has no delimiter. Leave the delimiter out.')
    options = _Options(column if field is None else field, delimiter, keep_good_lines, max_bytes)
    return _read(source_file, options, source)


def read_corpora(
    paths: Sequence[str | Path],
    *,
    column: str | None = None,
    delimiter: str | None = None,
    keep_good_lines: bool = False,
    max_bytes: int = DEFAULT_MAX_BYTES,
    names: Sequence[str] | None = None,
    source: str = "file",
    refused: dict[int, str] | None = None,
) -> Corpus:
    """The corpus in one or more files, joined in their order; `column` (or field) is that of every table among them,
    and `delimiter` that of every CSV.

    Plain texts become one stream, a line break between two; where there are MANY_TEXTS of them, all short, or tables
    among them, each becomes a document. The notes say so, and the encoding of each file where they differ.
    `max_bytes` bounds all of them together. Raises CorpusError naming the file that cannot be read. With `refused`
    given, such files are left out as long as one can be read, and their places in `paths` and sentences put there.
    """
    if not paths:
        raise CorpusError(f"There is no file to read. {WHAT_CAN_BE_READ}")
    sources = _each(
        dict(enumerate(paths)), lambda i, path: open_source(path, max_bytes, names[i] if names else None), refused
    )
    size = sum(each.size for each in sources.values())
    if size > max_bytes:
        raise CorpusError(
            f"The {len(sources)} files are {megabytes(size)} together, and the limit is {megabytes(max_bytes)}. "
            "Take fewer or shorter ones."
        )
    options = _Options(column, delimiter, keep_good_lines, max_bytes)
    corpora = list(_each(sources, lambda _, each: _read(each, options, source), refused).values())
    if len(corpora) == 1:
        return corpora[0]
    return _joined(corpora, f"{len(corpora)} files: {', '.join(corpus.name for corpus in corpora)}", source, ())


def preview(
    path: str | Path, *, delimiter: str | None = None, max_bytes: int = DEFAULT_MAX_BYTES, name: str | None = None
) -> Preview | None:
    """The columns (or fields) of a table, its first rows and the column that looks most like text.

    None for a file that has no columns. Raises CorpusError.
    """
    source = open_source(path, max_bytes, name)
    if source.kind in PARQUET_TYPES:
        return parquet_preview(source)
    if source.kind not in TABLE_TYPES:
        return None
    text = Text(source)
    if source.kind in CSV_TYPES:
        return csv_preview(text.lines, source.name, text.notes, delimiter)
    return jsonl_preview(text.lines, source.name, text.notes)


def from_text(text: str, name: str = "pasted text", *, max_bytes: int = DEFAULT_MAX_BYTES) -> Corpus:
    """The corpus in a text that was pasted or typed. Raises CorpusError when it is empty, too long or too uniform."""
    label = shown(name)
    size = len(text) if len(text) > max_bytes else len(text.encode("utf-8", errors="replace"))
    if size > max_bytes:
        raise too_large(label, size, max_bytes)
    counts: Counter[str] = Counter()
    text = tidy(text, counts)
    return _from_stream(Decoded(text, "Unicode (pasted)", tidy_notes(counts)), label, "paste")


def lines_as_documents(corpus: Corpus) -> Corpus:
    """The same corpus with each non-blank line a document of its own: names, verses, tweets in a .txt."""
    documents = tuple(line for line in corpus.text.split("\n") if line.strip())
    note = f"Each line that is not blank is a document: {len(documents):,}."
    return replace(corpus, text="\n".join(documents), documents=documents, notes=(*corpus.notes, note))


def split_text(text: str, val_fraction: float = 0.1, whole_words: bool = False) -> tuple[str, str]:
    """(train, validation): the last `val_fraction` of the characters validates, as in nanoGPT; 0 gives (text, "").

    `train + validation == text`. The cut never parts an accent or an emoji modifier from the character it belongs to.
    whole_words: it comes before a blank, so that no part of a word is left that a vocabulary of words lacks.
    """
    cut = _cut(len(text), val_fraction)
    if whole_words and 0 < cut < len(text) and (blank := re.compile(r"\s").search(text, cut)) is not None:
        cut = len(text[: blank.start()].rstrip()) or cut
    while 0 < cut < len(text) and _belongs_to_previous(text, cut):
        cut += 1
    return text[:cut], text[cut:]


def split_documents(documents: Sequence[str], val_fraction: float = 0.1) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(train, validation): the last `val_fraction` of the documents validates, each whole."""
    cut = _cut(len(documents), val_fraction)
    return tuple(documents[:cut]), tuple(documents[cut:])


class TooShort(CorpusError):
    """A text too short for a context. train, held_out: tokens in the two parts; context: what was asked for."""

    def __init__(self, sentence: str, train: int, held_out: int, context: int) -> None:
        super().__init__(sentence)
        self.train, self.held_out, self.context = train, held_out, context


def check_trainable(n_train_tokens: int, n_val_tokens: int, context: int) -> None:
    """Raises TooShort when a part is too short to cut one block of `context` tokens and its next token from.

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
    raise TooShort(
        f"The text is too short for a context of {context:,}: it gives {held}, and {need:,} are needed{each} "
        f"(a block and the token after it). To go on, {', or '.join(fixes)}.",
        n_train_tokens,
        n_val_tokens,
        context,
    )


def about(corpus: Corpus) -> dict[str, Any]:
    """What a run's config keeps of its text: name, source, size, notes, what tells it from others, and its first words
    as a prompt."""
    head = corpus.text.lstrip()[:32]
    opening = head.rsplit(" ", 1)[0] if len(head) == 32 and " " in head else head
    return {
        "name": corpus.name,
        "source": corpus.source,
        "characters": len(corpus.text),
        "sha256": _digest(corpus.text),
        "notes": list(corpus.notes),
        "opening": opening.split("\n\n")[0],
    }


def _digest(text: str) -> str:
    """SHA-256 of a text as UTF-8, a piece at a time: a long one is not held twice."""
    digest = hashlib.sha256()
    for at in range(0, len(text), 1 << 20):
        digest.update(text[at : at + (1 << 20)].encode())
    return digest.hexdigest()


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


class _Options(NamedTuple):
    column: str | None
    delimiter: str | None
    keep_good_lines: bool
    max_bytes: int


_Given = TypeVar("_Given")
_Made = TypeVar("_Made")
_NAMED_REFUSALS = 5


def _each(
    todo: Mapping[int, _Given], work: Callable[[int, _Given], _Made], refused: dict[int, str] | None
) -> dict[int, _Made]:
    """What `work` makes of each file, by its place. Refusals go to `refused`; the error is raised where that is None,
    and one of all sentences where no file is left."""
    done: dict[int, _Made] = {}
    for place, item in todo.items():
        try:
            done[place] = work(place, item)
        except CorpusError as error:
            if refused is None or (len(todo) == 1 and not refused):
                raise
            refused[place] = str(error)
    if not done:
        said = list((refused or {}).values())
        more = f" And {len(said) - _NAMED_REFUSALS:,} more." if len(said) > _NAMED_REFUSALS else ""
        raise CorpusError(" ".join(said[:_NAMED_REFUSALS]) + more)
    return done


def _read(file: Source, options: _Options, source: str) -> Corpus:
    """The corpus in one file. Raises CorpusError."""
    if file.kind in ARCHIVE_TYPES:
        notes: list[str] = []
        corpora = [_read(entry, options, source) for entry in texts_in(file, _IN_ARCHIVES, options.max_bytes, notes)]
        if not corpora:
            raise CorpusError(f'"{file.name}" holds only empty files. Pack some texts.')
        return _joined(corpora, file.name, source, tuple(notes))
    if file.kind in PARQUET_TYPES:
        documents = parquet_documents(file, options.column, options.max_bytes)
        return _from_table(Decoded("", "UTF-8 (Parquet)", ()), documents, file.name, source)
    text = Text(file)
    _refuse_empty(next(text.pieces(), ""), file.name, text)
    if file.kind in CSV_TYPES:
        documents = csv_documents(text.lines, file.name, options.column, options.keep_good_lines, options.delimiter)
    elif file.kind in JSONL_TYPES:
        documents = jsonl_documents(text.lines, file.name, options.column, options.keep_good_lines)
    else:
        return _from_stream(text.whole(), file.name, source)
    return _from_table(Decoded("", text.coding.label, text.notes), documents, file.name, source)


def _joined(corpora: Sequence[Corpus], label: str, source: str, notes: tuple[str, ...]) -> Corpus:
    """Several corpora as one. Notes of each are said with its name."""
    encodings = Counter(corpus.encoding for corpus in corpora)
    said = list(notes)
    if len(encodings) == 1:
        encoding = next(iter(encodings))
    else:
        encoding = "mixed: " + ", ".join(f"{each} ({count:,})" for each, count in encodings.most_common(6))
        listed = "; ".join(f'"{corpus.name}" is {corpus.encoding}' for corpus in corpora[:20])
        more = f"; and {len(corpora) - 20:,} more" if len(corpora) > 20 else ""
        said.append(f"Encodings differ: {listed}{more}.")
    for corpus in corpora:
        ours = [note for note in corpus.notes if not note.startswith(("Encoding:", "Documents:"))]
        said += [f'In "{corpus.name}": {note}' for note in ours] if len(said) < 40 else []
    short = len(corpora) >= MANY_TEXTS and all(len(corpus.text) <= SHORT_TEXT for corpus in corpora)
    names = shown_list([corpus.name for corpus in corpora], 8)
    if short or any(corpus.documents is not None for corpus in corpora):
        documents = [d for corpus in corpora for d in corpus.documents or (corpus.text.strip("\n"),)]
        each = ", each a document" if all(corpus.documents is None for corpus in corpora) else ""
        said.append(f"Joined: {len(corpora):,} texts{each}: {names}.")
        joined = _from_table(Decoded("", encoding, ()), Documents(tuple(documents), tuple(said)), label, source)
    elif len(corpora) == 1:
        return replace(corpora[0], name=shown(label), notes=(*corpora[0].notes, *notes))
    else:
        said.append(f"Joined: {len(corpora):,} texts, one after the other: {names}.")
        text = join_texts([corpus.text.removesuffix("\n") for corpus in corpora], "\n", shown(label))
        joined = Corpus(shown(label), text, source, encoding, tuple(said))
    return replace(joined, name=shown(label))


def _from_stream(read: Decoded, label: str, source: str) -> Corpus:
    """A corpus of plain text; of documents where lines hold nothing but the end-of-text mark."""
    _refuse_empty(read.text, label)
    parts = re.split(rf"^{re.escape(END_OF_TEXT)}$", read.text, flags=re.M) if END_OF_TEXT in read.text else [read.text]
    if len(parts) == 1:
        refuse_uniform(read.text, label)
        return Corpus(label, read.text, source, read.encoding, read.notes)
    kept = tuple(document for part in parts if (document := part.strip("\n")).strip())
    note = f"Split at the lines {END_OF_TEXT}, which are no part of the text."
    return _from_table(read, Documents(kept, (note,)), label, source)


def _from_table(read: Decoded, documents: Documents, label: str, source: str) -> Corpus:
    text = join_texts(documents.texts, "\n", label)
    _refuse_empty(text, label)
    refuse_uniform(text, label)
    notes = (*read.notes, *documents.notes, f"Documents: {len(documents.texts):,}.")
    return Corpus(label, text, source, read.encoding, notes, documents.texts)


def _refuse_empty(beginning: str, label: str, rest: Text | None = None) -> None:
    """Raises for a text without a character to read. rest: the text that this is the beginning of."""
    if not beginning:
        raise CorpusError(f'"{label}" holds no text. {WHAT_CAN_BE_READ}')
    if beginning.isspace() and (rest is None or all(piece.isspace() for piece in rest.pieces())):
        raise CorpusError(f'"{label}" holds only spaces and line breaks. {WHAT_CAN_BE_READ}')


def refuse_uniform(text: str, label: str) -> None:
    """Raises CorpusError for a text of a single character, once or many times: there is nothing to learn from it."""
    if len(text) == 1:
        raise CorpusError(
            f'"{label}" is one character long. A model learns which token follows which, so it needs '
            "a text: a page is enough to try, some hundred thousand characters are enough to learn a style."
        )
    first = re.search("[^\n]", text)
    only = first[0] if first else "\n"
    if not re.search(f"[^\n{re.escape(only)}]", text):  # no strip(): that would copy a text of 200 MB
        raise CorpusError(
            f'"{label}" repeats one character ("{shown(only)}") and nothing else. There is nothing to predict; '
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
    "ARCHIVE_TYPES",
    "CSV_TYPES",
    "DEFAULT_MAX_BYTES",
    "DELIMITERS",
    "END_OF_TEXT",
    "JSONL_TYPES",
    "PARQUET_TYPES",
    "READABLE_TYPES",
    "TABLE_TYPES",
    "TEXT_TYPES",
    "Corpus",
    "CorpusError",
    "CorpusStatistics",
    "Preview",
    "TooShort",
    "check_trainable",
    "from_text",
    "lines_as_documents",
    "preview",
    "read_corpora",
    "read_corpus",
    "refuse_uniform",
    "split_documents",
    "split_text",
    "statistics",
]
