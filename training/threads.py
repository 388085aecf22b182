"""How many CPU threads a training should use: as many as there are cores that nobody else keeps busy.

Two threads on two free cores are worth almost twice one; two threads on one free core are far worse than one, because
each waits for the other at every matrix product.
"""

from __future__ import annotations

import ctypes
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import torch

AT_FIRST = torch.get_num_threads()
"""torch's own choice; what a thread that begins to compute later takes, unless another one has said otherwise."""
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # malloc.h


@contextmanager
def one_thread() -> Iterator[None]:
    """For many small forwards (decoding): their products are too small to share out, so a second thread only waits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def cores() -> int:
    """Cores that this process may use: the machine's, less what an affinity mask or a container's quota takes away."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        if quota != "max":
            allowed = min(allowed, max(1, round(int(quota) / int(period))))
    except (OSError, ValueError):
        pass  # no container, or one without a quota
    return allowed


def busy_elsewhere() -> Callable[[], float]:
    """A meter: each call returns the cores that other processes kept busy since the last call (0 at first)."""
    process = psutil.Process()

    def read() -> tuple[float, float, float]:
        total, own = psutil.cpu_times(), process.cpu_times()
        idle = total.idle + getattr(total, "iowait", 0.0)
        spent = sum(total[:8]) - idle  # guest times, which follow, are counted in user time already
        return time.monotonic(), spent, own.user + own.system

    last = read()

    def meter() -> float:
        nonlocal last
        now = read()
        passed, spent, own = (b - a for a, b in zip(last, now, strict=True))
        if passed < 0.2:  # the kernel counts in hundredths of a second; too short to tell
            return 0.0
        last = now
        return max(0.0, (spent - own) / passed)

    return meter


def keep_memory() -> None:
    """Have the C library keep what is freed, up to 256 MB, in this process from here on.

    A step frees and asks for the same hundreds of tensors; each page that went back to the system in between is cleared
    before it comes again, a thousand of them a step. For Linux with glibc; elsewhere it changes nothing.
    """
    if (mallopt := getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None) is not None:
        mallopt(_MMAP_THRESHOLD, 32 << 20)  # larger ones are mapped by themselves, and go back at once
        mallopt(_TRIM_THRESHOLD, 256 << 20)


class ThreadCount:
    """Suggests a thread count from readings of the other processes' load; changes only when two readings agree.

    fixed: a count that somebody chose; 0 = follow the free cores.
    """

    def __init__(self, fixed: int = 0, available: int | None = None, meter: Callable[[], float] | None = None) -> None:
        self._fixed = fixed
        self._cores = available or cores()
        self._meter = meter or busy_elsewhere()
        self.current = fixed or max(1, self._cores // 2)  # until the first reading: too few is slow, too many a crawl
        self._wanted = self.current
        self._first = True

    def check(self) -> int:
        """Take a reading and return the number of threads to use from now on; the first reading decides alone."""
        if not self._fixed:
            wanted = self._read()
            if wanted == self._wanted or self._first:
                self.current = wanted
            self._wanted, self._first = wanted, False
        return self.current

    def _read(self) -> int:
        free = self._cores - self._meter()
        return max(1, min(self._cores, int(free + 1 / 3)))  # a third of a core taken is still a core worth using
