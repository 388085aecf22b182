"""Train: choose a recipe, press the button, watch the loss fall."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

import gradio as gr

from explorer import corpora, text
from explorer.components import drawn, onward
from explorer.jobs import Run
from explorer.server import Server, answering
from explorer.session import Visitor
from explorer.shelf import millions
from model import ConfigError, GPTConfig, Tokenizer
from training.config import Recipe, TrainConfig
from training.corpus import about
from training.data import build_tokenizer
from training.presets import DEFAULT, PRESETS
from training.runs import RunFolder, new_run_id
from training.setup import set_up
from training.trainer import Trainer

_log = logging.getLogger(__name__)
_EVALS = 5  # at least so many measurements of a run
_NEWS_S = 0.4  # how often the page hears of a long preparation
_OURS = "(_, ...rest) => [glass.session, ...rest]"
_SHAPE_FIELDS = ("layers", "heads", "width", "context", "dropout", "positions", "activation")
_TRAIN_FIELDS = (
    "steps",
    "batch_size",
    "learning_rate",
    "warmup_steps",
    "weight_decay",
    "grad_clip",
    "val_fraction",
    "seed",
)
FIELDS = ("tokenizer", "vocab_size", *_SHAPE_FIELDS, *_TRAIN_FIELDS)
"""The settings that the page offers; the command line has the others too."""


@dataclass(frozen=True)
class TrainTab:
    """The components that others refer to."""

    monitor: gr.HTML


def build(server: Server, visitor: gr.Textbox, corpus: Callable[..., Any], control: Callable[..., Any]) -> TrainTab:
    """The tab's contents. corpus: the server function that says which text there is; control steers a run."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=320), gr.Column(elem_classes="g-card g-recipe"):
            gr.Markdown(text.RECIPE)
            drawn("source", functions=[corpus])
            preset = gr.Radio(
                [(item.title, name) for name, item in PRESETS.items()], value=DEFAULT, label=text.PRESET,
                elem_id="preset",
            )  # fmt: skip
            sentence = gr.Markdown(PRESETS[DEFAULT].sentence, elem_id="recipe-sentence")
            settings = _settings()
            with gr.Column(elem_classes="g-foot"):  # stays in sight, however long the settings are
                estimate = gr.Markdown(foretell(DEFAULT, *_values(DEFAULT)), elem_id="estimate")
                with gr.Row(elem_classes="g-go"):
                    name = gr.Textbox(
                        label=text.NAME, show_label=False, placeholder=text.NAME_HINT, max_lines=1, elem_id="run-name"
                    )
                    go = gr.Button(text.START, variant="primary", elem_id="train", elem_classes="g-wide")
                notice = drawn("notice", elem_id="train-notice")
        with gr.Column(scale=8, min_width=320):
            drawn("loss")
            monitor = drawn("monitor", functions=[control], elem_id="monitor")
            onward(text.TO_DECODE, "Decode", first="glass.runs.look();")
    boxes = [settings[field] for field in FIELDS]
    quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden", "queue": False}
    preset.input(chosen, [preset], [sentence, *boxes, estimate], **quiet)
    # One event for all the boxes: an event each could be answered out of order, and an old estimate would stay.
    gr.on([box.change for box in boxes], foretell, [preset, *boxes], [estimate], trigger_mode="always_last", **quiet)
    settings["tokenizer"].change(
        lambda kind: gr.update(visible=kind == "bpe"), [settings["tokenizer"]], [settings["vocab_size"]], **quiet
    )
    go.click(
        Start(server).press,
        [visitor, preset, name, *boxes],
        [monitor, notice],
        api_visibility="private",
        js=_OURS,
        show_progress="hidden",
        concurrency_limit=2,
    )
    return TrainTab(monitor)


def _settings() -> dict[str, Any]:
    """A box for each of FIELDS, with the sentence that stands at the field in the code, at the default recipe."""
    value = dict(zip(FIELDS, _values(DEFAULT), strict=True))
    about = {f.name: f.metadata["help"] for cls in (GPTConfig, TrainConfig) for f in dataclasses.fields(cls)}
    box: dict[str, Any] = {}

    def slider(field: str, low: float, high: float, step: float, label: str) -> None:
        box[field] = gr.Slider(
            low, high, value=value[field], step=step, label=label, info=about[field], elem_id=f"set-{field}",
            buttons=[],
        )  # fmt: skip

    box["tokenizer"] = gr.Radio(
        list(text.TOKENIZERS), value=value["tokenizer"], label=text.TOKENIZER, elem_id="tokenizer"
    )
    box["vocab_size"] = gr.Slider(
        257, 8192, value=512, step=1, label=text.VOCABULARY, info=text.VOCABULARY_HINT, visible=False,
        elem_id="set-vocab_size", buttons=[],
    )  # fmt: skip
    slider("steps", 10, 10_000, 10, "Steps")
    with gr.Accordion("Shape of the model", open=False):
        slider("layers", 1, 12, 1, "Layers")
        slider("heads", 1, 12, 1, "Heads")
        slider("width", 8, 768, 4, "Width")
        slider("context", 2, 256, 1, "Context")
        slider("dropout", 0, 0.5, 0.05, "Dropout")
        box["positions"] = gr.Radio(
            ["learned", "rotary"], value=value["positions"], label="Positions", info=about["positions"]
        )
        box["activation"] = gr.Radio(
            list(text.ACTIVATIONS), value=value["activation"], label="Neurons", info=about["activation"],
            elem_id="set-activation",
        )  # fmt: skip
    with gr.Accordion("How it is trained", open=False):
        slider("batch_size", 1, 256, 1, "Batch")
        box["learning_rate"] = gr.Number(
            value["learning_rate"], label="Learning rate", info=about["learning_rate"], minimum=0, step=0.0001,
            elem_id="set-learning_rate",
        )  # fmt: skip
        slider("warmup_steps", 0, 1000, 10, "Warm-up")
        slider("weight_decay", 0, 1, 0.01, "Weight decay")
        slider("grad_clip", 0, 10, 0.1, "Gradient limit")
        slider("val_fraction", 0, 0.5, 0.01, "Held out")
        box["seed"] = gr.Number(value["seed"], label="Seed", info=about["seed"], precision=0, minimum=0)
    return box


def _values(preset: str) -> list[Any]:
    """The preset's value of each of FIELDS."""
    recipe = PRESETS[preset].recipe
    config = recipe.model_config(recipe.vocab_size)
    return [
        recipe.tokenizer,
        recipe.vocab_size,
        *(getattr(config, field) for field in _SHAPE_FIELDS),
        *(getattr(recipe.train, field) for field in _TRAIN_FIELDS),
    ]


def chosen(preset: str) -> list[Any]:
    """A recipe was chosen: its values for every box, and what they come to."""
    values = _values(preset)
    return [PRESETS[preset].sentence, *values, foretell(preset, *values)]


def recipe_of(preset: str, values: tuple[Any, ...]) -> Recipe:
    """The recipe that the boxes describe. Raises ConfigError naming the box and a value that works."""
    changes = dict(zip(FIELDS, values, strict=True))
    usual = dict(zip(FIELDS, _values(preset), strict=True))
    for field, value in changes.items():
        number = isinstance(value, int | float) and abs(value) < 1e300  # neither nan nor infinity
        if value is None or (isinstance(usual[field], int | float) and not number):
            raise ConfigError(f"{field.replace('_', ' ')} is empty: enter a number, or choose the recipe again.")
    changes = {field: int(value) if isinstance(usual[field], int) else value for field, value in changes.items()}
    if PRESETS[preset].recipe.tokenizer != "bpe" and changes["tokenizer"] != "bpe":
        changes.pop("vocab_size")
    recipe = PRESETS[preset].recipe.with_changes(changes)
    often = max(1, recipe.train.steps // _EVALS)  # a short run is measured and sampled as often as a long one
    return recipe.with_changes(
        {"eval_every": min(recipe.train.eval_every, often), "sample_every": min(recipe.train.sample_every, often)}
    )


def foretell(preset: str, *values: Any) -> str:
    """What the settings come to, before anything starts; or what is wrong with them."""
    try:
        recipe = recipe_of(preset, values)
    except ValueError as error:
        return f"**Cannot be trained:** {error}"
    train = recipe.train
    body = 2 * recipe.model_config(1).parameters() - recipe.model_config(2).parameters()  # less 1 entry's share
    seen = train.steps * train.batch_size * recipe.model_config(1).context
    return f"{millions(body)} parameters besides the vocabulary; it will read {seen:,} tokens in {train.steps:,} steps."


class Start:
    """The handler of the Train button."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def press(self, token: str, preset: str, name: str, *values: Any) -> Iterator[tuple[Any, Any]]:
        """Yields what the monitor and the notice show: how the preparation goes, then the run or what was wrong."""
        shares = [0.0]

        @answering
        def begin() -> dict[str, Any]:
            run = start(self._server, self._server.visitors.get(token), preset, name, values, shares.append)
            return {"run": run.info.id}

        with ThreadPoolExecutor(1) as pool:
            job = pool.submit(begin)
            while not wait([job], _NEWS_S).done:
                learning = f"{text.LEARNING}: {shares[-1]:.0%}" if 0 < shares[-1] < 1 else text.PREPARING
                yield gr.skip(), {"text": learning, "kind": ""}
        reply = job.result()
        if reply["ok"]:
            yield {"run": reply["run"]}, {"text": "", "kind": ""}
        else:
            yield gr.skip(), {"text": reply["error"], "kind": "error"}


def start(
    server: Server,
    visitor: Visitor,
    preset: str,
    name: str,
    values: tuple[Any, ...],
    learning: Callable[[float], None] | None = None,
) -> Run:
    """Check everything, make the run's folder, queue the training. Raises ValueError; then nothing is left behind.

    learning: told how far a byte-pair vocabulary has been learnt, 0 to 1.
    """
    if visitor.corpus is None:
        visitor.take_corpus(corpora.take(corpora.DEFAULT))
    corpus = visitor.corpus
    if corpus is None:
        raise ConfigError(text.NO_TEXT)
    if preset not in PRESETS:
        raise ConfigError(f"There is no recipe called {preset!r}: choose one of {', '.join(PRESETS)}.")
    recipe = recipe_of(preset, values)
    limits = server.limits
    if recipe.train.steps > limits.steps:
        raise ConfigError(f"steps is {recipe.train.steps:,}; this server trains up to {limits.steps:,}.")

    def learn(wanted: Recipe) -> Tokenizer:
        return visitor.tokenizer(wanted, lambda: build_tokenizer(corpus, wanted, learning))

    prepared = set_up(corpus, recipe, learn)
    config = prepared.recipe.model_config(prepared.tokenizer.vocab_size)
    if config.parameters() > limits.parameters:
        raise ConfigError(
            f"This model has {millions(config.parameters())} parameters and this server trains up to "
            f"{millions(limits.parameters)}: choose fewer layers, a smaller width or a smaller vocabulary."
        )
    called = (name or "").strip()[:80] or f"{corpus.name.rsplit('.', 1)[0]} {PRESETS[preset].title.lower()}"
    owner = visitor.owner if limits.shared else None
    folder = RunFolder.create(server.jobs.root / new_run_id(called), called, prepared.recipe, about(corpus), owner)
    try:
        return server.jobs.submit(Trainer(folder, prepared))
    except ValueError:
        folder.delete()
        raise
