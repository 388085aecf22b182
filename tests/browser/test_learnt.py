"""Where did it learn this, what is it worth, and honest losses: what the page shows against searches of the text.

A run whose losses and text are known is planted in the server's folder; it has a model that says nothing sensible.
"""

import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from playwright.sync_api import Locator, Page, Route, expect

from model import GPT, GPTConfig, Tokenizer, open_checkpoint, save_checkpoint
from tests.browser.conftest import Server, Visit
from tests.browser.reference import MARKUP, MARKUP_NAME
from tests.browser.screen import TRAINING, arrived, follow, here, ids, open_tab
from training.baselines import measure
from training.config import Recipe, TrainConfig
from training.corpus import split_text
from training.evaluate import evaluate
from training.events import BaselinesKnown, Copied, Evaluated, Finished, Started, Stepped
from training.kept import Texts, keep_text
from training.recital import Question, spread, write_on
from training.runs import RunFolder
from training.verbatim import Index

ROOT = Path(__file__).resolve().parents[2]
RUN = "copied-0123456789abcdef0123456789abcdef"
WORDS = "the old grey cat went down to the river and sat there on a stone until the moon came up. "
TEXT = "".join(f"{i}. {WORDS}{MARKUP[i % 3]}\n" for i in range(60))
LEARNT, HELD_OUT = TEXT[:-900], TEXT[-900:]
COPY = "the old grey cat went down to the river and sat there on a stone"
STEPS = 200


def planted(runs: Path) -> RunFolder:
    """The run, as a training would have left it: losses that fall below one baseline after the other."""
    folder = RunFolder(runs / RUN)
    if (folder.path / "config.json").exists():
        return folder
    tokenizer = Tokenizer.char(TEXT)
    shape: dict[str, Any] = {"layers": 1, "heads": 2, "width": 16, "context": 32}
    recipe = Recipe(tokenizer="char", model=shape, train=TrainConfig(steps=STEPS, eval_every=20))
    folder = RunFolder.create(
        folder.path, "copied", recipe, {"name": MARKUP_NAME, "source": "file", "characters": len(TEXT), "notes": []}
    )
    tokenizer.save(folder.path / "tokenizer.json")
    torch.manual_seed(3)
    model = GPT(GPTConfig(vocab_size=tokenizer.vocab_size, **shape)).eval()
    about = {"name": "copied", "run": RUN, "corpus": {"opening": "the old"}, "step": STEPS, "loss": 1.0}
    save_checkpoint(folder.checkpoint("last"), model, tokenizer, about)
    keep_text(folder.path, Texts(LEARNT, HELD_OUT))
    known, ratio = baselines()
    folder.append(Started(0, 0.0, STEPS, model.parameter_count(), "cpu"))
    for step in range(STEPS + 1):
        if step:
            folder.append(Stepped(step, step / 10, train_loss(step), 1e-3, 1.0, 100.0))
        if step % 20 == 0:
            loss = val_loss(step)
            folder.append(Evaluated(step, step / 10, train_loss(step) if step else None, loss, loss * ratio, True))
        if step == 1:
            folder.append(BaselinesKnown(1, 0.1, known, {name: value * ratio for name, value in known.items()}))
    folder.append(Finished(STEPS, 20.0, "done"))
    folder.close()
    return folder


def baselines() -> tuple[dict[str, float], float]:
    """Losses of the counting models on the planted text, and bits per byte for a nat per token."""
    tokenizer = Tokenizer.char(TEXT)
    found = measure(
        [tokenizer.encode(LEARNT)], [tokenizer.encode(HELD_OUT)], tokenizer.vocab_size, [1] * tokenizer.vocab_size
    )
    assert found.nats_to_bits is not None
    return found.values, found.nats_to_bits


def val_loss(step: int) -> float:
    return 4.6 * 0.99**step + 0.02


def train_loss(step: int) -> float:
    return 4.5 * 0.985**step


@pytest.fixture
def copied(server: Server, visit: Visit) -> Page:
    """The planted run's model, with a text that it copied; on the Decode tab."""
    planted(server.runs)
    page = visit()
    arrived(page, "Decode")
    return look_at(page, COPY)


def look_at(page: Page, prompt: str) -> Page:
    page.evaluate("([prompt, ref]) => glass.decoder.open(prompt, ref)", [prompt, f"run:{RUN}"])
    page.wait_for_function("ref => glass.decoder.state.ref === ref && !glass.decoder.state.busy", arg=f"run:{RUN}")
    return page


def looked_up(page: Page) -> Locator:
    """The card, once it shows what stands in the text as it is now."""
    card = here(page, "learnt")
    card.scroll_into_view_if_needed()
    page.wait_for_function(
        """() => {
            const card = document.querySelector('[data-testid=learnt]');
            return card.dataset.state === 'done' && +card.dataset.tokens === glass.decoder.state.length;
        }"""
    )
    return card


def say(page: Page, text: str) -> None:
    """Have the model say this, letter by letter, by choosing each."""
    tokenizer = Tokenizer.char(TEXT)
    for token in tokenizer.encode(text):
        page.evaluate("token => glass.decoder.next(token)", token)
    page.wait_for_function("n => glass.decoder.state.length === n && !glass.decoder.state.busy", arg=len(ids(page)))


def test_copied_pieces_are_underlined_and_lead_to_their_places(copied: Page) -> None:
    look_at(copied, "the old")
    said = " grey cat went down to the river and so it goes"
    say(copied, said)
    card = looked_up(copied)
    text = card.get_by_test_id("learnt-text")
    whole = "the old" + said
    assert text.inner_text() == whole
    index = Index(LEARNT)
    expected = index.pieces(whole)
    shown = [part.inner_text() for part in card.get_by_test_id("learnt-piece").all()]
    assert "".join(shown) == "".join(
        c for i, c in enumerate(whole) if any(piece.start <= i < piece.end for piece in expected)
    )
    copies = index.copied(said)
    expect(here(copied, "learnt-verdict")).to_contain_text(f"{100 * (copies.share or 0):.0f} % of its runs of 8 words")
    expect(card.locator("dd").first).to_contain_text(f"{copies.copied} of {copies.total}")
    part = card.get_by_test_id("learnt-piece").first
    part.click()
    places = card.get_by_test_id("learnt-places")
    longest = whole[expected[0].start : expected[0].end]
    expect(places).to_contain_text(f"{LEARNT.count(longest)} times")
    assert places.locator("li").count() == 20
    lines = LEARNT.split("\n")
    for row in places.locator("li").all()[:5]:
        number = int(re.findall(r"\d+", row.locator(".g-learnt-line").inner_text())[0])
        assert longest in lines[number - 1]
        assert row.locator("mark").inner_text() == longest
        assert (row.locator(".g-learnt-place").text_content() or "-") in LEARNT
    expect(part).to_have_attribute("aria-expanded", "true")
    places.get_by_role("button", name="Close").click()
    expect(places).to_be_hidden()
    expect(part).to_be_focused()
    copied.keyboard.press("Enter")
    expect(places).to_be_visible()
    copied.keyboard.press("Escape")
    expect(places).to_be_hidden()
    assert copied.evaluate("window.hacked") is None
    assert copied.locator("#planted").count() == 0


def test_a_prompt_alone_was_learnt_nowhere(copied: Page) -> None:
    card = looked_up(copied)
    assert card.get_attribute("data-kind") == "nothing"
    expect(here(copied, "learnt-verdict")).to_contain_text("the prompt alone")
    card.get_by_role("button", name="Write 64 tokens").click()
    copied.wait_for_function("n => glass.decoder.state.length === n", arg=len(COPY) + 64)
    looked_up(copied)
    assert card.get_attribute("data-kind") != "nothing"


def test_the_shipped_model_is_held_against_the_tales(opened: Page) -> None:
    """What the page opens on: its text is at hand, split where the training split it."""
    card = looked_up(opened)
    tales = (ROOT / "assets" / "corpora" / "tales.txt").read_text("utf-8")
    learnt, held_out = split_text(tales, 0.1)
    expect(card).to_contain_text(f"{len(learnt):,} characters of tales.txt that it learnt from")
    expect(card).to_contain_text(f"the {len(held_out):,} held out")
    for part in card.get_by_test_id("learnt-piece").all():
        assert part.text_content() in learnt


def test_a_thousand_characters_beside_real_text(copied: Page) -> None:
    """The figures in the table are those of the two texts that can be read below it."""
    card = here(copied, "measure")
    card.scroll_into_view_if_needed()
    here(copied, "measure-go").click()
    expect(card).to_have_attribute("data-state", "done", timeout=TRAINING)
    card.get_by_test_id("measure-texts").locator("summary").click()
    texts = [box.text_content() or "" for box in card.locator(".g-learnt-text").all()]
    assert len(texts[0]) == 1000
    with copied.expect_download() as saved:
        card.get_by_test_id("measure-save").click()
    assert saved.value.suggested_filename == f"copied step {STEPS}.txt"
    assert Path(saved.value.path()).read_bytes() == texts[0].encode()
    assert texts[1] in HELD_OUT
    index = Index(LEARNT)
    shown: dict[str, list[str]] = {
        str(row.get_attribute("data-figure")): [cell.inner_text() for cell in row.locator("td").all()]
        for row in card.locator("tbody tr").all()
    }
    assert len(shown) == 9
    for column, text in enumerate(texts):
        found = evaluate(text, index)
        copies = found.copied.share if found.copied else None
        expected: dict[str, Any] = {"repetition": found.repetition, "rhymed_lines": found.rhymed_lines}
        expected |= {f"distinct_{n}": share for n, share in found.distinct.items()} | {"copied": copies}
        for name, share in expected.items():
            cell = shown[name][column]
            assert (cell == "–") if share is None else (abs(float(cell.removesuffix(" %")) - 100 * share) <= 0.51)
        assert shown["rhyme_density"][column] == f"{found.rhyme_density:.2f}"
        assert shown["longest_copy"][column] == str(found.longest_copy)


def test_measuring_can_be_stopped(copied: Page) -> None:
    card, go = here(copied, "measure"), here(copied, "measure-go")
    card.scroll_into_view_if_needed()
    here(copied, "measure-length-5000").click()
    expect(go).to_have_text("Write 5,000 characters and measure")

    def slowly(route: Route) -> None:
        copied.wait_for_timeout(50)
        route.continue_()

    copied.route("**/component_server/**", slowly)
    go.click()
    expect(card).to_have_attribute("data-state", "writing")
    expect(go).to_have_text("Stop")
    expect(card.get_by_role("progressbar")).to_have_attribute("aria-valuemax", "5000")
    go.click()
    expect(card).to_have_attribute("data-state", "idle")
    expect(go).to_have_text("Write 5,000 characters and measure")
    copied.unroute_all(behavior="wait")
    assert card.get_by_test_id("measure-table").count() == 0


def test_losses_in_both_units_and_the_steps_that_beat_counting(server: Server, visit: Visit) -> None:
    planted(server.runs)
    page = follow(visit, RUN, "copied")
    known, ratio = baselines()
    card, tip = here(page, "loss"), here(page, "loss-tip")
    expect(card).to_have_attribute("data-points", str(STEPS))
    expect(card).to_have_attribute("data-unit", "nats")
    expect(tip).to_contain_text(f"train loss {train_loss(STEPS):.3f}, {train_loss(STEPS) * ratio:.3f} bits per byte")
    expect(tip).to_contain_text(f"validation {val_loss(STEPS):.3f}, {val_loss(STEPS) * ratio:.3f} bits per byte")
    monitor = here(page, "monitor")
    expect(monitor.locator("div:has(> [data-figure=loss])")).to_contain_text(
        f"nats per token, {train_loss(STEPS) * ratio:.2f} bits per byte"
    )
    card.locator("summary").click()
    beaten = {}
    for row in card.get_by_test_id("loss-baselines").locator("tbody tr").all():
        name = str(row.get_attribute("data-baseline"))
        nats, bits, step = (cell.inner_text() for cell in row.locator("td").all())
        assert float(nats) == pytest.approx(known[name], abs=0.00051)
        assert float(bits) == pytest.approx(known[name] * ratio, abs=0.00051)
        first = next((s for s in range(20, STEPS + 1, 20) if val_loss(s) < known[name]), None)
        assert step == ("not yet" if first is None else str(first))
        beaten[name] = first
    assert list(beaten) == ["uniform", "unigram", "bigram", "trigram", "back-off"]
    assert len(set(beaten.values())) > 2, "a curve that beats all at once tells little"
    said = here(page, "loss-beats").inner_text()
    for name, first in beaten.items():
        assert name in said
        assert first is None or f"from step {first}" in said
    page.get_by_test_id("loss-bits").click()
    expect(card).to_have_attribute("data-unit", "bits")
    expect(tip).to_contain_text(f"train loss {train_loss(STEPS) * ratio:.3f}, {train_loss(STEPS):.3f} nats per token")
    ends = card.get_attribute("data-ends") or ""
    assert f"validation {val_loss(STEPS) * ratio:.3f}" in ends
    page.reload()
    expect(here(page, "loss")).to_have_attribute("data-unit", "bits")
    open_tab(page, "Decode")


def test_what_is_beaten_in_words(opened: Page) -> None:
    """While a training goes on what is not beaten is not beaten yet; once it is over, it is not."""
    said = opened.evaluate(
        """() => {
            const baselines = [['unigram', 3], ['bigram', 2], ['trigram', 1]].map(([name, value]) => ({name, value}));
            const step = [0, 50, 100];
            const say = (state, val) => glass.losses.sentence({run: {state}, baselines, evals: {step, val}});
            return [say('running', [4, 3.5, 3.2]), say('running', [4, 2.5, 1.5]), say('finished', [4, 2.5, 2.2]),
                    say('finished', [4, 0.9, 0.8])];
        }"""
    )
    assert said == [
        "On held-out text the model does not yet beat unigram, bigram or trigram.",
        "On held-out text the model beats unigram from step 50 and bigram from step 100, but not yet trigram.",
        "On held-out text the model beats unigram from step 50, but not bigram or trigram.",
        "On held-out text the model beats unigram, bigram and trigram from step 50.",
    ]


def test_an_untrained_model_beats_nothing(opened: Page) -> None:
    """What it is better at before the first step is luck: the mark is set at the first evaluation after that."""
    beaten = opened.evaluate(
        """() => {
            const baselines = [{name: 'uniform', value: 4}, {name: 'bigram', value: 2}];
            const steps = val => glass.losses.beaten({baselines, evals: {step: [0, 50, 100], val}}).map(b => b.step);
            return [steps([3.9, 3.5, 1.5]), steps([3.9, 4.5, 3]), steps([1, 5, 5])];
        }"""
    )
    assert beaten == [[50, 100], [100, None], [None, None]]


def test_the_card_says_what_it_waits_for(opened: Page) -> None:
    held: list[Route] = []
    opened.route(
        "**/component_server/**",
        lambda r: held.append(r) if '"learnt"' in (r.request.post_data or "") else r.continue_(),
    )
    card = here(opened, "learnt")
    card.scroll_into_view_if_needed()
    expect(here(opened, "learnt-verdict")).to_have_text("Looking it up…")
    expect(card.get_by_test_id("learnt-text")).to_be_hidden()
    opened.wait_for_timeout(600)
    expect(here(opened, "learnt-verdict")).to_have_text("Looking it up…")
    assert held
    for route in held:
        route.continue_()
    opened.unroute_all(behavior="wait")
    looked_up(opened)
    expect(card.get_by_test_id("learnt-text")).to_be_visible()


def test_the_fine_print_is_folded_away(copied: Page) -> None:
    card = looked_up(copied)
    fold = card.get_by_test_id("learnt-counted")
    expect(fold.locator("p")).to_be_hidden()
    fold.locator("summary").click()
    expect(fold.locator("p")).to_be_visible()
    expect(fold.locator("p")).to_contain_text("characters of <b id=planted>marked up</b> that it learnt from")


def test_another_models_verdict_is_not_shown_while_one_waits(copied: Page) -> None:
    looked_up(copied)
    held: list[Route] = []
    copied.route(
        "**/component_server/**",
        lambda r: held.append(r) if '"learnt"' in (r.request.post_data or "") else r.continue_(),
    )
    copied.evaluate("glass.decoder.open('Lucy', 'shipped:tales')")
    expect(here(copied, "learnt-verdict")).to_have_text("Looking it up…")
    expect(here(copied, "learnt").get_by_test_id("learnt-text")).to_be_hidden()
    for route in held:
        route.continue_()
    copied.unroute_all(behavior="wait")
    expect(here(copied, "learnt").get_by_test_id("learnt-text")).to_have_text(re.compile("^Lucy"))


def test_by_heart_as_counted_beside_the_server(copied: Page, server: Server) -> None:
    """The card asks for lines of the planted text; what came back is what the same model writes here."""
    here(copied, "heart-go").click()
    box = here(copied, "heart")
    expect(box).to_have_attribute("data-state", "done", timeout=TRAINING)
    checkpoint = open_checkpoint(server.runs / RUN / "checkpoints" / "last")
    tokenizer = checkpoint.tokenizer
    assert tokenizer is not None
    lines = spread([line for line in LEARNT.split("\n") if line.strip()], 60)
    questions = [Question.of(tokenizer, line, 6, lines=True) for line in lines]
    outcomes = [write_on(checkpoint.model, tokenizer, one, [], None) for one in questions if one]
    shown = [cell.inner_text() for cell in box.locator(".g-heart-figures dd").all()]
    assert [int(cell.split()[0]) for cell in shown] == [
        len(lines),
        sum(one is not None and one.exact for one in outcomes),
        sum(one is not None and one.ended for one in outcomes),
    ]
    rows = box.get_by_test_id("heart-failures").get_by_test_id("heart-example")
    failed = [one for one in outcomes if one is not None and not one.exact]
    assert rows.count() == min(3, len(failed))
    if len(failed) > 3:
        expect(box.get_by_test_id("heart-all")).to_have_text(f"Show all {len(failed)}")
        box.get_by_test_id("heart-all").click()
        expect(box.get_by_test_id("heart-all")).to_have_text("Show 3")
    given = [row.locator("dd").first.text_content() or "" for row in rows.all()]
    assert sorted(given) == sorted(one.given for one in failed)
    assert all(row.locator("mark").count() >= 1 for row in rows.all())
    assert copied.evaluate("window.hacked") is None
    assert copied.locator("#planted").count() == 0


MADE_UP = """() => {
    const one = (given, written, expected, ended) =>
        ({given, written, expected, ended, longer: false, exact: ended && written === expected});
    const outcomes = [one('a b', ' cat sat', ' cat sat', true), one('c d', ' dog ran', ' dig ran off', true),
        one('e f', ' fox', ' fox', false)];
    const server = {by_heart: async ({draft}) => {
        const at = draft ? draft.document : 0;
        window.calls = (window.calls || 0) + 1;
        if (window.hold) await window.hold;
        return {ok: true, unit: 'documents', words: 6, asked: 3, done: at + 1, outcomes: [outcomes[at]],
            draft: at < 2 ? {document: at + 1, ids: []} : null};
    }};
    const made = glass.recital(server, () => ({session: glass.session, model: 'shipped:tales'}));
    document.body.prepend(made.go, made.node);
    window.made = made;
}"""


def test_by_heart_marks_the_first_difference(opened: Page) -> None:
    opened.evaluate(MADE_UP)
    opened.evaluate("made.go.click()")
    opened.wait_for_function("made.node.dataset.state === 'done'")
    read = opened.evaluate(
        """() => [...made.node.querySelectorAll('dl.g-heart-example')].map(d =>
            [d.dataset.exact, ...[...d.querySelectorAll('dd'), ...d.querySelectorAll('mark')].map(x => x.textContent)]
        )"""
    )
    assert read == [
        ["true", "a b", " cat sat", "the same, to the letter"],
        ["false", "e f", " fox(went no further)", " fox(ends here)", "(went no further)", "(ends here)"],
        ["false", "c d", " dog ran", " dig ran off", "o", "i"],
    ]
    figures = opened.evaluate("[...made.node.querySelectorAll('.g-heart-figures dd')].map(d => d.textContent)")
    assert figures == ["3", "1 of 3", "2 of 3"]


def test_asking_by_heart_can_be_stopped(opened: Page) -> None:
    opened.evaluate(MADE_UP)
    opened.evaluate("() => { window.hold = new Promise(go => { window.go_on = go; }); made.go.click(); }")
    assert opened.evaluate("made.go.textContent") == "Stop"
    opened.evaluate("() => { made.go.click(); window.hold = null; window.go_on(); }")
    opened.wait_for_timeout(200)
    assert opened.evaluate("[made.node.dataset.state, made.go.textContent, calls]") == [
        "idle",
        "Ask for its texts by heart",
        1,
    ]
    assert opened.evaluate("made.node.textContent") == ""


ALL = ["uniform", "unigram", "bigram", "trigram", "back-off"]
PAINT = """([values, val, log, zoom]) => {
    const step = val.map((_, i) => 50 * i), names = ['uniform', 'unigram', 'bigram', 'trigram', 'back-off'];
    const canvas = document.createElement('canvas');
    document.body.append(canvas);
    const evals = {step, train: val.map(() => null), val, bits_per_byte: val.map(() => null)};
    const data = {run: null, points: {step, loss: val}, evals, even: val, unit: 'nats per token',
        baselines: values.map((value, i) => ({name: names[i], value}))};
    const view = {width: 700, height: 320, zoom, log, smoothing: 0.9, hover: -1, drag: null};
    const frame = glass.paintLoss(canvas, view, data);
    const marks = canvas.dataset.beaten.split('; ').filter(Boolean).map(m => m.split(' '));
    const y = v => frame.y(v), read = [canvas.dataset.baselines.split('; '),
        marks.map(([name, px, py]) => [name, frame.step(+px), +py]), val.map(y), values.map(y)];
    canvas.remove();
    return read;
}"""


@pytest.mark.parametrize("log", [False, True])
def test_every_baseline_is_in_the_picture_and_each_mark_on_the_curve(opened: Page, log: bool) -> None:
    """The curve ends far above the last two, which have arrows, and crosses the first ones between evaluations."""
    values, val = [4.2, 3.4, 2.9, 1.2, 0.9], [4.3, 3.7, 3.1, 3.0, 2.8]
    words, marks, at, levels = opened.evaluate(PAINT, [values, val, log, None])
    assert [word.split()[0] for word in words] == ALL
    arrows = {word.split()[0] for word in words if word.endswith("↓")}
    assert "back-off" in arrows
    assert not {"uniform", "unigram", "bigram"} & arrows
    assert [name for name, _, _ in marks] == ["uniform", "unigram", "bigram"]
    for (name, step, height), i in zip(marks, (0, 1, 3), strict=True):
        share = step / 50 - i
        assert 0 <= share <= 1
        assert height == pytest.approx(levels[ALL.index(name)], abs=0.2)
        assert height == pytest.approx(at[i] + share * (at[i + 1] - at[i]), abs=0.2)


def test_baselines_above_the_picture_and_marks_at_an_evaluation(opened: Page) -> None:
    """Zoomed in below all, each has an arrow up; where luck was better before, the mark is at an evaluation."""
    words, marks, _, _ = opened.evaluate(
        PAINT, [[4.2, 3.4, 2.9, 2.7, 2.6], [4.3, 3.7, 1.1, 1.05, 1.0], False, [120, 200]]
    )
    assert [word.split()[0] for word in words] == ALL
    assert all(word.endswith("↑") for word in words)
    assert marks == []
    _, marks, at, _ = opened.evaluate(PAINT, [[4.2], [4.1, 3.7, 3.1], False, None])
    ((name, step, height),) = marks
    assert (name, step) == ("uniform", pytest.approx(50, abs=0.2))
    assert height == pytest.approx(at[1], abs=0.2)


def test_nothing_held_out_a_teacher_and_copied_rows(server: Server, visit: Visit) -> None:
    """Bits per byte for the training loss, why there are no baselines, and what came from other models."""
    run, tales, size = "taught-0123456789abcdef0123456789abcdef", str(ROOT / "weights" / "tales"), 1.25
    folder = RunFolder(server.runs / run)
    tokenizer = Tokenizer.char(TEXT)
    shape: dict[str, Any] = {"layers": 1, "heads": 2, "width": 16, "context": 32}
    train = TrainConfig(steps=20, val_fraction=0.0, teacher=tales, embeddings_from=tales)
    about = {"name": "taught.txt", "source": "file", "characters": len(TEXT), "notes": []}
    folder = RunFolder.create(folder.path, "taught", Recipe(tokenizer="char", model=shape, train=train), about)
    model = GPT(GPTConfig(vocab_size=tokenizer.vocab_size, **shape)).eval()
    save_checkpoint(
        folder.checkpoint("last"), model, tokenizer, {"name": "taught", "run": run, "step": 20, "loss": 1.0}
    )
    folder.append(Copied(0, 0.0, 1528, 1600, [MARKUP[0], " the", "a"]))
    folder.append(Started(0, 0.0, 20, model.parameter_count(), "cpu", size))
    for step in range(1, 21):
        folder.append(Stepped(step, step / 10, train_loss(step), 1e-3, 1.0, 100.0, 0.4 + step / 1000))
    folder.append(Evaluated(20, 2.0, 4.0, None, None, True))
    folder.append(Finished(20, 2.0, "done"))
    folder.close()
    page = follow(visit, run, "taught")
    bits = train_loss(20) / (size * math.log(2))
    card, monitor = here(page, "loss"), here(page, "monitor")
    expect(here(page, "loss-beats")).to_contain_text("Nothing was held out of this text")
    expect(here(page, "loss-tip")).to_contain_text(f"{bits:.3f} bits per byte")
    page.get_by_test_id("loss-bits").click()
    expect(card).to_have_attribute("data-unit", "bits")
    expect(monitor.locator("[data-figure=bpb]")).to_have_text(f"{bits:.2f}")
    expect(monitor.locator("div:has(> [data-figure=bpb])")).to_contain_text("of the training loss")
    expect(monitor.locator("div:has(> [data-figure=val])")).to_contain_text("nothing held out")
    expect(monitor.locator("div:has(> [data-figure=loss])")).to_contain_text(
        f"nats per token, {bits:.2f} bits per byte; loss against the teacher 0.42"
    )
    expect(here(page, "run-teacher")).to_contain_text("Tales, its teacher")
    expect(here(page, "run-copied")).to_contain_text("1,528 of 1,600 embedding rows copied from Tales")
    tokens = monitor.locator(".g-run-tokens")
    expect(tokens).to_be_hidden()
    monitor.get_by_text("Which tokens").click()
    expect(tokens).to_be_visible()
    assert tokens.locator(".g-piece").count() == 3
    assert page.evaluate("window.hacked") is None
    here(page, "loss-nats").click()
