"""What a teacher or copied embeddings brought, for the Train tab, which asks once a run is over."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from explorer import text
from explorer.server import Server
from training.config import Recipe
from training.outcomes import Loss, Outcome, Ran, outcomes
from training.runs import RunFolder

_BOXES = {"teacher": "Teacher", "embeddings_from": "Embeddings from"}


def outcome(server: Server, raw: dict[str, Any]) -> dict[str, Any]:
    """Of a run that is over: a sentence for each thing that it, or its sibling, took from another model. Raises
    ValueError."""
    visitor = server.visitors.get(raw.get("session"))
    run = server.jobs.find(raw.get("run"))
    others = [Ran(info, RunFolder(server.jobs.root / info.id)) for info in server.jobs.listed(visitor.owner)]
    return {"outcomes": [_packed(one, run.info.recipe) for one in outcomes(Ran(run.info, run.folder), others)]}


def _packed(found: Outcome, recipe: Recipe) -> dict[str, Any]:
    """For the page (docs/page-protocol.md)."""
    sentence = found.told()
    if sentence is None:
        sentence = (
            f"To see what {found.what} brought, train the same again with {_BOXES[found.taken]} set to No model"
            f"{_cut_as(recipe) if found.taken == 'teacher' else ''}: the two losses then stand here."
        )
    return {
        "taken": found.taken,
        "with": _loss(found.with_it),
        "without": _loss(found.without),
        "sibling": None if found.other is None else found.other.info.name,
        "sentence": sentence,
    }


def _loss(loss: Loss | None) -> dict[str, float | None] | None:
    return None if loss is None else asdict(loss)


def _cut_as(recipe: Recipe) -> str:
    """What else has to be chosen, as the recipe's own vocabulary may be another one than its teacher's."""
    entries = f", vocabulary {recipe.vocab_size:,}" if recipe.tokenizer == "bpe" else ""
    labels = {value: label for label, value in text.TOKENIZERS}
    return f" and {text.TOKENIZER[:1].lower()}{text.TOKENIZER[1:]} {labels[recipe.tokenizer]}{entries}"
