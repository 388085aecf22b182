"""What a text gives away for free: the loss of models that only count, on the held-out text.

    found = measure([train_ids], [val_ids], vocab_size, token_bytes)
    found.values["trigram"], found.bits_per_byte["trigram"]

Five of them, from nothing known to the best that counting does, each a proper distribution over the whole vocabulary:

- uniform: every token alike, ln V.
- unigram, bigram, trigram: the token after no, one and two tokens, smoothed by interpolation with the next lower one
  after Witten and Bell (1991, "The zero-frequency problem", method C; as in Chen and Goodman 1999, section 2.6):
  p(w|h) = (c(hw) + T(h) p(w|h')) / (c(h) + T(h)), where T(h) is the number of distinct tokens seen after h and h' is h
  without its first token. Below the unigram stands the uniform distribution. No weight is tuned on the held-out text.
- back-off: interpolated modified Kneser-Ney of order 7 (Chen and Goodman 1999, "An empirical study of smoothing
  techniques for language modeling", section 3), with its three discounts a order. A history that was never seen falls
  back on the shorter one whole.

Counted are the very events that a GPT trains on, and predicted those that its validation measures: each token of a
document but its first, after the tokens of the same document before it. A document begins with one border mark, which
is seen by the history and is never predicted; no history reaches beyond it. n-grams that begin at the border keep their
plain counts, as nothing can precede them (as SRILM and KenLM do with <s>).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

NAMES = ("uniform", "unigram", "bigram", "trigram", "back-off")
#: Of the back-off model. On tiny Shakespeare by characters the loss is 1.561, 1.523, 1.516 and 1.519 at 5, 6, 7 and 8.
ORDER = 7
TRAIN_TOKENS = 4_000_000  # about 100 bytes of working memory for each of them
MOST_PREDICTED = 500_000
"""Tokens of the held-out text; more of them tell nothing new."""
_STRETCH = 65_536  # tokens that stay together where not all of a text is taken
#: Where a text is too small or too regular to estimate a discount from: KenLM's --discount_fallback.
FALLBACK_DISCOUNTS = (0.5, 1.0, 1.5)


@dataclass(frozen=True)
class Baselines:
    """Losses of the counting models, by name, in the order of NAMES; empty where nothing was held out.

    values: nats per token; bits_per_byte: the same over the UTF-8 bytes of the same tokens (empty where they have
    none). train_tokens, val_tokens: how many tokens were counted and predicted; share: of the training part that was
    counted, 1 where it was all of it.
    """

    values: dict[str, float]
    bits_per_byte: dict[str, float]
    train_tokens: int
    val_tokens: int
    share: float = 1.0

    @property
    def nats_to_bits(self) -> float | None:
        """Bits per byte for one nat per token on this held-out text; None where nothing was held out."""
        name = next(iter(self.bits_per_byte), None)
        return self.bits_per_byte[name] / self.values[name] if name is not None and self.values[name] else None


def measure(
    train: Sequence[ArrayLike],
    val: Sequence[ArrayLike],
    vocab_size: int,
    token_bytes: ArrayLike,
    known: Sequence[int] | None = None,
    train_tokens: int = TRAIN_TOKENS,
) -> Baselines:
    """Count `train` and predict `val`; both are documents of token ids, (N,) integers each; a stream is one document.

    token_bytes: (V,) UTF-8 bytes of each token. known: how many of the first tokens of each of `val` are history alone
    and not predicted, at least 1; a piece from amid a document has to bring ORDER - 1 of them to be told from a
    beginning. At most `train_tokens` tokens are counted, in stretches spread over the text, so that a large one costs
    no more time than a page may wait. Raises ValueError for ids outside the vocabulary.
    """
    size_of_all = sum(map(len, train))  # type: ignore[arg-type]
    train = _spread(train, train_tokens)
    share = sum(map(len, train)) / max(1, size_of_all)
    found, targets = probabilities(train, val, vocab_size)
    if known is not None:
        places = [np.arange(1, len(document)) >= first for document, first in zip(val, known, strict=True)]  # type: ignore[arg-type]
        asked = np.concatenate(places) if places else np.zeros(0, dtype=bool)
        found, targets = {name: values[asked] for name, values in found.items()}, targets[asked]
    counted = sum(max(0, len(document) - 1) for document in train)
    if not len(targets):
        return Baselines({}, {}, counted, 0, share)
    nats = {name: float(-np.log(found[name]).mean()) for name in NAMES}
    size = float(np.asarray(token_bytes, dtype=np.float64)[targets].sum())
    factor = len(targets) / size / math.log(2) if size else None
    bits = {name: value * factor for name, value in nats.items()} if factor is not None else {}
    return Baselines(nats, bits, counted, len(targets), share)


def probabilities(
    train: Sequence[ArrayLike], val: Sequence[ArrayLike], vocab_size: int
) -> tuple[dict[str, Floats], Ints]:
    """What each baseline gives each predicted token of `val`: name -> (M,), and the tokens, (M,), in their order.

    M counts every token but the first of each document. Raises ValueError for ids outside the vocabulary.
    """
    if vocab_size < 1:
        raise ValueError(f"the vocabulary has {vocab_size} tokens and needs at least one.")
    grams = _Grams(train, val, vocab_size)
    asked = ~grams.trained
    lower: Floats = np.full(int(asked.sum()), 1.0 / vocab_size)
    found: dict[str, Floats] = {"uniform": lower}
    smooth = kneser = lower
    above: dict[int, _Order] = {}
    for order in range(1, ORDER + 1):
        above[order] = grams.order(order)
        if order <= 3:
            smooth = _witten_bell(above[order], asked, smooth)
            found[NAMES[order]] = smooth
        if order > 1:
            kneser = _kneser_ney(above[order - 1], above[order], asked, kneser)
            del above[order - 1]
    found["back-off"] = _kneser_ney(above[ORDER], None, asked, kneser)
    return found, grams.symbols[grams.at[asked]]


@dataclass(frozen=True)
class _Order:
    """All events seen as n-grams of one order. E events, G distinct n-grams, H distinct histories.

    gram, history: (E,) which of them each event is; count: (G,) how often in the training text; gram_history: (G,) the
    history of each n-gram; first: (G,) one event that is this n-gram; at_border: (G,) whether it begins with the border
    mark; exists: (E,) whether so much history stands before the event. Where it does not, the rows are meaningless and
    count is 0.
    """

    gram: Ints
    history: Ints
    count: Ints
    gram_history: Ints
    first: Ints
    at_border: NDArray[np.bool_]
    exists: NDArray[np.bool_]


class _Grams:
    """The tokens of both texts, each document after border marks, numbered n-gram by n-gram.

    symbols: (N,) tokens, with `vocab_size` as the border; at: (E,) where the predicted ones stand; trained: (E,).
    """

    def __init__(self, train: Sequence[ArrayLike], val: Sequence[ArrayLike], vocab_size: int) -> None:
        documents = [_ids(document, vocab_size) for document in (*train, *val)]
        pad = ORDER - 1
        lengths = np.array([len(document) for document in documents], dtype=np.int64)
        ends = np.cumsum(lengths + pad)
        self.symbols: Ints = np.full(int(ends[-1]) if len(ends) else 0, vocab_size, dtype=np.int64)
        starts = ends - lengths
        inside = np.ones(len(self.symbols), dtype=bool)
        for i in range(pad):
            inside[ends - lengths - 1 - i] = False
        self.symbols[inside] = np.concatenate(documents) if documents else self.symbols[:0]
        predicted = inside.copy()
        predicted[starts[lengths > 0]] = False
        self.at: Ints = np.flatnonzero(predicted)
        self.trained = self.at < (ends[len(train) - 1] if len(train) else 0)
        self._place = self._places(starts, lengths)[self.at]
        self._border = vocab_size
        # The n-gram that ends at each symbol, numbered; symbols are numbered by themselves.
        self._ending, self._orders = self.symbols, 0

    def _places(self, starts: Ints, lengths: Ints) -> Ints:
        """(N,) the place of each symbol in its document; what stands at a border is below 0."""
        place = np.zeros(len(self.symbols), dtype=np.int64)
        if len(starts):
            place[:] = np.arange(len(place)) - np.repeat(starts, lengths + ORDER - 1)
        return place

    def order(self, n: int) -> _Order:
        """The n-grams of order n; to be asked for 1, 2, 3, ... in turn."""
        assert n == self._orders + 1, "each order is numbered from the one below it"
        self._orders = n
        before = np.zeros_like(self.symbols)  # the history: the (n-1)-gram that ends one symbol earlier
        if n > 1:
            before[1:] = self._ending[:-1]
        numbers = _number(before * (self._border + 1) + self.symbols)
        self._ending = numbers
        gram, history = numbers[self.at], before[self.at]
        exists = self._place + 2 >= n  # one border mark and `place` tokens stand before it
        distinct = int(numbers.max(initial=-1)) + 1
        first = np.zeros(distinct, dtype=np.int64)
        first[gram] = np.arange(len(gram))
        gram_history = np.zeros(distinct, dtype=np.int64)
        gram_history[gram] = history
        count = np.bincount(gram[self.trained & exists], minlength=distinct)
        at_border = np.zeros(distinct, dtype=bool)
        at_border[gram] = self._place + 1 < n
        return _Order(gram, history, count, gram_history, first, at_border, exists)


def _witten_bell(order: _Order, asked: NDArray[np.bool_], lower: Floats) -> Floats:
    """The interpolated probability of each asked event, (M,), from that of the order below."""
    histories = int(order.gram_history.max(initial=-1)) + 1
    total = np.bincount(order.gram_history, weights=order.count, minlength=histories)
    kinds = np.bincount(order.gram_history[order.count > 0], minlength=histories)
    gram, history = order.gram[asked], order.history[asked]
    seen = total[history] + kinds[history]
    value = (order.count[gram] + kinds[history] * lower) / np.maximum(seen, 1.0)
    return np.where(seen > 0, value, lower)


def _kneser_ney(order: _Order, above: _Order | None, asked: NDArray[np.bool_], lower: Floats) -> Floats:
    """The interpolated probability of each asked event, (M,). above: the order above it, None for the highest."""
    count = order.count if above is None else _continuations(order, above)
    first, second, third = discounts(count)
    amount = np.choose(np.minimum(count, 3), [0.0, first, second, third])
    histories = int(order.gram_history.max(initial=-1)) + 1
    total = np.bincount(order.gram_history, weights=count, minlength=histories)
    freed = np.bincount(order.gram_history, weights=amount, minlength=histories)
    gram, history = order.gram[asked], order.history[asked]
    seen = total[history]
    value = (count[gram] - amount[gram] + freed[history] * lower) / np.maximum(seen, 1.0)
    return np.where((seen > 0) & order.exists[asked], value, lower)


def _continuations(order: _Order, above: _Order) -> Ints:
    """(G,) after how many distinct symbols each n-gram was seen; plain counts where it begins at the border."""
    suffix = order.gram[above.first[above.count > 0]]
    preceded = np.bincount(suffix, minlength=len(order.count))
    return np.where(order.at_border, order.count, preceded)


def discounts(count: Ints) -> tuple[float, float, float]:
    """Chen and Goodman's D1, D2 and D3+ for n-grams with these counts, each where it can be estimated.

    D_k = k - (k + 1) Y n_{k+1} / n_k with Y = n1 / (n1 + 2 n2), and n_k the number of n-grams counted k times. A value
    outside of 0 < D_k <= k would take nothing away, or more than is there: FALLBACK_DISCOUNTS then.
    """
    n = [float((count == k).sum()) for k in range(5)]
    y = n[1] / (n[1] + 2 * n[2]) if n[1] else 0.0
    found = []
    for k in (1, 2, 3):
        value = k - (k + 1) * y * n[k + 1] / n[k] if n[k] and y else 0.0
        found.append(value if 0 < value <= k else FALLBACK_DISCOUNTS[k - 1])
    return found[0], found[1], found[2]


def _number(keys: Ints) -> Ints:
    """(N,) numbers from 0 that are equal where the keys are. Keys are below 2 ** 63."""
    if not len(keys):
        return keys
    bits = int(len(keys) - 1).bit_length()
    if int(keys.max()) < 1 << (63 - bits):
        # Sorting values in which the place rides along is several times faster than an argsort.
        packed = np.sort((keys << bits) | np.arange(len(keys)))
        place, ordered = packed & ((1 << bits) - 1), packed >> bits
    else:
        place = np.argsort(keys)
        ordered = keys[place]
    numbers = np.empty_like(keys)
    numbers[place] = np.concatenate(([0], np.cumsum(ordered[1:] != ordered[:-1])))
    return numbers


def _ids(document: ArrayLike, vocab_size: int) -> Ints:
    values: NDArray[Any] = np.asarray(document)
    if values.ndim != 1 or (values.size and not np.issubdtype(values.dtype, np.integer)):
        raise ValueError("a document is a row of token ids, whole numbers.")
    if values.size and (values.min() < 0 or values.max() >= vocab_size):
        wrong = int(values.min() if values.min() < 0 else values.max())
        raise ValueError(f"token {wrong} is not in the vocabulary of {vocab_size}: use the ids of this tokenizer.")
    return values.astype(np.int64, copy=False)


def _spread(documents: Sequence[ArrayLike], most: int) -> list[NDArray[Any]]:
    """All of them, or, where they have more tokens than `most`, about so many: stretches spread evenly over them."""
    values = [np.asarray(document) for document in documents]
    total = sum(map(len, values))
    if total <= most:
        return values
    length = max(2, min(_STRETCH, most // 16))
    kept, taken, seen = list[NDArray[Any]](), 0, 0
    for document in values:
        for at in range(0, len(document), length):
            stretch = document[at : at + length]
            seen += len(stretch)
            if taken + len(stretch) <= seen * most / total:
                kept.append(stretch)
                taken += len(stretch)
    return kept


__all__ = ["FALLBACK_DISCOUNTS", "NAMES", "ORDER", "Baselines", "discounts", "measure", "probabilities"]
