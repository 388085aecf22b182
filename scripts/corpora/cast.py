"""Who and what a tale is about: draws the cast of a plot and writes down the facts its templates may use."""

from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar

from corpora import words
from corpora.grammar import Chooser, article, capital
from corpora.words import PRONOUNS, Place, Somebody, Thing

ELDERS = (
    ("Grandma", "she"),
    ("Grandpa", "he"),
    ("Mother", "she"),
    ("Father", "he"),
    ("Auntie", "she"),
    ("Uncle", "he"),
)

YOUNG = {"duck": "duckling", "hen": "chick", "goose": "gosling", "owl": "owlet"}
PRESENT = {"was": "is", "were": "are"}


class Tagged(Protocol):
    @property
    def tags(self) -> frozenset[str]: ...


TaggedT = TypeVar("TaggedT", bound=Tagged)


def matches(tags: Iterable[str], wish: str) -> bool:
    """Whether `tags` meet a wish such as "carry toy|wear !soft" (bars separate what is equally good)."""
    have = set(tags)
    return any(
        all((word[1:] not in have) if word[0] == "!" else (word in have) for word in option.split())
        for option in wish.split("|")
    )


class Cast:
    """Draws people, animals, things and places, never the same twice, into `facts` and `tags`."""

    def __init__(self, chooser: Chooser) -> None:
        self.chooser = chooser
        self.facts: dict[str, str] = {}
        self.tags: set[str] = set()
        self.taken: set[object] = set()

    def draw(self, options: Iterable[TaggedT], about: str, wish: str = "") -> TaggedT:
        free = [o for o in options if o not in self.taken and (not wish or matches(o.tags, wish))]
        chosen = self.chooser.pick(free, about)
        self.taken.add(chosen)
        return chosen

    def pronouns(self, prefix: str, pronoun: str) -> None:
        for key, word in PRONOUNS[pronoun].items():
            self.facts[prefix + key] = word

    def hero_and_friends(self) -> None:
        """H and F have different pronouns, so that "she" and "he" always point to one of them only."""
        kinds = ["she", "he"]
        self.chooser.random.shuffle(kinds)
        for key, prefix, pronoun in (("H", "", kinds[0]), ("F", "f", kinds[1]), ("G", "g", kinds[0])):
            name = self.chooser.pick([n for n in words.names()[pronoun] if n not in self.taken], "name")
            self.taken.add(name)
            self.facts |= {key: name, key + "s": name + "'s"}
            self.pronouns(prefix, pronoun)
        elder, pronoun = self.chooser.pick(ELDERS, "elder")
        self.facts |= {"E": elder, "e": elder.lower()}
        self.pronouns("e", pronoun)

    def thing(self, prefix: str, wish: str, seen: bool = False) -> Thing:
        """Draws a thing, with a mark that can be `seen` if need be; "o" and "t" prefix a second and a third one."""
        if wish == "same":  # the same noun in another colour
            noun = next(o for o in self.taken if isinstance(o, words.Noun))
            adjectives = [a for a in noun.adjectives if f"{a} {noun.name}" != self.facts["thing"]]
        else:
            noun = self.draw(words.nouns(), "noun", wish)
            adjectives = list(noun.adjectives)
        adjective = self.chooser.pick(adjectives, f"adjective of {noun.name}")
        marks = [m for m in noun.marks if adjective not in m.split() and m != self.facts.get("a mark")]
        marks = [m for m in marks if not (seen and words.UNSEEN.search(m))]
        thing = Thing(noun, adjective, self.chooser.pick(marks, f"mark of {noun.name}"))
        self.facts |= thing_facts(thing, prefix)
        return thing

    def animal(self, key: str, wish: str) -> None:
        somebody = self.draw(words.animals(), "animal", wish)
        self.tags |= {f"{key}:{tag}" for tag in somebody.tags}
        self.somebody(key, somebody, article(somebody.kind))
        self.facts |= {f"then {key}": f"the {somebody.kind}", f"{key}kind": somebody.kind}
        young = YOUNG.get(somebody.kind, f"little {somebody.kind}")
        self.facts |= {f"{key}young": young, f"a {key}young": article(young), f"{key}title": young.title()}
        self.facts[f"{key}say"] = self.chooser.pick(somebody.remarks, f"remark of {somebody.kind}")

    def grown_up(self) -> None:
        somebody = self.draw(words.grown_ups(), "grown-up")
        self.somebody("n", somebody, somebody.kind)

    def somebody(self, key: str, somebody: Somebody, name: str) -> None:
        self.facts |= {key: name, f"{key}do": self.chooser.pick(somebody.doing, f"doing of {somebody.kind}")}
        self.pronouns(key, somebody.pronoun)

    def place(self, key: str, wish: str) -> None:
        place: Place = self.draw(words.places(), "place", wish)
        self.tags |= {f"{key}:{tag}" for tag in place.tags} | ({f"{key}:roofed"} if "roof" in place.top else set())
        spots = list(place.spots)
        self.chooser.random.shuffle(spots)
        self.facts |= {key: place.name, f"in {key}": place.inside, f"{key}top": place.top}
        self.facts |= {f"{key}spot": spots[0], f"{key}spot2": spots[1]}
        if place.dens:
            self.facts[f"{key}hide"] = self.chooser.pick(place.dens, "den")

    def numbered(self, table: str, keys: str, count: int) -> None:
        """`count` different rows of a table, as facts k1, k2, ...; with two letters, one for each column."""
        chosen = list(words.rows(table))
        for number in range(1, count + 1):
            row = self.chooser.pick([tuple(r) for r in chosen], table)
            chosen.remove(list(row))
            self.facts |= {f"{key}{number}": cell for key, cell in zip(keys, row, strict=True)}


def thing_facts(thing: Thing, prefix: str) -> dict[str, str]:
    """Facts of a thing: its names, its pronouns and the verbs that agree with it."""
    noun, many = thing.noun.name, thing.plural
    name = f"{thing.adjective} {noun}"
    bare = thing.mark.removeprefix("a ").removeprefix("an ")
    choose: Callable[[str, str], str] = lambda one, more: more if many else one  # noqa: E731
    whole = {"": "thing", "o": "other", "t": "third"}[prefix]
    verb = "were" if thing.noun.number == "some" else "was"  # "a pair of boots was", "some beads were"
    whole_name = thing.with_article(name)
    title = thing.with_article(name.title()).replace("pair", "Pair")
    facts = {
        "noun": noun,
        "nouns": noun if many else words.plural(noun),
        "a noun": thing.with_article(noun),
        "adj": thing.adjective,
        "it": choose("it", "they"),
        "obj": choose("it", "them"),
        "is": choose("is", "are"),
        "was": choose("was", "were"),
        "has": choose("has", "have"),
        "this": choose("this", "these"),
        "fine": choose(f"a fine {noun}", f"fine {noun}"),
        "a mark": thing.mark,
        "the mark": f"the {bare}",
        "T": name.title(),
        "a T": title,
        "A T": capital(title),
    }
    facts = {(f"{prefix}{key}" if prefix else key): value for key, value in facts.items()}
    facts |= {f"was a {whole}": f"{verb} {whole_name}", f"is a {whole}": f"{PRESENT[verb]} {whole_name}"}
    return facts | {whole: name, f"a {whole}": whole_name, f"an {whole}": whole_name}
