"""What of a held-out text the training part never has, counted by hand."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch

from model import GPT, Tokenizer
from training.config import Recipe, TrainConfig
from training.corpus import from_text
from training.data import Data, build_tokenizer, prepare
from training.events import Started
from training.loop import train_steps
from training.unseen import told, unseen

TEXT = "the cat sat on the mat\n" * 60 + "the zebra sat on the mat\n" * 6


def started(kind: str, **changes: float) -> tuple[Started, Data, Tokenizer]:
    model = {"layers": 1, "heads": 1, "width": 8, "context": 4}
    train = TrainConfig(steps=1, val_fraction=changes.get("val_fraction", 0.1), sample_every=0)
    recipe = Recipe(tokenizer=kind, vocab_size=265, model=model, train=train)  # type: ignore[arg-type]
    corpus = from_text(TEXT, "zebras.txt")
    tokenizer = build_tokenizer(corpus, recipe)
    data = prepare(corpus, tokenizer, recipe)
    events = train_steps(GPT(recipe.model_config(tokenizer.vocab_size)), data, train, tokenizer)
    first = next(iter(events))
    assert isinstance(first, Started)
    return first, data, tokenizer


def test_words_of_the_held_out_part_alone_are_told_with_what_it_costs_to_spell_them() -> None:
    first, data, tokenizer = started("word")
    [zebra] = [number for number in range(tokenizer.vocab_size) if "zebra" in tokenizer.piece(number).text]
    assert zebra not in data.train.tolist()
    targets = [int(t) for _, batch in data.held_out(TrainConfig().eval_tokens, 8) for t in batch.flatten() if t >= 0]
    size = sum(len(tokenizer.piece(t).raw) for t in targets)
    times, raw = targets.count(zebra), tokenizer.piece(zebra).raw
    letters = Counter(byte for t in data.train.tolist()[1:] for byte in tokenizer.piece(t).raw)
    each = [-math.log2((letters[byte] + 1) / (letters.total() + 256)) for byte in raw]
    assert times
    assert first.unseen == pytest.approx(times * len(raw) / size)
    assert first.spelling == pytest.approx(times * sum(each) / size)
    assert told(0.0821, 0.367).startswith("8.2% of the held-out text is in tokens that")


@pytest.mark.parametrize("changes", [{"val_fraction": 0.0}, {}])
def test_nothing_is_told_where_nothing_was_given_away(changes: dict[str, float]) -> None:
    """Byte pairs are learnt from the training part; and where nothing is held out, nothing can be new."""
    first, _, _ = started("word" if changes else "bpe", **changes)
    assert (first.unseen, first.spelling) == (None, None)


def test_a_character_counts_as_well_and_marks_do_not() -> None:
    tokenizer = Tokenizer.char("ab", end_of_text=True)
    a, b = tokenizer.encode("ab")
    trained, held_out = torch.zeros(3, dtype=torch.int64), torch.ones(3, dtype=torch.int64)
    trained[a] = 3
    found = unseen(trained, held_out, tokenizer)
    assert found is not None
    assert found.share == pytest.approx(1 / 2), "the mark has no bytes"
    assert found.spelling == pytest.approx(math.log2(259) / 2)
    trained[b] = 1
    assert unseen(trained, held_out, tokenizer) is None
