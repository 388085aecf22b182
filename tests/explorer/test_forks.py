"""Forks from the page: what is offered, what begins, what is refused; and what the pulse says of a run's course."""

from __future__ import annotations

import json
from typing import Any

import pytest

from explorer.forks import Forks
from explorer.server import Server, answering
from explorer.watch import pulse
from model import open_checkpoint
from tests.explorer.test_page_protocol import documented, keys_of
from tests.explorer.tiny import TEXT, over, sentence, tiny_trainer, token, visitor, watched
from training.corpus import from_text
from training.diagnosis import diagnose
from training.events import Changed, Failed, Stepped
from training.runs import RunFolder


def finished(server: Server, **changes: Any) -> str:
    trainer = tiny_trainer(server.jobs.root, kept=True, snapshots_mb=5, **changes)
    return over(server.jobs.submit(trainer)).info.id


def offer(server: Server, run: object, who: int = 1) -> dict[str, Any]:
    return answering(Forks(server).fork_offer)({"session": token(who), "run": run})


def press(server: Server, run: object, who: int = 1, **request: Any) -> dict[str, Any]:
    return answering(Forks(server).fork)({"session": token(who), "run": run, **request})


def test_a_run_is_forked_from_the_page(server: Server) -> None:
    run = finished(server)
    offered = offer(server, run)
    assert keys_of(offered) == documented("fork_offer: reply") - {"settings[].muon_learning_rate"}
    assert (offered["steps"], offered["planned"], offered["text"]) == ([0, 1, 2, 3, 4, 6], 6, None)
    assert offered["own_text"] == "tiny.txt"
    assert watched(server, run)["run"]["parent"] is None
    assert offered["exact"] == {"best": 6, "last": 6}
    settings = {**offered["settings"][-1], "learning_rate": 0.003, "dropout": 0.1}
    reply = press(server, run, step=3, more=5, settings=settings, silence=[[0, 1]], name="mine")
    assert keys_of(reply) == documented("fork: reply")
    found = over(server.jobs.find(reply["run"]))
    now = watched(server, reply["run"])
    assert (now["run"]["state"], now["run"]["name"], now["points"]["step"]) == ("finished", "mine", [4, 5, 6, 7, 8])
    assert now["run"]["parent"] == {
        "id": run,
        "ref": f"run:{run}",
        "name": "a run",
        "step": 3,
        "weights": "float16",
        "optimizer": "anew",
        "edits": ["layer 1, head 2 silenced"],
    }
    assert {key for key in documented("pulse: reply") if key.startswith("run.parent.")} == {
        f"run.parent.{key}" for key in now["run"]["parent"]
    }
    recipe = found.info.recipe
    assert (recipe.train.learning_rate, recipe.model["dropout"], recipe.train.steps) == (0.003, 0.1, 8)
    assert open_checkpoint(found.folder.path).config.dropout == 0.1
    assert found.info.corpus["name"] == "tiny.txt"


def test_a_fork_has_what_was_in_force_at_its_step(server: Server) -> None:
    """Changed in flight after step 3: the form and the fork of a later step have it, of an earlier one not."""
    run = finished(server)
    folder = RunFolder(server.jobs.root / run)
    lines = (folder.path / "metrics.jsonl").read_text().splitlines(keepends=True)
    at = next(i for i, line in enumerate(lines) if '"step": 4' in line)
    lines.insert(at, json.dumps(Changed(3, 0.1, 0.5, 2).to_dict()) + "\n")
    (folder.path / "metrics.jsonl").write_text("".join(lines))
    train = folder.info().recipe.train
    rates = [each["learning_rate"] / train.learning_rate for each in offer(server, run)["settings"]]
    assert rates == [1, 1, 1, 0.5, 0.5, 0.5]  # of the steps 0, 1, 2, 3, 4, 6
    for step, rate, batch in ((2, 1.0, train.batch_size), (4, 0.5, 2)):
        made = over(server.jobs.find(press(server, run, step=step, more=2)["run"])).info.recipe.train
        assert (made.learning_rate, made.batch_size) == (rate * train.learning_rate, batch)


def test_the_fork_of_a_visitor_s_own_text(server: Server) -> None:
    run = finished(server)
    visitor(server).take_corpus(from_text(TEXT.replace("cat", "dog"), "dogs"))
    assert offer(server, run)["text"] == "dogs"
    made = over(server.jobs.find(press(server, run, step=6, more=3, text=True)["run"]))
    assert made.info.corpus["name"] == "dogs"
    assert made.info.name == "a run, from step 6"
    visitor(server).take_corpus(from_text("жил был " * 40, "other"))
    before = sorted(server.jobs.root.iterdir())
    assert "has no token for" in sentence(press(server, run, step=6, more=3, text=True))
    assert sorted(server.jobs.root.iterdir()) == before


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({"step": "3"}, "Choose the step"),
        ({"step": 5}, "holds no snapshot of step 5"),
        ({"step": 6}, "say how many more"),
        ({"step": 3, "more": "5"}, "whole number"),
        ({"step": 3, "more": 10**7}, "this server trains up to"),
        ({"step": 3, "settings": {"learning_rate": 1e3}}, "use above 0 and at most 1"),
        ({"step": 3, "settings": {"dropout": 1}}, "from 0 to below 1"),
        ({"step": 3, "settings": {"batch_size": 2.5}}, "whole number"),
        ({"step": 3, "silence": [[0]]}, "reload the page"),
        ({"step": 3, "silence": "all"}, "reload the page"),
        ({"step": 3, "silence": [[0, 7]]}, "there is no head 8 in layer 1".capitalize()),
        ({"step": 3, "name": "x" * 81}, "at most 80"),
    ],
)
def test_what_cannot_be_forked_says_why_and_leaves_nothing(server: Server, request_: dict[str, Any], said: str) -> None:
    run = finished(server)
    before = sorted(server.jobs.root.iterdir())
    assert said.lower() in sentence(press(server, run, **request_)).lower()
    assert sorted(server.jobs.root.iterdir()) == before


def test_only_the_owner_forks(serve: Any) -> None:
    server = serve(shared=True)
    owner = server.visitors.get(token(1)).owner
    run = over(server.jobs.submit(tiny_trainer(server.jobs.root, owner=owner, kept=True, snapshots_mb=5))).info.id
    for reply in (offer(server, run, who=2), press(server, run, who=2, step=3)):
        assert "Only the browser" in sentence(reply)
    made = over(server.jobs.find(press(server, run, step=3)["run"]))
    assert made.info.owner == owner
    assert "not here" in sentence(offer(server, "nowhere"))


def test_the_pulse_says_how_a_run_is_doing(server: Server) -> None:
    run = finished(server, steps=30, learning_rate=1.0, weight_decay=10.0, warmup_steps=0)
    found = server.jobs.find(run)
    events = found.log.since(0)[0]
    said = watched(server, run)["run"]["diagnosis"]
    wanted = diagnose(events, found.info.recipe.train)
    assert wanted is not None
    assert (said["kind"], said["sentence"]) == (wanted.kind, wanted.sentence)
    assert said["kind"] in ("no number", "diverging"), said
    keys = {key.removeprefix("run.diagnosis.") for key in documented("pulse: reply") if ".diagnosis." in key}
    shown = {key for key in keys_of(said) if not key.startswith("remedies[].changes.")}  # settings by name
    assert shown == keys
    assert isinstance(events[-1], Failed) or any(isinstance(event, Stepped) for event in events)
    alpha = answering(lambda raw: pulse(server, raw))({"session": token(1), "run": None})
    assert alpha["run"] is None
