"""The server side of "Where did it learn this?" and of the evaluation, against searches with plain strings."""

from __future__ import annotations

import ast
import json
import re
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from explorer.learnt import CHARACTERS, Learnt, segments, written
from explorer.server import Server, answering
from model import Tokenizer, save_checkpoint
from tests.explorer.test_page_protocol import ROOT, documented, keys_of
from tests.explorer.tiny import CHAR, TEXT, over, random_model, sentence, tiny_recipe, tiny_trainer, token
from training.corpus import Corpus, from_text
from training.data import prepare
from training.evaluate import evaluate
from training.kept import Texts, keep_text
from training.recital import recitals, recite
from training.runs import RunFolder, new_run_id
from training.setup import Prepared
from training.trainer import Trainer
from training.verbatim import Index, Piece

LEARNT = TEXT[: len(TEXT) * 9 // 10]
HELD_OUT = TEXT[len(LEARNT) :]
SAID = "the cat sat on the mat, said the dog to the fox"


@pytest.fixture
def learnt(server: Server, weights: Path, tmp_path: Path) -> Learnt:
    """The functions behind the cards, with an empty folder of shipped texts."""
    (tmp_path / "corpora").mkdir()
    return Learnt(server, weights, tmp_path / "corpora")


def ask(function: Callable[[Any], dict[str, Any]], who: int = 1, **fields: Any) -> dict[str, Any]:
    """A reply as the page gets it; a refusal fails the test."""
    reply = answering(function)({"session": token(who), **fields})
    assert reply["ok"], reply["error"]
    return reply


def refused(function: Callable[[Any], dict[str, Any]], request: Any) -> str:
    return sentence(answering(function)(request))


def trained(server: Server, texts: Texts | None, owner: str | None = None) -> str:
    """The ref of a run that is over; its text is kept where there is one."""
    run = over(server.jobs.submit(tiny_trainer(server.jobs.root, owner=owner)))
    if texts is not None:
        keep_text(run.folder.path, texts)
    return f"run:{run.info.id}"


def test_pieces_of_a_run_are_looked_up_in_the_text_it_learnt_from(server: Server, learnt: Learnt) -> None:
    ref = trained(server, Texts(LEARNT, HELD_OUT))
    ids = CHAR.encode(SAID)
    found = ask(learnt.learnt, model=ref, ids=ids, prompt_tokens=4)
    assert found["model"] == ref
    assert found["source"] == {
        "name": "tiny.txt",
        "characters": len(LEARNT),
        "left_out": 0,
        "held_out": len(HELD_OUT),
        "own": True,
    }
    assert "".join(part["text"] for part in found["segments"]) == SAID
    assert "".join(part["text"] for part in found["segments"] if part["prompt"]) == "the "
    least = found["thresholds"]["piece"]
    for piece in found["pieces"]:
        assert piece["text"] in SAID
        assert piece["count"] == sum(LEARNT.startswith(piece["text"], i) for i in range(len(LEARNT)))
        assert len(piece["text"]) >= least
    assert "the cat sat on the mat" in [piece["text"] for piece in found["pieces"]]
    own = [SAID.index(piece["text"]) for piece in found["pieces"]]  # each stands there once; the prompt is not written
    ends = [at + len(piece["text"]) for at, piece in zip(own, found["pieces"], strict=True)]
    assert found["longest"] == max(end - max(at, 4) for at, end in zip(own, ends, strict=True))
    copied = Index(LEARNT).copied(SAID.removeprefix("the "))
    assert found["copied"] == {
        "count": copied.copied,
        "total": copied.total,
        "share": copied.share,
        "units": "words",
    }
    assert found["kind"] == "new"
    assert found["characters"] == len(SAID) - 4


def test_what_was_held_out_is_not_where_it_learnt(server: Server, learnt: Learnt) -> None:
    ref = trained(server, Texts("the dog sat on the log.\n" * 20, "why, said the fox, did it?\n"))
    found = ask(learnt.learnt, model=ref, ids=CHAR.encode("why, said the fox, did it?"))
    assert (found["pieces"], found["copied"]["share"]) == ([], None)


def test_a_prompt_alone_is_nothing_learnt(server: Server, learnt: Learnt) -> None:
    ref = trained(server, Texts(LEARNT, ""))
    ids = CHAR.encode("the cat sat on the mat")
    found = ask(learnt.learnt, model=ref, ids=ids, prompt_tokens=len(ids))
    assert (found["kind"], found["characters"], found["longest"]) == ("nothing", 0, 0)
    assert [part["prompt"] for part in found["segments"]] == [True]
    assert found["segments"][0]["piece"] == 0, "its pieces are underlined all the same"


def test_places_are_where_they_say(server: Server, learnt: Learnt) -> None:
    ref = trained(server, Texts(LEARNT, HELD_OUT))
    piece = "why, said the fox"
    found = ask(learnt.places, model=ref, piece=piece)
    assert found["count"] == LEARNT.count(piece)
    assert len(found["places"]) == min(20, found["count"])
    lines = LEARNT.split("\n")
    for place in found["places"]:
        assert place["before"] + piece + place["after"] in LEARNT
        assert lines[place["line"] - 1].startswith(piece)
    assert ask(learnt.places, model=ref, piece="tulips") == {"ok": True, "count": 0, "unit": "line", "places": []}


def test_a_run_without_its_text_says_so_and_takes_the_one_in_the_corpus_tab(server: Server, learnt: Learnt) -> None:
    ref = trained(server, None)
    request = {"session": token(1), "model": ref, "ids": CHAR.encode(SAID)}
    assert "Corpus tab" in refused(learnt.learnt, request)
    assert "Corpus tab" in refused(learnt.places, request | {"piece": "the cat"})
    server.visitors.get(token(1)).take_corpus(from_text(TEXT, "my own.txt"))
    found = ask(learnt.learnt, model=ref, ids=CHAR.encode(SAID))
    assert (found["source"]["name"], found["source"]["own"]) == ("my own.txt", False)
    assert found["pieces"]
    assert "Corpus tab" in refused(learnt.learnt, request | {"session": token(2)})


def test_a_shipped_model_is_held_against_its_text(server: Server, learnt: Learnt, tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    about = {"name": "words.txt", "characters": len(TEXT)}
    save_checkpoint(folder / "own", random_model(CHAR), CHAR, {"name": "Own", "corpus": about})
    server = Server(tmp_path / "runs", folder, server.limits)
    (tmp_path / "corpora" / "words.txt").write_text(TEXT, encoding="utf-8")
    own = Learnt(server, folder, tmp_path / "corpora")
    found = ask(own.learnt, model="shipped:own", ids=CHAR.encode(SAID))
    assert found["source"]["characters"] + found["source"]["held_out"] == len(TEXT)
    assert found["source"]["held_out"] == pytest.approx(len(TEXT) / 10, abs=2)
    (tmp_path / "corpora" / "words.txt").write_text(TEXT + "more", encoding="utf-8")
    other = Learnt(server, folder, tmp_path / "corpora")
    assert "Corpus tab" in refused(
        other.learnt, {"session": token(1), "model": "shipped:own", "ids": CHAR.encode(SAID)}
    )


def test_on_a_shared_server_a_text_is_its_owners(serve: Callable[..., Server], weights: Path) -> None:
    server = serve(shared=True)
    learnt = Learnt(server, weights)
    ref = trained(server, Texts(LEARNT, ""), owner=server.visitors.get(token(1)).owner)
    ids = CHAR.encode(SAID)
    assert ask(learnt.learnt, who=1, model=ref, ids=ids)["pieces"]
    theirs = {"session": token(2), "model": ref, "ids": ids, "piece": "the cat"}
    for function in (learnt.learnt, learnt.places):
        assert "Only the browser" in refused(function, theirs)
    server.visitors.get(token(2)).take_corpus(from_text(TEXT))
    assert "Only the browser" in refused(learnt.learnt, theirs), "a text of one's own does not open another's run"


def test_a_text_is_indexed_once_and_few_are_kept(
    server: Server, learnt: Learnt, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[str] = []

    def counting(text: str, lines: bool) -> Index:
        built.append(text)
        return Index(text, lines=lines)

    monkeypatch.setattr("explorer.learnt.Index", counting)
    first = trained(server, Texts(LEARNT, ""))
    ids = CHAR.encode(SAID)
    threads = [threading.Thread(target=ask, args=(learnt.learnt,), kwargs={"model": first, "ids": ids}) for _ in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert built == [LEARNT]
    others = [f"text {i}. " * 20 for i in range(server.limits.indexed_texts)]
    for text in others:
        ask(learnt.learnt, model=trained(server, Texts(text, "")), ids=ids)
    assert built == [LEARNT, *others]
    ask(learnt.learnt, model=first, ids=ids)
    assert built == [LEARNT, *others, LEARNT], "the first one had to make room"


def written_whole(learnt: Learnt, **fields: Any) -> tuple[dict[str, Any], int]:
    """The result of `measure`, as the page asks for it, and after how many calls."""
    draft, calls = None, 0
    while True:
        reply = json.loads(json.dumps(ask(learnt.measure, draft=draft, **fields)))
        calls += 1
        assert (reply["result"] is None) == (reply["characters"] < CHARACTERS)
        if reply["result"]:
            return reply["result"], calls
        draft = reply["draft"]


def test_a_text_is_written_in_small_calls_and_measured(server: Server, learnt: Learnt) -> None:
    ref = trained(server, Texts(LEARNT, HELD_OUT))
    result, calls = written_whole(learnt, model=ref)
    assert calls >= CHARACTERS / 32
    text, reference = result["text"], result["reference"]["text"]
    assert len(text) == CHARACTERS
    assert result["reference"]["held_out"]
    assert reference in HELD_OUT
    index = Index(LEARNT)
    for column, measured in enumerate((evaluate(text, index), evaluate(reference, index))):
        assert measured.copied is not None
        expected = {
            "distinct_1": measured.distinct[1],
            "distinct_2": measured.distinct[2],
            "distinct_3": measured.distinct[3],
            "repetition": measured.repetition,
            "repeated_lines": measured.repeated_lines,
            "rhyme_density": measured.rhyme_density,
            "rhymed_lines": measured.rhymed_lines,
            "copied": measured.copied.share,
            "longest_copy": measured.longest_copy,
        }
        assert {name: pair[column] for name, pair in result["figures"].items()} == expected
    assert result["found"]["characters"] == CHARACTERS
    again, _ = written_whole(learnt, model=ref)
    assert again == result
    assert written_whole(learnt, model=ref, settings={"seed": 7})[0]["text"] != text


def test_without_held_out_text_the_copied_share_of_real_text_says_nothing(server: Server, learnt: Learnt) -> None:
    result, _ = written_whole(learnt, model=trained(server, Texts(TEXT, "")))
    assert not result["reference"]["held_out"]
    assert result["reference"]["text"] in TEXT
    assert result["figures"]["copied"][1] is result["figures"]["longest_copy"][1] is None
    assert result["figures"]["distinct_1"][1] == evaluate(result["reference"]["text"]).distinct[1]


def test_a_model_without_a_text_is_measured_by_itself(server: Server, learnt: Learnt) -> None:
    result, _ = written_whole(learnt, model=trained(server, None))
    assert result["found"] is None
    assert result["reference"] == {"text": "", "held_out": False}
    assert result["figures"]["copied"] == [None, None]
    assert result["figures"]["distinct_1"][0] is not None


def test_documents_are_written_one_after_the_other(server: Server, tmp_path: Path) -> None:
    """A model that ends its texts begins the next one by another draw, until there is enough."""
    ends = Tokenizer.char(TEXT, end_of_text=True)
    save_checkpoint(tmp_path / "weights" / "ends", random_model(ends), ends, {"name": "Ends"})
    server = Server(tmp_path / "runs", tmp_path / "weights", server.limits)
    learnt = Learnt(server, tmp_path / "weights")
    draft: dict[str, Any] | None = None
    result = None
    while result is None:
        reply = ask(learnt.measure, model="shipped:ends", draft=draft)
        draft, result = reply["draft"], reply["result"]
    assert draft is not None
    documents = draft["written"]
    assert len(documents) > 3
    assert len(set(documents)) > 3
    assert ends.decode([ends.end_of_text or 0]) not in result["text"]
    assert "\n".join(documents)[:200] == result["text"][:200]


@pytest.mark.parametrize("start_mark", [True, False])
def test_a_model_that_never_learnt_how_documents_begin_is_begun(
    server: Server, learnt: Learnt, start_mark: bool
) -> None:
    ref = own_run(server, POEMS, lengths=True, start_mark=start_mark)
    draft: dict[str, Any] | None = None
    result = None
    while result is None:
        reply = json.loads(json.dumps(ask(learnt.measure, model=ref, draft=draft)))
        draft, result = reply["draft"], reply["result"]
    assert draft is not None
    assert result["begun"] == (0 if start_mark else 2)
    view, written = server.view(ref), draft["written"]
    whole = "\n".join([*written, view.tokenizer.decode(draft["ids"] if not start_mark else draft["ids"][1:])])
    assert whole.startswith(result["text"])
    begun = [" ".join(poem.split()[:2]) for poem in POEMS]
    for number, document in enumerate(written):
        assert start_mark or document.startswith(begun[number % len(begun)])
    assert start_mark or result["text"].startswith(begun[0])


def test_a_word_that_the_prompt_began_counts_as_the_models() -> None:
    ids = CHAR.encode("the cat sat")
    assert written(CHAR, ids, 6) == ("the cat sat", 4)
    assert written(CHAR, ids, 4) == ("the cat sat", 4)
    assert written(CHAR, ids, 7) == ("the cat sat", 7)
    assert written(CHAR, ids, 0) == ("the cat sat", 0)
    assert written(CHAR, ids, 11) == ("the cat sat", 11)
    ends = Tokenizer.char(TEXT, end_of_text=True)
    assert ends.end_of_text is not None
    begun = [ends.end_of_text, *ends.encode("the cat"), ends.end_of_text]
    assert written(ends, begun, 1) == ("the cat", 0)


def test_segments_show_all_pieces_at_each_place_and_the_longest_of_them() -> None:
    pieces = [Piece(0, 4, 1), Piece(2, 9, 2), Piece(8, 10, 3)]
    found = segments("abcdefghijkl", 3, pieces)
    assert [(part["text"], part["piece"], part["around"], part["prompt"]) for part in found] == [
        ("ab", 0, [0], True),
        ("c", 1, [0, 1], True),
        ("d", 1, [0, 1], False),
        ("efgh", 1, [1], False),
        ("i", 1, [1, 2], False),
        ("j", 2, [2], False),
        ("kl", None, [], False),
    ]
    for number, piece in enumerate(pieces):
        assert (
            "".join(part["text"] for part in found if number in part["around"])
            == "abcdefghijkl"[piece.start : piece.end]
        )
    assert segments("", 0, []) == []


@pytest.mark.parametrize(
    "change",
    [
        {"session": "me"},
        {"model": "run:nothing"},
        {"ids": []},
        {"ids": [10**6]},
        {"ids": "the cat"},
        {"prompt_tokens": 900},
        {"piece": ""},
        {"piece": 7},
        {"draft": "so far"},
        {"draft": {"written": [1], "ids": [1]}},
        {"draft": {"written": ["x" * 200_000], "ids": [1]}},
        {"draft": {"written": [], "ids": []}},
        {"settings": {"temperature": "hot"}},
    ],
)
def test_requests_that_make_no_sense_are_refused(server: Server, learnt: Learnt, change: dict[str, Any]) -> None:
    good = {"session": token(1), "model": "shipped:alpha", "ids": [1, 2], "prompt_tokens": 1, "piece": "the"}
    server.visitors.get(token(1)).take_corpus(from_text(TEXT))
    functions = [learnt.learnt, learnt.places, learnt.measure]
    assert all(answering(function)(good)["ok"] for function in functions)
    replies = [answering(function)(good | change) for function in functions]
    assert [sentence(reply) for reply in replies if not reply["ok"]]
    for function in functions:
        refused(function, "not an object")


def test_measuring_leaves_room_for_others(server: Server, learnt: Learnt) -> None:
    """Each call writes some tokens and lets go; a text begun by somebody else is not disturbed."""
    one = ask(learnt.measure, who=1, model="shipped:alpha")
    assert one["characters"] <= 40
    other = ask(learnt.measure, who=2, model="shipped:alpha", settings={"seed": 5})
    assert (
        ask(learnt.measure, who=1, model="shipped:alpha", draft=one["draft"])["draft"]["ids"][
            : len(one["draft"]["ids"])
        ]
        == one["draft"]["ids"]
    )
    assert other["draft"] != one["draft"]
    assert server.decoding.acquire(blocking=False), "no call keeps its place"
    server.decoding.release()


def recited(learnt: Learnt, ref: str, **fields: Any) -> tuple[list[dict[str, Any]], dict[str, Any], int]:
    """All outcomes of `by_heart`, as the page gathers them, the last reply, and the number of calls."""
    outcomes: list[dict[str, Any]] = []
    draft, calls = None, 0
    while True:
        reply = json.loads(json.dumps(ask(learnt.by_heart, model=ref, draft=draft, **fields)))
        calls += 1
        outcomes += reply["outcomes"]
        assert reply["done"] == len(outcomes)
        draft = reply["draft"]
        if draft is None:
            assert reply["done"] == reply["asked"]
            return outcomes, reply, calls


def outcome_of(learnt: Learnt, server: Server) -> dict[str, Any]:
    return recited(learnt, trained(server, Texts(LEARNT, "")))[0][0]


POEMS = tuple(f"poem {word} has a cat, a dog and\nthe fox on a log" for word in ("one", "two", "six", "ten", "nine"))


def own_run(server: Server, documents: Sequence[str], lengths: bool, start_mark: bool = True) -> str:
    """The ref of a run, cut into documents, whose text is kept; its vocabulary has an end."""
    recipe = tiny_recipe(cut="documents", start_mark=start_mark, val_fraction=0.0, context=64, tokenizer="char")
    text = "\n".join(documents)
    about = {"name": "poems.txt", "source": "file", "characters": len(text), "notes": []}
    folder = RunFolder.create(server.jobs.root / new_run_id("poems"), "poems", recipe, about, None)
    tokenizer = Tokenizer.char(text, end_of_text=True)
    data = prepare(Corpus("poems.txt", text, "file", "UTF-8", documents=tuple(documents)), tokenizer, recipe)
    run = over(server.jobs.submit(Trainer(folder, Prepared(recipe, tokenizer, data))))
    keep_text(run.folder.path, Texts(text, "", tuple(map(len, documents)) if lengths else None))
    return f"run:{run.info.id}"


def test_documents_are_asked_for_by_heart_as_at_the_console(server: Server, learnt: Learnt) -> None:
    """Calls of a few tokens give the very outcomes of one go, documents of several lines stay whole, and start marks
    are put where the training put them."""
    for start_mark in (True, False):
        ref = own_run(server, POEMS, lengths=True, start_mark=start_mark)
        outcomes, reply, calls = recited(learnt, ref)
        assert (reply["unit"], reply["asked"]) == ("documents", len(POEMS))
        assert calls > 1
        view = server.view(ref)
        expected = list(recitals(view.model, view.tokenizer, POEMS, 6, start_mark))
        assert [(one["given"], one["written"]) for one in outcomes] == [(one.given, one.written) for one in expected]
        whole = recite(view.model, view.tokenizer, POEMS, 6, start_mark)
        assert sum(one["exact"] for one in outcomes) == whole.exact * whole.asked
        assert sum(one["ended"] for one in outcomes) == whole.stopped * whole.asked
        for poem, one in zip(POEMS, outcomes, strict=True):
            assert one["given"] + one["expected"] == poem[: len(one["given"]) + len(one["written"]) + 200]
            assert len(one["given"].split()) == 6


def test_some_documents_are_asked_for_or_all_of_them(
    server: Server, learnt: Learnt, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = own_run(server, [*POEMS, "too short"], lengths=True)
    monkeypatch.setattr("explorer.recitals.DOCUMENTS", 2)
    some, reply, _ = recited(learnt, ref)
    assert (len(some), reply["asked"], reply["of"]) == (2, 2, len(POEMS))
    every, reply, _ = recited(learnt, ref, all=True)
    assert (len(every), reply["asked"], reply["of"]) == (len(POEMS), len(POEMS), len(POEMS))
    assert [one["given"] for one in every] == [" ".join(poem.split()[:6]) for poem in POEMS]


def test_lines_are_asked_for_where_the_text_was_cut_into_blocks(server: Server, learnt: Learnt) -> None:
    text = "".join(f"{'the cat sat on the log ' * (i % 3)}\n" for i in range(300))
    outcomes, reply, _ = recited(learnt, trained(server, Texts(text, "")))
    assert (reply["unit"], reply["asked"], len(outcomes)) == ("lines", 60, 60)
    for one in outcomes:
        assert one["given"] == "the cat sat on the log"
        assert "\n" not in one["written"]
        assert not one["longer"], "over a stream the window moves on"


def test_what_has_no_text_of_its_own_cannot_be_asked(server: Server, learnt: Learnt) -> None:
    request = {"session": token(1), "model": trained(server, None)}
    assert "did not come with it" in refused(learnt.by_heart, request)
    server.visitors.get(token(1)).take_corpus(from_text(TEXT, "my own.txt"))
    assert "did not come with it" in refused(learnt.by_heart, request), "another text was not learnt by heart"
    short = trained(server, Texts("the cat sat\n" * 50, ""))
    assert "more than 6 words" in refused(learnt.by_heart, request | {"model": short})


@pytest.mark.parametrize(
    "draft",
    ["here", {"document": 60, "ids": []}, {"document": -1, "ids": []}, {"document": 0}, {"document": 0, "ids": [10**6]},
     {"ids": []}],
)  # fmt: skip
def test_a_draft_by_heart_that_makes_no_sense_is_refused(server: Server, learnt: Learnt, draft: Any) -> None:
    ref = trained(server, Texts(LEARNT, ""))
    refused(learnt.by_heart, {"session": token(1), "model": ref, "draft": draft})
    assert server.decoding.acquire(blocking=False), "no call keeps its place"
    server.decoding.release()


def test_on_a_shared_server_nobody_else_is_told_a_text_by_heart(serve: Callable[..., Server], weights: Path) -> None:
    server = serve(shared=True)
    ref = trained(server, Texts(LEARNT, ""), owner=server.visitors.get(token(1)).owner)
    learnt = Learnt(server, weights)
    assert ask(learnt.by_heart, who=1, model=ref)["asked"]
    assert "Only the browser" in refused(learnt.by_heart, {"session": token(2), "model": ref})


def test_five_thousand_characters(server: Server, learnt: Learnt) -> None:
    """As begun with a thousand; any other length is refused."""
    ref, length = trained(server, Texts(LEARNT, HELD_OUT)), 5000
    draft, result = None, None
    while result is None:
        reply = ask(learnt.measure, model=ref, wanted=length, draft=draft)
        assert reply["wanted"] == length
        draft, result = reply["draft"], reply["result"]
    assert len(result["text"]) == length
    assert result["text"].startswith(written_whole(learnt, model=ref)[0]["text"])
    for wrong in (0, 999, 2000, 10**6, "5000", True, None):
        refused(learnt.measure, {"session": token(1), "model": ref, "wanted": wrong})


def test_the_replies_are_as_documented(server: Server, learnt: Learnt) -> None:
    ref = trained(server, Texts(LEARNT, HELD_OUT))
    reply = ask(learnt.learnt, model=ref, ids=CHAR.encode(SAID))
    assert keys_of(reply) == documented("learnt: reply")
    assert keys_of(ask(learnt.places, model=ref, piece="the cat")) == documented("places: reply")
    result, _ = written_whole(learnt, model=ref)
    whole = {**ask(learnt.measure, model=ref), "result": {**result, "found": None}}
    assert keys_of(whole) == documented("measure: reply")
    assert set(result["found"]) == set(reply) - {"ok", "model"}
    asked = ask(learnt.by_heart, model=ref)
    assert asked["draft"] is not None
    assert keys_of({**asked, "outcomes": [outcome_of(learnt, server)]}) == documented("by_heart: reply")


@pytest.mark.parametrize("name", ["learnt", "places", "measure", "by_heart"])
def test_the_keys_that_the_code_reads_are_those_documented(name: str) -> None:
    tree = ast.parse((ROOT / "explorer" / "learnt.py").read_text(encoding="utf-8"))
    read: set[str] = set()
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef) and function.name in (name, "_asked"):
            read |= set(re.findall(r"\b(?:raw|request)\.get\('(\w+)'", ast.unparse(function)))
    assert read == documented(f"{name}: request")
