"""Where else a run is logged, for tools that people look at already: TensorBoard and trackio.

Off by default (the field `log_to`), and neither package is loaded unless it is asked for. Both get the same names:
train/loss, train/bits_per_byte, train/lr, train/grad_norm, train/tokens_per_s, val/loss, val/bits_per_byte, and the
samples as text.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from model import ConfigError
from training.config import LogTo, Recipe
from training.events import Evaluated, Event, Sampled, Stepped
from training.runs import RunFolder
from training.units import in_bits

_log = logging.getLogger(__name__)
FOLDER = "tensorboard"
PROJECT = "glass-gpt"


class Writer(Protocol):
    """Takes a run's numbers, step by step."""

    def numbers(self, step: int, values: dict[str, float]) -> None:
        """Measured at a step, by name."""

    def text(self, step: int, text: str) -> None:
        """Written by the model at a step."""

    def close(self) -> None:
        """Nothing more comes."""


class TensorBoard:
    """Event files in <run>/tensorboard; `tensorboard --logdir RUNS` shows them."""

    def __init__(self, folder: Path, name: str, recipe: Recipe, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        later = step + 1 if step else None  # a run that goes on: what was logged after its checkpoint happens again
        self._writer: Any = SummaryWriter(str(folder / FOLDER), purge_step=later)

    def numbers(self, step: int, values: dict[str, float]) -> None:
        for key, value in values.items():
            self._writer.add_scalar(key, value, step)

    def text(self, step: int, text: str) -> None:
        self._writer.add_text("sample", "    " + text.replace("\n", "\n    "), step)  # indented: taken as it stands

    def close(self) -> None:
        self._writer.close()


class Trackio:
    """A run of the project glass-gpt in trackio's own folder on this machine; `trackio show` opens it."""

    def __init__(self, folder: Path, name: str, recipe: Recipe, step: int) -> None:
        import trackio

        # The folder's name alone may have been another run's; with its hour it is found again when the run goes on.
        called = f"{folder.name} {RunFolder(folder).info().created}"
        settings = {"name": name, **recipe.to_dict()}
        self._run: Any = trackio.init(
            project=PROJECT, name=called, resume="allow", embed=False, config=settings, auto_log_cpu=False,
            auto_log_gpu=False,
        )  # fmt: skip

    def numbers(self, step: int, values: dict[str, float]) -> None:
        self._run.log(values, step=step)

    def text(self, step: int, text: str) -> None:
        self._run.log({"sample": text}, step=step)

    def close(self) -> None:
        self._run.finish()


_KINDS: dict[str, Callable[[Path, str, Recipe, int], Writer]] = {"tensorboard": TensorBoard, "trackio": Trackio}


def asked(log_to: LogTo) -> list[str]:
    """The packages that a setting asks for."""
    return list(_KINDS) if log_to == "both" else [log_to] if log_to else []


def check_log_to(log_to: LogTo) -> None:
    """Raises ConfigError naming what to install, where a package that is asked for is not there."""
    if missing := [name for name in asked(log_to) if importlib.util.find_spec(name) is None]:
        raise ConfigError(
            f"log_to asks for {' and '.join(missing)}, not installed here: `pip install -r requirements-extra.txt` "
            f"(or `pip install {' '.join(missing)}`), or leave --log-to out."
        )


class Log:
    """Hands a run's events to its writers. One that fails is dropped with a line in the log: the run goes on."""

    def __init__(self, folder: Path, name: str, recipe: Recipe, step: int) -> None:
        """step: where the run begins or goes on."""
        self._writers: list[Writer] = []
        for kind in asked(recipe.train.log_to):
            try:
                self._writers.append(_KINDS[kind](folder, name, recipe, step))
            except Exception:
                _log.exception("%s cannot log this run", kind)

    def take(self, event: Event, bytes_per_token: float | None) -> None:
        """Write down what there is to an event. bytes_per_token: of the training's targets, on average."""
        values = _values(event, bytes_per_token)
        for writer in list(self._writers):
            try:
                if values:
                    writer.numbers(event.step, values)
                if isinstance(event, Sampled):
                    writer.text(event.step, event.prompt + event.text)
            except Exception:
                _log.exception("%s logs this run no more", type(writer).__name__)
                self._writers.remove(writer)

    def close(self) -> None:
        """The run is over."""
        for writer in self._writers:
            try:
                writer.close()
            except Exception:
                _log.exception("%s did not close", type(writer).__name__)
        self._writers.clear()


def _values(event: Event, bytes_per_token: float | None) -> dict[str, float]:
    found: dict[str, float | None] = {}
    match event:
        case Stepped():
            found = {
                "train/loss": event.loss,
                "train/bits_per_byte": in_bits(event.loss, bytes_per_token),
                "train/lr": event.lr,
                "train/grad_norm": event.grad_norm,
                "train/tokens_per_s": event.tokens_per_s,
                "train/teacher": event.soft_loss,
            }
        case Evaluated():
            found = {"val/loss": event.val_loss, "val/bits_per_byte": event.bits_per_byte}
    return {name: value for name, value in found.items() if value is not None}
