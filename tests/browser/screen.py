"""What a visitor does and reads on the page, for the tests: tabs, tokens, rows, cells, settings.

Everything that is compared is read off the screen; the store of assets/js is asked only whether the page has come to
rest, never for a number.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import Locator, Page, Position, expect

from tests.browser.reference import Reference, of_ref

TRAINING = 120_000
"""Milliseconds that something in a training may take, on a machine that is busy with other things as well."""

# Nothing is asked of the server any more, and every map on screen shows the text up to the current token.
AT_REST = """() => {
    const state = window.glass && glass.decoder && glass.decoder.state;
    if (!state || !state.model || state.busy || state.playing) return false;
    if (!state.next || state.next.position !== state.length) return false;
    const tokens = Math.min(state.length, state.model.context);
    return [...document.querySelectorAll('canvas.g-map')].filter(map => map.checkVisibility())
        .every(map => map.dataset.settled === map.dataset.drawn && +map.dataset.tokens === tokens);
}"""


@dataclass(frozen=True)
class Token:
    """A token of the strip as it stands on screen."""

    position: int
    id: int
    text: str
    classes: frozenset[str]

    @property
    def counts(self) -> bool:
        """Whether it is part of the text; the others were written before the visitor went back."""
        return "later" not in self.classes


@dataclass(frozen=True)
class Row:
    """A row of what comes next; shares in percent. `own` and `after` as printed, `own_exact` and so on in the tip."""

    id: int
    own: float
    after: float
    own_exact: float
    after_exact: float
    cut: str
    drawn: bool
    tag: str
    text: str


# ---- going about ------------------------------------------------------------------------------------------------


def here(page: Page, testid: str) -> Locator:
    """The part of the page with this test id on the open tab (each tab has its own strip, its own maps)."""
    return page.locator(f'[data-testid="{testid}"]:visible')


def open_tab(page: Page, name: str) -> None:
    """Click a tab and wait for what is in it."""
    tab = page.get_by_role("tab", name=re.compile(name))
    tab.click()
    arrived(page, name)


def follow(visit: Callable[..., Page], run: str, name: str, **options: Any) -> Page:
    """Open the link to a run: it is shown on the Train tab, and its model is the one looked at."""
    page = visit(f"/?run={run}", **options)
    arrived(page, "Train")
    expect(here(page, "run-name")).to_have_text(name)
    expect(page.get_by_test_id("chip")).to_have_attribute("data-model", f"run:{run}")
    at_rest(page)
    return page


def arrived(page: Page, name: str) -> None:
    """Wait until a tab is the open one and its parts are drawn."""
    expect(page.get_by_role("tab", name=re.compile(name))).to_have_attribute("aria-selected", "true")
    part = {"Corpus": "corpus", "Train": "monitor", "Decode": "distribution", "Attention": "zoom"}[name]
    expect(here(page, part)).to_be_visible()
    if name == "Corpus":
        expect(page.locator("[data-testid=corpus][data-name]")).to_be_visible()
    if name in ("Decode", "Attention"):
        at_rest(page)


def at_rest(page: Page) -> None:
    """Wait until nothing is being computed or drawn any more."""
    page.wait_for_function(AT_REST)


def choose_model(page: Page, name: str) -> None:
    """Take a model from the Models menu."""
    page.get_by_test_id("models").click()
    named = re.compile("^" + re.escape(name))  # another item may name it as the text that it was trained on
    item = page.get_by_test_id("models-menu").get_by_role("menuitemradio").filter(has_text=named)
    item.click()
    expect(page.get_by_test_id("chip")).to_contain_text(name)
    at_rest(page)


def bring(page: Page, path: Path) -> None:
    """Upload a text and go on to the Train tab with it."""
    open_tab(page, "Corpus")
    upload(page, path)
    expect(page.get_by_test_id("corpus")).to_have_attribute("data-name", path.name)
    open_tab(page, "Train")


def model_ref(page: Page) -> str:
    """The ref of the model that the header names."""
    ref = page.get_by_test_id("chip").get_attribute("data-model")
    assert ref
    return ref


def model_of(page: Page, runs: Path) -> Reference:
    """The model that the header names, opened from the same files as the server's. runs: the server's folder."""
    return of_ref(model_ref(page), runs)


# ---- decoding ---------------------------------------------------------------------------------------------------


def start(page: Page, prompt: str) -> None:
    """Write a prompt and press Enter."""
    box = here(page, "prompt")
    box.fill(prompt)
    box.press("Enter")
    at_rest(page)


def press(page: Page, *buttons: str) -> None:
    """Press buttons one after the other, each when the page has come to rest."""
    for testid in buttons:
        here(page, testid).click()
        at_rest(page)


def tokens(page: Page) -> list[Token]:
    """The strip, read off the screen."""
    found = here(page, "strip").evaluate(
        """strip => [...strip.querySelectorAll('.g-tok')].map(button => [
            +button.querySelector('.g-at').textContent, +button.querySelector('.g-id').textContent,
            button.querySelector('.g-piece').textContent, [...button.classList]])"""
    )
    assert [position for position, *_ in found] == list(range(len(found)))
    return [Token(position, number, text, frozenset(classes)) for position, number, text, classes in found]


def ids(page: Page) -> list[int]:
    """The ids of the text up to the current token, as they stand under the tokens."""
    return [token.id for token in tokens(page) if token.counts]


def rows(page: Page) -> list[Row]:
    """The rows of what comes next."""
    found = here(page, "distribution").evaluate(
        """card => [...card.querySelectorAll('[data-testid=next-row]')].map(row => ({
            id: +row.dataset.id, title: row.title,
            own: row.querySelector('.own').textContent, after: row.querySelector('.after').textContent,
            cut: row.classList.contains('cut'), hit: row.classList.contains('hit'),
            tag: row.querySelector('.tag').textContent, text: row.querySelector('.g-piece').textContent}))"""
    )
    return [_row(values) for values in found]


def _row(values: dict[str, Any]) -> Row:
    own, after = re.findall(r"(?:own|settings) ([\d.e+-]+) %", values["title"])
    return Row(
        id=values["id"],
        own=percent(values["own"]),
        after=percent(values["after"]),
        own_exact=float(own),
        after_exact=float(after),
        cut=values["tag"] if values["cut"] else "",
        drawn=values["hit"],
        tag=values["tag"],
        text=values["text"],
    )


def percent(text: str) -> float:
    """`17.4 %` -> 17.4; `<0.1 %` and `>99.9 %` -> the middle of what they can mean."""
    number = text.removesuffix("%").strip()
    return {"<0.1": 0.025, ">99.9": 99.975}.get(number) or float(number)


def set_range(page: Page, testid: str, value: float | str) -> None:
    """Type a value into the field beside a slider of the distribution."""
    field = here(page, f"{testid}-value")
    field.fill(str(value))
    field.press("Enter")
    at_rest(page)


# ---- attention --------------------------------------------------------------------------------------------------


def cell_point(page: Page, query: int, key: int) -> Position:
    """Where a cell of the large map is, inside its canvas; positions of the whole text."""
    at = {name: float(value) for name, value in here(page, "zoom-canvas").evaluate("map => ({...map.dataset})").items()
          if name in ("start", "cell", "left", "top")}  # fmt: skip
    return {
        "x": at["left"] + (key - at["start"] + 0.5) * at["cell"],
        "y": at["top"] + (query - at["start"] + 0.5) * at["cell"],
    }


def point_at(page: Page, query: int, key: int) -> Locator:
    """Put the pointer on a cell of the large map; returns the sentence that reads it."""
    here(page, "zoom-canvas").hover(position=cell_point(page, query, key))
    sentence = here(page, "look")
    expect(sentence).to_have_attribute("data-query", str(query))
    expect(sentence).to_have_attribute("data-key", str(key))
    return sentence


def choose_head(page: Page, layer: int, head: int) -> None:
    """Click a head of the grid, at the middle of its square; counted from 0."""
    grid = here(page, "heads-canvas")
    at = {name: float(value) for name, value in grid.evaluate("map => ({...map.dataset})").items() if name != "testid"}
    step = at["size"] + at["gap"]
    grid.click(
        position={"x": at["left"] + head * step + at["size"] / 2, "y": at["top"] + layer * step + at["size"] / 2}
    )
    expect(here(page, "zoom-title")).to_have_text(f"Layer {layer + 1}, head {head + 1}")
    at_rest(page)


def chosen_head(page: Page) -> tuple[int, int]:
    """The head that is drawn large, counted from 0."""
    layer, head = re.findall(r"\d+", here(page, "zoom-title").inner_text())
    return int(layer) - 1, int(head) - 1


def weight_in(sentence: Locator) -> float:
    """The number that a sentence about a cell ends with, as printed."""
    found = re.search(r": ([\d.e-]+)\. ", sentence.inner_text())
    assert found, sentence.inner_text()
    return float(found[1])


# ---- corpus and training ----------------------------------------------------------------------------------------


def upload(page: Page, path: Path) -> None:
    """Give a file to the Corpus tab; the answer is not waited for. A file that is there is taken out first."""
    clear = page.locator("#upload").get_by_role("button", name="Clear")
    if clear.count():
        clear.click()
    page.locator("#upload input[type=file]").set_input_files(path)


def set_number(page: Page, field: str, value: float) -> None:
    """Type a setting of the Train tab."""
    box = page.locator(f"#set-{field} input[type=number]")
    box.fill(str(value))
    box.press("Tab")


def small_and_fast(page: Page, steps: int, **more: float) -> None:
    """Set up a training of a few seconds: a very small model, on the open Train tab."""
    for title in ("Shape of the model", "How it is trained"):
        page.get_by_role("button", name=title).click()
    wanted = {"layers": 2, "heads": 2, "width": 32, "context": 16, "batch_size": 8, "warmup_steps": 10, "steps": steps}
    for field, value in (wanted | more).items():
        set_number(page, field, value)
    expect(page.locator("#estimate")).to_contain_text(f"in {steps:,} steps")


def train(page: Page, name: str) -> str:
    """Press Train and wait until the run is under way; returns its id."""
    page.locator("#run-name textarea, #run-name input").fill(name)
    monitor = here(page, "monitor")
    before = monitor.get_attribute("data-run") or ""
    page.locator("#train").click()
    page.wait_for_function(
        """before => {
            const run = document.querySelector('[data-testid=monitor]').dataset.run;
            return run && run !== before;
        }""",
        arg=before,
    )
    expect(monitor).to_have_attribute("data-state", re.compile("running|paused|finished|stopped|failed"))
    run = monitor.get_attribute("data-run")
    assert run
    return run


def stop(page: Page) -> None:
    """Stop the watched run: the button asks, and a second press does it."""
    button = here(page, "stop")
    button.click()
    expect(button).to_have_text("Stop? Its weights are kept")
    button.click()


def state(page: Page, *wanted: str) -> None:
    """Wait until the watched run is in one of these states."""
    pattern = re.compile("^(" + "|".join(wanted) + ")$")
    expect(here(page, "monitor")).to_have_attribute("data-state", pattern, timeout=TRAINING)
