"""A run's settings as YAML, its loss as a picture, its samples as a text."""

from __future__ import annotations

from dataclasses import fields
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import yaml
from matplotlib.text import Text
from PIL import Image

from model import ConfigError, GPTConfig
from tests.training.tiny import tiny_recipe
from training.artifacts import (
    apart,
    append_sample,
    data_of,
    draw_loss,
    from_yaml,
    loss_figure,
    smooth,
    to_yaml,
    write_recipe,
)
from training.config import Recipe, TrainConfig
from training.events import BaselinesKnown, Evaluated, Event, Sampled, Started, Stepped
from training.origin import Data
from training.presets import PRESETS

HOSTILE = 'é "quoted" \\ # no comment\n- [x]: {y}\t\u2028 👍🏽 ${alert(1)}'


@pytest.mark.parametrize("name", list(PRESETS))
def test_a_recipe_comes_back_from_its_yaml(name: str) -> None:
    recipe = PRESETS[name].recipe
    again = from_yaml(to_yaml(recipe))
    assert again.train == recipe.train
    assert again.model_config(99) == recipe.model_config(99)
    assert (again.tokenizer, again.cut, again.start_mark) == (recipe.tokenizer, recipe.cut, recipe.start_mark)
    assert to_yaml(again) == to_yaml(recipe)


def test_every_setting_stands_in_it_with_its_sentence() -> None:
    text = to_yaml(tiny_recipe(), "A heading\nof two lines.")
    assert text.startswith("# A heading of two lines.\n")
    values = yaml.safe_load(text)
    assert set(values["train"]) == {field.name for field in fields(TrainConfig)}
    assert set(values["model"]) == {field.name for field in fields(GPTConfig)} - {"vocab_size"}
    assert set(values) == {field.name for field in fields(Recipe)}
    for cls in (TrainConfig, GPTConfig):
        for field in fields(cls):
            assert field.name == "vocab_size" or f"# {field.metadata['help']}" in text


def test_hostile_strings_survive() -> None:
    recipe = tiny_recipe(sample_prompt=HOSTILE, teacher="C:\\models\\a #1: b")
    again = from_yaml(to_yaml(recipe, HOSTILE))
    assert again.train == recipe.train


def test_part_of_a_config_changes_that_part() -> None:
    base = tiny_recipe()
    assert from_yaml("train:\n  steps: 9\n", base) == base.with_changes({"steps": 9})
    assert from_yaml("steps: 9\ncut: documents\nmodel: {layers: 2}\n", base) == base.with_changes(
        {"steps": 9, "cut": "documents", "layers": 2}
    )


@pytest.mark.parametrize("written", ["3e-4", "3E-4", "0.3e-3", ".3e-3", "3.e-4", "+3e-4"])
def test_a_number_may_be_written_as_in_a_program(written: str) -> None:
    assert from_yaml(f"train: {{learning_rate: {written}}}\n").train.learning_rate == 3e-4


def test_a_text_that_looks_like_a_number_stays_a_text() -> None:
    recipe = Recipe().with_changes({"sample_prompt": "1e5"})
    assert from_yaml(to_yaml(recipe)).train == recipe.train
    assert data_of(to_yaml(recipe, "", Data(files=("3e-4",)))) == Data(files=("3e-4",))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("train:\n  steps: [1,\nx", "the config is not YAML at line 3"),
        ("", "the config holds no settings"),
        ("- 1\n- 2\n", "the config holds no settings"),
        ("zeal: 3\n", "unknown setting zeal; known are"),
        ("layer: 3\n", r"unknown setting layer \(did you mean layers\?\); known are"),
        ("train: {steps: 0}\n", "steps is 0; use at least 1"),
        ("train: {steps: many}\n", "steps is 'many'; give a whole number"),
        ("train: {steps: 1.5}\n", "steps is 1.5; give a whole number"),
        ("train: {steps: true}\n", "steps is True; give a whole number"),
        ("train: {learning_rate: fast}\n", "learning_rate is 'fast'; give a number"),
        ("train: {sample_prompt: 3}\n", "sample_prompt is 3; give a text"),
        ("start_mark: 1\n", "start_mark is 1; give true or false"),
        ("model: {layers: deep}\n", "layers is 'deep'; give a whole number"),
        ("train:\n", "train is not a list of settings"),
        ("? [1]\n: 2\n", "the config is not YAML"),
        (
            "train:\n  steps: 60\n  batch_size: 3\n  steps: 5\n",
            "steps stands there twice, at line 2 for the first time",
        ),
        ("1: 2\n", "unknown setting 1"),
        ("!!python/object/apply:os.system ['true']\n", "the config is not YAML"),
    ],
)
def test_what_is_no_config_is_refused_with_a_sentence(text: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        from_yaml(text)


def test_the_file_that_a_run_keeps_trains_the_same_again(tmp_path: Path) -> None:
    recipe = tiny_recipe(seed=5, cut="documents")
    write_recipe(tmp_path / "config.yaml", recipe, "a\nname")
    text = (tmp_path / "config.yaml").read_text(encoding="utf-8")
    assert text.startswith('# All settings of the run "a name".')
    assert from_yaml(text).train == recipe.train


def test_samples_are_a_text(tmp_path: Path) -> None:
    path = tmp_path / "samples.txt"
    append_sample(path, Sampled(0, 0.0, "", "xq"))
    append_sample(path, Sampled(1000, 9.0, "the ", HOSTILE))
    assert path.read_text(encoding="utf-8") == f"--- step 0\nxq\n\n--- step 1,000\nthe {HOSTILE}\n\n"


def test_the_loss_is_drawn(tmp_path: Path) -> None:
    """A picture with the two colours in it; with nothing measured, an empty frame."""
    events: list[Event] = [Stepped(i, i * 0.1, 4 / i, 1e-3, 1.0, 100.0) for i in range(1, 40)]
    events += [Evaluated(i, 1.0, 2.0, 3 / i, 1.0, True) for i in (10, 20, 30)]
    for name, drawn in (("loss.png", events), ("none.png", [])):
        draw_loss(tmp_path / name, drawn, "a $name$ with _signs_")
        image = Image.open(tmp_path / name).convert("RGB")
        assert image.size == (1200, 675)
        colours = {colour for _, colour in image.getcolors(10**6) or []}
        assert ((0x3B, 0x4C, 0xCA) in colours) == ((0xD9, 0x82, 0x2B) in colours) == bool(drawn)
    draw_loss(tmp_path / "loss.svg", events, "run")
    plain = (tmp_path / "loss.svg").read_text(encoding="utf-8")
    assert plain.startswith("<?xml")
    counted = BaselinesKnown(1, 0.1, {"uniform": 9.0, "bigram": 2.5}, {"uniform": 6.5, "bigram": 1.8})
    draw_loss(tmp_path / "loss.svg", [Started(0, 0.0, 40, 10, "cpu", 2.0), counted, *events], "run")
    whole = (tmp_path / "loss.svg").read_text(encoding="utf-8")
    assert {word for word in ("bits per byte", "bigram 2.50", "uniform") if f"<!-- {word}" in whole} == {
        "bits per byte", "bigram 2.50",  # the uniform is far above the first loss
    }  # fmt: skip
    assert "bits per byte" not in plain


def test_the_legend_has_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To look for the emptiest place costs seconds on a busy machine, and matplotlib then warns."""

    def look(*_: object) -> None:
        raise AssertionError("it looked for a place")

    monkeypatch.setattr("matplotlib.legend.Legend._find_best_position", look)
    draw_loss(tmp_path / "loss.png", [Stepped(i, i * 0.1, 4 / i, 1e-3, 1.0, 100.0) for i in range(1, 5)], "a run")


@pytest.mark.parametrize("evaluated", [{0: 4.6, 20: 3.55, 40: 2.1, 60: 3.6}, {0: 9.0, 60: 8.0}, {}])
@pytest.mark.parametrize("known", [(4.5, 3.62, 3.6, 3.58, 3.5), (4.5, 4.49, 4.48, 4.47, 1.0), (0.91, 0.9)])
def test_the_words_at_the_lines_do_not_overlap(evaluated: dict[int, float], known: tuple[float, ...]) -> None:
    """Neither each other, nor the curves, the second axis or the legend; each tells when the validation was first below
    its line, and a diamond stands there."""
    nats = dict(zip(("uniform", "unigram", "bigram", "trigram", "back-off"), known, strict=False))
    events: list[Event] = [Started(0, 0.0, 60, 10, "cpu", 2.0), BaselinesKnown(0, 0.1, nats, nats)]
    events += [Stepped(i, i * 0.1, 4.6 - i / 60, 1e-3, 1.0, 100.0) for i in range(1, 61)]
    events += [Evaluated(step, step * 0.1, None, loss, loss, True) for step, loss in evaluated.items()]
    figure = loss_figure(events, "run")
    figure.draw_without_rendering()
    (axes,), (legend,) = figure.axes, figure.legends
    boxes = [Text.get_window_extent(label) for label in axes.texts]
    frame, ends = axes.get_window_extent(), axes.transData.transform((60, 0))[0]
    assert all(frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1 for box in boxes)
    assert all(ends < box.x0 for box in boxes)
    assert legend.get_window_extent().y1 < frame.y0
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    below = {name: [step for step, loss in evaluated.items() if step and loss < value] for name, value in nats.items()}
    lost = {name for name, value in nats.items() if below[name] and evaluated[60] >= value}
    assert {label.get_text() for label in axes.texts} == {
        f"{name} {nats[name]:.2f}"
        + (f"\nbeaten by step {steps[0]}" if steps else "")
        + (", not at the end" if name in lost else "")
        for name, steps in below.items()
    }
    diamonds = [line for line in axes.lines if line.get_marker() == "D"]
    drawn = {tuple(np.asarray(point)) for line in diamonds for point in line.get_xydata()}
    assert drawn == {(steps[0], nats[name]) for name, steps in below.items() if steps}


def test_places_are_apart_and_near_to_where_they_are_wanted() -> None:
    assert apart([0.2, 0.5, 0.8], 0.1) == pytest.approx([0.2, 0.5, 0.8])
    assert apart([0.2, 0.5, 0.5, 0.5], 0.1) == pytest.approx([0.2, 0.4, 0.5, 0.6])
    assert apart([0.0, 0.01, 0.99, 1.0], 0.1) == pytest.approx([0.05, 0.15, 0.85, 0.95])
    assert apart([0.3, 0.32, 0.4], 0.1) == pytest.approx([0.24, 0.34, 0.44])
    assert apart([], 0.1) == []


def test_a_running_mean_has_no_lag_at_its_start() -> None:
    assert smooth([3.0, 3.0, 3.0]) == pytest.approx([3.0, 3.0, 3.0])
    assert smooth([2.0, 4.0], memory=0.5) == pytest.approx([2.0, (0.25 * 2 + 0.5 * 4) / 0.75])
    assert smooth([]) == []
