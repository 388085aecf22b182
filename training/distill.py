"""Two ways to learn from a model that is there already: soft targets of a teacher, and its embedding rows.

Distillation: Hinton, Vinyals & Dean, "Distilling the Knowledge in a Neural Network", 2015.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from model import GPT, Checkpoint, ConfigError, Tokenizer
from training.data import MASKED


@dataclass(frozen=True)
class Teacher:
    """A model that is not trained, whose distribution over the next token a student learns beside the text itself.

    share: how much of the loss is the teacher's, 0 to 1; temperature: at which the two distributions are compared.
    """

    model: GPT
    share: float
    temperature: float

    @classmethod
    def of(
        cls, checkpoint: Checkpoint, tokenizer: Tokenizer, context: int, share: float, temperature: float
    ) -> Teacher:
        """A checkpoint as the teacher of a student. Raises ConfigError where the two do not fit."""
        if checkpoint.tokenizer != tokenizer:
            raise ConfigError(
                "the teacher has another vocabulary than the model to be trained, so their distributions cannot be "
                "compared: choose a teacher that was trained with the same tokenizer on the same text."
            )
        if checkpoint.config.context < context:
            raise ConfigError(
                f"the teacher sees {checkpoint.config.context} tokens at once and the model to be trained {context}: "
                f"set the context to at most {checkpoint.config.context}."
            )
        return cls(checkpoint.model.eval().requires_grad_(False), share, temperature)

    def loss(self, inputs: Tensor, logits: Tensor, targets: Tensor) -> Tensor:
        """Mean over the targets that count of KL(teacher || student) at the temperature, times its square.

        inputs, targets: (B, T); logits: the student's, (B, T, V). In nats; the square keeps the size of the gradient
        the same at every temperature (section 2 of the paper).
        """
        with torch.no_grad():
            wanted = F.log_softmax(self.model(inputs) / self.temperature, dim=-1)
        got = F.log_softmax(logits / self.temperature, dim=-1)
        apart = (wanted.exp() * (wanted - got)).sum(-1)  # B T
        counted = targets != MASKED
        return apart[counted].mean() * self.temperature**2


def shared_rows(tokenizer: Tokenizer, donor: Tokenizer) -> list[tuple[int, int]]:
    """(own id, donor's id) of every token that both vocabularies hold: the same bytes, and both special or neither."""
    theirs = {_identity(donor, number): number for number in range(donor.vocab_size)}
    pairs = ((number, theirs.get(_identity(tokenizer, number))) for number in range(tokenizer.vocab_size))
    return [(mine, found) for mine, found in pairs if found is not None]


def copy_embeddings(model: GPT, tokenizer: Tokenizer, donor: Checkpoint) -> list[int]:
    """Copy the donor's token-embedding rows of all shared tokens into `model`; the own ids of those tokens.

    They are made as long, on average, as the fresh rows that they replace: a trained row is many times longer, and
    through a tied head such a model would begin far worse than with nothing learnt. A tied head takes them over too.
    Raises ConfigError where the widths differ or nothing is shared.
    """
    if donor.tokenizer is None:
        raise ConfigError("the model to copy embeddings from has no tokenizer, so its rows cannot be told apart.")
    if donor.config.width != model.config.width:
        raise ConfigError(
            f"embedding rows of width {donor.config.width} cannot be copied into a model of width "
            f"{model.config.width}: set the width to {donor.config.width}."
        )
    pairs = shared_rows(tokenizer, donor.tokenizer)
    if not pairs:
        raise ConfigError("the two vocabularies share no token, so there are no embedding rows to copy.")
    mine, theirs = (torch.tensor(column) for column in zip(*pairs, strict=True))
    with torch.no_grad():
        rows, fresh = donor.model.token_embedding.weight[theirs], model.token_embedding.weight
        size = fresh[mine].norm(dim=1).mean() / rows.norm(dim=1).mean().to(fresh)
        fresh[mine] = rows.to(fresh) * size
    return [number for number, _ in pairs]


def _identity(tokenizer: Tokenizer, number: int) -> tuple[bool, bytes]:
    piece = tokenizer.piece(number)
    return (True, b"") if number == tokenizer.end_of_text else (piece.kind == "special", piece.raw)
