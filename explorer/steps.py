"""One step of a training seen closely, as the page shows it: the batch as tokens with their losses, and each layer."""

from __future__ import annotations

from typing import Any

from explorer.jobs import JobError
from explorer.packing import pack_curve, pack_piece
from explorer.server import Server
from training.data import MASKED
from training.lens import StepLook

_TOKENS = 2_000  # of a batch, shown on the page


def step(server: Server, raw: Any) -> dict[str, Any]:
    """The latest step that a run made alone (training/lens.py). Raises ValueError with a sentence.

    Its text is the run's own, so only who may steer the run gets it.
    """
    request = raw if isinstance(raw, dict) else {}
    visitor = server.visitors.get(request.get("session"))
    run = server.jobs.find(request.get("run"))
    if not server.jobs.owns(run, visitor.owner):
        raise JobError("Only the browser that started this training can look at its batch: its text is in it.")
    look = run.trainer.look if run.trainer is not None else None
    if look is None or run.trainer is None:
        raise JobError("No step of this training was made alone: pause it, then press One step.")
    tokenizer = run.trainer.tokenizer
    B, T = look.targets.shape
    shown = max(1, min(B, _TOKENS // max(1, T)))
    seen = sorted({*look.inputs[:shown, 0].tolist(), *look.targets[:shown].flatten().tolist()} - {MASKED})
    return {**figures(look), "rows": rows(look, shown), "more": B - shown,
            "pieces": [[token, *pack_piece(tokenizer, token)] for token in seen]}  # fmt: skip


def figures(look: StepLook) -> dict[str, Any]:
    """What the whole batch came to, and what the update did to each part of the model."""
    return {
        "step": look.step,
        "loss": look.loss,
        "learning_rate": look.lr,
        "grad_norm": look.grad_norm,
        "parts": [
            {
                "name": part.name,
                "gradient": part.gradient,
                "weights": part.weights,
                "update": part.update,
                "relative": part.relative,
            }
            for part in look.parts
        ],
    }


def rows(look: StepLook, count: int) -> list[dict[str, Any]]:
    """The first rows: the token that each begins with, the targets in order, and what each of them cost."""
    found = []
    for begin, targets, losses in zip(look.inputs[:count, 0], look.targets[:count], look.losses[:count], strict=True):
        real = targets != MASKED
        found.append(
            {"first": int(begin), "tokens": targets[real].tolist(), "losses": pack_curve(losses[real].tolist())}
        )
    return found
