"""Chromium knows every property, value and selector of our stylesheets: it drops the others without a word.

What is written for Firefox alone (`-moz-`) is left out.
"""

from pathlib import Path

import pytest
from playwright.sync_api import Browser

from lint_css import parse

ASSETS = Path(__file__).resolve().parents[2] / "assets"
UNKNOWN = """([declarations, selectors]) => [
    ...declarations.filter(([name, value]) => !CSS.supports(name, value)).map(pair => pair.join(': ')),
    ...selectors.filter(selector => !CSS.supports(`selector(${selector})`)),
]"""


def unknown_to(browser: Browser, css: str) -> list[str]:
    """The declarations and selectors of a stylesheet that the browser would drop."""
    sheet = parse(css)
    declarations = [
        [declaration.name, declaration.value.removesuffix("!important").strip()]
        for declaration in sheet.declarations
        if not declaration.rule.startswith(("@font-face", "@property", "@page"))  # these hold descriptors
        and "-moz-" not in declaration.rule + declaration.name
    ]
    # A nested selector is only valid inside its rule, and CSS.supports takes one selector, not a list.
    listed = [part for text in sheet.selectors if "&" not in text for part in split_list(text)]
    selectors = [selector for selector in listed if "-moz-" not in selector]
    context = browser.new_context()
    try:
        found: list[str] = context.new_page().evaluate(UNKNOWN, [declarations, selectors])
    finally:
        context.close()
    return found


def split_list(selectors: str) -> list[str]:
    """`a, b:is(c, d)` -> `a`, `b:is(c, d)`."""
    parts, depth = [""], 0
    for character in selectors:
        depth += (character in "([") - (character in ")]")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]


@pytest.mark.parametrize("path", sorted(ASSETS.rglob("*.css")), ids=lambda path: path.name)
def test_chromium_knows_all_of_it(browser: Browser, path: Path) -> None:
    assert unknown_to(browser, path.read_text("utf-8")) == []


def test_what_chromium_does_not_know_is_found(browser: Browser) -> None:
    css = """
        a, b:hovver { colour: red; top: 12pq; left: var(--x); --x: 1; margin: 0 !important }
        @media print { c { top: red } }
    """
    assert unknown_to(browser, css) == ["colour: red", "top: 12pq", "top: red", "b:hovver"]
