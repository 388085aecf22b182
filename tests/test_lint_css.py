"""The stylesheet linter finds what it promises to find, and is quiet about good css."""

from pathlib import Path

import pytest

from lint_css import lint, parse

GOOD = """
:root { --g-ink: #111; }
.a:is(b, .c):hover > i::before { color: var(--g-ink); height: 100vh; height: 100dvh; }
@media (max-width: 390px) { .a:hover { top: 0 } }
@keyframes k { from { top: 0 } to { top: 1px } }
.a { & .b { top: 0 } @media print { top: 1px } }
"""


def test_good_css_has_no_problems() -> None:
    sheet = parse(GOOD)
    assert sheet.problems == []
    assert [(d.name, d.line) for d in sheet.declarations[:2]] == [("--g-ink", 2), ("color", 3)]
    assert ".a:is(b, .c):hover > i::before" in sheet.selectors


@pytest.mark.parametrize(
    ("css", "problem"),
    [
        ("a { color red; }", "1: Stop token reached"),
        ("a { top: 0 }}\nb { top: 0 }", "1: Unmatched }"),
        ("a { top: 0", "still open at the end"),
        ("a { top: 0 } /* and", "still open at the end"),
        ("a {\n}", "1: a is empty"),
        ("a { top: 0;\nleft: 0;\ntop: 1px }", "3: a sets top twice"),
        ("@media print { a { top: ; } }", "1: a sets top to nothing"),
        ("a { content: 'x\n }", "1: Bad string"),
    ],
)
def test_each_kind_of_mistake_is_found(css: str, problem: str) -> None:
    assert any(problem in found for found in parse(css).problems)


def test_a_variable_that_nobody_defines_is_found_in_css_and_js(tmp_path: Path) -> None:
    (tmp_path / "page.css").write_text(".a { --g-own: 1; top: var(--g-own); left: var(--g-misspelt); }")
    script = ["read('--g-own');", "node.style.setProperty('--g-set', 1);", "read('--g-set', '--g-gone');"]
    (tmp_path / "page.js").write_text("\n".join(script))
    assert [problem.removeprefix(str(tmp_path)) for problem in lint(tmp_path)] == [
        "/page.css:1: --g-misspelt is defined in no stylesheet",
        "/page.js:3: --g-gone is defined in no stylesheet",
    ]
