"""A run with a teacher or copied embeddings beside the same one without."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from explorer.server import Server
from explorer.tabs.train import outcomes
from model.checkpoint import save_checkpoint
from tests.explorer.test_page_protocol import documented, keys_of
from tests.explorer.tiny import CHAR, over, paused_at_once, random_model, sentence, tiny_trainer, token
from training.events import Evaluated


@pytest.fixture
def teacher(tmp_path: Path) -> str:
    save_checkpoint(tmp_path / "teacher", random_model(CHAR, layers=1, heads=2, width=16, context=8), CHAR)
    return str(tmp_path / "teacher")


def trained(server: Server, name: str, **changes: Any) -> str:
    trainer = tiny_trainer(server.jobs.root, name, **changes)
    CHAR.save(trainer.folder.path / "tokenizer.json")
    return over(server.jobs.submit(trainer)).info.id


def asked(server: Server, run: str) -> list[dict[str, Any]]:
    reply = outcomes(server)({"session": token(1), "run": run})
    assert reply["ok"]
    assert set(reply) <= {"ok", "outcomes"}
    found: list[dict[str, Any]] = reply["outcomes"]
    where_measured = {f"outcomes[].{which}.{unit}" for which in ("with", "without") for unit in ("nats", "bits")}
    assert not found or keys_of(reply) | where_measured == documented("outcome: reply")
    server.jobs.changed()
    return found


def best(server: Server, run: str) -> dict[str, float]:
    evals = [event for event in server.jobs.find(run).folder.events() if isinstance(event, Evaluated)]
    return {
        "nats": min(float(event.val_loss or 99) for event in evals),
        "bits": min(float(event.bits_per_byte or 99) for event in evals),
    }


@pytest.mark.parametrize(("field", "box"), [("teacher", "Teacher"), ("embeddings_from", "Embeddings from")])
def test_the_loss_beside_that_of_the_run_without(server: Server, teacher: str, field: str, box: str) -> None:
    """Another seed, another length or another vocabulary is no comparison; one that took nothing is told nothing."""
    run = trained(server, "taught", **{field: teacher})
    for other in ({"seed": 3}, {"steps": 5}, {"val_fraction": 0.2}, {"tokenizer": "word"}):
        trained(server, "another", **other)
    server.jobs.changed()
    [told] = asked(server, run)
    assert told["without"] is None
    assert f"train the same again with {box} set to No model" in told["sentence"]
    assert ("the text is cut into Characters" in told["sentence"]) == (field == "teacher")
    alone = trained(server, "alone", teacher_share=0.7) if field == "teacher" else trained(server, "alone")
    server.jobs.changed()
    [told] = asked(server, run)
    assert (told["taken"], told["sibling"]) == (field, "alone")
    assert (told["with"], told["without"]) == (best(server, run), best(server, alone))
    ours, theirs = best(server, run), best(server, alone)
    assert ", in nats per token (bits per byte): " in told["sentence"]
    assert f": {ours['nats']:.3f} ({ours['bits']:.3f}) with " in told["sentence"]
    assert f", {theirs['nats']:.3f} ({theirs['bits']:.3f}) without. " in told["sentence"]
    [seen] = asked(server, alone)
    assert (seen["with"], seen["without"], seen["sibling"]) == (ours, theirs, "taught")
    assert seen["sentence"].removesuffix("with: ") == told["sentence"].removesuffix("without: ")
    (server.jobs.root / alone / "tokenizer.json").write_text("{}", encoding="utf-8")
    [told] = asked(server, run)
    if field == "embeddings_from":
        assert told["sibling"] is None
        return
    assert (told["with"], told["without"]) == (ours, theirs)
    assert (
        ", in bits per byte (nats per token), as the vocabularies differ, which is part of the difference: "
        in told["sentence"]
    )
    assert f", {theirs['bits']:.3f} ({theirs['nats']:.3f}) without. " in told["sentence"]


def test_nothing_is_told_too_early_or_of_what_was_not_measured(server: Server, teacher: str) -> None:
    run = trained(server, "unheld", teacher=teacher, val_fraction=0.0)
    assert "nothing was held out" in asked(server, run)[0]["sentence"]
    assert asked(server, paused_at_once(server, teacher=teacher).info.id) == []
    assert sentence(outcomes(server)({"session": token(1), "run": "nowhere"}))
    assert sentence(outcomes(server)(None))
