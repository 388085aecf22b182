"""The Corpus tab's cleaning and its data sets from the Hub: what the page asks for, and what becomes of the text."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from explorer.server import Server
from explorer.tabs.corpus import Uploads, choose, clean, clean_progress, functions, hub_files, hub_take, reading, state
from tests.explorer.test_page_protocol import documented, keys_of
from tests.explorer.tiny import sentence, token, visitor
from tests.training.test_hub import PLAY, Hub
from tests.training.test_hub import fake as fake  # the fixture
from training.cleaning import TWEETS, Cleaning
from training.corpus import from_text, lines_as_documents

POSTS = "id,text\n1,Hello @Bob see https://a.org/x\n2,Well, 7 times!\n3,Hello @Bob see https://a.org/x\n".replace(
    "Well, 7 times!", '"Well, 7 times!"'
)


@pytest.fixture
def ask(server: Server) -> Callable[..., dict[str, Any]]:
    """`ask("clean", cleaning={...})` as the page's scripts do."""
    answers = {answer.__name__: answer for answer in functions(server, *FUNCTIONS)}

    def asked(name: str, who: int = 1, **request: Any) -> dict[str, Any]:
        reply: dict[str, Any] = answers[name]({"session": token(who), **request})
        json.dumps(reply, allow_nan=False)
        return reply

    return asked


Ask = Callable[..., dict[str, Any]]
FUNCTIONS = (reading, choose, clean, clean_progress, hub_files, hub_take)


@pytest.fixture
def posts(server: Server, tmp_path: Path) -> str:
    path = tmp_path / "posts.csv"
    path.write_text(POSTS, encoding="utf-8")
    assert Uploads(server).read(token(1), [str(path)])[0]["ok"]
    return str(path)


def steps(reply: dict[str, Any]) -> dict[str, tuple[int, int, int]]:
    return {
        step["name"]: (step["changed"], step["removed"], step["characters"])
        for step in reply["steps"]
        if step["changed"] is not None
    }


def test_what_is_cleaned_is_what_is_read(server: Server, ask: Ask, posts: str) -> None:
    first = ask("clean", cleaning=None)
    assert keys_of(first) == documented("clean: reply")
    assert first["unit"] == "documents"
    assert first["words"] is None
    assert steps(first) == {}
    done = ask("clean", cleaning={"lower": True, "urls": True, "duplicates": True})
    assert keys_of(done) == documented("clean: reply")
    assert visitor(server).text().documents == ("hello @bob see ", "well, 7 times!")
    assert visitor(server).corpus.documents[0] == "Hello @Bob see https://a.org/x"  # type: ignore[index]
    assert steps(done) == {"lower": (3, 0, 0), "urls": (2, 0, 2 * len("https://a.org/x")), "duplicates": (0, 1, 16)}
    assert done["before"] == {"lines": 3, "characters": 76}
    left = ["hello @bob see ", "well, 7 times!"]
    file = "".join(f"{one} <|endoftext|>\n" for one in left)
    assert done["after"] == {"lines": 2, "characters": len("\n".join(left)), "marked": len(file)}
    assert ["Hello @Bob see https://a.org/x", "hello @bob see "] in done["examples"]
    assert ["Hello @Bob see https://a.org/x", None] in done["examples"]
    assert done["words"] == "lower-case, no URLs, no duplicates"
    card = state(server)({"session": token(1)})
    assert (card["left"], card["cleaned"], card["characters"]) == (30, done["words"], 76)
    assert ask("clean", cleaning=None) == done
    assert ask("clean", cleaning={}) == first
    assert visitor(server).text() is visitor(server).corpus


def test_a_long_text_is_shown_on_its_beginning_first(server: Server, ask: Ask) -> None:
    """Counted here over whole lines and whole documents; the visitor's text stays as it was."""
    line = "Hello @Bob, and 7 more.\n"
    text = from_text(line * 60_000)
    for corpus in (text, lines_as_documents(text)):
        visitor(server).take_corpus(corpus)
        found = ask("clean", cleaning={"digits": True, "mentions": True}, sample=True)
        assert keys_of(found) == documented("clean: reply")
        lines = -(-500_000 // len(line)) if corpus.documents is None else 500_000 // len(line) + 1
        size = lines * len(line) - (corpus.documents is not None)
        assert (found["sample"], found["before"]) == (size, {"lines": lines, "characters": size})
        assert steps(found) == {"mentions": (lines, 0, 4 * lines), "digits": (lines, 0, lines)}
        assert visitor(server).text() is corpus
        assert ask("clean", cleaning=None)["sample"] is None
    visitor(server).take_corpus(from_text("short, 1"))
    assert ask("clean", cleaning={"digits": True}, sample=True)["after"]["characters"] == len("short, ")


def test_the_text_is_cleaned_once(server: Server, ask: Ask, posts: str) -> None:
    ask("clean", cleaning={"lower": True})
    assert visitor(server).text() is visitor(server).text()
    before = visitor(server).text()
    visitor(server).cleaning = Cleaning(lower=True)
    assert visitor(server).text() is before
    visitor(server).cleaning = Cleaning(digits=True)
    assert visitor(server).text() is not before


def test_a_newer_cleaning_ends_the_one_under_way(server: Server, ask: Ask, posts: str) -> None:
    """Another switch is moved while a text is being cleaned: that one is given up, and what it was meant for too."""
    assert keys_of(ask("clean_progress")) == documented("clean_progress: reply")
    shares: list[float] = []
    later: list[dict[str, Any]] = []

    owner = visitor(server)
    whole = owner.cleaned

    def cleaned(cleaning: Any = None, told: Any = None) -> Any:
        def heard(share: float) -> None:
            shares.append(share)
            owner.cleaned = whole  # type: ignore[method-assign]
            later.append(ask("clean", cleaning={"digits": True}))
            told(share)

        return whole(cleaning, heard)

    owner.cleaned = cleaned  # type: ignore[method-assign]
    assert "Another cleaning was asked for" in sentence(ask("clean", cleaning={"lower": True}))
    assert later[0]["words"] == "no digits"
    assert shares == [0.0]
    assert ask("clean", cleaning=None)["words"] == "no digits"
    assert ask("clean", cleaning={"lower": True})["words"] == "lower-case"


def test_tokenizers_of_another_cleaning_are_forgotten(server: Server, ask: Ask, posts: str) -> None:
    built: list[int] = []
    from training.config import Recipe

    def learn() -> Any:
        who = visitor(server)
        return who.tokenizer(Recipe(), who.text(), lambda: built.append(1) or object())  # type: ignore[arg-type,func-returns-value,return-value]

    held = learn()
    assert learn() is held
    ask("clean", cleaning=None)
    assert learn() is held
    ask("clean", cleaning={"lower": True})
    assert learn() is not held
    assert len(built) == 2


def test_a_cleaning_that_leaves_nothing_changes_nothing(server: Server, ask: Ask, posts: str) -> None:
    done = ask("clean", cleaning={"lower": True})
    assert "Ask for fewer words" in sentence(ask("clean", cleaning={"min_words": 50}))
    assert "no cleaning step" in sentence(ask("clean", cleaning={"sweep": True}))
    assert "use true or false" in sentence(ask("clean", cleaning={"lower": "yes"}))
    assert "switches" in sentence(ask("clean", cleaning=["lower"]))
    assert ask("clean", cleaning=None) == done


def test_another_text_is_not_cleaned_but_another_column_is(server: Server, ask: Ask, tmp_path: Path) -> None:
    path = tmp_path / "two.csv"
    path.write_text("id,text,title\n1,The Cat Sat,One More Word\n2,The Dog Sat,Two More Words\n", encoding="utf-8")
    Uploads(server).read(token(1), [str(path)])
    ask("clean", cleaning={"lower": True, "min_words": 3})
    assert ask("choose", column="title", keep_good=False)["corpus"]["cleaned"] == "lower-case, at least 3 words"
    assert visitor(server).text().text == "one more word\ntwo more words"
    Uploads(server).paste(token(1), "The Fox RAN")
    assert visitor(server).text().text == "The Fox RAN"
    assert not visitor(server).cleaning.active


def test_a_cleaning_made_for_another_column_is_given_up(server: Server, ask: Ask, tmp_path: Path) -> None:
    path = tmp_path / "two.csv"
    path.write_text("id,text,tag\n1,the cat sat here,a b\n2,the dog sat there,c d\n", encoding="utf-8")
    Uploads(server).read(token(1), [str(path)])
    ask("clean", cleaning={"min_words": 4})
    assert ask("choose", column="tag", keep_good=False)["corpus"]["cleaned"] is None
    assert visitor(server).text().text == "a b\nc d"


def test_the_shipped_tales_can_be_cleaned_before_they_are_looked_at(server: Server, ask: Ask) -> None:
    done = ask("clean", cleaning=TWEETS.to_dict(), who=3)
    assert done["after"]["characters"] == len(visitor(server, 3).text().text)
    assert all(step["value"] == step["tweets"] for step in done["steps"])


# The Hub


def test_a_data_set_and_its_files(server: Server, ask: Ask, fake: Hub) -> None:
    listed = ask("hub_files", repo=f"{fake.address}/datasets/glass/plays")
    assert keys_of(listed) == documented("hub_files: reply")
    assert listed["repo"] == "glass/plays"
    assert [file["name"] for file in listed["files"]] == ["input.txt", "data/big.txt", "README.md"]
    assert listed["files"][0]["size"] == len(PLAY)
    taken = ask("hub_take", repo="glass/plays", file="input.txt")
    assert set(taken) == {"ok", "corpus", "reading"} == documented("choose: reply")
    assert taken["corpus"]["source"] == "hub:glass/plays/input.txt"
    assert visitor(server).text().text == PLAY.replace("\r\n", "\n")


def test_a_parquet_file_of_the_hub_offers_its_columns(server: Server, ask: Ask, fake: Hub) -> None:
    taken = ask("hub_take", repo="glass/parquet", file="data/train.parquet")
    assert taken["reading"]["columns"] == ["id", "text"]
    assert taken["reading"]["column"] == "text"
    assert taken["corpus"]["name"] == "train.parquet"
    assert "holds int64, not text" in sentence(ask("choose", column="id", keep_good=False))
    assert visitor(server).text().documents == ("once upon a time", "the end\nof it")


def test_what_the_hub_refuses_changes_nothing(server: Server, ask: Ask, fake: Hub) -> None:
    Uploads(server).paste(token(1), "the cat sat")
    assert "owner/name" in sentence(ask("hub_files", repo="nonsense"))
    assert "owner/name" in sentence(ask("hub_files"))
    assert "no open data set" in sentence(ask("hub_files", repo="glass/nothing"))
    assert "cannot be read as a corpus" in sentence(ask("hub_take", repo="glass/parquet", file="model.bin"))
    assert "not a file name" in sentence(ask("hub_take", repo="glass/plays", file="../../etc/passwd.txt"))
    assert visitor(server).text().text == "the cat sat"
