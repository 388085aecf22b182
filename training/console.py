"""A training as the console shows it: a progress bar, and a line for each event that is worth one."""

from __future__ import annotations

import signal
import threading
from collections.abc import Sequence
from typing import Any

from tqdm import tqdm

from training.artifacts import first_below
from training.distributed import give_up_after, launched, restarted
from training.events import (
    BaselinesKnown,
    Changed,
    Copied,
    Evaluated,
    Event,
    Failed,
    Finished,
    Sampled,
    Started,
    Stepped,
    TakenUp,
)
from training.outcomes import Ran, outcomes
from training.runs import RunFolder, called, list_runs
from training.trainer import Trainer
from training.units import both, in_bits
from training.unseen import told

_LISTED = 20  # copied rows that are named
_STOP_S = 25.0  # torchrun waits 30 s between asking its processes to end and ending them


def follow(trainer: Trainer, quiet: bool, cursor: int = 0) -> int:
    """Show a run's events from a cursor on until it ends; Ctrl-C and SIGTERM stop it and keep its weights."""

    def stop(*_: object) -> None:
        if launched() or restarted():
            give_up_after(_STOP_S)
        trainer.stop()

    if threading.current_thread() is threading.main_thread():  # the only one that may
        signal.signal(signal.SIGTERM, stop)
    first = trainer.log.tail(1)[0].step if cursor else 0
    steps, hidden = trainer.recipe.train.steps, True if quiet else None
    train = trainer.recipe.train
    if teacher := called(train.teacher):
        share, heat = f"{train.teacher_share:.0%}", f"{train.teacher_temperature:g}"
        print(f"its teacher is {teacher}: {share} of the loss are its predictions, at temperature {heat}")
    with tqdm(total=steps, initial=first, unit="step", disable=hidden, dynamic_ncols=True) as bar:
        voice = _Voice(bar, trainer.log.since(0)[0][:cursor])
        while not (trainer.over and not trainer.log.since(cursor)[0]):
            try:
                trainer.log.wait(cursor, timeout=0.5)
                for event in trainer.log.since(cursor)[0]:
                    cursor += 1
                    voice.show(event)
            except KeyboardInterrupt:
                trainer.stop()
    trainer.join()
    print("\n".join([*_brought(trainer.folder), f"run folder: {trainer.folder.path}"]))
    return int(trainer.state != "finished")


def _brought(folder: RunFolder) -> list[str]:
    """What was taken from other models, and what that brought beside a run without it in the folder around this one."""
    run, lines = Ran(folder.info(), folder), []
    around = [Ran(info, RunFolder(folder.path.parent / info.id)) for info in list_runs(folder.path.parent)]
    for found in outcomes(run, around):
        if (said := found.told()) is not None:
            lines.append(said + (found.other.info.id if found.other is not None else ""))
            continue
        recipe, flag = run.info.recipe, f"--{found.taken.replace('_', '-')}"
        entries = f" --vocab-size {recipe.vocab_size}" if recipe.tokenizer == "bpe" else ""
        same = f" and with --tokenizer {recipe.tokenizer}{entries}" if found.taken == "teacher" else ""
        lines.append(
            f"To see what {found.what} brought, train the same again without {flag}{same}, into a folder beside this "
            "one: the two losses are then printed at its end."
        )
    return lines


def leave_signals_to_the_first() -> None:
    """A process that is not the first ends when that one says so, or if it does not."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: give_up_after(_STOP_S))


class _Voice:
    """Prints events beside a progress bar. before: those that went by already, of a run that goes on."""

    def __init__(self, bar: tqdm[Any], before: Sequence[Event]) -> None:
        self._bar = bar
        self._bytes: float | None = None  # of a token of the training
        self._counted: dict[str, float] = {}
        self._measured: list[Evaluated] = []
        self._beaten: set[str] = set()
        for event in before:
            self._note(event)

    def _note(self, event: Event) -> dict[str, int]:
        """Remember what later lines need; the counting models of which it is first known that they are beaten, each
        with the step of the first measurement below it."""
        if isinstance(event, Started):
            self._bytes = event.learnt_bytes_per_token
        if isinstance(event, BaselinesKnown):
            self._counted = event.nats
        if isinstance(event, Evaluated):
            self._measured.append(event)
        left = {name: loss for name, loss in self._counted.items() if name not in self._beaten}
        found = {name: first_below(self._measured, loss) for name, loss in left.items()}
        fresh = {name: step for name, step in found.items() if step is not None}
        self._beaten |= set(fresh)
        return fresh

    def show(self, event: Event) -> None:
        """Print one."""
        bar, fresh = self._bar, self._note(event)
        match event:
            case Started():
                several = f", {event.processes} processes" if event.processes else ""
                bar.write(f"{event.parameters:,} parameters on {event.device}{several}")
                if event.unseen is not None and event.spelling is not None:
                    bar.write(told(event.unseen, event.spelling))
            case Stepped():
                bar.update(event.step - bar.n)
                soft = {} if event.soft_loss is None else {"against_teacher": f"{event.soft_loss:.3f} nats"}
                loss = both(event.loss, in_bits(event.loss, self._bytes), 3)
                bar.set_postfix(soft, loss=loss, tokens_per_s=f"{event.tokens_per_s:,.0f}", refresh=False)
            case Changed():
                bar.write(f"from here on: learning rate x {event.rate:g}, batch {event.batch_size}")
            case TakenUp():
                bar.write(f"goes on from step {event.step:,} of {event.steps:,}")
            case Copied():
                rows = ", ".join(event.tokens[:_LISTED]).replace("\n", "↵")
                more = " …, all of them in metrics.jsonl" if len(event.tokens) > _LISTED else ""
                bar.write(f"{event.rows:,} of {event.of:,} embedding rows were copied: {rows}{more}")
            case BaselinesKnown() if event.nats:
                listed = (f"{name} {both(loss, event.bits.get(name), 3)}" for name, loss in event.nats.items())
                beaten = ", ".join(f"{name} by step {step:,}" for name, step in fresh.items())  # it took its time
                before = f"; beaten already: {beaten}" if beaten else ""
                over = f"; counted over {event.share:.0%} of the training part, spread over it" if event.share else ""
                bar.write(f"counting alone comes to (nats per token, bits per byte): {', '.join(listed)}{over}{before}")
            case Evaluated(val_loss=float()):
                bits = f", {event.bits_per_byte:.3f} bits per byte" if event.bits_per_byte is not None else ""
                best = " (best)" if event.best else ""
                beats = f"; beats {', '.join(fresh)}" if fresh else ""
                bar.write(f"step {event.step}: validation loss {event.val_loss:.4f} nats per token{bits}{best}{beats}")
            case Evaluated(loss=float(loss)):
                value = in_bits(loss, self._bytes)
                bits = "" if value is None else f", {value:.4f} bits per byte"
                bar.write(
                    f"step {event.step}: training loss {loss:.4f} nats per token{bits}, mean since the last measurement"
                )
            case Sampled():
                bar.write("  " + f"{event.prompt}{event.text}".replace("\n", "\n  "))
            case Failed():
                bar.write(f"failed: {event.message}")
            case Finished():
                bar.write({"done": "done", "target": "target reached", "stopped": "stopped"}[event.reason])
