"""Trainings that are over, that were found on disk, or that another program runs: what the queue makes of them."""

from __future__ import annotations

import gc
import json
import shutil
import subprocess
import sys
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from explorer import jobs as jobs_module
from explorer.jobs import JobError, Jobs, Run
from explorer.limits import Limits
from explorer.server import Server
from tests.explorer.tiny import LONG, PATIENCE, TEXT, over, stand_still, tiny_recipe, tiny_trainer, until
from training.events import Evaluated, Event, Failed, Finished, Paused, Started, Stepped
from training.runs import RunFolder, RunInfo

Submit = Callable[..., Run]
ROOT = Path(__file__).resolve().parents[2]


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
        gc.collect()  # much work with all that the page loads
        time.sleep(0.1)
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
    until(jobs.find(run_id), Failed if ends == "failed" else Finished)
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
