"""What a tokenizer is made of, as a checked value, and its form as a `tokenizer.json` of the `tokenizers` library.

Knows nothing of encoding text: that is tokenizer.py.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers

Split = Literal["char", "word", "words", "bpe"]

END_OF_TEXT = "<|endoftext|>"
READABLE = "only character, word and byte-level BPE tokenizers can be read"
END_MARKS = (END_OF_TEXT, "</s>", "<eos>", "[EOS]")  # what other tokenizers call the end of a text

# Oniguruma's syntax, the engine of the `tokenizers` library. Every pattern set matches each character exactly once.
CHARACTERS = r"[\s\S]"
_BREAK = r"\r\n\v\f\x{85}\x{2028}\x{2029}"
# A word with its inner apostrophes ("don't"), one line break, a run of other white space, or one other character.
WORDS = rf"\w+(?:['’]\w+)*|\r\n|[{_BREAK}]|[^\S{_BREAK}]+|[\s\S]"
# What stands between white space, or a run of line breaks; the blanks around them match nothing and are left out.
PLAIN_WORDS = rf"\S+|[{_BREAK}](?:[^\S{_BREAK}]*[{_BREAK}])*"
BLANK = b" "  # what decoding puts between two plain words


def byte_letters() -> list[str]:
    """GPT-2's visible letters for the 256 bytes, by byte: printable Latin-1 stays, the rest moves to U+0100 onwards."""
    stays = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    moved = iter(range(0x100, 0x200))
    return [chr(byte) if byte in stays else chr(next(moved)) for byte in range(256)]


BYTE_LETTERS = byte_letters()
BYTE_OF = {letter: byte for byte, letter in enumerate(BYTE_LETTERS)}


@dataclass(frozen=True)
class Vocabulary:
    """Tokens in the order of their ids, in the library's spelling (for "bpe", bytes are written in GPT-2's letters).

    Raises ValueError, with what is wrong as a clause ("token 7 is ..."), if the parts do not fit together.
    """

    split: Split
    tokens: tuple[str, ...]
    merges: tuple[tuple[str, str], ...] = ()
    specials: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        known = set(self.tokens)
        if len(known) != len(self.tokens):
            twice = next(token for token, count in Counter(self.tokens).items() if count > 1)
            raise ValueError(f"the token {twice!r} stands in the vocabulary twice")
        if missing := set(self.specials) - known:
            raise ValueError(f"the special token {min(missing)!r} is not in the vocabulary")
        plain = known.difference(self.specials)
        if not plain:
            raise ValueError("the vocabulary is empty")
        for token in known:
            if not token or any("\ud800" <= char <= "\udfff" for char in token):
                raise ValueError(f"the token {token!r} cannot be written as UTF-8 text")
        if self.split == "bpe":
            self._check_bytes(plain)
        elif self.split == "words":
            self._check_words(plain)
        elif self.split == "char" and (long := {token for token in plain if len(token) != 1}):
            raise ValueError(f"the token {min(long)!r} is not one character")

    def _check_words(self, plain: set[str]) -> None:
        cutter = pre_tokenizer("words")
        if odd := [token for token in plain if [piece for piece, _ in cutter.pre_tokenize_str(token)] != [token]]:
            raise ValueError(f"the token {min(odd)!r} is neither a word nor a line break")

    def _check_bytes(self, plain: set[str]) -> None:
        if absent := [byte for byte, letter in enumerate(BYTE_LETTERS) if letter not in plain]:
            raise ValueError(f"{len(absent)} of the 256 bytes have no token, so some text could not be written")
        for token in plain:
            if not all(letter in BYTE_OF for letter in token):
                raise ValueError(f"the token {token!r} is not written in the letters of byte-level BPE")
        for left, right in self.merges:
            if not {left, right, left + right} <= plain:
                raise ValueError(f"the merge of {left!r} and {right!r} names a token that is not in the vocabulary")

    @cached_property
    def fingerprint(self) -> str:
        """sha256 (hex) of all that decides the ids, so that it does not depend on the file a vocabulary came from."""
        parts = [self.split, self.tokens, self.merges, self.specials]
        return hashlib.sha256(json.dumps(parts, separators=(",", ":")).encode()).hexdigest()

    @property
    def end_of_text(self) -> int | None:
        """Id of the mark that ends a text, if there is one."""
        mark = next((mark for mark in END_MARKS if mark in self.specials), None)
        return None if mark is None else self.tokens.index(mark)

    def raw(self) -> list[bytes]:
        """The exact bytes of each token, by id."""
        if self.split != "bpe":
            return [token.encode() for token in self.tokens]
        special = set(self.specials)
        return [t.encode() if t in special else bytes(BYTE_OF[letter] for letter in t) for t in self.tokens]

    def backend(self) -> tokenizers.Tokenizer:
        """The tokenizer of the `tokenizers` library, set to never read a special token out of a text."""
        ids = {token: number for number, token in enumerate(self.tokens)}
        model: models.Model = models.BPE(ids, self.merges) if self.split == "bpe" else models.WordLevel(ids)
        backend = tokenizers.Tokenizer(model)
        backend.pre_tokenizer = pre_tokenizer(self.split)
        backend.decoder = self._decoder()
        backend.add_special_tokens([AddedToken(token, special=True) for token in self.specials])
        backend.encode_special_tokens = True
        return backend

    def _decoder(self) -> decoders.Decoder:
        """The library's way from tokens to text, the same as ours."""
        if self.split == "bpe":
            return decoders.ByteLevel()
        if self.split != "words":
            return decoders.Fuse()
        # The library's WordPiece puts a blank before each token but the first; those beside a break or mark go again.
        apart = "|".join([f"[{_BREAK}]", *map(re.escape, self.specials)])
        beside = Regex(rf" (?={apart})|(?<={apart}) ")
        return decoders.Sequence(
            [decoders.WordPiece(prefix=" ", cleanup=False), decoders.Fuse(), decoders.Replace(beside, "")]
        )


def pre_tokenizer(split: Split) -> pre_tokenizers.PreTokenizer:
    """The library's cutter for this kind: single characters, either sort of words, or GPT-2's byte-level pattern."""
    if split == "bpe":
        return pre_tokenizers.ByteLevel(add_prefix_space=False)
    if split == "words":
        return pre_tokenizers.Split(Regex(PLAIN_WORDS), "removed", invert=True)
    return pre_tokenizers.Split(Regex(CHARACTERS if split == "char" else WORDS), "isolated")


def from_tokenizer_json(text: str) -> Vocabulary:
    """The vocabulary in a `tokenizer.json`: ours, or another program's byte-level BPE that works as GPT-2's does.

    Raises ValueError with the reason as a clause, for a sentence such as "FILE cannot be read: {reason}".
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError("it is not a complete JSON file") from error
    if not isinstance(document, dict) or not isinstance(document.get("model"), dict):
        raise ValueError("it has no tokenizer model in it")
    if document.get("normalizer") is not None:
        raise ValueError("it changes the text before cutting it (a normalizer), so text would not come back as it was")
    model = document["model"]
    tokens = _tokens(model.get("vocab"), document.get("added_tokens") or [])
    specials = tuple(entry["content"] for entry in _by_id(document.get("added_tokens") or []))
    split = _split(document.get("pre_tokenizer"))
    wanted = "BPE" if split == "bpe" else "WordLevel"
    # Files from before 2020 leave the type of a BPE out.
    if model.get("type", "BPE") != wanted:
        raise ValueError(f"it has a {model.get('type')} model, and {READABLE}")
    odd = ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback", "ignore_merges")
    if split == "bpe" and (used := [name for name in odd if model.get(name)]):
        raise ValueError(f"its BPE uses {used[0]}, which is not supported")
    return Vocabulary(split, tokens, _merges(model.get("merges", [])) if split == "bpe" else (), specials)


def from_vocab_and_merges(vocab_json: str, merges_text: str, specials: Iterable[str]) -> Vocabulary:
    """GPT-2's older pair of files: ids by token as JSON; a version line and one merge a line. May raise ValueError."""
    version, *lines = merges_text.split("\n")
    if not version.startswith("#version"):
        raise ValueError("its list of merges does not begin with a version")
    return Vocabulary("bpe", _tokens(json.loads(vocab_json), []), _merges([*filter(None, lines)]), tuple(specials))


def _split(cutter: Any) -> Split:
    """Which of our ways of cutting this `pre_tokenizer` entry is; ValueError if none."""
    kind = cutter.get("type") if isinstance(cutter, dict) else None
    if kind == "ByteLevel":
        if cutter.get("add_prefix_space", True) or not cutter.get("use_regex", True):
            raise ValueError("it puts a space before every text or cuts it in another way than GPT-2 does")
        return "bpe"
    if cutter == {"type": "Split", "pattern": {"Regex": PLAIN_WORDS}, "behavior": "Removed", "invert": True}:
        return "words"
    if kind == "Split" and cutter.get("behavior") == "Isolated" and not cutter.get("invert"):
        if cutter.get("pattern") == {"Regex": CHARACTERS}:
            return "char"
        if cutter.get("pattern") == {"Regex": WORDS}:
            return "word"
    raise ValueError(f"it cuts text in a way of its own, and {READABLE}")


def _tokens(vocab: Any, added: Any) -> tuple[str, ...]:
    """Tokens in the order of their ids, added ones included."""
    if not isinstance(vocab, dict):
        raise ValueError("it has no table of tokens")
    by_token: dict[str, Any] = {**vocab, **{entry["content"]: entry["id"] for entry in _by_id(added)}}
    by_id = {number: token for token, number in by_token.items() if type(number) is int}
    if len(by_id) != len(by_token) or sorted(by_id) != list(range(len(by_id))):
        raise ValueError("its token ids do not count up from 0 without gaps")
    return tuple(by_id[number] for number in range(len(by_id)))


def _by_id(added: Any) -> list[dict[str, Any]]:
    """The `added_tokens` entries in order; ValueError if one is damaged or would be looked for in a user's text."""
    if not isinstance(added, list) or not all(
        isinstance(entry, dict) and type(entry.get("id")) is int and isinstance(entry.get("content"), str)
        for entry in added
    ):
        raise ValueError("its list of added tokens is damaged")
    if plain := [entry["content"] for entry in added if not entry.get("special")]:
        raise ValueError(f"it adds the token {plain[0]!r} outside its BPE, which is not supported")
    return sorted(added, key=lambda entry: int(entry["id"]))


def _merges(merges: Any) -> tuple[tuple[str, str], ...]:
    """Merges from either spelling, ["a", "b"] or "a b"."""
    try:
        pairs = [merge.split(" ") if isinstance(merge, str) else merge for merge in merges]
        if all(isinstance(left, str) and isinstance(right, str) for left, right in pairs):
            return tuple((left, right) for left, right in pairs)
    except (TypeError, ValueError):  # not a list, or an entry that is not a pair
        pass
    raise ValueError("its list of merges is damaged")
