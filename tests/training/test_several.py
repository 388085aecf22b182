"""Several files at once: how they are joined, what is said of them, and which of them is at fault."""

from pathlib import Path

import pytest

from training import files
from training.corpus import MANY_TEXTS, CorpusError, read_corpora, read_corpus


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def refusal(paths: list[Path], **options: object) -> str:
    with pytest.raises(CorpusError) as refused:
        read_corpora(paths, **options)  # type: ignore[arg-type]
    return str(refused.value)


def test_one_file_is_read_as_ever(tmp_path: Path) -> None:
    table = write(tmp_path, "t.csv", "id,text\n1,good words\n2,more of them\n")
    assert read_corpora([table], column="text") == read_corpus(table, column="text")
    plain = write(tmp_path, "t.txt", "some text\n")
    assert read_corpora([plain], column="text") == read_corpus(plain)


def test_plain_texts_become_one_stream(tmp_path: Path) -> None:
    paths = [write(tmp_path, "b.txt", "the first\n"), write(tmp_path, "a.md", "the second")]
    corpus = read_corpora(paths)
    assert corpus.text == "the first\nthe second"
    assert corpus.documents is None
    assert corpus.name == "2 files: b.txt, a.md"
    assert corpus.notes == ('Joined: 2 texts, one after the other: "b.txt", "a.md".',)


def test_tables_and_texts_become_documents(tmp_path: Path) -> None:
    paths = [
        write(tmp_path, "a.csv", "id;text\n1;good words\n2;more of them\n"),
        write(tmp_path, "b.jsonl", '{"text": "from JSON", "n": 1}\n{broken\n'),
        write(tmp_path, "c.txt", "a text\nof two lines\n"),
    ]
    assert '"b.jsonl" has bad lines: line 2' in refusal(paths, column="text")
    corpus = read_corpora(paths, column="text", keep_good_lines=True)
    assert corpus.documents == ("good words", "more of them", "from JSON", "a text\nof two lines")
    assert 'In "b.jsonl": Left out: line 2 is no JSON object.' in corpus.notes
    assert '"a.csv" has no column "body"' in refusal(paths, column="body")


def test_many_short_texts_are_documents(tmp_path: Path) -> None:
    paths = [write(tmp_path, f"{i}.txt", f"text {i}\n") for i in range(MANY_TEXTS)]
    assert read_corpora(paths).documents == tuple(f"text {i}" for i in range(MANY_TEXTS))
    assert read_corpora(paths[1:]).documents is None


def test_the_encoding_of_each_is_said_where_they_differ(tmp_path: Path) -> None:
    german = "Größe und Höhe für Übermütige. " * 4
    paths = [write(tmp_path, "new.txt", german), write(tmp_path, "old.txt", german.encode("latin-1"))]
    corpus = read_corpora(paths)
    assert corpus.text == f"{german}\n{german}"
    assert 'Encodings differ: "new.txt" is UTF-8; "old.txt" is Windows-1252 (Western European).' in corpus.notes
    assert any(note.startswith('In "old.txt": The file does not say its encoding') for note in corpus.notes)
    same = read_corpora([paths[0], paths[0]])
    assert same.encoding == "UTF-8"
    assert not any("Encoding" in note for note in same.notes)


def test_the_limit_holds_for_all_together(tmp_path: Path) -> None:
    paths = [write(tmp_path, f"{i}.txt", "ab" * 50) for i in range(3)]
    assert "300 bytes together, and the limit is 299 bytes" in refusal(paths, max_bytes=299)
    assert len(read_corpora(paths, max_bytes=300).text) == 302
    assert "no file to read" in refusal([])
    assert 'There is no file "gone.txt"' in refusal([*paths, tmp_path / "gone.txt"])
    assert '"e.txt" is empty' in refusal([*paths, write(tmp_path, "e.txt", "")])


def test_a_text_too_wide_for_memory_is_refused_with_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python gives every character of a text the width of its widest: one emoji makes it four times as large."""
    monkeypatch.setattr(files, "MAX_MEMORY", 10_000_000)
    plain = "plain words " * 300_000
    assert len(read_corpus(write(tmp_path, "p.txt", plain)).text) == len(plain)
    with pytest.raises(CorpusError) as refused:
        read_corpus(write(tmp_path, "w.txt", plain + "😀"))
    assert '"w.txt" takes 18 MB of memory' in str(refused.value)
    assert '"😀" makes each of its characters 4 bytes' in str(refused.value)
    assert "the limit is 10 MB" in str(refused.value)
    rows = "".join(f"{i},{'words ' * 20}\n" for i in range(30_000))
    with pytest.raises(CorpusError, match="and the limit is 10 MB"):
        read_corpus(write(tmp_path, "t.csv", f"id,text\n{rows}0,😀\n"), column="text")


def test_files_that_cannot_be_read_are_left_out_where_that_is_wanted(tmp_path: Path) -> None:
    """With `refused` the others are read; without it, or where none is left, there is a sentence."""
    paths = [tmp_path / name for name in ("empty.txt", "a.txt", "gone.txt", "b.txt", "same.txt")]
    for path, text in zip(paths, ("", "the cat\n", None, "the dog\n", "aaaa"), strict=True):
        if text is not None:
            path.write_text(text, encoding="utf-8")
    refused: dict[int, str] = {}
    assert read_corpora(paths, refused=refused).text == "the cat\nthe dog"
    assert sorted(refused) == [0, 2, 4]
    assert all(paths[place].name in sentence for place, sentence in refused.items())
    only: dict[int, str] = {}
    assert read_corpora(paths[:2], refused=only).name == "a.txt"
    assert list(only) == [0]
    with pytest.raises(CorpusError, match=r"empty\.txt"):
        read_corpora(paths)
    with pytest.raises(CorpusError, match=r"empty\.txt.*gone\.txt.*same\.txt"):
        read_corpora(paths[::2], refused={})
    with pytest.raises(CorpusError, match=r"\b1 more"):
        read_corpora([paths[0]] * 6, refused={})
