"""Text that tries to be more than text: as a corpus, a file's name, a run's name, a prompt. It is shown, never run.

That nothing was run is seen three ways: a dialog or a console error fails the test (conftest.py), `window.hacked` is
set by every string that could run, and the page holds no element that came out of a string.
"""

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Server, Visit
from tests.browser.reference import MARKUP, MARKUP_NAME
from tests.browser.screen import (
    arrived,
    at_rest,
    choose_model,
    here,
    ids,
    model_of,
    model_ref,
    open_tab,
    point_at,
    press,
    rows,
    set_number,
    small_and_fast,
    start,
    state,
    tokens,
    train,
    upload,
)

WRITING = (
    "\u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627",  # Hebrew and Arabic
    "\u202eright to left\u202c",
    "👩‍👩‍👧‍👦 👨🏽‍🚀 🏳️‍🌈 🇩🇪",
    "e\u0301a\u0308 Z\u0351\u036b\u0343a\u0323l\u0329g\u0321o\u0328",
    "\u00a0\u2003\u200b\ufeff\t",
    "\x01\x07\x1b[31m",
)
EVERYTHING = "\n".join((*MARKUP, *WRITING)) + "\n"
NAME = "<img src=x onerror=hacked=1> ${hacked=1} {{x}} \u05e9"
PLANTED = "b#planted, img[src=x], svg[onload], iframe[srcdoc], script:not([src]):not([type])"


@pytest.fixture
def guarded(opened: Page) -> Page:
    """The page, with what stands in it before any hostile word is said counted."""
    opened.evaluate("selector => { window.before = document.querySelectorAll(selector).length; }", PLANTED)
    return opened


def unharmed(page: Page) -> None:
    """Nothing ran, and nothing of a string became an element."""
    assert page.evaluate("window.hacked") is None
    assert page.evaluate("selector => document.querySelectorAll(selector).length - window.before", PLANTED) == 0
    assert page.evaluate("document.title") == "Glass GPT"


def test_a_hostile_text_from_the_upload_to_its_model(
    guarded: Page, server: Server, trainings: None, tmp_path: Path
) -> None:
    """Uploaded under a hostile name, trained under another, watched, guarded, decoded and attended to."""
    path = tmp_path / (NAME + ".txt")
    path.write_text(EVERYTHING * 12, encoding="utf-8")
    open_tab(guarded, "Corpus")
    upload(guarded, path)
    expect(here(guarded, "corpus")).to_have_attribute("data-characters", str(len(EVERYTHING) * 12))
    excerpt = here(guarded, "corpus-excerpt").text_content() or ""
    for line in MARKUP:
        assert line in excerpt
    expect(here(guarded, "corpus-name")).to_have_text(NAME + ".txt")
    expect(here(guarded, "files").locator("bdi")).to_have_text(NAME + ".txt")
    unharmed(guarded)

    open_tab(guarded, "Train")
    expect(here(guarded, "source")).to_contain_text(NAME + ".txt")
    small_and_fast(guarded, 20)
    set_number(guarded, "context", 64)
    train(guarded, NAME)
    expect(here(guarded, "run-name")).to_have_text(NAME)
    state(guarded, "finished")
    expect(here(guarded, "monitor").locator(".g-run-sample").first).to_be_visible()
    unharmed(guarded)

    here(guarded, "monitor").get_by_test_id("look").click()
    arrived(guarded, "Decode")
    expect(guarded.get_by_test_id("chip").locator(".g-chip-name")).to_have_text(NAME)
    assert model_ref(guarded).startswith("run:")
    for line in (*MARKUP, *WRITING):
        start(guarded, line)
        assert "".join(shown_plainly(token.text) for token in tokens(guarded)) == line
    press(guarded, "next", "next", "back")
    for line in (MARKUP[0], WRITING[0], WRITING[2]):
        start(guarded, line)
        sentence = point_at(guarded, len(ids(guarded)) - 1, 0)
        assert shown_plainly(line[0]) in sentence.inner_text()
    guarded.get_by_test_id("models").click()
    expect(guarded.get_by_test_id("models-menu")).to_contain_text(NAME)
    guarded.keyboard.press("Escape")
    open_tab(guarded, "Attention")
    press(guarded, "next")
    unharmed(guarded)


UNSEEN = {"·": " ", "↵": "\n", "⇥": "\t", "⍽": "\u00a0"}


def shown_plainly(text: str) -> str:
    """A token as it stands in the strip, turned back into the character it stands for."""
    if text.startswith("⟨U+"):
        return chr(int(text[3:-1], 16))
    return UNSEEN.get(text, text).removeprefix("◌")


def test_hostile_prompts_to_the_shipped_model(guarded: Page, server: Server) -> None:
    """Whatever its vocabulary knows is a token, the rest is listed; both as text."""
    tokenizer = model_of(guarded, server.runs).tokenizer
    for line in (*MARKUP, *WRITING):
        start(guarded, line)
        known = tokenizer.encode_known(line)
        assert ids(guarded) == (known.ids or [tokenizer.opening]), line
        unknown = here(guarded, "unknown").locator("s").all_text_contents()
        expected = list(dict.fromkeys(part.text for part in known.unknown))
        assert [shown_plainly(text) for text in unknown] == expected[:24], line
        expect(here(guarded, "prompt")).to_have_value(line)
        shown = [token.text for token in tokens(guarded)]
        assert all(shown), shown  # no token is invisible
    unharmed(guarded)


def test_a_vocabulary_of_markup(guarded: Page) -> None:
    """A model whose tokens are whole tags and templates: in the rows, the strip, the map and the header."""
    choose_model(guarded, MARKUP_NAME)
    start(guarded, "a b")
    while here(guarded, "tail").is_visible():
        press(guarded, "tail")
    assert {row.text for row in rows(guarded)} >= {line.replace(" ", "·") for line in MARKUP}
    written = "a b"
    for line in MARKUP:
        guarded.locator('[data-testid="next-row"]').filter(has_text=line.replace(" ", "·")).first.click()
        at_rest(guarded)
        written += line
    assert "".join(token.text for token in tokens(guarded)) == written.replace(" ", "·")
    sentence = point_at(guarded, len(ids(guarded)) - 1, 3)
    assert MARKUP[0].replace(" ", "·") in sentence.inner_text()
    unharmed(guarded)


def test_a_hostile_link(visit: Visit) -> None:
    """?run= is anybody's text: it names no run, and is not run."""
    page = visit("/?run=%3Cimg%20src%3Dx%20onerror%3Dwindow.hacked%3D1%3E%22%27%7B%7Bx%7D%7D")
    open_tab(page, "Train")
    expect(here(page, "monitor-empty")).to_contain_text("This run is not here.")
    assert page.evaluate("window.hacked") is None
    assert page.locator("img[src=x]").count() == 0


def test_hostile_tables(guarded: Page, tmp_path: Path) -> None:
    """Column names and cells of a CSV, and what is wrong with a line of JSON, are text too."""
    open_tab(guarded, "Corpus")
    table = tmp_path / "table.csv"
    cells = "\n".join('"{}"'.format(line.replace('"', '""')) + ",1" for line in MARKUP)
    table.write_text(f'"{NAME}",n\n{cells}\n', encoding="utf-8")
    upload(guarded, table)
    expect(here(guarded, "corpus")).to_have_attribute("data-name", "table.csv")
    expect(here(guarded, "columns").get_by_role("radio").first).to_have_text(NAME)
    expect(here(guarded, "columns").locator("td").first).to_contain_text(MARKUP[0][:20])
    expect(here(guarded, "corpus-excerpt")).to_contain_text(MARKUP[0])
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"text": "fine enough to be read"}\n<script>window.hacked=1</script>\n', encoding="utf-8")
    upload(guarded, broken)
    expect(guarded.get_by_test_id("corpus-error")).to_contain_text("line 2")
    unharmed(guarded)
