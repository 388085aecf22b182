"""The batches of a run, each drawn while an accelerator still computes the step before it."""

from __future__ import annotations

import torch
from torch import Tensor

from training.data import Data
from training.distributed import Group

Batch = tuple[Tensor, Tensor]
"""Inputs and targets (B T)."""


class Batches:
    """This process's rows of one batch after the other, by the generator `order`, which stands behind what was taken.

    A CPU that also trains gains nothing from a batch drawn ahead, so there none is.
    """

    def __init__(self, data: Data, order: torch.Generator, group: Group, device: torch.device) -> None:
        self._data, self._order, self._group, self._device = data, order, group, device
        self._ahead: tuple[int, Batch, torch.Generator] | None = None

    def take(self, size: int) -> Batch:
        """The next batch, of `size` rows in all processes."""
        ahead, self._ahead = self._ahead, None
        if ahead is None or ahead[0] != size:  # none, or its size was changed in flight
            return self._data.batch(size, self._order, self._group.rows(size))
        self._order.set_state(ahead[2].get_state())
        return ahead[1]

    def prepare(self, size: int) -> None:
        """Draw the batch that will be taken next, if it is of that size; for an accelerator that is at work."""
        if self._device.type == "cpu":
            return
        later = self._order.clone_state()
        batch = self._data.batch(size, later, self._group.rows(size))
        if self._device.type == "cuda":  # from pinned memory it is copied while the GPU computes
            batch = batch[0].pin_memory(), batch[1].pin_memory()
        self._ahead = size, batch, later
