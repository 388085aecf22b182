"""Train: choose a recipe, press the button, watch the loss fall."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

import gradio as gr

from explorer import corpora, text
from explorer.components import drawn, onward
from explorer.jobs import Run
from explorer.outcomes import outcome as found
from explorer.recipes import (
    DECIDED_WITH_THE_TEXT,
    FIELDS,
    examples,
    foretell,
    prepare_run,
    recipe_of,
    values_of,
    worded,
)
from explorer.server import Server, answering
from explorer.session import Visitor
from explorer.shelf import millions
from model import ConfigError, GPTConfig
from training.config import Recipe, TrainConfig
from training.corpus import about
from training.presets import DEFAULT, PRESETS
from training.runs import RunFolder, new_run_id
from training.trainer import Trainer

_log = logging.getLogger(__name__)
_NEWS_S = 0.4  # how often the page hears of a long preparation
_OURS = "(_, ...rest) => [glass.session, ...rest]"
_CUTTING = "(_, ...rest) => { glass.emit('cutting', true); return [glass.session, ...rest]; }"
_CUT = "() => { glass.emit('cutting', false); }"


@dataclass(frozen=True)
class TrainTab:
    """The components that others refer to."""

    monitor: gr.HTML


def build(
    server: Server,
    visitor: gr.Textbox,
    tab: gr.Tab,
    corpus: Callable[..., Any],
    control: Sequence[Callable[..., Any]],
    belongings: Sequence[Callable[..., Any]],
    hiring: Sequence[Callable[..., Any]],
) -> TrainTab:
    """The tab's contents. corpus: the server function that says which text there is; control: those that steer a run;
    belongings: those that list runs, do things with them and compare them; hiring: those that train elsewhere."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=320) as left, gr.Column(elem_classes="g-card g-recipe"):
            gr.Markdown(text.RECIPE)
            source = drawn("source", functions=[corpus])
            preset = gr.Radio(
                [(item.title, name) for name, item in PRESETS.items()], value=DEFAULT, label=text.PRESET,
                elem_id="preset",
            )  # fmt: skip
            sentence = gr.Markdown(PRESETS[DEFAULT].sentence, elem_id="recipe-sentence")
            take = gr.Button(visible=False, elem_id="take-example", elem_classes="g-quiet")
            settings, of_documents = _settings()
            with gr.Column(elem_classes="g-foot"):  # stays in sight, however long the settings are
                estimate = gr.Markdown(foretell(None, DEFAULT, *values_of(DEFAULT)), elem_id="estimate")
                with gr.Row(elem_classes="g-go"):
                    name = gr.Textbox(
                        label=text.NAME, show_label=False, placeholder=text.NAME_HINT, max_lines=1, elem_id="run-name"
                    )
                    go = gr.Button(text.START, variant="primary", elem_id="train", elem_classes="g-wide")
                notice = drawn("notice", elem_id="train-notice")
        with left:
            drawn("hf-jobs", text.HIRING, hiring, elem_id="hf-jobs")
            told = gr.Button(visible="hidden", elem_id="hf-recipe")  # pressed by the script, which then has the boxes
        with gr.Column(scale=8, min_width=320):
            drawn("loss", functions=belongings[-2:])
            monitor = drawn("monitor", functions=control, elem_id="monitor")
            drawn("outcome", functions=[outcomes(server)], elem_id="outcome")
            rows = drawn("examples", elem_id="examples")
            drawn("runs", functions=belongings)
            onward(text.TO_DECODE, "Decode", first="glass.runs.look();")
    boxes = [settings[field] for field in FIELDS]
    quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden", "queue": False}
    look = Look(server)
    ours: dict[str, Any] = quiet | {"js": _OURS}
    preset.input(chosen, [preset], [sentence, take, *boxes, estimate], **quiet)
    all_of_it = [visitor, preset, *boxes]
    cut: dict[str, Any] = quiet | {"js": _CUTTING}
    done: dict[str, Any] = {"js": _CUT, "api_visibility": "private"}
    taken = take.click(look.take, [visitor, preset], [source], **ours)
    taken.then(look.examples, all_of_it, [rows], **cut).then(None, **done)
    settings["optimizer"].change(
        lambda kind: gr.update(visible=kind == "muon"), [settings["optimizer"]], [settings["muon_learning_rate"]],
        **quiet,
    )  # fmt: skip
    # One event for all the boxes, and for the text once it was prepared for what stands in them: an event each could
    # be answered out of order, and an old estimate would stay.
    gr.on(
        [rows.change, *(box.change for box in boxes)], look.ahead, all_of_it, [estimate],
        trigger_mode="always_last", **ours,
    )  # fmt: skip
    decisive = [settings[field] for field in DECIDED_WITH_THE_TEXT]
    gr.on(
        [tab.select, *(box.change for box in decisive)], look.examples, all_of_it, [rows],
        trigger_mode="always_last", **cut,
    ).then(None, **done)  # fmt: skip
    tab.select(look.teachers, [visitor], [settings["teacher"], settings["embeddings_from"]], **ours)
    gr.on(
        [settings["tokenizer"].change, settings["cut"].change],
        lambda kind, cut: [gr.update(visible=kind == "bpe"), gr.update(visible=cut == "documents")],
        [settings["tokenizer"], settings["cut"]], [settings["vocab_size"], of_documents], **quiet,
    )  # fmt: skip
    told.click(
        None, [preset, name, *boxes], None, js="(...boxes) => glass.hfRecipe(boxes)", api_visibility="private"
    )  # fmt: skip
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


def outcomes(server: Server) -> Callable[[Any], dict[str, Any]]:
    """The server function `outcome`: what a run took from another model, and what that brought."""

    @answering
    def outcome(request: Any) -> dict[str, Any]:
        return found(server, request if isinstance(request, dict) else {})

    return outcome


def _settings() -> tuple[dict[str, Any], gr.Accordion]:
    """A box for each of FIELDS, with the sentence that stands at the field in the code, at the default recipe.

    And the part of them that concerns documents only.
    """
    value = dict(zip(FIELDS, values_of(DEFAULT), strict=True))
    about = {
        f.name: f.metadata["help"]
        for cls in (Recipe, GPTConfig, TrainConfig)
        for f in dataclasses.fields(cls)
        if "help" in f.metadata
    }
    box: dict[str, Any] = {}

    def slider(field: str, low: float, high: float, step: float, label: str) -> None:
        box[field] = gr.Slider(
            low, high, value=value[field], step=step, label=label, info=about[field], elem_id=f"set-{field}",
            buttons=[],
        )  # fmt: skip

    box["tokenizer"] = gr.Radio(
        list(text.TOKENIZERS),
        value=value["tokenizer"],
        label=text.TOKENIZER,
        info=text.TOKENIZER_HINT,
        elem_id="tokenizer",
    )
    box["vocab_size"] = gr.Slider(
        257, 8192, value=512, step=1, label=text.VOCABULARY, info=text.VOCABULARY_HINT, visible=False,
        elem_id="set-vocab_size", buttons=[],
    )  # fmt: skip
    box["cut"] = gr.Radio(list(text.CUTS), value=value["cut"], label=text.CUT, info=text.CUT_HINT, elem_id="cut")
    slider("steps", 10, 10_000, 10, "Steps")
    with gr.Accordion(text.DOCUMENTS, open=False, visible=False, elem_id="documents-settings") as of_documents:
        box["start_mark"] = gr.Checkbox(
            value["start_mark"], label=text.START_MARK, info=about["start_mark"], elem_id="set-start_mark"
        )
        slider("max_documents", 0, 10_000, 1, text.MAX_DOCUMENTS)
    with gr.Accordion("Shape of the model", open=False):
        slider("layers", 1, 12, 1, "Layers")
        slider("heads", 1, 12, 1, "Heads")
        slider("width", 8, 768, 4, "Width")
        slider("context", 2, 256, 1, "Context")
        slider("dropout", 0, 0.5, 0.05, "Dropout")
        box["positions"] = gr.Radio(
            list(text.POSITIONS), value=value["positions"], label="Positions", info=about["positions"],
            elem_id="set-positions",
        )  # fmt: skip
        box["activation"] = gr.Radio(
            list(text.ACTIVATIONS), value=value["activation"], label="Neurons", info=about["activation"],
            elem_id="set-activation",
        )  # fmt: skip
    with gr.Accordion("How it is trained", open=False):
        slider("batch_size", 1, 256, 1, "Batch")
        box["optimizer"] = gr.Radio(
            list(text.OPTIMIZERS), value=value["optimizer"], label="Optimizer", info=text.OPTIMIZER_HINT,
            elem_id="set-optimizer",
        )  # fmt: skip
        box["learning_rate"] = gr.Number(
            value["learning_rate"], label="Learning rate", info=about["learning_rate"], minimum=0, step=0.0001,
            elem_id="set-learning_rate",
        )  # fmt: skip
        box["muon_learning_rate"] = gr.Number(
            value["muon_learning_rate"], label="Muon's learning rate", info=about["muon_learning_rate"], minimum=0,
            step=0.001, elem_id="set-muon_learning_rate",
        )  # fmt: skip
        slider("warmup_steps", 0, 1000, 10, "Warm-up")
        slider("weight_decay", 0, 1, 0.01, "Weight decay")
        slider("grad_clip", 0, 10, 0.1, "Gradient limit")
        slider("val_fraction", 0, 0.5, 0.01, "Held out")
        box["seed"] = gr.Number(value["seed"], label="Seed", info=about["seed"], precision=0, minimum=0)
    with gr.Accordion(text.ANOTHER_MODEL, open=False, elem_id="another-model"):
        for field, label in (("teacher", text.TEACHER), ("embeddings_from", text.DONOR)):
            box[field] = gr.Dropdown(
                [(text.NOBODY, "")], value="", label=label, info=about[field], interactive=True,
                allow_custom_value=True, elem_id=f"set-{field}",
            )  # fmt: skip
        slider("teacher_share", 0, 1, 0.05, text.TEACHER_SHARE)
        slider("teacher_temperature", 0.5, 10, 0.5, text.TEACHER_TEMPERATURE)
    for made in box.values():
        if isinstance(made, gr.Slider):  # Gradio answers what is out of its range with an error that nobody sees
            made.preprocess = _as_typed  # type: ignore[method-assign]
    return box, of_documents


def _as_typed(payload: float) -> float:
    """What stands in a slider's box: the settings say themselves what they take."""
    return payload


def chosen(preset: str) -> list[Any]:
    """A recipe was chosen: its sentence, the text that goes with it, its values for every box, what they come to."""
    values = values_of(preset)
    example = next((title for title, key in corpora.choices() if key == PRESETS[preset].example), None)
    take = gr.update(value=text.TAKE_EXAMPLE.format(example) if example else "", visible=example is not None)
    return [PRESETS[preset].sentence, take, *values, foretell(None, preset, *values)]


class Look:
    """The handlers that show what a training would work on."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def take(self, token: str, preset: str) -> dict[str, Any]:
        """Work on the text that was written for a recipe."""

        @answering
        def take() -> dict[str, Any]:
            example = PRESETS[preset].example if preset in PRESETS else None
            corpus = corpora.take(example or corpora.DEFAULT)
            visitor = self._server.visitors.get(token)
            visitor.take_corpus(corpus)
            return corpora.describe(visitor)

        return take()

    def examples(self, token: str, preset: str, *values: Any) -> dict[str, Any]:
        """The first rows that a model would be shown."""

        @answering
        def rows() -> dict[str, Any]:
            return examples(self._server, self._server.visitors.get(token), preset, *values)

        return rows()

    def ahead(self, token: str, preset: str, *values: Any) -> str:
        """What the settings come to with the visitor's text."""
        try:
            visitor = self._server.visitors.get(token)
        except ValueError:
            visitor = None
        return foretell(visitor, preset, *values)

    def teachers(self, token: str) -> list[Any]:
        """The models that another one can learn from, for both lists."""
        try:
            owner = self._server.visitors.get(token).owner
        except ValueError:
            return [gr.skip(), gr.skip()]
        found = [(model["name"], model["ref"]) for model in self._server.models(owner)]
        return [gr.update(choices=[(text.NOBODY, ""), *found]) for _ in range(2)]


class Start:
    """The handler of the Train button."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def press(self, token: str, preset: str, name: str, *values: Any) -> Iterator[tuple[Any, Any]]:
        """Yields what the monitor and the notice show: how the preparation goes, then the run or what was wrong."""
        shares = [0.0]

        @answering
        def begin() -> dict[str, Any]:
            with worded():
                run = start(self._server, self._server.visitors.get(token), preset, name, values, shares.append)
            return {"run": run.info.id, "notes": " ".join(run.info.corpus.get("gave_way", []))}

        with ThreadPoolExecutor(1) as pool:
            job = pool.submit(begin)
            while not wait([job], _NEWS_S).done:
                learning = f"{text.LEARNING}: {shares[-1]:.0%}" if 0 < shares[-1] < 1 else text.PREPARING
                yield gr.skip(), {"text": learning, "kind": ""}
        reply = job.result()
        if reply["ok"]:
            yield {"run": reply["run"]}, {"text": reply["notes"], "kind": ""}
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
    limits = server.limits
    steps = recipe_of(preset, values).train.steps
    if steps > limits.steps:
        raise ConfigError(f"steps is {steps:,}; this server trains up to {limits.steps:,}.")
    corpus, data, prepared = prepare_run(server, visitor, preset, values, learning)
    config = prepared.recipe.model_config(prepared.tokenizer.vocab_size)
    if config.parameters() > limits.parameters:
        raise ConfigError(
            f"This model has {millions(config.parameters())} parameters and this server trains up to "
            f"{millions(limits.parameters)}: choose fewer layers, a smaller width or a smaller vocabulary."
        )
    called = (name or "").strip()[:80] or name_of(corpus.name, PRESETS[preset].title)
    owner = visitor.owner if limits.shared else None
    told = about(corpus) | {"data": data.to_dict(), "gave_way": list(prepared.notes)}
    folder = RunFolder.create(server.jobs.root / new_run_id(called), called, prepared.recipe, told, owner)
    try:
        return server.jobs.submit(Trainer(folder, prepared))
    except ValueError:
        folder.delete()
        raise


def name_of(corpus: str, title: str) -> str:
    """What a run is called when nobody gave it a name: after its text and its recipe, neither said twice."""
    text_name = corpus.rsplit(".", 1)[0]
    return title if title.lower().startswith(text_name.lower()) else f"{text_name}, {title[0].lower()}{title[1:]}"
