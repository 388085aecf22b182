"""The text that a run was trained on, kept in its folder, so that what the model writes can be held against it later.

<run>/corpus/train.txt.gz       what it learnt from
<run>/corpus/held-out.txt.gz    what it was measured on and never learnt from; missing where nothing was held out
<run>/corpus/documents.json.gz  characters of each document in train.txt; missing where its lines are the documents

Plain text, UTF-8, gzip: `zcat` reads it. Deleting the folder of the run deletes it too.
"""

from __future__ import annotations

import gzip
import json
import zlib
from dataclasses import dataclass, field
from pathlib import Path

from model.checkpoint import write_atomically
from training.config import Recipe
from training.corpus import Corpus, split_documents, split_text
from training.data import documents_of, trained_part

FOLDER = "corpus"
_TRAIN, _HELD_OUT, _DOCUMENTS = "train.txt.gz", "held-out.txt.gz", "documents.json.gz"


@dataclass(frozen=True)
class Texts:
    """The two parts of a corpus: what a model learns from, and what it is measured on ("" where nothing is held out).

    Documents are joined by line breaks.
    """

    train: str = field(repr=False)
    held_out: str = field(repr=False)
    lengths: tuple[int, ...] | None = field(default=None, repr=False)
    """Characters of each document in `train`, where one has several lines; None: each line is one."""

    def documents(self) -> list[str]:
        """The documents that were learnt from; lines that are not blank, where `lengths` does not tell them apart."""
        if self.lengths is None:
            return [line for line in self.train.split("\n") if line.strip()]
        found, at = [], 0
        for length in self.lengths:
            found.append(self.train[at : at + length])
            at += length + 1  # the line break that joins them
        return found


def texts_of(corpus: Corpus, recipe: Recipe) -> Texts:
    """The parts of a corpus under a recipe, split where the training data is split. Raises CorpusError."""
    corpus, fraction = trained_part(corpus, recipe), recipe.train.val_fraction
    if recipe.cut == "documents":
        train, held_out = split_documents(documents_of(corpus), fraction)
        lengths = tuple(map(len, train)) if any("\n" in document for document in train) else None
        return Texts("\n".join(train), "\n".join(held_out), lengths)
    return Texts(*split_text(corpus.text, fraction))


def keep_text(folder: Path, texts: Texts) -> None:
    """Keep the texts of a run in its folder; what was kept there before is replaced. Raises OSError."""
    place = folder / FOLDER
    place.mkdir(parents=True, exist_ok=True)
    write_atomically(place / _TRAIN, _packed(texts.train))
    lengths = "" if texts.lengths is None else json.dumps(texts.lengths)
    for name, text in ((_HELD_OUT, texts.held_out), (_DOCUMENTS, lengths)):
        if text:
            write_atomically(place / name, _packed(text))
        else:
            (place / name).unlink(missing_ok=True)


def read_text(folder: Path) -> Texts | None:
    """The texts of the run in this folder; None where none were kept (as by older versions) or they are damaged."""
    try:
        train = _unpacked(folder / FOLDER / _TRAIN)
        held_out, documents = folder / FOLDER / _HELD_OUT, folder / FOLDER / _DOCUMENTS
        lengths = tuple(map(int, json.loads(_unpacked(documents)))) if documents.exists() else None
        return Texts(train, _unpacked(held_out) if held_out.exists() else "", lengths)
    except (OSError, EOFError, zlib.error, ValueError, TypeError):  # ValueError: no UTF-8, no JSON
        return None


def _packed(text: str) -> bytes:
    return gzip.compress(text.encode("utf-8", errors="replace"), compresslevel=5, mtime=0)


def _unpacked(path: Path) -> str:
    packed = path.read_bytes()
    if not packed:  # what a full disk leaves behind
        raise EOFError
    return gzip.decompress(packed).decode("utf-8")
