"""Requests that anybody can send: each that makes no sense gets a sentence, and none of them breaks anything."""

from __future__ import annotations

import json
import logging
import math
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from explorer.limits import Limits
from explorer.server import Server, answering
from tests.explorer.tiny import CHAR, CONTEXT, ask, sentence, token, try_to

IDS = CHAR.encode("the cat")
V = CHAR.vocab_size
NOT_WHOLE: list[Any] = ["7", "", True, 1.5, math.nan, math.inf, -math.inf, [1], {"a": 1}]
HUGE: list[Any] = [2**31, 2**63, 2**200, 1e300]

NO_TEXT: list[Any] = [5, 0, False, True, 1.5, ["a"], {"a": 1}]
NO_LIST: list[Any] = [None, [], {}, "abc", 5, True]
NO_OBJECT: list[Any] = [5, "one", [1], True, math.nan]

NO_SETTING: list[Any] = ["1", "", None, True, math.nan, math.inf, -math.inf, [1], {}, -1, -1e300, 10**400]

MALFORMED: list[tuple[str, Any, str]] = [
    *[("prompt", value, "prompt is not a text") for value in NO_TEXT],
    *[("ids", value, "neither a prompt nor a text") for value in NO_LIST],
    *[("ids", [1, value], "a token is") for value in (*NOT_WHOLE, None, -1, V, *HUGE)],
    ("ids", [0] * 20_001, "20,000 are the most"),
    *[("prompt_tokens", value, "prompt_tokens is") for value in (*NOT_WHOLE, None, -1, *HUGE)],
    *[("append", value, "what to write") for value in NO_OBJECT],
    *[("append", {"count": value}, "count is") for value in (*NOT_WHOLE, None, -1, 65, *HUGE)],
    *[("append", {"choose": value}, "the chosen token is") for value in (*NOT_WHOLE, -1, V, *HUGE)],
    *[("settings", value, "settings are not an object") for value in NO_OBJECT],
    *[
        ("settings", {name: value}, name)
        for name in ("temperature", "top_k", "top_p", "min_p", "repetition_penalty", "seed")
        for value in NO_SETTING
    ],
    *[("settings", {"temperature": value}, "temperature") for value in (10.01, 2**63)],
    *[("settings", {name: 1.5}, name) for name in ("top_k", "seed", "top_p", "min_p")],
    *[("settings", {"top_p": value}, "top_p") for value in (0, 1.01)],
    *[("settings", {"seed": value}, "seed") for value in (2**63, 1e300)],
    *[("head", value, "no head") for value in (5, "ab", [0], [0, 0, 0], {"0": 0, "1": 0}, True)],
    *[("head", [value, 0], "the layer is") for value in (*NOT_WHOLE, None, -1, 2, *HUGE)],
    *[("head", [0, value], "the head is") for value in (*NOT_WHOLE, None, -1, 2, *HUGE)],
    *[("have", value, "what to write") for value in NO_OBJECT],
    *[("have", {"maps": value}, "have.maps is") for value in (*NOT_WHOLE, None, -1, *HUGE)],
    *[("have", {"exact": value}, "have.exact is") for value in (*NOT_WHOLE, None, -1, *HUGE)],
    *[("rows", value, "rows is") for value in (*NOT_WHOLE, None, 0, -1, 501, *HUGE)],
    *[("session", value, "visitor id") for value in (None, 5, True, "", "v", [token(1)], {"a": 1})],
    *[("session", value, "visitor id") for value in ("v" + "0" * 31, "v" + "0" * 33, "V" + "0" * 32, "v" + "g" * 32)],
    *[("session", value, "visitor id") for value in (token(1) + "\n", " " + token(1), "v" + "٣" * 32)],
]
REFS = [
    *[5, True, ["shipped:alpha"], {"ref": "shipped:alpha"}, 1.5, math.nan],
    *["alpha", "ALPHA", "shipped", "shipped:", "shipped:gamma", "Shipped:alpha", " shipped:alpha", "hub:gpt2", ":"],
    *["shipped:../alpha", "shipped:..", "shipped:.", "shipped:alpha/", "shipped:alpha/../alpha", "shipped:./alpha"],
    *["shipped:alpha\x00", "shipped:alpha\n", "shipped:../../etc/passwd", "shipped:/etc", "shipped:..\\alpha"],
    *["shipped:" + "é" * 150, "shipped:" + "a" * 300, "shipped:*", "shipped:alpha:alpha", "shipped:\ud800"],
    *["run:", "run:nothing", "run:..", "run:../../etc", "run:../weights/alpha", "run:/etc/passwd", "run:.hidden"],
    *["run:a/../b", "run:a\\..\\b", "run:a\x00b", "run:" + "a" * 190, "run:" + "a" * 119, "run:shipped:alpha", "run:~"],
]


def label(value: Any) -> str:
    return repr(value)[:40].encode("ascii", "backslashreplace").decode()


def whole(**changes: Any) -> dict[str, Any]:
    """A request in which everything is said and right, but for the changes."""
    return {
        "session": token(1),
        "model": "shipped:alpha",
        "prompt": None,
        "ids": IDS,
        "prompt_tokens": 7,
        "append": {"count": 1},
        "settings": {"temperature": 0.9, "top_k": 5, "top_p": 0.9, "min_p": 0.01, "seed": 3},
        "head": [0, 0],
        "have": {"maps": 0, "exact": 0},
        "rows": 12,
        **changes,
    }


def test_the_request_that_all_others_are_made_from_is_fine(server: Server) -> None:
    assert try_to(server, whole())["ok"]


@pytest.mark.parametrize(("field", "value", "says"), MALFORMED, ids=label)
def test_a_malformed_field_gets_a_sentence_that_names_it(server: Server, field: str, value: Any, says: str) -> None:
    assert says in sentence(try_to(server, whole(**{field: value}))).lower()


@pytest.mark.parametrize("request_", [None, 5, "decode", [], [1], True, math.nan], ids=label)
def test_what_is_no_object_is_refused(server: Server, request_: Any) -> None:
    assert "not an object" in sentence(try_to(server, request_))


@pytest.mark.parametrize("ref", REFS, ids=label)
def test_a_foreign_ref_finds_nothing(server: Server, ref: Any) -> None:
    error = sentence(try_to(server, whole(model=ref)))
    assert "model" in error or "run" in error
    assert "passwd" not in error.replace("../../etc/passwd", "")  # no more than was sent


def test_no_ref_leaves_the_folder_of_models(weights: Path, tmp_path: Path) -> None:
    """A checkpoint right above the folder stays out of reach, also by the name that its parent has everywhere."""
    outer = Path(shutil.copytree(weights / "alpha", tmp_path / "outer"))
    (outer / "weights").mkdir()
    (outer / "runs").mkdir()
    server = Server(outer / "runs", outer / "weights", Limits())
    for ref in ("shipped:..", "shipped:.", "shipped:", "run:..", "run:."):
        sentence(try_to(server, whole(model=ref)))


def test_fields_that_are_left_out_have_defaults(server: Server) -> None:
    least = {"session": token(1), "ids": IDS}
    whole_ = {
        **{"model": "shipped:alpha", "prompt": None, "prompt_tokens": 0, "append": None, "settings": {}},
        **{"head": [0, 0], "have": {"maps": 0, "exact": 0}, "rows": 12, "unknown field": 5},
    }
    assert try_to(server, least) == try_to(server, {**least, **whole_})


def test_whole_numbers_may_come_as_javascript_has_them(server: Server) -> None:
    plain = ask(server, ids=IDS, append={"count": 2}, rows=5, head=[1, 0], settings={"seed": 3, "top_k": 4})
    floats = ask(
        server, ids=[float(i) for i in IDS], append={"count": 2.0}, rows=5.0, head=[1.0, 0.0],
        settings={"seed": 3.0, "top_k": 4.0},
    )  # fmt: skip
    assert plain == floats


def test_more_weights_than_a_page_can_show_are_refused(serve: Callable[..., Server]) -> None:
    assert try_to(serve(map_cells=1_000), whole())["ok"]
    refused = sentence(try_to(serve(map_cells=1), whole()))
    assert "begin with a shorter text" in refused


def test_a_refused_call_changes_nothing(server: Server) -> None:
    before = ask(server, ids=IDS)
    for field, value, _ in MALFORMED:
        if field != "session":
            try_to(server, whole(**{field: value}))
    assert ask(server, ids=IDS) == before
    assert len(server.visitors) == 1


STRANGE: list[Any] = [
    *[None, True, False, 0, 1, -1, 5, 2**31, 2**64, 1.5, -0.0, 1e308, math.nan, math.inf, "", "a", "\ud800", "\x00"],
    *[[], [[]], {}, {"a": {}}, "x" * 1000, [0] * 50, "7", "é😀", {"count": 1}, {"choose": 1}, {"maps": 3}, [0, 0]],
]


def strange(draw: random.Random) -> Any:
    """A request in which some parts are anything at all."""
    request = whole(prompt=draw.choice([None, "the cat"]))
    for field in draw.sample([*request, "step", "opening", "more"], draw.randrange(1, 4)):
        request[field] = draw.choice(STRANGE)
    if draw.random() < 0.5 and isinstance(request["settings"], dict):
        request["settings"] = {**request["settings"], draw.choice(["seed", "top_k", "top_p"]): draw.choice(STRANGE)}
    return request


def test_nothing_that_comes_in_breaks_the_server(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    """A thousand requests with strange parts: an answer that is plain JSON, or a sentence."""
    fine = 0
    with caplog.at_level(logging.WARNING):
        for seed in range(1000):
            request = strange(random.Random(seed))
            reply = try_to(server, request)
            fine += reply["ok"]
            if reply["ok"]:
                json.dumps(reply, allow_nan=False)
            else:
                sentence(reply)
    assert not caplog.records
    assert 100 < fine < 900


def test_what_nobody_foresaw_is_logged_and_hidden(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> dict[str, Any]:
        raise KeyError("/etc/secret")

    with caplog.at_level(logging.ERROR):
        reply = answering(broken)()
    assert reply["ok"] is False
    assert "secret" not in reply["error"]
    assert "broke on the server" in reply["error"]
    assert "secret" in caplog.text
    assert answering(lambda: {"a": 1})() == {"ok": True, "a": 1}


def test_an_error_begins_with_a_capital() -> None:
    def refuse() -> dict[str, Any]:
        raise ValueError("the context is too long: use 12.")

    assert answering(refuse)()["error"] == "The context is too long: use 12."
    assert CONTEXT == 12
