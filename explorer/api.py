"""The named public endpoints, for the Python client, curl and MCP: the same functions as behind the tabs."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from functools import wraps
from typing import Any

import gradio as gr
import torch
from gradio.events import api as endpoint

from explorer.branches import branches as look_ahead
from explorer.decode import RequestError, decode, read_prompt, whole
from explorer.server import Server
from model import trace


def add(server: Server) -> None:
    """Register the endpoints in the Blocks that are being built."""
    caller = "v" + secrets.token_hex(16)  # one visitor for all calls: a new one each would push the page's visitors out

    def models() -> list[dict[str, Any]]:
        """The models that can be looked at without a link: ref, name, source and a line about each."""
        return server.shelf.shipped()

    def continue_text(
        prompt: str,
        model: str = "",
        tokens: int = 40,
        temperature: float = 0.8,
        top_k: int = 0,
        top_p: float = 1.0,
        seed: int = 1337,
    ) -> dict[str, Any]:
        """Let a model write on after a prompt.

        Args:
            prompt: the text to continue.
            model: a ref such as shipped:tales or run:<id>; empty for the shipped model.
            tokens: how many tokens to write, up to 1,000.
            temperature: 0 for always the likeliest, below 1 sharper, above 1 flatter.
            top_k: draw among the k likeliest only; 0 for all.
            top_p: draw among the likeliest that hold this much probability.
            seed: the same seed writes the same text.

        Returns:
            text (prompt and continuation), ids, the model's summary, and where something was left out of the prompt,
            what (unknown) and a sentence about it (notice).
        """
        settings = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "seed": seed}
        left = whole(tokens, "tokens", 0, 1000)
        reply = first = ask(prompt, model, settings, rows=1)
        while left and not reply["ended"]:
            count = min(left, server.limits.tokens_a_call)
            begun = {"ids": reply["ids"], "prompt_tokens": reply["prompt_tokens"], "step": reply["model"]["step"]}
            reply = ask(None, model, settings, 1, count=count, **begun)
            left -= count
        view = server.view(model or server.shelf.default())
        return {
            "text": view.tokenizer.decode(reply["ids"]),
            "ids": reply["ids"],
            "model": reply["model"],
            "unknown": first["unknown"],
            "notice": notice_of(first),
        }

    def next_token(prompt: str, model: str = "", temperature: float = 1.0, rows: int = 20) -> dict[str, Any]:
        """What could come after a prompt: the likeliest tokens with their probabilities.

        Args:
            prompt: the text so far.
            model: a ref such as shipped:tales or run:<id>; empty for the shipped model.
            temperature: for the column p; raw is the model's own probability.
            rows: how many tokens to list; the others are summed in `tail`.

        Returns:
            rows (id, text, kind, raw, p, cut), tail, size of the vocabulary, entropy in bits.
        """
        reply = ask(prompt, model, {"temperature": temperature}, rows)
        return {**reply["next"], "unknown": reply["unknown"], "notice": notice_of(reply)}

    def branches(
        prompt: str, model: str = "", beams: int = 4, tokens: int = 6, length_penalty: float = 0.0
    ) -> dict[str, Any]:
        """The most probable ways on after a prompt: a beam search, with all that it looked at.

        Args:
            prompt: the text to continue.
            model: a ref such as shipped:tales or run:<id>; empty for the shipped model.
            beams: how many ways on are kept side by side, up to 8; 1 is greedy decoding.
            tokens: how many tokens to look ahead, up to 24.
            length_penalty: 0 ranks by probability alone, 1 makes up for length (Wu et al., 2016).

        Returns:
            hypotheses (best first: ids, text, total log-probability, score, nats a token, ended, node), nodes (parent,
            token, depth, logprob, total, state, pruned), pieces (id, text, kind) of their tokens, and greedy, the text
            of the likeliest token at every step.
        """
        text = prompt_of(prompt)
        view = server.view(model or server.shelf.default())
        ids, unknown, notice = read_prompt(text, view.tokenizer, view.model.config.context)
        asked = {"beams": beams, "tokens": tokens, "length_penalty": length_penalty}
        reply = look_ahead(server, {"session": caller, "model": view.ref, "ids": ids, **asked})
        found = {key: reply[key] for key in ("hypotheses", "nodes", "pieces", "greedy")}
        return {**found, "unknown": unknown, "notice": notice_of({"unknown": unknown, "notice": notice})}

    def attention(prompt: str, layer: int, head: int, model: str = "") -> dict[str, Any]:
        """One head's attention over a prompt, as exact numbers.

        Args:
            prompt: the text to read.
            layer: counted from 0.
            head: counted from 0.
            model: a ref such as shipped:tales or run:<id>; empty for the shipped model.

        Returns:
            tokens (one text each) and weights: row i holds what token i pays to the tokens 0..i; each row sums to 1.
        """
        view = server.view(model or server.shelf.default())
        config = view.model.config
        layer, head = whole(layer, "layer", 0, config.layers - 1), whole(head, "head", 0, config.heads - 1)
        ids = view.tokenizer.encode(prompt_of(prompt))[-config.context :]
        with server.decoding:
            pattern = trace(view.model, torch.tensor(ids, dtype=torch.int64)).patterns[layer, head]
        return {
            "tokens": [view.tokenizer.piece(token).text for token in ids],
            "weights": [pattern[i, : i + 1].tolist() for i in range(len(ids))],
        }

    def prompt_of(prompt: Any) -> str:
        most = server.limits.prompt_characters
        if not isinstance(prompt, str) or len(prompt) > most:
            raise RequestError(f"The prompt has to be a text of at most {most:,} characters: shorten it.")
        return prompt

    def ask(prompt: str | None, model: str, settings: dict[str, Any], rows: int, **more: Any) -> dict[str, Any]:
        count = more.pop("count", 0)
        request = {
            "session": caller,
            "model": model or None,
            "prompt": prompt,
            "append": {"count": count},
            "settings": settings,
            "rows": rows,
            **more,
        }
        return decode(server, request)

    for function in (models, continue_text, next_token, branches, attention):
        endpoint(in_words(function), api_name=function.__name__, concurrency_limit=2)


def in_words(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, with the sentence of a ValueError handed on to the caller; Gradio hides all others."""

    @wraps(function)
    def answer(*args: Any) -> Any:
        try:
            return function(*args)
        except ValueError as error:
            text = str(error)
            raise gr.Error(text[:1].upper() + text[1:], print_exception=False) from error

    return answer


def notice_of(reply: dict[str, Any]) -> str | None:
    """What is to be said of a prompt. The page strikes out what is missing; here it takes a sentence."""
    missing = "What `unknown` lists is not in this model's vocabulary and was left out of the prompt."
    return " ".join([missing] * bool(reply["unknown"]) + [reply["notice"]] * bool(reply["notice"])) or None
