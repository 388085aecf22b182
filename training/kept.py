"""The text that a run was trained on, kept in its folder, so that what the model writes can be held against it later.

<run>/corpus/train.txt.gz       what it learnt from
<run>/corpus/held-out.txt.gz    what it was measured on and never learnt from; missing where nothing was held out

Plain text, UTF-8, gzip: `zcat` reads it. Deleting the folder of the run deletes it too.
"""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass, field
from pathlib import Path

from model.checkpoint import write_atomically
from training.config import Recipe
from training.corpus import Corpus, split_documents, split_text
from training.data import documents_of, trained_part

FOLDER = "corpus"
_TRAIN, _HELD_OUT = "train.txt.gz", "held-out.txt.gz"


@dataclass(frozen=True)
class Texts:
    """The two parts of a corpus: what a model learns from, and what it is measured on ("" where nothing is held out).

    Documents are joined by line breaks.
    """

    train: str = field(repr=False)
    held_out: str = field(repr=False)


def texts_of(corpus: Corpus, recipe: Recipe) -> Texts:
    """The parts of a corpus under a recipe, split where the training data is split. Raises CorpusError."""
    corpus, fraction = trained_part(corpus, recipe), recipe.train.val_fraction
    if recipe.cut == "documents":
        train, held_out = split_documents(documents_of(corpus), fraction)
        return Texts("\n".join(train), "\n".join(held_out))
    return Texts(*split_text(corpus.text, fraction))


def keep_text(folder: Path, texts: Texts) -> None:
    """Keep the texts of a run in its folder; what was kept there before is replaced. Raises OSError."""
    place = folder / FOLDER
    place.mkdir(parents=True, exist_ok=True)
    write_atomically(place / _TRAIN, _packed(texts.train))
    if texts.held_out:
        write_atomically(place / _HELD_OUT, _packed(texts.held_out))
    else:
        (place / _HELD_OUT).unlink(missing_ok=True)


def read_text(folder: Path) -> Texts | None:
    """The texts of the run in this folder; None where none were kept (as by older versions) or they are damaged."""
    try:
        train = _unpacked(folder / FOLDER / _TRAIN)
        held_out = folder / FOLDER / _HELD_OUT
        return Texts(train, _unpacked(held_out) if held_out.exists() else "")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError):
        return None


def _packed(text: str) -> bytes:
    return gzip.compress(text.encode("utf-8", errors="replace"), compresslevel=5, mtime=0)


def _unpacked(path: Path) -> str:
    packed = path.read_bytes()
    if not packed:  # what a full disk leaves behind
        raise EOFError
    return gzip.decompress(packed).decode("utf-8")
