"""The tree of ways on as the page asks for it, against the search itself and against traces of its texts."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from explorer.branches import branches
from explorer.server import Server, answering
from model import GPT, save_checkpoint, trace
from model.beams import beam_search
from model.decoding import generate
from model.sampling import Settings
from tests.explorer.test_page_protocol import DOCUMENT, ROOT, documented, keys_of
from tests.explorer.tiny import BPE, CHAR, CONTEXT, over, paused_at_once, random_model, sentence, token, visitor
from tests.explorer.tiny import ask as decode

TEXT = CHAR.encode("the cat")


def try_to(server: Server, request: Any) -> dict[str, Any]:
    """`branches` behind the wrapper that app.py puts around it."""
    return answering(lambda raw: branches(server, raw))(request)


def ask(server: Server, who: int = 1, **fields: Any) -> dict[str, Any]:
    reply = try_to(server, {"session": token(who), "ids": TEXT, **fields})
    assert reply["ok"], reply["error"]
    return reply


def log_probability(model: GPT, ids: list[int], begins: int) -> float:
    """ln p of what stands from `begins` on, each token by a trace of what the model sees before it."""
    total = 0.0
    for at in range(begins, len(ids)):
        logits = trace(model, ids[max(0, at - model.config.context) : at]).logits[-1].double()
        total += torch.log_softmax(logits, -1)[ids[at]].item()
    return total


@pytest.mark.parametrize("length", [3, 7, CONTEXT - 2, CONTEXT + 5])
def test_every_number_is_the_models(server: Server, length: int) -> None:
    """Within the context, across its end and beyond it: each node's way, recomputed by traces."""
    model = server.shelf.open_shipped("alpha").model
    text = (TEXT * 3)[:length]
    found = ask(server, ids=text, beams=3, tokens=5)
    for node in found["nodes"]:
        way, at = [node["token"]], node["parent"]
        while at is not None:
            way.insert(0, found["nodes"][at]["token"])
            at = found["nodes"][at]["parent"]
        assert len(way) == node["depth"]
        assert node["total"] == pytest.approx(log_probability(model, text + way, length), abs=1e-4)
        assert node["logprob"] == pytest.approx(log_probability(model, text + way, length + len(way) - 1), abs=1e-4)
    for way in (*found["hypotheses"], found["greedy"], found["drawn"]):
        assert way["total"] == pytest.approx(log_probability(model, text + way["ids"], length), abs=1e-4)
        assert way["nats"] == pytest.approx(-way["total"] / len(way["ids"]), abs=1e-5)
        assert way["text"] == CHAR.decode(way["ids"])


def test_it_is_the_search_packed(server: Server) -> None:
    model = server.shelf.open_shipped("beta").model
    text = BPE.encode_known("the café").ids
    found = ask(server, model="shipped:beta", ids=text, beams=4, tokens=6, length_penalty=1)
    tree = beam_search(model, text, 6, 4, length_penalty=1.0, end=BPE.end_of_text)
    assert [(n["parent"], n["token"], n["depth"], n["state"], n["pruned"]) for n in found["nodes"]] == [
        (n.parent, n.token, n.depth, n.state, n.pruned) for n in tree.nodes
    ]
    assert [(way["ids"], way["node"]) for way in found["hypotheses"]] == [
        (list(w.ids), w.node) for w in tree.hypotheses
    ]
    assert [way["score"] for way in found["hypotheses"]] == pytest.approx([w.score for w in tree.hypotheses], abs=1e-5)
    seen = {node.token for node in tree.nodes}
    assert [number for number, *_ in found["pieces"]] == sorted(seen)
    for number, text_, kind in found["pieces"]:
        piece = BPE.piece(number)
        assert (text_, kind) == (piece.raw.hex(" ").upper() if piece.kind == "bytes" else piece.text, piece.kind)
    assert (found["model"], found["step"], found["ends"]) == ("shipped:beta", 7, True)
    assert ask(server)["ends"] is False


def test_beside_it_stand_the_greedy_and_the_drawn_text(server: Server) -> None:
    model = server.shelf.open_shipped("alpha").model
    settings = {"temperature": 0.8, "top_k": 9, "seed": 4}
    found = ask(server, tokens=8, settings=settings)
    assert found["greedy"]["ids"] == list(generate(model, TEXT, 8, Settings(temperature=0.0)))
    assert found["drawn"]["ids"] == list(generate(model, TEXT, 8, Settings(temperature=0.8, top_k=9, seed=4)))
    written = decode(server, ids=TEXT, append={"count": 8}, settings=settings)["ids"]
    assert written[len(TEXT) :] == found["drawn"]["ids"], "Write 8 writes something else"
    assert ask(server, tokens=8, beams=1)["hypotheses"][0]["ids"] == found["greedy"]["ids"]


def test_an_end_of_text_ends_a_way(server: Server, tmp_path: Path) -> None:
    model = random_model(BPE, tied_head=False, head_bias=True)
    end = BPE.end_of_text
    assert end is not None
    with torch.no_grad():
        model.head.bias[end] += 30.0
    save_checkpoint(tmp_path / "weights" / "short", model, BPE, {"name": "Short"})
    short = Server(tmp_path / "runs", tmp_path / "weights", server.limits)
    found = ask(short, ids=[5, 6], beams=2, tokens=4)
    assert found["hypotheses"][0]["ids"] == found["greedy"]["ids"] == found["drawn"]["ids"] == [end]
    assert found["hypotheses"][0]["text"] == found["greedy"]["text"] == ""
    assert all(way["ended"] for way in found["hypotheses"])
    assert found["nodes"][0]["state"] == "ended"
    short.jobs.close()


def test_a_run_that_goes_on_is_searched_at_the_step_of_its_text(server: Server) -> None:
    run = paused_at_once(server, steps=6)
    ref = f"run:{run.info.id}"
    begun = decode(server, model=ref, prompt="the cat")
    step, ids = begun["model"]["step"], begun["ids"]
    held = visitor(server).held(ref, step)
    assert held is not None
    before = ask(server, model=ref, step=step, ids=ids)
    assert run.trainer is not None
    run.trainer.resume()
    over(run)
    after = ask(server, model=ref, step=step, ids=ids)
    assert after == before
    assert after["step"] == step
    best = after["hypotheses"][0]
    assert best["total"] == pytest.approx(log_probability(held.model, ids + best["ids"], len(ids)), abs=1e-4)
    newest = ask(server, who=2, model=ref, step=step, ids=ids)
    assert newest["step"] != step, "another visitor never held that state, and is told so"


def test_the_visitors_decoder_stays_right(server: Server) -> None:
    """A search in between changes nothing of what is decoded before and after it."""
    alone = decode(server, who=2, ids=TEXT, append={"count": 3})
    decode(server, ids=TEXT)
    ask(server, tokens=12)
    assert decode(server, ids=TEXT, append={"count": 3}) == alone


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"beams": 0}, "beams is 0"),
        ({"beams": 9}, "from 1 to 8"),
        ({"beams": "4"}, "beams"),
        ({"tokens": 0}, "tokens is 0"),
        ({"tokens": 25}, "from 1 to 24"),
        ({"ids": []}, "neither a prompt nor a text"),
        ({"ids": None}, "neither a prompt nor a text"),
        ({"ids": [10**6]}, "a token"),
        ({"ids": [0] * 20_001}, "20,000"),
        ({"length_penalty": -1}, "length penalty"),
        ({"length_penalty": float("nan")}, "length penalty"),
        ({"length_penalty": 10**400}, "length penalty"),
        ({"length_penalty": "much"}, "length penalty"),
        ({"length_penalty": True}, "length penalty"),
        ({"settings": {"temperature": -1}}, "temperature"),
        ({"settings": 3}, "settings"),
        ({"model": "run:../etc"}, "not here"),
        ({"session": "me"}, "visitor id"),
    ],
)
def test_what_makes_no_sense_is_refused(server: Server, changes: dict[str, Any], said: str) -> None:
    assert said in sentence(try_to(server, {"session": token(1), "ids": TEXT, **changes})).lower()


def test_no_object_is_refused(server: Server) -> None:
    assert "reload" in sentence(try_to(server, [1]))


def test_a_search_that_would_take_too_long_is_refused(serve: Callable[..., Server]) -> None:
    """What it costs: each token read once within the context, whole windows beyond it, for beams, greedy and draw."""
    parameters = serve().shelf.open_shipped("alpha").model.config.parameters()
    within, beyond = 3 * 7 + 5 * 6, 3 * CONTEXT + 5 * 6 * CONTEXT
    for ids, cost in ((TEXT, within), (TEXT * 3, beyond)):
        fits, short = serve(branch_work=cost * parameters), serve(branch_work=cost * parameters - 1)
        assert ask(fits, ids=ids, beams=4, tokens=6)["nodes"]
        said = sentence(try_to(short, {"session": token(1), "ids": ids, "beams": 4, "tokens": 6}))
        assert "fewer beams" in said


def test_the_documented_keys_and_limits_are_those_of_the_code(server: Server) -> None:
    text = BPE.encode_known("the cat").ids
    assert keys_of(ask(server, model="shipped:beta", ids=text)) == documented("branches: reply")
    tree = ast.parse((ROOT / "explorer" / "branches.py").read_text(encoding="utf-8"))
    functions = [f for f in ast.walk(tree) if isinstance(f, ast.FunctionDef) and f.name in ("branches", "parse")]
    read = {key for f in functions for key in re.findall(r"\braw\.get\('(\w+)'", ast.unparse(f))}
    assert read == documented("branches: request")
    assert f"side by side, 1 to {server.limits.beams} (4)" in DOCUMENT
    assert f"look ahead, 1 to {server.limits.branch_tokens} (6)" in DOCUMENT
    assert ask(server) == ask(server, beams=4, tokens=6, length_penalty=0, settings={})
