"""The training thread: start, pause, resume, stop, snapshots, and what it leaves on disk and in the log."""

from __future__ import annotations

import json
import math
import threading
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from model import GPT, Tokenizer, open_checkpoint
from tests.training.tiny import CHAR, LONG, PATIENCE, TEXT, Make, finish, until
from training import trainer as trainer_module
from training.baselines import NAMES, probabilities
from training.data import Blocks
from training.events import BaselinesKnown, Evaluated, Event, Finished, Paused, Resumed, Stepped, Threads
from training.loop import evaluate, train_steps
from training.threads import AT_FIRST, ThreadCount
from training.trainer import Stopwatch, Trainer


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def meta_of(path: Path) -> dict[str, Any]:
    return open_checkpoint(path).meta


# -- from start to end ------------------------------------------------------------------------------------------------


def test_a_run_from_start_to_end(make: Make) -> None:
    trainer = make(sample_every=3)
    assert (trainer.state, trainer.over, trainer.snapshot) == ("queued", False, None)
    ended: list[str] = []
    trainer.when_over(lambda: ended.append(threading.current_thread().name))
    trainer.when_over(lambda: ended.append(trainer.state))
    events = finish(trainer)
    assert (trainer.state, trainer.over) == ("finished", True)
    assert ended == [f"train {trainer.folder.id}", "finished"]
    recipe, data = trainer.recipe, trainer.prepared.data
    torch.manual_seed(recipe.train.seed)
    model = GPT(recipe.model_config(CHAR.vocab_size))
    plain = list(train_steps(model, data, recipe.train, CHAR, clock=lambda: 0.0))
    assert [(e.kind, e.step, getattr(e, "loss", None)) for e in events if not isinstance(e, BaselinesKnown)] == [
        (e.kind, e.step, getattr(e, "loss", None)) for e in plain
    ]
    last = [event for event in events if isinstance(event, Evaluated)][-1]
    assert last.val_loss is not None
    assert last.bits_per_byte is not None
    [counted] = [event for event in events if isinstance(event, BaselinesKnown)]
    found, _ = probabilities([data.train.numpy()], [data.val.numpy()], CHAR.vocab_size)
    assert isinstance(data, Blocks)
    positions = replace(data, val=torch.arange(len(data.val)))  # where the targets of the validation stand
    asked = [int(at) - 1 for _, targets in positions.held_out(recipe.train.eval_tokens, 1) for at in targets.flatten()]
    assert len(asked) < len(data.val) - 1
    assert counted.nats == {name: pytest.approx(-np.log(found[name][asked]).mean()) for name in NAMES}
    bits = last.bits_per_byte / last.val_loss  # of the very same tokens
    assert counted.bits == {name: pytest.approx(nats * bits) for name, nats in counted.nats.items()}
    assert counted.nats["uniform"] == pytest.approx(math.log(CHAR.vocab_size))
    assert trainer.snapshot is not None
    assert trainer.snapshot.step == 6
    assert same(trainer.snapshot.state, model.state_dict())
    assert (trainer.snapshot.val_loss, trainer.snapshot.bits_per_byte) == (last.val_loss, last.bits_per_byte)
    assert trainer.snapshot.loss == [event for event in events if isinstance(event, Stepped)][-1].loss
    trainer.start()  # a second start of a run that is over does nothing
    trainer.pause()
    assert (trainer.log.since(0)[0], trainer.state) == (events, "finished")


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_two_runs_at_once_do_not_share_their_chance(make: Make, dropout: float) -> None:
    alone = [event.loss for event in finish(make(steps=20, dropout=dropout)) if isinstance(event, Stepped)]
    several = [make(steps=20, dropout=dropout) for _ in range(3)]
    for trainer in several:
        trainer.start()
    for trainer in several:
        assert trainer.join(PATIENCE)
        assert [event.loss for event in trainer.log.since(0)[0] if isinstance(event, Stepped)] == alone


def test_whoever_sees_the_run_over_finds_its_last_event(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    for changes, kind in (({}, "finished"), ({"device": "abacus"}, "failed")):
        trainer = make(**changes)
        over_before: list[tuple[str, bool]] = []
        append = trainer.log.append

        def spy(event: Event, append: Any = append, seen: list[Any] = over_before, trainer: Trainer = trainer) -> None:
            seen.append((event.kind, trainer.over))
            append(event)

        monkeypatch.setattr(trainer.log, "append", spy)
        finish(trainer)
        assert over_before[-1] == (kind, False)
        assert not any(over for _, over in over_before)
        assert trainer.over


def test_the_file_of_events_is_the_log(make: Make) -> None:
    trainer = make(steps=40, eval_every=20, sample_every=20, sample_prompt="the ")
    trainer.start()
    cursor = until(trainer, Stepped)
    trainer.pause()
    until(trainer, Paused, cursor)
    trainer.resume()
    assert trainer.join(PATIENCE)
    log, cursor = trainer.log.since(0)
    lines = (trainer.folder.path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert list(trainer.folder.events()) == log
    assert len(lines) == cursor == len(log)
    always = {"event", "step", "wall_s"}
    keys = {
        "started": {"steps", "parameters", "device", "bytes_per_token", "train_bytes_per_token"},
        "step": {"loss", "lr", "grad_norm", "tokens_per_s"},
        "eval": {"loss", "val_loss", "bits_per_byte", "best"},
        "sample": {"prompt", "text"},
        "baselines": {"nats", "bits"},
        "paused": set(),
        "resumed": set(),
        "finished": {"reason"},
    }
    seen = set()
    for line, event in zip(map(json.loads, lines), log, strict=True):
        seen.add(line["event"])
        expected = always | keys[line["event"]]
        if line["event"] == "eval" and line["step"] == 0:
            expected -= {"loss"}  # not measured yet
        assert set(line) == expected
        assert all(value == getattr(event, name) for name, value in line.items() if name != "event")
    assert seen == set(keys)


# -- pause, resume, stop ----------------------------------------------------------------------------------------------


def test_nothing_happens_in_a_pause_and_no_step_is_lost(make: Make) -> None:
    trainer = make(steps=LONG, eval_every=LONG)
    trainer.start()
    cursor = until(trainer, Stepped)
    trainer.pause()
    cursor = until(trainer, Paused, cursor)
    at = trainer.log.since(cursor - 1)[0][0].step
    assert not trainer.log.wait(cursor, 0.3), "something happened in the pause"
    assert (trainer.state, trainer.over) == ("paused", False)
    assert trainer.snapshot is not None
    assert trainer.snapshot.step == at
    assert trainer.fresh_snapshot() is trainer.snapshot
    trainer.resume()
    assert isinstance(trainer.log.since(until(trainer, Resumed, cursor) - 1)[0][0], Resumed)
    until(trainer, Stepped, cursor)
    assert trainer.state == "running"
    steps = [event.step for event in trainer.log.since(0)[0] if isinstance(event, Stepped)]
    assert steps == list(range(1, len(steps) + 1))
    assert len(steps) > at


def test_a_pause_is_no_training_time(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock is the test's own: it stands still, but for 100 s before the training and 1000 s in the pause."""
    now = [5.0]
    monkeypatch.setattr(trainer_module, "time", SimpleNamespace(perf_counter=lambda: now[0], monotonic=time.monotonic))

    def slow_start(name: str) -> torch.device:
        now[0] += 100
        return torch.device(name)

    monkeypatch.setattr(trainer_module, "pick_device", slow_start)
    trainer = make(steps=LONG, eval_every=LONG)
    trainer.start()
    cursor = until(trainer, Stepped)
    now[0] += 7
    cursor = until(trainer, Stepped, until(trainer, Stepped, cursor))
    trainer.pause()
    cursor = until(trainer, Paused, cursor)
    assert not trainer.log.wait(cursor, 0.05)
    now[0] += 1000
    trainer.resume()
    cursor = until(trainer, Stepped, cursor)
    now[0] += 20
    until(trainer, Stepped, until(trainer, Stepped, until(trainer, Stepped, cursor)))
    trainer.stop()
    assert trainer.join(PATIENCE)
    events = trainer.log.since(0)[0]
    times = [event.wall_s for event in events]
    assert times == sorted(times)
    assert times[0] == 0.0
    assert [event.wall_s for event in events if isinstance(event, Paused | Resumed | Finished)] == [7.0, 7.0, 27.0]


def test_a_stopwatch(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [50.0]
    monkeypatch.setattr(trainer_module, "time", SimpleNamespace(perf_counter=lambda: now[0], monotonic=time.monotonic))
    watch = Stopwatch()
    for held, expected in ((False, 3.0), (True, 3.0), (False, 6.0), (True, 6.0)):
        now[0] += 3
        assert watch() == expected
        watch.release() if held else watch.hold()
        assert watch() == expected


@pytest.mark.parametrize("paused", [False, True])
def test_a_stop_keeps_the_weights_of_its_step(make: Make, paused: bool) -> None:
    trainer = make(steps=LONG, eval_every=LONG)
    trainer.start()
    cursor = until(trainer, Stepped)
    if paused:
        trainer.pause()
        cursor = until(trainer, Paused, cursor)
    trainer.stop()
    trainer.pause()  # too late, and it must not keep the run from ending
    assert trainer.join(PATIENCE)
    events = trainer.log.since(0)[0]
    last = events[-1]
    assert isinstance(last, Finished)
    assert (last.reason, trainer.state) == ("stopped", "stopped")
    assert last.step == max(event.step for event in events if isinstance(event, Stepped))
    if paused:
        assert trainer.log.since(cursor)[0] == [last], "a step was made after the stop"
    kept = open_checkpoint(trainer.folder.checkpoint("last"))
    assert kept.meta["step"] == last.step
    assert trainer.snapshot is not None
    assert trainer.snapshot.step == last.step
    assert same(kept.model.state_dict(), trainer.snapshot.state)
    assert list(trainer.folder.events()) == events


def test_a_stop_in_the_queue(make: Make) -> None:
    trainer = make()
    ended: list[str] = []
    trainer.when_over(lambda: ended.append(trainer.state))
    trainer.stop()
    trainer.start()
    trainer.stop()
    assert trainer.join(PATIENCE)
    assert ended == ["stopped"]
    assert trainer.log.since(0)[0] == list(trainer.folder.events()) == [Finished(0, 0.0, "stopped")]
    assert trainer.fresh_snapshot() is None
    assert not trainer.folder.checkpoint("last").exists()


def test_a_run_paused_in_the_queue_begins_paused(make: Make) -> None:
    trainer = make()
    trainer.pause()
    assert not trainer.join(0.01)
    trainer.start()
    cursor = until(trainer, Paused)
    assert [event.kind for event in trainer.log.since(0)[0]] == ["started", "paused"]
    trainer.resume()
    assert trainer.join(PATIENCE)
    assert trainer.state == "finished"
    assert cursor == 2


def test_a_pause_at_the_very_end_does_not_hold_what_is_over(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make()
    append = trainer.folder.append

    def pressed(event: Event) -> None:
        if isinstance(event, Finished):
            trainer.pause()
        append(event)

    monkeypatch.setattr(trainer.folder, "append", pressed)
    events = finish(trainer)
    assert trainer.state == "finished"
    assert isinstance(events[-1], Finished)


# -- snapshots and checkpoints ----------------------------------------------------------------------------------------


def test_snapshots_are_copies(make: Make) -> None:
    trainer = make(steps=LONG, eval_every=LONG)
    trainer.start()
    until(trainer, Stepped)
    held = trainer.fresh_snapshot()
    assert held is not None
    kept = {name: value.clone() for name, value in held.state.items()}
    for _ in range(20):
        cursor = until(trainer, Stepped, trainer.log.since(0)[1])
    later = trainer.fresh_snapshot()
    assert later is not None
    assert later.step > held.step
    assert same(held.state, kept), "the training went on in a snapshot that somebody holds"
    assert not same(later.state, kept)
    assert cursor > 20
    assert all(value.device.type == "cpu" and not value.requires_grad for value in later.state.values())


def test_a_fresh_snapshot_is_of_this_moment_whatever_the_state(make: Make) -> None:
    trainer = make(steps=LONG, eval_every=LONG)
    assert trainer.fresh_snapshot() is None
    trainer.start()
    until(trainer, Stepped)
    for _ in range(5):
        seen = trainer.log.tail(1)[0].step
        snapshot = trainer.fresh_snapshot(PATIENCE)
        assert snapshot is not None
        assert snapshot.step >= seen
        assert snapshot.step > 0
    trainer.stop()
    assert trainer.join(PATIENCE)
    final = trainer.fresh_snapshot()
    assert final is not None
    assert final.step == trainer.log.tail(1)[0].step
    broken = make(device="abacus")
    finish(broken)
    assert broken.fresh_snapshot() is None


def test_the_best_checkpoint_has_the_lowest_validation_loss(make: Make) -> None:
    text = TEXT + "sat on the cat the dog and mat the log on sat the.\n" * 5  # what is learnt by heart is wrong here
    trainer = make(text, steps=100, eval_every=5, learning_rate=0.02)
    events = finish(trainer)
    curve = {e.step: e.val_loss for e in events if isinstance(e, Evaluated) and e.step and e.val_loss is not None}
    lowest = min(curve, key=lambda step: curve[step])
    assert 5 < lowest < 100, "the curve has no dip, so nothing is tested"
    best, last = (open_checkpoint(trainer.folder.checkpoint(which)) for which in ("best", "last"))
    assert (best.meta["step"], best.meta["val_loss"]) == (lowest, curve[lowest])
    assert (last.meta["step"], last.meta["val_loss"]) == (100, curve[100])
    config = trainer.recipe.train
    for checkpoint in (best, last):
        again, _ = evaluate(checkpoint.model, trainer.prepared.data, config.eval_tokens, config.batch_size)
        assert again == pytest.approx(checkpoint.meta["val_loss"], rel=1e-6)
        assert checkpoint.tokenizer == CHAR
        assert checkpoint.config == trainer.config
        assert (checkpoint.meta["name"], checkpoint.meta["run"]) == ("a run", trainer.folder.id)
    assert open_checkpoint(trainer.folder.path).meta["step"] == lowest
    assert Tokenizer.load(trainer.folder.path / "tokenizer.json") == CHAR


def test_a_target_that_is_reached_before_the_first_step_leaves_something_to_open(make: Make) -> None:
    trainer = make(until_val_loss=100.0)
    last = finish(trainer)[-1]
    assert isinstance(last, Finished)
    assert (last.step, last.reason, trainer.state) == (0, "target", "finished")
    assert meta_of(trainer.folder.path)["step"] == 0


# -- while others look on ---------------------------------------------------------------------------------------------


def test_readers_follow_a_run_each_at_its_own_pace(make: Make) -> None:
    trainer = make(steps=300, eval_every=100)
    read: list[list[Event]] = [[] for _ in range(4)]

    def follow(mine: list[Event], every: int) -> None:
        cursor = 0
        while not trainer.over or trainer.log.since(cursor)[0]:
            trainer.log.wait(cursor + every - 1, 0.05)
            events, cursor = trainer.log.since(cursor)
            mine += events

    readers = [threading.Thread(target=follow, args=(mine, 1 + 7 * i)) for i, mine in enumerate(read)]
    for reader in readers:
        reader.start()
    events = finish(trainer)
    for reader in readers:
        reader.join(PATIENCE)
    assert len(events) == 300 + 4 + 2 + 1
    assert all(mine == events for mine in read)
    assert all(a.step <= b.step and a.wall_s <= b.wall_s for a, b in pairwise(events))


def test_the_threads_follow_the_free_cores(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    load = iter([3.0, 3.0, 0.0, 0.0])  # busy at first, then free
    monkeypatch.setattr(trainer_module, "ThreadCount", lambda fixed: ThreadCount(fixed, 4, lambda: next(load, 0.0)))
    monkeypatch.setattr(trainer_module, "_THREADS_FIRST_S", -1.0)
    monkeypatch.setattr(trainer_module, "_THREADS_EVERY_S", -1.0)
    used: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", used.append)
    events = finish(make(threads=0))
    changes = [event for event in events if isinstance(event, Threads)]
    assert used == [2, 1, 4, AT_FIRST]
    assert [event.threads for event in changes] == [1, 4]
    fixed = finish(make(threads=3))
    assert used == [2, 1, 4, AT_FIRST, 3, AT_FIRST]
    assert not [event for event in fixed if isinstance(event, Threads)]
