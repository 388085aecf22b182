"""tokenizer.json: written and read by us and by the `tokenizers` library; damaged and foreign files are refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers

from model.tokenizer import Tokenizer
from tests.model.hostile import ENGLISH, EVERYTHING, HOSTILE


def test_a_saved_tokenizer_is_the_same_here_and_in_the_library(tokenizer: Tokenizer, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    tokenizer.save(path)
    loaded = Tokenizer.load(str(path))
    assert loaded == tokenizer
    assert (loaded.kind, loaded.vocab_size, loaded.end_of_text) == (
        tokenizer.kind,
        tokenizer.vocab_size,
        tokenizer.end_of_text,
    )
    assert loaded.to_json() == tokenizer.to_json()
    foreign = tokenizers.Tokenizer.from_file(str(path))
    foreign.encode_special_tokens = True
    ids = tokenizer.encode(EVERYTHING)
    assert foreign.encode(EVERYTHING, add_special_tokens=False).ids == ids
    assert foreign.decode(ids, skip_special_tokens=False) == EVERYTHING


def test_the_library_refuses_what_a_char_vocabulary_lacks() -> None:
    with pytest.raises(Exception, match="UNK"):
        tokenizers.Tokenizer.from_str(Tokenizer.char("ab").to_json()).encode("abc")


def changed(tokenizer: Tokenizer, change: Callable[[dict[str, Any]], object]) -> str:
    document = json.loads(tokenizer.to_json())
    change(document)
    return json.dumps(document)


DAMAGES: dict[str, tuple[str, Callable[[dict[str, Any]], object]]] = {
    "no model": ("has no tokenizer model", lambda d: d.pop("model")),
    "no vocabulary": ("no table of tokens", lambda d: d["model"].pop("vocab")),
    "a hole in the ids": ("without gaps", lambda d: d["model"]["vocab"].update({"a": 5000})),
    "two tokens with one id": ("without gaps", lambda d: d["model"]["vocab"].update({"a": 5})),
    "ids that are words": ("without gaps", lambda d: d["model"]["vocab"].update({"a": "five"})),
    "a byte without token": ("1 of the 256 bytes", lambda d: rename(d, "a", "aaaaaaaa")),
    "letters that are no bytes": ("not written in the letters", lambda d: add(d, "日")),
    "half a character": ("cannot be written as UTF-8", lambda d: add(d, "\ud800")),
    "merges of nothing": ("not in the vocabulary", lambda d: d["model"]["merges"].append(["a", "\u0100"])),
    "merges of one": ("list of merges is damaged", lambda d: d["model"]["merges"].append(["a"])),
    "merges of numbers": ("list of merges is damaged", lambda d: d["model"]["merges"].append([1, 2])),
    "no merges": ("list of merges is damaged", lambda d: d["model"].update(merges=None)),
    "added tokens": ("added tokens is damaged", lambda d: d["added_tokens"].append("x")),
    "an added word": ("adds the token 'cat'", lambda d: d["added_tokens"].append({"id": 275, "content": "cat"})),
    "a normalizer": ("changes the text", lambda d: d.update(normalizer={"type": "Lowercase"})),
    "a prefix space": ("space before every text", lambda d: d["pre_tokenizer"].update(add_prefix_space=True)),
    "another cutter": ("a way of its own", lambda d: d.update(pre_tokenizer={"type": "Whitespace"})),
    "no cutter": ("a way of its own", lambda d: d.update(pre_tokenizer=None)),
    "another model": ("has a Unigram model", lambda d: d["model"].update(type="Unigram")),
    "dropout": ("uses dropout", lambda d: d["model"].update(dropout=0.1)),
}


def add(document: dict[str, Any], token: str) -> None:
    document["model"]["vocab"][token] = len(document["model"]["vocab"])


def rename(document: dict[str, Any], old: str, new: str) -> None:
    document["model"]["vocab"][new] = document["model"]["vocab"].pop(old)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_or_foreign_file_is_refused_with_the_reason(
    damage: str, english_bpe: Tokenizer, tmp_path: Path
) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(changed(english_bpe, lambda document: None))
    assert Tokenizer.load(path) == english_bpe
    reason, change = DAMAGES[damage]
    path.write_text(changed(english_bpe, change))
    with pytest.raises(ValueError, match=rf"tokenizer\.json cannot be read as a tokenizer: .*{reason}.*choose another"):
        Tokenizer.load(path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe\x00", b"[" * 100_000, b"id,text\n1,hello"])
def test_a_file_of_anything_else_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="cannot be read as a tokenizer"):
        Tokenizer.load(path)


def test_a_file_cut_short_anywhere_is_refused(tmp_path: Path) -> None:
    whole = Tokenizer.char("abc").to_json()
    path = tmp_path / "tokenizer.json"
    for length in range(len(whole.rstrip()) - 1):
        path.write_text(whole[:length])
        with pytest.raises(ValueError, match="not a complete JSON file"):
            Tokenizer.load(path)


def test_a_missing_file_or_a_folder_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "nothing.json", tmp_path):
        with pytest.raises(ValueError, match="cannot be read as a tokenizer"):
            Tokenizer.load(path)


def test_another_programs_byte_level_bpe_is_read(tmp_path: Path) -> None:
    backend = tokenizers.Tokenizer(models.BPE(continuing_subword_prefix="", end_of_word_suffix=""))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=320, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    backend.train_from_iterator([ENGLISH], trainer)
    backend.add_special_tokens(["<pad>", "</s>"])  # ids behind the model's own
    backend.post_processor = tokenizers.processors.ByteLevel(trim_offsets=True)
    path = tmp_path / "tokenizer.json"
    backend.save(str(path))
    tokenizer = Tokenizer.load(path)
    assert tokenizer.kind == "bpe"
    assert tokenizer.vocab_size == backend.get_vocab_size()
    assert tokenizer.end_of_text == backend.token_to_id("</s>")
    assert tokenizer.piece(tokenizer.vocab_size - 2).text == "<pad>"
    assert tokenizer.piece(tokenizer.vocab_size - 2).kind == "special"
    for text in (ENGLISH, "</s>", *HOSTILE):
        assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.encode(ENGLISH) == backend.encode(ENGLISH).ids


def test_a_wordpiece_file_is_refused(tmp_path: Path) -> None:
    backend = tokenizers.Tokenizer(models.WordPiece({"a": 0, "[UNK]": 1}))
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    path = tmp_path / "tokenizer.json"
    backend.save(str(path))
    with pytest.raises(ValueError, match="only character, word and byte-level BPE tokenizers can be read"):
        Tokenizer.load(path)
    backend.normalizer = normalizers.NFKC()
    backend.save(str(path))
    with pytest.raises(ValueError, match="changes the text before cutting it"):
        Tokenizer.load(path)
