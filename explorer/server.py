"""What one process of the app holds: limits, visitors, models and trainings. Made by app.py, passed to the tabs."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

from explorer.jobs import OPENED, JobError, Jobs, Run
from explorer.limits import Limits
from explorer.session import Visitors
from explorer.shelf import Shelf, View, measured, step_of
from explorer.shipped import ShippedRuns
from model import CheckpointError
from training.threads import cores

_log = logging.getLogger(__name__)
Reply = dict[str, Any]


class Server:
    """The state behind the page. Everything in it may be used from several threads."""

    def __init__(self, runs: Path, weights: Path, limits: Limits) -> None:
        self.limits = limits
        self.visitors = Visitors(limits.visitors, limits.decoders)
        self.shelf = Shelf(weights, limits.opened_models)
        self.shipped = ShippedRuns(weights)
        self.jobs = Jobs(runs, limits, at_once=max(1, cores() // 2))
        self.decoding = threading.BoundedSemaphore(limits.decoding_at_once)

    def view(self, ref: object, fresh: bool = False) -> View:
        """The model that a ref names, at its newest state. Raises ValueError with a sentence.

        fresh: for a run in training, take a snapshot of this moment and not of its last measurement.
        """
        if not isinstance(ref, str) or len(ref) > 200:
            raise CheckpointError("There is no such model: choose one under Models.")
        kind, _, name = ref.partition(":")
        if kind == "shipped":
            return self.shelf.open_shipped(name)
        if kind != "run":
            raise CheckpointError("There is no such model: choose one under Models.")
        name, _, step = name.partition("@")
        run = self.jobs.find(name)
        if step:
            return self.shelf.open_kept(run.folder, int(step) if step.isascii() and step.isdigit() else -1)
        if run.trainer is not None:
            snapshot = run.trainer.fresh_snapshot() if fresh else run.trainer.snapshot
            if not run.trainer.over:
                if snapshot is not None:
                    return self.shelf.open_snapshot(run.trainer, run.info.name, snapshot)
                raise CheckpointError(
                    f"{run.info.name} has not begun yet: wait for its first step, or look at another model."
                )
        checkpoint = run.checkpoint()
        if checkpoint is not None:
            return self.shelf.open_run(name, checkpoint)
        if run.elsewhere:
            raise CheckpointError(
                f"{run.info.name} has no checkpoint yet: wait for its first one, or look at another model."
            )
        raise CheckpointError(f"{run.info.name} ended before its first checkpoint: train it again, or choose another.")

    def checkpoint_of(self, ref: str) -> Path:
        """The checkpoint on disk of the model that a ref names. Raises ValueError with a sentence."""
        kind, _, name = ref.partition(":")
        if kind == "shipped":
            return self.shelf.folder(name)
        checkpoint = self.jobs.find(name).checkpoint() if kind == "run" else None
        if checkpoint is None:
            raise CheckpointError("There is no such model to learn from yet: choose one of the list.")
        return checkpoint

    def models(self, owner: str) -> list[dict[str, Any]]:
        """What a visitor can look at: the shipped models, then the runs that have weights, newest first."""
        found = self.shelf.shipped()
        for info in self.jobs.openable(owner):
            checkpoint = self.jobs.find(info.id).checkpoint()
            facts = (measured(checkpoint) if checkpoint is not None else "", info.corpus.get("name", "a text"))
            about = " · ".join(fact for fact in facts if fact)
            source = "file" if info.corpus.get("source") == OPENED else "run"
            found.append(
                {"ref": f"run:{info.id}", "name": info.name, "source": source, "detail": about, "made": info.created}
            )
        return found

    def name_of(self, view: View) -> str:
        """What a model is called now: a run may have been renamed since its weights were opened."""
        kind, _, name = view.ref.partition("@")[0].partition(":")
        if kind == "run":
            with contextlib.suppress(JobError):  # removed meanwhile
                return self.jobs.find(name).info.name
        return view.name


def opened_step(run: Run) -> int | None:
    """The step of the weights that looking into a run opens; None where it has none."""
    if run.trainer is not None and not run.trainer.over:
        snapshot = run.trainer.snapshot
        return snapshot.step if snapshot is not None else None
    checkpoint = run.checkpoint()
    return step_of(checkpoint) if checkpoint is not None else None


def answering(function: Callable[..., Reply]) -> Callable[..., Reply]:
    """For functions that the page calls: whatever goes wrong becomes {ok: false, error: a sentence}."""

    @wraps(function)
    def answer(*args: Any) -> Reply:
        try:
            return {"ok": True, **function(*args)}
        except ValueError as error:
            text = str(error)
            return {"ok": False, "error": text[:1].upper() + text[1:]}
        except Exception:
            _log.exception("%s failed", function.__name__)
            return {
                "ok": False,
                "error": "Something broke on the server. Its log has the details; reload the page to go on.",
            }

    return answer
