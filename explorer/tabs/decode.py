"""Decode: step through the text token by token, with what could have come next and where the heads looked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr

from explorer import text
from explorer.components import drawn, onward

Answer = Callable[[Any], dict[str, Any]]


def build(decode: Answer, opening: dict[str, Any], learnt: Sequence[Answer], branches: Answer) -> None:
    """The tab's contents. decode, learnt, branches: the server functions; opening: the reply the page begins with."""
    with gr.Row(equal_height=False, elem_classes="g-columns"):
        with gr.Column(scale=31, min_width=340):
            with gr.Column(elem_classes="g-look"):  # the strip stays in sight as far as this reaches
                drawn("strip", opening, [decode], mode="full")
                with gr.Row(equal_height=False, elem_classes=["g-after", "g-maps"]):
                    with gr.Column(scale=10, min_width=260):
                        drawn("heads", opening, [decode])
                        drawn("kinds", elem_classes="g-last")
                    with gr.Column(scale=12, min_width=300):
                        drawn("zoom", opening, [decode])
            drawn("learnt", None, learnt, elem_classes="g-after")
        with gr.Column(scale=20, min_width=340):
            drawn("distribution", opening, [decode])
            drawn("tree", None, [branches], elem_classes="g-after")
            drawn("measure", None, learnt, elem_classes="g-after")
    onward(text.TO_ATTENTION, "Attention")
