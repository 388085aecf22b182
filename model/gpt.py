"""The model: the maths of a GPT with its hook points in place, and nothing else.

Letters in shapes: B batch, T query tokens, S key tokens (T plus what the cache holds), C width, H heads, D head width,
F neurons, V vocabulary. This module knows nothing of text, training, files or the screen.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.config import GPTConfig
from model.dropout import Dropout, dropped
from model.hooks import HookPoint, listened

DRAWING = threading.RLock()
"""Held by whoever draws from the process's own random generator, as a model that is made does: two that are made at the
same moment do not take numbers out of each other's sequence."""


class KVCache:
    """Keys and values of the tokens read so far, so that the next token costs one column instead of a whole pass.

    `length` tokens are held; setting it lower forgets the later ones. Keys are stored as attention uses them, so with
    rotary positions they are already turned. There is room for `tokens` of them, the context if left out.
    """

    def __init__(
        self, config: GPTConfig, batch: int = 1, device: torch.device | str = "cpu", tokens: int | None = None
    ) -> None:
        shape = (config.layers, batch, config.heads, tokens or config.context, config.d_head)
        self.keys = torch.zeros(shape, device=device)
        self.values = torch.zeros(shape, device=device)
        self.length = 0

    def extend(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Store k, v (B H T D) behind the held tokens of a layer; return all keys and values (B H S D)."""
        end = self.length + k.shape[2]
        self.keys[layer, :, :, self.length : end] = k
        self.values[layer, :, :, self.length : end] = v
        return self.keys[layer, :, :, :end], self.values[layer, :, :, :end]

    def select(self, rows: Tensor) -> None:
        """Go on with these rows of the batch, in this order; one may be taken several times."""
        self.keys, self.values = self.keys[:, rows], self.values[:, rows]


class CausalSelfAttention(nn.Module):
    """Multi-head attention in which a token looks at itself and at what stands before it (Vaswani et al., 2017)."""

    rotation: Tensor | None

    def __init__(self, config: GPTConfig, layer: int) -> None:
        super().__init__()
        self.layer, self.heads, self.d_head = layer, config.heads, config.d_head
        self.dropout, self.qk_norm = config.dropout, config.qk_norm
        self.qkv = nn.Linear(config.width, 3 * config.width, bias=config.qkv_bias)
        self.out = nn.Linear(config.width, config.width, bias=config.out_bias)
        self.out_dropout = _dropout(config)
        rotation = _rotation(config.context, config.d_head) if config.positions == "rotary" else None
        self.register_buffer("rotation", rotation, persistent=False)  # 2 T D/2
        at = f"blocks.{layer}.attn"
        self.hook_q = HookPoint(f"{at}.q", "B H T D")
        self.hook_k = HookPoint(f"{at}.k", "B H T D")
        self.hook_v = HookPoint(f"{at}.v", "B H T D")
        self.hook_scores = HookPoint(f"{at}.scores", "B H T S")
        self.hook_pattern = HookPoint(f"{at}.pattern", "B H T S")
        self.hook_z = HookPoint(f"{at}.z", "B H T D")

    def forward(self, x: Tensor, cache: KVCache | None = None) -> Tensor:
        B, T, C = x.shape
        past = cache.length if cache is not None else 0
        parts = self.qkv(x).view(B, T, 3, self.heads, self.d_head).unbind(2)
        q, k, v = (part.transpose(1, 2) for part in parts)  # each B H T D
        if self.qk_norm:  # Henry et al., 2020; here to a root mean square of 1, with no weights
            q, k = F.rms_norm(q, (self.d_head,)), F.rms_norm(k, (self.d_head,))
        if self.rotation is not None:
            turn = self.rotation[:, past : past + T]
            q, k = _rotate(q, turn), _rotate(k, turn)
        q, k, v = self.hook_q(q), self.hook_k(k), self.hook_v(v)
        if cache is not None:
            k, v = cache.extend(self.layer, k, v)  # B H S D
        drops = self.training and self.dropout > 0
        openly = listened() or (drops and q.device.type == "cpu")  # torch's kernel for the CPU does not drop anything
        z = self._attend_openly(q, k, v) if openly else self._attend_fused(q, k, v)
        z = self.hook_z(z)  # B H T D
        projected: Tensor = self.out_dropout(self.out(z.transpose(1, 2).reshape(B, T, C)))
        return projected  # B T C

    def _attend_openly(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """The same sum as `_attend_fused` with scores and pattern in the open, for a listener or dropout."""
        scores = q @ k.transpose(-2, -1) / math.sqrt(self.d_head)  # B H T S
        scores = scores.masked_fill(_future(q.shape[2], k.shape[2], q.device), float("-inf"))
        pattern = self.hook_pattern(F.softmax(self.hook_scores(scores), dim=-1))
        if self.training and self.dropout:
            pattern = dropped(pattern, self.dropout)
        return pattern @ v  # B H T D

    def _attend_fused(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        T, S = q.shape[2], k.shape[2]
        dropout = self.dropout if self.training else 0.0
        # is_causal aligns the mask at the top left; with a cache the queries are the last T of S tokens.
        mask = None if T in (1, S) else ~_future(T, S, q.device)
        on_cpu = q.device.type == "cpu"
        if on_cpu:  # the gradient of this in bfloat16 takes five times as long as in float32 there (torch 2.13)
            q, k, v = q.float(), k.float(), v.float()
        with torch.autocast("cpu", enabled=False) if on_cpu else nullcontext():
            return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout, is_causal=T == S)


class MLP(nn.Module):
    """The feed-forward part: C -> F neurons -> C, each token by itself."""

    def __init__(self, config: GPTConfig, layer: int) -> None:
        super().__init__()
        self.up = nn.Linear(config.width, config.d_mlp, bias=config.mlp_bias)
        self.activation = _ACTIVATIONS[config.activation]()
        self.down = nn.Linear(config.d_mlp, config.width, bias=config.mlp_bias)
        self.dropout = _dropout(config)
        self.hook_neurons = HookPoint(f"blocks.{layer}.mlp.neurons", "B T F")

    def forward(self, x: Tensor) -> Tensor:
        neurons = self.hook_neurons(self.activation(self.up(x)))  # B T F
        projected: Tensor = self.dropout(self.down(neurons))
        return projected  # B T C


class Block(nn.Module):
    """One layer: attention moves information between tokens, the MLP works on each; both add to the residual stream."""

    def __init__(self, config: GPTConfig, layer: int) -> None:
        super().__init__()
        self.pre_norm = config.norm == "pre"
        self.ln_1 = nn.LayerNorm(config.width, config.norm_eps, bias=config.norm_bias)
        self.attn = CausalSelfAttention(config, layer)
        self.ln_2 = nn.LayerNorm(config.width, config.norm_eps, bias=config.norm_bias)
        self.mlp = MLP(config, layer)
        self.hook_resid_pre = HookPoint(f"blocks.{layer}.resid_pre", "B T C")
        self.hook_attn_out = HookPoint(f"blocks.{layer}.attn_out", "B T C")
        self.hook_resid_mid = HookPoint(f"blocks.{layer}.resid_mid", "B T C")
        self.hook_mlp_out = HookPoint(f"blocks.{layer}.mlp_out", "B T C")
        self.hook_resid_post = HookPoint(f"blocks.{layer}.resid_post", "B T C")

    def forward(self, x: Tensor, cache: KVCache | None = None) -> Tensor:
        x = self.hook_resid_pre(x)  # B T C, as is every line below
        if self.pre_norm:
            x = self.hook_resid_mid(x + self.hook_attn_out(self.attn(self.ln_1(x), cache)))
            return self.hook_resid_post(x + self.hook_mlp_out(self.mlp(self.ln_2(x))))
        x = self.hook_resid_mid(self.ln_1(x + self.hook_attn_out(self.attn(x, cache))))
        return self.hook_resid_post(self.ln_2(x + self.hook_mlp_out(self.mlp(x))))


class GPT(nn.Module):
    """A decoder-only transformer (Radford et al., 2019; other shapes by GPTConfig): ids (B T) -> logits (B T V)."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        with DRAWING:
            self._build(config)

    def _build(self, config: GPTConfig) -> None:
        self.config = config
        self.token_embedding = nn.Embedding(config.vocab_size, config.width)
        self.position_embedding = nn.Embedding(config.context, config.width) if config.positions == "learned" else None
        self.dropout = _dropout(config)
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.layers))
        self.ln_final = (
            nn.LayerNorm(config.width, config.norm_eps, bias=config.norm_bias)
            if config.norm == "pre"
            else nn.Identity()
        )
        self.head = nn.Linear(config.width, config.vocab_size, bias=config.head_bias)
        if config.tied_head:
            self.head.weight = self.token_embedding.weight
        self.apply(_initialise)
        for block in self.blocks:  # GPT-2: the layers that write to the residual stream start smaller, 2 a block
            for writer in (block.attn.out, block.mlp.down):  # type: ignore[union-attr]
                nn.init.normal_(writer.weight, std=0.02 / math.sqrt(2 * config.layers))  # type: ignore[union-attr, arg-type]

    def forward(self, ids: Tensor, cache: KVCache | None = None) -> Tensor:
        """Logits (B T V) of the token after each of `ids` (B T), which stand behind what `cache` already holds.

        Raises ValueError when the tokens do not fit the context.
        """
        T = ids.shape[1]
        past = cache.length if cache is not None else 0
        if past + T > self.config.context:
            raise ValueError(
                f"{past + T} tokens do not fit the model's context of {self.config.context}: keep the last ones only."
            )
        x = self.token_embedding(ids)  # B T C
        if self.position_embedding is not None:
            x = x + self.position_embedding.weight[past : past + T]
        x = self.dropout(x)
        for block in self.blocks:
            x = block(x, cache)
        if cache is not None:
            cache.length = past + T
        return self.unembed(x)

    def unembed(self, x: Tensor) -> Tensor:
        """Residual stream (... C) -> logits (... V): the final norm and the projection to the vocabulary."""
        logits: Tensor = self.head(self.ln_final(x))
        return logits

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.token_embedding.weight.device

    def parameter_count(self) -> int:
        """Number of trained parameters; a tied head counts once."""
        return sum(p.numel() for p in self.parameters())


_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "gelu": nn.GELU,
    "gelu_tanh": lambda: nn.GELU(approximate="tanh"),
    "relu": nn.ReLU,
}


def _dropout(config: GPTConfig) -> nn.Module:
    """Nothing at all where nothing is dropped: a call to torch for each layer is time, too."""
    return Dropout(config.dropout) if config.dropout else nn.Identity()


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)


def _future(T: int, S: int, device: torch.device) -> Tensor:
    """Mask (T S): true where a key stands after its query; the T queries are the last of the S tokens."""
    return torch.ones(T, S, dtype=torch.bool, device=device).triu(1 + S - T)


def _rotation(context: int, d_head: int) -> Tensor:
    """Cosines and sines (2 T D/2) of rotary positions (Su et al., 2021), base 10,000."""
    speed = 10_000.0 ** (-torch.arange(0, d_head, 2, dtype=torch.float32) / d_head)
    angle = torch.outer(torch.arange(context, dtype=torch.float32), speed)
    return torch.stack((angle.cos(), angle.sin()))


def _rotate(x: Tensor, turn: Tensor) -> Tensor:
    """Turn the pairs (i, i + D/2) of x (B H T D) by their position's angle."""
    cos, sin = turn[0], turn[1]  # T D/2
    left, right = x.chunk(2, dim=-1)
    return torch.cat((left * cos - right * sin, right * cos + left * sin), dim=-1)
