"""What a run leaves for people to read: its settings in one YAML file, its loss as a picture, its samples as a text."""

from __future__ import annotations

import functools
import io
import math
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import yaml

from model import ConfigError, GPTConfig
from model.checkpoint import write_atomically
from training.config import Recipe, TrainConfig
from training.events import BaselinesKnown, Evaluated, Event, Sampled, Started, Stepped
from training.files import shown
from training.origin import Data

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Annotation


class _Reader(yaml.SafeLoader):
    """YAML as people write it: 3e-4 is a number, as in YAML 1.2, and no setting stands twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [self.construct_object(key, deep=True) for key, _ in node.value]
        for (key, _), name in zip(node.value, names, strict=True):
            if names.count(name) > 1:
                raise _Twice(None, None, f"{shown(str(name))} stands there twice", key.start_mark)
        return super().construct_mapping(node, deep)


class _Twice(yaml.MarkedYAMLError):
    """A setting that stands twice."""


class _Writer(yaml.SafeDumper):
    """Quotes a text that `_Reader` would take for a number."""


for each in (_Reader, _Writer):
    each.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
    )

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
        values = yaml.load(text, _Reader)
    except _Twice as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise ConfigError(
            f"the config is not clear: {error.problem}, at line {line} for the first time. Keep one."
        ) from error
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
    """The loss of a run as a picture, PNG or SVG by the name of `path`."""
    drawn = io.BytesIO()
    loss_figure(events, title).savefig(drawn, format=path.suffix[1:])
    write_atomically(path, drawn.getvalue())


def loss_figure(events: Sequence[Event], title: str) -> Figure:
    """Training, its running mean, validation, and what counting alone gives, with a diamond at the step that beats it;
    in nats per token at the left, and in bits per byte at the right."""
    from matplotlib.figure import Figure  # a second to load, and only a run's end needs it

    steps = [event for event in events if isinstance(event, Stepped)]
    evals = [event for event in events if isinstance(event, Evaluated) and event.val_loss is not None]
    figure = Figure(figsize=(8, 4.5), dpi=150, layout="constrained")
    axes = figure.subplots()
    at, loss = [event.step for event in steps], [event.loss for event in steps]
    axes.plot(at, loss, color="#3b4cca", alpha=0.25, linewidth=0.8)
    axes.plot(at, smooth(loss), color="#3b4cca", label="training (smoothed)")
    if evals:
        axes.plot(
            [event.step for event in evals], [event.val_loss or 0.0 for event in evals],
            color="#d9822b", marker="o", markersize=3, label="validation",
        )  # fmt: skip
    axes.set(xlabel="step", ylabel="loss (nats per token)")
    size = next((event.bytes_per_token for event in events if isinstance(event, Started)), None)
    if size:
        nats = math.log(2) * size  # of a bit per byte
        axes.secondary_yaxis(
            "right", functions=(functools.partial(_times, 1 / nats), functools.partial(_times, nats))
        ).set_ylabel("bits per byte" + (" (validation)" if evals else ""))
    axes.set_title(title.replace("$", r"\$"))  # matplotlib would read a formula between two dollar signs
    axes.spines["top"].set_visible(False)
    counted = next((event.nats for event in events if isinstance(event, BaselinesKnown)), {})
    highest = max([*loss[:1], *(event.val_loss or 0.0 for event in evals)], default=0.0)
    labels = _draw_baselines(axes, {name: value for name, value in counted.items() if value <= highest}, evals)
    if steps:
        figure.legend(frameon=False, loc="outside lower center", ncols=3)  # a place of its own, whatever the curves do
    if labels:
        _place(figure, axes, labels)
    return figure


def first_below(evals: Sequence[Evaluated], value: float) -> int | None:
    """The step of the first evaluation below a loss; None where none is. Before the first step nothing is learnt."""
    return next((e.step for e in evals if e.step > 0 and e.val_loss is not None and e.val_loss < value), None)


def _draw_baselines(axes: Axes, counted: Mapping[str, float], evals: Sequence[Evaluated]) -> list[Annotation]:
    """Dashed lines as far as the curves go, and diamonds. Returns their labels, from the lowest up, not yet placed."""
    if not counted:
        return []
    (left, _), (_, last) = axes.get_xlim(), axes.dataLim.intervalx
    axes.hlines(list(counted.values()), left, last, color="#8a8fa3", linewidth=0.8, linestyle="--")
    now = (evals[-1].val_loss if evals else None) or 0.0
    lead = {"arrowstyle": "-", "color": "#8a8fa3", "linewidth": 0.8, "relpos": (0, 0.5)}
    labels, beaten = [], []
    for name, value in sorted(counted.items(), key=lambda item: item[1]):
        step, said = first_below(evals, value), f"{name} {value:.2f}"
        if step is not None:
            said += f"\nbeaten by step {step:,}" + (", not at the end" if now >= value else "")
            beaten.append((step, value))
        labels.append(
            axes.annotate(said, (last, value), (0, 0), "data", "axes fraction", lead, va="center", fontsize=8)
        )
    if beaten:
        axes.plot(
            [step for step, _ in beaten], [value for _, value in beaten], color="#d9822b", marker="D", markersize=6,
            markeredgecolor="white", linestyle="", zorder=3, label="first evaluation below the line",
        )  # fmt: skip
    axes.set_xlim(left, last)
    return labels


def _place(figure: Figure, axes: Axes, labels: Sequence[Annotation]) -> None:
    """Labels right of the curves, in room made for them, each as near to the height of its line as others let it."""
    from matplotlib.text import Text

    figure.draw_without_rendering()  # all but the labels has its place now
    frame, texts = axes.get_window_extent(), [Text.get_window_extent(label) for label in labels]
    margin = 0.03
    room = 1.5 * margin + max(text.width for text in texts) / frame.width
    (left, last), (low, high) = axes.get_xlim(), axes.get_ylim()
    axes.set_xlim(left, left + (last - left) / (1 - room))
    axes.set_xticks([tick for tick in axes.get_xticks() if left <= tick <= last])
    wanted = [(label.xy[1] - low) / (high - low) for label in labels]
    for label, height in zip(
        labels, apart(wanted, 1.3 * max(text.height for text in texts) / frame.height), strict=True
    ):
        label.set_position((1 - room + margin, height))


def apart(wanted: Sequence[float], gap: float) -> list[float]:
    """Places between 0 and 1 that are `gap` from each other and half of it from both ends, and together as near as can
    be to those that are wanted, which ascend: neighbours that are too close move as one, around their middle."""
    groups: list[list[float]] = []
    for i, place in enumerate(wanted):
        groups.append([place - i * gap])
        while len(groups) > 1 and fmean(groups[-2]) > fmean(groups[-1]):
            groups[-2:] = [groups[-2] + groups[-1]]
    free = [fmean(group) for group in groups for _ in group]
    highest = 1 - gap * (len(free) - 0.5)
    return [max(gap / 2, min(place, highest)) + i * gap for i, place in enumerate(free)]


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
    written = yaml.dump(value, Dumper=_Writer, default_flow_style=True, allow_unicode=True, width=10**9)
    setting = f"{indent}{name}: {written.removesuffix(chr(10)).removesuffix('...').strip()}"
    return f"{setting:<{_MARGIN - 2}}  # {help}" if help else setting
