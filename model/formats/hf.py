"""Hugging Face's GPT-2 layout (transformers' GPT2LMHeadModel): config.json and model.safetensors in a folder.

Its projections are stored transposed (Conv1D). transformers itself is not needed to read the folder.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from model.checkpoint import Checkpoint, CheckpointError, load_state
from model.config import Activation, ConfigError, GPTConfig
from model.tokenizer import Tokenizer

_ACTIVATIONS: dict[str, Activation] = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
}
_RENAMED = {
    "ln_1": "ln_1",
    "ln_2": "ln_2",
    "attn.c_attn": "attn.qkv",
    "attn.c_proj": "attn.out",
    "mlp.c_fc": "mlp.up",
    "mlp.c_proj": "mlp.down",
}
_LAST = {"wte.weight": "token_embedding.weight", "wpe.weight": "position_embedding.weight"}


def config_from(values: dict[str, Any]) -> GPTConfig:
    """A GPT2Config's values -> GPTConfig. Raises CheckpointError for variants that this model does not compute."""
    for name, harmless in (("add_cross_attention", False), ("scale_attn_by_inverse_layer_idx", False)):
        if values.get(name, harmless) != harmless:
            raise CheckpointError(f"this GPT-2 variant sets {name}, which is not supported: use a plain GPT-2.")
    if not values.get("scale_attn_weights", True):
        raise CheckpointError(
            "this GPT-2 variant does not scale its attention, which is not supported: use a plain GPT-2."
        )
    activation = _ACTIVATIONS.get(values.get("activation_function", "gelu_new"))
    if activation is None:
        raise CheckpointError(
            f"the activation {values['activation_function']!r} is not supported: {', '.join(_ACTIVATIONS)}."
        )
    try:
        return GPTConfig(
            vocab_size=values["vocab_size"],
            context=values["n_positions"],
            layers=values["n_layer"],
            heads=values["n_head"],
            width=values["n_embd"],
            mlp_width=values.get("n_inner"),
            activation=activation,
            tied_head=values.get("tie_word_embeddings", True),
            norm_eps=values.get("layer_norm_epsilon", 1e-5),
        )
    except KeyError as error:
        raise CheckpointError(f"config.json lacks {error}: it is not a GPT-2 config.") from error
    except ConfigError as error:
        raise CheckpointError(f"config.json describes a GPT-2 that cannot be built: {error}") from error


def convert_state(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """GPT2LMHeadModel's (or GPT2Model's) state dict -> this model's names and orientations."""
    out: dict[str, Tensor] = {}
    for key, value in state.items():
        name = key.removeprefix("transformer.")
        if name.endswith((".attn.bias", ".attn.masked_bias")):
            continue  # the causal mask, kept as a buffer by old versions
        if name.startswith("h."):
            _, layer, rest = name.split(".", 2)
            part, _, kind = rest.rpartition(".")
            matrix = kind == "weight" and not part.startswith("ln_")
            out[f"blocks.{layer}.{_RENAMED.get(part, part)}.{kind}"] = value.t().contiguous() if matrix else value
        elif name.startswith("ln_f."):
            out[name.replace("ln_f.", "ln_final.")] = value
        else:
            out[_LAST.get(name, name.replace("lm_head.", "head."))] = value
    return out


def open_folder(folder: Path, accept: Callable[[GPTConfig], None] | None = None) -> Checkpoint:
    """Open a GPT-2 folder. Raises CheckpointError with a sentence when it is something else or damaged.

    accept: called with the shape before the weights are read; it may raise.
    """
    try:
        values = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{folder / 'config.json'} cannot be read: it is damaged; download the folder again."
        ) from error
    if not isinstance(values, dict) or values.get("model_type") != "gpt2":
        kind = values.get("model_type") if isinstance(values, dict) else None
        raise CheckpointError(
            f"{folder} is a {kind or 'folder of another kind'}; of Hugging Face's layouts, GPT-2 can be opened."
        )
    weights = folder / "model.safetensors"
    if not weights.exists():
        raise CheckpointError(
            f"{folder} has no model.safetensors: save it again with save_pretrained(..., safe_serialization=True); "
            "pickled weights are not opened."
        )
    config = config_from(values)
    if accept is not None:
        accept(config)
    try:
        state = safetensors.torch.load_file(weights)
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{weights} is damaged ({error}): download the folder again.") from error
    model = load_state(config, convert_state(state), folder)
    vocabulary = folder / "tokenizer.json"
    tokenizer = Tokenizer.load(vocabulary) if vocabulary.exists() else None
    return Checkpoint(model, tokenizer, config, {"source": "huggingface gpt2", "name": folder.name})
