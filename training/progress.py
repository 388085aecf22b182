"""A bar at the terminal for work whose share is told, as the learning of a byte-pair vocabulary tells it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm


@contextmanager
def shares(what: str) -> Iterator[Callable[[float], None]]:
    """For `with`: what it yields is to be called with rising shares, 0 to 1. The bar goes when the work is done; where
    stderr is no terminal there is none."""
    with tqdm(total=1.0, desc=what, leave=False, disable=None, bar_format="{desc} {percentage:3.0f}% |{bar}|") as bar:

        def progress(share: float) -> None:
            bar.update(share - bar.n)

        yield progress
