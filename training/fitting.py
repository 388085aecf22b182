"""A recipe's own settings give way to a short text; a setting that a person chose never does, and is refused instead.

recipe, sentence = give_way(error, recipe, chosen)   # or None: then the error stands
"""

from __future__ import annotations

from collections.abc import Collection

from model.tokenizer import VocabularyTooLarge
from training.cleaning import Cleaned, Cleaning, clean
from training.config import Recipe
from training.corpus import Corpus, CorpusError, TooShort
from training.data import Blocks, Data, OneDocument, OneToken

GIVES_WAY = ("tokenizer", "vocab_size", "cut", "context", "batch_size", "val_fraction", "cleaning")
"""Settings of a recipe that a short text may change."""
TOO_SMALL = (VocabularyTooLarge, TooShort, OneDocument, OneToken)
"""What a text is refused with that is too small for a recipe."""
_FEW = 16  # tokens: a shorter context than this is a worse choice than holding nothing out
_FEWEST = 4
_WORDS = 12  # a text of fewer tokens is better cut into characters

Instead = tuple[dict[str, object], str]


def give_way(error: Exception, recipe: Recipe, chosen: Collection[str]) -> tuple[Recipe, str] | None:
    """The recipe that a text of this size allows, and a sentence about it; None where it would take what was chosen.

    error: one of TOO_SMALL.
    """
    changes, note = _instead(error, recipe, chosen)
    return (recipe.with_changes(changes), note) if changes else None


def _instead(error: Exception, recipe: Recipe, chosen: Collection[str]) -> Instead:
    characters: Instead = {"tokenizer": "char"}, "The text has too few words, so it is cut into characters."
    match error:
        case VocabularyTooLarge() if "vocab_size" not in chosen:
            note = f"The text allows a vocabulary of {error.possible:,} and not {recipe.vocab_size:,}."
            return {"vocab_size": error.possible}, note
        case OneDocument() if "cut" not in chosen:
            return {"cut": "blocks"}, "The text is one document, so it is read as one stream."
        case OneToken() if "tokenizer" not in chosen and recipe.tokenizer != "char":
            return characters
        case TooShort():
            whole = error.train + error.held_out
            if whole < _WORDS and recipe.tokenizer not in ("char", "gpt2") and "tokenizer" not in chosen:
                return characters
            most = min(error.train // 2, error.held_out - 1 if error.held_out else error.train)
            free = "context" not in chosen
            if free and error.held_out and "val_fraction" not in chosen and most < _FEW:
                return {"val_fraction": 0.0}, "Nothing is held out: a part of so short a text is too little for that."
            if free and _FEWEST <= most < error.context:
                most = most // 8 * 8 or most
                return {"context": most}, f"The text allows a context of {most:,} and not {error.context:,}."
    return {}, ""


def fewer_rows(recipe: Recipe, data: Data, chosen: Collection[str]) -> tuple[Recipe, str] | None:
    """The recipe with no more stretches in a step than the text has different ones; None where there are enough."""
    rows = len(data.train) - data.context if isinstance(data, Blocks) else len(data.train_spans)
    if "batch_size" in chosen or recipe.train.batch_size <= rows:
        return None
    note = f"A step reads {rows:,} stretches of text and not {recipe.train.batch_size:,}: there are no more."
    return recipe.with_changes({"batch_size": rows}), note


def cleaned(corpus: Corpus, recipe: Recipe, chosen: Collection[str]) -> tuple[Cleaned, Recipe, str]:
    """A text cleaned as a recipe says, the recipe with what was done, and a sentence where less was done than it says.

    Where the recipe's own steps leave nothing, its least words go, then all steps. Raises CorpusError where a person
    chose them ("cleaning").
    """
    steps = recipe.cleaning
    try:
        return clean(corpus, steps), recipe, ""
    except CorpusError:
        if "cleaning" in chosen:
            raise
    for fewer, said in (
        (Cleaning(**{**steps.to_dict(), "min_words": 0, "min_characters": 0}), "short lines stay"),
        (Cleaning(), "it is not cleaned"),
    ):
        try:
            done = clean(corpus, fewer)
        except CorpusError:
            continue
        note = f"The recipe's cleaning ({steps}) would leave nothing of the text: {said}."
        return done, recipe.with_changes(fewer.to_dict()), note
    return clean(corpus, steps), recipe, ""  # raises once more: nothing can be learnt from this text
