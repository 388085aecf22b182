"""The text that a run was trained on, kept in its folder, so that what the model writes can be held against it later.

<run>/corpus/train.txt.gz       what it learnt from
<run>/corpus/held-out.txt.gz    what it was measured on and never learnt from; missing where nothing was held out
<run>/corpus/documents.json.gz  characters of each document in train.txt; missing where its lines are the documents
<run>/corpus/held-out.json.gz   the same of held-out.txt

Plain text, UTF-8, gzip: `zcat` reads it. Deleting the folder of the run deletes it too.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from model.checkpoint import write_atomically
from training.config import Recipe
from training.corpus import Corpus, split_documents, split_text
from training.data import documents_of, trained_part

FOLDER = "corpus"
TRAIN, _HELD_OUT = "train.txt.gz", "held-out.txt.gz"
_DOCUMENTS, _HELD_DOCUMENTS = "documents.json.gz", "held-out.json.gz"


@dataclass(frozen=True)
class Texts:
    """The two parts of a corpus: what a model learns from, and what it is measured on ("" where nothing is held out).

    Documents are joined by line breaks.
    """

    train: str = field(repr=False)
    held_out: str = field(repr=False)
    lengths: tuple[int, ...] | None = field(default=None, repr=False)
    """Characters of each document in `train`, where one has several lines; None: each line is one."""
    held_lengths: tuple[int, ...] | None = field(default=None, repr=False)
    """The same of `held_out`."""

    def documents(self) -> list[str]:
        """The documents that were learnt from; lines that are not blank, where `lengths` does not tell them apart."""
        return _parted(self.train, self.lengths)

    def held_out_documents(self) -> list[str]:
        """The documents that were held out, told apart in the same way."""
        return _parted(self.held_out, self.held_lengths)


def texts_of(corpus: Corpus, recipe: Recipe) -> Texts:
    """The parts of a corpus under a recipe, split where the training data is split. Raises CorpusError."""
    corpus, fraction = trained_part(corpus, recipe), recipe.train.val_fraction
    if recipe.cut == "documents":
        train, held_out = split_documents(documents_of(corpus), fraction)
        return Texts("\n".join(train), "\n".join(held_out), _lengths(train), _lengths(held_out))
    return Texts(*split_text(corpus.text, fraction, recipe.tokenizer in ("word", "words")))


def documents_are_lines(texts: Texts, recipe: Recipe) -> bool:
    """Whether each line of the texts is a document, as with posts: what stands in two lines is not one piece then."""
    return recipe.cut == "documents" and texts.lengths is None


def keep_text(folder: Path, texts: Texts) -> None:
    """Keep the texts of a run in its folder; what was kept there before is replaced. Raises OSError."""
    place = folder / FOLDER
    place.mkdir(parents=True, exist_ok=True)
    lengths = ["" if each is None else json.dumps(each) for each in (texts.lengths, texts.held_lengths)]
    for name, text in ((_HELD_OUT, texts.held_out), (_DOCUMENTS, lengths[0]), (_HELD_DOCUMENTS, lengths[1])):
        if text:
            write_atomically(place / name, _packed(text))
        else:
            (place / name).unlink(missing_ok=True)
    write_atomically(place / TRAIN, _packed(texts.train))  # last: where it stands, all of them do


def read_text(folder: Path) -> Texts | None:
    """The texts of the run in this folder; None where none were kept (as by older versions) or they are damaged."""
    try:
        train = _unpacked(folder / FOLDER / TRAIN)
        held_out = folder / FOLDER / _HELD_OUT
        lengths = [
            tuple(map(int, json.loads(_unpacked(path)))) if path.exists() else None
            for path in (folder / FOLDER / _DOCUMENTS, folder / FOLDER / _HELD_DOCUMENTS)
        ]
        return Texts(train, _unpacked(held_out) if held_out.exists() else "", *lengths)
    except (OSError, EOFError, zlib.error, ValueError, TypeError):  # ValueError: no UTF-8, no JSON
        return None


def _lengths(documents: Sequence[str]) -> tuple[int, ...] | None:
    return tuple(map(len, documents)) if any("\n" in document for document in documents) else None


def _parted(text: str, lengths: Sequence[int] | None) -> list[str]:
    if lengths is None:
        return [line for line in text.split("\n") if line.strip()]
    found, at = [], 0
    for length in lengths:
        found.append(text[at : at + length])
        at += length + 1  # the line break that joins them
    return found


def _packed(text: str) -> bytes:
    return gzip.compress(text.encode("utf-8", errors="replace"), compresslevel=5, mtime=0)


def _unpacked(path: Path) -> str:
    packed = path.read_bytes()
    if not packed:  # what a full disk leaves behind
        raise EOFError
    return gzip.decompress(packed).decode("utf-8")
