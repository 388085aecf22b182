"""Every tab on a phone and on a desk, light and dark: nothing sticks out, and the keyboard reaches everything."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Visit
from tests.browser.reference import SHORT_MEMORY, SHORT_MEMORY_RUN
from tests.browser.screen import arrived, follow, here, open_tab

TABS = ("Corpus", "Train", "Decode", "Attention")
PHONE, DESK = {"width": 390, "height": 844}, {"width": 1440, "height": 900}

# Visible things that reach beyond the page's sides, unless something around them scrolls or clips.
STICKING_OUT = """() => {
    const wide = document.documentElement.clientWidth, out = [];
    for (const node of document.querySelectorAll('body *')) {
        if (!node.checkVisibility({checkOpacity: true, checkVisibilityCSS: true})) continue;
        const box = node.getBoundingClientRect();
        if (!box.width || !box.height || (box.right <= wide + 1 && box.left >= -1)) continue;
        let around = node.parentElement;
        while (around && getComputedStyle(around).overflowX === 'visible') around = around.parentElement;
        if (!around || around === document.body || around === document.documentElement) {
            out.push(node.outerHTML.slice(0, 120));
        }
    }
    return out;
}"""

# What has the focus, marked as seen: what it is, and whether an outline, a shadow or its border tells.
FOCUSED = """() => {
    const node = document.activeElement;
    if (!node || node === document.body) return null;
    const style = getComputedStyle(node), seen = 'seenByTest' in node.dataset, box = node.getBoundingClientRect();
    node.dataset.seenByTest = '';
    const accent = glass.rgb(glass.variable(node, '--g-accent')).join();
    return {
        seen, what: node.outerHTML.slice(0, 120),
        shows: (style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0) || style.boxShadow !== 'none'
            || [style.borderTopColor, style.borderBottomColor].every(colour => glass.rgb(colour).join() === accent),
        onScreen: box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth,
    };
}"""

# Buttons, fields and links that a pointer can use and that were not seen to have the focus. One of a group stands for
# it where arrow keys go on from there (tabindex -1).
MISSED = """() => {
    const usable = document.querySelectorAll('button, input, textarea, select, a[href], summary, [tabindex="0"]');
    return [...usable].filter(node => {
        const box = node.getBoundingClientRect();
        return node.checkVisibility({checkVisibilityCSS: true}) && box.width > 1 && box.height > 1 && !node.disabled
            && node.tabIndex >= 0 && !('seenByTest' in node.dataset);
    }).map(node => node.outerHTML.slice(0, 160));
}"""

FROM_THE_TOP = """() => {
    for (const node of document.querySelectorAll('[data-seen-by-test]')) delete node.dataset.seenByTest;
    document.body.tabIndex = -1;
    document.body.focus();
    document.body.removeAttribute('tabindex');
}"""

# The parts of each tab that answer late, and in which state they have done so; those out of sight begin when seen.
LATE = {
    "Corpus": {"clean": "[data-state=ready]", "bench": "[data-state=ready]"},
    "Train": {"runs": "[data-runs]", "examples": "[data-cut]"},
    "Decode": {"learnt": "[data-state=done]"},
    "Attention": {},
}


def settled(page: Page, name: str) -> None:
    """Open a tab and wait until every part of it has its contents: a part that is drawn anew would lose the focus."""
    open_tab(page, name)
    for part, done in LATE[name].items():
        here(page, part).scroll_into_view_if_needed()
        expect(page.locator(f'[data-testid="{part}"]{done}:visible')).to_be_visible()
    page.evaluate("window.scrollTo(0, 0)")


def luminance(page: Page) -> float:
    """How light the page's ground is, 0 to 255."""
    colour = page.evaluate("glass.rgb(getComputedStyle(document.body).backgroundColor)")
    return sum(colour) / 3


@pytest.mark.parametrize(("size", "scheme"), [(PHONE, "dark"), (DESK, "light")], ids=["phone", "desk"])
def test_nothing_sticks_out_of_any_tab(visit: Visit, size: dict[str, int], scheme: str) -> None:
    """The planted run is watched, so that the chart and the monitor are full."""
    page = follow(visit, SHORT_MEMORY_RUN, SHORT_MEMORY, viewport=size, color_scheme=scheme)
    assert [tab.inner_text().split() for tab in page.get_by_role("tab").all()] == [
        [str(number), name] for number, name in enumerate(TABS, 1)
    ]
    for name in TABS:
        open_tab(page, name)
        if name == "Train":
            expect(here(page, "loss")).to_have_attribute("data-points", "400")
            for fold in ("Shape of the model", "How it is trained"):
                page.get_by_role("button", name=fold).click()
            expect(page.locator("#set-layers")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") == size["width"], name
        assert page.evaluate(STICKING_OUT) == [], name
    assert (luminance(page) > 200) if scheme == "light" else (luminance(page) < 60)


def test_the_button_switches_the_colours_and_keeps_them(page: Page) -> None:
    """Of the page and of what is drawn on canvases; after a reload too."""
    arrived(page, "Decode")
    assert luminance(page) > 200
    corner = "map => [...map.getContext('2d').getImageData(map.width - 8, 24 * map.width / map.clientWidth, 1, 1).data]"
    light = here(page, "heads-canvas").evaluate(corner)
    page.get_by_test_id("theme").click()
    expect(page.locator("body")).to_have_class(re.compile(r"\bdark\b"))
    assert luminance(page) < 60
    assert here(page, "heads-canvas").evaluate(corner) != light
    page.reload(wait_until="domcontentloaded")
    arrived(page, "Decode")
    assert luminance(page) < 60
    page.get_by_test_id("theme").click()
    assert luminance(page) > 200


@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
def test_the_keyboard_reaches_everything(visit: Visit, size: dict[str, int]) -> None:
    """By Tab alone, from the top of each tab to its end; what has the focus shows it, and is on screen."""
    page = visit(viewport=size)
    for name in TABS:
        settled(page, name)
        page.evaluate(FROM_THE_TOP)
        for _ in range(200):
            page.keyboard.press("Tab")
            at = page.evaluate(FOCUSED)
            if at is None:
                break
            assert not at["seen"], f"the focus goes round in circles on {name}: {at['what']}"
            if not (at["shows"] and at["onScreen"]):  # a border fades in, and a page scrolls there
                found = "() => { const at = (" + FOCUSED + ")(); return at && at.shows && at.onScreen; }"
                page.wait_for_function(found)
        assert page.evaluate(MISSED) == [], name


def test_tabs_by_keyboard(page: Page) -> None:
    arrived(page, "Decode")
    page.get_by_role("tab", name="Decode").focus()
    page.keyboard.press("Shift+Tab")
    expect(page.get_by_role("tab", name="Train")).to_be_focused()
    page.keyboard.press("Enter")
    arrived(page, "Train")


HEADER = "document.querySelector('.g-header').getBoundingClientRect().height"


@pytest.mark.parametrize("width", [1440, 1366, 1024, 900, 390])
def test_the_header_is_of_one_height(visit: Visit, width: int) -> None:
    """Whatever it says: a training that shows, a longer name, a link that was copied. What has no room opens."""
    page = visit(viewport={"width": width, "height": 720})
    arrived(page, "Decode")
    before, chip = page.evaluate(HEADER), page.get_by_test_id("chip")
    left = page.get_by_test_id("models").bounding_box()
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_test_id("share").click()
    expect(page.get_by_test_id("share")).to_have_text("Link copied")
    assert page.evaluate(HEADER) == before
    assert page.get_by_test_id("models").bounding_box() == left
    active = {"name": "a name that is far too long for a line", "run": "x", "state": "running", "step": 1, "steps": 9,
              "seconds_left": 5000}  # fmt: skip
    page.evaluate("active => glass.emit('active', active)", active)
    expect(chip.locator(".g-chip-live")).to_be_visible()
    assert page.evaluate(HEADER) == before
    expect(chip.locator(".g-chip-live > i")).to_be_in_viewport()
    more = page.get_by_test_id("chip-all")
    expect(more).to_be_visible()
    more.click()
    expect(chip.locator(".g-chip-facts")).to_contain_text("bits per byte", use_inner_text=True)
    assert page.evaluate(STICKING_OUT) == []
    assert page.evaluate(HEADER) == before
    page.keyboard.press("Escape")
    expect(more).to_have_attribute("aria-expanded", "false")


def test_on_a_phone_the_name_of_the_model_stays_in_sight(visit: Visit) -> None:
    page = visit(viewport=PHONE, has_touch=True)
    arrived(page, "Decode")
    page.evaluate("scrollTo(0, 1200)")
    chip = page.get_by_test_id("chip").bounding_box()
    assert chip
    assert 0 <= chip["y"] < 12
    assert chip["height"] < 48
    expect(page.get_by_test_id("models")).not_to_be_in_viewport()
