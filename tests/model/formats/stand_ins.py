"""Three small GPTs written down apart from `model/`, as the projects write them whose files are to be opened.

Plain sums, one head after the other, no attention kernel, no cache: what `model/` computes has to come out the same.
All are random, with every parameter large enough to matter.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CHARACTERS = list(
    "\n !\"$%&'()*,-./0123456789:;?ABCDEFGHIJKLMNOPQRSTUVWXYZ[]abcdefghijklmnopqrstuvwxyz{}àéíñóôúü–‘’“”…€œçèêë"
)


def randomise(module: nn.Module, seed: int = 3) -> nn.Module:
    """Every parameter random; in eval mode."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn_like(parameter) * (0.3 if parameter.dim() == 1 else 0.08))
        for name, parameter in module.named_parameters():
            if name.endswith("weight") and parameter.dim() == 1:  # layer norms
                parameter.add_(1)
    return module.eval()


# ---- lyrics: a module for every head ------------------------------------------------------------------------------


class LyricsHead(nn.Module):
    def __init__(self, width: int, size: int) -> None:
        super().__init__()
        self.query_layer = nn.Linear(width, size, bias=False)
        self.key_layer = nn.Linear(width, size, bias=False)
        self.value_layer = nn.Linear(width, size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.query_layer(x), self.key_layer(x), self.value_layer(x)
        out = torch.zeros_like(query)
        for here in range(x.shape[1]):
            scores = (key[:, : here + 1] * query[:, here, None]).sum(-1) / math.sqrt(query.shape[-1])
            out[:, here] = (torch.softmax(scores, -1)[..., None] * value[:, : here + 1]).sum(1)
        return out


class LyricsHeads(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention_heads = nn.ModuleList(LyricsHead(width, width // heads) for _ in range(heads))
        self.compute = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.compute(torch.cat([head(x) for head in self.attention_heads], -1))
        return out


class LyricsFeed(nn.Module):
    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.first_linear_layer = nn.Linear(width, inner)
        self.second_linear_layer = nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.second_linear_layer(self.first_linear_layer(x).clamp(min=0))
        return out


class LyricsBlock(nn.Module):
    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.mhsa = LyricsHeads(width, heads)
        self.vanilla_nn = LyricsFeed(width, inner)
        self.layer_norm_one = nn.LayerNorm(width)
        self.layer_norm_two = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.mhsa(self.layer_norm_one(x))
        out: Tensor = x + self.vanilla_nn(self.layer_norm_two(x))
        return out


class LyricsGPT(nn.Module):
    """Vocabulary 104, context 128, width 252, 6 blocks of 6 heads, unless said otherwise: 174 tensors."""

    def __init__(self, vocab: int = 104, context: int = 128, width: int = 252, blocks: int = 6, heads: int = 6) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(vocab, width)
        self.pos_embedding = nn.Embedding(context, width)
        self.transformer_blocks = nn.Sequential(*(LyricsBlock(width, heads, 4 * width) for _ in range(blocks)))
        self.layer_norm_three = nn.LayerNorm(width)
        self.vocab_projection = nn.Linear(width, vocab)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.token_embedding(ids) + self.pos_embedding(torch.arange(ids.shape[1]))
        out: Tensor = self.vocab_projection(self.layer_norm_three(self.transformer_blocks(x)))
        return out


def small_lyrics(vocab: int = 104) -> nn.Module:
    """The same architecture, quick to generate with."""
    return randomise(LyricsGPT(vocab=vocab, context=16, width=12, blocks=2, heads=3))


# ---- Shakespeare: one matrix for all heads, the mask saved with it -----------------------------------------------


class ShakespeareAttention(nn.Module):
    def __init__(self, width: int, heads: int, context: int) -> None:
        super().__init__()
        self.heads = heads
        self.register_buffer("mask", torch.tril(torch.ones(context, context)))
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.lin = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        T, C = x.shape[1:]
        size = C // self.heads
        allowed = self.get_buffer("mask")[:T, :T] == 1
        outs = []
        for head in range(self.heads):
            part = slice(head * size, (head + 1) * size)
            scores = torch.einsum("btd,bsd->bts", self.query(x)[..., part], self.key(x)[..., part]) / size**0.5
            weights = scores.masked_fill(~allowed, float("-inf")).softmax(-1)
            outs.append(torch.einsum("bts,bsd->btd", weights, self.value(x)[..., part]))
        out: Tensor = self.lin(torch.cat(outs, -1))
        return out


class ShakespeareFeed(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer_1 = nn.Linear(width, 4 * width)
        self.layer_2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer_2(F.relu(self.layer_1(x)))
        return out


class ShakespeareBlock(nn.Module):
    def __init__(self, width: int, heads: int, context: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attention = ShakespeareAttention(width, heads, context)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = ShakespeareFeed(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.ln_1(x))
        out: Tensor = x + self.mlp(self.ln_2(x))
        return out


class ShakespeareGPT(nn.Module):
    """Vocabulary 256, width 256, 6 blocks of 4 heads, context 32, unless said otherwise."""

    def __init__(self, vocab: int = 256, context: int = 32, width: int = 256, blocks: int = 6, heads: int = 4) -> None:
        super().__init__()
        self.inp_emb = nn.Embedding(vocab, width)
        self.pos_emb = nn.Embedding(context, width)
        self.blocks = nn.ModuleList(ShakespeareBlock(width, heads, context) for _ in range(blocks))
        self.ln_final = nn.LayerNorm(width)
        self.last = nn.Linear(width, vocab)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.inp_emb(ids) + self.pos_emb(torch.arange(ids.shape[1]))
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.last(self.ln_final(x))
        return out


# ---- GPT-2's names with torch's Linear ----------------------------------------------------------------------------


class NanoBlock(nn.Module):
    def __init__(self, width: int, heads: int, bias: bool) -> None:
        super().__init__()
        self.heads = heads
        self.ln_1 = nn.LayerNorm(width, bias=bias)
        self.attn = nn.ModuleDict(
            {"c_attn": nn.Linear(width, 3 * width, bias=bias), "c_proj": nn.Linear(width, width, bias=bias)}
        )
        self.ln_2 = nn.LayerNorm(width, bias=bias)
        self.mlp = nn.ModuleDict(
            {"c_fc": nn.Linear(width, 4 * width, bias=bias), "c_proj": nn.Linear(4 * width, width, bias=bias)}
        )

    def forward(self, x: Tensor) -> Tensor:
        T, C = x.shape[1:]
        size = C // self.heads
        q, k, v = self.attn["c_attn"](self.ln_1(x)).split(C, -1)
        future = torch.arange(T)[:, None] < torch.arange(T)[None]
        outs = []
        for head in range(self.heads):
            part = slice(head * size, (head + 1) * size)
            scores = (q[..., part] @ k[..., part].mT / math.sqrt(size)).masked_fill(future, float("-inf"))
            outs.append(scores.softmax(-1) @ v[..., part])
        x = x + self.attn["c_proj"](torch.cat(outs, -1))
        out: Tensor = x + self.mlp["c_proj"](F.gelu(self.mlp["c_fc"](self.ln_2(x))))
        return out


class NanoGPT(nn.Module):
    """GPT-2's architecture with its embedding used again as the head."""

    def __init__(self, vocab: int, context: int, width: int, blocks: int, heads: int, bias: bool) -> None:
        super().__init__()
        self.shape = {
            "n_layer": blocks, "n_head": heads, "n_embd": width, "block_size": context, "bias": bias,
            "vocab_size": vocab, "dropout": 0.0,
        }  # fmt: skip
        self.transformer = nn.ModuleDict(
            {
                "wte": nn.Embedding(vocab, width),
                "wpe": nn.Embedding(context, width),
                "h": nn.Sequential(*(NanoBlock(width, heads, bias) for _ in range(blocks))),
                "ln_f": nn.LayerNorm(width, bias=bias),
            }
        )
        self.lm_head = nn.Linear(width, vocab, bias=False)
        self.lm_head.weight = self.get_parameter("transformer.wte.weight")

    def forward(self, ids: Tensor) -> Tensor:
        x = self.transformer["wte"](ids) + self.transformer["wpe"](torch.arange(ids.shape[1]))
        out: Tensor = self.lm_head(self.transformer["ln_f"](self.transformer["h"](x)))
        return out

    def checkpoint(self, prefix: str = "_orig_mod.") -> dict[str, Any]:
        """What is saved of a run of 2,000 steps: compiled names, an optimizer's state, figures."""
        return {
            "model": {prefix + name: value for name, value in self.state_dict().items()},
            "optimizer": {"state": {0: {"exp_avg": torch.zeros(4), "step": torch.tensor(7.0)}}, "param_groups": []},
            "model_args": self.shape,
            "iter_num": 2000,
            "best_val_loss": torch.tensor(1.886),
            "config": {"dataset": "shakespeare_char", "device": "cpu"},
        }


def save(model: nn.Module, path: Path) -> Path:
    """As such projects save: torch.save of the state dict."""
    torch.save(model.state_dict(), path)
    return path
