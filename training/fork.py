"""Forking a run: another one that begins with its weights of some step, on another text, with other settings, or with
silenced heads.

    trainer = fork(RunFolder("runs/mine"), Path("runs/other"), "a fork", at=400, changes={"dropout": 0.1}, more=200)

From `last` it takes over the optimizer and the order of the data too, so that a fork without changes goes on as its
parent would have. `best` is exact, but its optimizer begins anew; so it does from a snapshot, whose weights are rounded
to float16 as well. Steps are counted on from the parent's. Its learning rate and batch are those that were in force
there, where they were changed in flight.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model import GPT, Checkpoint, ConfigError, GPTConfig, Tokenizer, open_checkpoint
from model.checkpoint import INDEX, read_extra, read_index
from training.config import Recipe
from training.corpus import Corpus, TooShort, about
from training.events import Changed
from training.kept import read_text
from training.origin import as_corpus
from training.runs import Parent, RunError, RunFolder
from training.setup import Beginning, Prepared, set_up
from training.snapshots import load_snapshot
from training.trainer import Trainer

_TEXT = ("cut", "start_mark", "max_documents", "val_fraction", "cleaning")
_FREE = ("dropout",)
"""Of the shape; all else is that of the weights."""


@dataclass(frozen=True)
class Fork:
    """A training that can begin (`prepared.beginning` has its weights), and what it says of its parent and its text."""

    prepared: Prepared
    parent: Parent
    corpus: dict[str, Any]


def fork(
    folder: RunFolder,
    out: Path,
    name: str,
    at: int | str = "last",
    corpus: Corpus | None = None,
    changes: Mapping[str, Any] | None = None,
    silence: Sequence[tuple[int, int]] = (),
    more: int | None = None,
    owner: str | None = None,
) -> Trainer:
    """The trainer of a fork, in a run folder of its own, which waits to be started. See `find_fork`."""
    found = find_fork(folder, at, corpus, changes or {}, silence, more)
    made = RunFolder.create(out, name, found.prepared.recipe, found.corpus, owner, found.parent)
    return Trainer(made, found.prepared)


def find_fork(
    folder: RunFolder,
    at: int | str = "last",
    corpus: Corpus | None = None,
    changes: Mapping[str, Any] | None = None,
    silence: Sequence[tuple[int, int]] = (),
    more: int | None = None,
) -> Fork:
    """All that a fork needs; nothing is written. Raises ValueError with a sentence.

    at: a step, `best` or `last`; corpus: another text, cleaned already; None: the parent's own. changes: settings by
    name; silence: (layer, head) from 0, whose outputs begin at zero; more: steps from there; None: those that the
    parent had left, or `steps` in changes, which counts from 0.
    """
    info = folder.info()
    checkpoint, weights, tensors = _weights(folder, at)
    if checkpoint.tokenizer is None:
        raise RunError(f"{info.name} has no tokenizer, so it cannot read a text: train a new run.")
    step = int(checkpoint.meta.get("step", 0))
    before = in_force(info.recipe, changes_of(folder), step)
    wanted = {name: value for name, value in (changes or {}).items() if value != _now(before, name)}
    recipe = _recipe(info.name, before, step, wanted, more, own_text=corpus is None)
    model, edits = _model(checkpoint, recipe, silence)
    if recipe.train.optimizer != info.recipe.train.optimizer:
        tensors = {key: value for key, value in tensors.items() if not key.startswith("optimizer.")}
    if recipe.train.seed != info.recipe.train.seed:
        tensors = {key: value for key, value in tensors.items() if not key.startswith("random.")}
    kept = "kept" if any(key.startswith("optimizer.") for key in tensors) else "anew"
    prepared = _prepared(folder, info.name, corpus, recipe, checkpoint.tokenizer)
    parent = Parent(info.id, info.name, step, weights, kept, edits)
    told = info.corpus if corpus is None else about(corpus)
    return Fork(replace(prepared, beginning=Beginning(model, step, tensors)), parent, told)


def forkable_steps(folder: RunFolder) -> list[int]:
    """The steps that a run can be forked at, rising: its snapshots and its checkpoints."""
    kept = {checkpoint_step(folder, which) for which in ("best", "last")} - {-1}
    return sorted({*folder.snapshots(), *kept})


def changes_of(folder: RunFolder) -> list[Changed]:
    """What was changed in flight, in order."""
    return [event for event, _ in folder.events_from(0) if isinstance(event, Changed)]


def in_force(recipe: Recipe, changes: Sequence[Changed], step: int) -> Recipe:
    """The recipe with the learning rates and the batch that its run had after a step, by what was changed in flight."""
    last = next((change for change in reversed(changes) if change.step <= step), None)
    if last is None:
        return recipe
    names = ("learning_rate", "muon_learning_rate")
    rates = {name: float(f"{getattr(recipe.train, name) * last.rate:.12g}") for name in names}
    return recipe.with_changes({**rates, "batch_size": last.batch_size})


def checkpoint_step(folder: RunFolder, which: str) -> int:
    """The step of `best` or `last`; -1 where there is none."""
    path = folder.checkpoint(which)
    try:
        return int(dict(read_index(path)["meta"])["step"]) if (path / INDEX).exists() else -1
    except (ValueError, KeyError, TypeError):
        return -1


def _weights(folder: RunFolder, at: int | str) -> tuple[Checkpoint, str, dict[str, Tensor]]:
    """The model at a step in the best form there is, how exact it is, and the optimizer's state and generator."""
    name, exact = folder.info().name, {checkpoint_step(folder, which): which for which in ("best", "last")}
    wanted = at if isinstance(at, str) else exact.get(at)
    if wanted not in ("best", "last", None):
        raise RunError(f"{at!r} is no step of {name}: give a number, best, or last.")
    if wanted is None and isinstance(at, int):
        return load_snapshot(folder, at), "float16", {}
    path = folder.checkpoint(str(wanted))
    if not (path / INDEX).exists():
        offer = ", ".join(f"{step:,}" for step in forkable_steps(folder))
        raise RunError(f"{name} has no {wanted} checkpoint to fork from{f'; there is step {offer}' if offer else ''}.")
    extra = read_extra(path) if wanted == "last" else None
    return open_checkpoint(path), "exact", extra.tensors if extra is not None else {}


def _now(recipe: Recipe, name: str) -> Any:
    """What a setting is; its own name for one that is not known, which `with_changes` refuses."""
    shape = recipe.model_config(recipe.vocab_size)
    for part in (recipe.train, recipe, recipe.cleaning, shape):
        if any(f.name == name for f in fields(part)):
            return getattr(part, name)
    return _now


def _recipe(
    name: str, before: Recipe, step: int, changes: Mapping[str, Any], more: int | None, own_text: bool
) -> Recipe:
    shape = {f.name for f in fields(GPTConfig)} - {*_FREE}
    for setting in changes:
        if setting in shape | {"tokenizer", "embeddings_from"}:
            raise ConfigError(
                f"a fork goes on with the weights of {name}: {setting} stays {_now(before, setting)!r}. Leave it out, "
                "or train a new run."
            )
        if own_text and (setting in _TEXT or any(f.name == setting for f in fields(before.cleaning))):
            raise ConfigError(
                f"{setting} cannot be changed in a fork on the same text, which the weights know in part: leave it "
                "out, or give another text."
            )
    if more is not None and more < 1:
        raise ConfigError(f"{more} more steps is none: give at least 1.")
    total = step + more if more is not None else changes.get("steps", before.train.steps)
    if isinstance(total, int) and total <= step:
        raise ConfigError(f"steps is {total:,}, and the fork begins at step {step:,}: say how many more to train.")
    return before.with_changes({"until_val_loss": None, **changes, "steps": total})


def _model(checkpoint: Checkpoint, recipe: Recipe, silence: Sequence[tuple[int, int]]) -> tuple[GPT, tuple[str, ...]]:
    model = GPT(recipe.model_config(checkpoint.config.vocab_size))
    model.load_state_dict(checkpoint.model.state_dict())
    for layer, head in silence:
        silence_head(model, layer, head)
    return model, tuple(f"layer {layer + 1}, head {head + 1} silenced" for layer, head in silence)


def silence_head(model: GPT, layer: int, head: int) -> None:
    """Zero the columns of the output projection that read a head, counted from 0, as model.edits.ablate_head does in a
    forward pass. Training may let it grow back. Raises ConfigError for a head that is not there."""
    config = model.config
    if not (0 <= layer < config.layers and 0 <= head < config.heads):
        raise ConfigError(
            f"there is no head {head + 1} in layer {layer + 1}: the model has layers 1 to {config.layers} of heads 1 "
            f"to {config.heads}."
        )
    with torch.no_grad():
        columns = slice(head * config.d_head, (head + 1) * config.d_head)
        model.blocks[layer].attn.out.weight[:, columns] = 0  # type: ignore[union-attr, operator]


def _prepared(folder: RunFolder, name: str, corpus: Corpus | None, recipe: Recipe, tokenizer: Tokenizer) -> Prepared:
    if corpus is not None:
        try:
            return set_up(corpus, recipe, lambda _: tokenizer)
        except TooShort as error:
            raise RunError(
                f"{corpus.name} is too short for a fork of {name}, which reads {error.context:,} tokens at a time: it "
                f"gives {error.train:,} tokens to train on and {error.held_out:,} to validate on. Give a longer text, "
                "or train a new run."
            ) from error
    texts = read_text(folder.path)
    if texts is None:
        raise RunError(f"the text of {name} is not in its folder: give the fork a text.")
    plain = recipe.with_changes({"embeddings_from": ""})
    return replace(set_up(as_corpus(texts, recipe), plain, lambda _: tokenizer), texts=texts)
