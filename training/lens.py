"""One step seen closely: its batch with the loss of each token, and what the update did to each layer.

Looked at is the very step that trains, dropout and all; a step that nobody asks about pays nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from model import GPT
from training.data import MASKED


@dataclass(frozen=True)
class Part:
    """Some of the parameters, and what a step did to them: Euclidean norms.

    name: `embeddings`, `layer 1`, …, `output` (the last norm, and a head of its own); gradient: before clipping;
    weights: before the update; update: of what was added to them.
    """

    name: str
    gradient: float
    weights: float
    update: float

    @property
    def relative(self) -> float | None:
        """Size of the update in proportion to the weights; None where these are all 0."""
        return self.update / self.weights if self.weights else None


@dataclass(frozen=True)
class StepLook:
    """One update. inputs, targets: (B, T) int64 on the CPU, targets MASKED where nothing is predicted; losses: (B, T)
    float32, nats of each target before the update, 0 where masked. loss: their mean; lr, grad_norm: as in Stepped."""

    step: int
    loss: float
    lr: float
    grad_norm: float
    inputs: Tensor
    targets: Tensor
    losses: Tensor
    parts: tuple[Part, ...]


class Lens:
    """Set `wanted`, and the next step is looked at; `found` is the latest look. Handed to `train_steps`."""

    def __init__(self) -> None:
        self.wanted = False
        self.found: StepLook | None = None
        self._losses: list[Tensor] = []
        self._before: dict[str, Tensor] = {}
        self._gradients: dict[str, float] = {}

    def begin(self, model: GPT) -> None:
        """Before a step: remember its weights."""
        self._losses = []
        self._before = {name: p.detach().clone() for name, p in model.named_parameters()}

    def take(self, logits: Tensor, targets: Tensor) -> None:
        """A part of the batch went through the model. logits: (B, T, V); targets: (B, T)."""
        with torch.no_grad():
            nats = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=MASKED, reduction="none")
        self._losses.append(nats.view(targets.shape).cpu())

    def backward(self, model: GPT) -> None:
        """The whole batch's gradient stands, and is not clipped yet."""
        grads = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        self._gradients = {
            part: _norm([grads[name] for name in names if name in grads]) for part, names in parts_of(model).items()
        }

    def end(self, model: GPT, step: int, batch: tuple[Tensor, Tensor], loss: float, lr: float, norm: float) -> None:
        """The update was made."""
        after, before = dict(model.named_parameters()), self._before
        found = [
            Part(
                part,
                self._gradients[part],
                _norm([before[name] for name in names]),
                _norm([after[name].detach() - before[name] for name in names]),
            )
            for part, names in parts_of(model).items()
        ]
        self.found = StepLook(step, loss, lr, norm, *batch, torch.cat(self._losses), tuple(found))
        self._losses, self._before, self.wanted = [], {}, False


def parts_of(model: GPT) -> dict[str, list[str]]:
    """The names of a model's parameters, by the part that they belong to, in the order of the forward pass."""
    found: dict[str, list[str]] = {}
    for name, _ in model.named_parameters():
        first, second = name.split(".")[:2]
        part = f"layer {int(second) + 1}" if first == "blocks" else "embeddings" if "embedding" in first else "output"
        found.setdefault(part, []).append(name)
    return found


def _norm(tensors: list[Tensor]) -> float:
    return math.sqrt(sum(float(value.double().square().sum()) for value in tensors))
