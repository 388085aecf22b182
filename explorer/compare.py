"""Several runs side by side: their curves, their figures, the settings in which they differ, and files of them."""

from __future__ import annotations

import csv
import io
import statistics
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from typing import Any, TypeVar

from explorer.downloads import place_for, ready
from explorer.jobs import OPENED, JobError, Run
from explorer.packing import pack_curve
from explorer.runs import figures_of
from explorer.server import Server
from explorer.shipped import is_shipped
from explorer.watch import beginning, new_tokens
from model import GPTConfig, Tokenizer
from model.checkpoint import read_index
from training.artifacts import draw_loss
from training.cleaning import Cleaning
from training.config import Recipe, TrainConfig
from training.events import BaselinesKnown, Changed, Evaluated, Event, Started, Stepped
from training.runs import called

MOST = 6
"""Runs compared at a time: more lines than this cannot be told apart."""
_POINTS = 3_000  # of a curve; more are averaged
_OF_THE_MACHINE = ("threads", "device")
_TOKENIZERS = {"char": "characters", "word": "words", "words": "words", "bpe": "own BPE", "gpt2": "GPT-2"}
E = TypeVar("E", Stepped, Evaluated)


@dataclass(frozen=True)
class Curve:
    """What happened in a run, as a chart shows it. Losses in nats per token."""

    ref: str
    run: Run
    factor: float | None
    """Bits per byte for one nat per token of its held-out text; None where that is not known."""
    learnt: float | None
    """The same of the text that it learns from."""
    steps: list[Stepped]
    tokens: list[int]
    """Tokens learnt from up to each of `steps`."""
    evals: list[Evaluated]
    baselines: BaselinesKnown | None

    @property
    def name(self) -> str:
        """What the run is called."""
        return self.run.info.name

    def tokens_at(self, step: int) -> int:
        """Tokens learnt from up to a step."""
        at = bisect_right(self.steps, step, key=lambda event: event.step)
        return self.tokens[at - 1] if at else 0

    def bits(self, nats: float | None, measured: float | None = None) -> float | None:
        """A loss in bits per byte: as it was measured, else by the bytes of an average token."""
        if measured is not None:
            return measured
        return None if nats is None or self.factor is None else nats * self.factor

    def learnt_bits(self, nats: float | None) -> float | None:
        """A training loss in bits per byte."""
        return None if nats is None or self.learnt is None else nats * self.learnt


class Compare:
    """The server functions of the comparison and of the chart's downloads.

    Whoever knows a run's id may watch it (docs/page-protocol.md), so its curve may be compared and taken away as well.
    """

    def __init__(self, server: Server) -> None:
        self._server = server

    def compare(self, raw: Any) -> dict[str, Any]:
        """Curves, figures and differing settings of up to MOST runs. Raises ValueError with a sentence."""
        curves = self._curves(raw)
        return {"runs": [packed(curve) for curve in curves], "differences": differences([c.run for c in curves])}

    def export(self, raw: Any) -> dict[str, Any]:
        """Write a file of the chart: `html`, `png` (one run) or `csv`. Raises ValueError with a sentence."""
        request = raw if isinstance(raw, dict) else {}
        curves, kind = self._curves(raw), request.get("kind")
        if not any(curve.steps or curve.evals for curve in curves):
            raise JobError("There is no curve yet: wait for the first step of the training.")
        name = curves[0].name if len(curves) == 1 else f"{len(curves)} runs"
        if kind == "html":
            from explorer.figures.loss import page_of  # a second to load, and few ask for it

            path = place_for(name, "html")
            path.write_text(
                page_of(curves, request.get("unit"), request.get("axis")), encoding="utf-8", errors="replace"
            )
        elif kind == "csv":
            path = place_for(name, "csv")
            path.write_text(table_of(curves), encoding="utf-8", errors="replace", newline="")
        elif kind == "png" and len(curves) == 1:
            path = place_for(name, "png")
            known = [e for e in curves[0].run.log.since(0)[0] if isinstance(e, Started | BaselinesKnown)]
            draw_loss(path, [*known, *curves[0].steps, *curves[0].evals], curves[0].name)
        else:
            raise JobError("A chart can be had as html or csv, that of one run also as png.")
        return ready(path)

    def _curves(self, raw: Any) -> list[Curve]:
        request = raw if isinstance(raw, dict) else {}
        self._server.visitors.get(request.get("session"))
        refs = request.get("models")
        if not isinstance(refs, list) or not 0 < len(refs) <= MOST or len({str(ref) for ref in refs}) < len(refs):
            raise JobError(f"Choose up to {MOST} different runs to compare.")
        return [curve_of(ref, self._find(ref)) for ref in refs]

    def _find(self, ref: object) -> Run:
        if is_shipped(ref):
            return self._server.shipped.find(str(ref))
        kind, _, name = str(ref).partition(":")
        return self._server.jobs.find(name if kind == "run" else None)


def curve_of(ref: str, run: Run) -> Curve:
    """The curve of a run, out of its log. Where a run went on from a checkpoint, the steps walked again count."""
    events, _ = run.log.since(0)
    steps, evals = list[Stepped](), list[Evaluated]()
    for event in events:
        if isinstance(event, Stepped):
            _put(steps, event)
        elif isinstance(event, Evaluated):
            _put(evals, event)
    known = [(e.val_loss, e.bits_per_byte) for e in evals if e.val_loss and e.bits_per_byte is not None]
    began = beginning(run)
    factor = known[-1][1] / known[-1][0] if known else began["nats_to_bits"]
    learnt = began["train_nats_to_bits"] or factor
    baselines = next((event for event in events if isinstance(event, BaselinesKnown)), None)
    return Curve(ref, run, factor, learnt, steps, _tokens(run, events, steps), evals, baselines)


def _put(before: list[E], event: E) -> None:
    while before and before[-1].step >= event.step:
        before.pop()
    before.append(event)


def _tokens(run: Run, events: Sequence[Event], steps: Sequence[Stepped]) -> list[int]:
    """Tokens learnt from up to each step.

    A step over blocks has a batch of whole contexts. Documents fill theirs differently, and their number is not written
    down: it is what the pace comes to over the time of the step, and the median of that where something else was done
    in between. So it is for a shipped model, whose recipe did not come with it.
    """
    recipe = run.info.recipe
    if recipe.cut == "blocks" and not is_shipped(run.info.id):
        return _whole_batches(run, events, steps)
    counted: dict[int, float] = {}
    for before, event in pairwise(events):
        if isinstance(before, Stepped) and isinstance(event, Stepped):
            counted[event.step] = event.tokens_per_s * (event.wall_s - before.wall_s)
    usual = statistics.median(counted.values()) if counted else 0.0
    total, seen = 0.0, []
    for event in steps:
        total += counted.get(event.step, usual)
        seen.append(round(total))
    return seen


def _whole_batches(run: Run, events: Sequence[Event], steps: Sequence[Stepped]) -> list[int]:
    """The same for steps over blocks; the batch may have been changed in flight."""
    train, context = run.info.recipe.train, run.info.recipe.model_config(2).context
    changes = [(0, train.batch_size), *((e.step, e.batch_size) for e in events if isinstance(e, Changed))]
    processes = next((e.processes or 1 for e in events if isinstance(e, Started)), 1)
    total, before, found = 0, 0, []
    for event in steps:
        batch = changes[bisect_left(changes, event.step, key=lambda change: change[0]) - 1][1]
        total += batch * train.accumulate * processes * context * (event.step - before)
        before = event.step
        found.append(total)
    return found


def packed(curve: Curve) -> dict[str, Any]:
    """A curve for the page (docs/page-protocol.md)."""
    run, known, steps = curve.run, figures_of(curve.run), curve.steps
    every = max(1, -(-len(steps) // _POINTS))
    groups = [range(at, min(at + every, len(steps))) for at in range(0, len(steps), every)]
    first = next((event for event in run.log.head(5) if isinstance(event, Started)), None)
    return {
        "ref": curve.ref,
        "name": curve.name,
        "state": "shipped" if is_shipped(curve.ref) else run.state,
        "parameters": known["parameters"] or (first.parameters if first else None),
        "tokenizer": tokenizer_of(run, known["vocab_size"]),
        "optimizer": run.info.recipe.train.optimizer if trained_here(run) else None,
        "nats_to_bits": curve.factor,
        "train_nats_to_bits": curve.learnt,
        "unseen": new_tokens(first),
        "points": {
            "step": [steps[group[-1]].step for group in groups],
            "seconds": [round(steps[group[-1]].wall_s, 2) for group in groups],
            "tokens": [curve.tokens[group[-1]] for group in groups],
            "loss": pack_curve([statistics.fmean(steps[i].loss for i in group) for group in groups]),
        },
        "evals": {
            "step": [event.step for event in curve.evals],
            "seconds": [round(event.wall_s, 2) for event in curve.evals],
            "tokens": [curve.tokens_at(event.step) for event in curve.evals],
            "val": pack_curve([event.val_loss for event in curve.evals]),
            "bits_per_byte": pack_curve([curve.bits(event.val_loss, event.bits_per_byte) for event in curve.evals]),
        },
        **ends(curve, known),
    }


def ends(curve: Curve, known: dict[str, Any]) -> dict[str, Any]:
    """`final` and `best` loss of a run: of the validation, where there is one, else mean training losses.

    known: its checkpoint's own figures, for a model that came without a curve.
    """
    held_out = [event for event in curve.evals if event.val_loss is not None]
    measured = held_out or [event for event in curve.evals if event.loss is not None]
    kind = "validation" if held_out else "training"
    losses = [(e.step, e.val_loss if held_out else e.loss, e.bits_per_byte if held_out else None) for e in measured]
    if not losses and known["loss"] is not None:
        losses, kind = [(known["step"] or 0, known["loss"], known["bits_per_byte"])], known["loss_kind"]
    if not losses:
        return {"final": None, "best": None}

    def told(step: int, nats: float | None, bits: float | None) -> dict[str, Any]:
        known_bits = curve.learnt_bits(nats) if kind == "training" and bits is None else curve.bits(nats, bits)
        return {"kind": kind, "step": step, "nats": nats, "bits": known_bits}

    return {"final": told(*losses[-1]), "best": told(*min(losses, key=lambda loss: loss[1] or 0.0))}


def trained_here(run: Run) -> bool:
    """Whether its recipe is known: shipped models and those from files came without one."""
    return not is_shipped(run.info.id) and run.info.corpus.get("source") != OPENED


def tokenizer_of(run: Run, vocab_size: int | None) -> str | None:
    """The kind of tokenizer and the size of its vocabulary, in words."""
    kind: str | None = run.info.recipe.tokenizer
    if is_shipped(run.info.id):
        try:
            kind = Tokenizer.load(run.folder.path / "tokenizer.json").kind
        except (OSError, ValueError):
            kind = None
    word = _TOKENIZERS.get(kind or "", kind)
    return word if word is None or vocab_size is None else f"{word}, {vocab_size:,}"


# ---- settings -----------------------------------------------------------------------------------------------------


def differences(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """The settings that are not the same in all runs, each with its sentence and a value a run; null where unknown."""
    each = [settings_of(run) for run in runs]
    if len({(run.info.corpus.get("characters"), run.info.corpus.get("opening") or run.info.id) for run in runs}) == 1:
        for settings in each:  # one text that goes by several names, such as an example and a file of it
            del settings["text"]
    helps = {f.name: f.metadata.get("help", "") for part in (Recipe, GPTConfig, TrainConfig) for f in fields(part)}
    found = []
    for name in dict.fromkeys(name for settings in each for name in settings):
        values = [settings.get(name) for settings in each]
        if len({repr(value) for value in values if value is not None}) > 1:
            said = [None if value is None else written(value) for value in values]
            found.append({"name": name.replace("_", " "), "help": helps.get(name, ""), "values": said})
    return found


def settings_of(run: Run) -> dict[str, Any]:
    """All settings of a run that are known and matter for it, in the order of the recipe."""
    recipe, known = run.info.recipe, figures_of(run)
    settings: dict[str, Any] = {
        "text": run.info.corpus.get("name"),
        "characters": run.info.corpus.get("characters"),
        "vocabulary": known["vocab_size"],
        "tokenizer": tokenizer_of(run, None),
    }
    if not trained_here(run):
        return settings | shape_of(run)
    train = asdict(recipe.train)
    left_out = {*_OF_THE_MACHINE, *(() if recipe.train.optimizer == "muon" else ("muon_learning_rate",))}
    left_out |= set() if recipe.train.teacher else {"teacher_share", "teacher_temperature"}
    for name in ("teacher", "embeddings_from"):
        train[name] = called(train[name]) or "none"
    documents = {"start_mark": recipe.start_mark, "max_documents": recipe.max_documents}
    settings |= {"cut": recipe.cut, **(documents if recipe.cut == "documents" else {})} | shape_of(run)
    settings |= {name: "none" if value is None else value for name, value in train.items() if name not in left_out}
    settings |= {f"cleaning: {f.name}": getattr(recipe.cleaning, f.name) for f in fields(Cleaning)}
    return settings | history_of(run)


def history_of(run: Run) -> dict[str, Any]:
    """What no setting says of how a run came to be: where it began, and what was changed while it trained."""
    parent, changes = run.info.parent, [event for event in run.log.since(0)[0] if isinstance(event, Changed)]
    last = {e.step: f"× {e.rate:g}, batch {e.batch_size:,} after step {e.step:,}" for e in changes}
    return {
        "begins from": f"{parent.name}, step {parent.step:,}" if parent else "random weights",
        "edited there": "; ".join(parent.edits) if parent and parent.edits else "nothing",
        "rate and batch changed": "; ".join(last.values()) or "never",
    }


def shape_of(run: Run) -> dict[str, Any]:
    """The shape of a run's model, as far as it is known."""
    if is_shipped(run.info.id):
        try:
            config = GPTConfig.from_dict(dict(read_index(run.folder.path)["config"]))
        except (ValueError, KeyError, TypeError):
            return {}
    else:
        config = run.info.recipe.model_config(2)
    return {f.name: getattr(config, f.name) for f in fields(GPTConfig) if f.name != "vocab_size"}


def written(value: object) -> str:
    """A setting as it is read."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:g}" if isinstance(value, float) else str(value)


# ---- a table ------------------------------------------------------------------------------------------------------

_COLUMNS = (
    "run", "kind", "step", "seconds", "tokens", "loss_nats_per_token", "loss_bits_per_byte", "learning_rate",
    "gradient_norm", "tokens_per_second",
)  # fmt: skip


def table_of(curves: Sequence[Curve]) -> str:
    """Every measurement of the runs as CSV, a row each: kind `training` (a step's own batch) or `validation`."""
    out = io.StringIO()
    table = csv.writer(out)
    table.writerow(_COLUMNS)
    for curve in curves:
        name = inert(curve.name)
        rows: list[tuple[int, int, list[Any]]] = []
        for event, tokens in zip(curve.steps, curve.tokens, strict=True):
            losses = [event.loss, curve.learnt_bits(event.loss), event.lr, event.grad_norm, event.tokens_per_s]
            rows.append((event.step, 0, [name, "training", event.step, event.wall_s, tokens, *losses]))
        for measured in curve.evals:
            if measured.val_loss is not None:
                losses = [measured.val_loss, curve.bits(measured.val_loss, measured.bits_per_byte)]
                at = [measured.step, measured.wall_s, curve.tokens_at(measured.step)]
                rows.append((measured.step, 1, [name, "validation", *at, *losses, None, None, None]))
        table.writerows(row for *_, row in sorted(rows, key=lambda row: row[:2]))
    return out.getvalue()


def inert(text: str) -> str:
    """A text that a spreadsheet takes for a text, and not for a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
