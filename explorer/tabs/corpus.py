"""Corpus: bring a text, see what is in it, clean it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gradio as gr

from explorer import bench, corpora, text
from explorer.components import drawn, onward
from explorer.server import Server, answering
from explorer.session import Reading, Visitor
from training.cleaning import Cleaning
from training.cleaning import clean as clean_text
from training.corpus import from_text
from training.files import CorpusError, shown
from training.hub import dataset_files, download, repo_name

_FILES = "(_, files) => [glass.session, files, Boolean(glass.last('adding'))]"
# Another text was taken: what was pasted or chosen from the list, and is not in use any more, goes.
_BOXES = """(pasted, example) => {
    const taken = glass.last('corpus') || {};
    return [taken.source === 'paste' ? pasted : '', taken.example || null];
}"""
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
                elem_id="upload",
                elem_classes="g-keep",
            )
            file.preprocess = given  # type: ignore[assignment, method-assign]  # Gradio hands over cleaned-up names only
            adding = gr.Checkbox(visible=False)
            columns = drawn("columns", functions=functions(server, reading, choose), elem_id="columns")
            pasted = gr.Textbox(label=text.PASTE, placeholder=text.PASTE_HINT, lines=4, max_lines=12, elem_id="paste")
            use = gr.Button(text.USE_PASTE, elem_id="use-paste")
            example = gr.Dropdown(
                corpora.choices(), value=None, label=text.EXAMPLE, interactive=True, elem_id="example"
            )
            drawn("hub", functions=functions(server, hub_files, hub_take), elem_id="hub")
        with gr.Column(scale=7, min_width=320):
            card = drawn("corpus", functions=[state(server)], elem_id="corpus-card")
    drawn("clean", functions=functions(server, clean, clean_progress), elem_id="clean")
    bench.build(server, visitor)
    onward(text.TO_TRAIN, "Train")
    private: dict[str, Any] = {
        "api_visibility": "private",
        "js": _OURS,
        "show_progress": "minimal",
        "show_progress_on": card,
    }
    uploaded = Uploads(server)
    # The field is emptied at once, so that what is chosen next stands for itself; `columns` lists what is in use.
    file.upload(uploaded.read, [visitor, file, adding], [card, columns], **private | {"js": _FILES}).then(
        None, None, file, js="() => null", api_visibility="private", show_progress="hidden"
    )
    card.clear(None, [pasted, example], [pasted, example], js=_BOXES, api_visibility="private", show_progress="hidden")
    use.click(uploaded.paste, [visitor, pasted], [card, columns], **private)
    # `change`: Gradio's lists say `input` whenever they lose the focus, so that a Tab would take another text.
    example.change(uploaded.example, [visitor, example], [card, columns], **private)
    return CorpusTab(card)


def given(payload: Any) -> list[tuple[str, str]] | None:
    """(where an upload lies, what the visitor calls it) of each file of a gr.File, from its FileData."""
    files = getattr(payload, "root", payload)
    if files is None:
        return None
    files = files if isinstance(files, list) else [files]
    return [(file.path, file.orig_name or Path(file.path).name) for file in files]


class Uploads:
    """The handlers: each reads a text, makes it the visitor's own, and returns what card and columns show."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def read(
        self, visitor: str, files: str | Sequence[str | tuple[str, str]] | None, adding: bool = False
    ) -> tuple[Any, Any]:
        """Files were uploaded: paths, or pairs of path and name. adding: to those in use; else in their place."""
        if not files:
            return gr.skip(), gr.skip()
        pairs = [(file, Path(file).name) if isinstance(file, str) else file for file in _listed(files)]

        def take(owner: Visitor) -> None:
            former = owner.reading if adding and owner.reading and owner.reading.source == "file" else None
            if former is None:
                return _read(self._server, owner, _of_pairs(pairs))
            names = former.names or former.paths
            kept = [(former.paths[place], names[place]) for place in former.used]
            joined = _of_pairs(list(dict.fromkeys([*kept, *pairs])))
            joined = replace(former, paths=joined.paths, names=joined.names, refused=())
            return _read(self._server, owner, joined, same=True)

        return self._take(visitor, take)

    def paste(self, visitor: str, pasted: str) -> tuple[Any, Any]:
        """A text was pasted."""

        def take(owner: Visitor) -> None:
            owner.take_corpus(from_text(pasted, max_bytes=self._server.limits.upload_bytes))

        return self._take(visitor, take)

    def example(self, visitor: str, key: str | None) -> tuple[Any, Any]:
        """One of the offered texts was chosen; or none, by an upload or a paste."""
        if key is None:
            return gr.skip(), gr.skip()

        def take(owner: Visitor) -> None:
            if key != owner.example:  # the list says so too when the page sets it to what is in use
                owner.take_corpus(corpora.take(key), example=key)

        return self._take(visitor, take)

    def _take(self, token: str, take: Callable[[Visitor], None]) -> tuple[dict[str, Any], dict[str, Any]]:
        @answering
        def taken() -> dict[str, Any]:
            visitor = self._server.visitors.get(token)
            take(visitor)
            return corpora.describe(visitor)

        @answering
        def looked() -> dict[str, Any]:
            return corpora.table(self._server.visitors.get(token), self._server.limits.upload_bytes)

        return taken(), looked()


# --- what the page's scripts ask for -------------------------------------------------------------------------------


def reading(server: Server, raw: dict[str, Any]) -> dict[str, Any]:
    """The columns of the files read last, their first rows, and what was chosen."""
    visitor = server.visitors.get(raw.get("session"))
    return corpora.table(visitor, server.limits.upload_bytes)


def choose(server: Server, raw: dict[str, Any]) -> dict[str, Any]:
    """Read the last files again: another column or delimiter, or only the good lines."""
    visitor = server.visitors.get(raw.get("session"))
    column, keep, delimiter = raw.get("column"), raw.get("keep_good"), raw.get("delimiter")
    former = visitor.wish or visitor.reading
    if former is None:
        raise CorpusError("There is no file to choose a column of: upload one first.")
    if not (column is None or isinstance(column, str)) or not isinstance(keep, bool):
        raise CorpusError("Choose one of the columns in the table.")
    if not (delimiter is None or isinstance(delimiter, str)):
        raise CorpusError("Choose one of the delimiters in the list.")
    wanted = replace(former, column=column, keep_good=keep, delimiter=delimiter)
    _read(server, visitor, wanted, same=former is visitor.reading, again=True)
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
    visitor.cleanings += 1
    mine, visitor.clean_share = visitor.cleanings, 0.0
    if raw.get("sample") is True and visitor.corpus is not None:
        part = corpora.sample(visitor.corpus)
        return corpora.cleaned(clean_text(part, cleaning), cleaning, len(part.text))

    def told(share: float) -> None:
        if visitor.cleanings != mine:
            raise CorpusError(text.ANOTHER_CLEANING)
        visitor.clean_share = share

    return corpora.cleaned(visitor.cleaned(cleaning, told), cleaning)


def clean_progress(server: Server, raw: dict[str, Any]) -> dict[str, Any]:
    """How far the cleaning of the visitor's text has come."""
    return {"share": server.visitors.get(raw.get("session")).clean_share}


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
    table = corpora.table(visitor, server.limits.upload_bytes)
    return {"corpus": {"ok": True, **corpora.describe(visitor)}, "reading": {"ok": True, **table}}


def _with_text(visitor: Visitor) -> Visitor:
    if visitor.corpus is None:
        visitor.take_corpus(corpora.take(corpora.DEFAULT))
    return visitor


def _listed(files: str | Sequence[str | tuple[str, str]]) -> Sequence[str | tuple[str, str]]:
    return [files] if isinstance(files, str) else files


def _of_pairs(pairs: Sequence[tuple[str, str]]) -> Reading:
    return Reading(tuple(path for path, _ in pairs), tuple(name for _, name in pairs))


def _read(server: Server, visitor: Visitor, reading: Reading, same: bool = False, again: bool = False) -> None:
    """Read files and make them the visitor's text; where none can be read everything stays as it was.

    same: the files in use are among them, and stay cleaned. again: nothing but the way they are read is new, so that
    one which was read before must not be lost by it; else a refused table is kept as a wish, to be mended.
    """
    most = server.limits.upload_bytes
    refused: dict[int, str] = {}
    try:
        corpus = corpora.read(reading, most, refused)
    except CorpusError as error:
        if not (same or again):
            reading = replace(reading, bad_lines=corpora.has_bad_lines([str(error)]))
            visitor.wish = reading if corpora.can_be_mended(reading, most) else None
        raise
    lost = set(refused) & set(reading.used) if same and again else set()
    if lost:
        raise CorpusError(refused[min(lost)])
    bad = corpora.has_bad_lines([*corpus.notes, *refused.values()])
    reading = replace(reading, refused=tuple(refused.items()), bad_lines=bad)
    visitor.take_corpus(corpus, keep_cleaning=same, reading=reading)
    try:
        visitor.cleaned()
    except CorpusError:
        visitor.cleaning = Cleaning()  # made for another column: it leaves nothing of this one
