"""How many threads: what is free, what is fixed, what a container leaves."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from training import threads
from training.threads import ThreadCount, busy_elsewhere, cores, one_thread

ROOT = Path(__file__).resolve().parents[2]


def meter_of(*loads: float) -> Callable[[], float]:
    """A meter that reads these loads one after the other, and fails when it is read more often."""
    return iter(loads).__next__


def readings(count: ThreadCount, times: int) -> list[int]:
    return [count.check() for _ in range(times)]


def test_a_change_needs_two_readings_that_agree() -> None:
    assert readings(ThreadCount(0, 4, meter_of(0, 2, 0, 0)), 4) == [4, 4, 4, 4]
    assert readings(ThreadCount(0, 4, meter_of(0, 2, 2, 2)), 4) == [4, 4, 2, 2]
    assert readings(ThreadCount(0, 4, meter_of(0, 1, 2, 3, 1, 2, 2)), 7) == [4, 4, 4, 4, 4, 4, 2]
    assert readings(ThreadCount(0, 4, meter_of(3, 0, 3, 0, 0)), 5) == [1, 1, 1, 1, 4]


def test_the_count_stays_between_one_and_the_cores() -> None:
    assert readings(ThreadCount(0, 2, meter_of(9, 9, 0, 0)), 4) == [1, 1, 1, 2]
    assert readings(ThreadCount(0, 1, meter_of(0, 0, 5, 5)), 4) == [1, 1, 1, 1]
    assert readings(ThreadCount(0, 4, meter_of(-3, -3)), 2) == [4, 4]


@pytest.mark.parametrize(
    ("load", "expected"), [(0.0, 4), (0.3, 4), (0.4, 3), (1.3, 3), (1.4, 2), (2.3, 2), (2.4, 1), (4, 1)]
)
def test_a_little_load_does_not_take_a_core(load: float, expected: int) -> None:
    assert readings(ThreadCount(0, 4, meter_of(load, load)), 2)[-1] == expected


def test_the_first_reading_decides_alone() -> None:
    count = ThreadCount(0, 4, meter_of(2, 0, 0, 1, 0))
    assert count.current == 2  # half of them until then
    assert readings(count, 5) == [2, 2, 4, 4, 4]


def test_a_fixed_count_asks_nobody() -> None:
    count = ThreadCount(7, 4, meter_of())
    assert (count.current, *readings(count, 3)) == (7, 7, 7, 7)


# -- memory -----------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere malloc has no such settings")
def test_freed_memory_is_kept_for_the_next_step() -> None:
    """Page faults of trainings of a process of its own, after steps that have asked for all there is to ask for."""
    program = """
import resource, sys
from tests.training.tiny import CHAR, tiny_config, tiny_data, tiny_model
from training.events import Stepped
from training.loop import train_steps
from training.threads import keep_memory
if sys.argv[1] == "kept":
    keep_memory()
model, faults = tiny_model(width=128, context=64), []
for event in train_steps(model, tiny_data(context=64), tiny_config(batch_size=32, steps=40), CHAR):
    if isinstance(event, Stepped):
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
print(faults[-1] - faults[20])
"""
    found = []
    for how in ("kept", "plain"):
        command = [sys.executable, "-c", program, how]
        found.append(int(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout))
    kept, plain = found
    assert 20 * kept < plain


# -- cores ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("quota", "expected"),
    [
        ("200000 100000\n", 2), ("max 100000\n", 8), ("50000 100000\n", 1), ("160000 100000\n", 2), ("10 100000\n", 1),
        ("1600000 100000\n", 8), ("", 8), ("what\n", 8), ("x y\n", 8), ("1 0x10\n", 8), (None, 8),
    ],
)  # fmt: skip
def test_a_containers_quota_counts(monkeypatch: pytest.MonkeyPatch, quota: str | None, expected: int) -> None:
    asked: list[str] = []

    class Quota:
        def __init__(self, path: str) -> None:
            asked.append(path)

        def read_text(self) -> str:
            if quota is None:
                raise FileNotFoundError
            return quota

    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(threads, "Path", Quota)
    assert cores() == expected
    assert asked == ["/sys/fs/cgroup/cpu.max"]
    monkeypatch.delattr(os, "sched_getaffinity")  # macOS and Windows have none
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    assert cores() == min(expected, 3)
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert cores() == 1


def test_this_machine() -> None:
    assert 1 <= cores() <= (os.cpu_count() or 1)


# -- the meter --------------------------------------------------------------------------------------------------------


class Times(tuple[float, ...]):
    """psutil's times of the whole machine: user, nice, system, idle, iowait, irq, softirq, steal, guest, guest_nice."""

    @property
    def idle(self) -> float:
        return self[3]

    @property
    def iowait(self) -> float:
        return self[4]


def test_the_meter_counts_what_others_keep_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    now, machine, own = [0.0], [Times([0.0] * 10)], [(0.0, 0.0)]
    process = SimpleNamespace(cpu_times=lambda: SimpleNamespace(user=own[0][0], system=own[0][1]))
    monkeypatch.setattr(threads, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(threads, "psutil", SimpleNamespace(Process=lambda: process, cpu_times=lambda: machine[0]))
    meter = busy_elsewhere()
    # in 10 s: 12 s of work on all cores (2 of them a guest's, counted in user already), 4 s waiting; 5 s ours
    now[0], machine[0], own[0] = 10.0, Times([7.0, 1, 2, 60, 4, 0.5, 0.5, 1, 2, 0]), (4.0, 1.0)
    assert meter() == pytest.approx((12 - 5) / 10)
    now[0], machine[0] = 10.1, Times([700.0, 1, 2, 60, 4, 0.5, 0.5, 1, 2, 0])
    assert meter() == 0.0, "a tenth of a second is too short to tell"
    now[0], machine[0], own[0] = 20.0, Times([10.0, 1, 2, 60, 4, 0.5, 0.5, 1, 2, 0]), (5.0, 1.0)
    assert meter() == pytest.approx((3 - 1) / 10), "the short reading was forgotten, not its time"
    now[0], own[0] = 30.0, (50.0, 1.0)
    assert meter() == 0.0, "never below nothing"


def test_the_real_meter_reads_this_machine() -> None:
    meter = busy_elsewhere()
    assert meter() >= 0.0
    assert ThreadCount().check() >= 1


# -- decoding with one ------------------------------------------------------------------------------------------------


def test_one_thread_gives_back_what_it_found() -> None:
    for before in (2, 1, 3):
        torch.set_num_threads(before)
        with one_thread():
            assert torch.get_num_threads() == 1
            with one_thread():
                assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == before
        with pytest.raises(KeyError), one_thread():
            raise KeyError
        assert torch.get_num_threads() == before
