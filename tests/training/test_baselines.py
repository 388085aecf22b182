"""The counting models, against the formulas of their papers written out with dictionaries, one event at a time."""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict
from dataclasses import replace

import numpy as np
import pytest

from training.baselines import FALLBACK_DISCOUNTS, NAMES, ORDER, discounts, measure, probabilities

RHYME = (
    "the cat sat on the mat and the rat sat on the cat; the bat that sat on the hat and the hat that sat on the bat "
    "are not the cat that ate the rat. what the cat ate the rat hated, and that was that. " * 2
)


def encoded(*texts: str) -> tuple[list[list[int]], int]:
    """Documents of characters as ids over their common vocabulary, and its size."""
    letters = sorted(set("".join(texts)))
    return [[letters.index(c) for c in text] for text in texts], len(letters)


class Reference:
    """Dictionaries over strings: ^ is the border. Slow, and written apart from the module under test."""

    def __init__(self, documents: list[str], letters: str) -> None:
        self.letters = letters
        self.raw: list[Counter[str]] = [Counter() for _ in range(ORDER + 1)]
        for document in documents:
            marked = "^" + document
            for end in range(2, len(marked)):
                for n in range(1, min(ORDER, end + 1) + 1):
                    self.raw[n][marked[end - n + 1 : end + 1]] += 1
        self.adjusted = [Counter[str]() for _ in range(ORDER + 1)]
        self.adjusted[ORDER] = self.raw[ORDER]
        for n in range(1, ORDER):
            before = defaultdict(set)
            for gram in self.raw[n + 1]:
                before[gram[1:]].add(gram[0])
            for gram, count in self.raw[n].items():
                self.adjusted[n][gram] = count if gram.startswith("^") else len(before[gram])
        self.cuts = [self._cuts(counts) for counts in self.adjusted]

    @staticmethod
    def _cuts(counts: Counter[str]) -> list[float]:
        n = Counter(counts.values())
        cuts = [0.0]
        for k in (1, 2, 3):
            try:
                cut = k - (k + 1) * (n[1] / (n[1] + 2 * n[2])) * n[k + 1] / n[k]
            except ZeroDivisionError:
                cut = -1
            cuts.append(cut if 0 < cut <= k and n[1] else (0.5, 1.0, 1.5)[k - 1])
        return cuts

    def witten_bell(self, history: str, letter: str) -> float:
        lower = self.witten_bell(history[1:], letter) if history else 1 / len(self.letters)
        after = {gram: c for gram, c in self.raw[len(history) + 1].items() if gram[:-1] == history}
        if not after:
            return lower
        return (after.get(history + letter, 0) + len(after) * lower) / (sum(after.values()) + len(after))

    def kneser_ney(self, history: str, letter: str) -> float:
        lower = self.kneser_ney(history[1:], letter) if history else 1 / len(self.letters)
        n = len(history) + 1
        after = {gram: c for gram, c in self.adjusted[n].items() if gram[:-1] == history}
        if not after:
            return lower
        count, total = after.get(history + letter, 0), sum(after.values())
        freed = sum(self.cuts[n][min(c, 3)] for c in after.values())
        return (count - self.cuts[n][min(count, 3)] + freed * lower) / total

    def all(self, document: str, end: int) -> dict[str, float]:
        """What each model gives document[end]."""
        marked, letter = "^" + document[:end], document[end]
        return {
            "uniform": 1 / len(self.letters),
            "unigram": self.witten_bell("", letter),
            "bigram": self.witten_bell(marked[-1:], letter),
            "trigram": self.witten_bell(marked[-2:], letter),
            "back-off": self.kneser_ney(marked[-(ORDER - 1) :], letter),
        }


CORPORA = {
    "a stream": ([RHYME], [RHYME[50:120] + "the bat ate the mat."]),
    "documents": (
        ["a cat", "the cat sat", "x", "the bat sat", "", "the cat", "on a mat the cat sat on a hat", "at"],
        ["the cat that", "a bat", "zz", "q", "", "on the mat"],
    ),
    "hardly a text": (["ab"], ["abc", "ca"]),
    "no training text": ([], ["abc"]),
    "everything twice": (["abcabc", "abcabc"], ["abcb"]),
}


@pytest.mark.parametrize("name", CORPORA)
def test_probabilities_are_those_of_the_formulas(name: str) -> None:
    train, val = CORPORA[name]
    letters = "".join(sorted(set("".join(train + val))))
    documents, size = encoded(*train, *val)
    found, targets = probabilities(documents[: len(train)], documents[len(train) :], size)
    reference = Reference(train, letters)
    expected = [reference.all(document, end) for document in val for end in range(1, len(document))]
    assert [letters[t] for t in targets] == [document[end] for document in val for end in range(1, len(document))]
    for baseline in NAMES:
        np.testing.assert_allclose(found[baseline], [row[baseline] for row in expected], rtol=1e-12)


def test_measure_is_the_mean_over_every_token_but_the_first_of_a_document() -> None:
    train, val = CORPORA["documents"]
    letters = "".join(sorted(set("".join(train + val))))
    documents, size = encoded(*train, *val)
    reference = Reference(train, letters)
    weights = [3 if letter == "a" else 1 for letter in letters]
    found = measure(documents[: len(train)], documents[len(train) :], size, weights)
    rows = [reference.all(document, end) for document in val for end in range(1, len(document))]
    size_in_bytes = sum(3 if letter == "a" else 1 for document in val for letter in document[1:])
    assert found.val_tokens == len(rows)
    assert found.train_tokens == sum(max(0, len(document) - 1) for document in train)
    assert list(found.values) == list(NAMES) == list(found.bits_per_byte)
    for baseline in NAMES:
        nats = -sum(math.log(row[baseline]) for row in rows)
        assert found.values[baseline] == pytest.approx(nats / len(rows), rel=1e-12)
        assert found.bits_per_byte[baseline] == pytest.approx(nats / math.log(2) / size_in_bytes, rel=1e-12)
    assert found.nats_to_bits == pytest.approx(len(rows) / size_in_bytes / math.log(2))


@pytest.mark.parametrize("history", ["", "the ca", "^", "qq", "hat that", "zzzzzzzzzz"])
def test_probabilities_sum_to_one_over_the_vocabulary(history: str) -> None:
    letters = sorted(set(RHYME) | set("^qz"))
    ids = {letter: i for i, letter in enumerate(letters)}
    train = [[ids[c] for c in RHYME], [ids[c] for c in "what a hat"]]
    begun = [ids[c] for c in "t" + history]
    found, targets = probabilities(train, [[*begun, i] for i in range(len(letters))], len(letters))
    last = np.arange(len(letters)) * len(begun) + len(begun) - 1
    assert list(targets[last]) == list(range(len(letters)))
    for baseline in NAMES:
        assert found[baseline][last].sum() == pytest.approx(1, abs=1e-12), baseline
        assert found[baseline].min() > 0


def test_no_history_reaches_into_another_document() -> None:
    (a, b, c), size = encoded("abcdefgh", "hgfedcba", "cdefg")
    alone, _ = probabilities([a, b], [c], size)
    for order in ([c, b, a], [a, c, b]):
        after, _ = probabilities([a, b], order, size)
        begin = sum(len(document) - 1 for document in order[: order.index(c)])
        for baseline in NAMES:
            np.testing.assert_array_equal(after[baseline][begin : begin + len(c) - 1], alone[baseline])
    joined, _ = probabilities([a + b], [c], size)
    assert not np.allclose(joined["back-off"], alone["back-off"])


def test_a_large_vocabulary_is_counted_like_a_small_one() -> None:
    """Renaming the tokens changes nothing but the uniform part; here they are spread over a GPT-2 sized vocabulary."""
    rng = random.Random(7)
    ids = [rng.choice((1, 2, 3, 5, 8, 13)) for _ in range(400)]
    wide = [50_000 + i for i in ids]
    near, _ = probabilities([ids[:300]], [ids[300:]], 50_257)
    far, _ = probabilities([wide[:300]], [wide[300:]], 50_257)
    for baseline in NAMES:
        np.testing.assert_array_equal(near[baseline], far[baseline])


def test_each_order_helps_on_a_text_with_structure() -> None:
    documents, size = encoded(RHYME[:250], RHYME[250:])
    values = list(measure(documents[:1], documents[1:], size, [1] * size).values.values())
    assert values == sorted(values, reverse=True)
    assert len(set(values)) == len(values)


def test_without_held_out_text_there_is_nothing_to_measure() -> None:
    found = measure([[0, 1, 0]], [], 2, [1, 1])
    assert (found.values, found.bits_per_byte, found.val_tokens, found.nats_to_bits) == ({}, {}, 0, None)
    assert measure([[0, 1, 0]], [[1]], 2, [1, 1]).values == {}


def test_tokens_without_bytes_have_no_bits_per_byte() -> None:
    found = measure([[0, 1, 0]], [[0, 1]], 2, [0, 0])
    assert found.bits_per_byte == {}
    assert found.nats_to_bits is None
    assert found.values["uniform"] == math.log(2)


def test_long_texts_are_counted_up_to_a_limit() -> None:
    documents = [[0, 1, 2, 0], [2, 1, 0, 2]]
    cut = measure(documents, documents, 3, [1, 1, 1], train_tokens=4)
    assert cut == replace(measure([[2, 0], [0, 2]], documents, 3, [1, 1, 1]), share=0.5)
    assert (cut.train_tokens, cut.val_tokens) == (2, 6)
    assert measure(documents, documents, 3, [1, 1, 1]).share == 1


def test_pieces_of_a_text_are_predicted_as_in_the_whole() -> None:
    """Where each brings the history that the longest order looks at."""
    (train, val), size = encoded(RHYME[:250], RHYME[250:])
    places = [(20, 28), (40, 47), (0, 9)]  # each of these predicts all but its first
    pieces = [val[max(0, begin - (ORDER - 1)) : end] for begin, end in places]
    known = [min(begin, ORDER - 1) + 1 for begin, _ in places]
    found = measure([train], pieces, size, [1] * size, known)
    whole, _ = probabilities([train], [val], size)
    asked = [target - 1 for begin, end in places for target in range(begin + 1, end)]
    assert found.val_tokens == len(asked)
    for name in NAMES:
        assert found.values[name] == pytest.approx(-np.log(whole[name][asked]).mean(), rel=1e-12)


def test_a_long_text_is_counted_all_over() -> None:
    """Its first half is another language than its second one, from which the held-out text is."""
    chance = np.random.default_rng(5)
    train = np.concatenate([chance.integers(0, 4, 5000), chance.integers(4, 8, 5000)])
    found = measure([train], [chance.integers(4, 8, 500)], 8, [1] * 8, train_tokens=2000)
    assert found.share == pytest.approx(0.2, abs=0.02)
    assert found.values["unigram"] == pytest.approx(math.log(8), abs=0.02)
    assert found.values["bigram"] == pytest.approx(math.log(4), abs=0.05)


def test_discounts_fall_back_where_they_cannot_be_estimated() -> None:
    assert discounts(np.array([1] * 6 + [2] * 3 + [3] * 2 + [4])) == pytest.approx((0.5, 1.0, 2.0))
    assert discounts(np.array([], dtype=np.int64)) == FALLBACK_DISCOUNTS
    assert discounts(np.array([2, 2, 2])) == FALLBACK_DISCOUNTS
    assert discounts(np.array([1, 1, 1]))[1:] == FALLBACK_DISCOUNTS[1:]


@pytest.mark.parametrize("wrong", [[0, 5], [-1, 0], [[0, 1]], [0.5, 1.0]])
def test_ids_that_are_none_are_refused(wrong: list[int]) -> None:
    with pytest.raises(ValueError, match=r"vocabulary|token ids"):
        probabilities([[0, 1]], [wrong], 5)
    with pytest.raises(ValueError, match="at least one"):
        probabilities([], [], 0)
