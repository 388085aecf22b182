"""Pieces of a text that stand in another one, against slow searches with Python's own strings."""

from __future__ import annotations

import random
import re

import pytest

from training.verbatim import Copied, Index, Piece, covered, suffix_array, verdict

ROSES = (
    "Roses are red,\nviolets are blue,\nsugar is sweet,\nand so are you.\n\n"
    "The roses have wilted, the violets are dead,\nthe sugar is lumpy, and so is your head.\n"
)
TEXTS = {
    "empty": "",
    "one": "x",
    "banana": "banana",
    "alike": "a" * 200,
    "period": "abc" * 70 + "ab",
    "roses": ROSES,
    "wide": "日本語の文章。日本語の文章と日本。😀👍🏽😀👍🏽é é\U0010ffff\x00\x00",
    "half surrogates": "a\ud800b\ud800a\udfff",
}


def random_texts() -> list[str]:
    rng = random.Random(11)
    return [
        "".join(rng.choice(letters) for _ in range(rng.randint(1, 300)))
        for letters in ("ab", "abcd \n", "añ😀", "\x00\x01")
        for _ in range(8)
    ]


@pytest.mark.parametrize("text", [*TEXTS.values(), *random_texts()])
def test_the_suffix_array_sorts_all_suffixes(text: str) -> None:
    assert suffix_array(text).tolist() == sorted(range(len(text)), key=lambda at: text[at:])


def slow_pieces(text: str, corpus: str, least: int) -> list[Piece]:
    found = []
    for start in range(len(text)):
        end = start
        while end < len(text) and text[start : end + 1] in corpus:
            end += 1
        extends = start > 0 and text[start - 1 : end] in corpus
        if end - start >= least and not extends:
            count = len(re.findall(f"(?={re.escape(text[start:end])})", corpus))
            found.append(Piece(start, end, count))
    return found


@pytest.mark.parametrize("least", [1, 2, 3, 5, 12])
def test_pieces_are_those_of_a_slow_search(least: int) -> None:
    rng = random.Random(least)
    for letters in ("ab", "abcd \n", "añ😀e"):
        corpus = "".join(rng.choice(letters) for _ in range(400))
        index = Index(corpus)
        for _ in range(6):
            at = rng.randrange(350)
            text = "".join(rng.choice(letters + "#") for _ in range(30)) + corpus[at : at + 40] + corpus[:20]
            assert list(index.pieces(text, least)) == slow_pieces(text, corpus, least)


@pytest.mark.parametrize("corpus", [*TEXTS.values()])
@pytest.mark.parametrize("text", [*TEXTS.values()])
def test_any_text_can_be_looked_up_in_any_other(text: str, corpus: str) -> None:
    assert list(Index(corpus).pieces(text, 1)) == slow_pieces(text, corpus, 1)


def test_a_text_in_itself_is_one_piece() -> None:
    assert Index(ROSES).pieces(ROSES) == (Piece(0, len(ROSES), 1),)
    assert Index("a" * 50).pieces("a" * 80, 10) == slow_pieces_tuple("a" * 80, "a" * 50, 10)


def slow_pieces_tuple(text: str, corpus: str, least: int) -> tuple[Piece, ...]:
    return tuple(slow_pieces(text, corpus, least))


def test_a_piece_of_no_characters_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Index(ROSES).pieces("roses", 0)


def test_places_stand_where_they_say() -> None:
    index = Index(ROSES)
    places = index.places("iolets are ")
    assert len(places) == 2 == index.pieces("xxiolets are xx", 5)[0].count
    for place in places:
        assert ROSES.startswith("iolets are ", place.character)
        assert ROSES[: place.character].endswith(place.before)
        assert ROSES[place.character + len("iolets are ") :].startswith(place.after)
        assert place.line == ROSES[: place.character].count("\n") + 1
    assert [place.line for place in places] == [2, 6]
    assert places[0].before == "Roses are red,\nv"
    assert index.places("tulips") == index.places("") == ()
    assert len(Index("a" * 100).places("aa", most=7)) == 7


def test_context_is_cut_between_words() -> None:
    corpus = "one two three four five six seven eight nine ten"
    (place,) = Index(corpus).places("five", context=12)
    assert (place.before, place.after) == ("three four ", " six seven")
    (place,) = Index("abcdefghijklmnop").places("h", context=3)
    assert (place.before, place.after) == ("efg", "ijk")


def slow_share(text: str, corpus: str, word: str) -> tuple[int, int]:
    there, here = (re.findall(word, t) for t in (corpus, text))
    runs = {tuple(there[i : i + 8]) for i in range(len(there) - 7)}
    mine = [tuple(here[i : i + 8]) for i in range(len(here) - 7)]
    return sum(run in runs for run in mine), len(mine)


def test_copied_runs_of_words_are_those_of_a_slow_count() -> None:
    rng = random.Random(3)
    words = ["cat", "dog's", "the", "It’s", "né", "7"]
    corpus = " ".join(rng.choice(words) for _ in range(4000))
    index = Index(corpus)
    assert index.units == "words"
    shares = []
    for length in (8, 9, 30, 200):
        text = ",\n".join(rng.choice([*words[:4], "tulip"][: 4 + (length == 30)]) for _ in range(length))
        expected = slow_share(text, corpus, r"\w+(?:['’]\w+)*")
        assert index.copied(text) == Copied(*expected, "words")
        shares.append(expected[0])
    assert max(shares) > 0, "a comparison in which nothing is copied says little"
    assert index.copied(corpus).share == 1.0


def test_punctuation_and_line_breaks_do_not_hide_a_copy() -> None:
    index = Index(ROSES)
    assert index.copied("roses are red violets are blue sugar is sweet").copied == 1  # Roses is not roses
    assert index.copied("Roses are red -- violets are blue; sugar is").share == 1.0


def test_where_lines_are_documents_no_run_goes_from_one_into_the_next() -> None:
    rng = random.Random(5)
    words = ["cat", "the", "a", "dog", "on"]
    posts = [" ".join(rng.choice(words) for _ in range(rng.randint(1, 14))) for _ in range(300)]
    index = Index("\n".join(posts), lines=True)
    mine = [
        rng.choice(posts) if n % 2 else " ".join(rng.choice(words) for _ in range(rng.randint(0, 14)))
        for n in range(60)
    ]
    copied = total = 0
    runs = {run for post in posts for run in zip(*(post.split()[i:] for i in range(8)), strict=False)}
    for line in mine:
        units = line.split()
        for run in zip(*(units[i:] for i in range(8)), strict=False):
            total, copied = total + 1, copied + (run in runs)
        if 0 < len(units) < 8:
            total, copied = total + 1, copied + (line in posts)
    assert index.copied("\n".join(mine)) == Copied(copied, total, "words")
    assert 0 < copied < total
    assert index.copied("\n".join(rng.sample(posts, 50))).share == 1.0
    two = "one two three four five six seven eight\nnine ten eleven twelve and so on it goes"
    across = "five six seven eight nine ten eleven twelve"
    assert (Index(two).copied(across).share, Index(two, lines=True).copied(across).share) == (1.0, 0.0)


def test_short_documents_say_nothing_unless_one_is_copied() -> None:
    index = Index("so it goes\nroses are red\n" + ROSES, lines=True)
    assert index.copied("so it").share is None
    assert index.copied("so it goes") == Copied(1, 1, "words")
    assert index.copied("so it goes\nand on") == Copied(1, 2, "words")
    assert index.copied("").share is None


def test_scripts_without_spaces_are_counted_by_characters() -> None:
    corpus = "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。何でも薄暗い所で泣いていた。" * 3
    index = Index(corpus)
    assert index.units == "characters"
    for text in ("名前はまだ無い。どこで", "名前は まだ\n無い。", "猫は猫である。名前はまだ有る。", "猫"):
        assert index.copied(text) == Copied(*slow_share(text, corpus, r"\S"), "characters")


def test_long_texts_are_indexed_up_to_a_limit() -> None:
    index = Index(ROSES, most=30)
    assert (index.left_out, index.text) == (len(ROSES) - 30, ROSES[:30])
    assert index.pieces("sugar is sweet", 6) == ()
    assert Index(ROSES, most=len(ROSES)).left_out == 0


def test_the_shortest_piece_worth_showing_grows_with_the_text() -> None:
    assert Index("").at_least == Index("a cat").at_least == 6
    assert Index("".join(map(str, range(185_000)))).at_least == 12  # a million characters


@pytest.mark.parametrize(
    ("copied", "kind"),
    [
        (Copied(0, 0, "words"), "too short"),
        (Copied(0, 40, "words"), "new"),
        (Copied(3, 40, "words"), "new"),
        (Copied(4, 40, "words"), "partly copied"),
        (Copied(19, 40, "words"), "partly copied"),
        (Copied(20, 40, "words"), "memorised"),
        (Copied(40, 40, "characters"), "memorised"),
    ],
)
def test_the_verdict_follows_its_thresholds(copied: Copied, kind: str) -> None:
    said = verdict(copied)
    assert said.kind == kind
    assert said.sentence.startswith(kind[0].upper() + kind[1:])
    assert copied.units in said.sentence
    if copied.share is not None:
        assert f" {100 * copied.share:.0f} % of its runs of 8" in said.sentence


def test_a_little_is_not_told_as_nothing() -> None:
    assert ": under 1 % of" in verdict(Copied(1, 1000, "words")).sentence
    assert ": 0 % of" in verdict(Copied(0, 1000, "words")).sentence


def test_covered_counts_overlapping_pieces_once() -> None:
    pieces = [Piece(0, 10, 1), Piece(5, 15, 1), Piece(20, 30, 1), Piece(22, 25, 1)]
    assert covered(pieces, 0, 100) == 25
    assert covered(pieces, 8, 24) == 7 + 4
    assert covered([], 0, 10) == covered(pieces, 15, 20) == 0
