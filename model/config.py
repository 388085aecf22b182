"""What a GPT is made of: one frozen, validated record, and a few shapes that people know by name."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, get_args

Activation = Literal["gelu", "gelu_tanh", "relu"]
Norm = Literal["pre", "post"]
Positions = Literal["learned", "rotary"]


class ConfigError(ValueError):
    """A configuration that cannot be built; the message names the field and a value that works."""


def _doc(help: str, default: Any) -> Any:
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class GPTConfig:
    """The shape of a decoder-only transformer. Letters: V vocab_size, T context, L layers,
    H heads, C width, F mlp_width.

    Raises ConfigError for anything that cannot be built. The defaults are GPT-2's choices (Radford et al., 2019) at a
    size that trains on a laptop.
    """

    vocab_size: int = field(metadata={"help": "Number of different tokens the model can read and write (V)."})
    context: int = _doc("Longest stretch of tokens the model sees at once (T).", 64)
    layers: int = _doc("Number of blocks, each an attention and a feed-forward part (L).", 4)
    heads: int = _doc("Attention heads in each block; the width is shared out among them (H).", 4)
    width: int = _doc("Numbers that describe one token on its way through the model (C).", 128)
    mlp_width: int | None = _doc("Neurons in each feed-forward part (F); 4 x width when left out.", None)
    activation: Activation = _doc("Non-linearity of the neurons: exact GELU, its tanh approximation, or ReLU.", "gelu")
    norm: Norm = _doc("Layer norm before each part (GPT-2) or after it (GPT-1, the 2017 transformer).", "pre")
    positions: Positions = _doc("Learned position vectors, or rotary positions inside the attention (RoPE).", "learned")
    qk_norm: bool = _doc("Queries and keys brought to one length in each head, so that no score can run away.", False)
    dropout: float = _doc("Share of activations dropped while training, 0 to below 1.", 0.0)
    qkv_bias: bool = _doc("Bias on the query, key and value projections.", True)
    out_bias: bool = _doc("Bias on the attention's output projection.", True)
    mlp_bias: bool = _doc("Bias on both feed-forward projections.", True)
    norm_bias: bool = _doc("Bias in the layer norms.", True)
    head_bias: bool = _doc("Bias on the projection to the vocabulary.", False)
    tied_head: bool = _doc("Use the token embedding again as the projection to the vocabulary.", True)
    norm_eps: float = _doc("Small number that keeps layer norm from dividing by zero.", 1e-5)

    def __post_init__(self) -> None:
        if self.mlp_width is None:
            object.__setattr__(self, "mlp_width", 4 * self.width)
        for name in ("vocab_size", "context", "layers", "heads", "width", "mlp_width"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ConfigError(f"{name} is {value!r}; it has to be a whole number of at least 1.")
        if self.width % self.heads:
            what = f"width {self.width} cannot be shared out among {self.heads} heads"
            raise ConfigError(f"{what}: {self._widths_near()}.")
        if self.positions == "rotary" and self.d_head % 2:
            what = f"rotary positions turn pairs of numbers, but each head is {self.d_head} wide"
            raise ConfigError(f"{what}: {self._widths_near()}, or learned positions.")
        for name, choices in (("activation", Activation), ("norm", Norm), ("positions", Positions)):
            if getattr(self, name) not in get_args(choices):
                raise ConfigError(f"{name} is {getattr(self, name)!r}; choose one of {', '.join(get_args(choices))}.")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout is {self.dropout}; it is a share, from 0 to below 1 (0.1 is usual).")
        if self.tied_head and self.head_bias:
            raise ConfigError("head_bias needs a head of its own: set tied_head to false, or head_bias to false.")
        if not self.norm_eps > 0:
            raise ConfigError(f"norm_eps is {self.norm_eps}; it has to be above 0 (1e-5 is usual).")

    def _widths_near(self) -> str:
        """Widths and a number of heads that go with each other, near those that do not."""
        pair = 2 if self.positions == "rotary" else 1
        unit = self.heads * pair
        below = self.width // unit * unit
        said = f"use a width of {f'{below} or ' if below else ''}{below + unit}"
        fitting = [heads for heads in range(1, self.width + 1) if self.width % (heads * pair) == 0]
        if not fitting:
            return said
        heads = min(fitting, key=lambda count: (abs(count - self.heads), count))
        return f"{said}, or {heads} head{'s' if heads > 1 else ''}"

    @property
    def d_head(self) -> int:
        """Width of one head (D)."""
        return self.width // self.heads

    @property
    def d_mlp(self) -> int:
        """Neurons of one feed-forward part (F)."""
        assert self.mlp_width is not None  # filled in __post_init__
        return self.mlp_width

    def parameters(self) -> int:
        """Number of trained parameters of this shape, without building it."""
        C, F, norm = self.width, self.d_mlp, self.width * (1 + self.norm_bias)
        attention = 4 * C * C + 3 * C * self.qkv_bias + C * self.out_bias
        mlp = 2 * C * F + (F + C) * self.mlp_bias
        embeddings = self.vocab_size * C + self.context * C * (self.positions == "learned")
        head = 0 if self.tied_head else self.vocab_size * (C + self.head_bias)
        return embeddings + self.layers * (attention + mlp + 2 * norm) + norm * (self.norm == "pre") + head

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> GPTConfig:
        """The config that `to_dict` wrote. Raises ConfigError naming fields that are unknown or missing."""
        known = {f.name for f in fields(cls)}
        if unknown := sorted(set(values) - known):
            raise ConfigError(f"unknown field {', '.join(unknown)}; a GPTConfig has {', '.join(sorted(known))}.")
        if "vocab_size" not in values:
            raise ConfigError("vocab_size is missing: say how many tokens the vocabulary has.")
        return cls(**values)


SIZES: dict[str, dict[str, int]] = {
    "song": {"layers": 2, "heads": 2, "width": 32, "context": 6},
    "small": {"layers": 4, "heads": 4, "width": 128, "context": 64},
    "shakespeare": {"layers": 6, "heads": 4, "width": 256, "context": 32},
    "lyrics": {"layers": 6, "heads": 6, "width": 252, "context": 128},
    "gpt2": {"layers": 12, "heads": 12, "width": 768, "context": 1024},
}
"""Shapes by name, as keyword arguments of GPTConfig."""
