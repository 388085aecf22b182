"""Bytes to text: every encoding a visitor is likely to bring, and what is no text at all."""

import random
from collections import Counter
from pathlib import Path

import pytest

from training import files
from training.encodings import Text, decode, tidy
from training.files import LONGEST_NAME, CorpusError, megabytes, shown, shown_file, shown_list

MIXED = "Hello, wörld: naïve café, 5 € — “quoted”.\nПривет, мир!\n吾輩は猫である。\nemoji 👩‍🚀 too\n"

PROSE = {
    "cp1252": "L’été, à Noël, les élèves étaient déjà très fatigués ; ça coûte 5 €. Où êtes-vous ? “Ici.” ",
    "latin-1": "Über den Wölkchen muß die Freiheit grenzenlos sein. Schöne Grüße aus München. ",
    "cp1250": "Zażółć gęślą jaźń. Wszystkie dzieci są już w szkole i uczą się czytać. ",
    "cp1254": "Bütün insanlar hür, haysiyet ve haklar bakımından eşit doğarlar. Çocuğun ışığı söndü. ",
    "cp1251": "Все счастливые семьи похожи друг на друга, каждая несчастливая семья несчастлива по-своему. ",
    "koi8_r": "Все счастливые семьи похожи друг на друга, каждая несчастливая семья несчастлива по-своему. ",
    "cp1253": "Καλημέρα κόσμε, τι κάνεις σήμερα; Όλα καλά. ",
    "cp932": "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。",
    "gb18030": "道可道，非常道。名可名，非常名。无名天地之始；有名万物之母。",
    "cp949": "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다. ",
    "mac_roman": "Les élèves étaient déjà très fatigués, ça coûte cher. Où êtes-vous ? ",
    "cp850": "Über den Wölkchen muß die Freiheit grenzenlos sein. Schöne Grüße aus München. ",
}


@pytest.mark.parametrize(
    ("codec", "said"),
    [
        ("utf-8", "UTF-8"),
        ("utf-8-sig", "UTF-8 with byte order mark"),
        ("utf-16", "UTF-16, little-endian"),
        ("utf-16-le", "UTF-16, little-endian, no byte order mark"),
        ("utf-16-be", "UTF-16, big-endian, no byte order mark"),
        ("utf-32", "UTF-32, little-endian"),
        ("utf-32-be", "UTF-32, big-endian, no byte order mark"),
    ],
)
@pytest.mark.parametrize("text", [MIXED, "hi", "Plain English.\nTwo lines.", "Привет, мир!\n", "你好 世界\n" * 3])
def test_unicode_with_and_without_a_byte_order_mark(codec: str, said: str, text: str) -> None:
    read = decode(text.encode(codec), "x.txt")
    assert read.text == text
    assert read.encoding == said
    assert read.notes == (f"Encoding: {said}.",)


def test_big_endian_utf16_with_its_mark() -> None:
    read = decode(b"\xfe\xff" + MIXED.encode("utf-16-be"), "x.txt")
    assert (read.text, read.encoding) == (MIXED, "UTF-16, big-endian")


@pytest.mark.parametrize("codec", PROSE)
def test_old_encodings_are_recognised_and_said(codec: str) -> None:
    text = PROSE[codec] * 20
    read = decode(text.encode(codec), "x.txt")
    assert read.text == text
    assert any("was taken for" in note and "UTF-8" in note for note in read.notes)


@pytest.mark.parametrize("text", ["café\n", "Grüße", "naïve words in a long line of plain English letters", "déjà vu"])
def test_short_latin1_texts_are_western(text: str) -> None:
    read = decode(text.encode("latin-1"), "x.txt")
    assert read.text == text
    assert read.encoding.startswith("Windows-1252")


def test_the_lines_that_matter_decide() -> None:
    text = "A long foreword in plain English.\n" * 10_000 + PROSE["cp1251"] * 3
    assert decode(text.encode("cp1251"), "x.txt").text == text


def test_utf8_with_a_little_damage_stays_utf8() -> None:
    whole = "Größe und Höhe. " * 50
    read = decode(whole.encode() + b"\xff" + whole.encode() + "ö".encode()[:1], "x.txt")
    assert read.text == whole + "\ufffd" + whole + "\ufffd"
    assert read.notes == ("Encoding: UTF-8, damaged.", "Broken UTF-8 sequences replaced by U+FFFD: 2.")


def test_one_line_of_utf8_before_an_old_encoding_is_mixed_too() -> None:
    """As when two files of one paragraph each are glued together."""
    words = "Ä Größe für Köln. " * 10
    read = decode((words + "\n").encode() + (words + "\n").encode("latin-1"), "x.txt")
    assert read.text == f"{words}\n{words}\n"
    assert read.encoding.startswith("UTF-8 mixed with ")
    assert any("Mixed encodings" in note and "the first is line 2" in note for note in read.notes)


def test_utf8_with_lines_in_an_old_encoding_is_mixed_and_says_where() -> None:
    lines = ["Größe und Höhe.", "plain", "déjà vu, café", "Übermütige für Öl", "ça coûte cher"] * 4
    raw = b"\n".join(line.encode("cp1252" if i % 3 == 0 else "utf-8") for i, line in enumerate(lines))
    read = decode(raw, "x.txt")
    assert read.text == "\n".join(lines)
    assert read.encoding == "UTF-8 mixed with Windows-1252 (Western European)"
    bad = sum(i % 3 == 0 and not line.isascii() for i, line in enumerate(lines))
    assert any(f"Windows-1252 (Western European): {bad}, the first is line 1." in note for note in read.notes)


@pytest.mark.parametrize("count", [1, 2, 10, 40])
def test_a_few_lines_in_an_old_encoding_keep_their_letters(count: int) -> None:
    lines = ["Größe und so weiter"] * 200 + ["Die Höhe über dem café"] * count
    raw = b"\n".join(line.encode("utf-8" if i < 200 else "latin-1") for i, line in enumerate(lines))
    read = decode(raw, "x.txt")
    assert read.text == "\n".join(lines)
    assert any(f": {count}, the first is line 201. If letters look wrong there" in note for note in read.notes)


def test_a_text_in_pieces_is_the_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Characters, line ends and marks that lie across the border of two pieces."""
    draw = random.Random(3)
    monkeypatch.setattr(files, "_CHUNK", 4)
    for codec in ("utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32", "utf-32-be"):
        for trial in range(60):
            text = "".join(draw.choices("ab é字😀\r\n\ufeff", k=draw.randrange(20, 60))) + "plain words and more " * 20
            path = tmp_path / f"{trial}.txt"
            path.write_bytes(text.encode(codec))
            found = Text(files.open_source(path))
            expected = text.lstrip("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
            assert found.whole().text.lstrip("\ufeff") == expected
            assert "".join(found.lines()).lstrip("\ufeff") == expected
            assert all(line.endswith("\n") for line in list(found.lines())[:-1])


def test_line_ends_become_line_feeds_and_that_is_said() -> None:
    read = decode(b"one\r\ntwo\r\nthree\rfour\nfive", "x.txt")
    assert read.text == "one\ntwo\nthree\nfour\nfive"
    assert "Windows line ends (CR LF) turned into single line breaks: 2." in read.notes
    assert "Old Mac line ends (CR) turned into line breaks: 1." in read.notes


def test_other_separators_and_odd_but_textual_characters_are_kept() -> None:
    text = "a\u2028b\x0bc\x85d\tе\u200d\u202e tail\x1b[31m"
    assert decode(text.encode(), "x.txt").text == text


def test_stray_nul_bytes_are_taken_out_and_that_is_said() -> None:
    read = decode(b"To be, or not to be" * 20 + b"\x00\x00" + b", that is the question", "x.txt")
    assert "\x00" not in read.text
    assert read.text.endswith("to be, that is the question")
    assert "NUL bytes taken out, because text has none: 2." in read.notes


def test_lone_surrogates_become_the_replacement_character() -> None:
    counts: Counter[str] = Counter()
    assert tidy("a\ud800b", counts) == "a\ufffdb"
    assert counts["surrogate"] == 1


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "a PNG picture"),
        (b"\xff\xd8\xff\xe0" + bytes(100), "a JPEG picture"),
        (b"PK\x03\x04" + bytes(100), "Word, Excel"),
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "is a PDF"),
        (b"{\\rtf1\\ansi hello}", "RTF"),
        (b"\x1f\x8b\x08\x00" + bytes(100), "gzip"),
        (b"PAR1" + bytes(100), "Parquet"),
        (b"\x7fELF\x02\x01\x01" + bytes(100), "a program"),
        (b"\x80\x04\x95\x10\x00\x00cos\nsystem\n", "pickle"),
        (bytes(range(256)) * 20, "binary data"),
        (bytes(1000), "binary data"),
        (b"\x00", "binary data"),
        (random.Random(1).randbytes(5000), "binary data"),
        (bytes(b for b in random.Random(2).randbytes(5000) if b), "binary data"),
        (b"text" + bytes(40) + b"text" * 100, "binary data"),
    ],
)
def test_binary_files_are_refused_with_what_to_do(raw: bytes, said: str) -> None:
    with pytest.raises(CorpusError, match="a_file") as refused:
        decode(raw, "a_file")
    assert said in str(refused.value)
    assert ".txt" in str(refused.value)


@pytest.mark.parametrize("text", ["RIFF raff, said the poem", "MZ", "PAR1 is a word", "GIF89a it is", "ID3 tags"])
def test_words_that_look_like_the_opening_of_a_binary_file_are_text(text: str) -> None:
    assert decode(text.encode(), "x.txt").text == text


def test_any_bytes_give_text_or_a_sentence_and_nothing_else() -> None:
    draw = random.Random(3)
    seeds = [MIXED.encode(codec) for codec in ("utf-8", "utf-16", "utf-16-be", "utf-32")] + [
        PROSE["cp1251"].encode("cp1251")
    ]
    refused = read = 0
    for _ in range(600):
        raw = bytearray(draw.choice(seeds)[: draw.randrange(1, 120)] if draw.random() < 0.7 else draw.randbytes(60))
        for _ in range(draw.randrange(4)):
            raw[draw.randrange(len(raw))] = draw.choice((0, 10, 13, 34, 255, draw.randrange(256)))
        try:
            text = decode(bytes(raw), "x").text
        except CorpusError:
            refused += 1
            continue
        read += 1
        text.encode("utf-8")  # a lone surrogate would raise
        assert "\x00" not in text
        assert "\r" not in text
    assert refused > 50
    assert read > 50


def test_names_are_shown_without_control_characters_and_shortened() -> None:
    hostile = "../../etc/<script>alert(1)</script>\n\x1b[31m\u202egpj.\x00exe" + "a" * 10_000 + ".txt"
    for name in (shown(hostile), shown_file(hostile), shown_file("C:\\temp\\" + hostile)):
        assert name.isprintable()
        assert len(name) <= LONGEST_NAME
        assert name.endswith(".txt")
    assert shown_file("/tmp/somewhere/poems.txt") == "poems.txt"
    assert shown("  \n ") == "(no name)"
    assert shown("a\tb") == "a b"


def test_lists_and_sizes_in_words() -> None:
    assert shown_list(["a", "b\n"]) == '"a", "b"'
    assert shown_list([str(i) for i in range(23)]).endswith('"19", and 3 more')
    assert [megabytes(n) for n in (12, 1_500, 60_000_000, 50_000_000)] == ["12 bytes", "1.5 kB", "60 MB", "50 MB"]
