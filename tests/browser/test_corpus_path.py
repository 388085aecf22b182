"""The way of a table of posts: upload, column, cleaning, own BPE, documents, training, and what is learnt by heart."""

from __future__ import annotations

import csv
import random
import re
from pathlib import Path

import torch
from playwright.sync_api import Page, expect

from model import open_checkpoint
from tests.browser.conftest import Server
from tests.browser.screen import TRAINING, here, ids, open_tab, press, set_range, small_and_fast, state, train, upload
from tests.browser.screen import start as begin_with

COLUMNS = (
    "id,user_name,user_location,user_description,user_created,user_followers,user_friends,user_favourites,"
    "user_verified,date,text,hashtags,source,retweets,favorites,is_retweet"
).split(",")
WHO = ("goat", "crow", "mole", "newt", "hare", "toad", "wren", "moth", "seal", "lynx", "ibex", "carp")
WHERE = ("barn", "wood", "pond", "hill", "well", "mill", "dune", "cave", "reef", "moor", "lane", "yard")


def posts() -> list[str]:
    """Twelve posts that differ in their first words, each on two lines and with what cleaning takes away; two repeated,
    and one too short."""
    dice = random.Random(5)
    said = [
        f"@friend{i} The {who.upper()} &amp; its {dice.choice(WHO)} went\nto a {where} with {dice.choice(WHO)}, "
        f"{dice.choice(WHO)} and {dice.choice(WHO)}! https://t.co/{i}x #day{i}"
        for i, (who, where) in enumerate(zip(WHO, WHERE, strict=True))
    ]
    return [*said, said[3], said[7], "Too short https://t.co/y"]


def written(path: Path) -> None:
    """As the tweets of one person are published: 16 columns, texts quoted over several lines."""
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        for i, post in enumerate(posts()):
            before = [
                i,
                "a name",
                "a place",
                "what they say of themselves, on every row",
                "2009-06-02",
                i,
                i,
                i,
                "True",
            ]
            table.writerow([*before, "2023-01-01", post, f"['day{i}']", "web", i, i, "False"])


def cleaned() -> list[str]:
    """What is left of the posts, worked out here: lower-case letters and blanks, five words or more, each once."""
    left = []
    for post in posts():
        text = re.sub(r"https?://\S+|@\w+|#\w+", "", post.replace("&amp;", "&").lower())
        text = " ".join(re.sub(r"[^a-z\s]", "", text).split())
        if len(text.split()) >= 5 and text not in left:
            left.append(text)
    return left


def by_heart(run: Path, documents: list[str]) -> list[tuple[bool, bool]]:
    """(came back to the letter and then ended, ended at all) of each, by the plain rule and a whole pass a token."""
    checkpoint = open_checkpoint(run)
    tokenizer, found = checkpoint.tokenizer, []
    assert tokenizer is not None
    assert tokenizer.end_of_text is not None
    for document in documents:
        given = " ".join(document.split()[:6])
        sequence = [tokenizer.end_of_text, *tokenizer.encode(given)]
        rest = tokenizer.encode(document)[len(sequence) - 1 :]
        out: list[int] = []
        with torch.no_grad():
            while len(out) <= len(rest) + 8 and len(sequence) + len(out) <= checkpoint.config.context:
                out.append(int(checkpoint.model(torch.tensor([[*sequence, *out]]))[0, -1].argmax()))
                if out[-1] == tokenizer.end_of_text:
                    break
        ended = out[-1] == tokenizer.end_of_text and len(out) <= len(rest) + 8
        found.append((ended and tokenizer.decode(out[:-1]) == document[len(given) :], ended))
    return found


def test_from_a_table_of_posts_to_posts_by_heart(page: Page, server: Server, trainings: None, tmp_path: Path) -> None:
    written(tmp_path / "tweets.csv")
    documents = cleaned()
    assert len(documents) == 12

    # A table, the column that holds the text, and what is cleaned away
    open_tab(page, "Corpus")
    upload(page, tmp_path / "tweets.csv")
    expect(here(page, "columns")).to_have_attribute("data-column", "text")
    expect(page.locator("#keep-good")).to_have_count(0)  # no line is broken
    here(page, "columns").get_by_role("radio", name="user_description").click()
    expect(here(page, "corpus-excerpt")).to_contain_text("what they say of themselves")
    here(page, "columns").get_by_role("radio", name="text", exact=True).click()
    expect(here(page, "clean")).to_have_attribute("data-lines", str(len(posts())))
    here(page, "clean-tweets").click()
    expect(page.locator("#clean-min_words")).to_have_value("5")
    page.locator("#clean-duplicates").check()
    expect(here(page, "clean")).to_have_attribute("data-lines", str(len(documents)))
    expect(here(page, "clean")).to_have_attribute("data-characters", str(len("\n".join(documents))))
    file = "".join(f"{one} <|endoftext|>\n" for one in documents)
    expect(here(page, "clean-file")).to_contain_text(f": {len(file):,} characters.")

    # An own BPE, documents, and a training
    open_tab(page, "Train")
    small_and_fast(page, 400, width=64, context=48, batch_size=12, val_fraction=0)
    page.locator("#tokenizer").get_by_text("Own BPE").click()
    box = page.locator("#set-vocab_size input[type=number]")
    box.fill("300")
    box.press("Tab")
    page.locator("#cut").get_by_text("Documents, each by itself").click()
    expect(here(page, "examples")).to_have_attribute("data-cut", "documents")
    expect(here(page, "examples")).to_contain_text("The mark before a document stands for its start")
    expect(here(page, "example-facts")).to_contain_text("12 documents. The vocabulary has 300 tokens.")
    run = train(page, "posts by heart")
    state(page, "finished")
    config = (server.runs / run / "config.yaml").read_text("utf-8")
    assert "files: [tweets.csv]" in config
    assert "cut: documents" in config

    # It writes the rest of a post, and ends by itself
    here(page, "monitor").get_by_test_id("look").click()
    known = by_heart(server.runs / run, documents)
    assert any(right for right, _ in known), "nothing was learnt, so nothing is tested"
    whole = next(text for text, (right, _) in zip(documents, known, strict=True) if right)
    begin_with(page, " ".join(whole.split()[:6]))
    set_range(page, "temperature", 0)
    here(page, "count").fill("60")
    press(page, "end")
    expect(here(page, "status")).to_contain_text("The model ended its text here.")
    tokenizer = open_checkpoint(server.runs / run).tokenizer
    assert tokenizer is not None
    assert ids(page)[-1] == tokenizer.end_of_text

    # By heart, as counted here
    here(page, "heart-go").click()
    card = here(page, "heart")
    expect(card).to_have_attribute("data-state", "done", timeout=TRAINING)
    figures = [int(cell.inner_text().split()[0]) for cell in card.locator(".g-heart-figures dd").all()]
    assert figures == [len(documents), sum(right for right, _ in known), sum(ended for _, ended in known)]
    failed = [text for text, (right, _) in zip(documents, known, strict=True) if not right]
    shown = card.get_by_test_id("heart-failures").get_by_test_id("heart-example")
    if len(failed) > 3:
        here(page, "heart-all").click()
    expect(shown).to_have_count(len(failed))
