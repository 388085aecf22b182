"""The training loop: a generator of events, deterministic by its seed.

No threads, no files, no screen: whoever asks for the next event lets the next step happen, so a pause is not asking and
a stop is closing the generator.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model import GPT, Tokenizer
from model.decoding import generate
from model.sampling import Settings
from training.config import TrainConfig
from training.data import MASKED, Data
from training.distill import Teacher
from training.events import Evaluated, Event, Finished, Sampled, Started, Stepped
from training.optim import Optimizer, make_optimizer
from training.threads import one_thread

_FIRST_SAMPLE = 40  # tokens


class TrainingError(ValueError):
    """Training cannot go on; the message says why and what to change."""


class Chance(AbstractContextManager[None]):
    """A stream of random numbers of one's own for what draws from the process's generator: first weights and dropout.

    Inside `with`, that generator (the CPU's) stands where this stream stood, and every other stream waits outside; so
    two trainings in one process do not change each other's numbers.
    """

    _turn = threading.Lock()

    def __init__(self, seed: int) -> None:
        self._state = torch.Generator().manual_seed(seed).get_state()

    def __enter__(self) -> None:
        self._turn.acquire()
        torch.set_rng_state(self._state)

    def __exit__(self, *_: object) -> None:
        self._state = torch.get_rng_state()
        self._turn.release()


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
) -> Iterator[Event]:
    """Train `model` in place, yielding what happens. Raises TrainingError when the loss is no longer a number.

    The model, and the teacher where there is one, must be where the training is to happen. The order: Started, an
    evaluation and a sample before the first step, then a Stepped a step, Evaluated and Sampled where they are due,
    Finished.
    """
    device = model.device
    optimizer = make_optimizer(model, config)
    order = torch.Generator().manual_seed(config.seed)
    chance: AbstractContextManager[None] = nullcontext()
    if model.config.dropout:
        if device.type == "cpu":
            chance = Chance(config.seed)
        else:  # an accelerator has a generator of its own, which two trainings on it share
            with Chance(config.seed):  # the CPU's is seeded along with it
                torch.manual_seed(config.seed)
    begun, best, recent = clock(), math.inf, list[float]()
    yield Started(0, 0.0, config.steps, model.parameter_count(), device.type, bytes_per_token(data))
    for step in range(config.steps + 1):
        if step:
            tick = clock()
            batch = data.batch(config.batch_size, order)
            loss, soft_loss, grad_norm, lr = _update(model, batch, config, optimizer, chance, teacher, step)
            if not (math.isfinite(loss) and math.isfinite(grad_norm)):
                raise TrainingError(_diverged(step, config, recent))
            recent.append(loss)
            now = clock()
            tokens = int((batch[1] != MASKED).sum())
            yield Stepped(step, now - begun, loss, lr, grad_norm, tokens / max(now - tick, 1e-9), soft_loss)
        last = step == config.steps
        if last or step % config.eval_every == 0:
            val_loss, bits = evaluate(model, data, config.eval_tokens, config.batch_size)
            if val_loss is not None and not math.isfinite(val_loss):
                raise TrainingError(_diverged(step, config, recent))
            mean = sum(recent) / len(recent) if recent else None
            watched = val_loss if val_loss is not None else mean
            improved = watched is not None and watched < best
            best = min(best, watched if watched is not None else best)
            recent.clear()
            yield Evaluated(step, clock() - begun, mean, val_loss, bits, improved)
            if config.until_val_loss is not None and val_loss is not None and val_loss <= config.until_val_loss:
                yield Finished(step, clock() - begun, "target")
                return
        if config.sample_every and (last or step % config.sample_every == 0):
            # Before the first step it is noise: a short one will do, and the first step need not wait for more.
            length = config.sample_tokens if step else min(config.sample_tokens, _FIRST_SAMPLE)
            text = sample(model, tokenizer, config, length)
            yield Sampled(step, clock() - begun, config.sample_prompt, text)
    yield Finished(config.steps, clock() - begun, "done")


def _update(
    model: GPT,
    batch: tuple[Tensor, Tensor],
    config: TrainConfig,
    optimizer: Optimizer,
    chance: AbstractContextManager[None],
    teacher: Teacher | None,
    step: int,
) -> tuple[float, float | None, float, float]:
    """One step: loss on the text before it, loss against the teacher, gradient norm before clipping, learning rate."""
    lr = config.lr_at(step)
    inputs, targets = (part.to(model.device, non_blocking=True) for part in batch)
    model.train()
    with chance:
        logits = model(inputs)
    loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=MASKED)
    soft_loss = teacher.loss(inputs, logits, targets) if teacher else None
    whole = loss if teacher is None or soft_loss is None else torch.lerp(loss, soft_loss, teacher.share)
    optimizer.zero_grad()
    whole.backward()  # type: ignore[no-untyped-call]
    grad_norm = nn.utils.clip_grad_norm_(model.parameters(), config.grad_clip or math.inf)
    optimizer.step(lr / config.learning_rate)
    return loss.item(), None if soft_loss is None else soft_loss.item(), grad_norm.item(), lr


def evaluate(model: GPT, data: Data, tokens: int, batch_size: int) -> tuple[float | None, float | None]:
    """Loss on the held-out text: nats per token and bits per byte, over about `tokens` tokens; None without such text.

    Bits per byte divides by the UTF-8 bytes of the very tokens that were predicted, so runs with different tokenizers
    can be compared.
    """
    nats, count, size = 0.0, 0, 0.0
    was_training = model.training
    model.eval()
    with torch.no_grad():
        for inputs, targets in data.held_out(tokens, batch_size):
            logits, wanted = model(inputs.to(model.device)), targets.flatten().to(model.device)
            nats += F.cross_entropy(logits.flatten(0, 1), wanted, ignore_index=MASKED, reduction="sum").item()
            real = targets[targets != MASKED]
            count += real.numel()
            size += data.token_bytes[real].sum().item()
    model.train(was_training)
    if not count:
        return None, None
    return nats / count, nats / math.log(2) / size if size else None


def bytes_per_token(data: Data) -> float | None:
    """UTF-8 bytes of a token on average, in the held-out text where there is one: what parts nats a token from bits
    per byte. None for a text without bytes."""
    ids = data.val if len(data.val) else data.train
    return float(data.token_bytes[ids].mean()) or None


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


def _diverged(step: int, config: TrainConfig, recent: list[float]) -> str:
    rate, muon = config.learning_rate, config.muon_learning_rate
    others = f", and Muon's {muon / 10:.1g} instead of {muon:g}" if config.optimizer == "muon" else ""
    was = f" (it was {recent[-1]:.3f} a step before)" if recent else ""
    return (
        f"the loss is no longer a number since step {step}{was}: the updates were too large. "
        f"Train again with a learning rate of {rate / 10:.1g} instead of {rate:g}{others}."
    )
