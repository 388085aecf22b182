"""Files of weights and vocabularies that are damaged or mean harm: a sentence each, and nothing in them is run."""

from __future__ import annotations

import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from model import CheckpointError, Tokenizer, open_checkpoint
from model.formats.files import read_vocabulary, read_weights, table_of
from tests.model.formats.stand_ins import CHARACTERS, save, small_lyrics


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.target,)


def test_code_in_a_file_is_not_run(tmp_path: Path) -> None:
    """As torch saves it, as a plain pickle, and as an older torch saved it."""
    mark = tmp_path / "it ran"
    torch.save({"w": Bomb(mark)}, tmp_path / "new.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps({"w": Bomb(mark)}))
    torch.save({"w": Bomb(mark)}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    for name, sentence in (("new", "more than tensors"), ("plain", "plain pickle"), ("old", "plain pickle")):
        with pytest.raises(CheckpointError, match=f"{sentence}.* can run code when it is opened") as error:
            open_checkpoint(tmp_path / f"{name}.pt")
        assert "torch.save(model.state_dict()" in str(error.value)
    assert not mark.exists()
    pickle.loads(pickle.dumps(Bomb(mark)))
    assert mark.exists()  # it would have


def test_a_whole_model_is_refused(tmp_path: Path) -> None:
    torch.save(small_lyrics(), tmp_path / "m.pt")
    with pytest.raises(CheckpointError, match=r"more than tensors .*LyricsGPT"):
        open_checkpoint(tmp_path / "m.pt")


@pytest.mark.parametrize("kept", [0, 1, 3, 40, 2_000, -2_000, -30, -1])
def test_a_file_cut_short(tmp_path: Path, kept: int) -> None:
    path = save(small_lyrics(), tmp_path / "w.pt")
    whole = path.read_bytes()
    path.write_bytes(whole[:kept])
    with pytest.raises(CheckpointError, match=r"empty|cut short|no weights") as error:
        open_checkpoint(path)
    assert "w.pt" in str(error.value)


def test_bytes_that_are_no_weights(tmp_path: Path) -> None:
    header = b"\x10" + bytes(7) + b"{" * 30
    for name, contents in (("a.pt", b"hello"), ("b.pt", b"\x89PNG\r\n"), ("c.safetensors", header)):
        (tmp_path / name).write_bytes(contents)
        with pytest.raises(CheckpointError, match=name):
            read_weights(tmp_path / name)


def repacked(source: Path, target: Path, compression: int, change: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", compression) as new:
        for info in old.infolist():
            inner = info.filename.partition("/")[2]
            new.writestr(info.filename, change.get(inner, old.read(info)))
    return target


def test_a_packed_archive_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    source = save(small_lyrics(), tmp_path / "w.pt")
    bomb = repacked(source, tmp_path / "bomb.pt", zipfile.ZIP_DEFLATED, {"data/0": bytes(50_000_000)})
    assert bomb.stat().st_size < 2_000_000
    with pytest.raises(CheckpointError, match=r"packed in a way that torch.save never does"):
        open_checkpoint(bomb)


def test_a_tensor_that_claims_more_than_its_file_holds(tmp_path: Path) -> None:
    """In its storage's size; and by a stride of 0, which makes one number look like any amount."""
    state = small_lyrics().state_dict()
    state["vocab_projection.bias"] = torch.zeros(1).expand(10**12)
    torch.save(state, tmp_path / "wide.pt")
    with pytest.raises(CheckpointError, match=r"vocab_projection.bias of wide.pt claims 1,000,000,000,000 numbers"):
        open_checkpoint(tmp_path / "wide.pt")
    torch.save({"w": torch.zeros(77_777)}, tmp_path / "long.pt")
    with zipfile.ZipFile(tmp_path / "long.pt") as archive:
        name = next(info.filename for info in archive.infolist() if info.filename.endswith("data.pkl"))
        program = archive.read(name)
    size = (77_777).to_bytes(4, "little")
    assert program.count(size) == 2  # the storage's and the tensor's
    claim = {"data.pkl": program.replace(size, (2**31 - 1).to_bytes(4, "little"))}
    with pytest.raises(CheckpointError, match=r"long\d?.pt"):
        read_weights(repacked(tmp_path / "long.pt", tmp_path / "long2.pt", zipfile.ZIP_STORED, claim))


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ({"w": 3}, "'w', a int, among its tensors"),
        ({"w": torch.zeros(2, 2).to_sparse()}, "not an ordinary one"),
        ({"w": torch.zeros(2, dtype=torch.complex64)}, "not an ordinary one"),
        ([torch.zeros(2)], "holds a list, not weights by name"),
        (torch.zeros(2), "holds a Tensor, not weights by name"),
    ],
)
def test_values_that_are_no_weights(tmp_path: Path, value: object, sentence: str) -> None:
    torch.save(value, tmp_path / "w.pt")
    with pytest.raises(CheckpointError, match=sentence):
        read_weights(tmp_path / "w.pt")


# ---- vocabularies -------------------------------------------------------------------------------------------------

TABLE = ["\n", " ", "b", "a", "é"]


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(TABLE),
        json.dumps({entry: number for number, entry in enumerate(TABLE)}),
        json.dumps({str(number): entry for number, entry in enumerate(TABLE)}),
        "\n baé",
        "\\n baé",
    ],
)
def test_a_table_of_characters_in_any_writing(text: str) -> None:
    tokenizer = table_of(text, 5)
    assert tokenizer.kind == "char"
    assert tokenizer.encode("abé\n ") == [3, 2, 4, 0, 1]


def test_a_backslash_is_one_where_the_size_says_so() -> None:
    assert table_of("\\nab", 4).encode("\\n") == [0, 1]
    assert table_of("\\nab", 3).encode("\n") == [0]
    assert table_of("\\nab").vocab_size == 4


def test_the_line_break_at_the_end_of_a_file_is_a_character_where_the_size_says_so() -> None:
    assert table_of("ab\n", 2).vocab_size == 2
    assert table_of("ab\n", 3).encode("\n") == [2]


def test_a_table_with_an_end_of_text() -> None:
    tokenizer = table_of('["a", "b", "<|endoftext|>"]')
    assert (tokenizer.end_of_text, tokenizer.vocab_size) == (2, 3)


@pytest.mark.parametrize(
    ("name", "contents", "sentence"),
    [
        ("c.json", b"[1, 2]", "entries that are not text"),
        ("c.json", b'["a", "a"]', "stands in the vocabulary twice"),
        ("c.json", b'["ab"]', "'ab' is not one character"),
        ("c.json", b'["a", ""]', "cannot be written"),
        ("c.json", b"[]", "empty"),
        ("c.json", b'{"a": 0, "b": 2}', "do not count up from 0"),
        ("c.json", b'{"a": 0, "b": "c"}', "do not count up from 0"),
        ("c.json", b'["a"', "not a complete JSON file"),
        ("c.json", b'{"model": 3}', "tokenizer"),
        ("c.json", b"[" * 100_000, "not a complete JSON file"),
        ("meta.pkl", b"\x80\x04\x95\xff\xfe", "not a text file"),
        ("c.txt", b"abca", "twice"),
    ],
)
def test_a_vocabulary_that_cannot_be_used(tmp_path: Path, name: str, contents: bytes, sentence: str) -> None:
    (tmp_path / name).write_bytes(contents)
    with pytest.raises(ValueError, match=sentence):
        read_vocabulary(tmp_path / name)


def test_a_vocabulary_of_the_wrong_size(tmp_path: Path) -> None:
    path = save(small_lyrics(), tmp_path / "w.pt")
    for given in (Tokenizer.char("abc"), tmp_path / "c.json"):
        (tmp_path / "c.json").write_text('["a", "b", "c"]')
        with pytest.raises(CheckpointError, match=r"the vocabulary has 3 entries and the model in w.pt has 104"):
            open_checkpoint(path, given)


def test_the_table_of_the_stand_in_has_104_characters() -> None:
    assert len(CHARACTERS) == len(set(CHARACTERS)) == 104
