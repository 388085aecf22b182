"""The queue of trainings: whose turn it is, who may steer, and what is found on disk after a restart."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from explorer.jobs import JobError, Jobs, Run
from explorer.limits import Limits
from explorer.server import Server
from tests.explorer.tiny import LONG, over, tiny_recipe, tiny_trainer, until
from training.events import Failed, Paused, Resumed, Started, Stepped
from training.runs import RunFolder, RunInfo
from training.trainer import Trainer

Submit = Callable[..., Run]


@pytest.fixture
def jobs(server: Server) -> Jobs:
    return server.jobs


def states(jobs: Jobs, *runs: Run) -> list[str]:
    return [jobs.find(run.info.id).state for run in runs]


# Whose turn it is


def test_trainings_take_their_turn_in_order(jobs: Jobs, submit: Submit) -> None:
    first, second, third = (submit(name=name, steps=LONG) for name in ("first", "second", "third"))
    assert states(jobs, first, second, third) == ["running", "queued", "queued"]
    assert [jobs.queue_position(run) for run in (first, second, third)] == [0, 1, 2]
    until(first, Stepped)
    assert third.log.since(0) == ([], 0)
    first.trainer.stop()
    until(second, Started)
    assert states(jobs, over(first), second, third) == ["stopped", "running", "queued"]
    assert [jobs.queue_position(run) for run in (first, second, third)] == [0, 0, 1]
    jobs.control(third.info.id, "stop", "anybody")  # in the queue: it never begins
    assert states(jobs, second, third) == ["running", "stopped"]
    second.trainer.stop()
    assert states(jobs, over(second), third) == ["stopped", "stopped"]


def test_a_run_that_ends_by_itself_lets_the_next_begin(jobs: Jobs, submit: Submit) -> None:
    runs = [submit(name=f"run {n}") for n in range(3)]
    for run in runs:
        until(run, Started)
        over(run)
    assert states(jobs, *runs) == ["finished"] * 3
    assert [jobs.queue_position(run) for run in runs] == [0, 0, 0]


def test_a_run_that_breaks_lets_the_next_begin(jobs: Jobs, caplog: pytest.LogCaptureFixture) -> None:
    broken, after = tiny_trainer(jobs.root), tiny_trainer(jobs.root)
    broken.data = replace(broken.data, train=torch.zeros(2))
    first, second = jobs.submit(broken), jobs.submit(after)
    assert states(jobs, over(first), over(second)) == ["failed", "finished"]
    assert "broke" in caplog.text
    assert isinstance(first.log.tail(1)[0], Failed)


def test_as_many_train_at_once_as_there_is_room_for(tmp_path: Path) -> None:
    jobs = Jobs(tmp_path, Limits(), at_once=2)
    runs = [jobs.submit(tiny_trainer(tmp_path, f"run {n}", steps=LONG)) for n in range(3)]
    try:
        until(runs[0], Stepped)
        until(runs[1], Stepped)
        assert states(jobs, *runs) == ["running", "running", "queued"]
        jobs.control(runs[0].info.id, "stop", "x")
        until(runs[2], Started)
        assert states(jobs, over(runs[0]), *runs[1:]) == ["stopped", "running", "running"]
    finally:
        jobs.close()
    assert states(jobs, *runs) == ["stopped"] * 3


def test_the_header_mentions_what_trains_before_what_waits(serve: Callable[..., Server]) -> None:
    jobs = serve(shared=True).jobs
    runs = [jobs.submit(tiny_trainer(jobs.root, steps=LONG, owner=owner)) for owner in ("ada", "bob", "ada", "bob")]
    assert jobs.active("ada") is runs[0]
    assert jobs.active("bob") is runs[1]  # it waits, but it is theirs
    assert jobs.active("eve") is None
    runs[0].trainer.stop()
    until(runs[1], Started)
    assert jobs.active("ada") is runs[2]
    assert jobs.active("bob") is runs[1]


# How many


def test_a_visitor_may_have_so_many_and_others_too(serve: Callable[..., Server]) -> None:
    jobs = serve(shared=True, trainings_a_visitor=2, trainings_queued=4).jobs
    make = lambda owner: tiny_trainer(jobs.root, steps=LONG, owner=owner)  # noqa: E731
    ada = [jobs.submit(make("ada")) for _ in range(2)]
    with pytest.raises(JobError, match="You have 2 trainings"):
        jobs.submit(make("ada"))
    bob = [jobs.submit(make("bob")) for _ in range(2)]
    jobs.control(ada[1].info.id, "stop", "ada")
    jobs.submit(make("ada"))  # what is over does not count
    with pytest.raises(JobError, match="4 trainings wait already"):
        jobs.submit(make("eve"))
    assert states(jobs, *ada, *bob) == ["running", "stopped", "queued", "queued"]


# Steering


@pytest.mark.parametrize("shared", [False, True])
def test_the_owner_pauses_resumes_and_stops(serve: Callable[..., Server], shared: bool) -> None:
    jobs = serve(shared=shared).jobs
    run = jobs.submit(tiny_trainer(jobs.root, steps=LONG, owner="ada" if shared else None))
    jobs.control(run.info.id, "pause", "ada")
    at = until(run, Paused)
    assert run.state == "paused"
    jobs.control(run.info.id, "resume", "ada")
    until(run, Resumed, at)
    jobs.control(run.info.id, "stop", "ada")
    assert over(run).state == "stopped"
    for action in ("pause", "resume", "stop"):
        with pytest.raises(JobError, match="over already"):
            jobs.control(run.info.id, action, "ada")


def test_a_stranger_may_watch_and_not_steer(serve: Callable[..., Server]) -> None:
    jobs = serve(shared=True).jobs
    run = jobs.submit(tiny_trainer(jobs.root, steps=LONG, owner="ada"))
    for action in ("pause", "resume", "stop", "delete"):
        with pytest.raises(JobError, match="Only the browser that started"):
            jobs.control(run.info.id, action, "eve")
    until(run, Stepped)
    assert jobs.find(run.info.id) is run
    assert run.state == "running"
    assert (jobs.owns(run, "ada"), jobs.owns(run, "eve")) == (True, False)
    assert ([info.id for info in jobs.listed("ada")], jobs.listed("eve")) == ([run.info.id], [])


def test_runs_of_a_shared_server_without_an_owner_are_nobodys(serve: Callable[..., Server]) -> None:
    """Trained on one's own machine, then shown to strangers: nobody's token is None."""
    jobs = serve(shared=True).jobs
    run = jobs.submit(tiny_trainer(jobs.root, owner=None))
    assert not jobs.owns(run, "eve")
    assert jobs.listed("eve") == []


@pytest.mark.parametrize("action", [None, "", "kill", "PAUSE", "pause ", 5, True, ["stop"], {"action": "stop"}])
def test_an_unknown_action_is_refused(jobs: Jobs, submit: Submit, action: Any) -> None:
    run = submit(steps=LONG)
    with pytest.raises(JobError, match="paused, resumed or stopped"):
        jobs.control(run.info.id, action, "x")
    assert run.state == "running"


# Found on disk


def restarted(jobs: Jobs) -> Jobs:
    """The jobs of a new process on the same folder."""
    return Jobs(jobs.root, Limits())


def test_a_past_run_is_found_after_a_restart(jobs: Jobs, submit: Submit) -> None:
    finished, stopped = over(submit(name="one")), submit(name="two", steps=LONG)
    until(stopped, Stepped)
    jobs.control(stopped.info.id, "stop", "x")
    over(stopped)
    later = restarted(jobs)
    for run, state in ((finished, "finished"), (stopped, "stopped")):
        found = later.find(run.info.id)
        assert (found.info, found.state, found.trainer) == (run.info, state, None)
        assert found.log.since(0) == run.log.since(0)
        assert later.find(run.info.id) is found
        assert later.has_weights(run.info.id)
        assert later.queue_position(found) == 0
        with pytest.raises(JobError, match="over already"):
            later.control(run.info.id, "resume", "x")
    assert {info.id for info in later.listed("x")} == {finished.info.id, stopped.info.id}
    assert later.active("x") is None


@pytest.mark.parametrize("tail", ["", '{"event": "step", "st', "{}\n", '{"event": "unheard of"}\n'])
def test_a_run_that_the_program_outlived_is_interrupted(jobs: Jobs, submit: Submit, tail: str) -> None:
    run = over(submit())
    path = run.folder.path / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-1]) + tail)  # as a killed program leaves it
    found = restarted(jobs).find(run.info.id)
    assert found.state == "interrupted"
    assert found.log.since(0)[0] == run.log.since(0)[0][:-1]


def test_a_failed_run_stays_failed(jobs: Jobs) -> None:
    folder = RunFolder.create(jobs.root / "bad", "bad", tiny_recipe(), {"name": "tiny"})
    folder.append(Failed(3, 1.0, "The disk is full."))
    folder.close()
    assert jobs.find("bad").state == "failed"
    assert not jobs.has_weights("bad")


def test_a_run_with_nothing_written_is_interrupted(jobs: Jobs) -> None:
    RunFolder.create(jobs.root / "begun", "begun", tiny_recipe(), {"name": "tiny"})
    assert jobs.find("begun").state == "interrupted"


ELSEWHERE = [
    *["", ".", "..", "../outside", "a/../../outside", "../../etc", "/etc/passwd", "..\\outside", "./inside"],
    *["inside/", "/inside", "inside/../inside", "inside\x00", "inside\n", ".hidden", "-x", "~", "%2e%2e/outside"],
    *["ï", "x" * 121, "\ud800", None, 5, True, 1.5, ["inside"], {"id": "inside"}, b"inside"],
]


@pytest.mark.parametrize("run_id", ELSEWHERE, ids=lambda value: ascii(value)[:30])
def test_no_id_leads_out_of_the_folder(tmp_path: Path, run_id: Any) -> None:
    """Runs lie inside, above and beside; only the one inside has a name that is taken."""
    root = tmp_path / "runs"
    for path in (root, tmp_path / "outside", root / "inside", root / ".hidden"):
        RunFolder.create(path, "a run", tiny_recipe(), {"name": "tiny"})
    jobs = Jobs(root, Limits())
    with pytest.raises(JobError, match="This run is not here"):
        jobs.find(run_id)
    with pytest.raises(JobError, match="This run is not here"):
        jobs.control(run_id, "stop", "x")
    assert jobs.find("inside").info.id == "inside"


def test_an_unknown_run_gets_a_sentence(jobs: Jobs) -> None:
    with pytest.raises(JobError, match="ask for the link again"):
        jobs.find("tales-fast-" + "0" * 32)


@pytest.mark.parametrize("config", ["", "{", "[]", "null", "{}", json.dumps({"name": "x", "corpus": []})])
def test_a_damaged_run_is_not_here(jobs: Jobs, config: str) -> None:
    RunFolder.create(jobs.root / "fine", "fine", tiny_recipe(), {"name": "tiny"})
    (jobs.root / "bent").mkdir()
    (jobs.root / "bent" / "config.json").write_text(config)
    with pytest.raises(JobError):
        jobs.find("bent")
    assert [info.id for info in jobs.listed("x")] == ["fine"]


def test_many_past_runs_can_be_looked_at_in_turn(jobs: Jobs) -> None:
    """More than are kept in memory, twice over: each is read again where it was forgotten."""
    for n in range(25):
        folder = RunFolder.create(jobs.root / f"run-{n}", f"run {n}", tiny_recipe(), {"name": "tiny"})
        folder.append(Started(0, 0.0, n, 1, "cpu"))
        folder.close()
    for _ in range(2):
        for n in range(25):
            assert jobs.find(f"run-{n}").log.tail(1) == [Started(0, 0.0, n, 1, "cpu")]


def test_a_run_begun_here_is_in_the_list_at_once(jobs: Jobs, submit: Submit) -> None:
    assert jobs.listed("x") == []
    runs: list[RunInfo] = []
    for n in range(3):
        runs.append(submit(name=f"run {n}").info)
        assert {info.id for info in jobs.listed("x")} == {info.id for info in runs}


def test_a_run_removed_from_disk_does_not_break_the_list(jobs: Jobs, submit: Submit) -> None:
    run = over(submit())
    shutil.rmtree(run.folder.path)
    assert restarted(jobs).listed("x") == []
    with pytest.raises(JobError):
        restarted(jobs).find(run.info.id)


def test_closing_ends_every_training_and_keeps_its_weights(jobs: Jobs, submit: Submit) -> None:
    runs = [submit(steps=LONG) for _ in range(3)]
    until(runs[0], Stepped)
    jobs.close()
    assert states(jobs, *runs) == ["stopped"] * 3
    trainer = runs[0].trainer
    assert isinstance(trainer, Trainer)
    assert trainer.over
    assert runs[0].folder.newest_checkpoint() is not None
    assert not jobs.has_weights(runs[2].info.id)
