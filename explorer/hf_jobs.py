"""Trainings on Hugging Face Jobs from the page: with the visitor's own token, which comes with each request and is kept
nowhere. What is kept, by visitor, is which jobs they started and how these stood when they were last asked about.
"""

from __future__ import annotations

import contextlib
import json
import math
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from explorer.imports import Imports
from explorer.jobs import JobError
from explorer.recipes import FIELDS, prepare_run
from explorer.server import Server
from explorer.session import Visitor
from explorer.shelf import millions
from model import ConfigError
from model.checkpoint import write_atomically
from training import hf_jobs
from training.hf_account import JobsError, hardware
from training.hf_jobs import FIGURES, Job, Look
from training.hf_payload import Order
from training.presets import PRESETS
from training.runs import LONGEST_NAME

_FOLDER = ".hf-jobs"  # in the folder of runs; hidden, as what is no run is there
_KEPT = 50  # jobs of a visitor
_AT_ONCE = 4  # jobs that are asked about at the same moment
_FIGURES = ("seconds", "cost", *FIGURES)
_NEWS = ("stage", "say", *_FIGURES, "ready", "lines")
_NAME_OF = Callable[[str, str], str]


class HfJobs:
    """The server functions of the card. name_of: what a run of a text by a recipe is called, where nobody says."""

    def __init__(self, server: Server, imports: Imports, name_of: _NAME_OF) -> None:
        self._server, self._imports, self._name_of = server, imports, name_of
        self._lock = threading.Lock()

    def hf_hardware(self, raw: Any) -> dict[str, Any]:
        """What can be hired. Raises JobsError."""
        _, _, token = self._asked(raw)
        keys = ("name", "title", "about", "price", "processes")
        return {"hardware": [{key: getattr(each, key) for key in keys} for each in hardware(token)]}

    def hf_send(self, raw: Any) -> dict[str, Any]:
        """Start a training of the recipe in the boxes on the visitor's text. Raises ValueError with a sentence."""
        request, visitor, token = self._asked(raw)
        preset, values, minutes = request.get("preset"), request.get("values"), request.get("minutes")
        if preset not in PRESETS or not isinstance(values, list) or len(values) != len(FIELDS):
            raise JobError("The recipe cannot be read: reload the page and choose it again.")
        if not isinstance(minutes, int | float) or isinstance(minutes, bool) or not math.isfinite(minutes):
            raise JobError("The time limit is empty: enter how many minutes the training may take.")
        order = self._order(visitor, preset, tuple(values), request.get("name"))
        job = hf_jobs.send(order, str(request.get("flavor"))[:80], round(60 * minutes), token)
        with self._lock:
            entries = [{"job": asdict(job), "look": None, "run": None}, *self._read(visitor)]
            self._write(visitor, entries[:_KEPT])
        return {"job": job.id, "jobs": self._rows(visitor), "notes": " ".join(order.prepared.notes)}

    def hf_jobs(self, raw: Any) -> dict[str, Any]:
        """The visitor's jobs, the newest first; with a token those that are not over are asked about first."""
        request = raw if isinstance(raw, dict) else {}
        visitor = self._server.visitors.get(request.get("session"))
        problems: dict[str, str] = {}
        if token := request.get("token"):
            open_ = [e["job"] for e in self._read(visitor) if not _is_over(e)]
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                for found, problem in pool.map(lambda job: _look(Job.from_dict(job), token), open_):
                    if isinstance(found, Look):
                        self._note(visitor, found.job.id, look={name: getattr(found, name) for name in _NEWS})
                    else:
                        problems[found.id] = problem
        return {"jobs": self._rows(visitor, problems)}

    def hf_cancel(self, raw: Any) -> dict[str, Any]:
        """End one of the visitor's jobs. Raises ValueError with a sentence."""
        request, visitor, token = self._asked(raw)
        job = self._job(visitor, request.get("job"))
        hf_jobs.cancel(job, token)
        return self.hf_jobs(raw)

    def hf_fetch(self, raw: Any) -> dict[str, Any]:
        """Make what a job trained one of the visitor's runs. Raises ValueError; then nothing is left behind."""
        request, visitor, token = self._asked(raw)
        job = self._job(visitor, request.get("job"))
        with tempfile.TemporaryDirectory() as scratch:
            file = hf_jobs.download(job, token, Path(scratch), self._server.limits.run_bytes)
            reply = self._imports.bring(file, "", visitor.owner)
        self._note(visitor, job.id, run=reply["model"].removeprefix("run:"))
        return {"model": reply["model"], "models": reply["models"], "jobs": self._rows(visitor)}

    def hf_forget(self, raw: Any) -> dict[str, Any]:
        """Delete a job's repository and take it off the list. A run that was brought here stays."""
        request, visitor, token = self._asked(raw)
        job = self._job(visitor, request.get("job"))
        entry = next(e for e in self._read(visitor) if e["job"]["id"] == job.id)
        if not _is_over(entry):
            raise JobError("This job is not over: cancel it first.")
        hf_jobs.forget(job, token)
        with self._lock:
            self._write(visitor, [e for e in self._read(visitor) if e["job"]["id"] != job.id])
        return {"jobs": self._rows(visitor)}

    def _asked(self, raw: Any) -> tuple[dict[str, Any], Visitor, str]:
        """The request, who asks, and their token; never this machine's own, which would be what an empty one means."""
        request = raw if isinstance(raw, dict) else {}
        visitor = self._server.visitors.get(request.get("session"))
        token = request.get("token")
        return request, visitor, token.strip() if isinstance(token, str) else ""

    def _order(self, visitor: Visitor, preset: str, values: tuple[Any, ...], name: object) -> Order:
        """What is to be trained. Its result has to open here, so its size is bounded as that of other trainings."""
        corpus, data, prepared = prepare_run(self._server, visitor, preset, values)
        limits = self._server.limits
        size = prepared.recipe.model_config(prepared.tokenizer.vocab_size).parameters()
        if size > limits.parameters:
            raise ConfigError(
                f"This model has {millions(size)} parameters and this server opens up to "
                f"{millions(limits.parameters)}: choose fewer layers, a smaller width or a smaller vocabulary."
            )
        called = " ".join(name.split())[:LONGEST_NAME] if isinstance(name, str) else ""
        called = called or self._name_of(corpus.name, PRESETS[preset].title)
        return Order(called, prepared, data)

    def _job(self, visitor: Visitor, job_id: object) -> Job:
        for entry in self._read(visitor):
            if entry["job"]["id"] == job_id:
                return Job.from_dict(entry["job"])
        raise JobError("There is no such job of yours: reload the page.")

    # ---- what is kept: a file a visitor ---------------------------------------------------------------------------

    def _path(self, visitor: Visitor) -> Path:
        return self._server.jobs.root / _FOLDER / f"{visitor.owner}.json"

    def _read(self, visitor: Visitor) -> list[dict[str, Any]]:
        try:
            found: list[dict[str, Any]] = json.loads(self._path(visitor).read_text(encoding="utf-8"))
            return found
        except (OSError, ValueError):
            return []

    def _write(self, visitor: Visitor, entries: list[dict[str, Any]]) -> None:
        path = self._path(visitor)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(entries).encode())

    def _note(self, visitor: Visitor, job_id: str, **changes: Any) -> None:
        with self._lock:
            entries = self._read(visitor)
            for entry in entries:
                if entry["job"]["id"] == job_id:
                    entry |= changes
            self._write(visitor, entries)

    def _rows(self, visitor: Visitor, problems: dict[str, str] | None = None) -> list[dict[str, Any]]:
        return [self._row(entry, (problems or {}).get(entry["job"]["id"])) for entry in self._read(visitor)]

    def _row(self, entry: dict[str, Any], problem: str | None) -> dict[str, Any]:
        run = None
        with contextlib.suppress(JobError):  # it was deleted here: it may be brought again
            run = self._server.jobs.find(entry["run"]).info.id if entry["run"] else None
        return _told(Job.from_dict(entry["job"]), entry["look"] or {}, run, problem)


def _told(job: Job, look: dict[str, Any], run: str | None, problem: str | None) -> dict[str, Any]:
    return {
        "id": job.id,
        "name": job.name,
        "flavor": job.flavor,
        "url": job.url,
        "repo_url": f"{job.url.rpartition('/jobs/')[0]}/{job.repo}",
        "stage": look.get("stage", "sent"),
        "over": look.get("stage") in hf_jobs.OVER,
        "say": look.get("say", "It was sent."),
        "most": None if job.price is None else job.price * job.limit_s / 60,
        "run": run,
        "problem": problem,
        **{name: look.get(name) for name in _FIGURES},
        "ready": bool(look.get("ready")),
        "lines": list(look.get("lines", ())),
    }


def _is_over(entry: dict[str, Any]) -> bool:
    return (entry["look"] or {}).get("stage") in hf_jobs.OVER


def _look(job: Job, token: object) -> tuple[Look | Job, str]:
    """How a job stands; or the job, and why that is not known."""
    try:
        return hf_jobs.look(job, token.strip() if isinstance(token, str) else ""), ""
    except JobsError as error:
        return job, str(error)
