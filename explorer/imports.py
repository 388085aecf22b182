"""Models that a visitor brings as a file: weights and vocabulary in, a model of their own in the folder of runs out.
A zip of a whole run (training/bundle.py) comes the same way, and is told by what is in it.

Everything in such a file may be hostile. It is read without running any code in it (model/formats/files.py), its shape
is weighed before a model of it is built, and it is kept in our own format only once it has answered: what is refused
leaves nothing behind.
"""

from __future__ import annotations

import math
import shutil
import tempfile
import threading
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import Any, get_args

import torch
from gradio.utils import get_upload_folder

from explorer.jobs import OPENED
from explorer.limits import Limits
from explorer.server import Server
from explorer.shelf import millions, shape
from model import Checkpoint, GPTConfig, Tokenizer, open_checkpoint, save_checkpoint
from model.checkpoint import INDEX
from model.formats.files import WEIGHTS, check_vocabulary, is_pt, read_vocabulary
from training.bundle import is_bundle, unpack
from training.config import Recipe, TokenizerKind
from training.runs import RunFolder, new_run_id

_ENTRIES = 2_000  # files in a .zip
_CHUNK = 1 << 20
_NAME = 80  # characters
_HEADS = 2_500  # all layers together; the page draws each


class ImportRefused(ValueError):
    """A file that cannot be opened as a model; the message says why and what to give instead."""


class Imports:
    """The two server functions: open a model from files, and remove one again."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._one = threading.Lock()  # a large file at a time: each may need twice its size in memory

    def open_model(self, raw: Any) -> dict[str, Any]:
        """Open uploaded files as a model and keep it (docs/page-protocol.md). Raises ValueError with a sentence."""
        request = raw if isinstance(raw, dict) else {}
        server = self._server
        visitor = server.visitors.get(request.get("session"))
        weights, vocabulary = request.get("weights"), request.get("vocabulary")
        name, heads = _name(request.get("name")), _heads(request.get("heads"))
        characters = request.get("characters") or ""
        if not isinstance(characters, str) or len(characters) > server.limits.prompt_characters:
            raise ImportRefused("The typed characters are too many for a vocabulary: give them as a file.")
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch).resolve()
            file = _take(weights, folder / "weights", server.limits.run_bytes)
            if file is None:
                raise ImportRefused("There are no weights yet: choose a .pt, .safetensors or .zip file.")
            if is_bundle(file):
                return self.bring(file, name, visitor.owner)
            _refuse_large(file, server.limits.model_bytes)
            table = _take(vocabulary, folder / "vocabulary", server.limits.upload_bytes)
            if table is None and characters:
                table = folder / "characters.txt"
                table.write_text(characters, encoding="utf-8", errors="replace", newline="")
            with self._one:
                self._room(visitor.owner)
                try:
                    checkpoint, tokenizer = self._read(file, table, heads, folder)
                except ValueError as error:
                    raise ImportRefused(_by_name(str(error), folder, file, table)) from error
                run = keep(server, checkpoint, tokenizer, name or file.stem[:_NAME], file.name, visitor.owner)
        return {
            "model": f"run:{run.id}",
            "kind": "model",
            "name": run.info().name,
            "detail": shape(checkpoint.config),
            "models": server.models(visitor.owner),
        }

    def bring(self, file: Path, name: str, owner: str) -> dict[str, Any]:
        """Make the run in a zip one of `owner`'s. name: what it is called here; "": as it was. Raises ValueError."""
        with self._one:
            self._room(owner)
            return self._open_run(file, name, owner)

    def _open_run(self, file: Path, name: str, owner: str) -> dict[str, Any]:
        """Unpack a run that was packed elsewhere. Each of its models is opened once: what cannot be is refused."""
        server, limits = self._server, self._server.limits
        shapes: list[GPTConfig] = []

        def accept(folder: Path) -> None:
            for checkpoint in sorted(index.parent for index in folder.rglob(INDEX)):
                try:
                    opened = open_checkpoint(checkpoint, accept=lambda config: fits(config, limits))
                except ValueError as error:
                    raise ImportRefused(str(error).replace(f"{folder}/", f"{file.name}: ")) from error
                if opened.tokenizer is None:
                    raise ImportRefused(f"{file.name} holds a checkpoint without its tokenizer: pack the run anew.")
                check_vocabulary(opened.tokenizer, opened.config.vocab_size, file.name)
                _try(opened, opened.tokenizer, file.name)
                shapes.append(opened.config)
            if (folder / "tokenizer.json").exists():  # its snapshots are opened in the shape that the recipe says
                vocab_size = Tokenizer.load(folder / "tokenizer.json").vocab_size
                fits(RunFolder(folder).info().recipe.model_config(vocab_size), limits)
            if name:
                RunFolder(folder).rename(name)

        run_id = unpack(file, server.jobs.root, limits.run_bytes, owner if limits.shared else None, accept)
        server.jobs.changed()
        return {
            "model": f"run:{run_id}",
            "kind": "run",
            "name": server.jobs.find(run_id).info.name,
            "detail": shape(shapes[0]) if shapes else "",
            "models": server.models(owner),
        }

    def remove_model(self, raw: Any) -> dict[str, Any]:
        """Remove a model that was opened from a file, for good. Raises ValueError; trained runs stay where they are."""
        request = raw if isinstance(raw, dict) else {}
        server = self._server
        visitor = server.visitors.get(request.get("session"))
        kind, _, run_id = str(request.get("model")).partition(":")
        run = server.jobs.find(run_id if kind == "run" else None)
        if run.state != OPENED or not server.jobs.owns(run, visitor.owner):
            raise ImportRefused("Only a model that you opened from a file can be removed here.")
        run.folder.delete()
        server.jobs.changed()
        return {"models": server.models(visitor.owner)}

    def _room(self, owner: str) -> None:
        limits = self._server.limits
        listed = self._server.jobs.listed(owner)
        mine = [info for info in listed if info.brought or info.corpus.get("source") == OPENED]
        if len(mine) >= limits.imports_a_visitor:
            raise ImportRefused(
                f"You have opened {len(mine)} models and runs from files, which is the most: remove one of them first."
            )

    def _read(self, file: Path, table: Path | None, heads: int | None, folder: Path) -> tuple[Checkpoint, Tokenizer]:
        """The model in a file and its vocabulary, both tried. Raises ValueError."""
        limits = self._server.limits
        where = unzipped(file, folder / "opened", limits.model_bytes) if _is_folder(file) else file
        checkpoint = open_checkpoint(where, table, heads, accept=lambda config: fits(config, limits))
        tokenizer = checkpoint.tokenizer
        if tokenizer is None and table is not None:  # a checkpoint folder that came without one
            tokenizer = read_vocabulary(table, checkpoint.config.vocab_size)
        if tokenizer is None:
            raise ImportRefused(
                f"{file.name} holds weights for a vocabulary of {checkpoint.config.vocab_size:,} entries and does not "
                "say which: give its tokenizer.json or its list of characters as well."
            )
        check_vocabulary(tokenizer, checkpoint.config.vocab_size, file.name)
        _try(checkpoint, tokenizer, file.name)
        return checkpoint, tokenizer


def keep(server: Server, checkpoint: Checkpoint, tokenizer: Tokenizer, name: str, file: str, owner: str) -> RunFolder:
    """Write an opened model into the folder of runs. Its config comes last: a run without one is not listed.

    Raises RunError or ImportRefused when the disk refuses; then nothing is left behind.
    """
    folder = RunFolder(server.jobs.root / new_run_id(name))
    meta = {"name": name, "opened_from": file, **_figures(checkpoint.meta)}
    values = {key: value for key, value in checkpoint.config.to_dict().items() if key != "vocab_size"}
    try:
        save_checkpoint(folder.checkpoint("best"), checkpoint.model, tokenizer, meta)
        recipe = Recipe(tokenizer=_kind(tokenizer), model=values)
        corpus = {"name": file, "source": OPENED, "notes": []}
        RunFolder.create(folder.path, name, recipe, corpus, owner if server.limits.shared else None)
    except BaseException as error:
        shutil.rmtree(folder.path, ignore_errors=True)
        if isinstance(error, OSError):
            raise ImportRefused(f"The model cannot be written to disk ({error.strerror}): make room there.") from error
        raise
    server.jobs.changed()
    return folder


def _kind(tokenizer: Tokenizer) -> Any:
    return tokenizer.kind if tokenizer.kind in get_args(TokenizerKind) else "word"


def fits(config: GPTConfig, limits: Limits) -> None:
    """That a model of this shape can be held and looked into here. Raises ImportRefused naming what is too large."""
    if config.parameters() > limits.parameters:
        raise ImportRefused(
            f"This model has {millions(config.parameters())} parameters and this server opens up to "
            f"{millions(limits.parameters)}: choose a smaller one, or run Glass GPT on your own machine."
        )
    if config.layers * config.heads > _HEADS:
        raise ImportRefused(
            f"This model has {config.layers * config.heads:,} heads in all and the page can draw {_HEADS:,}: choose a "
            "smaller one."
        )
    attention = config.layers * config.heads * config.context**2
    held = attention + config.context * (config.vocab_size + 2 * config.layers * config.width)
    if held > limits.held_numbers:
        raise ImportRefused(
            f"Reading {config.context:,} tokens at once, this model's attention and logits are {millions(held)} "
            f"numbers, and this server holds up to {millions(limits.held_numbers)}: choose a model with a shorter "
            "context."
        )


def _try(checkpoint: Checkpoint, tokenizer: Tokenizer, file: str) -> None:
    """That it says something of what comes next. Raises ImportRefused."""
    ids = torch.tensor([[tokenizer.opening] * min(4, checkpoint.config.context)])
    with torch.no_grad():
        logits = checkpoint.model(ids)
    if not torch.isfinite(logits).all():
        raise ImportRefused(
            f"What the model in {file} computes are not numbers (nan or infinity): its training went wrong; choose an "
            "earlier checkpoint."
        )


def _figures(meta: dict[str, Any]) -> dict[str, Any]:
    """What a stranger's checkpoint says of itself, as far as it can be shown."""
    step = meta.get("step", 0)
    said: dict[str, Any] = {"step": step if type(step) is int and 0 <= step < 2**53 else 0}
    for name in ("loss", "val_loss", "bits_per_byte", "bytes_per_token"):
        value = meta.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and 0 <= value < 1e3:
            said[name] = float(value)
    corpus = meta.get("corpus")
    opening = corpus.get("opening") if isinstance(corpus, dict) else None
    if isinstance(opening, str) and len(opening) <= 500:
        said["corpus"] = {"opening": opening}
    if isinstance(layout := meta.get("layout"), str):
        said["layout"] = layout
    return said


def _by_name(text: str, folder: Path, file: Path, table: Path | None) -> str:
    """A sentence about files in our own folder, in which they are called as the visitor calls them."""
    for inner in ("opened", "weights", "vocabulary"):
        text = text.replace(f"{folder / inner}/", "").replace(str(folder / inner), file.name)
    text = text.replace(f"{folder}/", "")
    first = next((path.name for path in (file, table) if path is not None and text.startswith(path.name)), "")
    return f'"{first}"{text[len(first) :]}' if first else text


def _name(value: object) -> str:
    if value is not None and not isinstance(value, str):
        raise ImportRefused("The name is not a text: reload the page.")
    return (value or "").strip()[:_NAME]


def _heads(value: object) -> int | None:
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _HEADS:
        raise ImportRefused(f"The number of heads is {str(value)[:20]!r}; it is a whole number from 1.")
    return value


def _take(path: object, into: Path, most: int) -> Path | None:
    """Move an uploaded file to a folder of its own; None where none was given. Raises ImportRefused.

    Only what lies in the folder of uploads can be named, so that no request reads another file of this machine.
    """
    if path is None or path == "":
        return None
    gone = ImportRefused("The uploaded file is not here any more: choose it once more.")
    try:
        file = Path(path).resolve(strict=True) if isinstance(path, str) and len(path) < 4_000 else None
        if file is None or not file.is_file() or not file.is_relative_to(Path(get_upload_folder()).resolve()):
            raise gone
        size = file.stat().st_size
    except (OSError, ValueError) as error:
        raise gone from error
    if size > most:
        _refuse_large(file, most)
    into.mkdir()
    return Path(shutil.move(str(file), into / file.name))


def _refuse_large(file: Path, most: int) -> None:
    size = file.stat().st_size
    if size > most:
        file.unlink(missing_ok=True)
        raise ImportRefused(
            f"{file.name} is {size / 1e6:,.0f} MB and this server opens up to {most / 1e6:,.0f} MB: give a smaller "
            "file, such as the weights without the optimizer's state."
        )


def _is_folder(file: Path) -> bool:
    """Whether a file is a folder in a .zip, rather than weights (torch's own files are archives too)."""
    with file.open("rb") as opened:
        archive = opened.read(4) == b"PK\x03\x04"
    return archive and not is_pt(file)


def unzipped(file: Path, into: Path, most: int) -> Path:
    """Unpack the checkpoint in a .zip into a new folder and return that. Raises ImportRefused.

    Of the archive's names only the last part is used, so that none can lead out of the folder; what is unpacked is
    counted as it comes, so that a small archive cannot grow beyond `most` bytes.
    """
    into.mkdir()
    try:
        with zipfile.ZipFile(file) as archive:
            entries = [info for info in archive.infolist() if not info.is_dir() and not _hidden(info.filename)]
            if len(entries) > _ENTRIES:
                raise ImportRefused(f"{file.name} holds {len(entries):,} files: zip the checkpoint's folder alone.")
            left = most
            for info in _checkpoint_in(entries, file.name):
                with archive.open(info) as source, (into / PurePosixPath(info.filename).name).open("wb") as target:
                    while chunk := source.read(_CHUNK):
                        left -= len(chunk)
                        if left < 0:
                            raise ImportRefused(
                                f"{file.name} unpacks to more than {most / 1e6:,.0f} MB: give a smaller checkpoint."
                            )
                        target.write(chunk)
    except (zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError, EOFError, OSError) as error:
        raise ImportRefused(
            f"{file.name} is damaged, or locked with a password: zip the checkpoint's folder once more."
        ) from error
    return into


def _hidden(name: str) -> bool:
    """What a Mac adds to an archive, and names that are none."""
    return any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(name).parts) or "\\" in name


def _checkpoint_in(entries: list[zipfile.ZipInfo], file: str) -> list[zipfile.ZipInfo]:
    """The files of one folder of the archive: a run's best checkpoint, else the last, else the outermost one."""
    inside = {PurePosixPath(info.filename): info for info in entries}
    marks = [path for path in inside if path.name == INDEX] or [path for path in inside if path.name == "config.json"]
    marks = marks or [path for path in inside if path.suffix.lower() in WEIGHTS]
    if not marks:
        raise ImportRefused(
            f"{file} holds no checkpoint: zip a folder with {INDEX}, with config.json and model.safetensors, or with a "
            "file of weights such as weights.pt."
        )
    best = min(marks, key=lambda path: (path.parent.name != "best", path.parent.name != "last", len(path.parts)))
    return [info for path, info in inside.items() if path.parent == best.parent]
