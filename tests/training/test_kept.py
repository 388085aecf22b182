"""The text of a run, kept in its folder and read again."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from tests.training.tiny import tiny_recipe
from training.corpus import Corpus, from_text, lines_as_documents
from training.kept import Texts, keep_text, read_text, texts_of

TEXT = "".join(f"Zeile {i}: naïve 日本語 👍🏽\r{i}\n" for i in range(50))


@pytest.mark.parametrize(
    "texts", [Texts(TEXT, "held out\n"), Texts(TEXT, ""), Texts("", ""), Texts("a\nb\n\nc", "d", (3, 0, 1))]
)
def test_texts_come_back_as_they_were(tmp_path: Path, texts: Texts) -> None:
    keep_text(tmp_path / "run", texts)
    assert read_text(tmp_path / "run") == texts


def test_keeping_again_replaces_what_was_kept(tmp_path: Path) -> None:
    keep_text(tmp_path, Texts("one", "two"))
    keep_text(tmp_path, Texts("three", ""))
    assert read_text(tmp_path) == Texts("three", "")


def test_the_files_are_plain_gzip_and_small(tmp_path: Path) -> None:
    keep_text(tmp_path, Texts(TEXT * 20, ""))
    (file,) = (tmp_path / "corpus").iterdir()
    assert gzip.decompress(file.read_bytes()).decode() == TEXT * 20
    assert file.stat().st_size < len(TEXT)


def test_a_run_without_its_text_has_none(tmp_path: Path) -> None:
    assert read_text(tmp_path) is None
    keep_text(tmp_path, Texts(TEXT, ""))
    path = tmp_path / "corpus" / "train.txt.gz"
    whole = path.read_bytes()
    for damaged in (b"", whole[:40], b"text", whole[:-9] + b"!" + whole[-8:], gzip.compress(b"\xff\xfe")):
        path.write_bytes(damaged)
        assert read_text(tmp_path) is None


def test_half_surrogates_do_not_stop_a_run(tmp_path: Path) -> None:
    keep_text(tmp_path, Texts("a\ud800b", ""))
    assert read_text(tmp_path) == Texts("a?b", "")


def test_the_parts_are_those_that_the_recipe_trains_on() -> None:
    corpus = from_text("\n".join(f"line {i}" for i in range(20)))
    blocks = texts_of(corpus, tiny_recipe(val_fraction=0.25))
    assert blocks.train + blocks.held_out == corpus.text
    assert len(blocks.held_out) == -(-len(corpus.text) // 4)
    documents = texts_of(lines_as_documents(corpus), tiny_recipe(val_fraction=0.25, cut="documents"))
    assert documents.train.split("\n") == [f"line {i}" for i in range(15)]
    assert documents.held_out.split("\n") == [f"line {i}" for i in range(15, 20)]
    assert texts_of(corpus, tiny_recipe(val_fraction=0.0)) == Texts(corpus.text, "")


def test_documents_of_several_lines_are_told_apart(tmp_path: Path) -> None:
    """Where each is one line, its lines say as much and nothing more is kept."""
    poems = ("one\ntwo", "", "three\n", "\ud800 four")
    recipe = tiny_recipe(val_fraction=0.0, cut="documents")
    texts = texts_of(Corpus("poems", "\n".join(poems), "file", "UTF-8", documents=poems), recipe)
    assert texts.documents() == list(poems)
    keep_text(tmp_path, texts)
    kept = read_text(tmp_path)
    assert kept is not None
    assert kept.documents() == [*poems[:3], "? four"]
    lines = texts_of(lines_as_documents(from_text("one\ntwo\n\nthree")), recipe)
    assert lines.lengths is None
    assert lines.documents() == ["one", "two", "three"]
    keep_text(tmp_path, lines)
    assert read_text(tmp_path) == lines, "what was kept before is gone"
    (tmp_path / "corpus" / "documents.json.gz").write_bytes(gzip.compress(b"[1, nothing"))
    assert read_text(tmp_path) is None
