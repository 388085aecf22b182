"""Going on with a run: what is written for it beside the weights, how often, and how it is read again.

A run goes on from `checkpoints/last`, which holds weights, optimizer, random generator and the loop's own state of one
moment, and says how much of metrics.jsonl had been written by then; what was written later is cut off, for it happens
again. docs/runs.md says when that is exact.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import torch

from model import GPT, Tokenizer, open_checkpoint
from model.checkpoint import INDEX, Extra, clear_unfinished, read_extra, read_index, write_atomically
from training import sharded
from training.artifacts import append_sample
from training.config import Recipe
from training.data import Data
from training.events import Changed, Event, Sampled
from training.kept import FOLDER, TRAIN, read_text
from training.origin import as_corpus
from training.runs import RunError, RunFolder
from training.setup import Prepared, set_up
from training.state import Change, LoopState
from training.tokens import as_token_files

SHARE = 0.02
"""Of the time of a training, what writing `last` may take."""


class Cadence:
    """When `last` is due: at a measurement or after `every_s` seconds, but never so often that it takes more than SHARE
    of the time. every_s 0: at measurements only."""

    def __init__(self, every_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._every, self._clock = every_s, clock
        self._wrote, self._cost = clock(), 0.0

    def due(self, measured: bool) -> bool:
        """Whether to write now. measured: the weights were measured a moment ago."""
        passed = self._clock() - self._wrote
        return passed >= self._cost / SHARE and (measured or 0 < self._every <= passed)

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Around the writing: what it takes decides when the next may come."""
        begun = self._clock()
        yield
        self._wrote = self._clock()
        self._cost = self._wrote - begun


@dataclass(frozen=True)
class Resumption:
    """Where a run goes on. model, extra: None where it begins anew, because it had no checkpoint yet.

    events: those that stand; offset: the byte of metrics.jsonl behind them; anew: how often it was taken up, this time
    included; planned: what was changed in flight after the checkpoint, which happens again at its steps.
    """

    recipe: Recipe
    model: GPT | None
    extra: Extra | None
    meta: dict[str, Any]
    events: list[Event]
    offset: int
    anew: int
    planned: tuple[Change, ...] = ()

    @property
    def step(self) -> int:
        """Updates that the weights have had."""
        return int(self.extra.values["step"]) if self.extra is not None else 0

    @property
    def wall_s(self) -> float:
        """Seconds of training until then."""
        return float(self.extra.values["wall_s"]) if self.extra is not None else 0.0


def pack(state: LoopState, model: GPT, offset: int, text: str, parts: bool = False) -> Extra:
    """What is written beside the weights. offset: bytes of metrics.jsonl that stand; text: the data's `fingerprint`;
    parts: the optimizer's state is written elsewhere (sharded.py)."""
    recorded = {"metrics_bytes": offset, "data": text, "torch": torch.__version__}
    tensors = state.generators() if parts else state.tensors(model)
    return Extra(tensors, {**state.to_dict(), **recorded})


def fingerprint(data: Data) -> str:
    """Tells one text, as a model sees it, from another: SHA-256 of the ids of both parts."""
    if (known := getattr(data, "digest", None)) is not None:
        return str(known)
    digest = hashlib.sha256()
    for ids in (data.train, data.val):
        digest.update(f"{len(ids)};".encode())
        for part in torch.split(ids, 1_000_000):
            digest.update(part.to(torch.int64).contiguous().numpy().data)
    return digest.hexdigest()


def resumable_step(folder: RunFolder) -> int | None:
    """The step from which a run that nobody trains could go on; None where it cannot. Cheap, and promises nothing."""
    last = folder.checkpoint("last")
    if (parts := sharded.step(last.parent)) is not None:
        return parts
    if (last / INDEX).exists():
        try:
            return int(read_index(last)["extra"]["values"]["step"])
        except (ValueError, KeyError, TypeError):
            return None
    kept = (folder.path / FOLDER / TRAIN).exists() and folder.newest_checkpoint() is None
    return 0 if kept and folder.info().parent is None else None


def find_resumption(folder: RunFolder, more: int | None = None) -> tuple[Prepared, Resumption]:
    """All that a run needs to go on; nothing is changed yet. Raises ValueError with a sentence.

    more: steps from where it stands; None: those that are left.
    """
    if more is not None and more < 1:
        raise RunError(f"{more} more steps is none: give at least 1.")
    info, extra, model, meta = folder.info(), None, None, dict[str, Any]()
    if folder.held():
        raise RunError(f"{info.name} is being trained at this moment: stop it there, or wait for its end.")
    last = folder.checkpoint("last")
    if (last / INDEX).exists():
        extra = read_extra(last)
        if extra is None:
            raise RunError(
                f"{info.name} cannot go on: it was written by a version that did not keep the optimizer's state. "
                "Train again, with --config and its config.yaml."
            )
        checkpoint = open_checkpoint(last)
        model, meta = checkpoint.model, checkpoint.meta
    elif info.parent is not None:
        raise RunError(f"{info.name} cannot go on: it ended before the weights of its fork were kept. Fork again.")
    parts = sharded.find(last.parent)
    if parts is not None and (extra is None or parts.values["step"] > extra.values["step"]):
        shape = info.recipe.model_config(Tokenizer.load(folder.path / "tokenizer.json").vocab_size)
        extra, model, meta = parts, GPT(shape), {}  # its weights are read where it is trained
    events, offset = _standing(folder, extra)
    planned = _planned(folder, events, offset)
    again = Resumption(info.recipe, model, extra, meta, events, offset, info.taken_up + 1, planned)
    return _prepared(folder, info.name, replace(again, recipe=_recipe(info.name, again, more)))


def _recipe(name: str, again: Resumption, more: int | None) -> Recipe:
    recipe = again.recipe
    if more is not None:
        return recipe.with_changes({"steps": again.step + more, "until_val_loss": None})
    target, reached = recipe.train.until_val_loss, again.extra.values["val_loss"] if again.extra else None
    if again.step >= recipe.train.steps or (target is not None and reached is not None and reached <= target):
        raise RunError(f"{name} has come to its end: say how many more steps to train (--more).")
    return recipe


def _prepared(folder: RunFolder, name: str, again: Resumption) -> tuple[Prepared, Resumption]:
    """Tokenizer and data from what the run keeps, checked against what it was trained on."""
    texts, recipe = read_text(folder.path), again.recipe
    if texts is None:
        files = folder.info().corpus.get("data", {}).get("files", [])
        if (tokens := as_token_files(files)) is None:
            raise RunError(f"{name} cannot go on: the text that it was trained on is not in it. Train again.")
        return _same_text(name, replace(tokens.prepare(recipe), recipe=recipe), again)
    # The rows were copied at the beginning, and the model that they came from may be gone.
    plain = recipe if again.model is None else recipe.with_changes({"embeddings_from": ""})
    tokenizer = Tokenizer.load(folder.path / "tokenizer.json")
    prepared = set_up(as_corpus(texts, recipe), plain, lambda _: tokenizer)
    return _same_text(name, replace(prepared, recipe=recipe, texts=texts), again)


def _same_text(name: str, prepared: Prepared, again: Resumption) -> tuple[Prepared, Resumption]:
    """Raises RunError where the text is not that of the checkpoint."""
    if again.extra is not None and fingerprint(prepared.data) != again.extra.values.get("data"):
        raise RunError(f"{name} cannot go on: the text in it is not what it was trained on. Train again.")
    return prepared, again


def _standing(folder: RunFolder, extra: Extra | None) -> tuple[list[Event], int]:
    """The events up to a checkpoint, and the byte of metrics.jsonl behind them."""
    events, at = list[Event](), 0
    wanted = int(extra.values["metrics_bytes"]) if extra is not None else 0
    for event, behind in folder.events_from(0):
        if behind > wanted:
            break
        events.append(event)
        at = behind
    return events, at


def _planned(folder: RunFolder, events: list[Event], offset: int) -> tuple[Change, ...]:
    """The changes in flight that are still to come: those that stand behind the checkpoint, and where the run was
    killed again before it had come to all of the last time's, the rest of these."""
    try:
        last = dict(next(iter(_taken_up(folder)[-1:]), {}))
        planned = [(int(step), float(rate), int(batch)) for step, rate, batch in last.get("planned", [])]
        before = int(last.get("events", 0))
    except (TypeError, ValueError) as error:  # unpacked from elsewhere, it may say anything
        raise RunError(f"{folder.path / 'config.json'} is damaged ({error}): copy the run again.") from error
    foreseen = tuple(Change(*change) for change in planned)
    redone = _changes(events[before:])
    cut_off = _changes([event for event, _ in folder.events_from(offset)])
    happened = redone + cut_off
    return foreseen[len(redone) :] if happened == foreseen[: len(happened)] else cut_off


def _changes(events: list[Event]) -> tuple[Change, ...]:
    return tuple(Change(e.step, e.rate, e.batch_size) for e in events if isinstance(e, Changed))


def _taken_up(folder: RunFolder) -> list[dict[str, Any]]:
    """What `take_up` wrote down each time."""
    try:
        return list(json.loads((folder.path / "config.json").read_text(encoding="utf-8")).get("taken_up", []))
    except (OSError, ValueError) as error:
        raise RunError(f"{folder.path / 'config.json'} cannot be read ({error}): copy the run again.") from error


def take_up(folder: RunFolder, again: Resumption) -> None:
    """Bring the folder back to where the run goes on, and write down that it does. Raises OSError.

    Whoever follows metrics.jsonl by bytes finds another config.json, and begins anew (explorer/jobs.py).
    """
    for place in (folder.path, folder.path / FOLDER, folder.path / "snapshots"):
        clear_unfinished(place)
    metrics = folder.path / "metrics.jsonl"
    if metrics.exists() and metrics.stat().st_size > again.offset:
        with metrics.open("rb") as lines:
            write_atomically(metrics, lines.read(again.offset))
    samples = folder.path / "samples.txt"
    samples.unlink(missing_ok=True)
    for event in again.events:
        if isinstance(event, Sampled):
            append_sample(samples, event)
    path = folder.path / "config.json"
    values = json.loads(path.read_text(encoding="utf-8"))
    now = datetime.now(UTC).isoformat(timespec="seconds")
    entry = {"when": now, "step": again.step, "steps": again.recipe.train.steps, "events": len(again.events)}
    entry |= {"planned": again.planned} if again.planned else {}
    values |= {**again.recipe.to_dict(), "taken_up": [*values.get("taken_up", []), entry]}
    write_atomically(path, json.dumps(values, indent=2, ensure_ascii=False).encode(errors="replace"))
