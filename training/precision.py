"""In which numbers the matrix products of a training step are computed; weights, sums and updates stay in float32.

bfloat16 halves the time of a product where the machine has instructions for it, and rounds its inputs to 8 bits. On two
cores of a Zen 4 a step of the Fast recipe takes about two thirds of the time, to the same loss (docs/lab-notes.md).
"""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch

from training.config import Precision


def has_bfloat16(device: torch.device) -> bool:
    """Whether a device multiplies bfloat16 in hardware, so that it pays."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        can = torch.cpu.get_capabilities()
        return bool(can.get("avx512_bf16") or can.get("amx_bf16"))
    return False


def picked(precision: Precision, device: torch.device) -> Precision:
    """`auto` -> bfloat16 where it pays, else float32."""
    if precision != "auto":
        return precision
    return "bfloat16" if has_bfloat16(device) else "float32"


def products(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """For `with` around a forward pass: its matrix products in this precision."""
    lower = picked(precision, device) == "bfloat16"
    # Each weight is used once a pass: remembering its bfloat16 copy would only tie threads together that share a model.
    return torch.autocast(device.type, torch.bfloat16, enabled=lower, cache_enabled=False)
