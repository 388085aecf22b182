"""A run that is over goes on from the page: the buttons, the curve, and that nothing is drawn twice."""

from __future__ import annotations

import json

from playwright.sync_api import Page, expect

from tests.browser.conftest import Server
from tests.browser.screen import TRAINING, here, small_and_fast, state, stop, train


def steps_of(server: Server, run: str) -> list[int]:
    lines = map(json.loads, (server.runs / run / "metrics.jsonl").read_text("utf-8").splitlines())
    return [line["step"] for line in lines if line["event"] == "step"]


def first_things(page: Page) -> list[str]:
    """The filled buttons that steer a run or lead on from it: there should be one."""
    buttons = page.locator("[data-testid=monitor] .g-run-steer .go:visible, [data-testid=monitor] .g-run-look .go")
    return [str(button.get_attribute("data-testid")) for button in buttons.all()]


def test_a_stopped_run_goes_on(ready: Page, server: Server) -> None:
    small_and_fast(ready, 10_000)
    run = train(ready, "goes on")
    ready.wait_for_function("+document.querySelector('[data-testid=loss]').dataset.points > 20", timeout=TRAINING)
    expect(here(ready, "go_on")).to_be_hidden()
    stop(ready)
    state(ready, "stopped")
    at = steps_of(server, run)[-1]
    button = here(ready, "go_on")
    expect(button).to_have_text(f"Go on from step {at:,}")
    expect(here(ready, "more")).to_be_hidden()
    assert first_things(ready) == ["go_on"]
    button.click()
    state(ready, "running")
    expect(button).to_be_hidden()
    assert first_things(ready) == ["look"]
    ready.wait_for_function(
        "at => +document.querySelector('[data-testid=loss]').dataset.points > at + 20", arg=at, timeout=TRAINING
    )
    here(ready, "pause").click()
    state(ready, "paused")
    assert first_things(ready) == ["resume"]
    stop(ready)
    state(ready, "stopped")
    steps = steps_of(server, run)
    assert steps == list(range(1, len(steps) + 1))
    expect(here(ready, "loss")).to_have_attribute("data-points", str(len(steps)))
    ready.reload()
    expect(here(ready, "loss")).to_have_attribute("data-points", str(len(steps)))


def test_a_finished_run_trains_some_more(ready: Page, server: Server) -> None:
    small_and_fast(ready, 60)
    run = train(ready, "some more")
    state(ready, "finished")
    expect(here(ready, "go_on")).to_be_hidden()
    field = here(ready, "more-steps")
    expect(field).to_have_value("30")
    field.fill("0")
    here(ready, "more").click()
    expect(here(ready, "monitor").get_by_role("alert")).to_have_text("0 more steps is none: give at least 1.")
    field.fill("25")
    field.press("Enter")
    expect(here(ready, "monitor")).to_contain_text("step 85 of 85", timeout=TRAINING)
    state(ready, "finished")
    assert steps_of(server, run) == list(range(1, 86))
    expect(here(ready, "loss")).to_have_attribute("data-points", "85")
    expect(here(ready, "monitor").get_by_role("alert")).to_be_hidden()
