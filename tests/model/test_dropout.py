"""Dropout: the share that it says, by the caller's numbers, the same whether somebody looks or not."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.nn.functional as F

from model import GPT
from model.dropout import Dropout, drawing, dropped
from model.hooks import listen
from tests.model.test_gpt import ids, random_model


def numbers(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def kept(generator: torch.Generator, shape: torch.Size, share: float) -> torch.Tensor:
    """What is kept, word by word: each 64 bits decide of four numbers, the lowest 16 first."""
    words = torch.empty(-(-shape.numel() // 4), dtype=torch.int64).random_(-(2**63), None, generator=generator)
    bits = [(word >> at) % 2**16 for word in words.tolist() for at in (0, 16, 32, 48)][: shape.numel()]
    signed = [number - 2**16 if number >= 2**15 else number for number in bits]
    return torch.tensor([number + 2**15 >= share * 2**16 for number in signed]).view(shape)


def logits(model: GPT, seed: int, looked_at: bool = False) -> torch.Tensor:
    with torch.no_grad(), drawing(numbers(seed)):
        return listen(lambda _, value: value, lambda: model(ids(5)[None])) if looked_at else model(ids(5)[None])


def test_hardly_anything_and_almost_all_can_be_dropped() -> None:
    x = torch.ones(1 << 18)
    with drawing(numbers(3)):
        assert torch.equal(dropped(x, 1e-9), x)
        found = dropped(x, 1 - 1e-9)
    assert found.unique().tolist() == [0, 1 << 16]
    assert found.count_nonzero() < 20  # 4 are expected


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_share_is_dropped_and_the_mean_stays(share: float) -> None:
    x = torch.full((400, 250), 2.0)
    for within in (True, False):  # with numbers of its own, and with the process's
        with drawing(numbers(3)):
            found = dropped(x, share) if within else None
        found = dropped(x, share) if found is None else found
        assert sorted(found.unique().tolist()) == pytest.approx([0, 2 / (1 - share)], rel=1e-4)
        assert (found == 0).float().mean().item() == pytest.approx(share, abs=0.01)


def test_the_gradient_goes_through_what_was_kept() -> None:
    x = torch.randn(3, 17, requires_grad=True)
    with drawing(numbers(3)):
        found = dropped(x, 0.25)
    found.sum().backward()
    expected = kept(numbers(3), x.shape, 0.25) / 0.75
    assert 0 < found.count_nonzero() < found.numel()
    torch.testing.assert_close(found, x * expected)
    assert x.grad is not None
    torch.testing.assert_close(x.grad, expected)


def test_nothing_is_dropped_outside_training() -> None:
    x, layer = torch.randn(9), Dropout(0.5).eval()
    assert layer(x) is x
    model = random_model(dropout=0.5).eval()
    assert torch.equal(logits(model, 1), logits(model, 2))


def test_the_numbers_are_the_caller_s() -> None:
    model = random_model(dropout=0.375).train()
    before = torch.get_rng_state()
    first, again, other = logits(model, 1), logits(model, 1), logits(model, 2)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)
    with torch.no_grad():
        model(ids(5)[None])  # without a generator the process's own draws, as in torch
    assert not torch.equal(torch.get_rng_state(), before)


def test_a_listener_changes_nothing() -> None:
    model = random_model(dropout=0.375).train()
    assert torch.equal(logits(model, 1), logits(model, 1, looked_at=True))


def test_attention_drops_parts_of_the_pattern() -> None:
    """z, computed anew with numbers drawn in the order of the model: the embedding's first, then the pattern's."""
    model = random_model(dropout=0.375, layers=1).train()
    seen: dict[str, torch.Tensor] = {}

    def keep(name: str, value: torch.Tensor) -> torch.Tensor:
        seen[name] = value
        return value

    with torch.no_grad(), drawing(numbers(1)):
        listen(keep, lambda: model(ids(5)[None]))
    mine = numbers(1)
    kept(mine, seen["blocks.0.resid_pre"].shape, 0.375)
    pattern, v = seen["blocks.0.attn.pattern"], seen["blocks.0.attn.v"]
    torch.testing.assert_close(seen["blocks.0.attn.z"], (pattern * kept(mine, pattern.shape, 0.375) / 0.625) @ v)


def test_threads_do_not_take_each_other_s_numbers() -> None:
    model = random_model(dropout=0.375).train()
    alone = [logits(model, seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(20):
            assert all(map(torch.equal, pool.map(lambda seed: logits(model, seed), range(4)), alone))


def test_without_numbers_it_is_torch_s() -> None:
    x = torch.randn(100)
    torch.manual_seed(3)
    ours = dropped(x, 0.3)
    torch.manual_seed(3)
    assert torch.equal(ours, F.dropout(x, 0.3))
