"""Decoding for the page and the API: a request in, tokens, attention rows and the next distribution out.

The page holds the text and sends its ids with each request; the server only keeps what it computed for them. So Back, a
reload or a second tab need no state here, and the same request gets the same answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from explorer.packing import pack_exact, pack_kinds, pack_maps, pack_next, pack_piece
from explorer.server import Server
from explorer.shelf import View
from model import Tokenizer
from model.decoding import Decoder
from model.sampling import Settings, distribution, draw, uniform


class RequestError(ValueError):
    """A request that makes no sense; the message names the part that is wrong."""


@dataclass(frozen=True)
class Append:
    """What to write: the token `choose`, or `count` drawn ones."""

    count: int = 0
    choose: int | None = None


@dataclass(frozen=True)
class Request:
    """A decoding request, checked. Either prompt or ids is given."""

    prompt: str | None
    ids: list[int]
    prompt_tokens: int
    append: Append
    settings: Settings
    head: tuple[int, int]
    have_maps: int
    have_exact: int
    rows: int


def decode(server: Server, raw: Any) -> dict[str, Any]:
    """Answer one request of the page (docs/page-protocol.md). Raises ValueError with a sentence."""
    if not isinstance(raw, dict):
        raise RequestError("The request is not an object: reload the page.")
    visitor = server.visitors.get(raw.get("session"))
    begins = raw.get("prompt") is not None or raw.get("opening") is True
    ref = raw.get("model") or server.shelf.default()
    view = (None if begins else visitor.held(ref, raw.get("step"))) or server.view(ref, fresh=begins)
    request = parse(raw, server, view)
    with visitor.lock, server.decoding:  # this order: ten calls of one visitor take one place
        reply = answer(visitor.decoder(view), view, request, server)
    own = raw.get("opening") is True and dict(view.sampling)
    return {**reply, "settings": own or None}


def answer(decoder: Decoder, view: View, request: Request, server: Server) -> dict[str, Any]:
    """Read, write and pack. The decoder must be this view's and used by nobody else meanwhile."""
    tokenizer, context = view.tokenizer, view.model.config.context
    ids, prompt_tokens, unknown, notice = request.ids, request.prompt_tokens, list[str](), None
    if request.prompt is not None:
        ids, unknown, notice = read_prompt(request.prompt, tokenizer, context)
        prompt_tokens = len(ids)
    before = max(0, len(ids) - context)
    ids, ended = write(decoder, list(ids), prompt_tokens, request, tokenizer, server.limits.text_tokens)
    logits = decoder.read(ids)
    start = decoder.start
    weights = decoder.patterns.numel() // 2
    if weights > server.limits.map_cells:
        raise RequestError(
            f"All heads of this model over {len(decoder.window):,} tokens are {weights:,} weights, and "
            f"{server.limits.map_cells:,} are the most that a page can show: begin with a shorter text."
        )
    kept = start == before  # else the window has slid and every row is new
    first = start + len(decoder.window)
    maps_from = min(first, start + request.have_maps) if kept else start
    exact_from = min(first, start + request.have_exact) if kept else start
    dist = distribution(logits, request.settings, torch.tensor(ids))
    drawn = draw(dist, uniform(request.settings.seed, len(ids)))
    layer, head = request.head
    return {
        "model": view.summary() | {"name": server.name_of(view)},
        "prompt": request.prompt,
        "ids": ids,
        "pieces": [pack_piece(tokenizer, token) for token in ids],
        "prompt_tokens": prompt_tokens,
        "ended": ended,
        "notice": notice,
        "unknown": unknown,
        "maps": pack_maps(decoder.patterns, start, maps_from),
        "exact": pack_exact(decoder.patterns, layer, head, start, exact_from),
        "kinds": pack_kinds(decoder.patterns, decoder.window),
        "next": pack_next(dist, drawn, tokenizer, len(ids), request.rows),
    }


def read_prompt(prompt: str, tokenizer: Tokenizer, context: int) -> tuple[list[int], list[str], str | None]:
    """A prompt's ids, what of it the vocabulary lacks, and a sentence where something is to be said."""
    encoding = tokenizer.encode_known(prompt)
    ids, unknown = list(encoding.ids), list(dict.fromkeys(part.text for part in encoding.unknown))
    said = []
    if not ids:
        ids = [tokenizer.opening]
        why = "Nothing of the prompt is left, so" if unknown else "Without a prompt"
        said.append(f"{why} the text begins as the model's own texts do.")
    if len(ids) > context:
        said.append(f"The prompt is {len(ids):,} tokens long; this model sees the last {context} of a text.")
    return ids, unknown, " ".join(said) or None


def write(
    decoder: Decoder, ids: list[int], prompt_tokens: int, request: Request, tokenizer: Tokenizer, longest: int
) -> tuple[list[int], bool]:
    """The text with what was asked for appended, and whether it has come to its end-of-text.

    An end-of-text among the first `prompt_tokens` ends nothing: texts begin with it where there was no prompt.
    """
    end = tokenizer.end_of_text
    if request.append.choose is not None:
        ids.append(request.append.choose)
    for _ in range(request.append.count):
        if len(ids) >= longest or (end is not None and ids[-1] == end and len(ids) > prompt_tokens):
            break
        dist = distribution(decoder.read(ids), request.settings, torch.tensor(ids))
        ids.append(draw(dist, uniform(request.settings.seed, len(ids))).token)
    if len(ids) > longest:
        raise RequestError(
            f"The text has {len(ids):,} tokens and {longest:,} are the most: begin a new one with a prompt."
        )
    return ids, len(ids) >= longest or (end is not None and ids[-1] == end and len(ids) > prompt_tokens)


def parse(raw: dict[str, Any], server: Server, view: View) -> Request:
    """Check every part of a request, which anybody can send. Raises RequestError or SettingsError."""
    limits, config = server.limits, view.model.config
    prompt = view.opening if raw.get("opening") is True else raw.get("prompt")
    if prompt is not None:
        if not isinstance(prompt, str):
            raise RequestError("The prompt is not a text.")
        if len(prompt) > limits.prompt_characters:
            raise RequestError(
                f"The prompt has {len(prompt):,} characters and {limits.prompt_characters:,} are the most: shorten it; "
                f"this model sees its last {config.context} tokens anyway."
            )
        prompt = prompt.replace("\r\n", "\n")
    ids = ids_of(raw.get("ids"), config.vocab_size, limits.text_tokens) if prompt is None else []
    append, have, head = raw.get("append") or {}, raw.get("have") or {}, raw.get("head") or [0, 0]
    if not isinstance(append, dict) or not isinstance(have, dict):
        raise RequestError("The request does not say what to write: reload the page.")
    if not isinstance(head, list | tuple) or len(head) != 2:
        raise RequestError("The request names no head: reload the page.")
    choose = append.get("choose")
    settings = raw.get("settings") or {}
    if raw.get("opening") is True and isinstance(settings, dict):
        settings = {**settings, **view.sampling}  # those that its recipe asks for
    return Request(
        prompt=prompt,
        ids=ids,
        prompt_tokens=whole(raw.get("prompt_tokens", 0), "prompt_tokens", 0, limits.text_tokens),
        append=Append(
            count=whole(append.get("count", 0), "count", 0, limits.tokens_a_call),
            choose=None if choose is None else whole(choose, "the chosen token", 0, config.vocab_size - 1),
        ),
        settings=settings_of(settings),
        head=(
            whole(head[0], "the layer", 0, config.layers - 1),
            whole(head[1], "the head", 0, config.heads - 1),
        ),
        have_maps=whole(have.get("maps", 0), "have.maps", 0, limits.text_tokens),
        have_exact=whole(have.get("exact", 0), "have.exact", 0, limits.text_tokens),
        rows=whole(raw.get("rows", 12), "rows", 1, limits.rows),
    )


def ids_of(value: Any, vocabulary: int, longest: int) -> list[int]:
    """Token ids from somebody else. Raises RequestError where they are none, too many, or of another vocabulary."""
    if not isinstance(value, list) or not value:
        raise RequestError("The request has neither a prompt nor a text: reload the page.")
    if len(value) > longest:
        raise RequestError(f"The text has {len(value):,} tokens and {longest:,} are the most: begin a new one.")
    return [whole(token, "a token", 0, vocabulary - 1) for token in value]


def whole(value: Any, name: str, low: int, high: int) -> int:
    """A whole number from somebody else, as an int. Raises RequestError where it is none, or outside low..high."""
    if not _finite(value) or int(value) != value:
        raise RequestError(f"{name} is {str(value)[:40]!r} and has to be a whole number.")
    if not low <= value <= high:
        raise RequestError(f"{name} is {str(int(value))[:40]} and has to be from {low} to {high}.")
    return int(value)


def _finite(value: Any) -> bool:
    """Whether it is a number to reckon with; JSON as Python reads it also has NaN, Infinity and endless integers."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def settings_of(values: Any) -> Settings:
    """Sampling settings from somebody else; what is left out is off. Raises RequestError or SettingsError."""
    if not isinstance(values, dict):
        raise RequestError("The settings are not an object: reload the page.")
    known = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "repetition_penalty": 1.0, "seed": 1337}
    chosen: dict[str, Any] = {}
    for name, default in known.items():
        value = values.get(name, default)
        if not _finite(value):
            raise RequestError(f"{name} is {str(value)[:40]!r} and has to be a number.")
        if isinstance(default, int) and int(value) != value:
            raise RequestError(f"{name} is {value} and has to be a whole number.")
        chosen[name] = type(default)(value)
    return Settings(**chosen)
