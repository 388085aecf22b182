"""A step's work in lanes: parts that are computed side by side, each by one thread alone.

torch's own way is all threads at every product: they wait for each other hundreds of times a step, and where another
program takes a core away for a moment all of them stand still. Here the rows of a batch are dealt out once a step and
the gradients added at its end, always in the same order: the weights depend on the number of lanes, which a run keeps,
and not on how many threads work on them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from typing import TypeVar

import torch

from model import GPT
from training.config import TrainConfig
from training.threads import cores

T = TypeVar("T")

_MOST = 4  # Python, one thread at a time, issues the work of all of them
_LEAST_WORK = 5e8  # floating-point operations of a lane's part; below that, issuing it takes as long as doing it
_MOST_MEMORY = 256 << 20  # bytes: each lane has a gradient of its own


class Lanes(AbstractContextManager["Lanes"]):
    """`count` lanes, on which at most `threads` threads work at a time: the caller's, and others that are kept waiting.

    With more than one lane, whoever calls should leave torch one thread (`torch.set_num_threads(1)`), as the others do.
    """

    def __init__(self, count: int = 1) -> None:
        self.count, self.threads = count, count
        self._others = None if count < 2 else ThreadPoolExecutor(count - 1, "lane", torch.set_num_threads, (1,))

    def run(self, jobs: Sequence[Callable[[], T]]) -> list[T]:
        """The results of all jobs, in their order; the error of one of them, once nobody works any more."""
        threads = min(self.threads, self.count, len(jobs))
        if self._others is None or threads < 2:
            return [job() for job in jobs]
        others = [self._others.submit(_one_by_one, jobs[number::threads]) for number in range(1, threads)]
        try:
            mine = _one_by_one(jobs[::threads])
        finally:
            wait(others)
        found = [mine, *(other.result() for other in others)]
        return [found[number % threads][number // threads] for number in range(len(jobs))]

    def deal(self, things: Sequence[T]) -> list[Sequence[T]]:
        """The things that each lane takes, as equal in number as may be; no empty lane."""
        return [things[number :: self.count] for number in range(min(self.count, len(things)))]

    def __exit__(self, *_: object) -> None:
        if self._others is not None:
            self._others.shutdown()


def _one_by_one(jobs: Sequence[Callable[[], T]]) -> list[T]:
    return [job() for job in jobs]


def how_many(model: GPT, config: TrainConfig) -> int:
    """The lanes of a new run: one for each core of a CPU, where the steps are large enough to be worth dealing out.

    One lane, in which torch shares out each product, for a model on an accelerator, for one that is compiled, and for
    one so large that a gradient a lane is too much.
    """
    rows, parameters = config.batch_size, model.parameter_count()
    count = min(config.threads or cores(), _MOST, rows)
    work = 6 * parameters * rows * model.config.context  # Kaplan et al., 2020
    if model.device.type != "cpu" or config.compile == "always" or work < count * _LEAST_WORK:
        return 1
    return count if 4 * parameters * count <= _MOST_MEMORY else 1
