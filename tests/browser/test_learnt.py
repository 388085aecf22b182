"""Where did it learn this, what is it worth, and honest losses: what the page shows against searches of the text.

A run whose losses and text are known is planted in the server's folder; it has a model that says nothing sensible.
"""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from playwright.sync_api import Locator, Page, Route, expect

from model import GPT, GPTConfig, Tokenizer, save_checkpoint
from tests.browser.conftest import Server, Visit
from tests.browser.reference import MARKUP, MARKUP_NAME
from tests.browser.screen import TRAINING, arrived, follow, here, ids, open_tab
from training.baselines import measure
from training.config import Recipe, TrainConfig
from training.corpus import split_text
from training.evaluate import evaluate
from training.events import BaselinesKnown, Evaluated, Finished, Started, Stepped
from training.kept import Texts, keep_text
from training.runs import RunFolder
from training.verbatim import Index

ROOT = Path(__file__).resolve().parents[2]
RUN = "copied-0123456789abcdef0123456789abcdef"
WORDS = "the old grey cat went down to the river and sat there on a stone until the moon came up. "
TEXT = "".join(f"{i}. {WORDS}{MARKUP[i % 3]}\n" for i in range(60))
LEARNT, HELD_OUT = TEXT[:-900], TEXT[-900:]
COPY = "the old grey cat went down to the river and sat there on a stone"
STEPS = 200


def planted(runs: Path) -> RunFolder:
    """The run, as a training would have left it: losses that fall below one baseline after the other."""
    folder = RunFolder(runs / RUN)
    if (folder.path / "config.json").exists():
        return folder
    tokenizer = Tokenizer.char(TEXT)
    shape: dict[str, Any] = {"layers": 1, "heads": 2, "width": 16, "context": 32}
    recipe = Recipe(tokenizer="char", model=shape, train=TrainConfig(steps=STEPS, eval_every=20))
    folder = RunFolder.create(
        folder.path, "copied", recipe, {"name": MARKUP_NAME, "source": "file", "characters": len(TEXT), "notes": []}
    )
    tokenizer.save(folder.path / "tokenizer.json")
    torch.manual_seed(3)
    model = GPT(GPTConfig(vocab_size=tokenizer.vocab_size, **shape)).eval()
    about = {"name": "copied", "run": RUN, "corpus": {"opening": "the old"}, "step": STEPS, "loss": 1.0}
    save_checkpoint(folder.checkpoint("last"), model, tokenizer, about)
    keep_text(folder.path, Texts(LEARNT, HELD_OUT))
    known, ratio = baselines()
    folder.append(Started(0, 0.0, STEPS, model.parameter_count(), "cpu"))
    for step in range(STEPS + 1):
        if step:
            folder.append(Stepped(step, step / 10, train_loss(step), 1e-3, 1.0, 100.0))
        if step % 20 == 0:
            loss = val_loss(step)
            folder.append(Evaluated(step, step / 10, train_loss(step) if step else None, loss, loss * ratio, True))
        if step == 1:
            folder.append(BaselinesKnown(1, 0.1, known, {name: value * ratio for name, value in known.items()}))
    folder.append(Finished(STEPS, 20.0, "done"))
    folder.close()
    return folder


def baselines() -> tuple[dict[str, float], float]:
    """Losses of the counting models on the planted text, and bits per byte for a nat per token."""
    tokenizer = Tokenizer.char(TEXT)
    found = measure(
        [tokenizer.encode(LEARNT)], [tokenizer.encode(HELD_OUT)], tokenizer.vocab_size, [1] * tokenizer.vocab_size
    )
    assert found.nats_to_bits is not None
    return found.values, found.nats_to_bits


def val_loss(step: int) -> float:
    return 4.6 * 0.99**step + 0.02


def train_loss(step: int) -> float:
    return 4.5 * 0.985**step


@pytest.fixture
def copied(server: Server, visit: Visit) -> Page:
    """The planted run's model, with a text that it copied; on the Decode tab."""
    planted(server.runs)
    page = visit()
    arrived(page, "Decode")
    return look_at(page, COPY)


def look_at(page: Page, prompt: str) -> Page:
    page.evaluate("([prompt, ref]) => glass.decoder.open(prompt, ref)", [prompt, f"run:{RUN}"])
    page.wait_for_function("ref => glass.decoder.state.ref === ref && !glass.decoder.state.busy", arg=f"run:{RUN}")
    return page


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
    card.locator("summary").click()
    texts = [box.text_content() or "" for box in card.locator(".g-learnt-text").all()]
    assert len(texts[0]) == 1000
    assert texts[1] in HELD_OUT
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


def test_measuring_can_be_stopped(copied: Page) -> None:
    card, go = here(copied, "measure"), here(copied, "measure-go")
    card.scroll_into_view_if_needed()

    def slowly(route: Route) -> None:
        copied.wait_for_timeout(50)
        route.continue_()

    copied.route("**/component_server/**", slowly)
    go.click()
    expect(card).to_have_attribute("data-state", "writing")
    expect(go).to_have_text("Stop")
    go.click()
    expect(card).to_have_attribute("data-state", "idle")
    expect(go).to_have_text("Write 1,000 characters and measure")
    copied.unroute_all(behavior="wait")
    assert card.get_by_test_id("measure-table").count() == 0


def test_losses_in_both_units_and_the_steps_that_beat_counting(server: Server, visit: Visit) -> None:
    planted(server.runs)
    page = follow(visit, RUN, "copied")
    known, ratio = baselines()
    card, tip = here(page, "loss"), here(page, "loss-tip")
    expect(card).to_have_attribute("data-points", str(STEPS))
    expect(card).to_have_attribute("data-unit", "nats")
    expect(tip).to_contain_text(f"train loss {train_loss(STEPS):.3f}, {train_loss(STEPS) * ratio:.3f} bits per byte")
    expect(tip).to_contain_text(f"validation {val_loss(STEPS):.3f}, {val_loss(STEPS) * ratio:.3f} bits per byte")
    monitor = here(page, "monitor")
    expect(monitor.locator("div:has(> [data-figure=loss])")).to_contain_text(
        f"nats per token, {train_loss(STEPS) * ratio:.2f} bits per byte"
    )
    card.locator("summary").click()
    beaten = {}
    for row in card.get_by_test_id("loss-baselines").locator("tbody tr").all():
        name = str(row.get_attribute("data-baseline"))
        nats, bits, step = (cell.inner_text() for cell in row.locator("td").all())
        assert float(nats) == pytest.approx(known[name], abs=0.00051)
        assert float(bits) == pytest.approx(known[name] * ratio, abs=0.00051)
        first = next((s for s in range(0, STEPS + 1, 20) if val_loss(s) < known[name]), None)
        assert step == ("not yet" if first is None else str(first))
        beaten[name] = first
    assert list(beaten) == ["uniform", "unigram", "bigram", "trigram", "back-off"]
    assert len(set(beaten.values())) > 2, "a curve that beats all at once tells little"
    said = here(page, "loss-beats").inner_text()
    for name, first in beaten.items():
        assert name in said
        assert first is None or f"from step {first}" in said
    page.get_by_test_id("loss-bits").click()
    expect(card).to_have_attribute("data-unit", "bits")
    expect(tip).to_contain_text(f"train loss {train_loss(STEPS) * ratio:.3f}, {train_loss(STEPS):.3f} nats per token")
    ends = card.get_attribute("data-ends") or ""
    assert f"validation {val_loss(STEPS) * ratio:.3f}" in ends
    page.reload()
    expect(here(page, "loss")).to_have_attribute("data-unit", "bits")
    open_tab(page, "Decode")
