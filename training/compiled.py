"""torch.compile for the passes of a training step, where it pays.

Compiling takes from half a minute to some minutes, and a run must start to move at once: so `auto` lets some steps
pass, and compiles once they have told that much more than that is still to come.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import torch
from torch import Tensor

from model.hooks import listened
from training.config import Compile

BACKEND = "inductor"
_MEASURED = 20  # steps of a run that `auto` goes by; the first ones load kernels
_WORTH_S = 600.0  # seconds still to come from which it compiles


class Forward:
    """What computes the logits of training steps: `plain`, or its compiled form from the step on at which that pays.

    A step that somebody looks into is computed by `plain`: its hook points have to call out.
    """

    def __init__(self, plain: Callable[[Tensor], Tensor], choice: Compile, device: torch.device) -> None:
        self._plain = plain
        self._compiled: Callable[[Tensor], Tensor] | None = None
        self._proven, self._steps, self._seconds = False, 0, 0.0
        self._pays = choice == "auto" and device.type == "cuda" and importlib.util.find_spec("triton") is not None
        self._choice = choice
        if choice == "always":
            self._compile()

    def __call__(self, ids: Tensor) -> Tensor:
        """(B T) -> (B T V). Raises ValueError where compiling was asked for and fails."""
        if self._compiled is None or listened():
            return self._plain(ids)
        try:
            logits = self._compiled(ids)
        except Exception as error:  # a compiler that is missing, too old, at odds with a driver: it may raise anything
            if self._proven:
                raise
            if self._choice == "always":
                reason = str(error).strip().partition("\n")[0]
                raise ValueError(f"torch.compile does not work here ({reason}): choose auto or never.") from error
            self._compiled = None
            return self._plain(ids)
        self._proven = True
        return logits

    def passed(self, seconds: float, left: int) -> None:
        """A step took so long, and so many are left: compile where that pays."""
        self._steps += 1
        if not self._pays or self._steps > _MEASURED:
            return
        if self._steps > _MEASURED // 2:
            self._seconds += seconds
        if self._steps == _MEASURED and left * self._seconds / (_MEASURED - _MEASURED // 2) > _WORTH_S:
            self._compile()

    def _compile(self) -> None:
        self._compiled = torch.compile(self._plain, backend=BACKEND)
