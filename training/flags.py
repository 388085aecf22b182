"""The flags of `python -m training`: the preset and the text by hand, every setting of a recipe from its own field."""

from __future__ import annotations

import argparse
import dataclasses
import types
import typing
from pathlib import Path
from typing import Any

from model import GPTConfig
from training.cleaning import add_flags
from training.config import Recipe, TrainConfig
from training.corpus import DELIMITERS
from training.presets import DEFAULT, EVERY


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
        "`python -m training.tokens` wrote; may be left out with the --config of a run, which says where its text lies",
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
    p.add_argument("--column", help="the column of a .csv that holds the text, or the field of a .jsonl")
    p.add_argument("--delimiter", choices=list(DELIMITERS), help="what parts the cells of a .csv (default: the best)")
    p.add_argument(
        "--keep-good-lines", action="store_true", help="skip broken lines of a .jsonl and ragged rows of a .csv"
    )
    p.add_argument("--config", type=Path, help="a .yaml of settings, as every run folder holds one; flags go before it")
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
