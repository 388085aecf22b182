"""Attention: every head of every layer, and one of them large."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

from explorer import text
from explorer.components import drawn, onward


def build(decode: Callable[[Any], dict[str, Any]], opening: dict[str, Any]) -> None:
    """The tab's contents. decode: the server function; opening: the reply that the page begins with."""
    with gr.Column(elem_classes="g-look"):  # the strip stays in sight as far as this reaches
        drawn("strip", opening, [decode], mode="compact")
        with gr.Row(equal_height=False, elem_classes="g-maps"):
            with gr.Column(scale=1, min_width=340):
                drawn("heads", opening, [decode])
                drawn("kinds", elem_classes="g-last")
            with gr.Column(scale=1, min_width=340):
                drawn("zoom", opening, [decode])
    onward(text.TO_CORPUS, "Corpus")
