"""Bytes -> text: which encoding a file is in, and the few repairs every text gets.

The order is from certain to likely: byte order mark, UTF-8, UTF-16 and UTF-32 without a mark (seen by where their NUL
bytes lie), UTF-8 with a little damage, then the old one- and two-byte encodings. What was found and what was repaired
is said in `Decoded.notes`; nothing is repaired silently.

Does not know: UTF-16 without a mark of a text that has no NUL byte (Chinese without a single space or line break).
"""

import codecs
import re
import unicodedata
from collections import Counter
from typing import NamedTuple

from training.files import refuse_binary, refuse_known_binary

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
# What text does not contain: control characters other than tab, line feed, vertical tab, form feed, carriage return,
# Ctrl-Z (end of file under DOS) and escape (coloured terminal logs). NUL is counted apart.
_CONTROLS = bytes(set(range(1, 32)) - {9, 10, 11, 12, 13, 26, 27} | {127})
_LEGACY_SAMPLE = 200_000  # bytes, of lines that are not plain ASCII, looked at to tell old encodings apart


class Decoded(NamedTuple):
    """A text, the encoding it was in (as a person calls it), and what is to be said about it."""

    text: str
    encoding: str
    notes: tuple[str, ...]


def decode(raw: bytes, name: str) -> Decoded:
    """`raw`, the bytes of the file called `name` (already fit to be shown), as text with `\\n` line ends.

    Raises CorpusError when the bytes are a known binary format, or no text in any encoding known here.
    """
    refuse_known_binary(raw, name)
    text, encoding, notes = _decode(raw, name)
    counts: Counter[str] = Counter()
    text = tidy(text, counts)
    return Decoded(text, encoding, (f"Encoding: {encoding}.", *notes, *tidy_notes(counts)))


def tidy(text: str, counts: Counter[str]) -> str:
    """`text` without NUL and byte order marks at its start, without lone surrogates, with `\\n` line ends only.

    Lone surrogates (half of a character; JSON escapes can hold them) cannot be written as UTF-8 and become U+FFFD.
    What was done is added to `counts`, for `tidy_notes`.
    """
    if text.startswith("\ufeff"):
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


def _decode(raw: bytes, name: str) -> tuple[str, str, tuple[str, ...]]:
    for mark, codec, encoding in _MARKS:
        if raw.startswith(mark):
            found = _strict(raw[len(mark) :], codec)
            if found is not None and _plausible(found):
                return found, encoding, ()
            if codec == "utf-8":
                break  # damaged: the repair below says how much
    if b"\x00" in raw:
        return _with_nul(raw, name)
    if _control_share(raw) > 0.02:
        raise refuse_binary(name)
    found = _strict(raw, "utf-8")
    if found is not None:
        return found, "UTF-8", ()
    return _damaged_utf8(raw) or _legacy(raw)


def _strict(raw: bytes, codec: str) -> str | None:
    try:
        return raw.decode(codec)
    except UnicodeDecodeError:
        return None


def _control_share(raw: bytes) -> float:
    return 1 - len(raw.translate(None, _CONTROLS)) / max(1, len(raw))


def _plausible(text: str) -> bool:
    """Whether the text's beginning is made of characters that text is made of (few controls, none unassigned)."""
    sample = text[:50_000]
    odd = sum(unicodedata.category(c) in ("Cc", "Cn", "Co", "Cs") and c not in "\t\n\v\f\r\x1a\x1b" for c in sample)
    return odd <= 0.02 * len(sample)


def _with_nul(raw: bytes, name: str) -> tuple[str, str, tuple[str, ...]]:
    """Bytes with NULs: wide encodings without a mark, or text with a few stray NULs, or no text.

    Latin letters in UTF-16 have their NUL always in the second byte (little-endian) or always in the first.
    """
    nul = raw.count(0)
    first, second = raw[0::2].count(0), raw[1::2].count(0)
    wide = "utf-16-le" if second >= first else "utf-16-be"
    one_sided = max(first, second) >= 0.95 * nul
    mostly_latin = one_sided and nul >= 0.3 * len(raw)
    if len(raw) % 4 == 0 and nul >= 0.5 * len(raw):
        for codec in ("utf-32-le", "utf-32-be"):
            found = _strict(raw, codec)
            if found is not None and _plausible(found):
                return found, f"UTF-32, {_endian(codec)}, no byte order mark", ()
    if not mostly_latin:
        rest = raw.replace(b"\x00", b"")
        stray = nul <= 0.01 * len(raw) or nul <= 2  # two, so that a short text with one slip is not refused
        if stray and rest and _control_share(rest) <= 0.02 and _strict(rest, "utf-8") is not None:
            return raw.decode("utf-8"), "UTF-8", ()  # tidy() takes the NULs out and says so
    found = _strict(raw, wide) if one_sided else None
    if found is not None and _plausible(found):
        return found, f"UTF-16, {_endian(wide)}, no byte order mark", ()
    raise refuse_binary(name)


def _endian(codec: str) -> str:
    return "little-endian" if codec.endswith("le") else "big-endian"


def _damaged_utf8(raw: bytes) -> tuple[str, str, tuple[str, ...]] | None:
    """UTF-8 in which nine in ten characters beyond ASCII are whole; None when it is something else.

    Text in an old encoding has next to none: its accented bytes are followed by plain letters.
    """
    text = raw.decode("utf-8", errors="replace")
    replaced = text.count("\ufffd")
    broken = replaced - raw.count("\ufffd".encode())
    whole = len(text) - len(text.encode("ascii", errors="ignore")) - replaced
    if whole < 9 * broken and not raw.startswith(codecs.BOM_UTF8):
        return None
    note = f"Broken UTF-8 sequences replaced by U+FFFD: {broken:,}."
    return text, "UTF-8, damaged", (note,)


def _legacy(raw: bytes) -> tuple[str, str, tuple[str, ...]]:
    """Old encodings. Western European unless the evidence is against it, because it is by far the most common.

    Latin scripts use a few bytes above 127 among plain letters; other scripts are nearly all above 127.
    """
    sample = b""
    for line in raw.split(b"\n"):  # a line end is never half of a two-byte character
        if not line.isascii():
            sample += line[:_LEGACY_SAMPLE] + b"\n"
        if len(sample) >= _LEGACY_SAMPLE:
            break
    high = sum(map(sample.count, (bytes([b]) for b in range(128, 256))))
    plain = len(re.findall(rb"[A-Za-z]", sample))
    latin_script = high < 0.45 * (high + plain)
    if not latin_script:
        names = _OTHER
    else:
        names = _BEFORE_WINDOWS if _strict(raw, "cp1252") is None else _LATIN
    for codec in _ranked(sample, names):
        text = _strict(raw, codec)
        if text is not None:
            return text, names[codec], (_legacy_note(names[codec]),)
    return raw.decode("latin-1"), "Latin-1 (ISO 8859-1)", (_legacy_note("Latin-1"),)


def _legacy_note(encoding: str) -> str:
    return (
        f"The file does not say its encoding; it was taken for {encoding}. "
        "If letters look wrong, save it as UTF-8 and upload it again."
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
