"""ZIP archives of texts: read in memory, and refused with a sentence when they are dangerous or no use."""

import contextlib
import io
import stat
import struct
import zipfile
from pathlib import Path

import pytest

from training import archives
from training.corpus import CorpusError, read_corpus

POEM = "roses are red\nviolets are blue\n"


def pack(path: Path, files: dict[str, bytes | str], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def refusal(path: Path, **options: int) -> str:
    """The sentence; what lies beside the archive is the same before and after."""
    before = sorted(path.parent.rglob("*"))
    with pytest.raises(CorpusError) as refused:
        read_corpus(path, **options)  # type: ignore[arg-type]
    assert sorted(path.parent.rglob("*")) == before
    sentence = str(refused.value)
    assert sentence.isprintable()
    assert path.name in sentence
    return sentence


def test_texts_are_joined_in_the_order_of_their_names(tmp_path: Path) -> None:
    files: dict[str, bytes | str] = {"b/two.txt": "and the second", "a/one.txt": POEM, "c.md": "the third"}
    corpus = read_corpus(pack(tmp_path / "poems.zip", files))
    assert corpus.text == POEM + "and the second\nthe third"
    assert corpus.documents is None
    assert (corpus.name, corpus.source, corpus.encoding) == ("poems.zip", "file", "UTF-8")
    assert 'Joined: 3 texts, one after the other: "a/one.txt", "b/two.txt", "c.md".' in corpus.notes


def test_many_short_texts_are_a_document_each(tmp_path: Path) -> None:
    files: dict[str, bytes | str] = {f"{i:02}.txt": f"poem {i}\nin two lines\n" for i in range(12)}
    corpus = read_corpus(pack(tmp_path / "poems.zip", files))
    assert corpus.documents == tuple(f"poem {i}\nin two lines" for i in range(12))
    assert any(note.startswith("Joined: 12 texts, each a document") for note in corpus.notes)


def test_encodings_are_stated_for_each_text_where_they_differ(tmp_path: Path) -> None:
    german = "Größe und Höhe für Übermütige. " * 5
    files: dict[str, bytes | str] = {
        "new.txt": german,
        "old.txt": german.encode("cp1252"),
        "w.txt": german.encode("utf-16"),
    }
    corpus = read_corpus(pack(tmp_path / "t.zip", files))
    assert corpus.text == "\n".join([german] * 3)
    said = next(note for note in corpus.notes if note.startswith("Encodings differ"))
    assert '"new.txt" is UTF-8; "old.txt" is Windows-1252' in said
    assert '"w.txt" is UTF-16, little-endian' in said
    assert corpus.encoding.startswith("mixed: ")


def test_tables_in_an_archive(tmp_path: Path) -> None:
    files: dict[str, bytes | str] = {
        "a.csv": "id,text\n1,the first one\n2,the second\n",
        "b.jsonl": '{"text": "the third"}\n',
    }
    assert read_corpus(pack(tmp_path / "t.zip", files), column="text").documents == (
        "the first one",
        "the second",
        "the third",
    )
    sentence = refusal_of_entry(tmp_path / "t.zip", column="author")
    assert 'a.csv" has no column "author"' in sentence


def refusal_of_entry(path: Path, **options: str) -> str:
    with pytest.raises(CorpusError) as refused:
        read_corpus(path, **options)  # type: ignore[arg-type]
    return str(refused.value)


def test_what_is_no_text_is_left_out_and_said(tmp_path: Path) -> None:
    files: dict[str, bytes | str] = {
        "poem.txt": POEM, "cover.png": b"\x89PNG", "b.png": b"\x89PNG", "LICENSE": "x", "empty.txt": "",
        "__MACOSX/._poem.txt": b"\x00\x05", ".hidden.txt": "secret", "d/.git/x.txt": "secret",
    }  # fmt: skip
    corpus = read_corpus(pack(tmp_path / "t.zip", files))
    assert corpus.text.strip() == POEM.strip()
    assert "Left out of the archive because of their type: 2 .png, 1 no ending." in corpus.notes
    assert 'Left out because it is empty: "empty.txt".' in corpus.notes


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive:
        link = zipfile.ZipInfo("passwd.txt")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("poem.txt", POEM)
    assert read_corpus(tmp_path / "t.zip").text == POEM


@pytest.mark.parametrize(
    "name", ["../evil.txt", "/etc/evil.txt", "a/../../evil.txt", "C:\\evil.txt", "..\\evil.txt", "C:evil.txt"]
)
def test_zip_slips(tmp_path: Path, name: str) -> None:
    sentence = refusal(pack(tmp_path / "slip.zip", {"fine.txt": POEM, name: POEM}))
    assert "leads out of its folder" in sentence
    assert "Nothing was unpacked" in sentence


def test_a_bomb_by_ratio(tmp_path: Path) -> None:
    sentence = refusal(pack(tmp_path / "bomb.zip", {"fine.txt": POEM, "zeros.txt": b"a" * 20_000_000}))
    assert '"zeros.txt"' in sentence
    assert "more than 200 times its packed size" in sentence
    assert "take it unpacked" in sentence


def test_a_bomb_by_total(tmp_path: Path) -> None:
    files: dict[str, bytes | str] = {f"{i}.txt": POEM * 30 for i in range(30)}
    path = pack(tmp_path / "bomb.zip", files)
    size = 30 * 30 * len(POEM)
    assert read_corpus(path, max_bytes=size).text.count("roses") == 900
    assert "and the limit is" in refusal(path, max_bytes=size - 1)


def test_an_archive_that_lies_about_its_size(tmp_path: Path) -> None:
    """Both headers say 10 bytes; what comes out is counted all the same."""
    path = pack(tmp_path / "lie.zip", {"a.txt": POEM * 2_000})
    raw = bytearray(path.read_bytes())
    size = struct.pack("<I", len(POEM) * 2_000)
    assert raw.count(size) == 2
    path.write_bytes(bytes(raw).replace(size, struct.pack("<I", 10)))
    with pytest.raises(CorpusError) as refused:
        read_corpus(path, max_bytes=20_000)
    assert "cannot be unpacked" in str(refused.value) or "the limit is" in str(refused.value)


def test_overlapping_entries(tmp_path: Path) -> None:
    """Many entries of the list that name the same packed bytes, as in a bomb without nesting."""
    with zipfile.ZipFile(tmp_path / "o.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.txt", POEM * 100)
        for i in range(20):
            twin = zipfile.ZipInfo(f"b{i}.txt")
            for field in ("compress_type", "CRC", "compress_size", "file_size", "header_offset", "flag_bits"):
                setattr(twin, field, getattr(archive.infolist()[0], field))
            archive.filelist.append(twin)
            archive.NameToInfo[twin.filename] = twin
    assert "cannot be unpacked" in refusal(tmp_path / "o.zip")


@pytest.mark.parametrize("inner", ["more.zip", "a/b.tar", "x.GZ"])
def test_nested_archives(tmp_path: Path, inner: str) -> None:
    assert f'holds another archive ("{inner}")' in refusal(pack(tmp_path / "n.zip", {"a.txt": POEM, inner: b"PK"}))


def test_an_archive_under_the_name_of_a_text(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.txt", POEM)
    path = pack(tmp_path / "n.zip", {"a.txt": POEM, "trap.txt": buffer.getvalue()})
    assert '"trap.txt" is a ZIP archive' in refusal_of_entry(path)


def test_an_encrypted_text(tmp_path: Path) -> None:
    path = pack(tmp_path / "e.zip", {"a.txt": POEM})
    raw = bytearray(path.read_bytes())
    raw[6] |= 1  # the flag, in the entry's own header and in the list
    raw[raw.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(raw)
    sentence = refusal(path)
    assert '"a.txt"' in sentence
    assert "is encrypted" in sentence


def test_other_methods_documents_and_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "unusual way" in refusal(pack(tmp_path / "lzma.zip", {"a.txt": POEM}, zipfile.ZIP_LZMA))
    assert "is a document (Word" in refusal(pack(tmp_path / "w.zip", {"[Content_Types].xml": "x", "word/a.xml": "x"}))
    assert 'holds no text. It holds ".png"' in refusal(pack(tmp_path / "p.zip", {"a.png": "x"}))
    assert "holds no text. It is empty." in refusal(pack(tmp_path / "z.zip", {}))
    assert "only empty files" in refusal(pack(tmp_path / "y.zip", {"a.txt": ""}))
    whole = pack(tmp_path / "whole.zip", {"a.txt": POEM * 50}).read_bytes()
    for name, raw in {
        "cut.zip": whole[:-30],
        "no.zip": b"just some text",
        "mangled.zip": whole[:40] + b"\xff" * 20 + whole[60:],
    }.items():
        (tmp_path / name).write_bytes(raw)
        assert "cannot be unpacked" in refusal(tmp_path / name)
    monkeypatch.setattr(archives, "MAX_ENTRIES", 3)
    assert "holds 4 files, and the limit is 3" in refusal(
        pack(tmp_path / "m.zip", dict.fromkeys(("a.txt", "b", "c", "d"), POEM))
    )


def test_any_damage_gives_a_corpus_or_a_sentence(tmp_path: Path) -> None:
    whole = pack(tmp_path / "whole.zip", {"a.txt": POEM * 50, "b.csv": "id,text\n1,a b c\n2,d e f\n"}).read_bytes()
    path = tmp_path / "d.zip"
    for place in range(0, len(whole), 3):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        with contextlib.suppress(CorpusError):
            read_corpus(path)
