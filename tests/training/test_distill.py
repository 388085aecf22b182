"""A teacher's soft targets, and embedding rows of another model."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from model import Checkpoint, ConfigError, Tokenizer, open_checkpoint, save_checkpoint
from tests.training.tiny import CHAR, TEXT, finish, tiny_config, tiny_corpus, tiny_data, tiny_model, tiny_recipe
from training.corpus import about
from training.data import MASKED
from training.distill import Teacher, copy_embeddings, shared_rows
from training.events import Copied, Evaluated, Stepped
from training.loop import train_steps
from training.runs import RunFolder
from training.setup import set_up
from training.trainer import Trainer


def saved(folder: Path, tokenizer: Tokenizer | None = CHAR, seed: int = 4, **shape: Any) -> Path:
    vocab_size = tokenizer.vocab_size if tokenizer else 20
    save_checkpoint(folder, tiny_model(seed, vocab_size, **shape), tokenizer, {})
    return folder


def opened(folder: Path, tokenizer: Tokenizer | None = CHAR, seed: int = 4, **shape: Any) -> Checkpoint:
    return open_checkpoint(saved(folder, tokenizer, seed, **shape))


def test_the_soft_loss_is_the_divergence_from_the_teacher_at_the_temperature(tmp_path: Path) -> None:
    """Against a plain loop over the positions that count."""
    student = tiny_model(1)
    teacher = Teacher.of(opened(tmp_path), CHAR, 8, share=0.5, temperature=3.0)
    inputs, targets = tiny_data().batch(3, torch.Generator().manual_seed(0))
    targets = targets.clone()
    targets[0, 4:] = MASKED
    found = teacher.loss(inputs, student(inputs), targets).item()
    total, count = 0.0, 0
    for row in range(3):
        for place in range(4 if row == 0 else 8):
            p = [math.exp(x / 3) for x in teacher.model(inputs)[row, place].double().tolist()]
            q = [math.exp(x / 3) for x in student(inputs)[row, place].double().tolist()]
            p, q = [x / sum(p) for x in p], [x / sum(q) for x in q]
            total += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
            count += 1
    assert found == pytest.approx(9 * total / count, rel=1e-4)
    assert teacher.loss(inputs, teacher.model(inputs), targets).item() == pytest.approx(0, abs=1e-6)


def test_the_share_mixes_the_two_losses(tmp_path: Path) -> None:
    """share 0 trains as without a teacher, to the bit; share 1 follows the teacher alone."""
    config = tiny_config(steps=4, eval_every=9)
    checkpoint = opened(tmp_path)

    def trained(share: float | None) -> tuple[list[Stepped], dict[str, torch.Tensor]]:
        model = tiny_model(1)
        teacher = None if share is None else Teacher.of(checkpoint, CHAR, 8, share, 2.0)
        events = list(train_steps(model, tiny_data(), config, CHAR, clock=lambda: 0.0, teacher=teacher))
        return [event for event in events if isinstance(event, Stepped)], model.state_dict()

    plain, without = trained(None)
    none, zero = trained(0.0)
    _, half = trained(0.5)
    assert all(torch.equal(without[name], zero[name]) for name in without)
    assert [event.loss for event in plain] == [event.loss for event in none]
    assert all(event.soft_loss is None for event in plain)
    assert all(event.soft_loss is not None for event in none)
    assert any(not torch.equal(half[name], zero[name]) for name in half)


def test_a_student_follows_its_teacher_even_where_the_text_says_nothing(tmp_path: Path) -> None:
    checkpoint = opened(tmp_path)
    with torch.no_grad():
        checkpoint.model.token_embedding.weight.mul_(6)  # a teacher with opinions
    teacher = Teacher.of(checkpoint, CHAR, 8, share=1.0, temperature=1.0)
    config = tiny_config(steps=60, eval_every=99, learning_rate=2e-2)
    events = list(train_steps(tiny_model(1), tiny_data(), config, CHAR, teacher=teacher))
    soft = [event.soft_loss for event in events if isinstance(event, Stepped)]
    first, last = soft[0], soft[-1]
    assert first is not None
    assert last is not None
    assert last < 0.5 * first


def test_a_teacher_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="another vocabulary"):
        Teacher.of(opened(tmp_path / "a", Tokenizer.char(TEXT + "!")), CHAR, 8, 0.5, 2.0)
    with pytest.raises(ConfigError, match="sees 4 tokens at once and the model to be trained 8"):
        Teacher.of(opened(tmp_path / "b", context=4), CHAR, 8, 0.5, 2.0)


def test_rows_are_shared_by_bytes_and_marks_only_with_marks() -> None:
    words, marked = Tokenizer.word("the cat sat"), Tokenizer.char("cats", end_of_text=True)
    donor = Tokenizer.char("act the hat", end_of_text=True)
    assert [(marked.piece(a).raw, donor.piece(b).raw) for a, b in shared_rows(marked, donor)] == [
        (marked.piece(a).raw, marked.piece(a).raw) for a, _ in shared_rows(marked, donor)
    ]
    names = {marked.piece(a).text for a, _ in shared_rows(marked, donor)}
    assert {"a", "c", "t"} <= names
    assert (marked.end_of_text, donor.end_of_text) in shared_rows(marked, donor)
    assert {words.piece(a).text for a, _ in shared_rows(words, donor)} == {" "}
    spelt = Tokenizer.word("<|endoftext|> a")  # the mark written out in a text is not the mark
    assert all(b != donor.end_of_text for _, b in shared_rows(spelt, donor))


def test_shared_rows_are_copied_and_the_others_stay(tmp_path: Path) -> None:
    donor = opened(tmp_path, Tokenizer.char("abcdefgh the cat"), seed=9)
    model = tiny_model(1)
    before = model.token_embedding.weight.detach().clone()
    copied = copy_embeddings(model, CHAR, donor)
    assert {CHAR.piece(i).text for i in copied} == set(TEXT) & set("abcdefgh the cat")
    assert donor.tokenizer is not None
    lengths = model.token_embedding.weight[copied].norm(dim=1)
    assert lengths.mean().item() == pytest.approx(before[copied].norm(dim=1).mean().item(), rel=1e-5)
    for number in range(CHAR.vocab_size):
        row = model.token_embedding.weight[number]
        if number in copied:
            theirs = donor.model.token_embedding.weight[donor.tokenizer.encode(CHAR.piece(number).text)[0]]
            assert torch.cosine_similarity(row, theirs, dim=0).item() == pytest.approx(1, abs=1e-5)
        else:
            assert torch.equal(row, before[number])
    with pytest.raises(ConfigError, match="width 8 cannot be copied into a model of width 16: set the width to 8"):
        copy_embeddings(model, CHAR, opened(tmp_path / "narrow", width=8))
    with pytest.raises(ConfigError, match="share no token"):
        copy_embeddings(model, CHAR, opened(tmp_path / "other", Tokenizer.char("XYZ")))
    with pytest.raises(ConfigError, match="no tokenizer"):
        copy_embeddings(model, CHAR, opened(tmp_path / "mute", None))


def test_a_run_with_both_says_what_came_of_it(tmp_path: Path) -> None:
    """Through set_up and the trainer: rows and their tokens in metrics.jsonl, the teacher's loss at every step."""
    teacher = saved(tmp_path / "teacher", width=24, layers=2)
    donor = saved(tmp_path / "donor", Tokenizer.char("the cat"), seed=9)
    corpus = tiny_corpus()
    recipe = tiny_recipe(teacher=str(teacher), embeddings_from=str(donor), tokenizer="bpe", vocab_size=300)
    prepared = set_up(corpus, recipe)
    assert (prepared.tokenizer, prepared.recipe.tokenizer) == (CHAR, "char")  # the teacher's vocabulary
    assert prepared.notes == (
        f"A student reads with its teacher's vocabulary: characters, {CHAR.vocab_size}, where the recipe has byte "
        "pairs, 300.",
    )
    trainer = Trainer(RunFolder.create(tmp_path / "run", "run", prepared.recipe, about(corpus)), prepared)
    events = finish(trainer)
    [copied] = [event for event in events if isinstance(event, Copied)]
    assert (copied.rows, copied.of, copied.tokens) == (6, CHAR.vocab_size, sorted(set("the cat")))
    assert all(event.soft_loss is not None for event in events if isinstance(event, Stepped))
    assert [event for event in events if isinstance(event, Evaluated)][-1].val_loss is not None
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["tokens"] for line in lines if line["event"] == "copied"] == [copied.tokens]


def test_the_recipe_of_a_student_says_its_vocabulary(tmp_path: Path) -> None:
    """So that config.yaml is true, and the same again from it is the same."""
    pairs = Tokenizer.bpe(TEXT, 270)
    teacher = saved(tmp_path / "teacher", pairs)
    prepared = set_up(tiny_corpus(), tiny_recipe(teacher=str(teacher)))
    assert (prepared.recipe.tokenizer, prepared.recipe.vocab_size) == ("bpe", pairs.vocab_size)
    assert len(prepared.notes) == 1
    assert set_up(tiny_corpus(), prepared.recipe).notes == ()


def test_models_that_are_not_there_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    for field in ("teacher", "embeddings_from"):
        with pytest.raises(ConfigError, match=f"^{field}: "):
            set_up(tiny_corpus(), tiny_recipe(**{field: str(tmp_path / "nowhere")}))
    narrow = saved(tmp_path / "narrow", width=8)
    with pytest.raises(
        ConfigError, match=r"embeddings_from is a model of width 8, and this one is \d+ wide: set the width to 8\."
    ):
        set_up(tiny_corpus(), tiny_recipe(embeddings_from=str(narrow)))
