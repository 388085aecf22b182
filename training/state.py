"""Where a training stands: all that its next step depends on besides weights, text and settings.

Written beside the weights of the same moment (training/resume.py), so that a killed run goes on as if nothing had been.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

import torch
from torch import Tensor

from model import GPT
from training.config import TrainConfig
from training.distributed import gathered, shared_out
from training.optim import Optimizer, make_optimizer


class Change(NamedTuple):
    """From the step after `step` on: a factor on the learning rates of the schedule, and stretches in a step."""

    step: int
    rate: float
    batch_size: int


@dataclass
class LoopState:
    """The part of a training that changes from step to step, weights aside. `train_steps` keeps it up to date before
    each event that it yields, so it may be written at any of them."""

    optimizer: Optimizer
    order: torch.Generator
    """Draws the batches."""
    begun: bool = False
    """Whether Started was told."""
    step: int = 0
    """Updates made."""
    measured: int = -1
    """The step of the last measurement; -1 before the first."""
    sampled: int = -1
    """The step of the last sample."""
    val_loss: float | None = None
    """Of the last measurement."""
    best: float = math.inf
    recent: list[float] = field(default_factory=list)
    """Losses since the last measurement."""
    wall_s: float = 0.0
    rate: float = 1.0
    """Factor on the learning rates of the schedule; changed in flight."""
    batch_size: int = 0
    """Stretches of text in one step (in each process, before accumulation); changed in flight."""
    lanes: int = 1
    """Parts that the gradient of a step is computed in (lanes.py)."""

    @classmethod
    def fresh(cls, model: GPT, config: TrainConfig) -> LoopState:
        """Before the first step of a model, which stands where it will be trained."""
        order = torch.Generator().manual_seed(config.seed)
        return cls(make_optimizer(model, config), order, batch_size=config.batch_size)

    def to_dict(self) -> dict[str, Any]:
        """The numbers, for JSON; floats come back from it as they were."""
        values = {name: getattr(self, name) for name in _NUMBERS}
        return values | {"best": None if math.isinf(self.best) else self.best, "recent": list(self.recent)}

    def tensors(self, model: GPT) -> dict[str, Tensor]:
        """The optimizer's state and the random generator's, on the CPU."""
        found = self.generators()
        for part, name, state in self.states(model):
            found |= {f"optimizer.{part}.{name}.{key}": gathered(value.detach()).cpu() for key, value in state.items()}
        return found

    def generators(self) -> dict[str, Tensor]:
        """The state of the random generator of batches. What dropout draws follows from seed and step (loop.py)."""
        return {"random.order": self.order.get_state()}

    def restore(self, model: GPT, values: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Stand where `to_dict` and `tensors` were taken. Raises KeyError, ValueError or RuntimeError where they do not
        fit the model and its optimizer."""
        for name in _NUMBERS:
            if name in values or name not in _LATER:
                setattr(self, name, values[name])
        self.best = math.inf if values["best"] is None else values["best"]
        self.recent = list(values["recent"])
        self.order.set_state(tensors["random.order"])
        self._restore_optimizer(model, tensors)

    def inherit(self, model: GPT, step: int, tensors: dict[str, Tensor]) -> None:
        """Begin at a step of another run. tensors: of its optimizer and generator, as far as they are taken over."""
        self.step = step
        if "random.order" in tensors:
            self.order.set_state(tensors["random.order"])
        if any(key.startswith("optimizer.") for key in tensors):
            self._restore_optimizer(model, tensors)

    def _restore_optimizer(self, model: GPT, tensors: dict[str, Tensor]) -> None:
        kept = {key: value for key, value in tensors.items() if key.startswith("optimizer.")}
        parameters = dict(model.named_parameters())
        for part, name, state in self.states(model):
            prefix = f"optimizer.{part}.{name}."
            for key in [key for key in kept if key.startswith(prefix)]:
                value = kept.pop(key).to(model.device, copy=True)
                state[key.removeprefix(prefix)] = shared_out(value, like=parameters[name])
        if kept:
            raise ValueError(f"the optimizer does not know {next(iter(kept))}")

    def states(self, model: GPT) -> list[tuple[int, str, dict[str, Any]]]:
        """Of each part of the optimizer and each of its parameters: the part, the parameter's name, its state."""
        names = {id(p): name for name, p in model.named_parameters()}
        return [
            (number, names[id(p)], part.state[p])
            for number, part in enumerate(self.optimizer.parts)
            for group in part.param_groups
            for p in group["params"]
        ]


_LATER = ("rate", "batch_size", "lanes")  # earlier versions did not write them
_NUMBERS = [f.name for f in fields(LoopState) if f.name not in ("optimizer", "order", "recent", "best")]
