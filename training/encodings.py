"""Bytes -> text: which encoding a file is in, and the few repairs every text gets.

The order is from certain to likely: byte order mark, UTF-8, UTF-16 and UTF-32 without a mark (seen by where their NUL
bytes lie), UTF-8 with a little damage, then the old one- and two-byte encodings. What was found and what was repaired
is said in notes; nothing is repaired silently. A file is read in pieces of a megabyte, more than once where needed, so
that a large one is never in memory twice.

Does not know: UTF-16 without a mark of a text that has no NUL byte (Chinese without a single space or line break).
"""

import codecs
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple

from training.files import Source, join_texts, lines_of, refuse_binary, refuse_known_binary, source_of

_MARKS: tuple[tuple[bytes, str, str], ...] = (  # UTF-32 first: its little-endian mark begins with UTF-16's
    (codecs.BOM_UTF8, "utf-8", "UTF-8 with byte order mark"),
    (codecs.BOM_UTF32_LE, "utf-32-le", "UTF-32, little-endian"),
    (codecs.BOM_UTF32_BE, "utf-32-be", "UTF-32, big-endian"),
    (codecs.BOM_UTF16_LE, "utf-16-le", "UTF-16, little-endian"),
    (codecs.BOM_UTF16_BE, "utf-16-be", "UTF-16, big-endian"),
)
_LATIN = {
    "cp1252": "Windows-1252 (Western European)",
    "cp1250": "Windows-1250 (Central European)",
    "cp1254": "Windows-1254 (Turkish)",
}
_BEFORE_WINDOWS = {  # tried where bytes occur that Windows-1252 leaves undefined
    "mac_roman": "Mac Roman (Western European)",
    "cp850": "DOS code page 850 (Western European)",
}
_OTHER = {
    "cp1251": "Windows-1251 (Cyrillic)",
    "koi8_r": "KOI8-R (Cyrillic)",
    "cp1253": "Windows-1253 (Greek)",
    "cp1255": "Windows-1255 (Hebrew)",
    "cp1256": "Windows-1256 (Arabic)",
    "cp932": "Shift JIS (Japanese)",
    "euc_jp": "EUC-JP (Japanese)",
    "gb18030": "GB18030 (Chinese)",
    "big5": "Big5 (Chinese)",
    "cp949": "CP949 (Korean)",
}
_NAMES = _LATIN | _BEFORE_WINDOWS | _OTHER
_SINGLE_BYTE = {*_LATIN, *_BEFORE_WINDOWS, "cp1251", "koi8_r", "cp1253", "cp1255", "cp1256"}
# What text does not contain: control characters other than tab, line feed, vertical tab, form feed, carriage return,
# Ctrl-Z (end of file under DOS) and escape (coloured terminal logs). NUL is counted apart.
_CONTROLS = bytes(set(range(1, 32)) - {9, 10, 11, 12, 13, 26, 27} | {127})
_BY_CHANCE = 5  # whole sequences of UTF-8 in one line that no other encoding has there by chance
_NARROW = 16_384  # characters
_LEGACY_SAMPLE = 200_000  # bytes, of lines that are not plain ASCII, looked at to tell old encodings apart


class Decoded(NamedTuple):
    """A text, the encoding it was in (as a person calls it), and what is to be said about it."""

    text: str
    encoding: str
    notes: tuple[str, ...]


class Coding(NamedTuple):
    """How bytes become text: Python's codec, what is done with bytes it cannot read, and the bytes of a mark to skip.

    `label` is the encoding as a person calls it; `notes` say what is to be repaired.
    """

    codec: str
    label: str
    notes: tuple[str, ...] = ()
    errors: str = "strict"
    skip: int = 0


class Text:
    """A source as text with `\\n` line ends, read anew each time it is asked for."""

    def __init__(self, source: Source) -> None:
        """Looks at the whole source once. Raises CorpusError when it is no text in any encoding known here."""
        self.source = source
        self.coding = recognise(source)
        self._counts: Counter[str] = Counter()

    @property
    def notes(self) -> tuple[str, ...]:
        """What is to be said about encoding and repairs; the repairs are those of the last reading."""
        return (f"Encoding: {self.coding.label}.", *self.coding.notes, *tidy_notes(self._counts))

    def pieces(self) -> Iterator[str]:
        """The text in pieces of about a megabyte."""
        counts: Counter[str] = Counter()
        decoder = codecs.getincrementaldecoder(self.coding.codec)(self.coding.errors)
        held, begun = "", False  # a carriage return at the end of a piece waits for what follows
        for chunk in chain(self.source.chunks(self.coding.skip), (b"",)):
            piece = held + decoder.decode(chunk, final=not chunk)
            held = "\r" if piece.endswith("\r") and chunk else ""
            piece = piece.removesuffix("\r") if held else piece
            piece = tidy(piece, counts, first=not begun)
            if piece:
                begun = True
                yield piece
        self._counts = counts

    def lines(self) -> Iterator[str]:
        """Its lines, each with its line end. Raises CorpusError for one that no table has."""
        return lines_of(self.pieces(), self.source.name)

    def whole(self) -> Decoded:
        """The text in one. Raises CorpusError when it takes too much memory."""
        parts: list[str] = []
        for piece in self.pieces():
            wide = not piece.isascii() and len(piece) > _NARROW
            # one emoji makes a whole piece four times as large: only the slice with it stays so
            parts += [piece[i : i + _NARROW] for i in range(0, len(piece), _NARROW)] if wide else [piece]
        text = join_texts(parts, "", self.source.name)
        return Decoded(text, self.coding.label, self.notes)


def decode(raw: bytes, name: str) -> Decoded:
    """`raw`, the bytes of the file called `name` (already fit to be shown), as text with `\\n` line ends.

    Raises CorpusError when the bytes are a known binary format, or no text in any encoding known here.
    """
    return Text(source_of(raw, name)).whole()


def tidy(text: str, counts: Counter[str], first: bool = True) -> str:
    """`text` without NUL and byte order marks at its start, without lone surrogates, with `\\n` line ends only.

    first: whether it is the beginning of the whole.
    Lone surrogates (half of a character; JSON escapes can hold them) cannot be written as UTF-8 and become U+FFFD.
    What was done is added to `counts`, for `tidy_notes`.
    """
    if first and text.startswith("\ufeff"):
        text = text.lstrip("\ufeff")
    if "\x00" in text:
        counts["nul"] += text.count("\x00")
        text = text.replace("\x00", "")
    if "\r" in text:
        windows = text.count("\r\n")
        counts["crlf"] += windows
        counts["cr"] += text.count("\r") - windows
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    text, lone = re.subn("[\ud800-\udfff]", "\ufffd", text)
    counts["surrogate"] += lone
    return text


def tidy_notes(counts: Counter[str]) -> tuple[str, ...]:
    """A sentence for each repair that `tidy` counted."""
    sentences = {
        "nul": "NUL bytes taken out, because text has none: {}.",
        "crlf": "Windows line ends (CR LF) turned into single line breaks: {}.",
        "cr": "Old Mac line ends (CR) turned into line breaks: {}.",
        "surrogate": "Halves of characters (lone surrogates) replaced by U+FFFD: {}.",
    }
    return tuple(sentence.format(f"{counts[key]:,}") for key, sentence in sentences.items() if counts[key])


# --- recognising -----------------------------------------------------------------------------------------------------


def recognise(source: Source) -> Coding:
    """The encoding of a source. Raises CorpusError when it is a known binary format, or no text in any known here."""
    head = source.head()
    refuse_known_binary(head, source.name)
    for mark, codec, label in _MARKS:
        if head.startswith(mark):
            start = _beginning(source, codec, len(mark))
            if start is not None and _plausible(start):
                return Coding(codec, label, skip=len(mark))
            if codec == "utf-8":
                break  # damaged: the repair below says how much
    nul, controls = _counted(source)
    if nul[0] or nul[1]:
        return _with_nul(source, nul, controls)
    if controls > 0.02 * source.size:
        raise refuse_binary(source.name)
    if _beginning(source, "utf-8") is not None:
        return Coding("utf-8", "UTF-8")
    return _nearly_utf8(source, head) or _legacy(source)


def _beginning(source: Source, codec: str, skip: int = 0) -> str | None:
    """The first characters of the source in this codec; None when not all of it can be read so."""
    decoder = codecs.getincrementaldecoder(codec)("strict")
    start = ""
    try:
        for chunk in chain(source.chunks(skip), (b"",)):
            text = decoder.decode(chunk, final=not chunk)
            if len(start) < 50_000:
                start += text[:50_000]
    except UnicodeDecodeError:
        return None
    return start


def _counted(source: Source) -> tuple[tuple[int, int], int]:
    """NUL bytes at even and at odd places, and bytes of the control characters that text does not have."""
    even = odd = controls = 0
    for chunk in source.chunks():
        if b"\x00" in chunk:
            even += chunk[0::2].count(0)
            odd += chunk[1::2].count(0)
        controls += len(chunk) - len(chunk.translate(None, _CONTROLS))
    return (even, odd), controls


def _plausible(text: str) -> bool:
    """Whether the text's beginning is made of characters that text is made of (few controls, none unassigned)."""
    sample = text[:50_000]
    odd = sum(unicodedata.category(c) in ("Cc", "Cn", "Co", "Cs") and c not in "\t\n\v\f\r\x1a\x1b" for c in sample)
    return odd <= 0.02 * len(sample)


def _with_nul(source: Source, nuls: tuple[int, int], controls: int) -> Coding:
    """Bytes with NULs: wide encodings without a mark, or text with a few stray NULs, or no text.

    Latin letters in UTF-16 have their NUL always in the second byte (little-endian) or always in the first.
    """
    (first, second), nul, size = nuls, sum(nuls), source.size
    wide = "utf-16-le" if second >= first else "utf-16-be"
    one_sided = max(first, second) >= 0.95 * nul
    mostly_latin = one_sided and nul >= 0.3 * size
    if size % 4 == 0 and nul >= 0.5 * size:
        for codec in ("utf-32-le", "utf-32-be"):
            start = _beginning(source, codec)
            if start is not None and _plausible(start):
                return Coding(codec, f"UTF-32, {_endian(codec)}, no byte order mark")
    if not mostly_latin:
        stray = nul <= 0.01 * size or nul <= 2  # two, so that a short text with one slip is not refused
        if stray and nul < size and controls <= 0.02 * (size - nul) and _beginning(source, "utf-8") is not None:
            return Coding("utf-8", "UTF-8")  # tidy() takes the NULs out and says so
    start = _beginning(source, wide) if one_sided else None
    if start is not None and _plausible(start):
        return Coding(wide, f"UTF-16, {_endian(wide)}, no byte order mark")
    raise refuse_binary(source.name)


def _endian(codec: str) -> str:
    return "little-endian" if codec.endswith("le") else "big-endian"


def _nearly_utf8(source: Source, head: bytes) -> Coding | None:
    """UTF-8 with damage, or UTF-8 with lines in an old encoding among it; None when it is something else.

    Damaged is a text in which nine in ten characters beyond ASCII are whole; text in an old encoding has next to none,
    because its accented bytes are followed by plain letters. Mixed is a text with whole lines of either.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    whole = replaced = genuine = 0
    tail = b""
    for chunk in chain(source.chunks(), (b"",)):
        text = decoder.decode(chunk, final=not chunk)
        found = text.count("\ufffd")
        replaced += found
        whole += len(text) - len(text.encode("ascii", errors="ignore")) - found
        genuine += (tail + chunk).count("\ufffd".encode())
        tail = chunk[-2:]
    broken = replaced - genuine
    if broken and not head.startswith(codecs.BOM_UTF8) and _other_lines(source) and (mixed := _mixed(source)):
        return mixed
    if whole >= 9 * broken or head.startswith(codecs.BOM_UTF8):
        note = f"Broken UTF-8 sequences replaced by U+FFFD: {broken:,}."
        return Coding("utf-8", "UTF-8, damaged", (note,), "replace")
    return _mixed(source) if whole >= 5 else None


def _other_lines(source: Source) -> bool:
    """Whether most lines that are no UTF-8 look like an old encoding, and not like damage: nothing beyond ASCII in them
    is whole, and there are several such bytes, or one that is a letter there and would begin a long sequence here."""
    old = damaged = 0
    for line in _byte_lines(source):
        if line.isascii():
            continue
        text = line.decode("utf-8", errors="replace")
        broken = text.count("\ufffd") - line.count("\ufffd".encode())
        if not broken:
            continue
        whole = sum(not character.isascii() for character in text) - broken
        letter = any(byte >= 0xE0 for byte in line)
        old, damaged = (old + 1, damaged) if not whole and (broken > 1 or letter) else (old, damaged + 1)
    return old > damaged


def _mixed(source: Source) -> Coding | None:
    """UTF-8 lines and lines in one old encoding in the same file, as when two files were glued together."""
    good = letters = bad = first = 0
    sample = b""
    for number, line in enumerate(_byte_lines(source), 1):
        if line.isascii():
            continue
        try:
            letters += sum(not character.isascii() for character in line.decode("utf-8"))
            good += 1
        except UnicodeDecodeError:
            bad += 1
            first = first or number
            if len(sample) < _LEGACY_SAMPLE:
                sample += line[:_LEGACY_SAMPLE] + b"\n"
    if (good < 2 and letters < _BY_CHANCE) or good < 0.1 * (good + bad):
        return None
    old = next((codec for codec in _candidates(sample) if codec in _SINGLE_BYTE), "cp1252")
    note = (
        f"Mixed encodings: lines that are not UTF-8 as the others are were taken for {_NAMES[old]}: {bad:,}, the first "
        f"is line {first:,}. If letters look wrong there, save the file as UTF-8 and take that."
    )
    return Coding("utf-8", f"UTF-8 mixed with {_NAMES[old]}", (note,), _falling_back(old))


def _falling_back(codec: str) -> str:
    """The name of an error handler that reads what is no UTF-8 in another codec, byte for byte."""

    def handle(error: UnicodeError) -> tuple[str, int]:
        assert isinstance(error, UnicodeDecodeError)
        return error.object[error.start : error.end].decode(codec, errors="replace"), error.end

    name = f"glass-{codec}"
    codecs.register_error(name, handle)
    return name


def _byte_lines(source: Source) -> Iterator[bytes]:
    begun: list[bytes] = []
    for chunk in source.chunks():
        first, *others = chunk.split(b"\n")
        begun.append(first)
        if others:
            yield b"".join(begun)
            yield from others[:-1]
            begun = [others[-1]]
    yield b"".join(begun)


def _legacy(source: Source) -> Coding:
    """Old encodings. Western European unless the evidence is against it, because it is by far the most common."""
    sample = b""
    for line in _byte_lines(source):  # a line end is never half of a two-byte character
        if not line.isascii():
            sample += line[:_LEGACY_SAMPLE] + b"\n"
        if len(sample) >= _LEGACY_SAMPLE:
            break
    windows = _beginning(source, "cp1252") is not None
    for codec in _candidates(sample, windows):
        if _beginning(source, codec) is not None:
            return Coding(codec, _NAMES[codec], (_legacy_note(_NAMES[codec]),))
    return Coding("latin-1", "Latin-1 (ISO 8859-1)", (_legacy_note("Latin-1"),))


def _candidates(sample: bytes, windows: bool = True) -> list[str]:
    """The old codecs that lines beyond ASCII can be in, best first. windows: whether Windows-1252 can read everything.

    Latin scripts use a few bytes above 127 among plain letters; other scripts are nearly all above 127.
    """
    high = sum(map(sample.count, (bytes([b]) for b in range(128, 256))))
    plain = len(re.findall(rb"[A-Za-z]", sample))
    if high >= 0.45 * (high + plain):
        return _ranked(sample, _OTHER)
    return _ranked(sample, _LATIN if windows else _BEFORE_WINDOWS)


def _legacy_note(encoding: str) -> str:
    return (
        f"The file does not say its encoding; it was taken for {encoding}. "
        "If letters look wrong, save it as UTF-8 and take that."
    )


def _ranked(sample: bytes, names: dict[str, str]) -> list[str]:
    """The codecs of `names` that can be meant, best first; codecs that give the same text share a score.

    The score is charset-normalizer's: how much the decoding looks like a language.
    """
    from charset_normalizer import from_bytes  # only needed here, and rarely

    matches = from_bytes(sample, cp_isolation=list(names))
    scores = {codec: match.coherence for match in matches for codec in match.could_be_from_charset if codec in names}
    ranked = sorted(scores, key=lambda codec: -scores[codec])  # stable: ties stay as charset-normalizer had them
    if names is not _LATIN:
        return ranked
    western = sample.decode("cp1252", errors="replace")
    lead = scores[ranked[0]] - scores.get("cp1252", 0.0) if ranked else 0.0
    if lead <= 0.03 and not _symbols_in_words(western):
        return ["cp1252"]
    return [*ranked, "cp1252"]


def _symbols_in_words(text: str) -> bool:
    """Whether many words have signs such as ³ or ¿ between letters: the mark of a wrongly chosen encoding."""
    inside = len(re.findall(r"(?<=[^\W\d_])[^\w\s\x00-\x7f’‘\xad·](?=[^\W\d_])", text))
    beyond = sum(c > "\x7f" for c in text)
    return inside > 0.1 * beyond
