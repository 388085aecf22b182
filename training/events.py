"""What happens in a training run, as values, and the append-only log that several readers follow with a cursor.

Times are seconds since the run began, pauses left out; losses are nats per token.
"""

from __future__ import annotations

import threading
from dataclasses import asdict, dataclass
from typing import Any, ClassVar


@dataclass(frozen=True)
class Event:
    """Something that happened after `step` updates, `wall_s` seconds of training in."""

    kind: ClassVar[str] = "event"
    step: int
    wall_s: float

    def to_dict(self) -> dict[str, Any]:
        """The line of metrics.jsonl: the event's fields and its kind, without those that were not measured."""
        values = {k: v for k, v in asdict(self).items() if v is not None}
        return {"event": self.kind, **values}


@dataclass(frozen=True)
class Started(Event):
    """The first line of a run. bytes_per_token: of a target on average, of those held out where there are any;
    train_bytes_per_token: of those of the training, where others are held out (a byte-pair vocabulary is learnt on the
    training part, whose tokens are therefore longer); processes: how many train together, where several do; unseen,
    spelling: see training/unseen.py, where there is such.
    """

    kind: ClassVar[str] = "started"
    steps: int
    parameters: int
    device: str
    bytes_per_token: float | None = None
    processes: int | None = None
    unseen: float | None = None
    spelling: float | None = None
    train_bytes_per_token: float | None = None

    @property
    def learnt_bytes_per_token(self) -> float | None:
        """What parts a training loss in nats per token from bits per byte. Runs of before this was counted have only
        the figure of what is held out."""
        return self.train_bytes_per_token or self.bytes_per_token


@dataclass(frozen=True)
class Stepped(Event):
    """One update. loss is the batch's, before the update; grad_norm before clipping.

    soft_loss: against the teacher, where there is one.
    """

    kind: ClassVar[str] = "step"
    loss: float
    lr: float
    grad_norm: float
    tokens_per_s: float
    soft_loss: float | None = None


@dataclass(frozen=True)
class Evaluated(Event):
    """A measurement on the held-out text. loss: mean training loss since the last one (None before the first step)."""

    kind: ClassVar[str] = "eval"
    loss: float | None
    val_loss: float | None
    bits_per_byte: float | None
    best: bool


@dataclass(frozen=True)
class Sampled(Event):
    """What the model writes by itself at this step."""

    kind: ClassVar[str] = "sample"
    prompt: str
    text: str


@dataclass(frozen=True)
class BaselinesKnown(Event):
    """What the held-out text costs without any training: nats per token and bits per byte of counting models.

    share: of the training part that was counted, where it was not all of it."""

    kind: ClassVar[str] = "baselines"
    nats: dict[str, float]
    bits: dict[str, float]
    share: float | None = None


@dataclass(frozen=True)
class Copied(Event):
    """Embedding rows were copied from another model. tokens: of which, as text; of: the size of the vocabulary."""

    kind: ClassVar[str] = "copied"
    rows: int
    of: int
    tokens: list[str]


@dataclass(frozen=True)
class Threads(Event):
    """The number of CPU threads changed, because other work came or went."""

    kind: ClassVar[str] = "threads"
    threads: int


@dataclass(frozen=True)
class Paused(Event):
    """Training stands still until resumed."""

    kind: ClassVar[str] = "paused"


@dataclass(frozen=True)
class Resumed(Event):
    """Training goes on."""

    kind: ClassVar[str] = "resumed"


@dataclass(frozen=True)
class Changed(Event):
    """Settings were changed in flight, from the next step on; both stand here, whichever of them changed.

    rate: factor on the learning rates of the schedule; batch_size: stretches of text in one step.
    """

    kind: ClassVar[str] = "changed"
    rate: float
    batch_size: int


@dataclass(frozen=True)
class TakenUp(Event):
    """The run goes on from a checkpoint, after its program had ended or to be trained for longer.

    steps: in all, from now on; threads: CPU threads, on which the order of its sums depends.
    """

    kind: ClassVar[str] = "taken up"
    steps: int
    threads: int


@dataclass(frozen=True)
class Finished(Event):
    """The last line of a run that came to its end. reason: `done`, `stopped` by somebody, or `target` reached."""

    kind: ClassVar[str] = "finished"
    reason: str


@dataclass(frozen=True)
class Failed(Event):
    """The last line of a run that broke. message: a sentence for the person who trains."""

    kind: ClassVar[str] = "failed"
    message: str


class EventLog:
    """Events in order, appended by one thread and read by any number, each with a cursor of its own."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._changed = threading.Condition()

    def append(self, event: Event) -> None:
        """Add an event and wake whoever waits."""
        with self._changed:
            self._events.append(event)
            self._changed.notify_all()

    def since(self, cursor: int) -> tuple[list[Event], int]:
        """Events from `cursor` on (0 = all), and the cursor for the next call."""
        events = self._events[max(0, cursor) :]  # slicing a list is atomic; the list only grows
        return events, max(0, cursor) + len(events)

    def head(self, count: int) -> list[Event]:
        """The first `count` events."""
        return self._events[:count]

    def tail(self, count: int) -> list[Event]:
        """The last `count` events."""
        events = self._events[:]  # one atomic copy; the length may change meanwhile
        return events[max(0, len(events) - count) :]

    def wait(self, cursor: int, timeout: float) -> bool:
        """Wait until there is something after `cursor`; False when `timeout` seconds passed first."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self._events) > cursor, timeout)
