"""`python -m training CORPUS --preset NAME --out DIR`: the trainer at the console, the same as behind the page."""

from __future__ import annotations

import argparse
import dataclasses
import sys
import types
import typing
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tqdm import tqdm

from model import ConfigError, GPTConfig
from training.artifacts import from_yaml
from training.cleaning import accounts, add_flags, clean, from_options
from training.config import Recipe, TrainConfig
from training.corpus import DELIMITERS, JSONL_TYPES, Corpus, about, read_corpora, read_corpus
from training.events import BaselinesKnown, Copied, Evaluated, Failed, Finished, Sampled, Started, Stepped
from training.presets import DEFAULT, PRESETS
from training.runs import RunFolder
from training.setup import set_up
from training.trainer import Trainer


def parser() -> argparse.ArgumentParser:
    """The command line: every field of the model's shape and of TrainConfig is a flag with its own sentence."""
    p = argparse.ArgumentParser(
        prog="python -m training",
        description="Train a GPT on a text. Presets: "
        + "; ".join(f"{preset.name} ({preset.title})" for preset in PRESETS.values())
        + ".",
    )
    p.add_argument(
        "corpus", nargs="+", help="one or more files: .txt, .md, .csv, .tsv, .jsonl, .parquet, or a .zip of texts"
    )
    p.add_argument(
        "--preset", default=DEFAULT, choices=list(PRESETS), help=f"the recipe to start from (default {DEFAULT})"
    )
    p.add_argument("--out", required=True, help="the run's folder; must not hold a run yet")
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
            if field.name in _settings(cls):
                group.add_argument(f"--{field.name.replace('_', '-')}", **_flag(cls, field))
    return p


def _settings(cls: type) -> set[str]:
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


def main(argv: list[str] | None = None) -> int:
    """Run the program: 0 when the run ended well, 1 when it failed or was stopped, 2 when it could not begin."""
    options = vars(parser().parse_args(argv))
    known = _settings(Recipe) | _settings(GPTConfig) | _settings(TrainConfig)
    changes = {name: value for name, value in options.items() if name in known and value is not None}
    try:
        recipe = PRESETS[options["preset"]].recipe
        if options["config"]:
            recipe = from_yaml(_text_of(options["config"]), recipe)
        recipe = recipe.with_changes(changes | asdict(from_options(options, recipe.cleaning)))
        files = options["corpus"]
        name = options["name"] or f"{Path(files[0]).stem} {options['preset']}"
        if len(files) == 1:
            kind = "field" if Path(files[0]).suffix.lower() in JSONL_TYPES else "column"
            corpus = read_corpus(
                files[0],
                keep_good_lines=options["keep_good_lines"],
                delimiter=options["delimiter"],
                **{kind: options["column"]},
            )
        else:
            corpus = read_corpora(files, column=options["column"], keep_good_lines=options["keep_good_lines"])
        trainer = begin(Path(options["out"]), name, corpus, recipe, changes)
    except ValueError as error:
        print(f"python -m training: {getattr(error, 'console', error)}", file=sys.stderr)
        return 2
    return _follow(trainer, quiet=options["quiet"])


def begin(out: Path, name: str, corpus: Corpus, recipe: Recipe, chosen: Collection[str] = ()) -> Trainer:
    """Build tokenizer and data, make the run folder, and start training. Raises ValueError with a sentence.

    chosen: the settings that were given, and are not the preset's.
    """
    _say(f"{corpus.name}: {len(corpus.text):,} characters, {corpus.encoding}", *corpus.notes)
    if recipe.cleaning.active:
        cleaned = clean(corpus, recipe.cleaning)
        corpus = cleaned.corpus
        _say(*accounts(cleaned))
    prepared = set_up(corpus, recipe, chosen=chosen)
    _say(*prepared.notes)
    folder = RunFolder.create(out, name, prepared.recipe, about(corpus))
    trainer = Trainer(folder, prepared)
    trainer.start()
    return trainer


def _say(*sentences: str) -> None:
    for sentence in sentences:
        print(sentence)


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise ConfigError(f"{path} cannot be read ({reason}): give --config the path of a .yaml file.") from error


def _follow(trainer: Trainer, quiet: bool) -> int:
    """Show a run's events until it ends; Ctrl-C stops it and keeps its weights."""
    cursor = 0
    with tqdm(
        total=trainer.recipe.train.steps, unit="step", disable=True if quiet else None, dynamic_ncols=True
    ) as bar:
        while not (trainer.over and not trainer.log.since(cursor)[0]):
            try:
                trainer.log.wait(cursor, timeout=0.5)
                for event in trainer.log.since(cursor)[0]:
                    cursor += 1
                    _show(event, bar)
            except KeyboardInterrupt:
                trainer.stop()
    trainer.join()
    print(f"run folder: {trainer.folder.path}")
    return int(trainer.state != "finished")


def _show(event: object, bar: tqdm[Any]) -> None:
    """Print one event beside the progress bar."""
    match event:
        case Started():
            bar.write(f"{event.parameters:,} parameters on {event.device}")
        case Stepped():
            bar.update(event.step - bar.n)
            soft = {} if event.soft_loss is None else {"teacher": f"{event.soft_loss:.3f}"}
            bar.set_postfix(soft, loss=f"{event.loss:.3f}", tokens_per_s=f"{event.tokens_per_s:,.0f}", refresh=False)
        case Copied():
            bar.write(f"{event.rows:,} of {event.of:,} embedding rows were copied: {', '.join(event.tokens[:20])} …")
        case BaselinesKnown(nats=nats) if nats:
            listed = ", ".join(f"{name} {loss:.3f}" for name, loss in nats.items())
            bar.write(f"counting alone comes to (nats per token): {listed}")
        case Evaluated(val_loss=float()):
            bits = f", {event.bits_per_byte:.3f} bits per byte" if event.bits_per_byte is not None else ""
            best = " (best)" if event.best else ""
            bar.write(f"step {event.step}: validation loss {event.val_loss:.4f} nats per token{bits}{best}")
        case Evaluated(loss=float()):
            bar.write(
                f"step {event.step}: training loss {event.loss:.4f} nats per token, mean since the last measurement"
            )
        case Sampled():
            bar.write("  " + event.text.replace("\n", "\n  "))
        case Failed():
            bar.write(f"failed: {event.message}")
        case Finished():
            bar.write({"done": "done", "target": "target reached", "stopped": "stopped"}[event.reason])


if __name__ == "__main__":
    raise SystemExit(main())
