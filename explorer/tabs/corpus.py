"""Corpus: bring a text, see what is in it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from explorer import bench, corpora, text
from explorer.components import drawn, onward
from explorer.server import Server, answering
from training.corpus import (
    CSV_TYPES,
    JSONL_TYPES,
    Corpus,
    from_text,
    preview,
    read_corpus,
)
from training.trainer import warm_up

_log = logging.getLogger(__name__)
_OURS = "(_, ...rest) => [glass.session, ...rest]"  # the visitor's token goes in as the first input


@dataclass(frozen=True)
class CorpusTab:
    """The components that others refer to."""

    card: gr.HTML


def state(server: Server) -> Callable[[Any], dict[str, Any]]:
    """The server function `corpus`: what the visitor's text is; the shipped tales until they bring their own."""

    @answering
    def corpus(request: Any) -> dict[str, Any]:
        visitor = server.visitors.get(request.get("session") if isinstance(request, dict) else None)
        warm_up()  # whoever looks at texts will train soon
        if visitor.corpus is None:
            visitor.take_corpus(corpora.take(corpora.DEFAULT))
        assert visitor.corpus is not None
        return corpora.describe(visitor.corpus)

    return corpus


def build(server: Server, visitor: gr.Textbox) -> CorpusTab:
    """The tab's contents. visitor: the hidden box that carries the visitor's token into events."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=320), gr.Column(elem_classes="g-card"):
            gr.Markdown(text.UPLOAD_SHARED if server.limits.shared else text.UPLOAD)
            file = gr.File(
                label=text.FILE,
                height=120,
                elem_id="upload",
                elem_classes="g-keep",
            )
            column = gr.Dropdown([], label=text.COLUMN, visible=False, interactive=True, elem_id="column")
            keep_good = gr.Checkbox(False, label=text.KEEP_GOOD, visible=False, elem_id="keep-good")
            pasted = gr.Textbox(label=text.PASTE, placeholder=text.PASTE_HINT, lines=4, max_lines=12, elem_id="paste")
            use = gr.Button(text.USE_PASTE, elem_id="use-paste")
            example = gr.Dropdown(
                corpora.choices(), value=None, label=text.EXAMPLE, interactive=True, elem_id="example"
            )
        with gr.Column(scale=7, min_width=320):
            card = drawn("corpus", functions=[state(server)], elem_id="corpus-card")
            onward(text.TO_TRAIN, "Train")
    bench.build(server, visitor)
    private: dict[str, Any] = {
        "api_visibility": "private",
        "js": _OURS,
        "show_progress": "minimal",
        "show_progress_on": card,
    }
    uploaded = Uploads(server)
    gr.on([file.upload, use.click], lambda: None, None, example, api_visibility="private", show_progress="hidden")
    file.upload(uploaded.read, [visitor, file], [card, column, keep_good], **private)
    # `change`: Gradio's lists say `input` whenever they lose the focus, so that a Tab would take another text.
    column.change(uploaded.reread, [visitor, file, column, keep_good], [card], **private)
    keep_good.input(uploaded.reread, [visitor, file, column, keep_good], [card], **private)
    use.click(uploaded.paste, [visitor, pasted], [card], **private)
    example.change(uploaded.example, [visitor, example], [card], **private)
    return CorpusTab(card)


class Uploads:
    """The handlers: each reads a text, makes it the visitor's own, and returns what the card shows."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def read(self, visitor: str, path: str | None) -> tuple[Any, Any, Any]:
        """A file was uploaded."""
        if not path:
            return gr.skip(), gr.skip(), gr.skip()
        reply = self._take(visitor, lambda: self._file(path))
        kind = Path(path).suffix.lower()
        columns, guess = gr.update(choices=[], value=None, visible=False), None
        if kind in CSV_TYPES + JSONL_TYPES:
            try:
                look = preview(path, max_bytes=self._server.limits.upload_bytes)
                assert look is not None
                guess = look.guess
                columns = gr.update(choices=list(look.columns), value=guess, visible=True)
            except ValueError:
                pass  # the card says what is wrong with the file
        self._has_read(visitor, path, guess, False)  # filling the list of columns will ask for this again
        return reply, columns, gr.update(visible=kind in JSONL_TYPES, value=False)

    def reread(self, visitor: str, path: str | None, column: str | None, keep_good: bool) -> Any:
        """Another column was chosen, or broken lines are to be skipped."""
        if not path or self._has_read(visitor, path, column, keep_good):
            return gr.skip()
        return self._take(visitor, lambda: self._file(path, column, keep_good))

    def paste(self, visitor: str, pasted: str) -> Any:
        """A text was pasted."""
        return self._take(visitor, lambda: from_text(pasted, max_bytes=self._server.limits.upload_bytes))

    def example(self, visitor: str, key: str | None) -> Any:
        """One of the offered texts was chosen; or none, by an upload or a paste."""
        if key is None:
            return gr.skip()
        return self._take(visitor, lambda: corpora.take(key))

    def _file(self, path: str, column: str | None = None, keep_good: bool = False) -> Corpus:
        kind = Path(path).suffix.lower()
        return read_corpus(
            path,
            column=column if kind in CSV_TYPES else None,
            field=column if kind in JSONL_TYPES else None,
            keep_good_lines=keep_good,
            max_bytes=self._server.limits.upload_bytes,
        )

    def _has_read(self, token: str, path: str, column: str | None, keep_good: bool) -> bool:
        """Whether this is the visitor's last reading of a file; if not, it is from now on."""
        try:
            visitor = self._server.visitors.get(token)
        except ValueError:
            return False  # `_take` says it
        before, visitor.reading = visitor.reading, (path, column, keep_good)
        return visitor.reading == before

    def _take(self, token: str, read: Callable[[], Corpus]) -> dict[str, Any]:
        @answering
        def take() -> dict[str, Any]:
            visitor = self._server.visitors.get(token)
            corpus = read()
            visitor.take_corpus(corpus)
            return corpora.describe(corpus)

        return take()
