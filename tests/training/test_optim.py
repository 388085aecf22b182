"""The optimizers against plain recomputations, matrix by matrix."""

import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from model import GPT, GPTConfig
from training.config import TrainConfig
from training.optim import Muon, make_adamw, make_optimizer, orthogonal

ROOT = Path(__file__).resolve().parents[2]


def tiny(seed: int = 0) -> GPT:
    torch.manual_seed(seed)
    return GPT(GPTConfig(vocab_size=11, context=8, layers=2, heads=2, width=16))


def plain_newton_schulz(matrix: Tensor) -> Tensor:
    """The iteration as its author writes it, for one matrix, in float64."""
    x = matrix.double()
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / x.norm()
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x.T if tall else x


@pytest.mark.parametrize("shape", [(16, 16), (16, 64), (64, 16)])
def test_singular_values_come_near_one_and_the_directions_stay(shape: tuple[int, int]) -> None:
    matrices = torch.randn(3, *shape, generator=torch.Generator().manual_seed(1))
    out = orthogonal(matrices)
    for before, after in zip(matrices, out, strict=True):
        values = torch.linalg.svdvals(after)
        assert values.min() > 0.3
        assert values.max() < 1.3
        u, _, v = torch.linalg.svd(before, full_matrices=False)
        rotated = u.T @ after @ v.T  # diagonal when the singular vectors are those of the matrix
        assert (rotated - torch.diag(rotated.diag())).abs().max() < 1e-3
        assert (after - plain_newton_schulz(before)).abs().max() < 1e-4


def test_muon_steps_as_computed_by_hand() -> None:
    generator = torch.Generator().manual_seed(2)
    square, tall = (nn.Parameter(torch.randn(*shape, generator=generator)) for shape in ((8, 8), (24, 8)))
    stacked = nn.Parameter(torch.randn(24, 8, generator=generator))
    start = [p.detach().clone() for p in (square, tall, stacked)]
    muon = Muon([square, tall, stacked], lr=0.1, weight_decay=0.5, splits={stacked: 3})
    velocity = [torch.zeros_like(p) for p in start]
    for _ in range(3):
        gradients = [torch.randn(*p.shape, generator=generator) for p in start]
        for p, gradient in zip((square, tall, stacked), gradients, strict=True):
            p.grad = gradient.clone()
        muon.step()
        for i, (gradient, parts) in enumerate(zip(gradients, (1, 1, 3), strict=True)):
            velocity[i] = 0.95 * velocity[i] + 0.05 * gradient
            ahead = 0.05 * gradient + 0.95 * velocity[i]
            update = torch.cat([
                plain_newton_schulz(part).float() * math.sqrt(max(1, part.shape[0] / part.shape[1]))
                for part in ahead.chunk(parts)
            ])  # fmt: skip
            start[i] = start[i] * (1 - 0.1 * 0.5) - 0.1 * update
    for p, truth in zip((square, tall, stacked), start, strict=True):
        assert (p - truth).abs().max() < 1e-3


def test_adamw_is_that_of_torch_to_the_bit() -> None:
    """A parameter without a gradient stays as it is, and is taken along from the step where it has one."""
    ours, theirs = ([nn.Parameter(p.detach().clone()) for p in tiny().parameters()] for _ in range(2))
    config = TrainConfig(learning_rate=0.03, weight_decay=0.2, beta1=0.8, beta2=0.95)
    adamw = make_adamw(tiny(), config, ours)
    groups = [
        {"params": [p for p in theirs if p.dim() >= 2], "weight_decay": 0.2},
        {"params": [p for p in theirs if p.dim() < 2], "weight_decay": 0.0},
    ]
    torchs = torch.optim.AdamW(groups, lr=0.03, betas=(0.8, 0.95), fused=True)
    generator = torch.Generator().manual_seed(5)
    for step in range(6):
        for i, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
            gradient = None if step < 2 and i % 3 == 0 else torch.randn(mine.shape, generator=generator)
            mine.grad, other.grad = gradient, gradient
        adamw.step()
        torchs.step()
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    for mine, other in zip(ours, theirs, strict=True):
        assert adamw.state[mine].keys() == torchs.state[other].keys()
        assert all(torch.equal(value, torchs.state[other][name]) for name, value in adamw.state[mine].items())


def test_a_training_does_not_load_the_compiler() -> None:
    """In a process of its own: a second, of a run that may last a few."""
    program = """
import sys
from tests.training.tiny import CHAR, tiny_config, tiny_data, tiny_model
from training.loop import train_steps
for optimizer in ("adamw", "muon"):
    list(train_steps(tiny_model(), tiny_data(), tiny_config(optimizer=optimizer), CHAR))
print("torch._dynamo" in sys.modules)
import torch
torch.optim.AdamW([torch.zeros(1)])
print("torch._dynamo" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]


def test_muon_takes_the_blocks_and_adamw_the_rest_and_nobody_is_left_out() -> None:
    model = tiny()
    muon, adamw = make_optimizer(model, TrainConfig(optimizer="muon")).parts
    held = [{id(p) for group in part.param_groups for p in group["params"]} for part in (muon, adamw)]
    inside = {id(p) for block in model.blocks for p in block.parameters() if p.dim() == 2}
    assert held[0] == inside
    assert held[1] == {id(p) for p in model.parameters()} - inside


def test_both_learning_rates_follow_the_schedule() -> None:
    model = tiny()
    config = TrainConfig(optimizer="muon", learning_rate=0.01, muon_learning_rate=0.2, muon_momentum=0.8)
    optimizer = make_optimizer(model, config)
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step(0.25)
    muon, adamw = optimizer.parts
    assert {group["lr"] for group in muon.param_groups} == {0.05}
    assert {group["momentum"] for group in muon.param_groups} == {0.8}
    assert {group["lr"] for group in adamw.param_groups} == {0.0025}


def test_a_step_at_share_zero_changes_nothing() -> None:
    model = tiny()
    before = [p.detach().clone() for p in model.parameters()]
    optimizer = make_optimizer(model, TrainConfig(optimizer="muon"))
    for p in model.parameters():
        p.grad = torch.randn_like(p)
    optimizer.step(0.0)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_either_learns_a_batch_by_heart(optimizer: str) -> None:
    model = tiny()
    steps = make_optimizer(model, TrainConfig(optimizer=optimizer, learning_rate=0.01, weight_decay=0.0))  # type: ignore[arg-type]
    batch = torch.randint(0, 11, (4, 9), generator=torch.Generator().manual_seed(3))
    for _ in range(120):
        loss = nn.functional.cross_entropy(model(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())
        steps.zero_grad()
        loss.backward()
        steps.step(1.0)
    assert loss.item() < 0.1
