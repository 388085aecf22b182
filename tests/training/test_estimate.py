"""Estimates before a training: exact parameter counts, what autograd really keeps, and the peak of a real training."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from model import GPT, ConfigError, GPTConfig
from model.dropout import drawing
from tests.training.tiny import TEXT, tiny_config, tiny_corpus, tiny_recipe
from training import __main__ as cli
from training import estimate
from training.estimate import FACTOR, activation_bytes, check_fits, duration, flops_per_token, foreseen, report
from training.presets import EVERY, LARGE, PRESETS
from training.setup import set_up

ROOT = Path(__file__).resolve().parents[2]
GPT2 = {"gpt2": 124_439_808, "gpt2-medium": 354_823_168, "gpt2-large": 774_030_080, "gpt2-xl": 1_557_611_200}
"""Of the published checkpoints."""


@pytest.mark.parametrize("name", list(GPT2))
def test_the_presets_are_gpt2s_sizes_to_the_parameter(name: str) -> None:
    recipe = LARGE[name].recipe
    found = foreseen(recipe.model_config(50_257), recipe.train)
    assert found.parameters == GPT2[name]
    assert (found.weights, found.gradients, found.optimizer) == tuple(GPT2[name] * k for k in (4, 4, 8))
    assert found.tokens / found.parameters == pytest.approx(20, rel=0.02)
    with torch.device("meta"):
        assert GPT(recipe.model_config(50_257)).parameter_count() == GPT2[name]


def test_the_large_ones_are_not_offered_on_the_page() -> None:
    assert not set(LARGE) & set(PRESETS)
    assert set(EVERY) == set(LARGE) | set(PRESETS)


SHAPES: list[dict[str, Any]] = [
    {}, {"positions": "rotary"}, {"qk_norm": True}, {"activation": "relu"}, {"norm": "post"}, {"dropout": 0.1},
    {"vocab_size": 2000, "tied_head": False},
]  # fmt: skip


def kept_for_backward(config: GPTConfig, batch: int) -> int:
    """Bytes of all tensors that autograd keeps for a backward pass, and of the logits and their gradient."""
    model = GPT(config).train()
    own = {value.untyped_storage().data_ptr() for value in (*model.parameters(), *model.buffers())}
    seen: dict[int, int] = {}
    alive: list[Tensor] = []

    def keep(value: Tensor) -> Tensor:
        storage = value.untyped_storage()
        if storage.data_ptr() not in own:
            seen[storage.data_ptr()] = storage.nbytes()
            alive.append(value)  # else its address is given to another one
        return value

    ids = torch.randint(config.vocab_size, (batch, config.context))
    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value)
    with hooks, drawing(torch.Generator().manual_seed(0)):
        logits = model(ids)
        F.cross_entropy(logits.flatten(0, 1), ids.flatten())
    return sum(seen.values()) + 2 * logits.numel() * logits.element_size()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_activations_are_what_autograd_keeps(shape: dict[str, Any]) -> None:
    config = GPTConfig(**{"vocab_size": 65, "layers": 3, "heads": 4, "width": 64, "context": 32, **shape})
    assert activation_bytes(config) * 4 * 32 == pytest.approx(kept_for_backward(config, 4), rel=0.05)


def test_flops_are_six_for_each_weight_that_is_multiplied() -> None:
    config = GPTConfig(vocab_size=65, layers=2, heads=2, width=32, context=16)
    multiplied = config.parameters() - 16 * 32  # positions are looked up; a tied embedding is multiplied at the end
    assert flops_per_token(config) == 6 * multiplied + 6 * 2 * 32 * 16
    untied = GPTConfig(vocab_size=65, layers=2, heads=2, width=32, context=16, tied_head=False)
    assert flops_per_token(untied) == flops_per_token(config), "one of the two is looked up only"


def test_muon_keeps_one_average_of_a_matrix() -> None:
    config = GPTConfig(vocab_size=65, layers=2, heads=2, width=32, context=16)
    from training.optim import make_optimizer

    model, train = GPT(config), tiny_config(optimizer="muon")
    optimizer = make_optimizer(model, train)
    model(torch.zeros(1, 4, dtype=torch.long)).sum().backward()
    optimizer.step(1.0)
    states = [value for part in optimizer.parts for state in part.state.values() for value in state.values()]
    assert foreseen(config, train).optimizer == sum(value.numel() * 4 for value in states if value.dim())


def test_processes_share_work_and_with_fsdp_memory() -> None:
    config, train = GPTConfig(vocab_size=65), tiny_config(accumulate=3)
    one, four = foreseen(config, train, 1), foreseen(config, train, 4)
    assert four.tokens == 4 * one.tokens == 4 * 6 * 4 * 3 * config.context
    assert four.memory == one.memory
    apart = foreseen(config, tiny_config(sharding="fsdp"), 4)
    assert apart.weights == one.weights // 4
    assert apart.activations == one.activations


# -- against a real training ------------------------------------------------------------------------------------------

PEAK = """
import json, torch
torch.set_num_threads(1)
from model import GPT, GPTConfig
from tests.training.tiny import CHAR, tiny_config, tiny_data, tiny_model
from training.estimate import foreseen
from training.loop import train_steps

def peak():  # getrusage would tell the parent's, where that was larger when it forked
    return 1024 * int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])

config = tiny_config(steps=2, batch_size=96, eval_every=1000, eval_tokens=64)
data = tiny_data("the cat sat on the mat and the dog sat on the log. " * 400, context=64)
list(train_steps(tiny_model(), tiny_data(), tiny_config(steps=2), CHAR))  # what torch loads is no part of it
before = peak()
shape = GPTConfig(vocab_size=CHAR.vocab_size, layers=4, heads=4, width=128, context=64)
list(train_steps(GPT(shape), data, config, CHAR))
print(json.dumps([peak() - before, foreseen(shape, config).memory]))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells a process's own peak")
def test_the_peak_of_a_training_is_within_the_stated_factor() -> None:
    done = subprocess.run([sys.executable, "-c", PEAK], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    measured, told = json.loads(done.stdout)
    assert told > 150e6, "large enough to be seen beside torch itself"
    assert told / FACTOR < measured < told * FACTOR


# -- what cannot fit --------------------------------------------------------------------------------------------------


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets how much memory this machine seems to have."""
    return lambda size: monkeypatch.setattr(estimate, "memory_of", lambda train: (int(size), "this machine"))


def test_a_batch_that_cannot_fit_is_refused_with_one_that_does(room: Any) -> None:
    config, train = EVERY["gpt2"].recipe.model_config(50_257), EVERY["gpt2"].recipe.train
    room(8e9)
    with pytest.raises(
        ConfigError, match=r"this machine has 8\.0 GB: use batch_size (\d+) \(accumulate (\d+) learns"
    ) as told:
        check_fits(config, train)
    said = str(told.value).split("use batch_size ")[1].rstrip(".").split(" (accumulate ")
    batch, parts = int(said[0]), int(said[1].split(" ")[0])
    assert batch * parts == train.batch_size * train.accumulate
    changes = {"batch_size": batch, "accumulate": parts}
    check_fits(config, EVERY["gpt2"].recipe.with_changes(changes).train)


def test_a_model_that_cannot_fit_is_refused_with_what_would(room: Any) -> None:
    recipe = EVERY["gpt2-xl"].recipe
    room(16e9)
    with pytest.raises(ConfigError, match="among 4 such devices with torchrun, --sharding fsdp, --optimizer") as told:
        check_fits(recipe.model_config(50_257), recipe.train)
    assert "--preset gpt2-medium with batch_size 1" in str(told.value)


def test_it_is_refused_before_anything_is_made(room: Any) -> None:
    room(1e6)
    with pytest.raises(ConfigError, match="memory"):
        set_up(tiny_corpus(), tiny_recipe(width=256, heads=2, layers=6))


def test_the_usual_presets_fit_in_a_small_machine(room: Any) -> None:
    room(1.5e9)
    for preset in PRESETS.values():
        check_fits(preset.recipe.model_config(preset.recipe.vocab_size), preset.recipe.train)


# -- the command line -------------------------------------------------------------------------------------------------


def test_the_estimate_is_of_what_would_be_trained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a text that is too short for the preset, as the preset gives way to it."""
    (tmp_path / "t.txt").write_text(TEXT[:500], encoding="utf-8")
    assert cli.main([str(tmp_path / "t.txt"), "--preset", "fast", "--estimate", "--device", "cpu"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("t.txt: 500 characters, UTF-8\n")
    assert said.count("The text allows a context of 48 and not 64.\n") == 1
    train = EVERY["fast"].recipe.train
    assert f"{train.steps * train.batch_size * 48:,} tokens" in said


def test_the_estimate_is_printed_and_nothing_is_trained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "t.txt").write_text(TEXT * 400, encoding="utf-8")
    out = tmp_path / "run"
    assert (
        cli.main([str(tmp_path / "t.txt"), "--preset", "gpt2", "--estimate", "--out", str(out), "--device", "cpu"]) == 0
    )
    said = capsys.readouterr().out
    assert "parameters    124,439,808" in said
    assert "2,490,368,000 tokens" in said
    assert "optimizer   996 MB, 8.0 bytes a weight" in said
    assert re.search(r"time          about [\d,]+ (hours|days|years): passes at (40|60)% of the [\d,]+ Gflop/s", said)
    assert not out.exists()
    assert cli.main(["--preset", "fast", "--estimate"]) == 2
    assert "give the CORPUS as well" in capsys.readouterr().err
    assert cli.main([str(tmp_path / "t.txt"), "--estimate", "--device", "cpu"]) == 0


def test_a_report_without_a_measurement_names_no_time() -> None:
    found = foreseen(GPTConfig(vocab_size=65), tiny_config())
    assert found.seconds is None
    assert "time" not in report(found)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.2, "1 second"), (90, "90 seconds"), (600, "10 minutes"), (9000, "2 hours"), (4e5, "5 days"), (9e7, "3 years")],
)
def test_durations_for_people(seconds: float, said: str) -> None:
    assert duration(seconds).startswith(f"about {said}")
