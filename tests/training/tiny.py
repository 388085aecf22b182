"""A text, a model and a recipe so small that a training of some steps takes a moment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from model import GPT, GPTConfig, Tokenizer
from training.config import Recipe, TrainConfig
from training.corpus import Corpus
from training.data import Blocks, prepare
from training.events import Event
from training.trainer import Trainer

TEXT = "the cat sat on the mat and the dog sat on the log.\n" * 40
SHAPE: dict[str, Any] = {"layers": 1, "heads": 2, "width": 16, "context": 8}
CHAR = Tokenizer.char(TEXT)
TRAIN: dict[str, Any] = {
    "steps": 6,
    "batch_size": 4,
    "learning_rate": 1e-2,
    "warmup_steps": 2,
    "eval_every": 3,
    "sample_every": 0,
    "sample_tokens": 12,
    "threads": 1,
    "device": "cpu",
    "snapshots_mb": 0,
}
LONG = 10**6  # steps; such a run never ends by itself within a test
PATIENCE = 60.0  # seconds after which a test gives up; none waits for it to pass
Make = Callable[..., Trainer]


def tiny_config(**changes: Any) -> TrainConfig:
    return TrainConfig(**{**TRAIN, **changes})


def tiny_recipe(**changes: Any) -> Recipe:
    return Recipe(model=SHAPE, train=tiny_config()).with_changes(changes)


def tiny_model(seed: int = 0, vocab_size: int = CHAR.vocab_size, **shape: Any) -> GPT:
    torch.manual_seed(seed)
    return GPT(GPTConfig(vocab_size=vocab_size, **{**SHAPE, **shape}))


def tiny_corpus(text: str = TEXT, documents: tuple[str, ...] | None = None) -> Corpus:
    return Corpus("tiny", text, "paste", "UTF-8", documents=documents)


def tiny_data(text: str = TEXT, tokenizer: Tokenizer = CHAR, context: int = 8, val_fraction: float = 0.1) -> Blocks:
    data = prepare(tiny_corpus(text), tokenizer, tiny_recipe(context=context, val_fraction=val_fraction))
    assert isinstance(data, Blocks)
    return data


def until(trainer: Trainer, kind: type[Event], after: int = 0) -> int:
    """Wait for an event of a kind at or after a cursor; the cursor behind it."""
    for _ in range(int(10 * PATIENCE)):
        over = trainer.over  # asked first: nothing comes after that
        events, _ = trainer.log.since(after)
        for event in events:
            after += 1
            if isinstance(event, kind):
                return after
        if over:
            break
        trainer.log.wait(after, 0.1)
    raise AssertionError(f"no {kind.__name__} came; the last was {trainer.log.tail(1)}")


def finish(trainer: Trainer) -> list[Event]:
    trainer.start()
    assert trainer.join(PATIENCE)
    return trainer.log.since(0)[0]
