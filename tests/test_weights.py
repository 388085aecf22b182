"""The shipped model is what its card says it is."""

import hashlib
import math
from pathlib import Path

import pytest
import torch

from model import open_checkpoint, trace
from model.checkpoint import Checkpoint
from model.trace import head_scores

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "weights" / "tales"
CORPUS = (ROOT / "assets" / "corpora" / "tales.txt").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def shipped() -> Checkpoint:
    return open_checkpoint(FOLDER)


def test_the_card_names_the_corpus_as_it_is_and_the_measured_loss(shipped: Checkpoint) -> None:
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert hashlib.sha256(CORPUS.encode()).hexdigest() in card
    assert f"{len(CORPUS):,} characters" in card
    assert f"{sum(p.numel() for p in shipped.model.parameters()):,}" in card
    assert f"{shipped.meta['val_loss']:.4f} nats per token, {shipped.meta['bits_per_byte']:.4f} bits per byte" in card


def test_it_predicts_the_held_out_tales_as_well_as_it_says(shipped: Checkpoint) -> None:
    """Its loss on the last tenth, computed afresh over every whole window of it."""
    assert shipped.tokenizer is not None
    held_out = CORPUS[-len(CORPUS) // 10 :]
    ids = torch.tensor(shipped.tokenizer.encode(held_out))
    context = shipped.config.context
    windows = ids[: (len(ids) - 1) // context * context + 1].unfold(0, context + 1, context)
    with torch.no_grad():
        log_p = shipped.model(windows[:, :-1]).log_softmax(-1)
    nats = -log_p.gather(-1, windows[:, 1:, None]).mean().item()
    size = sum(len(shipped.tokenizer.piece(token).raw) for token in windows[:, 1:].flatten().tolist())
    assert nats == pytest.approx(shipped.meta["val_loss"], abs=0.02)  # the card's figure is of most of these windows
    bits = nats * windows[:, 1:].numel() / math.log(2) / size
    assert bits == pytest.approx(shipped.meta["bits_per_byte"], abs=0.01)


def test_it_has_heads_worth_looking_at(shipped: Checkpoint) -> None:
    """In a tale that it has not seen, some head looks back one token, and some finds what followed a token before."""
    assert shipped.tokenizer is not None
    ids = shipped.tokenizer.encode(CORPUS[-3000:-2500])[: shipped.config.context]
    assert len(ids) > 100
    scores = head_scores(trace(shipped.model, ids).patterns, torch.tensor(ids))
    chance = sum(1 / (i + 1) for i in range(1, len(ids))) / (len(ids) - 1)  # of a head that looks everywhere alike
    assert scores["previous"].max() > 2 * chance
    assert scores["induction"].max() > 2 * chance
