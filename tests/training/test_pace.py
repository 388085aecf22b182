"""How long a training will take: the arithmetic against work that is counted, and what a measurement stands for."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from model import GPT, GPTConfig
from tests.training.tiny import tiny_config
from training import pace
from training.estimate import foreseen
from training.optim import make_optimizer
from training.pace import Pace, measured, muon_flops
from training.threads import cores

SHAPE = GPTConfig(vocab_size=65, layers=2, heads=4, width=64, context=32)
CPU = torch.device("cpu")


@pytest.mark.parametrize("change", [{}, {"layers": 1}, {"width": 128}, {"width": 32}], ids=str)
def test_muons_work_is_what_torch_counts(change: dict[str, Any]) -> None:
    config = GPTConfig(**{"vocab_size": 65, "layers": 2, "heads": 4, "width": 64, "context": 32, **change})
    model, train = GPT(config), tiny_config(optimizer="muon")
    optimizer = make_optimizer(model, train)
    for p in model.parameters():
        p.grad = torch.randn_like(p)
    with FlopCounterMode(display=False) as counter:
        optimizer.step(1.0)
    assert muon_flops(config, train) == pytest.approx(counter.get_total_flops(), rel=0.1)
    assert muon_flops(config, tiny_config()) == 0, "AdamW multiplies no matrices"


def test_a_training_is_its_steps_and_measurements_and_samples() -> None:
    """A machine so slow, or so fast, that one part is all that there is."""
    train = tiny_config(steps=40, eval_every=10, eval_tokens=320, sample_every=0)
    flops = foreseen(SHAPE, train, 1).flops
    tokens = 40 * train.batch_size * train.accumulate * 32
    each = flops / tokens
    slow = Pace(passes=1e3, plain=1e30, share=0.5)  # only the passes take time
    assert slow.seconds(SHAPE, train, tokens, each) == pytest.approx(flops / 500)
    assert slow.seconds(SHAPE, train, tokens, each, 4) == pytest.approx(flops / 2000)
    fast = Pace(passes=1e30, plain=1e30, share=0.5)
    issuing = fast.seconds(SHAPE, train, tokens, each)
    assert issuing == pytest.approx(40 * (2e-3 + 2 * 1.5e-3))
    measuring = Pace(passes=1e30, plain=1e3, share=0.5).seconds(SHAPE, train, tokens, each) - issuing
    assert measuring == pytest.approx(5 * 320 * each / 3 / 600)
    sampled = tiny_config(steps=40, eval_every=10, eval_tokens=320, sample_every=20, sample_tokens=30)
    assert fast.seconds(SHAPE, sampled, tokens, each) - issuing == pytest.approx(3 * 30 * 2 * 0.6e-3)


def test_past_the_context_a_sample_costs_whole_passes() -> None:
    within, past = (tiny_config(sample_every=1, sample_tokens=tokens) for tokens in (32, 33))
    slow = Pace(passes=1e30, plain=1.0, share=0.5)
    more = slow.seconds(SHAPE, past, 1e3, 6e5) - slow.seconds(SHAPE, within, 1e3, 6e5)
    assert more == pytest.approx((1 + within.steps) * 32 * 2e5 * cores(), rel=1e-3)


@pytest.fixture
def speeds(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """A machine of two cores with speeds of its own; the products that were measured."""
    asked: list[tuple[Any, ...]] = []

    def speed(*key: Any) -> float:
        asked.append(key)
        return 2e11 if key[3] is torch.bfloat16 else 1e11

    monkeypatch.setattr(pace, "_speed", speed)
    monkeypatch.setattr(pace, "cores", lambda: 2)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    return asked


def test_all_cores_count_that_a_process_has(speeds: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    assert measured(SHAPE, tiny_config(threads=0), CPU) == Pace(2e11, 2e11, 0.6)
    assert measured(SHAPE, tiny_config(threads=1), CPU) == Pace(1e11, 1e11, 0.6)
    assert measured(SHAPE, tiny_config(threads=999), CPU) == Pace(2e11, 2e11, 0.6), "no more than there are"
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert measured(SHAPE, tiny_config(threads=0), CPU) == Pace(1e11, 1e11, 0.6)
    assert {(key[1], key[2]) for key in speeds} == {(64, 256)}


def test_bfloat16_is_measured_where_the_passes_use_it(speeds: list[Any]) -> None:
    assert measured(SHAPE, tiny_config(threads=0, precision="bfloat16"), CPU) == Pace(4e11, 2e11, 0.4)


def test_a_product_is_measured_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(pace, "_known", {})
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    speed: Callable[..., float] = pace._speed
    first = speed(256, 16, 64, torch.float32, CPU)
    assert first > 1e6
    now[0] += 59
    assert speed(256, 16, 64, torch.float32, CPU) == first
    now[0] += 2
    assert speed(256, 16, 64, torch.float32, CPU) != first
    assert speed(256, 32, 64, torch.float32, CPU) != first
