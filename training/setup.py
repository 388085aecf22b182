"""From a corpus and a recipe to all that a trainer needs: the same path for the page and for the command line."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace

from torch import Tensor

from model import GPT, Checkpoint, ConfigError, Tokenizer, open_checkpoint
from training.config import Recipe
from training.corpus import Corpus
from training.data import Data, build_tokenizer, check_vocabulary, documents_of, prepare
from training.distill import Teacher
from training.estimate import check_fits
from training.files import shown_list
from training.fitting import GIVES_WAY, TOO_SMALL, fewer_rows, give_way
from training.kept import Texts, texts_of


@dataclass(frozen=True)
class Beginning:
    """Weights to begin with, on the CPU, and the updates that they have had. tensors: the optimizer's state (and the
    random generator's), as LoopState.tensors has them; none where these begin anew."""

    model: GPT
    step: int
    tensors: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Prepared:
    """A training that can begin: recipe (as it will be carried out), tokenizer, data; teacher and donor where asked."""

    recipe: Recipe
    tokenizer: Tokenizer
    data: Data
    teacher: Teacher | None = None
    donor: Checkpoint | None = None
    texts: Texts | None = None
    """The text itself, which a run keeps so that what the model writes can be held against it."""
    beginning: Beginning | None = None
    """Where a fork begins; None: with fresh weights."""
    notes: tuple[str, ...] = ()
    """What was done otherwise than the recipe said, in sentences."""


def set_up(
    corpus: Corpus,
    recipe: Recipe,
    learn: Callable[[Recipe], Tokenizer] | None = None,
    chosen: Collection[str] | None = None,
) -> Prepared:
    """Tokenizer, tensors, teacher and donor of a recipe. Raises ValueError with a sentence; nothing is written.

    learn: gives the tokenizer of a recipe, for whoever keeps those that were learnt. A student takes over its teacher's
    vocabulary. chosen: settings that a person set (None: all of them); a preset's own give way to what a short text
    allows (fitting.py), and `notes` say so.
    """
    train, notes = recipe.train, list[str]()
    chosen = GIVES_WAY if chosen is None else chosen
    learn = learn or (lambda wanted: build_tokenizer(corpus, wanted))
    master = _open(train.teacher, "teacher") if train.teacher else None
    donor = _open(train.embeddings_from, "embeddings_from") if train.embeddings_from else None
    given = master.tokenizer if master is not None else None
    if given is not None:
        recipe, note = _as_its_teacher(recipe, given)
        notes += [note] if note else []
        chosen = {*chosen, "tokenizer", "vocab_size"}
    while True:
        try:
            tokenizer = given or learn(recipe)
            check_vocabulary(tokenizer)
            config = recipe.model_config(tokenizer.vocab_size)
            text_first = config.context >= len(corpus.text.encode(errors="replace"))  # too short for it, most likely
            if not text_first:
                check_fits(config, recipe.train)
            data = prepare(corpus, tokenizer, recipe)
            if text_first:
                check_fits(config, recipe.train)
            break
        except TOO_SMALL as error:
            if (less := give_way(error, recipe, chosen)) is None:
                raise
            recipe, note = less
            notes.append(note)
    recipe = _with_sample_prompt(recipe, corpus, tokenizer)
    if unknown := tokenizer.encode_known(recipe.train.sample_prompt).unknown:
        left_out = shown_list(tuple(dict.fromkeys(gap.text for gap in unknown)))
        notes.append(f"The text does not have what samples are to begin with: {left_out} is left out there.")
    if (less := fewer_rows(recipe, data, chosen)) is not None:
        recipe, note = less
        notes.append(note)
    teacher = None
    if master is not None:
        teacher = Teacher.of(master, tokenizer, data.context, train.teacher_share, train.teacher_temperature)
    width = recipe.model_config(tokenizer.vocab_size).width
    if donor is not None and donor.config.width != width:
        raise ConfigError(
            f"embeddings_from is a model of width {donor.config.width}, and this one is {width} wide: set the width to "
            f"{donor.config.width}."
        )
    return Prepared(recipe, tokenizer, data, teacher, donor, texts_of(corpus, recipe), notes=tuple(notes))


_READ = {"char": "characters", "word": "words", "words": "words without blanks", "bpe": "byte pairs", "gpt2": "GPT-2's"}


def _as_its_teacher(recipe: Recipe, given: Tokenizer) -> tuple[Recipe, str]:
    """The recipe with the vocabulary of its teacher, and a sentence where that is another one."""
    taught = recipe.with_changes({"tokenizer": given.kind})
    if given.kind == "bpe":
        taught = taught.with_changes({"vocab_size": given.vocab_size})
    if (taught.tokenizer, taught.vocab_size) == (recipe.tokenizer, recipe.vocab_size):
        return recipe, ""
    size = f", {recipe.vocab_size:,}" if recipe.tokenizer == "bpe" else ""
    return taught, (
        f"A student reads with its teacher's vocabulary: {_READ[given.kind]}, {given.vocab_size:,}, where the recipe "
        f"has {_READ[recipe.tokenizer]}{size}."
    )


def _with_sample_prompt(recipe: Recipe, corpus: Corpus, tokenizer: Tokenizer) -> Recipe:
    """Where no beginning is learnt, samples begin with the first two words of the first document."""
    if recipe.cut == "blocks" or recipe.start_mark or recipe.train.sample_prompt:
        return recipe
    words = " ".join(documents_of(corpus)[0].split()[:2]) if documents_of(corpus) else ""
    return replace(recipe, train=replace(recipe.train, sample_prompt=words))


def _open(path: str, field: str) -> Checkpoint:
    try:
        return open_checkpoint(path)
    except ValueError as error:
        raise ConfigError(f"{field}: {error}") from error
