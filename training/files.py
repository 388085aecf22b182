"""Files a visitor brings: the size limit, what is no text at all, and how names are shown in a sentence.

Knows nothing of encodings (`encodings.py`) or of columns (`tables.py`). Everything here works on bytes and names only;
nothing that a visitor sends is ever executed, imported or used as a path to write to.
"""

import re
from collections.abc import Sequence
from pathlib import Path

#: Largest corpus file that is read, in bytes. A 50 MB text holds some ten million words, hours of training on a CPU.
DEFAULT_MAX_BYTES = 50_000_000

WHAT_CAN_BE_READ = "Upload plain text: a .txt, .md, .csv or .jsonl file, or paste the text."

# Only unmistakable openings. Those that are printable letters count only in a file that also holds NUL bytes, because
# a poem may begin with "RIFF".
_BINARY_OPENINGS: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"PK\x03\x04", "a ZIP archive (Word, Excel, OpenDocument and e-book files are ZIP archives too)"),
    (b"PK\x05\x06", "an empty ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive"),
    (b"\xfd7zXZ\x00", "an XZ archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Word, Excel or PowerPoint file"),
    (b"\x7fELF", "a program"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x80\x04\x95", "a Python pickle"),
    (b"SQLite format 3\x00", "an SQLite database"),
)
_PRINTABLE_OPENINGS: tuple[tuple[bytes, str], ...] = (
    (b"GIF87a", "a GIF picture"),
    (b"GIF89a", "a GIF picture"),
    (b"PAR1", "a Parquet table"),
    (b"RIFF", "a sound, picture or video file"),
    (b"OggS", "a sound file"),
    (b"ID3", "a sound file"),
    (b"MZ", "a program"),
)


class CorpusError(ValueError):
    """A corpus that cannot be used. The message is a sentence for the visitor: what is wrong and what to do."""


def shown(text: str, limit: int = 48) -> str:
    """`text` as it may stand in a sentence: one line, no control or invisible characters, at most `limit` long.

    A file name can hold line breaks, escape sequences or characters that turn the reading direction; each of them
    becomes U+FFFD. A long text keeps its beginning and its end (the end of a file name is its type).
    """
    head, tail = text[: 4 * limit], text[-4 * limit :]  # a hostile name may be megabytes long
    head, tail = (
        "".join(c if c.isprintable() else " " if c in "\n\t\r" else "\ufffd" for c in part) for part in (head, tail)
    )
    if len(text) <= limit:
        return head.strip() or "(no name)"
    half = (limit - 1) // 2
    return head.strip()[: limit - 1 - half] + "…" + tail.strip()[-half:]


def shown_file(path: str | Path) -> str:
    """The last part of a path (either kind of slash), as it may stand in a sentence."""
    return shown(re.split(r"[/\\]", str(path))[-1])


def shown_list(names: Sequence[str], limit: int = 20) -> str:
    """Names in quotes, separated by commas; after `limit` names only their number."""
    quoted = [f'"{shown(name)}"' for name in names[:limit]]
    if len(names) > limit:
        quoted.append(f"and {len(names) - limit:,} more")
    return ", ".join(quoted)


def megabytes(size: int) -> str:
    """A size in bytes in words, decimal as file managers and the Hub write it: '812 bytes', '1.1 MB'."""
    if size < 1_000:
        return f"{size} bytes"
    if size < 1_000_000:
        return f"{size / 1_000:.1f} kB".replace(".0 ", " ")
    return f"{size / 1_000_000:.1f} MB".replace(".0 ", " ")


def too_large(name: str, size: int, max_bytes: int) -> CorpusError:
    """The one sentence about size, wherever the size was learnt."""
    return CorpusError(
        f'"{name}" is {megabytes(size)}, and the limit is {megabytes(max_bytes)}. '
        f"Cut it to its first {megabytes(max_bytes)} or take a part of it; "
        "a small GPT learns its style from one to five megabytes."
    )


def read_bytes(path: str | Path, max_bytes: int = DEFAULT_MAX_BYTES, name: str | None = None) -> bytes:
    """The bytes of a regular file of at most `max_bytes`. The size is looked at before anything is read.

    Raises CorpusError when the file is missing, no regular file, unreadable, empty or too large.
    """
    name = shown_file(path) if name is None else shown(name)
    path = Path(path)
    try:
        if path.is_dir():
            raise CorpusError(f'"{name}" is a folder. {WHAT_CAN_BE_READ}')
        if path.exists() and not path.is_file():  # a pipe or a device would never end
            raise CorpusError(f'"{name}" is not a regular file. {WHAT_CAN_BE_READ}')
        size = path.stat().st_size
        if size > max_bytes:
            raise too_large(name, size, max_bytes)
        with path.open("rb") as handle:
            raw = handle.read(max_bytes + 1)
    except FileNotFoundError:
        raise CorpusError(f'There is no file "{name}". Check the name, or upload it again.') from None
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the path; CorpusError passes through
        if isinstance(error, CorpusError):
            raise
        raise CorpusError(f'"{name}" could not be read. Check that it is not locked, or upload it again.') from error
    if len(raw) > max_bytes:  # it grew between the look and the reading
        raise too_large(name, len(raw), max_bytes)
    if not raw:
        raise CorpusError(f'"{name}" is empty (0 bytes). {WHAT_CAN_BE_READ}')
    return raw


def refuse_known_binary(raw: bytes, name: str) -> None:
    """Raises CorpusError, naming the kind of file, when `raw` opens like a well-known format that is not plain text."""
    kind = next((what for opening, what in _BINARY_OPENINGS if raw.startswith(opening)), None)
    if kind is None and b"\x00" in raw[:4096]:
        kind = next((what for opening, what in _PRINTABLE_OPENINGS if raw.startswith(opening)), None)
    if re.match(rb"%PDF-\d", raw):
        raise CorpusError(f'"{name}" is a PDF, not plain text. Copy its text and paste it here, or save it as .txt.')
    if raw.startswith(b"{\\rtf"):
        raise CorpusError(f'"{name}" is an RTF document. Save it as plain text (.txt) and upload that.')
    if kind is not None:
        raise CorpusError(f'"{name}" is {kind}, not plain text. {WHAT_CAN_BE_READ}')


def refuse_binary(name: str) -> CorpusError:
    """The sentence for bytes that are no text in any encoding tried."""
    return CorpusError(f'"{name}" holds binary data, not text. {WHAT_CAN_BE_READ}')
