"""Learning rate and batch, changed while a run trains: what was asked for, and what has to happen again after a kill.

A change counts from the next step on. It is an event of the run (events.Changed) and a part of its state (state.py);
one that a kill cut off happens again at its step (resume.py), so that a run that was taken up is the same run.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable
from dataclasses import replace

from model import ConfigError, GPTConfig
from training.config import TrainConfig
from training.estimate import check_fits
from training.state import Change, LoopState

LEAST, MOST = 1e-4, 1e4
"""Factors on the learning rate."""


class Steering:
    """The changes of one run. Anybody may `ask`; the thread that trains takes them with `due`."""

    def __init__(self, planned: Iterable[Change] = ()) -> None:
        """planned: what happened before a kill, and happens again at its steps."""
        self._planned = list(planned)
        self._asked: list[tuple[float | None, int | None]] = []
        self._lock = threading.Lock()

    def ask(self, rate: float | None, batch_size: int | None) -> None:
        """From the next step on, this factor on the learning rates, and so many stretches; None: as it is."""
        with self._lock:
            self._asked.append((rate, batch_size))

    def due(self, state: LoopState) -> list[Change]:
        """Make in a state what is to be made now; what that was. Somebody's wish ends what was planned."""
        with self._lock:
            asked, self._asked = self._asked, []
        made = list[Change]()
        while self._planned and self._planned[0].step <= state.step and not asked:
            made.append(Change(state.step, *self._planned.pop(0)[1:]))
        for rate, batch_size in asked:
            self._planned.clear()
            now = made[-1] if made else Change(state.step, state.rate, state.batch_size)
            wanted = Change(state.step, now.rate if rate is None else rate, batch_size or now.batch_size)
            made += [wanted] if wanted != now else []
        for change in made:
            state.rate, state.batch_size = change.rate, change.batch_size
        return made


def check_change(shape: GPTConfig, train: TrainConfig, rate: float | None, batch_size: int | None) -> None:
    """Raises ConfigError where a change cannot work, naming what would. rate: factor on the learning rates."""
    if rate is None and batch_size is None:
        raise ConfigError("nothing is to be changed: give a factor on the learning rate (rate), or a batch_size.")
    if rate is not None:
        largest = max(train.learning_rate, train.muon_learning_rate if train.optimizer == "muon" else 0.0)
        most = min(MOST, 1 / largest)
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not math.isfinite(rate):
            raise ConfigError(f"rate is {rate!r}; give a factor on the learning rate, such as 0.5.")
        if not LEAST <= rate <= most:
            raise ConfigError(
                f"rate is {rate:g}, a factor on the learning rate of {train.learning_rate:g}; use from {LEAST:g} to "
                f"{_down(most):g} (0.5 halves it)."
            )
    if batch_size is not None:
        if isinstance(batch_size, bool) or not isinstance(batch_size, int):
            raise ConfigError(f"batch_size is {batch_size!r}; give a whole number, such as {train.batch_size}.")
        check_fits(shape, replace(train, batch_size=batch_size))


def _down(value: float) -> float:
    """To two digits, and not above it."""
    size = 10.0 ** (math.floor(math.log10(value)) - 1)
    return math.floor(value / size + 1e-9) * size
