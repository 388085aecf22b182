"""What the console says of a run's events."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest

from training.console import _Voice
from training.events import BaselinesKnown, Evaluated, Event, Started, Stepped


class Bar:
    """A progress bar that keeps what is written beside it."""

    n = 0

    def __init__(self) -> None:
        self.lines = list[str]()
        self.beside = list[dict[str, str]]()

    def write(self, line: str) -> None:
        self.lines.append(line)

    def update(self, steps: int) -> None:
        self.n += steps

    def set_postfix(self, ordered: dict[str, str], refresh: bool, **more: str) -> None:
        self.beside.append({**ordered, **more})


def said(events: Sequence[Event], before: Sequence[Event] = ()) -> list[str]:
    bar: Any = Bar()
    voice = _Voice(bar, before)
    for event in events:
        voice.show(event)
    return list(bar.lines)


STARTED = Started(0, 0.0, 100, 1234, "cpu", 2.0)
COUNTED = BaselinesKnown(1, 0.1, {"unigram": 3.0, "bigram": 2.0}, {"unigram": 2.164, "bigram": 1.443})


def measured(step: int, val_loss: float | None, loss: float | None = None) -> Evaluated:
    bits = None if val_loss is None else val_loss / math.log(2) / 2
    return Evaluated(step, 1.0, loss, val_loss, bits, False)


def test_losses_stand_in_both_units() -> None:
    lines = said([STARTED, COUNTED, measured(10, None, 1.5)])
    assert (
        lines[1]
        == "counting alone comes to (nats per token, bits per byte): unigram 3.000 (2.164), bigram 2.000 (1.443)"
    )
    bits = 1.5 / math.log(2) / 2
    assert (
        lines[2]
        == f"step 10: training loss 1.5000 nats per token, {bits:.4f} bits per byte, mean since the last measurement"
    )


def test_the_bar_names_the_loss_against_the_teacher() -> None:
    bar: Any = Bar()
    voice = _Voice(bar, [])
    for event in (STARTED, Stepped(1, 0.1, 1.5, 0.001, 1.0, 2000.0), Stepped(2, 0.2, 1.5, 0.001, 1.0, 2000.0, 0.25)):
        voice.show(event)
    loss = f"1.500 ({1.5 / math.log(2) / 2:.3f})"
    alone = {"loss": loss, "tokens_per_s": "2,000"}
    assert bar.beside == [alone, {"against_teacher": "0.250 nats"} | alone]


@pytest.mark.parametrize("begun", [0, 2, 3])
def test_what_is_beaten_is_said_once(begun: int) -> None:
    """Also of a run that goes on: what went by before is not said again."""
    events = [
        STARTED,
        COUNTED,
        measured(10, 2.5),
        measured(20, 1.9),
        measured(30, 1.8),
        measured(40, 3.5),
        measured(50, 1.7),
    ]
    lines = said(events[begun:], events[:begun])
    beaten = {line.split(":")[0]: line.partition("; beats ")[2] for line in lines if line.startswith("step")}
    expected = {"step 10": "unigram", "step 20": "bigram", "step 30": "", "step 40": "", "step 50": ""}
    assert beaten == {step: name for step, name in expected.items() if begun < 3 or step != "step 10"}


def test_what_was_beaten_before_counting_was_over_is_told_with_its_step() -> None:
    """Counting takes its time beside the training. Before the first step nothing is learnt."""
    events = [STARTED, measured(0, 1.5), measured(10, 2.5), measured(20, 2.4), COUNTED, measured(30, 1.9)]
    counting, last = said(events)[-2:]
    assert counting.endswith("bigram 2.000 (1.443); beaten already: unigram by step 10")
    assert last.endswith("; beats bigram")
