"""Decode: step through the text token by token, with what could have come next and where the heads looked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

from explorer import text
from explorer.components import drawn, onward


def build(decode: Callable[[Any], dict[str, Any]], opening: dict[str, Any]) -> None:
    """The tab's contents. decode: the server function; opening: the reply that the page begins with."""
    with gr.Row(equal_height=False, elem_classes="g-columns"):
        with gr.Column(scale=31, min_width=340):
            drawn("strip", opening, [decode], mode="full")
            with gr.Row(equal_height=False, elem_classes="g-after"):
                with gr.Column(scale=10, min_width=260):
                    drawn("heads", opening, [decode])
                    drawn("kinds")
                with gr.Column(scale=12, min_width=300):
                    drawn("zoom", opening, [decode])
        with gr.Column(scale=20, min_width=340):
            drawn("distribution", opening, [decode])
    onward(text.TO_ATTENTION, "Attention")
