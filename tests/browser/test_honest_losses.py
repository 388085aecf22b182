"""Losses in nats and in bits per byte, and what counting alone gives away: the page against an own count."""

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from model import GPT, GPTConfig, Tokenizer, save_checkpoint
from tests.browser.conftest import Server, Visit
from tests.browser.planted import (
    RUN,
    SPELLING,
    STEPS,
    TEXT,
    TRAIN_BYTES,
    UNSEEN,
    baselines,
    planted,
    train_loss,
    val_loss,
)
from tests.browser.reference import MARKUP
from tests.browser.screen import follow, here, open_tab
from training.config import Recipe, TrainConfig
from training.events import Copied, Evaluated, Finished, Started, Stepped
from training.runs import RunFolder
from training.unseen import told

ROOT = Path(__file__).resolve().parents[2]


CLOSE_LINES = """([width, gap]) => {
    const canvas = document.createElement('canvas'), step = [...Array(101).keys()];
    const val = step.map((s) => 6 - 3.2 * s / 100);
    document.querySelector('[data-testid=loss]').append(canvas);
    const baselines = ['unigram', 'bigram', 'trigram', 'back-off'].map(
        (name, i) => ({ name, value: 4 - gap * i, bits: null, share: null }));
    const height = Math.round(Math.max(250, Math.min(380, width * 0.46)));
    glass.paintLoss(canvas, { width, height, zoom: null, log: false, smoothing: 0.9, hover: -1, drag: null }, {
        points: { step, loss: val }, evals: { step, val, bits_per_byte: [] }, even: val, run: null, baselines,
        unit: 'nats per token', marks: [], parent: null });
    canvas.remove();
    return canvas.dataset.names;
}"""


def test_each_name_in_the_chart_stands_nearest_to_its_own_line(server: Server, visit: Visit) -> None:
    """Also of lines that are close together, in a narrow chart whose curve is in the way."""
    planted(server.runs)
    page = follow(visit, RUN, "copied")
    expect(here(page, "loss")).to_have_attribute("data-points", str(STEPS))
    for width in (330, 760):
        for gap in (0.05, 0.1, 0.2, 0.3, 0.5, 0.8):
            said = page.evaluate(CLOSE_LINES, [width, gap])
            seats = {name: (float(word), float(line)) for name, word, line in map(str.split, said.split("; "))}
            assert len(seats) == 4
            lines = [line for _, line in seats.values()]
            apart = min(a - b for a, b in pairwise(sorted(lines, reverse=True)))
            for name, (word, line) in seats.items() if apart > 6 else ():
                assert abs(word - line) == min(abs(word - other) for other in lines), (width, gap, name)


def test_losses_in_both_units_and_the_steps_that_beat_counting(server: Server, visit: Visit) -> None:
    planted(server.runs)
    page = follow(visit, RUN, "copied")
    known, ratio = baselines()
    learnt = 1 / math.log(2) / TRAIN_BYTES
    assert abs(learnt - ratio) > 0.3
    card, tip = here(page, "loss"), here(page, "loss-tip")
    expect(card).to_have_attribute("data-points", str(STEPS))
    expect(card).to_have_attribute("data-unit", "nats")
    expect(tip).to_contain_text(f"train loss {train_loss(STEPS):.3f}, {train_loss(STEPS) * learnt:.3f} bits per byte")
    expect(tip).to_contain_text(f"validation {val_loss(STEPS):.3f}, {val_loss(STEPS) * ratio:.3f} bits per byte")
    monitor = here(page, "monitor")
    expect(monitor.locator("div:has(> [data-figure=loss])")).to_contain_text(
        f"nats per token, {train_loss(STEPS) * learnt:.2f} bits per byte"
    )
    card.locator("summary").click()
    newest = card.get_by_test_id("loss-evals").locator("tbody tr").first.locator("td").all_inner_texts()
    assert newest[0] == f"{train_loss(STEPS):.3f}"
    assert newest[2:] == [f"{val_loss(STEPS) * ratio:.3f}", f"{train_loss(STEPS) * learnt:.3f}"]
    beaten = {}
    for row in card.get_by_test_id("loss-baselines").locator("tbody tr").all():
        name = str(row.get_attribute("data-baseline"))
        nats, bits, step = (cell.inner_text() for cell in row.locator("td").all())
        assert float(nats) == pytest.approx(known[name], abs=0.00051)
        assert float(bits) == pytest.approx(known[name] * ratio, abs=0.00051)
        first = next((s for s in range(20, STEPS + 1, 20) if val_loss(s) < known[name]), None)
        assert step == ("–" if first is None else str(first))
        beaten[name] = first
    assert list(beaten) == ["uniform", "unigram", "bigram", "trigram", "back-off"]
    assert len(set(beaten.values())) > 2, "a curve that beats all at once tells little"
    said = here(page, "loss-beats").inner_text()
    for name, first in beaten.items():
        assert name in said
        assert first is None or f"from step {first}" in said
    new = told(UNSEEN, SPELLING)
    assert new in said
    here(page, "runs").locator(f'tr[data-ref="run:{RUN}"] input').check()
    here(page, "runs-compare").click()
    expect(here(page, "compare-unseen")).to_have_text(f"copied: {new}")
    here(page, "compare-unit-nats").click()
    expect(here(page, "compare-unseen")).to_be_hidden()  # nats are not held against each other
    page.get_by_test_id("loss-bits").click()
    expect(card).to_have_attribute("data-unit", "bits")
    expect(tip).to_contain_text(f"train loss {train_loss(STEPS) * learnt:.3f}, {train_loss(STEPS):.3f} nats per token")
    ends = card.get_attribute("data-ends") or ""
    assert f"validation {val_loss(STEPS) * ratio:.3f}" in ends
    page.reload()
    expect(here(page, "loss")).to_have_attribute("data-unit", "bits")
    open_tab(page, "Decode")


def test_what_is_beaten_in_words(opened: Page) -> None:
    """While a training goes on what is not beaten is not beaten yet; once it is over, it is not."""
    said = opened.evaluate(
        """() => {
            const baselines = [['unigram', 3], ['bigram', 2], ['trigram', 1]].map(([name, value]) => ({name, value}));
            const step = [0, 50, 100];
            const say = (state, val) => glass.losses.sentence({run: {state}, baselines, evals: {step, val}});
            return [say('running', [4, 3.5, 3.2]), say('running', [4, 2.5, 1.5]), say('finished', [4, 2.5, 2.2]),
                    say('finished', [4, 0.9, 0.8]), say('finished', [4, 2.5, 3.5]), say('finished', [4, 0.9, 2.2]),
                    say('running', [4, 0.9, 3.3])];
        }"""
    )
    assert said == [
        "On held-out text the model does not yet beat unigram, bigram or trigram.",
        "On held-out text the model beats unigram from step 50 and bigram from step 100, but not yet trigram.",
        "On held-out text the model beats unigram from step 50, but not bigram or trigram.",
        "On held-out text the model beats unigram, bigram and trigram from step 50.",
        "On held-out text the model does not beat bigram or trigram. It beat unigram from step 50, and does no more.",
        "On held-out text the model beats unigram from step 50."
        " It beat bigram and trigram from step 50, and does no more.",
        "On held-out text the model beat unigram, bigram and trigram from step 50, and does no more.",
    ]


def test_an_untrained_model_beats_nothing(opened: Page) -> None:
    """What it is better at before the first step is luck: the mark is set at the first evaluation after that."""
    beaten = opened.evaluate(
        """() => {
            const baselines = [{name: 'uniform', value: 4}, {name: 'bigram', value: 2}];
            const steps = val => glass.losses.beaten({baselines, evals: {step: [0, 50, 100], val}}).map(b => b.step);
            return [steps([3.9, 3.5, 1.5]), steps([3.9, 4.5, 3]), steps([1, 5, 5])];
        }"""
    )
    assert beaten == [[50, 100], [100, None], [None, None]]


ALL = ["uniform", "unigram", "bigram", "trigram", "back-off"]
PAINT = """([values, val, log, zoom]) => {
    const step = val.map((_, i) => 50 * i), names = ['uniform', 'unigram', 'bigram', 'trigram', 'back-off'];
    const canvas = document.createElement('canvas');
    document.body.append(canvas);
    const evals = {step, train: val.map(() => null), val, bits_per_byte: val.map(() => null)};
    const data = {run: null, points: {step, loss: val}, evals, even: val, unit: 'nats per token',
        baselines: values.map((value, i) => ({name: names[i], value}))};
    const view = {width: 700, height: 320, zoom, log, smoothing: 0.9, hover: -1, drag: null};
    const frame = glass.paintLoss(canvas, view, data);
    const marks = canvas.dataset.beaten.split('; ').filter(Boolean).map(m => m.split(' '));
    const y = v => frame.y(v), read = [canvas.dataset.baselines.split('; '),
        marks.map(([name, px, py]) => [name, frame.step(+px), +py]), val.map(y), values.map(y)];
    canvas.remove();
    return read;
}"""


@pytest.mark.parametrize("log", [False, True])
def test_every_baseline_is_in_the_picture_and_marked_at_the_step_that_is_told(opened: Page, log: bool) -> None:
    """The curve ends far above the last two, which have arrows."""
    values, val = [4.2, 3.4, 2.9, 1.2, 0.9], [4.3, 3.7, 3.1, 3.0, 2.8]
    words, marks, _, levels = opened.evaluate(PAINT, [values, val, log, None])
    assert [word.split()[0] for word in words] == ALL
    arrows = {word.split()[0] for word in words if word.endswith("↓")}
    assert "back-off" in arrows
    assert not {"uniform", "unigram", "bigram"} & arrows
    assert [name for name, _, _ in marks] == ["uniform", "unigram", "bigram"]
    for (name, step, height), below in zip(marks, (50, 100, 200), strict=True):
        assert step == pytest.approx(below, abs=0.3)
        assert height == pytest.approx(levels[ALL.index(name)], abs=0.2)


def test_baselines_above_the_picture_and_marks_at_an_evaluation(opened: Page) -> None:
    """Zoomed in below all, each has an arrow up; where luck was better before the first step, the mark is behind it."""
    words, marks, _, _ = opened.evaluate(
        PAINT, [[4.2, 3.4, 2.9, 2.7, 2.6], [4.3, 3.7, 1.1, 1.05, 1.0], False, [120, 200]]
    )
    assert [word.split()[0] for word in words] == ALL
    assert all(word.endswith("↑") for word in words)
    assert marks == []
    _, marks, _, levels = opened.evaluate(PAINT, [[4.2], [4.1, 3.7, 3.1], False, None])
    ((name, step, height),) = marks
    assert (name, step) == ("uniform", pytest.approx(50, abs=0.2))
    assert height == pytest.approx(levels[0], abs=0.2)


def test_nothing_held_out_a_teacher_and_copied_rows(server: Server, visit: Visit) -> None:
    """Bits per byte for the training loss, why there are no baselines, and what came from other models."""
    run, tales, size = "taught-0123456789abcdef0123456789abcdef", str(ROOT / "weights" / "tales"), 1.25
    folder = RunFolder(server.runs / run)
    tokenizer = Tokenizer.char(TEXT)
    shape: dict[str, Any] = {"layers": 1, "heads": 2, "width": 16, "context": 32}
    train = TrainConfig(steps=20, val_fraction=0.0, teacher=tales, embeddings_from=tales)
    about = {"name": "taught.txt", "source": "file", "characters": len(TEXT), "notes": []}
    folder = RunFolder.create(folder.path, "taught", Recipe(tokenizer="char", model=shape, train=train), about)
    model = GPT(GPTConfig(vocab_size=tokenizer.vocab_size, **shape)).eval()
    save_checkpoint(
        folder.checkpoint("last"), model, tokenizer, {"name": "taught", "run": run, "step": 20, "loss": 1.0}
    )
    folder.append(Copied(0, 0.0, 1528, 1600, [MARKUP[0], " the", "a"]))
    folder.append(Started(0, 0.0, 20, model.parameter_count(), "cpu", size))
    for step in range(1, 21):
        folder.append(Stepped(step, step / 10, train_loss(step), 1e-3, 1.0, 100.0, 0.4 + step / 1000))
    folder.append(Evaluated(20, 2.0, 4.0, None, None, True))
    folder.append(Finished(20, 2.0, "done"))
    folder.close()
    page = follow(visit, run, "taught")
    bits = train_loss(20) / (size * math.log(2))
    card, monitor = here(page, "loss"), here(page, "monitor")
    expect(here(page, "loss-beats")).to_contain_text("Nothing was held out of this text")
    expect(here(page, "loss-tip")).to_contain_text(f"{bits:.3f} bits per byte")
    page.get_by_test_id("loss-bits").click()
    expect(card).to_have_attribute("data-unit", "bits")
    expect(monitor.locator("[data-figure=bpb]")).to_have_text(f"{bits:.2f}")
    expect(monitor.locator("div:has(> [data-figure=bpb])")).to_contain_text("of the training loss")
    expect(monitor.locator("div:has(> [data-figure=val])")).to_contain_text("nothing held out")
    expect(monitor.locator("div:has(> [data-figure=loss])")).to_contain_text(
        f"nats per token, {bits:.2f} bits per byte; loss against the teacher 0.42"
    )
    expect(here(page, "run-teacher")).to_contain_text("Tales, its teacher")
    expect(here(page, "run-copied")).to_contain_text("1,528 of 1,600 embedding rows copied from Tales")
    tokens = monitor.locator(".g-run-tokens")
    expect(tokens).to_be_hidden()
    monitor.get_by_text("Which tokens").click()
    expect(tokens).to_be_visible()
    assert tokens.locator(".g-piece").count() == 3
    assert page.evaluate("window.hacked") is None
    here(page, "loss-nats").click()
