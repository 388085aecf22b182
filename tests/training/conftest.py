"""Trainers in folders of their own, ended after each test; a guard against connections to elsewhere."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from model import Tokenizer
from tests.training.tiny import CHAR, PATIENCE, TEXT, Make, tiny_data, tiny_recipe
from training.runs import RunFolder
from training.setup import Prepared
from training.trainer import Trainer


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Makes trainers, and ends them after the test."""
    made: list[Trainer] = []

    def new(text: str = TEXT, tokenizer: Tokenizer = CHAR, **changes: Any) -> Trainer:
        recipe = tiny_recipe(**changes)
        folder = RunFolder.create(tmp_path / f"run{len(made)}", "a run", recipe, {"name": "tiny"})
        data = tiny_data(text, tokenizer, recipe.model["context"], recipe.train.val_fraction)
        made.append(Trainer(folder, Prepared(recipe, tokenizer, data)))
        return made[-1]

    yield new
    for trainer in made:
        trainer.stop()
        assert trainer.join(PATIENCE)


@pytest.fixture
def nothing_leaves(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever connects to another address than 127.0.0.1 fails the test."""
    strays: list[Any] = []
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family != socket.AF_UNIX and address[0] != "127.0.0.1":
            strays.append(address)
            raise OSError("tests do not leave this machine")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    yield
    assert strays == []
