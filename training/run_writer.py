"""What a training leaves in its run folder as it goes: events, samples, checkpoints, its text, a picture."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from concurrent.futures import Executor, Future
from typing import Any

from model import GPT, save_checkpoint
from model.checkpoint import write_atomically
from training import sharded
from training.artifacts import append_sample, draw_loss, write_recipe
from training.distributed import Group
from training.events import Evaluated, Event, Sampled, Started, Stepped
from training.kept import keep_text
from training.resume import Cadence, fingerprint, pack
from training.runs import RunFolder
from training.setup import Prepared
from training.state import LoopState
from training.writers import Log

_log = logging.getLogger(__name__)


class RunWriter:
    """Writes one run, for the thread that trains it.

    loss, measured: of the last step and the last measurement that went by; bytes_per_token: what parts that
    loss in nats per token from bits per byte. Raises OSError where the disk is full.
    """

    def __init__(self, folder: RunFolder, prepared: Prepared, group: Group) -> None:
        self.folder, self.prepared, self._group = folder, prepared, group
        self.loss: float | None = None
        self.measured: Evaluated | None = None
        self.bytes_per_token: float | None = None
        self._cadence = Cadence(prepared.recipe.train.save_every_s)
        self._keeping: Future[None] | None = None
        self._fingerprint: str | None = None
        self._elsewhere: Log | None = None

    def begin(self) -> None:
        """Write what does not change: tokenizer and settings."""
        path, info = self.folder.path, self.folder.info()
        write_atomically(path / "tokenizer.json", self.prepared.tokenizer.to_json().encode())
        write_recipe(path / "config.yaml", self.prepared.recipe, info.name, info.corpus.get("data"))

    def log_to(self, step: int) -> None:
        """From this step on, tell the places outside the folder as well that the settings name."""
        name = self.folder.info().name
        self._elsewhere = Log(self.folder.path, name, self.prepared.recipe, step)

    def note(self, event: Event) -> None:
        """An event went by: keep what the next checkpoint says of itself."""
        if isinstance(event, Started):
            self.bytes_per_token = event.learnt_bytes_per_token
        if isinstance(event, Stepped):
            self.loss = event.loss
        if isinstance(event, Evaluated):
            self.measured = event

    def write(self, event: Event) -> None:
        """Append an event to the run."""
        self.folder.append(event)
        if isinstance(event, Sampled):
            append_sample(self.folder.path / "samples.txt", event)

    def tell_elsewhere(self, event: Event) -> None:
        """Tell an event to the places of `log_to`."""
        if self._elsewhere is not None:
            self._elsewhere.take(event, self.bytes_per_token)

    def keep_text(self, aside: Executor) -> None:
        """Have the text kept in the folder, once, while the training goes on."""
        if self._keeping is None:
            self._keeping = aside.submit(self._keep_text)

    def _keep_text(self) -> None:
        if self.prepared.texts is not None:
            keep_text(self.folder.path, self.prepared.texts)

    def _text_kept(self) -> str:
        """Have the text kept, for a checkpoint without it would be of little use; its fingerprint."""
        if self._keeping is None:
            self._keep_text()
        else:
            self._keeping.result()
        self._fingerprint = self._fingerprint or fingerprint(self.prepared.data)
        return self._fingerprint

    def save_best(self, model: GPT, step: int) -> None:
        """Write the weights as the best so far."""
        path, whole = self.folder.checkpoint("best"), self._group.whole(model)
        save_checkpoint(path, model, self.prepared.tokenizer, self._meta(step), whole)

    def due(self, measured: bool) -> bool:
        """Whether `last` is to be written now. measured: the weights were measured a moment ago."""
        return self._cadence.due(measured)

    def save_last(self, model: GPT, state: LoopState, step: int) -> None:
        """Write weights and all else that the run needs to go on from here, as of one moment."""
        text = self._text_kept()
        with self._cadence.writing():
            whole = self._group.whole(model)
            extra = pack(state, model, self.folder.metrics_bytes(), text)
            path, meta = self.folder.checkpoint("last"), self._meta(step)
            save_checkpoint(path, model, self.prepared.tokenizer, meta, whole, extra)
            sharded.clear(path.parent)

    def save_parts(self, model: GPT, state: LoopState) -> None:
        """The same where the weights are shared out: each process writes its own, called in all of them at once."""
        text = self._text_kept()
        with self._cadence.writing():
            extra = pack(state, model, self.folder.metrics_bytes(), text, parts=True)
            sharded.save(self.folder.path / "checkpoints", model, state, extra)

    def _meta(self, step: int) -> dict[str, Any]:
        """What a checkpoint of this step says of itself: whose it is, and what was measured."""
        measured: dict[str, Any] = {"loss": self.loss, "bytes_per_token": self.bytes_per_token}
        if self.measured is not None and self.measured.step == step:
            measured |= {"val_loss": self.measured.val_loss, "bits_per_byte": self.measured.bits_per_byte}
        known = {name: value for name, value in measured.items() if value is not None}
        info, sampling = self.folder.info(), self.prepared.recipe.train.sampling
        meta = {"name": info.name, "run": info.id, "corpus": info.corpus, "step": step, **known}
        return meta | ({"sampling": sampling} if sampling else {})

    def draw_loss(self, events: Iterable[Event]) -> None:
        """Draw the curve of a run that has made a step."""
        events = list(events)
        if any(isinstance(event, Stepped) for event in events):
            try:
                draw_loss(self.folder.path / "loss.png", events, self.folder.info().name)
            except Exception:  # a picture is not worth a run
                _log.exception("the loss of %s could not be drawn", self.folder.id)

    def close(self) -> None:
        """Nothing more will be written; the folder is free for others."""
        if self._elsewhere is not None:
            self._elsewhere.close()
        self.folder.close()
