"""The optimizer: AdamW (Loshchilov & Hutter, 2019), weight decay on matrices only."""

from __future__ import annotations

import torch
from torch import nn

from training.config import TrainConfig


def make_adamw(model: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW over the model's parameters: decay on those with two axes (matrices, embeddings), none on biases and norms.

    Fused into one kernel on every device that has it.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=config.learning_rate,
        betas=(config.beta1, config.beta2),
        fused=parameters[0].device.type in ("cpu", "cuda", "mps"),
    )
