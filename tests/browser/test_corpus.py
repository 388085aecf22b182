"""The Corpus tab: what a visitor brings, what is refused with which sentence, and that nothing is lost by it."""

import json
import os
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.screen import here, open_tab, upload
from training.files import too_large
from training.presets import PRESETS

FOX = "The fox ran over the hill, and the hen ran home.\n"


@pytest.fixture
def corpus(page: Page) -> Page:
    """The page on the Corpus tab, with the text that comes with the app."""
    open_tab(page, "Corpus")
    return page


def figures(page: Page) -> dict[str, str]:
    """The figures of the card, by name."""
    pairs = here(page, "corpus-figures").locator("div").all()
    return {pair.locator("dt").inner_text(): pair.locator("dd").inner_text() for pair in pairs}


def has(page: Page, name: str) -> None:
    """Wait until the card shows the text with this name, and no complaint."""
    expect(here(page, "corpus")).to_have_attribute("data-name", name)
    expect(page.get_by_test_id("corpus-error")).to_be_hidden()


def test_files_that_are_no_text(corpus: Page, tmp_path: Path) -> None:
    """Each is refused with its own sentence, and the text that was there stays, for training too."""
    good = tmp_path / "fox.txt"
    good.write_text(FOX * 30, encoding="utf-8")
    upload(corpus, good)
    has(corpus, "fox.txt")
    refused = {
        "empty.txt": (b"", "is empty (0 bytes)"),
        "blank.txt": (b" \n\n  \n", "holds only spaces and line breaks"),
        "picture.txt": (b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 8, "is a PNG picture, not plain text"),
        "noise.txt": (os.urandom(4000), "holds binary data, not text"),
        "one.txt": (b"a", "is one character long"),
        "same.txt": (b"aaaaaaaaaa", "repeats one character"),
        "numbers.csv": (b"a,b\n1,2\n3,4\n", "holds text. Take a file with a column of texts."),
    }
    for name, (contents, sentence) in refused.items():
        (tmp_path / name).write_bytes(contents)
        upload(corpus, tmp_path / name)
        complaint = corpus.get_by_test_id("corpus-error")
        expect(complaint).to_contain_text(f'"{name}" {sentence}')
        expect(complaint).to_be_visible()
        expect(corpus.get_by_test_id("columns")).to_be_hidden()  # with a second sentence
        expect(here(corpus, "corpus")).to_have_attribute("data-name", "fox.txt")
        expect(here(corpus, "corpus-excerpt")).to_contain_text("The fox ran over the hill")
    open_tab(corpus, "Train")
    expect(here(corpus, "source")).to_contain_text(f"It reads fox.txt, {len(FOX) * 30:,} characters")


def test_a_text_and_its_figures(corpus: Page, tmp_path: Path) -> None:
    """Counted as they are counted here; the text outlives a reload."""
    text = "Zoë sah den Löwen 🦁.\n" * 100
    (tmp_path / "löwe.txt").write_text(text, encoding="utf-8")
    upload(corpus, tmp_path / "löwe.txt")
    has(corpus, "löwe.txt")
    assert figures(corpus) == {
        "characters": f"{len(text):,}",
        "distinct": str(len(set(text))),
        "words": f"{len(text.split()):,}",
        "lines": "100",
        "bytes as UTF-8": f"{len(text.encode()):,}",
    }
    assert here(corpus, "corpus-excerpt").inner_text().startswith("Zoë sah den Löwen 🦁.")
    corpus.reload(wait_until="domcontentloaded")
    open_tab(corpus, "Corpus")
    has(corpus, "löwe.txt")


def test_another_encoding_is_read_and_said(corpus: Page, tmp_path: Path) -> None:
    (tmp_path / "utf16.txt").write_bytes((FOX * 5).encode("utf-16"))
    upload(corpus, tmp_path / "utf16.txt")
    has(corpus, "utf16.txt")
    expect(here(corpus, "corpus")).to_contain_text("UTF-16")
    assert figures(corpus)["characters"] == str(len(FOX) * 5)


def test_a_csv_and_its_column(corpus: Page, tmp_path: Path) -> None:
    """The column that looks like text is taken and named; another one can be chosen, a third is refused by its name."""
    rows = [f'{i},"A title, number {i}","The body of text {i} goes on for a while here."' for i in range(40)]
    path = tmp_path / "table.csv"
    path.write_text("\n".join(["number,title,body", *rows]) + "\n", encoding="utf-8")
    upload(corpus, path)
    has(corpus, "table.csv")
    expect(here(corpus, "columns")).to_have_attribute("data-column", "body")
    expect(corpus.get_by_role("radio", name="body")).to_be_checked()
    assert here(corpus, "columns").locator("tbody tr").count() == 5
    expect(here(corpus, "columns").locator("tbody tr").nth(2)).to_contain_text("A title, number 2")
    expect(here(corpus, "corpus")).to_contain_text('The text was taken from column "body".')
    expect(here(corpus, "corpus-excerpt")).to_contain_text("The body of text 0 goes on")
    assert figures(corpus)["documents"] == "40"
    choose_column(corpus, "title")
    expect(here(corpus, "corpus-excerpt")).to_contain_text("A title, number 0")
    expect(here(corpus, "corpus-excerpt")).not_to_contain_text("The body")
    choose_column(corpus, "number")
    expect(corpus.get_by_test_id("columns-error")).to_contain_text('The column "number" of "table.csv" holds numbers')
    expect(corpus.get_by_role("radio", name="title")).to_be_checked()
    expect(here(corpus, "corpus-excerpt")).to_contain_text("A title, number 0")
    (tmp_path / "fox.txt").write_text(FOX * 9, encoding="utf-8")
    upload(corpus, tmp_path / "fox.txt")
    has(corpus, "fox.txt")
    expect(corpus.get_by_test_id("columns")).to_be_hidden()


def choose_column(page: Page, name: str) -> None:
    """Take another column of the table."""
    here(page, "columns").get_by_role("radio", name=name).click()


def test_broken_lines_of_a_jsonl(corpus: Page, tmp_path: Path) -> None:
    """The line is named; the switch leaves it out and says so."""
    lines = [f'{{"text": "the good line {i} of the file", "n": {i}}}' for i in range(12)]
    lines[4] = '{"text": "cut sho'
    path = tmp_path / "lines.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    upload(corpus, path)
    complaint = corpus.get_by_test_id("corpus-error")
    expect(complaint).to_be_visible()
    expect(complaint).to_contain_text('"lines.jsonl" has bad lines: line 5')
    expect(here(corpus, "corpus")).to_have_attribute("data-name", "Tales")
    corpus.locator("#keep-good").check()
    has(corpus, "lines.jsonl")
    assert figures(corpus)["documents"] == "11"
    expect(here(corpus, "corpus-excerpt")).not_to_contain_text("cut sho")
    expect(here(corpus, "columns")).to_contain_text("Which field holds the text?")


def test_a_file_that_is_too_large(corpus: Page, tmp_path: Path) -> None:
    """The server's sentence, before anything travels, chosen or dropped; the text that was there stays, and the next
    file is taken."""
    sent: list[str] = []
    corpus.on("request", lambda request: sent.append(request.url) if "/upload" in request.url else None)
    path = tmp_path / "large.txt"
    with path.open("wb") as file:
        file.truncate(60 * 1024 * 1024)
    upload(corpus, path)
    said = corpus.get_by_test_id("corpus-error")
    rest = " The text below stays in use."
    expect(said).to_have_text(str(too_large("large.txt", 60 * 1024 * 1024, 50_000_000)) + rest)
    expect(said).to_be_in_viewport()
    expect(here(corpus, "corpus")).to_have_attribute("data-name", "Tales")
    corpus.evaluate(DROP, ["dropped.txt", 50_000_001])
    expect(said).to_have_text(str(too_large("dropped.txt", 50_000_001, 50_000_000)) + rest)
    expect(corpus.locator("#upload button").first).not_to_have_class(re.compile("dragging|drag"))
    assert sent == []
    corpus.evaluate(DROP, ["just.txt", 40_000])
    has(corpus, "just.txt")
    assert sent
    small = tmp_path / "fox.txt"
    small.write_text(FOX * 9, encoding="utf-8")
    upload(corpus, small)
    has(corpus, "fox.txt")


# A file of `size` letters, dropped on the upload field.
DROP = """([name, size]) => {
    const carried = new DataTransfer(), field = document.querySelector('#upload button');
    if (!field) document.querySelector('#upload [aria-label=Clear]').click();
    carried.items.add(new File(['the cat sat. '.repeat(size / 13 + 1).slice(0, size)], name, {type: 'text/plain'}));
    for (const type of ['dragenter', 'dragover', 'drop']) {
        field.dispatchEvent(new DragEvent(type, {bubbles: true, cancelable: true, dataTransfer: carried}));
    }
}"""


def used(page: Page, *names: str) -> None:
    """Wait until these are the files that the card lists as in use, and the field is empty for the next."""
    expect(page.get_by_test_id("files").locator("bdi")).to_have_text(list(names))
    expect(page.locator("#upload").get_by_role("button", name="Clear")).to_have_count(0)


def choose_files(page: Page, *paths: Path) -> None:
    """Choose files in one selection, whatever was chosen before."""
    page.locator("#upload input[type=file]").set_input_files(paths)


def test_one_selection_after_the_other(corpus: Page, tmp_path: Path) -> None:
    """A refused file is not in the list and does not stand in the way; a selection takes the place of the former one
    unless it is to be added; of one selection the good files are used and the others named."""
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.txt").write_text(FOX * 9 + name, encoding="utf-8")
    (tmp_path / "bad.txt").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 8)
    with (tmp_path / "large.txt").open("wb") as file:
        file.truncate(60 * 1024 * 1024)
    a, b, c, bad, large = (tmp_path / f"{name}.txt" for name in ("a", "b", "c", "bad", "large"))
    said = here(corpus, "corpus-error")  # in sight: not what it said before
    choose_files(corpus, bad)
    expect(said).to_contain_text('"bad.txt" is a PNG picture')
    used(corpus)
    choose_files(corpus, a)
    has(corpus, "a.txt")
    used(corpus, "a.txt")
    choose_files(corpus, b)
    has(corpus, "b.txt")
    used(corpus, "b.txt")
    choose_files(corpus, bad)
    expect(said).to_contain_text("The text below stays in use.")
    used(corpus, "b.txt")
    here(corpus, "files").get_by_label("Add the next files").check()
    choose_files(corpus, a, bad)
    expect(here(corpus, "corpus")).to_have_attribute("data-name", "2 files: b.txt, a.txt")
    expect(said).to_have_text(re.compile('^"bad.txt" is a PNG picture.*The other files are used.$'))
    used(corpus, "b.txt", "a.txt")
    expect(here(corpus, "files")).to_contain_text("2 files joined")
    expect(here(corpus, "corpus")).to_contain_text('one after the other: "b.txt", "a.txt"')
    expect(here(corpus, "files").get_by_label("Add the next files")).not_to_be_checked()
    choose_files(corpus, large, c)
    expect(here(corpus, "corpus")).to_have_attribute("data-name", "c.txt")
    expect(said).to_have_text(f"{too_large('large.txt', 60 * 1024 * 1024, 50_000_000)} The other file is used.")
    used(corpus, "c.txt")
    choose_files(corpus, a)
    has(corpus, "a.txt")


def test_only_what_is_in_use_stands_in_the_boxes(corpus: Page, tmp_path: Path) -> None:
    """File, paste, list and Train tab: each puts the others' boxes away."""
    (tmp_path / "fox.csv").write_text("number,text\n" + f'1,"{FOX.strip()}"\n' * 9, encoding="utf-8")
    paste, example = corpus.locator("#paste textarea"), corpus.locator("#example input")
    upload(corpus, tmp_path / "fox.csv")
    has(corpus, "fox.csv")
    used(corpus, "fox.csv")
    paste.fill(FOX * 3)
    corpus.locator("#use-paste").click()
    has(corpus, "pasted text")
    expect(corpus.get_by_test_id("files")).to_be_hidden()
    expect(corpus.get_by_test_id("columns")).to_be_hidden()
    expect(paste).to_have_value(FOX * 3)
    example.click()
    corpus.get_by_role("option", name="One song").click()
    has(corpus, "One song")
    expect(paste).to_have_value("")
    expect(example).to_have_value("One song")
    upload(corpus, tmp_path / "fox.csv")
    has(corpus, "fox.csv")
    expect(example).to_have_value("")
    paste.fill("not used yet")
    choose_column(corpus, "text")  # the same text stays
    open_tab(corpus, "Train")
    corpus.locator("#preset").get_by_text("One song, word by word").click()
    corpus.locator("#take-example").click()
    expect(here(corpus, "source")).not_to_contain_text("fox.csv")
    open_tab(corpus, "Corpus")
    expect(corpus.get_by_test_id("files")).to_be_hidden()
    expect(corpus.get_by_test_id("columns")).to_be_hidden()
    expect(paste).to_have_value("")


def test_the_line_on_top_says_what_a_recipe_takes_of_the_text(page: Page) -> None:
    """Once it was cut; until then neither the line nor the rows pass for those of the settings."""
    open_tab(page, "Train")
    page.locator("#preset").get_by_text("Short posts, by heart").click()
    page.locator("#take-example").click()
    source, rows = here(page, "source"), here(page, "examples")
    expect(source).to_contain_text("It reads Short posts, the first 300 of its")
    expect(source).to_contain_text(f"cleaned by the recipe: {PRESETS['tweets'].recipe.cleaning} (another text)")
    expect(rows).to_have_attribute("aria-busy", "false")
    config = page.request.get("/config").json()
    card = next(item["id"] for item in config["components"] if item["props"].get("elem_id") == "examples")
    cutting = {event["id"] for event in config["dependencies"] if event["outputs"] == [card]}
    held: list[Route] = []

    def hold(route: Route) -> None:
        if json.loads(route.request.post_data or "{}")["fn_index"] in cutting:
            held.append(route)
        else:
            route.continue_()

    page.route("**/gradio_api/run/**", hold)
    page.locator("#tokenizer").get_by_text("Characters", exact=True).click()
    while not held:
        page.wait_for_timeout(50)
    expect(rows).to_have_attribute("aria-busy", "true")
    expect(rows).to_contain_text("Cutting the text by these settings…")
    expect(source).to_have_text("It reads Short posts, which is being cut (another text).")
    cutting.clear()  # nothing is held any more
    for route in held:
        route.continue_()
    expect(rows).to_have_attribute("aria-busy", "false")
    expect(rows).not_to_contain_text("Cutting the text")
    expect(source).to_contain_text("It reads Short posts, the first 300 of its")
    page.locator("#preset").get_by_text("Shakespeare with an own BPE").click()
    expect(page.locator("#take-example")).to_have_text(
        "Use the text that goes with it: Tiny Shakespeare (from the Hugging Face Hub)"
    )
    page.locator("#take-example").click()  # nobody answers for the Hub here
    expect(source).to_contain_text("It still reads Short posts")
    page.locator("#preset").get_by_text("One song, word by word").click()
    page.locator("#take-example").click()
    expect(source).to_contain_text("It reads One song, 33")
    expect(source).not_to_contain_text("still")


def test_the_delimiter_is_chosen_by_hand(corpus: Page, tmp_path: Path) -> None:
    (tmp_path / "fox.csv").write_text(
        "name;text\n" + "".join(f"fox {i};one, two and a hen\n" for i in range(9)), encoding="utf-8"
    )
    upload(corpus, tmp_path / "fox.csv")
    has(corpus, "fox.csv")
    box = here(corpus, "delimiter")
    expect(box.locator("option:checked")).to_have_text("automatic: semicolon")
    box.select_option("tab")
    expect(here(corpus, "corpus-excerpt")).to_contain_text("fox 0;one, two")
    box.select_option("comma")
    expect(corpus.get_by_test_id("columns-error")).to_contain_text("A semicolon fits: choose it")
    expect(box).to_have_value("tab")
    box.select_option("semicolon")
    expect(corpus.get_by_role("radio", name="name")).to_be_visible()
    choose_column(corpus, "name")
    expect(here(corpus, "corpus-excerpt")).to_contain_text("fox 0\nfox 1")
    expect(box).to_have_value("semicolon")


def test_the_list_of_texts_says_what_it_is_for(corpus: Page, tmp_path: Path) -> None:
    """Before anything is chosen, and after an upload has emptied it."""
    box = corpus.locator("#example input")
    expect(box).to_have_attribute("placeholder", "Choose a text…")
    box.click()
    corpus.get_by_role("option", name="One song").click()
    has(corpus, "One song")
    (tmp_path / "fox.txt").write_text(FOX * 9, encoding="utf-8")
    upload(corpus, tmp_path / "fox.txt")
    has(corpus, "fox.txt")
    expect(box).to_have_value("")
    expect(box).to_have_attribute("placeholder", "Choose a text…")


def test_pasting_and_the_examples(corpus: Page) -> None:
    corpus.locator("#paste textarea").fill("   ")
    corpus.locator("#use-paste").click()
    expect(corpus.get_by_test_id("corpus-error")).to_contain_text("holds only spaces and line breaks")
    corpus.locator("#paste textarea").fill(FOX * 3)
    corpus.locator("#use-paste").click()
    has(corpus, "pasted text")
    assert figures(corpus)["characters"] == str(len(FOX * 3))
    corpus.locator("#example input").click()
    corpus.get_by_role("option", name="One song").click()
    has(corpus, "One song")
    expect(here(corpus, "corpus")).to_contain_text("comes with the app")
    corpus.locator("#example input").fill("Short")  # typing narrows the list down, Enter takes what is left
    corpus.keyboard.press("Enter")
    has(corpus, "Short posts")
    corpus.get_by_role("button", name="Next: train on it").click()
    expect(here(corpus, "source")).to_contain_text("It reads Short posts")


def test_passing_through_the_lists_takes_nothing(corpus: Page, tmp_path: Path) -> None:
    """Neither Tab nor a click into a list and out of it replaces the visitor's own text, before and after a reload."""
    calls: list[str] = []
    corpus.on(
        "request", lambda request: calls.append(request.post_data or "") if "/queue/join" in request.url else None
    )
    (tmp_path / "table.csv").write_text("number,title\n" + f'1,"{FOX.strip()}"\n' * 9, encoding="utf-8")
    upload(corpus, tmp_path / "table.csv")
    has(corpus, "table.csv")
    for again in (False, True):
        if again:
            corpus.reload(wait_until="domcontentloaded")
            open_tab(corpus, "Corpus")
            has(corpus, "table.csv")
        calls.clear()
        for box in ("[data-testid=columns] [role=radio][aria-checked=true]", "#example input"):
            corpus.locator(box).focus()
            corpus.keyboard.press("Tab")
            corpus.locator(box).click()
            corpus.get_by_test_id("corpus-name").click()
        here(corpus, "corpus-excerpt").click()
        corpus.get_by_role("button", name="Next: train on it").click()
        expect(here(corpus, "source")).to_contain_text("It reads table.csv")
        assert calls == []
        open_tab(corpus, "Corpus")
        has(corpus, "table.csv")
