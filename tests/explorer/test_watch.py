"""What the page hears of a training: each event once, the figures of metrics.jsonl, and who may steer."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Callable
from typing import Any

import pytest

from explorer.jobs import Jobs, Run
from explorer.limits import Limits
from explorer.server import Server, answering
from explorer.watch import control, pulse
from tests.explorer.tiny import (
    LONG,
    ask,
    over,
    paused_at_once,
    sentence,
    tiny_recipe,
    tiny_trainer,
    token,
    until,
    visitor,
)
from training.events import Evaluated, Event, Failed, Finished, Paused, Resumed, Sampled, Started, Stepped
from training.runs import RunFolder

Submit = Callable[..., Run]


def beat(server: Server, run: Any = None, since: Any = 0, who: int = 1) -> dict[str, Any]:
    """One pulse; a refusal fails the test."""
    run_id = run.info.id if isinstance(run, Run) else run
    reply = try_beat(server, {"session": token(who), "run": run_id, "since": since})
    assert reply["ok"], reply
    return reply


def try_beat(server: Server, request: Any) -> dict[str, Any]:
    return answering(lambda raw: pulse(server, raw))(request)


def steer(server: Server, **request: Any) -> dict[str, Any]:
    return answering(lambda raw: control(server, raw))({"session": token(1), **request})


def measured(run: Run, kind: str) -> list[dict[str, Any]]:
    """The lines of one kind in metrics.jsonl."""
    lines = (run.folder.path / "metrics.jsonl").read_text().splitlines()
    return [line for line in map(json.loads, lines) if line["event"] == kind]


def five(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.7g}")


# Nothing is watched


def test_without_a_run_there_are_the_models_and_what_trains(server: Server, submit: Submit) -> None:
    reply = beat(server)
    assert reply == {"ok": True, "models": server.shelf.shipped(), "active": None, "run": None}
    run = submit(name="mine", steps=LONG)
    until(run, Stepped)
    active = beat(server)["active"]
    assert set(active) == {"name", "run", "state", "step", "steps", "seconds_left"}
    assert (active["name"], active["run"], active["state"], active["steps"]) == ("mine", run.info.id, "running", LONG)


def test_visitors_of_a_shared_server_see_their_own_runs(serve: Callable[..., Server]) -> None:
    server = serve(shared=True)
    ada = visitor(server, 1).owner
    run = over(server.jobs.submit(tiny_trainer(server.jobs.root, "ada's", ada)))
    waits = server.jobs.submit(tiny_trainer(server.jobs.root, "ada's second", ada, steps=LONG))
    refs = [item["ref"] for item in beat(server, who=1)["models"]]
    assert f"run:{run.info.id}" in refs
    assert beat(server, who=1)["active"]["run"] == waits.info.id
    assert [item["source"] for item in beat(server, who=2)["models"]] == ["shipped", "shipped"]
    assert beat(server, who=2)["active"] is None
    seen = beat(server, run, who=2)["run"]  # by its link it can be watched
    assert (seen["id"], seen["mine"]) == (run.info.id, False)
    assert beat(server, run, who=1)["run"]["mine"]


# A run is watched


def test_each_event_comes_exactly_once(server: Server) -> None:
    """A reader that asks while the run goes on, and one that comes afterwards, gather the same."""
    run = paused_at_once(server, steps=60, eval_every=7, sample_every=20, sample_tokens=5)
    live: dict[str, list[Any]] = {"step": [], "loss": [], "evals": [], "samples": []}
    cursor, calls = 0, 0
    while True:
        ended = run.trainer.over
        reply = beat(server, run, cursor)
        assert reply["cursor"] >= cursor
        cursor, calls = reply["cursor"], calls + 1
        live["step"] += reply["points"]["step"]
        live["loss"] += reply["points"]["loss"]
        live["evals"] += reply["evals"]["step"]
        live["samples"] += [sample["step"] for sample in reply["samples"]]
        if ended:
            break
        run.trainer.resume()
        run.log.wait(cursor, 1)
    assert calls > 1
    assert cursor == len(run.log.since(0)[0])
    whole = beat(server, run)
    assert live["step"] == whole["points"]["step"] == list(range(1, 61))
    assert live["loss"] == whole["points"]["loss"]
    assert live["evals"] == whole["evals"]["step"] == [0, *range(7, 61, 7), 60]
    assert live["samples"] == [sample["step"] for sample in whole["samples"]] == [0, 20, 40, 60]
    after = beat(server, run, cursor)
    assert (after["points"], after["samples"], after["cursor"]) == ({"step": [], "loss": []}, [], cursor)


def test_any_cursor_splits_the_events_in_two(server: Server, submit: Submit) -> None:
    run = over(submit(steps=9, eval_every=3, sample_every=3, sample_tokens=3))
    whole = beat(server, run)
    for cursor in range(whole["cursor"] + 3):
        kinds = run.log.since(0)[0][cursor:]
        reply = beat(server, run, cursor)
        assert reply["points"]["step"] == [event.step for event in kinds if isinstance(event, Stepped)]
        assert reply["evals"]["step"] == [event.step for event in kinds if isinstance(event, Evaluated)]
        assert len(reply["samples"]) == sum(isinstance(event, Sampled) for event in kinds)


def test_points_are_those_of_metrics_jsonl(server: Server, submit: Submit) -> None:
    run = over(submit(steps=12, eval_every=4, sample_every=6, sample_tokens=9))
    again = Jobs(server.jobs.root, Limits()).find(run.info.id)
    reply, later = beat(server, run), beat(on_these(server, Jobs(server.jobs.root, Limits())), again)
    steps, evals = measured(run, "step"), measured(run, "eval")
    assert reply["points"] == {
        "step": [line["step"] for line in steps],
        "loss": [five(line["loss"]) for line in steps],
    }
    assert reply["evals"] == {
        "step": [line["step"] for line in evals],
        "train": [five(line.get("loss")) for line in evals],
        "val": [five(line["val_loss"]) for line in evals],
        "bits_per_byte": [five(line["bits_per_byte"]) for line in evals],
    }
    assert reply["evals"]["train"][0] is None  # before the first step there is no training loss
    assert reply["samples"] == [
        {name: line[name] for name in ("step", "prompt", "text")} for line in measured(run, "sample")
    ]
    (known,) = measured(run, "baselines")
    assert [(b["name"], b["value"], b["bits"]) for b in reply["baselines"]] == [
        (name, known["nats"][name], known["bits"][name]) for name in known["nats"]
    ]
    assert len(reply["baselines"]) == 5
    for part in ("points", "evals", "samples", "cursor", "baselines"):
        assert later[part] == reply[part]  # a restart changes nothing
    json.dumps(reply, allow_nan=False)


def on_these(server: Server, jobs: Jobs) -> Server:
    other = Server(jobs.root, server.jobs.root.parent / "no weights", Limits())
    other.jobs = jobs
    return other


def written(server: Server, name: str, events: list[Event], **changes: Any) -> None:
    """A run on disk with these events."""
    folder = RunFolder.create(server.jobs.root / name, name, tiny_recipe(**changes), {"name": "tiny"})
    lines = "".join(json.dumps(event.to_dict()) + "\n" for event in events)
    (folder.path / "metrics.jsonl").write_text(lines)


@pytest.mark.parametrize(("count", "stride"), [(7_999, 1), (8_000, 1), (8_001, 2), (20_000, 3)])
def test_a_long_run_is_thinned_out_evenly(server: Server, count: int, stride: int) -> None:
    events: list[Event] = [Stepped(n, n / 10, 3 - n / 1e5, 1e-3, 1.0, 100.0) for n in range(1, count + 1)]
    written(server, "long", events, steps=count)
    reply = beat(server, "long")
    assert reply["points"]["step"] == list(range(1, count + 1, stride))
    assert len(reply["points"]["step"]) <= 8_000
    assert reply["points"]["loss"] == [five(3 - n / 1e5) for n in reply["points"]["step"]]
    assert reply["cursor"] == count
    assert reply["run"]["step"] == count


# How it stands


def stands_still(server: Server, **changes: Any) -> Run:
    """A run that was paused after some steps."""
    run = paused_at_once(server, **{"eval_every": LONG, **changes})
    at = until(run, Paused)
    assert steer(server, run=run.info.id, action="resume") == {"ok": True}
    for _ in range(5):
        at = until(run, Stepped, at)
    assert steer(server, run=run.info.id, action="pause") == {"ok": True}
    until(run, Paused, at)
    return run


def test_figures_are_those_of_the_last_steps(server: Server) -> None:
    run = stands_still(server)
    steps = [event for event in run.log.since(0)[0] if isinstance(event, Stepped)]
    last, recent = steps[-1], steps[-40:]
    seen = beat(server, run)["run"]
    assert (seen["state"], seen["step"], seen["steps"]) == ("paused", last.step, LONG)
    assert (seen["learning_rate"], seen["grad_norm"]) == (last.lr, last.grad_norm)
    assert seen["tokens_per_s"] == statistics.median(event.tokens_per_s for event in recent)
    took = (recent[-1].wall_s - recent[0].wall_s) / (len(recent) - 1)
    assert seen["seconds_left"] == pytest.approx((LONG - last.step) * took)
    assert seen["snapshot_step"] == last.step
    assert (seen["ref"], seen["link"]) == (f"run:{run.info.id}", f"?run={run.info.id}")
    assert (seen["corpus"], seen["mine"], seen["queue_position"]) == ("tiny.txt", True, 0)


def test_pace_is_that_of_the_last_forty_steps(server: Server) -> None:
    """Slow at first, then ten steps a second: what is left is reckoned at the pace of now."""
    run = stands_still(server, steps=100_000)
    run.log._events.clear()
    for n in range(1, 201):
        run.log.append(Stepped(n, min(n, 161) * 60 + max(0, n - 161) / 10, 2.0, 1e-3, 1.0, 50.0))
        if n % 5 == 0:
            run.log.append(Evaluated(n, 0.0, 2.0, 2.0, 1.0, False))
    assert beat(server, run)["run"]["seconds_left"] == pytest.approx((100_000 - 200) / 10)


def test_before_two_steps_nothing_is_foretold(server: Server) -> None:
    run = stands_still(server)
    for events in ([], [Stepped(1, 0.5, 2.0, 1e-3, 1.0, 50.0)]):
        run.log._events[:] = events
        seen = beat(server, run)["run"]
        assert seen["seconds_left"] is None
        assert seen["step"] == len(events)


def test_a_run_in_the_queue_says_how_long_the_line_is(server: Server, submit: Submit) -> None:
    submit(steps=LONG)
    second, third = submit(name="second"), submit(name="third")
    for run, position in ((second, 1), (third, 2)):
        reply = beat(server, run)
        seen = reply["run"]
        assert (seen["state"], seen["queue_position"], seen["step"]) == ("queued", position, 0)
        assert seen["snapshot_step"] is seen["seconds_left"] is None
        assert re.fullmatch(
            r"a run trains now( and needs about \d+ min more)?; pause it to let this one begin\.", seen["message"]
        )
        assert reply["points"] == {"step": [], "loss": []}
        assert reply["cursor"] == 0


def test_a_resumed_run_that_waits_says_what_it_waits_for(server: Server, submit: Submit) -> None:
    run = stands_still(server)
    cursor = run.log.since(0)[1]
    other = submit(steps=LONG)
    until(other, Stepped)
    assert steer(server, run=run.info.id, action="resume") == {"ok": True}
    seen = beat(server, run)["run"]
    assert (seen["state"], seen["queue_position"]) == ("queued", 1)
    assert seen["message"] == f"It goes on from step {seen['step']:,} once another training ends or is paused."
    assert seen["step"] > 0
    assert seen["snapshot_step"] == seen["step"]  # it can be looked into meanwhile
    assert seen["seconds_left"] is None
    assert beat(server, other)["active"]["run"] == other.info.id
    assert steer(server, run=other.info.id, action="pause") == {"ok": True}
    until(run, Resumed, cursor)
    seen = beat(server, run)["run"]
    assert (seen["state"], seen["queue_position"], seen["message"]) == ("running", 0, None)


def test_the_step_to_look_into_is_that_of_the_weights(server: Server, submit: Submit) -> None:
    """Trained at a rate that spoils the model after its best measurement: the best is opened, and not the last."""
    run = over(submit(steps=40, eval_every=4, learning_rate=0.2, warmup_steps=0, schedule="constant"))
    evals = [event for event in run.log.since(0)[0] if isinstance(event, Evaluated) and event.step]
    best = min(evals, key=lambda event: event.val_loss or 0)
    assert best.step < 40  # else this shows nothing
    for jobs in (server.jobs, Jobs(server.jobs.root, Limits())):
        server.jobs = jobs  # while it is remembered, and after a restart
        seen = beat(server, run)["run"]
        assert (seen["state"], seen["step"], seen["snapshot_step"]) == ("finished", 40, best.step)
        assert server.view(seen["ref"]).step == server.view(seen["ref"], fresh=True).step == best.step
        assert ask(server, prompt="the cat", model=seen["ref"])["model"]["step"] == best.step
    (run.folder.checkpoint("best") / "checkpoint.json").write_text("{")
    assert beat(server, run)["run"]["snapshot_step"] is None  # a damaged one cannot be looked into


def test_a_run_of_another_program_grows_in_the_page(server: Server, submit: Submit) -> None:
    run = submit(steps=LONG, eval_every=2)
    here = on_these(server, Jobs(server.jobs.root, Limits()))
    until(run, Evaluated, until(run, Evaluated))
    first = beat(here, run.info.id)
    seen = first["run"]
    assert (seen["state"], seen["mine"], seen["queue_position"]) == ("running", False, 0)
    assert "Another program trains this run" in seen["message"]
    assert "Another program trains this run" in sentence(steer(here, run=run.info.id, action="stop"))
    assert first["active"]["run"] == run.info.id
    until(run, Evaluated, until(run, Stepped, first["cursor"]))
    more = beat(here, run.info.id, first["cursor"])
    assert first["points"]["step"] + more["points"]["step"] == list(range(1, more["run"]["step"] + 1))
    assert more["run"]["step"] > seen["step"]
    assert isinstance(more["run"]["seconds_left"], float)
    assert steer(server, run=run.info.id, action="stop") == {"ok": True}
    over(run)
    last = beat(here, run.info.id)
    assert (last["run"]["state"], last["run"]["mine"], last["active"]) == ("stopped", True, None)
    assert last["points"] == beat(server, run.info.id)["points"]
    assert last["run"]["snapshot_step"] == here.view(f"run:{run.info.id}").step


def test_a_finished_run_has_no_time_left_and_nothing_to_say(server: Server, submit: Submit) -> None:
    run = over(submit(steps=6))
    seen = beat(server, run)["run"]
    assert (seen["state"], seen["step"], seen["seconds_left"], seen["message"]) == ("finished", 6, None, None)
    assert seen["snapshot_step"] == 6


@pytest.mark.parametrize(
    ("events", "state", "says"),
    [
        ([Finished(9, 1.0, "target")], "finished", "after 9 steps"),
        ([Finished(9, 1.0, "done")], "finished", None),
        ([Finished(9, 1.0, "stopped")], "stopped", None),
        ([Failed(9, 1.0, "The disk is full: make room.")], "failed", "The disk is full: make room."),
        ([Started(0, 0.0, 6, 10, "cpu")], "interrupted", "The program ended before this training did."),
        ([], "interrupted", "The program ended before this training did."),
    ],
)
def test_how_a_run_ended_is_said(server: Server, events: list[Event], state: str, says: str | None) -> None:
    written(server, "past", events)
    seen = beat(server, "past")["run"]
    assert seen["state"] == state
    assert (seen["message"] is None) == (says is None)
    assert says is None or says in seen["message"]
    assert seen["snapshot_step"] is None  # there are no weights


# Requests that make no sense


@pytest.mark.parametrize("request_", [None, 5, [], "pulse", {}, {"session": None}, {"session": "v1"}])
def test_a_pulse_without_a_visitor_is_refused(server: Server, request_: Any) -> None:
    assert "visitor id" in sentence(try_beat(server, request_))
    assert "visitor id" in sentence(answering(lambda raw: control(server, raw))(request_))


@pytest.mark.parametrize("run", ["nothing", "../runs", "..", "/etc/passwd", 5, True, ["a"], {"a": 1}, "x" * 500])
def test_a_run_that_is_not_there_is_said(server: Server, run: Any) -> None:
    assert "not here" in sentence(try_beat(server, {"session": token(1), "run": run}))
    assert "not here" in sentence(steer(server, run=run, action="stop"))


@pytest.mark.parametrize("run", [None, "", 0, False, [], {}])
def test_no_run_is_no_mistake(server: Server, run: Any) -> None:
    assert try_beat(server, {"session": token(1), "run": run})["run"] is None


@pytest.mark.parametrize("since", [None, -1, -(10**30), "5", 1.5, True, [], {}, float("nan"), float("inf")])
def test_a_cursor_that_makes_no_sense_reads_from_the_start(server: Server, submit: Submit, since: Any) -> None:
    run = over(submit())
    assert beat(server, run, since)["points"]["step"] == [1, 2, 3, 4, 5, 6]


def test_a_cursor_beyond_the_end_waits_there(server: Server, submit: Submit) -> None:
    run = over(submit())
    for since in (10**6, 2**63, 10**30):
        reply = beat(server, run, since)
        assert (reply["points"]["step"], reply["run"]["state"]) == ([], "finished")


# Steering


def test_the_page_pauses_resumes_and_stops(server: Server, submit: Submit) -> None:
    run = stands_still(server)
    before = beat(server, run)
    assert before["run"]["state"] == "paused"
    assert steer(server, run=run.info.id, action="resume") == {"ok": True}
    until(run, Stepped, before["cursor"])
    assert steer(server, run=run.info.id, action="stop") == {"ok": True}
    over(run)
    seen = beat(server, run)["run"]
    assert (seen["state"], seen["seconds_left"]) == ("stopped", None)
    assert "over already" in sentence(steer(server, run=run.info.id, action="stop"))
    assert "stopped" in sentence(steer(server, run=submit(steps=LONG).info.id, action=["stop"]))


def test_a_paused_run_makes_room_for_the_next(server: Server, submit: Submit) -> None:
    """Nobody has to stop a run for the next to begin; the first pulse after the pause sees to it."""
    run = stands_still(server)
    waits = submit(steps=LONG)
    until(waits, Stepped)
    also = submit(steps=LONG)
    assert beat(server, also)["run"]["queue_position"] == 1
    assert steer(server, run=waits.info.id, action="pause") == {"ok": True}
    until(waits, Paused)
    assert beat(server, also)["run"]["state"] == "running"
    until(also, Stepped)
    assert [beat(server, one)["run"]["state"] for one in (run, waits, also)] == ["paused", "paused", "running"]


def test_a_stranger_may_watch_and_not_steer(serve: Callable[..., Server]) -> None:
    server = serve(shared=True)
    run = server.jobs.submit(tiny_trainer(server.jobs.root, owner=visitor(server, 2).owner, steps=LONG))
    until(run, Stepped)
    assert "Only the browser that started" in sentence(steer(server, run=run.info.id, action="stop"))
    assert beat(server, run)["run"]["state"] == "running"
    assert not beat(server, run)["run"]["mine"]
    assert steer(server, session=token(2), run=run.info.id, action="stop") == {"ok": True}
