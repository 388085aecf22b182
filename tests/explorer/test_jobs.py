"""The queue of trainings: whose turn it is, who may steer, and how many there may be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from explorer.jobs import JobError, Jobs, Run
from explorer.limits import Limits
from explorer.server import Server
from tests.explorer.tiny import LONG, PATIENCE, over, stand_still, states, tiny_trainer, until
from training.events import Failed, Paused, Resumed, Started, Stepped
from training.trainer import Trainer

Submit = Callable[..., Run]
ROOT = Path(__file__).resolve().parents[2]


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
