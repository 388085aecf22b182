"""A process of a training that is not the first of them: the same steps, and no files."""

from __future__ import annotations

import logging
import sys
import time

import torch

from model.checkpoint import Extra
from training import sharded
from training.distributed import Ranks
from training.events import Evaluated, Finished
from training.loop import pick_device, train_steps
from training.resume import Resumption
from training.runs import RunFolder
from training.setup import Prepared
from training.standing import stand
from training.trainer import explain

_log = logging.getLogger(__name__)


def work(folder: RunFolder, prepared: Prepared, again: Resumption | None, group: Ranks) -> int:
    """Train along until the first process ends the run: 0 when it came to its end, 1 when it was stopped or broke.

    folder: the run's, which the first process writes; here only a checkpoint in parts goes there.
    """
    try:
        return _train(folder, prepared, again, group)
    except Exception as error:
        sentence = group.why(explain(error), error)
        if sentence == explain(error) and not isinstance(error, ValueError):
            _log.exception("process %d broke", group.rank)
        if group.fail(sentence):
            print(f"process {group.rank}: {sentence}", file=sys.stderr, flush=True)
        return 1


def _train(folder: RunFolder, prepared: Prepared, again: Resumption | None, group: Ranks) -> int:
    train = prepared.recipe.train
    device = group.device(pick_device(train.device))
    torch.set_num_threads(group.threads(train.threads))
    model, state, _ = stand(prepared, again, device, group)
    group.on_save = lambda: sharded.save(folder.path / "checkpoints", model, state, Extra({}, {}))
    if prepared.teacher is not None:
        prepared.teacher.model.to(device)
    clock, teacher = time.perf_counter, prepared.teacher
    for event in train_steps(model, prepared.data, train, prepared.tokenizer, clock, teacher, state, group):
        if isinstance(event, Evaluated) and event.best and event.step:
            group.whole(model)  # the first process writes it as the best
        if isinstance(event, Finished):
            group.whole(model)
            if group.sharded:
                state.tensors(model)
            return int(event.reason == "stopped")
    return 0
