"""Weights and vocabularies as other programs save them: files read without running anything that stands in them.

A `.pt` file is a pickle, and a pickle can hold code. It is read by torch's restricted reader (`weights_only=True`), and
only after its parts were found to be as large as they claim; what asks for more than tensors and plain values is
refused. Nothing here knows one model from another: that is the business of the layouts beside this file.
"""

from __future__ import annotations

import json
import math
import pickle
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from model.checkpoint import CheckpointError
from model.tokenizer import Tokenizer
from model.vocabulary import END_MARKS, Vocabulary

WEIGHTS = (".pt", ".pth", ".ckpt", ".bin", ".safetensors")
"""Endings of files that may hold weights."""
VOCABULARIES = ("tokenizer.json", "characters.json", "vocabulary.json", "vocab.json", "chars.json", "characters.txt")
"""What a vocabulary beside a weights file may be called, the likeliest first."""
SHOWN = 3  # names of tensors in a sentence
_WRAPPERS = ("model", "state_dict", "model_state_dict")
_COMPILED = "_orig_mod."  # what torch.compile puts before every name
_PICKLE_BYTES = 16_000_000  # the part of a .pt file that is not numbers; a large model's is about 100 kB
_VOCABULARY_BYTES = 30_000_000
_SAVE = "save the weights alone, torch.save(model.state_dict(), 'weights.pt'), and open that"


@dataclass(frozen=True)
class Loose:
    """Tensors by name, and the plain values that were saved beside them. Nothing says yet that they make a model."""

    tensors: dict[str, Tensor]
    beside: dict[str, Any] = field(default_factory=dict)


def read_weights(path: Path) -> Loose:
    """The tensors of a `.pt` or `.safetensors` file, in float32. Raises CheckpointError with a sentence."""
    try:
        with path.open("rb") as file:
            start = file.read(16)
    except OSError as error:
        raise CheckpointError(f"{path.name} cannot be read ({error.strerror}): check the path.") from error
    if not start:
        raise CheckpointError(f"{path.name} is empty (0 bytes): copy it once more.")
    if start.startswith(b"PK"):
        values = _read_pt(path)
    elif start[8:9] == b"{":  # eight bytes of length, then a JSON header
        return Loose(_in_floats(_read_safetensors(path), path.name))
    elif start[:1] == b"\x80":
        raise CheckpointError(
            f"{path.name} is a plain pickle or was saved by a PyTorch before 1.6; such a file can run code when it is "
            f"opened, so it is not. Load it where you trust it, then {_SAVE}."
        )
    else:
        raise CheckpointError(
            f"{path.name} holds no weights that can be read: give a .pt file saved with "
            "torch.save(model.state_dict()), a .safetensors file, or a checkpoint folder."
        )
    inner = next((values[name] for name in _WRAPPERS if isinstance(values.get(name), dict)), None)
    beside = {} if inner is None else {name: value for name, value in values.items() if value is not inner}
    tensors = values if inner is None else inner
    named = {str(name).removeprefix(_COMPILED): value for name, value in tensors.items()}
    return Loose(_in_floats(named, path.name), beside)


def _read_pt(path: Path) -> dict[str, Any]:
    _check_archive(path)
    try:
        # mmap: a tensor that claims more than its file holds meets the file's end, not another part of the memory
        values = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        wanted = str(error).partition("Unsupported global: GLOBAL ")[2].split(" ")[0][:80]
        what = f" (it asks for {wanted})" if wanted else ""
        raise CheckpointError(
            f"{path.name} holds more than tensors{what}; such a file can run code when it is opened, so it is not. "
            f"Load it where you trust it, then {_SAVE}."
        ) from error
    except Exception as error:  # the reader meets a damaged file in many ways
        raise CheckpointError(
            f"{path.name} is damaged or cut short ({type(error).__name__}): copy it once more, or {_SAVE}."
        ) from error
    if isinstance(values, torch.nn.Module) or not isinstance(values, dict):
        raise CheckpointError(f"{path.name} holds a {type(values).__name__}, not weights by name: {_SAVE}.")
    return values


def is_pt(path: Path) -> bool:
    """Whether this zip archive is one that torch.save wrote. Raises CheckpointError when it is no whole archive."""
    return any(info.filename.endswith("/data.pkl") for info in _entries(path))


def _entries(path: Path) -> list[zipfile.ZipInfo]:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError) as error:
        raise CheckpointError(f"{path.name} is damaged or cut short: copy it once more.") from error


def _check_archive(path: Path) -> None:
    """That a .pt archive is as torch writes it: nothing packed, so that nothing can unpack to a thousand times."""
    entries = _entries(path)
    size = path.stat().st_size
    if not any(info.filename.endswith("/data.pkl") for info in entries):
        raise CheckpointError(
            f"{path.name} is a zip archive without weights of torch.save in it: give the weights file itself."
        )
    packed = any(info.compress_type != zipfile.ZIP_STORED for info in entries)
    if packed or sum(info.file_size for info in entries) > size:
        raise CheckpointError(f"{path.name} is packed in a way that torch.save never does: {_SAVE}.")
    if any(info.filename.endswith("/data.pkl") and info.file_size > _PICKLE_BYTES for info in entries):
        raise CheckpointError(f"{path.name} holds too much besides its tensors: {_SAVE}.")


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load_file(path)
    except Exception as error:  # besides its own error, whatever a hostile header provokes
        raise CheckpointError(
            f"{path.name} is damaged or cut short ({type(error).__name__}): copy it once more."
        ) from error


def _in_floats(values: Mapping[str, Any], file: str) -> dict[str, Tensor]:
    """The values as float32 tensors of their own. Raises CheckpointError for what is no ordinary, finite tensor."""
    tensors = {}
    for name, value in values.items():
        shown = str(name)[:80]
        if not isinstance(value, Tensor):
            raise CheckpointError(f"{file} has {shown!r}, a {type(value).__name__}, among its tensors: {_SAVE}.")
        if value.layout != torch.strided or value.is_quantized or value.is_complex() or value.device.type != "cpu":
            raise CheckpointError(f"the tensor {shown} of {file} is not an ordinary one: {_SAVE}.")
        if value.numel() * value.element_size() > value.untyped_storage().nbytes():
            raise CheckpointError(
                f"the tensor {shown} of {file} claims {value.numel():,} numbers and the file holds fewer: copy it once "
                f"more, or {_SAVE}."
            )
        number = value.detach().to(torch.float32, copy=True).contiguous()
        masks = ("mask", "attn.bias")  # may hold minus infinity, and are not kept
        if not shown.endswith(masks) and not torch.isfinite(number).all():
            raise CheckpointError(
                f"the tensor {shown} of {file} holds values that are not numbers (its training went wrong): choose an "
                "earlier checkpoint."
            )
        tensors[str(name)] = number
    return tensors


# ---- do the tensors make the model? -----------------------------------------------------------------------------


def size_of(tensors: Mapping[str, Tensor], name: str, axes: int, file: str) -> tuple[int, ...]:
    """The shape of a tensor that tells the model's own shape. Raises CheckpointError when it is missing or odd."""
    found = tensors.get(name)
    if found is None:
        raise CheckpointError(f"{file} lacks the tensor {name}: {_SAVE}.")
    if found.dim() != axes or 0 in found.shape:
        shape = list(found.shape)
        raise CheckpointError(f"the tensor {name} of {file} has the shape {shape}; it needs {axes} sizes above 0.")
    return tuple(found.shape)


def numbers_after(names: Iterable[str], prefix: str) -> int:
    """How many different numbers follow a prefix: `blocks.0.`, `blocks.1.` -> 2."""
    return len({name[len(prefix) :].split(".")[0] for name in names if name.startswith(prefix)})


def must_be(tensors: Mapping[str, Tensor], wanted: Mapping[str, tuple[int, ...]], layout: str, file: str) -> None:
    """That exactly these tensors are there, in these shapes. Raises CheckpointError naming what is not."""
    missing = [name for name in wanted if name not in tensors]
    surplus = [name for name in tensors if name not in wanted]
    bent = [name for name, shape in wanted.items() if name in tensors and tuple(tensors[name].shape) != shape]
    faults = []
    if missing:
        faults.append(f"it lacks {_list(missing)}")
    if surplus:
        faults.append(f"it has {_list(surplus)}, which no such model has")
    if bent:
        name = bent[0]
        there, more = list(tensors[name].shape), f", and {len(bent) - 1} more do not fit" if len(bent) > 1 else ""
        faults.append(f"{name} has the shape {there} where {list(wanted[name])} is needed{more}")
    if faults:
        raise CheckpointError(
            f"{file} looks like {layout}, but {'; '.join(faults)}. Save the whole state_dict of the model once more."
        )


def _list(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(name[:80] for name in names[:SHOWN]) + more


def head_count(width: int, given: int | None, usual: int | None, file: str) -> int:
    """How many heads share a width where the tensors do not say it. Raises CheckpointError."""
    heads = given if given is not None else usual
    if heads is None:
        raise CheckpointError(f"{file} does not say how many heads its model has: give their number.")
    if heads < 1 or width % heads:
        fits = [n for n in range(1, min(width, 64) + 1) if width % n == 0]
        raise CheckpointError(
            f"{heads} heads cannot share the width {width} of {file}: give their number, one of "
            f"{', '.join(map(str, fits))}."
        )
    return heads


def is_causal(mask: Tensor, context: int) -> bool:
    """Whether a saved mask (... T T) lets each position see itself and what stands before, in any usual writing:

    1 where it may look, or True or minus infinity where it may not.
    """
    if mask.dim() < 2 or mask.numel() != context * context or tuple(mask.shape[-2:]) != (context, context):
        return False
    future = torch.ones(context, context, dtype=torch.bool).triu(1)
    marked = mask.reshape(context, context) != 0
    return torch.equal(marked, ~future) or torch.equal(marked, future)


# ---- vocabularies -----------------------------------------------------------------------------------------------


def vocabulary_beside(path: Path) -> Path | None:
    """The vocabulary in a weights file's folder, if there is one."""
    return next((path.parent / name for name in VOCABULARIES if (path.parent / name).is_file()), None)


def read_vocabulary(path: Path, size: int | None = None) -> Tokenizer:
    """A `tokenizer.json`, or a table of characters (see `table_of`). size: entries that it should have, where known.

    Raises ValueError with a sentence.
    """
    try:
        if path.stat().st_size > _VOCABULARY_BYTES:
            raise CheckpointError(
                f"{path.name} is too large for a vocabulary: give its tokenizer.json or list of characters."
            )
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise CheckpointError(
            f"{path.name} is not a text file: give a tokenizer.json, or a JSON list of characters."
        ) from error
    except OSError as error:
        raise CheckpointError(f"{path.name} cannot be read ({error.strerror}): check the path.") from error
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        document = None
    if isinstance(document, dict) and "model" in document:
        return Tokenizer.load(path)
    if path.suffix.lower() == ".json" and document is None:
        raise CheckpointError(f"{path.name} is not a complete JSON file: save the list of characters once more.")
    return table_of(text, size, path.name)


def table_of(text: str, size: int | None = None, name: str = "the table") -> Tokenizer:
    """A table of characters in the order of their ids, as people write it down.

    A JSON list `["\\n", " ", "a"]`, a JSON object of ids (`{"a": 0}` or `{"0": "a"}`), or simply the characters one
    after the other; there a line break may be typed as `\\n` and a tab as `\\t`, and a last line break counts, if that
    is what makes it `size` long. Raises ValueError with a sentence.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        document = None
    if isinstance(document, dict):
        document = _in_order(document, name)
    if isinstance(document, list):
        if not all(isinstance(entry, str) for entry in document):
            raise CheckpointError(f"{name} has entries that are not text: list one character an entry, in order.")
        return _of_characters(document)
    spelled = text.replace("\\n", "\n").replace("\\t", "\t")
    ways = [way for written in (text, spelled) for way in (written.removesuffix("\n"), written)]
    return _of_characters(list(next((way for way in ways if len(way) == size), ways[0])))


def _in_order(document: dict[str, Any], name: str) -> list[str]:
    """The characters of a JSON object by their ids, whichever of the two is the key."""
    pairs = {value: key for key, value in document.items() if type(value) is int}
    if len(pairs) != len(document):
        pairs = {int(key): value for key, value in document.items() if key.isdigit() and isinstance(value, str)}
    if sorted(pairs) != list(range(len(document))):
        raise CheckpointError(f"the ids in {name} do not count up from 0 without gaps: list the characters in order.")
    return [pairs[number] for number in range(len(pairs))]


def _of_characters(characters: list[str]) -> Tokenizer:
    marks = [entry for entry in characters if entry in END_MARKS]
    if not marks:
        return Tokenizer.from_characters(characters)
    try:
        return Tokenizer(Vocabulary("char", tuple(characters), specials=tuple(marks)))
    except ValueError as error:
        raise CheckpointError(f"This table of characters cannot be used: {error}.") from error


def check_vocabulary(tokenizer: Tokenizer, size: int, file: str) -> None:
    """That a vocabulary has as many entries as the model writes. Raises CheckpointError."""
    if tokenizer.vocab_size != size:
        raise CheckpointError(
            f"the vocabulary has {tokenizer.vocab_size:,} entries and the model in {file} has {size:,}: give the one "
            "that it was trained with, every entry once, in its order."
        )


def whole_number(value: Any, name: str, file: str) -> int:
    """A saved setting as a positive whole number. Raises CheckpointError."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value != int(value):
        raise CheckpointError(f"{file} says that {name} is {str(value)[:40]!r}, which is no whole number.")
    if not 1 <= value < 2**31:
        raise CheckpointError(f"{file} says that {name} is {int(value)}; that cannot be.")
    return int(value)
