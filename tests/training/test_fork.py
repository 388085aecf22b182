"""A run forked: what it begins with, what it goes on with, and what is refused."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from model import GPT, ConfigError, open_checkpoint, trace
from model.edits import ablate_head
from tests.training.test_resume import losses, state_of, trainer
from tests.training.tiny import CHAR, PATIENCE, finish, tiny_corpus, until
from training import __main__ as cli
from training.events import Evaluated, Finished, Started, Stepped
from training.fork import Fork, find_fork, fork, forkable_steps, silence_head
from training.resume import resumable_step
from training.runs import Parent, RunError, RunFolder
from training.snapshots import load_snapshot
from training.trainer import Trainer

OTHER = "the mat sat on the log and the cat sat.\n" * 30


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A finished run of 40 steps with snapshots."""
    path = tmp_path_factory.mktemp("fork") / "parent"
    finish(trainer(path, snapshots_mb=5, layers=2))
    return RunFolder(path)


def first_batch(found: Fork, fresh_order: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """The batch that the first step of a fork draws."""
    train, beginning = found.prepared.recipe.train, found.prepared.beginning
    assert beginning is not None
    order = torch.Generator().manual_seed(train.seed)
    if not fresh_order:
        order.set_state(beginning.tensors["random.order"])
    return found.prepared.data.batch(train.batch_size, order)


@pytest.mark.parametrize(("at", "weights"), [(20, "float16"), ("best", "exact"), ("last", "exact"), (0, "float16")])
@pytest.mark.parametrize("text", [None, OTHER])
def test_the_first_loss_is_that_of_the_parent_s_model(
    at: int | str, weights: str, text: str | None, parent: RunFolder, tmp_path: Path
) -> None:
    corpus = None if text is None else tiny_corpus(text)
    found = find_fork(parent, at, corpus, more=5)
    if weights == "float16":
        model = load_snapshot(parent, int(at)).model
    else:
        model = open_checkpoint(parent.checkpoint(str(at))).model
    x, y = first_batch(found, fresh_order=at != "last")
    with torch.no_grad():
        wanted = F.cross_entropy(model(x).flatten(0, 1), y.flatten()).item()
    run = fork(parent, tmp_path / "fork", "a fork", at, corpus, more=5)
    events = finish(run)
    assert losses(events)[0] == pytest.approx(wanted, abs=1e-6)
    info, step = run.folder.info(), found.parent.step
    assert info.parent == found.parent
    assert (found.parent.id, found.parent.weights) == (parent.id, weights)
    assert found.parent.optimizer == ("kept" if at == "last" else "anew")
    assert [event.step for event in events if isinstance(event, Stepped)] == list(range(step + 1, step + 6))
    assert isinstance(events[0], Started)
    assert (events[0].step, info.recipe.train.steps) == (step, step + 5)
    assert next(e for e in events if isinstance(e, Evaluated)).step == step
    assert isinstance(events[-1], Finished)


def test_a_fork_of_the_last_without_changes_goes_on_as_its_parent_would(parent: RunFolder, tmp_path: Path) -> None:
    copied = tmp_path / "parent"
    shutil.copytree(parent.path, copied)
    events = finish(Trainer.resumed(RunFolder(copied), more=7))
    forked = finish(fork(parent, tmp_path / "fork", "a fork", more=7))
    assert losses(forked) == losses(events)[40:]
    mine, theirs = state_of(tmp_path / "fork"), state_of(copied)
    assert all(torch.equal(value, theirs[name]) for name, value in mine.items())


def test_a_fork_goes_on_as_its_parent_would_that_was_changed_in_flight(tmp_path: Path) -> None:
    first = trainer(tmp_path / "parent", steps=20)
    first.change(rate=0.5, batch_size=6)
    finish(first)
    folder, copied = RunFolder(tmp_path / "parent"), tmp_path / "copied"
    shutil.copytree(folder.path, copied)
    events = finish(Trainer.resumed(RunFolder(copied), more=7))
    run = fork(folder, tmp_path / "fork", "a fork", more=7)
    before, train = folder.info().recipe.train, run.recipe.train
    assert (train.learning_rate, train.batch_size) == (before.learning_rate / 2, 6)
    forked = finish(run)
    assert losses(forked) == losses(events)[20:]
    mine, theirs = state_of(tmp_path / "fork"), state_of(copied)
    assert all(torch.equal(value, theirs[name]) for name, value in mine.items())
    other = fork(folder, tmp_path / "other", "another", changes={"learning_rate": before.learning_rate}, more=7)
    assert other.recipe.train.learning_rate == before.learning_rate


def test_what_cannot_be_taken_over_begins_anew(parent: RunFolder) -> None:
    def tensors(**changes: Any) -> set[str]:
        beginning = find_fork(parent, changes=changes, more=5).prepared.beginning
        assert beginning is not None
        return {key.split(".")[0] for key in beginning.tensors}

    assert tensors() == {"optimizer", "random"}
    assert tensors(learning_rate=0.5) == {"optimizer", "random"}
    assert tensors(seed=5) == {"optimizer"}
    assert tensors(optimizer="muon") == {"random"}
    assert find_fork(parent, changes={"optimizer": "muon"}, more=5).parent.optimizer == "anew"


def test_a_silenced_head_begins_as_an_ablated_one(parent: RunFolder, tmp_path: Path) -> None:
    found = find_fork(parent, "best", silence=[(1, 0)], more=3)
    assert found.prepared.beginning is not None
    model, before = found.prepared.beginning.model.eval(), open_checkpoint(parent.checkpoint("best")).model
    ids = CHAR.encode("the cat")
    ablated = trace(before, ids, edits=[ablate_head(1, 0)])
    assert torch.allclose(trace(model, ids).logits, ablated.logits, atol=1e-6)
    assert found.parent.edits == ("layer 2, head 1 silenced",)
    run = fork(parent, tmp_path / "fork", "a fork", "best", silence=[(1, 0)], more=3)
    finish(run)
    assert run.folder.info().parent == found.parent
    with pytest.raises(ConfigError, match="no head 3 in layer 1: the model has layers 1 to 2 of heads 1 to 2"):
        silence_head(copy.deepcopy(before), 0, 2)


def test_settings_and_dropout_are_the_fork_s(parent: RunFolder, tmp_path: Path) -> None:
    changes = {"dropout": 0.4, "learning_rate": 0.001, "batch_size": 9, "schedule": "constant"}
    run = fork(parent, tmp_path / "fork", "a fork", 20, changes=changes, more=4)
    assert run.config.dropout == 0.4
    events = finish(run)
    assert {event.lr for event in events if isinstance(event, Stepped)} == {0.001}
    assert RunFolder(tmp_path / "fork").info().recipe.train.batch_size == 9


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"at": 3}, "holds no snapshot of step 3: there are those of the steps 0, 1, 2"),
        ({"at": "first"}, "is no step of a run: give a number, best, or last"),
        ({}, "steps is 40, and the fork begins at step 40: say how many more"),
        ({"at": 20, "changes": {"steps": 20}}, "steps is 20, and the fork begins at step 20"),
        ({"more": 0}, "0 more steps is none"),
        ({"more": 5, "changes": {"width": 32}}, "goes on with the weights of a run: width stays 16"),
        ({"more": 5, "changes": {"tokenizer": "word"}}, "tokenizer stays 'char'"),
        ({"more": 5, "changes": {"val_fraction": 0.3}}, "val_fraction cannot be changed in a fork on the same text"),
        ({"more": 5, "changes": {"lower": True}}, "lower cannot be changed"),
        ({"more": 5, "changes": {"learning_rate": 1e3}}, "learning_rate is 1000.0; use above 0 and at most 1"),
        ({"more": 5, "changes": {"nonsense": 1}}, "unknown setting nonsense"),
        ({"more": 5, "corpus": tiny_corpus("ünïcode " * 30)}, "has no token for"),
        ({"more": 5, "corpus": tiny_corpus("the")}, "too short for a fork of .* Give a longer text"),
        ({"more": 5, "silence": [(0, 2)]}, "there is no head 3 in layer 1"),
        ({"more": 5, "silence": [(-1, 0)]}, "there is no head"),
    ],
)
def test_what_cannot_be_forked_says_why(arguments: dict[str, Any], sentence: str, parent: RunFolder) -> None:
    with pytest.raises(ValueError, match=sentence):
        find_fork(parent, **arguments)


def test_a_fork_that_was_killed_goes_on_from_its_own_beginning(parent: RunFolder, tmp_path: Path) -> None:
    path = tmp_path / "fork"
    whole = finish(fork(parent, tmp_path / "whole", "a fork", 20, more=10))
    run = fork(parent, path, "a fork", 20, more=10)
    run.pause()
    run.start()
    while run.state != "paused":
        until(run, Started)
    kept = json.loads((path / "checkpoints" / "last" / "checkpoint.json").read_text())
    assert (kept["meta"]["step"], kept["extra"]["values"]["step"]) == (20, 20)
    run.stop()
    assert run.join(PATIENCE)
    assert resumable_step(RunFolder(path)) == 20
    assert losses(finish(Trainer.resumed(RunFolder(path)))) == losses(whole)


def test_a_fork_without_weights_of_its_own_cannot_go_on(parent: RunFolder, tmp_path: Path) -> None:
    finish(fork(parent, tmp_path / "fork", "a fork", more=2))
    for file in sorted((tmp_path / "fork" / "checkpoints").rglob("*"), reverse=True):
        file.unlink() if file.is_file() else file.rmdir()
    assert resumable_step(RunFolder(tmp_path / "fork")) is None
    with pytest.raises(RunError, match="Fork again"):
        Trainer.resumed(RunFolder(tmp_path / "fork"))


def test_the_steps_that_can_be_forked_at(parent: RunFolder, tmp_path: Path) -> None:
    assert forkable_steps(parent) == [0, 1, 2, 4, 8, 10, 16, 20, 30, 32, 40]
    assert forkable_steps(RunFolder(tmp_path)) == []
    finish(trainer(tmp_path / "none", snapshots_mb=0))
    assert forkable_steps(RunFolder(tmp_path / "none")) == [40]


def test_what_a_config_says_of_a_parent_is_read_strictly() -> None:
    good: dict[str, Any] = {"id": "a", "name": "b", "step": 3, "weights": "exact", "optimizer": "kept", "edits": ["x"]}
    assert Parent.of(good) == Parent("a", "b", 3, "exact", "kept", ("x",))
    bad: object
    for bad in (None, [], {}, {**good, "step": "3"}, {**good, "name": 5}, {**good, "id": "x" * 500}):
        assert Parent.of(bad) is None
    assert Parent.of({**good, "edits": 7}) == Parent("a", "b", 3, "exact", "kept")


def test_the_command_line_forks(parent: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, text = tmp_path / "fork", tmp_path / "other.txt"
    text.write_text(OTHER)
    said = ["--fork", f"{parent.path}@20", "--more", "3", "--out", str(out), "--quiet"]
    assert cli.main([*said, str(text), "--learning-rate", "0.002", "--silence-head", "2.1"]) == 0
    info = RunFolder(out).info()
    assert info.parent == Parent(parent.id, "a run", 20, "float16", "anew", ("layer 2, head 1 silenced",))
    assert info.recipe.train.learning_rate == 0.002
    assert (info.recipe.train.steps, info.corpus["name"]) == (23, "other.txt")
    printed = capsys.readouterr().out
    assert "float16" in printed
    assert "optimizer begins anew" in printed
    assert cli.main(["--fork", str(parent.path), "--more", "2", "--out", str(tmp_path / "last"), "--quiet"]) == 0
    assert RunFolder(tmp_path / "last").info().parent == Parent(parent.id, "a run", 40, "exact", "kept")
    for wrong, sentence in (
        (["--fork", str(parent.path)], "--out"),
        (["--fork", f"{parent.path}@x", "--out", str(tmp_path / "x")], "is no step of a run"),
        (["--fork", str(parent.path), "--out", str(tmp_path / "x"), "--more", "2", "--preset", "song"], "--preset"),
        (["--fork", str(parent.path), "--out", str(tmp_path / "x"), "--more", "2", "--silence-head", "9"], "2.1"),
        (["--fork", str(parent.path), "--out", str(out), "--more", "2"], "already holds a run"),
        (["--silence-head", "1.1", "--out", str(tmp_path / "x"), str(text)], "--fork"),
    ):
        assert cli.main([*wrong, "--quiet"]) == 2
        assert sentence in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_the_command_line_goes_on_at_another_rate(
    parent: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    finish(trainer(tmp_path / "run", schedule="constant", steps=10))
    assert cli.main(["--resume", str(tmp_path / "run"), "--more", "4", "--rate", "0.5", "--quiet"]) == 0
    steps = [event for event in RunFolder(tmp_path / "run").events() if isinstance(event, Stepped)]
    assert [event.lr for event in steps[-4:]] == [0.005] * 4
    assert cli.main(["--resume", str(tmp_path / "run"), "--more", "4", "--rate", "-1", "--quiet"]) == 2
    assert "rate is -1" in capsys.readouterr().err
    assert isinstance(GPT, type)
