"""Batches drawn ahead are those that would have been drawn, and nothing shows that they were."""

from __future__ import annotations

import pytest
import torch

from tests.training.tiny import tiny_data
from training.batches import Batches
from training.distributed import ALONE


@pytest.fixture(autouse=True)
def without_memory_to_pin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: self)


def taken(kind: str, sizes: list[int], ahead: list[int]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """The batches, and where the generator stood after each and what was drawn ahead."""
    order = torch.Generator().manual_seed(5)
    batches = Batches(tiny_data(), order, ALONE, torch.device(kind))
    found, states = list[torch.Tensor](), list[torch.Tensor]()
    for size, following in zip(sizes, ahead, strict=True):
        found += batches.take(size)
        batches.prepare(following)
        states.append(order.get_state())
    return found, states


@pytest.mark.parametrize("ahead", [[3, 3, 3, 3], [3, 5, 3, 3], [9, 9, 9, 9]], ids=["right", "once wrong", "wrong"])
def test_they_are_those_that_follow(ahead: list[int]) -> None:
    sizes = [3, 3, 5, 3]
    plain, stood = taken("cpu", sizes, ahead)
    for kind in ("cuda", "mps"):
        found, stands = taken(kind, sizes, ahead)
        assert all(map(torch.equal, found, plain))
        assert all(map(torch.equal, stands, stood)), "a checkpoint would go on elsewhere"
    assert not torch.equal(plain[0], plain[2])


def test_one_is_drawn_ahead_for_an_accelerator_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn, data = list[int](), tiny_data()

    def batch(_: object, size: int, *__: object) -> tuple[torch.Tensor, torch.Tensor]:
        drawn.append(size)
        return torch.zeros(1), torch.zeros(1)

    monkeypatch.setattr(type(data), "batch", batch)
    for kind, count in (("cpu", 0), ("cuda", 1)):
        drawn.clear()
        Batches(data, torch.Generator(), ALONE, torch.device(kind)).prepare(3)
        assert drawn == [3] * count
