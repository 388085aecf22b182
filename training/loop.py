"""The training loop: a generator of events, deterministic by its seed.

No threads, no files, no screen: whoever asks for the next event lets the next step happen, so a pause is not asking and
a stop is closing the generator.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model import GPT, Tokenizer
from model.decoding import generate
from model.dropout import drawing
from model.sampling import Settings
from training.batches import Batch, Batches
from training.compiled import Forward
from training.config import TrainConfig
from training.data import MASKED, Data
from training.distill import Teacher
from training.distributed import ALONE, Group
from training.events import Evaluated, Event, Finished, Sampled, Started, Stepped
from training.lanes import Lanes
from training.lens import Lens
from training.precision import products
from training.state import LoopState
from training.threads import one_thread
from training.unseen import collects, unseen

NO_NUMBER = "the loss is no longer a number"
"""What a run that broke in this way says first; diagnosis.py knows it by that."""
_FIRST_SAMPLE = 40  # tokens
_NOISE = 0.05  # a mean training loss that is higher by so much says nothing against the newer weights
_PIECE, _ROWS = 1 << 20, 256  # tokens, and rows of a batch, that are looked at together
_ONE = Lanes()


class TrainingError(ValueError):
    """Training cannot go on; the message says why and what to change."""


@dataclass(frozen=True)
class _Training:
    """All that a step has to do with."""

    model: GPT
    data: Data
    batches: Batches
    forward: Forward
    config: TrainConfig
    teacher: Teacher | None
    state: LoopState
    group: Group
    lens: Lens
    lanes: Lanes
    wall: Callable[[], float]

    @functools.cached_property
    def parameters(self) -> list[nn.Parameter]:
        """Of the model; to ask it in every step is a walk over all its modules."""
        return list(self.model.parameters())


def pick_device(name: str) -> torch.device:
    """`auto` -> CUDA, else Apple's MPS, else the CPU. Raises TrainingError for a device that is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:  # torch raises either, by build
        raise TrainingError(f"the device {name!r} cannot be used on this machine: choose auto or cpu.") from error
    return device


def train_steps(
    model: GPT,
    data: Data,
    config: TrainConfig,
    tokenizer: Tokenizer,
    clock: Callable[[], float] = time.perf_counter,
    teacher: Teacher | None = None,
    state: LoopState | None = None,
    group: Group = ALONE,
    lens: Lens | None = None,
    lanes: Lanes = _ONE,
) -> Iterator[Event]:
    """Train `model` in place, yielding what happens. Raises TrainingError when the loss is no longer a number.

    The model, and the teacher where there is one, must be where the training is to happen. The order: Started, an
    evaluation and a sample before the first step, then a Stepped a step, Evaluated and Sampled where they are due,
    Finished. state: where it stands, kept up to date before each event; one that was restored goes on from there.
    group: the processes that train it together; all of them come by here, with the same state but for samples.
    lens: looks closely at a step where it is wanted; for one process alone. lanes: how a step is dealt out to threads;
    more than one for one process, on a CPU.
    """
    state = state if state is not None else LoopState.fresh(model, config)
    begun = clock() - state.wall_s

    def wall() -> float:
        state.wall_s = clock() - begun
        return state.wall_s

    batches = Batches(data, state.order, group, model.device)
    forward = Forward(group.forward(model), "never" if group.sharded else config.compile, model.device)
    training = _Training(model, data, batches, forward, config, teacher, state, group, lens or Lens(), lanes, wall)
    state.optimizer.share(lanes)
    if not state.begun:
        state.begun = True
        several = group.size if group.size > 1 else None
        parameters, device = model.parameter_count(), model.device.type
        yield Started(state.step, 0.0, config.steps, parameters, device, *_sizes(data, config, tokenizer, several))
    while True:
        last = state.step >= config.steps
        first = state.measured < 0  # a fork begins at any step
        if state.measured < state.step and (last or first or state.step % config.eval_every == 0):
            yield _measure(training)
        measured = state.val_loss if state.measured == state.step else None
        if config.until_val_loss is not None and measured is not None and measured <= config.until_val_loss:
            yield Finished(state.step, wall(), "target")
            return
        sampling = config.sample_every and (last or state.sampled < 0 or state.step % config.sample_every == 0)
        if sampling and state.sampled < state.step:
            state.sampled = state.step
            if group.rank == 0 or group.sharded:
                # Before the first step it is noise: a short one will do, and the first step need not wait for more.
                length = config.sample_tokens if state.step else min(config.sample_tokens, _FIRST_SAMPLE)
                text = sample(model, tokenizer, config, length)
                yield Sampled(state.step, wall(), config.sample_prompt, text)
        if last:
            break
        if not group.go_on():
            yield Finished(state.step, wall(), "stopped")
            return
        yield _step(training)
    yield Finished(state.step, wall(), "done")


def _step(t: _Training) -> Stepped:
    """One update: loss on the text before it, loss against the teacher, gradient norm before clipping."""
    model, config, state, group = t.model, t.config, t.state, t.group
    before, step, looked_at = t.wall(), state.step + 1, t.lens.wanted
    lr = config.lr_at(step) * state.rate
    rows = state.batch_size * config.accumulate * group.size
    batch = t.batches.take(rows)
    if not model.training:  # saying so is such a walk, too
        model.train()
    state.optimizer.zero_grad()
    if looked_at:
        t.lens.begin(model)
    told, tokens, norms = _gradients(t, batch, looked_at)
    if looked_at:
        t.lens.backward(model)
    norm, scale = group.clip(t.parameters, config.grad_clip or math.inf, norms)
    state.optimizer.step(lr / config.learning_rate, scale)
    t.batches.prepare(rows)  # before anything waits for an accelerator's numbers
    (found, soft_loss), length = group.total(told.tolist()), norm.item()
    if not (math.isfinite(found) and math.isfinite(length)):
        raise TrainingError(_diverged(step, config, state))
    if looked_at:
        t.lens.end(model, step, batch, found, lr, length)
    state.step = step
    state.recent.append(found)
    seconds = max(t.wall() - before, 1e-9)
    t.forward.passed(seconds, config.steps - step)
    return Stepped(step, state.wall_s, found, lr, length, tokens / seconds, soft_loss if t.teacher else None)


def _gradients(t: _Training, batch: Batch, looked_at: bool) -> tuple[Tensor, int, list[Tensor] | None]:
    """Leave the whole batch's gradient in the parameters; this process's part of its loss and of that against the
    teacher (2), the targets of all, and each parameter's gradient norm () where that is known by the way.

    batch: this process's rows of it, taken a batch at a time. Every target counts the same, in whichever part.
    """
    device, size = t.model.device, t.state.batch_size
    inputs, targets = (torch.split(part.to(device, non_blocking=True), size) for part in batch)
    counts = [int((part != MASKED).sum()) for part in torch.split(batch[1], size)]
    tokens = int(t.group.total([sum(counts)])[0])
    losses, norms = [], None
    for number, (x, y, count) in enumerate(zip(inputs, targets, counts, strict=True), 1):
        if t.lanes.count > 1:
            found, norms = _side_by_side(t, x, y, tokens, number)
        else:
            with t.group.adding(t.model, more=number < len(counts)):
                mean, told, logits = _loss(t, x, y, count / tokens, number)
                mean.backward()  # type: ignore[no-untyped-call]
            found = [(told, logits)]
        for (told, logits), wanted in zip(found, torch.split(y, found[0][1].shape[0]), strict=True):
            losses.append(told)
            if looked_at:
                t.lens.take(logits, wanted)
    return torch.stack(losses).sum(0), tokens, norms


def _loss(
    t: _Training, x: Tensor, y: Tensor, share: float, number: int, lane: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    """Of some rows, which are this share of the step's targets: what to differentiate (); their part in the loss on the
    text and in that against the teacher (2); logits. number, lane: which rows of the step they are."""
    with _drawn(t, number, lane), products(t.config.precision, t.model.device):
        logits = t.forward(x).float()
    loss = F.cross_entropy(logits.flatten(0, 1), y.flatten(), ignore_index=MASKED)
    soft_loss = t.teacher.loss(x, logits, y) if t.teacher else loss
    whole = torch.lerp(loss, soft_loss, t.teacher.share) if t.teacher else loss
    told = torch.stack((loss.detach(), soft_loss.detach())) * share
    return whole * (share * t.group.size), told, logits.detach()  # the mean over the processes is taken of their sum


def _side_by_side(
    t: _Training, x: Tensor, y: Tensor, tokens: int, number: int
) -> tuple[list[tuple[Tensor, Tensor]], list[Tensor]]:
    """Add the gradient of these rows to the parameters', each lane computing that of a part; what `_loss` tells of
    each, and what `add_up` does."""

    def part(lane: int, inputs: Tensor, targets: Tensor) -> tuple[tuple[Tensor, ...], Tensor, Tensor]:
        mean, told, logits = _loss(t, inputs, targets, int((targets != MASKED).sum()) / tokens, number, lane)
        return torch.autograd.grad(mean, t.parameters), told, logits

    rows = -(-len(x) // t.lanes.count)
    pairs = zip(torch.split(x, rows), torch.split(y, rows), strict=True)
    found = t.lanes.run([functools.partial(part, lane, *pair) for lane, pair in enumerate(pairs)])
    norms = add_up(t.parameters, [gradients for gradients, _, _ in found], t.lanes)
    return [(told, logits) for _, told, logits in found], norms


def add_up(parameters: Sequence[nn.Parameter], gradients: Sequence[Sequence[Tensor]], lanes: Lanes) -> list[Tensor]:
    """Leave in each parameter the sum of its gradients from the lanes and of what it had; the norms () of the sums,
    which cost least while a sum is still in the cache."""

    def some(columns: Sequence[tuple[nn.Parameter, tuple[Tensor, ...]]]) -> list[Tensor]:
        norms = []
        for parameter, parts in columns:
            held = () if parameter.grad is None else (parameter.grad,)
            parameter.grad = functools.reduce(Tensor.add_, (*held, *parts))
            norms.append(torch.linalg.vector_norm(parameter.grad))
        return norms

    dealt = lanes.deal(list(zip(parameters, zip(*gradients, strict=True), strict=True)))
    found = lanes.run([functools.partial(some, columns) for columns in dealt])
    return [found[number % len(dealt)][number // len(dealt)] for number in range(len(parameters))]


def _drawn(t: _Training, number: int, lane: int) -> AbstractContextManager[None]:
    """For `with` around a forward pass of a step: dropout draws numbers that follow from the seed, the step and the
    rows, so that none have to be kept. On an accelerator two trainings at once share its generator."""
    if not t.model.config.dropout:
        return nullcontext()
    drawn = f"{t.config.seed} {t.state.step} {t.group.rank} {number} {lane}"
    seed, device = int.from_bytes(hashlib.sha256(drawn.encode()).digest()[:7]), t.model.device
    if device.type == "cpu":
        return drawing(torch.Generator().manual_seed(seed))
    torch.get_device_module(device).manual_seed(seed)
    return nullcontext()


def _measure(t: _Training) -> Evaluated:
    """The held-out loss, and whether it is the best so far; that of the training where nothing is held out."""
    config, state = t.config, t.state
    val_loss, bits = evaluate(t.model, t.data, config.eval_tokens, config.batch_size, t.group, t.lanes)
    if val_loss is not None and not math.isfinite(val_loss):
        raise TrainingError(_diverged(state.step, config, state))
    mean = sum(state.recent) / len(state.recent) if state.recent else None
    watched = val_loss if val_loss is not None else mean
    noise = 0.0 if val_loss is not None else _NOISE * state.best
    improved = watched is not None and watched < state.best + noise
    state.best = min(state.best, watched if watched is not None else state.best)
    state.recent.clear()
    state.measured, state.val_loss = state.step, val_loss
    return Evaluated(state.step, t.wall(), mean, val_loss, bits, improved)


def evaluate(
    model: GPT, data: Data, tokens: int, batch_size: int, group: Group = ALONE, lanes: Lanes = _ONE
) -> tuple[float | None, float | None]:
    """Loss on the held-out text: nats per token and bits per byte, over about `tokens` tokens; None without such text.

    Bits per byte divides by the UTF-8 bytes of the very tokens that were predicted, so runs with different tokenizers
    can be compared. group: those who share the work, and all get the result; lanes: the threads of each.
    """

    def measured(inputs: Tensor, targets: Tensor) -> tuple[float, int, float]:
        with torch.no_grad():
            logits, wanted = model(inputs.to(model.device)), targets.flatten().to(model.device)
            nats = F.cross_entropy(logits.flatten(0, 1), wanted, ignore_index=MASKED, reduction="sum").item()
        real = targets[targets != MASKED]
        return nats, real.numel(), data.token_bytes[real].sum().item()

    was_training = model.training
    model.eval()
    batches = group.shared(data.held_out(tokens, batch_size))
    sums = [0.0, 0.0, 0.0]
    while some := list(itertools.islice(batches, lanes.count)):
        for found in lanes.run([functools.partial(measured, *batch) for batch in some]):
            sums = [a + b for a, b in zip(sums, found, strict=True)]
    model.train(was_training)
    nats, count, size = group.total(sums)
    if not count:
        return None, None
    return nats / count, nats / math.log(2) / size if size else None


def _sizes(
    data: Data, config: TrainConfig, tokenizer: Tokenizer, several: int | None
) -> tuple[float | None, int | None, float | None, float | None, float | None]:
    """What Started tells from bytes_per_token on."""
    trained = train_counts(data)
    if not len(data.val):
        return _bytes_each(trained, data), several, None, None, None
    held_out = held_out_counts(data, config.eval_tokens)
    new = unseen(trained, held_out, tokenizer) if collects(tokenizer) else None
    share, spelling = (new.share, new.spelling) if new is not None else (None, None)
    return _bytes_each(held_out, data), several, share, spelling, _bytes_each(trained, data)


def bytes_per_token(data: Data, eval_tokens: int) -> float | None:
    """UTF-8 bytes of a target on average: what parts nats a token from bits per byte. Of the very targets that
    `evaluate` measures, so that it is the ratio of its two figures; of all of the training where nothing is held out.
    None for a text without bytes."""
    return _bytes_each(held_out_counts(data, eval_tokens) if len(data.val) else train_counts(data), data)


def _bytes_each(counts: Tensor, data: Data) -> float | None:
    return float(counts.double() @ data.token_bytes.double()) / max(1, int(counts.sum())) or None


def held_out_counts(data: Data, eval_tokens: int) -> Tensor:
    """(V,) how often each token is a target that `evaluate` measures."""
    counts = torch.zeros(len(data.token_bytes), dtype=torch.int64)
    for _, targets in data.held_out(eval_tokens, _ROWS):
        counts += torch.bincount(targets[targets != MASKED], minlength=len(counts))
    return counts


def train_counts(data: Data) -> Tensor:
    """(V,) how often each token is a target of the training."""
    counts = torch.zeros(len(data.token_bytes), dtype=torch.int64)
    for part in torch.split(data.train, _PIECE):  # nothing of a text that stays on disk is copied whole
        counts += torch.bincount(part.long(), minlength=len(counts))
    return counts - torch.bincount(data.firsts().long(), minlength=len(counts))  # which nothing goes before


def sample(model: GPT, tokenizer: Tokenizer, config: TrainConfig, tokens: int) -> str:
    """What the model writes after the sample prompt, `tokens` long, with the run's sampling settings and seed."""
    ids = tokenizer.encode_known(config.sample_prompt).ids or [tokenizer.opening]
    was_training = model.training
    model.eval()
    settings = Settings(temperature=config.sample_temperature, top_k=config.sample_top_k, seed=config.seed)
    with one_thread():
        written = list(generate(model, ids, tokens, settings, tokenizer.end_of_text))
    model.train(was_training)
    return tokenizer.decode([token for token in written if token != tokenizer.end_of_text])


def _diverged(step: int, config: TrainConfig, state: LoopState) -> str:
    rate, muon, recent = config.learning_rate * state.rate, config.muon_learning_rate * state.rate, state.recent
    others = f", and Muon's {muon / 10:.1g} instead of {muon:g}" if config.optimizer == "muon" else ""
    was = f" (it was {recent[-1]:.3f} a step before)" if recent else ""
    return (
        f"{NO_NUMBER} since step {step}{was}: the updates were too large. "
        f"Train again with a learning rate of {rate / 10:.1g} instead of {rate:g}{others}."
    )
