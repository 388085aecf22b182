"""Trainers in folders of their own, ended after each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

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
