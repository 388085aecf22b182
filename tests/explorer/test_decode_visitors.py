"""Many visitors at once: nobody sees another's text, and the numbers are those that each would get alone."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch

from explorer.decode import decode
from explorer.server import Server
from explorer.session import Visitor
from model import trace
from tests.explorer.test_decode import same_numbers, truth
from tests.explorer.tiny import BPE, CHAR, PATIENCE, TEXT, ask, token, visitor

CALLS = 30


def story(who: int, name: str = "alpha") -> list[dict[str, Any]]:
    """The requests of one visitor: prompts, steps, chosen tokens, steps back, several heads and settings."""
    draw = random.Random(who)
    requests: list[dict[str, Any]] = []
    for _ in range(CALLS):
        start = draw.randrange(len(TEXT) - 40)
        text = TEXT[start : start + draw.randrange(1, 40)]
        request: dict[str, Any] = {
            "model": f"shipped:{name}",
            "settings": {"seed": draw.randrange(100), "temperature": draw.choice([0, 0.7, 1.4])},
            "head": [draw.randrange(2), draw.randrange(2)],
            "append": draw.choice([None, {"count": draw.randrange(1, 9)}, {"choose": draw.randrange(8)}]),
        }
        known = CHAR.encode(text) if name == "alpha" else BPE.encode_known(text).ids
        request |= {"prompt": text} if draw.random() < 0.5 else {"ids": known, "prompt_tokens": len(known)}
        requests.append(request)
    return requests


def told(server: Server, who: int, name: str = "alpha") -> list[dict[str, Any]]:
    return [ask(server, who, **request) for request in story(who, name)]


def test_four_at_once_get_the_answers_that_each_gets_alone(serve: Callable[..., Server]) -> None:
    serial_server = serve()
    serial = [told(serial_server, who) for who in range(4)]
    busy = serve(decoding_at_once=4)
    gate = threading.Barrier(4)

    def at_once(who: int) -> list[dict[str, Any]]:
        gate.wait(PATIENCE)
        return told(busy, who)

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(at_once, range(4))) == serial
    assert serial[0] != serial[1]


def test_one_visitor_in_two_windows_gets_right_answers(server: Server) -> None:
    """Two threads with one visitor's id share a decoder; each answer still belongs to its own request."""

    def window(seed: int) -> None:
        for request in story(seed):
            reply = ask(server, 1, **request)
            written = request.get("ids") or CHAR.encode(request["prompt"])
            assert reply["ids"][: len(written)] == written
            same_numbers(reply, truth(server, reply["ids"]))

    with ThreadPoolExecutor(2) as threads:
        for done in [threads.submit(window, seed) for seed in (21, 22)]:
            done.result(PATIENCE)


def test_two_visitors_and_two_models_keep_apart(serve: Callable[..., Server]) -> None:
    alone = {(who, name): told(serve(), who, name) for who in (1, 2) for name in ("alpha", "beta")}
    mixed: dict[tuple[int, str], list[dict[str, Any]]] = {key: [] for key in alone}
    server = serve()
    for step in range(CALLS):
        for who, name in alone:
            mixed[who, name].append(ask(server, who, **story(who, name)[step]))
    assert mixed == alone
    for reply in mixed[1, "beta"]:
        model = server.shelf.open_shipped("beta").model
        assert reply["model"]["name"] == "beta"
        same_numbers(reply, trace(model, torch.tensor(reply["ids"][-9:])))


def test_a_third_model_pushes_the_first_out_and_numbers_stay_right(serve: Callable[..., Server]) -> None:
    server = serve(decoders=1, opened_models=1)
    for _ in range(2):
        for name in ("alpha", "beta"):
            reply = ask(server, prompt="the cat", model=f"shipped:{name}", append={"count": 2})
            same_numbers(reply, truth(server, reply["ids"], name))


def test_a_visitor_who_asks_ten_times_at_once_takes_one_place(serve: Callable[..., Server]) -> None:
    """While one call of a visitor is under way, their others wait outside, and another visitor is served."""
    server = serve(decoding_at_once=2)
    greedy: Visitor = visitor(server, 1)
    ask(server, 1, prompt="the cat")
    waiting = []
    with greedy.lock, server.decoding:  # a call of theirs that takes its time
        for _ in range(5):
            request = {"session": token(1), "prompt": "the cat"}
            waiting.append(threading.Thread(target=decode, args=(server, request), daemon=True))
            waiting[-1].start()
        other = threading.Thread(target=ask, args=(server, 2), kwargs={"prompt": "the dog"}, daemon=True)
        other.start()
        other.join(10)
        served = not other.is_alive()
    for thread in [*waiting, other]:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert served
