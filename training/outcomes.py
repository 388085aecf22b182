"""What a teacher or copied embeddings brought: a run beside one that differs from it in nothing else.

Runs are compared by the lowest loss on held-out text: text, split and every other setting are the same. A student reads
with its teacher's vocabulary, which decides more than the teacher does: its sibling has to be cut in the same way, into
as many entries. Where these are other ones, bits per byte are compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from training.config import Recipe
from training.events import Evaluated, Finished
from training.runs import RunFolder, RunInfo
from training.units import both

#: What a run may take from another model: in a sentence, and the fields that go with it.
TAKEN: dict[str, tuple[str, tuple[str, ...]]] = {
    "teacher": ("its teacher", ("teacher", "teacher_share", "teacher_temperature")),
    "embeddings_from": ("copied embeddings", ("embeddings_from",)),
}


@dataclass(frozen=True)
class Ran:
    """A run: what its config.json says, and its folder."""

    info: RunInfo
    folder: RunFolder


@dataclass(frozen=True)
class Loss:
    """The lowest on held-out text. nats: per token; bits: per byte, None where the bytes of a token are not known."""

    nats: float
    bits: float | None


@dataclass(frozen=True)
class Outcome:
    """What came of what was taken by a field of TAKEN. with_it, without: None where nothing was held out, or there is
    no such run yet; other: the one that was compared; took: whether that is the run without."""

    taken: str
    with_it: Loss | None
    without: Loss | None
    other: Ran | None
    took: bool
    same_vocabulary: bool = True

    @property
    def what(self) -> str:
        """What was taken, in a sentence."""
        return TAKEN[self.taken][0]

    def told(self) -> str | None:
        """For people; the name of the other run comes behind it. None where there is nothing to compare yet."""
        if self.with_it is None:
            return f"What {self.what} brought cannot be told: nothing was held out to measure on."
        if self.without is None:
            return None
        first, second = ("nats", "bits") if self.same_vocabulary else ("bits", "nats")
        names = {"nats": "nats per token", "bits": "bits per byte"}
        unit = names[first] if self.with_it.bits is None else f"{names[first]} ({names[second]})"
        reason = "" if self.same_vocabulary else ", as the vocabularies differ, which is part of the difference"
        taught, alone = (both(getattr(loss, first), getattr(loss, second), 3) for loss in (self.with_it, self.without))
        which = "without" if self.took else "with"
        return (
            f"Lowest loss on held-out text, in {unit}{reason}: {taught} with {self.what}, {alone} without. "
            f"The run {which}: "
        )


def outcomes(run: Ran, others: Sequence[Ran]) -> list[Outcome]:
    """Of a run: what came of each thing that it took, or, of one that took nothing, what it would have brought. Empty
    while the run trains."""
    if not _ended(run):
        return []
    found = [_outcome(run, others, name) for name in TAKEN]
    return [one for one in found if one is not None]


def _outcome(run: Ran, others: Sequence[Ran], name: str) -> Outcome | None:
    took, best = bool(getattr(run.info.recipe.train, name)), lowest(run.folder)
    if best is None:
        return Outcome(name, None, None, None, took) if took else None
    for other in others:
        if other.info.id == run.info.id or not alike(*((run, other) if took else (other, run)), name):
            continue
        loss, same = lowest(other.folder), _same_vocabulary(run, other)
        if loss is None or not _ended(other) or not (same or name == "teacher"):
            continue
        if same or None not in (best.bits, loss.bits):
            return Outcome(name, *((best, loss) if took else (loss, best)), other, took, same)
    return Outcome(name, best, None, None, took) if took else None


def alike(one: Ran, other: Ran, name: str) -> bool:
    """Whether another run is the same but for what was taken by `name`, which it did without."""
    first, second = one.info, other.info
    if not getattr(first.recipe.train, name) or getattr(second.recipe.train, name):
        return False
    if any(first.corpus.get(key) != second.corpus.get(key) for key in ("name", "characters")):
        return False
    digests = {info.corpus.get("sha256") for info in (first, second)} - {None}  # runs of before have none
    if len(digests) > 1:
        return False
    return _plain(first.recipe, name) == _plain(second.recipe, name)


def lowest(folder: RunFolder) -> Loss | None:
    """The lowest loss on held-out text so far; None where nothing is held out."""
    evals = (event for event in folder.events() if isinstance(event, Evaluated))
    found = [Loss(event.val_loss, event.bits_per_byte) for event in evals if event.val_loss is not None]
    return min(found, key=lambda loss: loss.nats, default=None)


def _ended(run: Ran) -> bool:
    last = run.folder.last_event()
    return isinstance(last, Finished) and last.reason != "stopped"


def _plain(recipe: Recipe, name: str) -> dict[str, Any]:
    """All settings but those that go with `name`, in one form whichever way they were written."""
    values: dict[str, Any] = recipe.to_dict()
    values["model"] = recipe.model_config(2).to_dict()
    if recipe.tokenizer != "bpe":  # others have as many entries as they find
        values["vocab_size"] = 0
    values["train"] = {field: value for field, value in values["train"].items() if field not in TAKEN[name][1]}
    return values


def _same_vocabulary(one: Ran, other: Ran) -> bool:
    files = [run.folder.path / "tokenizer.json" for run in (one, other)]
    return all(file.is_file() for file in files) and files[0].read_bytes() == files[1].read_bytes()
