"""Words without their blanks (`Tokenizer.word(spaces=False)`): what comes back, what does not, and what is counted."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import torch

import model.tokenizer as module
from model import GPT, GPTConfig, save_checkpoint
from model.__main__ import main
from model.pieces import UnknownText
from model.tokenizer import Tokenizer
from tests.model.hostile import EVERYTHING, HOSTILE

ROOT = Path(__file__).resolve().parents[2]
SONG = (ROOT / "assets" / "corpora" / "one_song.txt").read_text(encoding="utf-8")
BREAKS = "\r\n\v\f\x85\u2028\u2029"


def plain(text: str, end_of_text: bool = False) -> Tokenizer:
    return Tokenizer.word(text, end_of_text, spaces=False)


def is_blank(char: str) -> bool:
    """White space as Unicode has it (Python also counts four control characters), without line breaks."""
    return char.isspace() and char not in BREAKS + "\x1c\x1d\x1e\x1f"


def tidied(text: str) -> str:
    """By the docstring's words: runs of blanks as one, none at the begin and the end of a line."""
    lines = re.split(f"([{BREAKS}])", "".join(" " if is_blank(char) else char for char in text))
    return "".join(" ".join(filter(None, line.split(" "))) for line in lines)


def test_the_song_of_case_3() -> None:
    """12 lines: 47 entries with the line break, 85 tokens, 28,527 parameters; sorted; the blanks come back."""
    tokenizer = plain(SONG)
    ids = tokenizer.encode(SONG)
    assert (SONG.count("\n"), tokenizer.vocab_size, len(ids)) == (12, 47, 85)
    assert tokenizer.kind == "words"
    assert [tokenizer.piece(i).text for i in range(47)] == sorted({"\n", *SONG.split()})
    assert tokenizer.decode(ids) == SONG
    shape: dict[str, Any] = {
        "layers": 2,
        "heads": 2,
        "width": 32,
        "context": 6,
        "activation": "relu",
        "qkv_bias": False,
    }
    config = GPTConfig(vocab_size=47, **shape, tied_head=False, head_bias=True)
    assert GPT(config).parameter_count() == 28_527


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("the cat sat.", ["the", "cat", "sat."]),
        ("one\ntwo\n\nthree\n", ["one", "\n", "two", "\n\n", "three", "\n"]),
        ("\n\na", ["\n\n", "a"]),
        ("a\r\nb", ["a", "\r\n", "b"]),
        ("e\u0301a don't", ["e\u0301a", "don't"]),
        ("<|endoftext|> a", ["<|endoftext|>", "a"]),
    ],
)
def test_pieces(text: str, pieces: list[str]) -> None:
    tokenizer = plain(text)
    assert [tokenizer.piece(i).text for i in tokenizer.encode(text)] == pieces
    assert [tokenizer.piece(i).text for i in range(tokenizer.vocab_size)] == sorted(set(pieces))
    assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize(
    ("text", "comes_back"),
    [
        ("a  b\tc\u00a0d", "a b c d"),
        ("  a b  ", "a b"),
        ("a \n b", "a\nb"),
        ("a\n\tb", "a\nb"),
    ],
)
def test_what_does_not_come_back(text: str, comes_back: str) -> None:
    tokenizer = plain(text)
    assert tokenizer.decode(tokenizer.encode(text)) == comes_back
    assert tokenizer.encode(comes_back) == tokenizer.encode(text)


def test_hostile_texts_come_back_tidied() -> None:
    for mark in (False, True):
        tokenizer = plain(EVERYTHING + "".join(f" {text} " for text in HOSTILE), mark)
        for text in HOSTILE:
            again = tokenizer.decode(tokenizer.encode_known(text).ids)
            assert tidied(again) == tidied(text)
            assert tokenizer.encode_known(again).ids == tokenizer.encode_known(text).ids


def test_spans_cover_all_but_blanks() -> None:
    for tokenizer in (plain("the cat\nsat"), plain(EVERYTHING)):
        for text in HOSTILE:
            raw = text.encode()
            found = tokenizer.encode_known(text)
            for number, (start, end) in zip(found.ids, found.offsets, strict=True):
                assert raw[start:end] == tokenizer.piece(number).raw
            for gap in found.unknown:
                assert raw[gap.start : gap.end] == gap.text.encode()
            spans = sorted([*found.offsets, *((gap.start, gap.end) for gap in found.unknown)])
            edges = [0, *(edge for span in spans for edge in span), len(raw)]
            assert edges == sorted(edges)
            between = b"".join(raw[a:b] for a, b in zip(edges[::2], edges[1::2], strict=True)).decode()
            assert all(map(is_blank, between)), text


def test_an_unknown_word_is_named_with_its_place() -> None:
    tokenizer = plain("the cat sat.\nthe end")
    found = tokenizer.encode_known("the  zebra sat\n\nthe cat\ud83d")
    assert tokenizer.decode(found.ids) == "the\n\nthe cat"
    assert [(gap.start, gap.end, gap.text) for gap in found.unknown] == [
        (5, 10, "zebra"),
        (11, 14, "sat"),
        (23, 26, "\ufffd"),
    ]
    with pytest.raises(UnknownText, match=r"“zebra”, “sat”\. It knows only the words .* with the punctuation"):
        tokenizer.encode("the zebra sat")


def test_new_runs_of_line_breaks_are_written_with_single_ones() -> None:
    tokenizer = plain("a\nb")
    assert tokenizer.decode(tokenizer.encode("a\n \n\nb")) == "a\n\n\nb"
    assert [(gap.start, gap.end) for gap in plain("a b").encode_known("a\n\nb").unknown] == [(1, 2), (2, 3)]


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = plain(EVERYTHING)
    whole = tokenizer.encode_known(EVERYTHING)
    for size in (1, 7, 100):
        monkeypatch.setattr(module, "CHUNK", size)
        assert tokenizer.encode_known(EVERYTHING) == whole
        assert plain(EVERYTHING) == tokenizer


# -- decoding in parts ------------------------------------------------------------------------------------------------


def test_parts_join_to_the_whole() -> None:
    """A text written token by token, with `after`, is the text; without it each part stands alone."""
    for tokenizer in (plain(SONG), plain("a b\n\nc", end_of_text=True), Tokenizer.char(SONG), Tokenizer.word(SONG)):
        ids = [*range(tokenizer.vocab_size), *reversed(range(tokenizer.vocab_size))]
        whole = tokenizer.decode(ids)
        for cut in range(len(ids)):
            assert tokenizer.decode(ids[:cut]) + tokenizer.decode(ids[cut:], after=ids[:cut]) == whole
    boat = plain("my boat")
    assert (boat.decode([0]), boat.decode([0], after=[1]), boat.decode([0], after=[])) == ("boat", " boat", "boat")
    with pytest.raises(ValueError, match="Token 9 is not"):
        boat.decode([0], after=[9])


def test_no_blank_beside_a_mark() -> None:
    tokenizer = plain("a b", end_of_text=True)
    assert tokenizer.end_of_text == 2
    assert tokenizer.decode([0, 1, 2, 0]) == "a b<|endoftext|>a"
    assert tokenizer.piece(2).kind == "special"


def test_a_word_spelt_like_the_mark_stays_a_word() -> None:
    tokenizer = plain("a <|endoftext|> b", end_of_text=True)
    assert tokenizer.end_of_text is not None
    assert tokenizer.piece(tokenizer.end_of_text).text == "</s>"
    assert tokenizer.decode(tokenizer.encode("a <|endoftext|>")) == "a <|endoftext|>"
    with pytest.raises(ValueError, match="Take one of them out"):
        plain("<|endoftext|> </s> <eos> [EOS]", end_of_text=True)
    typed = plain("a b", end_of_text=True).encode_known("a <|endoftext|>")
    assert (typed.ids, [gap.text for gap in typed.unknown]) == ([0], ["<|endoftext|>"])


@pytest.mark.parametrize("text", ["  ", " \t\u00a0"])
def test_no_vocabulary_from_blanks(text: str) -> None:
    with pytest.raises(ValueError, match="only blanks and no word"):
        plain(text)


# -- bytes of text ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", [SONG, "a b", "one\ntwo\n\nthree four\n\n\nfive", "\nzoë hat\r\nes\n", "x", "one\n \ntwo", "\n\n"]
)
def test_the_bytes_of_tokens_add_up_to_the_text(text: str) -> None:
    """Exactly between a first and a last word, one more or less at the edges; a blank is counted once."""
    tokenizer = plain(text, end_of_text=True)
    sizes = tokenizer.token_bytes()
    assert tokenizer.end_of_text is not None
    assert sizes[tokenizer.end_of_text] == 0
    ids = tokenizer.encode(text)
    total = sum(sizes[token] for token in ids)
    edges = (text[0] not in BREAKS) + (text[-1] not in BREAKS)  # words at the two ends
    assert total == len(text.encode()) + edges - 1


def test_the_bytes_of_other_tokens_are_their_own(tokenizer: Tokenizer) -> None:
    sizes = tokenizer.token_bytes()
    assert len(sizes) == tokenizer.vocab_size
    assert sum(sizes[token] for token in tokenizer.encode(EVERYTHING)) == len(EVERYTHING.encode())


# -- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end_of_text", [False, True])
def test_saved_and_read_here_and_by_the_library(end_of_text: bool, tmp_path: Path) -> None:
    text = SONG + "\n\nzoë <|endoftext|> (it's)\r\n"
    tokenizer = plain(text, end_of_text)
    tokenizer.save(tmp_path / "tokenizer.json")
    loaded = Tokenizer.load(tmp_path / "tokenizer.json")
    assert loaded == tokenizer
    assert (loaded.kind, loaded.end_of_text) == ("words", tokenizer.end_of_text)
    assert loaded.decode(loaded.encode(text)) == text
    foreign = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    foreign.encode_special_tokens = True
    mark = [] if tokenizer.end_of_text is None else [tokenizer.end_of_text]
    assert len(mark) == end_of_text
    ids = [*tokenizer.encode(text), *mark, *tokenizer.encode("my boat")]
    assert foreign.encode(text, add_special_tokens=False).ids == tokenizer.encode(text)
    assert foreign.decode(ids, skip_special_tokens=False) == tokenizer.decode(ids)


def test_a_file_with_blanks_in_a_word_is_refused(tmp_path: Path) -> None:
    document = json.loads(plain("a b").to_json())
    document["model"]["vocab"]["c d"] = 2
    (tmp_path / "tokenizer.json").write_text(json.dumps(document))
    with pytest.raises(ValueError, match="the token 'c d' is neither a word nor a line break"):
        Tokenizer.load(tmp_path / "tokenizer.json")


def test_it_is_another_tokenizer_than_the_one_with_blanks() -> None:
    assert plain("a") != Tokenizer.word("a")


# -- at the console ---------------------------------------------------------------------------------------------------


def test_the_console_keeps_words_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also the first one that the model writes after the prompt."""
    tokenizer = plain("one two three four")
    torch.manual_seed(1)
    model = GPT(GPTConfig(vocab_size=4, layers=1, heads=1, width=8, context=4)).eval()
    save_checkpoint(tmp_path, model, tokenizer)
    assert main([str(tmp_path), "--prompt", "one two", "--tokens", "9"]) == 0
    words = capsys.readouterr().out.strip().split(" ")
    assert words[:2] == ["one", "two"]
    assert len(words) == 11
    assert set(words) <= {"one", "two", "three", "four"}


# -- merges -----------------------------------------------------------------------------------------------------------


def test_merges_name_their_tokens(english_bpe: Tokenizer) -> None:
    assert len(english_bpe.merges) == 275 - 257
    for number, (left, right, joined) in enumerate(english_bpe.merges):
        raw = [english_bpe.piece(token).raw for token in (left, right, joined)]
        assert raw[0] + raw[1] == raw[2]
        assert joined == 257 + number
    assert Tokenizer.char("ab").merges == ()


def test_stretches_are_single_bytes_that_merges_stay_within(english_bpe: Tokenizer) -> None:
    stretches = english_bpe.stretches("the cat's 12\n☃\ud800")
    texts = [b"".join(english_bpe.piece(token).raw for token in stretch) for stretch in stretches]
    assert texts == [b"the", b" cat", b"'s", b" 12", b"\n", "☃\ufffd".encode()]
    assert all(len(english_bpe.piece(token).raw) == 1 for stretch in stretches for token in stretch)
    with pytest.raises(ValueError, match="kind char has no merges"):
        Tokenizer.char("ab").stretches("a")
