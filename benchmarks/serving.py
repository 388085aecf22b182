"""What the benchmarks of the page share: a running app, and a browser on it. Needs requirements-dev.txt."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.browser.chromium import ARGUMENTS, system_chromium  # noqa: E402  # the path has to be set first


@contextmanager
def app(runs: Path) -> Iterator[tuple[str, float]]:
    """`python app.py` on a free port; yields its address and the seconds until it answered."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "app.py", "--port", str(port), "--runs", str(runs)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}/"
    try:
        while True:
            try:
                urllib.request.urlopen(url + "config", timeout=5).close()
                break
            except OSError:
                if process.poll() is not None or time.perf_counter() - began > 120:
                    raise SystemExit("the app did not start: run `python app.py` to see why") from None
                time.sleep(0.02)
        yield url, time.perf_counter() - began
    finally:
        process.terminate()
        process.wait(20)


@contextmanager
def page() -> Iterator[Page]:
    """A page of headless Chromium, 1440 x 900, open on nothing yet."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=system_chromium(), args=ARGUMENTS)
        yield browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
        browser.close()
