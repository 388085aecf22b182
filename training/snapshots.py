"""Weights kept through training, and what the model was like at each of them: how heads form, token by token.

<run>/snapshots/probe.json              what is measured on, the same at each step
<run>/snapshots/step-00000128.safetensors    the weights, float16
<run>/snapshots/step-00000128.json           sample, head scores and losses, of these very weights

Kept are the steps 0, 1, 2, 4, 8, … and those of the evaluations; where they need more room than they may, they are
thinned evenly in the logarithm of the step. They are measured as time allows (SHARE), else when somebody asks.
docs/runs.md shows what the files hold.
"""

from __future__ import annotations

import contextlib
import copy
import json
import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from model import GPT, Checkpoint, Tokenizer, trace
from model.checkpoint import CheckpointError, load_state, write_atomically
from model.trace import head_scores
from training.config import TrainConfig
from training.data import MASKED, Data, Sequences
from training.events import Evaluated, Event, Stepped
from training.loop import sample
from training.runs import RunError, RunFolder

_log = logging.getLogger(__name__)
SHARE = 0.02
"""Of the time of a training: where its snapshots have taken more, the next is kept and not measured."""
PROBE_BYTES = 2000
MEGABYTE = 1_000_000
_SAMPLE = 20  # tokens
_ROWS, _ROW = 2, 64  # texts that head scores are measured on, and their length at most


@dataclass(frozen=True)
class Probe:
    """What every snapshot of a run is measured on: held-out text, or the text itself where nothing is held out.

    windows: token ids, each predicted from those before it in its window, 2,000 bytes of targets in all; heads: short
    stretches, each standing twice in a row, so that there is something to copy (Olsson et al., 2022, have random
    tokens there).
    """

    held_out: bool
    windows: tuple[tuple[int, ...], ...]
    heads: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, data: Data) -> Probe:
        """The probe of a text."""
        held_out = len(data.val) > 1
        ids = data.val if held_out else data.train
        if isinstance(data, Sequences):
            spans = [(a, b) for a, b in (data.val_spans if held_out else data.train_spans).tolist()]
        else:
            spans = [(a, min(a + data.context + 1, len(ids))) for a in range(0, len(ids) - 1, data.context)]
        windows, size = list[tuple[int, ...]](), 0.0
        for begin, end in spans:
            if size >= PROBE_BYTES:
                break
            window = ids[begin:end].long()  # kept in the narrowest integers that hold the vocabulary
            windows.append(tuple(window.tolist()))
            size += float(data.token_bytes[window[1:]].sum()) or float(len(window) - 1)
        half = min(data.context, _ROW, len(ids)) // 2
        starts = [row * (len(ids) - half) // _ROWS for row in range(_ROWS)] if half > 1 else []
        return cls(held_out, tuple(windows), tuple(tuple(ids[at : at + half].tolist()) * 2 for at in starts))

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Probe:
        """What `to_dict` wrote. Raises KeyError or TypeError."""
        rows = (tuple(tuple(map(int, row)) for row in values[name]) for name in ("windows", "heads"))
        return cls(bool(values["held_out"]), *rows)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"held_out": self.held_out, "windows": self.windows, "heads": self.heads}


def measure(model: GPT, probe: Probe, tokenizer: Tokenizer, config: TrainConfig) -> dict[str, Any]:
    """losses: nats of each target of the windows, in order; heads: kind -> L rows of H scores (model/trace.py), means
    over the stretches; prompt and sample: what it writes, 20 tokens."""
    windows = [torch.tensor(window) for window in probe.windows]
    inputs = pad_sequence([window[:-1] for window in windows], batch_first=True)
    targets = pad_sequence([window[1:] for window in windows], batch_first=True, padding_value=MASKED)
    with torch.no_grad():
        logits = model(inputs)
        nats = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=MASKED, reduction="none")
    found: dict[str, list[Tensor]] = {}
    for row in probe.heads:
        for kind, scores in head_scores(trace(model, row).patterns, torch.tensor(row)).items():
            found.setdefault(kind, []).append(scores)
    heads = {kind: torch.stack(rows).mean(dim=0) for kind, rows in found.items()}
    return {
        "losses": [round(value, 4) for value in nats[targets.flatten() != MASKED].tolist()],
        "heads": {kind: [[_number(x) for x in row] for row in scores.tolist()] for kind, scores in heads.items()},
        "prompt": config.sample_prompt,
        "sample": sample(model, tokenizer, config, _SAMPLE),
    }


def _number(value: float) -> float | None:
    return round(value, 4) if math.isfinite(value) else None


class Snapshots:
    """Keeps the snapshots of one training; used by its thread alone."""

    def __init__(
        self, folder: RunFolder, model: GPT, data: Data, tokenizer: Tokenizer, config: TrainConfig, step: int = 0
    ) -> None:
        """step: where the training begins or goes on; snapshots of later steps are forgotten."""
        room = config.snapshots_mb * MEGABYTE
        self._folder, self._place = folder, folder.path / "snapshots"
        self._room = room if 2 * model.parameter_count() <= room else 0  # a model that does not fit once is not kept
        self._tokenizer, self._config = tokenizer, config
        self._spent = 0.0
        self._first: tuple[Evaluated, dict[str, Tensor]] | None = None
        self._place.mkdir(exist_ok=True)
        for later in [other for other in folder.snapshots() if other > step]:
            _remove(self._place, later)
        if self._room:
            self._probe, self._shadow = Probe.of(data), copy.deepcopy(model).cpu().eval().requires_grad_(False)
            write_atomically(self._place / "probe.json", _json(self._probe.to_dict()))

    def after(self, event: Event, model: GPT) -> None:
        """Keep one where it is due after this event. A disk that refuses costs the snapshot, and not the run."""
        if not self._room or not isinstance(event, Stepped | Evaluated):
            return
        step, power = event.step, event.step & (event.step - 1) == 0
        if isinstance(event, Evaluated) and step == 0:  # kept after the first step, which should not wait for it
            self._first = event, _halved(model)
            return
        begun = time.perf_counter()
        if self._first is not None:
            self._keep(*self._first)
            self._first = None
        evaluated = step == self._config.steps or step % self._config.eval_every == 0  # the event that comes next
        if isinstance(event, Evaluated) or (power and not evaluated):
            self._keep(event, _halved(model))
        self._spent += time.perf_counter() - begun

    def _keep(self, event: Event, state: dict[str, Tensor]) -> None:
        if not all(value.isfinite().all() for value in state.values()):
            return  # a weight too large for float16
        step, evaluated = event.step, event if isinstance(event, Evaluated) else None
        found: dict[str, Any] = {
            "step": step,
            "val_loss": evaluated.val_loss if evaluated is not None else None,
            "bits_per_byte": evaluated.bits_per_byte if evaluated is not None else None,
        }
        if self._spent <= SHARE * event.wall_s:
            self._shadow.load_state_dict(state, strict=False)  # a tied head follows the embedding
            found |= measure(self._shadow, self._probe, self._tokenizer, self._config)
        try:
            write_atomically(self._place / f"step-{step:08d}.json", _json(found))
            write_atomically(self._place / f"step-{step:08d}.safetensors", safetensors.torch.save(state))
            self._thin()
        except OSError:
            _log.exception("a snapshot of step %d could not be kept", step)

    def _thin(self) -> None:
        steps = self._folder.snapshots()
        sizes = {step: sum(path.stat().st_size for path in _files(self._place, step)) for step in steps}
        while sum(sizes[step] for step in steps) > self._room:
            gone = least_needed(steps)
            steps.remove(gone)
            _remove(self._place, gone)


def least_needed(steps: Sequence[int]) -> int:
    """The one of rising steps whose neighbours are closest in the logarithm of the step; the first and the last stay,
    and of two the last."""
    if len(steps) < 3:
        return steps[0]
    place = min(range(1, len(steps) - 1), key=lambda i: (steps[i + 1] + 1) / (steps[i - 1] + 1))
    return steps[place]


def read_snapshot(folder: RunFolder, step: int) -> dict[str, Any]:
    """What is known of the weights of a step: step, val_loss, bits_per_byte, and what `measure` gives.

    What the training had no time to measure is measured now, and written down. Raises ValueError with a sentence.
    """
    path = folder.path / "snapshots" / f"step-{step:08d}.json"
    found = _facts(folder, step)
    if "losses" not in found:
        checkpoint = load_snapshot(folder, step)
        assert checkpoint.tokenizer is not None  # load_snapshot opened it
        try:
            probe = Probe.from_dict(json.loads((path.parent / "probe.json").read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunError(f"{path.parent / 'probe.json'} cannot be read ({error}): copy the run again.") from error
        config = folder.info().recipe.train
        found |= measure(checkpoint.model, probe, checkpoint.tokenizer, config)
        with contextlib.suppress(OSError):
            write_atomically(path, _json(found))
    return found


def _facts(folder: RunFolder, step: int) -> dict[str, Any]:
    try:
        path = folder.path / "snapshots" / f"step-{step:08d}.json"
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise RunError(f"{_called(folder)} holds no snapshot of step {step:,}: {_offer(folder)}.") from error


def load_snapshot(folder: RunFolder, step: int) -> Checkpoint:
    """The model as it was at a step: its float16 weights in float32. Raises ValueError with a sentence."""
    info, path = folder.info(), folder.path / "snapshots" / f"step-{step:08d}.safetensors"
    try:
        state = safetensors.torch.load(path.read_bytes())
        tokenizer = Tokenizer.load(folder.path / "tokenizer.json")
    except OSError as error:
        raise RunError(f"{_called(folder)} holds no snapshot of step {step:,}: {_offer(folder)}.") from error
    except safetensors.SafetensorError as error:
        raise CheckpointError(f"{path} is damaged ({error}): choose another step.") from error
    config = info.recipe.model_config(tokenizer.vocab_size)
    model = load_state(config, {name: value.float() for name, value in state.items()}, path)
    facts = _facts(folder, step)
    known = {name: facts[name] for name in ("val_loss", "bits_per_byte") if facts.get(name) is not None}
    meta = {"name": info.name, "run": info.id, "corpus": info.corpus, "step": step, **known}
    return Checkpoint(model, tokenizer, config, meta | ({"sampling": s} if (s := info.recipe.train.sampling) else {}))


def _called(folder: RunFolder) -> str:
    try:
        return folder.info().name
    except RunError:
        return folder.id


def _offer(folder: RunFolder) -> str:
    steps = [f"{step:,}" for step in folder.snapshots()]
    return f"there are those of the steps {', '.join(steps)}" if steps else "it kept none"


def _halved(model: GPT) -> dict[str, Tensor]:
    """The weights in float16 on the CPU, a tied head left out."""
    tied = model.config.tied_head
    return {
        name: value.detach().to("cpu", torch.float16, copy=True)
        for name, value in model.state_dict().items()
        if not (tied and name == "head.weight")
    }


def _files(place: Path, step: int) -> list[Path]:
    return [path for end in ("safetensors", "json") if (path := place / f"step-{step:08d}.{end}").exists()]


def _remove(place: Path, step: int) -> None:
    for path in _files(place, step):
        path.unlink(missing_ok=True)


def _json(values: dict[str, Any]) -> bytes:
    return json.dumps(values, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode(errors="replace")
