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
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Dialog,
    Page,
    ViewportSize,
    expect,
    sync_playwright,
)

from tests.browser.chromium import ARGUMENTS, system_chromium
from tests.browser.planted import COPY, look_at, planted
from tests.browser.reference import plant
from tests.browser.screen import arrived, bring

ROOT = Path(__file__).resolve().parents[2]
PICTURES = ROOT / "test-artifacts"
START_SECONDS = 180
DESK: ViewportSize = {"width": 1440, "height": 900}
PHASES = pytest.StashKey[dict[str, pytest.TestReport]]()
LEAVING = "AbortError: signal is aborted without reason"
"""What Gradio's client logs, sometimes late, when its page is left; ours never aborts."""
expect.set_options(timeout=30_000)  # as long as Playwright waits for everything else

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
    """`python app.py` in a process of its own, on a free port, shared by the whole suite; with the planted runs."""
    folder = tmp_path_factory.mktemp("app")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    served = Server(f"http://127.0.0.1:{port}", folder / "runs", folder / "output.txt")
    plant(served.runs)
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


def watch(page: Page, note: Callable[[str], None]) -> None:
    """Note down whatever this page does that no visitor should meet."""

    def request(url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("data", "blob") and parts.hostname != "127.0.0.1":
            note(f"request leaves this machine: {url}")

    def console(message: ConsoleMessage) -> None:
        if message.type == "error" and not message.text.startswith(LEAVING):
            note(f"console: {message.text} ({message.location.get('url')})")

    def dialog(box: Dialog) -> None:
        note(f"dialog: {box.message}")
        box.dismiss()

    page.on("request", lambda sent: request(sent.url))
    page.on("websocket", lambda opened: request(opened.url))
    page.on("pageerror", lambda error: note(f"uncaught: {error}"))
    page.on("crash", lambda _: note("the page crashed"))
    page.on("console", console)
    page.on("dialog", dialog)


class Seat:
    """A page that visitors use one after the other: the app opens in it in a third of the time that a new browser
    context takes. Nothing of a visitor stays behind: storage is emptied, and the app is loaded anew."""

    def __init__(self, browser: Browser, server: Server) -> None:
        self._browser, self._server = browser, server
        self._page: Page | None = None
        self._problems: list[str] = []
        self.taken = False

    def take(self, problems: list[str]) -> Page:
        """The page, empty; what goes wrong on it from now on lands in `problems`."""
        if self._page is None or self._page.is_closed():
            self._page = self._browser.new_context(base_url=self._server.url, viewport=DESK).new_page()
            watch(self._page, lambda sentence: self._problems.append(sentence))
        self._problems, self.taken = problems, True
        return self._page

    def leave(self, spoilt: bool) -> None:
        """Make it ready for the next visitor. spoilt: something went wrong, so the next one gets another page."""
        page, self.taken = self._page, False
        self._problems = []  # what a page logs while it is taken down says nothing of the app
        if page is None or page.is_closed():
            return
        if spoilt:
            page.context.close()
            self._page = None
            return
        page.unroute_all(behavior="wait")
        page.goto(f"{self._server.url}/gradio_api/app_id")  # a few bytes; the app is gone, and keeps nothing more
        page.evaluate("localStorage.clear(), sessionStorage.clear()")
        page.mouse.move(0, 0)
        page.goto("about:blank")


@pytest.fixture(scope="session")
def seat(browser: Browser, server: Server) -> Seat:
    return Seat(browser, server)


@pytest.fixture
def visit(
    request: pytest.FixtureRequest, browser: Browser, server: Server, seat: Seat, problems: list[str]
) -> Iterator[Visit]:
    """Opens the app as a new visitor; options are those of Playwright's `browser.new_context`."""
    pages: list[Page] = []
    contexts: list[BrowserContext] = []

    def open_page(path: str = "/", **options: Any) -> Page:
        if options or seat.taken:
            contexts.append(browser.new_context(base_url=server.url, **{"viewport": DESK} | options))
            page = contexts[-1].new_page()
            watch(page, problems.append)
        else:
            page = seat.take(problems)
        pages.append(page)
        page.goto(path, wait_until="domcontentloaded")
        page.locator(".gradio-container button").first.wait_for(state="attached")
        return page

    yield open_page
    failed = any(report.failed for report in request.node.stash.get(PHASES, {}).values())
    if problems or failed:
        photograph(pages, request.node.name)
    if seat.taken:
        seat.leave(spoilt=failed or bool(problems))
    for context in contexts:
        context.close()
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


@pytest.fixture
def opened(page: Page) -> Page:
    """The same, come to rest on the Decode tab, where it begins."""
    arrived(page, "Decode")
    return page


@pytest.fixture
def copied(server: Server, visit: Visit) -> Page:
    """The planted run's model, with a text that it copied; on the Decode tab."""
    planted(server.runs)
    page = visit()
    arrived(page, "Decode")
    return look_at(page, COPY)


STOP = "async run => { glass.watchRun(run); return await glass.runs.control('stop'); }"


@pytest.fixture
def trainings(page: Page, server: Server) -> Iterator[None]:
    """For tests that train: what one leaves training is stopped, so that the next does not wait for it."""
    yield
    for run in (folder.name for folder in server.runs.iterdir() if not is_over(folder)):
        if not page.is_closed():
            page.evaluate(STOP, run)
    deadline = time.monotonic() + 60
    while not all(map(is_over, server.runs.iterdir())) and time.monotonic() < deadline:
        time.sleep(0.1)


def is_over(run: Path) -> bool:
    """Whether the last line that a run wrote down is an end."""
    events = run / "metrics.jsonl"
    lines = events.read_text("utf-8").splitlines() if events.exists() else []
    return bool(lines) and re.match(r'\{"event": "(finished|failed)"', lines[-1]) is not None


@pytest.fixture
def ready(page: Page, tmp_path: Path, trainings: None) -> Page:
    """The page on the Train tab, with a text of four sentences that return."""
    path = tmp_path / "sentences.txt"
    sentences = [f"the {a} cat saw the {b} fox.\n" for a in ("red", "old") for b in ("sad", "wet")]
    path.write_text("".join(sentences) * 40, encoding="utf-8")
    bring(page, path)
    return page
