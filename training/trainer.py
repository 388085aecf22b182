"""One training in the background: a thread that can be paused, resumed and stopped, and a log that others read.

The model in training belongs to the thread alone. Others look at snapshots, which are copies on the CPU.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from model import GPT, ConfigError, GPTConfig
from training.baselines import MOST_PREDICTED, ORDER, Baselines, measure
from training.distributed import ALONE, Group, Order, Ranks
from training.events import (
    BaselinesKnown,
    Changed,
    Copied,
    Evaluated,
    Event,
    EventLog,
    Failed,
    Finished,
    Paused,
    Resumed,
    Stepped,
    TakenUp,
    Threads,
)
from training.lanes import Lanes
from training.lens import Lens, StepLook
from training.loop import pick_device, train_steps
from training.resume import Resumption, find_resumption, take_up
from training.run_writer import RunWriter
from training.runs import RunFolder, RunInfo
from training.setup import Prepared
from training.snapshots import Snapshots
from training.standing import stand
from training.state import LoopState
from training.steering import Steering, check_change
from training.threads import AT_FIRST, ThreadCount, keep_memory

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

    def __init__(
        self, folder: RunFolder, prepared: Prepared, again: Resumption | None = None, group: Group = ALONE
    ) -> None:
        """group: the processes that train together, of which this is the first."""
        self.folder, self.prepared, self._again, self._group = folder, prepared, again, group
        self.recipe, self.tokenizer = prepared.recipe, prepared.tokenizer
        self.config: GPTConfig = self.recipe.model_config(self.tokenizer.vocab_size)
        self.log = EventLog()
        self.state = "queued"
        self.snapshot: Snapshot | None = None
        self._go = threading.Event()
        self._go.set()
        self._asked = threading.Event()
        self._lens = Lens()
        self._changes = Steering(again.planned if again is not None else ())
        self._stop = threading.Event()
        self._steering = threading.Lock()
        self._want_snapshot = threading.Event()
        self._snapshot_ready = threading.Condition()
        self._thread = threading.Thread(target=self._run, name=f"train {folder.id}", daemon=True)
        self._last: Event | None = None
        self._counting: Future[Baselines] | None = None
        self._counted = False
        self._writer = RunWriter(folder, prepared, group)
        self._snapshots: Snapshots | None = None
        self._when_over: list[Callable[[], None]] = []
        self._when_still: list[Callable[[], None]] = []
        if again is not None:
            self._stand_where_it_stood(again)

    @classmethod
    def resumed(cls, folder: RunFolder, more: int | None = None, group: Group = ALONE) -> Trainer:
        """The trainer of a run that was interrupted, stopped or came to its end, to go on from its last checkpoint.

        more: steps to train from there; None: those that are left. Until it starts, the folder stays as it is.
        Raises ValueError with a sentence where the run cannot go on.
        """
        prepared, again = find_resumption(folder, more)
        return cls(folder, prepared, again, group)

    def _stand_where_it_stood(self, again: Resumption) -> None:
        for event in again.events:
            self.log.append(event)
            self._last = event
            self._writer.note(event)
            self._counted = self._counted or isinstance(event, BaselinesKnown)
        if again.model is not None:
            state = {name: value.detach() for name, value in again.model.state_dict().items()}
            measured = self._writer.measured
            self._snapshot_of(again.step, state, measured if measured and measured.step == again.step else None)

    @property
    def info(self) -> RunInfo:
        """What the run is, as it will stand on disk once it has started."""
        info = self.folder.info()
        return replace(info, recipe=self.recipe, taken_up=self._again.anew) if self._again is not None else info

    @property
    def bytes_per_token(self) -> float | None:
        """Of a target on average: what parts nats per token from bits per byte; None before it is known."""
        return self._writer.bytes_per_token

    @property
    def resumed_at(self) -> int:
        """The step from which it goes on; 0 for a new run."""
        return self._again.step if self._again is not None else 0

    @property
    def untouched(self) -> bool:
        """Whether its folder stands as a run of an earlier time left it, which was to be taken up and has not been."""
        return self._again is not None and not self.begun

    @property
    def begun(self) -> bool:
        """Whether it has started, and has its folder for itself."""
        return self._thread.ident is not None

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
        self._asked.set()

    def step_once(self) -> None:
        """Of a run that stands still: make one update, look at it closely (`look`), and stand still again.

        Raises ConfigError where it does not stand still, or several processes train it.
        """
        self._check_alone("one step at a time")
        if not self.still:
            raise ConfigError(f"{self.folder.info().name} does not stand still: pause it first, then make one step.")
        self._lens.wanted = True
        self._asked.set()

    def one_step(self, timeout: float = 60.0) -> StepLook:
        """`step_once`, and wait for it: what the step did. Raises ConfigError; TimeoutError after so many seconds."""
        before = self._lens.found
        self.step_once()
        with self._snapshot_ready:
            self._snapshot_ready.wait_for(lambda: self.over or (self.look is not before and not self.stepping), timeout)
            found = self.look
        if found is None or found is before:
            raise TimeoutError(f"{self.folder.id} made no step in {timeout:g} seconds")
        return found

    @property
    def look(self) -> StepLook | None:
        """The latest step that was made alone, seen closely."""
        return self._lens.found

    @property
    def stepping(self) -> bool:
        """Whether it is making such a step at this moment."""
        return self._lens.wanted and not self.over

    def change(self, rate: float | None = None, batch_size: int | None = None) -> None:
        """Change settings in flight, from the next step on. rate: factor on the learning rates of the schedule;
        batch_size: stretches in a step; None: as it is. Raises ConfigError naming what would work."""
        self._check_alone("changes in flight")
        check_change(self.config, self.recipe.train, rate, batch_size)
        if self.over:
            raise ConfigError(f"{self.folder.info().name} is over: there is nothing to change any more.")
        self._changes.ask(None if rate is None else float(rate), batch_size)
        self._asked.set()

    def _check_alone(self, what: str) -> None:
        if self._group.size > 1:
            raise ConfigError(f"{what} are for a run of one process; {self._group.size} train this one together.")

    def stop(self) -> None:
        """End after the current step, keeping its weights as the last checkpoint. A run that never began just ends."""
        with self._steering:
            self._stop.set()
            self._go.set()
            self._asked.set()
            if self.state != "queued":
                return
            if self._again is None:
                self._finish(Finished(0, 0.0, "stopped"))
            self.state = "stopped"  # one that was to be taken up again stands on disk as it stood
            self.folder.close()
        for call in self._when_over:
            call()

    def join(self, timeout: float | None = None) -> bool:
        """Wait for the end; False when `timeout` seconds passed first."""
        if not self.begun:  # still in the queue, or stopped there
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
            own = explain(error)
            sentence = self._group.why(own, error)
            if not isinstance(error, ValueError) and sentence == own:
                _log.exception("training %s broke", self.folder.id)
            self._group.fail(sentence)
            self._failed(sentence)
        finally:
            torch.set_num_threads(AT_FIRST)  # for the threads that others begin from now on
            self._writer.close()
            with self._snapshot_ready:
                self._snapshot_ready.notify_all()
            for call in self._when_over:
                call()

    def _failed(self, sentence: str) -> None:
        step, wall_s = (self._last.step, self._last.wall_s) if self._last else (0, 0.0)
        failed = Failed(step, wall_s, sentence)
        with contextlib.suppress(OSError):  # the disk may be what broke; the readers hear of it all the same
            self._writer.write(failed)
        self.log.append(failed)
        self.state = "failed"

    def _train(self, watch: Stopwatch) -> None:
        threads = ThreadCount(self._group.threads(self.recipe.train.threads))
        keep_memory()
        device = self._group.device(pick_device(self.recipe.train.device))
        if isinstance(self._group, Ranks):
            self._group.on_failure = self._failed
        model, state = self._begin(device, threads)
        if isinstance(self._group, Ranks):
            self._group.on_save = lambda: self._writer.save_parts(model, state)
        if not self._group.sharded:  # a model that has to be shared out is too large for it anyway
            self._snapshots = Snapshots(
                self.folder, model, self.prepared.data, self.tokenizer, self.recipe.train, state.step
            )
        teacher = self.prepared.teacher
        if teacher is not None:
            teacher.model.to(device)
        due = time.monotonic() + _THREADS_FIRST_S
        data, config, group = self.prepared.data, self.recipe.train, self._group
        with ThreadPoolExecutor(1, "baselines") as aside, Lanes(state.lanes) as lanes:
            _use(threads, lanes)
            steps = train_steps(model, data, config, self.tokenizer, watch, teacher, state, group, self._lens, lanes)
            for event in steps:
                if isinstance(event, Stepped):  # the first step should not wait for it
                    self._writer.keep_text(aside)
                self._take_baselines(event, aside)
                self._keep(event, model, state)
                if isinstance(event, Finished):
                    return
                if time.monotonic() > due:
                    due = time.monotonic() + _THREADS_EVERY_S
                    self._follow_cores(threads, lanes, event)
                self._make_changes(state, event.wall_s)
                if not self._go.is_set() and not self.stepping:
                    self._stand_still(watch, event, model, state)
                self._wake(event)
                if self._stop.is_set() and not self._group.ask(Order.STOP):
                    self._publish(model, event.step, None)
                    self._writer.save_last(model, state, event.step)
                    self._finish(Finished(event.step, event.wall_s, "stopped"))
                    return

    def _begin(self, device: torch.device, threads: ThreadCount) -> tuple[GPT, LoopState]:
        """The model where it will be trained, and where its training stands: before the first step, or at `_again`."""
        again = self._again
        if again is not None:
            take_up(self.folder, again)
        self._writer.begin()
        model, state, copied = stand(self.prepared, again, device, self._group)
        self._writer.log_to(state.step)
        if copied:
            tokens = [self.tokenizer.piece(number).text for number in copied]
            self._record(Copied(0, 0.0, len(copied), self.tokenizer.vocab_size, tokens))
        if again is not None and again.model is not None:
            self._record(TakenUp(state.step, state.wall_s, self.recipe.train.steps, threads.current))
            self._again = replace(again, model=None, extra=None, events=[])  # what it held is the loop's now
        self._make_changes(state, state.wall_s)
        if self.prepared.beginning is not None:  # its weights stand nowhere else, should it be killed now
            self._snapshot_of(state.step, {name: value.cpu() for name, value in model.state_dict().items()}, None)
            self._writer.save_last(model, state, state.step)
        return model, state

    def _take_baselines(self, event: Event, aside: ThreadPoolExecutor) -> None:
        """Begin to count after the first step; record the result once it is there, or before the run ends."""
        data = self.prepared.data
        if self._counting is None and isinstance(event, Stepped) and len(data.val):
            vocab_size, token_bytes = self.tokenizer.vocab_size, data.token_bytes.numpy()
            pieces = data.held_out_pieces(min(self.recipe.train.eval_tokens, MOST_PREDICTED), ORDER - 1)
            train, val = [part.numpy() for part in data.sequences()], [piece.ids.numpy() for piece in pieces]
            known = [piece.known for piece in pieces]
            self._counting = aside.submit(measure, train, val, vocab_size, token_bytes, known)
        elif self._counting and not self._counted and (self._counting.done() or isinstance(event, Finished)):
            self._counted = True
            try:
                found = self._counting.result()
            except Exception:  # a run is worth more than the lines that it is compared with
                _log.exception("the baselines of %s could not be counted", self.folder.id)
            else:
                share = found.share if found.share < 1 else None
                self._record(BaselinesKnown(event.step, event.wall_s, found.values, found.bits_per_byte, share))

    def _keep(self, event: Event, model: GPT, state: LoopState) -> None:
        self._writer.note(event)
        if isinstance(event, Evaluated):
            self._publish(model, event.step, event)
        elif self._want_snapshot.is_set():
            self._publish(model, event.step, None)
        if isinstance(event, Finished):
            self._writer.save_last(model, state, event.step)
            self._finish(event)
            return
        self._writer.write(event)  # first: a checkpoint says how much stands in the file
        measured = isinstance(event, Evaluated)
        if isinstance(event, Evaluated) and event.step and event.best:
            self._writer.save_best(model, event.step)
        due = 0 < event.step < self.recipe.train.steps and self._writer.due(measured)  # the end is written at the end
        if due and not (self._group.sharded and self._group.ask(Order.SAVE)):
            self._writer.save_last(model, state, event.step)
        if self._snapshots is not None:
            self._snapshots.after(event, model)
        self._tell(event)

    def _follow_cores(self, threads: ThreadCount, lanes: Lanes, event: Event) -> None:
        before = threads.current
        if threads.check() != before:
            _use(threads, lanes)
            self._record(Threads(event.step, event.wall_s, threads.current))

    def _stand_still(self, watch: Stopwatch, event: Event, model: GPT, state: LoopState) -> None:
        watch.hold()
        with self._snapshot_ready:  # together, so that nobody waits for a snapshot from a run that stands still
            self._publish(model, event.step, None)
            self.state = "paused"
        if event.step:
            self._writer.save_last(model, state, event.step)
        self._record(Paused(event.step, event.wall_s))
        for call in self._when_still:
            call()
        while not self._go.is_set() and not self.stepping:
            self._asked.wait()
            self._asked.clear()
            self._make_changes(state, event.wall_s)
        self._make_changes(state, event.wall_s)  # asked for in one breath with going on
        watch.release()

    def _wake(self, event: Event) -> None:
        """Where it stood still and is to go on, not by one step alone: say so."""
        if self.state == "paused" and self._go.is_set() and not self._stop.is_set():
            self.state = "running"
            self._record(Resumed(event.step, event.wall_s))

    def _make_changes(self, state: LoopState, wall_s: float) -> None:
        for change in self._changes.due(state):
            self._record(Changed(change.step, wall_s, change.rate, change.batch_size))

    def _publish(self, model: GPT, step: int, measured: Evaluated | None) -> None:
        if self._group.sharded:
            return
        state = {name: value.detach().to("cpu", copy=True) for name, value in model.state_dict().items()}
        self._snapshot_of(step, state, measured)

    def _snapshot_of(self, step: int, state: dict[str, Tensor], measured: Evaluated | None) -> None:
        val_loss = measured.val_loss if measured else None
        bits = measured.bits_per_byte if measured else None
        with self._snapshot_ready:
            self.snapshot = Snapshot(step, state, self._writer.loss, val_loss, bits)
            self._want_snapshot.clear()
            self._snapshot_ready.notify_all()

    def _finish(self, event: Finished) -> None:
        self._writer.draw_loss(self.log.since(0)[0])
        self._record(event)  # first: whoever sees the run over finds its last event in the log
        self.state = "stopped" if event.reason == "stopped" else "finished"

    def _record(self, event: Event) -> None:
        self._writer.write(event)
        self._tell(event)

    def _tell(self, event: Event) -> None:
        self._last = event
        self.log.append(event)
        self._writer.tell_elsewhere(event)


def _use(threads: ThreadCount, lanes: Lanes) -> None:
    """Give the calling thread, which trains, and its lanes so many threads."""
    lanes.threads = threads.current
    torch.set_num_threads(1 if lanes.count > 1 else threads.current)


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
