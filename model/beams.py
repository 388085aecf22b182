"""Beam search, with the whole tree that it looked through kept so that it can be shown.

Ids in, ids out: knows nothing of text or the screen. Nothing is drawn: the same text gives the same tree.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from model.gpt import GPT, KVCache
from model.trace import check_ids

State = Literal["kept", "ended", "pruned"]
MOST_BEAMS = 1024  # of one search: each holds keys and values of its own


@dataclass(frozen=True)
class Node:
    """One token that the search looked at. `id` is its place in Tree.nodes; a parent stands before its children.

    parent: None where it follows the text itself. depth: from 1, the first token after the text. logprob: ln of its
    probability after its parent; total: the sum of these from the text on, in nats.
    state: `kept` on the way to a hypothesis, `ended` as an end-of-text that ends one, `pruned` where nothing that
    follows from it was kept. pruned: the depth at which the last of that fell out of the beam; its own depth for a
    token that was considered and never taken. None for the others.
    """

    id: int
    parent: int | None
    token: int
    depth: int
    logprob: float
    total: float
    state: State = "kept"
    pruned: int | None = None


@dataclass(frozen=True)
class Hypothesis:
    """A way on that was kept to the end. ids: its tokens, an end-of-text included; node: the last one's.

    total: ln of its probability, in nats. score: what it is ranked by, `total` over the length penalty.
    """

    ids: tuple[int, ...]
    node: int
    total: float
    score: float
    ended: bool

    @property
    def nats(self) -> float:
        """How surprising a token of it is, on average: nats a token, as a loss is."""
        return -self.total / len(self.ids)


@dataclass(frozen=True)
class Tree:
    """What a beam search saw after the text `ids`: all nodes, depth by depth, and the hypotheses, best first.

    At every depth stand the tokens that were taken, most probable way on first, and as many of those next in line.
    """

    ids: tuple[int, ...]
    nodes: tuple[Node, ...]
    hypotheses: tuple[Hypothesis, ...]

    @property
    def best(self) -> Hypothesis:
        return self.hypotheses[0]

    def path(self, node: int) -> list[int]:
        """The tokens from the text to a node, that one included."""
        return _path(self.nodes, node)


def beam_search(
    model: GPT,
    ids: Sequence[int],
    count: int,
    beams: int,
    *,
    length_penalty: float = 0.0,
    end: int | None = None,
    temperature: float = 1.0,
) -> Tree:
    """The most probable `count` tokens after `ids` as far as `beams` ways on, kept side by side, can find them.

    At every step all continuations of the beams are compared by their total log-probability, and the best `beams`
    stay (ties: the better beam, then the lower id). One that comes to `end` (end-of-text) is finished: it leaves the
    beam and keeps its place among the hypotheses, so the others go on in a narrower one (Sutskever et al., 2014).
    At the end all are ranked by total / ((5 + tokens) / 6) ** length_penalty (Wu et al., 2016, eq. 14, without its
    coverage): 0 ranks by probability alone, 1 makes up for length. One beam is greedy decoding.
    temperature: divides the logits before anything is compared; 1 is the model itself.

    A text that outgrows the context is read through its last `context` tokens, as Decoder does; then every beam is
    read anew at every step. Raises ValueError with a sentence.
    """
    _check(count, beams, length_penalty, temperature)
    text, nodes, finished = list(ids), list[Node](), list[int]()
    reader = _Reader(model, text, count)
    logits = reader.logits
    live: list[int | None] = [None]  # by node; the text itself is none
    for depth in range(1, count + 1):
        places = beams - len(finished)
        considered = _best(_log_probabilities(logits, temperature), _totals(nodes, live), 2 * places)
        rows, live, parents = list[int](), [], live
        for rank, (row, token, logprob, total) in enumerate(considered):
            node = Node(len(nodes), parents[row], token, depth, logprob, total)
            if rank >= places:
                node = replace(node, state="pruned", pruned=depth)
            elif token == end:
                node = replace(node, state="ended")
                finished.append(node.id)
            else:
                rows.append(row)
                live.append(node.id)
            nodes.append(node)
        if not live or depth == count:
            break
        logits = reader.step(rows, [text + _path(nodes, node) for node in live])
    leaves = finished + [node for node in live if node is not None]
    found = [_hypothesis(nodes, node, length_penalty) for node in leaves]
    return Tree(tuple(text), _judged(nodes, leaves), tuple(sorted(found, key=lambda way: (-way.score, way.node))))


class _Reader:
    """The beams being read side by side: with a key-value cache as long as they fit the context, whole afterwards."""

    def __init__(self, model: GPT, text: list[int], count: int) -> None:
        """Reads the text itself; `logits` (1 V) say what comes next. Raises ValueError (see check_ids)."""
        self._model, self._context = model, model.config.context
        window = check_ids(model, text)[:, -self._context :]
        room = min(self._context, len(text) + count)
        self._cache = KVCache(model.config, device=model.device, tokens=room) if len(text) < self._context else None
        self.logits = self._forward(window)

    def step(self, rows: list[int], texts: list[list[int]]) -> Tensor:
        """Go on with the beams `rows`, grown by a token each to `texts`; returns the next logits (B V)."""
        if self._cache is not None and len(texts[0]) <= self._context:
            self._cache.select(torch.tensor(rows, device=self._model.device))
            return self._forward(torch.tensor([text[-1:] for text in texts], device=self._model.device))
        self._cache = None  # the window slides: each token has another position than the cache has it at
        return self._forward(torch.tensor([text[-self._context :] for text in texts], device=self._model.device))

    def _forward(self, batch: Tensor) -> Tensor:
        with torch.no_grad():
            logits: Tensor = self._model(batch, self._cache)
        return logits[:, -1]


def _log_probabilities(logits: Tensor, temperature: float) -> Tensor:
    """Logits (B V) -> ln of the probabilities (B V), in float64 as sampling.distribution."""
    if not torch.isfinite(logits).all():
        raise ValueError("what this model predicts is no number any more: its training went wrong, choose another one.")
    return torch.log_softmax(logits.to("cpu", torch.float64) / temperature, dim=-1)


def _totals(nodes: list[Node], live: Sequence[int | None]) -> Tensor:
    """(B 1): how probable each beam is so far."""
    return torch.tensor([[0.0 if node is None else nodes[node].total] for node in live], dtype=torch.float64)


def _best(steps: Tensor, totals: Tensor, wanted: int) -> list[tuple[int, int, float, float]]:
    """The best `wanted` of all continuations, as (row, token, ln p of the step, total), best first."""
    V = steps.shape[1]
    sums = (totals + steps).flatten()  # B V: in the order of the ties
    least = sums.topk(min(wanted, len(sums))).values[-1]
    places = (sums >= least).nonzero().flatten()
    places = places[sums[places].argsort(descending=True, stable=True)][:wanted]
    return [(at // V, at % V, float(steps[at // V, at % V]), float(sums[at])) for at in places.tolist()]


def _path(nodes: Sequence[Node], node: int | None) -> list[int]:
    """The tokens from the text to a node, that one included."""
    tokens = list[int]()
    while node is not None:
        tokens.append(nodes[node].token)
        node = nodes[node].parent
    return tokens[::-1]


def _hypothesis(nodes: list[Node], node: int, length_penalty: float) -> Hypothesis:
    ids, last = tuple(_path(nodes, node)), nodes[node]
    score = last.total / ((5 + len(ids)) / 6) ** length_penalty
    return Hypothesis(ids, node, last.total, score, last.state == "ended")


def _judged(nodes: list[Node], leaves: list[int]) -> tuple[Node, ...]:
    """The nodes, with those that led to no hypothesis marked as pruned, at the depth where the last of them was."""
    kept, last = set(leaves), [0] * len(nodes)
    for node in reversed(nodes):  # children stand behind their parents
        # one that was taken fell when the next tokens were compared, or later with the last that followed from it
        last[node.id] = node.depth if node.state == "pruned" else max(last[node.id], node.depth + 1)
        if node.parent is not None:
            last[node.parent] = max(last[node.parent], last[node.id])
            if node.id in kept:
                kept.add(node.parent)
    return tuple(node if node.id in kept else replace(node, state="pruned", pruned=last[node.id]) for node in nodes)


def _check(count: int, beams: int, length_penalty: float, temperature: float) -> None:
    """Raises ValueError with a sentence."""
    if count < 1:
        raise ValueError(f"{count} tokens cannot be searched for: ask for at least 1.")
    if not 1 <= beams <= MOST_BEAMS:
        raise ValueError(f"{beams:,} beams cannot be kept: ask for 1, which is greedy decoding, to {MOST_BEAMS:,}.")
    if not (math.isfinite(length_penalty) and 0 <= length_penalty <= 5):
        raise ValueError(f"the length penalty is {length_penalty}; use a value from 0 (off) to 5.")
    if not (math.isfinite(temperature) and 0 < temperature <= 10):
        raise ValueError(
            f"the temperature is {temperature}; use a value above 0, up to 10. For the likeliest token at every step "
            "ask for 1 beam."
        )
