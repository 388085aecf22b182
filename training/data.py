"""From a text and a tokenizer to the tensors that a training loop reads. Knows nothing of files or models.

Two ways to cut a corpus. Blocks: a window slides over one long stream of tokens. Documents: one sequence a document,
closed by the end-of-text token, the shorter ones padded and the padding masked out of the loss; so the model learns
where a document ends.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from model import ConfigError, Tokenizer
from training.config import Recipe
from training.corpus import Corpus, CorpusError, check_trainable, split_documents, split_text

MASKED = -100
"""The target that `torch.nn.functional.cross_entropy` leaves out of the loss."""
PAD = 0
"""What stands in the input behind the end of a document; with causal attention no real token sees it."""


class OneDocument(CorpusError):
    """A text that was to be cut into documents, and is one."""


class OneToken(ConfigError):
    """A vocabulary of one token, from which nothing can be predicted."""


class HeldOut(NamedTuple):
    """A piece of the held-out text: ids (N,), of which the first `known` are there to predict the others from."""

    ids: Tensor
    known: int


@dataclass(frozen=True)
class Blocks:
    """One long stream of token ids, cut in two. train, val: (N,) integers, narrow ones where the vocabulary allows (see
    Tokenizer.encode_tensor); token_bytes: (V,) UTF-8 bytes of each token; batches are int64."""

    train: Tensor
    val: Tensor
    token_bytes: Tensor
    context: int
    digest: str | None = None
    """Tells this text from another where that is known already, as of token files (tokens.py)."""

    def batch(self, size: int, generator: torch.Generator, rows: slice = slice(None)) -> tuple[Tensor, Tensor]:
        """Random stretches of the training stream: inputs and targets, both (B, T) on the CPU.

        rows: which of the batch are read; all of them are drawn.
        """
        starts = torch.randint(len(self.train) - self.context, (size, 1), generator=generator)[rows]
        at = starts + torch.arange(self.context + 1)  # B T+1
        window = self.train[at].long()
        return window[:, :-1], window[:, 1:]

    def held_out(self, tokens: int, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Fixed stretches spread evenly over the held-out stream, about `tokens` targets in all; (B, T) each.

        The same stretches every time, so that two measurements differ by the model alone.
        """
        starts, length = self._stretches(tokens)
        for some in torch.split(starts, batch_size) if len(starts) else ():
            window = self.val[some[:, None] + torch.arange(length + 1)].long()
            yield window[:, :-1], window[:, 1:]

    def held_out_pieces(self, tokens: int, history: int) -> list[HeldOut]:
        """The targets of `held_out(tokens)` once more, each stretch after up to `history` tokens that go before it."""
        starts, length = self._stretches(tokens)
        return [_piece(self.val, 0, begin, begin + length + 1, history) for begin in starts.tolist()]

    def _stretches(self, tokens: int) -> tuple[Tensor, int]:
        """Where those of the held-out stream begin, and how many targets each has."""
        length = min(self.context, len(self.val) - 1)
        if length < 1:
            return torch.zeros(0, dtype=torch.int64), 0
        whole = (len(self.val) - 1) // length
        wanted = max(1, min(whole, tokens // length))
        return (torch.arange(wanted) * whole // wanted) * length, length  # evenly spread, never overlapping

    def firsts(self) -> Tensor:
        """(1,) the token of the training that is no target."""
        return self.train[:1]

    def sequences(self) -> list[Tensor]:
        """The training part as id tensors (N,) that no context crosses: here one."""
        return [self.train]


@dataclass(frozen=True)
class Sequences:
    """Documents as sequences of their own, end to end in one tensor.

    train, val: (N,) integers, as in Blocks; train_spans, val_spans: (M, 2) int64, where each example begins and ends
    in it, its last target included (at most context + 1 tokens; a longer document gives several examples, each target
    in one of them); train_documents, val_documents: (D, 2) int64, the whole documents; token_bytes: (V,).
    """

    train: Tensor
    val: Tensor
    train_spans: Tensor
    val_spans: Tensor
    train_documents: Tensor
    val_documents: Tensor
    token_bytes: Tensor
    context: int

    @classmethod
    def of(
        cls, train: Iterable[Sequence[int]], val: Iterable[Sequence[int]], token_bytes: Tensor, context: int
    ) -> Sequences:
        """From the token ids of each document, marks included."""
        train_ids, train_documents, train_spans = _lay_out(train, context)
        val_ids, val_documents, val_spans = _lay_out(val, context)
        return cls(
            train_ids, val_ids, train_spans, val_spans, train_documents, val_documents, token_bytes, context
        )  # fmt: skip

    def batch(self, size: int, generator: torch.Generator, rows: slice = slice(None)) -> tuple[Tensor, Tensor]:
        """Random examples: inputs and targets, both (B, longest of them) on the CPU, targets MASKED behind the end.

        rows: which of the batch are read; all of them are drawn.
        """
        chosen = torch.randint(len(self.train_spans), (size,), generator=generator)[rows]
        return _padded(self.train, self.train_spans[chosen])

    def held_out(self, tokens: int, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Fixed examples spread evenly over the held-out documents, about `tokens` targets in all."""
        spans = self._measured(tokens)
        for some in torch.split(spans, batch_size) if len(spans) else ():
            yield _padded(self.val, some)

    def held_out_pieces(self, tokens: int, history: int) -> list[HeldOut]:
        """The targets of `held_out(tokens)` once more, each example after up to `history` tokens of the same document
        that go before it."""
        spans, documents = self._measured(tokens), self.val_documents[:, 0].contiguous()
        firsts = documents[torch.searchsorted(documents, spans[:, 0].contiguous(), right=True) - 1].tolist()
        return [
            _piece(self.val, first, begin, end, history)
            for first, (begin, end) in zip(firsts, spans.tolist(), strict=True)
        ]

    def _measured(self, tokens: int) -> Tensor:
        """Which of val_spans."""
        if not len(self.val_spans):
            return self.val_spans
        mean = float((self.val_spans[:, 1] - self.val_spans[:, 0] - 1).double().mean())
        wanted = max(1, min(len(self.val_spans), round(tokens / mean)))
        return self.val_spans[torch.arange(wanted) * len(self.val_spans) // wanted]

    def firsts(self) -> Tensor:
        """(D,) the tokens of the training that are no target: the first of each document."""
        begin, end = self.train_documents.T
        return self.train[begin[begin < end]]

    def sequences(self) -> list[Tensor]:
        """The training part as id tensors (N,) that no context crosses: a document each."""
        return [self.train[begin:end] for begin, end in self.train_documents.tolist()]


Data = Blocks | Sequences


def _piece(ids: Tensor, first: int, begin: int, end: int, history: int) -> HeldOut:
    """An example from `begin` to `end` of a document that begins at `first`, with what goes before it."""
    begun = max(first, begin - history)
    return HeldOut(ids[begun:end], begin - begun + 1)


def _lay_out(documents: Iterable[Sequence[int]], context: int) -> tuple[Tensor, Tensor, Tensor]:
    """Documents end to end: ids (N,), where each begins and ends (D, 2), where each example does (M, 2)."""
    ids, wholes, spans = array("i"), array("q"), array("q")
    for document in documents:
        begin = len(ids)
        ids.extend(document)
        wholes.extend((begin, len(ids)))
        for at in range(begin, len(ids) - 1, context):
            spans.extend((at, min(at + context + 1, len(ids))))
    return (
        torch.tensor(ids, dtype=torch.int32),
        torch.tensor(wholes, dtype=torch.int64).reshape(-1, 2),
        torch.tensor(spans, dtype=torch.int64).reshape(-1, 2),
    )


def _padded(ids: Tensor, spans: Tensor) -> tuple[Tensor, Tensor]:
    begin, end = spans[:, :1], spans[:, 1:]
    at = begin + torch.arange(int((end - begin).max()))  # B T+1
    inside = at < end
    window = ids[torch.minimum(at, end - 1)].long()
    inputs = torch.where(inside[:, 1:], window[:, :-1], PAD)  # a last token is a target only
    return inputs, torch.where(inside[:, 1:], window[:, 1:], MASKED)


def documents_of(corpus: Corpus) -> tuple[str, ...]:
    """The documents of a corpus: its own, else its lines that are not blank."""
    if corpus.documents is not None:
        return corpus.documents
    return tuple(line for line in corpus.text.split("\n") if line.strip())


def trained_part(corpus: Corpus, recipe: Recipe) -> Corpus:
    """The corpus without the documents that a recipe leaves out."""
    if not recipe.max_documents:
        return corpus
    kept = documents_of(corpus)[: recipe.max_documents]
    return replace(corpus, text="\n".join(kept), documents=kept)


def prepare(corpus: Corpus, tokenizer: Tokenizer, recipe: Recipe) -> Data:
    """Split a corpus as its recipe says, encode both parts, and check that the model can be trained on them.

    Raises CorpusError (a ValueError) naming the shortest text or the longest context that would work.
    """
    corpus = trained_part(corpus, recipe)
    context = recipe.model_config(tokenizer.vocab_size).context
    token_bytes = torch.tensor(tokenizer.token_bytes(), dtype=torch.float64)
    if recipe.cut == "documents":
        return _documents(corpus, tokenizer, recipe, token_bytes, context)
    train_text, val_text = split_text(corpus.text, recipe.train.val_fraction, recipe.tokenizer in ("word", "words"))
    train, val = tokenizer.encode_tensor(train_text), tokenizer.encode_tensor(val_text)
    check_trainable(len(train), len(val), context)
    return Blocks(train, val, token_bytes, context)


def _documents(corpus: Corpus, tokenizer: Tokenizer, recipe: Recipe, token_bytes: Tensor, context: int) -> Sequences:
    end = tokenizer.end_of_text
    if end is None:
        raise ConfigError("documents need a tokenizer with an end-of-text token: build it for documents.")
    documents = documents_of(corpus)
    if len(documents) < 2:
        raise OneDocument(
            "The text is one document, so there is no end to learn from others. "
            "Cut it into blocks, or bring a text with a document on each line."
        )
    train, val = split_documents(documents, recipe.train.val_fraction)
    head = [end] if recipe.start_mark else []
    # The mark stands for the line break that parts two documents, where a first word does not carry that byte already.
    token_bytes[end] = 0.0 if tokenizer.kind == "words" and recipe.start_mark else 1.0
    train_ids, val_ids = (([*head, *tokenizer.encode(text), end] for text in part) for part in (train, val))
    return Sequences.of(train_ids, val_ids, token_bytes, context)


def check_vocabulary(tokenizer: Tokenizer) -> None:
    """Raises OneToken for a vocabulary that holds one token besides the end of a text."""
    if tokenizer.vocab_size - (tokenizer.end_of_text is not None) < 2:
        raise OneToken(
            f"tokenizer {tokenizer.kind} finds one token in this text, over and over: there is nothing to predict. "
            "Use tokenizer char, or a text with different words."
        )


def build_tokenizer(corpus: Corpus, recipe: Recipe, progress: Callable[[float], None] | None = None) -> Tokenizer:
    """The tokenizer of a recipe, for a corpus. Raises ValueError with a sentence.

    Characters and words are collected from the whole corpus, so that held-out text can be written too; the merges of a
    byte-pair vocabulary are learnt from the training part alone, so that held-out text is new to them. called
    with rising shares of the work, 0 to 1, while a byte-pair vocabulary is learnt.
    """
    marked = recipe.cut == "documents"
    if recipe.tokenizer == "gpt2":
        return Tokenizer.gpt2()
    text = corpus.text
    if marked:  # what joins the documents in `text` is no part of any of them
        text = ("" if recipe.tokenizer == "char" else "\n").join(documents_of(corpus))
    if recipe.tokenizer == "bpe":
        if marked:
            text = "\n".join(split_documents(documents_of(corpus), recipe.train.val_fraction)[0])
        else:
            text, _ = split_text(text, recipe.train.val_fraction)
        return Tokenizer.bpe(text, recipe.vocab_size, progress)
    if recipe.tokenizer == "char":
        return Tokenizer.char(text, end_of_text=marked)
    return Tokenizer.word(text, end_of_text=marked, spaces=recipe.tokenizer == "word")
