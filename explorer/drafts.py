"""A text that a model writes to be measured, a few tokens a call: the page sends back what the last call answered."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from explorer.decode import RequestError, ids_of
from explorer.shelf import View
from model import Tokenizer
from model.decoding import generate
from model.sampling import Settings
from model.tokenizer import UnknownText
from training.kept import Texts
from training.recital import spread

BEGUN = 2  # words that a document is begun with, for a model that never learnt how one begins
_DOCUMENTS = 200  # whose beginnings are taken, evenly spread
_TOKENS_A_CALL = 32
_LONGEST = 100_000  # characters that the page may send back as written so far
Starts = tuple[tuple[int, ...], ...]


def beginnings(texts: Texts, tokenizer: Tokenizer) -> Starts:
    """How documents begin, as tokens: of those held out, else of those that were learnt from."""
    starts = []
    for document in spread(texts.held_out_documents() or texts.documents(), _DOCUMENTS, BEGUN):
        found = re.match(rf"\s*\S+(?:\s+\S+){{{BEGUN - 1}}}", document)
        try:
            starts.append(tuple(tokenizer.encode(found[0] if found else document)))
        except UnknownText:  # a held-out document of characters or words that were never seen
            continue
    return tuple(starts)


@dataclass
class Draft:
    """written: its documents that came to their end; ids: the one being written; starts: what each is begun with, in
    turn, where the model needs that."""

    written: list[str]
    ids: list[int]
    starts: Starts = ()

    @classmethod
    def of(cls, value: Any, view: View, longest: int, starts: Starts = ()) -> Draft:
        """What the page sends back; a new one where it sends nothing. Raises RequestError."""
        if value is None:
            draft = cls([], [], starts)
            draft._begin(view.tokenizer)
            return draft
        texts = value.get("written") if isinstance(value, dict) else None
        if not isinstance(texts, list) or not all(isinstance(t, str) for t in texts) or sum(map(len, texts)) > _LONGEST:
            raise RequestError("The text so far cannot be read: reload the page.")
        return cls(list(texts), ids_of(value.get("ids"), view.model.config.vocab_size, longest), starts)

    def _begin(self, tokenizer: Tokenizer) -> None:
        number = len(self.written)
        self.ids = list(self.starts[number % len(self.starts)]) if self.starts else [tokenizer.opening]

    def write_on(self, view: View, settings: Settings) -> None:
        """Some tokens more; where a document ends, the next one begins by another draw."""
        end = view.tokenizer.end_of_text
        draws = replace(settings, seed=settings.seed + len(self.written))
        self.ids.extend(generate(view.model, tuple(self.ids), _TOKENS_A_CALL, draws, end))
        if len(self.ids) > 1 and self.ids[-1] == end:
            self.written.append(self._text(view.tokenizer))
            self._begin(view.tokenizer)

    def _text(self, tokenizer: Tokenizer) -> str:
        return plain(tokenizer, self.ids if self.starts else self.ids[1:])

    def text(self, tokenizer: Tokenizer) -> str:
        """All of it, a document a line or more."""
        return "\n".join([*self.written, self._text(tokenizer)])

    def whole(self, tokenizer: Tokenizer, wanted: int) -> bool:
        """Whether it is long enough, or never will be: a model may write nothing but ends and empty tokens."""
        return len(self.text(tokenizer)) >= wanted or len(self.ids) + len(self.written) > wanted

    def packed(self) -> dict[str, Any]:
        """For the page to send back."""
        return {"written": self.written, "ids": self.ids}


def plain(tokenizer: Tokenizer, ids: Sequence[int]) -> str:
    """Tokens as text, without the marks of an end."""
    return tokenizer.decode([token for token in ids if token != tokenizer.end_of_text])
