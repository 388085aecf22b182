"""Corpus: bring a text, see what is in it, clean it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr

from explorer import bench, corpora, text
from explorer.components import drawn, onward
from explorer.server import Server, answering
from explorer.session import Reading, Visitor
from training.cleaning import Cleaning
from training.corpus import from_text
from training.files import CorpusError, shown
from training.hub import dataset_files, download, repo_name
from training.trainer import warm_up

_OURS = "(_, ...rest) => [glass.session, ...rest]"  # the visitor's token goes in as the first input
_MOST_FILES = 200  # of a data set, listed


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
        return corpora.describe(_with_text(visitor))

    return corpus


def functions(server: Server, *made: Callable[[Server, dict[str, Any]], dict[str, Any]]) -> list[Callable[..., Any]]:
    """Server functions for a component of the page: they answer with {ok, ...}, whatever comes in."""

    def wrapped(function: Callable[[Server, dict[str, Any]], dict[str, Any]]) -> Callable[..., Any]:
        answer = answering(lambda raw: function(server, raw if isinstance(raw, dict) else {}))
        answer.__name__ = function.__name__  # the name that the page's scripts call it by
        return answer

    return [wrapped(function) for function in made]


def build(server: Server, visitor: gr.Textbox) -> CorpusTab:
    """The tab's contents. visitor: the hidden box that carries the visitor's token into events."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=320), gr.Column(elem_classes="g-card"):
            gr.Markdown(text.UPLOAD_SHARED if server.limits.shared else text.UPLOAD)
            file = gr.File(
                label=text.FILE,
                file_count="multiple",
                height=120,
                elem_id="upload",
                elem_classes="g-keep",
            )
            columns = drawn("columns", functions=functions(server, reading, choose), elem_id="columns")
            pasted = gr.Textbox(label=text.PASTE, placeholder=text.PASTE_HINT, lines=4, max_lines=12, elem_id="paste")
            use = gr.Button(text.USE_PASTE, elem_id="use-paste")
            example = gr.Dropdown(
                corpora.choices(), value=None, label=text.EXAMPLE, interactive=True, elem_id="example"
            )
            drawn("hub", functions=functions(server, hub_files, hub_take), elem_id="hub")
        with gr.Column(scale=7, min_width=320):
            card = drawn("corpus", functions=[state(server)], elem_id="corpus-card")
    drawn("clean", functions=functions(server, clean), elem_id="clean")
    bench.build(server, visitor)
    onward(text.TO_TRAIN, "Train")
    private: dict[str, Any] = {
        "api_visibility": "private",
        "js": _OURS,
        "show_progress": "minimal",
        "show_progress_on": card,
    }
    uploaded = Uploads(server)
    gr.on([file.upload, use.click], lambda: None, None, example, api_visibility="private", show_progress="hidden")
    file.upload(uploaded.read, [visitor, file], [card, columns], **private)
    use.click(uploaded.paste, [visitor, pasted], [card, columns], **private)
    # `change`: Gradio's lists say `input` whenever they lose the focus, so that a Tab would take another text.
    example.change(uploaded.example, [visitor, example], [card, columns], **private)
    return CorpusTab(card)


class Uploads:
    """The handlers: each reads a text, makes it the visitor's own, and returns what card and columns show."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def read(self, visitor: str, paths: str | Sequence[str] | None) -> tuple[Any, Any]:
        """Files were uploaded."""
        if not paths:
            return gr.skip(), gr.skip()
        files = (paths,) if isinstance(paths, str) else tuple(paths)
        return self._take(visitor, lambda owner: _read(self._server, owner, Reading(files)))

    def paste(self, visitor: str, pasted: str) -> tuple[Any, Any]:
        """A text was pasted."""

        def take(owner: Visitor) -> None:
            owner.take_corpus(from_text(pasted, max_bytes=self._server.limits.upload_bytes))
            owner.reading = None

        return self._take(visitor, take)

    def example(self, visitor: str, key: str | None) -> tuple[Any, Any]:
        """One of the offered texts was chosen; or none, by an upload or a paste."""
        if key is None:
            return gr.skip(), gr.skip()

        def take(owner: Visitor) -> None:
            owner.take_corpus(corpora.take(key))
            owner.reading = None

        return self._take(visitor, take)

    def _take(self, token: str, take: Callable[[Visitor], None]) -> tuple[dict[str, Any], dict[str, Any]]:
        @answering
        def taken() -> dict[str, Any]:
            visitor = self._server.visitors.get(token)
            take(visitor)
            return corpora.describe(visitor)

        @answering
        def looked() -> dict[str, Any]:
            return corpora.table(self._server.visitors.get(token).reading, self._server.limits.upload_bytes)

        return taken(), looked()


# --- what the page's scripts ask for -------------------------------------------------------------------------------


def reading(server: Server, raw: dict[str, Any]) -> dict[str, Any]:
    """The columns of the files read last, their first rows, and what was chosen."""
    visitor = server.visitors.get(raw.get("session"))
    return corpora.table(visitor.reading, server.limits.upload_bytes)


def choose(server: Server, raw: dict[str, Any]) -> dict[str, Any]:
    """Read the last files again: another column, or only the good lines."""
    visitor = server.visitors.get(raw.get("session"))
    column, keep = raw.get("column"), raw.get("keep_good")
    if visitor.reading is None:
        raise CorpusError("There is no file to choose a column of: upload one first.")
    if not (column is None or isinstance(column, str)) or not isinstance(keep, bool):
        raise CorpusError("Choose one of the columns in the table.")
    _read(server, visitor, replace(visitor.reading, column=column, keep_good=keep), keep_cleaning=True)
    return _both(server, visitor)


def clean(server: Server, raw: dict[str, Any]) -> dict[str, Any]:
    """Clean the visitor's text by these steps from now on; without steps, as it is cleaned."""
    visitor = server.visitors.get(raw.get("session"))
    wanted = raw.get("cleaning")
    _with_text(visitor)
    if wanted is None:
        return corpora.cleaned(visitor.cleaned(), visitor.cleaning)
    if not isinstance(wanted, dict):
        raise CorpusError("Choose the steps by their switches.")
    cleaning = Cleaning.from_dict(wanted)
    return corpora.cleaned(visitor.cleaned(cleaning), cleaning)


def hub_files(server: Server, raw: dict[str, Any]) -> dict[str, Any]:
    """The files of a data set of the Hub that a text can be read from."""
    server.visitors.get(raw.get("session"))
    repo = repo_name(str(raw.get("repo") or "")[:300])
    files = dataset_files(repo)
    listed = [{"name": file.filename, "size": file.size} for file in files[:_MOST_FILES]]
    return {"repo": repo, "files": listed, "more": len(files) - len(listed)}


def hub_take(server: Server, raw: dict[str, Any]) -> dict[str, Any]:
    """Fetch a file of a data set and make it the visitor's text."""
    visitor = server.visitors.get(raw.get("session"))
    repo, file = repo_name(str(raw.get("repo") or "")[:300]), str(raw.get("file") or "")[:1000]
    path = download(repo, file, max_bytes=server.limits.upload_bytes)
    _read(server, visitor, Reading((str(path),), (file.rsplit("/", 1)[-1],), f"hub:{repo}/{shown(file, 120)}"))
    return _both(server, visitor)


def _both(server: Server, visitor: Visitor) -> dict[str, Any]:
    table = corpora.table(visitor.reading, server.limits.upload_bytes)
    return {"corpus": {"ok": True, **corpora.describe(visitor)}, "reading": {"ok": True, **table}}


def _with_text(visitor: Visitor) -> Visitor:
    if visitor.corpus is None:
        visitor.take_corpus(corpora.take(corpora.DEFAULT))
    return visitor


def _read(server: Server, visitor: Visitor, reading: Reading, keep_cleaning: bool = False) -> None:
    """Read files and make them the visitor's text; where that fails only the wish is kept, so that it can be mended."""
    former, visitor.reading = visitor.reading, reading
    try:
        corpus = corpora.read(reading, server.limits.upload_bytes)
    except CorpusError:
        if keep_cleaning:
            visitor.reading = former  # a column that cannot be: the text goes on as it was read
        raise
    visitor.take_corpus(corpus, keep_cleaning)
    try:
        visitor.cleaned()
    except CorpusError:
        visitor.cleaning = Cleaning()  # made for another column: it leaves nothing of this one
