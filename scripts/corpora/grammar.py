"""A small template language, and the even-handed chooser behind it.

Three things may stand in a line of a plot:

    <wood|thread|string>     one of these words
    {thing} {a thing} {He}   a fact of this tale; a capital letter in the key gives one in the text
    {x} {y} {z}              somebody met on the way: a goat the first time, the goat after that
    {@joy}                   one line of the pool called joy, itself a template

A line may end in a guard, `[toy !pl +gate]`: it is used only when the tale has the tag toy and not
the tag pl, and it adds the tag gate, which later lines may ask for. A line that is only `-` says nothing.
"""

import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

CHOICE = re.compile(r"<([^<>]*)>")
SLOT = re.compile(r"\{(@?[A-Za-z0-9_ ]+)\}")
Option = TypeVar("Option")
GUARD = re.compile(r"^(.*?)\s*\[([^\[\]]*)\]$")


@dataclass(frozen=True)
class Line:
    """One variant: its template, the tags it asks for, the tags it forbids and the tags it adds."""

    text: str
    needs: frozenset[str] = frozenset()
    forbids: frozenset[str] = frozenset()
    adds: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, source: str) -> "Line":
        guarded = GUARD.match(source)
        if not guarded:
            return cls("" if source == "-" else source)
        words = guarded[2].split()
        return cls(
            "" if guarded[1] == "-" else guarded[1],
            needs=frozenset(word for word in words if word[0] not in "!+"),
            forbids=frozenset(word[1:] for word in words if word[0] == "!"),
            adds=frozenset(word[1:] for word in words if word[0] == "+"),
        )

    def fits(self, tags: set[str]) -> bool:
        return self.needs <= tags and not self.forbids & tags


class Chooser:
    """Draws at random, but never a second time while something else in the list was drawn less often.

    Plain random choice would use some lines three times as often as others; a reader notices.
    """

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.used: Counter[object] = Counter()

    def pick(self, options: Sequence[Option], about: str = "") -> Option:
        """One of `options` (hashable); counts are kept for each pair of `about` and option."""
        fewest = min(self.used[about, option] for option in options)
        chosen = self.random.choice([option for option in options if self.used[about, option] == fewest])
        self.used[about, chosen] += 1
        return chosen


def article(words: str) -> str:
    """`words` with "a" or "an" before them; the words of these corpora have no silent h and no yoo."""
    return ("an " if words[0].lower() in "aeiou" else "a ") + words


def capital(words: str) -> str:
    return words[:1].upper() + words[1:]


def lower(words: str) -> str:
    return words[:1].lower() + words[1:]


def look_up(key: str, facts: dict[str, str]) -> str:
    """The fact called `key`; `He` is the fact `he` with a capital, where no fact is called `He` itself.

    A fact `x` with a fact `then x` beside it becomes that one once it was told: a goat, then the goat.
    """
    name = key if key in facts else lower(key)
    if name not in facts:
        raise KeyError(f"A template asks for {{{key}}}, and the tale has no such fact.")
    value = facts[name]
    facts[name] = facts.get(f"then {name}", value)
    return value if name == key else capital(value)


def fill(
    text: str, facts: dict[str, str], tags: set[str], pools: Mapping[str, Sequence[Line]], chooser: Chooser
) -> str:
    """Renders a template; adds to `tags` what the chosen pool lines add."""
    while choice := CHOICE.search(text):
        text = text[: choice.start()] + chooser.pick(choice[1].split("|"), choice[1]) + text[choice.end() :]
    while slot := SLOT.search(text):
        key = slot[1]
        value = say(pools[key[1:]], key, facts, tags, pools, chooser) if key[0] == "@" else look_up(key, facts)
        text = text[: slot.start()] + value + text[slot.end() :]
    return text


def say(
    lines: Sequence[Line],
    about: str,
    facts: dict[str, str],
    tags: set[str],
    pools: Mapping[str, Sequence[Line]],
    chooser: Chooser,
) -> str:
    """Picks one of the lines whose guard fits, notes the tags it adds, and renders it."""
    fitting = [line for line in lines if line.fits(tags)]
    if not fitting:
        raise LookupError(f"No line of {about!r} fits a tale with the tags {sorted(tags)}.")
    line = chooser.pick(fitting, about)
    tags |= line.adds
    return fill(line.text, facts, tags, pools, chooser)
