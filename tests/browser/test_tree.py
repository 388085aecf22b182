"""Where could it go from here? The tree on the page, each number of it held against the model, computed apart."""

import math
import re
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import Server, Visit
from tests.browser.reference import FULL_STOP, MARKUP, MARKUP_NAME, SHORT_MEMORY, Reference
from tests.browser.screen import arrived, at_rest, choose_model, here, ids, model_of, press, set_range, start

SEED = 1337


def opened_tree(page: Page) -> Locator:
    """The card, open, with the tree of the text as it stands."""
    card = here(page, "branches")
    card.scroll_into_view_if_needed()
    if card.get_attribute("data-state") == "closed":
        here(page, "tree-open").click()
    return settled(page)


def settled(page: Page) -> Locator:
    page.wait_for_function(
        """() => {
            const card = document.querySelector('[data-testid=branches]'), found = card.querySelector('.g-tree-found');
            return card.dataset.state === 'done' && !found.classList.contains('old')
                && +card.dataset.tokens === glass.decoder.state.length;
        }"""
    )
    return here(page, "branches")


def slide(page: Page, testid: str, value: int) -> None:
    here(page, testid).fill(str(value))
    settled(page)


def nodes(page: Page) -> list[dict[str, Any]]:
    """The tokens of the tree as they stand on screen: their place, state and words, and how thick their edge is."""
    found: list[dict[str, Any]] = here(page, "tree").evaluate(
        """tree => [...tree.querySelectorAll('[data-testid=tree-node]')].map(node => ({
            left: node.offsetLeft, top: node.offsetTop, state: node.dataset.state, label: node.ariaLabel,
            best: node.classList.contains('best'), drawn: node.classList.contains('drawn'), text: node.textContent}))"""
    )
    return found


def logs(shown: Reference, text: list[int], way: list[int]) -> list[float]:
    """ln p of each token of a way on, by the model itself."""
    return [math.log(shown.chances(text + way[:at])[token].raw) for at, token in enumerate(way)]


def searched(shown: Reference, text: list[int], count: int, beams: int) -> list[list[int]]:
    """A beam search written anew over whole passes: the ways on that it keeps, best first. No text may end."""
    live: list[tuple[list[int], float]] = [([], 0.0)]
    for _ in range(count):
        grown = [
            ([*way, token], total + math.log(chance.raw))
            for way, total in live
            for token, chance in enumerate(shown.chances(text + way))
        ]
        live = sorted(grown, key=lambda entry: -entry[1])[:beams]
    return [way for way, _ in live]


def ranked(page: Page) -> list[dict[str, Any]]:
    """The table: rank, words, marks, log-probability and nats a token as printed."""
    found: list[dict[str, Any]] = here(page, "ways").evaluate(
        """table => [...table.querySelectorAll('tbody tr')].map(row => ({
            rank: row.cells[0].textContent, text: row.querySelector('button').textContent,
            marks: [...row.querySelectorAll('.g-tree-tag')].map(mark => mark.textContent),
            total: row.cells[2].textContent, nats: row.cells[3].textContent}))"""
    )
    return found


def number(text: str) -> float:
    return float(text.replace("−", "-"))


def planted(page: Page, prompt: str = "a fed bee") -> Page:
    """The planted model of eight tokens' memory, with a text that is longer."""
    choose_model(page, SHORT_MEMORY)
    start(page, prompt)
    return page


def test_the_ways_on_are_those_of_a_search_over_whole_passes(opened: Page, server: Server) -> None:
    """Ranked list, tree and sentence, for a text that outgrows what the model sees."""
    planted(opened)
    expect(here(opened, "tree")).to_have_count(0)
    opened_tree(opened)
    slide(opened, "tree-beams", 3)
    slide(opened, "tree-tokens", 5)
    shown, text = model_of(opened, server.runs), ids(opened)
    kept = searched(shown, text, 5, 3)
    greedy = searched(shown, text, 5, 1)[0]
    drawn = shown.write(text, 5, SEED)[len(text) :]
    others = [way for way in dict.fromkeys(map(tuple, (greedy, drawn))) if list(way) not in kept]
    rows = ranked(opened)
    for row, way in zip(rows, [*kept, *map(list, others)], strict=True):
        assert row["text"] == re.sub("^ ", "·", shown.tokenizer.decode(way).replace("\n", "↵ "))
        assert number(row["total"]) == pytest.approx(sum(logs(shown, text, way)), abs=0.006)
        assert float(row["nats"]) == pytest.approx(-sum(logs(shown, text, way)) / 5, abs=0.006)
        assert ("greedy" in row["marks"], "drawn" in row["marks"]) == (way == greedy, way == drawn)
    assert [row["rank"] for row in rows] == ["1", "2", "3"] + [""] * len(others)
    said = here(opened, "tree-verdict").inner_text()
    for name, way in (("greedy", greedy), ("drawn", drawn)):
        if way == kept[0]:
            assert f"the {name} text itself" in said
        else:
            ratio = math.exp(sum(logs(shown, text, kept[0])) - sum(logs(shown, text, way)))
            found = re.search(rf"([\d.,]+) times (less|as) probable (?:than|as) the {name} text", said)
            assert found, said
            assert float(found[1].replace(",", "")) == pytest.approx(max(ratio, 1 / ratio), rel=0.06)
            assert (found[2] == "less") == (ratio < 1)
    best = "".join(node["text"] for node in nodes(opened) if node["best"])
    assert best == "".join({" ": "·", "\n": "↵"}.get(c, c) for c in shown.tokenizer.decode(kept[0]))


def test_a_token_that_is_pointed_at_says_its_probability(opened: Page, server: Server) -> None:
    """Read off the tip, for the first tokens and one further on; and edges are as thick as tokens are probable."""
    planted(opened, "a bad")
    opened_tree(opened)
    shown, text = model_of(opened, server.runs), ids(opened)
    for at in (0, 1, 5):
        here(opened, "tree-node").nth(at).hover()
        tip = here(opened, "tree-tip").inner_text()
        chance = shown.chances(text)[shown.tokenizer.encode(nodes(opened)[at]["text"].replace("·", " "))[0]].raw
        assert float(re.match(r"([\d.]+) %", tip)[1]) == pytest.approx(100 * chance, abs=0.06)  # type: ignore[index]
        assert number(re.search(r"ln p ([−\d.]+)\)", tip)[1]) == pytest.approx(math.log(chance), abs=0.006)  # type: ignore[index]
    best = searched(shown, text, 6, 4)[0]
    last = here(opened, "tree-node").and_(opened.locator(".best")).last
    last.hover()
    steps = logs(shown, text, best)
    tip = here(opened, "tree-tip").inner_text()
    assert number(re.search(r"ln p ([−\d.]+)\)", tip)[1]) == pytest.approx(sum(steps), abs=0.006)  # type: ignore[index]
    assert tip.endswith("".join({" ": "·", "\n": "↵"}.get(c, c) for c in shown.tokenizer.decode(text + best)))
    widths = here(opened, "tree").evaluate(
        "tree => [...tree.querySelectorAll('path.best')].map(path => +path.getAttribute('stroke-width'))"
    )
    assert widths == pytest.approx([1 + 6 * math.exp(step) for step in steps], abs=0.006)


def test_columns_are_tokens_and_what_was_dropped_stands_below(opened: Page) -> None:
    planted(opened)
    opened_tree(opened)
    columns: dict[int, list[dict[str, Any]]] = {}
    for node in nodes(opened):
        depth = int(re.search(r", token (\d+),", node["label"])[1])  # type: ignore[index]
        columns.setdefault(depth, []).append(node)
    assert sorted(columns) == list(range(1, 7))
    lefts = [{node["left"] for node in columns[depth]} for depth in sorted(columns)]
    assert all(len(left) == 1 for left in lefts)
    assert lefts == sorted(lefts, key=min)
    for column in columns.values():
        tops = [node["top"] for node in column]
        assert tops == sorted(set(tops)), "two tokens in one place"
        at_once = ["dropped at once" in node["label"] for node in column]
        assert at_once == sorted(at_once)


def test_a_click_writes_the_text_up_to_a_token(opened: Page, server: Server) -> None:
    planted(opened, "a bad")
    opened_tree(opened)
    text, shown = ids(opened), model_of(opened, server.runs)
    best = searched(shown, text, 6, 4)[0]
    here(opened, "tree-node").and_(opened.locator(".best")).nth(2).click()
    at_rest(opened)
    assert ids(opened) == text + best[:3]
    settled(opened)
    following = searched(shown, text + best[:3], 6, 4)
    here(opened, "ways").get_by_role("button").nth(1).click()
    at_rest(opened)
    assert ids(opened) == text + best[:3] + following[1]
    press(opened, "back")
    assert ids(opened) == text + best[:3] + following[1][:-1], "what was written is text like any other"


def test_the_keyboard_walks_the_tree(opened: Page) -> None:
    planted(opened, "a bad")
    opened_tree(opened)
    text = ids(opened)
    here(opened, "tree-node").first.focus()
    for key in ("ArrowDown", "ArrowUp", "ArrowRight", "ArrowLeft", "ArrowRight"):
        opened.keyboard.press(key)
    label = opened.evaluate("document.activeElement.ariaLabel")
    assert ", token 2," in label
    assert here(opened, "tree").locator("[tabindex='0']").count() == 1
    assert "Decode" in opened.get_by_role("tab", selected=True).inner_text()
    opened.keyboard.press("Enter")
    at_rest(opened)
    assert len(ids(opened)) == len(text) + 2


def test_a_finger_reads_first_and_writes_then(visit: Visit) -> None:
    page = visit(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    arrived(page, "Decode")
    opened_tree(page)
    text = ids(page)
    node = here(page, "tree-node").nth(1)
    node.tap()
    expect(here(page, "tree-tip")).to_contain_text("ln p")
    assert ids(page) == text
    node.tap()
    page.wait_for_function("length => glass.decoder.state.length === length + 1", arg=len(text))
    assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_it_follows_the_text_and_the_settings(opened: Page, server: Server) -> None:
    planted(opened, "a bad")
    opened_tree(opened)
    shown = model_of(opened, server.runs)
    press(opened, "next")
    settled(opened)
    text = ids(opened)
    best = searched(shown, text, 6, 4)[0]
    assert number(ranked(opened)[0]["total"]) == pytest.approx(sum(logs(shown, text, best)), abs=0.006)
    set_range(opened, "temperature", 0)
    settled(opened)
    marked = [row["marks"] for row in ranked(opened) if row["marks"]]
    assert marked == [["greedy", "drawn"]], "at temperature 0 the draw is greedy"
    assert number(ranked(opened)[0]["total"]) == pytest.approx(sum(logs(shown, text, best)), abs=0.006)


def test_a_text_that_ends_and_one_that_ended(opened: Page) -> None:
    choose_model(opened, FULL_STOP)
    start(opened, "the")
    opened_tree(opened)
    assert ranked(opened)[0]["marks"] == ["greedy", "drawn", "ends"]
    expect(here(opened, "tree-penalty")).to_be_visible()
    slide(opened, "tree-penalty", 1)
    total, score = (here(opened, "ways").locator("tbody tr").first.locator("td").nth(at).inner_text() for at in (2, 4))
    assert number(score) == pytest.approx(number(total), abs=0.01), "one token: (5 + 1) / 6 to the power of 1"
    press(opened, "next")
    expect(here(opened, "tree-empty")).to_contain_text("come to its end here")
    expect(here(opened, "tree")).to_have_count(0)
    press(opened, "back")
    settled(opened)


def test_a_refusal_is_said_and_the_next_text_is_shown(opened: Page) -> None:
    planted(opened)
    opened_tree(opened)
    opened.evaluate("glass.decoder.state.settings.temperature = -3; glass.emit('decode', glass.decoder.state)")
    expect(here(opened, "tree-problem")).to_contain_text("Temperature is -3")
    opened.evaluate("glass.decoder.state.settings.temperature = 1; glass.emit('decode', glass.decoder.state)")
    settled(opened)
    expect(here(opened, "tree-problem")).to_have_count(0)


def test_hostile_tokens_stay_text(opened: Page) -> None:
    choose_model(opened, MARKUP_NAME)
    start(opened, "a")
    opened_tree(opened)
    slide(opened, "tree-beams", 8)
    slide(opened, "tree-tokens", 3)
    for at in range(4):
        here(opened, "tree-node").nth(at).hover()
    shown = {node["text"] for node in nodes(opened)}
    assert shown & {text.replace(" ", "·") for text in MARKUP}
    assert opened.evaluate("window.hacked") is None
    assert opened.locator("#planted").count() == 0
