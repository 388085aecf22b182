"""How long a training takes on this machine: arithmetic on the speed that one matrix product reaches here now.

A step is the products of its passes at a share of that speed, which what is not a product brings down; Muon's own
products; and the time in which Python issues all of them, which is most of a small model's step. Measurements on the
held-out text and samples come on top. Within a factor of two of the recipes' times on two CPU cores, where nothing else
runs (benchmarks/README.md); on an accelerator it is not yet held against a real training.
"""

from __future__ import annotations

import math
import os
import time
from dataclasses import dataclass
from typing import Any

import torch

from model import GPTConfig
from training.config import TrainConfig
from training.precision import picked
from training.threads import cores, one_thread

SHARE = {"float32": 0.6, "bfloat16": 0.4}
"""Of the speed of one product, what the passes of a step reach on a CPU (benchmarks/profile_step.py)."""
SHARE_ELSEWHERE = 0.4
"""On an accelerator: 0.3 to 0.6 of the peak in what others report (Chowdhery et al., 2022, section 4.1)."""
_MUON_SHARE = 0.7
_ISSUED_STEP_S, _ISSUED_LAYER_S = 2e-3, 1.5e-3  # a step and each of its layers, forward, backward and update
_DECODED_LAYER_S = 0.6e-3  # a layer of one token that is decoded
_MOST_ROWS = 1024
_AT_ONCE, _MOST_AT_ONCE = 1.5e9, 64  # flops, and products, of one call
_MEASURE_S, _CALLS, _FRESH_S = 0.05, 4, 60.0


@dataclass(frozen=True)
class Pace:
    """Flops a second of one process: of one product in the passes' precision, and in float32; the share of the first
    that the passes reach."""

    passes: float
    plain: float
    share: float

    def seconds(self, config: GPTConfig, train: TrainConfig, tokens: float, each: float, count: int = 1) -> float:
        """Of a whole training, with its measurements and samples. tokens: that it reads; each: flops of one, forward
        and backward; count: the processes that share them."""
        layers, step = config.layers, tokens * each / (train.steps * self.share * self.passes * count)
        step += _ISSUED_STEP_S + layers * _ISSUED_LAYER_S + muon_flops(config, train) / (_MUON_SHARE * self.plain)
        forward = each / 3
        told = 1 + train.steps // train.eval_every
        measuring = told * train.eval_tokens * forward / (SHARE["float32"] * self.plain * count)
        samples = 1 + train.steps // train.sample_every if train.sample_every else 0
        slid = max(0, train.sample_tokens - config.context) * config.context  # past the context, whole passes
        decoding = train.sample_tokens * layers * _DECODED_LAYER_S + slid * forward * cores() / self.plain
        return train.steps * step + measuring + samples * decoding


def muon_flops(config: GPTConfig, train: TrainConfig) -> float:
    """Of one update; 0 with AdamW. C x C matrices (queries, keys, values, output) take 30 C^3 each, five iterations of
    three products; wide ones (up, down) the squares of their Gram matrix, and two products with themselves."""
    if train.optimizer != "muon":
        return 0.0
    C, F = config.width, config.d_mlp
    return float(config.layers * (4 * 30 * C**3 + 2 * (34 * C**3 + 4 * C**2 * F)))


def measured(config: GPTConfig, train: TrainConfig, device: torch.device) -> Pace:
    """The pace of this process for a shape, from two products of it; it takes a moment, once a minute."""
    precision = "bfloat16" if picked(train.precision, device) == "bfloat16" else "float32"
    rows = min(_MOST_ROWS, max(256, train.batch_size * config.context))
    plain = _speed(rows, config.width, config.d_mlp, torch.float32, device)
    passes = _speed(rows, config.width, config.d_mlp, torch.bfloat16, device) if precision == "bfloat16" else plain
    threads = 1
    if device.type == "cpu":
        free = max(1, cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
        threads = min(train.threads or free, cores())
    share = SHARE[precision] if device.type == "cpu" else SHARE_ELSEWHERE
    return Pace(passes * threads, plain * threads, share)


_known: dict[tuple[Any, ...], tuple[float, float]] = {}


def _speed(rows: int, inner: int, columns: int, kind: torch.dtype, device: torch.device) -> float:
    """Flops a second of (rows, inner) x (inner, columns), on one thread of a CPU."""
    key = (rows, inner, columns, kind, device)
    found, when = _known.get(key, (0.0, -_FRESH_S))
    if time.monotonic() - when < _FRESH_S:
        return found
    each = 2.0 * rows * inner * columns
    # In one call, where one is over too soon: others of this process may hold Python's lock between two of them.
    many = 1 if kind is torch.float32 else min(_MOST_AT_ONCE, math.ceil(_AT_ONCE / each))
    x, w = (torch.ones(many, *shape, device=device, dtype=kind) for shape in ((rows, inner), (inner, columns)))
    best, calls, begun = float("inf"), 0, time.perf_counter()
    with one_thread():
        while time.perf_counter() - begun < _MEASURE_S or calls < _CALLS:  # a first one may have to wait for much
            calls += 1
            before = time.perf_counter()
            x @ w
            if device.type != "cpu":
                torch.accelerator.synchronize()
            best = min(best, time.perf_counter() - before)
    speed = many * each / best
    _known[key] = speed, time.monotonic()
    return speed
