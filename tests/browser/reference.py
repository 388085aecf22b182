"""The numbers that the page must show, computed apart from the app: trace() and a softmax written out here.

Also the models that the suite plants in the server's folder of runs, so that what it needs (a window of eight tokens,
a text that ends, a loss curve known to the digit) is there whatever model is shipped.
"""

import hashlib
import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import torch

from model import GPT, GPTConfig, Tokenizer, Trace, open_checkpoint, save_checkpoint, trace
from model.vocabulary import Vocabulary
from training.config import Recipe, TrainConfig
from training.events import Evaluated, Finished, Sampled, Started, Stepped
from training.runs import RunFolder

ROOT = Path(__file__).resolve().parents[2]

SHORT_MEMORY = "short memory"
SHORT_MEMORY_RUN = "short-memory-0123456789abcdef0123456789abcdef"
SHORT_MEMORY_TEXT = "a bad cab, a fed bee;\nfade a bead. "
SHORT_MEMORY_OPENING = "a bad"
FULL_STOP = "nothing to say"
FULL_STOP_RUN = "nothing-to-say-0123456789abcdef0123456789abcdef"

MARKUP = (
    "<script>window.hacked=1;alert(1)</script>",
    '<img src=x onerror="window.hacked=1;alert(1)">',
    "<svg/onload=window.hacked=1>",
    '"><iframe srcdoc="<script>parent.hacked=1</script>">',
    "</textarea></pre><b id=planted>bold</b>",
    "${window.hacked=1}",
    "${alert(1)}",
    "{{window.hacked=1}}",
    "{{x}} {% raw %} <%= 1 %>",
    "javascript:window.hacked=1",
    "[click](javascript:alert(1)) ![x](x)",
    "`window.hacked=1`",
    r"\u0041 \u \x41 \0",
    "'; DROP TABLE runs; --",
)
MARKUP_NAME = "<b id=planted>marked up</b>"
MARKUP_RUN = "marked-up-0123456789abcdef0123456789abcdef"


class Chance(NamedTuple):
    """A token's probability before and after the settings, and the setting that cut it ("" where it is kept)."""

    raw: float
    p: float
    cut: str


class Draw(NamedTuple):
    """The token at u, which covers low <= u < high of the tokens laid side by side, likeliest first."""

    token: int
    u: float
    low: float
    high: float


@dataclass(frozen=True)
class Reference:
    """A checkpoint opened beside the server."""

    path: Path

    @cached_property
    def model(self) -> GPT:
        return open_checkpoint(self.path).model

    @cached_property
    def tokenizer(self) -> Tokenizer:
        tokenizer = open_checkpoint(self.path).tokenizer
        assert tokenizer is not None
        return tokenizer

    @cached_property
    def meta(self) -> dict[str, Any]:
        return open_checkpoint(self.path).meta

    @property
    def context(self) -> int:
        return self.model.config.context

    def start(self, ids: list[int]) -> int:
        """Position of the first token that the model sees of a text."""
        return max(0, len(ids) - self.context)

    def trace(self, ids: list[int]) -> Trace:
        """What the model computes over the last `context` tokens."""
        return trace(self.model, ids[self.start(ids) :])

    def weight(self, ids: list[int], layer: int, head: int, query: int, key: int) -> float:
        """One attention weight, at positions of the whole text."""
        start = self.start(ids)
        return float(self.trace(ids).patterns[layer, head, query - start, key - start])

    def chances(
        self, ids: list[int], temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0, min_p: float = 0.0
    ) -> list[Chance]:
        """Every token's chance to come after `ids`, by id."""
        logits = self.trace(ids).logits[-1].tolist()
        raw = softmax(logits)
        best = max(range(len(raw)), key=raw.__getitem__)
        if temperature == 0:
            tempered = [float(token == best) for token in range(len(raw))]
        else:
            tempered = softmax([value / temperature for value in logits])
        cut = [""] * len(raw)
        order = sorted(range(len(raw)), key=lambda token: -tempered[token])
        if top_k:
            for token in order[top_k:]:
                cut[token] = "top-k"
        if top_p < 1:
            kept = [token for token in order if not cut[token]]
            whole, held = math.fsum(tempered[token] for token in kept), 0.0
            for token in kept:
                if held / whole >= top_p:
                    cut[token] = "top-p"
                held += tempered[token]
        for token in order:
            if not cut[token] and tempered[token] < min_p * max(tempered):
                cut[token] = "min-p"
        left = math.fsum(p for p, why in zip(tempered, cut, strict=True) if not why)
        return [Chance(raw[i], 0.0 if cut[i] else tempered[i] / left, cut[i]) for i in range(len(raw))]

    def draw(self, ids: list[int], seed: int, **settings: Any) -> Draw:
        """The token that comes after `ids` with this seed."""
        chances = self.chances(ids, **settings)
        digest = hashlib.sha256(f"{seed}:{len(ids)}".encode()).digest()
        u = (int.from_bytes(digest[:8], "big") >> 11) / 2**53
        low = 0.0
        order = [token for token in sorted(range(len(chances)), key=lambda t: -chances[t].p) if chances[token].p > 0]
        for token in order:
            high = low + chances[token].p
            if u < high:
                return Draw(token, u, low, high)
            low = high
        return Draw(order[-1], u, low - chances[order[-1]].p, low)

    def write(self, ids: list[int], count: int, seed: int, **settings: Any) -> list[int]:
        """`ids` with `count` drawn tokens after them, fewer where the model ends its text."""
        ids = list(ids)
        for _ in range(count):
            ids.append(self.draw(ids, seed, **settings).token)
            if ids[-1] == self.tokenizer.end_of_text:
                break
        return ids


def softmax(logits: list[float]) -> list[float]:
    """exp(z) / sum exp(z), in double precision."""
    most = max(logits)
    powers = [math.exp(value - most) for value in logits]
    whole = math.fsum(powers)
    return [power / whole for power in powers]


@lru_cache(maxsize=8)
def reference(path: Path) -> Reference:
    """The checkpoint at a path, opened once."""
    return Reference(path)


def of_ref(ref: str, runs: Path) -> Reference:
    """The model that the page calls by this ref."""
    kind, _, name = ref.partition(":")
    return reference((ROOT / "weights" if kind == "shipped" else runs) / name)


# ---- planted models -----------------------------------------------------------------------------------------------


def losses() -> list[float]:
    """The planted run's training loss after steps 1, 2, ..., 400: a fall with a ripple."""
    return [0.5 + 3.5 * math.exp(-step / 80) + 0.05 * math.sin(step) for step in range(1, 401)]


def evaluations() -> list[Evaluated]:
    """The planted run's measurements; the third is its best."""
    values = ((100, 1.75, 1.9, 2.7), (200, 0.9, 1.31, 1.87), (300, 0.6, 1.25, 1.79), (400, 0.55, 1.4, 2.01))
    return [Evaluated(s, s / 50, train, val, bits, best=s <= 300) for s, train, val, bits in values]


def plant(runs: Path) -> None:
    """Put the suite's own runs into the folder that the server is about to serve."""
    torch.set_num_threads(1)
    _plant_short_memory(runs)
    _plant_full_stop(runs)
    _plant_markup(runs)


def _plant_short_memory(runs: Path) -> None:
    tokenizer = Tokenizer.char(SHORT_MEMORY_TEXT)
    shape = {"layers": 2, "heads": 3, "width": 24, "context": 8}
    recipe = Recipe(tokenizer="char", model=shape, train=TrainConfig(steps=400))
    corpus = {
        "name": "planted.txt", "source": "file", "characters": len(SHORT_MEMORY_TEXT), "notes": [],
        "opening": SHORT_MEMORY_OPENING,
    }  # fmt: skip
    folder = RunFolder.create(runs / SHORT_MEMORY_RUN, SHORT_MEMORY, recipe, corpus)
    measured = evaluations()
    folder.append(Started(0, 0.0, 400, 1, "cpu"))
    for step, loss in enumerate(losses(), 1):
        folder.append(Stepped(step, step / 50, loss, 0.001, 1.0, 1000.0))
        if step % 100 == 0:
            folder.append(measured[step // 100 - 1])
            folder.append(Sampled(step, step / 50, "", f"sample of step {step}"))
    folder.append(Finished(400, 8.0, "done"))
    folder.close()
    meta = {"name": SHORT_MEMORY, "corpus": corpus, "step": 300, "loss": 0.6, "val_loss": 1.25, "bits_per_byte": 1.79}
    save_checkpoint(folder.checkpoint("best"), lively(recipe.model_config(tokenizer.vocab_size)), tokenizer, meta)


def _plant_full_stop(runs: Path) -> None:
    """A model that always ends its text."""
    tokenizer = Tokenizer.bpe("the end is the end of the end. " * 20, 262)
    shape = {"layers": 1, "heads": 1, "width": 8, "context": 16, "tied_head": False, "head_bias": True}
    recipe = Recipe(tokenizer="bpe", vocab_size=262, model=shape, train=TrainConfig(steps=1))
    corpus = {"name": "planted.txt", "source": "file", "characters": 1, "notes": []}
    folder = RunFolder.create(runs / FULL_STOP_RUN, FULL_STOP, recipe, corpus)
    folder.append(Finished(1, 0.1, "done"))
    folder.close()
    model = lively(recipe.model_config(262))
    assert tokenizer.end_of_text is not None
    with torch.no_grad():
        model.head.bias[tokenizer.end_of_text] += 100
    save_checkpoint(folder.checkpoint("best"), model, tokenizer, {"name": FULL_STOP, "step": 1, "loss": 2.0})


def _plant_markup(runs: Path) -> None:
    """A model whose vocabulary is hostile: each of MARKUP is one token."""
    tokenizer = Tokenizer(Vocabulary("word", (*MARKUP, " ", "a", "b")))
    shape = {"layers": 1, "heads": 2, "width": 16, "context": 32}
    recipe = Recipe(tokenizer="word", vocab_size=tokenizer.vocab_size, model=shape, train=TrainConfig(steps=1))
    corpus = {"name": MARKUP_NAME, "source": "file", "characters": 1, "notes": []}
    folder = RunFolder.create(runs / MARKUP_RUN, MARKUP_NAME, recipe, corpus)
    folder.append(Finished(1, 0.1, "done"))
    folder.close()
    model = lively(recipe.model_config(tokenizer.vocab_size))
    save_checkpoint(folder.checkpoint("best"), model, tokenizer, {"name": MARKUP_NAME, "step": 1, "loss": 2.0})


def lively(config: GPTConfig) -> GPT:
    """An untrained model whose heads differ: fresh weights of the usual size attend almost evenly."""
    generator = torch.Generator().manual_seed(5)
    model = GPT(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() == 2:
                weight.normal_(0, 0.5, generator=generator)
    return model
