"""A training interrupted at any event, written, read and gone on with, against one that never was: bit for bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from model import GPT
from tests.training.tiny import CHAR, TEXT, tiny_config, tiny_corpus, tiny_data, tiny_model, tiny_recipe
from training.data import Data, build_tokenizer, prepare
from training.events import Event, Started
from training.loop import train_steps
from training.state import LoopState

LINES = tuple(line.replace("on", "on" * (1 + i % 3)) for i, line in enumerate(TEXT.splitlines()))


def plain(event: Event) -> dict[str, Any]:
    """What does not depend on the clock."""
    return {k: v for k, v in event.to_dict().items() if k not in ("wall_s", "tokens_per_s")}


def through_files(path: Path, model: GPT, state: LoopState) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """What a program that has been killed since left of the state: JSON and safetensors, and nothing besides."""
    safetensors.torch.save_file(state.tensors(model), path)
    return json.loads(json.dumps(state.to_dict(), allow_nan=False)), safetensors.torch.load_file(path)


CASES = {
    "adamw": {"dropout": 0.0, "optimizer": "adamw"},
    "adamw, dropout": {"dropout": 0.3, "optimizer": "adamw"},
    "muon, dropout": {"dropout": 0.3, "optimizer": "muon"},
    "muon, nothing held out": {"dropout": 0.0, "optimizer": "muon", "val_fraction": 0.0},
    "documents": {"dropout": 0.2, "optimizer": "adamw", "cut": "documents", "max_documents": 30},
    "a target": {"dropout": 0.0, "optimizer": "adamw", "until_val_loss": 2.2, "steps": 30},
}


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_going_on_from_any_event_is_bit_for_bit_the_same(case: dict[str, Any], tmp_path: Path) -> None:
    changes = {"sample_every": 2, "eval_every": 3, "steps": 7, **case}
    recipe = tiny_recipe(**changes)
    data: Data = tiny_data(val_fraction=recipe.train.val_fraction)
    tokenizer = CHAR
    if recipe.cut == "documents":
        corpus = tiny_corpus("\n".join(LINES), LINES)
        tokenizer = build_tokenizer(corpus, recipe)
        data = prepare(corpus, tokenizer, recipe)
    shape = {"vocab_size": tokenizer.vocab_size, "dropout": recipe.model["dropout"]}
    whole_model = tiny_model(**shape)
    whole = [plain(event) for event in train_steps(whole_model, data, recipe.train, tokenizer)]
    assert {"eval", "sample", "step", "finished"} <= {event["event"] for event in whole}
    for cut in range(1, len(whole)):
        model = tiny_model(**shape)
        state = LoopState.fresh(model, recipe.train)
        steps = train_steps(model, data, recipe.train, tokenizer, state=state)
        first = [plain(next(steps)) for _ in range(cut)]
        values, tensors = through_files(tmp_path / "state", model, state)
        again = tiny_model(seed=99, **shape)
        again.load_state_dict(model.state_dict())
        torch.seed()  # another process, whose own generator stands anywhere
        restored = LoopState.fresh(again, recipe.train)
        restored.restore(again, values, tensors)
        rest = [plain(event) for event in train_steps(again, data, recipe.train, tokenizer, state=restored)]
        assert first + rest == whole, f"interrupted after {first[-1]}"
        for name, value in again.state_dict().items():
            assert torch.equal(value, whole_model.state_dict()[name]), (name, first[-1])


def test_the_time_goes_on_from_where_it_stood(tmp_path: Path) -> None:
    ticks = iter(range(1000))
    model, data, config = tiny_model(), tiny_data(), tiny_config()
    state = LoopState.fresh(model, config)
    steps = train_steps(model, data, config, CHAR, lambda: float(next(ticks)), state=state)
    for _ in range(4):
        last = next(steps)
    values, tensors = through_files(tmp_path / "state", model, state)
    assert values["wall_s"] == last.wall_s > 0
    restored = LoopState.fresh(model, config)
    restored.restore(model, values, tensors)
    later = [e.wall_s for e in train_steps(model, data, config, CHAR, lambda: float(next(ticks)), state=restored)]
    assert last.wall_s < later[0] == last.wall_s + 2  # a look at the clock before the step, and one behind it
    assert later == sorted(later)


def test_a_state_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    model, data = tiny_model(), tiny_data()
    state = LoopState.fresh(model, tiny_config(optimizer="muon"))
    for event in train_steps(model, data, tiny_config(optimizer="muon", steps=2), CHAR, state=state):
        assert event.kind
    values, tensors = through_files(tmp_path / "state", model, state)
    with pytest.raises(ValueError, match=r"does not know optimizer\."):
        LoopState.fresh(model, tiny_config(optimizer="adamw")).restore(model, values, tensors)
    with pytest.raises(KeyError):
        LoopState.fresh(model, tiny_config(optimizer="muon")).restore(model, values, {})


def test_started_is_told_once() -> None:
    model, data, config = tiny_model(), tiny_data(), tiny_config(steps=1)
    state = LoopState.fresh(model, config)
    events = list(train_steps(model, data, config, CHAR, state=state))
    events += train_steps(model, data, tiny_config(steps=2), CHAR, state=state)
    assert [isinstance(event, Started) for event in events].count(True) == 1
    assert [event.step for event in events if event.kind == "step"] == [1, 2]
