"""What a training will take in memory and time, before it starts: arithmetic, and one short measurement.

Memory of a process, in bytes (float32 weights):

    weights       4 N
    gradients     4 N
    optimizer     8 N with AdamW (two averages); with Muon 4 for each matrix in the blocks and 8 for the rest
    activations   batch_size x context x (layers x (8 C + 2 F + h) + 2 C + 3 V) x 4
                  what the backward pass needs: C width, F neurons, V vocabulary; h is 3 C for rotary positions or
                  queries and keys of one length, and with dropout C / 2 and 2.25 x heads x context; ReLU spares one F.
                  The 3 V are logits, their logarithmic softmax and its gradient. bfloat16 takes about a fifth less.

With FSDP the first three are divided by the number of processes. Work: 6 flops a token for each weight that is
multiplied (2 forward, 4 backward: Kaplan et al., 2020), and 6 x layers x C x context for attention.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import torch

from model import ConfigError, GPTConfig
from training.config import TrainConfig
from training.data import Blocks, Data
from training.pace import Pace, measured
from training.presets import EVERY

_DRAWS = 8  # batches
FACTOR = 1.5
"""The measured peak of a training lies within this factor of the estimate, torch's own libraries left out."""


@dataclass(frozen=True)
class Estimate:
    """parameters; bytes of one process; tokens of the whole training; flops of its passes; processes: that share the
    work; seconds of the whole and the pace that they follow from, where that was measured, else None."""

    parameters: int
    weights: int
    gradients: int
    optimizer: int
    activations: int
    tokens: int
    flops: float
    processes: int = 1
    pace: Pace | None = None
    seconds: float | None = None

    @property
    def memory(self) -> int:
        """Bytes of one process."""
        return self.weights + self.gradients + self.optimizer + self.activations


def processes() -> int:
    """How many torchrun started; 1 without it."""
    return max(1, int(os.environ.get("WORLD_SIZE", "1")))


def row_tokens(data: Data, batch_size: int) -> float:
    """Tokens of a row on average, as batches have them: those of documents end with their longest."""
    if isinstance(data, Blocks):
        return data.context
    drawn = torch.Generator().manual_seed(0)
    return sum(data.batch(batch_size, drawn)[0].shape[1] for _ in range(_DRAWS)) / _DRAWS


def foreseen(
    config: GPTConfig, train: TrainConfig, count: int | None = None, measure: bool = False, row: float | None = None
) -> Estimate:
    """The estimate for a shape and its settings. count: processes; None: those that torchrun started. measure: the
    speed of this machine, which takes a moment. row: tokens of a row on average, where that is less than the context.
    """
    count = processes() if count is None else count
    N = config.parameters()
    apart = count if train.sharding == "fsdp" else 1
    matrices = config.layers * (4 * config.width**2 + 2 * config.width * config.d_mlp)
    state = 8 * N if train.optimizer == "adamw" else 4 * matrices + 8 * (N - matrices)
    tokens = round(train.steps * train.batch_size * train.accumulate * (row or config.context) * count)
    each, pace = flops_per_token(config), measured(config, train, _device(train)) if measure else None
    return Estimate(
        parameters=N,
        weights=4 * N // apart,
        gradients=4 * N // apart,
        optimizer=state // apart,
        activations=train.batch_size * config.context * activation_bytes(config),
        tokens=tokens,
        flops=tokens * each,
        processes=count,
        pace=pace,
        seconds=None if pace is None else pace.seconds(config, train, tokens, each, count),
    )


def activation_bytes(config: GPTConfig) -> int:
    """Bytes a token that the backward pass needs, float32."""
    C, F, V = config.width, config.d_mlp, config.vocab_size
    turned = 3 * C * (config.positions == "rotary" or config.qk_norm)
    dropped = (0.5 * C + 2.25 * config.heads * config.context) * bool(config.dropout)  # the attention pattern as well
    inside = F if config.activation == "relu" else 2 * F  # the derivative of ReLU is known from its result
    return int(4 * (config.layers * (8 * C + inside + turned + dropped) + 2 * C + 3 * V))


def flops_per_token(config: GPTConfig) -> float:
    """Forward and backward."""
    C = config.width
    looked_up = config.context * C * (config.positions == "learned")
    looked_up += 0 if config.tied_head else config.vocab_size * C
    return 6.0 * (config.parameters() - looked_up) + 6.0 * config.layers * C * config.context


class TooLarge(ConfigError):
    """A training that cannot fit in the memory of a machine; the message says what would."""


def check_fits(config: GPTConfig, train: TrainConfig) -> None:
    """Raises TooLarge where a training cannot fit in the memory of this machine, saying what would."""
    room, where = memory_of(train)
    estimate = foreseen(config, train)
    if estimate.memory <= room:
        return
    raise TooLarge(
        f"this needs about {amount(estimate.memory)} of memory (weights {amount(estimate.weights)}, gradients "
        f"{amount(estimate.gradients)}, optimizer {amount(estimate.optimizer)}, activations of a batch "
        f"{amount(estimate.activations)}), and {where} has {amount(room)}: {_remedy(config, train, room)}."
    )


def memory_of(train: TrainConfig) -> tuple[int, str]:
    """Bytes for one process on the device that it will train on, and what to call that."""
    device = _device(train)
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory, "the GPU"
    total = psutil.virtual_memory().total
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            total = min(total, int(Path(limit).read_text()))
        except (OSError, ValueError):  # no container, or one without a limit
            continue
    beside = max(1, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    return total // beside, "this machine" if beside == 1 else "each process's share of this machine"


def report(estimate: Estimate) -> str:
    """Lines to read, the arithmetic in them."""
    e = estimate
    several = f", in each of {e.processes} processes" if e.processes > 1 else ""
    lines = [
        f"parameters    {e.parameters:,}",
        f"memory        {amount(e.memory)}{several}",
        f"  weights     {amount(e.weights)}, 4 bytes each",
        f"  gradients   {amount(e.gradients)}, 4 bytes each",
        f"  optimizer   {amount(e.optimizer)}, {e.optimizer / max(1, e.weights) * 4:.1f} bytes a weight",
        f"  activations {amount(e.activations)}, for the backward pass of one batch",
        f"work          {e.flops:.2e} flops: {e.tokens:,} tokens of {e.flops / max(1, e.tokens):.2e} each",
    ]
    if e.pace is not None and e.seconds is not None:
        each = " a process" if e.processes > 1 else ""
        lines.append(
            f"time          {duration(e.seconds)}: passes at {e.pace.share:.0%} of the {e.pace.passes / 1e9:,.0f} "
            f"Gflop/s{each} that one matrix product reaches here now, and all else that a run does"
        )
    return "\n".join(lines)


def duration(seconds: float) -> str:
    """About how long, for people."""
    for size, name in ((86_400 * 365, "years"), (86_400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"about {seconds / size:,.0f} {name}"
    count = max(1, round(seconds) if seconds < 20 else 5 * round(seconds / 5))
    return f"about {count:,} second{'s' if count > 1 else ''}"


def _remedy(config: GPTConfig, train: TrainConfig, room: int) -> str:
    """What would fit: the same batch in more parts, or more processes and the largest size that fits."""
    batch = train.batch_size
    while batch > 1:
        batch //= 2
        smaller = replace(train, batch_size=batch)
        if foreseen(config, smaller).memory <= room:
            parts = -(-train.batch_size // batch) * train.accumulate
            return f"use batch_size {batch} (accumulate {parts} learns from as much in a step)"
    offers = list[str]()
    for name, least, said in (("context", 64, "a context of {:,}"), ("layers", 1, "{:,} layers")):
        value = getattr(config, name) // 2
        while value >= least and foreseen(replace(config, **{name: value}), replace(train, batch_size=1)).memory > room:
            value //= 2
        if value >= least:
            offers.append(f"use {said.format(value)} with batch_size 1")
            break
    for count in (2**n for n in range(1, 13)):
        apart = replace(train, batch_size=1, sharding="fsdp", optimizer="adamw")
        if foreseen(config, apart, count).memory <= room:
            offers.append(
                f"share it out among {count} such devices with torchrun, --sharding fsdp, --optimizer adamw and "
                "--batch-size 1"
            )
            break
    for name, preset in reversed(EVERY.items()):
        shape = preset.recipe.model_config(config.vocab_size)
        if shape.parameters() < config.parameters() and foreseen(shape, replace(train, batch_size=1)).memory <= room:
            offers.append(f"take the shape of --preset {name} with batch_size 1")
            break
    return ", or ".join(offers) or "make the model narrower, or its context shorter"


def _device(train: TrainConfig) -> torch.device:
    from training.loop import pick_device  # it imports what imports this

    return pick_device(train.device)


def amount(size: float) -> str:
    """Bytes in words."""
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.0f} MB"
