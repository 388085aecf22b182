"""A run as one file: its folder packed into a zip, and such a zip unpacked as a run of one's own.

    <run id>/config.json, ...       the folder as it lies on disk

What concerns one machine only stays behind: the hash of the owner, the mark of the program that trains it, and the
paths of the models that it learnt from, whose names are kept. A zip may come from a stranger and lie about everything.
So only files that a run has are taken out of it, by their names; what comes out is counted while it comes; what it says
is read as strictly as the page reads it; and the folder is put together aside and moved into its place last.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import hashlib
import json
import math
import os
import re
import secrets
import sys
import tempfile
import types
import typing
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import IO, Any

from model import ConfigError
from model.checkpoint import INDEX, CheckpointError, read_index, write_atomically
from training.artifacts import write_recipe
from training.config import Recipe, typed
from training.events import Event
from training.files import DEFAULT_MAX_BYTES, megabytes, shown
from training.origin import Data
from training.runs import FORMAT, RunError, RunFolder, called, check_name, new_run_id

MAX_FILES = 2_000
MAX_BYTES = 4_000_000_000
"""What a zip may unpack to; a server that strangers reach sets less."""
_CONFIG, _METRICS, _RECIPE, _NAME = "config.json", "metrics.jsonl", "config.yaml", "name.txt"
_FILES = re.compile(
    r"(config|tokenizer)\.json|config\.yaml|name\.txt|metrics\.jsonl|samples\.txt|loss\.(png|svg)"
    r"|corpus/[a-z-]+\.(txt|json)\.gz"
    r"|(checkpoints/(best|last)|snapshots/\w[\w-]*)/\w[\w-]*\.(json|safetensors)"
    r"|snapshots/\w[\w-]*\.(json|safetensors)",
    re.ASCII,
)
_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,40}-[0-9a-f]{32}")  # as new_run_id makes them
_CHUNK = 1 << 20
_SMALL = 5_000_000  # bytes of a file of JSON that is read whole
_TRIES = 20  # a training may write a checkpoint while it is packed
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, UnicodeDecodeError)


class BundleError(ValueError):
    """A run that cannot be packed, or a file that cannot be unpacked as one; the message says why and what to do."""


# ---- packing ------------------------------------------------------------------------------------------------------


def pack(folder: Path, out: Path) -> Path:
    """Pack the run in a folder into the zip `out`, which must not be there yet; a run in training as it is now.

    Raises RunError when there is no run, BundleError when the zip cannot be written; then nothing is left of it.
    """
    run = RunFolder(folder)
    config, recipe = _carried(run)
    if out.exists():
        raise BundleError(f"{out} is there already: choose another name, or remove it first.")
    partly = out.with_name(f".{out.name[:80]}.{secrets.token_hex(4)}")
    try:
        with zipfile.ZipFile(partly, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(f"{run.id}/{_CONFIG}", config)
            archive.writestr(f"{run.id}/{_RECIPE}", recipe)
            for name, source in _contents(folder):
                with source:
                    _add(archive, f"{run.id}/{name}", source)
        os.replace(partly, out)
    except OSError as error:
        raise BundleError(f"{out} cannot be written ({error.strerror}): choose another place, or make room.") from error
    finally:
        partly.unlink(missing_ok=True)
    return out


def _carried(run: RunFolder) -> tuple[bytes, bytes]:
    """config.json and config.yaml as others may have them."""
    info = run.info()
    values = json.loads((run.path / _CONFIG).read_text(encoding="utf-8"))
    recipe = _elsewhere(info.recipe, lambda path: called(path) or "")
    values |= {"name": info.name, "owner": None, **recipe.to_dict()}
    config = json.dumps(values, indent=2, ensure_ascii=False).encode(errors="replace")
    with tempfile.TemporaryDirectory() as scratch:
        write_recipe(Path(scratch) / _RECIPE, recipe, info.name, info.corpus.get("data"))
        return config, (Path(scratch) / _RECIPE).read_bytes()


def _elsewhere(recipe: Recipe, name: Callable[[str], str]) -> Recipe:
    """The recipe with names in place of the paths of other models."""
    train = recipe.train
    return replace(
        recipe,
        train=replace(train, teacher=name(train.teacher), embeddings_from=name(train.embeddings_from)),
    )


def _contents(folder: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """The files of a run but for its configs, opened; those of a checkpoint all of the same state of it."""
    checkpoints = sorted(
        index.parent for part in ("checkpoints", "snapshots") for index in folder.glob(f"{part}/*/{INDEX}")
    )
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.parent in checkpoints or name in (_CONFIG, _RECIPE, _NAME) or path.is_symlink():
            continue
        if _FILES.fullmatch(name) and path.is_file():
            yield name, path.open("rb")
    for checkpoint in checkpoints:
        for file in _checkpoint(checkpoint):
            yield f"{checkpoint.relative_to(folder).as_posix()}/{Path(file.name).name}", file


def _checkpoint(folder: Path) -> list[IO[bytes]]:
    """The files of a checkpoint, opened before any is read: those that are replaced meanwhile stay readable."""
    for attempt in range(_TRIES):
        with contextlib.ExitStack() as opened:
            try:
                index = opened.enter_context((folder / INDEX).open("rb"))
                names = list(_parts(json.loads(index.read())))
                index.seek(0)
                inside = [name for name in names if Path(name).name == name]
                files: list[IO[bytes]] = [index, *(opened.enter_context((folder / name).open("rb")) for name in inside)]
            except FileNotFoundError:
                if attempt == _TRIES - 1:
                    raise
                continue
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise BundleError(f"{folder / INDEX} is damaged ({error}): this run cannot be packed.") from error
            opened.pop_all()  # closed one by one, as they are packed
            return files
    return []


def _parts(index: dict[str, Any]) -> dict[str, str]:
    """The files that belong to a checkpoint, and their SHA-256. Raises KeyError, TypeError or AttributeError."""
    beside = index.get("extra")
    extra = {} if beside is None else {str(beside["file"]): str(beside["sha256"])}
    return {str(name): str(digest) for name, digest in index["files"].items()} | extra


def _add(archive: zipfile.ZipFile, name: str, source: IO[bytes]) -> None:
    """Pack what a file holds now; one that grows meanwhile keeps what comes later to itself."""
    entry = zipfile.ZipInfo(name, datetime.now().timetuple()[:6])
    entry.external_attr = 0o644 << 16
    packed = name.endswith((".safetensors", ".gz", ".png"))  # these do not grow smaller
    entry.compress_type = zipfile.ZIP_STORED if packed else zipfile.ZIP_DEFLATED
    left = os.fstat(source.fileno()).st_size
    with archive.open(entry, "w", force_zip64=left > 1_000_000_000) as target:
        while left > 0 and (chunk := source.read(min(_CHUNK, left))):
            target.write(chunk)
            left -= len(chunk)


# ---- unpacking ----------------------------------------------------------------------------------------------------


def is_bundle(file: Path) -> bool:
    """Whether a file is a zip with a run in it, by its contents."""
    try:
        with zipfile.ZipFile(file) as archive:
            return _place_of(archive) is not None
    except (OSError, ValueError, *_DAMAGED):
        return False


def unpack(
    file: Path,
    runs: Path,
    most: int = MAX_BYTES,
    owner: str | None = None,
    accept: Callable[[Path], None] | None = None,
) -> str:
    """Unpack the run in a zip into a folder of runs; returns its id, a new one where its own is taken.

    most: bytes that it may unpack to, MAX_FILES files in all. accept: called with the folder before it is a run; what
    it raises goes through. Raises BundleError with a sentence; then nothing is left behind.
    """
    if not file.is_file():
        raise BundleError(f"there is no file {file}: check its name.")
    try:
        with zipfile.ZipFile(file) as archive:
            place = _place_of(archive)
            if place is None:
                raise BundleError(
                    f"{file.name} holds no run: give a zip that this program packed, or zip a run's folder."
                )
            runs.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=runs, prefix=".unpacking-", ignore_cleanup_errors=True) as scratch:
                folder = Path(scratch) / "run"
                left = _extract(archive, place, folder, most, file.name)
                _settle(folder, file.name, owner, min(left, DEFAULT_MAX_BYTES))
                if accept is not None:
                    accept(folder)
                return _move(folder, runs, PurePosixPath(place).name)
    except _DAMAGED as error:
        raise BundleError(
            f"{file.name} is no zip, or damaged, or locked with a password: pack the run anew."
        ) from error
    except OSError as error:
        raise BundleError(
            f"{file.name} cannot be unpacked to {runs} ({error.strerror or error}): make room there."
        ) from error


def _place_of(archive: zipfile.ZipFile) -> str | None:
    """The folder inside an archive that a run lies in, "" for the outermost; None for an archive without one."""
    entries = archive.infolist()
    configs = [entry for entry in entries[: 10 * MAX_FILES] if PurePosixPath(entry.filename).name == _CONFIG]
    for entry in sorted(configs, key=lambda entry: entry.filename.count("/"))[:20]:
        if entry.file_size <= _SMALL:
            with archive.open(entry) as source, contextlib.suppress(ValueError, RecursionError):
                values = json.loads(source.read(_SMALL + 1))
                if isinstance(values, dict) and values.get("format") == FORMAT:
                    return entry.filename.removesuffix(_CONFIG).rstrip("/")
    return None


def _extract(archive: zipfile.ZipFile, place: str, folder: Path, most: int, file: str) -> int:
    """Write the run's files into a new folder; returns how many bytes are left of `most`."""
    entries = archive.infolist()
    if len(entries) > MAX_FILES:
        raise BundleError(
            f"{file} holds {len(entries):,} files, and a run has at most {MAX_FILES:,}: zip its folder alone."
        )
    for entry in entries:
        path = entry.orig_filename.replace("\\", "/")
        if path.startswith("/") or path[1:2] == ":" or ".." in path.split("/") or "\x00" in path:
            raise BundleError(
                f'{file} holds a file whose name leads out of its folder ("{shown(entry.orig_filename)}"). Nothing was '
                "unpacked; do not trust where it came from."
            )
    left, below = most, f"{place}/" if place else ""
    (folder / "snapshots").mkdir(parents=True)
    for entry in entries:
        name = entry.filename.removeprefix(below)
        if not entry.filename.startswith(below) or not _FILES.fullmatch(name):
            continue
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(entry) as source, target.open("wb") as written:
            while chunk := source.read(_CHUNK):
                left -= len(chunk)
                if left < 0:
                    raise BundleError(
                        f"{file} unpacks to more than {megabytes(most)}, which is the most here: unpack it with "
                        "`python -m training.bundle unpack` on a machine of your own."
                    )
                written.write(chunk)
    return left


def _settle(folder: Path, file: str, owner: str | None, text_bytes: int) -> None:
    """Make what was unpacked a run of `owner`'s, with nothing in it that its readers do not expect."""
    try:
        info = RunFolder(folder).info()
        values = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
        if values.get("version") != 1:
            raise BundleError(
                f"the run in {file} has version {values.get('version')!r}: update this program to open it."
            )
        _check_kinds(info.recipe)
        recipe = _elsewhere(info.recipe, lambda path: shown(re.split(r"[/\\]", path)[-1], 80) if path else "")
        corpus, name = _corpus(info.corpus), check_name(shown(info.name, 80))
        created = datetime.fromisoformat(info.created).isoformat(timespec="seconds")
        write_recipe(folder / _RECIPE, recipe, name, corpus.get("data"))
        for index in [*folder.glob(f"checkpoints/*/{INDEX}"), *folder.glob(f"snapshots/*/{INDEX}")]:
            _settle_checkpoint(index.parent, {"name": name, "corpus": corpus})
    except (RunError, ConfigError, CheckpointError, KeyError, TypeError, AttributeError) as error:
        said = str(error).replace(f"{folder}/", "").rstrip(".")
        raise BundleError(f"the run in {file} is damaged ({said}): pack it anew.") from error
    except ValueError as error:
        if isinstance(error, BundleError):
            raise
        raise BundleError(f"the run in {file} is damaged ({error}): pack it anew.") from error
    for facts in folder.glob("snapshots/*.json"):
        if not _is_object(facts):
            facts.unlink()
    _settle_metrics(folder / _METRICS)
    _weigh_texts(folder, text_bytes, file)
    (folder / _NAME).unlink(missing_ok=True)
    values |= {"name": name, "created": created, "corpus": corpus, "owner": owner, "brought": True, **recipe.to_dict()}
    text = json.dumps(values, indent=2, ensure_ascii=False)
    write_atomically(folder / _CONFIG, text.encode(errors="replace"))


def _check_kinds(recipe: Recipe) -> None:
    """That each setting is of the kind that its field names. Raises ConfigError."""
    for part in (recipe.train, recipe.cleaning):
        for setting in fields(part):
            typed(type(part), setting.name, getattr(part, setting.name))
    for name in ("vocab_size", "start_mark", "max_documents"):
        typed(Recipe, name, getattr(recipe, name))


def _corpus(said: dict[str, Any]) -> dict[str, Any]:
    """What a config says of its text, as far as it has the kinds that readers expect."""
    known: dict[str, Any] = {
        key: shown(said[key], 500) if key != "opening" else said[key][:500]
        for key in ("name", "source", "opening")
        if isinstance(said.get(key), str)
    }
    if type(said.get("characters")) is int:
        known["characters"] = said["characters"]
    notes = said.get("notes")
    known["notes"] = (
        [shown(note, 500) for note in notes[:50] if isinstance(note, str)] if isinstance(notes, list) else []
    )
    if isinstance(said.get("data"), dict):
        with contextlib.suppress(ConfigError):
            data = Data.from_dict(said["data"])
            known["data"] = replace(data, files=tuple(re.split(r"[/\\]", name)[-1] for name in data.files)).to_dict()
    return known


def _settle_checkpoint(folder: Path, about: dict[str, Any]) -> None:
    """Check a checkpoint's files, and keep of its meta what readers expect. Raises CheckpointError."""
    index = read_index(folder)
    for name, digest in _parts(index).items():
        if Path(name).name != name or not (folder / name).is_file():
            raise CheckpointError(f"{folder / name} is missing.")
        with (folder / name).open("rb") as source:
            if hashlib.file_digest(source, "sha256").hexdigest() != digest:
                raise CheckpointError(f"{folder / name} is not the file that was packed.")
    meta = index.get("meta")
    kept = {key: value for key, value in (meta if isinstance(meta, dict) else {}).items() if _plain(value)}
    numbers = ("loss", "val_loss", "bits_per_byte", "bytes_per_token")
    kept = {key: value for key, value in kept.items() if key not in numbers or isinstance(value, int | float)}
    if type(kept.get("step", 0)) is not int or kept.get("step", 0) < 0:
        raise CheckpointError(f"{folder / INDEX} says no step.")
    sampling = meta.get("sampling") if isinstance(meta, dict) else None
    if isinstance(sampling, dict):
        kept["sampling"] = {key: value for key, value in sampling.items() if _plain(value)}
    write_atomically(folder / INDEX, json.dumps({**index, "meta": {**kept, **about}}, indent=2).encode())


def _is_object(file: Path) -> bool:
    """Whether a file holds a JSON object."""
    with contextlib.suppress(ValueError, RecursionError):
        return file.stat().st_size <= _SMALL and isinstance(json.loads(file.read_bytes()), dict)
    return False


def _plain(value: object) -> bool:
    """Whether a value is a short text or a finite number."""
    if isinstance(value, str):
        return len(value) <= 1_000
    return isinstance(value, int | float) and math.isfinite(value) and abs(value) < 2**53


def _settle_metrics(path: Path) -> None:
    """Keep the events up to the first line that is none: a reader stops there, and one with other kinds would break."""
    if not path.exists():
        return
    events, behind = RunFolder(path.parent).events_from(0), 0
    for event, end in events:
        if not _typed(event):
            break
        behind = end
    with path.open("r+b") as file:
        file.truncate(behind)


def _typed(event: Event) -> bool:
    """Whether the fields of an event have the kinds that its class names."""
    hints = typing.get_type_hints(type(event))
    return all(_is(getattr(event, field.name), hints[field.name]) for field in fields(event))


def _is(value: object, hint: Any) -> bool:
    if isinstance(hint, types.UnionType):
        return any(_is(value, part) for part in typing.get_args(hint))
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin is dict:
        return isinstance(value, dict) and all(_is(k, parts[0]) and _is(v, parts[1]) for k, v in value.items())
    if origin is list:
        return isinstance(value, list) and all(_is(item, parts[0]) for item in value)
    if hint in (int, float):
        return isinstance(value, (int, float) if hint is float else int) and not isinstance(value, bool)
    return isinstance(value, hint)


def _weigh_texts(folder: Path, most: int, file: str) -> None:
    """That the texts, packed once more, are of a size that can be read whole."""
    left = most
    for path in sorted(folder.glob("corpus/*.gz")):
        try:
            with gzip.open(path) as source:
                while chunk := source.read(_CHUNK):
                    left -= len(chunk)
                    if left < 0:
                        raise BundleError(
                            f"the text in {file} is longer than {megabytes(most)}: this cannot be read here."
                        )
        except (OSError, EOFError, zlib.error) as error:
            raise BundleError(f"the run in {file} is damaged ({path.name} is cut short): pack it anew.") from error


def _move(folder: Path, runs: Path, wanted: str) -> str:
    """Put a whole run into its place, under its own id where that is one and free."""
    if _ID.fullmatch(wanted) and not (runs / wanted).exists():
        with contextlib.suppress(OSError):  # another one came first
            folder.rename(runs / wanted)
            return wanted
    run_id = new_run_id(RunFolder(folder).info().name)
    folder.rename(runs / run_id)
    return run_id


# ---- the command line ---------------------------------------------------------------------------------------------


def parser() -> argparse.ArgumentParser:
    """The command line of this program."""
    p = argparse.ArgumentParser(prog="python -m training.bundle", description="Take a run elsewhere as one zip.")
    commands = p.add_subparsers(dest="command", required=True)
    packing = commands.add_parser("pack", help="pack the folder of a run into a zip")
    packing.add_argument("run", type=Path, help="the run's folder")
    packing.add_argument("file", type=Path, help="the zip to write; must not be there yet")
    opening = commands.add_parser("unpack", help="unpack such a zip as a run")
    opening.add_argument("file", type=Path, help="the zip")
    opening.add_argument("--runs", type=Path, default=Path("runs"), help="the folder of runs (default runs)")
    return p


def main(argv: list[str] | None = None) -> int:
    """Run the program; 0 when all went well, 2 with a sentence on stderr when something was wrong."""
    options = parser().parse_args(argv)
    try:
        if options.command == "pack":
            out = pack(options.run, options.file)
            print(f"{out}: {megabytes(out.stat().st_size)}")
        else:
            print(options.runs / unpack(options.file, options.runs))
    except ValueError as error:
        print(f"python -m training.bundle: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
