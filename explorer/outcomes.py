"""What a teacher or copied embeddings brought: a run beside one that differs from it in nothing else.

The Train tab asks once a run is over. Runs are compared by the lowest loss on held-out text: text, split and every
other setting are the same. A student reads with its teacher's vocabulary, which decides more than the teacher does:
its sibling has to be cut in the same way, into as many entries. Where these are other ones, bits per byte are compared.
"""

from __future__ import annotations

from typing import Any

from explorer import text
from explorer.jobs import Run
from explorer.server import Server
from training.config import Recipe
from training.events import Evaluated
from training.runs import RunInfo
from training.units import both

#: What a run may take from another model: in a sentence, and the fields that go with it.
TAKEN: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "teacher": ("its teacher", "Teacher", ("teacher", "teacher_share", "teacher_temperature")),
    "embeddings_from": ("copied embeddings", "Embeddings from", ("embeddings_from",)),
}


def outcome(server: Server, raw: dict[str, Any]) -> dict[str, Any]:
    """Of a run that is over: a sentence for each thing that it took from another model. Raises ValueError."""
    visitor = server.visitors.get(raw.get("session"))
    run = server.jobs.find(raw.get("run"))
    found = [compared(server, run, name, visitor.owner) for name in TAKEN if getattr(run.info.recipe.train, name)]
    return {"outcomes": [one for one in found if one is not None]}


def compared(server: Server, run: Run, name: str, owner: str) -> dict[str, Any] | None:
    """A run's loss with what it took by `name`, that of its sibling without, and the sentence; None while it trains."""
    best = lowest(run)
    if run.state != "finished":
        return None
    what, box, _ = TAKEN[name]
    if best is None:
        said = f"What {what} brought cannot be told: nothing was held out to measure on."
        return {"taken": name, "with": None, "without": None, "sibling": None, "sentence": said}
    for info in server.jobs.listed(owner):
        if info.id == run.info.id or not alike(run.info, info, name):
            continue
        other = server.jobs.find(info.id)
        same, without = _same_vocabulary(run, other), lowest(other)
        if other.state != "finished" or without is None or not (same or name == "teacher"):
            continue
        if not same and None in (best["bits"], without["bits"]):
            continue
        said = _said(best, without, what, same)
        return {"taken": name, "with": best, "without": without, "sibling": info.name, "sentence": said}
    said = (
        f"To see what {what} brought, train the same again with {box} set to No model{_cut_as(run, name)}: the two "
        "losses then stand here."
    )
    return {"taken": name, "with": best, "without": None, "sibling": None, "sentence": said}


def alike(one: RunInfo, other: RunInfo, name: str) -> bool:
    """Whether another run is the same but for what was taken by `name`, which it did without."""
    if getattr(other.recipe.train, name) or one.corpus.get("characters") != other.corpus.get("characters"):
        return False
    return one.corpus.get("name") == other.corpus.get("name") and _plain(one.recipe, name) == _plain(other.recipe, name)


def lowest(run: Run) -> dict[str, float | None] | None:
    """The lowest loss on held-out text so far: nats per token, and bits per byte (None where the bytes of a token are
    not known); None where nothing is held out."""
    evals = (event for event in run.log.since(0)[0] if isinstance(event, Evaluated))
    held_out = [(event.val_loss, event.bits_per_byte) for event in evals if event.val_loss is not None]
    nats, bits = min(held_out, key=lambda loss: loss[0], default=(None, None))
    return None if nats is None else {"nats": nats, "bits": bits}


def _said(best: dict[str, float | None], without: dict[str, float | None], what: str, same: bool) -> str:
    """The comparison as a sentence. same: whether nats per token can be compared, as both have one vocabulary."""
    first, second = ("nats", "bits") if same else ("bits", "nats")
    names = {"nats": "nats per token", "bits": "bits per byte"}
    reason = "" if same else ", as the vocabularies differ"
    with_it, alone = (both(loss[first] or 0.0, loss[second], 3) for loss in (best, without))
    unit = names[first] if best[second] is None else f"{names[first]} ({names[second]})"
    return f"Lowest loss on held-out text, in {unit}{reason}: {with_it} with {what}, {alone} without. The run without: "


def _plain(recipe: Recipe, name: str) -> dict[str, Any]:
    """All settings but those that go with `name`, in one form whichever way they were written."""
    values: dict[str, Any] = recipe.to_dict()
    values["model"] = recipe.model_config(2).to_dict()
    if recipe.tokenizer != "bpe":  # others have as many entries as they find
        values["vocab_size"] = 0
    _, _, fields = TAKEN[name]
    values["train"] = {field: value for field, value in values["train"].items() if field not in fields}
    return values


def _cut_as(run: Run, name: str) -> str:
    """What else has to be chosen, as the recipe's own vocabulary may be another one than its teacher's."""
    if name != "teacher":
        return ""
    recipe = run.info.recipe
    entries = f", vocabulary {recipe.vocab_size:,}" if recipe.tokenizer == "bpe" else ""
    labels = {value: label for label, value in text.TOKENIZERS}
    return f" and {text.TOKENIZER[:1].lower()}{text.TOKENIZER[1:]} {labels[recipe.tokenizer]}{entries}"


def _same_vocabulary(one: Run, other: Run) -> bool:
    files = [run.folder.path / "tokenizer.json" for run in (one, other)]
    return all(file.is_file() for file in files) and files[0].read_bytes() == files[1].read_bytes()
