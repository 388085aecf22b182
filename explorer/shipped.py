"""How a shipped model learnt: the metrics of its run lie beside its weights and are watched like a run that is over."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

from explorer.jobs import JobError, Run
from model.checkpoint import INDEX, read_index
from training.config import Recipe
from training.events import EventLog, Started
from training.runs import RunFolder, RunInfo

_KIND = "shipped:"
_METRICS = "metrics.jsonl"
_KEPT = 4  # curves in memory


class ShippedFolder(RunFolder):
    """A shipped model's folder, where the weights lie beside the metrics."""

    def newest_checkpoint(self) -> Path | None:
        """The folder itself."""
        return self.path


class ShippedRuns:
    """Finds the runs of the shipped models by their refs, `shipped:<folder>`. Nobody can steer them."""

    def __init__(self, weights: Path) -> None:
        self._weights = weights
        self._read: Callable[[Path, int], Run] = functools.lru_cache(_KEPT)(_read)

    def offered(self) -> str | None:
        """The ref of the first shipped model that came with its curve."""
        folders = sorted(self._weights.iterdir()) if self._weights.is_dir() else []
        return next(
            (_KIND + path.name for path in folders if (path / INDEX).exists() and (path / _METRICS).exists()), None
        )

    def find(self, ref: str) -> Run:
        """The run that made a shipped model. Raises JobError or CheckpointError."""
        name = ref.removeprefix(_KIND)
        names = [path.name for path in self._weights.iterdir()] if self._weights.is_dir() else []
        metrics = self._weights / name / _METRICS
        if name not in names or not metrics.exists():  # `..` is no name of a folder in here
            raise JobError("How this model learnt did not come with it: train one of your own and watch that.")
        return self._read(metrics.parent, metrics.stat().st_mtime_ns)


def is_shipped(ref: object) -> bool:
    """Whether what somebody wants to watch is a shipped model."""
    return isinstance(ref, str) and ref.startswith(_KIND)


def _read(folder: Path, changed: int) -> Run:
    """The run as its metrics tell it. changed: when they were written, so that newer ones are read anew."""
    meta = dict(read_index(folder).get("meta") or {})
    shipped, log = ShippedFolder(folder), EventLog()
    for event in shipped.events():
        log.append(event)
    events, _ = log.since(0)
    if not events:
        raise JobError("How this model learnt cannot be read: get the whole repository, weights included.")
    steps = next((event.steps for event in events if isinstance(event, Started)), max(1, events[-1].step))
    info = RunInfo(
        id=_KIND + folder.name,
        name=str(meta.get("name", folder.name)),
        created="",
        corpus=dict(meta.get("corpus") or {}),
        recipe=Recipe().with_changes({"steps": steps}),
    )
    return Run(info, shipped, log, None)
