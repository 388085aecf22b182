"""From the boxes of the Train tab to a recipe, and to a training that can begin."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch

from explorer import corpora
from explorer.server import Server
from explorer.session import Visitor
from explorer.shelf import millions
from model import ConfigError, Tokenizer
from training.config import Recipe
from training.corpus import Corpus
from training.data import MASKED, build_tokenizer, documents_of, trained_part
from training.estimate import amount, check_fits, duration, foreseen, row_tokens
from training.fitting import GIVES_WAY, cleaned
from training.origin import Data
from training.presets import PRESETS
from training.setup import Prepared, set_up

_EVALS = 5  # at least so many measurements of a run
_TEXT_FIELDS = ("tokenizer", "vocab_size", "cut", "start_mark", "max_documents")
_SHAPE_FIELDS = ("layers", "heads", "width", "context", "dropout", "positions", "activation")
_TRAIN_FIELDS = (
    "steps", "batch_size", "optimizer", "learning_rate", "muon_learning_rate", "warmup_steps", "weight_decay",
    "grad_clip", "val_fraction", "seed", "teacher", "teacher_share", "teacher_temperature", "embeddings_from",
)  # fmt: skip
DECIDED_WITH_THE_TEXT = (
    *_TEXT_FIELDS, "context", "batch_size", "val_fraction", "seed", "teacher", "embeddings_from"
)  # fmt: skip
"""The settings that decide with a text what examples look like, and what has to give way to it."""
FIELDS = (*_TEXT_FIELDS, *_SHAPE_FIELDS, *_TRAIN_FIELDS)
"""The settings that the page offers; the command line has the others too."""
_EXAMPLES = 5
GPT2_TOKENS = 50_257
# Gradio looks every text that is a component's value up in its own translations, and "blocks" is a group of them there.
_ON_PAGE = {"cut": {"blocks": "stream"}}


def values_of(preset: str) -> list[Any]:
    """The preset's value of each of FIELDS, as its box has it."""
    recipe = PRESETS[preset].recipe
    config = recipe.model_config(recipe.vocab_size)
    return [
        *(_on_page(field, getattr(recipe, field)) for field in _TEXT_FIELDS),
        *(getattr(config, field) for field in _SHAPE_FIELDS),
        *(getattr(recipe.train, field) for field in _TRAIN_FIELDS),
    ]


def recipe_of(preset: str, values: tuple[Any, ...]) -> Recipe:
    """The recipe that the boxes describe. Raises ConfigError naming the box and a value that works."""
    if preset not in PRESETS:
        raise ConfigError(f"There is no recipe called {preset!r}: choose one of {', '.join(PRESETS)}.")
    usual = dict(zip(FIELDS, values_of(preset), strict=True))
    given = dict(zip(FIELDS, values, strict=True))
    recipe = PRESETS[preset].recipe.with_changes({name: _read(name, given[name], usual[name]) for name in FIELDS})
    often = max(1, recipe.train.steps // _EVALS)  # a short run is measured and sampled as often as a long one
    return recipe.with_changes(
        {"eval_every": min(recipe.train.eval_every, often), "sample_every": min(recipe.train.sample_every, often)}
    )


def _on_page(name: str, value: Any) -> Any:
    """A setting as its box has it."""
    return _ON_PAGE.get(name, {}).get(value, value)


def _read(name: str, value: Any, usual: Any) -> Any:
    """What stands in a box, as the kind of value that the setting has."""
    if isinstance(usual, str):
        return next((ours for ours, shown in _ON_PAGE.get(name, {}).items() if shown == value), value or "")
    number = isinstance(value, int | float) and abs(value) < 1e300  # neither nan nor infinity
    if not number:
        raise ConfigError(f"{name.replace('_', ' ')} is empty: enter a number, or choose the recipe again.")
    return type(usual)(value)


def changed(preset: str, values: tuple[Any, ...]) -> set[str]:
    """The settings that stand otherwise than in the preset: those that a person chose."""
    return {name for name, value, usual in zip(FIELDS, values, values_of(preset), strict=True) if value != usual}


@dataclass(frozen=True)
class Fit:
    """How a recipe comes out for a text. changes: the settings that a text decides with; vocab_size: entries; row:
    tokens of a row on average."""

    changes: dict[str, Any]
    vocab_size: int
    row: float

    @classmethod
    def of(cls, prepared: Prepared) -> Fit:
        """That of a training that could begin."""
        recipe, entries = prepared.recipe, prepared.tokenizer.vocab_size
        settled = {**vars(recipe), **vars(recipe.train), "context": recipe.model_config(entries).context}
        changes = {name: settled[name] for name in GIVES_WAY if name != "cleaning"}
        return cls(changes, entries, row_tokens(prepared.data, recipe.train.batch_size))


def _fit_key(preset: str, values: Sequence[Any]) -> tuple[Any, ...]:
    given = dict(zip(FIELDS, values, strict=True))
    return preset, *(given[name] for name in DECIDED_WITH_THE_TEXT)


def foretell(visitor: Visitor | None, preset: str, *values: Any) -> str:
    """What the settings come to, before anything starts; or what is wrong with them.

    What it costs follows from the visitor's text as well, and is told once that was prepared for these settings.
    """
    try:
        recipe = recipe_of(preset, values)
        fit = None if visitor is None else visitor.fits.get(_fit_key(preset, values))
        if fit is not None:
            recipe = recipe.with_changes(fit.changes)
        check_fits(recipe.model_config(fit.vocab_size if fit is not None else _entries(recipe)), recipe.train)
    except ValueError as error:
        return f"**Cannot be trained:** {in_words(error)}"
    train = recipe.train
    body = 2 * recipe.model_config(1).parameters() - recipe.model_config(2).parameters()  # less 1 entry's share
    most = "up to " if recipe.cut == "documents" else ""
    seen = train.steps * train.batch_size * train.accumulate * recipe.model_config(1).context
    cost = ""
    if fit is not None:
        found = foreseen(recipe.model_config(fit.vocab_size), train, 1, measure=True, row=fit.row)
        seconds = found.seconds or 0.0
        cost = f" That takes about {amount(found.memory)} of memory, and {duration(seconds)} on this machine."
    return (
        f"{millions(body)} parameters besides the vocabulary; "
        f"it will read {most}{seen:,} tokens in {train.steps:,} steps.{cost}"
    )


def _entries(recipe: Recipe) -> int:
    """Of the vocabulary, at least, before a text tells."""
    return {"bpe": recipe.vocab_size, "gpt2": GPT2_TOKENS}.get(recipe.tokenizer, 2)


_BOXES = {
    "muon_learning_rate": "Muon's learning rate", "learning_rate": "learning rate", "batch_size": "batch",
    "warmup_steps": "warm-up", "weight_decay": "weight decay", "grad_clip": "gradient limit",
    "val_fraction": "held out", "vocab_size": "vocabulary", "max_documents": "most documents",
    "teacher_share": "the teacher's share", "teacher_temperature": "its temperature",
    "embeddings_from": "embeddings from",
}  # fmt: skip
_ELSEWHERE = re.compile(r" \(accumulate [^)]*\)")  # a setting without a box


def in_words(error: Exception | str) -> str:
    """A sentence for the page: its boxes have labels where the command line has names, and some are there alone."""
    said = str(error)
    sentence = _ELSEWHERE.sub("", said)
    for name, label in _BOXES.items():
        sentence = re.sub(rf"\b{name}\b", label, sentence, flags=re.IGNORECASE)
    return sentence[:1].upper() + sentence[1:] if said[:1].isupper() else sentence


@contextmanager
def worded() -> Iterator[None]:
    """For `with` around what refuses settings: its sentence is said in the words of the page."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(in_words(error)) from error


def text_of(visitor: Visitor, recipe: Recipe) -> tuple[Corpus, Recipe, str]:
    """The text that a recipe trains on, cleaned; the recipe with that cleaning; and a sentence where that is not the
    whole of the recipe's. Raises CorpusError.

    The steps that the visitor chose go before those of the recipe.
    """
    own = corpora.text_of(visitor)
    if visitor.cleaning.active or not recipe.cleaning.active:
        return own, recipe.with_changes(vars(visitor.cleaning)), ""
    done, recipe, note = cleaned(own, recipe, ())
    return done.corpus, recipe, note


def prepare_run(
    server: Server,
    visitor: Visitor,
    preset: str,
    values: tuple[Any, ...],
    learning: Callable[[float], None] | None = None,
) -> tuple[Corpus, Data, Prepared]:
    """The text, where it came from, and all that a training of these boxes needs. Raises ValueError with a sentence.

    The visitor may take another text while this one is prepared.

    learning: told how far a byte-pair vocabulary has been learnt, 0 to 1.
    """
    recipe, fits = recipe_of(preset, values), visitor.fits
    corpus, recipe, note = text_of(visitor, recipe)
    data = corpora.origin(visitor, corpus)
    others = {name: server.checkpoint_of(ref) for name in ("teacher", "embeddings_from") if (ref := _ref(recipe, name))}
    recipe = recipe.with_changes({name: str(path) for name, path in others.items()})

    def learn(wanted: Recipe) -> Tokenizer:
        return visitor.tokenizer(wanted, corpus, lambda: build_tokenizer(corpus, wanted, learning))

    prepared = set_up(corpus, recipe, learn, changed(preset, values))
    fits[_fit_key(preset, values)] = Fit.of(prepared)
    return corpus, data, replace(prepared, notes=(*([note] if note else []), *prepared.notes))


def _ref(recipe: Recipe, name: str) -> str:
    return str(getattr(recipe.train, name))


def examples(server: Server, visitor: Visitor, preset: str, *values: Any) -> dict[str, Any]:
    """What a model will be shown: the first rows of the first batch, input over target. Raises ValueError.

    rows[].input, rows[].target: [text, kind] of each token; a target that is masked out of the loss is null.
    start_mark: whether documents begin with the end-of-text token. reads: what of the visitor's text they are cut from;
    documents: [taken, all], where not all are; cleaned: the recipe's own steps, where it cleans.
    """
    own = None
    while own is not (now := corpora.text_of(visitor)):  # again where another one was taken meanwhile
        own = now
        corpus, _, prepared = prepare_run(server, visitor, preset, values)
    recipe, tokenizer, data = prepared.recipe, prepared.tokenizer, prepared.data
    order = torch.Generator().manual_seed(recipe.train.seed)
    inputs, targets = data.batch(recipe.train.batch_size, order)

    def piece(token: int) -> list[str] | None:
        found = tokenizer.piece(token) if token != MASKED else None
        return None if found is None else [found.text, found.kind]

    rows = [
        {
            "input": [piece(token) if wanted != MASKED else None for token, wanted in zip(row, aims, strict=True)],
            "target": [piece(token) for token in aims],
        }
        for row, aims in zip(inputs[:_EXAMPLES].tolist(), targets[:_EXAMPLES].tolist(), strict=True)
    ]
    facts = [f"The vocabulary has {tokenizer.vocab_size:,} tokens"]
    reads: dict[str, Any] = {"characters": len(corpus.text)}
    if recipe.cut == "documents":
        every = documents_of(corpus)
        whole = every[: recipe.max_documents or None]
        facts.insert(0, f"{len(whole):,} {f'of {len(every):,} ' if len(whole) < len(every) else ''}documents")
        if len(whole) < len(every):
            reads |= {"characters": len(trained_part(corpus, recipe).text), "documents": [len(whole), len(every)]}
        longer = sum(end - begin > data.context + 1 for begin, end in _documents(data))
        if longer:
            facts.append(f"Longer than the context of {data.context}, and therefore cut: {longer:,}")
    else:
        facts.insert(0, f"A stream of {len(data.train):,} tokens")
    read = now.text
    if not visitor.cleaning.active and recipe.cleaning.active:
        reads["cleaned"] = str(recipe.cleaning)
    if len(corpus.text) < len(read) and not visitor.cleaning.active:
        steps = f"The recipe cleans the text first ({recipe.cleaning})"
        facts.insert(0, f"{steps}: {len(corpus.text):,} of {len(read):,} characters stay")
    usual = PRESETS[preset].recipe.cleaning
    if visitor.cleaning.active and usual.active and visitor.cleaning != usual:
        facts.insert(0, f"Your own cleaning stays. The recipe's would be: {usual}")
    return {
        "cut": recipe.cut,
        "start_mark": recipe.cut == "documents" and recipe.start_mark,
        "rows": rows,
        "facts": facts,
        "notes": list(prepared.notes),
        "name": corpus.name,
        "reads": reads,
    }


def _documents(data: Any) -> list[list[int]]:
    spans: list[list[int]] = torch.cat([data.train_documents, data.val_documents]).tolist()
    return spans
