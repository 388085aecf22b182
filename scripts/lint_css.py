"""Lints the stylesheets of a folder: `python scripts/lint_css.py assets`.

Finds what a browser drops without a word: syntax errors, empty rules, a property given twice in one rule, and a
`--g-` variable that is read (in css, or by name in js) but defined nowhere. Whether Chromium knows each property and
value is asked of Chromium itself, in tests/browser/test_stylesheets.py.
"""

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tinycss2

END = "\n.end-of-file { top: 0 }"
OWN_VARIABLE = re.compile(r"--g-[\w-]+")
READ = re.compile(r"var\(\s*(--g-[\w-]+)")
SET_IN_JS = re.compile(r"setProperty\(\s*['\"](--g-[\w-]+)")


@dataclass(frozen=True)
class Declaration:
    """One `name: value` with the selector (or at-rule) of the rule that it stands in, and its line in the file."""

    rule: str
    name: str
    value: str
    line: int


@dataclass(frozen=True)
class Stylesheet:
    """What one css file says, and what is wrong with it as `line: sentence`."""

    declarations: list[Declaration]
    selectors: list[str]
    problems: list[str]


def parse(css: str) -> Stylesheet:
    """Read a whole file; nested rules and at-rules included."""
    sheet = Stylesheet([], [], [])
    # A comment, string or block that is never closed swallows the rule that is put behind the text.
    nodes = tinycss2.parse_stylesheet(css + END, skip_comments=True, skip_whitespace=True)
    if not nodes or tinycss2.serialize([nodes.pop()]).strip() != END.strip():
        sheet.problems.append(f"{len(css.splitlines())}: something is still open at the end of the file")
    for node in nodes:
        _read(node, "the file", sheet, [])
    return sheet


def _read(node: Any, rule: str, sheet: Stylesheet, earlier: list[str]) -> None:
    """One node of a rule's inside; `earlier` are the properties that this rule has set so far, in order."""
    if node.type == "error":
        sheet.problems.append(f"{node.source_line}: {node.message}")
    elif node.type == "declaration":
        _declaration(node, rule, sheet, earlier)
    elif node.type in ("qualified-rule", "at-rule"):
        name = tinycss2.serialize(node.prelude).strip()
        if node.type == "at-rule":
            name = f"@{node.at_keyword} {name}".strip()
        elif not rule.startswith("@keyframes"):
            sheet.selectors.append(name)
        _tokens(node.prelude, sheet)
        if node.content is None:  # @import, @layer a;
            return
        contents = tinycss2.parse_blocks_contents(node.content, skip_comments=True, skip_whitespace=True)
        if not contents:
            sheet.problems.append(f"{node.source_line}: {name} is empty")
        inner: list[str] = []
        for item in contents:
            _read(item, name, sheet, inner)


def _declaration(node: Any, rule: str, sheet: Stylesheet, earlier: list[str]) -> None:
    value = tinycss2.serialize(node.value).strip()
    _tokens(node.value, sheet)
    # A fallback for older browsers stands right before the value that replaces it.
    if node.name in earlier and earlier[-1] != node.name:
        sheet.problems.append(f"{node.source_line}: {rule} sets {node.name} twice")
    if not value and not node.name.startswith("--"):
        sheet.problems.append(f"{node.source_line}: {rule} sets {node.name} to nothing")
    earlier.append(node.name)
    sheet.declarations.append(Declaration(rule, node.name, value, node.source_line))


def _tokens(nodes: list[Any], sheet: Stylesheet) -> None:
    """Report what the tokenizer could not read: a stray bracket, a broken string or url."""
    for node in nodes:
        if node.type == "error":
            sheet.problems.append(f"{node.source_line}: {node.message}")
        _tokens(getattr(node, "content", None) or getattr(node, "arguments", None) or [], sheet)


def lint(folder: Path) -> Iterator[str]:
    """Every problem of the css under a folder, as `path:line: sentence`."""
    styles = {path: path.read_text("utf-8") for path in sorted(folder.rglob("*.css"))}
    scripts = {path: path.read_text("utf-8") for path in sorted(folder.rglob("*.js"))}
    sheets = {path: parse(text) for path, text in styles.items()}
    defined = {declaration.name for sheet in sheets.values() for declaration in sheet.declarations}
    for text in scripts.values():
        defined.update(SET_IN_JS.findall(text))
    for path, sheet in sheets.items():
        yield from (f"{path}:{problem}" for problem in sheet.problems)
    for files, pattern in ((styles, READ), (scripts, OWN_VARIABLE)):
        for path, text in files.items():
            for number, line in enumerate(text.splitlines(), 1):
                for name in pattern.findall(line):
                    if name not in defined:
                        yield f"{path}:{number}: {name} is defined in no stylesheet"


def main() -> int:
    """Print the problems; 1 when there are any."""
    problems = [problem for folder in sys.argv[1:] for problem in lint(Path(folder))]
    print("\n".join(problems) or "No problems in the stylesheets.")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
