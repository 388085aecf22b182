"""Snapshots of a run: which steps are kept, what they open as, and what was measured of them, computed again."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from model import Tokenizer, open_checkpoint, trace
from model.trace import head_scores
from tests.training.tiny import TEXT, Make, finish, tiny_corpus, tiny_model, tiny_recipe
from training import snapshots as snapshots_module
from training.events import Stepped
from training.loop import sample
from training.runs import RunError, RunFolder
from training.setup import set_up
from training.snapshots import PROBE_BYTES, Probe, least_needed, load_snapshot, read_snapshot
from training.trainer import Trainer

LINES = tuple(line.replace("on", "on" * (1 + i % 3)) for i, line in enumerate(TEXT.splitlines()))


@pytest.fixture(autouse=True)
def whatever_it_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots_module, "SHARE", 1e9)


def run(path: Path, **changes: Any) -> Trainer:
    recipe = tiny_recipe(**{"steps": 20, "eval_every": 6, "snapshots_mb": 64, **changes})
    corpus = tiny_corpus("\n".join(LINES), LINES) if recipe.cut == "documents" else tiny_corpus()
    prepared = set_up(corpus, recipe)
    trainer = Trainer(RunFolder.create(path, "a run", prepared.recipe, {"name": "tiny"}), prepared)
    finish(trainer)
    assert trainer.state == "finished"
    return trainer


def test_kept_are_powers_of_two_and_measurements(tmp_path: Path) -> None:
    trainer = run(tmp_path / "run")
    assert trainer.folder.snapshots() == [0, 1, 2, 4, 6, 8, 12, 16, 18, 20]
    assert sorted(path.name for path in (tmp_path / "run" / "snapshots").glob("*.json")) == [
        "probe.json", *(f"step-{step:08d}.json" for step in trainer.folder.snapshots())
    ]  # fmt: skip
    assert run(tmp_path / "none", snapshots_mb=0).folder.snapshots() == []
    assert list((tmp_path / "none" / "snapshots").iterdir()) == []


def test_keeping_them_does_not_change_the_training(tmp_path: Path) -> None:
    shape = {"dropout": 0.3, "optimizer": "muon"}
    kept, plain = run(tmp_path / "kept", **shape), run(tmp_path / "plain", **shape, snapshots_mb=0)
    losses = [[e.loss for e in t.log.since(0)[0] if isinstance(e, Stepped)] for t in (kept, plain)]
    assert losses[0] == losses[1]


@pytest.mark.parametrize("tied", [True, False])
def test_a_snapshot_is_the_model_of_its_step_in_float16(tied: bool, tmp_path: Path) -> None:
    trainer = run(tmp_path / "run", tied_head=tied, positions="rotary")
    last = open_checkpoint(trainer.folder.checkpoint("last"))
    found = load_snapshot(RunFolder(tmp_path / "run"), 20)
    assert found.config == last.config
    assert found.tokenizer == last.tokenizer
    assert found.meta["step"] == 20
    assert found.meta["val_loss"] == last.meta["val_loss"]
    for name, value in last.model.state_dict().items():
        assert torch.equal(found.model.state_dict()[name], value.half().float()), name
    with torch.no_grad():
        ids = torch.arange(8)[None]
        torch.testing.assert_close(found.model(ids), last.model(ids), rtol=0, atol=2e-2)
    files = list((tmp_path / "run" / "snapshots").glob("*.safetensors"))
    stored = safetensors.torch.load_file(files[0])
    assert {value.dtype for value in stored.values()} == {torch.float16}
    first = load_snapshot(trainer.folder, 0)
    assert not torch.equal(first.model.token_embedding.weight, found.model.token_embedding.weight)


def by_hand(trainer: Trainer, ids: list[list[int]], step: int) -> list[float]:
    """Nats of each token but the first of each window, one window at a time, in float64."""
    model = load_snapshot(trainer.folder, step).model
    nats = []
    for window in ids:
        with torch.no_grad():
            log_p = torch.log_softmax(model(torch.tensor(window[:-1])[None])[0].double(), dim=-1)
        nats += [-log_p[t, token].item() for t, token in enumerate(window[1:])]
    return nats


@pytest.mark.parametrize("changes", [{}, {"val_fraction": 0.0}, {"cut": "documents", "tokenizer": "word"}],
                         ids=["blocks", "nothing held out", "documents"])  # fmt: skip
def test_the_figures_computed_again(changes: dict[str, Any], tmp_path: Path) -> None:
    trainer = run(tmp_path / "run", **changes)
    probe = json.loads((tmp_path / "run" / "snapshots" / "probe.json").read_text())
    data, context = trainer.prepared.data, trainer.config.context
    assert probe["held_out"] is bool(len(data.val))
    if not changes.get("cut"):  # windows that follow each other over the first 2,000 bytes, or all there is
        ids = (data.val if len(data.val) else data.train).tolist()
        windows = [ids[at : at + context + 1] for at in range(0, len(ids) - 1, context)]
        assert probe["windows"] == windows[: math.ceil(PROBE_BYTES / context)]
    else:
        texts = [trainer.tokenizer.decode(window[1:]) for window in probe["windows"]]
        assert trainer.prepared.texts is not None
        assert texts[0].strip("\n").startswith(trainer.prepared.texts.held_out_documents()[0][:10])
    for step in (0, 4, 20):
        found = read_snapshot(trainer.folder, step)
        assert found["losses"] == pytest.approx(by_hand(trainer, probe["windows"], step), abs=1e-4)
        model = load_snapshot(trainer.folder, step).model
        rows = [head_scores(trace(model, row).patterns, torch.tensor(row)) for row in probe["heads"]]
        assert set(found["heads"]) == {"self", "previous", "first", "duplicate", "induction"}
        for kind, scores in found["heads"].items():
            mean = sum(row[kind] for row in rows) / len(rows)
            torch.testing.assert_close(torch.tensor(scores), mean, rtol=0, atol=1e-4)
        assert found["sample"] == sample(model, trainer.tokenizer, trainer.recipe.train, 20)
    assert all(row[: len(row) // 2] == row[len(row) // 2 :] for row in probe["heads"])
    induced = torch.tensor(read_snapshot(trainer.folder, 0)["heads"]["previous"])
    assert ((induced > 0) & (induced < 1)).all()


def test_what_there_was_no_time_for_is_measured_when_somebody_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = run(tmp_path / "there")
    monkeypatch.setattr(snapshots_module, "SHARE", -1.0)
    later = run(tmp_path / "later")
    assert there.folder.snapshots() == later.folder.snapshots()
    for step in later.folder.snapshots():
        path = later.folder.path / "snapshots" / f"step-{step:08d}.json"
        assert "losses" not in json.loads(path.read_text())
        assert read_snapshot(later.folder, step) == read_snapshot(there.folder, step)
        assert path.read_bytes() == (there.folder.path / "snapshots" / path.name).read_bytes()
    (later.folder.path / "snapshots" / "probe.json").unlink()
    assert read_snapshot(later.folder, 4) == read_snapshot(there.folder, 4)


def test_the_room_is_kept_to_and_the_rest_thinned_evenly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = sum(path.stat().st_size for path in (run(tmp_path / "one").folder.path / "snapshots").glob("step-00000004*"))
    monkeypatch.setattr(snapshots_module, "MEGABYTE", 6 * one)  # room for six
    trainer = run(tmp_path / "run", steps=64, eval_every=4, snapshots_mb=1)
    kept = trainer.folder.snapshots()
    assert (kept[0], kept[-1]) == (0, 64)
    assert len(kept) in (5, 6)  # their JSON is not of one size
    apart = [math.log((after + 1) / (before + 1)) for before, after in pairwise(kept[:-1])]
    assert max(apart) < 2.6 * min(apart), kept
    assert {path.stem for path in (trainer.folder.path / "snapshots").glob("step*")} == {f"step-{s:08d}" for s in kept}
    monkeypatch.setattr(snapshots_module, "MEGABYTE", 100)
    assert run(tmp_path / "small", snapshots_mb=1).folder.snapshots() == []


def test_which_one_goes() -> None:
    assert least_needed([0, 1, 2, 4, 8, 100]) == 2  # 5 / 2 apart then, where it is 3 elsewhere
    assert least_needed([0, 5, 6, 7, 1000]) == 6
    assert least_needed([3, 9]) == 3
    assert least_needed([7]) == 7


def test_later_snapshots_are_forgotten_where_a_run_is_taken_up(tmp_path: Path) -> None:
    trainer = run(tmp_path / "run")
    place = trainer.folder.path / "snapshots"
    for end in ("json", "safetensors"):
        (place / f"step-00000030.{end}").write_bytes((place / f"step-00000020.{end}").read_bytes())
    finish(Trainer.resumed(RunFolder(trainer.folder.path), more=4))
    assert trainer.folder.snapshots() == [0, 1, 2, 4, 6, 8, 12, 16, 18, 20, 24]


def test_a_step_that_was_not_kept(tmp_path: Path, make: Make) -> None:
    trainer = run(tmp_path / "run", steps=4)
    for call in (load_snapshot, read_snapshot):
        with pytest.raises(
            RunError, match="a run holds no snapshot of step 3: there are those of the steps 0, 1, 2, 4"
        ):
            call(trainer.folder, 3)
    without = make()
    finish(without)
    with pytest.raises(RunError, match=r"holds no snapshot of step 1: it kept none\."):
        load_snapshot(without.folder, 1)


def test_a_probe_of_next_to_nothing() -> None:
    recipe = tiny_recipe(val_fraction=0.0)
    data = set_up(tiny_corpus("abcdefghij"), recipe).data
    probe = Probe.of(data)
    assert probe.windows == (tuple(range(9)), (8, 9))
    assert probe.heads == ((0, 1, 2, 3, 0, 1, 2, 3), (3, 4, 5, 6, 3, 4, 5, 6))
    found = snapshots_module.measure(
        tiny_model(vocab_size=10).eval(), probe, Tokenizer.char("abcdefghij"), recipe.train
    )
    assert len(found["losses"]) == 9
    assert Probe.from_dict(json.loads(json.dumps(probe.to_dict()))) == probe
