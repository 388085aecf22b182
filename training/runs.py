"""The folder of runs on disk: what was trained, on what, how it went, and the weights.

<run>/config.json          name, corpus, recipe, model; written once, and when the run is taken up again (resume.py)
<run>/name.txt             what it is called since it was renamed; missing where it never was
<run>/tokenizer.json       the tokenizer
<run>/metrics.jsonl        a line an event (training/events.py), appended as it happens
<run>/checkpoints/best     the lowest validation loss so far
<run>/checkpoints/last     the latest weights, with all that the run needs to go on from them
<run>/snapshots/           weights kept through training (snapshots.py)
<run>/running              locked by the program that trains it, gone or unlocked once it is over
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import unicodedata
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from model.checkpoint import INDEX, read_index, write_atomically
from training import events
from training.config import Recipe
from training.events import Event
from training.files import shown
from training.locks import Mark, marked

Stamp = tuple[int, int]
"""Tells one state of a file from another: when it was written (ns), and its size in bytes."""
LONGEST_NAME = 80
"""Characters of a run's name."""
FORMAT = "glass-gpt-run"
"""What the config.json of a run says that it is."""
_NAME = "name.txt"
_SNAPSHOT = re.compile(r"step-(\d{8,})\.safetensors")
_TAIL = 64_000  # bytes in which the last event of a run stands; a long sample is the largest
_KINDS: dict[str, type[Event]] = {
    cls.kind: cls
    for cls in vars(events).values()
    if isinstance(cls, type) and issubclass(cls, Event) and cls is not Event
}


class RunError(ValueError):
    """A run folder that cannot be made or read; the message says why and what to do."""


@dataclass(frozen=True)
class Parent:
    """What a run that was forked from another one says of that (training/fork.py)."""

    id: str
    name: str
    step: int
    """Updates that its weights had had."""
    weights: str
    """`exact`, or `float16`: a snapshot's, rounded."""
    optimizer: str
    """`kept`, or `anew`."""
    edits: tuple[str, ...] = ()
    """What was done to the weights, in words."""

    @classmethod
    def of(cls, values: object) -> Parent | None:
        """What stands in a config.json; None where that is nothing, or no such thing."""
        if not isinstance(values, dict):
            return None
        texts = [values.get(name) for name in ("id", "name", "weights", "optimizer")]
        step, edits = values.get("step"), values.get("edits", [])
        if type(step) is not int or not all(isinstance(text, str) and len(text) <= 200 for text in texts):
            return None
        told = [str(edit)[:80] for edit in edits[:100]] if isinstance(edits, list) else []
        return cls(str(texts[0]), str(texts[1]), step, str(texts[2]), str(texts[3]), tuple(told))


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
    brought: bool = False
    """It was unpacked here (training/bundle.py), and trained elsewhere."""
    taken_up: int = 0
    """How often it was taken up again; each time its last events may have been replaced by others."""
    parent: Parent | None = None
    """The run that it was forked from."""


def holds_a_run(path: Path) -> bool:
    """Whether a folder is that of a run. Raises RunError where nobody can look."""
    try:
        values = json.loads((path / "config.json").read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False
    except OSError as error:
        raise _no_folder(path, error) from error
    return isinstance(values, dict) and values.get("format") == FORMAT


def check_vacant(path: Path) -> None:
    """Raises RunError for a folder that a new run cannot have: one that holds a run, or files of somebody else, which
    would lie among the run's, and go with them when it is deleted. Those whose names begin with a dot may be there."""
    if holds_a_run(path):
        raise RunError(f"{path} already holds a run: choose another folder, or delete that one first.")
    try:
        held = sorted(entry.name for entry in path.iterdir()) if path.is_dir() else []
    except OSError as error:
        raise _no_folder(path, error) from error
    if foreign := [name for name in held if not name.startswith(".")]:
        raise RunError(f"{path} holds other files ({shown(foreign[0])}): choose a new folder for the run.")


def _no_folder(path: Path, error: OSError) -> RunError:
    return RunError(f"the folder {shown(str(path), 200)} cannot be written ({error.strerror}): choose another one.")


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
        cls,
        path: Path,
        name: str,
        recipe: Recipe,
        corpus: dict[str, Any],
        owner: str | None = None,
        parent: Parent | None = None,
    ) -> RunFolder:
        """Make the folder and write its config. Raises RunError when a run is there already or the disk refuses."""
        try:
            if (path / "config.json").exists():
                check_vacant(path)
            path.mkdir(parents=True, exist_ok=True)
            values = {
                "format": FORMAT,
                "version": 1,
                "name": name,
                "created": datetime.now(UTC).isoformat(timespec="seconds"),
                "corpus": corpus,
                "owner": owner,
                **({"parent": asdict(parent)} if parent is not None else {}),
                **recipe.to_dict(),
            }
            text = json.dumps(values, indent=2, ensure_ascii=False)
            write_atomically(path / "config.json", text.encode(errors="replace"))  # half surrogates of a file's name
            (path / "snapshots").mkdir(exist_ok=True)
        except OSError as error:
            raise _no_folder(path, error) from error
        return cls(path)

    def info(self) -> RunInfo:
        """The run's config. Raises RunError when it is damaged."""
        try:
            values = json.loads((self.path / "config.json").read_text(encoding="utf-8"))
            return RunInfo(
                id=self.id,
                name=self._given_name() or str(values["name"]),
                created=str(values["created"]),
                corpus=dict(values["corpus"]),
                recipe=Recipe.from_dict(values),
                owner=values.get("owner"),
                brought=values.get("brought") is True,
                taken_up=len(values.get("taken_up", [])),
                parent=Parent.of(values.get("parent")),
            )
        except FileNotFoundError as error:
            raise RunError(f"{self.path} is not the folder of a run: give one that a training wrote.") from error
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise RunError(
                f"{self.path / 'config.json'} cannot be read ({error}): this run cannot be opened."
            ) from error

    def rename(self, name: object) -> str:
        """Call the run by another name from now on, here and in every other program; returns that name.

        It stands in a file of its own, because config.json says by when it was written which run this is.
        Raises RunError for what is no name, and when the disk refuses.
        """
        called = check_name(name)
        try:
            if not (self.path / "config.json").exists():
                raise RunError("This run is not here any more: it was removed meanwhile.")
            write_atomically(self.path / _NAME, called.encode(errors="replace"))
        except OSError as error:
            raise RunError(
                f"the new name cannot be written to {self.path} ({error.strerror}): make room there."
            ) from error
        return self._given_name() or called

    def name_stamp(self) -> Stamp | None:
        """Tells whether the run was renamed since somebody last looked; None where it never was."""
        return _stamp(self.path / _NAME)

    def _given_name(self) -> str | None:
        """The name that it was given later; None where there is none, or it cannot be read."""
        try:
            return check_name((self.path / _NAME).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None

    def append(self, event: Event) -> None:
        """Add a line to metrics.jsonl and hand it to the system, so that a killed program loses nothing."""
        if self._metrics is None:
            self._metrics = (self.path / "metrics.jsonl").open("a", encoding="utf-8", errors="replace")
        self._metrics.write(json.dumps(event.to_dict(), ensure_ascii=False) + "\n")
        self._metrics.flush()

    def metrics_bytes(self) -> int:
        """How much stands in metrics.jsonl."""
        try:
            return (self.path / "metrics.jsonl").stat().st_size
        except FileNotFoundError:
            return 0

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
                        event = event_of(json.loads(line.decode(errors="replace")))
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

    def snapshots(self) -> list[int]:
        """The steps whose weights are kept (training/snapshots.py), rising."""
        place = self.path / "snapshots"
        names = (_SNAPSHOT.fullmatch(path.name) for path in place.iterdir()) if place.is_dir() else ()
        return sorted(int(name[1]) for name in names if name)

    def stamp(self) -> Stamp | None:
        """Of its config.json: another one is another run, or one that was taken up again. None where there is none."""
        return _stamp(self.path / "config.json")

    def last_event(self) -> Event | None:
        """The newest whole line of metrics.jsonl, without reading those before it; None where there is none."""
        try:
            with (self.path / "metrics.jsonl").open("rb") as lines:
                size = lines.seek(0, os.SEEK_END)
                lines.seek(max(0, size - _TAIL))
                tail = lines.read().split(b"\n")
        except OSError:
            return None
        for line in reversed(tail):
            with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
                return event_of(json.loads(line.decode(errors="replace")))
        return None

    def delete(self) -> None:
        """Remove the folder and all in it. For others it is gone at once, however long that takes."""
        self.close()
        aside = self.path.with_name(f".removed-{secrets.token_hex(8)}")
        try:
            self.path.rename(aside)
        except OSError:  # Windows, where a file of it is open
            aside = self.path
        shutil.rmtree(aside)


def check_name(name: object) -> str:
    """A run's name without the blanks around it and the line breaks in it. Raises RunError for what is none."""
    called = " ".join(name.split()) if isinstance(name, str) else ""
    if not called:
        raise RunError("A run needs a name: type one, of at most 80 characters.")
    if len(called) > LONGEST_NAME:
        raise RunError(f"This name has {len(called):,} characters: give one of at most {LONGEST_NAME}.")
    return called


def called(path: str) -> str | None:
    """What the model at a path is called: as the run that it belongs to, where there is one; None for no path."""
    if not path:
        return None
    for run in (Path(path), *Path(path).parents[:2]):
        if (run / "config.json").exists():
            with contextlib.suppress(RunError):
                return RunFolder(run).info().name
    for folder in (Path(path), Path(path) / "checkpoints" / "best"):
        try:
            return str(read_index(folder)["meta"]["name"])
        except (ValueError, KeyError, TypeError):
            continue
    return Path(path).name or None


def new_run_id(name: str) -> str:
    """A folder name for a run: a readable beginning and 128 random bits, so that its link cannot be guessed."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:40].strip("-")
    return f"{slug or 'run'}-{secrets.token_hex(16)}"


Known = dict[Path, tuple[tuple[Stamp, Stamp | None], RunInfo | None]]
"""Configs read before, None for one that cannot be read, so that a long list is not read over and over."""


def list_runs(root: Path, known: Known | None = None) -> list[RunInfo]:
    """The runs in a folder that can be read, newest first. known: is used and kept up to date."""
    before, now = ({} if known is None else known), Known()
    for config in root.glob("*/config.json"):
        written = _stamp(config)
        if written is None or config.parent.name.startswith("."):
            continue  # removed meanwhile, or not all there yet (bundle.py)
        stamp = written, _stamp(config.with_name(_NAME))
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


def event_of(values: dict[str, Any]) -> Event:
    """The event of a line of metrics.jsonl, read. Raises KeyError or TypeError for anything else."""
    cls = _KINDS[values["event"]]
    known: dict[str, Any] = {f.name: values.get(f.name) for f in fields(cls)}
    return cls(**known)
