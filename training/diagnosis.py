"""How a run is doing, in one sentence that rests on what was measured: pure functions of its events and settings.

`diagnose(events, train)` is the first of these rules that speaks. Losses are in nats per token, and told in bits per
byte as well; a window is the last tenth of the steps, at least 20 and at most 100 of them.

- no number: the run ended because its loss was none.
- diverging: the median of 20 losses is above the lowest one before it by 0.4 and by 15 %, over 30 steps; and from then
  on until it was below that for 40.
- overfitting: the validation is above its best by 0.03 and by 2 % in the last two measurements, and the training loss
  is below it and the unigram, and has fallen since. Where the best is the first measurement, which knows no training
  loss, against the first 20 losses.
- not falling: after 150 steps, and twice the warm-up, a window is not 3 % below the unigram (the start, where that is
  not known), nor, at some time within that window, was it 2 % below the one two before it.
- plateau: over the last third, of at least 300 steps and four measurements, the loss fell by less than 0.5 %, while
  the learning rate is above a fifth of its largest.
- by heart: nothing is held out, and the loss is below 0.3.
- well: none of these, and the validation beats one of the counting models (baselines.py): which, and since when.
- early: nothing of all this can be said yet; it says whether the loss has fallen or risen, and where, after 150 steps,
  it is still above the unigram.

The thresholds are tested on recorded runs (tests/training/test_diagnosis.py), and false alarms are counted there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from statistics import median
from typing import Any, Literal

from training.config import TrainConfig
from training.events import BaselinesKnown, Changed, Evaluated, Event, Failed, Finished, Started, Stepped
from training.loop import NO_NUMBER
from training.units import both, in_bits, unit_of

Kind = Literal["no number", "diverging", "overfitting", "not falling", "plateau", "by heart", "well", "early"]
Action = Literal["change", "stop", "go_on", "fork"]
ALARMS: tuple[Kind, ...] = ("no number", "diverging", "overfitting", "not falling")
RISEN, RISEN_SHARE = 0.4, 0.15
WINDOW, LASTING, BACK = 20, 30, 40  # steps: of a window, until a rise is an alarm, and until it is over
OVERFIT, OVERFIT_SHARE = 0.03, 0.02
FALLEN, FALLING, STEPS, WARM_UPS = 0.03, 0.02, 150, 2
STILL, STILL_STEPS, STILL_EVALS = 0.005, 300, 4
BY_HEART = 0.3


@dataclass(frozen=True)
class Remedy:
    """What a click can do. change, go_on: with this factor on the learning rate, go_on for so many more steps (None:
    those left); fork: from this step, with changes."""

    label: str
    action: Action
    rate: float | None = None
    more: int | None = None
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

    def __init__(self, events: Sequence[Event], train: TrainConfig, over: bool = False) -> None:
        self.train = train
        self.steps = [event for event in events if isinstance(event, Stepped)]
        self.losses = [event.loss for event in self.steps]
        self.evals = [event for event in events if isinstance(event, Evaluated)]
        self.held_out = [(e.step, e.val_loss, e.loss) for e in self.evals if e.val_loss is not None]
        self.baselines: dict[str, float] = next((e.nats for e in events if isinstance(e, BaselinesKnown)), {})
        started = next((event for event in events if isinstance(event, Started)), None)
        self.bytes_per_token = started.bytes_per_token if started else None
        self.learnt_bytes_per_token = started.learnt_bytes_per_token if started else None
        changes = [event for event in events if isinstance(event, Changed)]
        self.rate = changes[-1].rate if changes else 1.0
        self.failed = next((event for event in events[-1:] if isinstance(event, Failed)), None)
        self.over = over or (bool(events) and isinstance(events[-1], Failed | Finished))
        self.came_to_its_end = bool(events) and isinstance(events[-1], Finished) and events[-1].reason != "stopped"
        self.first_step = self.steps[0].step if self.steps else 0

    def held(self, loss: float) -> str:
        """A loss on held-out text in nats per token, and in brackets in bits per byte where these are known."""
        return both(loss, in_bits(loss, self.bytes_per_token), 2)

    def learnt(self, loss: float, digits: int = 2) -> str:
        """The same of a training loss: its tokens have other bytes."""
        return both(loss, in_bits(loss, self.learnt_bytes_per_token), digits)

    @property
    def size(self) -> int:
        """Of a window, in steps."""
        return min(100, max(20, len(self.losses) // 10))

    @property
    def step(self) -> int:
        """The last one."""
        return self.steps[-1].step if self.steps else 0

    def median(self, end: int) -> float:
        """Of the losses of the window that ends so many steps from the first one."""
        return median(self.losses[max(0, end - self.size) : end])

    def window(self) -> float:
        """The median loss of the last window."""
        return self.median(len(self.losses))

    @property
    def over_what(self) -> str:
        """What that is, for people."""
        return f"median of the last {min(self.size, len(self.losses)):,} steps"

    @property
    def start(self) -> float:
        """The training loss before anything was learnt."""
        return self.losses[0]

    @property
    def best(self) -> tuple[int, float] | None:
        """Step and loss of the lowest validation."""
        return min(((step, val) for step, val, _ in self.held_out), key=lambda e: e[1], default=None)


def diagnose(events: Sequence[Event], train: TrainConfig, over: bool = False) -> Diagnosis | None:
    """How a run is doing; None before its first steps. over: nobody trains it, whatever its last event says."""
    course = Course(events, train, over)
    if course.failed is not None:
        return no_number(course)
    if len(course.losses) < 2:
        return None
    rules = (diverging, overfitting, not_falling, plateau, by_heart)
    found = next((found for rule in rules if (found := rule(course)) is not None), None) or well(course)
    return replace(found, sentence=f"{found.sentence} Losses are in {unit_of(course.bytes_per_token)}.")


def no_number(course: Course) -> Diagnosis | None:
    """The loss was none any more."""
    failed = course.failed
    if failed is None or NO_NUMBER not in failed.message.lower():
        return None
    remedies = [Remedy("Go on with a tenth of the rate", "go_on", rate=course.rate / 10)]
    return Diagnosis("no number", failed.message, failed.step + 1, (*remedies, *_back_to_best(course, 0.1)))


def diverging(course: Course) -> Diagnosis | None:
    """The loss is far above its best."""
    losses = course.losses
    windows = [(i, median(losses[i - WINDOW : i])) for i in range(WINDOW, len(losses) + 1, WINDOW // 2)]
    windows = [(0, course.start), *windows] if course.first_step == 1 else windows
    best, since, back, lasting, peak = float("inf"), None, 0, False, 0.0
    for (_, before), (end, now) in pairwise(windows):
        best = min(best, before)
        if now > max(best + RISEN, best * (1 + RISEN_SHARE)):
            since, back, peak = end - WINDOW if since is None else since, 0, max(peak, now)
            lasting = lasting or end - since >= LASTING
        else:  # one low window between high ones does not end an alarm
            back += WINDOW // 2
            if not lasting or back >= BACK:
                since, lasting, peak = None, False, 0.0
    if since is None or not lasting:
        return None
    step, now = course.steps[max(0, since)].step, windows[-1][1]
    rose = f"is {course.learnt(now)}, and was {course.learnt(best)} at best"
    if back:  # it has come down a moment ago
        rose = f"rose from {course.learnt(best)} to {course.learnt(peak)}, and is {course.learnt(now)} now"
    sentence = (
        f"Diverging since about step {step:,}: the loss {rose}. The updates are too large: lower the learning rate."
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
    if len(after) < 2 or any(val <= limit for _, val, _ in after[-2:]):
        return None
    then = next((loss for at, _, loss in course.held_out if at == step), None)
    now, val = after[-1][2], after[-1][1]
    then = median(course.losses[:WINDOW]) if then is None else then
    if now is None or now >= min(then, val, course.baselines.get("unigram", then)):
        return None
    sentence = (
        f"Overfitting since step {step:,}: the validation rose from {course.held(best)} to {course.held(val)} while "
        f"the training loss fell to {course.learnt(now)}. It learns its text by heart"
    )
    sentence += f"; the weights of step {step:,}, the best, are kept." if step else "."
    dropout = Remedy("Fork there, with dropout", "fork", step=step, changes={"dropout": 0.2})
    return Diagnosis("overfitting", sentence, step, (*([] if course.over else [_stop(course)]), dropout))


def not_falling(course: Course) -> Diagnosis | None:
    """The loss has not come below what the mere frequency of the tokens gives."""
    made, least = len(course.losses), max(STEPS, WARM_UPS * course.train.warmup_steps)
    if made < least or course.first_step != 1:
        return None
    now, unigram, size = course.window(), course.baselines.get("unigram"), course.size
    against = unigram if unigram is not None else course.start
    if now < against * (1 - FALLEN):
        return None
    # Every fifth step of the last window, so that this does not come and go with each step.
    lately = [end for end in range(max(least, made - size + 1), made + 1) if end % 5 == 0]
    if all(course.median(end) < course.median(end - 2 * size) * (1 - FALLING) for end in lately):
        return None
    risen = max(median(course.losses[i : i + size]) for i in range(0, made - size + 1, size)) > course.start + RISEN
    large = risen or (unigram is not None and now < unigram * (1 + FALLEN))
    known = "it began at" if unigram is None else "how frequent each token is already gives"
    line = course.learnt(against) if unigram is None else course.held(against)
    cause = "large: the loss rose at first" if risen else "large: it learns nothing beyond that" if large else "small"
    sentence = (
        f"Not falling: {course.learnt(now)} after {made:,} steps, and {known} {line}. The learning rate is too {cause}."
    )
    label, factor = ("a tenth of the rate", 0.1) if large else ("ten times the rate", 10.0)
    return Diagnosis("not falling", sentence, None, (_at_a_rate(course, label, _factor(course, factor)),))


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
    what, told = ("validation", course.held) if course.held_out else ("training loss", course.learnt)
    sentence = f"Standing still: the {what} has been at {told(late[0][1])} since step {late[0][0]:,}."
    halve = Remedy("Halve the rate", "change", rate=_factor(course, 0.5))
    return Diagnosis("plateau", sentence, late[0][0], () if course.over else (halve, _stop(course)))


def by_heart(course: Course) -> Diagnosis | None:
    """Nothing is held out, and the text is known."""
    if course.held_out or course.window() >= BY_HEART:
        return None
    said = f"the training loss is {course.learnt(course.window(), 3)}, {course.over_what}"
    return Diagnosis("by heart", f"It knows its text by heart: {said}.")


def well(course: Course) -> Diagnosis:
    """Nothing is known to be wrong: what the validation beats, and since when, or which way the loss went so far."""
    now, start, unigram = course.window(), course.start, course.baselines.get("unigram")
    fell = f"the training loss fell from {course.learnt(start)} to {course.learnt(now)}, {course.over_what}"
    if not course.held_out and now < start:
        return Diagnosis("well", f"All well: {fell}.")
    last = course.held_out[-1][1] if course.held_out else float("inf")
    beaten = {name: loss for name, loss in course.baselines.items() if name != "uniform" and last < loss}
    if beaten:
        name = min(beaten, key=beaten.__getitem__)  # the strongest of them: on a short text more counting is not better
        since = next((step for step, val, _ in course.held_out if step > 0 and val < beaten[name]), None)
        best = min(val for _, val, _ in course.held_out)
        said = f"on held-out text it beats {_SAID[name]} since step {since:,}; its lowest loss is {course.held(best)}"
        if last < course.baselines.get("bigram", float("inf")):
            return Diagnosis("well", f"All well: {said}.", since)
        pairs = f"and counting pairs of tokens gives {course.held(course.baselines['bigram'])}"
        if not course.over:
            return Diagnosis("early", f"So far so good: {said}, {pairs}.", since)
        more = max(1, course.train.steps // 2)
        remedy = Remedy(f"Train {more:,} more", "go_on", rate=course.rate, more=more)
        weak = f"Not much yet: {said}, {pairs}. Train longer, or a larger model."
        return Diagnosis("early", weak, since, (remedy,) if course.came_to_its_end else ())
    if now >= start:
        sentence = (
            f"he training loss was {course.learnt(start)} at first and is {course.learnt(now)}. It is early to say"
        )
        sentence = f"Not well yet: t{sentence} why." if now > start + RISEN else f"T{sentence} more."
    elif unigram is not None and now >= unigram and len(course.losses) >= STEPS:
        sentence = f"Slow: {fell} of {len(course.losses):,}"
        sentence += f", and how frequent each token is already gives {course.held(unigram)}."
    else:
        sentence = f"So far so good: {fell}. It is early to say more."
    return Diagnosis("early", sentence)


_SAID = {"unigram": "the unigram", "bigram": "the bigram", "trigram": "the trigram", "back-off": "the back-off model"}


def _factor(course: Course, times: float) -> float:
    """What the factor on the schedule's rates becomes."""
    return float(f"{course.rate * times:.3g}")


def _at_a_rate(course: Course, label: str, rate: float) -> Remedy:
    """Another learning rate: at once, or by going on where the run is over."""
    if not course.over:
        return Remedy(label[0].upper() + label[1:], "change", rate=rate)
    if not course.came_to_its_end:
        return Remedy(f"Go on at {label}", "go_on", rate=rate)
    more = max(1, course.train.steps // 2)
    return Remedy(f"Train {more:,} more at {label}", "go_on", rate=rate, more=more)


def _stop(course: Course) -> Remedy:
    return Remedy("Stop, and keep the best", "stop")


def _back_to_best(course: Course, times: float) -> list[Remedy]:
    """Forking from the best weights."""
    if course.best is None:
        return []
    rate = float(f"{course.train.learning_rate * course.rate * times:.3g}")
    changes = {"learning_rate": rate}
    if course.train.optimizer == "muon":
        changes["muon_learning_rate"] = float(f"{course.train.muon_learning_rate * course.rate * times:.3g}")
    label = f"Fork from step {course.best[0]:,}, at a tenth of the rate"
    return [Remedy(label, "fork", step=course.best[0], changes=changes)]
