"""How a run is doing, in one sentence that rests on what was measured: pure functions of its events and settings.

`diagnose(events, train)` is the first of these rules that speaks. Losses are in nats per token; a window is the last
tenth of the steps, at least 20 and at most 100 of them.

- no number: the run ended because its loss was none.
- diverging: the median of 20 losses is above the lowest one before it by 0.4 and by 15 %, over 30 steps.
- overfitting: the validation is above its best by 0.03 and by 2 % in the last two measurements, and the training loss
  has fallen since.
- not falling: after 150 steps, and twice the warm-up, a window is not 3 % below the unigram (the start, where that is
  not known), nor 2 % below the window two before it.
- plateau: over the last third, of at least 300 steps and four measurements, the loss fell by less than 0.5 %, while
  the learning rate is above a fifth of its largest.
- by heart: nothing is held out, and the loss is below 0.3.
- well: none of these; it says which of the counting models (baselines.py) the validation beats, and since when.

The thresholds are tested on recorded runs (tests/training/test_diagnosis.py), and false alarms are counted there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from typing import Any, Literal

from training.config import TrainConfig
from training.events import BaselinesKnown, Changed, Evaluated, Event, Failed, Finished, Stepped
from training.loop import NO_NUMBER

Kind = Literal["no number", "diverging", "overfitting", "not falling", "plateau", "by heart", "well", "early"]
Action = Literal["change", "stop", "go_on", "fork"]
ALARMS: tuple[Kind, ...] = ("no number", "diverging", "overfitting", "not falling")
RISEN, RISEN_SHARE = 0.4, 0.15
OVERFIT, OVERFIT_SHARE = 0.03, 0.02
FALLEN, FALLING, STEPS, WARM_UPS = 0.03, 0.02, 150, 2
STILL, STILL_STEPS, STILL_EVALS = 0.005, 300, 4
BY_HEART = 0.3


@dataclass(frozen=True)
class Remedy:
    """What a click can do. change, go_on: with this factor on the learning rate; fork: from this step, with changes."""

    label: str
    action: Action
    rate: float | None = None
    step: int | None = None
    changes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Diagnosis:
    """since: the step that it began with, where that can be told."""

    kind: Kind
    sentence: str
    since: int | None = None
    remedies: tuple[Remedy, ...] = ()

    @property
    def alarm(self) -> bool:
        """Whether something is wrong."""
        return self.kind in ALARMS


class Course:
    """What the rules look at, gathered from the events once."""

    def __init__(self, events: Sequence[Event], train: TrainConfig) -> None:
        self.train = train
        self.steps = [event for event in events if isinstance(event, Stepped)]
        self.losses = [event.loss for event in self.steps]
        self.evals = [event for event in events if isinstance(event, Evaluated)]
        self.held_out = [(e.step, e.val_loss, e.loss) for e in self.evals if e.val_loss is not None]
        self.baselines: dict[str, float] = next((e.nats for e in events if isinstance(e, BaselinesKnown)), {})
        changes = [event for event in events if isinstance(event, Changed)]
        self.rate = changes[-1].rate if changes else 1.0
        self.failed = next((event for event in events[-1:] if isinstance(event, Failed)), None)
        self.over = bool(events) and isinstance(events[-1], Failed | Finished)
        self.first_step = self.steps[0].step if self.steps else 0

    @property
    def size(self) -> int:
        """Of a window, in steps."""
        return min(100, max(20, len(self.losses) // 10))

    @property
    def step(self) -> int:
        """The last one."""
        return self.steps[-1].step if self.steps else 0

    def window(self, back: int = 0) -> float:
        """The median loss of the last window, or of the one that is so many windows back."""
        end = len(self.losses) - back * self.size
        return median(self.losses[max(0, end - self.size) : end])

    @property
    def start(self) -> float:
        """The loss before anything was learnt."""
        return self.held_out[0][1] if self.held_out else self.losses[0]

    @property
    def best(self) -> tuple[int, float] | None:
        """Step and loss of the lowest validation."""
        return min(((step, val) for step, val, _ in self.held_out), key=lambda e: e[1], default=None)


def diagnose(events: Sequence[Event], train: TrainConfig) -> Diagnosis | None:
    """How a run is doing; None before its first steps."""
    course = Course(events, train)
    if course.failed is not None:
        return no_number(course)
    if len(course.losses) < 2:
        return None
    for rule in (diverging, overfitting, not_falling, plateau, by_heart):
        if (found := rule(course)) is not None:
            return found
    return well(course)


def no_number(course: Course) -> Diagnosis | None:
    """The loss was none any more."""
    failed = course.failed
    if failed is None or NO_NUMBER not in failed.message.lower():
        return None
    remedies = [Remedy("Go on with a tenth of the rate", "go_on", rate=course.rate / 10)]
    return Diagnosis("no number", failed.message, failed.step + 1, (*remedies, *_back_to_best(course, 0.1)))


def diverging(course: Course) -> Diagnosis | None:
    """The loss is far above its best."""
    size, losses = 20, course.losses
    windows = [(i, median(losses[i - size : i])) for i in range(size, len(losses) + 1, size // 2)]
    windows = [(0, course.start), *windows] if course.first_step == 1 else windows
    best, since = float("inf"), None
    for (_, before), (end, now) in pairwise(windows):
        best = min(best, before)
        limit = max(best + RISEN, best * (1 + RISEN_SHARE))
        if now <= limit:
            since = None
        elif since is None:
            since = end - size
    if since is None or windows[-1][0] - since < 1.5 * size:
        return None
    step, now = course.steps[max(0, since)].step, windows[-1][1]
    sentence = (
        f"Diverging since about step {step:,}: the loss is {now:.2f}, and was {best:.2f} at best. The updates are too "
        "large: lower the learning rate."
    )
    quarter = _factor(course, 0.25)
    remedies = [] if course.over else [Remedy("Quarter the rate", "change", rate=quarter), _stop(course)]
    return Diagnosis("diverging", sentence, step, (*remedies, *_back_to_best(course, 0.1)))


def overfitting(course: Course) -> Diagnosis | None:
    """The validation rises while the training falls."""
    if course.best is None:
        return None
    step, best = course.best
    after = [entry for entry in course.held_out if entry[0] > step]
    limit = max(best + OVERFIT, best * (1 + OVERFIT_SHARE))
    if len(after) < 2 or step == 0 or any(val <= limit for _, val, _ in after[-2:]):
        return None
    then = next((loss for at, _, loss in course.held_out if at == step), None)
    now, val = after[-1][2], after[-1][1]
    if then is None or now is None or now >= then:
        return None
    sentence = (
        f"Overfitting since step {step:,}: the validation rose from {best:.2f} to {val:.2f} while the training loss "
        f"fell to {now:.2f}. It learns its text by heart; the weights of step {step:,}, the best, are kept."
    )
    dropout = Remedy("Fork there, with dropout", "fork", step=step, changes={"dropout": 0.2})
    return Diagnosis("overfitting", sentence, step, (*([] if course.over else [_stop(course)]), dropout))


def not_falling(course: Course) -> Diagnosis | None:
    """The loss has not come below what the mere frequency of the tokens gives."""
    made = len(course.losses)
    if made < max(STEPS, WARM_UPS * course.train.warmup_steps) or course.first_step != 1:
        return None
    now, unigram, size = course.window(), course.baselines.get("unigram"), course.size
    against = unigram if unigram is not None else course.start
    if now < against * (1 - FALLEN) or now < course.window(back=2) * (1 - FALLING):
        return None
    risen = max(median(course.losses[i : i + size]) for i in range(0, made - size + 1, size)) > course.start + RISEN
    large = risen or (unigram is not None and now < unigram * (1 + FALLEN))
    known = "it began at" if unigram is None else "how frequent each token is already gives"
    cause = "large: the loss rose at first" if risen else "large: it learns nothing beyond that" if large else "small"
    sentence = (
        f"Not falling: {now:.2f} after {made:,} steps, and {known} {against:.2f}. The learning rate is too {cause}."
    )
    label, factor = ("A tenth of the rate", 0.1) if large else ("Ten times the rate", 10.0)
    remedies = () if course.over else (Remedy(label, "change", rate=_factor(course, factor)),)
    return Diagnosis("not falling", sentence, None, remedies)


def plateau(course: Course) -> Diagnosis | None:
    """The loss stands still, though the learning rate is not small yet."""
    begin = course.first_step + (course.step - course.first_step) * 2 // 3
    measured = [(s, val) for s, val, _ in course.held_out] or [(e.step, e.loss) for e in course.evals if e.loss]
    late = [(s, loss) for s, loss in measured if s >= begin]
    peak = course.train.learning_rate * max(1.0, course.rate)
    if course.step - begin < STILL_STEPS // 3 or len(course.losses) < STILL_STEPS or len(late) < STILL_EVALS:
        return None
    if course.steps[-1].lr < peak / 5 or min(loss for _, loss in late[1:]) < late[0][1] * (1 - STILL):
        return None
    if not course.held_out and course.window() < BY_HEART:
        return None
    what = "validation" if course.held_out else "training loss"
    sentence = f"Standing still: the {what} has been at {late[0][1]:.2f} since step {late[0][0]:,}."
    halve = Remedy("Halve the rate", "change", rate=_factor(course, 0.5))
    return Diagnosis("plateau", sentence, late[0][0], () if course.over else (halve, _stop(course)))


def by_heart(course: Course) -> Diagnosis | None:
    """Nothing is held out, and the text is known."""
    if course.held_out or course.window() >= BY_HEART:
        return None
    return Diagnosis("by heart", f"It knows its text by heart: the training loss is {course.window():.2f}.")


def well(course: Course) -> Diagnosis:
    """Nothing is wrong: what the validation beats, and since when."""
    now, start = course.window(), course.start
    if not course.held_out:
        return Diagnosis("well", f"All well: the training loss came from {start:.2f} to {now:.2f}.")
    beaten = None
    for name, loss in course.baselines.items():
        since = next((step for step, val, _ in course.held_out if step > 0 and val < loss), None)
        if since is not None and course.held_out[-1][1] < loss and name != "uniform":
            beaten = name, since
    if beaten is not None:
        name, since = beaten
        best = min(val for _, val, _ in course.held_out)
        sentence = f"All well: on held-out text it beats {_SAID[name]} since step {since:,}; its lowest is {best:.2f}."
        return Diagnosis("well", sentence, since)
    sentence = f"All well so far: the loss came from {start:.2f} to {now:.2f}. It is early to say more."
    return Diagnosis("early", sentence)


_SAID = {"unigram": "the unigram", "bigram": "the bigram", "trigram": "the trigram", "back-off": "the back-off model"}


def _factor(course: Course, times: float) -> float:
    """What the factor on the schedule's rates becomes."""
    return float(f"{course.rate * times:.3g}")


def _stop(course: Course) -> Remedy:
    return Remedy("Stop, and keep the best", "stop")


def _back_to_best(course: Course, times: float) -> list[Remedy]:
    """Forking from the best weights, where there are any."""
    if course.best is None or not course.best[0]:
        return []
    rate = float(f"{course.train.learning_rate * course.rate * times:.3g}")
    changes = {"learning_rate": rate}
    if course.train.optimizer == "muon":
        changes["muon_learning_rate"] = float(f"{course.train.muon_learning_rate * course.rate * times:.3g}")
    return [Remedy(f"Fork from step {course.best[0]:,}, at a tenth of the rate", "fork", None, course.best[0], changes)]
