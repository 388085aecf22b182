"""Cleaning: what each step does to real lines, that the counts add up, and a reference project's figures."""

import argparse
import html
import random
import re
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest

from model.config import ConfigError
from training.cleaning import SWITCHES, TWEETS, Cleaned, Cleaning, add_flags, clean, from_options, marked, marked_length
from training.corpus import Corpus, CorpusError, from_text, lines_as_documents, read_corpus

POSTS = (
    "Hello @Bob, see https://example.org/a?b=1&c=2 &amp; smile 😀!",
    "WWW.Example.com or www.example.com/x, she said\nin two lines",
    "#Fun #fun_2: 3 × 4 = 12, naïve café №7",
    "ok",
    "  spaced \t out\u00a0text  ",
    "ok",
    "@only_a_name",
)


def documents(*texts: str) -> Corpus:
    return Corpus("posts", "\n".join(texts), "file", "UTF-8", ("Documents.",), texts)


def cleaned(cleaning: Cleaning, corpus: Corpus | None = None) -> Cleaned:
    """Clean, and hold the counts against the texts themselves."""
    corpus = corpus or documents(*POSTS)
    done = clean(corpus, cleaning)
    assert sum(step.characters_removed for step in done.steps) == done.before[1] - done.after[1]
    assert sum(step.lines_removed for step in done.steps) == done.before[0] - done.after[0]
    assert done.before[1] == len(corpus.text)
    assert done.after[1] == len(done.corpus.text)
    if corpus.documents is not None:
        assert done.corpus.documents is not None
        assert done.corpus.text == "\n".join(done.corpus.documents)
        assert (done.before[0], done.after[0]) == (len(corpus.documents), len(done.corpus.documents))
    return done


def left(**steps: object) -> tuple[str, ...]:
    found = cleaned(Cleaning(**steps)).corpus.documents  # type: ignore[arg-type]
    assert found is not None
    return found


def test_each_step_alone() -> None:
    assert left(lower=True)[0] == "hello @bob, see https://example.org/a?b=1&c=2 &amp; smile 😀!"
    assert left(urls=True)[:2] == ("Hello @Bob, see  &amp; smile 😀!", " or  she said\nin two lines")
    assert left(mentions=True)[0] == "Hello , see https://example.org/a?b=1&c=2 &amp; smile 😀!"
    assert len(left(mentions=True)) == len(POSTS) - 1  # a post that was nothing but a name
    assert left(hashtags=True)[2] == " : 3 × 4 = 12, naïve café №7"
    assert left(entities="decode")[0].endswith("c=2 & smile 😀!")
    assert left(entities="drop")[0].endswith("c=2  smile 😀!")
    assert left(punctuation=True)[2] == "Fun fun2 3  4  12 naïve café 7"
    assert left(digits=True)[2] == "#Fun #fun_:  ×  = , naïve café №"
    assert left(other_letters=True)[2] == "#Fun #fun_2: 3 × 4 = 12, nave caf №7"
    assert left(whitespace=True)[4] == "spaced out text"
    assert left(whitespace=True)[1].endswith("she said in two lines")
    assert left(min_characters=3) == tuple(post for post in POSTS if len(post) >= 3)
    assert left(min_words=4) == tuple(post for post in POSTS if len(post.split()) >= 4)
    assert left(duplicates=True) == tuple(dict.fromkeys(POSTS))


def test_letters_and_blanks_only() -> None:
    assert cleaned(TWEETS, documents(*POSTS, "Don’t stop: go on & on, at 5 km/h!")).corpus.documents == (
        "or she said in two lines",
        "dont stop go on on at kmh",
    )


def test_emoji_go_with_everything_that_joins_and_colours_them() -> None:
    done = cleaned(Cleaning(punctuation=True), documents("a 👩🏽‍🚀❤️ b 🇩🇪 1️⃣", "e\u0301 stays, ü and я too"))
    assert done.corpus.documents == ("a  b  1", "e\u0301 stays ü and я too")


def test_plain_and_other_lines_lose_the_same_characters() -> None:
    """ASCII has a short cut: every character of it, alone and beside a letter that is none."""
    every = "".join(map(chr, range(1, 128)))
    for name in ("punctuation", "digits", "other_letters"):
        done = cleaned(Cleaning.from_dict({name: True}), documents(f"a{every}", f"a{every}字"))
        plain, other = done.corpus.documents or ()
        assert plain == other.removesuffix("字")


def test_entities_are_decoded_before_anything_else_and_once() -> None:
    done = cleaned(
        Cleaning(entities="decode", urls=True, hashtags=True),
        documents("x&lt;b&#10;c &#39;d&#x41; &amp;lt; e", "AT&T &c; f"),
    )
    assert done.corpus.documents == ("x<b c 'dA &lt; e", "AT&T &c; f")


def test_a_number_in_an_entity_is_no_hashtag() -> None:
    assert cleaned(Cleaning(hashtags=True), documents("it&#39;s C#5 #b", "a b")).corpus.documents == (
        "it&#39;s C#5 ",
        "a b",
    )


def test_lines_of_a_text_keep_their_paragraphs() -> None:
    corpus = from_text("One line.\n\nhttps://gone.org\nTwo, 2!\n\n\nTwo, 2!\n")
    done = cleaned(Cleaning(urls=True, duplicates=True), corpus)
    assert done.corpus.text == "One line.\n\nTwo, 2!\n\n\n"
    assert (done.before[0], done.after[0]) == (7, 5)
    assert [(step.name, step.lines_removed) for step in done.steps] == [("urls", 1), ("duplicates", 1)]
    assert cleaned(Cleaning(min_characters=1), corpus).corpus.text.count("\n\n") == 0
    assert done.corpus.documents is None


def test_the_counts_of_each_step() -> None:
    steps = {step.name: step for step in cleaned(Cleaning(mentions=True, lower=True, min_characters=5)).steps}
    assert list(steps) == ["lower", "mentions", "min_characters"]
    assert steps["lower"][1:] == (3, 0, 0)
    assert steps["mentions"][1:] == (1, 1, len("@bob") + len("@only_a_name\n"))
    assert steps["min_characters"][1:] == (0, 2, 2 * len("ok\n"))


def test_an_inactive_cleaning_gives_the_same_corpus() -> None:
    corpus = documents(*POSTS)
    done = clean(corpus, Cleaning())
    assert done.corpus is corpus
    assert done.steps == ()
    assert done.before == done.after
    assert done.examples[0] == (POSTS[0], POSTS[0])
    assert not Cleaning().active
    assert Cleaning(min_words=1).active


def test_examples_are_real_lines_in_their_order() -> None:
    corpus = documents(*[f"plain line {i} stays as it is" for i in range(50)], *POSTS, "short")
    done = cleaned(Cleaning(urls=True, mentions=True, min_characters=6), corpus)
    result = dict.fromkeys(corpus.documents or ())
    for place, document in enumerate(corpus.documents or ()):
        after = re.sub(r"@\w+", "", re.sub(r"(https?://|www\.)\S+", "", document, flags=re.I))
        result[document] = after if len(after) >= 6 else None
        assert place >= 0
    assert all(result[before] == after for before, after in done.examples)
    places = [(corpus.documents or ()).index(before) for before, _ in done.examples]
    assert places == sorted(places)
    assert {POSTS[0], POSTS[1]} <= {before for before, _ in done.examples}  # those that most steps change
    assert None in {after for _, after in done.examples}


def test_a_change_far_below_is_shown() -> None:
    corpus = documents(*[f"plain line {i}" for i in range(5_000)], "SHOUTED")
    assert ("SHOUTED", "shouted") in cleaned(Cleaning(lower=True), corpus).examples


@pytest.mark.parametrize(
    ("cleaning", "said"),
    [
        (Cleaning(min_characters=5_000), "Ask for fewer characters"),
        (Cleaning(min_words=500), "Ask for fewer words"),
        (Cleaning(lower=True, mentions=True, min_characters=900), '"Characters at least" alone took 6 lines away'),
    ],
)
def test_nothing_left_is_said_with_the_step_to_undo(cleaning: Cleaning, said: str) -> None:
    with pytest.raises(CorpusError) as refused:
        clean(documents(*POSTS), cleaning)
    assert said in str(refused.value)
    with pytest.raises(CorpusError, match="nothing to predict"):
        clean(from_text("a1a2a3\na\n"), Cleaning(digits=True))
    with pytest.raises(CorpusError, match="Keep the letters beyond A to Z"):
        clean(from_text("привет мир\n"), Cleaning(other_letters=True, whitespace=True))


def test_values_that_cannot_be() -> None:
    for values in ({"lower": 1}, {"entities": "eat"}, {"min_words": -1}, {"min_characters": True}, {"min_words": 1.5}):
        with pytest.raises(ConfigError, match=next(iter(values))):
            Cleaning(**values)
    with pytest.raises(ConfigError, match=r"no cleaning step lowercase; the steps are entities, lower"):
        Cleaning.from_dict({"lowercase": True})


def test_to_dict_and_back_and_in_words() -> None:
    assert Cleaning.from_dict(TWEETS.to_dict()) == TWEETS
    assert Cleaning.from_dict({"lower": True}) == Cleaning(lower=True)
    assert str(Cleaning()) == "nothing"
    assert str(Cleaning(lower=True, entities="drop", min_words=5)) == "entities dropped, lower-case, at least 5 words"
    assert all(field.metadata["help"].endswith(".") and field.metadata["label"] for field in fields(Cleaning))


def test_the_command_line_has_a_flag_for_each_step() -> None:
    parser = argparse.ArgumentParser()
    add_flags(parser)
    assert from_options(vars(parser.parse_args([]))) == Cleaning()
    assert from_options(vars(parser.parse_args([])), TWEETS) == TWEETS
    every = [f"--clean-{name.replace('_', '-')}" for name in SWITCHES]
    options = vars(parser.parse_args([*every, "--clean-entities", "decode", "--clean-min-words", "5"]))
    assert from_options(options) == Cleaning.from_dict({**TWEETS.to_dict(), "duplicates": True})
    options = vars(parser.parse_args(["--no-clean-digits", "--clean-min-words", "0"]))
    assert from_options(options, TWEETS) == Cleaning.from_dict({**TWEETS.to_dict(), "digits": False, "min_words": 0})
    with pytest.raises(ConfigError, match="min_words is -3"):
        from_options(vars(parser.parse_args(["--clean-min-words", "-3"])))


def test_any_cleaning_of_any_text_adds_up_or_leaves_nothing() -> None:
    draw = random.Random(0)
    alphabet = "aB1 @#&;.\t\n\u00a0éß字😀\u200d\ufe0f/:www.http://&amp;&#10;"
    done = 0
    for trial in range(300):
        text = "".join(draw.choices(alphabet, k=draw.randrange(2, 80)))
        values: dict[str, object] = {name: draw.random() < 0.3 for name in SWITCHES}
        values |= {"entities": draw.choice(["keep", "decode", "drop"]), "min_words": draw.choice([0, 0, 1, 2])}
        try:
            corpus = from_text(text)
            corpus = lines_as_documents(corpus) if trial % 2 else corpus
            cleaned(Cleaning.from_dict(values), corpus)
            done += 1
        except CorpusError:
            continue
    assert done > 100


def test_how_far_it_is_is_told_and_can_end_it() -> None:
    """Rising shares, from the first line of the first step on; what is raised there comes out."""
    corpus = from_text("A line, and 1 more.\n" * 12_000)
    shares: list[float] = []
    clean(corpus, Cleaning(lower=True, digits=True), shares.append)
    assert shares[0] == 0
    assert len(shares) == 6
    assert shares == sorted(set(shares))
    assert 0.5 < shares[-1] < 1

    def enough(share: float) -> None:
        if share > 0.3:
            raise CorpusError("That is enough.")

    with pytest.raises(CorpusError, match="enough"):
        clean(corpus, Cleaning(lower=True, digits=True), enough)


def test_the_length_of_a_marked_file() -> None:
    """Documents and lines, blank lines left out: as the file itself is long."""
    for corpus in (from_text("one\n\n two \n"), lines_as_documents(from_text("a b\nc d\n"))):
        assert marked_length(corpus) == len(marked(corpus)) > 0
        assert marked_length(corpus, "$") == len(marked(corpus, "$"))


# --- a reference project's figures ---------------------------------------------------------------------------------


def test_the_tweets_as_a_reference_project_cleaned_them(shared_data: Callable[[str], Path]) -> None:
    """3,713 lines / 297,491 characters: letters and blanks only, five words at least, each closed by a mark."""
    corpus = read_corpus(shared_data("elon_musk_tweets.csv"), column="text")
    done = cleaned(TWEETS, corpus)
    assert done.before[0] == 5_888
    assert done.after[0] == 3_713
    written = marked(done.corpus)
    assert written.count("\n") == 3_713
    assert len(written) == marked_length(done.corpus) == 297_491
    assert done.corpus.documents is not None
    sleep = "for improved quality of sleep raise head of your bed by about or cm and dont eat hours before bedtime"
    assert sleep in done.corpus.documents
    assert f"{sleep} <|endoftext|>\n" in written
    assert set(written.replace("<|endoftext|>", "")) == set("abcdefghijklmnopqrstuvwxyz \n")


def test_the_same_tweets_by_other_means(shared_data: Callable[[str], Path]) -> None:
    """The cleaning of each tweet, against one written in regular expressions alone."""
    corpus = read_corpus(shared_data("elon_musk_tweets.csv"), column="text")
    expected = []
    for tweet in corpus.documents or ():
        text = re.sub(r"http\S+|@\w+|#\w+", "", html.unescape(tweet).lower())
        words = re.sub(r"[^a-z\s]", "", text).split()
        if len(words) >= 5:
            expected.append(" ".join(words))
    assert cleaned(TWEETS, corpus).corpus.documents == tuple(expected)
