"""Dropout (Srivastava et al., 2014) whose numbers are the caller's: two trainings in one process do not share them, and
threads that compute parts of one step need not take turns. This module knows nothing of GPTs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_BITS = 1 << 16
_generator: ContextVar[torch.Generator | None] = ContextVar("glass_dropout", default=None)


@contextmanager
def drawing(generator: torch.Generator) -> Iterator[None]:
    """For `with` around a forward pass on the CPU: what is dropped in this thread is drawn from `generator`.

    Without it, and on an accelerator always, the device's own generator draws.
    """
    token = _generator.set(generator)
    try:
        yield
    finally:
        _generator.reset(token)


def dropped(x: Tensor, share: float) -> Tensor:
    """`x` with this share of its numbers, drawn one by one, zero and the others larger, so that their mean stays.

    Of numbers of one's own 16 random bits decide, which are drawn four at a time: half the time of torch's Bernoulli
    draws, and a mask of a byte in place of four. The share is that to the nearest 65,536th.
    """
    generator = _generator.get() if x.device.type == "cpu" else None
    if generator is None:
        return F.dropout(x, share)
    least = min(round(share * _BITS), _BITS - 1)  # of 16 random bits, for a number to be kept
    words = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None, generator=generator)
    kept = words.view(torch.int16)[: x.numel()].view(x.shape) >= least - _BITS // 2
    return (x * kept).mul_(_BITS / (_BITS - least))


class Dropout(nn.Module):
    """`dropped` while training, nothing otherwise."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        return dropped(x, self.share) if self.training else x

    def extra_repr(self) -> str:
        return f"{self.share}"
