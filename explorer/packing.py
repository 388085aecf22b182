"""From tensors to the compact JSON that the page's canvases read. The one place where numbers change their form.

Pure functions; tests hold them against the Trace. The shapes are described in docs/page-protocol.md.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from model import Tokenizer
from model.beams import Tree
from model.sampling import CUTS, Distribution, Draw
from model.trace import head_scores, prediction_entropy


def encode_bytes(tensor: Tensor) -> str:
    """The tensor's raw memory, little-endian, in base64."""
    return base64.b64encode(tensor.contiguous().numpy().tobytes()).decode("ascii")


def pack_maps(patterns: Tensor, start: int, first: int) -> dict[str, Any]:
    """All heads' attention rows from position `first` on, a byte a weight.

    patterns (L, H, T, T) over the positions start..start+T-1. Byte = round(255 sqrt(weight)): the root keeps small
    weights apart. Order: row by row, in a row layer by layer, head by head, and there the keys start..row.
    """
    L, H, T, _ = patterns.shape
    scaled = (patterns.clamp(0, 1).sqrt() * 255).round().to(torch.uint8)
    rows = [scaled[:, :, i, : i + 1].reshape(-1) for i in range(first - start, T)]
    cells = torch.cat(rows) if rows else torch.zeros(0, dtype=torch.uint8)
    return {"layers": L, "heads": H, "start": start, "from": first, "to": start + T, "cells": encode_bytes(cells)}


def pack_exact(patterns: Tensor, layer: int, head: int, start: int, first: int) -> dict[str, Any]:
    """One head's attention rows from position `first` on as float32: the model's own numbers, for reading."""
    T = patterns.shape[-1]
    chosen = patterns[layer, head]
    rows = [chosen[i, : i + 1] for i in range(first - start, T)]
    cells = torch.cat(rows) if rows else torch.zeros(0)
    return {
        "layer": layer,
        "head": head,
        "start": start,
        "from": first,
        "to": start + T,
        "cells": encode_bytes(cells.to(torch.float32)),
    }


def pack_kinds(patterns: Tensor, window: Sequence[int]) -> dict[str, list[list[float | None]]]:
    """How much each head behaves like a known kind over this text: {kind: L rows of H scores}, null where undefined."""
    scores = head_scores(patterns, torch.tensor(list(window)))
    return {
        kind: [[None if value != value else round(value, 4) for value in row] for row in table.tolist()]
        for kind, table in scores.items()
    }


def pack_token(tokenizer: Tokenizer, token: int) -> dict[str, Any]:
    """A token as the page shows it: id, text (or its bytes in hexadecimal) and kind."""
    text, kind = pack_piece(tokenizer, token)
    return {"id": token, "text": text, "kind": kind}


def pack_piece(tokenizer: Tokenizer, token: int) -> tuple[str, str]:
    """(text, kind) of a token; a piece of a character has its bytes in hexadecimal for a text."""
    piece = tokenizer.piece(token)
    return (piece.raw.hex(" ").upper() if piece.kind == "bytes" else piece.text), piece.kind


def pack_next(dist: Distribution, drawn: Draw, tokenizer: Tokenizer, position: int, rows: int) -> dict[str, Any]:
    """What could come at `position`: the `rows` likeliest tokens, all others in one, and the draw."""
    V = len(dist.raw)
    order = torch.argsort(dist.raw, descending=True, stable=True)[:rows]
    listed = [
        {
            **pack_token(tokenizer, token),
            "raw": dist.raw[token].item(),
            "p": dist.p[token].item(),
            "cut": CUTS[int(dist.cut[token])],
        }
        for token in order.tolist()
    ]
    others = torch.ones(V, dtype=torch.bool)
    others[order] = False  # summed on their own: 1 - sum would show rounding as probability
    return {
        "position": position,
        "size": V,
        "rows": listed,
        "tail": {
            "count": V - len(listed),
            "raw": dist.raw[others].sum().item(),
            "p": dist.p[others].sum().item(),
        },
        "drawn": {**pack_token(tokenizer, drawn.token), "u": drawn.u, "low": drawn.low, "high": drawn.high},
        "entropy_bits": prediction_entropy(dist.logits).item(),
        "kept": dist.kept,
    }


def pack_tree(tree: Tree, tokenizer: Tokenizer) -> dict[str, Any]:
    """What a beam search saw: its nodes in order, so that `parent` is a place among them, and its hypotheses."""
    nodes = [
        {
            "parent": node.parent,
            "token": node.token,
            "depth": node.depth,
            "logprob": round(node.logprob, 6),
            "total": round(node.total, 6),
            "state": node.state,
            "pruned": node.pruned,
        }
        for node in tree.nodes
    ]
    ranked = [
        {
            **pack_way(tokenizer, way.ids, way.total, tree.ids[-1]),
            "node": way.node,
            "score": round(way.score, 6),
            "ended": way.ended,
        }
        for way in tree.hypotheses
    ]
    seen = sorted({node.token for node in tree.nodes})
    pieces = [(token, *pack_piece(tokenizer, token)) for token in seen]
    return {"nodes": nodes, "hypotheses": ranked, "pieces": pieces}


def pack_way(tokenizer: Tokenizer, ids: Sequence[int], total: float, last: int) -> dict[str, Any]:
    """A continuation after the token `last`: its tokens, how they read, and the log of their probability in nats."""
    words = [token for token in ids if token != tokenizer.end_of_text]
    return {
        "ids": list(ids),
        "text": tokenizer.decode(words, after=[last]),
        "total": round(total, 6),
        "nats": round(-total / len(ids), 6),
    }


def pack_curve(values: Sequence[float | None]) -> list[float | None]:
    """Measurements for a chart: seven significant digits, as many as float32 has. Fewer would do for the pixels, but
    they are written beside the chart too, and rounded a second time they differ from the same number elsewhere."""
    return [None if value is None else float(f"{value:.7g}") for value in values]
