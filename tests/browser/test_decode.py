"""The Decode tab as a visitor uses it: each number on screen is held against the model, computed apart from the app."""

import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Server, Visit
from tests.browser.reference import FULL_STOP, SHORT_MEMORY, SHORT_MEMORY_OPENING, Reference
from tests.browser.screen import (
    arrived,
    at_rest,
    choose_head,
    choose_model,
    chosen_head,
    here,
    ids,
    model_of,
    model_ref,
    open_tab,
    percent,
    press,
    rows,
    set_range,
    start,
    tokens,
)

SEED = 1337
"""The seed that the page begins with."""


def test_opens_on_a_model_with_a_text_and_its_heads(opened: Page, server: Server) -> None:
    """No click: the prompt is decoded, tokens follow it, every head is painted, the chances of the next are there."""
    shown = model_of(opened, server.runs)
    prompt = here(opened, "prompt").input_value()
    given = shown.tokenizer.encode(prompt)
    text = ids(opened)
    assert prompt
    assert text[: len(given)] == given
    assert [("gen" in token.classes) for token in tokens(opened)] == [i >= len(given) for i in range(len(text))]
    assert len(text) > len(given)
    assert text == shown.write(given, len(text) - len(given), SEED)
    config = shown.model.config
    assert here(opened, "head").count() == config.layers * config.heads
    colours = here(opened, "heads-canvas").evaluate(
        """map => {
            const data = map.getContext('2d').getImageData(0, 0, map.width, map.height).data, seen = new Set();
            for (let i = 0; i < data.length; i += 4) seen.add(data[i] + ',' + data[i + 1] + ',' + data[i + 2]);
            return seen.size;
        }"""
    )
    assert colours > 30
    assert rows(opened)


def test_the_header_names_the_model_with_its_figures(opened: Page, server: Server) -> None:
    shown = model_of(opened, server.runs)
    config, meta = shown.model.config, shown.meta
    said = opened.get_by_test_id("chip").inner_text().replace("\n", " | ")
    assert str(meta["name"]) in said
    assert f"{config.layers} layers × {config.heads} heads · {config.width} wide" in said
    parameters = shown.model.parameter_count()
    written = re.search(r"([\d.,]+)( M)? parameters", said)
    assert written
    number = float(written[1].replace(",", "")) * (1e6 if written[2] else 1)
    assert number == pytest.approx(parameters, abs=5000 if written[2] else 0)
    assert f"step {meta['step']:,}" in said
    loss = meta["val_loss"] if meta.get("val_loss") is not None else meta["loss"]
    assert f"{'train' if meta.get('val_loss') is None else 'val'} loss {loss:.3f} nats/token" in said
    bits = meta.get("bits_per_byte")
    assert ("bits per byte" not in said) if bits is None else (f"{bits:.2f} bits per byte" in said)


def test_next_and_back(opened: Page, server: Server) -> None:
    """Next writes what the seed draws; Back greys it and asks the server nothing, and Next takes the same again."""
    shown, before = model_of(opened, server.runs), ids(opened)
    expected = shown.write(before, 3, SEED)
    press(opened, "next", "next", "next")
    assert ids(opened) == expected
    calls: list[str] = []
    opened.on("request", lambda request: calls.append(request.post_data or ""))
    press(opened, "back", "back")
    assert ids(opened) == expected[:-2]
    assert [token.id for token in tokens(opened) if not token.counts] == expected[-2:]
    press(opened, "next")
    assert ids(opened) == expected[:-1]
    assert not [call for call in calls if '"fn_name":"decode"' in call]
    current = [token for token in tokens(opened) if "cur" in token.classes]
    assert [token.position for token in current] == [len(expected) - 2]


def test_a_click_on_a_token_goes_there(opened: Page) -> None:
    text = ids(opened)
    here(opened, "token").nth(3).click()
    at_rest(opened)
    assert ids(opened) == text[:4]
    expect(here(opened, "distribution")).to_contain_text("At position 4")
    here(opened, "token").nth(len(text) - 1).click()
    at_rest(opened)
    assert ids(opened) == text


def test_play_until_pause(opened: Page, server: Server) -> None:
    before = ids(opened)
    play = here(opened, "play")
    play.click()
    expect(play).to_have_text("Pause")
    opened.wait_for_function(
        "n => document.querySelectorAll('.g-strip .g-tok').length >= n", arg=len(before) + 3
    )  # it goes on by itself
    play.click()
    expect(play).to_have_text("Play")
    at_rest(opened)
    written = ids(opened)
    assert written == model_of(opened, server.runs).write(before, len(written) - len(before), SEED)


def test_to_the_end_the_same_seed_writes_the_same_text(opened: Page, server: Server) -> None:
    """As many tokens as the field says, in several calls; another seed writes another text, the same one the same."""
    shown, prompt = model_of(opened, server.runs), here(opened, "prompt").input_value()

    def text(seed: int) -> list[int]:
        here(opened, "seed").fill(str(seed))
        start(opened, prompt)
        here(opened, "count").fill("24")
        press(opened, "end")
        return ids(opened)

    given = shown.tokenizer.encode(prompt)
    first, other, again = text(7), text(8), text(7)
    assert first == shown.write(given, 24, 7)
    assert other == shown.write(given, 24, 8)
    assert first != other
    assert again == first


SETTINGS: tuple[dict[str, Any], ...] = (
    {},
    {"temperature": 0.5},
    {"temperature": 1.7, "top_k": 5},
    {"temperature": 1, "top_k": 0, "top_p": 0.6},
    {"temperature": 0.8, "top_k": 8, "top_p": 0.9},
    {"temperature": 0, "top_k": 0, "top_p": 1},
)


def test_the_chances_on_screen_are_the_models(opened: Page, server: Server) -> None:
    """Own and after the settings, kept and cut, the sum and the drawn one, for several settings of the sliders."""
    shown, text = model_of(opened, server.runs), ids(opened)
    chosen: dict[str, Any] = {}
    for change in SETTINGS:
        for name, value in change.items():
            set_range(opened, name, value if name != "top_k" or value else "off")
        chosen |= change
        check_chances(opened, shown, text, chosen)


def check_chances(page: Page, shown: Reference, text: list[int], settings: dict[str, Any]) -> None:
    """Hold every row, the sums and the draw against a softmax of trace()'s logits."""
    chances, drawn = shown.chances(text, **settings), shown.draw(text, SEED, **settings)
    listed = rows(page)
    assert len(listed) == min(12, len(chances))
    for row in listed:
        raw, p, cut = chances[row.id]
        assert row.own == pytest.approx(100 * raw, abs=0.0501)
        assert row.own_exact == pytest.approx(100 * raw, rel=1e-3, abs=1e-6)
        assert row.after == pytest.approx(100 * p, abs=0.0501)
        assert row.after_exact == pytest.approx(100 * p, rel=1e-3, abs=1e-6)
        assert row.cut == ("" if row.drawn else cut), f"{row} with {settings}"
        assert row.drawn == (row.id == drawn.token), f"{row} with {settings}"
        assert row.drawn == (row.tag == "drawn")
    owns = [chances[row.id].raw for row in listed]
    assert owns == sorted(owns, reverse=True)
    unlisted = [chance for token, chance in enumerate(chances) if token not in {row.id for row in listed}]
    assert min(owns) >= max((chance.raw for chance in unlisted), default=0) - 1e-6
    kept = sum(chance.p > 0 for chance in chances)
    sums = here(page, "sums").inner_text()
    assert f"all {len(chances):,}" in sums
    assert f"{kept:,} kept" in sums
    assert sums.count("sums to 100 %") == 2
    if unlisted:
        tail = here(page, "tail").inner_text()
        assert f"{len(unlisted):,} more" in tail
        own = percent(re.findall(r"[<>]?[\d.]+ %", tail)[0])
        assert own == pytest.approx(100 * sum(chance.raw for chance in unlisted), abs=0.0501)
    said = here(page, "draw").inner_text()
    if settings.get("temperature") == 0:
        assert said.startswith("Temperature 0: always the most probable")
    else:
        u, low, high = (float(number) for number in re.findall(r"\d\.\d{3}", said))
        assert (u, low, high) == pytest.approx((drawn.u, drawn.low, drawn.high), abs=0.00051)


def test_the_tail_opens_until_every_token_is_there(opened: Page, server: Server) -> None:
    shown, text = model_of(opened, server.runs), ids(opened)
    chances = shown.chances(text)
    for _ in range(2):
        if here(opened, "tail").is_visible():
            press(opened, "tail")
    listed = rows(opened)
    assert len(listed) == min(200, len(chances))
    assert {row.id for row in listed} == set(sorted(range(len(chances)), key=lambda i: -chances[i].raw)[: len(listed)])
    press(opened, "fewer")
    assert len(rows(opened)) == 12


def test_a_click_on_a_row_writes_that_token(opened: Page) -> None:
    text = ids(opened)
    row = next(row for row in rows(opened) if not row.drawn)
    opened.locator(f'[data-testid="next-row"][data-id="{row.id}"]').click()
    at_rest(opened)
    assert ids(opened) == [*text, row.id]
    last = tokens(opened)[-1]
    assert last.text == row.text
    assert {"cur", "gen"} <= last.classes


def test_the_keyboard_walks_through_the_text(opened: Page, server: Server) -> None:
    """Arrows, Home and End in the strip; Enter starts a prompt and Shift+Enter breaks its line."""
    shown, text = model_of(opened, server.runs), ids(opened)
    opened.locator(".g-tok.cur").first.focus()
    opened.keyboard.press("ArrowRight")
    at_rest(opened)
    assert ids(opened) == shown.write(text, 1, SEED)
    for key, length in (("ArrowLeft", len(text)), ("ArrowLeft", len(text) - 1), ("Home", 1), ("End", len(text) + 1)):
        opened.keyboard.press(key)
        at_rest(opened)
        assert len(ids(opened)) == length, key
    box = here(opened, "prompt")
    box.fill("")
    box.press_sequentially("a")
    box.press("Shift+Enter")
    box.press_sequentially("b")
    assert box.input_value() == "a\nb"
    box.press("Enter")
    at_rest(opened)
    assert ids(opened) == shown.tokenizer.encode_known("a\nb").ids


def test_the_ids_under_the_tokens_are_the_tokenizers(opened: Page, server: Server) -> None:
    """Of a prompt that the visitor writes; the button shows them in place of the positions."""
    shown = model_of(opened, server.runs)
    start(opened, "The old cat sat on a red mat.\nIt was late.")
    assert ids(opened) == shown.tokenizer.encode("The old cat sat on a red mat.\nIt was late.")
    first = here(opened, "token").first
    expect(first.locator(".g-at")).to_be_visible()
    expect(first.locator(".g-id")).to_be_hidden()
    here(opened, "under-id").click()
    expect(first.locator(".g-id")).to_be_visible()
    expect(first.locator(".g-id")).to_have_text(str(ids(opened)[0]))
    expect(first.locator(".g-at")).to_be_hidden()


def test_a_prompt_longer_than_the_context(opened: Page, server: Server) -> None:
    """It is said how much of it the model sees; what comes next follows from that much, in the maps too."""
    shown = model_of(opened, server.runs)
    prompt = "the cat and the hen " * shown.context
    given = shown.tokenizer.encode(prompt)
    start(opened, prompt)
    assert ids(opened) == given
    expect(here(opened, "status")).to_contain_text(f"The prompt is {len(given):,} tokens long")
    expect(here(opened, "status")).to_contain_text(f"the last {shown.context}")
    check_chances(opened, shown, given, {})
    expect(here(opened, "zoom-canvas")).to_have_attribute("data-start", str(len(given) - shown.context))


def test_the_window_slides_past_the_context(opened: Page, server: Server) -> None:
    """A model that sees eight tokens: each step past them is a new window, and its numbers are that window's."""
    choose_model(opened, SHORT_MEMORY)
    shown = model_of(opened, server.runs)
    assert shown.context == 8
    start(opened, "a bad c")
    layer, head = chosen_head(opened)
    for _ in range(4):
        press(opened, "next")
        text = ids(opened)
        check_chances(opened, shown, text, {})
        start_of_window = shown.start(text)
        expect(here(opened, "zoom-canvas")).to_have_attribute("data-start", str(start_of_window))
        row = here(opened, "top-keys").locator("tbody tr").first
        key, weight = int(row.locator("td").nth(0).inner_text()), float(row.locator("td").nth(1).inner_text())
        assert weight == pytest.approx(shown.weight(text, layer, head, len(text) - 1, key), abs=2e-6)
    assert text == shown.write(shown.tokenizer.encode("a bad c"), 4, SEED)
    press(opened, "back", "back", "back", "back")
    check_chances(opened, shown, text[:-4], {})


def test_what_a_model_does_not_know_is_said(opened: Page) -> None:
    """Characters outside the vocabulary are shown, struck out, and left out of the text."""
    choose_model(opened, SHORT_MEMORY)
    start(opened, "a Zebra ☃ bead")
    unknown = here(opened, "unknown")
    expect(unknown.locator("s")).to_have_text(["Z", "r", "☃"])
    expect(unknown).to_contain_text("not in this model’s vocabulary, so the model reads the prompt without them.")
    expect(here(opened, "status")).not_to_contain_text("vocabulary")  # said once
    expect(here(opened, "status")).not_to_contain_text("left out")
    assert "".join(token.text for token in tokens(opened)) == "a·eba··bead"
    start(opened, "a bead")
    expect(unknown).to_be_hidden()


def test_the_first_screen_invites_to_train(opened: Page) -> None:
    """Under the shipped model a line leads to the Corpus tab; under a model of one's own there is none."""
    invite = here(opened, "invite")
    expect(invite).to_have_text("This is Tales, a small GPT trained by this project. Train one on your own text →")
    choose_model(opened, SHORT_MEMORY)
    expect(invite).to_be_hidden()
    choose_model(opened, "Tales")
    invite.get_by_role("button", name="Train one on your own text").click()
    arrived(opened, "Corpus")


@pytest.mark.parametrize("width", [390, 1440])
def test_the_strip_shows_whole_rows(visit: Visit, width: int) -> None:
    """However long the text, wherever in it, and after a scroll by hand: no row is cut at the top or at the bottom."""
    page = visit(viewport={"width": width, "height": 844})
    arrived(page, "Decode")
    cut = """strip => {
        const box = strip.getBoundingClientRect();
        return [...strip.querySelectorAll('.g-tok')].map(token => token.getBoundingClientRect())
            .filter(at => at.bottom > box.top + 0.5 && at.top < box.bottom - 0.5)
            .filter(at => at.top < box.top - 0.5 || at.bottom > box.bottom + 0.5).length;
    }"""
    assert here(page, "strip").evaluate(cut) == 0
    start(page, "Mira had a kite.\n\nOnce there was a kite. " * 20)
    strip = here(page, "strip")
    assert strip.evaluate("strip => strip.scrollTop") > 0
    for step in ("", "back", "back", "next"):
        if step:
            press(page, step)
        assert strip.evaluate(cut) == 0
    for position in (60, 20, 90):
        page.evaluate("at => glass.decoder.go(at)", position)
        at_rest(page)
        assert strip.evaluate(cut) == 0
        expect(strip.locator(".cur")).to_be_in_viewport()
    strip.evaluate("strip => strip.scrollBy(0, 61)")
    page.wait_for_function(f"strip => ({cut})(strip) === 0", arg=strip.element_handle())


def test_without_a_prompt(opened: Page) -> None:
    start(opened, "")
    expect(here(opened, "status")).to_contain_text("Without a prompt the text begins as the model's own texts do.")
    assert len(tokens(opened)) == 1
    press(opened, "next")
    assert len(ids(opened)) == 2


def test_a_model_that_ends_its_text(opened: Page, server: Server) -> None:
    """Nothing follows an end of text: the mark is shown as what it is, and Next waits for another way to be tried."""
    choose_model(opened, FULL_STOP)
    start(opened, "the end")
    here(opened, "count").fill("30")
    press(opened, "end")
    last = tokens(opened)[-1]
    assert last.id == model_of(opened, server.runs).tokenizer.end_of_text
    expect(here(opened, "token").last).to_have_attribute("data-kind", "special")
    expect(here(opened, "status")).to_contain_text("The model ended its text here.")
    for button in ("next", "play", "end"):
        expect(here(opened, button)).to_be_disabled()
    press(opened, "back")
    expect(here(opened, "next")).to_be_enabled()


def test_the_models_menu(opened: Page, server: Server) -> None:
    """By pointer and by keyboard; the prompt stays, cut by the other model's own tokenizer."""
    shipped = opened.get_by_test_id("chip").locator("b").inner_text()
    start(opened, "a bad bee")
    choose_model(opened, SHORT_MEMORY)
    shown = model_of(opened, server.runs)
    expect(opened.get_by_test_id("chip")).to_contain_text("2 layers × 3 heads · 24 wide")
    expect(here(opened, "head")).to_have_count(6)
    assert ids(opened) == shown.tokenizer.encode("a bad bee")
    check_chances(opened, shown, ids(opened), {})
    button, menu = opened.get_by_test_id("models"), opened.get_by_test_id("models-menu")
    button.focus()
    opened.keyboard.press("ArrowDown")
    expect(menu.locator("[aria-checked=true]")).to_be_focused()
    expect(menu.locator("[aria-checked=true]")).to_contain_text(SHORT_MEMORY)
    opened.keyboard.press("Escape")
    expect(menu).to_be_hidden()
    expect(button).to_be_focused()
    opened.keyboard.press("ArrowDown")
    opened.keyboard.press("Home")
    opened.keyboard.press("Enter")
    expect(opened.get_by_test_id("chip")).to_contain_text(shipped)
    at_rest(opened)
    assert model_ref(opened).startswith("shipped:")
    assert ids(opened) == model_of(opened, server.runs).tokenizer.encode("a bad bee")


def test_a_model_of_ones_own_comes_with_its_own_text(opened: Page, server: Server) -> None:
    """It opens on how its text began, brings its curve along, and is there again after a reload."""
    choose_model(opened, SHORT_MEMORY)
    opening = model_of(opened, server.runs).tokenizer.encode(SHORT_MEMORY_OPENING)
    expect(here(opened, "prompt")).to_have_value(SHORT_MEMORY_OPENING)
    assert ids(opened) == opening
    opened.reload(wait_until="domcontentloaded")
    expect(opened.get_by_test_id("chip")).to_contain_text(SHORT_MEMORY)
    arrived(opened, "Decode")
    assert ids(opened) == opening
    open_tab(opened, "Train")
    expect(here(opened, "run-name")).to_have_text(SHORT_MEMORY)
    expect(here(opened, "loss")).to_have_attribute("data-points", "400")


def test_a_model_that_is_gone_is_forgotten(opened: Page) -> None:
    """After a reload the page opens as at the first visit, without a complaint."""
    text, said = ids(opened), opened.get_by_test_id("status").first.inner_text()
    opened.evaluate("localStorage.setItem('glass.model', 'run:gone-0123456789abcdef')")
    with opened.expect_response(lambda answer: "gone-0123456789abcdef" in (answer.request.post_data or "")):
        opened.reload(wait_until="domcontentloaded")
    arrived(opened, "Decode")
    assert model_ref(opened).startswith("shipped:")
    expect(opened.get_by_test_id("status").first).to_have_text(said)
    assert ids(opened) == text


def test_a_server_that_does_not_answer_is_said(visit: Visit, problems: list[str]) -> None:
    """The sentence stands by the text, nothing is lost, and the next press works once the server is back."""
    page = visit()
    arrived(page, "Decode")
    text = ids(page)
    page.route("**/component_server/**", lambda route: route.abort())
    here(page, "next").click()
    expect(here(page, "status")).to_contain_text("The server gave no answer.")
    assert ids(page) == text
    page.unroute("**/component_server/**")
    press(page, "next")
    assert len(ids(page)) == len(text) + 1
    assert problems
    assert all("ERR_FAILED" in problem for problem in problems)
    problems.clear()


def test_the_text_outlives_a_reload(opened: Page, server: Server) -> None:
    """Prompt, tokens, what was written before going back, settings and head; of each model its own."""
    shown = model_of(opened, server.runs)
    start(opened, "Mira had a hen")
    set_range(opened, "temperature", 0.7)
    press(opened, "next", "next", "next", "back")
    choose_head(opened, 1, 1)
    before, read, ahead = tokens(opened), rows(opened), ids(opened)
    opened.reload(wait_until="domcontentloaded")
    arrived(opened, "Decode")
    opened.wait_for_function("n => glass.decoder.state.ids.length === n && !glass.decoder.state.busy", arg=len(before))
    at_rest(opened)
    assert tokens(opened) == before
    assert ids(opened) == ahead
    assert rows(opened) == read
    expect(here(opened, "prompt")).to_have_value("Mira had a hen")
    expect(here(opened, "temperature-value")).to_have_value("0.70")
    expect(here(opened, "zoom-title")).to_have_text("Layer 2, head 2")
    press(opened, "next", "next")
    assert ids(opened) == shown.write(ahead, 2, 1337, temperature=0.7)


def test_a_kept_text_that_the_model_does_not_take(opened: Page) -> None:
    """The page opens as at the first visit, without a complaint, and keeps no more of it."""
    text = ids(opened)
    record = {
        "step": 0, "prompt": "x", "typed": True, "ids": [5, 10**6], "prompt_tokens": 1, "length": 2, "head": [0, 0],
        "rows": 12, "settings": {"temperature": 2},
    }  # fmt: skip
    key = f"glass.text:{model_ref(opened)}"
    opened.evaluate("([key, record]) => sessionStorage.setItem(key, JSON.stringify(record))", [key, record])
    with opened.expect_response(lambda answer: '"ids":[5,1000000]' in (answer.request.post_data or "")):
        opened.reload(wait_until="domcontentloaded")
    arrived(opened, "Decode")
    assert ids(opened) == text
    expect(here(opened, "temperature-value")).to_have_value("1.00")
    assert "1000000" not in (opened.evaluate("key => sessionStorage.getItem(key)", key) or "")


def test_kept_texts_are_few_and_checked(opened: Page) -> None:
    """Six models, the one used longest ago goes first; no endless text; nothing that another page wrote is believed."""
    kept = opened.evaluate(
        """() => {
            const record = {step: 1, prompt: '', typed: false, ids: [1], prompt_tokens: 1, length: 1, head: [0, 0],
                rows: 12, settings: {seed: 1}};
            for (let i = 0; i < 9; i++) glass.texts.keep('run:' + i, record);
            glass.texts.keep('run:8', {...record, ids: Array(6001).fill(1)});
            sessionStorage.setItem('glass.text:run:7', '{"ids": "no"}');
            return [0, 1, 2, 3, 4, 5, 6, 7, 8].map(i => glass.texts.get('run:' + i) !== null);
        }"""
    )
    assert kept == [False, False, False, True, True, True, True, False, False]


def test_bytes_say_which_character_they_make(opened: Page) -> None:
    start(opened, "ć")
    strip, reading = here(opened, "token"), opened.locator(".g-reading:visible")
    assert [token.get_attribute("data-kind") for token in strip.all()] == ["bytes", "bytes"]
    for position in (0, 1):
        strip.nth(position).hover()
        expect(reading).to_contain_text(f"byte {position + 1} of 2 of ć")
    opened.mouse.move(2, 2)
    here(opened, "back").click()
    at_rest(opened)
    strip.nth(0).hover()
    expect(reading).to_contain_text("byte 1 of 2 of ć")


def test_the_button_says_how_many_it_writes(opened: Page) -> None:
    button, field, before = here(opened, "end"), here(opened, "count"), len(ids(opened))
    expect(button).to_have_text("Write 64")
    field.fill("3")
    expect(button).to_have_text("Write 3")
    button.click()
    opened.wait_for_function("n => glass.decoder.state.length === n", arg=before + 3)
    at_rest(opened)
    assert len(ids(opened)) == before + 3
    field.fill("0")
    field.press("Tab")
    expect(button).to_have_text("Write 1")
