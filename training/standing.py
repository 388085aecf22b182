"""Where a training begins or goes on: its model where it will be trained, and the state of its loop."""

from __future__ import annotations

import torch

from model import GPT
from model.gpt import DRAWING
from training import sharded
from training.distill import copy_embeddings
from training.distributed import ALONE, Group
from training.lanes import how_many
from training.resume import Resumption
from training.setup import Prepared
from training.state import LoopState


def stand(
    prepared: Prepared, again: Resumption | None, device: torch.device, group: Group = ALONE
) -> tuple[GPT, LoopState, list[int]]:
    """The model, its state, and the ids whose embedding rows were copied from a donor. Raises ValueError.

    again: where the run goes on; None, or one without a model: before the first step. The same in each of several
    processes.
    """
    train, tokenizer, copied = prepared.recipe.train, prepared.tokenizer, list[int]()
    if again is not None and again.model is not None:
        model = again.model
    elif (beginning := prepared.beginning) is not None:
        model = GPT(beginning.model.config)
        model.load_state_dict(beginning.model.state_dict())
    else:
        with DRAWING:
            torch.default_generator.manual_seed(train.seed)
            model = GPT(prepared.recipe.model_config(tokenizer.vocab_size))
        if prepared.donor is not None:
            copied = copy_embeddings(model, tokenizer, prepared.donor)
    model = group.place(model, train, device)
    state = LoopState.fresh(model, train)
    state.lanes = how_many(model, train) if group is ALONE else 1
    if again is not None and again.model is not None and again.extra is not None:
        state.restore(model, again.extra.values, again.extra.tensors)
        if (parts := again.extra.values.get("sharded")) is not None:
            sharded.load(parts, model, state)
    elif prepared.beginning is not None:
        state.inherit(model, prepared.beginning.step, prepared.beginning.tensors)
    group.join(model)
    return model, state, copied
