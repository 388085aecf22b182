"""A small Hugging Face Hub on 127.0.0.1: accounts, private repositories and Jobs, as far as they are used.

What is sent to it as a job it really runs: the command, in an empty folder, with the job's variables and secrets. So a
training that was sent here trains, and what it uploads can be fetched. For HF_ENDPOINT.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

GOOD, OTHER, READER, NO_REPOS, NO_JOBS, POOR = (
    "hf_" + word + "0123456789abcdef" for word in ("good", "other", "reader", "norepos", "nojobs", "poor")
)
WHOSE = {GOOD: "ada", OTHER: "bob", READER: "ada", NO_REPOS: "ada", NO_JOBS: "ada", POOR: "ada"}
CPU = {
    "name": "cpu-basic", "prettyName": "CPU Basic", "cpu": "2 vCPU", "ram": "16 GB", "ephemeralStorage": "20 GB",
    "accelerator": None, "unitCostMicroUSD": 10_000, "unitCostUSD": 0.01, "unitLabel": "minute",
}  # fmt: skip


def gpu(name: str, model: str, count: int, vram: str, price: float, maker: str = "Nvidia") -> dict[str, Any]:
    """A machine with GPUs, as the Hub lists it."""
    card = {"type": "gpu", "model": model, "quantity": str(count), "vram": vram, "manufacturer": maker}
    return CPU | {
        "name": name, "prettyName": f"{maker} {model}", "cpu": "8 vCPU", "ram": "30 GB", "accelerator": card,
        "unitCostMicroUSD": int(price * 1e6), "unitCostUSD": price,
    }  # fmt: skip


HARDWARE = [
    gpu("a10g-largex2", "A10G", 2, "48 GB", 0.05),
    gpu("t4-small", "T4", 1, "16 GB", 0.0067),
    gpu("rtx-pro-6000", "RTX PRO 6000", 1, "96 GB", 0.04),
    gpu("other-chip", "X1", 1, "16 GB", 0.001, maker="Elsewhere"),
    CPU,
]


@dataclass
class Repository:
    """Files of a private repository, by their path."""

    owner: str
    private: bool
    files: dict[str, bytes] = field(default_factory=dict)
    commits: list[str] = field(default_factory=list)


@dataclass
class RunningJob:
    """What was asked for, and the process that does it."""

    id: str
    owner: str
    spec: dict[str, Any]
    stage: str = "SCHEDULING"
    message: str | None = None
    lines: list[str] = field(default_factory=list)
    process: subprocess.Popen[str] | None = None
    begun: float | None = None
    ended: float | None = None


class JobsHub:
    """The server. runs_jobs: whether jobs are run, or wait for ever. folder: where they run."""

    def __init__(self, folder: Path, runs_jobs: bool = True, environment: dict[str, str] | None = None) -> None:
        self.folder, self.runs_jobs = folder, runs_jobs
        self.environment = environment or {}
        self.repositories: dict[str, Repository] = {}
        self.jobs: dict[str, RunningJob] = {}
        self.asked: list[tuple[str, str]] = []
        self.fail: dict[str, tuple[int, str]] = {}
        """Answers by a part of the path: (status, message)."""
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def stop(self) -> None:
        """End the server and what it runs."""
        for job in self.jobs.values():
            if job.process is not None and job.process.poll() is None:
                os.killpg(job.process.pid, signal.SIGKILL)
                job.process.wait()
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()

    def start(self, owner: str, spec: dict[str, Any]) -> RunningJob:
        """Take a job, and run it where jobs are run."""
        job = RunningJob(f"{len(self.jobs) + 1:024x}", owner, spec)
        self.jobs[job.id] = job
        if self.runs_jobs:
            self.begin(job)
        return job

    def begin(self, job: RunningJob) -> None:
        """Run a job that waits."""
        threading.Thread(target=self._run, args=(job,), daemon=True).start()

    def _run(self, job: RunningJob) -> None:
        place = self.folder / job.id
        place.mkdir(parents=True)
        environment = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": str(place), "OMP_NUM_THREADS": "1",
            "PIP_NO_INDEX": "1", "CUDA_VISIBLE_DEVICES": "", **self.environment,
        }  # fmt: skip
        environment |= {k: str(v) for k, v in {**job.spec["environment"], **job.spec["secrets"]}.items()}
        job.process = subprocess.Popen(
            job.spec["command"], cwd=place, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, start_new_session=True,
        )  # fmt: skip
        job.begun, job.stage = time.monotonic(), "RUNNING"
        assert job.process.stdout is not None
        with job.process.stdout as output:
            for line in output:
                job.lines.append(line.rstrip("\n"))
        code = job.process.wait()
        job.ended = time.monotonic()
        if job.stage == "RUNNING":
            job.stage = "COMPLETED" if code == 0 else "ERROR"
            job.message = None if code == 0 else f"Job failed with exit code: {code}"

    def cancel(self, job: RunningJob) -> None:
        """As the Hub does: the job is told to end."""
        job.stage = "CANCELED"
        if job.process is not None and job.process.poll() is None:
            job.process.terminate()

    def told(self, job: RunningJob) -> dict[str, Any]:
        """A job as the API tells of it. Its secrets are not told."""
        running = None if job.begun is None else int((job.ended or time.monotonic()) - job.begun)
        return {
            "id": job.id, "createdAt": "2026-01-01T00:00:00.000Z", "dockerImage": job.spec.get("dockerImage"),
            "command": job.spec["command"], "arguments": [], "environment": job.spec["environment"],
            "secrets": dict.fromkeys(job.spec["secrets"]), "flavor": job.spec["flavor"], "labels": job.spec["labels"],
            "status": {"stage": job.stage, "message": job.message},
            "owner": {"id": "1", "name": job.owner, "type": "user"},
            "durations": {"schedulingSecs": 1, "runningSecs": running, "totalSecs": 1},
        }  # fmt: skip


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: JobsHub

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_DELETE(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.hub.asked.append((self.command, path))
        for part, (status, message) in self.hub.fail.items():
            if part in f"{self.command} {path}":
                return self._refuse(status, message)
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if path == "/api/jobs/hardware":
            return self._json(HARDWARE)
        if token not in WHOSE:
            return self._refuse(401, "Invalid credentials in Authorization header")
        if path == "/api/whoami-v2":
            role = "read" if token == READER else "fineGrained"
            return self._json({"name": WHOSE[token], "type": "user", "auth": {"accessToken": {"role": role}}})
        if path == "/api/validate-yaml":
            return self._json({"errors": [], "warnings": []})
        if path.startswith("/api/jobs/"):
            return self._jobs(path.split("/")[3:], token, body)
        if path.startswith("/api/repos/"):
            return self._repos(path, token, json.loads(body))
        return self._files(path, token, body)

    def _jobs(self, parts: list[str], token: str, body: bytes) -> None:
        owner = parts[0]
        if token == NO_JOBS or owner != WHOSE[token]:
            return self._refuse(403, "You don't have the required permissions")
        if len(parts) == 1:
            if token == POOR:
                return self._refuse(402, "Pre-paid credit balance is insufficient")
            return self._json(self.hub.told(self.hub.start(owner, json.loads(body))))
        job = self.hub.jobs.get(parts[1])
        if job is None:
            return self._refuse(404, "Job not found")
        if parts[2:] == ["cancel"]:
            self.hub.cancel(job)
            return self._json({})
        if parts[2:] == ["logs"]:
            return self._logs(job)
        return self._json(self.hub.told(job))

    def _logs(self, job: RunningJob) -> None:
        """The lines so far as server-sent events."""
        now = datetime(2026, 1, 1, tzinfo=UTC).isoformat().replace("+00:00", "Z")
        tail = re.search(r"tail=(\d+)", self.path)
        lines = ["===== Job started =====", *job.lines][-int(tail[1]) if tail else 0 :]
        events = [f"data: {json.dumps({'timestamp': now, 'data': line})}\n\n" for line in lines]
        self._send(b": keep-alive\n\n" + "".join(events).encode(), {"Content-Type": "text/event-stream"})

    def _repos(self, path: str, token: str, asked: dict[str, Any]) -> None:
        name = f"{asked.get('organization') or WHOSE[token]}/{asked['name']}"
        if token == NO_REPOS or not name.startswith(f"{WHOSE[token]}/"):
            return self._refuse(403, "You don't have the rights to create a model under this namespace")
        if path.endswith("/create"):
            private = asked.get("visibility") == "private" or asked.get("private") is True
            self.hub.repositories[name] = Repository(WHOSE[token], private)
            return self._json({"url": f"{self.hub.address}/{name}"})
        if self.hub.repositories.pop(name, None) is None:
            return self._refuse(404, "Repository not found", "RepoNotFound")
        return self._json({})

    def _files(self, path: str, token: str, body: bytes) -> None:
        parts = path.strip("/").split("/")
        at = 2 if parts[0] == "api" else 0
        name, rest = "/".join(parts[at : at + 2]), parts[at + 2 :]
        repository = self.hub.repositories.get(name)
        if repository is None or repository.owner != WHOSE[token]:
            return self._refuse(404, "Repository not found", "RepoNotFound")
        if rest[0] == "preupload":
            files = json.loads(body)["files"]
            modes = [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files]
            return self._json({"files": modes})
        if rest[0] == "commit":
            return self._commit(name, repository, body)
        if rest[0] in ("revision", "tree"):
            return self._listing(name, repository, rest[0])
        found = repository.files.get("/".join(rest[2:]))
        if rest[0] != "resolve" or found is None:
            return self._refuse(404, "Entry not found", "EntryNotFound")
        commit = repository.commits[-1] if rest[1] == "main" else rest[1]
        return self._send(found, {"ETag": f'"{hashlib.sha256(found).hexdigest()}"', "X-Repo-Commit": commit})

    def _commit(self, name: str, repository: Repository, body: bytes) -> None:
        for line in body.decode().splitlines():
            entry = json.loads(line)
            if entry["key"] == "file":
                repository.files[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
        commit = f"{len(repository.commits) + 1:040x}"
        repository.commits.append(commit)
        self._json({"commitUrl": f"{self.hub.address}/{name}/commit/{commit}", "commitOid": commit})

    def _listing(self, name: str, repository: Repository, kind: str) -> None:
        if kind == "tree":
            return self._json(
                [
                    {"type": "file", "path": path, "size": len(body), "oid": hashlib.sha1(body).hexdigest()}
                    for path, body in repository.files.items()
                ]
            )
        files = [{"rfilename": path, "size": len(body)} for path, body in repository.files.items()]
        return self._json({"id": name, "sha": repository.commits[-1], "private": True, "siblings": files})

    def _json(self, value: Any) -> None:
        self._send(json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _refuse(self, status: int, message: str, code: str = "") -> None:
        headers = {"X-Error-Message": message, **({"X-Error-Code": code} if code else {})}
        self._send(json.dumps({"error": message}).encode(), headers, status)

    def _send(self, body: bytes, headers: dict[str, str], status: int = 200) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
