"""Tells the tales: reads the plots, casts them, and writes them one after the other to a given size."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from corpora.cast import Cast
from corpora.grammar import Chooser, Line, fill, say

PLOTS = Path(__file__).parent / "plots"
SEED = 20_26
SIZE = 1_150_000  # bytes of tales.txt, reached with the last whole tale
SHORTEST, LONGEST = 500, 1_000  # characters of a tale, its title among them
TWICE = re.compile(r"\b([a-z]+) \1\b")


@dataclass(frozen=True)
class Beat:
    """One step of a plot, told by one of its lines; `starts` a new paragraph or goes on in the old one."""

    name: str
    starts: bool
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Plot:
    name: str
    wishes: dict[str, str]  # "thing", "mark", "other", "third", "cast", "places", "riddles", "groceries"
    titles: tuple[Line, ...]
    beats: tuple[Beat, ...]


@dataclass(frozen=True)
class Tale:
    plot: str
    title: str
    body: str
    hero: str
    noun: str

    def __str__(self) -> str:
        return f"{self.title}\n{self.body}\n"


def content(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def parse_plot(source: str) -> Plot:
    """One plot: its name, its wishes ("key: value"), then beats that open with "== name" or "++ name"."""
    name, *lines = content(source)
    start = next(i for i, line in enumerate(lines) if line.startswith("== "))
    wishes = dict(line.split(": ", 1) for line in lines[:start] if ": " in line)
    beats: list[tuple[str, bool, list[Line]]] = []
    for line in lines[start:]:
        if line[:3] in ("== ", "++ "):
            beats.append((line[3:], line[0] == "=", []))
        else:
            beats[-1][2].append(Line.parse(line))
    told = tuple(Beat(beat, starts, tuple(variants)) for beat, starts, variants in beats)
    return Plot(name, wishes, told[0].lines, told[1:])


@cache
def plots() -> dict[str, Plot]:
    files = sorted(path for path in PLOTS.glob("*.txt") if path.stem != "common")
    sources = [re.split(r"^# (?=[a-z]+$)", path.read_text(encoding="ascii"), flags=re.MULTILINE)[1:] for path in files]
    told = (parse_plot(source) for in_file in sources for source in in_file)
    return {plot.name: plot for plot in told}


@cache
def pools() -> dict[str, tuple[Line, ...]]:
    sections = re.split(r"^@ ", (PLOTS / "common.txt").read_text(encoding="ascii"), flags=re.MULTILINE)[1:]
    named = (content(section) for section in sections)
    return {name: tuple(Line.parse(line) for line in lines) for name, *lines in named}


def cast_of(plot: Plot, chooser: Chooser) -> Cast:
    cast = Cast(chooser)
    cast.hero_and_friends()
    cast.tags |= cast.thing("", plot.wishes["thing"], seen="mark" in plot.wishes).tags
    for prefix, key in (("o", "other"), ("t", "third")):
        if key in plot.wishes:
            cast.thing(prefix, plot.wishes[key])
    for role in plot.wishes["cast"].split():
        key, _, wish = role.partition(":")
        if key in "xyz":
            cast.animal(key, wish)
        elif key == "n":
            cast.grown_up()
    for role in plot.wishes.get("places", "").split():
        key, _, wish = role.partition(":")
        cast.place(key, wish)
    if "riddles" in plot.wishes:
        cast.numbered("riddles", "ra", int(plot.wishes["riddles"]))
    if "groceries" in plot.wishes:
        cast.numbered("groceries", "g", int(plot.wishes["groceries"]))
    return cast


def tell(plot: Plot, chooser: Chooser) -> Tale:
    cast = cast_of(plot, chooser)
    facts, tags = cast.facts, cast.tags
    body = ""
    for beat in plot.beats:
        text = say(beat.lines, f"{plot.name} {beat.name}", facts, tags, pools(), chooser)
        body += ("\n" if beat.starts else " ") + text if text else ""
    title = fill(chooser.pick(plot.titles, plot.name).text, facts, tags, pools(), chooser)
    body = re.sub(r" */ *", "\n", body).strip()
    return Tale(plot.name, title, body, facts["H"], facts["noun"])


def faults(tale: Tale) -> list[str]:
    """Why a tale is thrown away and told again; empty when it may stand."""
    third = len(tale.body) // 3
    ends = (tale.body[:third], tale.body[-third:])
    found = []
    if not SHORTEST <= len(str(tale)) <= LONGEST:
        found.append(f"{len(str(tale))} characters")
    for word in (tale.hero, tale.noun):
        if not all(re.search(rf"\b{word}\b", part) for part in ends):
            found.append(f"{word} is not there at the beginning and at the end")
    if TWICE.search(tale.body):
        found.append(f"doubled word: {TWICE.search(tale.body)}")
    return found


def tell_all(seed: int = SEED, size: int = SIZE) -> list[Tale]:
    """Tales of about `size` bytes together, every plot as often as every other; no two alike."""
    chooser = Chooser(seed)
    told: list[Tale] = []
    seen: set[str] = set()
    length = 0
    while length < size:
        plot = plots()[chooser.pick(list(plots()), "plot")]
        tale = tell(plot, chooser)
        while faults(tale) or tale.body in seen:
            tale = tell(plot, chooser)
        told.append(tale)
        seen.add(tale.body)
        length += len(str(tale)) + 1
    return told


def tales_text(seed: int = SEED, size: int = SIZE) -> str:
    """The text of tales.txt: a title line, the tale, a blank line, and so on."""
    return "\n".join(str(tale) for tale in tell_all(seed, size))


def count_words(tales: Sequence[Tale]) -> int:
    return len({word for tale in tales for word in re.findall(r"[a-z']+", str(tale).lower())})
