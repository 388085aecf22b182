"""What a vocabulary that was collected from a whole text gives away of its held-out part.

Characters and words are collected from all of a text, so that its held-out part can be written too: that a word exists
which the training part never has is known before anything is learnt. A byte-pair vocabulary would have to spell it.
Bits per byte of two tokenizers can be compared but for that, so it is measured and told.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from model import Tokenizer

_COLLECTED = ("char", "word", "words")


@dataclass(frozen=True)
class Unseen:
    """Held-out tokens that the training part never has. share: of the held-out bytes; spelling: what they would cost at
    most if they had to be spelt, byte by byte as frequent as in the training part, in bits per held-out byte."""

    share: float
    spelling: float


def collects(tokenizer: Tokenizer) -> bool:
    """Whether a vocabulary of this kind was collected from the whole text."""
    return tokenizer.kind in _COLLECTED


def told(share: float, spelling: float) -> str:
    """It for people."""
    return (
        f"{share:.1%} of the held-out text is in tokens that the training part never has. They stand in the vocabulary "
        f"all the same; to spell them byte by byte would cost up to {spelling:.2f} bits per byte more."
    )


def unseen(trained: Tensor, held_out: Tensor, tokenizer: Tokenizer) -> Unseen | None:
    """trained, held_out: (V,) how often each token stands in the two parts. None where all were seen in training."""
    size = torch.tensor(tokenizer.token_bytes(), dtype=torch.float64)
    new = ((trained == 0) & (held_out > 0) & (size > 0)).nonzero().flatten().tolist()
    if not new:
        return None
    letters = torch.ones(256, dtype=torch.float64)  # one more of each, as any may come
    for number in trained.nonzero().flatten().tolist():
        for byte in tokenizer.piece(number).raw if size[number] else b"":
            letters[byte] += float(trained[number])
    cost = (letters.sum().log2() - letters.log2()).tolist()
    spelling = sum(float(held_out[n]) * sum(cost[byte] for byte in tokenizer.piece(n).raw) for n in new)
    whole = float(held_out.double() @ size)
    return Unseen(float((held_out.double() * size)[new].sum()) / whole, spelling / whole)
