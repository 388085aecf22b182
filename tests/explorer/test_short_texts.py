"""The recipes of the page on texts that are too short for them; and what a visitor chose, refused in words."""

from __future__ import annotations

from typing import Any

import pytest

from explorer.recipes import FIELDS, prepare_run, values_of
from explorer.server import Server
from explorer.tabs.train import Start, start
from tests.explorer.tiny import token, visitor
from tests.training.test_fitting import PROSE
from training.corpus import from_text
from training.presets import PRESETS


def boxes(preset: str, **changes: Any) -> list[Any]:
    values = dict(zip(FIELDS, values_of(preset), strict=True))
    return list((values | changes).values())


@pytest.mark.parametrize("size", [60, 500])
@pytest.mark.parametrize("preset", PRESETS)
def test_every_recipe_of_the_page_can_begin(preset: str, size: int, server: Server) -> None:
    visitor(server).take_corpus(from_text(PROSE[:size]))
    *_, prepared = prepare_run(server, visitor(server), preset, tuple(boxes(preset)))
    assert len(prepared.data.train) > prepared.recipe.model["context"]
    assert (prepared.recipe.model["context"] != PRESETS[preset].recipe.model["context"]) == any(
        "allows a context" in note for note in prepared.notes
    )


def test_the_page_says_what_gave_way_and_the_run_keeps_it(server: Server) -> None:
    visitor(server).take_corpus(from_text(PROSE))
    *_, (run, notice) = Start(server).press(token(1), "fast", "", *boxes("fast", steps=10, layers=1, width=8))
    assert notice["text"] == "The text allows a context of 48 and not 64."
    found = server.jobs.find(run["run"])
    assert found.info.corpus["gave_way"] == [notice["text"]]
    assert found.info.recipe.model["context"] == 48


@pytest.mark.parametrize(
    ("preset", "changes", "sentence"),
    [
        ("fast", {"context": 60}, "too short for a context of 60.*set the context to at most 49"),
        ("fast", {"learning_rate": 1e3}, "learning_rate is 1000.0; use above 0 and at most 1"),
        ("fast", {"width": 130}, "use a width of 128 or 136"),
        ("shakespeare", {"vocab_size": 6000}, "6,000 were asked for. Choose"),
    ],
)
def test_what_a_visitor_chose_is_refused(preset: str, changes: dict[str, Any], sentence: str, server: Server) -> None:
    visitor(server).take_corpus(from_text(PROSE))
    before = sorted(server.jobs.root.glob("*"))
    with pytest.raises(ValueError, match=sentence):
        start(server, visitor(server), preset, "", tuple(boxes(preset, **changes)))
    assert sorted(server.jobs.root.glob("*")) == before


def test_a_vocabulary_of_one_is_refused(server: Server) -> None:
    visitor(server).take_corpus(from_text("na " * 200))
    with pytest.raises(ValueError, match=r"finds one token.*Use tokenizer char"):
        start(server, visitor(server), "fast", "", tuple(boxes("fast", tokenizer="words")))
