"""A text as token ids on disk, for one that does not fit in memory: `python -m training.tokens CORPUS --out DIR`.

<dir>/train.bin, val.bin    the ids one after the other, in 1, 2 or 4 bytes each, little-endian, no header
<dir>/tokenizer.json        the tokenizer
<dir>/tokens.json           how many ids, in which type, of which tokenizer, and what the text was

The text is read, and its ids are written, a piece at a time. Training takes the folder in place of a CORPUS and maps
the files into its address space: the system reads the pages that a batch touches, and forgets them when it needs room.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from model import ConfigError, Tokenizer
from model.tokenizer import CHUNK, chunks
from training.config import Recipe
from training.corpus import JSONL_TYPES, TEXT_TYPES, CorpusError, check_trainable
from training.data import Blocks
from training.encodings import Text
from training.estimate import check_fits
from training.files import Source, open_source, shown, shown_list
from training.origin import Data
from training.setup import Prepared

INDEX = "tokens.json"
FORMAT, VERSION = "glass-gpt-tokens", 1
LEARN_BYTES = 50_000_000
"""How much of the training part a byte-pair vocabulary is learnt from at most."""
_LARGEST = 1 << 50  # bytes of a file; it is never held whole
_READ = 1 << 22  # bytes of ids that are copied or hashed at once
_ON_DISK: dict[str, tuple[type, torch.dtype]] = {
    "uint8": (np.uint8, torch.uint8),
    "uint16": (np.uint16, torch.uint16),
    "uint32": (np.uint32, torch.int32),  # the same bytes: no vocabulary has 2^31 entries
}


@dataclass(frozen=True)
class TokenFiles:
    """A folder of token ids. train, val: how many there are; facts: what tokens.json says of the text."""

    folder: Path
    tokenizer: Tokenizer
    dtype: str
    train: int
    val: int
    digest: str
    facts: dict[str, Any]

    @property
    def name(self) -> str:
        """Of the text."""
        return str(self.facts.get("name", self.folder.name))

    @property
    def data(self) -> Data:
        """Where it is found again."""
        return Data((str(self.folder.resolve()),))

    @property
    def sentence(self) -> str:
        """What it is."""
        return f"{self.name}: {self.train:,} tokens to train on and {self.val:,} held out, read from {self.folder}"

    def about(self) -> dict[str, Any]:
        """What a run's config keeps of it."""
        said = {key: self.facts.get(key) for key in ("characters", "opening")}
        return {"name": self.name, "source": "tokens", "notes": [], **said, "data": self.data.to_dict()}

    def check(self, recipe: Recipe) -> None:
        """Raises ConfigError where a recipe wants what only a text has."""
        wants = {
            "cut": recipe.cut != "blocks", "max_documents": bool(recipe.max_documents),
            "cleaning": recipe.cleaning.active, "teacher": bool(recipe.train.teacher),
            "embeddings_from": bool(recipe.train.embeddings_from),
        }  # fmt: skip
        if names := [name for name, wanted in wants.items() if wanted]:
            raise ConfigError(
                f"{', '.join(names)} cannot be had with token files, which are one stream of ids: give the CORPUS "
                "itself, or a preset without it."
            )

    def fitted(self, recipe: Recipe) -> Recipe:
        """The recipe with the tokenizer and the held-out share of these files."""
        share = round(self.val / (self.train + self.val), 6)
        kind, size = self.tokenizer.kind, self.tokenizer.vocab_size
        return recipe.with_changes({"tokenizer": kind, "vocab_size": max(2, size), "val_fraction": share})

    def prepare(self, recipe: Recipe) -> Prepared:
        """All that a training on them needs. Raises ValueError with a sentence."""
        self.check(recipe)
        recipe = self.fitted(recipe)
        config = recipe.model_config(self.tokenizer.vocab_size)
        check_fits(config, recipe.train)
        check_trainable(self.train, self.val, config.context)
        token_bytes = torch.tensor(self.tokenizer.token_bytes(), dtype=torch.float64)
        parts = (self._mapped("train.bin", self.train), self._mapped("val.bin", self.val))
        return Prepared(recipe, self.tokenizer, Blocks(*parts, token_bytes, config.context, self.digest))

    def _mapped(self, name: str, count: int) -> Tensor:
        kind = _ON_DISK[self.dtype][1]
        if not count:
            return torch.empty(0, dtype=kind)
        return torch.from_file(str(self.folder / name), shared=False, size=count, dtype=kind)


def as_token_files(files: Sequence[str]) -> TokenFiles | None:
    """The token files that a CORPUS is, where it is one such folder. Raises CorpusError where it is damaged."""
    if len(files) != 1 or not (Path(files[0]) / INDEX).is_file():
        return None
    return open_tokens(Path(files[0]))


def open_tokens(folder: Path) -> TokenFiles:
    """A folder that `write_tokens` made. Raises CorpusError saying what is wrong with it."""
    try:
        facts = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        if facts["format"] != FORMAT or facts["version"] > VERSION:
            raise ValueError(f"it is of version {facts['version']}")
        width = np.dtype(_ON_DISK[facts["dtype"]][0]).itemsize
        for name in ("train", "val"):
            if (folder / f"{name}.bin").stat().st_size != width * facts[name]:
                raise ValueError(f"{name}.bin has another size than it says")
        raw = (folder / "tokenizer.json").read_bytes()
        if hashlib.sha256(raw).hexdigest() != facts["tokenizer"]:
            raise ValueError("tokenizer.json is another one")
        tokenizer = Tokenizer.load(folder / "tokenizer.json")
        return TokenFiles(
            folder, tokenizer, facts["dtype"], facts["train"], facts["val"], str(facts["digest"]), dict(facts["text"])
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorpusError(
            f"{shown(str(folder), 200)} holds no whole token files ({error}): write them again with "
            "python -m training.tokens."
        ) from error


def write_tokens(
    files: Sequence[str | Path],
    out: Path,
    tokenizer: str = "gpt2",
    vocab_size: int = 512,
    val_fraction: float = 0.1,
    field: str = "text",
    quiet: bool = True,
) -> TokenFiles:
    """Turn texts into token files. Raises ValueError with a sentence; then nothing is left behind.

    files: .txt, .md, or .jsonl with a document in the `field` of each line; documents end with the end-of-text token.
    tokenizer: gpt2; char, of all characters there are; bpe, learnt from the beginning; or the path of a tokenizer.json.
    """
    if not 0 <= val_fraction <= 0.5:
        raise ConfigError(f"val_fraction is {val_fraction}; use from 0 to 0.5 (0.1 is usual).")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise CorpusError(f"{shown(str(out), 200)} is not empty: choose another --out, or delete it first.")
    texts = _Texts([open_source(path, _LARGEST) for path in files], field)
    chosen = _tokenizer(tokenizer, vocab_size, texts, val_fraction)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    except OSError as error:
        raise CorpusError(
            f"{shown(str(out), 200)} cannot be written ({error.strerror}): choose another one."
        ) from error
    try:
        _write(made, texts, chosen, val_fraction, quiet)
        made.chmod(0o755)  # mkdtemp's can be read by their owner only
        os.replace(made, out)
    except BaseException as error:
        shutil.rmtree(made, ignore_errors=True)
        if isinstance(error, OSError):
            raise CorpusError(f"{shown(str(out), 200)} cannot be written ({error.strerror}): make room.") from error
        raise
    return open_tokens(out)


class _Texts:
    """The documents of some files, read anew each time."""

    def __init__(self, sources: list[Source], field: str) -> None:
        self.sources, self._field = sources, field
        if wrong := [s.name for s in sources if s.kind not in (*TEXT_TYPES, *JSONL_TYPES)]:
            raise CorpusError(
                f"{shown_list(wrong)} cannot be read a piece at a time: take .txt, .md or .jsonl, or train on it "
                "directly if it fits in memory."
            )

    @property
    def size(self) -> int:
        return sum(source.size for source in self.sources)

    @property
    def documents(self) -> bool:
        """Whether there are several, each with an end."""
        return any(source.kind in JSONL_TYPES for source in self.sources)

    def __iter__(self) -> Iterator[Iterator[str]]:
        """Each document, or file of plain text, in pieces."""
        for source in self.sources:
            text = Text(source)
            if source.kind in JSONL_TYPES:
                yield from (iter((document,)) for document in self._lines(text, source.name))
            else:
                yield text.pieces()

    def _lines(self, text: Text, name: str) -> Iterator[str]:
        for number, line in enumerate(text.lines(), 1):
            if line.isspace():
                continue
            try:
                found = json.loads(line)
                document = found[self._field]
                if not isinstance(document, str):
                    raise TypeError
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise CorpusError(
                    f'Line {number:,} of "{name}" has no text in the field "{shown(self._field)}": name the field with '
                    "--field, or take that line out."
                ) from error
            yield document

    def pieces(self) -> Iterator[str]:
        """All of them in one stream, as far as learning a vocabulary is concerned."""
        for document in self:
            yield from document
            yield "\n"


def _tokenizer(kind: str, vocab_size: int, texts: _Texts, val_fraction: float) -> Tokenizer:
    if kind == "gpt2":
        return Tokenizer.gpt2()
    if kind == "char":
        characters = set[str]()
        for piece in texts.pieces():
            characters.update(piece)
        return Tokenizer.from_characters(sorted(characters), end_of_text=texts.documents)
    if kind == "bpe":
        most, taken, size = min(LEARN_BYTES, round(texts.size * (1 - val_fraction))), list[str](), 0
        for piece in texts.pieces():
            taken.append(piece[: most - size])  # characters, which are never more than their bytes
            size += len(piece.encode(errors="replace"))
            if size >= most:
                break
        return Tokenizer.bpe("".join(taken), vocab_size)
    path = Path(kind)
    if path.name == kind and not path.exists():
        raise ConfigError(
            f"tokenizer is {shown(kind)!r}; choose gpt2, bpe, char, or the path of a tokenizer.json. (Vocabularies of "
            "whole words are for small texts.)"
        )
    return Tokenizer.load(path / "tokenizer.json" if path.is_dir() else path)


def _write(folder: Path, texts: _Texts, tokenizer: Tokenizer, val_fraction: float, quiet: bool) -> None:
    kind = next(name for name, (dtype, _) in _ON_DISK.items() if tokenizer.vocab_size <= np.iinfo(dtype).max + 1)
    dtype = np.dtype(_ON_DISK[kind][0]).newbyteorder("<")
    count = characters = 0
    opening = ""
    train, val = folder / "train.bin", folder / "val.bin"
    with train.open("wb") as file, tqdm(total=texts.size, unit="B", unit_scale=True, disable=quiet) as bar:
        for number, document in enumerate(texts):
            if number and not texts.documents:
                document = _after("\n", document)
            for text in _stretches(document, tokenizer):
                ids = tokenizer.encode_tensor(text).numpy().astype(dtype)
                file.write(ids.tobytes())
                count, characters = count + len(ids), characters + len(text)
                opening = opening or text.lstrip()[:32]
                bar.update(len(text.encode(errors="replace")))
            if texts.documents:
                end = tokenizer.end_of_text
                ids = tokenizer.encode_tensor("\n").numpy() if end is None else np.array([end])
                file.write(ids.astype(dtype).tobytes())
                count += len(ids)
    if not count:
        raise CorpusError("There is no text in it: give a file with some.")
    held = int(count * val_fraction)
    _move_end(train, val, held * dtype.itemsize)
    raw = tokenizer.to_json().encode()
    (folder / "tokenizer.json").write_bytes(raw)
    names = [source.name for source in texts.sources]
    name = names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
    index = {
        "format": FORMAT, "version": VERSION, "dtype": kind, "train": count - held, "val": held,
        "tokenizer": hashlib.sha256(raw).hexdigest(), "digest": _digest(kind, train, val),
        "text": {"name": name, "bytes": texts.size, "characters": characters, "opening": opening.split("\n\n")[0]},
    }  # fmt: skip
    (folder / INDEX).write_text(json.dumps(index, indent=2, ensure_ascii=False), encoding="utf-8")


def _after(first: str, pieces: Iterator[str]) -> Iterator[str]:
    yield first
    yield from pieces


def _stretches(pieces: Iterator[str], tokenizer: Tokenizer) -> Iterator[str]:
    """The text in stretches that can be encoded by themselves: together they give the ids of the whole."""
    if tokenizer.kind == "char":
        yield from pieces
        return
    held = ""
    for piece in pieces:
        *whole, held = chunks(held + piece, CHUNK)
        yield from whole
    if held:
        yield held


def _move_end(path: Path, behind: Path, size: int) -> None:
    """Move the last `size` bytes of a file into another one."""
    with path.open("r+b") as source, behind.open("wb") as target:
        begin = source.seek(0, os.SEEK_END) - size
        source.seek(begin)
        while part := source.read(_READ):
            target.write(part)
        source.truncate(begin)


def _digest(kind: str, *paths: Path) -> str:
    digest = hashlib.sha256(kind.encode())
    for path in paths:
        digest.update(f";{path.stat().st_size};".encode())
        with path.open("rb") as file:
            while part := file.read(_READ):
                digest.update(part)
    return digest.hexdigest()


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(
        prog="python -m training.tokens",
        description="Write a text as token ids, to train on it without holding it in memory.",
    )
    p.add_argument("corpus", nargs="+", help="one or more .txt, .md or .jsonl files")
    p.add_argument("--out", required=True, type=Path, help="the folder to write; must not hold anything yet")
    p.add_argument("--tokenizer", default="gpt2", help="gpt2 (default), bpe, char, or the path of a tokenizer.json")
    p.add_argument("--vocab-size", type=int, default=512, metavar="INT", help="entries of an own BPE (default 512)")
    p.add_argument("--val-fraction", type=float, default=0.1, metavar="FLOAT", help="last share, held out (0.1)")
    p.add_argument("--field", default="text", help="the field of a .jsonl that holds the text (default text)")
    p.add_argument("--quiet", action="store_true", help="no progress bar")
    return p


def main(argv: list[str] | None = None) -> int:
    """The command line; 0 when all went well, 2 with a sentence on stderr when something was wrong."""
    options = vars(parser().parse_args(argv))
    try:
        made = write_tokens(options.pop("corpus"), options.pop("out"), **options)
    except ValueError as error:
        print(f"python -m training.tokens: {error}", file=sys.stderr)
        return 2
    print(f"{made.sentence}; {made.dtype}, a vocabulary of {made.tokenizer.vocab_size:,}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
