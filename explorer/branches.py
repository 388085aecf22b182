"""Where a text could go from here: a beam search for the page and the API, beside the greedy and the drawn way on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from explorer.decode import RequestError, ids_of, settings_of, whole
from explorer.limits import Limits
from explorer.packing import pack_tree, pack_way
from explorer.server import Server
from model import GPTConfig
from model.beams import beam_search
from model.decoding import Decoder
from model.sampling import Settings, distribution, draw, uniform

LONGEST_PENALTY = 5


@dataclass(frozen=True)
class Request:
    """A search that was asked for, checked."""

    ids: list[int]
    beams: int
    tokens: int
    length_penalty: float
    settings: Settings


def branches(server: Server, raw: Any) -> dict[str, Any]:
    """Answer one request of the page (docs/page-protocol.md). Raises ValueError with a sentence."""
    if not isinstance(raw, dict):
        raise RequestError("The request is not an object: reload the page.")
    visitor = server.visitors.get(raw.get("session"))
    ref = raw.get("model") or server.shelf.default()
    view = visitor.held(ref, raw.get("step")) or server.view(ref)
    request = parse(raw, view.model.config, server.limits)
    tokenizer, model, ids = view.tokenizer, view.model, request.ids
    end, count, last = tokenizer.end_of_text, request.tokens, request.ids[-1]
    with visitor.lock, server.decoding:  # in the order of `decode`
        tree = beam_search(model, ids, count, request.beams, length_penalty=request.length_penalty, end=end)
        greedy = beam_search(model, ids, count, 1, end=end).best
        drawn, total = write(visitor.decoder(view), ids, count, request.settings, end)
    return {
        "model": view.ref,
        "step": view.step,
        "ends": end is not None,
        **pack_tree(tree, tokenizer),
        "greedy": pack_way(tokenizer, greedy.ids, greedy.total, last),
        "drawn": pack_way(tokenizer, drawn, total, last),
    }


def parse(raw: dict[str, Any], config: GPTConfig, limits: Limits) -> Request:
    """Check every part of a request, which anybody can send. Raises RequestError or SettingsError."""
    penalty = raw.get("length_penalty", 0)
    if isinstance(penalty, bool) or not isinstance(penalty, int | float) or not 0 <= penalty <= LONGEST_PENALTY:
        raise RequestError(
            f"The length penalty is {str(penalty)[:40]!r} and has to be a number from 0 to {LONGEST_PENALTY}."
        )
    request = Request(
        ids=ids_of(raw.get("ids"), config.vocab_size, limits.text_tokens),
        beams=whole(raw.get("beams", 4), "the number of beams", 1, limits.beams),
        tokens=whole(raw.get("tokens", 6), "the number of tokens", 1, limits.branch_tokens),
        length_penalty=float(penalty),
        settings=settings_of(raw.get("settings") or {}),
    )
    if work(config, request) > limits.branch_work:
        raise RequestError(
            "To look so far ahead would take this model too long here, above all where the text is longer than the "
            f"{config.context:,} tokens that it sees at once: ask for fewer beams or tokens, or begin a shorter text."
        )
    return request


def work(config: GPTConfig, request: Request) -> int:
    """What a search and the two ways beside it cost at most: tokens to be read times parameters."""
    length, context = len(request.ids), config.context
    read = 3 * min(length, context)
    for grown in range(length + 1, length + request.tokens):
        read += (request.beams + 2) * (1 if grown <= context else context)  # beyond it, whole windows
    return read * config.parameters()


def write(decoder: Decoder, ids: list[int], count: int, settings: Settings, end: int | None) -> tuple[list[int], float]:
    """What `decode` would draw after `ids`, and the log of its probability by the model itself, in nats."""
    text, total = list(ids), 0.0
    for _ in range(count):
        dist = distribution(decoder.read(text), settings, torch.tensor(text))
        token = draw(dist, uniform(settings.seed, len(text))).token
        total += float(torch.log_softmax(dist.logits, dim=-1)[token])
        text.append(token)
        if token == end:
            break
    return text[len(ids) :], total
