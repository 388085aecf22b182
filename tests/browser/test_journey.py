"""The whole way of a visitor, in one go: a text of their own, a training, and a look into the model that came of it."""

import json
import random
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Server
from tests.browser.reference import reference
from tests.browser.screen import (
    TRAINING,
    arrived,
    choose_head,
    here,
    ids,
    model_of,
    open_tab,
    point_at,
    press,
    rows,
    small_and_fast,
    start,
    state,
    stop,
    tokens,
    train,
    upload,
    weight_in,
)

PROMPT = "the small goat "
POINTS = "+document.querySelector('[data-testid=loss]').dataset.points"
EVALUATIONS = "+document.querySelector('[data-testid=loss]').dataset.evals"


def written(path: Path) -> str:
    """A text with something to learn in it, about 15,000 characters."""
    dice = random.Random(3)
    size, who, where = ("small", "large", "old"), ("goat", "crow", "mole"), ("barn", "wood", "pond")
    lines = [f"the {dice.choice(size)} {dice.choice(who)} went to the {dice.choice(where)}." for _ in range(500)]
    text = "\n".join(lines) + "\n"
    path.write_text(text, encoding="utf-8")
    return text


def first_and_last_loss(page: Page) -> tuple[int, float, float]:
    """The last step that the chart reads out, the first step's loss, and the smoothed loss of the last."""
    canvas, tip = page.get_by_test_id("loss-canvas"), page.get_by_test_id("loss-tip")
    canvas.focus()
    page.keyboard.press("Home")
    expect(tip).to_contain_text("Step 1: train loss")
    first = float(re.findall(r"train loss ([\d.]+)", tip.inner_text())[0])
    page.keyboard.press("End")
    expect(tip).not_to_contain_text("Step 1: ")
    found = re.search(r"Step ([\d,]+): train loss [\d.]+, [\d.]+ bits per byte \(([\d.]+) smoothed\)", tip.inner_text())
    assert found, tip.inner_text()
    return int(found[1].replace(",", "")), first, float(found[2])


def test_from_a_text_of_ones_own_to_a_weight_of_ones_own_model(
    page: Page, server: Server, problems: list[str], trainings: None, tmp_path: Path
) -> None:
    text = written(tmp_path / "goats.txt")

    # A text
    open_tab(page, "Corpus")
    upload(page, tmp_path / "goats.txt")
    expect(here(page, "corpus")).to_have_attribute("data-name", "goats.txt")
    expect(here(page, "corpus")).to_have_attribute("data-characters", str(len(text)))
    page.get_by_role("button", name="Next: train on it").click()

    # A training, and its loss falls
    arrived(page, "Train")
    expect(here(page, "source")).to_contain_text(f"It reads goats.txt, {len(text):,} characters")
    small_and_fast(page, 10_000)
    run = train(page, "goats by the pond")
    state(page, "running")
    page.wait_for_function(f"{POINTS} > 150 && {EVALUATIONS} > 1", timeout=TRAINING)
    step, first, now = first_and_last_loss(page)
    assert now < first - 0.5
    log = [json.loads(line) for line in (server.runs / run / "metrics.jsonl").read_text("utf-8").splitlines()]
    assert first == pytest.approx(next(event["loss"] for event in log if event["event"] == "step"), abs=0.000501)

    # A reload in the middle finds it running, with all that happened before
    page.reload(wait_until="domcontentloaded")
    open_tab(page, "Train")
    state(page, "running")
    expect(here(page, "run-name")).to_have_text("goats by the pond")
    assert here(page, "monitor").get_attribute("data-run") == run
    page.wait_for_function(f"step => {POINTS} > step", arg=step, timeout=TRAINING)
    assert first_and_last_loss(page)[1] == first

    # A look into it as it is at this moment, and another when it is over
    here(page, "monitor").get_by_test_id("look").click()
    arrived(page, "Decode")
    expect(page.get_by_test_id("chip")).to_have_attribute("data-model", f"run:{run}")
    expect(page.get_by_test_id("chip")).to_contain_text("goats by the pond")
    open_tab(page, "Train")
    state(page, "running")
    stop(page)
    state(page, "stopped")
    here(page, "monitor").get_by_test_id("look").click()
    arrived(page, "Decode")
    best = reference(server.runs / run)
    expect(page.get_by_test_id("chip")).to_contain_text(f"step {best.meta['step']:,}")
    assert model_of(page, server.runs) is best

    # Five tokens forward and two back
    start(page, PROMPT)
    given = best.tokenizer.encode(PROMPT)
    assert ids(page) == given
    press(page, *["next"] * 5)
    ahead = ids(page)
    assert ahead == best.write(given, 5, 1337)
    press(page, "back", "back")
    assert ids(page) == ahead[:-2]
    assert [token.id for token in tokens(page) if not token.counts] == ahead[-2:]

    # A head, and a value of it
    text_now = ids(page)
    layer, head, query, key = 1, 1, len(text_now) - 1, len(text_now) - 3
    choose_head(page, layer, head)
    sentence = point_at(page, query, key)
    weight = best.weight(text_now, layer, head, query, key)
    assert sentence.inner_text().startswith("Layer 2, head 2: ")
    assert weight_in(sentence) == pytest.approx(weight, abs=0.000501)
    assert float(sentence.get_attribute("data-weight") or "") == pytest.approx(weight, abs=2e-6)
    chances = best.chances(text_now)
    for row in rows(page):
        assert row.own_exact == pytest.approx(100 * chances[row.id].raw, rel=1e-3, abs=1e-6)

    assert problems == []  # no request left 127.0.0.1, nothing on the console, no dialog (see conftest.py)
