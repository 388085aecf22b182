"""One server, one browser, and pages that fail their test on anything a visitor should never meet.

`page` is a visitor's page, already open on the app; `visit("/?run=x", viewport=..., color_scheme="dark")` opens
another one in a browser context of its own (a second visitor, a phone). Whatever a page does wrong (a request that
leaves this machine, an error on the console, an uncaught exception, a dialog) lands in `problems` as a sentence and
fails the test; a test that provokes one on purpose reads it there and clears the list.
"""

import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Dialog, Page, sync_playwright

from tests.browser.chromium import ARGUMENTS, system_chromium

ROOT = Path(__file__).resolve().parents[2]
PICTURES = ROOT / "test-artifacts"
START_SECONDS = 180
PHASES = pytest.StashKey[dict[str, pytest.TestReport]]()

Visit = Callable[..., Page]


@dataclass(frozen=True)
class Server:
    """The running app: where it answers, its folder of runs, and the file that its output goes to."""

    url: str
    runs: Path
    output: Path

    def tail(self) -> str:
        """The last lines of what it printed."""
        return "\n".join(self.output.read_text("utf-8", errors="replace").splitlines()[-40:])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keep each phase's report on the item, for the picture of a failure; put the server's last words beside it."""
    report = yield
    item.stash.setdefault(PHASES, {})[report.when] = report
    server = getattr(item, "funcargs", {}).get("server")
    if report.failed and server:
        report.sections.append(("Server output", server.tail()))
    return report


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`python app.py` in a process of its own, on a free port, shared by the whole suite."""
    folder = tmp_path_factory.mktemp("app")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    served = Server(f"http://127.0.0.1:{port}", folder / "runs", folder / "output.txt")
    command = [sys.executable, "app.py", "--port", str(port), "--runs", str(served.runs)]
    environment = os.environ | {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}
    with served.output.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        wait_until_it_answers(served, process)
        yield served
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until_it_answers(server: Server, process: subprocess.Popen[bytes]) -> None:
    """Poll /config; fails with the server's output when it ends early or stays silent."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            pytest.fail(f"app.py ended with {process.returncode} before it answered:\n{server.tail()}", pytrace=False)
        try:
            with urllib.request.urlopen(f"{server.url}/config", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    pytest.fail(f"app.py did not answer within {START_SECONDS} s:\n{server.tail()}", pytrace=False)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=system_chromium(), args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture
def problems() -> list[str]:
    """What the pages of this test did wrong so far."""
    return []


def watch(page: Page, problems: list[str]) -> None:
    """Note down whatever this page does that no visitor should meet."""

    def request(url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("data", "blob") and parts.hostname != "127.0.0.1":
            problems.append(f"request leaves this machine: {url}")

    def console(message: ConsoleMessage) -> None:
        if message.type == "error":
            problems.append(f"console: {message.text} ({message.location.get('url')})")

    def dialog(box: Dialog) -> None:
        problems.append(f"dialog: {box.message}")
        box.dismiss()

    page.on("request", lambda sent: request(sent.url))
    page.on("websocket", lambda opened: request(opened.url))
    page.on("pageerror", lambda error: problems.append(f"uncaught: {error}"))
    page.on("crash", lambda _: problems.append("the page crashed"))
    page.on("console", console)
    page.on("dialog", dialog)


@pytest.fixture
def visit(request: pytest.FixtureRequest, browser: Browser, server: Server, problems: list[str]) -> Iterator[Visit]:
    """Opens the app as a new visitor; options are those of Playwright's `browser.new_context`."""
    pages: list[Page] = []

    def open_page(path: str = "/", **options: Any) -> Page:
        options.setdefault("viewport", {"width": 1440, "height": 900})
        page = browser.new_context(base_url=server.url, **options).new_page()
        pages.append(page)
        watch(page, problems)
        page.goto(path, wait_until="domcontentloaded")
        page.locator(".gradio-container button").first.wait_for(state="attached")
        return page

    yield open_page
    reports = request.node.stash.get(PHASES, {})
    if problems or any(report.failed for report in reports.values()):
        photograph(pages, request.node.name)
    for page in pages:
        page.context.close()
    if problems:
        pytest.fail("the page did what a visitor should never meet:\n" + "\n".join(problems), pytrace=False)


def photograph(pages: list[Page], test: str) -> None:
    """Every open page of a failed test, as test-artifacts/<test>-<n>.png."""
    PICTURES.mkdir(exist_ok=True)
    name = re.sub(r"[^\w-]+", "-", test)
    for number, page in enumerate(pages, 1):
        if not page.is_closed():
            page.screenshot(path=PICTURES / f"{name}-{number}.png", full_page=True)


@pytest.fixture
def page(visit: Visit) -> Page:
    """A visitor's page at 1440 x 900, open on the app."""
    return visit()
