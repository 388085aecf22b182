"""The glossary: the page says what docs/glossary.md says, and every term leads to a place that is there."""

import math
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from explorer.glossary import GlossaryError, read, slug
from tests.browser.conftest import Visit
from tests.browser.screen import arrived

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
WANTED = (
    "transformer, self-attention, embedding, token, vocabulary, context window, multi-head, feed-forward, layer norm, "
    "residual, logits, cross-entropy, learning rate, epoch, batch, softmax, AdamW, gradient, backpropagation, Q/K/V, "
    "causal mask, position embedding, token embedding, ReLU/GELU, linear layer"
)
TERMS = read()
SHINING = "() => [...document.querySelectorAll('.g-shine')].map(n => [n.id, n.dataset.testid])"


def test_the_terms_are_those_of_the_case() -> None:
    assert {term["term"].lower() for term in TERMS} == {word.lower() for word in WANTED.split(", ")}
    assert len(TERMS) == 25


def test_each_is_two_to_four_sentences() -> None:
    for term in TERMS:
        assert 2 <= len(re.findall(r"[.!?](?= |$)", term["text"])) <= 4, term["term"]


def test_numbers_in_it() -> None:
    assert f"ln 65 = {math.log(65):.2f}" in DOCUMENT


def test_a_term_without_its_link_is_named(tmp_path: Path) -> None:
    broken = tmp_path / "glossary.md"
    broken.write_text("# Glossary\n\n## Token\nA unit.\n", encoding="utf-8")
    with pytest.raises(GlossaryError, match="Token needs one link"):
        read(broken)
    assert read(tmp_path / "none.md") == []
    assert slug("Q/K/V") == "q-k-v"


def test_the_page_says_what_the_document_says(opened: Page) -> None:
    opened.get_by_test_id("glossary").click()
    panel = opened.get_by_test_id("glossary-panel")
    expect(panel).to_be_visible()
    expect(opened.get_by_test_id("glossary-search")).to_be_focused()
    plain = " ".join(DOCUMENT.split())
    shown = panel.get_by_test_id("term").all()
    assert [entry.locator("dt").inner_text() for entry in shown] == re.findall(r"^## (.+)$", DOCUMENT, re.MULTILINE)
    for entry in shown:
        assert f"## {entry.locator('dt').inner_text()} {entry.locator('dd p').inner_text()} [" in plain
    opened.keyboard.press("Escape")
    expect(panel).to_be_hidden()
    expect(opened.get_by_test_id("glossary")).to_be_focused()


def test_the_search(opened: Page) -> None:
    """A name that holds the words comes first; then texts that do; none at all is said."""
    opened.get_by_test_id("glossary").click()
    search, names = opened.get_by_test_id("glossary-search"), opened.locator(".g-term dt")
    search.fill("embedding")
    named = [term["term"] for term in TERMS if "embedding" in term["term"].lower()]
    said = [t["term"] for t in TERMS if "embedding" in (t["term"] + t["text"]).lower() and t["term"] not in named]
    assert len(named) == 3 < len(named) + len(said)
    expect(names).to_have_text(named + said)
    expect(opened.get_by_test_id("glossary-count")).to_have_text(f"{len(named + said)} of 25 terms")
    search.fill("minus infinity")
    expect(names).to_have_text(["Causal mask"])
    search.fill("<b>xyzzy")
    expect(names).to_have_count(0)
    expect(opened.get_by_test_id("glossary-count")).to_contain_text("No term")
    search.fill("")
    expect(names).to_have_count(25)


def test_every_term_leads_to_a_place_that_is_there(opened: Page) -> None:
    """By its button: the tab opens, what is folded unfolds, and the right element is outlined, on screen."""
    for term in TERMS:
        opened.get_by_test_id("glossary").click()
        entry = opened.get_by_test_id("glossary-panel").locator(f'[data-slug="{term["slug"]}"]')
        expect(entry.get_by_test_id("see")).to_have_text(f"{term['label']} in {term['tab']}")
        entry.get_by_test_id("see").click()
        opened.wait_for_selector(".g-shine")
        ((id_, testid),) = opened.evaluate(SHINING)
        assert term["target"] in (f"#{id_}", testid), term["term"]
        tab = opened.get_by_role("tab", name=re.compile(term["tab"]))
        expect(tab).to_have_attribute("aria-selected", "true")
        expect(opened.locator(".g-shine")).to_be_in_viewport()
    expect(opened.get_by_test_id("problem")).to_be_hidden()


def test_the_outline_goes_after_two_seconds(opened: Page) -> None:
    opened.evaluate("glass.glossary.show('logits')")
    opened.wait_for_selector(".g-shine")
    expect(opened.locator(".g-shine")).to_have_count(0)


PUSHED = """async () => {
    const node = await glass.glossary.show('logits'), tall = document.createElement('div');
    tall.style.height = '5000px';
    document.querySelector('.gradio-container').prepend(tall);
    scrollTo({top: 0, behavior: 'instant'});
    const before = node.getBoundingClientRect().top > innerHeight;
    await new Promise(done => setTimeout(done, 1200));
    const {top, bottom} = node.getBoundingClientRect();
    tall.remove();
    return [before, top < innerHeight && bottom > 0];
}"""


def test_a_place_stays_in_sight_when_something_is_drawn_above_it(opened: Page) -> None:
    assert opened.evaluate(PUSHED) == [True, True]


def test_the_document_links_into_the_app(visit: Visit) -> None:
    """As on a phone, from an address in docs/glossary.md; a reload does not go there again."""
    links = re.findall(r"\(http://127\.0\.0\.1:7860(/\?see=[a-z-]+) ", DOCUMENT)
    assert [link.removeprefix("/?see=") for link in links] == [term["slug"] for term in TERMS]
    page = visit("/?see=context-window", viewport={"width": 390, "height": 844})
    arrived(page, "Train")
    expect(page.locator("#set-context.g-shine")).to_be_in_viewport()
    assert "see=" not in page.url
    strange = visit("/?see=<img src=x onerror=alert(1)>")
    arrived(strange, "Decode")
