"""`trace`: one forward pass with every number kept, and pure functions that read the result.

A Trace is detached, on the CPU, without the batch axis and without a reference to the model. Letters in shapes: L
layers, H heads, T tokens, D head width, C width, F neurons, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from model.edits import Edit
from model.gpt import GPT
from model.hooks import listen

_FIELDS = {  # Trace field -> what a hook point of that kind is called inside its block
    "q": "attn.q",
    "k": "attn.k",
    "v": "attn.v",
    "scores": "attn.scores",
    "patterns": "attn.pattern",
    "z": "attn.z",
    "resid_pre": "resid_pre",
    "attn_out": "attn_out",
    "resid_mid": "resid_mid",
    "neurons": "mlp.neurons",
    "mlp_out": "mlp_out",
    "resid_post": "resid_post",
}
POINTS = tuple(_FIELDS.values())
"""The hook points of one block, in no particular order; the full name is `blocks.<layer>.` and one of these."""


@dataclass(frozen=True)
class Trace:
    """Everything one forward pass computed, float32 on the CPU. Where an edit was made, the value after the edit."""

    tokens: Tensor
    """(T,) int64: the ids that were read."""
    logits: Tensor
    """(T, V): what the model says of the token after each position."""
    patterns: Tensor
    """(L, H, T, T): attention weights; row = the token that looks, column = the one looked at; rows sum to 1."""
    scores: Tensor
    """(L, H, T, T): q.k / sqrt(D) before the softmax; minus infinity where masked."""
    q: Tensor
    """(L, H, T, D): queries, as scores are made from them (after rotary positions). k, v and z have the same shape."""
    k: Tensor
    v: Tensor
    z: Tensor
    """(L, H, T, D): each head's weighted sum of values, before the output projection."""
    resid_pre: Tensor
    """(L, T, C): the residual stream at the start of each block."""
    resid_mid: Tensor
    """(L, T, C): after the attention; resid_pre + attn_out in a pre-norm model."""
    resid_post: Tensor
    """(L, T, C): after the MLP; resid_mid + mlp_out in a pre-norm model."""
    attn_out: Tensor
    mlp_out: Tensor
    neurons: Tensor
    """(L, T, F): the MLP's neurons after the non-linearity."""
    edited: tuple[str, ...] = ()
    """What was changed on the way, in words; empty for the model as it is."""

    def at(self, point: str) -> Tensor:
        """The value at a hook point by its full name (`blocks.2.attn.z`), without the layer axis. Raises ValueError."""
        prefix, _, rest = point.partition(".")
        layer, _, kind = rest.partition(".")
        field = next((f for f, name in _FIELDS.items() if name == kind), None)
        if prefix != "blocks" or not layer.isdigit() or field is None or int(layer) >= len(self.resid_pre):
            raise ValueError(
                f"{point!r} is no hook point of this run: use blocks.<layer>. and one of {', '.join(POINTS)}."
            )
        value: Tensor = getattr(self, field)[int(layer)]
        return value


def check_ids(model: GPT, ids: Tensor | Sequence[int]) -> Tensor:
    """ids (T,) or (1, T), integers -> (1, T) int64 on the model's device. Raises ValueError, saying what is wrong.

    That they fit the context is checked where it matters, in the model's forward.
    """
    tensor = torch.as_tensor(ids)
    if tensor.numel() == 0:
        raise ValueError("there are no tokens to read: give at least one.")
    if tensor.dtype.is_floating_point or tensor.dtype == torch.bool:
        raise ValueError(
            f"token ids are whole numbers, these are {tensor.dtype}: encode the text with the tokenizer first."
        )
    if tensor.dim() == 1:
        tensor = tensor[None]
    if tensor.dim() != 2 or tensor.shape[0] != 1:
        raise ValueError(f"ids have the shape {tuple(tensor.shape)}; one text at a time, (T,) or (1, T).")
    low, high = int(tensor.min()), int(tensor.max())
    if low < 0 or high >= model.config.vocab_size:
        raise ValueError(
            f"token {low if low < 0 else high} is not in this model's vocabulary of {model.config.vocab_size} "
            f"(0 to {model.config.vocab_size - 1}): encode the text with the model's own tokenizer."
        )
    return tensor.to(model.device, torch.int64)


def trace(model: GPT, ids: Tensor | Sequence[int], edits: Sequence[Edit] | None = None) -> Trace:
    """Run `model` over `ids`, (T,) or (1, T) integers, and keep every value at every hook point.

    edits: changes to make on the way (model/edits.py). Safe to call from several threads on one model. Raises
    ValueError for ids or edits that do not fit the model, and for a model in training mode with dropout, whose
    numbers would be random.
    """
    if model.training and model.config.dropout:
        raise ValueError(
            "this model is in training mode, where dropout makes its numbers random: call model.eval() first."
        )
    batch = check_ids(model, ids)
    edits = list(edits or ())
    _check_edits(model, edits, batch.shape[1])
    seen: dict[str, Tensor] = {}

    def listener(point: str, value: Tensor) -> Tensor:
        for edit in edits:
            if edit.point == point:
                value = edit.change(value)
        seen[point] = value
        return value

    with torch.no_grad():
        logits = listen(listener, lambda: model(batch))

    def stacked(kind: str) -> Tensor:
        values = [seen[f"blocks.{layer}.{kind}"][0] for layer in range(model.config.layers)]
        return torch.stack(values).detach().to("cpu", torch.float32)

    return Trace(
        tokens=batch[0].cpu(),
        logits=logits[0].to("cpu", torch.float32),
        edited=tuple(edit.label for edit in edits),
        **{field: stacked(kind) for field, kind in _FIELDS.items()},
    )


def _check_edits(model: GPT, edits: Sequence[Edit], length: int) -> None:
    points = {f"blocks.{layer}.{kind}" for layer in range(model.config.layers) for kind in POINTS}
    for edit in edits:
        if edit.point not in points:
            raise ValueError(
                f"the edit '{edit.label}' is for {edit.point}, which this model of {model.config.layers} layers does "
                f"not have: layers count from 0 to {model.config.layers - 1}."
            )
        if edit.head is not None and not 0 <= edit.head < model.config.heads:
            raise ValueError(
                f"the edit '{edit.label}' names a head that is not there: "
                f"heads count from 0 to {model.config.heads - 1}."
            )
        if edit.position is not None and not 0 <= edit.position < length:
            raise ValueError(
                f"the edit '{edit.label}' names a token that is not there: positions count from 0 to {length - 1}."
            )


def logit_lens(model: GPT, run: Trace) -> Tensor:
    """What each layer would say if it were the last: logits (L + 1, T, V) of resid_pre[0] and every resid_post.

    nostalgebraist, "interpreting GPT: the logit lens", 2020. The last row equals run.logits.
    """
    with torch.no_grad():
        stream = torch.cat((run.resid_pre[:1], run.resid_post)).to(model.device)
        return model.unembed(stream).to("cpu", torch.float32)


def attention_entropy(patterns: Tensor) -> Tensor:
    """How widely each row of attention is spread, in bits: patterns (..., T, S) -> (..., T). 0 = one token only."""
    return -torch.xlogy(patterns, patterns).sum(dim=-1) / torch.log(torch.tensor(2.0))


def prediction_entropy(logits: Tensor) -> Tensor:
    """How unsure each prediction is, in bits: logits (..., V) -> (...)."""
    log_p = F.log_softmax(logits, dim=-1)
    return -(log_p.exp() * log_p).sum(dim=-1) / torch.log(torch.tensor(2.0))


def head_scores(patterns: Tensor, tokens: Tensor) -> dict[str, Tensor]:
    """How much each head behaves like a known kind: patterns (L, H, T, T), tokens (T,) -> {kind: (L, H) in 0..1}.

    The mean attention paid, over the rows where such a target exists (nan where there is none), to: `self`;
    `previous` token; `first` token (from the third row on, where it is neither self nor previous); `duplicate`, the
    earlier places of the same token; `induction`, the places after an earlier occurrence of the same token
    (Elhage et al., 2021; Olsson et al., 2022).
    """
    T = len(tokens)
    same = tokens[:, None] == tokens[None, :]  # T T
    earlier = torch.ones(T, T).tril(-1).bool()
    duplicate = same & earlier
    induction = torch.zeros(T, T, dtype=torch.bool)
    induction[:, 1:] = duplicate[:, :-1]  # key j where token j-1 equals the query's token
    first = torch.zeros(T, T, dtype=torch.bool)
    first[2:, 0] = True
    targets = {
        "self": torch.eye(T).bool(),
        "previous": torch.ones(T, T).tril(-1).triu(-1).bool(),
        "first": first,
        "duplicate": duplicate,
        "induction": induction & torch.ones(T, T).tril().bool(),
    }
    scores = {}
    for kind, target in targets.items():
        rows = target.any(dim=1)
        paid = (patterns * target).sum(dim=-1)[..., rows]  # L H rows
        scores[kind] = paid.mean(dim=-1) if rows.any() else torch.full(patterns.shape[:2], float("nan"))
    return scores
