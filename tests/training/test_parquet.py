"""Parquet tables: the same cells as in a CSV, kinds of columns, and files that are damaged or far too large inside."""

from pathlib import Path
from typing import Any

import pytest

from training.corpus import Corpus, CorpusError, Preview, preview, read_corpus

pyarrow = pytest.importorskip("pyarrow", reason="pip install -r requirements.txt")
parquet = pytest.importorskip("pyarrow.parquet", reason="pip install -r requirements.txt")

TEXTS = [
    "the first text of all",
    "line one\nline two",
    "naïve 😀 café",
    "<script>alert(1)</script>",
    "the last, at last",
]


def write(path: Path, columns: dict[str, Any], **options: Any) -> Path:
    parquet.write_table(pyarrow.table(columns), path, **options)
    return path


def refusal(path: Path, **options: Any) -> str:
    with pytest.raises(CorpusError) as refused:
        read_corpus(path, **options)
    sentence = str(refused.value)
    assert path.name in sentence
    assert sentence.isprintable()
    return sentence


def look(path: Path) -> Preview:
    seen = preview(path)
    assert seen is not None
    return seen


def test_the_cells_come_back_exactly(tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet", {"id": range(5), "text": TEXTS, "likes": [0.5] * 5})
    corpus = read_corpus(path, column="text")
    assert corpus == Corpus("t.parquet", "\n".join(TEXTS), "file", "UTF-8 (Parquet)", ("Documents: 5.",), tuple(TEXTS))
    guessed = read_corpus(path)
    assert guessed.documents == corpus.documents
    assert 'The text was taken from column "text".' in guessed.notes
    seen = look(path)
    assert seen.columns == ("id", "text", "likes")
    assert seen.guess == "text"
    assert seen.rows[1] == ("1", "line one\nline two", "0.5")


@pytest.mark.parametrize("compression", ["none", "snappy", "gzip", "zstd", "lz4", "brotli"])
def test_compressions_and_several_row_groups(tmp_path: Path, compression: str) -> None:
    many = [f"{text} {i}" for i in range(700) for text in TEXTS]
    path = write(tmp_path / "t.parquet", {"text": many}, compression=compression, row_group_size=500)
    assert read_corpus(path).documents == tuple(many)


def test_missing_repeated_and_large_strings(tmp_path: Path) -> None:
    column = [None, "again and again", "", "again and again", "  ", "something else\r\nhere"]
    for kind in (pyarrow.string(), pyarrow.large_string(), pyarrow.dictionary(pyarrow.int32(), pyarrow.string())):
        path = write(tmp_path / "t.parquet", {"text": pyarrow.array(column, pyarrow.string()).cast(kind)})
        corpus = read_corpus(path)
        assert corpus.documents == ("again and again", "again and again", "something else\nhere")
        assert 'Rows left out because their column "text" is empty: 3.' in corpus.notes


def test_columns_that_hold_no_text(tmp_path: Path) -> None:
    path = write(
        tmp_path / "t.parquet", {"n": [1, 2], "tags": [["a"], ["b"]], "digits": ["1", "2"], "text": ["a b", "c d"]}
    )
    assert 'holds int64, not text. Choose another: "text".' in refusal(path, column="n")
    assert "not text" in refusal(path, column="tags")
    assert 'column "digits" of "t.parquet" holds numbers' in refusal(path, column="digits")
    assert 'no column "body". Choose one of its columns: "n", "tags", "digits", "text"' in refusal(path, column="body")
    for only in ({"n": [1, 2]}, {"n": ["1", "2"]}):
        path = write(tmp_path / "n.parquet", only)
        for options in ({}, {"column": "n"}):
            assert (
                refusal(path, **options) == 'No column of "n.parquet" holds text. Take a file with a column of texts.'
            )
    assert "no rows" in refusal(write(tmp_path / "e.parquet", {"text": pyarrow.array([], pyarrow.string())}))


def test_a_small_file_that_holds_gigabytes(tmp_path: Path) -> None:
    """Two hundred thousand times the same 10,000 characters: a few kilobytes on disk, 2 GB of text."""
    index = pyarrow.array([0] * 200_000, pyarrow.int32())
    column = pyarrow.DictionaryArray.from_arrays(index, pyarrow.array(["wide words " * 910]))
    path = write(tmp_path / "bomb.parquet", {"text": column}, row_group_size=200_000)
    assert path.stat().st_size < 100_000
    assert "longer than the limit of 5 MB" in refusal(path, max_bytes=5_000_000)


def test_damaged_files(tmp_path: Path) -> None:
    whole = write(tmp_path / "t.parquet", {"text": TEXTS * 100}, write_page_checksum=True).read_bytes()
    for name, raw in {
        "cut.parquet": whole[:-20], "no.parquet": b"just some text",
        "middle.parquet": whole[:30] + b"\xff" * 30 + whole[60:],
        "tiny.parquet": b"PAR1", "two.parquet": b"PAR1PAR1",
    }.items():  # fmt: skip
        (tmp_path / name).write_bytes(raw)
        assert "no readable Parquet file" in refusal(tmp_path / name)
        with pytest.raises(CorpusError):
            preview(tmp_path / name)
    assert "rename it to .parquet" in refusal_of(tmp_path / "t.txt", whole)


def refusal_of(path: Path, raw: bytes) -> str:
    path.write_bytes(raw)
    return refusal(path)
