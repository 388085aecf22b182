"""The two streams of token ids, batches of the one and the fixed stretches of the other."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from model import Tokenizer
from model.tokenizer import UnknownText
from tests.training.tiny import CHAR, TEXT, tiny_corpus, tiny_data
from training.config import Recipe
from training.corpus import CorpusError
from training.data import Blocks, build_tokenizer

MULTIBYTE = "Grüße, 日本語! 👍🏽 naïve café – “so”…\n" * 30


def counting(train: int, val: int, context: int) -> Blocks:
    """Streams whose ids are their positions, so that a window shows where it was cut."""
    return Blocks(torch.arange(train), torch.arange(val), torch.ones(max(train, val)), context)


def built(kind: str, text: str, vocab_size: int) -> Tokenizer:
    recipe = Recipe(tokenizer=kind, vocab_size=vocab_size)  # type: ignore[arg-type]
    return build_tokenizer(tiny_corpus(text), recipe.with_changes({"val_fraction": 0.0}))


def test_the_merges_of_a_vocabulary_are_learnt_from_the_training_part_alone() -> None:
    text = "aaab" * 90 + "xyxyzz" * 6
    recipe = Recipe(tokenizer="bpe", vocab_size=259).with_changes({"val_fraction": 0.1})
    assert build_tokenizer(tiny_corpus(text), recipe).merges == Tokenizer.bpe(text[:356], 259).merges
    documents = ("aaab",) * 9 + ("xyxyzz",)
    corpus = tiny_corpus("\n".join(documents), documents)
    apart = build_tokenizer(corpus, recipe.with_changes({"cut": "documents"}))
    assert len(apart.merges) > 0
    assert not any("x" in apart.piece(whole).text for _, _, whole in apart.merges)


def test_the_text_is_encoded_whole_and_in_order() -> None:
    data = tiny_data(val_fraction=0.25)
    assert CHAR.decode(data.train.tolist()) == TEXT[:1530]
    assert CHAR.decode(data.val.tolist()) == TEXT[1530:]
    assert data.train.dtype == data.val.dtype == torch.uint8  # 65 characters: a byte each
    assert data.context == 8
    everything = tiny_data(val_fraction=0.0)
    assert (len(everything.train), len(everything.val)) == (len(TEXT), 0)


@pytest.mark.parametrize("kind", ["char", "word", "bpe"])
def test_the_bytes_of_tokens_add_up_to_the_text(kind: str) -> None:
    data = tiny_data(MULTIBYTE, built(kind, MULTIBYTE, 280), 4, 0.2)
    streams = torch.cat([data.train, data.val]).long()
    assert data.token_bytes[streams].sum().item() == len(MULTIBYTE.encode())
    assert len(MULTIBYTE.encode()) > len(MULTIBYTE) + 300  # many characters have several bytes


def test_bytes_of_characters() -> None:
    tokenizer = Tokenizer.char("aé日👍\n")
    data = tiny_data("aé日👍\n" * 3, tokenizer, 2, 0.0)
    sizes = {tokenizer.decode([i]): size for i, size in enumerate(data.token_bytes.tolist())}
    assert sizes == {"\n": 1, "a": 1, "é": 2, "日": 3, "👍": 4}


def test_what_cannot_be_prepared_is_refused_with_a_sentence() -> None:
    with pytest.raises(CorpusError, match="The text is too short for a context of 8: it gives 9 tokens to train on"):
        tiny_data(TEXT[:10], CHAR, 8, 0.1)
    with pytest.raises(CorpusError, match="too short for a context of 2,000"):
        tiny_data(TEXT, CHAR, 2000, 0.1)
    with pytest.raises(UnknownText, match="Q"):
        tiny_data(TEXT + "Q", CHAR, 8, 0.1)


def test_kinds_of_tokenizers() -> None:
    assert built("char", "abca", 999).vocab_size == 3
    assert built("word", "to be or to be", 999).vocab_size == 4  # to, be, or, and the space
    bpe = built("bpe", TEXT, 262)
    assert (bpe.kind, bpe.vocab_size) == ("bpe", 262)
    with pytest.raises(ValueError, match=r"at most 258 tokens.*Choose 258 or fewer"):
        built("bpe", "ab", 5000)
    with pytest.raises(ValueError, match="at least 257"):
        built("bpe", TEXT, 100)


# -- batches ----------------------------------------------------------------------------------------------------------


def test_a_batch_is_stretches_of_the_training_text_and_their_next_tokens() -> None:
    data = counting(100, 0, context=7)
    inputs, targets = data.batch(16, torch.Generator().manual_seed(3))
    assert inputs.shape == targets.shape == (16, 7)
    for row, following in zip(inputs.tolist(), targets.tolist(), strict=True):
        assert row == list(range(row[0], row[0] + 7))
        assert following == list(range(row[0] + 1, row[0] + 8))
    assert len({row[0] for row in inputs.tolist()}) > 8


def test_every_stretch_can_be_drawn_also_the_first_and_the_last() -> None:
    data = counting(9, 0, context=4)
    inputs, targets = data.batch(400, torch.Generator().manual_seed(0))
    assert set(inputs[:, 0].tolist()) == {0, 1, 2, 3, 4}
    assert targets.max().item() == 8
    # a text of one block and its next token has one stretch
    inputs, _ = counting(5, 0, context=4).batch(20, torch.Generator().manual_seed(0))
    assert set(inputs[:, 0].tolist()) == {0}


def test_batches_follow_the_generator_alone() -> None:
    data = counting(1000, 0, context=4)

    def starts(seed: int) -> list[list[int]]:
        generator = torch.Generator().manual_seed(seed)
        drawn = []
        for _ in range(3):
            torch.rand(5)  # somebody else's draws
            drawn.append(data.batch(8, generator)[0][:, 0].tolist())
        return drawn

    assert starts(1) == starts(1)
    assert starts(1) != starts(2)
    assert starts(1)[0] != starts(1)[1]


# -- held-out stretches -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("val", "context", "tokens", "batch"),
    [
        (1000, 10, 200, 8), (1000, 10, 10_000, 7), (1001, 10, 10_000, 64), (999, 8, 16, 1), (97, 16, 50, 3),
        (17, 16, 4096, 4), (18, 16, 2, 4), (500, 1, 77, 10), (4097, 64, 2048, 24), (330, 3, 300, 32),
    ],
)  # fmt: skip
def test_held_out_stretches_never_overlap_and_are_spread_evenly(
    val: int, context: int, tokens: int, batch: int
) -> None:
    data = counting(context + 1, val, context)
    batches = list(data.held_out(tokens, batch))
    for inputs, targets in batches:
        assert 1 <= len(inputs) <= batch
        assert inputs.shape == targets.shape == (len(inputs), context)
        assert torch.equal(targets, inputs + 1)
        assert torch.equal(inputs, inputs[:, :1] + torch.arange(context))
    assert all(len(inputs) == batch for inputs, _ in batches[:-1])
    predicted = torch.cat([targets.flatten() for _, targets in batches]).tolist()
    assert len(set(predicted)) == len(predicted), "a token is predicted twice"
    assert max(predicted) < val

    fitting = (val - 1) // context
    starts = [start for inputs, _ in batches for start in inputs[:, 0].tolist()]
    assert len(starts) == max(1, min(fitting, tokens // context))
    assert starts[0] == 0
    # in stretches: the free room between neighbours, and after the last one, differs by at most one stretch
    gaps = [b - a for a, b in pairwise([*(start // context for start in starts), fitting])]
    assert max(gaps) - min(gaps) <= 1
    again = list(data.held_out(tokens, batch))
    assert [pair[0].tolist() for pair in again] == [pair[0].tolist() for pair in batches]


def test_held_out_stretches_do_not_depend_on_the_batch_or_on_chance() -> None:
    data = counting(11, 700, 10)

    def rows(batch: int) -> torch.Tensor:
        torch.manual_seed(batch)
        return torch.cat([inputs for inputs, _ in data.held_out(300, batch)])

    assert torch.equal(rows(1), rows(7))
    assert torch.equal(rows(7), rows(1000))


@pytest.mark.parametrize("val", [2, 3, 8])
def test_a_held_out_text_shorter_than_the_context_is_one_stretch(val: int) -> None:
    [(inputs, targets)] = counting(50, val, 8).held_out(1000, 4)
    assert inputs.tolist() == [list(range(val - 1))]
    assert targets.tolist() == [list(range(1, val))]


@pytest.mark.parametrize(("tokens", "history"), [(1, 6), (300, 6), (10_000, 6), (300, 0)])
def test_pieces_are_the_stretches_after_what_goes_before_them(tokens: int, history: int) -> None:
    data = counting(11, 700, 10)
    measured = torch.cat([targets.flatten() for _, targets in data.held_out(tokens, 4)]).tolist()
    pieces = data.held_out_pieces(tokens, history)
    assert [token for ids, known in pieces for token in ids[known:].tolist()] == measured
    for ids, known in pieces:
        first = int(ids[known])
        assert ids.tolist() == list(range(max(0, first - history - 1), first + 10))


@pytest.mark.parametrize("val", [0, 1])
def test_without_a_pair_of_tokens_there_is_nothing_to_measure(val: int) -> None:
    assert list(counting(50, val, 8).held_out(1000, 4)) == []
    assert counting(50, val, 8).held_out_pieces(1000, 6) == []
