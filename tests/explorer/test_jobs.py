"""The queue of trainings: whose turn it is, who may steer, and what is found on disk after a restart."""

from __future__ import annotations

import gc
import json
import shutil
import subprocess
import sys
import time
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from explorer import jobs as jobs_module
from explorer.jobs import JobError, Jobs, Run
from explorer.limits import Limits
from explorer.server import Server
from tests.explorer.tiny import LONG, PATIENCE, TEXT, over, tiny_recipe, tiny_trainer, until
from training.events import Evaluated, Event, Failed, Paused, Resumed, Started, Stepped
from training.runs import RunFolder, RunInfo
from training.trainer import Trainer

Submit = Callable[..., Run]
ROOT = Path(__file__).resolve().parents[2]


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
    broken.prepared = replace(broken.prepared, data=replace(broken.prepared.data, train=torch.zeros(2)))
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


# A pause makes room, and whoever goes on waits for a turn


def stand_still(jobs: Jobs, run: Run) -> int:
    """Pause a run that trains; the cursor behind its Paused."""
    after = until(run, Stepped, run.log.since(0)[1])
    jobs.control(run.info.id, "pause", run.info.owner or "x")
    return until(run, Paused, after)


def test_a_paused_run_lets_the_next_begin_though_nobody_watches(jobs: Jobs, submit: Submit) -> None:
    first, second = submit(steps=LONG), submit(steps=LONG)
    stand_still(jobs, first)
    until(second, Started)  # no page has asked anything
    assert states(jobs, first, second) == ["paused", "running"]


def test_a_resumed_run_waits_for_its_turn(jobs: Jobs, submit: Submit) -> None:
    first, second = submit(name="first", steps=LONG), submit(name="second", steps=LONG)
    cursor = stand_still(jobs, first)
    at = until(second, Stepped)
    jobs.control(first.info.id, "resume", "x")
    third = submit(name="third", steps=LONG)
    jobs.control(first.info.id, "resume", "x")  # once more changes nothing
    assert states(jobs, first, second, third) == ["queued", "running", "queued"]
    assert [jobs.queue_position(run) for run in (first, second, third)] == [1, 0, 2]
    assert [run.waits_to_go_on for run in (first, second, third)] == [True, False, False]
    for _ in range(5):
        at = until(second, Stepped, at)
        jobs.advance()
    assert first.log.since(cursor) == ([], cursor), "it went on while another trained"
    jobs.control(second.info.id, "stop", "x")
    until(first, Resumed, cursor)
    assert states(jobs, first, over(second), third) == ["running", "stopped", "queued"]
    assert [jobs.queue_position(run) for run in (first, third)] == [0, 1]
    assert third.log.since(0) == ([], 0)


def test_whoever_asked_first_goes_on_first(serve: Callable[..., Server]) -> None:
    """Two that were paused and one that is new; the new one asked between them."""
    jobs = serve(trainings_a_visitor=4).jobs
    submit = lambda name: jobs.submit(tiny_trainer(jobs.root, name, steps=LONG))  # noqa: E731
    runs = [submit(f"run {n}") for n in range(3)]
    at = [stand_still(jobs, runs[0]), stand_still(jobs, runs[1])]
    until(runs[2], Started)
    jobs.control(runs[1].info.id, "resume", "x")
    new = submit("new")
    jobs.control(runs[0].info.id, "resume", "x")
    assert [jobs.queue_position(run) for run in (runs[1], new, runs[0])] == [1, 2, 3]
    jobs.control(runs[2].info.id, "stop", "x")
    until(runs[1], Resumed, at[1])
    jobs.control(runs[1].info.id, "stop", "x")
    until(new, Started)
    jobs.control(new.info.id, "stop", "x")
    until(runs[0], Resumed, at[0])
    assert states(jobs, *runs, new) == ["running", "stopped", "stopped", "stopped"]


def test_one_that_waits_to_go_on_can_be_left_paused_or_stopped(jobs: Jobs, submit: Submit) -> None:
    first, second, third = (submit(steps=LONG) for _ in range(3))
    cursor = stand_still(jobs, first)
    jobs.control(first.info.id, "resume", "x")
    assert [jobs.queue_position(run) for run in (third, first)] == [1, 2]
    jobs.control(first.info.id, "pause", "x")
    assert states(jobs, first) == ["paused"]
    assert [jobs.queue_position(run) for run in (third, first)] == [1, 0]
    jobs.control(first.info.id, "resume", "x")
    jobs.control(first.info.id, "stop", "x")
    assert states(jobs, over(first)) == ["stopped"]
    assert not any(isinstance(event, Resumed) for event in first.log.since(cursor)[0])
    assert jobs.queue_position(third) == 1
    jobs.control(second.info.id, "stop", "x")
    until(third, Started)


def test_a_pause_taken_back_at_once_keeps_its_turn(jobs: Jobs, submit: Submit) -> None:
    """Before it stood still, and around the moment when it does."""
    first, second = submit(steps=LONG), submit(steps=LONG)
    at = until(first, Stepped)
    for _ in range(30):
        jobs.control(first.info.id, "pause", "x")
        jobs.control(first.info.id, "resume", "x")
        given = [run for run in (first, second) if run.turn == "given"]
        assert len(given) == 1, "two have a turn, or nobody"
        if given == [second]:  # it had stood still already, and the other has begun
            break
        at = until(first, Stepped, at)
    else:
        assert states(jobs, first, second) == ["running", "queued"]


def test_what_was_stopped_is_not_woken_by_a_turn(jobs: Jobs, submit: Submit) -> None:
    """A run stopped behind the back of the queue leaves it, and the next in line has its turn."""
    first, second, third = (submit(steps=LONG) for _ in range(3))
    stand_still(jobs, first)
    until(second, Started)
    jobs.control(first.info.id, "resume", "x")
    first.trainer.stop()
    over(first)
    second.trainer.stop()
    until(third, Started)
    assert states(jobs, first, over(second), third) == ["stopped", "stopped", "running"]


def test_paused_runs_count_as_a_visitors(serve: Callable[..., Server]) -> None:
    """They hold memory; else one visitor could fill it with paused ones."""
    jobs = serve(shared=True, trainings_a_visitor=2).jobs
    make = lambda: tiny_trainer(jobs.root, steps=LONG, owner="ada")  # noqa: E731
    first, second = jobs.submit(make()), jobs.submit(make())
    stand_still(jobs, first)
    until(second, Started)
    with pytest.raises(JobError, match="You have 2 trainings running, paused or waiting"):
        jobs.submit(make())


def test_closing_wakes_what_waits_to_go_on_only_to_end_it(
    jobs: Jobs, submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where one that is told to stop has ended, and made room, before the next one is told."""
    stop = Trainer.stop
    monkeypatch.setattr(Trainer, "stop", lambda trainer: (stop(trainer), trainer.join(PATIENCE)))
    first, second, third = (submit(steps=LONG) for _ in range(3))
    cursor = stand_still(jobs, first)
    until(second, Started)
    jobs.control(first.info.id, "resume", "x")
    jobs.close()
    assert states(jobs, first, second, third) == ["stopped"] * 3
    assert [event.kind for event in first.log.since(cursor)[0]] == ["finished"]
    assert [event.kind for event in third.log.since(0)[0]] == ["finished"], "it began while the others ended"
    assert jobs.has_weights(first.info.id)
    with pytest.raises(JobError, match="being shut down"):
        submit()


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
    with pytest.raises(JobError, match="paused, resumed, stopped, or make one step"):
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


# Over, and let go


def held_by(jobs: Jobs, **changes: Any) -> tuple[str, list[weakref.ref[Any]]]:
    """A training that was submitted: its id, and what must not outlive it. Nothing here holds its trainer."""
    trainer = tiny_trainer(jobs.root, **changes)
    run = jobs.submit(trainer)
    return run.info.id, [weakref.ref(trainer), weakref.ref(trainer.prepared.data), weakref.ref(trainer.prepared)]


def gone(refs: list[weakref.ref[Any]]) -> bool:
    """Whether all are gone within a while: the thread of a training lives on for an instant after its last event."""
    until_ = time.monotonic() + PATIENCE
    while any(ref() is not None for ref in refs) and time.monotonic() < until_:
        gc.collect()
        time.sleep(0.01)
    return all(ref() is None for ref in refs)


@pytest.mark.parametrize("ends", ["finished", "failed", "stopped", "stopped in the queue"])
def test_a_run_that_is_over_holds_no_weights_and_no_text(jobs: Jobs, server: Server, ends: str) -> None:
    other, _ = held_by(jobs, steps=LONG) if ends == "stopped in the queue" else ("", [])
    changes = {"finished": {}, "failed": {"until_val_loss": 0.1, "device": "abacus"}}.get(ends, {"steps": LONG})
    run_id, refs = held_by(jobs, **changes)
    if ends == "stopped":
        until(jobs.find(run_id), Evaluated)
        assert refs[0]().snapshot is not None
    if ends.startswith("stopped"):
        jobs.control(run_id, "stop", "x")
    assert gone(refs)
    run = jobs.find(run_id)
    assert (run.state, run.trainer) == (ends.split()[0], None)
    assert (run.info.id, run.folder.path, run.log.tail(1)[0].kind) == (
        run_id, jobs.root / run_id, "failed" if ends == "failed" else "finished",
    )  # fmt: skip
    assert jobs.find(run_id) is run
    assert jobs.has_weights(run_id) == (ends in ("finished", "stopped"))
    if jobs.has_weights(run_id):
        assert server.view(f"run:{run_id}").step > 0  # from the disk
    if other:
        assert jobs.find(other).state == "running"


@pytest.mark.parametrize("name", ["_KEPT_LOGS", "_KEPT_EVENTS"])
def test_the_logs_of_old_runs_are_bounded(
    jobs: Jobs, submit: Submit, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """By their number, and by how long they are together; here so that two fit."""
    runs = [over(submit(name="run 0"))]
    monkeypatch.setattr(jobs_module, name, 2 if name == "_KEPT_LOGS" else 2 * runs[0].log.since(0)[1] + 3)
    runs += [over(submit(name=f"run {n}")) for n in range(1, 4)]
    refs, logs = [weakref.ref(run.log) for run in runs], [run.log.since(0) for run in runs]
    ids = [run.info.id for run in runs]
    runs.clear()
    assert gone(refs[:2])
    assert [ref() is None for ref in refs] == [True, True, False, False]
    assert [jobs.find(run_id).log.since(0) for run_id in ids] == logs  # read again where they were forgotten
    assert [jobs.find(run_id).state for run_id in ids] == ["finished"] * 4


def test_another_run_in_the_same_folder_is_read_anew(jobs: Jobs, submit: Submit) -> None:
    run = over(submit(name="first"))
    assert jobs.find(run.info.id).info.name == "first"
    run.folder.delete()
    with pytest.raises(JobError, match="not here"):
        jobs.find(run.info.id)
    folder = RunFolder.create(run.folder.path, "second", tiny_recipe(), {"name": "tiny"})
    folder.append(Failed(3, 1.0, "The disk is full."))
    folder.close()
    found = jobs.find(run.info.id)
    assert (found.info.name, found.state, found.log.since(0)[1]) == ("second", "failed", 1)


def test_a_folder_with_a_name_of_ones_own_is_found(jobs: Jobs) -> None:
    """`--out "runs/été 2"` is a run like any other; one that no id can name is not listed."""
    for name in ("été 2", "_hidden", "-x"):
        RunFolder.create(jobs.root / name, "a run", tiny_recipe(), {"name": "tiny"})
    assert [info.id for info in jobs.listed("x")] == ["été 2"]
    assert jobs.find("été 2").info.id == "été 2"


# Trained by another program


def follow_until(jobs: Jobs, run_id: str, kind: type[Event], after: int = 0) -> int:
    """Ask for a run again and again until an event of a kind is there; the cursor behind it."""
    until_ = time.monotonic() + PATIENCE
    while time.monotonic() < until_:
        begun = (jobs.root / run_id / "config.json").exists()
        for number, event in enumerate(jobs.find(run_id).log.since(after)[0] if begun else []):
            if isinstance(event, kind):
                return after + number + 1
        time.sleep(0.02)
    raise AssertionError(f"no {kind.__name__} came")


def test_a_run_of_another_server_is_followed_and_not_steered(jobs: Jobs, submit: Submit) -> None:
    run = submit(name="theirs", steps=LONG)
    here = restarted(jobs)
    cursor = follow_until(here, run.info.id, Stepped)
    followed = here.find(run.info.id)
    assert (followed.state, followed.trainer, followed.elsewhere) == ("running", None, True)
    for _ in range(3):
        cursor = follow_until(here, run.info.id, Stepped, cursor)  # it grows
    assert here.find(run.info.id) is followed
    for action in ("pause", "resume", "stop"):
        with pytest.raises(JobError, match="Another program trains this run"):
            here.control(run.info.id, action, "x")
    assert here.active("x") is followed
    stand_still(jobs, run)
    follow_until(here, run.info.id, Paused)
    assert here.find(run.info.id).state == "paused"
    waits = submit(name="also theirs", steps=LONG)
    jobs.control(run.info.id, "stop", "x")
    over(run)
    assert here.find(run.info.id).state == "stopped"
    assert here.find(run.info.id).log.since(0) == run.log.since(0)
    assert here.find(waits.info.id).state == "running"


def test_a_run_from_the_command_line_is_followed_until_it_is_killed(server: Server, tmp_path: Path) -> None:
    """The real program. It dies without a word, and from then on the run is interrupted and not running."""
    jobs, text = server.jobs, tmp_path / "corpus.txt"
    text.write_text(TEXT)
    options = f"--layers 1 --heads 2 --width 16 --context 8 --steps {LONG} --batch-size 4 --warmup-steps 0 --threads 1"
    more = "--eval-every 2 --sample-every 0 --device cpu --tokenizer char --quiet".split()
    command = [sys.executable, "-m", "training", str(text), "--out", str(jobs.root / "mine"), *options.split(), *more]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            cursor = follow_until(jobs, "mine", Evaluated)
            for _ in range(3):
                cursor = follow_until(jobs, "mine", Stepped, cursor)
            assert jobs.find("mine").state == "running"
            assert [info.id for info in jobs.listed("x")] == ["mine"]
            assert jobs.active("x") is jobs.find("mine")
            follow_until(jobs, "mine", Evaluated, cursor)
            assert server.view("run:mine").step > 0
            with pytest.raises(JobError, match="stop it there"):
                jobs.control("mine", "stop", "x")
        finally:
            process.kill()
    assert jobs.find("mine").state == "interrupted"
    assert jobs.active("x") is None
    with pytest.raises(JobError, match="over already"):
        jobs.control("mine", "stop", "x")


def test_strangers_are_not_told_of_the_owners_own_programs(serve: Callable[..., Server]) -> None:
    jobs = serve(shared=True).jobs
    folder = RunFolder.create(jobs.root / "mine", "mine", tiny_recipe(), {"name": "tiny"})
    folder.hold()
    try:
        assert jobs.find("mine").state == "running"
        assert jobs.active("eve") is None
        with pytest.raises(JobError, match="Only the browser"):
            jobs.control("mine", "stop", "eve")
    finally:
        folder.close()
