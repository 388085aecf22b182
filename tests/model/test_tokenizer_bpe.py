"""Byte-pair encoding, our own and GPT-2's, against its definition and the reference cases."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from tokenizers import models, pre_tokenizers

from model.pieces import VocabularyTooLarge
from model.tokenizer import Tokenizer
from tests.model.hostile import ENGLISH, EVERYTHING, HOSTILE

# -- an own BPE -------------------------------------------------------------------------------------------------------


def by_definition(tokenizer: Tokenizer) -> Callable[[str], list[int]]:
    """Byte-pair encoding by its definition: GPT-2's pattern, then the earliest learned merge until none is left."""
    regex = pytest.importorskip("regex")
    stays = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    moves = [byte for byte in range(256) if byte not in stays]
    letters = [chr(byte if byte in stays else 256 + moves.index(byte)) for byte in range(256)]
    document = json.loads(tokenizer.to_json())["model"]
    rank = {tuple(merge): number for number, merge in enumerate(document["merges"])}
    pattern = regex.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")

    def encode(text: str) -> list[int]:
        ids: list[int] = []
        for word in pattern.findall(text):
            parts = [letters[byte] for byte in word.encode()]
            while pairs := [(rank[pair], at) for at, pair in enumerate(pairwise(parts)) if pair in rank]:
                at = min(pairs)[1]
                parts[at : at + 2] = [parts[at] + parts[at + 1]]
            ids += [document["vocab"][part] for part in parts]
        return ids

    return encode


def test_own_bpe_encodes_as_the_definition_says(english_bpe: Tokenizer) -> None:
    for tokenizer in (english_bpe, Tokenizer.bpe(EVERYTHING, 600)):
        slow = by_definition(tokenizer)
        for text in (ENGLISH, *(text for text in HOSTILE if len(text) < 2000)):
            assert tokenizer.encode(text) == slow(text)


def test_own_bpe_compresses_and_reaches_the_size_asked_for(shakespeare: str) -> None:
    tokenizer = Tokenizer.bpe(shakespeare, 512)
    assert (tokenizer.kind, tokenizer.vocab_size) == ("bpe", 512)
    ids = tokenizer.encode(shakespeare)
    assert len(ids) < len(shakespeare) / 1.5
    assert tokenizer.decode(ids) == shakespeare
    large = Tokenizer.bpe(shakespeare, 8045)
    assert large.vocab_size == 8045
    assert len(large.encode(shakespeare)) < len(ids)


@pytest.mark.parametrize(("text", "size"), [(ENGLISH, 275), (EVERYTHING, 600)], ids=["english", "hostile"])
def test_training_in_stretches_is_training_on_the_whole(text: str, size: int) -> None:
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=size,
        show_progress=False,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    backend.train_from_iterator([text], trainer)
    assert json.loads(backend.to_str())["model"] == json.loads(Tokenizer.bpe(text, size).to_json())["model"]


def test_training_again_gives_an_equal_tokenizer(english_bpe: Tokenizer) -> None:
    again = [Tokenizer.bpe(ENGLISH, 275) for _ in range(3)]
    assert {tokenizer.fingerprint for tokenizer in again} == {english_bpe.fingerprint}


def test_the_smallest_bpe_is_bytes() -> None:
    tokenizer = Tokenizer.bpe("whatever", 257)
    assert [tokenizer.piece(i).raw for i in tokenizer.encode("é!")] == [b"\xc3", b"\xa9", b"!"]


@pytest.mark.parametrize("size", [256, 0, -5, True, 300.0])
def test_a_vocabulary_smaller_than_the_bytes_is_refused(size: Any) -> None:
    with pytest.raises(ValueError, match=r"at least 257 tokens.*Choose 257 or more"):
        Tokenizer.bpe(ENGLISH, size)


def test_a_vocabulary_larger_than_the_text_allows_is_refused_with_the_largest_possible() -> None:
    with pytest.raises(VocabularyTooLarge, match=r"at most [\d,]+ tokens.*10,000,000,000,000 were asked for") as caught:
        Tokenizer.bpe(ENGLISH, 10**13)
    possible = caught.value.possible
    assert Tokenizer.bpe(ENGLISH, possible).vocab_size == possible
    with pytest.raises(VocabularyTooLarge):
        Tokenizer.bpe(ENGLISH, possible + 1)


def test_training_reports_its_progress() -> None:
    shares: list[float] = []
    Tokenizer.bpe(ENGLISH * 10, 275, shares.append)
    assert len(shares) > 20
    assert shares == sorted(shares)
    assert 0 < shares[0] < 0.1
    assert shares[-2] <= 0.6
    assert shares[-1] == 1.0


def test_progress_can_stop_the_training() -> None:
    def stop(share: float) -> None:
        if share > 0.3:
            raise InterruptedError("stopped by the user")

    with pytest.raises(InterruptedError, match="stopped by the user"):
        Tokenizer.bpe(ENGLISH, 275, stop)


# -- GPT-2 ------------------------------------------------------------------------------------------------------------


def test_gpt2_agrees_with_all_reference_cases(gpt2: Tokenizer, shared_data: Callable[[str], Path]) -> None:
    cases = json.loads(shared_data("gpt2_bpe_cases.json").read_text(encoding="utf-8"))
    assert len(cases) == 531
    differ = [case["text"] for case in cases if gpt2.encode(case["text"]) != case["ids"]]
    assert not differ
    assert all(gpt2.decode(case["ids"]) == case["text"] for case in cases)


def test_gpt2_is_what_the_paper_says(gpt2: Tokenizer) -> None:
    assert (gpt2.kind, gpt2.vocab_size, gpt2.end_of_text) == ("gpt2", 50257, 50256)
    assert gpt2.encode("Hello world") == [15496, 995]
    assert [gpt2.piece(i).kind for i in (995, 220, 198, 628, 50256, 447)] == [
        *["text", "space", "newline", "newline", "special", "bytes"]
    ]
    assert gpt2.encode_known("I ☃\n").offsets == [(0, 1), (1, 4), (4, 5), (5, 6)]
    assert gpt2 == Tokenizer.gpt2()


def test_gpt2_encodes_as_the_definition_says(gpt2: Tokenizer) -> None:
    slow = by_definition(gpt2)
    for text in (ENGLISH, *(text for text in HOSTILE if len(text) < 2000)):
        assert gpt2.encode(text) == slow(text)
