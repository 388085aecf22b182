"""The sample texts of assets/corpora: the generator writes them again, and the English keeps its promises."""

import csv
import importlib.util
import os
import re
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pandas
import pytest

from corpora import tales, words
from model.tokenizer import Tokenizer

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "assets" / "corpora"
SCRIPT = ROOT / "scripts" / "make_corpora.py"
COLUMNS = (
    "id user_name user_location user_description user_created user_followers user_friends user_favourites "
    "user_verified date text hashtags source retweets favorites is_retweet"
).split()
NAMES = {name for group in words.names().values() for name in group}
NOUNS = {noun.name: noun for noun in words.nouns()}

spec = importlib.util.spec_from_file_location("make_corpora", SCRIPT)
assert spec
assert spec.loader
make_corpora = importlib.util.module_from_spec(spec)
spec.loader.exec_module(make_corpora)


def read(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


@cache
def told() -> list[tuple[str, str]]:
    """(title, body) of each tale on disk, found without the generator."""
    return [(tale.split("\n", 1)[0], tale.split("\n", 1)[1]) for tale in read("tales.txt").rstrip("\n").split("\n\n")]


@cache
def told_again() -> list[tales.Tale]:
    return tales.tell_all()


@cache
def posts() -> list[dict[str, str]]:
    with (FOLDER / "posts.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


# The generator


def test_the_files_are_what_the_generator_writes(capsys: pytest.CaptureFixture[str]) -> None:
    assert make_corpora.main(["--check"]) == 0, capsys.readouterr().out


def test_check_names_the_file_and_the_line_that_differ(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--folder", str(tmp_path), "--size", "5000"]
    assert make_corpora.main(small) == 0
    assert make_corpora.main([*small, "--check"]) == 0
    path = tmp_path / "tales.txt"
    lines = path.read_text().split("\n")
    lines[2] += "!"
    path.write_text("\n".join(lines))
    (tmp_path / "posts.csv").unlink()
    capsys.readouterr()
    assert make_corpora.main([*small, "--check"]) == 1
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{path} differs")
    assert "line 3." in first
    assert "make_corpora.py" in first
    assert second.startswith(f"{tmp_path / 'posts.csv'} is missing.")
    assert path.read_text() == "\n".join(lines)  # --check writes nothing


def test_a_seed_gives_its_own_tales_and_keeps_them_in_any_process(tmp_path: Path) -> None:
    written = {}
    for seed, hashing in ((1, "1"), (1, "2"), (2, "1")):
        folder = tmp_path / f"{seed}-{hashing}"
        order = [sys.executable, str(SCRIPT), "--folder", str(folder), "--size", "20000", "--seed", str(seed)]
        subprocess.run(order, check=True, capture_output=True, env={**os.environ, "PYTHONHASHSEED": hashing})
        written[seed, hashing] = (folder / "tales.txt").read_bytes()
    assert written[1, "1"] == written[1, "2"] != written[2, "1"]
    assert 20_000 <= len(written[1, "1"]) < 21_100  # the last tale is told to its end


def test_a_size_of_nothing_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert make_corpora.main(["--folder", str(tmp_path), "--size", "0"]) == 2
    assert "positive" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


# The tales


def test_tales_are_a_megabyte_of_plain_ascii() -> None:
    text = read("tales.txt")
    assert 1_000_000 <= len(text) <= 1_250_000
    assert text.isascii()
    assert "\r" not in text
    assert "\t" not in text
    assert not re.search(r" \n|  |\n\n\n", text)
    assert text.endswith("\n")
    assert not text.endswith("\n\n")


def test_every_tale_has_a_title_and_a_length_in_bounds() -> None:
    assert len(told()) > 1_200
    for title, body in told():
        assert 500 <= len(title) + len(body) + 2 <= 1_000, title
        assert title[-1] not in "."
        assert len(title) < 60
        assert body[0] in '"' or body[0].isupper()
        assert all(line[-1] in '.!?"' for line in body.splitlines()), title


def test_no_two_tales_are_equal() -> None:
    assert len({body for _, body in told()}) == len(told())


def test_the_cast_is_large_and_the_vocabulary_small() -> None:
    text = read("tales.txt")
    spoken = set(re.findall(r"[A-Za-z']+", text))
    assert len(NAMES & spoken) >= 60
    assert len([noun for noun in NOUNS if noun in spoken]) >= 80
    assert len([a for a in words.animals() if a.kind in spoken]) >= 20
    plain = {word.lower().removesuffix("'s") for word in spoken} - {name.lower() for name in NAMES}
    assert 1_000 <= len(plain) <= 1_700
    assert len(tales.plots()) >= 12
    told_plots = Counter(tale.plot for tale in told_again())
    assert set(told_plots) == set(tales.plots())
    assert max(told_plots.values()) <= min(told_plots.values()) + 3


def test_the_hero_and_the_thing_come_back() -> None:
    """In each tale a name, and a thing called by its adjective, stand in the first and in the last third."""
    thing = re.compile(rf"\b(?=(\w+) ({'|'.join(NOUNS)})\b)")  # may overlap: an apple pie
    for title, body in told():
        third = len(body) // 3
        first, last = body[:third], body[-third:]
        names = NAMES & set(re.findall(r"[A-Z][a-z]+", first)) & set(re.findall(r"[A-Z][a-z]+", last))
        assert names, title
        called = {match[2] for match in thing.finditer(body) if match[1] in NOUNS[match[2]].adjectives}
        assert any(re.search(rf"\b{noun}\b", first) and re.search(rf"\b{noun}\b", last) for noun in called), title


def test_a_thing_keeps_its_colour() -> None:
    """Only where an owner is looked for does a second thing of the same kind come up ("mine is blue")."""
    for tale in told_again():
        adjectives = {a for a in re.findall(rf"(\w+) {tale.noun}\b", tale.body) if a in NOUNS[tale.noun].adjectives}
        assert len(adjectives) == 1 or tale.plot == "whose", tale.title


def test_a_and_an_agree_with_the_next_word() -> None:
    text = read("tales.txt")
    vowels, silent = "aeiou", {"hour"}
    for article, word in re.findall(r"\b(a|an|A|An) ([A-Za-z]+)", text):
        if article == "A" and word in {"Letter", "Pair"}:  # titles
            continue
        assert (article.lower() == "an") == (word[0].lower() in vowels or word in silent), f"{article} {word}"


def test_plural_things_take_plural_verbs() -> None:
    plural = "|".join(noun.name for noun in words.nouns() if noun.number != "one")
    text = read("tales.txt")
    assert not re.findall(rf"\b(?:the|these|my|your) (?:\w+ )?(?:{plural}) (?:was|is|has)\b", text)
    assert not re.findall(rf"\b(?:was|is) (?:the|my|your) (?:\w+ )?(?:{plural})\b", text)
    assert not re.findall(
        rf"\b(?:this|a|an) (?:\w+ )?(?:{plural})\b", re.sub("pair of", "", text).replace("this old", "")
    )
    assert re.findall(rf"\b(?:{plural}) were\b", text)  # the patterns look at something


def test_people_keep_their_pronoun() -> None:
    """After "Mira shut" comes her, never his: a list of actions that one does to what is one's own."""
    own = (
        r"(?:ate|closed|followed|held|opened|put|shook|shut|told) "
        r"(his|her) (?:breath|chin|eyes|face|head|lunch|money|mouth|nose|own|pillow)"
    )
    seen = 0
    for pronoun, wrong in (("she", "his"), ("he", "her")):
        for name in words.names()[pronoun]:
            for possessive in re.findall(rf"\b{name} {own}", read("tales.txt")):
                seen += 1
                assert possessive != wrong, name
    assert seen > 60


def test_nothing_is_left_of_the_templates() -> None:
    for name in ("tales.txt", "posts.csv"):
        assert not re.search(r"[{}<>|]|\[|\{@|\\n", re.sub(r"\['[^\]]*'\]", "", read(name))), name
    text = read("tales.txt")
    doubled = set(re.findall(r"\b([a-z]+) \1\b", text))
    assert not doubled
    assert not re.search(r"[^.]\.\.[^.]| [.,?!](?!\.)|[,.?!][A-Za-z]|\b[Tt]he the\b", text)
    for paragraph in (line for _, body in told() for line in body.splitlines()):
        assert paragraph.count('"') % 2 == 0, paragraph


def test_somebody_met_on_the_way_is_a_goat_before_it_is_the_goat() -> None:
    household = {"cat", "dog", "goat", "owl"}  # these live here and need no introduction
    kinds = "|".join(animal.kind for animal in words.animals() if animal.kind not in household)
    met = 0
    for title, body in told():
        known: set[str] = set()
        for determiner, kind in re.findall(rf"\b(an?|An?|one|the|The) ({kinds})\b(?! house)", body):
            assert determiner.lower() != "the" or kind in known, f"{title}: {kind}"
            known.add(kind)
        met += len(known)
    assert met > 500


# The songs


def test_the_songs_are_songs() -> None:
    songs = read("lyrics.txt").strip().split("\n\n\n")
    assert len(songs) >= 12
    assert len(read("lyrics.txt").encode()) >= 15_000
    assert len({song.splitlines()[0] for song in songs}) == len(songs)
    for song in songs:
        sections = re.findall(r"^\[([A-Za-z]+)", song, flags=re.MULTILINE)
        assert sections.count("Verse") >= 2, song.splitlines()[0]
        assert len(sections) >= 5
        lines = [line for line in song.splitlines()[1:] if line and line[0] != "["]
        assert len(lines) >= 20
    with_refrain = [song for song in songs if re.search(r"\[(Last )?(Chorus|Refrain)\]", song)]
    assert len(with_refrain) >= len(songs) - 1  # a blues has none


def test_one_song_has_the_shape_of_the_smallest_model() -> None:
    lines = read("one_song.txt").splitlines()
    assert len(lines) == 12
    tokens = [token for line in lines for token in [*line.split(), "\n"]]
    assert (len(tokens), len(set(tokens))) == (85, 47)
    assert all(re.fullmatch(r"[a-z]+( [a-z]+)*", line) for line in lines)


def decided(tokens: Sequence[object], context: int) -> bool:
    """Whether `context` tokens always allow one next token only."""
    following = defaultdict(set)
    for position in range(1, len(tokens)):
        following[tuple(tokens[max(0, position - context) : position])].add(tokens[position])
    return all(len(choices) == 1 for choices in following.values())


def test_six_words_of_the_song_decide_the_next() -> None:
    song = read("one_song.txt")
    tokens = [token for line in song.splitlines() for token in [*line.split(), "\n"]]
    assert decided(tokens, 6)
    assert not decided(tokens, 5)
    assert decided(Tokenizer.word(song).encode(song), 12)


# The posts


def test_posts_have_the_sixteen_columns() -> None:
    assert list(posts()[0]) == COLUMNS
    assert len(posts()) >= 600
    assert all(None not in row and None not in row.values() for row in posts())
    assert len({row["id"] for row in posts()}) == len(posts())
    dates = [row["date"] for row in posts()]
    assert dates == sorted(dates, reverse=True)
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\+00:00", date) for date in dates)
    assert {row["user_verified"] for row in posts()} == {row["is_retweet"] for row in posts()} == {"True", "False"}


def test_pandas_reads_the_same_texts_line_breaks_included() -> None:
    frame = pandas.read_csv(FOLDER / "posts.csv", dtype=str, keep_default_na=False)
    assert list(frame.columns) == COLUMNS
    assert list(frame["text"]) == [row["text"] for row in posts()]
    assert frame["text"].str.contains("\n").sum() >= 40
    assert frame["user_description"].str.contains('"').any()
    assert frame["user_location"].str.contains(",").any()


@pytest.mark.parametrize(
    ("pattern", "least"),
    [
        (r"https://example\.org", 40),
        (r"@\w+", 60),
        (r"#\w+", 40),
        (r"&amp;", 50),
        (r"\n", 40),
        (r"[^\x00-\x7f]", 40),
        (r"[0-9]", 60),
        (r"[!?;:()\"-]", 60),
        (r"[A-Z]{3,}", 5),
        (r"(?s)^.{1,4}$", 5),
        (r"^\s*(\S+\s+){0,3}\S+\s*$", 40),
    ],
)
def test_every_cleaning_step_finds_something(pattern: str, least: int) -> None:
    assert sum(bool(re.search(pattern, row["text"])) for row in posts()) >= least


def test_posts_repeat_and_are_passed_on() -> None:
    texts = Counter(row["text"] for row in posts())
    assert sum(count - 1 for count in texts.values()) >= 10
    passed_on = [row["text"] for row in posts() if row["is_retweet"] == "True"]
    assert len(passed_on) >= 10
    assert all(text.startswith("RT @") for text in passed_on)
    assert not any(row["text"].startswith("RT ") for row in posts() if row["is_retweet"] == "False")


def test_posts_name_nobody_and_nothing_real() -> None:
    invented = {line.split("|")[2].strip() for line in (words.TABLES / "accounts.txt").read_text().splitlines()[1:]}
    for row in posts():
        assert all(url.startswith("https://example.org/") for url in re.findall(r"https?://\S+|www\.\S+", row["text"]))
        assert set(re.findall(r"@\w+", row["text"])) <= invented
        tags = re.findall(r"#(\w+)", row["text"])
        assert row["hashtags"] == (str(tags) if tags else "")


# The card


def test_the_card_says_what_is_there() -> None:
    card = read("README.md")
    for name in ("tales.txt", "lyrics.txt", "one_song.txt", "posts.csv"):
        assert f"{len((FOLDER / name).read_bytes()):,} bytes" in card.split(f"## {name}")[1].split("\n## ")[0], name
    assert f"{len(told()):,} tales" in card
    assert f"{len(tales.plots())} plots" in card
    assert {len(plot.beats) for plot in tales.plots().values()} == {5, 6, 7, 8}  # "five to eight steps"
    assert f"{len(posts())} posts" in card
    assert f"{len(read('lyrics.txt').strip().split(chr(10) * 3))} songs" in card
    assert "85 tokens, 47 distinct" in card
    assert f"seed {tales.SEED}" in card
