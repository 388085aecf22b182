"""One training in the background: a thread that can be paused, resumed and stopped, and a log that others read.

The model in training belongs to the thread alone. Others look at snapshots, which are copies on the CPU.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from model import GPT, GPTConfig, save_checkpoint
from training.artifacts import append_sample, draw_loss, write_recipe
from training.baselines import Baselines, measure
from training.distill import copy_embeddings
from training.events import (
    BaselinesKnown,
    Copied,
    Evaluated,
    Event,
    EventLog,
    Failed,
    Finished,
    Paused,
    Resumed,
    Sampled,
    Stepped,
    Threads,
)
from training.kept import keep_text
from training.loop import Chance, pick_device, train_steps
from training.runs import RunFolder
from training.setup import Prepared
from training.threads import ThreadCount

_log = logging.getLogger(__name__)
_THREADS_EVERY_S = 2.0
_THREADS_FIRST_S = 0.3  # the shortest time over which the load of a machine can be told


@dataclass(frozen=True)
class Snapshot:
    """The weights after `step` updates, on the CPU, and the latest measurements of them."""

    step: int
    state: dict[str, Tensor]
    loss: float | None
    val_loss: float | None
    bits_per_byte: float | None


class Stopwatch:
    """Seconds since it was made, without the time it was held."""

    def __init__(self) -> None:
        self._begun, self._held_at = time.perf_counter(), 0.0

    def __call__(self) -> float:
        return (self._held_at or time.perf_counter()) - self._begun

    def hold(self) -> None:
        """Stop counting."""
        self._held_at = time.perf_counter()

    def release(self) -> None:
        """Count on from where it was held."""
        self._begun += time.perf_counter() - self._held_at
        self._held_at = 0.0


class Trainer:
    """Trains one model in a thread of its own and writes its run folder.

    state: queued -> running <-> paused -> finished | stopped | failed. `log` and `snapshot` may be read by anyone at
    any time.
    """

    def __init__(self, folder: RunFolder, prepared: Prepared) -> None:
        self.folder, self.prepared = folder, prepared
        self.recipe, self.tokenizer = prepared.recipe, prepared.tokenizer
        self.config: GPTConfig = self.recipe.model_config(self.tokenizer.vocab_size)
        self.log = EventLog()
        self.state = "queued"
        self.snapshot: Snapshot | None = None
        self._go = threading.Event()
        self._go.set()
        self._stop = threading.Event()
        self._steering = threading.Lock()
        self._want_snapshot = threading.Event()
        self._snapshot_ready = threading.Condition()
        self._thread = threading.Thread(target=self._run, name=f"train {folder.id}", daemon=True)
        self._last: Event | None = None
        self._loss: float | None = None
        self._keeping: Future[None] | None = None
        self._counting: Future[Baselines] | None = None
        self._counted = False
        self._when_over: list[Callable[[], None]] = []
        self._when_still: list[Callable[[], None]] = []

    def start(self) -> None:
        """Begin training in the background; a run that began before, or was stopped in the queue, stays as it is."""
        with self._steering:
            if self.state == "queued":
                self.state = "running"
                self.folder.hold()
                self._thread.start()

    def when_over(self, call: Callable[[], None]) -> None:
        """Have `call()` called once the run has ended, from its thread or the one that stopped it in the queue."""
        self._when_over.append(call)

    def when_still(self, call: Callable[[], None]) -> None:
        """Have `call()` called from its thread each time the run stands still in a pause."""
        self._when_still.append(call)

    @property
    def still(self) -> bool:
        """Whether it stands still in a pause, and nobody has woken it."""
        return self.state == "paused" and not self._go.is_set()

    def pause(self) -> None:
        """Stand still after the current step."""
        with self._steering:
            if not self._stop.is_set():  # else it would stand still for ever, with nobody to wake it
                self._go.clear()

    def resume(self) -> None:
        """Go on after a pause."""
        self._go.set()

    def stop(self) -> None:
        """End after the current step, keeping its weights as the last checkpoint. A run that never began just ends."""
        with self._steering:
            self._stop.set()
            self._go.set()
            if self.state != "queued":
                return
            self._finish(Finished(0, 0.0, "stopped"))
            self.folder.close()
        for call in self._when_over:
            call()

    def join(self, timeout: float | None = None) -> bool:
        """Wait for the end; False when `timeout` seconds passed first."""
        if self._thread.ident is None:  # still in the queue, or stopped there
            return self.over
        self._thread.join(timeout)
        return not self._thread.is_alive()

    @property
    def over(self) -> bool:
        """Whether no more events will come."""
        return self.state in ("finished", "stopped", "failed")

    def fresh_snapshot(self, timeout: float = 5.0) -> Snapshot | None:
        """A snapshot of this moment where the run moves (waits for the current step), else the latest one."""
        with self._snapshot_ready:
            if self.state == "running":
                self._want_snapshot.set()
                self._snapshot_ready.wait_for(lambda: not self._want_snapshot.is_set() or self.over, timeout)
            return self.snapshot

    def _run(self) -> None:
        try:
            self._train(Stopwatch())
        except Exception as error:
            if not isinstance(error, ValueError):
                _log.exception("training %s broke", self.folder.id)
            step, wall_s = (self._last.step, self._last.wall_s) if self._last else (0, 0.0)
            failed = Failed(step, wall_s, explain(error))
            with contextlib.suppress(OSError):  # the disk may be what broke; the readers hear of it all the same
                self.folder.append(failed)
            self.log.append(failed)
            self.state = "failed"
        finally:
            self.folder.close()
            with self._snapshot_ready:
                self._snapshot_ready.notify_all()
            for call in self._when_over:
                call()

    def _train(self, watch: Stopwatch) -> None:
        threads = ThreadCount(self.recipe.train.threads)
        self.tokenizer.save(self.folder.path / "tokenizer.json")
        write_recipe(self.folder.path / "config.yaml", self.recipe, self.folder.info().name)
        device = pick_device(self.recipe.train.device)
        with Chance(self.recipe.train.seed):
            model = GPT(self.config)
        self._copy_embeddings(model)
        model.to(device)
        teacher = self.prepared.teacher
        if teacher is not None:
            teacher.model.to(device)
        torch.set_num_threads(threads.current)
        due = time.monotonic() + _THREADS_FIRST_S
        data, config = self.prepared.data, self.recipe.train
        with ThreadPoolExecutor(1, "baselines") as aside:
            for event in train_steps(model, data, config, self.tokenizer, clock=watch, teacher=teacher):
                if self._keeping is None and isinstance(event, Stepped):  # the first step should not wait for it
                    self._keeping = aside.submit(self._keep_text)
                self._take_baselines(event, aside)
                self._keep(event, model)
                if isinstance(event, Finished):
                    return
                if time.monotonic() > due:
                    due = time.monotonic() + _THREADS_EVERY_S
                    self._follow_cores(threads, event)
                if not self._go.is_set():
                    self._stand_still(watch, event, model)
                if self._stop.is_set():
                    self._publish(model, event.step, None)
                    self._save(model, "last", event)
                    self._finish(Finished(event.step, event.wall_s, "stopped"))
                    return

    def _keep_text(self) -> None:
        texts = self.prepared.texts
        if texts is not None:
            try:
                keep_text(self.folder.path, texts)
            except OSError:  # a full disk ends the run where its weights are written
                _log.exception("the text of %s could not be kept", self.folder.id)

    def _take_baselines(self, event: Event, aside: ThreadPoolExecutor) -> None:
        """Begin to count after the first step; record the result once it is there, or before the run ends."""
        data = self.prepared.data
        if self._counting is None and isinstance(event, Stepped) and len(data.val):
            vocab_size, token_bytes = self.tokenizer.vocab_size, data.token_bytes.numpy()
            train, val = ([part.numpy() for part in parts] for parts in data.sequences())
            self._counting = aside.submit(measure, train, val, vocab_size, token_bytes)
        elif self._counting and not self._counted and (self._counting.done() or isinstance(event, Finished)):
            self._counted = True
            try:
                found = self._counting.result()
            except Exception:  # a run is worth more than the lines that it is compared with
                _log.exception("the baselines of %s could not be counted", self.folder.id)
            else:
                self._record(BaselinesKnown(event.step, event.wall_s, found.values, found.bits_per_byte))

    def _keep(self, event: Event, model: GPT) -> None:
        if isinstance(event, Stepped):
            self._loss = event.loss
        if isinstance(event, Evaluated):
            self._publish(model, event.step, event)
            if event.step:
                self._save(model, "last", event)
                if event.best:
                    self._save(model, "best", event)
        elif self._want_snapshot.is_set():
            self._publish(model, event.step, None)
        if isinstance(event, Finished):
            if not event.step:  # the target was reached before the first step; there is nothing to open yet
                self._save(model, "last", event)
            self._finish(event)
        else:
            self._record(event)

    def _follow_cores(self, threads: ThreadCount, event: Event) -> None:
        before = threads.current
        if threads.check() != before:
            torch.set_num_threads(threads.current)
            self._record(Threads(event.step, event.wall_s, threads.current))

    def _stand_still(self, watch: Stopwatch, event: Event, model: GPT) -> None:
        watch.hold()
        with self._snapshot_ready:  # together, so that nobody waits for a snapshot from a run that stands still
            self._publish(model, event.step, None)
            self.state = "paused"
        self._record(Paused(event.step, event.wall_s))
        for call in self._when_still:
            call()
        self._go.wait()
        watch.release()
        if not self._stop.is_set():
            self.state = "running"
            self._record(Resumed(event.step, event.wall_s))

    def _publish(self, model: GPT, step: int, measured: Evaluated | None) -> None:
        state = {name: value.detach().to("cpu", copy=True) for name, value in model.state_dict().items()}
        val_loss = measured.val_loss if measured else None
        bits = measured.bits_per_byte if measured else None
        with self._snapshot_ready:
            self.snapshot = Snapshot(step, state, self._loss, val_loss, bits)
            self._want_snapshot.clear()
            self._snapshot_ready.notify_all()

    def _save(self, model: GPT, which: str, event: Event) -> None:
        measured = {"loss": self._loss}
        if isinstance(event, Evaluated):
            measured |= {"val_loss": event.val_loss, "bits_per_byte": event.bits_per_byte}
        save_checkpoint(self.folder.checkpoint(which), model, self.tokenizer, self._meta(event.step, measured))

    def _meta(self, step: int, measured: dict[str, Any]) -> dict[str, Any]:
        known = {name: value for name, value in measured.items() if value is not None}
        info = self.folder.info()
        meta = {"name": info.name, "run": info.id, "corpus": info.corpus, "step": step, **known}
        return meta | ({"sampling": sampling} if (sampling := self.recipe.train.sampling) else {})

    def _copy_embeddings(self, model: GPT) -> None:
        donor = self.prepared.donor
        if donor is not None:
            ids = copy_embeddings(model, self.tokenizer, donor)
            tokens = [self.tokenizer.piece(number).text for number in ids]
            self._record(Copied(0, 0.0, len(ids), self.tokenizer.vocab_size, tokens))

    def _finish(self, event: Finished) -> None:
        self._draw_loss()
        self._record(event)  # first: whoever sees the run over finds its last event in the log
        self.state = "stopped" if event.reason == "stopped" else "finished"

    def _draw_loss(self) -> None:
        events, _ = self.log.since(0)
        if any(isinstance(event, Stepped) for event in events):
            try:
                draw_loss(self.folder.path / "loss.png", events, self.folder.info().name)
            except Exception:  # a picture is not worth a run
                _log.exception("the loss of %s could not be drawn", self.folder.id)

    def _record(self, event: Event) -> None:
        self.folder.append(event)
        if isinstance(event, Sampled):
            append_sample(self.folder.path / "samples.txt", event)
        self._last = event
        self.log.append(event)


@functools.cache
def warm_up() -> None:
    """Load in the background, once, what torch loads when its first optimizer is made (a second on two cores).

    For whoever knows that a training may begin soon, so that its first step does not wait for it.
    """
    threading.Thread(target=lambda: torch.optim.AdamW([torch.zeros(1)]), name="warm up", daemon=True).start()


def explain(error: BaseException) -> str:
    """A sentence for the person who trains, for whatever went wrong."""
    text = str(error)
    if isinstance(error, ValueError) and text:
        return text[0].upper() + text[1:]
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate memory" in text:
        return "There is not enough memory for this model and batch: halve the batch size, or make the model narrower."
    if isinstance(error, OSError):
        return (
            f"The run's folder could not be written ({error.strerror or error}): free some disk space and train again. "
            "The last checkpoint that was written whole can still be opened."
        )
    return f"Training broke for a reason of its own ({type(error).__name__}); the server's log has the details."
