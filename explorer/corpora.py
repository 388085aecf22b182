"""The texts that a visitor can take by one click: those written for this project, and a few from the Hub."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from itertools import accumulate
from pathlib import Path, PurePath
from typing import Any

from explorer import text
from explorer.components import ASSETS
from explorer.session import Reading, Visitor
from training.cleaning import TWEETS, Cleaned, Cleaning, marked_length
from training.corpus import (
    CSV_TYPES,
    DELIMITERS,
    JSONL_TYPES,
    TABLE_TYPES,
    Corpus,
    CorpusStatistics,
    preview,
    read_corpora,
    read_corpus,
    statistics,
)
from training.files import LONGEST_NAME, CorpusError, shown, shown_file
from training.hub import SHELF, from_shelf
from training.origin import Data
from training.tables import GOOD_ONLY

DEFAULT = "tales"
_EXCERPT = 1500  # characters
SAMPLE = 500_000
"""Characters of a long text that a cleaning is shown on at once."""


@dataclass(frozen=True)
class Example:
    """A shipped text: its key, its title, its file in assets/corpora, and the column of a table."""

    key: str
    title: str
    filename: str
    column: str | None = None


SHIPPED = (
    Example("tales", "Tales", "tales.txt"),
    Example("lyrics", "Lyrics", "lyrics.txt"),
    Example("song", "One song", "one_song.txt"),
    Example("posts", "Short posts", "posts.csv", column="text"),
)


def choices() -> list[tuple[str, str]]:
    """(title, key) of every text on offer; those from the Hub say so."""
    shipped = [(example.title, example.key) for example in SHIPPED]
    return shipped + [(f"{item.title} ({text.EXAMPLE_HUB})", f"hub:{item.key}") for item in SHELF]


def take(key: str) -> Corpus:
    """The text with this key. Raises CorpusError with a sentence, also where the network is missing."""
    if key.startswith("hub:"):
        return from_shelf(key.removeprefix("hub:"))
    example = next((example for example in SHIPPED if example.key == key), None)
    if example is None:
        raise CorpusError("This text is not on offer: choose another one.")
    path: Path = ASSETS / "corpora" / example.filename
    if not path.exists():
        raise CorpusError(text.EXAMPLE_MISSING)
    return read_corpus(path, column=example.column, name=example.title, source="shipped")


def text_of(visitor: Visitor) -> Corpus:
    """The visitor's text as it would be trained on, cleaned; the shipped tales until they bring their own. Raises
    CorpusError as `Visitor.text` does."""
    if visitor.corpus is None:
        visitor.take_corpus(take(DEFAULT))
    return visitor.text()


def read(reading: Reading, max_bytes: int, refused: dict[int, str]) -> Corpus:
    """The text in a visitor's files. refused: filled as by `read_corpora`. Raises CorpusError where none is left."""
    return read_corpora(
        reading.paths,
        column=reading.column,
        delimiter=reading.delimiter,
        keep_good_lines=reading.keep_good,
        max_bytes=max_bytes,
        names=reading.names,
        source=reading.source,
        refused=refused,
    )


def table(visitor: Visitor, max_bytes: int) -> dict[str, Any]:
    """The visitor's files, and the first table among them, to choose how it is read: its columns and first rows; or
    those of the one that was refused last, as long as it can be read in another way."""
    used, wish = visitor.reading, visitor.wish
    reading = wish or used
    listed = [_file(used, place) for place in used.used] if used and used.source == "file" else []
    found = _first_table(reading, max_bytes) if reading else {}
    return _NO_TABLE | {"files": listed} | found | {"refused": name_of(wish, 0) if wish else None}


_NO_TABLE: dict[str, Any] = {
    "columns": [],
    "rows": [],
    "column": None,
    "keep_good": False,
    "can_keep": False,
    "delimiter": None,
    "delimiters": [],
    "layout": None,
}


def origin(visitor: Visitor, corpus: Corpus) -> Data:
    """Where a visitor's text came from, as a run's config says it: names, never places on the server. corpus: what is
    left of it after cleaning."""
    reading, size = visitor.reading, len(corpus.text)
    if reading is not None:
        hub = reading.source.removeprefix("hub:") if reading.source.startswith("hub:") else None
        names = tuple(name_of(reading, place) for place in reading.used)
        return Data(names, reading.column, reading.delimiter, reading.keep_good, hub, size)
    if corpus.source == "shipped":
        for item in SHIPPED:
            if item.title == corpus.name:
                return Data((f"assets/corpora/{item.filename}",), item.column, characters=size)
    hub = corpus.source.removeprefix("hub:") if corpus.source.startswith("hub:") else None
    column = next((item.column for item in SHELF if f"{item.repo_id}/{item.filename}" == hub), None)
    return Data((PurePath(hub).name,) if hub else (), column, hub=hub, characters=size)


def can_be_mended(reading: Reading, max_bytes: int) -> bool:
    """Whether files that were refused could be read by another column or delimiter, or without their bad lines."""
    found = _first_table(reading, max_bytes)
    return bool(found.get("rows") or found.get("can_keep"))


def has_bad_lines(sentences: Iterable[str]) -> bool:
    """Whether refusals or notes of a corpus tell of lines that `keep_good` would leave out."""
    return any(GOOD_ONLY in sentence for sentence in sentences)


def name_of(reading: Reading, place: int) -> str:
    """What a file is called, as it may be shown."""
    return shown(reading.names[place], LONGEST_NAME) if reading.names else shown_file(reading.paths[place])


def _file(reading: Reading, place: int) -> list[Any]:
    path = Path(reading.paths[place])
    return [name_of(reading, place), path.stat().st_size if path.exists() else None]


def _first_table(reading: Reading, max_bytes: int) -> dict[str, Any]:
    """What `table` says of the first file with columns, those in use before those refused beside them; nothing of
    files that cannot be looked into."""
    found: dict[str, Any] = {}
    for place in [*reading.used, *dict(reading.refused)]:
        kind = Path(reading.paths[place]).suffix.lower()
        if kind not in TABLE_TYPES:
            continue
        try:
            look = preview(reading.paths[place], delimiter=reading.delimiter, max_bytes=max_bytes)
        except CorpusError:
            continue  # the card says what is wrong with the file
        if look is None or not look.rows or not look.texts:
            continue
        if kind in CSV_TYPES + JSONL_TYPES:
            found |= {"can_keep": reading.bad_lines or reading.keep_good, "keep_good": reading.keep_good}
            found.setdefault("layout", look.layout)
        if kind in CSV_TYPES:
            found |= {"delimiters": list(DELIMITERS), "delimiter": reading.delimiter, "layout": look.layout}
        if "columns" not in found and len(look.columns) > 1:
            chosen = reading.column if reading.column in look.columns else look.guess
            found |= {"columns": list(look.columns), "rows": [list(row) for row in look.rows], "column": chosen}
    return found


def sample(corpus: Corpus) -> Corpus:
    """The beginning of a long corpus in whole lines or documents, to show a cleaning on while the whole is cleaned."""
    if corpus.documents is None:
        end = corpus.text.find("\n", SAMPLE)
        return replace(corpus, text=corpus.text if end < 0 else corpus.text[: end + 1])
    sizes = accumulate(len(document) + 1 for document in corpus.documents)
    count = next((number for number, size in enumerate(sizes, 1) if size > SAMPLE), len(corpus.documents))
    part = corpus.documents[:count]
    return replace(corpus, text="\n".join(part), documents=part)


def cleaned(done: Cleaned, cleaning: Cleaning, sample: int | None = None) -> dict[str, Any]:
    """What the page says of a cleaning: the steps to choose from, what each did, and lines before and after.

    sample: characters that were cleaned, where that is not the whole text.
    """
    counts = {step.name: step for step in done.steps}
    steps = []
    for field in fields(Cleaning):
        count = counts.get(field.name)
        value = getattr(cleaning, field.name)
        steps.append(
            {
                "name": field.name,
                "label": field.metadata["label"],
                "help": field.metadata["help"],
                "value": value,
                "tweets": getattr(TWEETS, field.name),
                "changed": count.lines_changed if count else None,
                "removed": count.lines_removed if count else None,
                "characters": count.characters_removed if count else None,
            }
        )
    return {
        "steps": steps,
        "sample": sample,
        "unit": "documents" if done.corpus.documents is not None else "lines",
        "before": {"lines": done.before[0], "characters": done.before[1]},
        "after": {"lines": done.after[0], "characters": done.after[1], "marked": marked_length(done.corpus)},
        "examples": [list(example) for example in done.examples],
        "words": str(cleaning) if cleaning.active else None,
    }


def describe(visitor: Visitor) -> dict[str, Any]:
    """What the page says of a visitor's text: figures, notes and its beginning, as it was read; and what cleaning
    leaves of it."""
    corpus = visitor.corpus
    if corpus is None:
        raise CorpusError(text.NO_TEXT)
    counted: CorpusStatistics = statistics(corpus)
    figures = [
        ("characters", f"{counted.characters:,}"),
        ("distinct", f"{counted.distinct_characters:,}"),
        ("words", f"{counted.words:,}"),
        ("lines", f"{counted.lines:,}"),
        ("bytes as UTF-8", f"{counted.bytes:,}"),
    ]
    if counted.documents:
        figures.append(("documents", f"{counted.documents:,}"))
    return {
        "name": corpus.name,
        "source": corpus.source,
        "encoding": corpus.encoding,
        # the plain case is said above the notes
        "example": visitor.example,
        "taken": visitor.taken,
        "files": len(visitor.reading.used) if visitor.reading else 0,
        "refused": [sentence for _, sentence in visitor.reading.refused] if visitor.reading else [],
        "notes": [note for note in corpus.notes if not note.startswith("Encoding: UTF-8")],
        "characters": counted.characters,
        "figures": figures,
        "excerpt": corpus.text[:_EXCERPT],
        "more": max(0, counted.characters - _EXCERPT),
        "left": len(visitor.text().text),
        "cleaned": str(visitor.cleaning) if visitor.cleaning.active else None,
        "common": [[character, count / counted.characters] for character, count in counted.most_common[:12]],
    }
