"""A compiled step: the same numbers, only where it is worth it, and never the end of a run."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from model.hooks import listen
from tests.training.tiny import CHAR, tiny_config, tiny_data, tiny_model
from training import compiled as module
from training.compiled import Forward
from training.events import Stepped
from training.lanes import how_many
from training.lens import Lens
from training.loop import train_steps

pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute")  # torch's own compiler asks for it
IDS = torch.arange(8)[None]


@pytest.fixture
def traced_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of torch's compiler but for the last step, in which C++ is written and compiled."""
    monkeypatch.setattr(module, "BACKEND", "aot_eager")
    torch._dynamo.reset()


def course(**changes: Any) -> tuple[list[float], dict[str, Tensor]]:
    """The losses of some steps and the weights after them."""
    model = tiny_model(1, dropout=changes.pop("dropout", 0.0))
    lens = changes.pop("lens", None)
    events = train_steps(model, tiny_data(), tiny_config(**changes), CHAR, lens=lens)
    return [event.loss for event in events if isinstance(event, Stepped)], model.state_dict()


@pytest.mark.parametrize("changes", [{}, {"dropout": 0.3}, {"precision": "bfloat16"}, {"accumulate": 2}], ids=str)
def test_a_compiled_training_is_the_same(traced_only: None, changes: dict[str, Any]) -> None:
    plain, weights = course(**changes)
    torch._dynamo.utils.counters.clear()
    losses, others = course(compile="always", **changes)
    if "dropout" not in changes:  # on a CPU its numbers are the caller's, which the compiler steps out for
        assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
        assert not torch._dynamo.utils.counters["graph_break"]
    assert losses == pytest.approx(plain, rel=1e-2 if "precision" in changes else 1e-5)
    for name, value in weights.items():
        torch.testing.assert_close(others[name], value, rtol=1e-3, atol=1e-2 if "precision" in changes else 1e-5)


def test_a_look_at_a_step_goes_through_the_model_itself(traced_only: None) -> None:
    lens = Lens()
    lens.wanted = True
    losses, _ = course(compile="always", lens=lens)
    assert lens.found is not None
    assert losses == pytest.approx(course()[0], rel=1e-5)


def broken(*_: object) -> Callable[..., Any]:
    raise RuntimeError("no C++ compiler\nand more lines")


def test_a_compiler_that_fails_is_named_where_it_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BACKEND", broken)
    torch._dynamo.reset()
    with pytest.raises(ValueError, match=r"torch.compile does not work here \(.*\): choose auto or never\.$"):
        Forward(tiny_model(), "always", torch.device("cpu"))(IDS)


@pytest.fixture
def worth(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Forward]:
    """Makes a Forward as on a machine where compiling can pay."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name == "triton")
    return lambda: Forward(tiny_model(), "auto", torch.device("cuda"))


@pytest.mark.parametrize(("seconds", "left", "pays"), [(1.0, 601, True), (1.0, 599, False), (0.01, 100_000, True)])
def test_it_waits_until_steps_have_told_what_is_to_come(
    worth: Callable[[], Forward], monkeypatch: pytest.MonkeyPatch, seconds: float, left: int, pays: bool
) -> None:
    compiled: list[object] = []

    def compile(plain: Callable[[Tensor], Tensor], **_: object) -> Callable[[Tensor], Tensor]:
        compiled.append(plain)
        return plain

    monkeypatch.setattr(torch, "compile", compile)
    forward = worth()
    for step in range(30):
        assert not compiled or step >= 20
        forward.passed(99.0 if step < 10 else seconds, left)  # the first ones load kernels, and count for nothing
    assert len(compiled) == pays


def test_by_itself_it_compiles_on_cuda_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda plain, **_: pytest.fail("compiled"))
    for choice, device in (("auto", "cpu"), ("auto", "mps"), ("never", "cuda")):
        forward = Forward(tiny_model(), choice, torch.device(device))  # type: ignore[arg-type]
        for _ in range(30):
            forward.passed(60.0, 10**6)


def test_where_it_was_not_asked_for_a_failure_changes_nothing(
    worth: Callable[[], Forward], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BACKEND", broken)
    torch._dynamo.reset()
    forward = worth()
    before = forward(IDS)
    for _ in range(30):
        forward.passed(60.0, 10**6)
    assert torch.equal(forward(IDS), before)
    assert torch.equal(forward(IDS), before)


def test_a_listener_hears_every_point(traced_only: None) -> None:
    forward, heard = Forward(tiny_model(), "always", torch.device("cpu")), list[str]()

    def hear(name: str, value: Tensor) -> Tensor:
        heard.append(name)
        return value

    listen(hear, lambda: forward(IDS))
    forward(IDS)
    assert heard.count("blocks.0.attn.pattern") == 1


def test_what_is_compiled_is_not_dealt_out() -> None:
    wide, large = tiny_model(width=256, context=64), {"batch_size": 16, "threads": 2}
    assert how_many(wide, tiny_config(**large)) == 2
    assert how_many(wide, tiny_config(**large, compile="always")) == 1
