"""Hook points: the places inside the model where a value can be read or replaced.

A hook point sits in the forward pass for good and does nothing until somebody listens. The listener lives in a
ContextVar, so two threads that look into one model at the same moment cannot see each other (adding and removing
`register_forward_hook` on a shared model is not safe that way). This module knows nothing of GPTs.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import TypeVar

from torch import Tensor
from torch.compiler import is_compiling

Listener = Callable[[str, Tensor], Tensor]
"""Called with a hook point's name and its value; returns the value to go on with (the same one, or an edited one)."""

R = TypeVar("R")
_listener: ContextVar[Listener | None] = ContextVar("glass_listener", default=None)


class HookPoint:
    """A named place in the computation: `x = self.hook(x)`. Returns x itself unless somebody listens.

    name: full name, such as `blocks.0.attn.pattern`; shape: its axes as letters, such as `B H T S`.
    """

    __slots__ = ("name", "shape")

    def __init__(self, name: str, shape: str) -> None:
        self.name = name
        self.shape = shape

    def __call__(self, value: Tensor) -> Tensor:
        if is_compiling() or (listener := _listener.get()) is None:
            return value
        return listener(self.name, value)

    def __repr__(self) -> str:
        return f"HookPoint({self.name!r}, {self.shape!r})"


def listened() -> bool:
    """Whether somebody listens in this thread, so that the open form of attention is needed; never to torch.compile,
    which cannot look into a ContextVar."""
    return not is_compiling() and _listener.get() is not None


def listen(listener: Listener, forward: Callable[[], R]) -> R:
    """Run `forward()` with `listener` at every hook point, and nowhere else.

    A function and not a context manager on purpose: a listener that outlives one forward (across the `yield` of a
    generator, say) would be lost or leak into other work.
    """
    token = _listener.set(listener)
    try:
        return forward()
    finally:
        _listener.reset(token)
