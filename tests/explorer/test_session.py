"""Visitors: found by an id that cannot be guessed, forgotten when there are too many."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from explorer.server import Server
from explorer.session import Visitor, VisitorError, Visitors
from model import Tokenizer
from tests.explorer.tiny import CHAR, PATIENCE, TEXT, token
from training.config import Recipe
from training.corpus import from_text


def test_a_token_finds_its_visitor_again() -> None:
    visitors = Visitors(10, 2)
    one, two = visitors.get(token(1)), visitors.get(token(2))
    assert one is not two
    assert visitors.get(token(1)) is one
    assert len(visitors) == 2


@pytest.mark.parametrize(
    "value",
    [
        *[None, 0, True, 1.5, [], {}, b"v" + b"0" * 32, "", "v", "visitor", "0" * 33, "v" + "0" * 31, "v" + "0" * 33],
        *["v" + "0" * 31 + "G", "V" + "0" * 32, token(1) + "\n", "\n" + token(1), "v" + "٣" * 32, "v" + "F" * 32],
    ],
)
def test_anything_else_is_no_visitor(value: Any) -> None:
    visitors = Visitors(10, 2)
    with pytest.raises(VisitorError, match="reload"):
        visitors.get(value)
    assert len(visitors) == 0


def test_who_was_unseen_for_longest_goes_first() -> None:
    visitors = Visitors(3, 2)
    first, second, third = (visitors.get(token(n)) for n in (1, 2, 3))
    visitors.get(token(1))
    visitors.get(token(4))  # one too many: the second was unseen for longest
    assert len(visitors) == 3
    assert visitors.get(token(1)) is first
    assert visitors.get(token(3)) is third
    assert visitors.get(token(2)) is not second
    assert len(visitors) == 3


def test_many_threads_meet_one_visitor() -> None:
    visitors, gate = Visitors(50, 2), threading.Barrier(8)

    def arrive(_: int) -> list[Visitor]:
        gate.wait(PATIENCE)
        return [visitors.get(token(n)) for n in range(50)]

    with ThreadPoolExecutor(8) as threads:
        seen = list(threads.map(arrive, range(8)))
    assert all(row == seen[0] for row in seen)
    assert len(visitors) == 50


def test_the_owner_of_a_run_is_no_key_to_the_visitor() -> None:
    """What is written to disk and compared is a hash: the same for one token, and nothing of the token in it."""
    owners = {Visitor(token(n), 2).owner for n in range(20)}
    assert len(owners) == 20
    assert Visitor(token(5), 2).owner in owners
    assert all(token(n)[1:] not in owner and token(n)[-6:] not in owner[-6:] for n in range(20) for owner in owners)
    with pytest.raises(VisitorError):
        Visitors(5, 2).get(Visitor(token(1), 2).owner)


def test_tokenizers_are_learnt_once_for_each_text() -> None:
    visitor, built = Visitor(token(1), 2), []

    def build() -> Tokenizer:
        built.append(1)
        return CHAR

    text = from_text(TEXT)
    visitor.take_corpus(text)
    for vocab_size in (300, 300, 400):  # for characters the size is no choice
        assert visitor.tokenizer(Recipe(tokenizer="char", vocab_size=vocab_size), text, build) is CHAR
    assert len(built) == 1
    for vocab_size in (300, 300, 400):
        visitor.tokenizer(Recipe(tokenizer="bpe", vocab_size=vocab_size), text, build)
    assert len(built) == 3
    visitor.tokenizer(Recipe(tokenizer="char"), replace(text, text=TEXT.upper()), build)  # as a recipe cleans it
    assert len(built) == 4
    other = from_text(TEXT + "!")
    visitor.take_corpus(other)
    visitor.tokenizer(Recipe(tokenizer="char", vocab_size=300), text, build)  # learnt for the text before, slowly
    visitor.tokenizer(Recipe(tokenizer="char", vocab_size=300), other, build)
    assert len(built) == 6


def test_a_tokenizer_that_cannot_be_learnt_is_not_remembered() -> None:
    visitor, text = Visitor(token(1), 2), from_text(TEXT)
    with pytest.raises(ValueError, match="at most"):
        visitor.tokenizer(Recipe(tokenizer="bpe", vocab_size=5000), text, lambda: Tokenizer.bpe(TEXT, 5000))
    assert visitor.tokenizer(Recipe(tokenizer="bpe", vocab_size=5000), text, lambda: CHAR) is CHAR


def test_a_visitor_keeps_the_decoders_used_last(server: Server) -> None:
    visitor = Visitor(token(1), 2)
    alpha, beta = server.view("shipped:alpha"), server.view("shipped:beta")
    first = visitor.decoder(alpha)
    second = visitor.decoder(beta)
    assert visitor.decoder(alpha) is first
    assert visitor.held("shipped:alpha", 300) is alpha
    assert visitor.held("shipped:beta", 7) is beta
    newer = replace(alpha, step=301)
    visitor.decoder(newer)  # a third: beta was used longest ago
    assert visitor.held("shipped:beta", 7) is None
    assert visitor.decoder(alpha) is first
    assert visitor.decoder(beta) is not second


@pytest.mark.parametrize(
    ("ref", "step"),
    [("shipped:alpha", 299), ("shipped:alpha", None), ("shipped:alpha", "300"), ("shipped:alpha", [300]),
     ("shipped:beta", 300), (None, 300), (["shipped:alpha"], 300), (5, 5)],
)  # fmt: skip
def test_only_the_very_model_is_held(server: Server, ref: Any, step: Any) -> None:
    visitor = Visitor(token(1), 2)
    visitor.decoder(server.view("shipped:alpha"))
    assert visitor.held(ref, step) is None


def test_a_model_opened_anew_gets_a_decoder_of_its_own(server: Server) -> None:
    visitor = Visitor(token(1), 2)
    alpha = server.view("shipped:alpha")
    first = visitor.decoder(alpha)
    anew = replace(alpha)  # equal in ref and step, but another object: the file was written again, say
    second = visitor.decoder(anew)
    assert second is not first
    assert visitor.decoder(anew) is second
