"""The glossary: docs/glossary.md, read into what the page shows."""

from __future__ import annotations

import re
from pathlib import Path

FILE = Path(__file__).resolve().parents[1] / "docs" / "glossary.md"
_SEE = re.compile(r'\[([^]]+)\]\(http://127\.0\.0\.1:7860/\?see=([a-z-]+) "(\w+) (#?[\w-]+)"\)')


class GlossaryError(ValueError):
    """docs/glossary.md is not as this module reads it; the message names the term."""


def slug(term: str) -> str:
    """`Q/K/V` -> `q-k-v`: what a link calls a term."""
    return re.sub(r"[^a-z0-9]+", "-", term.lower()).strip("-")


def read(file: Path = FILE) -> list[dict[str, str]]:
    """The terms in the order of the file; none where the file is missing.

    Each: `slug`, `term`, `text`, `label` (of its link), `tab` and `target` (`#id` of an element, else its data-testid).
    Raises GlossaryError.
    """
    try:
        sections = file.read_text(encoding="utf-8").split("\n## ")[1:]
    except OSError:
        return []
    return [_term(*section.split("\n", 1)) for section in sections]


def _term(term: str, body: str = "") -> dict[str, str]:
    sees = list(_SEE.finditer(body))
    if len(sees) != 1 or sees[0][2] != slug(term):
        raise GlossaryError(f'docs/glossary.md: {term} needs one link [...](...?see={slug(term)} "Tab target").')
    text = " ".join((body[: sees[0].start()] + body[sees[0].end() :]).split())
    label, _, tab, target = sees[0].groups()
    return {"slug": slug(term), "term": term.strip(), "text": text, "label": label, "tab": tab, "target": target}
