"""Tokenizers side by side: the card at the end of the Corpus tab, and the two server functions behind it.

The card asks for one tokenizer after another, so that each is shown as soon as it is there; what was learnt for a
visitor's text is kept, so that another sentence costs nothing.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import gradio as gr

from explorer import corpora
from explorer.components import drawn
from explorer.decode import RequestError, whole
from explorer.packing import pack_piece
from explorer.server import Server, answering
from explorer.session import Visitor
from model import Tokenizer
from model.pieces import Piece
from training import tokenizer_bench
from training.corpus import Corpus
from training.tokenizer_bench import Figures, Parts, Replay

KINDS = ("char", "word", "bpe", "gpt2")
"""What the card compares, in its order."""
ENTRIES = (257, 8192)
"""Sizes of the own BPE that can be asked for."""
SENTENCE = 600
"""The longest sentence, in characters."""
READ = 2_000_000
"""Characters of a text that the card works on; a longer one is cut, and that is said."""
COUNTED = 1_000_000
"""Characters of it that every tokenizer is counted over, spread over the text; that is said too."""
_KEPT = 6  # learnt tokenizers a visitor
_AT_ONCE = 2  # learnt at the same moment; others wait
_SURROGATE = re.compile("[\ud800-\udfff]")
Learnt = tuple[Tokenizer, Figures]


@dataclass(eq=False)
class Held:
    """What the bench keeps for one visitor: their text, cut in two, and what was learnt from it."""

    corpus: Corpus
    parts: Parts
    learnt: OrderedDict[tuple[str, int], Learnt] = field(default_factory=OrderedDict)
    busy: dict[str, threading.Lock] = field(default_factory=lambda: {kind: threading.Lock() for kind in KINDS})
    share: float = 0.0
    """How far the byte-pair vocabulary that is being learnt has come, 0 to 1."""


def build(server: Server, visitor: gr.Textbox) -> gr.HTML:
    """The card. visitor: as every part of a tab gets it; the card names the visitor in its own requests."""
    del visitor
    bench = Bench(server)
    return drawn("bench", {"entries": list(ENTRIES), "longest": SENTENCE}, functions=bench.functions(), elem_id="bench")


class Bench:
    """The state of the card for all visitors of a server."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._held: WeakKeyDictionary[Visitor, Held] = WeakKeyDictionary()
        self._lock = threading.Lock()
        self._places = threading.BoundedSemaphore(_AT_ONCE)

    def functions(self) -> list[Callable[[Any], dict[str, Any]]]:
        """`bench` and `bench_progress`, as the page calls them (docs/page-protocol.md)."""

        @answering
        def bench(request: Any) -> dict[str, Any]:
            return self.answer(request)

        @answering
        def bench_progress(request: Any) -> dict[str, Any]:
            return self.progress(request)

        return [bench, bench_progress]

    def answer(self, raw: Any) -> dict[str, Any]:
        """One tokenizer on the visitor's text and on a sentence. Raises ValueError with a sentence."""
        if not isinstance(raw, dict):
            raise RequestError("The request is not an object: reload the page.")
        kind = raw.get("kind")
        if kind not in KINDS:
            raise RequestError(f"There is no such tokenizer: choose one of {', '.join(KINDS)}.")
        entries = whole(raw.get("entries", 512), "the size of the vocabulary", *ENTRIES)
        asked = _sentence(raw.get("sentence"))
        held = self.held(self._server.visitors.get(raw.get("session")))
        sentence = tokenizer_bench.first_sentence(held.parts.learnt) if asked is None else asked
        with held.busy[kind]:  # a second call for the same waits for the first and finds what it left
            tokenizer, figures = self._learnt(held, kind, entries)
        film = tokenizer_bench.replay(tokenizer, sentence) if tokenizer.merges else None
        return {
            "kind": kind,
            "sentence": sentence,
            "notice": figures.notice,
            "counted": _counted(held, figures),
            "strip": [_pack(tokenizer, item) for item in tokenizer_bench.strip(tokenizer, sentence)],
            "figures": _pack_figures(tokenizer, figures),
            "replay": None if film is None else _pack_replay(tokenizer, film),
        }

    def progress(self, raw: Any) -> dict[str, Any]:
        """How far the learning of the visitor's own byte pairs is. Raises ValueError with a sentence."""
        visitor = self._server.visitors.get(raw.get("session") if isinstance(raw, dict) else None)
        held = self._held.get(visitor)
        return {"share": 0.0 if held is None else held.share}

    def held(self, visitor: Visitor) -> Held:
        """What is kept for a visitor, begun anew where their text is another one."""
        corpus = corpora.text_of(visitor)
        with self._lock:
            held = self._held.get(visitor)
            if held is None or (held.corpus is not corpus and held.corpus.text != corpus.text):
                held = Held(corpus, tokenizer_bench.split(corpus.text[:READ]))
                self._held[visitor] = held
            return held

    def _learnt(self, held: Held, kind: str, entries: int) -> Learnt:
        """From what is kept, or learnt now."""
        key = (kind, entries if kind == "bpe" else 0)
        if (known := held.learnt.get(key)) is not None:
            held.learnt.move_to_end(key)
            return known

        def told(share: float) -> None:
            held.share = share

        held.share = 0.0 if kind == "bpe" else held.share
        with self._places:
            learnt = tokenizer_bench.measure(kind, held.parts, entries, told if kind == "bpe" else None, COUNTED)
        held.learnt[key] = learnt
        while len(held.learnt) > _KEPT:
            held.learnt.popitem(last=False)
        return learnt


def _sentence(value: Any) -> str | None:
    """The sentence of a request, null for one of the text's own. Raises RequestError."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise RequestError("The sentence is not a text: type one.")
    if len(value) > SENTENCE:
        raise RequestError(f"The sentence has {len(value):,} characters and {SENTENCE} are the most: shorten it.")
    return _SURROGATE.sub("\ufffd", value.replace("\r\n", "\n"))


def _counted(held: Held, figures: Figures) -> str | None:
    """How much of the text the figures are about, where that is not all; the same for every tokenizer."""
    said = []
    if len(held.corpus.text) > READ:
        said.append(f"Only the first {READ:,} characters of the text are used here.")
    if figures.read < figures.learnt:
        said.append(
            f"Each tokenizer is counted over the same {figures.read:,} of {figures.learnt:,} characters, spread over "
            "the text, to save time."
        )
    return " ".join(said) or None


def _pack(tokenizer: Tokenizer, item: Piece | str) -> tuple[int | None, str, str]:
    """[id, text, kind] of a token; of what has none [null, text, "unknown"]."""
    return (None, item, "unknown") if isinstance(item, str) else (item.id, *pack_piece(tokenizer, item.id))


def _pack_figures(tokenizer: Tokenizer, figures: Figures) -> dict[str, Any]:
    return {
        "entries": figures.entries,
        "used": figures.used,
        "tokens": figures.tokens,
        "characters": figures.read,
        "learnt": figures.learnt,
        "held_out": figures.tried,
        "unknown": figures.unknown,
        "longest": [_pack(tokenizer, piece) for piece in figures.longest],
        "seconds": None if figures.seconds is None else round(figures.seconds, 3),
    }


def _pack_replay(tokenizer: Tokenizer, film: Replay) -> dict[str, Any]:
    shown = {*film.start, *(merge.joined for merge in film.merges)}
    return {
        "total": film.total,
        "start": list(film.start),
        "merges": [[merge.after, merge.at, merge.joined, merge.rank + 1] for merge in film.merges],
        "pieces": [_pack(tokenizer, tokenizer.piece(token)) for token in sorted(shown)],
    }
