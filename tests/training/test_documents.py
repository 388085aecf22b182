"""Documents mode: one sequence a document, closed by its mark, the padding out of the loss."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from model import ConfigError, Tokenizer
from tests.training.tiny import tiny_config, tiny_corpus, tiny_model, tiny_recipe
from training.baselines import measure
from training.corpus import CorpusError
from training.data import MASKED, Sequences, build_tokenizer, documents_of, prepare
from training.events import Evaluated, Stepped
from training.loop import evaluate, train_steps

NAMES = ("anna", "bo", "clementine", "d", "eve", "frances", "gus", "hal", "ida", "jo")
CORPUS = tiny_corpus("\n".join(NAMES), NAMES)
RECIPE = tiny_recipe(cut="documents", context=4, val_fraction=0.2)
MARKED = build_tokenizer(CORPUS, RECIPE)
END = MARKED.end_of_text


def data_of(**changes: object) -> Sequences:
    data = prepare(CORPUS, MARKED, RECIPE.with_changes(changes))
    assert isinstance(data, Sequences)
    return data


def test_the_vocabulary_is_that_of_the_documents_and_one_mark() -> None:
    assert END is not None
    assert MARKED.vocab_size == len(set("".join(NAMES))) + 1  # no line break: it is in no document
    assert build_tokenizer(CORPUS, RECIPE.with_changes({"cut": "blocks"})).end_of_text is None
    for kind in ("word", "bpe"):
        tokenizer = build_tokenizer(CORPUS, RECIPE.with_changes({"tokenizer": kind, "vocab_size": 260}))
        assert tokenizer.end_of_text is not None


@pytest.mark.parametrize("start_mark", [True, False])
def test_every_token_of_every_document_is_a_target_once(start_mark: bool) -> None:
    """Whatever the length of a document; its first token only where a mark stands before it."""
    data = data_of(start_mark=start_mark)
    for spans, ids, names in ((data.train_spans, data.train, NAMES[:8]), (data.val_spans, data.val, NAMES[8:])):
        targets, inputs = [], []
        for begin, end in spans.tolist():
            assert 2 <= end - begin <= data.context + 1
            inputs.append(ids[begin : end - 1].tolist())
            targets += ids[begin + 1 : end].tolist()
        wanted = [token for name in names for token in [*MARKED.encode(name)[not start_mark :], END]]
        assert targets == wanted
        assert (inputs[0][0] == END) is start_mark


def test_a_batch_pads_behind_the_end_and_masks_it() -> None:
    data = data_of()
    inputs, targets = data.batch(64, torch.Generator().manual_seed(5))
    assert inputs.shape == targets.shape == (64, 4)
    examples = {tuple(data.train[begin:end].tolist()) for begin, end in data.train_spans.tolist()}
    drawn = set()
    for row, wanted in zip(inputs.tolist(), targets.tolist(), strict=True):
        length = sum(target != MASKED for target in wanted)
        assert wanted[length:] == [MASKED] * (4 - length)
        assert row[length:] == [0] * (4 - length)
        assert row[1:length] == wanted[: length - 1]
        drawn.add((row[0], *wanted[:length]))
    assert drawn == examples  # all of them, and nothing else


def test_padding_changes_no_real_logit_and_no_loss() -> None:
    """The loss of a padded batch is the mean over the real targets, each document computed alone."""
    data, model = data_of(), tiny_model(vocab_size=MARKED.vocab_size, context=4)
    inputs, targets = data.batch(16, torch.Generator().manual_seed(6))
    with torch.no_grad():
        padded = F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())
        alone = [
            F.cross_entropy(model(row[None, : int(real.sum())])[0], wanted[real], reduction="none")
            for row, wanted in zip(inputs, targets, strict=True)
            for real in [wanted != MASKED]
        ]
    assert padded.item() == pytest.approx(torch.cat(alone).mean().item(), abs=1e-6)


def test_the_held_out_loss_counts_each_real_target_once() -> None:
    """Against one document at a time; the mark counts as one byte, the line break that it stands for."""
    data, model = data_of(), tiny_model(vocab_size=MARKED.vocab_size, context=4)
    nats, count, size = 0.0, 0, 0
    for name in NAMES[8:]:
        ids = torch.tensor([END, *MARKED.encode(name), END])
        with torch.no_grad():
            nats += F.cross_entropy(model(ids[None, :-1])[0], ids[1:], reduction="sum").item()
        count, size = count + len(ids) - 1, size + len(name) + 1
    for batch_size in (1, 3):
        val_loss, bits = evaluate(model, data, 10**6, batch_size)
        assert val_loss == pytest.approx(nats / count, rel=1e-5)
        assert bits == pytest.approx(nats / math.log(2) / size, rel=1e-5)


def test_a_training_on_documents_learns_to_end_them() -> None:
    """With every document held in one context, the model ends its texts where the documents end."""
    recipe = tiny_recipe(cut="documents", context=16, val_fraction=0.0, steps=150, batch_size=8, eval_every=50)
    data = prepare(CORPUS, MARKED, recipe)
    model = tiny_model(vocab_size=MARKED.vocab_size, context=16)
    events = list(train_steps(model, data, recipe.train, MARKED))
    assert [event for event in events if isinstance(event, Stepped)][-1].loss < 0.8
    assert all(event.val_loss is None for event in events if isinstance(event, Evaluated))
    model.eval()
    with torch.no_grad():
        for name in NAMES[2:6]:
            ids = torch.tensor([[END, *MARKED.encode(name)]])
            assert int(model(ids)[0, -1].argmax()) == END


def test_tokens_per_second_count_real_tokens_only() -> None:
    ticks = iter(range(10_000))
    config = tiny_config(steps=2, batch_size=4, eval_every=9, sample_every=0)
    model = tiny_model(vocab_size=MARKED.vocab_size, context=4)
    events = list(train_steps(model, data_of(), config, MARKED, clock=lambda: float(next(ticks))))
    order = torch.Generator().manual_seed(config.seed)
    for event in events:
        if isinstance(event, Stepped):
            _, targets = data_of().batch(4, order)
            assert event.tokens_per_s == int((targets != MASKED).sum())


def test_baselines_never_look_across_documents() -> None:
    data = data_of()
    train, val = data.sequences(), [data.val[begin:end] for begin, end in data.val_documents.tolist()]
    assert [MARKED.decode(ids.tolist()[1:-1]) for ids in train] == list(NAMES[:8])
    assert [MARKED.decode(ids.tolist()[1:-1]) for ids in val] == list(NAMES[8:])
    apart = measure(train, val, MARKED.vocab_size, data.token_bytes)
    joined = measure([data.train], [data.val], MARKED.vocab_size, data.token_bytes)
    assert apart.values["bigram"] != joined.values["bigram"]


@pytest.mark.parametrize("tokens", [1, 9, 1000])
def test_pieces_are_what_is_measured_after_what_goes_before_it_in_its_document(tokens: int) -> None:
    data = data_of()
    measured = torch.cat([targets[targets != MASKED] for _, targets in data.held_out(tokens, 2)])
    pieces = data.held_out_pieces(tokens, 3)
    assert torch.equal(torch.cat([ids[known:] for ids, known in pieces]), measured)
    documents = [data.val[begin:end].tolist() for begin, end in data.val_documents.tolist()]
    for ids, known in pieces:
        whole = ids.tolist()
        assert 1 <= known <= 4
        inside = [
            document for document in documents if whole == document[-len(whole) :] or whole == document[: len(whole)]
        ]
        assert inside, "a piece crosses documents"
        assert known == 4 or any(whole == document[: len(whole)] for document in inside)


def test_lines_are_the_documents_of_a_text_without_any() -> None:
    assert documents_of(tiny_corpus("one\n\n  \ntwo three\n")) == ("one", "two three")
    assert documents_of(CORPUS) == NAMES


def test_what_cannot_be_cut_into_documents_is_refused() -> None:
    with pytest.raises(CorpusError, match="one document, so there is no end"):
        prepare(tiny_corpus("one line only"), Tokenizer.char("one line only", end_of_text=True), RECIPE)
    with pytest.raises(ConfigError, match="end-of-text"):
        prepare(CORPUS, Tokenizer.char("".join(NAMES)), RECIPE)
    assert len(data_of(val_fraction=0.0).val) == 0
