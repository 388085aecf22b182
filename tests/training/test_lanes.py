"""Lanes: the same results in the same order, however many threads work on them; the same step as in one piece."""

from __future__ import annotations

import functools
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from model import open_checkpoint
from tests.training.test_distill import opened
from tests.training.test_documents import MARKED, data_of
from tests.training.tiny import (
    CHAR,
    PATIENCE,
    finish,
    tiny_config,
    tiny_corpus,
    tiny_data,
    tiny_model,
    tiny_recipe,
    until,
)
from training import lanes as module
from training.data import Blocks, Data
from training.distill import Teacher
from training.events import Evaluated, Stepped
from training.lanes import Lanes, how_many
from training.lens import Lens
from training.loop import evaluate, train_steps
from training.runs import RunFolder
from training.setup import set_up
from training.trainer import Trainer


@pytest.fixture
def dealt_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps of any size are worth two lanes, whatever the machine."""
    monkeypatch.setattr(module, "_LEAST_WORK", 0)
    monkeypatch.setattr(module, "cores", lambda: 2)


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("jobs", [0, 1, 2, 5])
def test_results_come_in_the_order_of_the_jobs(count: int, threads: int, jobs: int) -> None:
    def job(number: int) -> int:
        time.sleep(0.002 * (jobs - number))  # the last ones are done first
        return number

    with Lanes(count) as lanes:
        lanes.threads = threads
        assert lanes.run([functools.partial(job, number) for number in range(jobs)]) == list(range(jobs))


def test_so_many_threads_work_and_each_computes_alone() -> None:
    def who() -> tuple[int, int]:
        meet.wait(PATIENCE)  # all of them are at work at once
        return threading.get_ident(), torch.get_num_threads()

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with Lanes(3) as lanes:
            for threads in (3, 2, 1):
                lanes.threads, meet = threads, threading.Barrier(threads)
                found = lanes.run([who] * threads)
                assert len({ident for ident, _ in found}) == threads
                assert threading.get_ident() in {ident for ident, _ in found}
                assert {alone for _, alone in found} == {1}
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("bad", [0, 1, 3])
def test_an_error_goes_up_once_nobody_works_any_more(bad: int) -> None:
    done: list[int] = []

    def job(number: int) -> None:
        if number == bad:
            raise ZeroDivisionError(str(number))
        time.sleep(0.02)
        done.append(number)

    with Lanes(2) as lanes:
        with pytest.raises(ZeroDivisionError, match=str(bad)):
            lanes.run([functools.partial(job, number) for number in range(4)])
        before = list(done)
        time.sleep(0.05)
        assert done == before
        assert lanes.run([lambda: 7]) == [7]


def test_things_are_dealt_out_evenly() -> None:
    with Lanes(3) as lanes:
        for number in range(8):
            hands = lanes.deal(range(number))
            assert sorted(card for hand in hands for card in hand) == list(range(number))
            assert all(hands)
            assert max(map(len, hands), default=0) - min(map(len, hands), default=0) <= 1


# -- a step -----------------------------------------------------------------------------------------------------------

KINDS: dict[str, dict[str, Any]] = {
    "adamw": {},
    "muon": {"optimizer": "muon"},
    "added up": {"accumulate": 3},
    "clipped": {"grad_clip": 0.05, "accumulate": 2},
    "clipped muon": {"optimizer": "muon", "grad_clip": 0.05},
    "bfloat16": {"precision": "bfloat16"},
    "fewer rows than lanes": {"batch_size": 2},
}


def trained(
    count: int,
    threads: int,
    data: Data | None = None,
    teacher: Teacher | None = None,
    lens: Lens | None = None,
    dropout: float = 0.0,
    **changes: Any,
) -> tuple[list[float], dict[str, torch.Tensor]]:
    """The losses of some steps, with the norms of their gradients, and the weights after them."""
    documents = data is not None
    tokenizer = MARKED if documents else CHAR
    shape = {"context": 4, "vocab_size": tokenizer.vocab_size} if documents else {}
    model = tiny_model(1, **{"layers": 2, **shape}, dropout=dropout)
    with Lanes(count) as lanes:
        lanes.threads = threads
        config = tiny_config(**{"batch_size": 7, "steps": 5, **changes})
        steps = train_steps(model, data or tiny_data(), config, tokenizer, teacher=teacher, lens=lens, lanes=lanes)
        events = list(steps)
    told = [e.val_loss for e in events if isinstance(e, Evaluated)]
    told += [number for e in events if isinstance(e, Stepped) for number in (e.loss, e.grad_norm)]
    return [number for number in told if number is not None], model.state_dict()


@pytest.mark.parametrize("changes", KINDS.values(), ids=list(KINDS))
def test_lanes_make_the_step_of_one_piece(changes: dict[str, Any]) -> None:
    losses, weights = trained(1, 1, **changes)
    rtol, atol = (0.05, 0.02) if "precision" in changes else (1e-3, 1e-4)
    for count in (2, 3):
        parted_losses, parted = trained(count, count, **changes)
        assert parted_losses == pytest.approx(losses, rel=1e-2 if "precision" in changes else 1e-4)
        assert parted_losses != losses or count > 2  # the sums were really made in another order
        for name, value in weights.items():
            torch.testing.assert_close(parted[name], value, rtol=rtol, atol=atol)


@pytest.mark.parametrize("changes", [*KINDS.values(), {"dropout": 0.3}], ids=[*KINDS, "dropout"])
def test_the_weights_do_not_depend_on_the_threads(changes: dict[str, Any]) -> None:
    losses, weights = trained(3, 3, **changes)
    for threads in (1, 2):
        again, others = trained(3, threads, **changes)
        assert again == losses
        assert all(torch.equal(value, others[name]) for name, value in weights.items())


def test_padding_weighs_nothing_in_any_lane(tmp_path: Path) -> None:
    """Documents of unequal length: each target counts the same, in whichever lane it is."""
    losses, weights = trained(1, 1, data_of(), batch_size=8)
    parted_losses, parted = trained(3, 2, data_of(), batch_size=8)
    assert parted_losses == pytest.approx(losses, rel=1e-5)
    for name, value in weights.items():
        torch.testing.assert_close(parted[name], value, rtol=1e-3, atol=1e-4)


def test_a_teacher_teaches_in_every_lane(tmp_path: Path) -> None:
    teacher = Teacher.of(opened(tmp_path), CHAR, 8, share=0.7, temperature=2.0)
    losses, weights = trained(1, 1, teacher=teacher)
    parted_losses, parted = trained(2, 2, teacher=teacher)
    assert parted_losses == pytest.approx(losses, rel=1e-5)
    for name, value in weights.items():
        torch.testing.assert_close(parted[name], value, rtol=1e-3, atol=1e-4)


def test_a_look_at_a_step_shows_its_rows_in_order() -> None:
    looks = []
    for count in (1, 3):
        lens = Lens()
        lens.wanted = True
        trained(count, count, lens=lens, steps=1)
        assert lens.found is not None
        looks.append(lens.found)
    whole, parted = looks
    assert torch.equal(whole.inputs, parted.inputs)
    assert parted.losses.shape == whole.inputs.shape
    torch.testing.assert_close(parted.losses, whole.losses)
    assert not torch.equal(whole.losses, whole.losses.flip(0))


def test_each_lane_and_each_part_of_a_step_drops_its_own() -> None:
    """The same text in every row: nothing but dropout can make their losses differ."""
    lens, text = Lens(), torch.arange(9)
    lens.wanted = True
    data = Blocks(text, torch.arange(0), torch.ones(CHAR.vocab_size), context=8)
    shape = {"batch_size": 2, "accumulate": 2, "val_fraction": 0.0, "steps": 1}
    model = tiny_model(dropout=0.3)
    with Lanes(2) as lanes:
        list(train_steps(model, data, tiny_config(**shape), CHAR, lens=lens, lanes=lanes))
    assert lens.found is not None
    assert len({round(loss, 5) for loss in lens.found.losses[:, 0].tolist()}) == 4


def test_the_measurement_is_the_same_in_lanes() -> None:
    model, data = tiny_model(2), tiny_data()
    with Lanes(3) as lanes:
        assert evaluate(model, data, 900, 4, lanes=lanes) == evaluate(model, data, 900, 4)


# -- how many ---------------------------------------------------------------------------------------------------------


def test_lanes_are_for_steps_that_are_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "cores", lambda: 8)
    wide = tiny_model(width=256, context=64)  # 1.6e6 parameters: 1e10 operations in 16 rows
    large = tiny_config(batch_size=16, threads=0)
    assert how_many(wide, large) == 4
    assert how_many(wide, tiny_config(batch_size=16, threads=2)) == 2
    assert how_many(wide, tiny_config(batch_size=16, threads=1)) == 1
    assert how_many(tiny_model(), large) == 1  # too little to do
    assert how_many(tiny_model(width=256, context=64, dropout=0.1), large) == 4
    monkeypatch.setattr(module, "_MOST_MEMORY", 4 * wide.parameter_count() * 4 - 1)
    assert how_many(wide, large) == 1
    monkeypatch.setattr(module, "cores", lambda: 1)
    assert how_many(wide, large) == 1


def test_a_run_goes_on_in_the_lanes_that_it_began_with(
    tmp_path: Path, dealt_out: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit, on a machine with fewer cores as well."""

    def trainer(path: Path) -> Trainer:
        prepared = set_up(tiny_corpus(), tiny_recipe(steps=20, threads=0, optimizer="muon", save_every_s=0.0))
        return Trainer(RunFolder.create(path, "a run", prepared.recipe, {"name": "tiny"}), prepared)

    def weights(path: Path) -> dict[str, torch.Tensor]:
        return open_checkpoint(path / "checkpoints" / "last").model.state_dict()

    finish(trainer(tmp_path / "whole"))
    run = trainer(tmp_path / "run")
    run.start()
    cursor = 0
    for _ in range(5):
        cursor = until(run, Stepped, cursor)
    run.pause()
    run.stop()
    assert run.join(PATIENCE)
    monkeypatch.setattr(module, "cores", lambda: 1)
    again = Trainer.resumed(RunFolder(tmp_path / "run"))
    finish(again)
    whole, resumed = weights(tmp_path / "whole"), weights(tmp_path / "run")
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())
    finish(trainer(tmp_path / "other"))  # one lane: other sums, so the lanes were kept and not chosen anew
    assert not all(torch.equal(value, whole[name]) for name, value in weights(tmp_path / "other").items())
