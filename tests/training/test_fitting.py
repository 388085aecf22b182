"""Every preset trains on every text, however short; what a person chose is refused and never changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from model import GPTConfig
from tests.training.tiny import TEXT, finish
from training import __main__ as cli
from training.config import Recipe
from training.corpus import Corpus, CorpusError, TooShort, from_text
from training.data import Sequences
from training.fitting import GIVES_WAY, cleaned
from training.presets import PRESETS
from training.runs import RunFolder
from training.setup import set_up
from training.trainer import Trainer

PROSE = (
    "It was the last ferry of the day, and the boy who swept the deck had never once been across. "
    "He knew the far shore by its lights: three in a row for the harbour, one that turned, and a small one that "
    "somebody put out at nine. He had made up a house for it, and a woman in the house, and a dog.\n"
    "On the day that the engine stopped in the middle, he was the only one who was glad. The others looked at the "
    "water. He looked at the small light, which was nearer than it had ever been, and waited for the dog to bark.\n"
)[:500]
TEXTS = {
    "500 of prose": PROSE,
    "60 of prose": PROSE[:60],
    "500 in one line": PROSE.replace("\n", " "),
    "60 without a blank": PROSE.replace(" ", "").replace("\n", "")[:60],
    "500 of Russian": ("Жил-был старик со своею старухой у самого синего моря. " * 10)[:500],
    "500 of Chinese": ("天地玄黃宇宙洪荒日月盈昃辰宿列張寒來暑往秋收冬藏" * 21)[:500],
    "60 in short lines": "a b\nc d\ne f\ng h\n" * 4,
    "the same words": "na " * 20 + "hey " * 110,
}


def start(corpus: Corpus, recipe: Recipe, path: Path, chosen: Any = ()) -> tuple[Trainer, list[str]]:
    done, recipe, note = cleaned(corpus, recipe, chosen)
    prepared = set_up(done.corpus, recipe, chosen=chosen)
    trainer = Trainer(RunFolder.create(path, "short", prepared.recipe, {"name": "short"}), prepared)
    return trainer, [*([note] if note else []), *prepared.notes]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_trains_on_a_short_text(preset: str, text: str, tmp_path: Path) -> None:
    recipe = PRESETS[preset].recipe
    small = {"layers": 1, "heads": 1, "width": 8, "steps": 2, "sample_every": 0, "snapshots_mb": 0, "threads": 1}
    trainer, notes = start(from_text(TEXTS[text]), recipe.with_changes(small), tmp_path / "run")
    finish(trainer)
    assert trainer.state == "finished", trainer.log.tail(1)
    used, data = trainer.recipe, trainer.prepared.data
    rows = len(data.train_spans) if isinstance(data, Sequences) else len(data.train) - data.context
    assert used.train.batch_size <= rows
    assert used.model["context"] <= recipe.model["context"]
    said = " ".join(notes)
    for name, now, before in (
        ("context", used.model["context"], recipe.model["context"]),
        ("held out", used.train.val_fraction, recipe.train.val_fraction),
        ("stretches", used.train.batch_size, recipe.train.batch_size),
        ("vocabulary", used.vocab_size, recipe.vocab_size),
        ("one stream", used.cut, recipe.cut),
        ("cut into characters", used.tokenizer, recipe.tokenizer),
        ("cleaning", used.cleaning, recipe.cleaning),
    ):
        assert (now != before) == (name in said), (name, now, before, notes)


def test_what_gave_way_is_sensible() -> None:
    """500 characters keep their held-out part; 60 are too few for one."""
    fast = set_up(from_text(PROSE), PRESETS["fast"].recipe, chosen=())
    assert (fast.recipe.model["context"], fast.recipe.train.val_fraction) == (48, 0.1)
    assert fast.notes == ("The text allows a context of 48 and not 64.",)
    less = set_up(from_text(PROSE[:60]), PRESETS["fast"].recipe, chosen=())
    assert (less.recipe.model["context"], less.recipe.train.val_fraction) == (24, 0.0)
    assert len(less.notes) == 2
    assert set_up(from_text(TEXT), PRESETS["fast"].recipe, chosen=()).notes == ()


@pytest.mark.parametrize(
    ("text", "preset", "changes", "sentence"),
    [
        (PROSE, "fast", {"context": 64}, "too short for a context of 64.*set the context to at most 49"),
        (PROSE[:60], "fast", {"context": 59}, "train without validation .then a context of up to 59 works"),
        (PROSE[:60], "fast", {"context": 60, "val_fraction": 0.0}, "use a text of at least 61 tokens"),
        (PROSE[:60], "fast", {"val_fraction": 0.05}, "too short"),
        (PROSE, "shakespeare", {"vocab_size": 5000}, "Choose .* or fewer"),
        (PROSE.replace("\n", " "), "tweets", {"cut": "documents", "min_words": 0}, "Cut it into blocks"),
        ("na " * 200, "song", {"tokenizer": "words"}, "tokenizer words finds one token.*Use tokenizer char"),
    ],
)
def test_what_a_person_chose_is_refused(text: str, preset: str, changes: dict[str, Any], sentence: str) -> None:
    recipe = PRESETS[preset].recipe.with_changes(changes)
    with pytest.raises(ValueError, match=sentence):
        set_up(from_text(text), recipe, chosen=set(changes))


def test_a_recipe_of_one_s_own_is_taken_at_its_word() -> None:
    """In Python nothing gives way unless it is said what was chosen."""
    with pytest.raises(TooShort):
        set_up(from_text(PROSE), PRESETS["fast"].recipe)
    with pytest.raises(TooShort):
        set_up(from_text(PROSE), PRESETS["fast"].recipe, chosen=GIVES_WAY)
    with pytest.raises(CorpusError, match="nothing"):
        cleaned(from_text("жил был\n" * 9), PRESETS["tweets"].recipe, {"cleaning"})


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"width": 130}, "width 130 cannot be shared out among 4 heads: use a width of 128 or 132"),
        ({"learning_rate": 1e3}, "learning_rate is 1000.0; use above 0 and at most 1"),
        ({"batch_size": 5000}, "batch_size is 5000; use from 1 to 4096"),
        ({"batch_size": 4096, "accumulate": 1, "width": 8192, "layers": 64}, "of memory .* and this machine has"),
        ({"context": 4000}, "too short for a context of 4,000.*set the context to at most"),
    ],
)
def test_impossible_settings_name_the_field_and_a_value_that_works(
    settings: dict[str, Any], sentence: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The same in Python and on the command line; the page's own test is tests/explorer/test_train_tab.py."""
    corpus = tmp_path / "text.txt"
    corpus.write_text(TEXT)
    with pytest.raises(ValueError, match=sentence) as refused:
        set_up(from_text(TEXT), PRESETS["classic"].recipe.with_changes(settings), chosen=set(settings))
    flags = [word for name, value in settings.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    out = tmp_path / "run"
    assert cli.main([str(corpus), "--preset", "classic", "--out", str(out), "--quiet", "--device", "cpu", *flags]) == 2
    assert str(refused.value) in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("size", [60, 500])
def test_the_command_line_trains_a_preset_on_a_short_text(
    preset: str, size: int, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    corpus = tmp_path / "text.txt"
    corpus.write_text(PROSE[:size])
    flags = "--layers 1 --heads 1 --width 8 --steps 2 --sample-every 0 --threads 1 --device cpu --quiet".split()
    assert cli.main([str(corpus), "--preset", preset, "--out", str(tmp_path / "run"), *flags]) == 0
    said, info = capsys.readouterr().out, RunFolder(tmp_path / "run").info()
    assert all(note in said for note in info.corpus["gave_way"])
    context = info.recipe.model["context"]
    assert (context != PRESETS[preset].recipe.model["context"]) == ("allows a context of" in said)
    assert GPTConfig(vocab_size=2, context=context)
