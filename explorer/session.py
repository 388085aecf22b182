"""What one visitor owns: a corpus, its tokenizers and decoders; found by the unguessable id that their browser made."""

from __future__ import annotations

import hashlib
import re
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from explorer import text as said
from explorer.shelf import View
from model import Tokenizer
from model.decoding import Decoder
from training.cleaning import Cleaned, Cleaning, clean
from training.config import Recipe
from training.corpus import Corpus
from training.files import CorpusError

_TOKEN = re.compile(r"v[0-9a-f]{32}")


class VisitorError(ValueError):
    """A request without a usable visitor id."""


@dataclass(frozen=True)
class Reading:
    """The files read last: where they lie, what they are called, and what was chosen about them."""

    paths: tuple[str, ...]
    names: tuple[str, ...] | None = None
    source: str = "file"
    column: str | None = None
    keep_good: bool = False
    delimiter: str | None = None
    bad_lines: bool = False
    """Whether there are broken lines or ragged rows that could be left out."""
    refused: tuple[tuple[int, str], ...] = ()
    """Those that could not be read beside the others: place in `paths`, and the sentence."""

    @property
    def used(self) -> list[int]:
        """Places of the files that the text is made of."""
        refused = dict(self.refused)
        return [place for place in range(len(self.paths)) if place not in refused]


class Visitor:
    """One browser. `lock` is held while its decoders are used; the rest may be used by one event at a time."""

    def __init__(self, token: str, decoders: int) -> None:
        self.owner = hashlib.sha256(token.encode()).hexdigest()[:32]
        self.lock = threading.Lock()
        self.corpus: Corpus | None = None
        """The text as it was read. What is trained on is `text()`."""
        self.reading: Reading | None = None
        """The files that the text was read from; None for a text that came another way."""
        self.wish: Reading | None = None
        """A table that was refused, and may be read in another way."""
        self.example: str | None = None
        """The offered text that was taken, by its key."""
        self.cleanings = 0
        """How many cleanings were asked for; a newer one ends those before."""
        self.clean_share = 0.0
        """How far the one that is under way has come, 0 to 1."""
        self.taken = 0
        """How many texts were taken so far."""
        self.fits: dict[tuple[Any, ...], Any] = {}
        """How recipes come out for this text, by their settings (explorer/recipes.py); forgotten with the text."""
        self._cleaning = Cleaning()
        self._cleaned: tuple[Corpus, Cleaned] | None = None
        self._tokenizers: dict[tuple[Any, ...], Tokenizer] = {}
        self._decoders: OrderedDict[tuple[str, int], tuple[View, Decoder]] = OrderedDict()
        self._capacity = decoders

    def take_corpus(
        self,
        corpus: Corpus | None,
        keep_cleaning: bool = False,
        reading: Reading | None = None,
        example: str | None = None,
    ) -> None:
        """Work on this text from now on; tokenizers learnt from another one are forgotten, and so is its cleaning.

        keep_cleaning: the same files read in another way stay cleaned, where that leaves anything.
        reading, example: where it came from, if from files or from the list of texts on offer.
        """
        self.corpus, self._cleaned = corpus, None
        self.reading, self.wish, self.example = reading, None, example
        self._forget()
        if not keep_cleaning:
            self._cleaning = Cleaning()
            self.taken += 1

    @property
    def cleaning(self) -> Cleaning:
        """The steps that the text is cleaned by."""
        return self._cleaning

    @cleaning.setter
    def cleaning(self, cleaning: Cleaning) -> None:
        if cleaning != self._cleaning:
            self._cleaning, self._cleaned = cleaning, None
            self._forget()

    def _forget(self) -> None:
        """What was found out about a text that is no longer this one."""
        self._tokenizers.clear()
        self.fits = {}  # another one: who prepares the text before still holds the old one

    def cleaned(self, cleaning: Cleaning | None = None, told: Callable[[float], None] | None = None) -> Cleaned:
        """The text cleaned, with the counts; kept until text or cleaning change. cleaning: take this one from now on.
        told: as in `training.cleaning.clean`.

        Raises CorpusError where there is no text, or nothing is left of it; then everything stays as it was.
        """
        corpus = self.corpus
        if corpus is None:
            raise CorpusError(said.NO_TEXT)
        wanted = self._cleaning if cleaning is None else cleaning
        held = self._cleaned
        if held is not None and held[0] is corpus and wanted == self._cleaning:
            return held[1]
        done = clean(corpus, wanted, told)
        self.cleaning = wanted
        self._cleaned = (corpus, done)
        return done

    def text(self) -> Corpus:
        """The text to train on and to analyse: the visitor's own, cleaned. Raises CorpusError as `cleaned` does."""
        return self.cleaned().corpus

    def tokenizer(self, recipe: Recipe, corpus: Corpus, build: Callable[[], Tokenizer]) -> Tokenizer:
        """The tokenizer of a recipe for a corpus, learnt once. The size counts only where it is chosen.

        corpus: the visitor's text as the recipe cleans it; they may have taken another one since.
        """
        learnt = (recipe.vocab_size, recipe.train.val_fraction) if recipe.tokenizer == "bpe" else ()
        text = hash(corpus.text), len(corpus.text), len(corpus.documents or ())
        key = (recipe.tokenizer, recipe.cut, *learnt, *text)
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
