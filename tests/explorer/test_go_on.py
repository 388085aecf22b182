"""Going on with runs that are over, from the page: after a stop, a restart of the server, an end; and looking back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from explorer.decode import decode
from explorer.jobs import JobError, Jobs
from explorer.limits import Limits
from explorer.server import Server, answering
from explorer.watch import control, pulse
from model import open_checkpoint
from tests.explorer.tiny import LONG, TEXT, ask, over, sentence, tiny_trainer, token, until
from training.events import Finished, Started, Stepped, TakenUp
from training.resume import resumable_step
from training.runs import RunError, RunFolder


def press(server: Server, run: str, who: int = 1, **request: Any) -> dict[str, Any]:
    return answering(lambda raw: control(server, raw))({"session": token(who), "run": run, **request})


def watch(server: Server, run: str, since: int = 0) -> dict[str, Any]:
    reply = answering(lambda raw: pulse(server, raw))({"session": token(1), "run": run, "since": since})
    assert reply["ok"], reply
    return reply


def stopped(server: Server, **changes: Any) -> str:
    """The id of a run that was stopped after some steps, and written down."""
    run = server.jobs.submit(tiny_trainer(server.jobs.root, kept=True, **{"steps": LONG, **changes}))
    until(run, Stepped)
    server.jobs.control(run.info.id, "stop", run.info.owner or "x")
    over(run)
    return run.info.id


def test_a_stopped_run_goes_on_from_the_page(server: Server) -> None:
    run = stopped(server)
    reply = watch(server, run)
    at = reply["run"]["goes_on_from"]
    assert (reply["run"]["state"], reply["run"]["taken_up"], reply["run"]["step"]) == ("stopped", 0, at)
    assert at > 0
    assert press(server, run, action="go_on") == {"ok": True}
    found = server.jobs.find(run)
    until(found, TakenUp)
    until(found, Stepped, until(found, TakenUp))
    now = watch(server, run)
    assert (now["run"]["state"], now["run"]["taken_up"], now["run"]["goes_on_from"]) == ("running", 1, None)
    steps = [event.step for event in found.log.since(0)[0] if isinstance(event, Stepped)]
    assert steps == list(range(1, len(steps) + 1))
    assert len(steps) > at
    assert not [event for event in found.log.since(0)[0] if isinstance(event, Finished)]
    assert "not over" in sentence(press(server, run, action="go_on"))
    server.jobs.control(run, "stop", "x")
    over(found)


def test_an_interrupted_run_goes_on_in_another_server(server: Server) -> None:
    run = stopped(server)
    folder = RunFolder(server.jobs.root / run)
    lines = (folder.path / "metrics.jsonl").read_text().splitlines(keepends=True)
    (folder.path / "metrics.jsonl").write_text("".join(lines[:-1]))  # as if the program had been killed there
    server.jobs = Jobs(server.jobs.root, server.limits)
    at = watch(server, run)["run"]
    assert at["state"] == "interrupted"
    assert at["message"] == (
        f"The program ended before this training did. It can go on from step {at['goes_on_from']:,}."
    )
    press(server, run, action="go_on", more=3)
    found = over(server.jobs.find(run))
    assert found.trainer is not None
    end = watch(server, run)["run"]
    assert (end["state"], end["step"], end["steps"]) == ("finished", at["goes_on_from"] + 3, at["goes_on_from"] + 3)
    server.jobs.close()


def test_a_finished_run_trains_some_more(server: Server) -> None:
    run = over(server.jobs.submit(tiny_trainer(server.jobs.root, kept=True))).info.id
    before = watch(server, run)
    assert before["run"]["goes_on_from"] == 6
    assert "has come to its end" in sentence(press(server, run, action="go_on"))
    assert press(server, run, action="go_on", more=4)["ok"]
    over(server.jobs.find(run))
    after = watch(server, run)
    assert after["points"]["step"] == list(range(1, 11))
    assert (after["run"]["state"], after["run"]["steps"], after["run"]["taken_up"]) == ("finished", 10, 1)
    assert open_checkpoint(server.jobs.root / run / "checkpoints" / "last").meta["step"] == 10
    assert server.jobs.find(run).info.recipe.train.steps == 10


@pytest.mark.parametrize("more", [0, -3, 1.5, "5", True, [], 10**9])
def test_how_many_more_has_to_make_sense(server: Server, more: Any) -> None:
    run = over(server.jobs.submit(tiny_trainer(server.jobs.root, kept=True))).info.id
    stands = (server.jobs.root / run / "config.json").read_bytes()
    sentence(press(server, run, action="go_on", more=more))
    assert server.jobs.find(run).state == "finished"
    assert (server.jobs.root / run / "config.json").read_bytes() == stands


def test_one_that_waits_and_is_stopped_stands_as_it_stood(server: Server) -> None:
    run = over(server.jobs.submit(tiny_trainer(server.jobs.root, kept=True))).info.id
    before = server.jobs.find(run).log.since(0)[0]
    other = server.jobs.submit(tiny_trainer(server.jobs.root, steps=LONG))
    until(other, Started)
    press(server, run, action="go_on", more=5)
    waits = watch(server, run)
    assert (waits["run"]["state"], waits["run"]["queue_position"], waits["run"]["steps"]) == ("queued", 1, 11)
    assert waits["run"]["snapshot_step"] == 6
    assert "not over" in sentence(press(server, run, action="go_on", more=5))
    press(server, run, action="stop")
    found = server.jobs.find(run)
    assert (found.state, found.log.since(0)[0], found.info.recipe.train.steps) == ("finished", before, 6)
    assert found.info.taken_up == 0
    server.jobs.control(other.info.id, "stop", "x")
    over(other)


def test_only_who_began_it_goes_on_with_it(serve: Callable[..., Server]) -> None:
    server = serve(shared=True)
    owner = server.visitors.get(token(1)).owner
    run = over(server.jobs.submit(tiny_trainer(server.jobs.root, owner=owner, kept=True))).info.id
    assert "Only the browser" in sentence(press(server, run, who=2, action="go_on", more=5))
    assert press(server, run, who=1, action="go_on", more=1)["ok"]
    over(server.jobs.find(run))


def test_a_server_that_follows_a_run_sees_that_another_program_took_it_up(server: Server) -> None:
    """What it had read by byte offset is cut off and written anew: it begins again at the first event."""
    run = stopped(server)
    here = Jobs(server.jobs.root, Limits())
    folder = RunFolder(server.jobs.root / run)
    with (folder.path / "metrics.jsonl").open("a") as file:  # steps that no checkpoint knows, long lines
        for step in range(10**5, 10**5 + 50):
            file.write(f'{{"event": "step", "step": {step}, "wall_s": 1e9, "loss": 1.0, "lr": 1, "grad_norm": 1, '
                       '"tokens_per_s": 1}\n')  # fmt: skip
    here = Jobs(server.jobs.root, Limits())
    read = here.find(run)
    assert read.log.tail(1)[0].step == 10**5 + 49
    assert read.state == "interrupted"
    press(server, run, action="go_on", more=20)
    over(server.jobs.find(run))
    again = here.find(run)
    assert (again.state, again.info.taken_up) == ("finished", 1)
    assert again.log.since(0)[0] == list(folder.events())
    steps = [event.step for event in again.log.since(0)[0] if isinstance(event, Stepped)]
    assert steps == list(range(1, len(steps) + 1))


def test_a_model_from_a_file_and_an_older_run_do_not_go_on(server: Server) -> None:
    run = over(server.jobs.submit(tiny_trainer(server.jobs.root, kept=True))).info.id
    text = server.jobs.root / run / "corpus" / "train.txt.gz"
    text.unlink()
    with pytest.raises(RunError, match="Train again"):
        server.jobs.go_on(run, "x", 5)
    with pytest.raises(JobError):
        server.jobs.go_on("nowhere", "x")
    assert resumable_step(RunFolder(server.jobs.root / "nowhere")) is None


def test_a_step_of_a_run_opens_in_the_explorer(server: Server) -> None:
    done = over(server.jobs.submit(tiny_trainer(server.jobs.root, snapshots_mb=5)))
    ref = f"run:{done.info.id}"
    assert done.folder.snapshots() == [0, 1, 2, 3, 4, 6]
    reply = ask(server, model=f"{ref}@2", prompt="the cat")
    assert (reply["model"]["ref"], reply["model"]["step"], reply["model"]["name"]) == (f"{ref}@2", 2, done.info.name)
    again = ask(server, model=f"{ref}@2", ids=reply["ids"], step=2, append={"count": 3})
    assert len(again["ids"]) == len(reply["ids"]) + 3
    assert reply["next"] != ask(server, model=f"{ref}@6", prompt="the cat")["next"]
    exact, kept = (server.view(name).model.state_dict() for name in (ref, f"{ref}@6"))
    assert all(torch.equal(value.half().float(), kept[name]) for name, value in exact.items())
    for step in ("5", "-1", "x", "²", "9" * 30):
        refused = answering(lambda raw: decode(server, raw))({"session": token(1), "model": f"{ref}@{step}"})
        assert "holds no snapshot of step" in sentence(refused)
    assert TEXT
