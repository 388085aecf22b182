"""Train it on Hugging Face instead: from the token to a run that is brought here and writes, against a Hub of our own
that really runs what it is sent."""

import hashlib
import json
import math
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from model import open_checkpoint
from tests.browser.conftest import DESK, ROOT, Server, wait_until_it_answers, watch
from tests.browser.screen import TRAINING, arrived, here, ids, open_tab, press, small_and_fast, start
from tests.hf_jobs_server import GOOD, READER, JobsHub
from training.hf_jobs import Job

PHONE = {"width": 390, "height": 844}
OFTEN = "const every = setInterval; setInterval = (call, ms) => every(call, ms === 10000 ? 1000 : ms)"
"""The page asks the Hub every ten seconds how a job goes; here every second, so that no test waits for that."""
WIDE = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@dataclass(frozen=True)
class Hired:
    """The app, and the Hub that it speaks with."""

    app: Server
    hub: JobsHub


@pytest.fixture(scope="module")
def hired(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hired]:
    """An app of its own whose Hub is ours."""
    folder = tmp_path_factory.mktemp("hired")
    hub = JobsHub(folder / "jobs")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    app = Server(f"http://127.0.0.1:{port}", folder / "runs", folder / "output.txt")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment |= {"GRADIO_ANALYTICS_ENABLED": "False", "HF_ENDPOINT": hub.address, "HF_HOME": str(folder / "hf")}
    command = [sys.executable, "app.py", "--port", str(port), "--runs", str(app.runs)]
    with app.output.open("wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT)
    try:
        wait_until_it_answers(app, process)
        yield Hired(app, hub)
    finally:
        process.terminate()
        process.wait(30)
        hub.stop()


@pytest.fixture
def look_in(browser: Browser, hired: Hired, problems: list[str]) -> Iterator[Callable[..., Page]]:
    """Opens the Train tab of that app as a new visitor."""
    contexts: list[BrowserContext] = []

    def open_page(**options: object) -> Page:
        contexts.append(browser.new_context(base_url=hired.app.url, **{"viewport": DESK, **options}))  # type: ignore[arg-type]
        page = contexts[-1].new_page()
        page.add_init_script(OFTEN)
        watch(page, problems.append)
        page.goto("/", wait_until="domcontentloaded")
        arrived(page, "Decode")
        open_tab(page, "Train")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert problems == []


def hire(page: Page, token: str = GOOD) -> None:
    page.get_by_test_id("hf").locator("summary").first.click()
    page.get_by_test_id("hf-token").fill(token)
    page.get_by_test_id("hf-hardware").click()
    expect(page.get_by_test_id("hf-offer")).to_have_count(4)


def small(page: Page, steps: int) -> None:
    """A recipe that takes a moment."""
    small_and_fast(page, steps)
    page.locator("#run-name textarea, #run-name input").fill("hired song")


def test_a_run_from_the_token_to_its_writing(look_in: Callable[..., Page], hired: Hired) -> None:
    page = look_in()
    field = page.get_by_test_id("hf-token")
    assert (field.get_attribute("type"), field.get_attribute("autocomplete")) == ("password", "off")
    small(page, 40)
    hire(page)
    expect(page.get_by_test_id("hf-offer").first).to_contain_text("T4")  # the cheapest
    page.locator("[data-flavor=cpu-basic]").click()
    page.get_by_test_id("hf-minutes").fill("45")
    expect(page.get_by_test_id("hf-most")).to_have_text("At most $0.45: $0.01 a minute × 45 minutes.")
    page.locator("[data-flavor=a10g-largex2]").click()
    expect(page.get_by_test_id("hf-most")).to_contain_text("At most $2.25")
    expect(page.get_by_test_id("hf-most")).to_contain_text("2 processes: the batch is that of each.")
    page.locator("[data-flavor=cpu-basic]").click()
    page.get_by_test_id("hf-send").click()
    job = page.get_by_test_id("hf-job")
    expect(job).to_contain_text("hired song", timeout=TRAINING)
    expect(job).to_contain_text("at most $0.45")
    sent = list(hired.hub.jobs.values())[-1]
    assert sent.spec["timeoutSeconds"] == 45 * 60
    assert json.loads(hired.hub.repositories[repository(page)].files["job.json"])["name"] == "hired song"
    expect(page.get_by_test_id("hf-stage")).to_have_text("done", timeout=TRAINING)
    expect(page.get_by_test_id("hf-say")).to_have_text("It is done.")
    told = [line for line in sent.lines if line.startswith("glass-gpt: ") and '"step"' in line]
    last = json.loads(told[-1].removeprefix("glass-gpt: "))
    bits = last["loss"] / math.log(2) / last["train_bytes_per_token"]
    expect(page.get_by_test_id("hf-facts")).to_contain_text(
        f"step 40 of 40 · train loss {last['loss']:.3f} nats/token, {bits:.3f} bits per byte"
    )

    page.get_by_test_id("hf-fetch").click()
    expect(page.get_by_test_id("hf-open")).to_be_visible(timeout=TRAINING)
    expect(here(page, "run-name")).to_have_text("hired song")
    expect(here(page, "runs")).to_contain_text("hired song")
    expect(here(page, "loss")).to_have_attribute("data-points", "40")
    open_tab(page, "Decode")
    expect(page.get_by_test_id("chip")).to_contain_text("hired song")
    folder = next(path for path in hired.app.runs.iterdir() if path.name.startswith("hired-song"))
    checkpoint = open_checkpoint(folder)
    assert checkpoint.tokenizer is not None
    start(page, "Mira")
    press(page, "next")
    assert checkpoint.tokenizer.decode(ids(page)[:4]) == "Mira"
    assert len(ids(page)) == 5
    assert GOOD not in hired.app.output.read_text("utf-8")
    assert not [p for p in hired.app.runs.rglob("*") if p.is_file() and GOOD.encode() in p.read_bytes()]

    open_tab(page, "Train")
    page.reload(wait_until="domcontentloaded")
    open_tab(page, "Train")
    expect(page.get_by_test_id("hf-job")).to_have_count(1)  # kept by visitor; the token is not
    assert page.get_by_test_id("hf-token").input_value() == ""
    page.get_by_test_id("hf").locator("summary").first.click()
    page.get_by_test_id("hf-forget").click()
    expect(page.get_by_test_id("hf-forget")).to_have_text("Delete its repository?")
    page.get_by_test_id("hf-forget").click()
    expect(page.get_by_test_id("hf-error")).to_contain_text("A token of Hugging Face is missing")
    page.get_by_test_id("hf-token").fill(GOOD)
    page.get_by_test_id("hf-forget").click()
    page.get_by_test_id("hf-forget").click()
    expect(page.get_by_test_id("hf-job")).to_have_count(0)
    assert not hired.hub.repositories
    assert folder.exists()


def repository(page: Page) -> str:
    found = page.get_by_test_id("hf-job").get_by_role("link", name="its repository").get_attribute("href")
    assert found
    return "/".join(found.split("/")[-2:])


def test_cancelled_on_a_phone(look_in: Callable[..., Page], hired: Hired) -> None:
    page, before = look_in(viewport=PHONE, color_scheme="dark"), dict(hired.hub.repositories)
    small(page, 10_000)
    page.get_by_test_id("hf").locator("summary").first.focus()
    page.keyboard.press("Enter")
    page.get_by_test_id("hf-token").fill("hf_nobody0123456789")
    page.get_by_test_id("hf-hardware").click()
    expect(page.get_by_test_id("hf-offer")).to_have_count(4)  # the list is public
    page.get_by_test_id("hf-send").click()
    expect(page.get_by_test_id("hf-error")).to_contain_text("The Hub does not know this token")
    page.get_by_test_id("hf-token").fill(READER)
    page.get_by_test_id("hf-send").click()
    expect(page.get_by_test_id("hf-error")).to_contain_text("This token may only read")
    assert hired.hub.repositories == before
    page.get_by_test_id("hf-token").fill(GOOD)
    page.get_by_test_id("hf-minutes").fill("2")
    page.get_by_test_id("hf-send").click()
    expect(page.get_by_test_id("hf-error")).to_contain_text("give 5 minutes to 7 days")
    page.get_by_test_id("hf-minutes").fill("30")
    page.get_by_test_id("hf-send").click()
    expect(page.get_by_test_id("hf-facts")).to_contain_text("of 10,000", timeout=TRAINING)
    assert page.evaluate(WIDE) == 0
    page.get_by_test_id("hf-cancel").click()
    page.get_by_test_id("hf-cancel").click()
    expect(page.get_by_test_id("hf-stage")).to_have_text("cancelled")
    # The Hub lets it end in order, and what it uploaded then can be brought here.
    sent = list(hired.hub.jobs.values())[-1]
    assert sent.process is not None
    sent.process.wait(60)
    assert re.search(r'glass-gpt: \{"uploaded": \d+\}', "\n".join(sent.lines[-3:]))


def test_another_visitor_sees_nothing_of_it(look_in: Callable[..., Page], hired: Hired) -> None:
    one, other = look_in(), look_in()
    owner = hashlib.sha256(one.evaluate("glass.session").encode()).hexdigest()[:32]
    job = Job("job-1", "someone", "theirs", "theirs", "cpu-basic", 0.01, 600, "http://127.0.0.1/jobs/someone/job-1")
    path = hired.app.runs / ".hf-jobs" / f"{owner}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([{"job": asdict(job), "look": {"stage": "error", "say": "It failed."}, "run": None}]))
    for page, count in ((one, 1), (other, 0)):
        page.reload()
        arrived(page, "Train")
        hire(page)
        expect(page.get_by_test_id("hf-job")).to_have_count(count)
    path.unlink()


def test_the_card_is_quiet_until_it_is_opened(look_in: Callable[..., Page], tmp_path: Path) -> None:
    page = look_in(viewport=PHONE)
    expect(page.get_by_test_id("hf")).to_contain_text("Train it on Hugging Face instead")
    expect(page.get_by_test_id("hf-token")).to_be_hidden()
    page.get_by_test_id("hf").locator("summary").first.click()
    link = page.get_by_test_id("hf").get_by_role("link", name="Make one.")
    assert link.get_attribute("href") == "https://huggingface.co/settings/tokens"
    assert page.evaluate(WIDE) == 0
