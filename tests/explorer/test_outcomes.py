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
    assert not found or keys_of(reply) == documented("outcome: reply")
    server.jobs.changed()
    return found


def best(server: Server, run: str, unit: str = "val_loss") -> float:
    events = server.jobs.find(run).folder.events()
    return min(float(getattr(event, unit)) for event in events if isinstance(event, Evaluated))


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
    assert f": {told['with']:.3f} with " in told["sentence"]
    assert f", {told['without']:.3f} without (nats per token)" in told["sentence"]
    assert asked(server, alone) == []
    (server.jobs.root / alone / "tokenizer.json").write_text("{}", encoding="utf-8")
    [told] = asked(server, run)
    if field == "embeddings_from":
        assert told["sibling"] is None
        return
    assert (told["with"], told["without"]) == (best(server, run, "bits_per_byte"), best(server, alone, "bits_per_byte"))
    assert f", {told['without']:.3f} without (bits per byte, as the vocabularies differ)" in told["sentence"]


def test_nothing_is_told_too_early_or_of_what_was_not_measured(server: Server, teacher: str) -> None:
    run = trained(server, "unheld", teacher=teacher, val_fraction=0.0)
    assert "nothing was held out" in asked(server, run)[0]["sentence"]
    assert asked(server, paused_at_once(server, teacher=teacher).info.id) == []
    assert sentence(outcomes(server)({"session": token(1), "run": "nowhere"}))
    assert sentence(outcomes(server)(None))
