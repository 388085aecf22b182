"""How a shipped model learnt: read from the metrics beside its weights, and watched like any run that is over."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from explorer.limits import Limits
from explorer.server import Server, answering
from explorer.watch import control, pulse
from tests.explorer.tiny import over, sentence, tiny_trainer, token

REF = "shipped:alpha"


@pytest.fixture
def folder(server: Server, weights: Path, tmp_path: Path) -> Path:
    """A folder of shipped models, of which alpha has the metrics of a real training of 12 steps."""
    run = over(server.jobs.submit(tiny_trainer(server.jobs.root, steps=12, eval_every=4, sample_every=6)))
    shutil.copytree(weights, tmp_path / "weights")
    shutil.copy(run.folder.path / "metrics.jsonl", tmp_path / "weights" / "alpha")
    return tmp_path / "weights"


@pytest.fixture
def shop(folder: Path, tmp_path: Path) -> Server:
    """A server with those models and no runs."""
    return Server(tmp_path / "no runs", folder, Limits())


def watch(server: Server, run: Any, since: int = 0) -> dict[str, Any]:
    return answering(lambda raw: pulse(server, raw))({"session": token(1), "run": run, "since": since})


def lines(folder: Path, kind: str) -> list[dict[str, Any]]:
    written = (folder / "alpha" / "metrics.jsonl").read_text().splitlines()
    return [line for line in map(json.loads, written) if line["event"] == kind]


def test_its_curve_and_samples_are_those_of_its_metrics(shop: Server, folder: Path) -> None:
    reply = watch(shop, REF)
    assert reply["ok"]
    assert reply["points"]["step"] == list(range(1, 13))
    assert reply["points"]["loss"] == [float(f"{line['loss']:.7g}") for line in lines(folder, "step")]
    assert reply["evals"]["step"] == [line["step"] for line in lines(folder, "eval")]
    assert [sample["text"] for sample in reply["samples"]] == [line["text"] for line in lines(folder, "sample")]
    assert watch(shop, REF, reply["cursor"])["points"]["step"] == []


def test_it_is_over_and_nobody_steers_it(shop: Server) -> None:
    """On one's own machine too, where every other run may be steered."""
    run = watch(shop, REF)["run"]
    name = next(model["name"] for model in shop.shelf.shipped() if model["ref"] == REF)
    assert (run["id"], run["ref"], run["link"], run["name"]) == (REF, REF, f"?run={REF}", name)
    assert (run["state"], run["mine"], run["step"], run["steps"]) == ("finished", False, 12, 12)
    assert run["snapshot_step"] is not None  # its weights can be looked into, by its own ref
    assert shop.view(run["ref"]).ref == REF
    for action in ("pause", "resume", "stop"):
        refused = answering(lambda raw: control(shop, raw))({"session": token(1), "run": REF, "action": action})
        assert "not here" in sentence(refused)


def test_it_is_offered_where_it_came_along(shop: Server, server: Server, tmp_path: Path) -> None:
    assert shop.shipped.offered() == REF
    assert server.shipped.offered() is None
    assert Server(tmp_path, tmp_path / "missing", Limits()).shipped.offered() is None


@pytest.mark.parametrize(
    "ref", ["shipped:beta", "shipped:gamma", "shipped:", "shipped:..", "shipped:../runs", "shipped:\0"]
)
def test_what_did_not_come_gets_a_sentence(shop: Server, ref: str) -> None:
    assert "did not come with it" in sentence(watch(shop, ref))


def test_metrics_that_cannot_be_read_get_a_sentence(shop: Server, folder: Path) -> None:
    (folder / "alpha" / "metrics.jsonl").write_text("not a line of metrics\n")
    assert "cannot be read" in sentence(watch(shop, REF))


def test_newer_metrics_are_read_anew(shop: Server, folder: Path) -> None:
    path = folder / "alpha" / "metrics.jsonl"
    assert len(watch(shop, REF)["points"]["step"]) == 12
    kept = [line for line in path.read_text().splitlines(keepends=True) if '"step": 12' not in line]
    path.write_text("".join(kept))
    os.utime(path, ns=(1, 1))
    assert len(watch(shop, REF)["points"]["step"]) == 11
