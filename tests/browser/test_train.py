"""The Train tab: settings, a run steered from the page, its chart, and who may steer it."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from tests.browser.conftest import ROOT, Server, Visit
from tests.browser.reference import (
    SHORT_MEMORY,
    SHORT_MEMORY_RUN,
    evaluations,
    losses,
)
from tests.browser.screen import (
    TRAINING,
    arrived,
    bring,
    follow,
    here,
    ids,
    model_of,
    model_ref,
    open_tab,
    rows,
    set_number,
    small_and_fast,
    start,
    state,
    stop,
    train,
)
from training.presets import DEFAULT, PRESETS

SENTENCES = "\n".join(
    f"the {a} cat saw the {b} {c}." for a in ("red", "old") for b in ("sad", "wet") for c in ("fox", "sea")
)


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """A file that a small model learns something of in seconds."""
    path = tmp_path / "sentences.txt"
    path.write_text(SENTENCES * 20, encoding="utf-8")
    return path


@pytest.fixture
def ready(page: Page, text: Path, trainings: None) -> Page:
    """The page on the Train tab, with that file."""
    bring(page, text)
    return page


def events(server: Server, run: str, kind: str) -> list[dict[str, Any]]:
    """The events of one kind that a run wrote down."""
    lines = (server.runs / run / "metrics.jsonl").read_text("utf-8").splitlines()
    return [event for event in map(json.loads, lines) if event["event"] == kind]


def test_a_short_training_to_its_end(ready: Page, server: Server) -> None:
    """Its figures, table and samples are what it wrote down, and Look into it opens the best of its weights."""
    small_and_fast(ready, 120)
    run = train(ready, "short one")
    expect(here(ready, "run-name")).to_have_text("short one")
    state(ready, "finished")
    expect(here(ready, "monitor")).to_contain_text("step 120 of 120")
    steps, measured = events(server, run, "step"), events(server, run, "eval")
    figures = {
        name: here(ready, "monitor").locator(f"[data-figure={name}]").inner_text() for name in ("loss", "val", "bpb")
    }
    assert float(figures["loss"]) == pytest.approx(steps[-1]["loss"], abs=0.00056)
    assert float(figures["val"]) == pytest.approx(measured[-1]["val_loss"], abs=0.00056)
    assert float(figures["bpb"]) == pytest.approx(measured[-1]["bits_per_byte"], abs=0.0051)
    assert len(steps) == 120
    expect(here(ready, "loss")).to_have_attribute("data-points", "120")
    here(ready, "loss").locator("summary").click()
    lines = [row.inner_text().split("\t") for row in here(ready, "loss-evals").locator("tbody tr").all()]
    assert [re.findall(r"\d+", line[0])[0] for line in lines] == [str(e["step"]) for e in reversed(measured)]
    assert [float(line[2]) for line in lines] == pytest.approx([e["val_loss"] for e in reversed(measured)], abs=0.00056)
    samples = events(server, run, "sample")
    assert samples
    expect(here(ready, "monitor").locator(".g-run-sample")).to_have_text([s["text"] for s in reversed(samples)])
    here(ready, "monitor").get_by_test_id("look").click()
    arrived(ready, "Decode")
    assert model_ref(ready) == f"run:{run}"
    best = model_of(ready, server.runs)
    expect(ready.get_by_test_id("chip")).to_contain_text(f"step {best.meta['step']}")
    expect(ready.get_by_test_id("chip")).to_contain_text(f"loss {best.meta['val_loss']:.3f}")
    start(ready, "the old cat")
    assert ids(ready) == best.tokenizer.encode("the old cat")
    chances = best.chances(ids(ready))
    for row in rows(ready):
        assert row.own_exact == pytest.approx(100 * chances[row.id].raw, rel=1e-3, abs=1e-6)


def test_pause_resume_stop(ready: Page, server: Server) -> None:
    """The three buttons; a second visitor watches by the link and, on one's own machine, may steer as well."""
    small_and_fast(ready, 10_000)
    run = train(ready, "steered")
    state(ready, "running")
    expect(ready.get_by_test_id("chip")).to_contain_text("training steered")
    for button, shown in (("pause", True), ("resume", False), ("stop", True)):
        expect(ready.get_by_test_id(button)).to_be_visible(visible=shown)
    ready.wait_for_function("+document.querySelector('[data-testid=loss]').dataset.points > 5", timeout=TRAINING)
    ready.get_by_test_id("pause").click()
    state(ready, "paused")
    expect(ready.get_by_test_id("resume")).to_be_visible()
    expect(ready.get_by_test_id("pause")).to_be_hidden()
    step = here(ready, "monitor").get_by_role("progressbar").get_attribute("aria-valuenow")
    for _ in range(100):  # it stands still before its weights are written, and that it does behind them
        if paused := events(server, run, "paused"):
            break
        ready.wait_for_timeout(100)
    assert paused[-1]["step"] == int(step or "")
    ready.get_by_test_id("resume").click()
    state(ready, "running")
    ready.wait_for_function(
        """step => +document.querySelector('[data-testid=monitor] [role=progressbar]')
            .getAttribute('aria-valuenow') > step""",
        arg=int(step or ""),
        timeout=TRAINING,
    )
    stop(ready)
    state(ready, "stopped")
    assert events(server, run, "finished")[-1]["reason"] == "stopped"
    for button in ("pause", "resume", "stop"):
        expect(ready.get_by_test_id(button)).to_be_hidden()


def test_stop_asks_first(ready: Page, server: Server) -> None:
    """By pointer and by keyboard; Escape, going elsewhere and a double click stop nothing."""
    small_and_fast(ready, 10_000)
    run = train(ready, "kept going")
    state(ready, "running")
    button, asks = here(ready, "stop"), "Stop? Its weights are kept"
    for let_be in ("Escape", "Tab"):
        button.focus()
        ready.keyboard.press("Enter")
        expect(button).to_have_text(asks)
        ready.keyboard.press(let_be)
        expect(button).to_have_text("Stop")
    button.dblclick()
    ready.wait_for_timeout(500)
    assert events(server, run, "finished") == []
    state(ready, "running")
    if button.inner_text() != asks:  # a page that is slow may have been drawn anew behind the question
        button.focus()
        ready.keyboard.press("Enter")
    expect(button).to_have_text(asks)
    button.focus()
    ready.keyboard.press("Enter")
    state(ready, "stopped")
    assert events(server, run, "finished")[-1]["reason"] == "stopped"


def test_the_live_run_in_the_header(ready: Page) -> None:
    """A long name is cut by whole letters, and what follows it follows at once."""
    small_and_fast(ready, 10_000)
    train(ready, "a name that is far too long for a line of the header")
    live = ready.get_by_test_id("chip").locator(".g-chip-live-text")
    expect(live).to_have_text(re.compile(r"^training a name that is far too…, .+"))
    after = """live => {
        const [, name, rest] = live.childNodes, range = document.createRange();
        range.selectNodeContents(rest);
        return range.getBoundingClientRect().left - name.getBoundingClientRect().right;
    }"""
    assert live.evaluate(after) == pytest.approx(0, abs=0.6)
    name = live.evaluate("live => [live.querySelector('bdi').scrollWidth, live.querySelector('bdi').clientWidth]")
    assert name == [0, 0]  # inline: as wide as its letters


@pytest.mark.parametrize("size", [{"width": 390, "height": 844}, {"width": 1440, "height": 900}], ids=["phone", "desk"])
def test_train_stays_in_reach(visit: Visit, size: dict[str, int], trainings: None) -> None:
    """With both folds of settings open, the button and what it will do are on screen from the first setting to the
    last; once pressed, the chart comes into sight."""
    page = visit(viewport=size)
    open_tab(page, "Train")
    small_and_fast(page, 10_000)
    boxes = [
        page.locator(f"#set-{field} input[type=number]") for field in ("steps", "width", "dropout", "val_fraction")
    ]
    for box in boxes:
        box.focus()
        button, estimate, at = (
            part.bounding_box() for part in (page.locator("#train"), page.locator("#estimate"), box)
        )
        assert button
        assert estimate
        assert at
        assert at["y"] >= 0
        assert at["y"] + at["height"] <= estimate["y"] < button["y"]  # what is typed into is not covered
        assert button["y"] + button["height"] <= size["height"]
    train(page, "from far below")
    page.wait_for_function(
        """() => {
            const box = document.querySelector('[data-testid=loss]').getBoundingClientRect();
            return box.top >= 0 && box.top < innerHeight / 2;
        }"""
    )


def test_how_the_shipped_model_learnt(page: Page, server: Server) -> None:
    """The empty chart offers it; it is drawn like any run, labelled, and nobody can steer it."""
    open_tab(page, "Train")
    expect(here(page, "loss-empty")).to_contain_text("Start a training")
    metrics = ROOT / "weights" / "tales" / "metrics.jsonl"
    written = [json.loads(line) for line in metrics.read_text("utf-8").splitlines()]
    steps = [event for event in written if event["event"] == "step"]
    here(page, "show-shipped").click()
    expect(here(page, "loss-whose")).to_have_text("how the shipped model Tales learnt")
    expect(here(page, "loss")).to_have_attribute("data-points", str(len(steps)))
    expect(here(page, "loss-tip")).to_contain_text(f"train loss {steps[-1]['loss']:.3f}")
    expect(here(page, "run-name")).to_have_text("Tales")
    expect(here(page, "run-state")).to_have_text("shipped")
    samples = [event["text"] for event in written if event["event"] == "sample"][-40:]
    expect(here(page, "monitor").locator(".g-run-sample")).to_have_text(samples[::-1])
    for button in ("pause", "resume", "stop"):
        expect(page.get_by_test_id(button)).to_be_hidden()
    here(page, "look").click()
    arrived(page, "Decode")
    assert model_ref(page) == "shipped:tales"
    open_tab(page, "Train")
    here(page, "close-shipped").click()
    expect(here(page, "show-shipped")).to_be_visible()


def test_a_second_browser_watches_by_the_link(ready: Page, visit: Visit) -> None:
    """The link shows the same run. On one's own machine any browser may steer it; where the server says that the run
    is somebody else's, there are no buttons, only the run."""
    small_and_fast(ready, 10_000)
    run = train(ready, "watched")
    ready.get_by_test_id("watch-link").click()
    ready.wait_for_function("document.querySelector('[data-testid=watch-link]').dataset.link")
    link = ready.get_by_test_id("watch-link").get_attribute("data-link") or ""
    assert link.endswith(f"?run={run}")
    other = follow(visit, run, "watched")
    state(other, "running")
    other.wait_for_function("+document.querySelector('[data-testid=loss]').dataset.points > 2", timeout=TRAINING)
    other.get_by_test_id("pause").click()
    state(other, "paused")
    state(ready, "paused")
    other.route("**/component_server/**", as_a_stranger)
    for button in ("pause", "resume", "stop"):
        expect(other.get_by_test_id(button)).to_be_hidden()
    state(other, "paused")
    expect(here(other, "monitor").get_by_test_id("look")).to_be_enabled()
    other.unroute_all(behavior="wait")


def as_a_stranger(route: Route) -> None:
    """Let a call through, and turn its answer into what a shared server says of another visitor's run."""
    answer = route.fetch()
    reply = answer.json()
    if isinstance(reply, dict) and reply.get("run"):
        reply["run"]["mine"] = False
    route.fulfill(response=answer, json=reply)


def test_a_link_to_no_run(visit: Visit) -> None:
    """It leads to where the page says so, on a phone too."""
    page = visit("/?run=not-a-run-0123456789abcdef", viewport={"width": 390, "height": 844})
    arrived(page, "Train")
    expect(here(page, "loss-empty")).to_contain_text("This run is not here.")
    expect(here(page, "loss-empty")).to_be_in_viewport()


def test_a_link_brings_the_curve_into_sight_on_a_phone(visit: Visit) -> None:
    """The settings of a training stand above it there, and the run in numbers below."""
    page = visit(f"/?run={SHORT_MEMORY_RUN}", viewport={"width": 390, "height": 844})
    expect(here(page, "loss")).to_have_attribute("data-points", "400")
    expect(here(page, "loss-canvas")).to_be_in_viewport()


@pytest.fixture
def chart(visit: Visit) -> Page:
    """The planted run, whose losses are known, on the Train tab."""
    page = follow(visit, SHORT_MEMORY_RUN, SHORT_MEMORY)
    expect(here(page, "loss")).to_have_attribute("data-points", "400")
    expect(here(page, "loss-tip")).to_contain_text("Step 400")
    return page


def mean(values: list[float]) -> float:
    """The mean that the thick line is: each value counts 0.9 of the one after it, which is how the page begins."""
    weights = [0.9**back for back in range(len(values))]
    return sum(w * value for w, value in zip(weights, reversed(values), strict=True)) / sum(weights)


def smoothed(tip: Locator) -> float:
    """The smoothed loss that the line under the chart reads out."""
    found = re.search(r"\(([\d.]+) smoothed\)", tip.inner_text())
    assert found
    return float(found[1])


def test_the_chart_reads_exactly(chart: Page) -> None:
    """By keyboard and pointer: each step's loss, its smoothed value, and the measurement nearest to it."""
    known, measured = losses(), evaluations()
    canvas, tip = chart.get_by_test_id("loss-canvas"), chart.get_by_test_id("loss-tip")
    canvas.focus()
    chart.keyboard.press("Home")
    expect(tip).to_contain_text(f"Step 1: train loss {known[0]:.3f}")
    chart.keyboard.press("ArrowRight")
    expect(tip).to_contain_text(f"Step 2: train loss {known[1]:.3f}")
    assert smoothed(tip) == pytest.approx(mean(known[:2]), abs=0.0011)
    chart.keyboard.press("End")
    chart.keyboard.press("ArrowLeft")
    expect(tip).to_contain_text(f"Step 399: train loss {known[398]:.3f}")
    expect(tip).to_contain_text(
        f"validation {measured[-1].val_loss:.3f}, {measured[-1].bits_per_byte:.3f} bits per byte"
    )
    expect(tip).to_contain_text("measured at step 400")
    assert smoothed(tip) == pytest.approx(mean(known[:399]), abs=0.0011)
    box = canvas.bounding_box()
    assert box
    canvas.hover(position={"x": box["width"] / 3, "y": box["height"] / 2})
    step = int(re.findall(r"Step (\d+)", tip.inner_text())[0])
    assert 50 < step < 250
    expect(tip).to_contain_text(f"train loss {known[step - 1]:.3f}")
    expect(here(chart, "loss").locator("tr.best")).to_contain_text("300 (best)", use_inner_text=False)


def test_the_words_at_the_lines_ends_say_what_they_are(chart: Page) -> None:
    """The smoothed loss is called so; without smoothing it is the last step's own, as in the figures."""
    known, measured, card = losses(), evaluations(), here(chart, "loss")
    validation = f"validation {measured[-1].val_loss:.3f}"

    def said() -> tuple[float, str, str]:
        text = card.get_attribute("data-ends") or ""
        found = re.fullmatch(r"train ([\d.]+)( smoothed)?; (.*)", text) or re.fullmatch(
            r"(.*); train ([\d.]+)( smoothed)?", text
        )
        assert found, text
        number, kind, other = found.groups() if text.startswith("train") else (found[2], found[3], found[1])
        return float(number), kind or "", other

    number, kind, other = said()
    assert number == pytest.approx(mean(known), abs=0.0011)
    assert (kind, other) == (" smoothed", validation)
    figure = here(chart, "monitor").locator("[data-figure=loss]")
    assert float(figure.inner_text()) == pytest.approx(known[-1], abs=0.00056)
    expect(figure.locator("xpath=preceding-sibling::dt")).to_have_text(f"train loss at step {len(known)}")
    card.get_by_label("Smoothing of the train loss").fill("0")
    expect(card).not_to_have_attribute("data-ends", re.compile("smoothed"))
    assert said() == (pytest.approx(known[-1], abs=0.0011), "", validation)
    expect(card.locator("summary")).to_have_text(f"{len(measured)} evaluations as a table")
    assert chart.evaluate("[glass.fmt.many(1, 'evaluation'), glass.fmt.many(2, 'evaluation')]") == [
        "1 evaluation", "2 evaluations",
    ]  # fmt: skip


def test_the_chart_zooms_and_has_a_log_axis(chart: Page) -> None:
    canvas, card = chart.get_by_test_id("loss-canvas"), here(chart, "loss")
    box = canvas.bounding_box()
    assert box
    plain = canvas.evaluate("canvas => canvas.toDataURL()")
    card.get_by_role("button", name="log", exact=True).click()
    expect(card.get_by_role("button", name="log", exact=True)).to_have_attribute("aria-pressed", "true")
    expect(card.get_by_role("button", name="linear")).to_have_attribute("aria-pressed", "false")
    chart.wait_for_function(
        "before => document.querySelector('[data-testid=loss-canvas]').toDataURL() !== before", arg=plain
    )
    card.get_by_role("button", name="linear").click()
    middle = box["y"] + box["height"] / 2
    chart.mouse.move(box["x"] + 0.3 * box["width"], middle)
    chart.mouse.down()
    chart.mouse.move(box["x"] + 0.5 * box["width"], middle, steps=5)
    chart.mouse.up()
    expect(card).to_have_attribute("data-zoom", re.compile(r"^[\d.]+ [\d.]+$"))
    low, high = map(float, (card.get_attribute("data-zoom") or "").split())
    assert 0 < low < high < 400
    chart.mouse.move(box["x"] + 0.5 * box["width"], middle + 5)
    expect(chart.get_by_test_id("loss-tip")).to_contain_text("Step")
    inside = int(re.findall(r"Step (\d+)", chart.get_by_test_id("loss-tip").inner_text())[0])
    assert low - 1 <= inside <= high + 1
    chart.get_by_test_id("loss-reset").click()
    expect(card).to_have_attribute("data-zoom", "")
    expect(chart.get_by_test_id("loss-reset")).to_be_hidden()


def test_a_text_shorter_than_the_context(page: Page, server: Server, trainings: None) -> None:
    """A sentence in the Train card, no run, and every setting as it was; with a smaller context it trains."""
    open_tab(page, "Corpus")
    page.locator("#paste textarea").fill("To be or not to be, that is the question. " * 2)
    page.locator("#use-paste").click()
    expect(here(page, "corpus")).to_have_attribute("data-name", "pasted text")
    open_tab(page, "Train")
    small_and_fast(page, 20)
    set_number(page, "context", 62)  # chosen: a recipe's own 64 would give way
    page.locator("#run-name textarea, #run-name input").fill("too short")
    before = set(server.runs.iterdir())
    page.locator("#train").click()
    notice = here(page, "notice")
    expect(notice).to_contain_text("The text is too short for a context of 62")
    expect(notice).to_contain_text("set the context to at most")
    assert set(server.runs.iterdir()) == before
    expect(page.locator("#set-context input[type=number]")).to_have_value("62")
    expect(page.locator("#set-layers input[type=number]")).to_have_value("2")
    expect(page.locator("#run-name textarea, #run-name input")).to_have_value("too short")
    expect(here(page, "source")).to_contain_text("pasted text")
    set_number(page, "context", 4)
    train(page, "short enough")
    state(page, "finished")
    expect(page.get_by_test_id("notice")).to_be_hidden()


def test_settings_that_cannot_be_trained(page: Page, server: Server) -> None:
    """They are said before anything starts, and again in words by the button."""
    open_tab(page, "Train")
    small_and_fast(page, 20)
    set_number(page, "heads", 5)
    expect(page.locator("#estimate")).to_contain_text("Cannot be trained: width 32 cannot be shared out among 5 heads")
    before = set(server.runs.iterdir())
    page.locator("#train").click()
    expect(here(page, "notice")).to_contain_text("idth 32 cannot be shared out among 5 heads")
    assert set(server.runs.iterdir()) == before


def test_the_estimate_is_that_of_the_last_change(page: Page) -> None:
    """Also where the answer to the change before it comes late."""
    open_tab(page, "Train")
    expect(page.locator("#estimate")).to_contain_text("on this machine")  # the text was prepared
    held: list[Route] = []
    page.route("**/gradio_api/run/**", lambda route: route.continue_() if held else held.append(route))
    page.evaluate(
        """() => {
            const estimate = document.querySelector('#estimate');
            window.said = [];
            new MutationObserver(() => window.said.push(estimate.textContent))
                .observe(estimate, {childList: true, subtree: true, characterData: true});
        }"""
    )
    page.get_by_role("button", name="How it is trained").click()
    with page.expect_request("**/gradio_api/run/**"):
        set_number(page, "steps", 20)
    set_number(page, "batch_size", 10)
    page.wait_for_timeout(500)  # time for a second answer to come before the first, if it is asked for already
    held[0].continue_()
    recipe = PRESETS[DEFAULT].recipe
    context = recipe.model_config(2).context
    page.wait_for_function(
        "([first, last]) => said.some(text => text.includes(first)) && said.at(-1).includes(last)",
        arg=[f"read {20 * recipe.train.batch_size * context:,} tokens", f"read {20 * 10 * context:,} tokens"],
    )


def test_a_recipe_fills_every_box(page: Page) -> None:
    open_tab(page, "Train")
    page.get_by_role("button", name="Shape of the model").click()
    page.locator("#preset").get_by_text("One song, word by word").click()
    song = PRESETS["song"].recipe
    shape = {field: getattr(song.model_config(9), field) for field in ("layers", "heads", "width", "context")}
    for field, value in (shape | {"steps": song.train.steps}).items():
        expect(page.locator(f"#set-{field} input[type=number]")).to_have_value(str(value))
    expect(page.locator("#tokenizer input:checked")).to_have_value(song.tokenizer)
    expect(page.locator("#estimate")).to_contain_text(f"{song.train.steps:,} steps")
    expect(page.locator("#set-vocab_size")).to_be_hidden()
    page.locator("#preset").get_by_text("Shakespeare with an own BPE").click()
    expect(page.locator("#tokenizer input:checked")).to_have_value("bpe")
    expect(page.locator("#set-vocab_size")).to_be_visible()


def test_a_reload_comes_back_to_the_open_tab(ready: Page, visit: Visit) -> None:
    """Also in the middle of a training; a link to a run or to a term goes before it, and so does a click."""
    small_and_fast(ready, 10_000)
    train(ready, "reloaded")
    ready.reload(wait_until="domcontentloaded")
    arrived(ready, "Train")
    state(ready, "running")
    expect(here(ready, "run-name")).to_have_text("reloaded")
    ready.goto("/?see=temperature", wait_until="domcontentloaded")
    arrived(ready, "Decode")
    open_tab(ready, "Corpus")
    ready.goto(f"/?run={SHORT_MEMORY_RUN}", wait_until="domcontentloaded")
    arrived(ready, "Train")


def test_a_click_on_a_tab_goes_before_what_the_page_opens(page: Page) -> None:
    """A button that leads to another tab looks after its click for a while; the visitor may go elsewhere meanwhile."""
    arrived(page, "Decode")
    page.evaluate(
        "[glass.openTab('Attention'), document.querySelectorAll('button[role=tab]')[2].scrollIntoView()] && null"
    )
    page.get_by_role("tab", name="Train").click()
    page.wait_for_timeout(600)  # openTab looks again after 150 ms
    arrived(page, "Train")
