"""Texts by heart: what the page says came back against what the same model writes beside the server."""

from playwright.sync_api import Page, expect

from model import open_checkpoint
from tests.browser.conftest import Server
from tests.browser.planted import LEARNT, RUN
from tests.browser.screen import TRAINING, here
from training.recital import Question, spread, write_on


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
    expect(box.locator(".g-heart-figures dt").last).to_have_text("came to the line break")
    expect(box.get_by_test_id("heart-unending")).to_contain_text("does not stop by itself")
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
    const server = {by_heart: async ({draft, all}) => {
        const at = draft ? draft.document : 0;
        window.calls = (window.calls || 0) + 1;
        window.all = all;
        if (window.hold) await window.hold;
        return {ok: true, unit: 'documents', words: 6, asked: 3, of: all ? 3 : 5, done: at + 1,
            outcomes: [outcomes[at]], draft: at < 2 ? {document: at + 1, ids: []} : null};
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
    assert figures == ["3 of 5, evenly spread", "1 of 3", "2 of 3"]
    assert opened.evaluate("all") is False
    more = opened.evaluate("made.node.querySelector('[data-testid=heart-more]').textContent")
    assert more == "Ask for all 5"
    opened.evaluate("made.node.querySelector('[data-testid=heart-more]').click()")
    opened.wait_for_function("made.node.dataset.state === 'done'")
    assert opened.evaluate("all") is True
    assert opened.evaluate("made.node.querySelector('.g-heart-figures dd').textContent") == "3 all that are long enough"
    assert opened.evaluate("made.node.querySelectorAll('[data-testid=heart-more]').length") == 0


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
