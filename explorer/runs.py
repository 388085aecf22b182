"""The visitor's runs as things of their own: a list, and what can be done with one of them."""

from __future__ import annotations

import contextlib
import functools
from pathlib import Path
from typing import Any

from explorer.downloads import place_for, ready
from explorer.jobs import OPENED, JobError, Run
from explorer.server import Server
from explorer.shelf import losses
from model import GPTConfig
from model.checkpoint import INDEX, read_index
from training.bundle import pack
from training.events import Started

_TOGETHER = 20  # runs deleted in one call
_FIGURES = ("parameters", "vocab_size", "step", "loss", "loss_kind", "bits_per_byte")


class Runs:
    """The server functions of the card Runs. A visitor of a shared server sees and touches their own."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def runs(self, raw: Any) -> dict[str, Any]:
        """All that can be compared: the visitor's own runs, newest first, then the shipped models with a curve."""
        request = raw if isinstance(raw, dict) else {}
        visitor = self._server.visitors.get(request.get("session"))
        return {"runs": self._listed(visitor.owner)}

    def rename(self, raw: Any) -> dict[str, Any]:
        """Call one of the visitor's runs by another name. Raises ValueError with a sentence."""
        request = raw if isinstance(raw, dict) else {}
        visitor = self._server.visitors.get(request.get("session"))
        name = self._server.jobs.rename(request.get("run"), request.get("name"), visitor.owner)
        return {"name": name, "runs": self._listed(visitor.owner), "models": self._server.models(visitor.owner)}

    def delete(self, raw: Any) -> dict[str, Any]:
        """Remove runs of the visitor's for good; all of them or, where one cannot be, those before it."""
        request = raw if isinstance(raw, dict) else {}
        visitor = self._server.visitors.get(request.get("session"))
        wanted = request.get("runs")
        if not isinstance(wanted, list) or not 0 < len(wanted) <= _TOGETHER:
            raise JobError(f"Choose from 1 to {_TOGETHER} runs to delete.")
        for run in wanted:
            self._server.jobs.delete(run, visitor.owner)
        return {"runs": self._listed(visitor.owner), "models": self._server.models(visitor.owner)}

    def download(self, raw: Any) -> dict[str, Any]:
        """Pack one of the visitor's runs into a zip (training/bundle.py). Raises ValueError with a sentence."""
        request = raw if isinstance(raw, dict) else {}
        visitor = self._server.visitors.get(request.get("session"))
        run = self._server.jobs.find(request.get("run"))
        if not self._server.jobs.owns(run, visitor.owner):
            raise JobError("Only the browser that started this training can download it: its text is in it.")
        return ready(pack(run.folder.path, place_for(run.info.name, "zip")))

    def _listed(self, owner: str) -> list[dict[str, Any]]:
        jobs = self._server.jobs
        own = [about(jobs.glance(info)) for info in jobs.listed(owner)]
        shipped = []
        for model in self._server.shelf.shipped():
            with contextlib.suppress(ValueError):  # without its curve it cannot be compared
                run = self._server.shipped.find(model["ref"])
                shipped.append(about(run) | {"ref": model["ref"], "state": "shipped", "made": None})
        return own + shipped


def about(run: Run) -> dict[str, Any]:
    """A run in a line of a list."""
    figures, last = figures_of(run), next(iter(run.log.tail(1)), None)
    return {
        "ref": f"run:{run.info.id}",
        "name": run.info.name,
        "state": run.state,
        "corpus": str(run.info.corpus.get("name", "")),
        "made": run.info.created,
        "brought": run.info.brought,
        "parameters": figures["parameters"],
        "step": last.step if last is not None else figures["step"],
        "steps": run.info.recipe.train.steps if run.state != OPENED else None,
        **{name: figures[name] for name in ("loss", "loss_kind", "bits_per_byte")},
    }


def figures_of(run: Run) -> dict[str, Any]:
    """What is known of a run's model from its best checkpoint, else from the events that are at hand."""
    figures: dict[str, Any] = dict.fromkeys(_FIGURES)
    folder = run.folder.newest_checkpoint()
    if folder is not None:
        with contextlib.suppress(OSError):
            figures |= _read(folder, (folder / INDEX).stat().st_mtime_ns)
    if figures["parameters"] is None:
        first = next(run.folder.events(), None)
        figures["parameters"] = first.parameters if isinstance(first, Started) else None
    return figures


@functools.lru_cache(maxsize=1000)
def _read(folder: Path, stamp: int) -> dict[str, Any]:
    try:
        index = read_index(folder)
        config, meta = GPTConfig.from_dict(dict(index["config"])), dict(index.get("meta") or {})
        known = {"parameters": config.parameters(), "vocab_size": config.vocab_size, "step": meta.get("step")}
        return known | losses(meta)
    except (ValueError, KeyError, TypeError):
        return {}
