"""What a model in training writes: drawn from its own words, by the seed, without a trace in the training."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from model.decoding import generate
from model.sampling import uniform
from tests.training.tiny import CHAR, TEXT, tiny_config, tiny_corpus, tiny_data, tiny_model, tiny_recipe
from training.events import Sampled, Stepped
from training.loop import sample, train_steps
from training.setup import set_up


def test_a_sample_is_drawn_from_the_models_own_words_at_temperature_point_eight() -> None:
    model = tiny_model(dropout=0.5)
    with torch.no_grad():
        model.token_embedding.weight.mul_(8)  # a model with opinions
    for prompt, ids in (("the c", CHAR.encode("the c")), ("", CHAR.encode("\n")), ("Q&t", CHAR.encode("t"))):
        config = tiny_config(sample_prompt=prompt, sample_tokens=20, seed=11)
        written = list(ids)
        model.eval()
        for _ in range(20):
            with torch.no_grad():
                logits = model(torch.tensor([written[-8:]]))[0, -1].double()
            p, order = torch.softmax(logits / 0.8, -1).sort(descending=True, stable=True)
            edge = int((p.cumsum(0) <= uniform(11, len(written))).sum())
            written.append(int(order[edge]))
        for training in (True, False):
            model.train(training)
            assert sample(model, CHAR, config, 20) == CHAR.decode(written[len(ids) :])
            assert all(module.training is training for module in model.modules())


def test_a_sample_is_written_with_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def counting(*arguments: Any) -> Iterator[int]:
        for token in generate(*arguments):
            seen.append(torch.get_num_threads())
            yield token

    monkeypatch.setattr("training.loop.generate", counting)
    torch.set_num_threads(2)
    sample(tiny_model(), CHAR, tiny_config(), 3)
    assert seen == [1, 1, 1]
    assert torch.get_num_threads() == 2


def test_samples_in_a_run_leave_it_in_training_mode_and_come_from_the_weights_of_their_step() -> None:
    model = tiny_model(dropout=0.2)
    texts = []
    config = tiny_config(steps=3, eval_every=1, sample_every=1, sample_prompt="the ", sample_tokens=50)
    for event in train_steps(model, tiny_data(), config, CHAR):
        if isinstance(event, Stepped | Sampled) and event.step:
            assert model.training
        if isinstance(event, Sampled):
            length = 50 if event.step else 40  # the first is noise, and the first step waits for it
            assert (event.prompt, len(event.text)) == ("the ", length)
            assert event.text == sample(model, CHAR, config, length)
            texts.append(event.text)
    assert len(set(texts)) > 1
    assert set("".join(texts)) <= set(TEXT)


def test_a_prompt_that_the_text_does_not_have_is_said() -> None:
    for prompt, count in (("the é☃", 1), ("the", 0)):
        notes = set_up(tiny_corpus(), tiny_recipe(sample_prompt=prompt)).notes
        assert sum("samples are to begin with" in note and "☃" in note for note in notes) == count
