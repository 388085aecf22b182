"""Recipes by name: the fast default, the classic one, and the shapes of the reference cases."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from training.cleaning import TWEETS
from training.config import Recipe, TrainConfig

_PLAIN = {"qkv_bias": False, "out_bias": False, "mlp_bias": False, "norm_bias": False}
_IN_MINUTES: dict[str, Any] = {
    "batch_size": 32, "optimizer": "muon", "learning_rate": 3e-3, "muon_learning_rate": 0.02, "warmup_steps": 10,
    "schedule": "linear", "final_lr_share": 0.0,
}  # fmt: skip
_VANILLA = {"activation": "relu", "qkv_bias": False, "tied_head": False, "head_bias": True}


@dataclass(frozen=True)
class Preset:
    """A recipe with the words that offer it: title, and one sentence on what it is for."""

    name: str
    title: str
    sentence: str
    recipe: Recipe
    example: str | None = None
    """The text that goes with it, by its key in explorer/corpora.py: one written for it, or of the Hub's shelf."""


_ALL = (
    Preset(
        "fast",
        "Fast",
        "Rotary positions, QK-norm and the Muon optimizer: readable samples within a minute on a laptop.",
        Recipe(
            tokenizer="char",
            model={
                "layers": 4, "heads": 4, "width": 128, "context": 64, "positions": "rotary", "qk_norm": True, **_PLAIN
            },
            train=TrainConfig(
                steps=1000, batch_size=16, optimizer="muon", learning_rate=7e-3, muon_learning_rate=0.04,
                muon_momentum=0.9, warmup_steps=10, schedule="linear", cooldown_share=0.6, final_lr_share=0.0,
                weight_decay=0.05, precision="auto",
            ),
        ),
    ),
    Preset(
        "classic",
        "Classic GPT-2",
        "GPT-2's own architecture with learned positions, at the size of nanoGPT's recipe for a CPU.",
        Recipe(
            tokenizer="char",
            model={"layers": 4, "heads": 4, "width": 128, "context": 64, **_PLAIN},
            train=TrainConfig(steps=2000, batch_size=12, learning_rate=1e-3, warmup_steps=100, eval_every=250),
        ),
    ),
    Preset(
        "song",
        "One song, word by word",
        "The smallest GPT that works: a few lines of text, whole words, learnt by heart in seconds.",
        Recipe(
            tokenizer="words",
            model={"layers": 2, "heads": 2, "width": 32, "context": 6, **_VANILLA},
            train=TrainConfig(
                steps=1500, batch_size=16, learning_rate=1e-3, warmup_steps=0, schedule="constant", weight_decay=0.01,
                beta2=0.999, val_fraction=0.0, eval_every=300, sample_every=300, sample_tokens=60,
            ),
        ),
        "song",
    ),
    Preset(
        "lyrics",
        "Lyrics, character by character",
        "Six layers of six heads over characters, with dropout: some minutes on two cores.",
        Recipe(
            tokenizer="char",
            model={"layers": 6, "heads": 6, "width": 252, "context": 128, "dropout": 0.2, **_VANILLA},
            train=TrainConfig(steps=250, eval_every=25, sample_every=25, **_IN_MINUTES),
        ),
        "lyrics",
    ),
    Preset(
        "shakespeare",
        "Shakespeare with an own BPE",
        "A byte-pair vocabulary learnt from the text, six layers 256 wide: 5.0 million parameters.",
        Recipe(
            tokenizer="bpe",
            vocab_size=512,
            model={"layers": 6, "heads": 4, "width": 256, "context": 32, **_VANILLA},
            train=TrainConfig(steps=1500, eval_every=150, **_IN_MINUTES),
        ),
        "hub:tiny-shakespeare",
    ),
    Preset(
        "tweets",
        "Short posts, by heart",
        "One sequence a post, closed by its end: the model learns whole posts by heart, and where they stop.",
        Recipe(
            tokenizer="bpe",
            vocab_size=8045,
            cut="documents",
            start_mark=False,
            cleaning=replace(TWEETS, min_words=7),  # six to begin with, and something to go on with
            max_documents=300,
            model={"layers": 4, "heads": 4, "width": 128, "context": 64, "positions": "rotary", **_PLAIN},
            train=TrainConfig(
                steps=1000, batch_size=32, optimizer="muon", learning_rate=3e-3, muon_learning_rate=0.02,
                warmup_steps=20, schedule="linear", final_lr_share=0.0, weight_decay=0.0, val_fraction=0.0,
                eval_every=200, sample_every=200, sample_tokens=60, sample_temperature=0.3, sample_top_k=20,
            ),
        ),
        "posts",
    ),
)  # fmt: skip

PRESETS: dict[str, Preset] = {preset.name: preset for preset in _ALL}


def _gpt2(name: str, size: str, layers: int, heads: int, width: int, rate: float, steps: int) -> Preset:
    """GPT-2 in one of its four sizes, on 20 tokens a parameter (Hoffmann et al., 2022) in batches of half a million,
    with the learning rates of Brown et al., 2020."""
    return Preset(
        name,
        f"GPT-2, {size} parameters",
        f"GPT-2's own shape and vocabulary with {size} parameters, for a GPU or several: docs/scaling.md.",
        Recipe(
            tokenizer="gpt2",
            model={"layers": layers, "heads": heads, "width": width, "context": 1024, "activation": "gelu_tanh"},
            train=TrainConfig(
                steps=steps, batch_size=8, accumulate=64, learning_rate=rate, beta2=0.95, warmup_steps=steps // 20,
                val_fraction=0.01, eval_every=250, eval_tokens=131_072, sample_every=500, precision="auto",
                save_every_s=600.0,
            ),
        ),
    )  # fmt: skip


LARGE: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        _gpt2("gpt2", "124 million", 12, 12, 768, 6e-4, 4_750),
        _gpt2("gpt2-medium", "355 million", 24, 16, 1024, 3e-4, 13_500),
        _gpt2("gpt2-large", "774 million", 36, 20, 1280, 2.5e-4, 29_500),
        _gpt2("gpt2-xl", "1.5 billion", 48, 25, 1600, 2e-4, 59_400),
    )
}
"""For the command line: no browser tab waits for these."""
EVERY = PRESETS | LARGE
DEFAULT = "fast"
