"""The two units of loss. Nats per token depend on how a text is cut into tokens; bits per byte do not, so that runs
with different tokenizers stand on one axis: 1 nat per token is 1 / (ln 2 x bytes per token) bits per byte."""

from __future__ import annotations

import math


def in_bits(nats: float | None, bytes_per_token: float | None) -> float | None:
    """A loss in nats per token as bits per byte; None where it, or how many UTF-8 bytes a token has, is not known."""
    return nats / math.log(2) / bytes_per_token if nats is not None and bytes_per_token else None


def both(nats: float, bits: float | None, digits: int) -> str:
    """A loss in nats per token, and behind it in brackets in bits per byte where these are known."""
    return f"{nats:.{digits}f}" + ("" if bits is None else f" ({bits:.{digits}f})")


def unit_of(bytes_per_token: float | None) -> str:
    """The words for what `both` gives where that many bytes a token are known."""
    return "nats per token (bits per byte)" if bytes_per_token else "nats per token"
