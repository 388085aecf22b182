"""Trainings that break: what is said, what is kept, and that nobody waits for them."""

from __future__ import annotations

import errno
import logging
import math
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from model import open_checkpoint
from tests.training.tiny import Make, finish
from training import run_writer
from training.events import Event, Failed
from training.trainer import Trainer, explain


def failed(trainer: Trainer) -> Failed:
    """Run to the failure, check what holds for any, and return it."""
    ended: list[str] = []
    trainer.when_over(lambda: ended.append(trainer.state))
    last = finish(trainer)[-1]
    assert isinstance(last, Failed)
    assert (trainer.state, ended) == ("failed", ["failed"])
    return last


def test_a_run_that_diverges_fails_with_the_advice(make: Make) -> None:
    trainer = make(
        steps=300, learning_rate=1.0, weight_decay=10.0, grad_clip=0.0, warmup_steps=0, schedule="constant",
        eval_every=1,
    )  # fmt: skip
    last = failed(trainer)
    assert last.message.startswith("The loss is no longer a number since step ")
    assert last.message.endswith("Train again with a learning rate of 0.1 instead of 1.")
    assert list(trainer.folder.events()) == trainer.log.since(0)[0]
    kept = open_checkpoint(trainer.folder.checkpoint("last"))
    assert 0 < kept.meta["step"] <= last.step
    assert all(torch.isfinite(value).all() for value in kept.model.state_dict().values())
    assert math.isfinite(kept.meta["val_loss"])
    assert not any("NaN" in line for line in (trainer.folder.path / "metrics.jsonl").read_text().splitlines())


def test_a_disk_that_is_full_when_a_checkpoint_is_written(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(run_writer, "save_checkpoint", full)
    trainer = make()
    last = failed(trainer)
    assert (last.step, last.message) == (
        3,
        "The run's folder could not be written (No space left on device): free some disk space and train again. "
        "The last checkpoint that was written whole can still be opened.",
    )
    assert list(trainer.folder.events())[-1] == last


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full, a disk that is always full")
def test_a_disk_that_is_full_when_an_event_is_written(make: Make) -> None:
    trainer = make()
    (trainer.folder.path / "metrics.jsonl").symlink_to("/dev/full")
    assert "No space left on device" in failed(trainer).message


def test_a_failure_with_a_full_disk_besides_is_not_lost(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make(device="abacus")

    def full(_: Event) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(trainer.folder, "append", full)
    assert failed(trainer).message == "The device 'abacus' cannot be used on this machine: choose auto or cpu."


def test_a_mistake_in_the_program_is_logged_and_told(
    make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("training.standing.GPT", lambda config: 1 / 0)
    with caplog.at_level(logging.ERROR):
        last = failed(make())
    sentence = "Training broke for a reason of its own (ZeroDivisionError); the server's log has the details."
    assert last.message == sentence
    [record] = [record for record in caplog.records if record.name == "training.trainer"]
    assert record.exc_info is not None
    assert record.exc_info[0] is ZeroDivisionError


def test_errors_in_words() -> None:
    memory = "There is not enough memory for this model and batch: halve the batch size, or make the model narrower."
    assert explain(MemoryError()) == memory
    assert explain(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")) == memory
    assert explain(ValueError("the text is gone: bring it back.")) == "The text is gone: bring it back."
    assert "(the plug was pulled)" in explain(OSError("the plug was pulled"))
    assert explain(ValueError()).startswith("Training broke for a reason of its own (ValueError);")
