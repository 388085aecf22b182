"""The words of the tales, read from the tables in words/: people, animals, things, places."""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from corpora.grammar import article

TABLES = Path(__file__).parent / "words"
COLOURS = frozenset(
    "red blue green yellow orange white black brown pink purple grey golden silver striped spotted".split()
)
# A mark that is heard or smelled: lines in which somebody sees the mark forbid the tag "unseen".
UNSEEN = re.compile(r"\b(voice|smell|tick|song|hum|squeak|ding)\b")
PRONOUNS = {
    "she": {"he": "she", "him": "her", "his": "her", "hers": "hers", "himself": "herself", "boy": "girl"},
    "he": {"he": "he", "him": "him", "his": "his", "hers": "his", "himself": "himself", "boy": "boy"},
}


@dataclass(frozen=True)
class Noun:
    """A kind of thing: its adjectives (one is chosen for a tale), its marks, and what can be done with it."""

    name: str
    number: str  # "one", "pair" (boots) or "some" (beads)
    adjectives: tuple[str, ...]
    marks: tuple[str, ...]
    tags: frozenset[str]


@dataclass(frozen=True)
class Thing:
    """The thing of one tale: it keeps its adjective and its mark from the first line to the last."""

    noun: Noun
    adjective: str
    mark: str

    @property
    def plural(self) -> bool:
        return self.noun.number != "one"

    @property
    def tags(self) -> set[str]:
        extra = {"colour"} if self.adjective in COLOURS else set()
        extra |= {"unseen"} if UNSEEN.search(self.mark) else set()
        return {*self.noun.tags, self.noun.name, *extra}

    def with_article(self, words: str) -> str:
        return {"pair": f"a pair of {words}", "some": f"some {words}"}.get(self.noun.number, article(words))


@dataclass(frozen=True)
class Somebody:
    """Somebody met on the way, an animal or a grown-up."""

    kind: str  # "goat", or "the baker"
    pronoun: str
    doing: tuple[str, ...]
    remarks: tuple[str, ...]
    tags: frozenset[str]


@dataclass(frozen=True)
class Place:
    name: str  # "the barn"
    inside: str  # "in the barn"
    spots: tuple[str, ...]  # "under the hay"
    top: str  # "on the roof of the barn", empty where nothing can land
    dens: tuple[str, ...]  # where a child can hide
    tags: frozenset[str]


def rows(table: str) -> list[list[str]]:
    """The rows of words/<table>.txt, split at the bars; a line that begins with # is a comment."""
    lines = (TABLES / f"{table}.txt").read_text(encoding="ascii").splitlines()
    return [[cell.strip() for cell in line.split("|")] for line in lines if line and not line.startswith("#")]


def parts(cell: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in cell.split(";") if part.strip())


@cache
def nouns() -> tuple[Noun, ...]:
    number = {"*": "pair", "+": "some"}
    return tuple(
        Noun(
            name.rstrip("*+"),
            number.get(name[-1], "one"),
            tuple(adjectives.split()),
            parts(marks),
            frozenset([*tags.split(), *(["pl"] if name[-1] in number else [])]),
        )
        for name, adjectives, marks, tags in rows("things")
    )


@cache
def animals() -> tuple[Somebody, ...]:
    return tuple(
        Somebody(kind, pronoun, parts(doing), parts(remarks), frozenset([*tags.split(), kind]))
        for kind, pronoun, doing, remarks, tags in rows("animals")
    )


@cache
def grown_ups() -> tuple[Somebody, ...]:
    return tuple(
        Somebody(kind, pronoun, parts(doing), (), frozenset()) for kind, pronoun, doing, _place in rows("people")
    )


@cache
def places() -> tuple[Place, ...]:
    return tuple(
        Place(name, f"{preposition} {name}", parts(spots), top, parts(dens), frozenset(tags.split()))
        for name, preposition, spots, top, tags, dens in rows("places")
    )


@cache
def names() -> dict[str, tuple[str, ...]]:
    """Names by pronoun: {"she": (...), "he": (...)}."""
    sections = (TABLES / "names.txt").read_text(encoding="ascii").split("# ")[1:]
    return {section.split()[0]: tuple(section.split()[1:]) for section in sections}


def plural(noun: str) -> str:
    if noun.endswith(("s", "x", "ch", "sh", "to")):
        return noun + "es"
    if noun.endswith("f"):
        return noun[:-1] + "ves"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + "s"
