"""A training steered from the page: one step seen closely, and settings changed in flight."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from explorer.server import Server, answering
from explorer.steps import step
from explorer.watch import control
from tests.explorer.test_page_protocol import documented, keys_of
from tests.explorer.tiny import CHAR, over, paused_at_once, sentence, tiny_trainer, token, until, watched
from training.data import MASKED
from training.events import Changed, Paused, Stepped


def press(server: Server, run: str, who: int = 1, **request: Any) -> dict[str, Any]:
    return answering(lambda raw: control(server, raw))({"session": token(who), "run": run, **request})


def closely(server: Server, run: object, who: int = 1) -> dict[str, Any]:
    return answering(lambda raw: step(server, raw))({"session": token(who), "run": run})


def test_one_step_from_the_page_is_shown_as_it_was(server: Server) -> None:
    run = paused_at_once(server)
    assert run.trainer is not None
    assert watched(server, run.info.id)["run"]["looked_at"] is None
    assert "pause it, then press One step" in sentence(closely(server, run.info.id))
    cursor = run.log.since(0)[1]
    assert press(server, run.info.id, action="step") == {"ok": True}
    until(run, Paused, until(run, Stepped, cursor))
    look = run.trainer.look
    assert look is not None
    now = watched(server, run.info.id)["run"]
    assert (now["state"], now["step"], now["looked_at"], now["batch_size"]) == ("paused", 1, 1, 4)
    reply = closely(server, run.info.id)
    assert keys_of(reply) == documented("step: reply")
    assert (reply["loss"], reply["grad_norm"], reply["learning_rate"]) == (look.loss, look.grad_norm, look.lr)
    assert reply["more"] == 0
    pieces = {number: text for number, text, _ in reply["pieces"]}
    for row, inputs, targets, losses in zip(reply["rows"], look.inputs, look.targets, look.losses, strict=True):
        assert [row["first"], *row["tokens"][:-1]] == inputs.tolist()
        assert row["tokens"] == targets.tolist()
        assert torch.allclose(torch.tensor(row["losses"]), losses, rtol=1e-4)
        assert "".join(pieces[number] for number in row["tokens"]) == CHAR.decode(targets.tolist())
    assert [part["name"] for part in reply["parts"]] == ["embeddings", "layer 1", "output"]
    assert [part["relative"] for part in reply["parts"]] == [part.relative for part in look.parts]


def test_masked_targets_and_long_batches_are_left_out(server: Server) -> None:
    run = paused_at_once(server, batch_size=900, context=8)
    assert run.trainer is not None
    look = run.trainer.one_step()
    look.targets[0, 3:] = MASKED
    reply = closely(server, run.info.id)
    assert (len(reply["rows"]), reply["more"]) == (250, 650)
    assert len(reply["rows"][0]["tokens"]) == len(reply["rows"][0]["losses"]) == 3
    assert len(reply["rows"][1]["tokens"]) == 8


def test_rate_and_batch_are_changed_from_the_page(server: Server) -> None:
    run = paused_at_once(server)
    assert watched(server, run.info.id)["changes"] == []
    assert press(server, run.info.id, action="change", rate=0.5)["ok"]
    cursor = until(run, Changed)
    assert press(server, run.info.id, action="change", batch_size=6)["ok"]
    until(run, Changed, cursor)
    assert watched(server, run.info.id)["changes"] == [
        {"step": 0, "rate": 0.5, "batch_size": 4},
        {"step": 0, "rate": 0.5, "batch_size": 6},
    ]


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({}, "give a factor on the learning rate"),
        ({"rate": 1e9}, "Rate is 1e+09"),
        ({"rate": "fast"}, "such as 0.5"),
        ({"rate": [1]}, "such as 0.5"),
        ({"batch_size": 1e3}, "whole number"),
        ({"batch_size": -4}, "from 1 to 4096"),
    ],
)
def test_a_change_that_cannot_work_says_what_would(server: Server, request_: dict[str, Any], said: str) -> None:
    run = paused_at_once(server)
    assert said in sentence(press(server, run.info.id, action="change", **request_))
    assert watched(server, run.info.id)["changes"] == []


def test_a_run_that_is_over_goes_on_at_another_rate(server: Server) -> None:
    run = over(server.jobs.submit(tiny_trainer(server.jobs.root, kept=True))).info.id
    assert "over already" in sentence(press(server, run, action="change", rate=0.5))
    assert "over already" in sentence(press(server, run, action="step"))
    assert "use from" in sentence(press(server, run, action="go_on", more=3, rate=0))
    assert press(server, run, action="go_on", more=3, rate=0.1)["ok"]
    over(server.jobs.find(run))
    assert watched(server, run)["changes"] == [{"step": 6, "rate": 0.1, "batch_size": 4}]


def test_only_the_owner_sees_a_batch_and_steers(serve: Any) -> None:
    server = serve(shared=True)
    trainer = tiny_trainer(server.jobs.root, owner=server.visitors.get(token(1)).owner, steps=10**6)
    trainer.pause()
    run = server.jobs.submit(trainer)
    until(run, Paused)
    run.trainer.one_step()
    assert closely(server, run.info.id)["ok"]
    for reply in (closely(server, run.info.id, who=2), press(server, run.info.id, who=2, action="change", rate=1)):
        assert "Only the browser" in sentence(reply)
    for wrong in (None, 3, "nowhere"):
        assert "not here" in sentence(closely(server, wrong))
