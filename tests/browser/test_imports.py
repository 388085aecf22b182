"""A model that was trained elsewhere, opened in the page: it writes, its heads can be looked into, it is removed."""

import json
from pathlib import Path

import pytest
import torch
from playwright.sync_api import Page, expect

from tests.browser.conftest import Server, Visit
from tests.browser.reference import MARKUP_NAME
from tests.browser.screen import (
    arrived,
    at_rest,
    here,
    ids,
    model_of,
    open_tab,
    point_at,
    press,
    rows,
    start,
    weight_in,
)
from tests.model.formats.stand_ins import CHARACTERS, save, small_lyrics

PROMPT = "Yeah, I'm in the"


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return save(small_lyrics(), tmp_path / "weights.pt")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "characters.json"
    path.write_text(json.dumps(CHARACTERS), encoding="utf-8")
    return path


def open_dialog(page: Page) -> None:
    page.get_by_test_id("models").click()
    page.get_by_test_id("open-file").click()
    expect(page.get_by_test_id("import")).to_be_visible()
    expect(page.get_by_test_id("import-weights")).to_be_focused()


def opened_as(page: Page, name: str) -> None:
    """Wait until the dialog is gone and the model is the one looked at."""
    expect(page.get_by_test_id("import")).to_be_hidden()
    expect(page.get_by_test_id("chip")).to_contain_text(name)
    arrived(page, "Decode")


def test_weights_and_characters_from_the_upload_to_the_heads_and_away(
    opened: Page, server: Server, weights: Path, table: Path
) -> None:
    page, before = opened, sorted(path.name for path in server.runs.iterdir())
    open_dialog(page)
    page.get_by_test_id("import-weights").set_input_files(weights)
    page.get_by_test_id("import-vocabulary").set_input_files(table)
    page.locator(".g-import-more summary").click()
    page.get_by_test_id("import-name").fill(MARKUP_NAME)
    page.get_by_test_id("import-open").click()
    opened_as(page, MARKUP_NAME)
    expect(page.get_by_test_id("chip")).to_contain_text("opened from a file")
    expect(page.get_by_test_id("chip")).to_contain_text("2 layers × 3 heads")
    assert page.locator("b#planted").count() == 0

    start(page, PROMPT)
    press(page, "next")
    text = ids(page)
    assert "".join(CHARACTERS[token] for token in text[:-1]) == PROMPT
    theirs = small_lyrics()  # the same numbers as a model written apart from ours
    with torch.no_grad():
        wanted = theirs(torch.tensor([text[-16:]]))[0, -1].softmax(-1)
    for row in rows(page):
        assert row.own_exact == pytest.approx(100 * float(wanted[row.id]), abs=0.01)
    open_tab(page, "Attention")
    reference = model_of(page, server.runs)
    layer, head = page.evaluate("glass.last('head')")
    shown = weight_in(point_at(page, len(text) - 1, len(text) - 3))
    assert shown == pytest.approx(reference.weight(text, layer, head, len(text) - 1, len(text) - 3), abs=6e-4)

    open_tab(page, "Train")
    expect(here(page, "run-state")).to_have_text("opened from a file")
    expect(here(page, "run-message")).to_contain_text("Opened from a file, weights.pt")
    expect(here(page, "loss-empty")).to_contain_text("no curve of it here")
    expect(page.locator(".g-run-steps, .g-run-figures").first).to_be_hidden()

    page.reload(wait_until="domcontentloaded")
    page.get_by_test_id("models").click()
    group = page.get_by_test_id("models-menu").get_by_role("group", name="Opened from files")
    expect(group).to_contain_text(MARKUP_NAME)
    page.keyboard.press("Escape")
    open_dialog(page)
    remove = page.get_by_test_id("import-remove")
    remove.click()
    expect(remove).to_have_text("Remove for good?")
    remove.click()
    expect(remove).to_have_count(0)
    page.get_by_test_id("import-close").click()
    assert sorted(path.name for path in server.runs.iterdir()) == before
    expect(page.get_by_test_id("chip")).not_to_contain_text(MARKUP_NAME)
    at_rest(page)


def test_typed_characters_on_a_phone(visit: Visit, server: Server, weights: Path) -> None:
    page = visit(viewport={"width": 390, "height": 844}, color_scheme="dark")
    arrived(page, "Decode")
    open_dialog(page)
    box = page.get_by_test_id("import").bounding_box()
    assert box
    assert (box["x"], box["width"]) == (0, 390)
    page.get_by_test_id("import-weights").set_input_files(weights)
    page.get_by_test_id("import-characters").fill("".join(CHARACTERS).replace("\n", "\\n"))
    page.get_by_test_id("import-open").click()
    opened_as(page, "weights")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.evaluate(REMOVE_ALL)


REMOVE_ALL = """async () => {
    glass.imports.open();
    for (const button of document.querySelectorAll('[data-testid=import-remove]')) {
        button.click();
        button.click();
        while (button.isConnected) await new Promise(done => setTimeout(done, 50));
    }
    document.querySelector('[data-testid=import]').close();
}"""


def test_what_cannot_be_opened_is_said_and_leaves_nothing(
    opened: Page, server: Server, weights: Path, table: Path, tmp_path: Path
) -> None:
    page, before = opened, sorted(path.name for path in server.runs.iterdir())
    ref = page.get_by_test_id("chip").get_attribute("data-model")
    open_dialog(page)
    wrong = page.get_by_test_id("import-error")
    page.get_by_test_id("import-open").click()
    expect(wrong).to_contain_text("There are no weights yet")
    cut = tmp_path / "cut.pt"
    cut.write_bytes(weights.read_bytes()[:-400])
    whole = tmp_path / "model.pt"
    torch.save(small_lyrics(), whole)
    (tmp_path / "few.json").write_text('["a", "b"]')
    tries = [
        (cut, table, '"cut.pt" is damaged or cut short'),
        (whole, table, "can run code when it is opened, so it is not"),
        (weights, tmp_path / "few.json", "The vocabulary has 2 entries and the model in weights.pt has 104"),
    ]
    for file, vocabulary, sentence in tries:
        page.get_by_test_id("import-weights").set_input_files(file)
        page.get_by_test_id("import-vocabulary").set_input_files(vocabulary)
        page.get_by_test_id("import-open").click()
        expect(wrong).to_contain_text(sentence)
        expect(page.get_by_test_id("import-open")).to_be_enabled()
        expect(page.get_by_test_id("import-status")).to_be_hidden()
    page.keyboard.press("Escape")
    expect(page.get_by_test_id("import")).to_be_hidden()
    assert page.get_by_test_id("chip").get_attribute("data-model") == ref
    assert sorted(path.name for path in server.runs.iterdir()) == before
