"""A training steered on the page: one step seen closely, settings changed in flight, how it is doing, and a fork."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Server
from tests.browser.screen import TRAINING, here, set_number, small_and_fast, state, stop, train
from training.diagnosis import diagnose
from training.runs import RunFolder

POINTS = "least => +document.querySelector('[data-testid=loss]').dataset.points > least"


def lines(server: Server, run: str, kind: str) -> list[dict[str, Any]]:
    found = map(json.loads, (server.runs / run / "metrics.jsonl").read_text("utf-8").splitlines())
    return [line for line in found if line["event"] == kind]


def test_one_step_changes_and_a_fork(ready: Page, server: Server) -> None:
    small_and_fast(ready, 10_000)
    run = train(ready, "steered")
    ready.wait_for_function(POINTS, arg=30, timeout=TRAINING)

    # changed in flight
    here(ready, "change-fold").locator("summary").click()
    here(ready, "halve").click()
    expect(here(ready, "changes")).to_contain_text("learning rate × 0.5")
    here(ready, "change-batch").fill("0")
    here(ready, "change").click()
    expect(here(ready, "monitor").get_by_role("alert").first).to_contain_text("Batch is 0; use from 1 to 4096")
    here(ready, "change-batch").fill("5")
    here(ready, "change").click()
    expect(here(ready, "changes")).to_contain_text("batch 5")
    expect(here(ready, "step")).to_be_hidden()
    here(ready, "pause").click()
    state(ready, "paused")
    changes = lines(server, run, "changed")
    assert [(line["rate"], line["batch_size"]) for line in changes][-1] == (0.5, 5)
    expect(here(ready, "loss-canvas")).to_have_attribute("data-changes", re.compile(f"× 0.5 at {changes[0]['step']}"))

    # one step, closely
    at = lines(server, run, "step")[-1]["step"]
    here(ready, "step").click()
    look = here(ready, "step-look")
    expect(look).to_have_attribute("data-step", str(at + 1), timeout=TRAINING)
    state(ready, "paused")
    (made,) = [line for line in lines(server, run, "step") if line["step"] > at]
    expect(here(ready, "step-loss")).to_have_text(f"{made['loss']:.4f}")
    expect(look).to_contain_text(
        f"nats per token, {made['loss'] / math.log(2):.3f} bits per byte"
    )  # a character, a byte
    rows = look.locator(".g-cost-row")
    costs = rows.first.locator("[data-nats]").evaluate_all("cells => cells.map(cell => +cell.dataset.nats)")
    assert costs
    assert all(cost >= 0 for cost in costs)
    parts = (
        here(ready, "step-layers")
        .locator("tbody tr")
        .evaluate_all("rows => rows.map(row => [row.dataset.part, +row.dataset.gradient, +row.dataset.relative])")
    )
    assert [part for part, *_ in parts] == ["embeddings", "layer 1", "layer 2", "output"]
    assert sum(gradient**2 for _, gradient, _ in parts) ** 0.5 == pytest.approx(made["grad_norm"], rel=1e-3)
    rows.first.focus()
    ready.keyboard.press("ArrowRight")
    expect(here(ready, "step-reading")).to_contain_text(f"cost {costs[0]:.3f} nats")

    # how it is doing
    folder = RunFolder(server.runs / run)
    said = diagnose(list(folder.events()), folder.info().recipe.train)
    assert said is not None
    expect(here(ready, "diagnosis")).not_to_be_empty()

    # a fork of it, with the parent's curve behind
    stop(ready)
    state(ready, "stopped")
    last = lines(server, run, "step")[-1]["step"]
    here(ready, "fork").locator("summary").first.click()
    expect(here(ready, "fork-step")).to_have_value(str(last))
    here(ready, "fork-step").select_option("16")
    here(ready, "fork-more").fill("0")
    here(ready, "fork-go").click()
    expect(here(ready, "fork-error")).to_have_text("0 more steps is none: give at least 1.")
    here(ready, "fork-more").fill("25")
    here(ready, "fork-dropout").fill("0.1")
    here(ready, "fork-name").fill("a fork")
    here(ready, "fork-form").locator("summary").click()
    here(ready, "fork-form").get_by_role("button", name="Silence head 2 of layer 1").click()
    here(ready, "fork-go").click()
    expect(here(ready, "run-name")).to_have_text("a fork", timeout=TRAINING)
    state(ready, "finished")
    expect(here(ready, "run-parent")).to_contain_text("Forked from steered at step 16")
    expect(here(ready, "run-parent")).to_contain_text("layer 1, head 2 silenced")
    expect(here(ready, "loss")).to_have_attribute("data-points", "25")
    canvas = here(ready, "loss-canvas")
    expect(canvas).to_have_attribute("data-parent", f"{last} {last}")
    expect(canvas).to_have_attribute("data-changes", "forked here at 16")
    made_run = RunFolder(server.runs / ready.evaluate("localStorage.getItem('glass.run')"))
    info = made_run.info()
    assert info.parent is not None
    assert (info.parent.id, info.parent.step, info.recipe.model["dropout"]) == (run, 16, 0.1)
    here(ready, "run-parent").get_by_role("button").click()
    expect(here(ready, "run-name")).to_have_text("steered")
    expect(canvas).to_have_attribute("data-parent", "")


def test_a_run_that_does_not_fall_says_so_and_a_click_helps(ready: Page, server: Server) -> None:
    small_and_fast(ready, 10_000)
    for name in ("learning_rate", "muon_learning_rate"):
        set_number(ready, name, 1e-6)
    run = train(ready, "too slow")
    line = here(ready, "diagnosis")
    expect(line).to_contain_text("The learning rate is too small", timeout=TRAINING)
    remedy = here(ready, "remedy")
    expect(remedy).to_have_text("Ten times the rate")
    remedy.click()
    expect(here(ready, "changes")).to_contain_text("learning rate × 10", timeout=TRAINING)
    assert lines(server, run, "changed")[0]["rate"] == 10.0
    stop(ready)
    state(ready, "stopped")
