"""Events as lines of a file and back, and the log that several threads read."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from tests.training.tiny import PATIENCE, tiny_recipe
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
    Sampled,
    Started,
    Stepped,
    TakenUp,
)
from training.events import Threads as ThreadsEvent
from training.runs import RunFolder

HOSTILE = 'é 👍🏽 \u202eRTL\u202c "quoted" \\ \n\r\n\x85\u2028\u2029\x00\x0b\ufffd </script>'
OF_EVERY_KIND: list[Event] = [
    Started(0, 0.0, 1000, 28_527, "cpu", 1.25),
    Started(0, 0.0, 1000, 28_527, "cpu"),
    BaselinesKnown(0, 0.5, {"uniform": 4.2, "back-off": 1.9}, {"uniform": 6.1, "back-off": 2.7}),
    Copied(0, 0.0, 2, 65, ["a", HOSTILE]),
    Evaluated(0, 0.1, None, 4.25, 6.125, True),
    Evaluated(7, 0.1 + 0.2, 1 / 3, None, None, False),
    Evaluated(8, 1e-9, 1e300, 5e-324, 0.0, True),
    Sampled(9, 1.0, HOSTILE, HOSTILE * 3),
    Sampled(9, 1.0, "", ""),
    Stepped(10, 2.0, 2.718281828459045, 1e-3, 0.1, 17_000.5),
    Stepped(10, 2.0, 2.718281828459045, 1e-3, 0.1, 17_000.5, 1.5),
    ThreadsEvent(11, 3.0, 2),
    Paused(12, 4.0),
    Resumed(12, 4.0),
    Changed(12, 4.0, 0.5, 24),
    TakenUp(12, 4.0, 1000, 2),
    Failed(13, 5.0, HOSTILE),
    *(Finished(14, 6.0, reason) for reason in ("done", "stopped", "target")),
]


def test_every_kind_of_event_comes_back_from_its_file(tmp_path: Path) -> None:
    kinds = Event.__subclasses__()
    assert {type(event) for event in OF_EVERY_KIND} == set(kinds)
    assert len({kind.kind for kind in kinds} | {"event"}) == len(kinds) + 1
    folder = RunFolder.create(tmp_path / "run", "run", tiny_recipe(), {})
    for event in OF_EVERY_KIND:
        folder.append(event)
        assert list(folder.events())[-1] == event, "a killed program would lose this event"
    folder.close()
    assert list(RunFolder(tmp_path / "run").events()) == OF_EVERY_KIND


@pytest.mark.parametrize("event", OF_EVERY_KIND, ids=lambda event: event.kind)
def test_a_line_names_its_event_and_leaves_out_what_was_not_measured(event: Event) -> None:
    line = event.to_dict()
    assert list(line)[:3] == ["event", "step", "wall_s"]
    assert line["event"] == event.kind
    measured = {field.name for field in fields(event) if getattr(event, field.name) is not None}
    assert set(line) == measured | {"event"}
    assert None not in json.loads(json.dumps(line)).values()


def numbered(count: int) -> list[Event]:
    return [Paused(step, 0.0) for step in range(count)]


def test_cursors_and_tails() -> None:
    log, events = EventLog(), numbered(5)
    assert log.since(0) == ([], 0)
    assert log.tail(3) == []
    for event in events:
        log.append(event)
    assert log.since(0) == (events, 5)
    assert log.since(3) == (events[3:], 5)
    assert log.since(5) == ([], 5)
    assert log.since(-2) == (events, 5)
    assert log.tail(2) == events[3:]
    assert log.tail(99) == events
    assert log.tail(0) == []
    taken, _ = log.since(0)
    taken.clear()  # what a reader does with its list is its own affair
    assert log.since(0) == (events, 5)


def test_an_event_that_comes_in_the_middle_of_a_reading_is_not_skipped() -> None:
    class Busy(list[Any]):
        def __getitem__(self, part: Any) -> Any:
            read = super().__getitem__(part)
            self.append(Paused(len(self), 0.0))
            return read

    log = EventLog()
    log._events = Busy(numbered(2))
    first, cursor = log.since(0)
    second, _ = log.since(cursor)
    assert [event.step for event in first + second] == [0, 1, 2]


def test_waiting_for_events() -> None:
    log = EventLog()
    assert log.wait(0, 0.01) is False
    log.append(Paused(1, 0.0))
    assert log.wait(0, 0.0) is True
    assert log.wait(1, 0.01) is False
    woken: list[Any] = []
    waiters = [threading.Thread(target=lambda: woken.append(log.wait(2, 10 * PATIENCE)), daemon=True) for _ in range(3)]
    for waiter in waiters:
        waiter.start()
    time.sleep(0.1)  # by now they wait
    log.append(Paused(2, 0.0))  # not what they wait for
    log.append(Paused(3, 0.0))
    for waiter in waiters:
        waiter.join(PATIENCE)
    assert woken == [True, True, True]


def test_many_writers_and_readers_lose_nothing() -> None:
    log, each = EventLog(), 2_000
    done = threading.Event()
    read: list[list[Event]] = [[] for _ in range(3)]

    def write(who: int) -> None:
        for step in range(each):
            log.append(Paused(step, float(who)))

    def follow(mine: list[Event]) -> None:
        cursor = 0
        while not done.is_set() or log.since(cursor)[0]:
            log.wait(cursor, 0.01)
            events, following = log.since(cursor)
            assert following == cursor + len(events)
            mine += events
            cursor = following

    writers = [threading.Thread(target=write, args=(who,)) for who in range(4)]
    readers = [threading.Thread(target=follow, args=(mine,)) for mine in read]
    for thread in (*readers, *writers):
        thread.start()
    for thread in writers:
        thread.join(PATIENCE)
    done.set()
    for thread in readers:
        thread.join(PATIENCE)
    everything, cursor = log.since(0)
    assert cursor == 4 * each
    assert all(mine == everything for mine in read), "readers saw different histories"
    assert set(Counter(everything).values()) == {1}
    for who in range(4):
        assert [event.step for event in everything if event.wall_s == who] == list(range(each))
