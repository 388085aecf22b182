"""Where a model learnt what it writes: its text, looked up in what it was trained on, and measured beside it.

The text that a run was trained on lies in its folder (training/kept.py), that of a shipped model in assets/corpora. A
model that came without its text is held against the one in the Corpus tab, where the visitor brought one. A text is
indexed when it is first asked for, and the indexes used last are kept.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from explorer.decode import RequestError, ids_of, settings_of, whole
from explorer.drafts import BEGUN, Draft, Starts, beginnings, plain
from explorer.jobs import JobError
from explorer.recitals import WORDS, Exam, Portion, told
from explorer.server import Server
from explorer.session import Visitor
from explorer.shelf import View
from model import Tokenizer
from model.checkpoint import read_index
from training.config import Recipe, TrainConfig
from training.corpus import split_text
from training.evaluate import Evaluation, evaluate
from training.kept import FOLDER, Texts, documents_are_lines, read_text
from training.verbatim import GRAM, MEMORISED, NEW, Index, Piece, verdict

CORPORA = Path(__file__).resolve().parents[1] / "assets" / "corpora"
LENGTHS = (1000, 5000)  # characters that may be written and measured at a time
CHARACTERS = LENGTHS[0]
PLACES = 20  # shown of a piece
_NOT_YOURS = "Only the browser that started this training can look into its text."
_NOT_ITS_OWN = (
    "The text that this model was trained on did not come with it, so it cannot be asked for it. Train a model here: "
    "a training keeps its text."
)
_NOT_KEPT = (
    "The text that this model was trained on did not come with it. Bring that text in the Corpus tab, and what the "
    "model writes is looked up there."
)


@dataclass(frozen=True)
class Source:
    """A text to look things up in. texts: its parts; index: of the part that was learnt from."""

    name: str
    texts: Texts
    index: Index
    own: bool
    """Whether this very text is what the model was trained on."""


class Learnt:
    """The functions behind the two cards, and the indexes that they share. May be used from several threads."""

    def __init__(self, server: Server, weights: Path, corpora: Path = CORPORA) -> None:
        """weights: the folder of the shipped models; corpora: that of the texts that they were trained on."""
        self._server, self._weights, self._corpora = server, weights, corpora
        self._indexes = _Kept(server.limits.indexed_texts)

    def learnt(self, raw: Any) -> dict[str, Any]:
        """What of a text stands in the text that its model was trained on. Raises ValueError with a sentence."""
        request, visitor, view = self._asked(raw)
        ids = ids_of(request.get("ids"), view.model.config.vocab_size, self._server.limits.text_tokens)
        prompt_tokens = whole(request.get("prompt_tokens", 0), "prompt_tokens", 0, len(ids))
        source = self._source(view.ref, visitor)
        text, begins = written(view.tokenizer, ids, prompt_tokens)
        return {"model": view.ref, **looked_up(text, begins, source)}

    def places(self, raw: Any) -> dict[str, Any]:
        """Where a piece stands in the text that a model was trained on. Raises ValueError with a sentence."""
        request, visitor, view = self._asked(raw)
        piece = request.get("piece")
        if not isinstance(piece, str) or not piece or len(piece) > 10 * self._server.limits.text_tokens:
            raise RequestError("The request names no piece of the text: reload the page.")
        source = self._source(view.ref, visitor)
        low, high = source.index.find(piece)
        found = source.index.places(piece, PLACES)
        return {
            "count": high - low,
            "unit": "document" if source.index.lines else "line",
            "places": [{"line": p.line, "before": p.before, "after": p.after} for p in found],
        }

    def measure(self, raw: Any) -> dict[str, Any]:
        """Write on at a text of a length out of LENGTHS, a few tokens a call, and measure it once it is whole.

        The page sends back what the last call answered, so the server keeps nothing and holds nobody up for long.
        """
        request, visitor, view = self._asked(raw)
        wanted = whole(request.get("wanted", CHARACTERS), "wanted", LENGTHS[0], LENGTHS[-1])
        if wanted not in LENGTHS:
            raise RequestError(f"A text of {wanted:,} characters cannot be asked for: reload the page.")
        starts = self._starts(view, visitor)
        draft = Draft.of(request.get("draft"), view, self._server.limits.text_tokens, starts)
        settings = settings_of(request.get("settings") or {})
        with self._server.decoding:
            draft.write_on(view, settings)
        text = draft.text(view.tokenizer)
        reply = {"draft": draft.packed(), "characters": len(text), "wanted": wanted, "result": None}
        if draft.whole(view.tokenizer, wanted):
            found = measured(text[:wanted], self._find_or_none(view.ref, visitor))
            reply["result"] = found | {"begun": BEGUN if starts else 0}
        return reply

    def by_heart(self, raw: Any) -> dict[str, Any]:
        """Ask a model for some documents that it learnt from, a few tokens a call. Raises ValueError with a sentence.

        The page sends back the draft of the last reply until there is none, so nobody is held up for long here either.
        """
        request, visitor, view = self._asked(raw)
        source = self._find(view.ref, visitor)
        if source is None or not source.own:
            raise JobError(_NOT_ITS_OWN)
        exam = Exam.of(source.texts, self._recipe(view.ref), request.get("all") is True)
        portion = Portion.of(request.get("draft"), exam, view, self._server.limits.text_tokens)
        with self._server.decoding:
            outcomes = portion.write_on(exam, view, self._server.limits.tokens_a_call)
        return {
            "unit": exam.unit,
            "words": WORDS,
            "asked": len(exam.documents),
            "of": exam.of_all,
            "done": portion.document,
            "outcomes": [told(outcome) for outcome in outcomes],
            "draft": portion.packed() if portion.document < len(exam.documents) else None,
        }

    def _recipe(self, ref: str) -> Recipe | None:
        """That of a run."""
        kind, _, name = ref.partition("@")[0].partition(":")
        return self._server.jobs.find(name).info.recipe if kind == "run" else None

    def _starts(self, view: View, visitor: Visitor) -> Starts:
        """With what a model has to be begun that never learnt how a document begins; () for others."""
        recipe = self._recipe(view.ref)
        if recipe is None or recipe.cut != "documents" or recipe.start_mark:
            return ()
        source = self._find_or_none(view.ref, visitor)
        return beginnings(source.texts, view.tokenizer) if source is not None and source.own else ()

    def _asked(self, raw: Any) -> tuple[dict[str, Any], Visitor, View]:
        if not isinstance(raw, dict):
            raise RequestError("The request is not an object: reload the page.")
        visitor = self._server.visitors.get(raw.get("session"))
        ref = raw.get("model") or self._server.shelf.default()
        return raw, visitor, visitor.held(ref, raw.get("step")) or self._server.view(ref)

    def _source(self, ref: str, visitor: Visitor) -> Source:
        """The text behind a model, indexed. Raises JobError where it is not at hand or not for this visitor."""
        source = self._find(ref, visitor)
        if source is None:
            raise JobError(_NOT_KEPT)
        return source

    def _find(self, ref: str, visitor: Visitor) -> Source | None:
        kind, _, name = ref.partition("@")[0].partition(":")
        found = self._of_run(name, visitor) if kind == "run" else None
        found = self._of_shipped(name) if kind == "shipped" else found
        return found or self._of_visitor(visitor)

    def _find_or_none(self, ref: str, visitor: Visitor) -> Source | None:
        """As `_find`, for what can go on without: None also where the text is somebody else's."""
        try:
            return self._find(ref, visitor)
        except JobError:
            return None

    def _of_run(self, run_id: str, visitor: Visitor) -> Source | None:
        run = self._server.jobs.find(run_id)
        if not self._server.jobs.owns(run, visitor.owner):
            raise JobError(_NOT_YOURS)
        folder = run.folder.path
        name = str(run.info.corpus.get("name", "its text"))

        def read() -> Source | None:
            texts = read_text(folder)
            return _source(name, texts, lines=texts is not None and documents_are_lines(texts, run.info.recipe))

        return self._indexes.get(("run", run_id, _changed(folder / FOLDER)), read)

    def _of_shipped(self, name: str) -> Source | None:
        """A shipped model's text, where assets/corpora has the one of that name and length."""
        about = dict(dict(read_index(self._weights / name).get("meta") or {}).get("corpus") or {})
        path = self._corpora / Path(str(about.get("name", ""))).name
        if not path.is_file():
            return None

        def read() -> Source | None:
            text = path.read_text(encoding="utf-8")
            if len(text) != about.get("characters"):
                return None
            return _source(path.name, Texts(*split_text(text, TrainConfig().val_fraction)))

        return self._indexes.get(("shipped", name, _changed(path)), read)

    def _of_visitor(self, visitor: Visitor) -> Source | None:
        corpus = visitor.corpus
        if corpus is None:
            return None
        digest = hashlib.sha256(corpus.text.encode("utf-8", errors="replace")).hexdigest()
        return self._indexes.get(
            ("visitor", visitor.owner, digest), lambda: _source(corpus.name, Texts(corpus.text, ""), own=False)
        )


class _Kept:
    """The sources used last. One is built at a time; who asks for the same one waits for it."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._sources: OrderedDict[tuple[str, ...], Source | None] = OrderedDict()
        self._building = threading.Lock()
        self._lock = threading.Lock()

    def get(self, key: tuple[str, ...], build: Callable[[], Source | None]) -> Source | None:
        """The source of that key, built where it is not there yet."""
        with self._lock:
            if key in self._sources:
                self._sources.move_to_end(key)
                return self._sources[key]
        with self._building:
            with self._lock:
                if key in self._sources:
                    return self._sources[key]
            source = build()
            with self._lock:
                self._sources[key] = source
                while len(self._sources) > self._capacity:
                    self._sources.popitem(last=False)
            return source


def written(tokenizer: Tokenizer, ids: Sequence[int], prompt_tokens: int) -> tuple[str, int]:
    """A text without its special tokens, and the character at which the model began to write.

    A word that the prompt began and the model ended counts as the model's.
    """
    text, prompt = plain(tokenizer, ids), plain(tokenizer, ids[:prompt_tokens])
    begins = 0
    while begins < min(len(text), len(prompt)) and text[begins] == prompt[begins]:
        begins += 1
    if begins < len(text) and text[begins].isalnum():
        while begins and text[begins - 1].isalnum():
            begins -= 1
    return text, begins


def looked_up(text: str, begins: int, source: Source) -> dict[str, Any]:
    """The pieces of a text that stand in a source, the share of copied runs of its part from `begins` on, a verdict."""
    index = source.index
    pieces = index.pieces(text)
    own, copied = text[begins:], index.copied(text[begins:])
    said = verdict(copied)
    inside = [piece for piece in pieces if piece.end > begins]
    return {
        "source": described(source),
        "kind": said.kind if own else "nothing",
        "sentence": said.sentence if own else "Nothing is written yet: the text is the prompt alone.",
        "thresholds": {"memorised": MEMORISED, "new": NEW, "gram": GRAM, "piece": index.at_least},
        "copied": {"count": copied.copied, "total": copied.total, "share": copied.share, "units": copied.units},
        "characters": len(own),
        "longest": max((piece.end - max(piece.start, begins) for piece in inside), default=0),
        "pieces": [{"text": text[p.start : p.end], "count": p.count} for p in pieces],
        "segments": segments(text, begins, pieces),
    }


def described(source: Source) -> dict[str, Any]:
    """What was looked into: name, characters, how many of them were not, and whether it is the model's own text."""
    return {
        "name": source.name,
        "characters": len(source.index.text),
        "left_out": len(source.texts.train) - len(source.index.text),
        "held_out": len(source.texts.held_out),
        "own": source.own,
    }


def segments(text: str, begins: int, pieces: Sequence[Piece]) -> list[dict[str, Any]]:
    """A text cut where pieces begin and end and where the prompt ends; each part with all pieces around it, as they
    overlap, and the longest of them."""
    cuts = sorted({0, begins, len(text), *(p.start for p in pieces), *(p.end for p in pieces)})
    found: list[dict[str, Any]] = []
    for low, high in pairwise(cuts):
        around = [i for i, p in enumerate(pieces) if p.start <= low and high <= p.end]
        piece = max(around, key=lambda i: (len(pieces[i]), -i), default=None)
        found.append({"text": text[low:high], "piece": piece, "around": around, "prompt": high <= begins})
    return found


def measured(text: str, source: Source | None) -> dict[str, Any]:
    """The figures of a written text and of an equally long real one, and where the written one stands in the source."""
    reference, learnt_from = beside(source, len(text)) if source is not None else ("", False)
    index = source.index if source is not None else None
    ours = figures(evaluate(text, index))
    theirs = figures(evaluate(reference, index)) if reference else dict.fromkeys(ours)
    if learnt_from:  # a piece of what was indexed is copied by definition
        theirs |= {"copied": None, "longest_copy": None}
    return {
        "figures": {name: [ours[name], theirs[name]] for name in ours},
        "reference": {"text": reference, "held_out": bool(reference) and not learnt_from},
        "found": looked_up(text, 0, source) if source is not None else None,
        "text": text,
    }


def beside(source: Source, length: int) -> tuple[str, bool]:
    """A piece of real text, about as long: held out where there is such; and whether the model learnt from it.

    It begins with a line, from a third of the text on, where the middle of things is.
    """
    learnt_from = len(source.texts.held_out) < min(length, 200)
    text = source.texts.train if learnt_from else source.texts.held_out
    start = max(0, min(len(text) // 3, len(text) - length))
    line = text.rfind("\n", 0, start) + 1
    return text[line : line + length], learnt_from


def _source(name: str, texts: Texts | None, own: bool = True, lines: bool = False) -> Source | None:
    """A source of these texts, whose lines may be documents; None without a text that was learnt from."""
    return Source(name, texts, Index(texts.train, lines=lines), own) if texts is not None and texts.train else None


def _changed(path: Path) -> str:
    """Tells one state of a folder or file from another; "" where there is none."""
    try:
        return str(path.stat().st_mtime_ns)
    except OSError:
        return ""


def figures(found: Evaluation) -> dict[str, Any]:
    """An evaluation by the names that the page knows."""
    return {
        "distinct_1": found.distinct[1],
        "distinct_2": found.distinct[2],
        "distinct_3": found.distinct[3],
        "repetition": found.repetition,
        "repeated_lines": found.repeated_lines,
        "rhyme_density": found.rhyme_density,
        "rhymed_lines": found.rhymed_lines,
        "copied": found.copied.share if found.copied is not None else None,
        "longest_copy": found.longest_copy,
    }
