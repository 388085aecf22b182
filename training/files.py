"""Files a visitor brings: the size limit, what is no text at all, and how names are shown in a sentence.

Knows nothing of encodings (`encodings.py`) or of columns (`tables.py`). Everything here works on bytes and names only;
nothing that a visitor sends is ever executed, imported or used as a path to write to.
"""

import io
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

#: Largest corpus that is read on one's own machine, in bytes; a server that strangers reach sets a smaller one.
DEFAULT_MAX_BYTES = 250_000_000
#: Most memory that the texts of a corpus may take while they are put together, in bytes. Python gives every character
#: of a text as many bytes as the widest one needs, so one emoji makes 200 MB of English four times as large.
MAX_MEMORY = 1_100_000_000
#: Longest line of a table, in characters: a table of texts has a line a row.
MAX_LINE = 20_000_000
_CHUNK = 1 << 20  # bytes read at once; even, so that the halves of a two-byte character stay on their sides

WHAT_CAN_BE_READ = "Take plain text: a .txt, .md, .csv, .tsv, .jsonl, .parquet or .zip file."
#: Longest name of a file that is shown whole, in characters.
LONGEST_NAME = 80

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
    (b"PAR1", "a Parquet table (rename it to .parquet and it can be read)"),
    (b"RIFF", "a sound, picture or video file"),
    (b"OggS", "a sound file"),
    (b"ID3", "a sound file"),
    (b"MZ", "a program"),
)


class CorpusError(ValueError):
    """A corpus that cannot be used. The message is a sentence for people, true on the page and at the console.

    `options` are those that would help ("column", "delimiter", "keep-good-lines"): the page offers them beside the
    file, and `console` names them as the command line writes them.
    """

    def __init__(self, sentence: str, *options: str) -> None:
        super().__init__(sentence)
        self.options = options

    @property
    def console(self) -> str:
        """The sentence, followed by the options of the command line that would help."""
        flags = " or ".join(f"--{option}" for option in self.options)
        return f"{self} (See {flags}.)" if flags else str(self)


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
    return shown(re.split(r"[/\\]", str(path))[-1], LONGEST_NAME)


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


@dataclass(frozen=True)
class Source:
    """The bytes of one file, to be read as often as needed without being held; or bytes that are held already.

    `name` is fit to be shown, `kind` its type in lower case (".csv"), `size` in bytes.
    """

    name: str
    kind: str
    size: int
    path: Path | None = field(default=None, repr=False)
    raw: bytes | None = field(default=None, repr=False)

    def open(self) -> BinaryIO:
        """A binary file at its beginning. Raises CorpusError when it has gone or cannot be read."""
        if self.path is None:
            return io.BytesIO(self.raw or b"")
        try:
            return self.path.open("rb")
        except OSError as error:
            raise unreadable(self.name) from error

    def chunks(self, skip: int = 0) -> Iterator[bytes]:
        """The bytes from `skip` on, a megabyte at a time, all but the last of even length."""
        with self.open() as handle:
            try:
                handle.seek(skip)
                left = self.size - skip  # what is appended meanwhile is not read
                while left > 0 and (chunk := handle.read(min(_CHUNK, left))):
                    left -= len(chunk)
                    yield chunk
            except OSError as error:
                raise unreadable(self.name) from error

    def head(self, length: int = 4096) -> bytes:
        """The first bytes."""
        with self.open() as handle:
            return handle.read(length)


def unreadable(name: str) -> CorpusError:
    """The sentence for a file that the system does not let us read."""
    return CorpusError(f'"{name}" could not be read. Check that it is not locked, and try it again.')


def open_source(path: str | Path, max_bytes: int = DEFAULT_MAX_BYTES, name: str | None = None) -> Source:
    """A regular file of at most `max_bytes`, looked at but not read.

    Raises CorpusError when the file is missing, no regular file, unreadable, empty or too large.
    """
    label = shown_file(path) if name is None else shown(name, LONGEST_NAME)
    path = Path(path)
    try:
        if path.is_dir():
            raise CorpusError(f'"{label}" is a folder. {WHAT_CAN_BE_READ}')
        if path.exists() and not path.is_file():  # a pipe or a device would never end
            raise CorpusError(f'"{label}" is not a regular file. {WHAT_CAN_BE_READ}')
        size = path.stat().st_size
        if size > max_bytes:
            raise too_large(label, size, max_bytes)
        if size == 0:
            raise empty(label)
    except FileNotFoundError:
        raise CorpusError(f'There is no file "{label}" (any more). Check its name, and give it again.') from None
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the path; CorpusError passes through
        if isinstance(error, CorpusError):
            raise
        raise unreadable(label) from error
    return Source(label, path.suffix.lower(), size, path=path)


def source_of(raw: bytes, name: str, kind: str = "") -> Source:
    """Bytes in memory as a source. Raises CorpusError when there are none."""
    if not raw:
        raise empty(name)
    return Source(name, kind, len(raw), raw=raw)


def empty(name: str) -> CorpusError:
    """The sentence for a file without a byte."""
    return CorpusError(f'"{name}" is empty (0 bytes). {WHAT_CAN_BE_READ}')


def join_texts(parts: Sequence[str], between: str, name: str) -> str:
    """The parts as one text, `between` each two. Raises CorpusError when that takes more memory than MAX_MEMORY."""
    length = sum(map(len, parts)) + len(between) * max(0, len(parts) - 1)
    width = max((_width(part) for part in parts), default=1)
    need = sum(map(sys.getsizeof, parts)) + length * width
    if need > MAX_MEMORY:
        share = MAX_MEMORY / need
        wide = max(max(part) for part in parts if _width(part) == width)
        because = f' (a character such as "{shown(wide)}" makes each of its characters {width} bytes)'
        raise CorpusError(
            f'"{name}" takes {megabytes(need)} of memory as text{because if width > 1 else ""}, and the limit is '
            f"{megabytes(MAX_MEMORY)}. Cut it to about {share:.0%} of its length or take a part of it."
        )
    return between.join(parts)


def _width(text: str) -> int:
    """Bytes that Python takes for each character of a text."""
    if text.isascii():
        return 1
    if len(text) > 1_000:  # by its size: looking at each character takes seconds
        by_size = (sys.getsizeof(text) - 80) / len(text)
        return 1 if by_size < 1.5 else 2 if by_size < 3 else 4
    widest = max(text)
    return 1 if widest < "\u0100" else 2 if widest < "\U00010000" else 4


def lines_of(pieces: Iterable[str], name: str) -> Iterator[str]:
    """The lines of a text that comes in pieces, each with its `\\n`; nothing else ends a line.

    Raises CorpusError when one is longer than MAX_LINE: that is no line of a table.
    """
    begun: list[str] = []
    length, number = 0, 1
    for piece in pieces:
        first, *others = piece.split("\n")
        begun.append(first)
        length += len(first)
        if length > MAX_LINE:
            raise CorpusError(
                f'Line {number:,} of "{name}" is longer than {MAX_LINE // 1_000_000} million characters, so this is no '
                "table with a row a line. Save it again with line breaks between the rows, or, if it is one long text, "
                "rename it to .txt."
            )
        if others:
            yield "".join(begun) + "\n"
            for line in others[:-1]:
                yield line + "\n"
            begun, length, number = [others[-1]], len(others[-1]), number + len(others)
    if length:
        yield "".join(begun)


def refuse_known_binary(raw: bytes, name: str) -> None:
    """Raises CorpusError, naming the kind of file, when `raw` opens like a well-known format that is not plain text."""
    kind = next((what for opening, what in _BINARY_OPENINGS if raw.startswith(opening)), None)
    if kind is None and b"\x00" in raw[:4096]:
        kind = next((what for opening, what in _PRINTABLE_OPENINGS if raw.startswith(opening)), None)
    if re.match(rb"%PDF-\d", raw):
        raise CorpusError(f'"{name}" is a PDF, not plain text. Copy its text into a .txt file and take that.')
    if raw.startswith(b"{\\rtf"):
        raise CorpusError(f'"{name}" is an RTF document. Save it as plain text (.txt) and take that.')
    if kind is not None:
        raise CorpusError(f'"{name}" is {kind}, not plain text. {WHAT_CAN_BE_READ}')


def refuse_binary(name: str) -> CorpusError:
    """The sentence for bytes that are no text in any encoding tried."""
    return CorpusError(f'"{name}" holds binary data, not text. {WHAT_CAN_BE_READ}')
