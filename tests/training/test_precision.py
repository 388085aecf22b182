"""Products in bfloat16: what is rounded, what is not, and where it is chosen."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from model import ConfigError
from tests.training.tiny import CHAR, tiny_config, tiny_data, tiny_model
from training.config import Precision, TrainConfig
from training.events import Stepped
from training.loop import train_steps
from training.precision import has_bfloat16, picked, products

CPU = torch.device("cpu")


def rounded(x: torch.Tensor) -> torch.Tensor:
    """To the 8 bits of bfloat16, and back."""
    return x.to(torch.bfloat16).to(torch.float64)


def test_a_product_in_bfloat16_is_that_of_rounded_factors() -> None:
    torch.manual_seed(0)
    layer, x = nn.Linear(64, 32, bias=False), torch.randn(8, 64)
    with products("bfloat16", CPU):
        found = layer(x)
    exact = rounded(x) @ rounded(layer.weight.detach()).T
    assert found.dtype == torch.bfloat16
    assert (found.double() - exact).abs().max() <= exact.abs().max() * 2**-8
    assert layer.weight.dtype == torch.float32
    with products("float32", CPU):
        assert torch.equal(layer(x), x @ layer.weight.T)


def test_auto_is_bfloat16_where_the_machine_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for capabilities, expected in (({"avx512_bf16": True}, "bfloat16"), ({"amx_bf16": True}, "bfloat16"),
                                   ({"avx2": True}, "float32"), ({}, "float32")):  # fmt: skip
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda found=capabilities: found)
        assert has_bfloat16(CPU) == (expected == "bfloat16")
        assert picked("auto", CPU) == expected
        assert picked("float32", CPU) == "float32"
        assert picked("bfloat16", CPU) == "bfloat16"
    assert picked("auto", torch.device("mps")) == "float32"


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_training_in_bfloat16_falls_as_one_in_float32(optimizer: str) -> None:
    losses: dict[Precision, list[float]] = {}
    for precision in ("float32", "bfloat16"):
        data, model = tiny_data(), tiny_model()
        config = tiny_config(steps=30, batch_size=8, optimizer=optimizer, eval_every=30, precision=precision)
        steps = train_steps(model, data, config, CHAR)
        losses[precision] = [event.loss for event in steps if isinstance(event, Stepped)]
        assert all(p.dtype == torch.float32 for p in model.parameters())
    first, last = ([losses[kind][i] for kind in ("float32", "bfloat16")] for i in (0, -1))
    assert first[0] == pytest.approx(first[1], abs=0.02)
    assert first[0] != first[1]
    assert last[0] == pytest.approx(last[1], abs=0.1)
    assert last[1] < first[1] - 0.3


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(ConfigError, match="precision is 'half'; choose one of auto, float32, bfloat16"):
        TrainConfig(precision="half")  # type: ignore[arg-type]
