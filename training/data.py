"""From a text and a tokenizer to the tensors that a training loop reads. Knows nothing of files or models."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from model.tokenizer import Tokenizer
from training.corpus import check_trainable, split_text


@dataclass(frozen=True)
class Data:
    """One long stream of token ids, cut in two. train, val: (N,) int64; token_bytes: (V,) UTF-8 bytes of each token."""

    train: Tensor
    val: Tensor
    token_bytes: Tensor
    context: int

    def batch(self, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Random stretches of the training stream: inputs and targets, both (B, T) on the CPU."""
        starts = torch.randint(len(self.train) - self.context, (size, 1), generator=generator)
        at = starts + torch.arange(self.context + 1)  # B T+1
        window = self.train[at]
        return window[:, :-1], window[:, 1:]

    def held_out(self, tokens: int, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Fixed stretches spread evenly over the held-out stream, about `tokens` targets in all; (B, T) each.

        The same stretches every time, so that two measurements differ by the model alone.
        """
        length = min(self.context, len(self.val) - 1)
        if length < 1:
            return
        whole = (len(self.val) - 1) // length
        wanted = max(1, min(whole, tokens // length))
        starts = (torch.arange(wanted) * whole // wanted) * length  # evenly spread, never overlapping
        at = starts[:, None] + torch.arange(length + 1)
        for rows in torch.split(at, batch_size):
            window = self.val[rows]
            yield window[:, :-1], window[:, 1:]


def prepare(text: str, tokenizer: Tokenizer, context: int, val_fraction: float) -> Data:
    """Split a text, encode both parts, and check that a model with this context can be trained on them.

    Raises CorpusError (a ValueError) naming the shortest text or the longest context that would work.
    """
    train_text, val_text = split_text(text, val_fraction)
    train, val = tokenizer.encode(train_text), tokenizer.encode(val_text)
    check_trainable(len(train), len(val), context)
    lengths = [len(tokenizer.piece(token).raw) for token in range(tokenizer.vocab_size)]
    return Data(
        train=torch.tensor(train, dtype=torch.int64),
        val=torch.tensor(val, dtype=torch.int64),
        token_bytes=torch.tensor(lengths, dtype=torch.float64),
        context=context,
    )


def build_tokenizer(
    kind: str, text: str, vocab_size: int, progress: Callable[[float], None] | None = None
) -> Tokenizer:
    """The tokenizer of a recipe, learnt from the whole text where it learns. Raises ValueError with a sentence.

    progress: called with rising shares of the work, 0 to 1, while a byte-pair vocabulary is learnt.
    """
    if kind == "char":
        return Tokenizer.char(text)
    if kind == "word":
        return Tokenizer.word(text)
    if kind == "bpe":
        return Tokenizer.bpe(text, vocab_size, progress)
    return Tokenizer.gpt2()
