"""The Train tab's handlers: settings that work become a training, others a sentence and nothing on disk."""

from __future__ import annotations

import json
import logging
import math
import re
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import gradio as gr
import pytest
import torch

from explorer import corpora, recipes
from explorer.decode import decode
from explorer.jobs import Jobs
from explorer.limits import Limits
from explorer.recipes import FIELDS, foretell, in_words, prepare_run, values_of, worded
from explorer.server import Server
from explorer.session import Reading
from explorer.shelf import millions
from explorer.tabs import train
from explorer.tabs.train import Start, chosen, start
from model import GPT, Tokenizer
from model.config import Activation, ConfigError
from tests.explorer.tiny import CHAR, LONG, PATIENCE, TEXT, in_a_loop, over, sentence, tiny_trainer, token, visitor
from training import pace
from training.cleaning import Cleaning
from training.corpus import Corpus, from_text, read_corpus
from training.data import build_tokenizer
from training.estimate import amount, duration, foreseen, row_tokens
from training.events import Evaluated, Finished, Sampled, Stepped
from training.origin import Data
from training.presets import DEFAULT, PRESETS

TINY: dict[str, Any] = {
    **{"tokenizer": "char", "layers": 1, "heads": 2, "width": 8, "context": 8, "steps": 10, "batch_size": 2},
    **{"warmup_steps": 2, "positions": "learned", "val_fraction": 0.1, "dropout": 0.0},
}


def boxes(preset: str = DEFAULT, **changes: Any) -> tuple[Any, ...]:
    """What the boxes send: the preset's values, made tiny, with changes."""
    values = dict(zip(FIELDS, values_of(preset), strict=True))
    return tuple({**values, **TINY, **changes}.values())


def press(server: Server, preset: str = DEFAULT, name: str = "", who: int = 1, **changes: Any) -> dict[str, Any]:
    """The Train button; the run's id or the refusal."""
    *_, (monitor, notice) = Start(server).press(token(who), preset, name, *boxes(preset, **changes))
    if "run" in monitor:
        assert notice == {"text": "", "kind": ""}
        return {"ok": True, "run": monitor["run"]}
    assert set(monitor) == {"__type__"}  # the monitor goes on showing what it showed
    assert notice["kind"] == "error"
    return {"ok": False, "error": notice["text"]}


def folders(server: Server) -> list[str]:
    return [path.name for path in server.jobs.root.iterdir()] if server.jobs.root.exists() else []


@pytest.fixture
def reader(server: Server) -> Server:
    """A server whose first visitor has brought a text."""
    visitor(server).take_corpus(from_text(TEXT, "my book.txt"))
    return server


@pytest.fixture
def standing(reader: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """`reader`, where whatever is queued stays in the queue."""
    monkeypatch.setattr(reader.jobs, "advance", lambda: None)
    return reader


# It works


def test_the_button_trains_to_the_end(reader: Server) -> None:
    reply = press(reader, name="First steps")
    run = over(reader.jobs.find(reply["run"]))
    assert run.state == "finished"
    assert run.info.name == "First steps"
    assert run.info.corpus["name"] == "my book.txt"
    assert run.info.corpus["characters"] == len(TEXT)
    assert run.info.owner is None  # one's own machine
    assert folders(reader) == [reply["run"]]
    assert [event.step for event in run.log.since(0)[0] if isinstance(event, Stepped)] == list(range(1, 11))
    assert isinstance(run.log.tail(1)[0], Finished)
    config = reader.view(f"run:{reply['run']}").model.config
    assert (config.layers, config.heads, config.width, config.context) == (1, 2, 8, 8)
    assert config.vocab_size == len(set(TEXT))


@pytest.mark.parametrize("tokenizer", ["char", "word", "bpe"])
def test_each_way_to_cut_the_text_works(reader: Server, tokenizer: str) -> None:
    reply = press(reader, tokenizer=tokenizer, vocab_size=270)
    run = over(reader.jobs.find(reply["run"]))
    assert run.state == "finished"
    view = reader.view(f"run:{reply['run']}")
    assert view.tokenizer.kind == tokenizer
    assert (view.tokenizer.vocab_size == 270) == (tokenizer == "bpe")


def test_what_the_boxes_say_is_what_is_trained(standing: Server) -> None:
    said: dict[str, Any] = {
        **{"layers": 2, "heads": 4, "width": 16, "context": 12, "dropout": 0.1, "positions": "rotary"},
        **{"activation": "relu", "steps": 20, "batch_size": 3, "learning_rate": 0.002, "warmup_steps": 4},
        **{"weight_decay": 0.3, "grad_clip": 0.5, "val_fraction": 0.2, "seed": 99},
    }
    recipe = standing.jobs.find(press(standing, **said)["run"]).info.recipe
    config = recipe.model_config(5)
    for field, value in said.items():
        assert getattr(config if hasattr(config, field) else recipe.train, field) == value, field


def test_a_short_run_is_measured_and_sampled_too(reader: Server) -> None:
    run = over(reader.jobs.find(press(reader, steps=10)["run"]))
    for kind in (Evaluated, Sampled):
        steps = [event.step for event in run.log.since(0)[0] if isinstance(event, kind)]
        assert steps[0] == 0
        assert steps[-1] == 10
        assert len(steps) > 5


def test_sliders_send_floats_for_whole_numbers(standing: Server) -> None:
    recipe = standing.jobs.find(press(standing, layers=1.0, steps=10.0, seed=7.0)["run"]).info.recipe
    assert (recipe.model["layers"], recipe.train.steps, recipe.train.seed) == (1, 10, 7)


def test_a_visitor_without_a_text_trains_on_the_tales(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train.corpora, "take", lambda key: from_text(TEXT, f"the text called {key}"))
    reply = press(server, who=2)
    assert server.jobs.find(reply["run"]).info.corpus["name"] == "the text called tales"


def test_where_a_text_came_from_stands_in_the_config(standing: Server, tmp_path: Path) -> None:
    """Names as the visitor gives them, never places on the server; so `--config` finds the text again."""
    path = tmp_path / "upload-1f3c.csv"
    path.write_text("id,said\n" + "".join(f'{i},"the cat sat on the mat {i}"\n' for i in range(60)), encoding="utf-8")
    owner = visitor(standing)
    corpus = read_corpus(path, column="said")
    reading = Reading((str(path),), ("my table.csv",), column="said", keep_good=True, delimiter="comma")
    pasted = from_text(TEXT)
    tales = corpora.take("tales")
    for text, came, data in (
        (corpus, reading, Data(("my table.csv",), "said", "comma", True, None, len(corpus.text))),
        (corpus, replace(reading, source="hub:a/b/c.csv"),
         Data(("my table.csv",), "said", "comma", True, "a/b/c.csv", len(corpus.text))),
        (pasted, None, Data(characters=len(pasted.text))),
        (tales, None, Data(("assets/corpora/tales.txt",), characters=len(tales.text))),
        (corpora.take("posts"), None,
         Data(("assets/corpora/posts.csv",), "text", characters=len(corpora.take("posts").text))),
    ):  # fmt: skip
        owner.take_corpus(text, reading=came)
        run = press(standing)["run"]
        info = standing.jobs.find(run).info
        standing.jobs.control(run, "stop", owner.owner)  # only so many may wait
        assert Data.from_dict(info.corpus["data"]) == data
        assert str(tmp_path) not in json.dumps(info.corpus)


def test_a_run_without_a_name_is_called_after_its_text(standing: Server) -> None:
    for name in ("", "   ", None):
        run = start(standing, visitor(standing), "classic", name, boxes("classic"))  # type: ignore[arg-type]
        assert run.info.name == "my book, classic GPT-2"


def test_the_owner_of_a_run_is_kept_where_strangers_come(serve: Callable[..., Server]) -> None:
    server = serve(shared=True)
    visitor(server, 2).take_corpus(from_text(TEXT))
    run = server.jobs.find(press(server, who=2)["run"])
    assert run.info.owner == visitor(server, 2).owner
    assert token(2) not in (run.folder.path / "config.json").read_text()


def test_the_page_hears_of_a_long_preparation(standing: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tokenizer that waits until the page has heard how far it is."""
    heard = [threading.Event(), threading.Event()]

    def slow(corpus: Any, recipe: Any, learning: Callable[[float], None]) -> Tokenizer:
        assert heard[0].wait(PATIENCE)
        learning(0.37)
        assert heard[1].wait(PATIENCE)
        return CHAR

    monkeypatch.setattr(train, "_NEWS_S", 0.01)
    monkeypatch.setattr(recipes, "build_tokenizer", slow)
    said = []
    for monitor, notice in Start(standing).press(token(1), DEFAULT, "", *boxes()):
        said.append(notice["text"])
        if "run" not in monitor:
            heard[said[-1] == "Learning the vocabulary: 37%"].set()
    assert list(dict.fromkeys(said)) == ["Preparing the text…", "Learning the vocabulary: 37%", ""]
    assert folders(standing) == [monitor["run"]]


# Names


@pytest.mark.parametrize(
    "name",
    [
        *["../../etc/passwd", "..", ".", "/tmp/x", "C:\\x", "a/b", "a\x00b", "a\nb\x1b[31m", "con", "-rf", "~"],
        *["x" * 300, "<img src=x onerror=alert(1)>", "{{constructor}} ${alert(1)}", "\u202eevil", "日本語", "😀"],
        *["  spaces  ", "'; DROP TABLE runs;--", "%2e%2e%2f", '"quoted"', "run:other", "\ud800"],
    ],
    ids=ascii,
)  # fmt: skip
def test_a_hostile_name_is_shown_as_given_and_safe_on_disk(standing: Server, name: str) -> None:
    reply = press(standing, name=name)
    shown = standing.jobs.find(reply["run"]).info.name
    assert shown == name.strip()[:80].replace("\ud800", "?")
    assert folders(standing) == [reply["run"]]
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*-[0-9a-f]{32}", reply["run"])
    again = Jobs(standing.jobs.root, Limits())
    assert again.find(reply["run"]).info.name == shown
    assert [info.name for info in again.listed("x")] == [shown]


def test_two_runs_of_one_name_are_two(standing: Server) -> None:
    first, second = (press(standing, name="same")["run"] for _ in range(2))
    assert first != second
    assert len(folders(standing)) == 2


# It cannot work


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"width": 10, "heads": 4}, "width 10 cannot be shared out among 4 heads"),
        ({"width": 12, "heads": 4, "positions": "rotary"}, "rotary"),
        ({"layers": 0}, "layers is 0"),
        ({"heads": 0}, "heads is 0"),
        ({"width": -8}, "width is -8"),
        ({"context": 0}, "context is 0"),
        ({"context": len(TEXT)}, "too short for a context"),
        ({"context": 256, "val_fraction": 0.02}, "set the context to at most"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"positions": "sideways"}, "positions is 'sideways'"),
        ({"activation": "swish"}, "activation is 'swish'"),
        ({"tokenizer": "bytes"}, "tokenizer is 'bytes'"),
        ({"tokenizer": "bpe", "vocab_size": 8000}, "at most"),
        ({"tokenizer": "bpe", "vocab_size": 256}, "at least 257"),
        ({"tokenizer": "bpe", "vocab_size": 10**6}, "Vocabulary is 1000000"),
        ({"tokenizer": "word", "context": 250, "val_fraction": 0.5, "batch_size": 0}, "Batch is 0"),
        ({"steps": 0}, "steps is 0"),
        ({"steps": -1}, "steps is -1"),
        ({"batch_size": 5000}, "Batch is 5000"),
        ({"learning_rate": 0}, "Learning rate is 0"),
        ({"learning_rate": 2}, "Learning rate is 2"),
        ({"learning_rate": None}, "learning rate is empty"),
        ({"learning_rate": math.nan}, "learning rate is empty"),
        ({"seed": None}, "seed is empty"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 2**63}, "seed is 9223372036854775808"),
        ({"steps": math.inf}, "steps is empty"),
        ({"steps": "many"}, "steps is empty"),
        ({"warmup_steps": -1}, "Warm-up is -1"),
        ({"weight_decay": -0.1}, "Weight decay is -0.1"),
        ({"grad_clip": -1}, "Gradient limit is -1"),
        ({"val_fraction": 0.6}, "Held out is 0.6"),
        ({"val_fraction": 0.001}, "too short"),
        ({"steps": 200_001}, "this server trains up to 200,000"),
        ({"layers": 12, "width": 1200, "heads": 12}, "207 M parameters and this server trains up to 200 M"),
    ],
    ids=str,
)
def test_impossible_settings_get_a_sentence_and_leave_nothing(
    reader: Server, caplog: pytest.LogCaptureFixture, changes: dict[str, Any], says: str
) -> None:
    with caplog.at_level(logging.WARNING):
        error = sentence(press(reader, **changes))
    assert says.lower() in error.lower()
    assert folders(reader) == []
    assert reader.jobs.listed("x") == []
    assert not caplog.records


def test_an_unknown_recipe_is_refused(reader: Server) -> None:
    with pytest.raises(ValueError, match="choose one of fast"):
        start(reader, visitor(reader), "faster", "", boxes())
    assert folders(reader) == []


def test_limits_of_the_server_are_said_with_their_numbers(serve: Callable[..., Server]) -> None:
    server = serve(parameters=5000, steps=50)
    visitor(server).take_corpus(from_text(TEXT))
    assert "steps is 60; this server trains up to 50" in sentence(press(server, steps=60)).lower()
    error = sentence(press(server, width=64))
    assert "trains up to 5,000" in error
    assert "smaller width" in error
    assert folders(server) == []
    assert press(server, steps=50)["ok"]


def test_a_full_queue_leaves_no_folder_behind(serve: Callable[..., Server]) -> None:
    server = serve(trainings_a_visitor=1)
    visitor(server).take_corpus(from_text(TEXT))
    first = server.jobs.submit(tiny_trainer(server.jobs.root, steps=LONG))
    assert "You have 1 training" in sentence(press(server))
    assert folders(server) == [first.info.id]


def test_without_a_visitor_nothing_begins(server: Server) -> None:
    *_, (_, notice) = Start(server).press("nobody", DEFAULT, "", *boxes())
    assert "visitor id" in notice["text"]
    assert folders(server) == []


def test_a_folder_that_cannot_be_written_is_said(reader: Server) -> None:
    reader.jobs.root.write_text("a file stands where the folder of runs should be")
    assert "cannot be written" in sentence(press(reader))


# What is said beforehand


@pytest.mark.parametrize("preset", PRESETS)
def test_the_page_foretells_the_parameters_of_the_real_model(preset: str) -> None:
    recipe = PRESETS[preset].recipe
    model = GPT(recipe.model_config(300))
    vocabulary = {id(module): module for module in (model.token_embedding, model.head)}
    entries = {id(p): p.numel() for module in vocabulary.values() for p in module.parameters()}  # a tied head is one
    body = sum(p.numel() for p in model.parameters()) - sum(entries.values())
    said = chosen(preset)[-1]
    assert chosen(preset)[0] == PRESETS[preset].sentence
    assert said.startswith(f"{millions(body)} parameters besides the vocabulary")
    tokens = recipe.train.steps * recipe.train.batch_size * recipe.model["context"]
    most = "up to " if recipe.cut == "documents" else ""
    assert f"read {most}{tokens:,} tokens in {recipe.train.steps:,} steps" in said


def test_what_is_foretold_follows_the_boxes() -> None:
    said = foretell(None, DEFAULT, *boxes(layers=2, width=16, heads=2, steps=30, batch_size=4, context=8))
    model = GPT(PRESETS[DEFAULT].recipe.with_changes({**TINY, "layers": 2, "width": 16}).model_config(10))
    body = sum(p.numel() for p in model.parameters()) - 10 * 16
    assert said.startswith(f"{body:,} parameters")
    assert f"read {30 * 4 * 8:,} tokens in 30 steps" in said


def test_memory_and_time_are_those_of_what_would_be_trained(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the text was prepared: a short one makes a recipe smaller, and only a text tells how many words it has."""
    monkeypatch.setattr(pace, "_known", {})  # measured here, for both
    visitor = server.visitors.get(token(1))
    visitor.take_corpus(from_text(TEXT, "short"))
    for preset in ("classic", "song", "tweets"):
        values = values_of(preset)
        assert "memory" not in foretell(visitor, preset, *values)
        *_, prepared = prepare_run(server, visitor, preset, tuple(values))
        recipe, row = prepared.recipe, row_tokens(prepared.data, prepared.recipe.train.batch_size)
        shape = recipe.model_config(prepared.tokenizer.vocab_size)
        found = foreseen(shape, recipe.train, 1, measure=True, row=row)
        assert found.seconds is not None
        said = foretell(visitor, preset, *values)
        assert f"{recipe.train.steps * recipe.train.batch_size * shape.context:,} tokens" in said
        told = f"That takes about {amount(found.memory)} of memory, and {duration(found.seconds)} on this machine."
        assert said.endswith(told)
    visitor.take_corpus(from_text(TEXT * 2, "another"))
    assert "memory" not in foretell(visitor, "classic", *values_of("classic"))


@pytest.mark.parametrize(
    "changes",
    [{"width": 10, "heads": 4}, {"steps": None}, {"steps": math.inf}, {"seed": math.nan}, {"learning_rate": "fast"}],
    ids=str,
)
def test_what_cannot_be_trained_is_said_beforehand(changes: dict[str, Any]) -> None:
    said = foretell(None, DEFAULT, *boxes(**changes))
    assert said.startswith("**Cannot be trained:** ")
    assert said.endswith(".")


def made_boxes() -> dict[str, Any]:
    """The page's own components, by field."""

    def build() -> dict[str, Any]:
        with gr.Blocks(analytics_enabled=False):
            return train._settings()[0]

    return in_a_loop(build)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_recipe_fills_every_box_with_a_value_that_the_box_takes(preset: str) -> None:
    values = dict(zip(FIELDS, values_of(preset), strict=True))
    assert None not in values.values()
    made = made_boxes()
    assert set(made) == set(FIELDS)
    for field, value in values.items():
        assert made[field].preprocess(value) == value, field
        if isinstance(made[field], gr.Slider):
            assert made[field].minimum <= value <= made[field].maximum, field
    recipe = train.recipe_of(preset, tuple(values.values()))
    assert recipe.train == PRESETS[preset].recipe.train
    assert recipe.model_config(99) == PRESETS[preset].recipe.model_config(99)
    assert recipe.tokenizer == PRESETS[preset].recipe.tokenizer


@pytest.mark.parametrize(("field", "value"), [("batch_size", 100_000), ("steps", 0), ("val_fraction", 0.99)])
def test_what_a_slider_does_not_reach_is_refused_with_a_sentence(field: str, value: float) -> None:
    """And not by Gradio, with an error that nobody sees."""
    typed = made_boxes()[field].preprocess(value)
    assert foretell(None, DEFAULT, *boxes(**{field: typed})).startswith("**Cannot be trained:** ")


def test_every_box_is_explained() -> None:
    for field, box in made_boxes().items():
        assert box.label, field
        assert field == "tokenizer" or box.info, field


# What a model will read


def shown(server: Server, **changes: Any) -> dict[str, Any]:
    return train.Look(server).examples(token(1), DEFAULT, *boxes(**changes))


def test_the_examples_are_the_first_rows_of_the_first_batch(standing: Server) -> None:
    """Input over target, as the trainer of the same boxes draws them."""
    reply = shown(standing, batch_size=7, seed=5)
    run = standing.jobs.find(press(standing, batch_size=7, seed=5)["run"])
    assert run.trainer is not None
    inputs, targets = run.trainer.prepared.data.batch(7, torch.Generator().manual_seed(5))
    tokenizer = run.trainer.tokenizer
    assert len(reply["rows"]) == 5
    for row, line, wanted in zip(reply["rows"], inputs.tolist(), targets.tolist(), strict=False):
        assert "".join(text for text, _ in row["input"]) == tokenizer.decode(line)
        assert "".join(text for text, _ in row["target"]) == tokenizer.decode(wanted)
    assert reply["facts"] == [
        f"A stream of {len(run.trainer.prepared.data.train):,} tokens",
        f"The vocabulary has {tokenizer.vocab_size} tokens",
    ]


def test_the_examples_of_documents_show_their_end_and_what_is_masked(standing: Server) -> None:
    visitor(standing).take_corpus(from_text("ab\nc\ndefghijklmnop\nqr\n" * 3))
    reply = shown(standing, cut="documents", context=6, batch_size=12)
    assert reply["facts"][0] == "12 documents"
    assert reply["facts"][-1] == "Longer than the context of 6, and therefore cut: 3"
    ended = 0
    for row in reply["rows"]:
        real = [piece for piece in row["target"] if piece is not None]
        assert row["target"] == real + [None] * (len(row["target"]) - len(real))
        assert [piece is None for piece in row["input"]] == [piece is None for piece in row["target"]]
        ended += real[-1][1] == "special"
    assert ended > 0


def test_the_examples_say_what_of_the_text_they_are_cut_from(standing: Server) -> None:
    """Its own cleaning and its number of documents are the recipe's and not the text's."""
    lines = [f"Line {number} of many and all of them are long enough: https://a.b" for number in range(6)]
    visitor(standing).take_corpus(from_text("\n".join(lines)))
    assert shown(standing)["reads"] == {"characters": len("\n".join(lines))}
    recipe = PRESETS["tweets"].recipe
    values = dict(zip(FIELDS, values_of("tweets"), strict=True)) | {"vocab_size": 270, "max_documents": 4}
    read = train.Look(standing).examples(token(1), "tweets", *values.values())["reads"]
    first = ["line of many and all of them are long enough"] * 4  # without digits, too
    assert read == {"characters": len("\n".join(first)), "documents": [4, 6], "cleaned": str(recipe.cleaning)}
    visitor(standing).cleaning = Cleaning(lower=True)
    reply = train.Look(standing).examples(token(1), "tweets", *values.values())
    assert "cleaned" not in reply["reads"]
    assert reply["facts"][0] == f"Your own cleaning stays. The recipe's would be: {recipe.cleaning}"


def test_a_text_that_is_taken_while_another_is_prepared(standing: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows are those of the newer one; a training is of the text that it was started for, and says so."""
    who, words = visitor(standing), "one text of its own\n" * 40
    older, newer = (replace(from_text(text), name=name) for text, name in ((words, "older"), (words.upper(), "newer")))

    def meanwhile(corpus: Corpus, *rest: Any) -> Tokenizer:
        if corpus.name == "older":
            who.take_corpus(newer)
        return build_tokenizer(corpus, *rest)

    monkeypatch.setattr(recipes, "build_tokenizer", meanwhile)
    who.take_corpus(older)
    reply = shown(standing)
    assert reply["name"] == "newer"
    assert reply["rows"][0]["input"][0][0].isupper() or not reply["rows"][0]["input"][0][0].isalpha()
    again = from_text(words.title())  # neither text was seen before
    monkeypatch.setattr(corpora, "origin", lambda visitor, corpus: Data((visitor.corpus.name,)))
    who.take_corpus(replace(again, name="older"))
    run = standing.jobs.find(press(standing)["run"])
    assert run.info.corpus["name"] == "older"
    assert run.info.corpus["data"]["files"] == ["older"]
    assert who.text() is newer
    assert who.fits == {}  # what the older one costs is not said of the newer


def test_what_cannot_be_cut_is_said_in_the_card(standing: Server) -> None:
    visitor(standing).take_corpus(from_text("just one line"))
    reply = shown(standing, cut="documents")
    assert reply["ok"] is False
    assert "one document" in reply["error"]
    assert train.Look(standing).examples("nobody", DEFAULT, *boxes())["ok"] is False


def test_each_text_that_goes_with_a_recipe_is_on_offer() -> None:
    titles = {key: title for title, key in corpora.choices()}
    for name, preset in PRESETS.items():
        _, take, *_ = chosen(name)
        assert take["visible"] is (preset.example is not None)
        if preset.example is not None:
            assert take["value"] == f"Use the text that goes with it: {titles[preset.example]}"
    assert {name for name, preset in PRESETS.items() if preset.example} == {"song", "lyrics", "shakespeare", "tweets"}


def test_a_recipe_brings_its_text_and_its_cleaning(standing: Server) -> None:
    look = train.Look(standing)
    said = look.take(token(1), "song")
    assert said["name"] == "One song"
    assert visitor(standing).text().name == "One song"
    visitor(standing).take_corpus(
        from_text("Hello, you big and wide and old World &amp; me!\nSee all of them at once here: https://a.b\n" * 30)
    )
    run = standing.jobs.find(press(standing, "tweets", vocab_size=270)["run"])
    assert run.trainer is not None
    prepared = run.trainer.prepared
    assert run.info.recipe.cleaning == PRESETS["tweets"].recipe.cleaning
    read = prepared.tokenizer.decode(prepared.data.train.tolist())
    assert read.startswith("hello you big and wide and old world me<|endoftext|>see all of them at once here<|")
    assert not visitor(standing).cleaning.active  # the visitor's own text stays as it is
    visitor(standing).cleaning = Cleaning(punctuation=True)
    own = standing.jobs.find(press(standing, "tweets", vocab_size=270)["run"]).info.recipe.cleaning
    assert own == Cleaning(punctuation=True)


def test_a_teacher_is_chosen_by_its_place_on_the_shelf(standing: Server) -> None:
    """By ref only: a path of the server's disk is no model."""
    reply = press(standing, teacher="shipped:tiny", context=4, teacher_share=0.25)
    if reply["ok"]:
        assert standing.jobs.find(reply["run"]).info.recipe.train.teacher_share == 0.25
    for ref in ("/etc/passwd", "../weights", "shipped:..", "run:../x", "nobody"):
        refused = press(standing, teacher=ref)
        assert refused["ok"] is False, ref
    assert next(choice[1] for choice in train.Look(standing).teachers(token(1))[0]["choices"]) == ""


def test_neurons_are_named_as_people_write_them() -> None:
    box = made_boxes()["activation"]
    assert box.choices == [("GELU", "gelu"), ("GELU (tanh)", "gelu_tanh"), ("ReLU", "relu")]
    assert {value for _, value in box.choices} == set(get_args(Activation))


def test_a_model_opens_with_the_settings_of_its_recipe(reader: Server) -> None:
    """Temperature and top-k of the recipe, with the model's own opening only."""
    run = over(reader.jobs.find(press(reader, "tweets", vocab_size=270, val_fraction=0.0)["run"]))
    asked = {"session": token(1), "model": f"run:{run.info.id}", "settings": {"temperature": 1, "top_p": 0.9}}
    reply = decode(reader, {**asked, "opening": True})
    assert reply["settings"] == {"temperature": 0.3, "top_k": 20}
    assert sum(row["p"] > 0 for row in reply["next"]["rows"]) <= 20
    assert reader.view(f"run:{run.info.id}").sampling == {"temperature": 0.3, "top_k": 20}
    assert decode(reader, {**asked, "prompt": "the"})["settings"] is None
    plain = over(reader.jobs.find(press(reader)["run"]))
    assert decode(reader, {**asked, "model": f"run:{plain.info.id}", "opening": True})["settings"] is None


def test_a_refusal_speaks_of_what_the_page_has() -> None:
    """Its boxes by their labels, and nothing of settings that it has no box for."""
    said = "Batch_size is 0: use batch_size 64 (accumulate 2 learns from as much in a step), or a learning_rate of 1."
    assert in_words(said) == "Batch is 0: use batch 64, or a learning rate of 1."
    with pytest.raises(ConfigError, match=r"^held out is 1$"), worded():
        raise ConfigError("val_fraction is 1")
