"""The folder of runs on disk: what was trained, on what, how it went, and the weights.

<run>/config.json          name, corpus, recipe, model; written once
<run>/tokenizer.json       the tokenizer
<run>/metrics.jsonl        a line an event (training/events.py), appended as it happens
<run>/checkpoints/best     the lowest validation loss so far
<run>/checkpoints/last     the latest evaluation
<run>/snapshots/           weights kept through training
<run>/running              locked by the program that trains it, gone or unlocked once it is over
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
from training.locks import Mark, marked

Stamp = tuple[int, int]
"""Tells one state of a file from another: when it was written (ns), and its size in bytes."""
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
        self._mark: Mark | None = None

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

    def hold(self) -> None:
        """Tell other programs that this one trains the run, until `close` or the end of the process, a sudden one too.

        Where the disk knows no locks they are not told: to them the run looks interrupted while it goes on.
        """
        if self._mark is None:
            with contextlib.suppress(OSError):
                self._mark = Mark(self.path / "running")

    def held(self) -> bool:
        """Whether a program, this one or another, trains the run at this moment."""
        return marked(self.path / "running")

    def close(self) -> None:
        """Close metrics.jsonl, and let go of what `hold` took."""
        metrics, self._metrics = self._metrics, None
        if metrics is not None:
            with contextlib.suppress(OSError):  # a line that the disk refused was reported by `append`
                metrics.close()
        mark, self._mark = self._mark, None
        if mark is not None:
            mark.remove()

    def events(self) -> Iterator[Event]:
        """The run's events as far as they were written; a line cut short by a crash ends them."""
        return (event for event, _ in self.events_from(0))

    def events_from(self, offset: int) -> Iterator[tuple[Event, int]]:
        """The events that stand in metrics.jsonl from a byte on, each with the byte behind it, to go on from later.

        A line that is damaged, or not written to its end yet, ends them: the next call meets it again.
        """
        try:
            with (self.path / "metrics.jsonl").open("rb") as lines:
                lines.seek(offset)
                for line in lines:
                    offset += len(line)
                    if line.isspace():  # the end of a line that was read before its end was written
                        continue
                    try:
                        event = _event(json.loads(line.decode(errors="replace")))
                    except (ValueError, KeyError, TypeError, RecursionError):
                        return
                    yield event, offset
        except FileNotFoundError:
            return

    def checkpoint(self, which: str) -> Path:
        """Path of the checkpoint `best` or `last`, there or not."""
        return self.path / "checkpoints" / which

    def newest_checkpoint(self) -> Path | None:
        """The best checkpoint, else the last, else None."""
        return next((p for w in ("best", "last") if ((p := self.checkpoint(w)) / INDEX).exists()), None)

    def stamp(self) -> Stamp | None:
        """Of its config.json, which is written once: another one is another run. None where there is none."""
        return _stamp(self.path / "config.json")

    def delete(self) -> None:
        """Remove the folder and all in it."""
        self.close()
        shutil.rmtree(self.path)


def new_run_id(name: str) -> str:
    """A folder name for a run: a readable beginning and 128 random bits, so that its link cannot be guessed."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:40].strip("-")
    return f"{slug or 'run'}-{secrets.token_hex(16)}"


Known = dict[Path, tuple[Stamp, RunInfo | None]]
"""Configs read before, None for one that cannot be read, so that a long list is not read over and over."""


def list_runs(root: Path, known: Known | None = None) -> list[RunInfo]:
    """The runs in a folder that can be read, newest first. known: is used and kept up to date."""
    before, now = ({} if known is None else known), Known()
    for config in root.glob("*/config.json"):
        stamp = _stamp(config)
        if stamp is None:
            continue  # removed meanwhile
        now[config] = before[config] if before.get(config, (None,))[0] == stamp else (stamp, _info(config.parent))
    if known is not None:
        known.clear()
        known.update(now)
    return sorted((info for _, info in now.values() if info), key=lambda info: info.created, reverse=True)


def _info(path: Path) -> RunInfo | None:
    try:
        return RunFolder(path).info()
    except RunError:
        return None


def _stamp(path: Path) -> Stamp | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def _event(values: dict[str, Any]) -> Event:
    cls = _KINDS[values["event"]]
    known: dict[str, Any] = {f.name: values.get(f.name) for f in fields(cls)}
    return cls(**known)
