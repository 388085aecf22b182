"""What several tabs show: parts of the page that our own JavaScript draws (assets/js), as Gradio components."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

ASSETS = Path(__file__).resolve().parents[2] / "assets"


def drawn(
    name: str,
    value: Any = None,
    functions: Sequence[Callable[..., Any]] = (),
    **options: Any,
) -> gr.HTML:
    """A component that `glass.component(name, ...)` in assets/js draws.

    Its template is constant and nothing a visitor wrote ever goes into it: data reaches the script as `value`, or
    through `functions`, which the script calls. mode: a word that the script reads as data-mode.
    """
    mode = options.pop("mode", None)
    attribute = f' data-mode="{mode}"' if mode else ""
    return gr.HTML(
        value=value,
        html_template=f'<div class="g-mount"{attribute}></div>',
        js_on_load=f"glass.mount('{name}', {{element, props, trigger, server, watch, upload}})",
        server_functions=list(functions),
        apply_default_css=False,
        padding=False,
        container=False,
        **options,
    )


def onward(label: str, tab: str, first: str = "") -> gr.Button:
    """The button at the end of a tab that leads to the next one; `first` is JavaScript to run before."""
    button = gr.Button(label, elem_classes="g-onward")
    button.click(None, None, None, js=f"() => {{ {first} glass.openTab('{tab}') }}", api_visibility="private")
    return button


def head() -> str:
    """What goes into the page's head: all styles and scripts of assets/, inline, so that nothing is asked for later."""
    styles = _joined("css", first="base.css")
    scripts = _joined("js", first="glass.js")
    icon = "data:image/svg+xml," + ICON
    return f'<link rel="icon" href="{icon}"><style>{styles}</style><script>{scripts}</script>'


ICON = (
    "%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 32 32'%3E%3Crect x='8' y='8' width='16' height='16' rx='4' "
    "fill='none' stroke='%233b4cca' stroke-width='3.5' transform='rotate(45 16 16)'/%3E%3C/svg%3E"
)


def _joined(kind: str, first: str) -> str:
    files = sorted((ASSETS / kind).glob(f"*.{kind}"), key=lambda path: (path.name != first, path.name))
    return "\n".join(path.read_text(encoding="utf-8") for path in files)
