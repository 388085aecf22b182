"""Tokenizers: exact round trips and byte spans, and nothing dropped in silence."""

from __future__ import annotations

import copy
import pickle
import re
import threading
from collections.abc import Callable
from pathlib import Path

import numpy
import pytest
import tokenizers
import torch

import model.tokenizer as module
from model.pieces import UnknownText
from model.tokenizer import Tokenizer
from model.vocabulary import Vocabulary
from tests.model.hostile import ENGLISH, EVERYTHING, HOSTILE

# -- round trips and byte spans ---------------------------------------------------------------------------------------


def test_decoding_an_encoding_gives_the_text(tokenizer: Tokenizer) -> None:
    for text in HOSTILE:
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text
        assert tokenizer.encode_known(text).ids == ids
    assert tokenizer.decode(tokenizer.encode(EVERYTHING)) == EVERYTHING


def assert_spans_cover(tokenizer: Tokenizer, text: str) -> None:
    raw = text.encode()
    found = tokenizer.encode_known(text)
    for number, (start, end) in zip(found.ids, found.offsets, strict=True):
        assert raw[start:end] == tokenizer.piece(number).raw
    for gap in found.unknown:
        assert raw[gap.start : gap.end] == gap.text.encode()
    spans = sorted([*found.offsets, *((gap.start, gap.end) for gap in found.unknown)])
    assert [0, *(end for _, end in spans)] == [*(start for start, _ in spans), len(raw)]


def test_spans_cover_the_text_exactly(tokenizer: Tokenizer) -> None:
    for text in HOSTILE:
        assert_spans_cover(tokenizer, text)
        assert not tokenizer.encode_known(text).unknown


def test_spans_and_unknowns_together_cover_the_text_exactly() -> None:
    for tokenizer in (Tokenizer.char("the cat\n"), Tokenizer.word("the cat  sat\n")):
        for text in HOSTILE:
            assert_spans_cover(tokenizer, text)
        assert tokenizer.encode_known(EVERYTHING).unknown


def test_a_text_longer_than_a_chunk_gets_the_same_ids(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = tokenizer.encode_known(EVERYTHING)
    for size in (1, 7, 100):
        monkeypatch.setattr(module, "CHUNK", size)
        assert len(list(module.chunks(EVERYTHING, size))) > len(EVERYTHING) // (size + 20_000)
        assert tokenizer.encode_known(EVERYTHING) == whole


def test_a_tensor_of_ids_holds_what_the_list_does(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    text = ENGLISH if tokenizer.encode_known(EVERYTHING).unknown else EVERYTHING
    text = "".join(character for character in text if not 0xD800 <= ord(character) < 0xE000)
    expected = tokenizer.encode(text)
    monkeypatch.setattr(module, "CHUNK", 50)
    found = tokenizer.encode_tensor(text)
    assert found.tolist() == expected
    size = tokenizer.vocab_size
    assert found.dtype == (torch.uint8 if size <= 255 else torch.int16 if size <= 32_767 else torch.int32)
    assert tokenizer.encode_tensor("").tolist() == []


def test_a_tensor_of_ids_is_wide_enough_and_names_what_is_unknown() -> None:
    table = [chr(0x4E00 + number) for number in range(40_000)]
    wide = Tokenizer.from_characters([character for character in table if not 0xD800 <= ord(character) < 0xE000])
    last = wide.vocab_size - 1
    assert wide.encode_tensor(wide.decode([last, 0])).tolist() == [last, 0]
    assert wide.encode_tensor("").dtype == torch.int32
    with pytest.raises(UnknownText, match="z"):
        Tokenizer.char("ab\n").encode_tensor("abz")
    with pytest.raises(UnknownText, match="\ufffd"):
        Tokenizer.char("ab\n").encode_tensor("ab\ud800")


def test_chunks_are_cut_often_and_lose_nothing() -> None:
    chunks = list(module.chunks(ENGLISH, 10))
    assert "".join(chunks) == ENGLISH
    assert max(map(len, chunks)) < 20
    assert list(module.chunks("", 10)) == [""]


# -- characters -------------------------------------------------------------------------------------------------------


def test_char_vocabulary_is_the_sorted_characters_and_nothing_else() -> None:
    tokenizer = Tokenizer.char("hello\nzoë")
    assert [tokenizer.piece(i).text for i in range(tokenizer.vocab_size)] == ["\n", "e", "h", "l", "o", "z", "ë"]
    assert (tokenizer.kind, tokenizer.end_of_text) == ("char", None)
    assert tokenizer.encode("hello") == [2, 1, 3, 3, 4]


def test_tiny_shakespeare_has_65_characters_and_encodes_as_the_definition_says(shakespeare: str) -> None:
    tokenizer = Tokenizer.char(shakespeare)
    assert tokenizer.vocab_size == 65
    table = sorted(set(shakespeare))
    start = shakespeare[:50_000]
    assert tokenizer.encode(start) == [table.index(char) for char in start]
    assert tokenizer.decode(tokenizer.encode(shakespeare)) == shakespeare


def test_a_given_table_keeps_its_order() -> None:
    tokenizer = Tokenizer.from_characters(["z", " ", "a"])
    assert tokenizer.encode("a z") == [2, 1, 0]
    for table in (["a", "bc"], ["a", "a"], ["a", ""], [], ["\ud800"]):
        with pytest.raises(ValueError, match="List each character once"):
            Tokenizer.from_characters(table)


def test_the_end_mark_can_be_asked_for(tmp_path: Path) -> None:
    for make in (Tokenizer.char, Tokenizer.word):
        plain, marked = make("a b"), make("a b", end_of_text=True)
        assert plain.end_of_text is None
        assert marked.end_of_text == plain.vocab_size == marked.vocab_size - 1
        assert marked.encode("a b") == plain.encode("a b")
        assert marked.piece(marked.end_of_text).kind == "special"
        marked.save(tmp_path / "tokenizer.json")
        assert Tokenizer.load(tmp_path / "tokenizer.json").end_of_text == marked.end_of_text


# -- words ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("I'm in the well", ["I'm", " ", "in", " ", "the", " ", "well"]),
        ("rock 'n' roll…", ["rock", " ", "'", "n", "'", " ", "roll", "…"]),
        ("it’s  so,so", ["it’s", "  ", "so", ",", "so"]),
        ("one\r\ntwo\n\n\tthree \n", ["one", "\r\n", "two", "\n", "\n", "\t", "three", " ", "\n"]),
        ("x_1 ÀÉ e\u0301a", ["x_1", " ", "ÀÉ", " ", "e\u0301a"]),
        ("a\u2028b\xa0c\x00", ["a", "\u2028", "b", "\xa0", "c", "\x00"]),
        ("<|endoftext|>", ["<", "|", "endoftext", "|", ">"]),
    ],
)
def test_word_pieces(text: str, pieces: list[str]) -> None:
    tokenizer = Tokenizer.word(text)
    assert [tokenizer.piece(i).text for i in tokenizer.encode(text)] == pieces
    assert [tokenizer.piece(i).text for i in range(tokenizer.vocab_size)] == sorted(set(pieces))


def test_an_unknown_word_is_named_with_its_place_and_the_rest_is_kept() -> None:
    tokenizer = Tokenizer.word("the cat sat. ça va")
    found = tokenizer.encode_known("ça zebra sat, zebra.")
    assert tokenizer.decode(found.ids) == "ça  sat ."
    assert [(gap.start, gap.end, gap.text) for gap in found.unknown] == [
        (4, 9, "zebra"),
        (13, 14, ","),
        (15, 20, "zebra"),
    ]
    with pytest.raises(UnknownText, match=r"“zebra”, “,” \(U\+002C\)\. It knows only the words") as caught:
        tokenizer.encode("ça zebra sat, zebra.")
    assert list(caught.value.unknown) == found.unknown


def test_a_new_run_of_blanks_is_written_with_single_ones() -> None:
    tokenizer = Tokenizer.word("a b  c")
    assert tokenizer.decode(tokenizer.encode("a     b")) == "a     b"
    assert len(tokenizer.encode("b  c")) == 3
    found = tokenizer.encode_known("a \t b")
    assert [(gap.start, gap.end, gap.text) for gap in found.unknown] == [(2, 3, "\t")]


# -- what a vocabulary does not know ----------------------------------------------------------------------------------


def test_unknown_characters_are_named_with_their_places() -> None:
    tokenizer = Tokenizer.char("ab c")
    found = tokenizer.encode_known("a😀b\tc😀")
    assert tokenizer.decode(found.ids) == "abc"
    assert found.offsets == [(0, 1), (5, 6), (7, 8)]
    assert [(gap.start, gap.end, gap.text) for gap in found.unknown] == [(1, 5, "😀"), (6, 7, "\t"), (8, 12, "😀")]
    with pytest.raises(UnknownText, match=r"no token for “😀” \(U\+1F600\), U\+0009\. It knows only the characters"):
        tokenizer.encode("a😀b\tc😀")


def test_a_long_list_of_unknowns_is_counted_and_a_long_word_is_cut_in_the_sentence_only() -> None:
    with pytest.raises(UnknownText, match=r"“l” \(U\+006C\) and 18 more\.") as caught:
        Tokenizer.char("abcd").encode("abcdefghijklmnopqrstuvwxyz" + "\n\r\tÄÖ"[:4])
    assert len(caught.value.unknown) == 26
    with pytest.raises(UnknownText) as caught:
        Tokenizer.word("a").encode("b" * 5000)
    assert len(str(caught.value)) < 300
    assert caught.value.unknown[0].text == "b" * 5000


@pytest.mark.parametrize("kind", ["char", "word", "bpe"])
def test_half_of_a_surrogate_pair_is_unknown_and_never_breaks_a_reply(kind: str, english_bpe: Tokenizer) -> None:
    make = {
        "char": lambda: Tokenizer.char("the cat"),
        "word": lambda: Tokenizer.word("the cat"),
        "bpe": lambda: english_bpe,
    }
    tokenizer = make[kind]()
    found = tokenizer.encode_known("the\ud83d cat\udc00")
    assert tokenizer.decode(found.ids) == "the cat"
    assert [(gap.start, gap.end, gap.text) for gap in found.unknown] == [(3, 6, "\ufffd"), (10, 13, "\ufffd")]
    with pytest.raises(UnknownText):
        tokenizer.encode("the\ud83d cat\udc00")


@pytest.mark.parametrize("make", [Tokenizer.char, Tokenizer.word, lambda text: Tokenizer.bpe(text, 300)])
def test_no_vocabulary_from_nothing_or_from_broken_text(make: Callable[[str], Tokenizer]) -> None:
    with pytest.raises(ValueError, match="There is no text"):
        make("")
    with pytest.raises(ValueError, match="half of a surrogate pair at character 3"):
        make("abc\ud800")


# -- special tokens ---------------------------------------------------------------------------------------------------


def test_a_typed_mark_is_text_and_only_code_appends_the_mark(tokenizer: Tokenizer) -> None:
    text = "a<|endoftext|>\na"
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.end_of_text not in ids
    for subject in (copy.deepcopy(tokenizer), pickle.loads(pickle.dumps(tokenizer))):
        assert subject.encode(text) == ids
    if tokenizer.end_of_text is not None:
        mark = tokenizer.piece(tokenizer.end_of_text)
        assert (mark.kind, mark.text, mark.raw) == ("special", "<|endoftext|>", b"<|endoftext|>")
        assert tokenizer.decode([*tokenizer.encode("a"), tokenizer.end_of_text]) == "a<|endoftext|>"


def test_the_library_alone_reads_the_mark_as_our_documentation_says(english_bpe: Tokenizer) -> None:
    backend = tokenizers.Tokenizer.from_str(english_bpe.to_json())
    assert english_bpe.end_of_text in backend.encode("a<|endoftext|>").ids
    backend.encode_special_tokens = True
    assert backend.encode("a<|endoftext|>").ids == english_bpe.encode("a<|endoftext|>")


# -- pieces and decoding ----------------------------------------------------------------------------------------------


def test_the_kind_of_a_piece() -> None:
    tokenizer = Tokenizer.word("a  b \t\n\r\n\u2028\xa0é")
    kinds = {tokenizer.piece(i).text: tokenizer.piece(i).kind for i in range(tokenizer.vocab_size)}
    spaces = {"  ": "space", " \t": "text", "\xa0": "text"}
    breaks = {"\n": "newline", "\r\n": "newline", "\u2028": "newline"}
    assert kinds == {"a": "text", "b": "text", "é": "text"} | spaces | breaks


def test_a_part_of_a_character_is_bytes_and_the_parts_join(english_bpe: Tokenizer) -> None:
    ids = english_bpe.encode("☃")
    pieces = [english_bpe.piece(i) for i in ids]
    assert [(piece.kind, piece.raw, piece.text) for piece in pieces] == [
        ("bytes", b"\xe2", "\ufffd"),
        ("bytes", b"\x98", "\ufffd"),
        ("bytes", b"\x83", "\ufffd"),
    ]
    assert english_bpe.encode_known("☃").offsets == [(0, 1), (1, 2), (2, 3)]
    assert english_bpe.decode(ids) == "☃"
    assert english_bpe.decode(ids[:2]) == "\ufffd"
    assert english_bpe.decode([*ids[:1], *english_bpe.encode("a")]) == "\ufffda"


def test_ids_of_other_libraries_are_accepted_and_wrong_ones_refused() -> None:
    tokenizer = Tokenizer.char("abc")
    assert tokenizer.decode(numpy.array([2, 0])) == "ca"
    assert tokenizer.piece(numpy.int64(1)).id == 1
    for wrong in (3, -1):
        with pytest.raises(ValueError, match=f"Token {wrong} is not in this vocabulary, whose ids run from 0 to 2"):
            tokenizer.decode([0, wrong])
        with pytest.raises(ValueError, match=f"Token {wrong} is not"):
            tokenizer.piece(wrong)


# -- identity and threads ---------------------------------------------------------------------------------------------


def test_equality_is_by_fingerprint(english_bpe: Tokenizer) -> None:
    same, other = Tokenizer.char("cab"), Tokenizer.char("abcd")
    assert same == Tokenizer.char("abc")
    assert len({same, Tokenizer.char("abc"), other}) == 2
    assert re.fullmatch(r"[0-9a-f]{64}", same.fingerprint)
    different = [same, other, Tokenizer.word("a b c"), Tokenizer.char("abc", end_of_text=True), english_bpe]
    # The same three tokens in another order, and cut as words, are other tokenizers.
    different += [Tokenizer.from_characters("bac"), Tokenizer(Vocabulary("word", ("a", "b", "c")))]
    assert len({tokenizer.fingerprint for tokenizer in different}) == len(different)
    assert (same == "abc") is False


def test_many_threads_share_one(tokenizer: Tokenizer) -> None:
    texts = [EVERYTHING[at : at + 500] for at in range(0, 6000, 500)]
    wanted = [tokenizer.encode_known(text) for text in texts]
    wrong: list[str] = []

    def work(shift: int) -> None:
        for turn in range(4 * len(texts)):
            at = (turn + shift) % len(texts)
            if tokenizer.encode_known(texts[at]) != wanted[at]:
                wrong.append(texts[at])

    threads = [threading.Thread(target=work, args=(shift,)) for shift in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
