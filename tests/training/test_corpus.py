"""Corpora from files and pastes: what is read, what is refused with which sentence, and how a text is split."""

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from training.corpus import (
    END_OF_TEXT,
    Corpus,
    CorpusError,
    check_trainable,
    from_text,
    lines_as_documents,
    preview,
    read_corpus,
    split_documents,
    split_text,
    statistics,
)


def write(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def refusal(path: Path, **options: object) -> str:
    with pytest.raises(CorpusError) as refused:
        read_corpus(path, **options)  # type: ignore[arg-type]
    sentence = str(refused.value)
    assert sentence.isprintable()
    assert str(path.parent) not in sentence
    return sentence


def test_a_plain_text_file(tmp_path: Path) -> None:
    corpus = read_corpus(write(tmp_path, "poem.txt", b"roses are red\nviolets are blue\n"))
    assert corpus == Corpus(
        "poem.txt", "roses are red\nviolets are blue\n", "file", "UTF-8", ("Encoding: UTF-8.",), None
    )
    assert "roses" not in repr(corpus)


@pytest.mark.parametrize("name", ["notes.md", "NOTES.TXT", "script.py", "no_suffix", "page.html"])
def test_any_text_is_read_whatever_its_name(tmp_path: Path, name: str) -> None:
    text = "<script>alert('x')</script>\n__import__('os').system('ls')\n${a} {{b}} {c!r} %s"
    assert read_corpus(write(tmp_path, name, text.encode())).text == text


def test_tiny_shakespeare(shared_data: Callable[[str], Path]) -> None:
    corpus = read_corpus(shared_data("tinyshakespeare.txt"))
    figures = statistics(corpus)
    assert figures.characters == figures.bytes == 1_115_394
    assert figures.lines == 40_000
    assert figures.distinct_characters == 65
    assert figures.most_common[0] == (" ", 169_892)
    train, validation = split_text(corpus.text, 0.1)
    assert (len(train), len(validation)) == (1_003_854, 111_540)  # nanoGPT's figures


def test_names_one_a_line(shared_data: Callable[[str], Path]) -> None:
    corpus = lines_as_documents(read_corpus(shared_data("names.txt")))
    assert corpus.documents is not None
    assert corpus.documents[:3] == ("emma", "olivia", "ava")
    assert len(corpus.documents) == len(shared_data("names.txt").read_text().split())


# --- what is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".txt", ".md", ".csv", ".jsonl"])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty (0 bytes)"),
        (b" \n\t \r\n", "only spaces and line breaks"),
        (b"\xef\xbb\xbf", "no text"),
        (b"\xff\xfe", "no text"),
        (b"%PDF-1.4 ...", "is a PDF"),
        (b"PK\x03\x04" + bytes(90), "ZIP archive"),
        (bytes(range(256)) * 40, "binary data"),
    ],
)
def test_empty_and_binary_files(tmp_path: Path, suffix: str, content: bytes, said: str) -> None:
    sentence = refusal(write(tmp_path, "file" + suffix, content))
    assert said in sentence
    assert sentence.startswith(f'"file{suffix}"')


def test_one_character_and_one_repeated_character(tmp_path: Path) -> None:
    assert "one character long" in refusal(write(tmp_path, "a.txt", b"x"))
    assert "one character long" in refusal(write(tmp_path, "b.txt", "\u4f60".encode()))
    assert "nothing to predict" in refusal(write(tmp_path, "c.txt", b"zzzzzzzz"))
    assert "nothing to predict" in refusal(write(tmp_path, "e.txt", b"zzz\nz\n\nzz\n"))
    assert 'repeats one character ("z")' in refusal(write(tmp_path, "f.csv", b"id,text\n1,z\n2,zz\n"), column="text")
    assert read_corpus(write(tmp_path, "d.txt", b"ab")).text == "ab"


def test_a_300_mb_file_is_refused_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "big.txt"
    with path.open("wb") as handle:
        handle.truncate(300_000_000)  # a hole: no disk is used

    def never(*_: object, **__: object) -> None:
        raise AssertionError("the file was opened")

    monkeypatch.setattr(Path, "open", never)
    for call in (read_corpus, preview):
        with pytest.raises(CorpusError) as refused:
            call(path)
        assert '"big.txt" is 300 MB, and the limit is 250 MB.' in str(refused.value)


def test_the_limit_is_exact_and_can_be_set(tmp_path: Path) -> None:
    path = write(tmp_path, "t.txt", b"abcdefghij")
    assert read_corpus(path, max_bytes=10).text == "abcdefghij"
    assert "10 bytes, and the limit is 9 bytes" in refusal(path, max_bytes=9)


def test_missing_folder_pipe_and_impossible_paths(tmp_path: Path) -> None:
    assert 'There is no file "nowhere.txt"' in refusal(tmp_path / "nowhere.txt")
    (tmp_path / "folder.txt").mkdir()
    assert "is a folder" in refusal(tmp_path / "folder.txt")
    os.mkfifo(tmp_path / "pipe.txt")
    assert "not a regular file" in refusal(tmp_path / "pipe.txt")
    refusal(tmp_path / "nul\x00.txt")
    refusal(tmp_path / ("long" * 100 + ".txt"))


def test_hostile_file_names_are_only_shown(tmp_path: Path) -> None:
    name = "<img src=x onerror=alert(1)>\n\x1b[2J\u202etxt.${7*7}.csv"
    sentence = refusal(write(tmp_path, name, b"id,text\n1,a\n"), column="nothing")
    assert "\x1b" not in sentence
    assert "\u202e" not in sentence
    assert "\n" not in sentence
    corpus = read_corpus(write(tmp_path, name, b"id,text\n1,a b\n2,c\n"), column="text")
    assert corpus.name.isprintable()
    assert len(corpus.name) <= 48


def test_column_and_field_belong_to_their_file_types(tmp_path: Path) -> None:
    path = write(tmp_path, "t.txt", b"some text")
    assert "not a CSV" in refusal(path, column="text")
    assert "not a JSON Lines file" in refusal(path, field="text")


# --- pastes --------------------------------------------------------------------------------------------------------


def test_a_paste(tmp_path: Path) -> None:
    corpus = from_text("Héllo\r\nwörld\x00 \ud83d", name="my \x07 paste")
    assert corpus.text == "Héllo\nwörld \ufffd"
    assert corpus.source == "paste"
    assert corpus.name == "my \ufffd paste"
    assert len(corpus.notes) == 3


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "no text"), (" \n ", "only spaces"), ("a", "one character long"), ("aaa", "nothing to predict")],
)
def test_pastes_that_are_refused(text: str, said: str) -> None:
    with pytest.raises(CorpusError, match=said):
        from_text(text)


def test_a_paste_over_the_limit_is_measured_in_bytes() -> None:
    assert from_text("ab" * 50, max_bytes=100).text == "ab" * 50
    for text in ("ab" * 50 + "c", "é" * 51 + "a"):
        with pytest.raises(CorpusError, match="limit is 100 bytes"):
            from_text(text, max_bytes=100)


# --- documents -----------------------------------------------------------------------------------------------------


def test_end_of_text_lines_part_documents(tmp_path: Path) -> None:
    raw = f"Once upon a time.\nThe end.\n{END_OF_TEXT}\n\nA second.\n\nStill it.\n{END_OF_TEXT}\n{END_OF_TEXT}\n"
    corpus = read_corpus(write(tmp_path, "stories.txt", raw.encode()))
    assert corpus.documents == ("Once upon a time.\nThe end.", "A second.\n\nStill it.")
    assert END_OF_TEXT not in corpus.text
    inline = f"the mark {END_OF_TEXT} inside a line is text"
    assert from_text(inline).text == inline
    assert from_text(inline).documents is None


# --- splitting -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fraction", [0.0, 0.05, 0.1, 0.3, 0.5, 0.9, 0.99])
def test_nothing_is_lost_in_a_split(fraction: float) -> None:
    text = "abcdefghij" * 10
    train, validation = split_text(text, fraction)
    assert train + validation == text
    assert len(validation) == round(100 * fraction)


def test_a_split_never_parts_a_character_from_its_accent() -> None:
    text = "e\u0301" * 5 + "👩🏽\u200d🚀" * 5
    for tenth in range(10):
        train, validation = split_text(text, tenth / 10)
        assert train + validation == text
        assert validation[:1] in ("", "e", "👩")


def test_documents_are_split_whole() -> None:
    documents = tuple(f"tweet {i}" for i in range(10))
    assert split_documents(documents, 0.2) == (documents[:8], documents[8:])
    assert split_documents(documents, 0) == (documents, ())


@pytest.mark.parametrize("fraction", [-0.1, 1.0, 2, float("nan")])
def test_impossible_fractions(fraction: float) -> None:
    with pytest.raises(CorpusError, match="the last tenth"):
        split_text("some text", fraction)


def accepted(train: int, validation: int, context: int) -> bool:
    try:
        check_trainable(train, validation, context)
    except CorpusError:
        return False
    return True


@pytest.mark.parametrize(("train", "validation"), [(900, 100), (40, 4), (1, 0), (64, 0), (2, 2), (1, 1)])
def test_the_fixes_that_are_named_do_fix(train: int, validation: int) -> None:
    context = 128
    with pytest.raises(CorpusError, match="too short for a context of 128") as refused:
        check_trainable(train, validation, context)
    sentence = str(refused.value)
    shortest = int(sentence.split("text of at least ")[1].split(" tokens")[0].replace(",", ""))
    scaled_train = shortest * train // (train + validation)
    assert accepted(scaled_train, shortest - scaled_train, context)
    smaller = min(part for part in (train, validation) if part)
    assert (shortest - 1) * smaller < (context + 1) * (train + validation)  # one token less would not do
    if "context to at most" in sentence:
        largest = int(sentence.split("context to at most ")[1].split(",")[0].rstrip("."))
        assert accepted(train, validation, largest)
        assert not accepted(train, validation, largest + 1)
    else:
        assert min(train, validation or train) < 5  # a context of 3 would teach nothing
    assert ("without validation" in sentence) == (validation > 0 and train + validation > context)
    if "without validation" in sentence:
        assert accepted(train + validation, 0, train + validation - 1)


def test_long_enough_texts_are_accepted() -> None:
    check_trainable(65, 0, 64)
    check_trainable(65, 65, 64)
    with pytest.raises(CorpusError, match="40 tokens to train on, and 65 are needed"):
        check_trainable(40, 0, 64)


# --- statistics ----------------------------------------------------------------------------------------------------


def test_statistics_count_what_they_say() -> None:
    text = "one two\nthree\n\nünïcödé 😀"
    figures = statistics(from_text(text))
    assert figures.characters == len(text)
    assert figures.bytes == len(text.encode())
    assert (figures.lines, figures.words, figures.longest_line) == (4, 5, 9)
    assert figures.distinct_characters == len(set(text))
    assert dict(figures.most_common).items() <= Counter(text).items()
    assert figures.most_common[0][1] == 3
    assert figures.documents == 0
    assert statistics(from_text("a\nb\n")).lines == 2
    assert statistics(lines_as_documents(from_text("a\n\nb\n"))).documents == 2
