"""The training loop against recomputations of its own: batches, losses, updates, measurements, samples."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from model import GPT, Tokenizer
from model.gpt import KVCache
from tests.training.tiny import CHAR, SHAPE, tiny_config, tiny_data, tiny_model
from training import loop
from training.config import Recipe, TrainConfig
from training.corpus import from_text
from training.data import Blocks, Data, build_tokenizer, prepare
from training.events import Evaluated, Event, Finished, Sampled, Started, Stepped
from training.loop import TrainingError, bytes_per_token, evaluate, pick_device, train_steps
from training.optim import make_adamw

MULTIBYTE = "Grüße, 日本語! 👍🏽 naïve café – “so”…\n" * 30


def ticking() -> Callable[[], float]:
    """A clock that is a second later at every look."""
    return map(float, itertools.count()).__next__


def run(model: GPT | None = None, data: Data | None = None, tokenizer: Tokenizer = CHAR, **changes: Any) -> list[Event]:
    return list(
        train_steps(model or tiny_model(), data or tiny_data(), tiny_config(**changes), tokenizer, clock=ticking())
    )


def losses(events: list[Event]) -> list[float]:
    return [event.loss for event in events if isinstance(event, Stepped)]


def measured(events: list[Event]) -> list[Evaluated]:
    return [event for event in events if isinstance(event, Evaluated)]


# -- order and seeds --------------------------------------------------------------------------------------------------


def test_what_happens_in_which_order() -> None:
    events = run(steps=5, eval_every=2, sample_every=3)
    seen = [f"{event.kind} {event.step}" for event in events]
    assert seen == (
        "started 0, eval 0, sample 0, step 1, step 2, eval 2, step 3, sample 3, step 4, eval 4, step 5, eval 5, "
        "sample 5, finished 5"
    ).split(", ")
    assert events[0] == Started(0, 0.0, 5, tiny_model().parameter_count(), "cpu", 1.0, train_bytes_per_token=1.0)
    assert isinstance(events[-1], Finished)
    assert events[-1].reason == "done"
    times = [event.wall_s for event in events]
    assert times == sorted(times)
    assert not [event for event in run(sample_every=0) if isinstance(event, Sampled)]
    # the clock moves one second during a step of 4 stretches of 8 tokens
    assert {event.tokens_per_s for event in events if isinstance(event, Stepped)} == {32.0}


@pytest.mark.parametrize(("dropout", "optimizer"), [(0.0, "adamw"), (0.3, "adamw"), (0.3, "muon")])
def test_the_seed_decides_everything(dropout: float, optimizer: str) -> None:
    def whole_run(seed: int) -> tuple[list[Event], dict[str, torch.Tensor]]:
        model = tiny_model(dropout=dropout)
        torch.seed()  # the process's own generator stands anywhere
        return run(model, seed=seed, sample_every=2, optimizer=optimizer), model.state_dict()

    (first, weights), (again, same), (other, _) = whole_run(7), whole_run(7), whole_run(8)
    assert first == again, "two runs of one seed differ"
    assert all(torch.equal(weights[name], same[name]) for name in weights)
    assert losses(first) != losses(other)
    assert [e.text for e in first if isinstance(e, Sampled)] != [e.text for e in other if isinstance(e, Sampled)]


def test_looking_at_the_model_does_not_change_its_training() -> None:
    often = run(tiny_model(dropout=0.3), eval_every=1, sample_every=1)
    seldom = run(tiny_model(dropout=0.3), eval_every=6, sample_every=0)
    assert losses(often) == losses(seldom)


def test_dropout_is_on_in_training_and_off_in_measuring() -> None:
    plain, dropped = run(tiny_model()), run(tiny_model(dropout=0.5))
    assert losses(plain)[0] != losses(dropped)[0]
    assert measured(plain)[0].val_loss == measured(dropped)[0].val_loss


def test_dropout_follows_the_seed_and_is_new_at_every_step() -> None:
    """A text of one stretch and hardly a learning rate: nothing but dropout can make two losses differ."""
    one = Blocks(torch.arange(9), torch.arange(0), torch.ones(CHAR.vocab_size), context=8)

    def course(seed: int, dropout: float) -> list[float]:
        model = tiny_model(dropout=dropout)
        return losses(run(model, one, seed=seed, val_fraction=0.0, learning_rate=1e-9, batch_size=1))

    assert max(course(1, 0.0)) - min(course(1, 0.0)) < 1e-6
    assert course(1, 0.0) == course(2, 0.0)
    assert len({round(loss, 4) for loss in course(1, 0.5) + course(2, 0.5)}) == 12


# -- the update -------------------------------------------------------------------------------------------------------


def drawn(data: Data, config: TrainConfig) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """The batches of a run, by the generator that the loop documents: seeded with the run's seed, one draw a step."""
    generator = torch.Generator().manual_seed(config.seed)
    while True:
        places = torch.randint(0, len(data.train) - data.context, (config.batch_size, 1), generator=generator)
        rows = [data.train[place : place + data.context + 1].long() for place in places.flatten().tolist()]
        yield torch.stack([row[:-1] for row in rows]), torch.stack([row[1:] for row in rows])


def test_the_first_loss_is_that_of_the_first_batch() -> None:
    model, data, config = tiny_model(), tiny_data(), tiny_config(seed=99)
    inputs, targets = next(drawn(data, config))
    logits = model(inputs)
    expected = F.cross_entropy(logits.reshape(-1, CHAR.vocab_size), targets.reshape(-1)).item()
    by_hand = -torch.log_softmax(logits, -1).gather(-1, targets[..., None]).mean().item()
    first = losses(run(model, data, seed=99))[0]
    assert first == expected
    assert first == pytest.approx(by_hand, rel=1e-6)


def norm_of_gradient(model: GPT) -> float:
    parts = [p.grad.double().flatten() for p in model.parameters() if p.grad is not None]
    return torch.cat(parts).norm().item()


def reference(model: GPT, data: Data, config: TrainConfig) -> tuple[list[float], list[float], float]:
    """AdamW as in its paper, over the drawn batches: losses, gradient norms, and the last norm after clipping."""
    batches = drawn(data, config)
    state = {p: (torch.zeros_like(p), torch.zeros_like(p)) for p in model.parameters()}
    found, norms, clipped = [], [], 0.0
    for step in range(1, config.steps + 1):
        inputs, targets = next(batches)
        model.zero_grad()
        loss = F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())
        torch.autograd.backward(loss)
        found.append(loss.item())
        norms.append(norm_of_gradient(model))
        scale = min(1.0, config.grad_clip / norms[-1]) if config.grad_clip else 1.0
        clipped = norms[-1] * scale
        lr = config.lr_at(step)
        with torch.no_grad():
            for p, (mean, square) in state.items():
                assert p.grad is not None
                g = p.grad * scale
                mean += (1 - config.beta1) * (g - mean)
                square += (1 - config.beta2) * (g * g - square)
                p.mul_(1 - lr * (config.weight_decay if p.dim() >= 2 else 0.0))
                corrected = mean / (1 - config.beta1**step), square / (1 - config.beta2**step)
                p.sub_(lr * corrected[0] / (corrected[1].sqrt() + 1e-8))
    return found, norms, clipped


@pytest.mark.parametrize("clip", [0.0, 0.05, 1e3])
@pytest.mark.parametrize("decay", [0.0, 2.0])
def test_steps_are_those_of_adamw_written_out(clip: float, decay: float) -> None:
    config = tiny_config(grad_clip=clip, weight_decay=decay, beta1=0.8, beta2=0.9, seed=5)
    theirs, ours, data = tiny_model(seed=1), tiny_model(seed=1), tiny_data()
    found, norms, clipped = reference(theirs, data, config)
    events = run(ours, data, grad_clip=clip, weight_decay=decay, beta1=0.8, beta2=0.9, seed=5)
    steps = [event for event in events if isinstance(event, Stepped)]
    assert [step.loss for step in steps] == pytest.approx(found, rel=1e-4)
    assert [step.grad_norm for step in steps] == pytest.approx(norms, rel=1e-3)
    assert [step.lr for step in steps] == [config.lr_at(i) for i in range(1, 7)]
    expected = dict(theirs.named_parameters())
    for name, value in ours.named_parameters():
        torch.testing.assert_close(value, expected[name], rtol=1e-3, atol=2e-5, msg=name)
    # what the optimizer got is still in .grad: the gradient after clipping
    left = norm_of_gradient(ours)
    assert left == pytest.approx(clipped, rel=1e-3)
    if clip == 0.05:
        assert all(step.grad_norm > 2 * clip for step in steps), "nothing was clipped, so nothing was tested"
        assert left == pytest.approx(clip, rel=1e-3)


def test_decay_pulls_on_matrices_only() -> None:
    model, config = tiny_model(), tiny_config(weight_decay=0.3, learning_rate=0.5)
    optimizer = make_adamw(model, config)
    held = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert len(held) == len(list(model.parameters()))
    for name, p in model.named_parameters():
        assert held[id(p)] == (0.0 if "ln_" in name or name.endswith("bias") else 0.3), name
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    for name, p in model.named_parameters():  # without a gradient only the decay is left: 1 - 0.5 * 0.3
        torch.testing.assert_close(p.detach(), before[name] * (0.85 if held[id(p)] else 1.0), rtol=1e-6, atol=0.0)


# -- measuring --------------------------------------------------------------------------------------------------------


def by_hand(model: GPT, ids: list[int], context: int, count: int) -> tuple[float, list[int]]:
    """Nats over `count` evenly spread windows of a stream, and the ids that were predicted, one window at a time."""
    fitting = (len(ids) - 1) // context
    nats, predicted = 0.0, list[int]()
    for i in range(count):
        start = (i * fitting // count) * context
        window = torch.tensor(ids[start : start + context + 1])
        with torch.no_grad():
            log_p = torch.log_softmax(model(window[None, :-1])[0].double(), dim=-1)
        nats -= sum(log_p[t, token].item() for t, token in enumerate(window[1:].tolist()))
        predicted += window[1:].tolist()
    return nats, predicted


@pytest.mark.parametrize("count", [1, 5, None])
def test_a_measurement_over_characters_of_several_bytes(count: int | None) -> None:
    tokenizer = Tokenizer.char(MULTIBYTE)
    data = tiny_data(MULTIBYTE, tokenizer, val_fraction=0.3)
    model = tiny_model(vocab_size=tokenizer.vocab_size).eval()
    windows = count or (len(data.val) - 1) // 8
    nats, predicted = by_hand(model, data.val.tolist(), 8, windows)
    loss, bits = evaluate(model, data, windows * 8, batch_size=3)
    assert loss == pytest.approx(nats / (windows * 8), rel=1e-5)
    size = len(tokenizer.decode(predicted).encode())
    assert size > len(predicted)
    assert bits == pytest.approx(nats / math.log(2) / size, rel=1e-5)


def test_a_measurement_over_byte_pairs() -> None:
    tokenizer = Tokenizer.bpe(MULTIBYTE, 285)
    data = tiny_data(MULTIBYTE, tokenizer, val_fraction=0.4)
    model = tiny_model(vocab_size=tokenizer.vocab_size).eval()
    ids = data.val.tolist()
    windows = (len(ids) - 1) // 8
    nats, _ = by_hand(model, ids, 8, windows)
    # predicted is all but the first token and what no window reaches: count the bytes of the text around it
    text = tokenizer.decode(ids)
    outside = len(b"".join(tokenizer.piece(i).raw for i in [ids[0], *ids[1 + windows * 8 :]]))
    loss, bits = evaluate(model, data, 10**6, batch_size=5)
    assert loss == pytest.approx(nats / (windows * 8), rel=1e-5)
    assert bits == pytest.approx(nats / math.log(2) / (len(text.encode()) - outside), rel=1e-5)
    assert len(text.encode()) - outside > 2 * windows * 8


@pytest.mark.parametrize("held_out", [0.3, 0.0])
@pytest.mark.parametrize("cut", ["blocks", "documents", "documents without a mark before"])
def test_bytes_of_a_token_are_those_of_the_targets(cut: str, held_out: float) -> None:
    """Nats and bits of an evaluation stand in the very ratio that a run says at its beginning."""
    recipe = Recipe(
        tokenizer="char", cut="blocks" if cut == "blocks" else "documents", start_mark=cut == "documents",
        model=SHAPE, train=tiny_config(val_fraction=held_out),
    )  # fmt: skip
    corpus = from_text(MULTIBYTE)
    tokenizer = build_tokenizer(corpus, recipe)
    data = prepare(corpus, tokenizer, recipe)
    model = tiny_model(vocab_size=tokenizer.vocab_size).eval()
    size = bytes_per_token(data, 200)
    assert size is not None
    loss, bits = evaluate(model, data, 200, batch_size=3)
    if loss is not None:
        assert bits == pytest.approx(loss / math.log(2) / size, rel=1e-9)
        return
    parts = [ids.tolist()[1:] for ids in data.sequences()]
    count = sum(map(len, parts))
    raw = sum(len(tokenizer.piece(i).raw) if i != tokenizer.end_of_text else 1 for ids in parts for i in ids)
    assert size == pytest.approx(raw / count, rel=1e-9)


def test_measuring_leaves_the_model_as_it_was() -> None:
    model, data = tiny_model(dropout=0.5), tiny_data()
    values = []
    for training in (True, False, True):
        model.train(training)
        values.append(evaluate(model, data, 500, 4))
        assert model.training is training
        assert all(module.training is training for module in model.modules())
    assert values[0] == values[1] == values[2], "dropout was on"
    assert all(p.grad is None for p in model.parameters())
    assert evaluate(model, data, 500, 4)[0] == pytest.approx(evaluate(model, data, 500, 9)[0], rel=1e-6)
    assert evaluate(model, tiny_data(val_fraction=0.0), 500, 4) == (None, None)


def test_the_events_carry_the_measurements() -> None:
    model = tiny_model()
    before = evaluate(model, tiny_data(), 200, 4)
    events = run(model, steps=7, eval_every=3, eval_tokens=200)
    zero, *rest = measured(events)
    assert (zero.step, zero.loss, zero.val_loss, zero.bits_per_byte) == (0, None, *before)
    assert [event.step for event in rest] == [3, 6, 7]
    ours = losses(events)
    for event, part in zip(rest, (ours[:3], ours[3:6], ours[6:]), strict=True):
        assert event.loss == pytest.approx(sum(part) / len(part), rel=1e-12)
    assert (rest[-1].val_loss, rest[-1].bits_per_byte) == evaluate(model, tiny_data(), 200, 4)
    lowest = math.inf
    for event in measured(events):
        assert event.val_loss is not None
        assert event.best is (event.val_loss < lowest)
        lowest = min(lowest, event.val_loss)


def test_without_held_out_text_the_training_loss_says_what_is_best() -> None:
    events = run(data=tiny_data(val_fraction=0.0), val_fraction=0.0, steps=30, eval_every=10)
    assert [event.val_loss for event in measured(events)] == [None] * 4
    assert [event.bits_per_byte for event in measured(events)] == [None] * 4
    assert [event.best for event in measured(events)] == [False, True, True, True]


def test_without_held_out_text_newer_weights_are_best_unless_the_loss_has_risen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A mean over some batches that is lower by a hair is noise, and what a finished run opens is its last step."""
    monkeypatch.setattr(loop, "_NOISE", 10.0)
    settings: dict[str, Any] = {"val_fraction": 0.0, "steps": 30, "eval_every": 10, "learning_rate": 1e-9}
    assert [e.best for e in measured(run(data=tiny_data(val_fraction=0.0), **settings))] == [False, True, True, True]
    monkeypatch.setattr(loop, "_NOISE", 0.0)
    still = measured(run(data=tiny_data(val_fraction=0.0), **settings))
    assert not all(event.best for event in still[1:]), "the rates are too high to see any noise"


# -- learning, targets, failure ---------------------------------------------------------------------------------------


def test_two_hundred_steps_learn_a_small_text() -> None:
    events = run(steps=200, batch_size=8, eval_every=100, warmup_steps=10)
    first, last = measured(events)[0].val_loss, measured(events)[-1].val_loss
    assert first == pytest.approx(math.log(CHAR.vocab_size), rel=0.1)
    assert last is not None
    assert last < 0.5
    assert sum(losses(events)[-10:]) / 10 < 0.5


def test_a_target_ends_the_run_at_the_first_measurement_that_reaches_it() -> None:
    free = run(steps=60, eval_every=5)
    curve = [(event.step, event.val_loss) for event in measured(free)]
    target = curve[6][1]
    assert target is not None
    reached = next(step for step, value in curve if value is not None and value <= target)
    events = run(steps=60, eval_every=5, until_val_loss=target)
    assert [type(event) for event in events[-2:]] == [Evaluated, Finished]
    assert isinstance(events[-1], Finished)
    assert (events[-1].step, events[-1].reason) == (reached, "target")
    assert 0 < reached < 60
    assert losses(events) == losses(free)[:reached]
    never = run(steps=10, eval_every=5, until_val_loss=0.0)[-1]
    assert isinstance(never, Finished)
    assert (never.step, never.reason) == (10, "done")


SENTENCE = re.compile(
    r"the loss is no longer a number since step (\d+)(?: \(it was [\d.]+ a step before\))?: the updates were too "
    r"large\. Train again with a learning rate of (\S+) instead of (\S+)\."
)


def failure(model: GPT | None = None, **changes: Any) -> tuple[str, str, str, list[Event]]:
    """Step, advised and present learning rate of the sentence that ends a run, and the events before it."""
    events: list[Event] = []
    happening = train_steps(model or tiny_model(), tiny_data(), tiny_config(**changes), CHAR)
    with pytest.raises(TrainingError) as raised:
        events.extend(happening)  # what came before the error is kept
    found = SENTENCE.fullmatch(str(raised.value))
    assert found, str(raised.value)
    return found[1], found[2], found[3], events


def test_a_run_that_diverges_says_where_and_what_to_do() -> None:
    wild: dict[str, Any] = {"steps": 300, "learning_rate": 1.0, "weight_decay": 10.0, "grad_clip": 0.0}
    step, advice, present, events = failure(**wild, warmup_steps=0, schedule="constant", eval_every=300)
    assert (advice, present) == ("0.1", "1")
    assert int(step) == len(losses(events)) + 1
    assert 1 < int(step) < 100
    assert all(map(math.isfinite, losses(events)))
    # the advice is about the setting, also while the rate still rises
    assert failure(**wild, warmup_steps=200)[1:3] == ("0.1", "1")


def test_what_breaks_besides_the_training_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    exploding = tiny_model()
    exploding.ln_final.weight.register_hook(lambda gradient: gradient * math.inf)
    step, advice, present, events = failure(exploding, learning_rate=0.02)
    assert (step, advice, present, losses(events)) == ("1", "0.002", "0.02", [])
    blind = tiny_model()  # finite on the training text, not on the held-out one
    original = blind.forward

    def forward(ids: torch.Tensor, cache: KVCache | None = None) -> torch.Tensor:
        logits = original(ids, cache)
        return logits if blind.training else logits * math.nan

    monkeypatch.setattr(blind, "forward", forward)
    assert failure(blind)[0] == "0"


def test_devices() -> None:
    expected = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    assert pick_device("auto").type == expected
    assert pick_device("cpu") == torch.device("cpu")
    for name in ("abacus", *([] if torch.cuda.is_available() else ["cuda"])):
        with pytest.raises(TrainingError) as raised:
            pick_device(name)
        assert str(raised.value) == f"the device '{name}' cannot be used on this machine: choose auto or cpu."
