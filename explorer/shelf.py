"""The models that can be looked at: those shipped in weights/, and the runs, at their newest snapshot or checkpoint."""

from __future__ import annotations

import functools
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from explorer import text
from model import GPT, Checkpoint, CheckpointError, GPTConfig, Tokenizer, open_checkpoint
from model.checkpoint import INDEX, read_index
from training.runs import RunFolder
from training.snapshots import load_snapshot
from training.trainer import Snapshot, Trainer
from training.units import in_bits

_WORDS = {"char": "characters", "word": "words", "words": "words"}


@dataclass(frozen=True)
class View:
    """A model to look at, which never changes: weights at one step, with their tokenizer and figures.

    ref: what the page calls it, `shipped:<folder>`, `run:<id>` or `run:<id>@<step>`; that of a run gives a newer View
    as it goes on.
    """

    ref: str
    name: str
    source: str
    model: GPT
    tokenizer: Tokenizer
    step: int
    loss: float | None
    loss_kind: str
    bits_per_byte: float | None
    opening: str = ""
    """A prompt that suits it: the first words of its own text."""
    sampling: Mapping[str, float] = field(default_factory=dict)
    """The temperature and top_k that its recipe asks for; empty where it asks for nothing special."""

    @property
    def key(self) -> tuple[str, int]:
        """Tells one state of a model from another."""
        return self.ref, self.step

    def summary(self) -> dict[str, Any]:
        """What the page's header says of this model."""
        config = self.model.config
        return {
            "ref": self.ref,
            "name": self.name,
            "source": self.source,
            "layers": config.layers,
            "heads": config.heads,
            "width": config.width,
            "context": config.context,
            "vocab_size": config.vocab_size,
            "vocab_word": _WORDS.get(self.tokenizer.kind, "tokens"),
            "parameters": config.parameters(),
            "step": self.step,
            "loss": self.loss,
            "loss_kind": self.loss_kind,
            "bits_per_byte": self.bits_per_byte,
        }


class Shelf:
    """Opens models by ref and keeps the ones used last."""

    def __init__(self, weights: Path, capacity: int) -> None:
        self._weights = weights
        self._capacity = capacity
        self._views: OrderedDict[str, tuple[str, View]] = OrderedDict()
        """By ref, the newest state of it: whoever looks at an older one holds it."""
        self._lock = threading.Lock()
        self._turns: WeakValueDictionary[str, threading.Lock] = WeakValueDictionary()
        """By ref, held by whoever opens it: a class that asks for a model at once opens it once."""

    def shipped(self) -> list[dict[str, Any]]:
        """The shipped models: ref, name, source and a line about each, in the order of their folders."""
        found = []
        for folder in sorted(self._weights.iterdir()) if self._weights.is_dir() else []:
            if not (folder / INDEX).exists():
                continue
            try:
                index = read_index(folder)
                config = GPTConfig.from_dict(dict(index["config"]))
                name = str(dict(index.get("meta") or {}).get("name", folder.name))
            except (ValueError, KeyError, TypeError):
                continue  # a damaged one is not offered; opening it by its ref says what is wrong
            found.append(
                {
                    "ref": f"shipped:{folder.name}",
                    "name": name,
                    "source": "shipped",
                    "detail": shape(config),
                    "made": None,
                }
            )
        return found

    def default(self) -> str:
        """The ref of the model that the page opens on. Raises CheckpointError when none is shipped."""
        shipped = self.shipped()
        if not shipped:
            raise CheckpointError(
                f"no model is shipped in {self._weights}: get the whole repository, weights/ included."
            )
        return str(shipped[0]["ref"])

    def folder(self, name: str) -> Path:
        """The folder of a shipped model. Raises CheckpointError for a name that is not on the list."""
        names = [path.name for path in self._weights.iterdir()] if self._weights.is_dir() else []
        if name not in names or not (self._weights / name / INDEX).exists():  # `..` is a name too, but not in the list
            raise CheckpointError(f"there is no shipped model called {name[:60]!r}: choose one under Models.")
        return self._weights / name

    def open_shipped(self, name: str) -> View:
        """A shipped model. Raises CheckpointError."""
        return self._open(f"shipped:{name}", self.folder(name), "shipped")

    def open_run(self, run_id: str, checkpoint: Path) -> View:
        """A run's checkpoint from disk. Raises CheckpointError."""
        return self._open(f"run:{run_id}", checkpoint, "run")

    def open_kept(self, folder: RunFolder, step: int) -> View:
        """A run as it was at a step whose weights it kept (training/snapshots.py). Raises ValueError."""
        ref = f"run:{folder.id}@{step}"
        return self._kept(ref, f"{folder.stamp()}", lambda: _view(ref, load_snapshot(folder, step), "run", folder.id))

    def open_snapshot(self, trainer: Trainer, name: str, snapshot: Snapshot) -> View:
        """A run's snapshot from memory, as training goes on."""
        ref = f"run:{trainer.folder.id}"

        def build() -> View:
            model = GPT(trainer.config)
            model.load_state_dict(snapshot.state)
            meta = {"loss": snapshot.loss, "val_loss": snapshot.val_loss, "bits_per_byte": snapshot.bits_per_byte}
            return View(
                ref=ref,
                name=name,
                source="run",
                model=model.eval().requires_grad_(False),
                tokenizer=trainer.tokenizer,
                step=snapshot.step,
                **losses({**meta, "bytes_per_token": trainer.bytes_per_token}),
                opening=opening_of(trainer.folder.info().corpus),
                sampling=trainer.recipe.train.sampling,
            )

        return self._kept(ref, f"step {snapshot.step} {validity(snapshot)}", build)

    def _open(self, ref: str, folder: Path, source: str) -> View:
        def build() -> View:
            return _view(ref, open_checkpoint(folder), source, folder.name)

        state = written(folder)
        try:
            return self._kept(ref, state, build)
        except CheckpointError:
            if (now := written(folder)) == state:
                raise
            return self._kept(ref, now, build)  # another program wrote a newer one while it was being read

    def _kept(self, ref: str, state: str, build: Callable[[], View]) -> View:
        with self._lock:
            turn = self._turns.setdefault(ref, threading.Lock())
        if (view := self._find(ref, state)) is not None:
            return view
        with turn:  # and not the other lock: opening a large model must not hold up the others
            if (view := self._find(ref, state)) is not None:
                return view
            view = build()
            with self._lock:
                self._views[ref] = state, view
                self._views.move_to_end(ref)
                while len(self._views) > self._capacity:
                    self._views.popitem(last=False)
        return view

    def _find(self, ref: str, state: str) -> View | None:
        with self._lock:
            known, view = self._views.get(ref, ("", None))
            if view is None or known != state:
                return None
            self._views.move_to_end(ref)
            return view


def _view(ref: str, checkpoint: Checkpoint, source: str, fallback: str) -> View:
    """fallback: what it is called where it does not say."""
    if checkpoint.tokenizer is None:
        raise CheckpointError(f"{fallback} has no tokenizer.json, so its tokens cannot be shown as text.")
    meta = checkpoint.meta
    return View(
        ref=ref,
        name=str(meta.get("name", fallback)),
        source="file" if "opened_from" in meta else source,
        model=checkpoint.model.requires_grad_(False),
        tokenizer=checkpoint.tokenizer,
        step=int(meta.get("step", 0)),
        **losses(meta),
        opening=text.PROMPT if source == "shipped" else opening_of(meta.get("corpus")),
        sampling=sampling_of(meta.get("sampling")),
    )


def losses(meta: Mapping[str, Any]) -> dict[str, Any]:
    """The loss that a checkpoint's meta tells, that on held-out text where there is one: loss in nats per token,
    loss_kind, and bits_per_byte, the same in that unit; None where not known."""
    if meta.get("val_loss") is not None:
        return {"loss": meta["val_loss"], "loss_kind": "validation", "bits_per_byte": meta.get("bits_per_byte")}
    loss = meta.get("loss")
    return {"loss": loss, "loss_kind": "training", "bits_per_byte": in_bits(loss, meta.get("bytes_per_token"))}


def written(folder: Path) -> str:
    """Tells one state of a checkpoint from another: its weights and what was measured. Raises CheckpointError."""
    index = read_index(folder)
    return f"{index.get('weights')} {index.get('meta')}"


def step_of(folder: Path) -> int | None:
    """The step that a checkpoint was written at; None where it cannot be read."""
    try:
        return int(dict(read_index(folder).get("meta") or {}).get("step", 0))
    except (ValueError, TypeError):
        return None


def measured(folder: Path) -> str:
    """What tells a model from others in a list: shape, step and loss; "" where the checkpoint cannot be read."""
    try:
        return _measured(folder, (folder / INDEX).stat().st_mtime_ns)
    except OSError:
        return ""


@functools.lru_cache(maxsize=1000)
def _measured(folder: Path, stamp: int) -> str:
    try:
        index = read_index(folder)
        config, meta = GPTConfig.from_dict(dict(index["config"])), dict(index.get("meta") or {})
        parts = [f"{config.layers} × {config.heads} heads"]
        if meta.get("step"):
            parts.append(f"step {int(meta['step']):,}")
        found = losses(meta)
        if found["loss"] is not None:
            bits = "" if found["bits_per_byte"] is None else f", {found['bits_per_byte']:.2f} bits per byte"
            kind = {"validation": "val", "training": "train"}[found["loss_kind"]]
            parts.append(f"{kind} loss {found['loss']:.2f} nats/token{bits}")
        return ", ".join(parts)
    except (ValueError, KeyError, TypeError):
        return ""


def validity(snapshot: Snapshot) -> str:
    """Tells a measured snapshot of a step from an unmeasured one, so that the figures appear once they are known."""
    return "measured" if snapshot.val_loss is not None else "unmeasured"


def sampling_of(found: object) -> dict[str, float]:
    """A checkpoint's own sampling settings, as far as they are numbers."""
    known = found.items() if isinstance(found, dict) else ()
    return {key: value for key, value in known if key in ("temperature", "top_k") and isinstance(value, int | float)}


def opening_of(corpus: object) -> str:
    """The first words of a run's text, as its config keeps them."""
    return str(corpus.get("opening", "")) if isinstance(corpus, dict) else ""


def shape(config: GPTConfig) -> str:
    """`4 layers x 4 heads, 0.82 M parameters`."""
    return f"{config.layers} layers × {config.heads} heads, {millions(config.parameters())} parameters"


def millions(count: int) -> str:
    """A number of parameters as people say it: 28,527 or 0.82 M or 124 M."""
    if count < 100_000:
        return f"{count:,}"
    return f"{count / 1e6:.2f} M" if count < 10_000_000 else f"{count / 1e6:,.0f} M"
