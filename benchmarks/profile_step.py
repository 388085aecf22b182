"""Where the time of a training step goes, and what share of the machine's measured matrix peak it uses.

    python benchmarks/profile_step.py --corpus FILE [--preset fast] [--set NAME=VALUE ...] [--steps 60] [--threads N]

The parts of a step as the loop does them, in lanes where it uses them, each part timed by itself, medians over the
steps; the floating-point operations of its matrix products are counted by torch's own counter. The peak is that of one
large float32 product on all threads, measured in the same run before and after. Prints a table, and the tokens a second
that the sum allows. `--set threads=1` and the like choose the lanes as a run's settings would.
"""

from __future__ import annotations

import argparse
import functools
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
import yaml
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from model import GPT
from training.corpus import read_corpus
from training.data import MASKED
from training.distributed import ALONE
from training.lanes import Lanes, how_many
from training.loop import add_up
from training.optim import Optimizer, make_optimizer
from training.precision import products
from training.presets import PRESETS
from training.setup import Prepared, set_up

PEAK = 1024  # rows and columns of the matrices that the peak is measured with


def peak_flops(threads: int) -> float:
    """FLOP/s of a large float32 product: the best of many."""
    torch.set_num_threads(threads)
    a, b = torch.randn(PEAK, PEAK), torch.randn(PEAK, PEAK)
    times = []
    for _ in range(30):
        begun = time.perf_counter()
        a @ b
        times.append(time.perf_counter() - begun)
    return float(2 * PEAK**3 / min(times))


class Parts:
    """Times and operations of the named parts of a step. counting: count the operations, which slows it down."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = {}
        self.flops: dict[str, int] = {}
        self.counting = False

    def __call__(self, name: str, work: Callable[[], Any]) -> Any:
        if self.counting:
            with FlopCounterMode(display=False) as counter:
                result = work()
            self.flops[name] = counter.get_total_flops()
            return result
        begun = time.perf_counter()
        result = work()
        self.seconds.setdefault(name, []).append(time.perf_counter() - begun)
        return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--preset", default="fast", choices=sorted(PRESETS))
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="any setting of the recipe")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    changes = {name: yaml.safe_load(value) for name, _, value in (pair.partition("=") for pair in options.set)}
    prepared = set_up(read_corpus(options.corpus), PRESETS[options.preset].recipe.with_changes(changes))
    config, data = prepared.recipe.train, prepared.data
    model = GPT(prepared.recipe.model_config(prepared.tokenizer.vocab_size))
    optimizer = make_optimizer(model, config)
    order, parts = torch.Generator().manual_seed(config.seed), Parts()
    before = peak_flops(options.threads)
    warm_up = 5
    with Lanes(how_many(model, replace(config, threads=config.threads or options.threads))) as lanes:
        torch.set_num_threads(1 if lanes.count > 1 else options.threads)
        optimizer.share(lanes)
        for step in range(warm_up + options.steps):
            if step == warm_up:
                parts.seconds.clear()
            parts.counting = step == 2  # once is enough: every step has the same products
            lanes.threads = 1 if parts.counting else lanes.count  # the counter counts its own thread
            a_step(model, prepared, optimizer, order, parts, lanes)
    peak = max(before, peak_flops(options.threads))
    medians = {name: statistics.median(times) for name, times in parts.seconds.items()}
    whole, work = sum(medians.values()), sum(parts.flops.values())
    print(f"{'':10} {'ms':>8} {'share':>7} {'GFLOP':>8} {'GFLOP/s':>8} {'of peak':>8}")
    for name, seconds in medians.items():
        row(name, seconds, whole, parts.flops.get(name, 0), peak)
    row("a step", whole, whole, work, peak)
    tokens = config.batch_size * data.context
    print(
        f"{lanes.count} lanes, {options.threads} threads, peak {peak / 1e9:.0f} GFLOP/s, {tokens / whole:,.0f} tokens/s"
    )


def a_step(
    model: GPT, prepared: Prepared, optimizer: Optimizer, order: torch.Generator, parts: Parts, lanes: Lanes
) -> None:
    """One update, part by part, as training/loop.py does it."""
    config, data = prepared.recipe.train, prepared.data
    parameters = list(model.parameters())

    def forward(x: Tensor, y: Tensor) -> Tensor:
        with products(config.precision, model.device):
            logits = model(x).float()
        return F.cross_entropy(logits.flatten(0, 1), y.flatten(), ignore_index=MASKED) * (len(x) / config.batch_size)

    def in_lanes(job: Callable[..., Any], *columns: Sequence[Any]) -> list[Any]:
        return lanes.run([functools.partial(job, *row) for row in zip(*columns, strict=True)])

    batch = parts("batch", lambda: data.batch(config.batch_size, order))
    rows = -(-config.batch_size // lanes.count)
    losses = parts("forward", lambda: in_lanes(forward, *(torch.split(column, rows) for column in batch)))
    gradients = parts("backward", lambda: in_lanes(lambda loss: torch.autograd.grad(loss, parameters), losses))
    norms = parts("add", lambda: add_up(parameters, gradients, lanes))
    _, scale = parts("norm", lambda: ALONE.clip(parameters, config.grad_clip or float("inf"), norms))
    for part in optimizer.parts:
        parts(type(part).__name__, functools.partial(part.step, scale))


def row(name: str, seconds: float, whole: float, flops: int, peak: float) -> None:
    """One line of the table; a part without matrix products shows none."""
    rate = flops / seconds
    counted = f"{flops / 1e9:8.2f} {rate / 1e9:8.0f} {rate / peak:8.0%}" if flops else ""
    print(f"{name:10} {1000 * seconds:8.2f} {seconds / whole:7.0%} {counted}")


if __name__ == "__main__":
    main()
