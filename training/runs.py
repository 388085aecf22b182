"""The folder of runs on disk: what was trained, on what, how it went, and the weights.

<run>/config.json          name, corpus, recipe, model; written once
<run>/tokenizer.json       the tokenizer
<run>/metrics.jsonl        a line an event (training/events.py), appended as it happens
<run>/checkpoints/best     the lowest validation loss so far
<run>/checkpoints/last     the latest evaluation
<run>/snapshots/           weights kept through training
"""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import shutil
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from model.checkpoint import INDEX, write_atomically
from training import events
from training.config import Recipe
from training.events import Event

_KINDS: dict[str, type[Event]] = {
    cls.kind: cls
    for cls in vars(events).values()
    if isinstance(cls, type) and issubclass(cls, Event) and cls is not Event
}


class RunError(ValueError):
    """A run folder that cannot be made or read; the message says why and what to do."""


@dataclass(frozen=True)
class RunInfo:
    """What stands in a run's config.json."""

    id: str
    name: str
    created: str
    """UTC, ISO 8601."""
    corpus: dict[str, Any]
    recipe: Recipe
    owner: str | None = None
    """Hash of the visitor's token on a shared server; None where the machine's owner trained."""


class RunFolder:
    """One run on disk. The folder's name is the run's id."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._metrics: TextIO | None = None

    @property
    def id(self) -> str:
        """The folder's name."""
        return self.path.name

    @classmethod
    def create(
        cls, path: Path, name: str, recipe: Recipe, corpus: dict[str, Any], owner: str | None = None
    ) -> RunFolder:
        """Make the folder and write its config. Raises RunError when a run is there already or the disk refuses."""
        if (path / "config.json").exists():
            raise RunError(f"{path} already holds a run: choose another folder, or delete that one first.")
        try:
            path.mkdir(parents=True, exist_ok=True)
            values = {
                "format": "glass-gpt-run",
                "version": 1,
                "name": name,
                "created": datetime.now(UTC).isoformat(timespec="seconds"),
                "corpus": corpus,
                "owner": owner,
                **recipe.to_dict(),
            }
            text = json.dumps(values, indent=2, ensure_ascii=False)
            write_atomically(path / "config.json", text.encode(errors="replace"))  # half surrogates of a file's name
            (path / "snapshots").mkdir(exist_ok=True)
        except OSError as error:
            raise RunError(f"the folder {path} cannot be written ({error.strerror}): choose another one.") from error
        return cls(path)

    def info(self) -> RunInfo:
        """The run's config. Raises RunError when it is damaged."""
        try:
            values = json.loads((self.path / "config.json").read_text(encoding="utf-8"))
            return RunInfo(
                id=self.id,
                name=str(values["name"]),
                created=str(values["created"]),
                corpus=dict(values["corpus"]),
                recipe=Recipe.from_dict(values),
                owner=values.get("owner"),
            )
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise RunError(
                f"{self.path / 'config.json'} cannot be read ({error}): this run cannot be opened."
            ) from error

    def append(self, event: Event) -> None:
        """Add a line to metrics.jsonl and hand it to the system, so that a killed program loses nothing."""
        if self._metrics is None:
            self._metrics = (self.path / "metrics.jsonl").open("a", encoding="utf-8", errors="replace")
        self._metrics.write(json.dumps(event.to_dict(), ensure_ascii=False) + "\n")
        self._metrics.flush()

    def close(self) -> None:
        """Close metrics.jsonl."""
        metrics, self._metrics = self._metrics, None
        if metrics is not None:
            with contextlib.suppress(OSError):  # a line that the disk refused was reported by `append`
                metrics.close()

    def events(self) -> Iterator[Event]:
        """The run's events as far as they were written; a line cut short by a crash ends them."""
        try:
            with (self.path / "metrics.jsonl").open(encoding="utf-8", errors="replace") as lines:
                for line in lines:
                    try:
                        yield _event(json.loads(line))
                    except (ValueError, KeyError, TypeError):
                        return
        except FileNotFoundError:
            return

    def checkpoint(self, which: str) -> Path:
        """Path of the checkpoint `best` or `last`, there or not."""
        return self.path / "checkpoints" / which

    def newest_checkpoint(self) -> Path | None:
        """The best checkpoint, else the last, else None."""
        return next((p for w in ("best", "last") if ((p := self.checkpoint(w)) / INDEX).exists()), None)

    def delete(self) -> None:
        """Remove the folder and all in it."""
        self.close()
        shutil.rmtree(self.path)


def new_run_id(name: str) -> str:
    """A folder name for a run: a readable beginning and 128 random bits, so that its link cannot be guessed."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:40].strip("-")
    return f"{slug or 'run'}-{secrets.token_hex(16)}"


def list_runs(root: Path) -> list[RunInfo]:
    """The runs in a folder that can be read, newest first."""
    found = []
    for config in root.glob("*/config.json"):
        try:
            found.append(RunFolder(config.parent).info())
        except RunError:
            continue
    return sorted(found, key=lambda info: info.created, reverse=True)


def _event(values: dict[str, Any]) -> Event:
    cls = _KINDS[values["event"]]
    known: dict[str, Any] = {f.name: values.get(f.name) for f in fields(cls)}
    return cls(**known)
