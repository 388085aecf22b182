"""nanoGPT's `ckpt.pt`: the weights under `model`, their shape under `model_args`, and the state of its optimizer.

The names are GPT-2's; unlike Hugging Face's files the matrices are stored as torch's Linear has them. A vocabulary
padded to 50,304 (for the sake of the GPU) is cut back to GPT-2's 50,257 tokens: no text ever held the others.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from model.checkpoint import CheckpointError
from model.config import ConfigError, GPTConfig
from model.formats.files import Loose, head_count, must_be, numbers_after, size_of, whole_number

NAME = "a nanoGPT checkpoint"
PADDED, GPT2 = 50_304, 50_257
_T = "transformer."
_RENAMED = {
    "attn.c_attn": "attn.qkv",
    "attn.c_proj": "attn.out",
    "mlp.c_fc": "mlp.up",
    "mlp.c_proj": "mlp.down",
    "ln_1": "ln_1",
    "ln_2": "ln_2",
}
_LAST = {
    f"{_T}wte": "token_embedding",
    f"{_T}wpe": "position_embedding",
    f"{_T}ln_f": "ln_final",
    "lm_head": "head",
}


def recognises(names: Iterable[str]) -> bool:
    """Whether these are the names of such a model, complete or not."""
    return any(name.startswith(f"{_T}h.") and ".attn.c_attn." in name for name in names)


def config_of(loose: Loose, file: str, heads: int | None = None) -> GPTConfig:
    """The shape that the tensors' sizes tell; how many heads stands in `model_args`. Raises CheckpointError."""
    tensors = loose.tensors
    rows, width = size_of(tensors, f"{_T}wte.weight", 2, file)
    context, _ = size_of(tensors, f"{_T}wpe.weight", 2, file)
    neurons, inputs = size_of(tensors, f"{_T}h.0.mlp.c_fc.weight", 2, file)
    if inputs != width and neurons == width:
        raise CheckpointError(
            f"{file} is Hugging Face's GPT-2, whose shape stands in its config.json: give the whole folder."
        )
    arguments = loose.beside.get("model_args")
    said = arguments.get("n_head") if isinstance(arguments, dict) else None
    given = heads if said is None else whole_number(said, "n_head", file)
    try:
        return GPTConfig(
            vocab_size=GPT2 if rows == PADDED else rows,
            context=context,
            layers=numbers_after(tensors, f"{_T}h."),
            heads=head_count(width, given, None, file),
            width=width,
            mlp_width=neurons,
            activation="gelu",
            qkv_bias=f"{_T}h.0.attn.c_attn.bias" in tensors,
            out_bias=f"{_T}h.0.attn.c_proj.bias" in tensors,
            mlp_bias=f"{_T}h.0.mlp.c_fc.bias" in tensors,
            norm_bias=f"{_T}ln_f.bias" in tensors,
            tied_head=True,
        )
    except ConfigError as error:
        raise CheckpointError(f"{file} describes a model that cannot be built: {error}") from error


def wanted(config: GPTConfig, rows: int) -> dict[str, tuple[int, ...]]:
    """Every tensor of such a model and its shape, old versions' masks left out. rows: the vocabulary, padding too."""
    C, F = config.width, config.d_mlp
    shapes: dict[str, tuple[int, ...]] = {f"{_T}wte.weight": (rows, C), f"{_T}wpe.weight": (config.context, C)}
    for layer in range(config.layers):
        for part, (outputs, inputs), bias in (
            ("attn.c_attn", (3 * C, C), config.qkv_bias),
            ("attn.c_proj", (C, C), config.out_bias),
            ("mlp.c_fc", (F, C), config.mlp_bias),
            ("mlp.c_proj", (C, F), config.mlp_bias),
        ):
            shapes[f"{_T}h.{layer}.{part}.weight"] = (outputs, inputs)
            if bias:
                shapes[f"{_T}h.{layer}.{part}.bias"] = (outputs,)
    norms = [f"{_T}h.{layer}.{norm}" for layer in range(config.layers) for norm in ("ln_1", "ln_2")]
    for norm in (*norms, f"{_T}ln_f"):
        shapes[f"{norm}.weight"] = (C,)
        if config.norm_bias:
            shapes[f"{norm}.bias"] = (C,)
    return shapes | {"lm_head.weight": (rows, C)}


def convert(loose: Loose, config: GPTConfig, file: str) -> dict[str, Tensor]:
    """Their tensors under our names. Raises CheckpointError naming what is missing, too much or of another shape."""
    tensors = {name: value for name, value in loose.tensors.items() if not name.endswith(".attn.bias")}
    rows = tensors[f"{_T}wte.weight"].shape[0]
    tensors.setdefault("lm_head.weight", tensors[f"{_T}wte.weight"])
    must_be(tensors, wanted(config, rows), NAME, file)
    if not torch.equal(tensors["lm_head.weight"], tensors[f"{_T}wte.weight"]):
        raise CheckpointError(f"{file} has an output layer apart from its embedding, which no nanoGPT model has.")
    state = {}
    for name, value in tensors.items():
        part, _, kind = name.rpartition(".")
        if part in _LAST:
            cut = part in (f"{_T}wte", "lm_head") and rows != config.vocab_size
            state[f"{_LAST[part]}.{kind}"] = value[: config.vocab_size].contiguous() if cut else value
        else:
            _, _, layer, inner = part.split(".", 3)
            state[f"blocks.{layer}.{_RENAMED[inner]}.{kind}"] = value
    return state


def figures(loose: Loose) -> dict[str, Any]:
    """What the checkpoint says of its training: `step`, and `val_loss` in nats per token, each where it is there."""
    said: dict[str, Any] = {}
    step, loss = loose.beside.get("iter_num"), loose.beside.get("best_val_loss")
    if isinstance(step, int) and not isinstance(step, bool) and step >= 0:
        said["step"] = step
    if isinstance(loss, Tensor) and loss.numel() == 1:
        loss = float(loss)
    if isinstance(loss, float) and math.isfinite(loss) and 0 <= loss < 1000:  # before a measurement it is 1e9
        said["val_loss"] = loss
    return said
