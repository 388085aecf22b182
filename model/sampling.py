"""From logits to the next token, with every stage kept so that it can be shown.

Pure functions: the same logits, settings and u give the same token. Nothing here knows of models or text.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import torch
from torch import Tensor

CUTS = (None, "top-k", "top-p", "min-p")
"""Why a token was cut, by the code in Distribution.cut."""


class SettingsError(ValueError):
    """Sampling settings that make no sense; the message names the setting and its range."""


@dataclass(frozen=True)
class Settings:
    """How the next token is chosen. The defaults change nothing: the model's own distribution.

    temperature: 0 = always the likeliest (greedy); below 1 sharper, above 1 flatter. top_k: keep the k likeliest, 0 =
    all. top_p: keep the fewest likeliest tokens that hold this much probability (nucleus; Holtzman et al., 2020).
    min_p: drop tokens below this share of the likeliest one's probability (Nguyen et al., 2024). They apply in this
    order. repetition_penalty: logits of tokens already written are divided (if positive) or multiplied (if negative)
    by it before all else (Keskar et al., 2019). seed: fixes every draw.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    seed: int = 1337

    def __post_init__(self) -> None:
        rules = (
            ("temperature", 0 <= self.temperature <= 10, "from 0 (always the likeliest) to 10"),
            ("top_k", self.top_k >= 0, "0 (off) or the number of tokens to keep"),
            ("top_p", 0 < self.top_p <= 1, "above 0, up to 1 (off)"),
            ("min_p", 0 <= self.min_p <= 1, "from 0 (off) to 1"),
            ("repetition_penalty", 0 < self.repetition_penalty <= 10, "above 0, 1 is off"),
            ("seed", 0 <= self.seed < 2**63, "a whole number from 0"),
        )
        for name, fine, meaning in rules:
            if not fine:
                raise SettingsError(f"{name} is {getattr(self, name)}; use a value {meaning}.")


@dataclass(frozen=True)
class Distribution:
    """What could come next, before and after the settings. All tensors (V,), by token id."""

    logits: Tensor
    raw: Tensor
    """The model's own probabilities: softmax of the logits."""
    tempered: Tensor
    """After the repetition penalty and the temperature."""
    cut: Tensor
    """int8: 0 kept, else which setting cut the token (see CUTS)."""
    p: Tensor
    """The probabilities that the draw uses: 0 where cut, the rest scaled up to sum to 1."""

    @property
    def kept(self) -> int:
        """How many tokens can still be drawn."""
        return int((self.p > 0).sum())


@dataclass(frozen=True)
class Draw:
    """A token drawn at u: laid side by side, likeliest first, the token covers low <= u < high of 0..1."""

    token: int
    u: float
    low: float
    high: float


def distribution(logits: Tensor, settings: Settings, written: Tensor | None = None) -> Distribution:
    """Logits (V,) -> Distribution. written: ids already in the text, for the repetition penalty.

    Computed in float64, so that the probabilities sum to 1 within 1e-12.
    """
    logits = logits.detach().to("cpu", torch.float64)
    raw = torch.softmax(logits, dim=-1)
    changed = logits
    if settings.repetition_penalty != 1 and written is not None and len(written):
        changed = logits.clone()
        ids = torch.unique(written)
        changed[ids] = torch.where(
            changed[ids] > 0, changed[ids] / settings.repetition_penalty, changed[ids] * settings.repetition_penalty
        )
    if settings.temperature == 0:
        tempered = torch.zeros_like(raw)
        tempered[int(changed.argmax())] = 1.0
    else:
        tempered = torch.softmax(changed / settings.temperature, dim=-1)
    cut = _cuts(tempered, settings)
    p = tempered
    if cut.any():
        p = torch.where(cut == 0, tempered, torch.zeros_like(tempered))
        p = p / p.sum()
    return Distribution(logits=logits, raw=raw, tempered=tempered, cut=cut, p=p)


def _cuts(tempered: Tensor, settings: Settings) -> Tensor:
    """Which setting cuts each token, (V,) int8 codes. The likeliest token always stays; where it is taken anyway
    (temperature 0), nothing is cut."""
    order = torch.argsort(tempered, descending=True, stable=True)
    cut = torch.zeros(len(tempered), dtype=torch.int8)
    if settings.temperature == 0:
        return cut
    if 0 < settings.top_k < len(tempered):
        cut[order[settings.top_k :]] = 1
    if settings.top_p < 1:
        kept = order[cut[order] == 0]
        share = tempered[kept] / tempered[kept].sum()
        before = share.cumsum(0) - share  # probability held by the likelier ones
        cut[kept[before >= settings.top_p]] = 2
    if settings.min_p > 0:
        kept = order[cut[order] == 0]
        cut[kept[tempered[kept] < settings.min_p * tempered.max()]] = 3
    return cut


def uniform(seed: int, position: int) -> float:
    """The u in [0, 1) for a position: fixed by both numbers, so that stepping back and on again draws the same.

    The first 53 bits of SHA-256: independent of the machine, of torch and of what was drawn before.
    """
    digest = hashlib.sha256(f"{seed}:{position}".encode()).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53


def draw(dist: Distribution, u: float) -> Draw:
    """The token at u of the cumulative distribution, likeliest first (ties by id). u in [0, 1), else ValueError."""
    if not (0 <= u < 1) or math.isnan(u):
        raise ValueError(f"u is {u}; a draw needs a number from 0 to below 1.")
    order = torch.argsort(dist.p, descending=True, stable=True)[: dist.kept]
    high = dist.p[order].cumsum(0)
    at = min(int((high <= u).sum()), len(order) - 1)  # rounding can leave the last edge a hair below 1
    token = int(order[at])
    return Draw(token=token, u=u, low=float(high[at] - dist.p[token]), high=float(high[at]))
