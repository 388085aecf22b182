"""A GPT in the words of the step-by-step courses: `transformer_blocks.0.mhsa.attention_heads.0.query_layer.weight`.

Every head has its own query, key and value matrix without bias; `compute` mixes the heads; ReLU, layer norm before each
part, learned positions, a head of its own. The shape is read from the tensors' sizes.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from model.checkpoint import CheckpointError
from model.config import ConfigError, GPTConfig
from model.formats.files import Loose, must_be, numbers_after, size_of

NAME = "a lyrics GPT (transformer_blocks, mhsa, attention_heads)"
_BLOCKS = "transformer_blocks."
_HEADS = "mhsa.attention_heads."
_PARTS = {  # theirs -> ours, with a weight and a bias each
    "mhsa.compute": "attn.out",
    "vanilla_nn.first_linear_layer": "mlp.up",
    "vanilla_nn.second_linear_layer": "mlp.down",
    "layer_norm_one": "ln_1",
    "layer_norm_two": "ln_2",
}


def recognises(names: Iterable[str]) -> bool:
    """Whether these are the names of such a model, complete or not."""
    return any(name.startswith(_BLOCKS) and ".mhsa." in name for name in names)


def config_of(tensors: dict[str, Tensor], file: str) -> GPTConfig:
    """The shape that the sizes of the tensors tell. Raises CheckpointError."""
    vocab_size, width = size_of(tensors, "token_embedding.weight", 2, file)
    context, _ = size_of(tensors, "pos_embedding.weight", 2, file)
    neurons, _ = size_of(tensors, f"{_BLOCKS}0.vanilla_nn.first_linear_layer.weight", 2, file)
    d_head, _ = size_of(tensors, f"{_BLOCKS}0.{_HEADS}0.query_layer.weight", 2, file)
    layers = numbers_after(tensors, _BLOCKS)
    heads = numbers_after(tensors, f"{_BLOCKS}0.{_HEADS}")
    if heads * d_head != width:
        raise CheckpointError(
            f"the {heads} heads of {file} are {d_head} wide each, which does not make the width {width} of its "
            "embedding: heads are missing, or it is a model of another kind."
        )
    try:
        return GPTConfig(
            vocab_size=vocab_size,
            context=context,
            layers=layers,
            heads=heads,
            width=width,
            mlp_width=neurons,
            activation="relu",
            qkv_bias=False,
            head_bias=True,
            tied_head=False,
        )
    except ConfigError as error:
        raise CheckpointError(f"{file} describes a model that cannot be built: {error}") from error


def wanted(config: GPTConfig) -> dict[str, tuple[int, ...]]:
    """Every tensor of such a model and its shape: 174 of them at 6 layers of 6 heads."""
    C, F, V, D = config.width, config.d_mlp, config.vocab_size, config.d_head
    shapes: dict[str, tuple[int, ...]] = {"token_embedding.weight": (V, C), "pos_embedding.weight": (config.context, C)}
    for layer in range(config.layers):
        block = f"{_BLOCKS}{layer}."
        for head in range(config.heads):
            for part in ("query", "key", "value"):
                shapes[f"{block}{_HEADS}{head}.{part}_layer.weight"] = (D, C)
        shapes |= _affine(f"{block}mhsa.compute", C, C)
        shapes |= _affine(f"{block}vanilla_nn.first_linear_layer", F, C)
        shapes |= _affine(f"{block}vanilla_nn.second_linear_layer", C, F)
        for norm in ("layer_norm_one", "layer_norm_two"):
            shapes |= {f"{block}{norm}.weight": (C,), f"{block}{norm}.bias": (C,)}
    shapes |= {"layer_norm_three.weight": (C,), "layer_norm_three.bias": (C,)}
    return shapes | _affine("vocab_projection", V, C)


def _affine(name: str, outputs: int, inputs: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def convert(loose: Loose, config: GPTConfig, file: str) -> dict[str, Tensor]:
    """Their tensors under our names: the heads of a layer one below the other in one matrix (3C C), q, then k, then v.

    Raises CheckpointError naming tensors that are missing, too many or of another shape.
    """
    tensors = loose.tensors
    must_be(tensors, wanted(config), NAME, file)
    state = {
        "token_embedding.weight": tensors["token_embedding.weight"],
        "position_embedding.weight": tensors["pos_embedding.weight"],
        "ln_final.weight": tensors["layer_norm_three.weight"],
        "ln_final.bias": tensors["layer_norm_three.bias"],
        "head.weight": tensors["vocab_projection.weight"],
        "head.bias": tensors["vocab_projection.bias"],
    }
    for layer in range(config.layers):
        theirs, ours = f"{_BLOCKS}{layer}.", f"blocks.{layer}."
        state[f"{ours}attn.qkv.weight"] = torch.cat(
            [
                tensors[f"{theirs}{_HEADS}{head}.{part}_layer.weight"]
                for part in ("query", "key", "value")
                for head in range(config.heads)
            ]
        )
        for name, own in _PARTS.items():
            for kind in ("weight", "bias"):
                state[f"{ours}{own}.{kind}"] = tensors[f"{theirs}{name}.{kind}"]
    return state
