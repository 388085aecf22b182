"""The flags of `python -m training`: the preset and the text by hand, every setting of a recipe from its own field."""

from __future__ import annotations

import argparse
import dataclasses
import types
import typing
from collections.abc import Collection
from pathlib import Path
from typing import Any

from model import ConfigError, GPTConfig
from training.artifacts import data_of, from_yaml
from training.cleaning import add_flags
from training.config import Recipe, TrainConfig
from training.origin import Data, Found, add_data_flags, find_again, given_by
from training.presets import DEFAULT, EVERY
from training.tokens import TokenFiles, as_token_files


def parser() -> argparse.ArgumentParser:
    """The command line: every field of the model's shape and of TrainConfig is a flag with its own sentence."""
    p = argparse.ArgumentParser(
        prog="python -m training",
        description="Train a GPT on a text. Presets: "
        + "; ".join(f"{preset.name} ({preset.title})" for preset in EVERY.values())
        + ".",
    )
    p.add_argument(
        "corpus",
        nargs="*",
        help="one or more files: .txt, .md, .csv, .tsv, .jsonl, .parquet, or a .zip of texts; or a folder that "
        "`python -m training.tokens` wrote; may be left out with --hub, and with the --config of a run, which says "
        "where its text lies",
    )
    p.add_argument(
        "--preset", default=DEFAULT, choices=list(EVERY), help=f"the recipe to start from (default {DEFAULT})"
    )
    p.add_argument("--out", help="the run's folder; must not hold a run yet")
    p.add_argument(
        "--resume",
        metavar="RUN",
        type=Path,
        help="go on with the run in this folder, from its last checkpoint, with its own text and settings",
    )
    p.add_argument(
        "--more",
        metavar="N",
        type=int,
        help="with --resume and --fork: N steps from where the run stands, in place of those that are left; its "
        "schedule is stretched over all of them",
    )
    p.add_argument(
        "--rate",
        metavar="X",
        type=float,
        help="with --resume: a factor on the learning rate from there on, as it can be changed on the page",
    )
    p.add_argument(
        "--fork",
        metavar="RUN[@STEP]",
        help="begin a new run with the weights of this one, of a step that it kept, of `best`, or of `last`; with its "
        "text or the CORPUS, its tokenizer, and its settings but for those that are given",
    )
    p.add_argument(
        "--silence-head",
        metavar="LAYER.HEAD",
        action="append",
        help="with --fork: begin with this head's output at zero, counted from 1; may be given several times",
    )
    p.add_argument(
        "--go-on",
        action="store_true",
        help="where --out holds this very run already, unfinished, go on with it (after torchrun's restarts always)",
    )
    p.add_argument("--estimate", action="store_true", help="say what it will take in memory and time, and stop there")
    p.add_argument("--name", help="the run's name (default: the corpus and the preset)")
    add_data_flags(p)
    p.add_argument(
        "--config", type=Path, help="a .yaml of settings, as every run folder holds one; a flag wins over its line"
    )
    p.add_argument("--quiet", action="store_true", help="no progress bar")
    add_flags(p)
    for title, cls in (("text", Recipe), ("model", GPTConfig), ("training", TrainConfig)):
        group = p.add_argument_group(title)
        for field in dataclasses.fields(cls):
            if field.name in settings(cls):
                group.add_argument(f"--{field.name.replace('_', '-')}", **_flag(cls, field))
    return p


def settings(cls: type) -> set[str]:
    """The fields of a part of the recipe that are flags of their own."""
    names = {field.name for field in dataclasses.fields(cls)}
    return names - ({"model", "train", "cleaning"} if cls is Recipe else {"vocab_size"} if cls is GPTConfig else set())


def _flag(cls: type, field: dataclasses.Field[Any]) -> dict[str, Any]:
    """argparse's view of a dataclass field."""
    kind = typing.get_type_hints(cls)[field.name]
    if isinstance(kind, types.UnionType):
        kind = next(part for part in typing.get_args(kind) if part is not type(None))
    flag: dict[str, Any] = {"default": None, "help": field.metadata["help"].replace("%", "%%")}
    if typing.get_origin(kind) is typing.Literal:
        return flag | {"choices": list(typing.get_args(kind))}
    if kind is bool:
        return flag | {"action": argparse.BooleanOptionalAction}
    return flag | {"type": kind, "metavar": kind.__name__.upper()}


def changes_of(options: dict[str, Any]) -> dict[str, Any]:
    """The settings of a recipe that were given as flags of their own."""
    known = settings(Recipe) | settings(GPTConfig) | settings(TrainConfig)
    return {name: value for name, value in options.items() if name in known and value is not None}


def recipe_of(options: dict[str, Any]) -> Recipe:
    """The recipe to start from: the preset's, with the --config over it. Raises ConfigError."""
    recipe = EVERY[options["preset"]].recipe
    return from_yaml(_text_of(options["config"]), recipe) if options["config"] is not None else recipe


def chosen_by(options: dict[str, Any], changes: Collection[str]) -> set[str]:
    """The settings that were given as flags: a short text does not change them."""
    cleaning = any(value is not None for name, value in options.items() if name.startswith("clean_"))
    return {*changes, *(["cleaning"] if cleaning else [])}


def named(options: Collection[str]) -> str:
    """The flags of these options, for a sentence."""
    return ", ".join("CORPUS" if name == "corpus" else f"--{name.replace('_', '-')}" for name in options)


def text_to_train_on(options: dict[str, Any], recipe: Recipe) -> Found | TokenFiles:
    """The text of the arguments, else that of the run whose --config it is. Raises ValueError with a sentence."""
    given = given_by(options)
    if given.hub is None and (tokens := as_token_files(given.files)) is not None:
        return tokens
    if given.files:
        return Found(given.read(), given)
    config: Path | None = options["config"]
    if config is None:
        raise ConfigError("there is no text to train on: give a CORPUS, a data set by --hub, or the --config of a run.")
    data, known = data_of(_text_of(config)), Data()
    if data is not None:  # a flag wins over it
        changes = {name: value for name, value in given.to_dict().items() if value != known.to_dict()[name]}
        data = dataclasses.replace(data, **changes)
        if (tokens := as_token_files(data.files)) is not None:
            return tokens
    return find_again(config, data, recipe)


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise ConfigError(f"{path} cannot be read ({reason}): give --config the path of a .yaml file.") from error
