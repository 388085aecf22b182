"""The texts that a visitor can take by one click: those written for this project, and a few from the Hub."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from explorer import text
from explorer.components import ASSETS
from training.corpus import Corpus, CorpusStatistics, read_corpus, statistics
from training.files import CorpusError
from training.hub import SHELF, from_shelf

DEFAULT = "tales"
_EXCERPT = 1500  # characters


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


def describe(corpus: Corpus) -> dict[str, Any]:
    """What the page says of a text: figures, notes and its beginning."""
    counted: CorpusStatistics = statistics(corpus)
    figures = [
        ("characters", f"{counted.characters:,}"),
        ("distinct", f"{counted.distinct_characters:,}"),
        ("words", f"{counted.words:,}"),
        ("lines", f"{counted.lines:,}"),
        ("bytes", f"{counted.bytes:,}"),
    ]
    if counted.documents:
        figures.append(("documents", f"{counted.documents:,}"))
    return {
        "name": corpus.name,
        "source": corpus.source,
        "encoding": corpus.encoding,
        # the plain case is said above the notes
        "notes": [note for note in corpus.notes if not note.startswith("Encoding: UTF-8")],
        "characters": counted.characters,
        "figures": figures,
        "excerpt": corpus.text[:_EXCERPT],
        "more": max(0, counted.characters - _EXCERPT),
        "common": [[character, count / counted.characters] for character, count in counted.most_common[:12]],
    }
