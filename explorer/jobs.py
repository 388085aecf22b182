"""The trainings of this process: a visible queue, and one place to find a run whether it trains, waits or is over."""

from __future__ import annotations

import contextlib
import math
import re
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

from explorer.limits import Limits
from training.diagnosis import Diagnosis, diagnose
from training.events import EventLog, Failed, Finished, Paused
from training.runs import Known, RunError, RunFolder, RunInfo, Stamp, list_runs
from training.trainer import Trainer

_ID = re.compile(r"[^\W_][\w. -]{0,119}")  # a folder's plain name, which leads nowhere else
_KEPT_LOGS = 20
_KEPT_EVENTS = 500_000  # of those logs together; a long run alone has 200,000
_LIST_KEPT_S = 3.0  # the page asks several times a second while something trains
_CLOSING_S = 10.0
OPENED = "opened"
"""Where the text of a run stands: this one was never trained here but opened from a file (imports.py)."""
ELSEWHERE = "Another program trains this run, such as `python -m training`: pause or stop it there."


class JobError(ValueError):
    """Something that cannot be done with a training; the message says why and what to do."""


@dataclass(eq=False)
class Run:
    """A run as others see it: what it is, what happened in it, and its trainer while it trains or waits here."""

    info: RunInfo
    folder: RunFolder
    log: EventLog
    trainer: Trainer | None
    turn: Literal["none", "asked", "given"] = "none"
    """Whether it may train now, or waits until it may: to begin, or to go on after a pause. For Jobs to set."""
    stamp: Stamp | None = None
    """Of the config that it was read with, where it was read from disk."""
    elsewhere: bool = False
    """Another program trains it."""
    named: Stamp | None = None
    """Of the name that `info` has, where the run was renamed."""
    _judged: tuple[int, bool, Diagnosis | None] | None = field(default=None, repr=False)
    _offset: int = 0
    _reading: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def state(self) -> str:
        """queued, running, paused, finished, stopped, failed; interrupted where the program ended before the run;
        opened where it is a model from a file, which was trained elsewhere.

        queued is also a paused run that was told to go on and waits for its turn.
        """
        if self.trainer is not None:
            state = self.trainer.state
            if state == "paused" and self.turn == "asked":
                return "queued"
            return "running" if state == "paused" and self.turn == "given" and not self.trainer.still else state
        if self.info.corpus.get("source") == OPENED:
            return OPENED
        last = next(iter(self.log.tail(1)), None)
        if isinstance(last, Finished):
            return "stopped" if last.reason == "stopped" else "finished"
        if isinstance(last, Failed):
            return "failed"
        if self.elsewhere:
            return "paused" if isinstance(last, Paused) else "running"
        return "interrupted"

    @property
    def waits_to_go_on(self) -> bool:
        """Whether it was paused, was told to go on, and its turn has not come yet."""
        return self.turn == "asked" and self.trainer is not None and self.trainer.state == "paused"

    def judged(self) -> Diagnosis | None:
        """How it is doing. Judged anew after some steps more, and at its end."""
        events, count = self.log.since(0)
        over = self.state in ("finished", "failed", "stopped", "interrupted")
        before = self._judged
        if before is None or over != before[1] or (count != before[0] and (over or count > 1.01 * before[0] + 3)):
            before = self._judged = count, over, diagnose(events, self.info.recipe.train, over)
        return before[2]

    def follow_name(self) -> None:
        """Take over the name that the run was given since the last look, by whichever program."""
        stamp = self.folder.name_stamp()
        if stamp != self.named:
            with contextlib.suppress(RunError):  # removed meanwhile
                self.info = self.trainer.info if self.trainer is not None else self.folder.info()
                self.named = stamp

    def follow(self) -> None:
        """Read what another program has written since the last call, and whether one still trains this run."""
        with self._reading:
            if self.trainer is None and self.state not in ("finished", "stopped", "failed"):
                held = self.folder.held()  # first: what a program wrote before it let go is read now
                for event, behind in self.folder.events_from(self._offset):
                    self.log.append(event)
                    self._offset = behind
                self.elsewhere = held

    def checkpoint(self) -> Path | None:
        """Of a run without a trainer here: the weights to look into. The best of one that is over, else the latest."""
        last = self.folder.checkpoint("last")
        best = self.folder.newest_checkpoint()
        return last if best is not None and self.state in ("running", "paused") and last.exists() else best


class _Found(NamedTuple):
    """A run on disk, when the folder was last listed. held: some program trains it."""

    info: RunInfo
    weights: bool
    held: bool


class Jobs:
    """Starts trainings in their turn and finds runs by id."""

    def __init__(self, root: Path, limits: Limits, at_once: int = 1) -> None:
        self.root = root
        self._limits = limits
        self._at_once = at_once
        self._runs: OrderedDict[str, Run] = OrderedDict()  # in training here, or waiting to be, in order
        self._line: list[Run] = []  # those of them that wait for a turn, in the order in which they asked
        self._past: OrderedDict[str, Run] = OrderedDict()  # over, or another program's; that asked for last is last
        self._closing = False
        self._lock = threading.RLock()
        self._listing = threading.Lock()
        self._known: Known = {}
        self._changes = 0
        self._list: tuple[int, float, list[_Found]] = (-1, -math.inf, [])

    def submit(self, trainer: Trainer) -> Run:
        """Queue a training and start it when its turn has come. Raises JobError when too many wait."""
        info = trainer.info
        with self._lock:
            if self._closing:
                raise JobError("The server is being shut down: start it again, and then the training.")
            if info.id in self._runs:
                raise JobError(f"{info.name} trains already, or waits for its turn.")
            mine = [run for run in self._runs.values() if run.info.owner == info.owner]
            if len(self._runs) >= self._limits.trainings_queued:
                raise JobError(f"{len(self._runs)} trainings wait already: try again when some have ended.")
            if len(mine) >= self._limits.trainings_a_visitor:
                trainings = f"{len(mine)} training{'s' if len(mine) > 1 else ''}"
                raise JobError(
                    f"You have {trainings} running, paused or waiting, which is the most at a time: "
                    "stop one of them, or wait for it to end."
                )
            run = Run(info, trainer.folder, trainer.log, trainer, turn="asked")
            self._runs[info.id] = run
            self._line.append(run)
            self._past.pop(info.id, None)
            self._changes += 1
            trainer.folder.hold()  # while it waits, too: another server on these runs must not call it interrupted
            trainer.when_still(self.advance)
            trainer.when_over(partial(self._let_go, info.id))
        self.advance()
        return run

    def advance(self) -> None:
        """Give turns to those that wait, as far as there is room. A paused run makes room."""
        with self._lock:
            for run in self._runs.values():
                if run.turn == "given" and run.trainer is not None and (run.trainer.still or run.trainer.over):
                    run.turn = "none"
            room = self._at_once - sum(run.turn == "given" for run in self._runs.values())
            while self._line and room > 0 and not self._closing:
                run = self._line.pop(0)
                if run.trainer is not None and not run.trainer.over:
                    run.turn = "given"
                    room -= 1
                    if run.trainer.state == "queued":
                        run.trainer.start()
                    else:
                        run.trainer.resume()

    def _let_go(self, run_id: str) -> None:
        """A run is over: keep what happened in it, and not its trainer, which holds its text and weights."""
        with self._lock:
            run = self._runs.pop(run_id, None)
            if run is not None:
                self._leave_line(run)
                if run.trainer is None or not run.trainer.untouched:  # else it is read again as it stood
                    self._remember(Run(run.info, run.folder, run.log, None, stamp=run.folder.stamp()))
            self._changes += 1
        self.advance()

    def _remember(self, run: Run) -> None:
        """Keep a run that is over; the ones unseen for longest go, and are read again where they are asked for."""
        self._past[run.info.id] = run
        self._past.move_to_end(run.info.id)
        events = sum(past.log.since(0)[1] for past in self._past.values())
        while len(self._past) > 1 and (len(self._past) > _KEPT_LOGS or events > _KEPT_EVENTS):
            _, gone = self._past.popitem(last=False)
            events -= gone.log.since(0)[1]

    def _leave_line(self, run: Run) -> None:
        run.turn = "none" if run.turn == "asked" else run.turn
        if run in self._line:
            self._line.remove(run)

    def find(self, run_id: object) -> Run:
        """A run by its id, alive or on disk, as it stands now. Raises JobError when there is none."""
        missing = "This run is not here. It may have been removed, or its link was cut short: ask for the link again."
        if not isinstance(run_id, str) or not _ID.fullmatch(run_id):
            raise JobError(missing)
        folder = RunFolder(self.root / run_id)
        stamp = folder.stamp()
        with self._lock:
            run = self._runs.get(run_id) or self._past.get(run_id)
            if run is not None and run.trainer is None and run.stamp != stamp:
                run = None  # removed, and perhaps another one made in its place
            elif run is not None and run.trainer is None:
                self._past.move_to_end(run_id)
        if run is None:
            try:
                run = Run(folder.info(), folder, EventLog(), None, stamp=stamp)
            except RunError as error:
                raise JobError(missing) from error
            run.follow()
            with self._lock:
                if run_id in self._runs:
                    return self._runs[run_id]  # submitted meanwhile
                self._remember(run)
        elif run.trainer is None:
            run.follow()
        run.follow_name()
        return run

    def glance(self, info: RunInfo) -> Run:
        """A run of `listed` as it stands now, without reading all that happened in it: its log holds the last event."""
        with self._lock:
            run = self._runs.get(info.id)
        if run is not None:
            run.follow_name()
            return run
        folder, log = RunFolder(self.root / info.id), EventLog()
        held = folder.held()  # first: what a program wrote before it let go is read now
        if (last := folder.last_event()) is not None:
            log.append(last)
        return Run(info, folder, log, None, elsewhere=held and not isinstance(last, Finished | Failed))

    def rename(self, run_id: object, name: object, owner: str) -> str:
        """Call a run by another name; returns it. Raises JobError or RunError."""
        run = self.find(run_id)
        if not self.owns(run, owner):
            raise JobError("Only the browser that started this training can rename it.")
        called = run.folder.rename(name)
        run.follow_name()
        self.changed()
        return called

    def delete(self, run_id: object, owner: str) -> None:
        """Remove a run from the disk, for good. Raises JobError; for a run in training, too."""
        run = self.find(run_id)
        if not self.owns(run, owner):
            raise JobError("Only the browser that started this training can delete it.")
        with self._lock:
            if run.info.id in self._runs or run.folder.held():
                raise JobError(f"{run.info.name} is still in training: stop it first, then delete it.")
            self._past.pop(run.info.id, None)
            try:
                run.folder.delete()
            except OSError as error:
                raise JobError(
                    f"{run.info.name} could not be removed whole ({error.strerror}): look into the folder {self.root}."
                ) from error
        self.changed()

    def control(self, run_id: object, action: object, owner: str) -> None:
        """Pause, resume or stop a training. Raises JobError when that cannot be done.

        A run that is resumed waits for its turn behind those that asked before.
        """
        run = self.find(run_id)
        if not self.owns(run, owner):
            raise JobError("Only the browser that started this training can steer it. You can watch it here.")
        if run.trainer is None and run.state in ("running", "paused"):
            raise JobError(ELSEWHERE)
        with self._lock:
            trainer = run.trainer
            if trainer is None or trainer.over:
                raise JobError("This training is over already; there is nothing to steer.")
            if action == "pause":
                if trainer.state != "queued":
                    self._leave_line(run)
                trainer.pause()
            elif action == "resume":
                if run.turn == "given" or trainer.state == "queued":
                    trainer.resume()  # it did not stand still yet, or has not begun
                elif run.turn == "none":
                    run.turn = "asked"
                    self._line.append(run)
            elif action == "stop":
                self._leave_line(run)
                trainer.stop()
            elif action == "step":
                if run.turn == "asked":
                    raise JobError(
                        "This training was told to go on and waits for its turn: pause it, then make a step."
                    )
                trainer.step_once()
            else:
                raise JobError("A training can be paused, resumed, stopped, or make one step.")
        self.advance()

    def change(self, run_id: object, rate: object, batch_size: object, owner: str) -> None:
        """Change learning rate or batch of a training in flight (Trainer.change). Raises ValueError with a sentence."""
        run = self.find(run_id)
        if not self.owns(run, owner):
            raise JobError("Only the browser that started this training can steer it. You can watch it here.")
        if run.trainer is None or run.trainer.over:
            elsewhere = run.state in ("running", "paused")
            raise JobError(ELSEWHERE if elsewhere else "This training is over already; there is nothing to steer.")
        run.trainer.change(rate, batch_size)  # type: ignore[arg-type]  # it refuses whatever it cannot use

    def go_on(self, run_id: object, owner: str, more: object = None, rate: object = None) -> Run:
        """Take up a run that is over from its last checkpoint, in its turn. more: steps from there; None: those left;
        rate: a factor on the learning rate from there on.

        Raises ValueError with a sentence where that cannot be done; then nothing has changed.
        """
        run = self.find(run_id)
        if not self.owns(run, owner):
            raise JobError("Only the browser that started this training can go on with it. You can watch it here.")
        if run.trainer is not None or run.state in ("running", "paused"):
            raise JobError(f"{run.info.name} is not over: it goes on by itself, or with Resume.")
        if run.state == OPENED:
            raise JobError(f"{run.info.name} was opened from a file, without what its training needs to go on.")
        if more is not None and (not isinstance(more, int) or isinstance(more, bool)):
            raise JobError("How many more steps is not a whole number: enter one, such as 500.")
        trainer = Trainer.resumed(run.folder, more)
        if more is not None and trainer.recipe.train.steps > self._limits.steps:
            raise JobError(
                f"That makes {trainer.recipe.train.steps:,} steps; this server trains up to {self._limits.steps:,}."
            )
        if rate is not None:
            trainer.change(rate)  # type: ignore[arg-type]
        return self.submit(trainer)

    def owns(self, run: Run, owner: str) -> bool:
        """Whether a visitor may steer a run: its own, or any on a machine that only its owner reaches."""
        return not self._limits.shared or run.info.owner == owner

    def queue_position(self, run: Run) -> int:
        """1 for the next to begin or to go on; 0 for a run that does not wait."""
        with self._lock:
            return self._line.index(run) + 1 if run in self._line else 0

    def changed(self) -> None:
        """A run's folder was made or removed by hand: the next list is read anew."""
        with self._lock:
            self._changes += 1

    def listed(self, owner: str) -> list[RunInfo]:
        """The runs that a visitor is shown, newest first: all on one's own machine, else their own."""
        return [found.info for found in self._listed(owner)]

    def openable(self, owner: str) -> list[RunInfo]:
        """Those of `listed` that can be looked into by now."""
        return [found.info for found in self._listed(owner) if found.weights or self.has_weights(found.info.id)]

    def _listed(self, owner: str) -> list[_Found]:
        with self._listing:
            changes, read, runs = self._list
            if changes != self._changes or time.monotonic() - read > _LIST_KEPT_S:
                changes, runs = self._changes, []
                for info in list_runs(self.root, self._known):
                    folder = RunFolder(self.root / info.id)
                    if _ID.fullmatch(info.id):
                        runs.append(_Found(info, folder.newest_checkpoint() is not None, folder.held()))
                self._list = (changes, time.monotonic(), runs)
        return [found for found in runs if not self._limits.shared or found.info.owner == owner]

    def has_weights(self, run_id: str) -> bool:
        """Whether a run can be looked into by now."""
        run = self._runs.get(run_id)
        if run is not None and run.trainer is not None and run.trainer.snapshot is not None:
            return True
        return RunFolder(self.root / run_id).newest_checkpoint() is not None

    def active(self, owner: str) -> Run | None:
        """The training to mention in a visitor's header: one that runs or waits here, else another program's."""
        with self._lock:
            runs = [r for r in self._runs.values() if self.owns(r, owner)]
        for state in ("running", "paused", "queued"):
            for run in runs:
                if run.state == state:
                    run.follow_name()
                    return run
        for found in self._listed(owner):
            if found.held:
                with contextlib.suppress(JobError):  # removed meanwhile
                    run = self.find(found.info.id)
                    if run.state in ("running", "paused"):
                        return run
        return None

    def close(self) -> None:
        """Stop every training and wait for their last checkpoints. None begins any more."""
        with self._lock:
            self._closing = True
            trainers = [run.trainer for run in self._runs.values() if run.trainer is not None]
        for trainer in trainers:
            trainer.stop()
        until = time.monotonic() + _CLOSING_S
        for trainer in trainers:
            trainer.join(timeout=max(0.0, until - time.monotonic()))
