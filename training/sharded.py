"""Checkpoints in parts: each process writes and reads its share of the weights and of the optimizer's state.

<run>/checkpoints/sharded/step-00000200/    what torch.distributed.checkpoint writes
<run>/checkpoints/sharded/index.json        which of these folders counts, and the loop's own numbers of that moment

Written through a training whose weights are shared out, because nothing has to be gathered for it. At its end they are
gathered, and stand in `checkpoints/last` and `best` as those of any other run. Any number of processes can read the
parts, one alone too. All of them need the same folder: a shared file system where they run on several machines.
"""

from __future__ import annotations

import base64
import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from model import GPT
from model.checkpoint import CheckpointError, Extra, write_atomically
from training.state import LoopState

FOLDER = "sharded"
_INDEX = "index.json"


def save(checkpoints: Path, model: GPT, state: LoopState, extra: Extra) -> None:
    """Write this moment; for all processes together. extra: random generator and numbers, of the first process."""
    import torch.distributed.checkpoint as dcp  # a second to load

    root = checkpoints / FOLDER
    name = f"step-{state.step:08d}"
    root.mkdir(parents=True, exist_ok=True)
    if dist.get_rank() == 0:
        shutil.rmtree(root / name, ignore_errors=True)  # unfinished, of a killed process
    dist.barrier()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own deprecated parts
        dcp.save(_tensors(model, state), checkpoint_id=root / name)
    if dist.get_rank() == 0:
        random = {key: base64.b64encode(bytes(value.tolist())).decode() for key, value in extra.tensors.items()}
        index = {"step": state.step, "folder": name, "values": extra.values, "random": random}
        write_atomically(root / _INDEX, json.dumps(index).encode())
        clear(checkpoints, but=name)
    dist.barrier()


def clear(checkpoints: Path, but: str = "") -> None:
    """Remove the parts; but: a folder that stays, and with it the index. For one process alone."""
    root = checkpoints / FOLDER
    if not but:
        shutil.rmtree(root, ignore_errors=True)
        return
    for folder in root.glob("step-*"):
        if folder.name != but:
            shutil.rmtree(folder, ignore_errors=True)


def find(checkpoints: Path) -> Extra | None:
    """The numbers beside the newest parts, and where those lie under `values["sharded"]`; None where there are none.

    Raises CheckpointError when they are damaged.
    """
    path = checkpoints / FOLDER / _INDEX
    if not path.exists():
        return None
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
        random = {
            key: torch.tensor(list(base64.b64decode(value)), dtype=torch.uint8)
            for key, value in index["random"].items()
        }
        return Extra(random, {**index["values"], "sharded": str(path.parent / index["folder"])})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is damaged ({error}): copy the run's folder again, or train anew.") from error


def step(checkpoints: Path) -> int | None:
    """The step of the newest parts; None where there are none, or they are damaged."""
    try:
        found = find(checkpoints)
    except CheckpointError:
        return None
    return int(found.values["step"]) if found is not None else None


def load(folder: str | Path, model: GPT, state: LoopState) -> None:
    """Give a model and its optimizer what `save` wrote in a folder. Raises CheckpointError."""
    import torch.distributed.checkpoint as dcp

    alone = not dist.is_initialized()
    wanted = _tensors(model, state, make=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dcp.load(wanted, checkpoint_id=Path(folder), no_dist=alone)
    except (OSError, RuntimeError, ValueError, KeyError, dcp.api.CheckpointException) as error:
        raise CheckpointError(f"{folder} cannot be read ({error}): copy the run's folder again.") from error


def _tensors(model: GPT, state: LoopState, make: bool = False) -> dict[str, Any]:
    """Weights and AdamW's state by name, as they stand in this process; make: state that is not there yet, as zeros."""
    found: dict[str, Any] = {f"model.{name}": p.detach() for name, p in model.named_parameters()}  # a tied head once
    parameters = dict(model.named_parameters())
    for part, name, kept in state.states(model):
        if make and not kept:
            p: Tensor = parameters[name]
            kept["step"] = torch.zeros((), device=p.device)
            kept["exp_avg"], kept["exp_avg_sq"] = torch.zeros_like(p.detach()), torch.zeros_like(p.detach())
        found |= {f"optimizer.{part}.{name}.{key}": value for key, value in kept.items()}
    return found
