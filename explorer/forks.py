"""Forking a run from the page: what can be chosen, and the training that begins with its weights."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from explorer import corpora
from explorer.jobs import OPENED, JobError, Run
from explorer.recipes import text_of, worded
from explorer.server import Server
from explorer.session import Visitor
from training.cleaning import Cleaning
from training.corpus import Corpus
from training.fork import changes_of, checkpoint_step, find_fork, forkable_steps, in_force
from training.runs import RunFolder, check_name, new_run_id
from training.trainer import Trainer

SETTINGS = ("learning_rate", "muon_learning_rate", "batch_size", "dropout", "weight_decay")
"""What the page offers to change; the command line has all."""


class Forks:
    """The server functions of the form that forks the watched run. Its text is its owner's, so only they fork it."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def fork_offer(self, raw: Any) -> dict[str, Any]:
        """What a fork can begin with, and the settings that the run has. Raises ValueError with a sentence."""
        _, visitor, run = self._asked(raw)
        recipe, steps = run.info.recipe, forkable_steps(run.folder)
        if not steps:
            raise JobError(f"{run.info.name} has no weights yet to begin a fork with: wait for its first checkpoint.")
        config = recipe.model_config(2)
        names = [name for name in SETTINGS if name != "muon_learning_rate" or recipe.train.optimizer == "muon"]
        changes = changes_of(run.folder)
        each = [in_force(recipe, changes, step).train for step in steps]
        exact = {name: step for name in ("best", "last") if (step := checkpoint_step(run.folder, name)) >= 0}
        return {
            "steps": steps,
            "exact": exact,
            "planned": recipe.train.steps,
            "settings": [{n: getattr(config if n == "dropout" else train, n) for n in names} for train in each],
            "layers": config.layers,
            "heads": config.heads,
            "own_text": str(run.info.corpus.get("name", "")),
            "text": visitor.corpus.name if visitor.corpus is not None else None,
        }

    def fork(self, raw: Any) -> dict[str, Any]:
        """Fork a run and queue the training. Raises ValueError with a sentence; then nothing is left behind."""
        request, visitor, run = self._asked(raw)
        step, more, silence = request.get("step"), request.get("more"), request.get("silence") or []
        if type(step) is not int:
            raise JobError("Choose the step to fork at.")
        if more is not None and type(more) is not int:
            raise JobError("How many steps is not a whole number: enter one, such as 500.")
        corpus, changes = self._changes(request, visitor, run)
        data = {} if corpus is None else {"data": corpora.origin(visitor, corpus).to_dict()}
        with worded():
            found = find_fork(run.folder, step, corpus, changes, _heads(silence), more)
        recipe, limits = found.prepared.recipe, self._server.limits
        if recipe.train.steps > limits.steps:
            raise JobError(f"That makes {recipe.train.steps:,} steps; this server trains up to {limits.steps:,}.")
        name = check_name(request.get("name") or f"{run.info.name[:60]}, from step {step:,}")
        told = found.corpus | data
        owner = visitor.owner if limits.shared else None
        folder = RunFolder.create(self._server.jobs.root / new_run_id(name), name, recipe, told, owner, found.parent)
        try:
            return {"run": self._server.jobs.submit(Trainer(folder, found.prepared)).info.id}
        except ValueError:
            folder.delete()
            raise

    def _asked(self, raw: Any) -> tuple[dict[str, Any], Visitor, Run]:
        request = raw if isinstance(raw, dict) else {}
        visitor = self._server.visitors.get(request.get("session"))
        run = self._server.jobs.find(request.get("run"))
        if not self._server.jobs.owns(run, visitor.owner):
            raise JobError("Only the browser that started this training can fork it: its text is in it.")
        if run.info.corpus.get("source") == OPENED:
            raise JobError(f"{run.info.name} was opened from a file, without its text and its recipe: train a new run.")
        return request, visitor, run

    def _changes(self, request: dict[str, Any], visitor: Visitor, run: Run) -> tuple[Corpus | None, dict[str, Any]]:
        given = request.get("settings")
        changes = {
            name: value for name, value in (given if isinstance(given, dict) else {}).items() if name in SETTINGS
        }
        if not request.get("text"):
            return None, changes
        corpus, recipe, _ = text_of(visitor, run.info.recipe)
        return corpus, changes | {f.name: getattr(recipe.cleaning, f.name) for f in fields(Cleaning)}


def _heads(silence: object) -> list[tuple[int, int]]:
    """[layer, head] pairs from 0."""
    pairs: list[Any] = silence if isinstance(silence, list) and len(silence) <= 1000 else [None]
    if not all(isinstance(pair, list) and len(pair) == 2 and all(type(n) is int for n in pair) for pair in pairs):
        raise JobError("The heads to silence cannot be read: reload the page and choose them again.")
    return [(pair[0], pair[1]) for pair in pairs]
