"""Decoding with a key-value cache: read tokens one by one and keep what the model said and where it looked.

Ids in, ids out: knows nothing of text or the screen. Beam search and its tree stand in beams.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from model.gpt import GPT, KVCache
from model.hooks import listen
from model.sampling import Settings, distribution, draw, uniform
from model.trace import check_ids


class Decoder:
    """A text being read by one model, token by token.

    `read(ids)` brings the cache to exactly these ids at the least cost: what they share with the tokens already held
    is kept, the rest is computed. A text longer than the context is read through its last `context` tokens, as
    nanoGPT does; `start` says how many were left behind. patterns: whether to keep where the heads looked (L H T T
    numbers: 600 MB for GPT-2). Not for use by two threads at once.
    """

    def __init__(self, model: GPT, patterns: bool = True) -> None:
        self.model = model
        config = model.config
        self._cache = KVCache(config, device=model.device)
        self._held: list[int] = []  # what the cache holds
        self._length = 0  # how much of it is being looked at
        seen = config.context if patterns else 0
        self._patterns = torch.zeros(config.layers, config.heads, seen, seen)
        self._logits = torch.zeros(config.context, config.vocab_size)
        self.start = 0

    def read(self, ids: Sequence[int]) -> Tensor:
        """Bring the decoder to `ids`; return the logits (V,) of what comes next. Raises ValueError (see check_ids)."""
        self.start = max(0, len(ids) - self.model.config.context)
        window = list(ids[self.start :])
        check_ids(self.model, window)
        shared = 0
        while shared < min(len(window), len(self._held)) and window[shared] == self._held[shared]:
            shared += 1
        if shared < len(window):  # else it was all read before, and what follows it is still good
            self._held = self._held[:shared]
            self._cache.length = shared
            self._forward(window[shared:])
            self._held = window
        self._length = len(window)
        return self._logits[len(window) - 1]

    def _forward(self, ids: list[int]) -> None:
        past = self._cache.length
        end = past + len(ids)

        def listener(point: str, value: Tensor) -> Tensor:
            if point.endswith(".attn.pattern"):
                layer = int(point.split(".")[1])
                self._patterns[layer, :, past:end, :end] = value[0].to("cpu", torch.float32)
            return value

        def forward() -> Tensor:
            logits: Tensor = self.model(torch.tensor([ids], device=self.model.device), self._cache)
            return logits

        with torch.no_grad():
            logits = listen(listener, forward) if self._patterns.numel() else forward()
        self._logits[past:end] = logits[0].to("cpu", torch.float32)

    @property
    def patterns(self) -> Tensor:
        """(L, H, T, T): attention of every head over the window that was read. A view: copy to keep it.

        Raises ValueError where it was made without.
        """
        if not self._patterns.numel():
            raise ValueError("this decoder keeps no patterns: make it with patterns=True.")
        T = self._length
        return self._patterns[:, :, :T, :T]

    @property
    def logits(self) -> Tensor:
        """(T, V): logits after each token of the window. A view: copy to keep it."""
        return self._logits[: self._length]

    @property
    def window(self) -> list[int]:
        """The ids the model sees: all of them, or the last `context` of a longer text."""
        return self._held[: self._length]


def generate(model: GPT, ids: Sequence[int], count: int, settings: Settings, end: int | None = None) -> Iterator[int]:
    """Up to `count` tokens after `ids`, one by one; stops after `end` (end-of-text) was drawn.

    The draw at a position depends on the seed and the position alone (sampling.uniform). Raises ValueError for ids
    that the model cannot read.
    """
    decoder, text = Decoder(model, patterns=False), list(ids)
    for _ in range(count):
        logits = decoder.read(text)
        dist = distribution(logits, settings, torch.tensor(text))
        text.append(draw(dist, uniform(settings.seed, len(text))).token)
        yield text[-1]
        if text[-1] == end:
            return
