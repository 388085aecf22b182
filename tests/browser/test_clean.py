"""Cleaning in the page: what the switches do is counted here anew, and what is left is what a model reads."""

import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Visit
from tests.browser.screen import here, open_tab, upload

POSTS = [
    ("Hello @ann, look: https://example.org/a?b=1&c=2 &amp; tell me!", "first"),
    ("Nine of 10 foxes agree 🦊, <b>don't</b> they?", "second"),
    ("Short one", "third"),
    ("#tag Again and AGAIN the same words", "fourth"),
    ("#tag Again and AGAIN the same words", "fifth"),
    ("Two lines\nin one post, as posts have them", "sixth"),
]


@pytest.fixture
def posts(page: Page, tmp_path: Path) -> Page:
    """The Corpus tab with a table of six posts, read from its column `post`."""
    path = tmp_path / "posts.csv"
    quoted = [(f'"{post}"', word) for post, word in POSTS]
    path.write_text("id,word,post\n" + "".join(f"{i},{w},{p}\n" for i, (p, w) in enumerate(quoted)), encoding="utf-8")
    open_tab(page, "Corpus")
    upload(page, path)
    expect(here(page, "corpus")).to_have_attribute("data-name", "posts.csv")
    expect(here(page, "clean")).to_have_attribute("data-unit", "documents")
    left(page, [post for post, _ in POSTS])
    return page


def left(page: Page, expected: list[str]) -> None:
    """Wait until the card says that these posts are left."""
    card = here(page, "clean")
    expect(card).to_have_attribute("data-lines", str(len(expected)))
    expect(card).to_have_attribute("data-characters", str(len("\n".join(expected))))
    expect(card).to_have_attribute("data-state", "ready")


def switch(page: Page, step: str) -> None:
    page.locator(f"#clean-{step}").check()


def test_each_switch_counts_what_is_counted_here(posts: Page) -> None:
    texts = [post for post, _ in POSTS]
    switch(posts, "lower")
    texts = [text.lower() for text in texts]
    left(posts, texts)
    switch(posts, "urls")
    texts = [re.sub(r"https://\S+", "", text) for text in texts]
    left(posts, texts)
    expect(posts.get_by_test_id("did-urls")).to_have_text("1 document changed, −29 characters")
    switch(posts, "mentions")
    texts = [re.sub(r"@\w+", "", text) for text in texts]
    left(posts, texts)
    posts.locator("#clean-entities").select_option("decode")
    texts = [text.replace("&amp;", "&") for text in texts]
    left(posts, texts)
    switch(posts, "punctuation")
    texts = [re.sub(r"[^a-z0-9\s]", "", text) for text in texts]
    left(posts, texts)
    switch(posts, "whitespace")
    texts = [" ".join(text.split()) for text in texts]
    left(posts, texts)
    switch(posts, "duplicates")
    texts = list(dict.fromkeys(texts))
    left(posts, texts)
    posts.locator("#clean-min_words").fill("4")
    texts = [text for text in texts if len(text.split()) >= 4]
    left(posts, texts)
    expect(posts.get_by_test_id("did-min_words")).to_have_text("1 document gone, −10 characters")
    before = len("\n".join(post for post, _ in POSTS))
    said = f"{len(texts)} of 6 documents and {len(chr(10).join(texts))} of {before} characters are left."
    expect(here(posts, "clean-total")).to_have_text(said)
    lines = here(posts, "clean-examples")
    expect(lines.locator("[data-gone] del")).to_have_text(["Short one", "#tag Again and AGAIN the same words"])
    after = lines.locator("li:not([data-gone]) .g-clean-after").all_text_contents()
    assert after == texts
    first = lines.locator("li").first
    assert "https://example.org/a?b=1&c=2" in "".join(first.locator("del").all_text_contents())
    assert "".join(first.locator(".g-clean-before").all_text_contents()) == POSTS[0][0]
    open_tab(posts, "Train")
    expect(here(posts, "source")).to_contain_text(
        f"{len(chr(10).join(texts))} characters, cleaned: entities decoded, lower"
    )
    posts.reload(wait_until="domcontentloaded")
    open_tab(posts, "Corpus")
    left(posts, texts)
    expect(posts.locator("#clean-duplicates")).to_be_checked()
    here(posts, "clean-off").click()
    left(posts, [post for post, _ in POSTS])
    expect(posts.locator("#clean-duplicates")).not_to_be_checked()


def test_another_column_stays_cleaned_and_another_text_does_not(posts: Page, tmp_path: Path) -> None:
    switch(posts, "lower")
    left(posts, [post.lower() for post, _ in POSTS])
    here(posts, "columns").get_by_role("radio", name="word").click()
    left(posts, [word for _, word in POSTS])
    expect(posts.locator("#clean-lower")).to_be_checked()
    (tmp_path / "fox.txt").write_text("The Fox ran over the Hill.\n", encoding="utf-8")
    upload(posts, tmp_path / "fox.txt")
    expect(here(posts, "clean")).to_have_attribute("data-unit", "lines")
    expect(posts.locator("#clean-lower")).not_to_be_checked()
    open_tab(posts, "Train")
    expect(here(posts, "source")).to_contain_text("It reads fox.txt, 27 characters (")


def test_a_cleaning_that_leaves_nothing(posts: Page) -> None:
    posts.locator("#clean-min_characters").fill("5000")
    said = posts.get_by_test_id("clean-error")
    expect(said).to_contain_text("Ask for fewer characters")
    expect(said).to_contain_text("The text stays as it was.")
    left(posts, [post for post, _ in POSTS])
    switch(posts, "digits")
    expect(said).to_be_hidden()


def test_the_tweets(page: Page, shared_data: Callable[[str], Path]) -> None:
    """The recipe of a reference project, by one button: 3,713 tweets."""
    open_tab(page, "Corpus")
    upload(page, shared_data("elon_musk_tweets.csv"))
    expect(here(page, "columns")).to_have_attribute("data-column", "text")
    expect(here(page, "clean")).to_have_attribute("data-lines", "5888")
    here(page, "clean-tweets").click()
    expect(here(page, "clean")).to_have_attribute("data-lines", "3713")
    # with " <|endoftext|>" behind each line, as their file had it
    expect(here(page, "clean")).to_have_attribute("data-characters", str(297_491 - 3_713 * 14 - 1))
    expect(here(page, "clean-file")).to_contain_text("behind each document: 297,491 characters.")


def test_several_files_and_archives(page: Page, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("The first text.\n", encoding="utf-8")
    (tmp_path / "b.txt").write_bytes("Größe und Höhe der Übermütigen.".encode("cp1252"))
    open_tab(page, "Corpus")
    page.locator("#upload input[type=file]").set_input_files([tmp_path / "a.txt", tmp_path / "b.txt"])
    expect(here(page, "corpus")).to_have_attribute("data-name", "2 files: a.txt, b.txt")
    expect(here(page, "corpus")).to_contain_text('"a.txt" is UTF-8; "b.txt" is Windows-1252')
    with zipfile.ZipFile(tmp_path / "slip.zip", "w") as archive:
        archive.writestr("../evil.txt", "The first text.")
    upload(page, tmp_path / "slip.zip")
    expect(page.get_by_test_id("corpus-error")).to_contain_text("leads out of its folder")
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.txt", b"a" * 5_000_000)
    upload(page, tmp_path / "bomb.zip")
    expect(page.get_by_test_id("corpus-error")).to_contain_text("more than 200 times its packed size")
    expect(here(page, "corpus")).to_have_attribute("data-name", "2 files: a.txt, b.txt")


def test_a_ragged_table_and_its_good_rows(page: Page, tmp_path: Path) -> None:
    path = tmp_path / "ragged.csv"
    path.write_text("id,text\n1,one of the good\n2,well, it goes on\n3,no, yes\n4,and a last good\n", encoding="utf-8")
    open_tab(page, "Corpus")
    upload(page, path)
    expect(page.get_by_test_id("corpus-error")).to_contain_text("2 of its 4 rows have more or fewer cells")
    page.locator("#keep-good").check()
    expect(here(page, "corpus")).to_have_attribute("data-name", "ragged.csv")
    expect(page.get_by_test_id("corpus-error")).to_be_hidden()
    expect(here(page, "corpus-excerpt")).to_have_text("one of the good\nand a last good")


def test_the_hub_box_says_what_is_wrong(page: Page) -> None:
    """The suite's server is offline: only what is said before and instead of an answer is looked at."""
    open_tab(page, "Corpus")
    here(page, "hub-name").fill("no name")
    here(page, "hub-list").click()
    expect(page.get_by_test_id("hub-error")).to_contain_text("Write it as its page shows it: owner/name.")
    here(page, "hub-name").fill("owner/name")
    here(page, "hub-name").press("Enter")
    expect(page.get_by_test_id("hub-error")).to_contain_text("The Hub could not be reached")
    expect(here(page, "hub-list")).to_be_enabled()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_fits_a_phone(visit: Visit, tmp_path: Path, theme: str) -> None:
    page = visit(viewport={"width": 390, "height": 844}, color_scheme=theme)
    path = tmp_path / "posts.csv"
    path.write_text("id,text,a long name of a column\n" + f'1,"{"long words " * 40}",x\n' * 8, encoding="utf-8")
    open_tab(page, "Corpus")
    upload(page, path)
    expect(here(page, "columns")).to_have_attribute("data-column", "text")
    here(page, "clean-tweets").click()
    expect(here(page, "clean")).to_have_attribute("data-state", "ready")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    for part in ("columns", "clean", "clean-examples"):
        box = here(page, part).bounding_box()
        assert box
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390
