"""A run steered while it trains: one step seen closely, learning rate and batch changed, and both after a kill."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from model import GPT, ConfigError
from tests.training.test_resume import plain, state_of, trainer
from tests.training.tiny import LONG, PATIENCE, Make, finish, tiny_corpus, tiny_recipe, until
from training.config import TrainConfig
from training.data import MASKED
from training.events import Changed, Event, Paused, Resumed, Stepped
from training.lens import parts_of
from training.resume import find_resumption
from training.runs import RunError, RunFolder
from training.setup import set_up
from training.state import Change
from training.steering import Steering, check_change
from training.trainer import Trainer


def paused(run: Trainer) -> int:
    """Start it and have it stand still after some steps; the cursor behind that."""
    run.start()
    cursor = until(run, Stepped)
    run.pause()
    return until(run, Paused, cursor)


def weights(run: Trainer) -> dict[str, Tensor]:
    assert run.snapshot is not None
    return copy.deepcopy(run.snapshot.state)


def stepped(events: list[Event]) -> list[Stepped]:
    return [event for event in events if isinstance(event, Stepped)]


# -- one step -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [{}, {"optimizer": "muon", "tied_head": False, "accumulate": 2}, {"cut": "documents", "tokenizer": "word"}],
    ids=["blocks", "muon, two parts", "documents"],
)
def test_one_step_shows_what_the_step_did(changes: dict[str, Any], tmp_path: Path) -> None:
    """Losses, gradients and updates again, from the weights before and after and the batch alone."""
    recipe = tiny_recipe(**{"steps": LONG, "grad_clip": 0.01, "weight_decay": 0.3, "layers": 2, **changes})
    lines = tuple(f"the {word} cat sat on the mat." for word in ("old", "very old", "red", "so") * 9)
    prepared = set_up(tiny_corpus("\n".join(lines), lines), recipe)
    run = Trainer(RunFolder.create(tmp_path / "run", "a run", prepared.recipe, {"name": "tiny"}), prepared)
    paused(run)
    before, cursor = weights(run), run.log.since(0)[1]
    look = run.one_step(PATIENCE)
    after, (events, _) = weights(run), run.log.since(cursor)
    (step,) = stepped(events)
    assert (look.step, look.lr, look.grad_norm) == (step.step, step.lr, step.grad_norm)
    assert look.loss == step.loss
    model = GPT(run.config)
    model.load_state_dict(before)
    logp = torch.log_softmax(model(look.inputs).double(), -1)
    counted = look.targets != MASKED
    mine = -logp.gather(-1, look.targets.clamp(min=0)[..., None])[..., 0]
    assert torch.allclose(look.losses.double()[counted], mine[counted].detach(), atol=1e-5)
    assert (look.losses[~counted] == 0).all()
    assert look.loss == pytest.approx(mine[counted].mean().item(), abs=1e-5)
    mine[counted].mean().backward()
    assert [part.name for part in look.parts] == ["embeddings", "layer 1", "layer 2", "output"]
    grads = {name: p.grad for name, p in model.named_parameters()}
    for part in look.parts:
        names = parts_of(model)[part.name]
        flat = [torch.cat([values[name].flatten().double() for name in names]) for values in (grads, before, after)]
        gradient, old, new = flat
        assert part.gradient == pytest.approx(gradient.norm().item(), rel=1e-3)
        assert part.weights == pytest.approx(old.norm().item(), rel=1e-6)
        assert part.update == pytest.approx((new - old).norm().item(), rel=1e-6)
        assert part.relative == pytest.approx(part.update / part.weights)
        assert part.update > 0
    assert sum(part.gradient**2 for part in look.parts) ** 0.5 == pytest.approx(look.grad_norm, rel=1e-4)
    assert set().union(*parts_of(model).values()) == {name for name, _ in model.named_parameters()}
    run.stop()
    assert run.join(PATIENCE)


def test_one_step_is_one_update_and_stands_still_again(make: Make) -> None:
    run = make(steps=LONG, eval_every=3)
    with pytest.raises(ConfigError, match="does not stand still"):
        run.step_once()
    paused(run)
    assert run.look is None
    for _ in range(7):  # some of them come upon an evaluation first
        before = run.log.tail(1)[0].step
        assert run.one_step(PATIENCE).step == before + 1
        assert run.state == "paused"
    events = run.log.since(0)[0]
    assert [event.step for event in stepped(events)] == list(range(1, len(stepped(events)) + 1))
    assert not any(isinstance(event, Resumed) for event in events)
    run.resume()
    until(run, Stepped, until(run, Resumed))
    assert run.state == "running"


def test_a_run_that_was_stepped_is_the_same_run(tmp_path: Path) -> None:
    whole = finish(trainer(tmp_path / "whole", dropout=0.2))
    run = trainer(tmp_path / "run", dropout=0.2)
    run.pause()
    run.start()
    until(run, Paused)
    for _ in range(12):
        run.one_step(PATIENCE)
    run.resume()
    assert run.join(PATIENCE)
    assert plain(run.log.since(0)[0]) == plain(whole)
    mine, theirs = state_of(tmp_path / "run"), state_of(tmp_path / "whole")
    assert all(torch.equal(value, theirs[name]) for name, value in mine.items())


def test_a_normal_step_is_not_looked_at(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("nobody asked")

    for name in ("begin", "take", "backward", "end"):
        monkeypatch.setattr(f"training.lens.Lens.{name}", never)
    run = make()
    finish(run)
    assert run.state == "finished"


# -- changes in flight --------------------------------------------------------------------------------------------


def test_rate_and_batch_count_from_the_next_step_on(make: Make) -> None:
    run = make(steps=LONG, schedule="linear", warmup_steps=5)
    cursor = paused(run)
    at, config = run.log.tail(1)[0].step, run.recipe.train
    run.change(rate=0.25)
    run.change(batch_size=7)
    cursor = until(run, Changed, until(run, Changed, cursor))  # while it stands still
    look = run.one_step(PATIENCE)
    assert look.lr == config.lr_at(at + 1) * 0.25
    assert look.inputs.shape == (7, 8)
    run.change(rate=2)
    run.resume()
    until(run, Stepped, until(run, Changed, cursor))
    run.stop()
    assert run.join(PATIENCE)
    events = run.log.since(0)[0]
    changes = [event for event in events if isinstance(event, Changed)]
    assert [(c.step, c.rate, c.batch_size) for c in changes] == [(at, 0.25, 4), (at, 0.25, 7), (at + 1, 2.0, 7)]
    for event in stepped(events):
        factor = 1 if event.step <= at else 0.25 if event.step == at + 1 else 2.0
        assert event.lr == config.lr_at(event.step) * factor
    assert list(run.folder.events()) == events


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_run_with_changes_goes_on_bit_for_bit_after_kills(optimizer: str, tmp_path: Path) -> None:
    """The checkpoint is older than the changes: they happen again at their steps, also after a second kill."""
    path = tmp_path / "run"
    run = trainer(path, steps=60, eval_every=50, optimizer=optimizer, dropout=0.1)
    paused(run)
    kept = tmp_path / "kept"
    shutil.copytree(path / "checkpoints", kept)
    until_paused = run.log.since(0)[1]
    run.change(rate=0.5)
    for _ in range(3):
        run.one_step(PATIENCE)
    run.change(batch_size=9)
    run.one_step(PATIENCE)
    run.change(rate=1.5, batch_size=5)
    for _ in range(2):
        run.one_step(PATIENCE)
    lines = (path / "metrics.jsonl").read_text().splitlines(keepends=True)
    run.resume()
    assert run.join(PATIENCE)
    whole, ended = run.log.since(0)[0], state_of(path)
    changes = [event for event in whole if isinstance(event, Changed)]
    assert len(changes) == 3
    assert until_paused

    def killed(kept_lines: list[str]) -> None:
        shutil.rmtree(path / "checkpoints")
        shutil.copytree(kept, path / "checkpoints")
        (path / "metrics.jsonl").write_text("".join(kept_lines))

    killed([*lines, '{"event": "ste'])
    planned = find_resumption(RunFolder(path))[1].planned
    assert [change.step for change in planned] == [change.step for change in changes]
    again = Trainer.resumed(RunFolder(path))
    again.pause()
    again.start()
    cursor = until(again, Paused)
    again.one_step(PATIENCE)
    assert [e for e in again.log.since(cursor)[0] if isinstance(e, Changed)] == []  # the first was made at the start
    lines = (path / "metrics.jsonl").read_text().splitlines(keepends=True)
    again.stop()
    assert again.join(PATIENCE)
    killed(lines)  # two of them had not happened again yet
    again = Trainer.resumed(RunFolder(path))
    finish(again)
    events = list(RunFolder(path).events())
    assert plain(events) == plain(whole)
    assert [(e.step, e.rate, e.batch_size) for e in events if isinstance(e, Changed)] == [
        (e.step, e.rate, e.batch_size) for e in changes
    ]
    mine = state_of(path)
    assert all(torch.equal(value, ended[name]) for name, value in mine.items())
    values = json.loads((path / "checkpoints" / "last" / "checkpoint.json").read_text())["extra"]["values"]
    assert (values["rate"], values["batch_size"]) == (1.5, 5)


def test_a_change_outlives_a_stop_and_ends_what_was_planned(tmp_path: Path) -> None:
    run = trainer(tmp_path / "run", steps=40)
    paused(run)
    run.change(rate=0.1)
    run.stop()
    assert run.join(PATIENCE)
    again = Trainer.resumed(RunFolder(tmp_path / "run"))
    at = again.resumed_at
    again.change(batch_size=2)
    events = finish(again)
    (first, second) = [event for event in events if isinstance(event, Changed)]
    assert (first.rate, second.step, second.rate, second.batch_size) == (0.1, at, 0.1, 2)
    late = [event for event in stepped(events) if event.step > at]
    assert all(event.lr == again.recipe.train.lr_at(event.step) * 0.1 for event in late)
    with pytest.raises(ConfigError, match="is over"):
        again.change(rate=2)


def test_what_was_planned_happens_at_its_steps_unless_somebody_wishes_otherwise() -> None:
    class State:
        step, rate, batch_size = 5, 1.0, 4

    state: Any = State()
    wheel = Steering([Change(5, 0.5, 4), Change(5, 0.5, 6), Change(9, 0.1, 6), Change(12, 3.0, 6)])
    assert wheel.due(state) == [(5, 0.5, 4), (5, 0.5, 6)]
    assert (state.rate, state.batch_size) == (0.5, 6)
    state.step = 8
    assert wheel.due(state) == []
    state.step = 9
    assert wheel.due(state) == [(9, 0.1, 6)]
    wheel.ask(0.1, None)
    assert wheel.due(state) == []  # as it is already; and it ends what was to come
    state.step = 12
    assert wheel.due(state) == []
    assert state.rate == 0.1


@pytest.mark.parametrize(
    ("rate", "batch_size", "sentence"),
    [
        (None, None, "nothing is to be changed"),
        (0, None, "rate is 0, a factor .* use from 0.0001 to 100"),
        (-1, None, "use from 0.0001 to 100"),
        (101, None, "rate is 101, a factor on the learning rate of 0.01; use from 0.0001 to 100"),
        (float("nan"), None, "rate is nan; give a factor"),
        ("2", None, "give a factor"),
        (True, None, "give a factor"),
        (None, 0, "batch_size is 0; use from 1 to 4096"),
        (None, 5000, "batch_size is 5000; use from 1 to 4096"),
        (None, 2.5, "batch_size is 2.5; give a whole number, such as 4"),
        (2, 10**9, "batch_size"),
    ],
)
def test_changes_that_cannot_work_are_refused(make: Make, rate: Any, batch_size: Any, sentence: str) -> None:
    run = make(steps=LONG)
    with pytest.raises(ConfigError, match=sentence):
        run.change(rate=rate, batch_size=batch_size)


def test_the_largest_factor_is_that_of_the_larger_of_the_two_rates(make: Make) -> None:
    shape = make().config
    check_change(shape, TrainConfig(optimizer="muon", learning_rate=0.001, muon_learning_rate=0.03), 33, None)
    with pytest.raises(ConfigError, match="to 33 "):
        check_change(shape, TrainConfig(optimizer="muon", learning_rate=0.001, muon_learning_rate=0.03), 34, None)
    check_change(shape, TrainConfig(learning_rate=0.001), 1000, None)


def test_a_config_that_lies_about_what_was_planned_is_refused(tmp_path: Path) -> None:
    finish(trainer(tmp_path / "run", steps=10))
    config = tmp_path / "run" / "config.json"
    values = json.loads(config.read_text())
    for entry in ({"planned": [[1]]}, {"planned": 5}, {"planned": [["a", "b", "c"]]}, {"events": "many"}, 7):
        config.write_text(json.dumps({**values, "taken_up": [entry]}))
        with pytest.raises(RunError, match="is damaged"):
            find_resumption(RunFolder(tmp_path / "run"), 5)
