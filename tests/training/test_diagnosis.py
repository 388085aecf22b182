"""The sentence about how a run is doing, on recorded runs (scripts/record_runs.py) and at every moment of them."""

from __future__ import annotations

import gzip
import json
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from training.config import TrainConfig
from training.diagnosis import ALARMS, Diagnosis, diagnose
from training.events import BaselinesKnown, Changed, Evaluated, Event, Failed, Finished, Started, Stepped
from training.runs import event_of

RECORDED = Path(__file__).with_name("recorded")
HEALTHY = ("fast", "fast-noisy", "classic", "song", "tweets", "lyrics", "words", "regular")
ILL = {
    "diverging": "not falling",  # it diverged, came back, and learns no more than how frequent each token is
    "diverging-jumping": "not falling",
    "diverging-late": "diverging",
    "too-small-a-rate": "not falling",
    "overfitting": "overfitting",
    "overfitting-classic": "overfitting",
    "overfitting-forked": "overfitting",
    "no-number": "no number",
}


def recorded(name: str) -> tuple[list[Event], TrainConfig]:
    first, *lines = gzip.decompress((RECORDED / f"{name}.jsonl.gz").read_bytes()).decode().splitlines()
    return [event_of(json.loads(line)) for line in lines], TrainConfig(**json.loads(first)["train"])


def told(events: list[Event], train: TrainConfig) -> list[Diagnosis]:
    """What is said after each event."""
    found = (diagnose(events[: i + 1], train) for i in range(len(events)))
    return [diagnosis for diagnosis in found if diagnosis is not None]


def test_every_recorded_run_is_judged() -> None:
    assert {path.name.removesuffix(".jsonl.gz") for path in RECORDED.glob("*.gz")} == {*HEALTHY, *ILL}


@pytest.mark.parametrize("name", HEALTHY)
def test_no_false_alarm_at_any_moment_of_a_healthy_run(name: str) -> None:
    events, train = recorded(name)
    alarms = [diagnosis for diagnosis in told(events, train) if diagnosis.alarm]
    assert alarms == []


@pytest.mark.parametrize(("name", "kind"), ILL.items())
def test_what_is_wrong_is_said(name: str, kind: str) -> None:
    events, train = recorded(name)
    diagnoses = told(events, train)
    assert diagnoses[-1].kind == kind
    kinds = {diagnosis.kind for diagnosis in diagnoses}
    assert kinds & set(ALARMS) <= {kind, "diverging"}  # what ends as no number diverges before
    assert "diverging" in kinds or "diverging" not in name
    running = diagnose(events[:-1], train) if kind != "no number" else diagnoses[-1]
    assert running is not None
    assert (running.kind, running.alarm) == (kind, True)
    assert running.remedies
    assert running.sentence.endswith(".")
    over = diagnoses[-1].remedies  # nothing can be changed any more, but it can go on, or another can begin there
    assert over
    assert all(remedy.action in ("go_on", "fork") for remedy in over)


@pytest.mark.parametrize("name", [*HEALTHY, *ILL])
def test_it_does_not_change_its_mind_with_each_step(name: str) -> None:
    kinds = [diagnosis.kind for diagnosis in told(*recorded(name))]
    changes = sum(a != b for a, b in pairwise(kinds))
    assert changes <= 3


@pytest.mark.parametrize("name", [*HEALTHY, *ILL])
def test_nothing_is_called_well_that_is_not(name: str) -> None:
    """Not while it is no better than counting how frequent each token is, and never above where it began."""
    events, train = recorded(name)
    first = next(event.loss for event in events if isinstance(event, Stepped))
    for i in range(len(events)):
        found = diagnose(events[: i + 1], train)
        losses = [event.loss for event in events[: i + 1] if isinstance(event, Stepped)]
        if found is None or median(losses[-20:]) <= first:
            continue
        assert found.kind != "well"
        assert not found.sentence.startswith(("All well", "So far so good"))
    unigram = next((e.nats["unigram"] for e in events if isinstance(e, BaselinesKnown)), None)
    held_out = [e.val_loss for e in events if isinstance(e, Evaluated) and e.val_loss is not None]
    last = diagnose(events, train)
    assert last is not None
    if unigram is not None and held_out and held_out[-1] >= unigram:
        assert last.kind != "well"


def test_healthy_runs_end_with_what_they_beat() -> None:
    for name in HEALTHY:
        events, train = recorded(name)
        last = diagnose(events, train)
        assert last is not None
        baselines = next((e.nats for e in events if isinstance(e, BaselinesKnown)), {})
        held_out = [(e.step, e.val_loss) for e in events if isinstance(e, Evaluated) and e.val_loss is not None]
        if not baselines:
            assert last.kind in ("by heart", "well"), name
            continue
        beaten = sorted((key for key in baselines if held_out[-1][1] < baselines[key]), key=lambda key: -baselines[key])
        assert last.kind == "well", name
        assert f"beats the {beaten[-1]}" in last.sentence
        assert last.since == next(step for step, val in held_out if step and val < baselines[beaten[-1]])


def test_overfitting_begins_at_the_best_and_offers_a_fork_there() -> None:
    for name in ("overfitting", "overfitting-classic"):
        events, train = recorded(name)
        best = min((e for e in events if isinstance(e, Evaluated)), key=lambda e: e.val_loss or 9)
        running = diagnose(events[:-1], train)
        assert running is not None
        assert running.since == best.step
        assert [(r.action, r.step, r.changes) for r in running.remedies] == [
            ("stop", None, {}),
            ("fork", best.step, {"dropout": 0.2}),
        ]


def test_no_number_says_when_it_began_and_goes_on_at_a_tenth() -> None:
    events, train = recorded("no-number")
    found = diagnose(events, train)
    failed, last = events[-1], [e for e in events if isinstance(e, Stepped)][-1:]
    assert found is not None
    assert isinstance(failed, Failed)
    assert found.since == (last[0].step if last else 0) + 1
    assert f"since step {found.since}" in found.sentence
    assert (found.remedies[0].action, found.remedies[0].rate) == ("go_on", 0.1)


# -- made runs: each rule just short of its threshold, and just over it ------------------------------------------------


def course(losses: list[float], evals: dict[int, tuple[float, float]] | None = None, **nats: float) -> list[Event]:
    events: list[Event] = [Started(0, 0.0, 1000, 1, "cpu", 1.0)]
    if nats:
        events.append(BaselinesKnown(0, 0.0, nats, nats))
    if evals:
        events.append(Evaluated(0, 0.0, None, 4.0, None, True))
    for step, loss in enumerate(losses, 1):
        events.append(Stepped(step, float(step), loss, 0.001, 1.0, 1.0))
        if evals and step in evals:
            events.append(Evaluated(step, float(step), evals[step][0], evals[step][1], None, False))
    return events


def kind(events: list[Event], **train: Any) -> str | None:
    found = diagnose(events, TrainConfig(**{"learning_rate": 0.001, "warmup_steps": 0, **train}))
    return found.kind if found else None


def test_diverging_needs_a_rise_of_0_4_that_lasts() -> None:
    falling = [4.0 - 2 * i / 100 for i in range(100)]
    assert kind(course([*falling, *[2.55] * 60])) != "diverging"
    assert kind(course([*falling, *[2.65] * 60])) == "diverging"
    assert kind(course([*falling, *[9.0] * 9, *[2.0] * 40])) != "diverging"  # a spike
    assert kind(course([4.0, *[6.0] * 60])) == "diverging"  # from the first step on


def test_not_falling_is_held_against_the_unigram() -> None:
    assert kind(course([3.1] * 149, unigram=3.0)) == "early"
    assert kind(course([3.1] * 150, unigram=3.0)) == "not falling"
    assert kind(course([3.1] * 150, unigram=3.19)) == "not falling"
    assert kind(course([3.1] * 150, unigram=3.21)) == "early"
    assert kind(course([3.1] * 150, unigram=3.0), warmup_steps=200) == "early"
    assert kind(course([4 - i / 200 for i in range(180)], unigram=3.0)) == "well"  # slow, and falling
    assert kind(course([4.0, *[3.9] * 160])) == "not falling"
    assert kind(course([4.0, *[3.8] * 160])) != "not falling"


def test_overfitting_needs_two_measurements_and_a_falling_training_loss() -> None:
    losses = [2.0] * 60
    assert kind(course(losses, {10: (2.0, 2.0), 20: (1.9, 2.05), 30: (1.8, 2.05)})) == "overfitting"
    assert kind(course(losses, {10: (0.2, 0.20), 20: (0.19, 0.22), 30: (0.18, 0.22)})) != "overfitting"
    assert kind(course(losses, {10: (2.0, 2.0), 20: (1.9, 2.05), 30: (1.8, 2.03)})) != "overfitting"
    assert kind(course(losses, {10: (2.0, 2.0), 20: (1.9, 2.05)})) != "overfitting"
    assert kind(course(losses, {10: (2.0, 2.0), 20: (2.1, 2.05), 30: (2.1, 2.05)})) != "overfitting"


def test_a_plateau_is_no_alarm_and_none_where_the_rate_is_small() -> None:
    evals = dict.fromkeys(range(20, 400, 20), (2.0, 2.0))
    events = course([4.0, *[2.0] * 390], evals)
    assert kind(events) == "plateau"
    assert kind(events, learning_rate=0.01) != "plateau"
    assert kind(course([4.0, *[2.0] * 390], {s: (2.0, 2.0 - s / 10_000) for s in evals})) != "plateau"
    found = diagnose(events, TrainConfig(learning_rate=0.001, warmup_steps=0))
    assert found is not None
    assert not found.alarm
    assert found.remedies[0].rate == 0.5


def test_an_alarm_outlives_one_low_window() -> None:
    risen = [4.0, *[6.0] * 60]
    assert kind(course([*risen, *[3.9] * 20, *[6.0] * 20])) == "diverging"
    back = diagnose(course([*risen, *[3.9] * 20]), TrainConfig())
    assert back is not None
    assert "the loss rose from 4.00 (5.77) to 6.00 (8.66), and is 3.90 (5.63) now" in back.sentence
    assert kind(course([*risen, *[3.9] * 60])) != "diverging"


def test_a_rise_is_no_good_news() -> None:
    found = diagnose(course([4.0, *[9.0] * 12]), TrainConfig())
    assert found is not None
    assert found.sentence == (
        "Not well yet: the training loss was 4.00 (5.77) at first and is 9.00 (12.98). It is early to say why. "
        "Losses are in nats per token (bits per byte)."
    )  # a byte a token: 4 / ln 2
    slow = diagnose(course([4 - i / 200 for i in range(180)], unigram=3.0), TrainConfig(warmup_steps=0))
    assert slow is not None
    assert slow.sentence.startswith("All well")  # nothing held out: what it is held against is not known
    beside = course([4 - i / 200 for i in range(180)], {170: (3.2, 3.2)}, unigram=3.0)
    slow = diagnose(beside, TrainConfig(warmup_steps=0))
    assert slow is not None
    told = "Slow: the training loss fell from 4.00 (5.77) to 3.15 (4.55), median of the last 20 steps of 180"
    assert slow.sentence.startswith(told)


def test_a_model_that_pairs_beat_is_not_called_well() -> None:
    falling = [4 - i / 100 for i in range(180)]
    evals, told = {100: (3.2, 2.9), 170: (2.4, 2.7)}, "on held-out text it beats the unigram since step 100"
    runs = diagnose(course(falling, evals, unigram=3.0, bigram=2.5), TrainConfig())
    assert runs is not None
    assert (runs.kind, runs.since, runs.remedies) == ("early", 100, ())
    assert runs.sentence.startswith(f"So far so good: {told}; its lowest loss is 2.70 (3.90), and counting pairs of")
    over = [*course(falling, evals, unigram=3.0, bigram=2.5), Finished(180, 9.0, "done")]
    done = diagnose(over, TrainConfig(steps=180))
    assert done is not None
    assert done.sentence.startswith(f"Not much yet: {told}; its lowest loss is 2.70 (3.90), and counting pairs of")
    assert [(r.label, r.action, r.rate, r.more) for r in done.remedies] == [("Train 90 more", "go_on", 1.0, 90)]
    assert kind(course(falling, evals, unigram=3.0, bigram=2.8)) == "well"
    assert kind(course(falling, evals, unigram=3.0, bigram=2.5, trigram=2.8)) == "early"  # seldom seen triples
    strong = diagnose(course(falling, evals, unigram=3.0, bigram=2.8, trigram=2.9), TrainConfig())
    assert strong is not None
    assert strong.sentence.startswith("All well: on held-out text it beats the bigram since step 170")


def test_overfitting_from_the_first_measurement_on() -> None:
    """As in a fork, whose first measurement knows no training loss."""
    falling = [1.5 - i / 50 for i in range(60)]
    evals = {20: (1.2, 4.2), 40: (0.8, 4.4), 60: (0.4, 4.5)}
    found = diagnose(course(falling, evals), TrainConfig())
    assert found is not None
    assert (found.kind, found.since) == ("overfitting", 0)
    assert "are kept" not in found.sentence  # there are no weights of before the first step
    assert kind(course([1.5] * 60, {step: (1.6, val) for step, (_, val) in evals.items()})) != "overfitting"
    assert kind(course(falling, evals, unigram=0.3)) != "overfitting"


def test_a_run_that_is_over_is_offered_more_steps() -> None:
    flat = course([4.0, *[3.9] * 160])
    for reason, label, more in (
        ("stopped", "Go on at ten times the rate", None),
        ("done", "Train 500 more at ten times the rate", 500),
    ):
        found = diagnose([*flat, Finished(161, 9.0, reason)], TrainConfig(steps=1000, warmup_steps=0))
        assert found is not None
        assert [(r.label, r.action, r.rate, r.more) for r in found.remedies] == [(label, "go_on", 10.0, more)]
    killed = diagnose(flat, TrainConfig(steps=1000, warmup_steps=0), over=True)
    assert killed is not None
    assert [(r.label, r.action) for r in killed.remedies] == [("Go on at ten times the rate", "go_on")]


def test_remedies_follow_what_was_changed_already() -> None:
    events = [*course([4.0, *[6.0] * 60]), Changed(61, 1.0, 0.5, 24)]
    found = diagnose(events, TrainConfig(learning_rate=0.001, warmup_steps=0))
    assert found is not None
    assert (found.remedies[0].action, found.remedies[0].rate) == ("change", 0.125)


def test_nothing_is_said_before_there_is_anything_to_say() -> None:
    assert diagnose([], TrainConfig()) is None
    assert diagnose(course([4.0]), TrainConfig()) is None
    assert diagnose([Failed(0, 0.0, "The disk is full.")], TrainConfig()) is None
