"""Cleaning a corpus: a few plain steps, each a switch, each counted, in one fixed order.

    cleaned = clean(corpus, Cleaning(lower=True, urls=True, min_words=5))
    cleaned.corpus.text; cleaned.steps; cleaned.before; cleaned.after

A step works on one *line* at a time: a document of a corpus that has documents (a tweet with its line breaks is one),
else a line of the text. The order is that of the fields of `Cleaning`: entities are decoded before anything looks for
punctuation, links and names go before the characters that mark them, and lines are measured when they are done.

A line that a step leaves without a character goes with that step. Lines that were blank from the start are the
paragraph breaks of a text: they stay, unless `min_characters` or `min_words` asks for more than they have.
"""

from __future__ import annotations

import argparse
import html
import re
import typing
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, NamedTuple, get_args

from model.config import ConfigError
from training.corpus import Corpus, refuse_uniform
from training.files import CorpusError, shown

Entities = Literal["keep", "decode", "drop"]

_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z]\w{1,31});")
_URL = re.compile(r"(?:https?://|www\.)\S+", re.I)
_MENTION = re.compile(r"@\w+")
_HASHTAG = re.compile(r"(?<![\w&])#\w+")  # not in &#39; nor in C#5
_BREAKS = re.compile(r"[\r\n\v\f\x1c-\x1e\x85\u2028\u2029]+")
_EXAMPLES = 6  # lines shown that stay, and half as many that go
_LOOKED_AT = 3_000  # lines that examples are chosen from
_SHOWN = 400  # characters of a line in an example
_NEWS = 5_000  # lines between two words on how far a step is


def _doc(help: str, default: Any, label: str) -> Any:
    return field(default=default, metadata={"help": help, "label": label})


@dataclass(frozen=True)
class Cleaning:
    """Which steps are taken; True: what the step is named after is removed. Raises ConfigError for impossible values.

    The metadata of each field hold its sentence ("help") and what the page calls it ("label").
    """

    entities: Entities = _doc(
        "HTML entities such as &amp;: keep them, decode them to the characters they stand for, or drop them.",
        "keep",
        "HTML entities",
    )
    lower: bool = _doc("Capital letters become small ones.", False, "Lower-case")
    urls: bool = _doc("Web addresses go: http://, https:// or www. and all up to the next blank.", False, "No URLs")
    mentions: bool = _doc("@names go: an @ and the letters, digits and _ after it.", False, "No @mentions")
    hashtags: bool = _doc("#tags go: a # and the letters, digits and _ after it.", False, "No #hashtags")
    punctuation: bool = _doc(
        "Punctuation, symbols and emoji go; what stood left and right of them moves together.", False, "No punctuation"
    )
    digits: bool = _doc("Digits and other numerals go.", False, "No digits")
    other_letters: bool = _doc(
        "Letters beyond A to Z go, accented ones too; with punctuation and digits off, letters and blanks are left.",
        False,
        "Only letters A to Z",
    )
    whitespace: bool = _doc(
        "Line breaks inside a line's text, tabs and rows of blanks become one blank; none is left at the ends.",
        False,
        "Single blanks",
    )
    min_characters: int = _doc("Lines shorter than this many characters go. 0 = none.", 0, "Characters at least")
    min_words: int = _doc(
        "Lines of fewer words than this go; words are what stands between blanks. 0 = none.", 0, "Words at least"
    )
    duplicates: bool = _doc("A line that is the same as an earlier one goes.", False, "No duplicates")

    def __post_init__(self) -> None:
        for name in SWITCHES:
            if not isinstance(getattr(self, name), bool):
                raise ConfigError(f"{name} is {getattr(self, name)!r}; use true or false.")
        if self.entities not in get_args(Entities):
            raise ConfigError(f"entities is {self.entities!r}; choose one of {', '.join(get_args(Entities))}.")
        for name in ("min_characters", "min_words"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 1_000_000:
                raise ConfigError(f"{name} is {value!r}; use 0 (none) or a whole number up to 1,000,000.")

    @property
    def active(self) -> bool:
        """Whether any step is taken."""
        return self != Cleaning()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON or YAML."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Cleaning:
        """What `to_dict` wrote; steps that are left out are not taken. Raises ConfigError for an unknown name."""
        names = [f.name for f in fields(cls)]
        if unknown := sorted(set(values) - set(names)):
            raise ConfigError(f"there is no cleaning step {', '.join(unknown)}; the steps are {', '.join(names)}.")
        return cls(**values)

    def __str__(self) -> str:
        """The steps that are taken, in words for a sentence: 'lower-case, no URLs, at least 5 words'."""
        said = []
        for f in fields(self):
            value = getattr(self, f.name)
            if value == f.default:
                continue
            if f.name == "entities":
                said.append("entities decoded" if value == "decode" else "entities dropped")
            elif f.name.startswith("min_"):
                said.append(f"at least {value:,} {f.name[4:]}")
            else:
                said.append(f.metadata["label"][:1].lower() + f.metadata["label"][1:])
        return ", ".join(said) or "nothing"


SWITCHES = tuple(name for name, kind in typing.get_type_hints(Cleaning).items() if kind is bool)

#: Letters and blanks only, as a reference project cleaned tweets before a GPT learnt them by heart. Of the 5,888 tweets
#: of its CSV it leaves 3,713; as `marked` writes them that is a file of 297,491 characters, the figure they give.
TWEETS = Cleaning(
    entities="decode",
    lower=True,
    urls=True,
    mentions=True,
    hashtags=True,
    punctuation=True,
    digits=True,
    other_letters=True,
    whitespace=True,
    min_words=5,
)


class StepCount(NamedTuple):
    """What one step did. characters_removed counts line breaks too, so that the steps add up to the whole."""

    name: str
    lines_changed: int  # changed and still there
    lines_removed: int
    characters_removed: int  # fewer than none where the text grew: decoding and lower-casing can do that


@dataclass(frozen=True)
class Cleaned:
    """A cleaned corpus and what was done. before, after: (lines, characters); a line is a document where there are any.

    `examples` are lines as they were and as they are, None for one that went; in the order of the text.
    """

    corpus: Corpus
    steps: tuple[StepCount, ...]
    before: tuple[int, int]
    after: tuple[int, int]
    examples: tuple[tuple[str, str | None], ...]


def clean(corpus: Corpus, cleaning: Cleaning, told: Callable[[float], None] | None = None) -> Cleaned:
    """The corpus with the steps of `cleaning` taken. An inactive cleaning gives the same corpus back.

    told: called with rising shares of the work, 0 to 1; what it raises ends the work. Raises CorpusError when nothing
    is left, or nothing that a model could learn from, naming the step to undo.
    """
    units, ending = _units(corpus)
    before = (_counted(units, ending), len(corpus.text))
    if not cleaning.active:
        return Cleaned(corpus, (), before, before, tuple((_short(u), _short(u)) for u in _spoken(units)))
    work = _Work(units, in_documents=corpus.documents is not None)
    steps = list(_steps(cleaning, units))
    for number, (name, step) in enumerate(steps):
        work.take(name, step, lambda part, n=number: told((n + part) / len(steps)) if told else None)  # type: ignore[misc]
    kept = [text for text in work.units if text is not None]
    if not any(text.strip() for text in kept):
        raise _nothing_left(corpus, work.counts)
    text = "\n".join(kept) + ending
    refuse_uniform(text, corpus.name)
    cleaned = replace(
        corpus,
        text=text,
        documents=tuple(kept) if corpus.documents is not None else None,
        notes=(*corpus.notes, f"Cleaned: {cleaning}."),
    )
    after = (_counted(kept, ending), len(text))
    return Cleaned(cleaned, tuple(work.counts), before, after, _examples(units, work))


def marked(corpus: Corpus, mark: str = "<|endoftext|>") -> str:
    """The corpus as a file of marked lines: each document (else each line that is not blank), a blank, the mark.

    The file that the reference project trained on was written so.
    """
    return "".join(f"{unit} {mark}\n" for unit in _said(corpus))


def marked_length(corpus: Corpus, mark: str = "<|endoftext|>") -> int:
    """Characters of `marked`, without making it."""
    return sum(len(unit) + len(mark) + 2 for unit in _said(corpus))


def _said(corpus: Corpus) -> Iterable[str]:
    units, _ = _units(corpus)
    return (unit for unit in units if corpus.documents is not None or unit.strip())


def accounts(cleaned: Cleaned) -> list[str]:
    """What a cleaning did, in lines: the whole, then each step that did anything."""
    (lines, characters), (lines_left, characters_left) = cleaned.before, cleaned.after
    whole = (
        f"cleaned: {lines:,} -> {lines_left:,} lines, {characters:,} -> {characters_left:,} characters "
        f"({marked_length(cleaned.corpus):,} as a file with a mark behind each line)"
    )
    steps = (
        f"  {step.name.replace('_', ' ')}: {step.lines_changed:,} lines changed, {step.lines_removed:,} removed, "
        f"{step.characters_removed:,} characters less"
        for step in cleaned.steps
        if step.lines_changed or step.lines_removed
    )
    return [whole, *steps]


# --- the command line ----------------------------------------------------------------------------------------------


def add_flags(parser: argparse.ArgumentParser) -> None:
    """A flag for each step: --clean-lower, --no-clean-lower, --clean-entities decode, --clean-min-words 5, ..."""
    group = parser.add_argument_group("cleaning", "in this order; a preset may have some of them on")
    hints = typing.get_type_hints(Cleaning)
    for f in fields(Cleaning):
        flag: dict[str, Any] = {"default": None, "help": f.metadata["help"].replace("%", "%%")}
        if hints[f.name] is bool:
            flag["action"] = argparse.BooleanOptionalAction
        elif hints[f.name] is int:
            flag |= {"type": int, "metavar": "N"}
        else:
            flag["choices"] = list(get_args(hints[f.name]))
        group.add_argument(f"--clean-{f.name.replace('_', '-')}", **flag)


def from_options(options: Mapping[str, Any], start: Cleaning | None = None) -> Cleaning:
    """The cleaning that parsed flags ask for (`vars(parser.parse_args())`), beginning from a preset's.

    Raises ConfigError.
    """
    changes = {f.name: options.get(f"clean_{f.name}") for f in fields(Cleaning)}
    return replace(start or Cleaning(), **{name: value for name, value in changes.items() if value is not None})


# --- the steps -----------------------------------------------------------------------------------------------------

Step = Callable[[str], str | None]
"""From a line to the line as it is afterwards; None removes it."""


def _steps(cleaning: Cleaning, units: Sequence[str]) -> Iterable[tuple[str, Step]]:
    """The steps that are taken, in their order."""
    if cleaning.entities != "keep":
        yield "entities", _decoded if cleaning.entities == "decode" else _without(_ENTITY, "&")
    if cleaning.lower:
        yield "lower", str.lower
    if cleaning.urls:
        yield "urls", _without(_URL, "//", ".")
    if cleaning.mentions:
        yield "mentions", _without(_MENTION, "@")
    if cleaning.hashtags:
        yield "hashtags", _without(_HASHTAG, "#")
    for name, unwanted, in_ascii in (
        ("punctuation", _is_punctuation, r"[^A-Za-z0-9\s]"),
        ("digits", _is_digit, r"[0-9]"),
        ("other_letters", _is_other, r"(?!)"),
    ):
        if getattr(cleaning, name):
            yield name, _without_characters(unwanted, re.compile(in_ascii))
    if cleaning.whitespace:
        yield "whitespace", lambda line: " ".join(line.split())
    if cleaning.min_characters:
        yield "min_characters", lambda line: line if len(line) >= cleaning.min_characters else None
    if cleaning.min_words:
        yield (
            "min_words",
            lambda line: line if len(line.split(None, cleaning.min_words)) >= cleaning.min_words else None,
        )
    if cleaning.duplicates:
        yield "duplicates", _once()


def _without(pattern: re.Pattern[str], *marks: str) -> Step:
    """Removes what a pattern finds; looks only where one of its marks stands, which is much quicker."""

    def step(line: str) -> str:
        return pattern.sub("", line) if any(mark in line for mark in marks) else line

    return step


def _decoded(line: str) -> str:
    """Entities as characters. A decoded line break is a blank: it must not part a line."""
    if "&" not in line:
        return line
    text = _ENTITY.sub(lambda found: _BREAKS.sub(" ", html.unescape(found[0])), line)
    return text.replace("\x00", "")


def _without_characters(unwanted: Callable[[str], bool], in_ascii: re.Pattern[str]) -> Step:
    """Removes characters by what they are; each distinct one is looked at once. in_ascii: the same for plain lines."""

    class Table(dict[int, int | None]):
        def __missing__(self, point: int) -> int | None:
            self[point] = None if unwanted(chr(point)) else point
            return self[point]

    table = Table()
    return lambda line: in_ascii.sub("", line) if line.isascii() else line.translate(table)


def _is_punctuation(c: str) -> bool:
    """Neither letter, numeral nor white space: signs, emoji, and the invisible characters that join or colour them.

    Accents are marks of the letter before them and stay; variation selectors and enclosing marks belong to emoji.
    """
    if c.isspace():
        return False
    kind = unicodedata.category(c)
    return kind[0] not in "LNM" or kind == "Me" or "\ufe00" <= c <= "\ufe0f" or "\U000e0100" <= c <= "\U000e01ef"


def _is_digit(c: str) -> bool:
    return unicodedata.category(c)[0] == "N"


def _is_other(c: str) -> bool:
    return not c.isascii() and unicodedata.category(c)[0] in "LM"


def _once() -> Step:
    """Removes lines that were there before; blank ones are paragraph breaks, not repetitions."""
    seen: set[str] = set()

    def step(line: str) -> str | None:
        if line in seen and line.strip():
            return None
        seen.add(line)
        return line

    return step


# --- counting ------------------------------------------------------------------------------------------------------


class _Work:
    """The lines while they are cleaned: None where one has gone."""

    def __init__(self, units: Sequence[str], in_documents: bool) -> None:
        self.units: list[str | None] = list(units)
        self.touched = bytearray(len(units))  # by how many steps each was changed
        self.counts: list[StepCount] = []
        self._in_documents = in_documents

    def take(self, name: str, step: Step, told: Callable[[float], None]) -> None:
        """Take one step and count what it did. told: how much of it is done, 0 to 1."""
        changed = removed = characters = 0
        for place, line in enumerate(self.units):
            if not place % _NEWS:
                told(place / len(self.units))
            if line is None:
                continue
            after = step(line)
            if after is line or after == line:
                continue
            if after is not None and not after.strip() and (self._in_documents or line.strip()):
                after = None  # nothing is left of it
            self.units[place] = after
            if after is None:
                removed += 1
                characters += len(line) + 1
            else:
                changed += 1
                characters += len(line) - len(after)
                self.touched[place] = min(255, self.touched[place] + 1)
        self.counts.append(StepCount(name, changed, removed, characters))


def _units(corpus: Corpus) -> tuple[Sequence[str], str]:
    """The lines, and the line break at the end of the text where there is one."""
    if corpus.documents is not None:
        return corpus.documents, ""
    ending = "\n" if corpus.text.endswith("\n") else ""
    return corpus.text.removesuffix("\n").split("\n"), ending


def _counted(units: Sequence[str], ending: str) -> int:
    return len(units) if units != [""] or ending else 0


def _short(line: str) -> str:
    return line if len(line) <= _SHOWN else line[: _SHOWN - 1] + "…"


def _spoken(units: Sequence[str]) -> list[str]:
    """The first lines that say something."""
    return [unit for unit in units[:_LOOKED_AT] if unit.strip()][:_EXAMPLES]


def _examples(units: Sequence[str], work: _Work) -> tuple[tuple[str, str | None], ...]:
    """The lines that most steps changed, some that went, and untouched ones where there are too few of both."""
    looked = [place for place in range(min(len(units), _LOOKED_AT)) if units[place].strip()]
    going = [place for place in looked if work.units[place] is None]
    staying = sorted((p for p in looked if work.units[p] is not None), key=lambda p: -work.touched[p])
    if not any(work.touched[p] for p in staying) and not going:  # the first change may be far below
        far = (p for p, unit in enumerate(work.units) if unit is None or work.touched[p])
        staying = [*_first(far, _EXAMPLES // 2), *staying]
    chosen = sorted({*going[: _EXAMPLES // 2], *staying[:_EXAMPLES]})
    return tuple((_short(units[p]), None if (after := work.units[p]) is None else _short(after)) for p in chosen)


def _first(places: Iterable[int], count: int) -> list[int]:
    return [place for place, _ in zip(places, range(count), strict=False)]


def _nothing_left(corpus: Corpus, counts: Sequence[StepCount]) -> CorpusError:
    most = max(counts, key=lambda count: count.lines_removed)
    ways = {
        "min_characters": "Ask for fewer characters",
        "min_words": "Ask for fewer words",
        "other_letters": "Keep the letters beyond A to Z",
    }
    label = next(f.metadata["label"] for f in fields(Cleaning) if f.name == most.name)
    way = ways.get(most.name, f'Switch "{label}" off')
    return CorpusError(
        f'This cleaning leaves nothing of "{shown(corpus.name)}": the step "{label}" alone took '
        f"{most.lines_removed:,} lines away. {way}, or take another text."
    )
