"""What a run leaves for people to read: its settings in one YAML file, its loss as a picture, its samples as a text."""

from __future__ import annotations

import functools
import io
import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

from model import ConfigError, GPTConfig
from model.checkpoint import write_atomically
from training.config import Recipe, TrainConfig
from training.events import BaselinesKnown, Evaluated, Event, Sampled, Started, Stepped
from training.files import shown
from training.origin import Data

_SECTIONS: dict[str, type] = {"model": GPTConfig, "train": TrainConfig}
_MARGIN = 46  # where the sentences begin
_DATA = "data"


def to_yaml(recipe: Recipe, heading: str = "", data: Data | None = None) -> str:
    """Every hyperparameter of a recipe, each with its sentence, and where its text came from; `from_yaml` and `data_of`
    read them back."""
    shape = recipe.model_config(2)
    values = {**recipe.to_dict(), "model": {f.name: getattr(shape, f.name) for f in fields(GPTConfig)}}
    values["model"].pop("vocab_size")  # follows from the text
    lines = [f"# {line}" for line in textwrap.wrap(shown(heading, 400), 100)]
    if data is not None:
        helps = {f.name: f.metadata["help"] for f in fields(Data)}
        lines += ["data:", *(_line(name, value, helps[name], "  ") for name, value in data.to_dict().items()), ""]
    for field in fields(Recipe):
        value = values[field.name]
        if isinstance(value, dict):
            owner = _SECTIONS.get(field.name) or type(getattr(recipe, field.name))
            helps = {f.name: f.metadata.get("help", "") for f in fields(owner)}
            lines += ["", f"{field.name}:", *(_line(name, value[name], helps[name], "  ") for name in value)]
        else:
            lines.append(_line(field.name, value, field.metadata.get("help", "")))
    return "\n".join(lines) + "\n"


def from_yaml(text: str, base: Recipe | None = None) -> Recipe:
    """The recipe in a YAML text; what it leaves out stays as in `base`. Raises ConfigError with a sentence."""
    changes: dict[str, Any] = {}
    parts = {name for name, value in Recipe().to_dict().items() if isinstance(value, Mapping)}
    for name, value in _settings(text).items():
        if name == _DATA:
            continue
        if name not in parts:
            changes[name] = value
        elif isinstance(value, Mapping):
            changes |= value
        else:
            raise ConfigError(f"{name} is not a list of settings: write them under it, a line each.")
    return (base or Recipe()).with_changes(changes)


def data_of(text: str) -> Data | None:
    """What a YAML text says of the text to train on; None where it says nothing. Raises ConfigError."""
    value = _settings(text).get(_DATA)
    if value is not None and not isinstance(value, Mapping):
        raise ConfigError("data is not a list of settings: write `files: [name.txt]` under it.")
    return None if value is None else Data.from_dict(value)


def _settings(text: str) -> dict[Any, Any]:
    """What stands in a YAML text. Raises ConfigError."""
    try:
        values = yaml.safe_load(text)
    except (yaml.YAMLError, TypeError) as error:  # TypeError: a key that cannot be one
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark is not None else ""
        raise ConfigError(
            f"the config is not YAML{where}: correct it there, or start from one that a run wrote."
        ) from error
    if not isinstance(values, dict):
        raise ConfigError("the config holds no settings: write lines such as `tokenizer: char`, or copy a run's own.")
    return values


def append_sample(path: Path, event: Sampled) -> None:
    """Add a sample to a run's samples.txt."""
    with path.open("a", encoding="utf-8", errors="replace") as file:
        file.write(f"--- step {event.step:,}\n{event.prompt}{event.text}\n\n")


def draw_loss(path: Path, events: Sequence[Event], title: str) -> None:
    """The loss of a run as a picture, PNG or SVG by the name of `path`: training, its running mean, validation, what
    counting alone gives; in nats per token at the left, and in bits per byte at the right."""
    from matplotlib.figure import Figure  # a second to load, and only a run's end needs it

    steps = [event for event in events if isinstance(event, Stepped)]
    evals = [event for event in events if isinstance(event, Evaluated) and event.val_loss is not None]
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    at, loss = [event.step for event in steps], [event.loss for event in steps]
    axes.plot(at, loss, color="#3b4cca", alpha=0.25, linewidth=0.8)
    axes.plot(at, smooth(loss), color="#3b4cca", label="training (smoothed)")
    if evals:
        axes.plot(
            [event.step for event in evals], [event.val_loss or 0.0 for event in evals],
            color="#d9822b", marker="o", markersize=3, label="validation",
        )  # fmt: skip
    counted = next((event.nats for event in events if isinstance(event, BaselinesKnown)), {})
    highest = max([*loss[:1], *(event.val_loss or 0.0 for event in evals)], default=0.0)
    for name, value in counted.items():
        if value <= highest:
            axes.axhline(value, color="#8a8fa3", linewidth=0.8, linestyle="--")
            axes.annotate(name, (1, value), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=8)
    axes.set(xlabel="step", ylabel="loss (nats per token)")
    size = next((event.bytes_per_token for event in events if isinstance(event, Started)), None)
    if size:
        nats = math.log(2) * size  # of a bit per byte
        axes.secondary_yaxis(
            "right", functions=(functools.partial(_times, 1 / nats), functools.partial(_times, nats))
        ).set_ylabel("bits per byte")
    axes.set_title(title.replace("$", r"\$"))  # matplotlib would read a formula between two dollar signs
    axes.spines["top"].set_visible(False)
    if steps:
        axes.legend(frameon=False, loc="upper right")  # a loss falls; to look for room takes seconds with many steps
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=150, format=path.suffix[1:])
    write_atomically(path, drawn.getvalue())


def _times(factor: float, values: Any) -> Any:
    """Numbers of an axis in another unit."""
    return values * factor


def smooth(values: Sequence[float], memory: float = 0.9) -> list[float]:
    """An exponential running mean, corrected for its start as Adam's moments are."""
    mean, weight, smoothed = 0.0, 0.0, []
    for value in values:
        mean = memory * mean + (1 - memory) * value
        weight = memory * weight + (1 - memory)
        smoothed.append(mean / weight)
    return smoothed


def write_recipe(path: Path, recipe: Recipe, name: str, data: Mapping[str, Any] | None = None) -> None:
    """A run's config.yaml: `python -m training --config config.yaml --out DIR` trains the same again."""
    heading = f'All settings of the run "{shown(name, 120)}". Train the same again with --config and this file.'
    where = None if data is None else Data.from_dict(data)
    write_atomically(path, to_yaml(recipe, heading, where).encode(errors="replace"))


def _line(name: str, value: Any, help: str, indent: str = "") -> str:
    written = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10**9)
    setting = f"{indent}{name}: {written.removesuffix(chr(10)).removesuffix('...').strip()}"
    return f"{setting:<{_MARGIN - 2}}  # {help}" if help else setting
