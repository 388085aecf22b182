"""Where did it learn this, and what is it worth: what the page shows against searches of the text."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

from playwright.sync_api import Locator, Page, Route, expect

from model import Tokenizer
from tests.browser.conftest import Server, Visit
from tests.browser.planted import COPY, HELD_OUT, LEARNT, STEPS, TEXT, look_at, planted
from tests.browser.screen import TRAINING, arrived, here, ids, set_range
from training.corpus import split_text
from training.evaluate import evaluate
from training.verbatim import Index

ROOT = Path(__file__).resolve().parents[2]


def looked_up(page: Page) -> Locator:
    """The card, once it shows what stands in the text as it is now."""
    card = here(page, "learnt")
    card.scroll_into_view_if_needed()
    page.wait_for_function(
        """() => {
            const card = document.querySelector('[data-testid=learnt]');
            return card.dataset.state === 'done' && +card.dataset.tokens === glass.decoder.state.length;
        }"""
    )
    return card


def say(page: Page, text: str) -> None:
    """Have the model say this, letter by letter, by choosing each."""
    tokenizer = Tokenizer.char(TEXT)
    for token in tokenizer.encode(text):
        page.evaluate("token => glass.decoder.next(token)", token)
    page.wait_for_function("n => glass.decoder.state.length === n && !glass.decoder.state.busy", arg=len(ids(page)))


def test_copied_pieces_are_underlined_and_lead_to_their_places(copied: Page) -> None:
    look_at(copied, "the old")
    said = " grey cat went down to the river and so it goes"
    say(copied, said)
    card = looked_up(copied)
    text = card.get_by_test_id("learnt-text")
    whole = "the old" + said
    assert text.inner_text() == whole
    index = Index(LEARNT)
    expected = index.pieces(whole)
    shown = [part.inner_text() for part in card.get_by_test_id("learnt-piece").all()]
    assert "".join(shown) == "".join(
        c for i, c in enumerate(whole) if any(piece.start <= i < piece.end for piece in expected)
    )
    copies = index.copied(said)
    expect(here(copied, "learnt-verdict")).to_contain_text(f"{100 * (copies.share or 0):.0f} % of its runs of 8 words")
    expect(card.locator("dd").first).to_contain_text(f"{copies.copied} of {copies.total}")
    part = card.get_by_test_id("learnt-piece").first
    part.click()
    places = card.get_by_test_id("learnt-places")
    longest = whole[expected[0].start : expected[0].end]
    expect(places).to_contain_text(f"{LEARNT.count(longest)} times")
    assert places.locator("li").count() == 20
    lines = LEARNT.split("\n")
    for row in places.locator("li").all()[:5]:
        number = int(re.findall(r"\d+", row.locator(".g-learnt-line").inner_text())[0])
        assert longest in lines[number - 1]
        assert row.locator("mark").inner_text() == longest
        assert (row.locator(".g-learnt-place").text_content() or "-") in LEARNT
    expect(part).to_have_attribute("aria-expanded", "true")
    for piece in card.locator('.g-learnt-piece[tabindex="0"]').all():  # whatever overlaps it, all of it is lit
        piece.focus()
        copied.keyboard.press("Enter")
        if piece.get_attribute("aria-expanded") == "false":  # it was the one that is open
            copied.keyboard.press("Enter")
        found = expected[int(piece.get_attribute("data-piece") or -1)]
        expect(places.locator("mark").first).to_have_text(whole[found.start : found.end])
        assert "".join(card.locator(".g-learnt-piece.lit").all_text_contents()) == whole[found.start : found.end]
    if part.get_attribute("aria-expanded") == "false":
        part.click()
    places.get_by_role("button", name="Close").click()
    expect(places).to_be_hidden()
    expect(part).to_be_focused()
    copied.keyboard.press("Enter")
    expect(places).to_be_visible()
    copied.keyboard.press("Escape")
    expect(places).to_be_hidden()
    assert copied.evaluate("window.hacked") is None
    assert copied.locator("#planted").count() == 0


def test_a_prompt_alone_was_learnt_nowhere(copied: Page) -> None:
    card = looked_up(copied)
    assert card.get_attribute("data-kind") == "nothing"
    expect(here(copied, "learnt-verdict")).to_contain_text("the prompt alone")
    card.get_by_role("button", name="Write 64 tokens").click()
    copied.wait_for_function("n => glass.decoder.state.length === n", arg=len(COPY) + 64)
    looked_up(copied)
    assert card.get_attribute("data-kind") != "nothing"


def test_the_shipped_model_is_held_against_the_tales(opened: Page) -> None:
    """What the page opens on: its text is at hand, split where the training split it."""
    card = looked_up(opened)
    tales = (ROOT / "assets" / "corpora" / "tales.txt").read_text("utf-8")
    learnt, held_out = split_text(tales, 0.1)
    expect(card).to_contain_text(f"{len(learnt):,} characters of tales.txt that it learnt from")
    expect(card).to_contain_text(f"the {len(held_out):,} held out")
    for part in card.get_by_test_id("learnt-piece").all():
        assert part.text_content() in learnt


def test_a_thousand_characters_beside_real_text(copied: Page) -> None:
    """The figures in the table are those of the two texts that can be read below it."""
    card = here(copied, "measure")
    card.scroll_into_view_if_needed()
    here(copied, "measure-go").click()
    expect(card).to_have_attribute("data-state", "done", timeout=TRAINING)
    card.get_by_test_id("measure-texts").locator("summary").click()
    texts = [box.text_content() or "" for box in card.locator(".g-learnt-text").all()]
    assert len(texts[0]) == 1000
    with copied.expect_download() as saved:
        card.get_by_test_id("measure-save").click()
    assert saved.value.suggested_filename == f"copied step {STEPS}.txt"
    assert Path(saved.value.path()).read_bytes() == texts[0].encode()
    assert texts[1] in HELD_OUT
    heads = [f"{len(text):,} characters" for text in texts]  # a shorter text repeats itself less
    assert [head.inner_text() for head in card.locator("thead small").all()] == heads
    index = Index(LEARNT)
    shown: dict[str, list[str]] = {
        str(row.get_attribute("data-figure")): [cell.inner_text() for cell in row.locator("td").all()]
        for row in card.locator("tbody tr").all()
    }
    assert len(shown) == 9
    for column, text in enumerate(texts):
        found = evaluate(text, index)
        copies = found.copied.share if found.copied else None
        expected: dict[str, Any] = {"repetition": found.repetition, "rhymed_lines": found.rhymed_lines}
        expected |= {f"distinct_{n}": share for n, share in found.distinct.items()} | {"copied": copies}
        for name, share in expected.items():
            cell = shown[name][column]
            assert (cell == "–") if share is None else (abs(float(cell.removesuffix(" %")) - 100 * share) <= 0.51)
        assert shown["rhyme_density"][column] == f"{found.rhyme_density:.2f}"
        assert shown["longest_copy"][column] == str(found.longest_copy)


def test_figures_of_one_model_are_not_shown_for_another(copied: Page) -> None:
    here(copied, "measure").scroll_into_view_if_needed()
    here(copied, "measure-go").click()
    expect(here(copied, "measure")).to_have_attribute("data-state", "done", timeout=TRAINING)
    here(copied, "heart-go").click()
    expect(here(copied, "heart")).to_have_attribute("data-state", "done", timeout=TRAINING)
    expect(here(copied, "heart")).to_contain_text("By heart: copied")
    copied.evaluate("glass.decoder.open('Lucy', 'shipped:tales')")
    expect(here(copied, "measure")).to_have_attribute("data-state", "idle")
    expect(copied.get_by_test_id("measure-table")).to_have_count(0)
    expect(copied.get_by_test_id("heart-example")).to_have_count(0)
    for part in ("measure-save", "measure-texts", "measure-counted"):
        expect(copied.get_by_test_id(part)).to_be_hidden()
    expect(here(copied, "measure-go")).to_have_text("Write 1,000 characters and measure")


def test_sampling_of_one_recipe_is_not_the_next_models(server: Server, visit: Visit) -> None:
    """But what the visitor sets by hand stays."""
    place = server.runs / "cold"
    shutil.copytree(planted(server.runs).path, place)
    index = place / "checkpoints" / "last" / "checkpoint.json"
    known = json.loads(index.read_text(encoding="utf-8"))
    known["meta"]["sampling"] = {"temperature": 0.3, "top_k": 20}
    index.write_text(json.dumps(known), encoding="utf-8")
    page = visit()
    arrived(page, "Decode")

    def opens(ref: str) -> tuple[float, int]:
        """Temperature as it stands on the slider, and top-k as it is sent."""
        page.evaluate("ref => glass.decoder.open(null, ref)", ref)
        page.wait_for_function("ref => glass.decoder.state.ref === ref && !glass.decoder.state.busy", arg=ref)
        return float(here(page, "temperature").input_value()), page.evaluate("glass.decoder.state.settings.top_k")

    assert opens("run:cold") == (0.3, 20)
    assert opens("shipped:tales") == (1, 0)
    assert opens("run:cold") == (0.3, 20)
    set_range(page, "temperature", 0.7)
    assert opens("shipped:tales") == (0.7, 0)
    shutil.rmtree(place)


def test_measuring_can_be_stopped(copied: Page) -> None:
    card, go = here(copied, "measure"), here(copied, "measure-go")
    card.scroll_into_view_if_needed()
    here(copied, "measure-length-5000").click()
    expect(go).to_have_text("Write 5,000 characters and measure")

    def slowly(route: Route) -> None:
        copied.wait_for_timeout(50)
        route.continue_()

    copied.route("**/component_server/**", slowly)
    go.click()
    expect(card).to_have_attribute("data-state", "writing")
    expect(go).to_have_text("Stop")
    expect(card.get_by_role("progressbar")).to_have_attribute("aria-valuemax", "5000")
    go.click()
    expect(card).to_have_attribute("data-state", "idle")
    expect(go).to_have_text("Write 5,000 characters and measure")
    copied.unroute_all(behavior="wait")
    assert card.get_by_test_id("measure-table").count() == 0


def test_the_card_says_what_it_waits_for(opened: Page) -> None:
    held: list[Route] = []
    opened.route(
        "**/component_server/**",
        lambda r: held.append(r) if '"learnt"' in (r.request.post_data or "") else r.continue_(),
    )
    card = here(opened, "learnt")
    card.scroll_into_view_if_needed()
    expect(here(opened, "learnt-verdict")).to_have_text("Looking it up…")
    expect(card.get_by_test_id("learnt-text")).to_be_hidden()
    opened.wait_for_timeout(600)
    expect(here(opened, "learnt-verdict")).to_have_text("Looking it up…")
    assert held
    for route in held:
        route.continue_()
    opened.unroute_all(behavior="wait")
    looked_up(opened)
    expect(card.get_by_test_id("learnt-text")).to_be_visible()


def test_the_fine_print_is_folded_away(copied: Page) -> None:
    card = looked_up(copied)
    fold = card.get_by_test_id("learnt-counted")
    expect(fold.locator("p")).to_be_hidden()
    fold.locator("summary").click()
    expect(fold.locator("p")).to_be_visible()
    expect(fold.locator("p")).to_contain_text("characters of <b id=planted>marked up</b> that it learnt from")


def test_another_models_verdict_is_not_shown_while_one_waits(copied: Page) -> None:
    looked_up(copied)
    held: list[Route] = []
    copied.route(
        "**/component_server/**",
        lambda r: held.append(r) if '"learnt"' in (r.request.post_data or "") else r.continue_(),
    )
    copied.evaluate("glass.decoder.open('Lucy', 'shipped:tales')")
    expect(here(copied, "learnt-verdict")).to_have_text("Looking it up…")
    expect(here(copied, "learnt").get_by_test_id("learnt-text")).to_be_hidden()
    for route in held:
        route.continue_()
    copied.unroute_all(behavior="wait")
    expect(here(copied, "learnt").get_by_test_id("learnt-text")).to_have_text(re.compile("^Lucy"))
