"""Two processes that train together are one process with the doubled batch; what ends one of them ends both."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from model import Tokenizer, open_checkpoint
from tests.training.tiny import TEXT, tiny_config, tiny_data, tiny_model
from training import __main__ as cli
from training.distributed import ALONE, check_sharding
from training.events import Evaluated, Failed, Finished, Started, Stepped, TakenUp
from training.loop import train_steps
from training.presets import EVERY
from training.runs import RunFolder

ROOT = Path(__file__).resolve().parents[2]
NEAR = 1e-5  # nats: what sums in another order may differ by, over STEPS
STEPS = 24
PATIENCE = 300.0  # seconds after which a test gives up; none waits for it to pass
SHAPE = (
    "--layers 2 --heads 2 --width 16 --context 8 --warmup-steps 4 --threads 1 --device cpu --quiet --snapshots-mb 0 "
    "--precision float32"
)
FLAGS = f"{SHAPE} --steps {STEPS} --eval-every 10 --sample-every 10 --sample-tokens 9".split()
ADAMW = ["--optimizer", "adamw", "--learning-rate", "0.01"]
MUON = ["--optimizer", "muon", "--muon-learning-rate", "0.01"]  # at 0.03 so small a model multiplies rounding
DOCUMENTS = [*ADAMW, "--cut", "documents", "--preset", "fast"]
FSDP = [*ADAMW, "--sharding", "fsdp", "--save-every-s", "0.0001"]
LINES = "".join(f"{'a dog ' * (number % 5 + 1)}and {number % 7} cats\n" for number in range(90))

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork"),
    pytest.mark.skipif(
        not (dist.is_available() and dist.is_gloo_available()),
        reason="this torch has no gloo, so processes cannot meet",
    ),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranks")
    (folder / "text.txt").write_text(TEXT, encoding="utf-8")
    (folder / "lines.txt").write_text(LINES, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def ran(place: Path) -> dict[str, dict[str, Any]]:
    """Exit codes and output of a training of two processes each, by its folder's name; all in one program."""

    def train(name: str, *flags: str, text: str = "text.txt") -> list[str]:
        return [str(place / text), "--out", str(place / name), *FLAGS, "--batch-size", "6", *flags]

    scenarios: dict[str, tuple[list[str], Any]] = {
        "adamw": (train("adamw", *ADAMW), None),
        "muon": (train("muon", *MUON, "--accumulate", "2"), None),
        "documents": (train("documents", *DOCUMENTS, text="lines.txt"), None),
        "target": (train("target", *ADAMW, "--until-val-loss", "2.4"), None),
        "stopped": (train("stopped", *ADAMW, "--steps", "5000"), (0, 11, "stop")),
        "no memory": (train("no memory", *ADAMW), (1, 5, "memory")),
        "fsdp": (train("fsdp", *FSDP), (1, 13, "kill")),
        "again": (["--resume", str(place / "fsdp"), "--quiet"], None),
        "refused": (train("refused", *MUON, "--sharding", "fsdp"), None),
        "dropout": (train("dropout", *ADAMW, "--dropout", "0.3"), None),
    }
    command = [sys.executable, "-m", "tests.training.ranks", json.dumps(list(scenarios.values()))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(zip(scenarios, json.loads(done.stdout), strict=True))


@pytest.fixture(scope="module")
def alone(place: Path) -> Callable[..., Path]:
    """Trains in this process, with the doubled batch."""

    def train(name: str, *flags: str, text: str = "text.txt", batch: int = 12) -> Path:
        out = place / name
        command = [str(place / text), "--out", str(out), *FLAGS, "--batch-size", str(batch), *flags]
        torch.set_num_threads(1)
        assert cli.main(command) == 0
        return out

    return train


def curve(folder: Path) -> dict[str, list[float]]:
    """Every loss and gradient norm of a run, in order."""
    found: dict[str, list[float]] = {"train": [], "norm": [], "held out": []}
    for event in RunFolder(folder).events():
        if isinstance(event, Stepped):
            found["train"].append(event.loss)
            found["norm"].append(event.grad_norm)
        if isinstance(event, Evaluated) and event.val_loss is not None:
            found["held out"].append(event.val_loss)
    return found


def same(one: Path, other: Path) -> None:
    ours, theirs = curve(one), curve(other)
    assert len(ours["train"]) == STEPS
    assert len(ours["held out"]) == 4
    for name in ("train", "held out"):
        assert ours[name] == pytest.approx(theirs[name], abs=NEAR, rel=0), name
    assert ours["norm"] == pytest.approx(theirs["norm"], rel=1e-4)


# -- the same curve ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "flags", "text", "batch"),
    [
        ("adamw", ADAMW, "text.txt", 12),
        ("muon", MUON, "text.txt", 24),  # two processes, each with two batches of six
        ("documents", DOCUMENTS, "lines.txt", 12),
    ],
)
def test_two_processes_have_the_curve_of_one_with_the_doubled_batch(
    ran: dict[str, Any], alone: Callable[..., Path], place: Path, name: str, flags: list[str], text: str, batch: int
) -> None:
    assert ran[name]["codes"] == [0, 0], ran[name]["said"]
    same(place / name, alone(f"{name} alone", *flags, text=text, batch=batch))
    assert [event.processes for event in RunFolder(place / name).events() if isinstance(event, Started)] == [2]


def test_half_the_batch_gives_another_curve(ran: dict[str, Any], alone: Callable[..., Path], place: Path) -> None:
    """So that the test above can fail."""
    found = curve(alone("half", *ADAMW, batch=6))["train"]
    assert max(abs(a - b) for a, b in zip(found, curve(place / "adamw")["train"], strict=True)) > 100 * NEAR


def test_only_the_first_process_speaks_and_writes(ran: dict[str, Any], place: Path) -> None:
    first, second = ran["adamw"]["said"]
    assert "validation loss" in first
    assert not [line for line in second.splitlines() if "[W" not in line and "warn" not in line.lower()]
    kept = {path.name for path in (place / "adamw").iterdir()}
    assert {"checkpoints", "metrics.jsonl", "samples.txt", "config.yaml"} <= kept
    assert open_checkpoint(place / "adamw").meta["step"] == STEPS


def test_dropout_differs_from_process_to_process(ran: dict[str, Any], alone: Callable[..., Path], place: Path) -> None:
    assert ran["dropout"]["codes"] == [0, 0]
    losses = curve(place / "dropout")["train"]
    assert losses[-1] < losses[0] - 0.3
    assert losses != curve(place / "adamw")["train"]


def test_documents_of_unequal_lengths_are_in_it(place: Path, ran: dict[str, Any]) -> None:
    """Each target counts the same, so the parts of a batch must not: a mean of means would be another curve."""
    assert len({len(line) for line in LINES.splitlines()}) >= 5


# -- gradient accumulation ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_batches_added_up_are_the_larger_batch(optimizer: str) -> None:
    def losses(batch_size: int, accumulate: int) -> list[float]:
        config = tiny_config(optimizer=optimizer, steps=20, batch_size=batch_size, accumulate=accumulate)
        events = train_steps(tiny_model(), tiny_data(), config, Tokenizer.char(TEXT))
        return [event.loss for event in events if isinstance(event, Stepped)]

    assert losses(4, 3) == pytest.approx(losses(12, 1), abs=NEAR, rel=0)


# -- an end for all -------------------------------------------------------------------------------------------------


def test_a_target_that_is_reached_ends_all(ran: dict[str, Any], place: Path) -> None:
    assert ran["target"]["codes"] == [0, 0]
    last = RunFolder(place / "target").last_event()
    assert isinstance(last, Finished)
    assert last.reason == "target"
    assert last.step < STEPS


def test_a_stop_ends_all_and_keeps_the_weights(ran: dict[str, Any], place: Path) -> None:
    assert ran["stopped"]["codes"] == [1, 1]
    last = RunFolder(place / "stopped").last_event()
    assert isinstance(last, Finished)
    assert last.reason == "stopped"
    assert 11 <= last.step < 5000
    assert open_checkpoint(place / "stopped" / "checkpoints" / "last").meta["step"] == last.step


def test_a_process_that_fails_ends_the_others_with_its_sentence(ran: dict[str, Any], place: Path) -> None:
    assert all(code != 0 for code in ran["no memory"]["codes"])
    last = RunFolder(place / "no memory").last_event()
    assert isinstance(last, Failed)
    assert last.message.startswith("There is not enough memory")
    assert "process 1: There is not enough memory" in ran["no memory"]["said"][1]
    assert "failed: There is not enough memory" in ran["no memory"]["said"][0]
    assert "Traceback" not in ran["no memory"]["said"][0]


def test_what_cannot_begin_is_said_once(ran: dict[str, Any], place: Path) -> None:
    assert ran["refused"]["codes"] == [2, 2]
    said = "".join(ran["refused"]["said"])
    assert said.count("Muon needs whole matrices") == 1
    assert not (place / "refused").exists()


# -- weights shared out ---------------------------------------------------------------------------------------------


def test_shared_weights_survive_a_kill_and_give_the_same_curve(
    ran: dict[str, Any], alone: Callable[..., Path], place: Path
) -> None:
    assert ran["fsdp"]["codes"][1] == -signal.SIGKILL
    assert ran["fsdp"]["codes"][0] != 0
    assert ran["again"]["codes"] == [0, 0], ran["again"]["said"]
    folder = RunFolder(place / "fsdp")
    assert [event.step for event in folder.events() if isinstance(event, TakenUp)] == [13]
    same(place / "fsdp", alone("fsdp alone", *ADAMW))
    assert not (folder.path / "checkpoints" / "sharded").exists(), "gathered at the end"
    ours, theirs = (open_checkpoint(place / name / "checkpoints" / "last").model for name in ("fsdp", "fsdp alone"))
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=0)


def test_sharing_out_needs_others_and_adamw() -> None:
    with pytest.raises(ValueError, match="this is one alone: start it as `torchrun"):
        check_sharding(tiny_config(sharding="fsdp"), 1)
    with pytest.raises(ValueError, match="Muon needs whole matrices"):
        check_sharding(tiny_config(sharding="fsdp", optimizer="muon"), 2)
    check_sharding(tiny_config(sharding="fsdp"), 2)
    check_sharding(tiny_config(optimizer="muon"), 1)


def test_one_process_alone_has_all_rows() -> None:
    data, generator = tiny_data(), torch.Generator().manual_seed(3)
    whole = data.batch(6, generator)
    parts = [data.batch(6, torch.Generator().manual_seed(3), slice(at, at + 2)) for at in (0, 2, 4)]
    for k in (0, 1):
        assert torch.equal(whole[k], torch.cat([part[k] for part in parts]))
    assert ALONE.rows(6) == slice(0, 6)


# -- torchrun -------------------------------------------------------------------------------------------------------


def test_torchrun_restarts_a_killed_worker_and_nothing_is_lost(place: Path, alone: Callable[..., Path]) -> None:
    steps, killed_at = 60, 30
    flags = [*SHAPE.split(), "--steps", str(steps), "--eval-every", "50", "--sample-every", "0"]
    out = place / "elastic"
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
        *("--max-restarts", "2", "--monitor-interval", "0.1", "-m", "tests.training.elastic", str(killed_at)),
        *(str(place / "text.txt"), "--out", str(out), "--batch-size", "6", *ADAMW, *flags, "--save-every-s", "0.0001"),
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr[-3000:]
    events = list(RunFolder(out).events())
    taken = [event.step for event in events if isinstance(event, TakenUp)]
    assert len(taken) == 1
    assert killed_at - 2 <= taken[0] <= killed_at, "the last step that all of them had made"
    made = [event for event in events if isinstance(event, Stepped)]
    assert [event.step for event in made] == list(range(1, steps + 1))
    assert open_checkpoint(out / "checkpoints" / "last").meta["step"] == steps
    reference = place / "elastic alone"
    assert cli.main([str(place / "text.txt"), "--out", str(reference), "--batch-size", "12", *ADAMW, *flags]) == 0
    whole = [event.loss for event in RunFolder(reference).events() if isinstance(event, Stepped)]
    assert [event.loss for event in made] == pytest.approx(whole, abs=1e-4, rel=0), "the batches that come next"


def test_a_run_goes_on_by_its_own_command_alone(place: Path, tmp_path: Path) -> None:
    """`--go-on` begins, goes on, says that it is done, and refuses another run's folder."""
    flags = [*FLAGS, "--batch-size", "4", "--go-on", *ADAMW]
    out = tmp_path / "run"
    assert cli.main([str(place / "text.txt"), "--out", str(out), *flags]) == 0
    before = hashlib.sha256((out / "metrics.jsonl").read_bytes()).hexdigest()
    assert cli.main([str(place / "text.txt"), "--out", str(out), *flags]) == 0
    assert hashlib.sha256((out / "metrics.jsonl").read_bytes()).hexdigest() == before
    assert cli.main([str(place / "lines.txt"), "--out", str(out), *flags]) == 2
    assert cli.main([str(place / "text.txt"), "--out", str(out), *flags, "--learning-rate", "0.02"]) == 2


def test_a_run_killed_before_its_first_checkpoint_begins_anew(place: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    recipe = EVERY["fast"].recipe.with_changes({"steps": STEPS, "width": 16, "heads": 2})
    RunFolder.create(out, "killed", recipe, {"name": "x", "data": {"files": [str(place / "text.txt")]}})
    flags = ["--steps", str(STEPS), "--width", "16", "--heads", "2", "--quiet", "--go-on"]
    assert cli.main([str(place / "text.txt"), "--out", str(out), *flags]) == 0
    assert isinstance(RunFolder(out).last_event(), Finished)
