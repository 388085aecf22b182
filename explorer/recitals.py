"""Asking a model for its texts by heart, in portions that the page puts together. Knows nothing of requests' refs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from explorer.decode import RequestError, ids_of, whole
from explorer.jobs import JobError
from explorer.shelf import View
from training.config import Recipe
from training.kept import Texts
from training.recital import Outcome, Question, spread, write_on

WORDS = 6  # that each document is begun with
DOCUMENTS = 60  # asked for at once
_A_DOCUMENT = 8  # tokens that reading its beginning counts as
_BEHIND = 200  # characters of what stands in the text that are sent beyond what was written


@dataclass(frozen=True)
class Exam:
    """What a model is asked for. unit: what a document is, `documents` or `lines`."""

    documents: Sequence[str]
    unit: str
    start_mark: bool
    of_all: int
    """How many are long enough to be asked for."""

    @classmethod
    def of(cls, texts: Texts, recipe: Recipe | None, every: bool = False) -> Exam:
        """The same choice each time, from a run's kept text. recipe: None for a text read as one stream; every: all of
        it and not DOCUMENTS. Raises JobError where nothing is long enough."""
        cut = recipe is not None and recipe.cut == "documents"
        unit = "documents" if cut else "lines"
        documents = texts.documents()
        known = spread(documents, len(documents), WORDS)
        chosen = known if every else spread(documents, DOCUMENTS, WORDS)
        if not chosen:
            raise JobError(
                f"None of the {unit} that it learnt from has more than {WORDS} words, so there is nothing to ask for. "
                "Train on a text of longer ones."
            )
        return cls(chosen, unit, recipe is not None and cut and recipe.start_mark, len(known))


@dataclass
class Portion:
    """How far the asking has come. document: the one in turn; ids: what the model has written of it so far."""

    document: int
    ids: list[int]

    @classmethod
    def of(cls, value: Any, exam: Exam, view: View, longest: int) -> Portion:
        """What the page sends back; the beginning where it sends nothing. Raises RequestError."""
        if value is None:
            return cls(0, [])
        if not isinstance(value, dict):
            raise RequestError("How far it has come cannot be read: reload the page.")
        ids = value.get("ids")
        written = [] if ids == [] else ids_of(ids, view.model.config.vocab_size, longest)
        return cls(whole(value.get("document"), "document", 0, len(exam.documents) - 1), written)

    def write_on(self, exam: Exam, view: View, tokens: int) -> list[Outcome]:
        """About `tokens` tokens more; the documents that came to their end with them."""
        outcomes: list[Outcome] = []
        while tokens > 0 and self.document < len(exam.documents):
            lines = exam.unit == "lines"
            asked = Question.of(view.tokenizer, exam.documents[self.document], WORDS, exam.start_mark, lines)
            assert asked is not None  # only such were chosen
            before = len(self.ids)
            outcome = write_on(view.model, view.tokenizer, asked, self.ids, tokens)
            tokens -= len(self.ids) - before + _A_DOCUMENT
            if outcome is not None:
                outcomes.append(outcome)
                self.document, self.ids = self.document + 1, []
        return outcomes

    def packed(self) -> dict[str, Any]:
        """For the page to send back."""
        return {"document": self.document, "ids": self.ids}


def told(outcome: Outcome) -> dict[str, Any]:
    """An outcome for the page."""
    return {
        "given": outcome.given,
        "written": outcome.written,
        "expected": outcome.expected[: len(outcome.written) + _BEHIND],
        "exact": outcome.exact,
        "ended": outcome.ended,
        "longer": outcome.longer,
    }
