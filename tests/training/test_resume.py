"""Runs that are stopped, interrupted or over, and taken up again: the trainer, the folder, the command line."""

from __future__ import annotations

import json
import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from model import open_checkpoint
from model.checkpoint import read_extra
from tests.training.tiny import CHAR, LONG, PATIENCE, TEXT, finish, tiny_corpus, tiny_recipe, until
from training import __main__ as cli
from training.events import Event, Finished, Started, Stepped, TakenUp
from training.resume import SHARE, Cadence, fingerprint, resumable_step
from training.runs import RunError, RunFolder
from training.setup import set_up
from training.trainer import Trainer

LINES = tuple(line.replace("on", "on" * (1 + i % 3)) for i, line in enumerate(TEXT.splitlines()))
FREE = {"wall_s", "tokens_per_s"}


def trainer(path: Path, **changes: Any) -> Trainer:
    recipe = tiny_recipe(**{"steps": 40, "sample_every": 7, "eval_every": 10, "save_every_s": 0.0, **changes})
    corpus = tiny_corpus("\n".join(LINES), LINES) if recipe.cut == "documents" else tiny_corpus()
    prepared = set_up(corpus, recipe)
    return Trainer(RunFolder.create(path, "a run", prepared.recipe, {"name": "tiny"}), prepared)


def plain(events: list[Event]) -> list[dict[str, Any]]:
    """What has to be the same however often a run was taken up."""
    kept = [event.to_dict() for event in events if event.kind in ("step", "eval", "sample", "started")]
    return [{k: v for k, v in event.items() if k not in FREE} for event in kept]


def state_of(path: Path) -> dict[str, torch.Tensor]:
    """Weights, optimizer and generators as they ended."""
    extra = read_extra(path / "checkpoints" / "last")
    assert extra is not None
    return {**open_checkpoint(path / "checkpoints" / "last").model.state_dict(), **extra.tensors}


@pytest.mark.parametrize("stopped", [1, 2, 3])
@pytest.mark.parametrize(
    "changes",
    [{}, {"dropout": 0.3, "optimizer": "muon"}, {"cut": "documents", "tokenizer": "word", "max_documents": 30}],
    ids=["blocks", "muon, dropout", "documents"],
)
def test_a_run_stopped_at_random_steps_goes_on_bit_for_bit(
    changes: dict[str, Any], stopped: int, tmp_path: Path
) -> None:
    whole = finish(trainer(tmp_path / "whole", **changes))
    chance, run = random.Random(stopped), trainer(tmp_path / "run", **changes)
    for _ in range(stopped):
        until_step, cursor = chance.randrange(1, 12), run.log.since(0)[1]
        run.start()
        for _ in range(until_step):
            cursor = until(run, Stepped, cursor)
        run.pause()  # else a short run may be over before the stop
        run.stop()
        assert run.join(PATIENCE)
        assert run.state == "stopped"
        run = Trainer.resumed(RunFolder(tmp_path / "run"))
    finish(run)
    assert run.state == "finished"
    on_disk = list(RunFolder(tmp_path / "run").events())
    assert on_disk == run.log.since(0)[0]
    assert plain(on_disk) == plain(whole)
    assert sum(isinstance(event, TakenUp) for event in on_disk) == stopped
    assert sum(isinstance(event, Finished) for event in on_disk) == 1
    assert all(before.wall_s <= after.wall_s for before, after in pairwise(on_disk))
    mine, theirs = state_of(tmp_path / "run"), state_of(tmp_path / "whole")
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(value, theirs[name]) for name, value in mine.items())
    assert (tmp_path / "run" / "samples.txt").read_text() == (tmp_path / "whole" / "samples.txt").read_text()
    assert RunFolder(tmp_path / "run").info().taken_up == stopped


def test_more_steps_of_a_constant_rate_are_those_of_the_longer_run(tmp_path: Path) -> None:
    whole = finish(trainer(tmp_path / "whole", schedule="constant"))
    finish(trainer(tmp_path / "run", schedule="constant", steps=20))
    again = Trainer.resumed(RunFolder(tmp_path / "run"), more=20)
    events = finish(again)
    assert losses(events) == losses(whole)
    assert RunFolder(tmp_path / "run").info().recipe.train.steps == 40
    assert "steps: 40" in (tmp_path / "run" / "config.yaml").read_text()
    taken = json.loads((tmp_path / "run" / "config.json").read_text())["taken_up"]
    assert [(entry["step"], entry["steps"]) for entry in taken] == [(20, 40)]


def losses(events: list[Event]) -> list[float]:
    return [event.loss for event in events if isinstance(event, Stepped)]


def test_the_schedule_is_stretched_over_more_steps(tmp_path: Path) -> None:
    finish(trainer(tmp_path / "run", schedule="linear", final_lr_share=0.0, steps=20))
    events = finish(Trainer.resumed(RunFolder(tmp_path / "run"), more=10))
    config = tiny_recipe(schedule="linear", final_lr_share=0.0, steps=30).train
    rates = [event.lr for event in events if isinstance(event, Stepped)]
    assert rates[19] == 0.0
    assert rates[20:] == [config.lr_at(step) for step in range(21, 31)]
    assert rates[20] > 0.002
    (up,) = (event for event in events if isinstance(event, TakenUp))
    assert (up.step, up.steps, up.threads) == (20, 30, 1)


def test_a_run_at_its_target_goes_on_only_when_told_how_long(tmp_path: Path) -> None:
    finish(trainer(tmp_path / "run", until_val_loss=100.0))
    with pytest.raises(RunError, match="has come to its end"):
        Trainer.resumed(RunFolder(tmp_path / "run"))
    last = finish(Trainer.resumed(RunFolder(tmp_path / "run"), more=15))[-1]
    assert isinstance(last, Finished)
    assert (last.step, last.reason) == (15, "done")
    assert RunFolder(tmp_path / "run").info().recipe.train.until_val_loss is None


def test_a_run_without_a_checkpoint_begins_anew_in_its_folder(tmp_path: Path) -> None:
    whole = finish(trainer(tmp_path / "run"))
    path = tmp_path / "run"
    for file in sorted((path / "checkpoints").rglob("*"), reverse=True):
        file.unlink() if file.is_file() else file.rmdir()
    assert resumable_step(RunFolder(path)) == 0
    events = finish(Trainer.resumed(RunFolder(path)))
    assert plain(events) == plain(whole)
    assert sum(isinstance(event, Started) for event in RunFolder(path).events()) == 1


def test_until_it_starts_a_run_stands_as_it_stood(tmp_path: Path) -> None:
    finish(trainer(tmp_path / "run"))
    before = {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()}
    again = Trainer.resumed(RunFolder(tmp_path / "run"), more=5)
    assert again.snapshot is not None
    assert again.snapshot.step == 40
    assert again.info.recipe.train.steps == 45
    again.stop()
    assert (again.state, again.untouched) == ("stopped", True)
    assert {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()} == before


def test_what_cannot_go_on_says_why(tmp_path: Path) -> None:
    path = tmp_path / "run"
    run = trainer(path, steps=LONG)
    run.start()
    until(run, Stepped)
    with pytest.raises(RunError, match="a run is being trained at this moment"):
        Trainer.resumed(RunFolder(path))
    run.stop()
    assert run.join(PATIENCE)
    with pytest.raises(RunError, match="0 more steps is none"):
        Trainer.resumed(RunFolder(path), more=0)
    text = path / "corpus" / "train.txt.gz"
    kept = text.read_bytes()
    text.write_bytes((path / "corpus" / "held-out.txt.gz").read_bytes())
    with pytest.raises(RunError, match="the text in it is not what it was trained on"):
        Trainer.resumed(RunFolder(path))
    text.unlink()
    with pytest.raises(RunError, match="the text that it was trained on is not in it"):
        Trainer.resumed(RunFolder(path))
    text.write_bytes(kept)
    index = path / "checkpoints" / "last" / "checkpoint.json"
    values = json.loads(index.read_text())
    index.write_text(json.dumps({**values, "extra": None}))  # as earlier versions wrote it
    assert resumable_step(RunFolder(path)) is None
    with pytest.raises(RunError, match="did not keep the optimizer's state"):
        Trainer.resumed(RunFolder(path))


def test_events_after_the_checkpoint_are_cut_off(tmp_path: Path) -> None:
    """As a kill leaves it: steps that no checkpoint knows, and half a line."""
    run = trainer(tmp_path / "run", steps=LONG)
    run.start()
    cursor = until(run, Stepped)
    run.pause()
    run.stop()
    assert run.join(PATIENCE)
    metrics = tmp_path / "run" / "metrics.jsonl"
    last = run.log.tail(1)[0].step
    with metrics.open("a") as file:
        for step in range(last + 1, last + 5):
            file.write(json.dumps(Stepped(step, 1e9, 1.0, 1.0, 1.0, 1.0).to_dict()) + "\n")
        file.write('{"event": "ste')
    again = Trainer.resumed(RunFolder(tmp_path / "run"), more=3)
    events = finish(again)
    steps = [event.step for event in RunFolder(tmp_path / "run").events() if isinstance(event, Stepped)]
    assert steps == list(range(1, last + 4))
    assert list(RunFolder(tmp_path / "run").events()) == events
    assert all(event.wall_s < 1e6 for event in events)
    assert cursor


# -- how often, and the command line ----------------------------------------------------------------------------------


def test_writing_takes_no_more_than_its_share() -> None:
    now = [0.0]
    cadence = Cadence(10.0, lambda: now[0])

    def write(cost: float) -> None:
        with cadence.writing():
            now[0] += cost

    assert cadence.due(measured=True)
    assert not cadence.due(measured=False)
    now[0] = 10.0
    assert cadence.due(measured=False)
    write(1.0)
    now[0] += 0.99 / SHARE
    assert not cadence.due(measured=True)
    assert not cadence.due(measured=False)
    now[0] += 0.02 / SHARE
    assert cadence.due(measured=True)
    write(0.001)
    now[0] += 9.9
    assert cadence.due(measured=True)
    assert not cadence.due(measured=False)
    never = Cadence(0.0, lambda: now[0])
    now[0] += 1e6
    assert not never.due(measured=False)
    assert never.due(measured=True)


def test_the_fingerprint_tells_texts_apart() -> None:
    data = [set_up(tiny_corpus(text), tiny_recipe(), lambda _: CHAR).data for text in (TEXT, TEXT[:-1] + "t")]
    assert fingerprint(data[0]) == fingerprint(set_up(tiny_corpus(), tiny_recipe(), lambda _: CHAR).data)
    assert fingerprint(data[0]) != fingerprint(data[1])


def test_resume_at_the_console(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    finish(trainer(tmp_path / "run", steps=20))
    assert cli.main(["--resume", str(tmp_path / "run"), "--more", "5", "--quiet"]) == 0
    shown, errors = capsys.readouterr()
    assert errors == ""
    assert shown.splitlines()[0] == "goes on from step 20 of 25"
    assert shown.splitlines()[-2:] == ["done", f"run folder: {tmp_path / 'run'}"]
    assert "parameters on" not in shown, "what happened before is told again"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--resume", "RUN"], "a run has come to its end: say how many more steps to train (--more)."),
        (["--resume", "RUN", "--steps", "9"], "leave out --steps"),
        (["text.txt", "--resume", "RUN"], "leave out CORPUS"),
        (["--more", "5"], "--more goes with --resume"),
        (["--resume", "NOWHERE"], "NOWHERE is not the folder of a run: give one that a training wrote."),
        (["text.txt"], "give --out DIR"),
    ],
)
def test_refusals_at_the_console(
    arguments: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    finish(trainer(tmp_path / "run", steps=10))
    given = [str(tmp_path / "run") if word == "RUN" else word for word in arguments]
    assert cli.main(given) == 2
    shown, errors = capsys.readouterr()
    assert shown == ""
    assert errors.startswith("python -m training: ")
    assert sentence in errors
