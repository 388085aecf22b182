"""A run whose losses and text are known, planted in the server's folder; its model says nothing sensible."""

from pathlib import Path
from typing import Any

import torch
from playwright.sync_api import Page

from model import GPT, GPTConfig, Tokenizer, save_checkpoint
from tests.browser.reference import MARKUP, MARKUP_NAME
from training.baselines import measure
from training.config import Recipe, TrainConfig
from training.events import BaselinesKnown, Evaluated, Finished, Started, Stepped
from training.kept import Texts, keep_text
from training.runs import RunFolder

RUN = "copied-0123456789abcdef0123456789abcdef"
WORDS = "the old grey cat went down to the river and sat there on a stone until the moon came up. "
TEXT = "".join(f"{i}. {WORDS}{MARKUP[i % 3]}\n" for i in range(60))
LEARNT, HELD_OUT = TEXT[:-900], TEXT[-900:]
COPY = "the old grey cat went down to the river and sat there on a stone"
STEPS = 200


UNSEEN, SPELLING = 0.041, 0.2345  # as of words that the training part never has
TRAIN_BYTES = 1.6  # a token of the training part, as of a byte-pair vocabulary; one held out has a byte


def planted(runs: Path) -> RunFolder:
    """The run, as a training would have left it: losses that fall below one baseline after the other."""
    folder = RunFolder(runs / RUN)
    if (folder.path / "config.json").exists():
        return folder
    tokenizer = Tokenizer.char(TEXT)
    shape: dict[str, Any] = {"layers": 1, "heads": 2, "width": 16, "context": 32}
    recipe = Recipe(tokenizer="char", model=shape, train=TrainConfig(steps=STEPS, eval_every=20))
    folder = RunFolder.create(
        folder.path, "copied", recipe, {"name": MARKUP_NAME, "source": "file", "characters": len(TEXT), "notes": []}
    )
    tokenizer.save(folder.path / "tokenizer.json")
    torch.manual_seed(3)
    model = GPT(GPTConfig(vocab_size=tokenizer.vocab_size, **shape)).eval()
    about = {"name": "copied", "run": RUN, "corpus": {"opening": "the old"}, "step": STEPS, "loss": 1.0}
    save_checkpoint(folder.checkpoint("last"), model, tokenizer, about)
    keep_text(folder.path, Texts(LEARNT, HELD_OUT))
    known, ratio = baselines()
    size = model.parameter_count()
    folder.append(Started(0, 0.0, STEPS, size, "cpu", None, None, UNSEEN, SPELLING, TRAIN_BYTES))
    for step in range(STEPS + 1):
        if step:
            folder.append(Stepped(step, step / 10, train_loss(step), 1e-3, 1.0, 100.0))
        if step % 20 == 0:
            loss = val_loss(step)
            folder.append(Evaluated(step, step / 10, train_loss(step) if step else None, loss, loss * ratio, True))
        if step == 1:
            folder.append(BaselinesKnown(1, 0.1, known, {name: value * ratio for name, value in known.items()}))
    folder.append(Finished(STEPS, 20.0, "done"))
    folder.close()
    return folder


def baselines() -> tuple[dict[str, float], float]:
    """Losses of the counting models on the planted text, and bits per byte for a nat per token."""
    tokenizer = Tokenizer.char(TEXT)
    found = measure(
        [tokenizer.encode(LEARNT)], [tokenizer.encode(HELD_OUT)], tokenizer.vocab_size, [1] * tokenizer.vocab_size
    )
    assert found.nats_to_bits is not None
    return found.values, found.nats_to_bits


def val_loss(step: int) -> float:
    return 4.6 * 0.99**step + 0.02


def train_loss(step: int) -> float:
    return 4.5 * 0.985**step


def look_at(page: Page, prompt: str) -> Page:
    page.evaluate("([prompt, ref]) => glass.decoder.open(prompt, ref)", [prompt, f"run:{RUN}"])
    page.wait_for_function("ref => glass.decoder.state.ref === ref && !glass.decoder.state.busy", arg=f"run:{RUN}")
    return page
