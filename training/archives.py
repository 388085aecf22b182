"""ZIP archives of texts, read in memory: nothing is ever written to disk, and no entry's name is used as a path.

An archive may lie about everything, so names, sizes and methods are looked at before anything is unpacked, and what
comes out is counted while it comes. Python's zipfile checks the sums and refuses entries that overlap.
"""

from __future__ import annotations

import stat
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import PurePosixPath

from training.files import CorpusError, Source, megabytes, shown, shown_list

#: Entries that are looked at in one archive.
MAX_ENTRIES = 10_000
#: How many times its packed size an entry may have. Prose packs to a third or a fifth, logs to a fiftieth.
MAX_RATIO = 200
_SMALL = 1_000_000  # bytes; below this a high ratio does no harm (a page of one repeated line)
_ARCHIVES = (".zip", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".tar", ".zst", ".jar")
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
_BY_SYSTEMS = ("__MACOSX", "Thumbs.db", "desktop.ini")


def texts_in(source: Source, types: tuple[str, ...], max_bytes: int, notes: list[str]) -> Iterator[Source]:
    """The entries of the given types (".txt", ...), in the order of their names, each unpacked when it is asked for.

    What is left out is added to `notes`. max_bytes: the most that all of them may come to.
    Raises CorpusError for what is no archive, for one that is encrypted, holds archives or names that lead elsewhere,
    unpacks to more than allowed, or holds no text.
    """
    with source.open() as file:
        try:
            archive = zipfile.ZipFile(file)
            entries = _checked(archive, source, max_bytes, types, notes)
        except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError, ValueError, OSError) as error:
            if isinstance(error, CorpusError):
                raise
            raise _damaged(source.name) from error
        left = max_bytes
        for entry in entries:
            raw = _unpacked(archive, entry, source.name, left, max_bytes)
            left -= len(raw)
            if not raw:
                notes.append(f'Left out because it is empty: "{_label(entry)}".')
                continue
            yield Source(_label(entry), PurePosixPath(entry.filename).suffix.lower(), len(raw), raw=raw)


def _checked(
    archive: zipfile.ZipFile, source: Source, max_bytes: int, types: tuple[str, ...], notes: list[str]
) -> list[zipfile.ZipInfo]:
    """The entries to read. Looks at the archive's list only."""
    name, entries = source.name, archive.infolist()
    if len(entries) > MAX_ENTRIES:
        raise CorpusError(
            f'"{name}" holds {len(entries):,} files, and the limit is {MAX_ENTRIES:,}. '
            "Join them to fewer, or pack a part of them."
        )
    names = {entry.filename for entry in entries}
    if "[Content_Types].xml" in names or {"mimetype", "META-INF/container.xml"} <= names or "content.xml" in names:
        raise CorpusError(
            f'"{name}" is a document (Word, Excel, OpenDocument or e-book) and not an archive of texts. '
            "Save it as plain text (.txt) or .csv and take that."
        )
    for entry in entries:
        _refuse_slip(entry, name)
    files = [entry for entry in entries if not entry.is_dir() and not _is_litter(entry)]
    for entry in files:
        if PurePosixPath(entry.filename).suffix.lower() in _ARCHIVES:
            raise CorpusError(
                f'"{name}" holds another archive ("{_label(entry)}"). Unpack that one and pack its texts directly.'
            )
    readable = [entry for entry in files if PurePosixPath(entry.filename).suffix.lower() in types]
    if not readable:
        kinds = sorted({PurePosixPath(entry.filename).suffix.lower() or "no ending" for entry in files})
        holds = f"It holds {shown_list(kinds)}. " if kinds else "It is empty. "
        raise CorpusError(f'"{name}" holds no text. {holds}Pack files of these types: {", ".join(types)}.')
    for entry in readable:
        _refuse(entry, name)
    total = sum(entry.file_size for entry in readable)
    if total > max_bytes:
        raise _too_much(name, total, max_bytes)
    others = Counter(PurePosixPath(e.filename).suffix.lower() or "no ending" for e in files if e not in readable)
    if others:
        said = ", ".join(f"{count:,} {shown(kind, 12)}" for kind, count in sorted(others.items())[:10])
        notes.append(f"Left out of the archive because of their type: {said}.")
    return sorted(readable, key=lambda entry: entry.filename)


def _refuse_slip(entry: zipfile.ZipInfo, name: str) -> None:
    """Refuses names that would lead out of a folder: none is unpacked to here, but such an archive is no good."""
    path = entry.orig_filename.replace("\\", "/")
    if path.startswith("/") or path[1:2] == ":" or ".." in path.split("/") or "\x00" in path:
        raise CorpusError(
            f'"{name}" holds a file whose name leads out of its folder ("{shown(entry.orig_filename)}"). '
            "Nothing was unpacked. Pack the texts anew, under plain names."
        )


def _is_litter(entry: zipfile.ZipInfo) -> bool:
    """What operating systems put into archives, hidden files, and links (their content is only a path)."""
    parts = PurePosixPath(entry.filename).parts
    hidden = any(part in _BY_SYSTEMS or part.startswith(".") for part in parts)
    return hidden or stat.S_ISLNK(entry.external_attr >> 16)


def _refuse(entry: zipfile.ZipInfo, name: str) -> None:
    """Raises CorpusError for an entry that must not or cannot be unpacked."""
    label = _label(entry)
    if entry.flag_bits & 0x1:
        raise CorpusError(f'"{label}" in "{name}" is encrypted. Unpack it with its password and take the texts.')
    if entry.compress_type not in _METHODS:
        raise CorpusError(
            f'"{label}" in "{name}" is packed in an unusual way. Pack the texts anew as an ordinary ZIP (Deflate).'
        )
    if entry.file_size > _SMALL and entry.file_size > MAX_RATIO * max(1, entry.compress_size):
        raise _bomb(name, label)


def _unpacked(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, name: str, left: int, max_bytes: int) -> bytes:
    """The bytes of an entry, whatever the archive says of their number."""
    parts: list[bytes] = []
    size = 0
    try:
        with archive.open(entry) as handle:
            while part := handle.read(1 << 20):
                size += len(part)
                parts.append(part)
                if size > left:
                    raise _too_much(name, max_bytes - left + size, max_bytes)
                if size > _SMALL and size > MAX_RATIO * max(1, entry.compress_size):
                    raise _bomb(name, _label(entry))
    except CorpusError:
        raise
    except Exception as error:  # zlib's, zipfile's and struct's: damaged archives raise many
        raise _damaged(name, _label(entry)) from error
    return b"".join(parts)


def _label(entry: zipfile.ZipInfo) -> str:
    return shown(entry.filename)


def _too_much(name: str, size: int, max_bytes: int) -> CorpusError:
    return CorpusError(
        f'"{name}" unpacks to {megabytes(size)} or more, and the limit is {megabytes(max_bytes)}. '
        "Pack fewer or shorter texts; a small GPT learns its style from one to five megabytes."
    )


def _bomb(name: str, label: str) -> CorpusError:
    return CorpusError(
        f'"{label}" in "{name}" unpacks to more than {MAX_RATIO} times its packed size, as no text does. '
        "Nothing was taken from it. If it is a text all the same, take it unpacked."
    )


def _damaged(name: str, label: str = "") -> CorpusError:
    what = f'"{label}" in "{name}"' if label else f'"{name}"'
    return CorpusError(f"{what} cannot be unpacked: the archive is damaged, cut short or no ZIP. Pack it anew.")
