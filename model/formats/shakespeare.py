"""A small GPT with names such as `inp_emb`, `blocks.0.attention.query` and `last`; its causal mask is saved with it.

Query, key and value are one matrix each for all heads, so the tensors do not tell how many heads there are: 4, as in
the project that these names come from, unless the caller says otherwise. ReLU, layer norm before each part.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from model.checkpoint import CheckpointError
from model.config import ConfigError, GPTConfig
from model.formats.files import Loose, head_count, is_causal, must_be, numbers_after, size_of

NAME = "a Shakespeare GPT (inp_emb, attention.query, ln_final, last)"
USUAL_HEADS = 4
_PARTS = {"attention.lin": "attn.out", "mlp.layer_1": "mlp.up", "mlp.layer_2": "mlp.down"}
_QKV = ("attention.query", "attention.key", "attention.value")


def recognises(names: Iterable[str]) -> bool:
    """Whether these are the names of such a model, complete or not."""
    known = list(names)
    return any(name.startswith("inp_emb") for name in known) or any(".attention.lin." in name for name in known)


def config_of(tensors: dict[str, Tensor], file: str, heads: int | None = None) -> GPTConfig:
    """The shape that the sizes of the tensors tell; a bias is there where its tensor is. Raises CheckpointError."""
    vocab_size, width = size_of(tensors, "inp_emb.weight", 2, file)
    context, _ = size_of(tensors, "pos_emb.weight", 2, file)
    neurons, _ = size_of(tensors, "blocks.0.mlp.layer_1.weight", 2, file)
    try:
        return GPTConfig(
            vocab_size=vocab_size,
            context=context,
            layers=numbers_after(tensors, "blocks."),
            heads=head_count(width, heads, USUAL_HEADS, file),
            width=width,
            mlp_width=neurons,
            activation="relu",
            qkv_bias="blocks.0.attention.query.bias" in tensors,
            out_bias="blocks.0.attention.lin.bias" in tensors,
            mlp_bias="blocks.0.mlp.layer_1.bias" in tensors,
            norm_bias="ln_final.bias" in tensors,
            head_bias="last.bias" in tensors,
            tied_head=False,
        )
    except ConfigError as error:
        raise CheckpointError(f"{file} describes a model that cannot be built: {error}") from error


def wanted(config: GPTConfig) -> dict[str, tuple[int, ...]]:
    """Every tensor of such a model and its shape, the masks left out."""
    C, F, V = config.width, config.d_mlp, config.vocab_size
    shapes: dict[str, tuple[int, ...]] = {"inp_emb.weight": (V, C), "pos_emb.weight": (config.context, C)}

    def affine(name: str, outputs: int, inputs: int, bias: bool) -> None:
        shapes[f"{name}.weight"] = (outputs, inputs)
        if bias:
            shapes[f"{name}.bias"] = (outputs,)

    def norm(name: str) -> None:
        shapes[f"{name}.weight"] = (C,)
        if config.norm_bias:
            shapes[f"{name}.bias"] = (C,)

    for layer in range(config.layers):
        for part in _QKV:
            affine(f"blocks.{layer}.{part}", C, C, config.qkv_bias)
        affine(f"blocks.{layer}.attention.lin", C, C, config.out_bias)
        affine(f"blocks.{layer}.mlp.layer_1", F, C, config.mlp_bias)
        affine(f"blocks.{layer}.mlp.layer_2", C, F, config.mlp_bias)
        norm(f"blocks.{layer}.ln_1")
        norm(f"blocks.{layer}.ln_2")
    norm("ln_final")
    affine("last", V, C, config.head_bias)
    return shapes


def convert(loose: Loose, config: GPTConfig, file: str) -> dict[str, Tensor]:
    """Their tensors under our names. Raises CheckpointError naming what is missing, too much or of another shape."""
    masks = {name: value for name, value in loose.tensors.items() if name.endswith(".attention.mask")}
    for name, mask in masks.items():
        if not is_causal(mask, config.context):
            raise CheckpointError(
                f"{name} of {file} is not the mask of a model that looks back only: such a model cannot be opened."
            )
    tensors = {name: value for name, value in loose.tensors.items() if name not in masks}
    must_be(tensors, wanted(config), NAME, file)
    state: dict[str, Tensor] = {}
    for name, value in tensors.items():
        part, _, kind = name.rpartition(".")
        if part in ("inp_emb", "pos_emb", "last"):
            own = {"inp_emb": "token_embedding", "pos_emb": "position_embedding", "last": "head"}[part]
            state[f"{own}.{kind}"] = value
        elif part == "ln_final":
            state[name] = value
        else:
            _, number, inner = part.split(".", 2)
            if inner not in _QKV:
                state[f"blocks.{number}.{_PARTS.get(inner, inner)}.{kind}"] = value
    for layer in range(config.layers):
        for kind in ("weight", "bias") if config.qkv_bias else ("weight",):
            rows = [tensors[f"blocks.{layer}.{part}.{kind}"] for part in _QKV]
            state[f"blocks.{layer}.attn.qkv.{kind}"] = torch.cat(rows)
    return state
