"""The trainings of this process: a visible queue, and one place to find a run whether it trains, waits or is over."""

from __future__ import annotations

import math
import re
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from explorer.limits import Limits
from training.events import EventLog, Failed, Finished
from training.runs import RunError, RunFolder, RunInfo, list_runs
from training.trainer import Trainer

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._ -]{0,119}")
_KEPT_LOGS = 20
_LIST_KEPT_S = 3.0  # the page asks several times a second while something trains


class JobError(ValueError):
    """Something that cannot be done with a training; the message says why and what to do."""


@dataclass(frozen=True)
class Run:
    """A run as others see it: what it is, what happened in it, and its trainer while it trains or waits here."""

    info: RunInfo
    folder: RunFolder
    log: EventLog
    trainer: Trainer | None

    @property
    def state(self) -> str:
        """queued, running, paused, finished, stopped, failed; interrupted where the program ended before the run."""
        if self.trainer is not None:
            return self.trainer.state
        last = next(iter(self.log.tail(1)), None)
        if isinstance(last, Finished):
            return "stopped" if last.reason == "stopped" else "finished"
        return "failed" if isinstance(last, Failed) else "interrupted"


class Jobs:
    """Starts trainings in their turn and finds runs by id."""

    def __init__(self, root: Path, limits: Limits, at_once: int = 1) -> None:
        self.root = root
        self._limits = limits
        self._at_once = at_once
        self._runs: OrderedDict[str, Run] = OrderedDict()  # trained since this process began, in order
        self._past: OrderedDict[str, Run] = OrderedDict()  # read from disk
        self._lock = threading.RLock()
        self._list: tuple[float, list[RunInfo]] = (-math.inf, [])

    def submit(self, trainer: Trainer) -> Run:
        """Queue a training and start it when its turn has come. Raises JobError when too many wait."""
        info = trainer.folder.info()
        with self._lock:
            waiting = [run for run in self._runs.values() if run.state in ("queued", "running", "paused")]
            mine = [run for run in waiting if run.info.owner == info.owner]
            if len(waiting) >= self._limits.trainings_queued:
                raise JobError(f"{len(waiting)} trainings wait already: try again when some have ended.")
            if len(mine) >= self._limits.trainings_a_visitor:
                raise JobError(
                    f"You have {len(mine)} trainings running or waiting, which is the most at a time: "
                    "stop one of them, or wait for it to end."
                )
            run = Run(info, trainer.folder, trainer.log, trainer)
            self._runs[info.id] = run
            self._list = (-math.inf, [])
            self._past.pop(info.id, None)
            trainer.when_over(self.advance)
        self.advance()
        return run

    def advance(self) -> None:
        """Start what waits, as far as there is room."""
        with self._lock:
            active = sum(run.state == "running" for run in self._runs.values())  # a paused one makes room
            for run in self._runs.values():
                if active >= self._at_once:
                    return
                if run.state == "queued" and run.trainer is not None:
                    run.trainer.start()
                    active += 1

    def find(self, run_id: object) -> Run:
        """A run by its id, alive or on disk. Raises JobError when there is none."""
        missing = "This run is not here. It may have been removed, or its link was cut short: ask for the link again."
        if not isinstance(run_id, str) or not _ID.fullmatch(run_id):
            raise JobError(missing)
        with self._lock:
            run = self._runs.get(run_id) or self._past.get(run_id)
        if run is not None:
            return run
        folder = RunFolder(self.root / run_id)
        try:
            info = folder.info()
        except RunError as error:
            raise JobError(missing) from error
        log = EventLog()
        for event in folder.events():
            log.append(event)
        run = Run(info, folder, log, None)
        with self._lock:
            self._past[run_id] = run
            while len(self._past) > _KEPT_LOGS:
                self._past.popitem(last=False)
        return run

    def control(self, run_id: object, action: object, owner: str) -> None:
        """Pause, resume or stop a training. Raises JobError when that cannot be done."""
        run = self.find(run_id)
        if not self.owns(run, owner):
            raise JobError("Only the browser that started this training can steer it. You can watch it here.")
        if run.trainer is None or run.trainer.over:
            raise JobError("This training is over already; there is nothing to steer.")
        if action == "pause":
            run.trainer.pause()
        elif action == "resume":
            run.trainer.resume()
        elif action == "stop":
            run.trainer.stop()
        else:
            raise JobError("A training can be paused, resumed or stopped.")

    def owns(self, run: Run, owner: str) -> bool:
        """Whether a visitor may steer a run: its own, or any on a machine that only its owner reaches."""
        return not self._limits.shared or run.info.owner == owner

    def queue_position(self, run: Run) -> int:
        """1 for the next to begin; 0 for a run that does not wait."""
        with self._lock:
            queued = [r.info.id for r in self._runs.values() if r.state == "queued"]
        return queued.index(run.info.id) + 1 if run.info.id in queued else 0

    def listed(self, owner: str) -> list[RunInfo]:
        """The runs that a visitor is shown, newest first: all on one's own machine, else their own."""
        with self._lock:
            read, infos = self._list
            if time.monotonic() - read > _LIST_KEPT_S:
                infos = list_runs(self.root)
                self._list = (time.monotonic(), infos)
        return [info for info in infos if not self._limits.shared or info.owner == owner]

    def has_weights(self, run_id: str) -> bool:
        """Whether a run can be looked into by now."""
        run = self._runs.get(run_id)
        if run is not None and run.trainer is not None and run.trainer.snapshot is not None:
            return True
        return RunFolder(self.root / run_id).newest_checkpoint() is not None

    def active(self, owner: str) -> Run | None:
        """The training to mention in a visitor's header: one that runs or waits."""
        with self._lock:
            runs = [r for r in self._runs.values() if self.owns(r, owner)]
        for state in ("running", "paused", "queued"):
            for run in runs:
                if run.state == state:
                    return run
        return None

    def close(self) -> None:
        """Stop every training and wait for their last checkpoints."""
        with self._lock:
            runs = [run.trainer for run in self._runs.values() if run.trainer is not None]
        for trainer in runs:
            trainer.stop()
        for trainer in runs:
            trainer.join(timeout=10)
