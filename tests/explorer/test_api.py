"""The public endpoints, called as a program calls them: through gradio_client, against the launched app."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from gradio_client import Client  # type: ignore[import-untyped]
from gradio_client.exceptions import AppError  # type: ignore[import-untyped]

from explorer.limits import Limits
from explorer.server import Server
from model import trace
from model.beams import beam_search
from model.decoding import generate
from model.sampling import Settings
from tests.explorer.tiny import BPE, CHAR, CONTEXT, SAYS_NOTHING, in_a_loop, token

PUBLIC = {"/models", "/continue_text", "/next_token", "/branches", "/attention"}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory, weights: Path) -> Iterator[Any]:
    """The whole app, launched on a free port as `python app.py` launches it."""

    def launch() -> Any:
        app = importlib.import_module("app")
        limits = Limits(tokens_a_call=16)
        demo = app.build_app(tmp_path_factory.mktemp("runs"), limits, weights)
        demo.launch(server_name="127.0.0.1", prevent_thread_lock=True, quiet=True, **app.launch_options(limits))
        return demo

    demo = in_a_loop(launch)
    yield demo
    demo.close(verbose=False)


@pytest.fixture(scope="module")
def call(demo: Any) -> Iterator[Callable[..., Any]]:
    client = Client(demo.local_url, verbose=False)
    yield lambda name, **inputs: client.predict(**inputs, api_name=f"/{name}")
    client.close()


def refused(call: Callable[..., Any], name: str, **inputs: Any) -> str:
    """The sentence that a caller gets."""
    with pytest.raises(AppError) as error:
        call(name, **inputs)
    said = str(error.value)
    assert said[0].isupper()
    assert "upstream Gradio app" not in said  # what Gradio says in place of an error that nobody foresaw
    assert SAYS_NOTHING not in said
    return said


def test_only_the_named_endpoints_are_public(demo: Any) -> None:
    info = demo.get_api_info()
    assert set(info["named_endpoints"]) == PUBLIC
    assert info["unnamed_endpoints"] == {}
    for name, endpoint in info["named_endpoints"].items():
        assert endpoint["description"], name
        for parameter in endpoint["parameters"]:
            assert parameter["parameter_name"], name
            assert parameter["python_type"]["type"], name
    inputs = {p["parameter_name"] for p in info["named_endpoints"]["/continue_text"]["parameters"]}
    assert inputs == {"prompt", "model", "tokens", "temperature", "top_k", "top_p", "seed"}


def test_what_is_private_cannot_be_called(demo: Any, call: Callable[..., Any]) -> None:
    """Every other event of the page: hidden from the list and refused to a client."""
    others = [fn for fn in demo.fns.values() if f"/{fn.api_name}" not in PUBLIC]
    assert len(others) > 10
    assert {fn.api_visibility for fn in others} == {"private"}
    for name in {str(fn.api_name) for fn in others}:
        with pytest.raises(ValueError, match="Cannot find a function"):
            call(name)


def test_the_models_are_listed(demo: Any, call: Callable[..., Any]) -> None:
    listed = call("models")
    assert listed == demo.server_state.shelf.shipped()
    assert [item["ref"] for item in listed] == ["shipped:alpha", "shipped:beta"]


@pytest.mark.parametrize("name", ["alpha", "beta"])
def test_a_text_is_continued_as_the_generator_does(demo: Any, call: Callable[..., Any], name: str) -> None:
    """50 tokens, more than one call of the page may write."""
    tokenizer, view = (CHAR, BPE)[name == "beta"], demo.server_state.view(f"shipped:{name}")
    prompt = tokenizer.encode("the cat")
    settings: dict[str, Any] = {"temperature": 0.7, "top_k": 8, "top_p": 0.95, "seed": 11}
    written = prompt + list(generate(view.model, prompt, 50, Settings(**settings), tokenizer.end_of_text))
    reply = call("continue_text", prompt="the cat", model=f"shipped:{name}", tokens=50, **settings)
    assert set(reply) == {"text", "ids", "model", "unknown", "notice"}
    assert (reply["unknown"], reply["notice"]) == ([], None)
    assert reply["ids"] == written
    assert reply["text"] == tokenizer.decode(written)
    assert reply["model"] == view.summary()


def test_defaults_are_the_shipped_model_and_forty_tokens(call: Callable[..., Any]) -> None:
    reply = call("continue_text", prompt="the cat")
    assert reply["model"]["ref"] == "shipped:alpha"
    assert len(reply["ids"]) == 47
    assert call("continue_text", prompt="the cat", tokens=0)["text"] == "the cat"
    assert call("continue_text", prompt="the cat", temperature=0) == call(
        "continue_text", prompt="the cat", temperature=0
    )


def test_what_was_left_out_of_a_prompt_is_said(call: Callable[..., Any]) -> None:
    for name in ("continue_text", "next_token"):
        reply = call(name, prompt="thé cat")
        assert reply["unknown"] == ["é"]
        assert "left out" in reply["notice"]


def test_the_next_token_is_the_softmax_of_the_logits(demo: Any, call: Callable[..., Any]) -> None:
    view = demo.server_state.view("shipped:alpha")
    logits = trace(view.model, CHAR.encode("the cat")).logits[-1].double()
    raw, tempered = torch.softmax(logits, -1), torch.softmax(logits / 0.5, -1)
    reply = call("next_token", prompt="the cat", temperature=0.5, rows=6)
    assert [row["id"] for row in reply["rows"]] == raw.argsort(descending=True)[:6].tolist()
    for row in reply["rows"]:
        assert row["raw"] == pytest.approx(raw[row["id"]].item(), abs=1e-6)
        assert row["p"] == pytest.approx(tempered[row["id"]].item(), abs=1e-6)
        assert CHAR.encode(row["text"]) == [row["id"]]
    assert (reply["size"], reply["tail"]["count"]) == (CHAR.vocab_size, CHAR.vocab_size - 6)
    assert len(call("next_token", prompt="the cat")["rows"]) == min(20, CHAR.vocab_size)


def test_branches_are_those_of_the_search(demo: Any, call: Callable[..., Any]) -> None:
    view, ids = demo.server_state.view("shipped:alpha"), CHAR.encode("the cat")
    reply = call("branches", prompt="thé the cat", beams=3, tokens=5)
    assert set(reply) == {"hypotheses", "nodes", "pieces", "greedy", "unknown", "notice"}
    assert reply["unknown"] == ["é"]
    reply = call("branches", prompt="the cat", beams=3, tokens=5)
    assert (reply["unknown"], reply["notice"]) == ([], None)
    tree = beam_search(view.model, ids, 5, 3)
    assert [way["ids"] for way in reply["hypotheses"]] == [list(way.ids) for way in tree.hypotheses]
    assert [way["total"] for way in reply["hypotheses"]] == pytest.approx([w.total for w in tree.hypotheses], abs=1e-4)
    assert [node["total"] for node in reply["nodes"]] == pytest.approx([n.total for n in tree.nodes], abs=1e-4)
    assert reply["greedy"]["text"] == CHAR.decode(beam_search(view.model, ids, 5, 1).best.ids)


@pytest.mark.parametrize("text", ["t", "the cat", "the cat sat on the mat"])
def test_attention_rows_equal_the_trace(demo: Any, call: Callable[..., Any], text: str) -> None:
    view, ids = demo.server_state.view("shipped:alpha"), CHAR.encode(text)[-CONTEXT:]
    patterns = trace(view.model, ids).patterns
    for layer in range(2):
        for head in range(2):
            reply = call("attention", prompt=text, layer=layer, head=head)
            assert reply["tokens"] == [*text[-CONTEXT:]]
            assert len(reply["weights"]) == len(ids)
            for i, row in enumerate(reply["weights"]):
                assert len(row) == i + 1
                assert row == pytest.approx(patterns[layer, head, i, : i + 1].tolist(), abs=1e-7)
                assert sum(row) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("name", "inputs", "says"),
    [
        ("attention", {"prompt": "the cat", "layer": 2, "head": 0}, "layer is 2 and has to be from 0 to 1"),
        ("attention", {"prompt": "the cat", "layer": 0, "head": -1}, "head is -1"),
        ("attention", {"prompt": "the cat", "layer": 0.5, "head": 0}, "layer is '0.5'"),
        ("attention", {"prompt": "the cat", "layer": "0", "head": 0}, "layer is '0'"),
        ("attention", {"prompt": "", "layer": 0, "head": 0}, "give at least one"),
        ("attention", {"prompt": None, "layer": 0, "head": 0}, "has to be a text"),
        ("attention", {"prompt": "the " * 5001, "layer": 0, "head": 0}, "20,000 characters"),
        ("attention", {"prompt": "thé cat", "layer": 0, "head": 0}, "no token for “é”"),
        ("attention", {"prompt": "a", "layer": 0, "head": 0, "model": "shipped:gamma"}, "no shipped model"),
        ("attention", {"prompt": "a", "layer": 0, "head": 0, "model": "run:../../etc/passwd"}, "not here"),
        ("branches", {"prompt": "a", "beams": 9}, "beams is 9 and has to be from 1 to 8"),
        ("branches", {"prompt": "a", "tokens": 0}, "tokens is 0"),
        ("branches", {"prompt": None}, "has to be a text"),
        ("branches", {"prompt": "a", "model": "shipped:gamma"}, "no shipped model"),
        ("continue_text", {"prompt": "a", "model": "shipped:../alpha"}, "no shipped model"),
        ("continue_text", {"prompt": "a", "tokens": 1001}, "tokens is 1001 and has to be from 0 to 1000"),
        ("continue_text", {"prompt": "a", "tokens": -1}, "tokens is -1"),
        ("continue_text", {"prompt": "a", "temperature": -1}, "temperature is -1"),
        ("continue_text", {"prompt": "a", "top_p": 0}, "top_p is 0"),
        ("continue_text", {"prompt": "a", "seed": None}, "seed is 'None'"),
        ("continue_text", {"prompt": 5}, "The prompt is not a text"),
        ("continue_text", {"prompt": "the " * 5001}, "20,000"),
        ("next_token", {"prompt": "a", "rows": 0}, "rows is 0"),
        ("next_token", {"prompt": "a", "rows": 501}, "rows is 501"),
        ("next_token", {"prompt": "a", "model": 5}, "no such model"),
        ("next_token", {"prompt": None}, "neither a prompt nor a text"),
    ],
)
def test_errors_are_sentences(call: Callable[..., Any], name: str, inputs: dict[str, Any], says: str) -> None:
    assert says.lower() in refused(call, name, **inputs).lower()


def test_calls_from_outside_push_no_visitor_out(demo: Any, call: Callable[..., Any]) -> None:
    """Each call is no new visitor: a few hundred of them would make the server forget everybody's text."""
    server: Server = demo.server_state
    call("next_token", prompt="the cat")
    before = len(server.visitors)
    for _ in range(3):
        call("continue_text", prompt="the cat", tokens=40)
    assert len(server.visitors) == before
    server.visitors.get(token(1))
    assert len(server.visitors) == before + 1
