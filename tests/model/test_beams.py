"""Beam search against everything that can be said after a text, and against whole passes without a cache."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from model import GPT
from model.beams import MOST_BEAMS, Tree, beam_search
from model.decoding import generate
from model.gpt import KVCache
from model.sampling import Settings
from tests.model.test_gpt import KINDS, ids, random_model

TEXT = [3, 1, 4]


def chances(model: GPT, text: Sequence[int], temperature: float = 1.0) -> list[float]:
    """ln p of every token after a text: a whole pass over its last `context` tokens, in plain Python."""
    with torch.no_grad():
        logits = model(torch.tensor([list(text)[-model.config.context :]]))[0, -1].tolist()
    scaled = [value / temperature for value in logits]
    most = max(scaled)
    whole = most + math.log(math.fsum(math.exp(value - most) for value in scaled))
    return [value - whole for value in scaled]


def every_way(model: GPT, text: list[int], count: int, end: int | None = None) -> dict[tuple[int, ...], float]:
    """ln p of each continuation of `count` tokens, or fewer that come to `end`: exhaustive enumeration."""
    found: dict[tuple[int, ...], float] = {}
    for way in itertools.product(range(model.config.vocab_size), repeat=count):
        cut = way[: way.index(end) + 1] if end in way else way
        if cut not in found:
            found[cut] = sum(chances(model, text + list(cut[:i]))[token] for i, token in enumerate(cut))
    return found


def consistent(model: GPT, tree: Tree, beams: int, temperature: float = 1.0) -> None:
    """Every number of a tree against whole passes, and every state against what the tree itself says."""
    kept = {node for way in tree.hypotheses for node in ancestors(tree, way.node)}
    for node in tree.nodes:
        path = tree.path(node.id)
        assert node is tree.nodes[node.id]
        assert len(path) == node.depth
        assert path[-1] == node.token
        before = 0.0 if node.parent is None else tree.nodes[node.parent].total
        step = chances(model, [*tree.ids, *path[:-1]], temperature)[node.token]
        assert node.logprob == pytest.approx(step, abs=1e-4)
        assert node.total == pytest.approx(before + node.logprob, abs=1e-9)
        assert (node.state == "pruned") == (node.id not in kept)
        assert (node.pruned is None) == (node.id in kept)
        assert node.pruned is None or node.pruned >= node.depth
    for depth in range(1, max(node.depth for node in tree.nodes) + 1):
        row = [node.total for node in tree.nodes if node.depth == depth]
        assert row == sorted(row, reverse=True)
        assert len(row) <= 2 * beams
    assert len(tree.hypotheses) <= beams
    scores = [way.score for way in tree.hypotheses]
    assert scores == sorted(scores, reverse=True)
    for way in tree.hypotheses:
        assert list(way.ids) == tree.path(way.node)
        assert way.total == tree.nodes[way.node].total
        assert way.nats == -way.total / len(way.ids)


def ancestors(tree: Tree, node: int | None) -> list[int]:
    found = []
    while node is not None:
        found.append(node)
        node = tree.nodes[node].parent
    return found


@pytest.mark.parametrize("end", [None, 2])
@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_enough_beams_find_what_exhaustive_enumeration_finds(end: int | None, penalty: float) -> None:
    model = random_model(vocab_size=5, context=8)
    tree = beam_search(model, TEXT, 3, 5**3, length_penalty=penalty, end=end)
    every = every_way(model, TEXT, 3, end)
    ranked = sorted(every, key=lambda way: -every[way] / ((5 + len(way)) / 6) ** penalty)
    assert [way.ids for way in tree.hypotheses] == ranked
    for way in tree.hypotheses:
        assert way.total == pytest.approx(every[way.ids], abs=1e-4)
        assert way.score == pytest.approx(every[way.ids] / ((5 + len(way.ids)) / 6) ** penalty, abs=1e-4)
        assert way.ended == (way.ids[-1] == end)
    assert all(node.state == ("ended" if node.token == end else "kept") for node in tree.nodes)
    consistent(model, tree, 5**3)


def test_fewer_beams_keep_the_best_of_what_they_see() -> None:
    """A narrow search written anew over whole passes: the same nodes in the same order, taken and dropped."""
    model = random_model(vocab_size=7, context=8)
    tree = beam_search(model, TEXT, 4, 3)
    live: list[tuple[tuple[int, ...], float]] = [((), 0.0)]
    for depth in range(1, 5):
        grown = [((*way, t), total + p) for way, total in live for t, p in enumerate(chances(model, [*TEXT, *way]))]
        grown.sort(key=lambda entry: -entry[1])
        row = [node for node in tree.nodes if node.depth == depth]
        assert [tuple(tree.path(node.id)) for node in row] == [way for way, _ in grown[:6]]
        assert all(node.pruned == depth for node in row[3:])
        live = grown[:3]
    assert [way.ids for way in tree.hypotheses] == [way for way, _ in live]
    for node in tree.nodes:  # one that was taken and led nowhere fell with the last that followed from it
        if node.state == "pruned" and node.pruned != node.depth:
            followed = [n for n in tree.nodes if node.id in ancestors(tree, n.id)]
            taken = [n.depth for n in followed if n.pruned != n.depth]
            assert node.pruned == max(taken) + 1
    assert any(node.pruned == node.depth + 1 for node in tree.nodes), "a test of nothing"
    consistent(model, tree, 3)


@pytest.mark.parametrize("kind", KINDS)
def test_the_numbers_are_those_of_whole_passes(kind: dict[str, Any]) -> None:
    """Short of the context, across its end, and beyond it from the start: the cache changes nothing."""
    model = random_model(**kind)
    for length in (2, 12, 15, 16, 20):
        text = ids(length, seed=length).tolist()
        consistent(model, beam_search(model, text, 6, 4), 4)


@pytest.mark.parametrize("length", [3, 14, 19])
def test_one_beam_is_greedy_decoding(length: int) -> None:
    model, text = random_model(), ids(length, seed=3).tolist()
    greedy = list(generate(model, text, 8, Settings(temperature=0.0)))
    for temperature in (0.5, 1.0):
        tree = beam_search(model, text, 8, 1, temperature=temperature)
        assert [list(way.ids) for way in tree.hypotheses] == [greedy]
    end = greedy[4]
    stopped = list(generate(model, text, 8, Settings(temperature=0.0), end))
    assert list(beam_search(model, text, 8, 1, end=end).best.ids) == stopped


def test_a_text_that_ended_goes_no_further_and_keeps_its_place() -> None:
    """A model that nearly always ends its text: the beams finish one by one."""
    model = random_model(vocab_size=6, context=16, tied_head=False, head_bias=True)
    with torch.no_grad():
        model.head.bias[5] += 6.0
    tree = beam_search(model, TEXT, 8, 3, end=5)
    parents = {node.parent for node in tree.nodes}
    ended = [node for node in tree.nodes if node.state == "ended"]
    assert len(ended) == len(tree.hypotheses) == 3
    assert not parents & {node.id for node in ended}
    assert max(node.depth for node in tree.nodes) < 8, "nothing was left to search"
    assert all(way.ended and way.ids.count(5) == 1 for way in tree.hypotheses)
    consistent(model, tree, 3)
    free = beam_search(model, TEXT, 8, 3)
    assert {len(way.ids) for way in free.hypotheses} == {8}, "without an end it is a token like any other"


def test_the_length_penalty_ranks_longer_ways_higher() -> None:
    model = random_model(vocab_size=6, context=16)
    model_ids = [1, 2]
    by_probability = beam_search(model, model_ids, 6, 6, end=0)
    by_length = beam_search(model, model_ids, 6, 6, end=0, length_penalty=3.0)
    assert {way.ids for way in by_probability.hypotheses} == {way.ids for way in by_length.hypotheses}
    assert by_probability.nodes == by_length.nodes, "it says nothing of what is kept"
    assert len(by_length.best.ids) > len(by_probability.best.ids)


def test_a_temperature_is_that_of_every_step() -> None:
    model = random_model()
    consistent(model, beam_search(model, TEXT, 4, 3, temperature=0.4), 3, temperature=0.4)


def test_the_same_search_gives_the_same_tree() -> None:
    model = random_model()
    assert beam_search(model, TEXT, 5, 4) == beam_search(model, TEXT, 5, 4)


def test_ties_go_to_the_better_beam_and_the_lower_id() -> None:
    model = random_model(vocab_size=6)
    with torch.no_grad():
        model.ln_final.weight.zero_()
        model.ln_final.bias.zero_()  # every token is as probable as any other
    tree = beam_search(model, TEXT, 2, 2)
    assert [tree.path(node.id) for node in tree.nodes] == [[0], [1], [2], [3], [0, 0], [0, 1], [0, 2], [0, 3]]
    assert [node.pruned for node in tree.nodes] == [None, 2, 1, 1, None, None, 2, 2]


def test_beams_may_outnumber_the_vocabulary() -> None:
    tree = beam_search(random_model(vocab_size=5), TEXT, 2, 9)
    assert [sum(node.depth == depth for node in tree.nodes) for depth in (1, 2)] == [5, 18]
    assert len(tree.hypotheses) == 9


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"beams": 0}, "0 beams"),
        ({"beams": -1}, "greedy decoding"),
        ({"beams": MOST_BEAMS + 1}, "1,024"),
        ({"count": 0}, "at least 1"),
        ({"length_penalty": -1.0}, "length penalty"),
        ({"length_penalty": math.nan}, "length penalty"),
        ({"temperature": 0.0}, "1 beam"),
        ({"temperature": math.inf}, "temperature"),
        ({"ids": []}, "no tokens"),
        ({"ids": [1, 29]}, "token 29"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence(changes: dict[str, Any], said: str) -> None:
    wanted = {"ids": TEXT, "count": 3, "beams": 2, **changes}
    with pytest.raises(ValueError, match=said):
        beam_search(random_model(), **wanted)


def test_a_model_that_went_wrong_is_refused() -> None:
    model = random_model()
    with torch.no_grad():
        model.token_embedding.weight[0, 0] = math.nan
    with pytest.raises(ValueError, match="training went wrong"):
        beam_search(model, [0, 1], 2, 2)


@pytest.mark.parametrize("kind", KINDS)
def test_a_cache_goes_on_with_the_rows_selected(kind: dict[str, Any]) -> None:
    """Three texts side by side, two of them kept and one of those twice, in a cache with just enough room."""
    model = random_model(**kind)
    texts = ids(21).view(3, 7)
    rows = torch.tensor([2, 0, 2])
    cache = KVCache(model.config, batch=3, tokens=7)
    with torch.no_grad():
        model(texts[:, :6], cache)
        cache.select(rows)
        last = model(texts[rows, 6:], cache)[:, -1]
        whole = model(texts)[rows, -1]
    assert (last - whole).abs().max() < 1e-4
    assert cache.keys.shape[3] == 7
