"""Fixtures for the whole suite."""

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

# For the programs that tests start, and for their threads: on busy cores OpenMP's threads wait for each other, and a
# program of ten seconds takes a minute. Set before anything imports torch.
os.environ["OMP_NUM_THREADS"] = "1"

ROOT = Path(__file__).resolve().parent.parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what drives a browser and run it last: Playwright keeps an event loop running in the main thread."""
    browser = Path(__file__).with_name("browser")
    for item in items:
        if item.path.is_relative_to(browser):
            item.add_marker("browser")
    items.sort(key=lambda item: item.get_closest_marker("browser") is not None)


@pytest.fixture(autouse=True)
def one_torch_thread() -> None:
    """Small tensors gain nothing from threads, and sums come out the same on every machine. Tests only."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared_data() -> Callable[[str], Path]:
    """`shared_data("names.txt")`: that test input, from $GLASS_DATA or ../shared/data; skips where it is missing."""
    folder = Path(os.environ.get("GLASS_DATA") or ROOT.parent / "shared" / "data")

    def find(name: str) -> Path:
        path = folder / name
        if not path.is_file():
            pytest.skip(f"test input {name} is not in {folder}; set GLASS_DATA to the folder that has it")
        return path

    return find


@pytest.fixture
def nothing_leaves(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever connects to another address than 127.0.0.1 fails the test."""
    from huggingface_hub import constants

    strays: list[Any] = []
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family != socket.AF_UNIX and address[0] != "127.0.0.1":
            strays.append(address)
            raise OSError("tests do not leave this machine")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    yield
    assert strays == []
