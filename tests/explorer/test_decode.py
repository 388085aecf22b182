"""Decoding as the page asks for it, against the trace of the same ids and against the model room's own generator."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from explorer import text
from explorer.server import Server
from model import Trace, trace
from model.decoding import generate
from model.sampling import Settings
from tests.explorer.tiny import BPE, CHAR, CONTEXT, ask, exact_rows, map_rows, same_maps, sentence, token, try_to

PROMPT = "the cat"


def model_of(server: Server, name: str = "alpha") -> Any:
    return server.shelf.open_shipped(name).model


def truth(server: Server, ids: list[int], name: str = "alpha") -> Trace:
    """The trace of what the model sees of a text."""
    model = model_of(server, name)
    return trace(model, torch.tensor(ids[-model.config.context :]))


def same_numbers(reply: dict[str, Any], run: Trace) -> None:
    """Everything in a reply that a trace knows too. The reply has to hold rows, all of them right."""
    maps, exact, start = reply["maps"], reply["exact"], reply["maps"]["start"]
    assert (maps["to"], maps["to"] - start) == (len(reply["ids"]), len(run.tokens))
    assert (exact["start"], exact["to"]) == (start, maps["to"])
    same_maps(map_rows(maps), run.patterns, start)
    for position, row in exact_rows(exact).items():
        i = position - start
        assert np.allclose(row, run.patterns[exact["layer"], exact["head"], i, : i + 1].numpy(), atol=1e-6)
    raw = torch.softmax(run.logits[-1].double(), dim=-1)
    for listed in reply["next"]["rows"]:
        assert listed["raw"] == pytest.approx(raw[listed["id"]].item(), abs=1e-6)
    assert reply["next"]["rows"][0]["id"] == int(raw.argmax())
    assert reply["next"]["position"] == len(reply["ids"])


# A prompt


@pytest.mark.parametrize("head", [[0, 0], [0, 1], [1, 0], [1, 1]])
def test_a_prompt_gets_the_numbers_of_its_trace(server: Server, head: list[int]) -> None:
    reply = ask(server, prompt=PROMPT, head=head, rows=CHAR.vocab_size)
    assert reply["ids"] == CHAR.encode(PROMPT)
    assert reply["pieces"] == [(c, "space" if c == " " else "text") for c in PROMPT]
    assert (reply["prompt_tokens"], reply["ended"], reply["notice"], reply["unknown"]) == (7, False, None, [])
    assert [reply["exact"]["layer"], reply["exact"]["head"]] == head
    assert list(map_rows(reply["maps"])) == list(exact_rows(reply["exact"])) == list(range(7))
    same_numbers(reply, truth(server, reply["ids"]))


def test_the_reply_is_plain_json(server: Server) -> None:
    reply = ask(server, prompt=PROMPT, append={"count": 3})
    again = json.loads(json.dumps(reply, allow_nan=False))
    assert again["maps"] == reply["maps"]
    assert again["next"] == reply["next"]


def test_the_model_is_described(server: Server) -> None:
    model = model_of(server)
    assert ask(server, prompt=PROMPT)["model"] == {
        "ref": "shipped:alpha", "name": "Alpha", "source": "shipped", "layers": 2, "heads": 2, "width": 16,
        "context": CONTEXT, "vocab_size": CHAR.vocab_size, "vocab_word": "characters",
        "parameters": sum(p.numel() for p in model.parameters()), "step": 300, "loss": 1.5, "loss_kind": "validation",
        "bits_per_byte": 2.2,
    }  # fmt: skip
    beta = ask(server, prompt="cat", model="shipped:beta")["model"]
    assert (beta["name"], beta["vocab_word"], beta["loss"], beta["loss_kind"]) == ("beta", "tokens", 3.5, "training")


def test_a_model_can_begin_by_itself(server: Server) -> None:
    """With the words that suit it, as if somebody had typed them."""
    wanted = ask(server, prompt=text.PROMPT)
    assert wanted["prompt"] == text.PROMPT
    assert ask(server, opening=True) == ask(server, opening=True, prompt="the cat", ids=[1]) == wanted
    for no in (None, False, 1, "true", [True]):  # anything but true
        assert ask(server, opening=no, prompt="the cat") == ask(server, prompt="the cat")
    assert ask(server, ids=[1])["prompt"] is None


def test_windows_line_ends_are_line_breaks(server: Server) -> None:
    assert ask(server, prompt="cat\r\nmat")["ids"] == CHAR.encode("cat\nmat")


def test_what_the_vocabulary_lacks_is_left_out_and_named(server: Server) -> None:
    reply = ask(server, prompt="thé cat ✓ sat é\ud800")
    assert reply["unknown"] == ["é", "✓", "\ufffd"]
    assert reply["ids"] == CHAR.encode("th cat  sat ")
    assert reply["notice"] is None  # the page says it where it shows them, once
    same_numbers(reply, truth(server, reply["ids"]))


@pytest.mark.parametrize("prompt", ["", "éé", "✓"])
def test_without_a_usable_prompt_the_text_begins_by_itself(server: Server, prompt: str) -> None:
    reply = ask(server, prompt=prompt)
    assert reply["ids"] == CHAR.encode("\n")
    assert reply["notice"].startswith("Nothing of the prompt is left, so" if prompt else "Without a prompt")
    assert reply["unknown"] == sorted(set(prompt))
    same_numbers(reply, truth(server, reply["ids"]))
    bpe = ask(server, prompt="", model="shipped:beta", append={"count": 2})
    assert (bpe["ids"][0], len(bpe["ids"]), bpe["prompt_tokens"]) == (BPE.end_of_text, 3, 1)


def test_a_prompt_longer_than_the_context_is_read_through_its_end(server: Server) -> None:
    prompt = "the cat sat on the mat and the dog"
    reply = ask(server, prompt=prompt)
    assert (len(reply["ids"]), reply["prompt_tokens"]) == (34, 34)
    assert "34 tokens" in reply["notice"]
    assert f"last {CONTEXT} " in reply["notice"]
    assert (reply["maps"]["start"], reply["maps"]["from"], reply["maps"]["to"]) == (22, 22, 34)
    same_numbers(reply, truth(server, reply["ids"]))


def test_a_prompt_may_have_20_000_characters_and_not_one_more(server: Server) -> None:
    assert len(ask(server, prompt="the " * 5000)["ids"]) == 20_000
    error = sentence(try_to(server, {"session": token(1), "prompt": "the " * 5000 + "!"}))
    assert "20,001 characters" in error
    assert "20,000" in error
    assert str(CONTEXT) in error


# Writing on


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"temperature": 0},
        {"temperature": 0.7, "top_k": 5, "seed": 7},
        {"top_p": 0.8, "min_p": 0.05, "seed": 2**53},
        {"repetition_penalty": 1.5, "temperature": 1.3},
    ],
    ids=str,
)
def test_appending_writes_what_the_generator_writes(server: Server, settings: dict[str, Any]) -> None:
    """30 tokens over a context of 12: in one call, and in calls of 1, 2 and 27 by their ids."""
    prompt = CHAR.encode(PROMPT)
    wanted = prompt + list(generate(model_of(server), prompt, 30, Settings(**settings)))
    whole = ask(server, prompt=PROMPT, append={"count": 30}, settings=settings)
    assert whole["ids"] == wanted
    assert whole["prompt_tokens"] == 7
    reply = ask(server, who=2, prompt=PROMPT, settings=settings)
    for count in (1, 2, 27):
        assert reply["next"]["drawn"]["id"] == wanted[len(reply["ids"])]  # what is announced is what comes
        reply = ask(
            server, who=2, ids=reply["ids"], prompt_tokens=7, append={"count": count}, settings=settings
        )  # fmt: skip
    assert reply["ids"] == wanted
    assert reply["next"] == whole["next"]
    same_numbers(reply, truth(server, wanted))


def test_a_chosen_token_is_the_next_one(server: Server) -> None:
    prompt = CHAR.encode(PROMPT)
    for chosen in (0, 5, CHAR.vocab_size - 1):
        reply = ask(server, ids=prompt, prompt_tokens=7, append={"choose": chosen}, have={"maps": 7, "exact": 7})
        assert reply["ids"] == [*prompt, chosen]
        assert (reply["maps"]["from"], reply["exact"]["from"], reply["maps"]["to"]) == (7, 7, 8)
        same_numbers(reply, truth(server, reply["ids"]))


def test_the_seed_alone_decides(serve: Callable[..., Server]) -> None:
    written = {}
    for seed in range(4):
        replies = [ask(serve(), prompt=PROMPT, append={"count": 20}, settings={"seed": seed}) for _ in range(2)]
        assert replies[0] == replies[1]
        written[seed] = tuple(replies[0]["ids"])
    assert len(set(written.values())) == 4


def test_going_back_and_forth_gives_what_a_fresh_visitor_gets(server: Server) -> None:
    ids = ask(server, prompt=PROMPT, append={"count": 20})["ids"]
    walk = random.Random(4)
    for fresh, length in enumerate([1, 26, 12, 13, 11, 27, *(walk.randrange(1, 28) for _ in range(20))], 10):
        part = {"ids": ids[:length], "prompt_tokens": 7, "head": [length % 2, 1]}
        reply, other = ask(server, **part), ask(server, who=fresh, **part)
        same_numbers(reply, truth(server, ids[:length]))
        assert (reply["ids"], reply["next"]["drawn"]["id"]) == (other["ids"], other["next"]["drawn"]["id"])


def test_another_end_of_the_text_is_read_anew(server: Server) -> None:
    left = ask(server, prompt="the cat sat")
    right = ask(server, ids=left["ids"][:6] + CHAR.encode("og"), have={"maps": 6, "exact": 6})
    assert right["maps"]["from"] == 6
    same_numbers(right, truth(server, right["ids"]))


# What the page holds already


def test_rows_that_the_page_holds_are_not_sent_again(server: Server) -> None:
    """A page that keeps the rows it gets, by their `start`, has all of them at every step, the slid window's too."""
    reply = ask(server, prompt=PROMPT)
    held: dict[int, dict[int, Any]] = {0: {**map_rows(reply["maps"])}}
    ids = reply["ids"]
    for count in (1, 1, 2, 1, 1, 3, 1):
        start = max(0, len(ids) + count - CONTEXT)
        have = len(held.get(start, {}))
        reply = ask(server, ids=ids, prompt_tokens=7, append={"count": count}, have={"maps": have, "exact": have})
        ids = reply["ids"]
        assert reply["maps"]["start"] == reply["exact"]["start"] == start
        assert reply["maps"]["from"] == reply["exact"]["from"] == (start + have if start == 0 else start)
        held.setdefault(start, {}).update(map_rows(reply["maps"]))
        run = truth(server, ids)
        assert sorted(held[start]) == list(range(start, len(ids)))
        same_maps(held[start], run.patterns, start)
        same_numbers(reply, run)
    assert len(ids) == 17


@pytest.mark.parametrize("length", [5, 12, 15])
@pytest.mark.parametrize(("maps", "exact"), [(0, 0), (3, 1), (1, 4), (4, 4), (12, 12), (99, 20_000)])
def test_have_counts_rows_of_the_same_window(server: Server, length: int, maps: int, exact: int) -> None:
    ids = CHAR.encode("the cat sat on the mat"[:length])
    reply = ask(server, ids=ids, have={"maps": maps, "exact": exact})
    start = max(0, length - CONTEXT)
    assert reply["maps"]["from"] == min(length, start + maps)
    assert reply["exact"]["from"] == min(length, start + exact)
    assert len(map_rows(reply["maps"])) == max(0, min(length, CONTEXT) - maps)
    same_numbers(reply, truth(server, ids))


def test_a_window_that_slid_sends_every_row(server: Server) -> None:
    ids = CHAR.encode("the cat sat ")
    assert len(ids) == CONTEXT
    reply = ask(server, ids=ids, append={"count": 1}, have={"maps": 12, "exact": 12})
    assert (reply["maps"]["start"], reply["maps"]["from"], reply["maps"]["to"]) == (1, 1, 13)
    same_numbers(reply, truth(server, reply["ids"]))
    back = ask(server, ids=ids, have={"maps": 12, "exact": 0})
    assert (back["maps"]["start"], back["maps"]["from"], back["maps"]["cells"]) == (0, 12, "")
    same_numbers(back, truth(server, ids))


# The end


def test_end_of_text_ends_the_writing(server: Server) -> None:
    end = BPE.end_of_text
    begun = ask(server, prompt="the cat", model="shipped:beta")
    more: dict[str, Any] = {"model": "shipped:beta", "prompt_tokens": len(begun["ids"])}
    reply = ask(server, ids=begun["ids"], append={"choose": end}, **more)
    assert reply["ids"][-1] == end
    assert reply["ended"]
    assert reply["pieces"][-1][1] == "special"
    after = ask(server, ids=reply["ids"], append={"count": 5}, **more)
    assert (after["ids"], after["ended"]) == (reply["ids"], True)
    assert not ask(server, ids=reply["ids"][:-1], **more)["ended"]


def test_a_drawn_end_of_text_ends_the_writing(server: Server) -> None:
    """The same call at many seeds: wherever the mark comes up, the text stops with it."""
    stopped = 0
    prompt = BPE.encode("the cat")
    for seed in range(10):
        settings = {"seed": seed, "temperature": 10}
        reply = ask(server, prompt="the cat", model="shipped:beta", append={"count": 60}, settings=settings)
        written = list(generate(model_of(server, "beta"), prompt, 60, Settings(**settings), BPE.end_of_text))
        assert reply["ids"] == prompt + written
        assert reply["ended"] == (written[-1] == BPE.end_of_text)
        stopped += reply["ended"]
    assert 0 < stopped < 10


def test_a_prompt_that_spells_the_mark_is_text(server: Server) -> None:
    reply = ask(server, prompt="<|endoftext|>", model="shipped:beta")
    assert BPE.end_of_text not in reply["ids"]
    assert not reply["ended"]


def test_a_text_grows_up_to_its_limit(serve: Callable[..., Server]) -> None:
    server = serve(text_tokens=20)
    reply = ask(server, prompt=PROMPT, append={"count": 64})
    assert (len(reply["ids"]), reply["ended"]) == (20, True)
    request = {"session": token(1), "ids": reply["ids"], "append": {"choose": 1}}
    assert "20 are the most" in sentence(try_to(server, request))
    assert "20 are the most" in sentence(try_to(server, {**request, "ids": [0] * 21, "append": None}))
    assert "20 are the most" in sentence(try_to(server, {"session": token(1), "prompt": "the cat sat on the mat"}))
    assert not ask(server, ids=reply["ids"][:-1])["ended"]
