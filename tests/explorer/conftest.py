"""A server on a folder of its own, with two tiny shipped models, and its trainings ended after each test."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # before Gradio is imported, as in app.py
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import pytest

from explorer.jobs import Jobs, Run
from explorer.limits import Limits
from explorer.server import Server
from tests.explorer.tiny import ship, tiny_trainer

Submit = Callable[..., Run]


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of shipped models: alpha (characters) and beta (BPE). Nobody writes into it."""
    return ship(tmp_path_factory.mktemp("weights"))


@pytest.fixture
def serve(tmp_path: Path, weights: Path) -> Iterator[Callable[..., Server]]:
    """Makes servers by their limits; all share one folder of runs, as a server and its restarted self do."""
    made: list[Server] = []

    def make(**limits: Any) -> Server:
        server = Server(tmp_path / "runs", weights, Limits(**limits))
        server.jobs = Jobs(server.jobs.root, server.limits)  # one training at a time, however many cores there are
        made.append(server)
        return server

    yield make
    for server in made:
        server.jobs.close()


@pytest.fixture
def server(serve: Callable[..., Server]) -> Server:
    """A server on somebody's own machine."""
    return serve()


@pytest.fixture
def jobs(server: Server) -> Jobs:
    """Its trainings."""
    return server.jobs


@pytest.fixture
def submit(server: Server) -> Submit:
    """Queues tiny trainings on `server`; their names, owners and settings are keyword arguments."""
    return lambda **changes: server.jobs.submit(tiny_trainer(server.jobs.root, **changes))


@pytest.fixture
def uploads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Gradio's folder of uploads."""
    folder = tmp_path / "uploads"
    folder.mkdir()
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(folder))
    return folder
