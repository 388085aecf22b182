"""What one visitor owns: a corpus, its tokenizers and decoders; found by the unguessable id that their browser made."""

from __future__ import annotations

import hashlib
import re
import threading
from collections import OrderedDict
from collections.abc import Callable

from explorer.shelf import View
from model import Tokenizer
from model.decoding import Decoder
from training.corpus import Corpus

_TOKEN = re.compile(r"v[0-9a-f]{32}")


class VisitorError(ValueError):
    """A request without a usable visitor id."""


class Visitor:
    """One browser. `lock` is held while its decoders are used; the rest may be used by one event at a time."""

    def __init__(self, token: str, decoders: int) -> None:
        self.owner = hashlib.sha256(token.encode()).hexdigest()[:32]
        self.lock = threading.Lock()
        self.corpus: Corpus | None = None
        self.reading: tuple[str, str | None, bool] | None = None
        """The file read last: its path, the column, and whether broken lines were skipped."""
        self._tokenizers: dict[tuple[str, int], Tokenizer] = {}
        self._decoders: OrderedDict[tuple[str, int], tuple[View, Decoder]] = OrderedDict()
        self._capacity = decoders

    def take_corpus(self, corpus: Corpus | None) -> None:
        """Work on this text from now on; tokenizers learnt from another one are forgotten."""
        self.corpus = corpus
        self._tokenizers.clear()

    def tokenizer(self, kind: str, vocab_size: int, build: Callable[[], Tokenizer]) -> Tokenizer:
        """A tokenizer for the visitor's corpus, learnt once. vocab_size counts only where it is chosen."""
        key = (kind, vocab_size if kind == "bpe" else 0)
        if key not in self._tokenizers:
            self._tokenizers[key] = build()
        return self._tokenizers[key]

    def held(self, ref: object, step: object) -> View | None:
        """The model that this visitor looks at, as it was when they began: a run goes on, a text stays in one model."""
        found = self._decoders.get((ref, step)) if isinstance(ref, str) and isinstance(step, int) else None
        return found[0] if found else None

    def decoder(self, view: View) -> Decoder:
        """This visitor's decoder for a model; hold `lock` while using it."""
        view_held, decoder = self._decoders.get(view.key, (None, None))
        if decoder is None or view_held is not view:
            decoder = Decoder(view.model)
        self._decoders[view.key] = (view, decoder)
        self._decoders.move_to_end(view.key)
        while len(self._decoders) > self._capacity:
            self._decoders.popitem(last=False)
        return decoder


class Visitors:
    """The visitors of this process; the one unseen for longest goes when there are too many."""

    def __init__(self, capacity: int, decoders: int) -> None:
        self._capacity, self._decoders = capacity, decoders
        self._visitors: OrderedDict[str, Visitor] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, token: object) -> Visitor:
        """The visitor with this token, made when first seen. Raises VisitorError for anything but such a token."""
        if not isinstance(token, str) or not _TOKEN.fullmatch(token):
            raise VisitorError("This page has lost its visitor id: reload it.")
        with self._lock:
            if token not in self._visitors:
                self._visitors[token] = Visitor(token, self._decoders)
            self._visitors.move_to_end(token)
            while len(self._visitors) > self._capacity:
                self._visitors.popitem(last=False)
            return self._visitors[token]

    def __len__(self) -> int:
        return len(self._visitors)
