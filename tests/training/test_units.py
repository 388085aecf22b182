"""Nats per token and bits per byte."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from model import open_checkpoint
from training import __main__ as cli
from training import console
from training.corpus import split_documents, split_text
from training.diagnosis import Course
from training.events import Evaluated, Started, Stepped
from training.runs import RunFolder
from training.units import both, in_bits, unit_of


def test_a_token_of_so_many_bytes_shares_its_loss_among_them() -> None:
    """Guessing evenly among 256 bytes costs 8 bits each, however many of them make a token."""
    for size in (1.0, 2.0, 3.5):
        assert in_bits(size * math.log(256), size) == pytest.approx(8)
    assert in_bits(None, 2.0) is None
    assert in_bits(1.0, None) is None


def test_a_loss_is_told_in_both_units_where_both_are_known() -> None:
    assert both(2 * math.log(2), in_bits(2 * math.log(2), 4.0), 2) == "1.39 (0.50)"
    assert both(1.0, None, 3) == "1.000"
    assert (unit_of(4.0), unit_of(None)) == ("nats per token (bits per byte)", "nats per token")


LEARNT, HELD_OUT = "the quick brown fox jumps over the lazy dog\n", "sphinx of black quartz judge my vow\n"
FLAGS = "--tokenizer bpe --vocab-size 285 --layers 1 --heads 2 --width 16 --context 8 --batch-size 4 --steps 6 "
FLAGS += "--eval-every 3 --sample-every 0 --threads 1 --val-fraction 0.3 --snapshots-mb 0 --warmup-steps 2"


class Bar:
    """A progress bar that keeps the loss that it shows."""

    n, loss = 0, ""

    def write(self, line: str) -> None:
        pass

    def update(self, steps: int) -> None:
        self.n += steps

    def set_postfix(self, *_: Any, loss: str, **__: Any) -> None:
        self.loss = loss


@pytest.mark.parametrize("cut", ["blocks", "documents"])
def test_a_training_loss_is_parted_by_the_bytes_that_were_learnt_from(cut: str, tmp_path: Path) -> None:
    """A byte-pair vocabulary is learnt on the training part: what was held out falls into more and shorter tokens."""
    (tmp_path / "text.txt").write_text(LEARNT * 70 + HELD_OUT * 30, encoding="utf-8")
    out = tmp_path / "run"
    assert cli.main([str(tmp_path / "text.txt"), "--out", str(out), "--cut", cut, *FLAGS.split()]) == 0
    folder = RunFolder(out)
    events = list(folder.events())
    started = next(event for event in events if isinstance(event, Started))

    tokenizer = open_checkpoint(out).tokenizer
    assert tokenizer is not None
    train, _ = split_text((tmp_path / "text.txt").read_text("utf-8"), 0.3)
    parts = [tokenizer.encode(train)] if cut == "blocks" else []
    if cut == "documents":
        documents = split_documents([line for line in (LEARNT * 70 + HELD_OUT * 30).split("\n") if line], 0.3)[0]
        end = tokenizer.end_of_text
        assert end is not None
        parts = [[end, *tokenizer.encode(document), end] for document in documents]
    targets = [number for part in parts for number in part[1:]]
    size = sum(1 if number == tokenizer.end_of_text else len(tokenizer.piece(number).raw) for number in targets)
    assert started.train_bytes_per_token == pytest.approx(size / len(targets), rel=1e-12)
    assert started.bytes_per_token is not None
    assert started.train_bytes_per_token > 1.5 * started.bytes_per_token

    last = [event for event in events if isinstance(event, Stepped)][-1]
    bits = last.loss / math.log(2) * len(targets) / size
    course = Course(events, folder.info().recipe.train)
    assert course.learnt(last.loss, 3) == f"{last.loss:.3f} ({bits:.3f})"
    held = [event for event in events if isinstance(event, Evaluated)][-1]
    assert course.held(held.val_loss or 0) == f"{held.val_loss:.2f} ({held.bits_per_byte:.2f})"
    bar = Bar()
    voice = console._Voice(bar, [])
    for event in events:
        voice.show(event)
    assert bar.loss == f"{last.loss:.3f} ({bits:.3f})"
    meta = open_checkpoint(out / "checkpoints" / "last").meta
    assert meta["loss"] / math.log(2) / meta["bytes_per_token"] == pytest.approx(bits)


def test_runs_of_before_that_was_counted_have_the_figure_of_what_is_held_out() -> None:
    first = Started(0, 0.0, 9, 1, "cpu", 2.0)
    assert first.learnt_bytes_per_token == 2.0
    assert "train_bytes_per_token" not in first.to_dict()
    assert Started(0, 0.0, 9, 1, "cpu", 2.0, train_bytes_per_token=3.0).learnt_bytes_per_token == 3.0
