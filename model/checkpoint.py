"""Checkpoints on disk: a folder of safetensors and JSON, written so that a crash leaves the old one or the new one.

    checkpoint.json                 config, meta, and the names and SHA-256 of the files that belong to it
    model-<hash>.safetensors        the weights
    tokenizer.json                  the tokenizer, where there is one
    extra-<hash>.safetensors        what else belongs to this moment, where it was given: a trainer's state

`checkpoint.json` is replaced last and in one step; it alone says which files count, so all of them are of one moment.
Foreign layouts are read by `model/formats/`; `open_checkpoint` picks by looking at the files.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from model.config import ConfigError, GPTConfig
from model.gpt import GPT
from model.tokenizer import Tokenizer

FORMAT = "glass-gpt"
VERSION = 1
INDEX = "checkpoint.json"
_PART = re.compile(r"(model|extra)-[0-9a-f]{12}\.safetensors")
_UNFINISHED = re.compile(r"\..+\.(safetensors|jsonl?|yaml|txt|gz|png)\.[a-z0-9_]{8}")  # as mkstemp names them below


class CheckpointError(ValueError):
    """A checkpoint that cannot be opened; the message says what is wrong with it and what to do."""


@dataclass(frozen=True)
class Extra:
    """What belongs to the same moment as the weights, for whoever wrote it: tensors on the CPU, and values for JSON."""

    tensors: dict[str, Tensor]
    values: dict[str, Any]


@dataclass(frozen=True)
class Checkpoint:
    """An opened checkpoint: the model in eval mode on the CPU, its tokenizer if it has one, and free-form meta."""

    model: GPT
    tokenizer: Tokenizer | None
    config: GPTConfig
    meta: dict[str, Any] = field(default_factory=dict)


def save_checkpoint(
    path: str | Path,
    model: GPT,
    tokenizer: Tokenizer | None = None,
    meta: dict[str, Any] | None = None,
    state: dict[str, Tensor] | None = None,
    extra: Extra | None = None,
) -> Path:
    """Write a checkpoint folder and return its path. A reader at any moment finds the old one or this one, whole.

    state: weights to write in place of the model's current ones (a snapshot). extra: of the same moment; `read_extra`
    finds it. One program at a time writes to a folder: what a killed one left unfinished is cleared away.
    Raises OSError when the disk refuses; the old checkpoint then stands as it stood.
    """
    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    before = {entry.name for entry in folder.iterdir()}
    try:
        index = _write_parts(folder, model, tokenizer, meta or {}, state, extra)
        write_atomically(folder / INDEX, json.dumps(index, indent=2, ensure_ascii=False).encode())
    except BaseException:
        _clear(folder, {entry.name for entry in folder.iterdir()} - before)
        raise
    named = {*index["files"], (index["extra"] or {}).get("file")}
    _clear(folder, {entry.name for entry in folder.iterdir()} - named)
    return folder


def _write_parts(
    folder: Path,
    model: GPT,
    tokenizer: Tokenizer | None,
    meta: dict[str, Any],
    state: dict[str, Tensor] | None,
    extra: Extra | None,
) -> dict[str, Any]:
    """Write all files of a checkpoint but its index, under names of their own; the index that makes them count."""
    weights = safetensors.torch.save(_untied(model, state if state is not None else model.state_dict()))
    digest = _digest(weights)
    name = f"model-{digest[:12]}.safetensors"
    files, beside = {name: digest}, None
    write_atomically(folder / name, weights)
    if tokenizer is not None:
        contents = tokenizer.to_json().encode()
        files["tokenizer.json"] = _digest(contents)
        if not _holds(folder / "tokenizer.json", contents):
            write_atomically(folder / "tokenizer.json", contents)
    if extra is not None:
        contents = safetensors.torch.save({name: value.contiguous() for name, value in extra.tensors.items()})
        digest = _digest(contents)
        beside = {"file": f"extra-{digest[:12]}.safetensors", "sha256": digest, "values": extra.values}
        write_atomically(folder / str(beside["file"]), contents)
    return {
        "format": FORMAT,
        "version": VERSION,
        "config": model.config.to_dict(),
        "weights": name,
        "files": files,
        "meta": meta,
        "extra": beside,
    }


def _clear(folder: Path, names: set[str]) -> None:
    """Remove files of a checkpoint that count no more, or never came to count; what else lies there stays."""
    for name in names:
        if _PART.fullmatch(name) or _UNFINISHED.fullmatch(name):
            (folder / name).unlink(missing_ok=True)


def clear_unfinished(folder: Path) -> None:
    """Remove what `write_atomically` had not finished when its program was killed. For the one who writes there."""
    for entry in folder.iterdir() if folder.is_dir() else ():
        if _UNFINISHED.fullmatch(entry.name) and entry.is_file():
            entry.unlink(missing_ok=True)


def _holds(path: Path, contents: bytes) -> bool:
    try:
        return path.read_bytes() == contents
    except OSError:
        return False


def read_extra(folder: str | Path) -> Extra | None:
    """What was written beside the weights of a checkpoint; None where nothing was. Raises CheckpointError."""
    folder = Path(folder)
    beside = read_index(folder).get("extra")
    if beside is None:
        return None
    try:
        name, digest, values = str(beside["file"]), str(beside["sha256"]), dict(beside["values"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{folder / INDEX} is damaged ({error}): copy the checkpoint folder again.") from error
    try:
        return Extra(safetensors.torch.load(_verified(folder, name, digest)), values)
    except (safetensors.SafetensorError, ValueError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{folder / name} is damaged ({error}): copy the checkpoint folder again.") from error


def open_checkpoint(
    path: str | Path,
    vocabulary: str | Path | Tokenizer | None = None,
    heads: int | None = None,
    accept: Callable[[GPTConfig], None] | None = None,
) -> Checkpoint:
    """Open a checkpoint of any supported layout. Raises ValueError with a sentence when it cannot be used.

    Supported: this project's folder, a run folder of `python -m training` (its best checkpoint, else its last), a
    Hugging Face GPT-2 folder (config.json + model.safetensors), and files of weights (.pt, .safetensors) in the layouts
    of `model/formats/`, told apart by the names of their tensors. No code that stands in a file is ever run.

    vocabulary: for files of weights, a tokenizer or the path of a tokenizer.json or a table of characters; left out,
    one that lies beside the file. heads: how many, where a file does not tell it. accept: called with the shape before
    the model is built; it may raise.
    """
    folder = Path(path)
    if not folder.exists():
        raise CheckpointError(f"there is no checkpoint at {folder}: check the path.")
    if folder.is_file():
        if not _is_loose(folder):
            folder = folder.parent
        else:
            return _open_file(folder, vocabulary, heads, accept)
    for inner in ("checkpoints/best", "checkpoints/last"):
        if (folder / inner / INDEX).exists():
            return _open_own(folder / inner, accept)
    if (folder / INDEX).exists():
        return _open_own(folder, accept)
    if (folder / "config.json").exists():
        from model.formats import hf  # a foreign layout, read only where one is met

        return hf.open_folder(folder, accept)
    loose = [file for file in sorted(folder.iterdir()) if file.is_file() and _is_loose(file)]
    if len(loose) == 1:
        return _open_file(loose[0], vocabulary, heads, accept)
    if loose:
        raise CheckpointError(
            f"{folder} holds {len(loose)} files of weights ({', '.join(file.name for file in loose[:3])}): name one."
        )
    raise CheckpointError(
        f"{folder} holds no checkpoint: expected {INDEX} (written by this project), a run folder with checkpoints/, "
        "a Hugging Face GPT-2 folder with config.json and model.safetensors, or a file of weights such as weights.pt."
    )


def _open_file(
    path: Path,
    vocabulary: str | Path | Tokenizer | None,
    heads: int | None,
    accept: Callable[[GPTConfig], None] | None,
) -> Checkpoint:
    from model import formats  # they import this module, and are read only where one is met

    return formats.open_file(path, vocabulary, heads, accept)


def _is_loose(path: Path) -> bool:
    """Whether a file is weights on their own, rather than a part of a folder whose index says what they are."""
    if path.suffix.lower() not in (".pt", ".pth", ".ckpt", ".bin", ".safetensors"):
        return False
    beside = {file.name for file in path.parent.iterdir()}
    return not (INDEX in beside and path.name.startswith("model-")) and not (
        "config.json" in beside and path.name == "model.safetensors"
    )


def read_index(folder: Path) -> dict[str, Any]:
    """The contents of a checkpoint's index, without opening the weights. Raises CheckpointError."""
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{folder / INDEX} cannot be read ({type(error).__name__}): it is damaged or was cut short; "
            "copy the checkpoint folder again, or train once more."
        ) from error
    if not isinstance(index, dict) or index.get("format") != FORMAT:
        raise CheckpointError(
            f"{folder / INDEX} was not written by this project: open the folder that holds the weights."
        )
    if not isinstance(index.get("version"), int) or index["version"] > VERSION:
        raise CheckpointError(
            f"{folder} has version {index.get('version')} and this program reads up to {VERSION}: update the program."
        )
    return index


def _open_own(folder: Path, accept: Callable[[GPTConfig], None] | None = None) -> Checkpoint:
    index = read_index(folder)
    try:
        files, name, values = dict(index["files"]), str(index["weights"]), dict(index["config"])
        config = GPTConfig.from_dict(values)
    except (KeyError, TypeError, ConfigError) as error:
        raise CheckpointError(f"{folder / INDEX} is damaged ({error}): copy the checkpoint folder again.") from error
    if accept is not None:
        accept(config)
    contents = {file: _verified(folder, file, digest) for file, digest in files.items()}
    if name not in contents:
        raise CheckpointError(
            f"{folder / INDEX} is damaged (it does not vouch for its weights): copy the folder again."
        )
    try:
        state = safetensors.torch.load(contents[name])
    except (safetensors.SafetensorError, ValueError) as error:
        raise CheckpointError(f"{folder / name} is damaged ({error}): copy the checkpoint folder again.") from error
    tokenizer = Tokenizer.load(folder / "tokenizer.json") if "tokenizer.json" in contents else None
    return Checkpoint(load_state(config, state, folder), tokenizer, config, dict(index.get("meta") or {}))


def load_state(config: GPTConfig, state: dict[str, Tensor], source: str | Path) -> GPT:
    """Build a GPT and give it weights under its own names. Raises CheckpointError naming what does not fit."""
    held = sum(value.numel() for value in state.values())
    if config.parameters() > 2 * held + 1_000_000:  # before memory is asked for that only a claim needs
        raise CheckpointError(
            f"the weights in {source} do not fit their config: that asks for {config.parameters():,} numbers, and the "
            f"file holds {held:,}."
        )
    model = GPT(config)
    wanted = model.state_dict()
    if config.tied_head:
        state = {**state, "head.weight": state.get("token_embedding.weight", wanted["head.weight"])}
    missing = sorted(set(wanted) - set(state))
    surplus = sorted(set(state) - set(wanted))
    bent = sorted(k for k in set(wanted) & set(state) if wanted[k].shape != state[k].shape)
    if missing or surplus or bent:
        faults = [
            f"{what} {', '.join(names[:3])}{f' and {len(names) - 3} more' if len(names) > 3 else ''}"
            for what, names in (("lacks", missing), ("has the unknown", surplus), ("has another shape of", bent))
            if names
        ]
        raise CheckpointError(f"the weights in {source} do not fit their config: the file {'; '.join(faults)}.")
    model.load_state_dict(state)
    return model.eval()


def write_atomically(path: Path, contents: bytes) -> None:
    """Write a file so that its name always holds the old contents or the new, also over a power cut. Raises OSError."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(contents)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # mkstemp makes files that only their owner can read
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _untied(model: GPT, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state as safetensors wants it: contiguous, and a tied head left out."""
    return {
        name: value.detach().to("cpu").contiguous()
        for name, value in state.items()
        if not (model.config.tied_head and name == "head.weight")
    }


def _digest(contents: bytes) -> str:
    return hashlib.sha256(contents).hexdigest()


def _verified(folder: Path, name: str, digest: str) -> bytes:
    if Path(name).name != name:
        raise CheckpointError(f"{folder / INDEX} names a file outside its folder ({name!r}): it is not to be trusted.")
    try:
        contents = (folder / name).read_bytes()
    except OSError as error:
        raise CheckpointError(
            f"{folder / name} is missing or cannot be read: copy the whole checkpoint folder."
        ) from error
    if _digest(contents) != digest:
        raise CheckpointError(
            f"{folder / name} is damaged (its SHA-256 is not the one that was written): copy the checkpoint folder "
            "again, or train once more."
        )
    return contents
