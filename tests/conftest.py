"""Fixtures for the whole suite."""

import os
from collections.abc import Callable
from pathlib import Path

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
