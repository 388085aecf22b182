"""The heads: choosing one, reading its weights, locking a cell; each number is held against trace()."""

import re

import pytest
import torch
from playwright.sync_api import Page, expect

from model.trace import head_scores
from tests.browser.conftest import Server, Visit
from tests.browser.reference import SHORT_MEMORY, Reference
from tests.browser.screen import (
    arrived,
    at_rest,
    cell_point,
    choose_head,
    choose_model,
    chosen_head,
    here,
    ids,
    model_of,
    open_tab,
    point_at,
    press,
    start,
    weight_in,
)


@pytest.fixture
def short(opened: Page) -> Page:
    """The page with a short text, which fits into the context of any model."""
    start(opened, "the old cat sat on a red mat")
    return opened


def check_cell(page: Page, shown: Reference, head: tuple[int, int], query: int, key: int) -> None:
    """Point at a cell and hold the sentence against trace()."""
    text = ids(page)
    weight = shown.weight(text, *head, query, key)
    sentence = point_at(page, query, key)
    expect(sentence).to_have_attribute("data-state", "hover")
    expect(sentence).to_have_attribute("data-weight", re.compile("."))
    said = sentence.inner_text()
    assert said.startswith(f"Layer {head[0] + 1}, head {head[1] + 1}: ")
    assert f" at {query} attends to " in said
    assert f" at {key}: " in said
    printed = weight_in(sentence)
    assert printed == pytest.approx(weight, abs=0.000501 if weight >= 0.001 else 0.06 * weight + 1e-9)
    if weight >= 0.0015:
        assert re.search(r": \d\.\d{3}\. ", said), said
    assert float(sentence.get_attribute("data-weight") or "") == pytest.approx(weight, abs=2e-6)
    assert "Its row sums to 1.000." in said


def test_pointing_at_a_cell_reads_what_trace_says(short: Page, server: Server) -> None:
    """Several cells of several heads, with both of their tokens marked in the strip."""
    shown, text = model_of(short, server.runs), ids(short)
    config = shown.model.config
    last = len(text) - 1
    for layer, head in {(0, 0), (config.layers - 1, config.heads - 1)}:
        choose_head(short, layer, head)
        for query, key in ((0, 0), (last, 0), (last, last), (last // 2, last // 3)):
            check_cell(short, shown, (layer, head), query, key)
            token = here(short, "token")
            expect(token.nth(query)).to_have_class(re.compile(r"\blooks\b"))
            expect(token.nth(key)).to_have_class(re.compile(r"\bfrom\b"))
            assert short.locator(".g-strip:visible .looks").count() == 1
            assert short.locator(".g-strip:visible .from").count() == 1
    short.mouse.move(2, 2)
    expect(here(short, "look")).to_have_attribute("data-state", "rest")
    expect(short.locator(".g-strip:visible .looks")).to_have_count(0)


def test_the_rest_sentence_and_the_table_agree_with_trace(short: Page, server: Server) -> None:
    """The five largest weights of the newest token, and the largest of them in words."""
    shown, text = model_of(short, server.runs), ids(short)
    layer, head = shown.model.config.layers - 1, 0
    choose_head(short, layer, head)
    pattern = shown.trace(text).patterns[layer, head, -1]
    largest = pattern.topk(5)
    shown_rows = here(short, "top-keys").locator("tbody tr").all()
    assert len(shown_rows) == 5
    for row, weight in zip(shown_rows, largest.values.tolist(), strict=True):
        key, printed = int(row.locator("td").nth(0).inner_text()), float(row.locator("td").nth(1).inner_text())
        assert printed == pytest.approx(weight, abs=2e-6)
        assert float(pattern[key]) == pytest.approx(weight, abs=2e-6)
        assert shown.tokenizer.piece(text[key]).text.strip() in row.locator("th").inner_text()
    said = here(short, "look").inner_text()
    assert f"at {len(text) - 1} looks most at" in said
    assert weight_in(here(short, "look")) == pytest.approx(float(largest.values[0]), abs=0.000501)


def test_a_click_locks_a_cell_and_escape_lets_go(short: Page, server: Server) -> None:
    shown, text = model_of(short, server.runs), ids(short)
    last, canvas, sentence = len(text) - 1, here(short, "zoom-canvas"), here(short, "look")
    canvas.click(position=cell_point(short, last, 1))
    expect(sentence).to_have_attribute("data-state", "locked")
    canvas.hover(position=cell_point(short, last, last - 2))
    short.mouse.move(2, 2)
    expect(sentence).to_have_attribute("data-state", "locked")
    expect(sentence).to_have_attribute("data-key", "1")
    choose_head(short, 0, shown.model.config.heads - 1)  # a locked cell is read in every head that is opened
    expect(sentence).to_have_attribute("data-state", "locked")
    expect(sentence).to_contain_text(f"head {shown.model.config.heads}: ")
    assert weight_in(sentence) == pytest.approx(
        shown.weight(text, 0, shown.model.config.heads - 1, last, 1), abs=0.000501
    )
    short.keyboard.press("Escape")
    expect(sentence).to_have_attribute("data-state", "rest")
    canvas.click(position=cell_point(short, last, 1))
    expect(sentence).to_have_attribute("data-state", "locked")
    canvas.click(position=cell_point(short, last, 1))
    expect(sentence).not_to_have_attribute("data-state", "locked")


def test_what_lies_ahead_is_said_to_be_masked(short: Page) -> None:
    """Exactly 0, in words; a click reads it and does not lock it."""
    sentence = point_at(short, 2, 5)
    expect(sentence).to_have_attribute("data-state", "masked")
    expect(sentence).to_contain_text("cannot look ahead to")
    expect(sentence).to_contain_text("masked, exactly 0.")
    assert sentence.get_attribute("data-weight") is None
    here(short, "zoom-canvas").click(position=cell_point(short, 2, 5))
    expect(sentence).to_have_attribute("data-state", "masked")


def test_the_keyboard_moves_over_the_cells(short: Page, server: Server) -> None:
    shown, text = model_of(short, server.runs), ids(short)
    last, sentence = len(text) - 1, here(short, "look")
    choose_head(short, 0, 0)
    short.locator(".g-stage:visible").focus()
    for key, (query, column) in (
        ("ArrowUp", (last, last)),
        ("ArrowLeft", (last, last - 1)),
        ("ArrowUp", (last - 1, last - 1)),
        ("ArrowLeft", (last - 1, last - 2)),
    ):
        short.keyboard.press(key)
        expect(sentence).to_have_attribute("data-query", str(query))
        expect(sentence).to_have_attribute("data-key", str(column))
    assert weight_in(sentence) == pytest.approx(shown.weight(text, 0, 0, last - 1, last - 2), abs=0.000501)
    short.keyboard.press("Enter")
    expect(sentence).to_have_attribute("data-state", "locked")
    short.keyboard.press("Escape")
    expect(sentence).to_have_attribute("data-state", "rest")


def test_the_keyboard_chooses_a_head(opened: Page, server: Server) -> None:
    config = model_of(opened, server.runs).model.config
    title = here(opened, "zoom-title")
    choose_head(opened, 0, 0)
    here(opened, "head").first.focus()
    opened.keyboard.press("ArrowDown")
    expect(title).to_have_text("Layer 2, head 1")
    opened.keyboard.press("ArrowRight")
    expect(title).to_have_text("Layer 2, head 2")
    expect(opened.locator('[data-testid="head"]:visible:focus')).to_have_attribute("aria-selected", "true")
    expect(opened.locator('[data-testid="head"]:visible[aria-selected="true"]')).to_have_count(1)
    for _ in range(config.layers + 1):
        opened.keyboard.press("ArrowDown")
    expect(title).to_have_text(f"Layer {config.layers}, head 2")


def test_after_next_the_new_row_is_there(short: Page, server: Server) -> None:
    shown, before = model_of(short, server.runs), ids(short)
    assert here(short, "zoom-canvas").get_attribute("data-tokens") == str(len(before))
    head = chosen_head(short)
    press(short, "next")
    text = ids(short)
    for canvas in ("zoom-canvas", "heads-canvas"):
        expect(here(short, canvas)).to_have_attribute("data-tokens", str(len(before) + 1))
    for key in (0, len(before) // 2, len(before)):
        check_cell(short, shown, head, len(before), key)
    assert text[: len(before)] == before


def test_a_window_that_slid_agrees_with_trace(opened: Page, server: Server) -> None:
    """Positions go on counting the whole text, weights are those of the last eight tokens alone."""
    choose_model(opened, SHORT_MEMORY)
    shown = model_of(opened, server.runs)
    start(opened, "a bad bee")
    choose_head(opened, 1, 2)
    press(opened, "next", "next")
    text = ids(opened)
    assert shown.start(text) == 3
    for query, key in ((10, 3), (10, 10), (7, 5)):
        check_cell(opened, shown, (1, 2), query, key)
    press(opened, "back", "back", "back")
    check_cell(opened, shown, (1, 2), 7, 0)


def test_another_text_while_a_cell_is_looked_at(short: Page, server: Server) -> None:
    """The cell goes with its text, whether the new one is shorter or longer."""
    shown = model_of(short, server.runs)
    for prompt in ("a", "the cat and the hen and the cat", "the"):
        query = len(ids(short)) - 1
        point_at(short, query, query)
        start(short, prompt)
        expect(here(short, "look")).to_have_attribute("data-state", "rest")
        assert ids(short) == shown.tokenizer.encode(prompt)
        expect(here(short, "top-keys").locator("caption")).to_contain_text(f"at {len(ids(short)) - 1} looks most at")


def test_the_colours_are_the_weights(short: Page, server: Server) -> None:
    """A cell of the large map has the colour that stands for the root of its weight, between the two of the page."""
    shown, text = model_of(short, server.runs), ids(short)
    layer, head = chosen_head(short)
    pattern = shown.trace(text).patterns[layer, head]
    last = len(text) - 1
    cells = [(last, key) for key in range(0, len(text), 3)] + [(last // 2, key) for key in range(0, last // 2, 3)]
    for query, key in cells:
        point = cell_point(short, query, key)
        found, low, high = here(short, "zoom-canvas").evaluate(
            """(map, {x, y}) => {
                const at = map.width / map.getBoundingClientRect().width;
                const pixel = map.getContext('2d').getImageData(Math.round(x * at), Math.round(y * at), 1, 1).data;
                const named = name => glass.rgb(glass.variable(map, name));
                return [[...pixel].slice(0, 3), named('--g-h0'), named('--g-h1')];
            }""",
            point,
        )
        root = float(pattern[query, key]) ** 0.5
        expected = [a + (b - a) * root for a, b in zip(low, high, strict=True)]
        assert found == pytest.approx(expected, abs=2.5), (query, key)


def test_the_kinds_of_heads_are_those_of_the_text(opened: Page, server: Server) -> None:
    """The strongest head of each kind, its score, and a click that opens it."""
    shown, text = model_of(opened, server.runs), ids(opened)
    window = text[shown.start(text) :]
    scores = head_scores(shown.trace(text).patterns, torch.tensor(window))
    for line in here(opened, "kinds").locator("li").all():
        kind = line.get_attribute("data-kind") or ""
        table = scores[kind].clone()
        if kind == "induction":
            table[0] = torch.nan  # takes two layers: a head of the first is not offered for it
        said = line.locator("output").inner_text()
        if bool(table.isnan().all()):
            assert said == "–"
            continue
        assert float(said) == pytest.approx(float(table[~table.isnan()].max()), abs=0.0051)
        line.get_by_role("button").click()
        at_rest(opened)
        button = line.get_by_role("button")
        layer, head = (int(number) - 1 for number in re.findall(r"\d+", button.inner_text()))
        assert float(table[layer, head]) == pytest.approx(float(table[~table.isnan()].max()), abs=1e-4)
        expect(here(opened, "zoom-title")).to_have_text(f"Layer {layer + 1}, head {head + 1}")


def test_the_attention_tab_shows_the_same(short: Page, server: Server) -> None:
    """One text and one head for both tabs, also when a tab is opened while a row is still sliding in."""
    shown = model_of(short, server.runs)
    config = shown.model.config
    choose_head(short, config.layers - 1, 0)
    text = ids(short)
    here(short, "next").click()
    short.wait_for_function(
        "n => document.querySelectorAll('.g-strip .g-tok').length > n", arg=len(text)
    )  # the new row may be on its way in when the tab changes
    open_tab(short, "Attention")
    expect(here(short, "zoom-title")).to_have_text(f"Layer {config.layers}, head 1")
    assert ids(short) == shown.write(text, 1, 1337)
    check_cell(short, shown, (config.layers - 1, 0), len(text), 1)
    press(short, "next", "back", "back")
    choose_head(short, 0, 0)
    check_cell(short, shown, (0, 0), len(text) - 1, 0)
    open_tab(short, "Decode")
    expect(here(short, "zoom-title")).to_have_text("Layer 1, head 1")
    assert ids(short) == text
    check_cell(short, shown, (0, 0), len(text) - 1, 0)


def test_the_tokens_at_the_edges_stay_in_sight(visit: Visit, server: Server) -> None:
    """On a phone a long text's map scrolls in its card: its tokens do not, and are no cells to point at."""
    page = visit(viewport={"width": 390, "height": 844}, has_touch=True)
    open_tab(page, "Attention")
    start_long(page)
    box = page.locator(".g-zoom .g-scroll:visible")
    for share in (0, 0.4, 1):
        box.evaluate("(box, share) => box.scrollTo(share * box.scrollWidth, share * box.scrollHeight)", share)
        around = box.bounding_box()
        rows, columns, corner = (
            box.locator(f".g-edge.{side}").bounding_box() for side in ("rows", "columns", "corner")
        )
        assert around
        assert rows
        assert columns
        assert corner
        assert around["x"] <= rows["x"] <= around["x"] + 6
        assert rows["width"] < around["width"] / 2
        assert columns["y"] + columns["height"] == pytest.approx(around["y"] + around["height"], abs=4.5)
        assert (corner["x"], corner["y"]) == (pytest.approx(rows["x"], abs=1), pytest.approx(columns["y"], abs=1))
    assert box.evaluate("box => box.scrollTop > 50 && box.scrollLeft > 50")
    assert rows
    assert around
    page.mouse.move(rows["x"] + 5, rows["y"] + rows["height"] - 100)
    page.mouse.move(rows["x"] + 9, around["y"] + 100)
    expect(here(page, "look")).to_have_attribute("data-state", "rest")
    box.evaluate("box => box.scrollTo(0, 0)")
    page.locator(".g-stage:visible").focus()
    page.keyboard.press("ArrowUp")  # the newest token is far off: the map follows
    at = here(page, "zoom-canvas").evaluate("map => ({...map.dataset})")
    last = len(ids(page)) - 1
    expect(here(page, "look")).to_have_attribute("data-query", str(last))
    below = box.evaluate("box => box.scrollTop + box.clientHeight - box.querySelector('.columns').clientHeight")
    assert (last - int(at["start"]) + 1) * float(at["cell"]) <= below


def start_long(page: Page) -> None:
    """A text whose map is larger than a phone."""
    page.evaluate("glass.decoder.open('Mira had a red kite. '.repeat(18))")
    page.wait_for_function("glass.decoder.state.length > 50 && !glass.decoder.state.busy")
    at_rest(page)


# Whether the pointed cell, the sentence, the number beside the cell and both tokens of the strip can be seen now: on
# the screen, and not under something else.
TOGETHER = """([query, key]) => {
    const shown = name => [...document.querySelectorAll(`[data-testid=${name}]`)].find(node => node.checkVisibility());
    const strip = shown('strip'), map = shown('zoom-canvas'), at = map.dataset, box = map.getBoundingClientRect();
    const seen = (x, y, inside) => x > 0 && y > 0 && x < innerWidth && y < innerHeight
        && inside.contains(document.elementFromPoint(x, y));
    const middle = node => {
        const {left, top, width, height} = node.getBoundingClientRect();
        return [left + width / 2, top + height / 2];
    };
    const cell = place => (place + 0.5 - at.start) * at.cell;
    const sentence = shown('look'), says = sentence.getBoundingClientRect();
    const number = shown('float').getBoundingClientRect();
    return {
        sentence: [says.top + 4, says.bottom - 4].every(y => seen(says.left + 30, y, sentence)),
        cell: seen(box.left + +at.left + cell(key), box.top + +at.top + cell(query), map),
        number: number.width > 0 && number.top >= 0 && number.bottom <= innerHeight && number.right <= innerWidth,
        looks: seen(...middle(strip.querySelector('.looks')), strip),
        from: seen(...middle(strip.querySelector('.from')), strip),
    };
}"""


@pytest.mark.parametrize("tab", ["Decode", "Attention"])
@pytest.mark.parametrize("height", [720, 900])
def test_the_cell_its_sentence_and_its_tokens_are_seen_together(visit: Visit, height: int, tab: str) -> None:
    """On a laptop, wherever the page is scrolled to as long as the cell is seen; the weight floats beside the cell."""
    page = visit(viewport={"width": 1366 if height == 720 else 1440, "height": height}, reduced_motion="reduce")
    arrived(page, "Decode")
    open_tab(page, tab)
    last = len(ids(page)) - 1
    wholly = {"sentence": True, "cell": True, "number": True, "looks": True, "from": True}
    for query, key in ((last, last - 3), (last - 12, 8), (last // 2, 1), (3, 2)):
        sentence = point_at(page, query, key)
        expect(sentence).to_have_attribute("data-weight", re.compile("."))
        assert page.evaluate(TOGETHER, [query, key]) == wholly, (query, key)
        assert float(here(page, "float").inner_text()) == weight_in(sentence)
    page.evaluate("scrollBy(0, 60)")
    point_at(page, last, last - 1)
    assert page.evaluate(TOGETHER, [last, last - 1]) == wholly
    page.mouse.move(2, 2)
    expect(page.locator(".g-float:visible")).to_have_count(0)


def test_a_longer_sentence_does_not_move_the_map(opened: Page) -> None:
    """What is pointed at stays under the pointer, whatever the sentence above it says."""
    open_tab(opened, "Decode")
    point_at(opened, 5, 3)
    top = "canvas => canvas.getBoundingClientRect().top + scrollY"
    before = here(opened, "zoom-canvas").evaluate(top)
    opened.mouse.down()
    opened.mouse.up()
    expect(here(opened, "look")).to_have_attribute("data-state", "locked")
    assert here(opened, "zoom-canvas").evaluate(top) == before
    opened.keyboard.press("Escape")
    assert here(opened, "zoom-canvas").evaluate(top) == before


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_masked_is_not_taken_for_a_weight_of_zero(visit: Visit, scheme: str) -> None:
    """The two tones differ, and what lies ahead is hatched in the large map and in every small one."""
    page = visit(color_scheme=scheme, reduced_motion="reduce")
    arrived(page, "Decode")
    contrast, hatched = page.evaluate(
        """() => {
            const light = name => {
                const [r, g, b] = glass.rgb(glass.variable(document.body, name)).map(v => v / 255)
                    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
                return 0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05;
            };
            const against = (a, b) => Math.max(light(a), light(b)) / Math.min(light(a), light(b));
            return [against('--g-mask', '--g-h0'), against('--g-mask', '--g-hatch')];
        }"""
    )
    assert contrast >= 1.25
    assert hatched >= 1.25
    grid = here(page, "heads-canvas")
    tones = grid.evaluate(
        """map => {
            const {left, top, size} = map.dataset, ratio = map.width / map.clientWidth;
            const [x, y, side] = [+left + 0.6 * size, +top + 2, 0.3 * size].map(v => Math.round(v * ratio));
            const pixels = map.getContext('2d').getImageData(x, y, side, side).data, seen = new Set();
            for (let i = 0; i < pixels.length; i += 4) seen.add(pixels[i]);
            return seen.size;
        }"""
    )
    assert tones > 1


def test_every_token_of_the_opening_text_has_its_label(visit: Visit) -> None:
    """On Decode the map is narrow; a row is still of nine pixels, which is enough for a label each."""
    page = visit(viewport={"width": 1366, "height": 720})
    arrived(page, "Decode")
    assert len(ids(page)) > 30
    assert float(here(page, "zoom-canvas").get_attribute("data-cell") or "") >= 9
    rows = page.locator(".g-zoom:visible .g-edge.rows").evaluate(
        """(edge, count) => {
            const ratio = edge.height / edge.clientHeight, g = edge.getContext('2d'), cell = edge.clientHeight / count;
            return Array.from({length: count}, (_, i) => {
                const [top, high] = [i * cell * ratio, cell * ratio].map(Math.round);
                const line = g.getImageData(0, top, edge.width, high);
                return line.data.some((v, at) => at % 4 === 3 && v > 0);
            });
        }""",
        len(ids(page)),
    )
    assert all(rows)


@pytest.mark.parametrize("tab", ["Decode", "Attention"])
def test_on_a_phone_the_large_head_follows_the_grid(visit: Visit, tab: str) -> None:
    """At once below it, before the kinds of heads; a tap on a head brings it into sight, under the model's name."""
    page = visit(viewport={"width": 390, "height": 844}, has_touch=True, reduced_motion="reduce")
    arrived(page, "Decode")
    open_tab(page, tab)
    tops = [
        page.locator(f".g-{part}:visible").evaluate("n => n.closest('.g-card').getBoundingClientRect().top")
        for part in ("heads", "zoom", "kinds")
    ]
    assert tops == sorted(tops)
    choose_head(page, 1, 1)
    expect(here(page, "zoom-title")).to_be_in_viewport()
    page.wait_for_function(
        """() => {
            const [card] = [...document.querySelectorAll('.g-zoom')].filter(node => node.checkVisibility());
            const chip = document.querySelector('[data-testid=chip]').getBoundingClientRect();
            const top = card.getBoundingClientRect().top;
            return chip.top >= 0 && top >= chip.bottom && top < chip.bottom + 60;
        }"""
    )
    expect(page.get_by_test_id("chip").locator(".g-chip-name")).to_be_in_viewport()
