"""The optimizers: AdamW for everything, or Muon for the matrices inside the blocks and AdamW for the rest.

AdamW: Loshchilov & Hutter, 2019. Muon: Jordan et al., 2024 (https://kellerjordan.github.io/posts/muon/): momentum whose
matrix is replaced by the nearest orthogonal one, found by five Newton-Schulz iterations. Here in float32, because a CPU
is slow in bfloat16, and with equal shapes in one batched product.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from model.gpt import GPT
from training.config import TrainConfig
from training.lanes import Lanes

_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 5


class Part:
    """An optimizer of some parameters: groups of them with settings of their own, and a state for each.

    groups: dicts with "params" and "lr" (the peak) besides what the subclass wants. Not a torch.optim.Optimizer: the
    first one of those loads torch's compiler, which takes a second of every training, and nothing of it is used here.
    """

    def __init__(self, groups: Sequence[dict[str, Any]]) -> None:
        self.param_groups = list(groups)
        self.lanes = Lanes()
        self.state: defaultdict[nn.Parameter, dict[str, Tensor]] = defaultdict(dict)

    def step(self, scale: Tensor | None = None) -> None:
        """Update every parameter that has a gradient. scale: what the gradients are multiplied by before, ()."""
        raise NotImplementedError

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for group in self.param_groups:
            for p in group["params"]:
                p.grad = None


class Optimizer:
    """One or two parts that step together; their learning rates follow one schedule, each from its peak."""

    def __init__(self, *parts: Part) -> None:
        self.parts = parts
        self._groups = [(group, group["lr"]) for part in parts for group in part.param_groups]

    def step(self, share: float, scale: Tensor | None = None) -> None:
        """Update the weights at `share` (0 to 1) of each group's peak learning rate. scale: what the gradients are
        multiplied by before, ()."""
        for group, peak in self._groups:
            group["lr"] = peak * share
        for part in self.parts:
            part.step(scale)

    def share(self, lanes: Lanes) -> None:
        """Have the work dealt out to these."""
        for part in self.parts:
            part.lanes = lanes

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for part in self.parts:
            part.zero_grad()


def make_optimizer(model: GPT, config: TrainConfig) -> Optimizer:
    """The optimizer that a config names, over all of a model's parameters."""
    if config.optimizer == "adamw":
        return Optimizer(make_adamw(model, config))
    inside = [p for block in model.blocks for p in block.parameters() if p.dim() == 2]
    others = [p for p in model.parameters() if not any(p is matrix for matrix in inside)]
    parts = {block.attn.qkv.weight: 3 for block in model.blocks}  # type: ignore[union-attr]
    rate, momentum = config.muon_learning_rate, config.muon_momentum
    muon = Muon(inside, rate, config.weight_decay, momentum, splits=parts)  # type: ignore[arg-type]
    return Optimizer(muon, make_adamw(model, config, others))


def make_adamw(model: nn.Module, config: TrainConfig, only: list[nn.Parameter] | None = None) -> AdamW:
    """AdamW over a model's parameters, or `only` some.

    Weight decay on parameters with two axes (matrices, embeddings), none on biases and norms.
    """
    parameters = list(model.parameters()) if only is None else only
    shared = {"lr": config.learning_rate, "betas": (config.beta1, config.beta2)}
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": config.weight_decay, **shared},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0, **shared},
    ]
    return AdamW([group for group in groups if group["params"]])


class AdamW(Part):
    """Adam with weight decay apart from the gradient by torch's fused kernel; torch.optim.AdamW(fused=True) to the bit.

    groups: with "lr", "weight_decay" and "betas".
    """

    eps = 1e-8

    @torch.no_grad()
    def step(self, scale: Tensor | None = None) -> None:
        jobs = []
        for group in self.param_groups:
            moved = [p for p in group["params"] if p.grad is not None]
            for p in moved:
                if not self.state[p]:
                    fresh = {name: torch.zeros_like(p) for name in ("exp_avg", "exp_avg_sq")}
                    self.state[p] |= {"step": torch.zeros((), device=p.device), **fresh}
            jobs += [functools.partial(self._update, some, group, scale) for some in self.lanes.deal(moved)]
        self.lanes.run(jobs)

    @torch.no_grad()
    def _update(self, moved: Sequence[nn.Parameter], group: dict[str, Any], scale: Tensor | None) -> None:
        states, gradients = [self.state[p] for p in moved], [p.grad for p in moved if p.grad is not None]
        if scale is not None:
            torch._foreach_mul_(gradients, scale)
        steps, means, squares = ([state[key] for state in states] for key in ("step", "exp_avg", "exp_avg_sq"))
        torch._foreach_add_(steps, 1)
        torch._fused_adamw_(
            list(moved), gradients, means, squares, [], steps, lr=group["lr"], beta1=group["betas"][0],
            beta2=group["betas"][1], weight_decay=group["weight_decay"], eps=self.eps, amsgrad=False, maximize=False,
        )  # fmt: skip


class Muon(Part):
    """Momentum, made orthogonal, for matrices (rows, columns).

    splits: matrices that are several stacked along their rows (queries, keys and values in one), by how many; each part
    is made orthogonal by itself. An update of an (R, C) matrix is scaled by sqrt(max(1, R / C)), as its author does.
    """

    def __init__(
        self,
        parameters: list[nn.Parameter],
        lr: float,
        weight_decay: float = 0.0,
        momentum: float = 0.95,
        splits: dict[nn.Parameter, int] | None = None,
    ) -> None:
        super().__init__([{"params": parameters, "lr": lr, "weight_decay": weight_decay, "momentum": momentum}])
        self._splits = splits or {}

    @torch.no_grad()
    def step(self, scale: Tensor | None = None) -> None:
        for group in self.param_groups:
            batches: dict[tuple[int, int], list[tuple[Tensor, Tensor]]] = defaultdict(list)
            for p in group["params"]:
                if p.grad is None:
                    continue
                if scale is not None:
                    p.grad.mul_(scale)
                velocity = self.state[p].setdefault("velocity", torch.zeros_like(p))
                velocity.lerp_(p.grad, 1 - group["momentum"])
                ahead = p.grad.lerp(velocity, group["momentum"])  # Nesterov
                count = self._splits.get(p, 1)
                for part, target in zip(ahead.chunk(count), p.chunk(count), strict=True):
                    batches[target.shape[0], target.shape[1]].append((part, target))
            jobs = [
                functools.partial(_update, pairs, group["lr"], group["weight_decay"])
                for equal in batches.values()
                for pairs in self.lanes.deal(equal)
            ]
            self.lanes.run(jobs)


@torch.no_grad()
def _update(pairs: Sequence[tuple[Tensor, Tensor]], lr: float, weight_decay: float) -> None:
    """Move matrices of one shape; pairs: the direction of each before it is made orthogonal, and the matrix."""
    updates = orthogonal(torch.stack([part for part, _ in pairs]))
    rows, columns = updates.shape[1:]
    scale = lr * max(1.0, rows / columns) ** 0.5
    for update, (_, target) in zip(updates, pairs, strict=True):
        target.mul_(1 - lr * weight_decay).sub_(update, alpha=scale)


def orthogonal(matrices: Tensor) -> Tensor:
    """The nearest (semi-)orthogonal matrices, roughly: (N R C) -> (N R C), singular values brought to about 1.

    Five steps of a quintic Newton-Schulz iteration, which leaves them between 0.7 and 1.2; exactness buys nothing.
    """
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    x = _through_gram(x) if x.shape[2] >= 2 * x.shape[1] else _plainly(x)
    return x.mT if tall else x


def _plainly(x: Tensor) -> Tensor:
    """The iteration x <- (a + b G + c G G) x with G = x x', for square matrices."""
    a, b, c = _NEWTON_SCHULZ
    for _ in range(_ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x


def _through_gram(x: Tensor) -> Tensor:
    """The same for wide matrices, with nearly half of the work: all the steps are polynomials in the first G, so that
    they are multiplied with each other as small squares, and with x once."""
    a, b, c = _NEWTON_SCHULZ
    gram = x @ x.mT
    whole = None
    for i in range(_ITERATIONS):
        factor = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        factor.diagonal(dim1=1, dim2=2).add_(a)
        whole = factor if whole is None else factor @ whole
        if i + 1 < _ITERATIONS:
            gram = factor @ gram @ factor
    assert whole is not None
    return whole @ x
