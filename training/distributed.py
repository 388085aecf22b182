"""Several processes that train one model together, started by `torchrun`; one process alone is the usual case.

Every process holds the model and takes its rows of each batch; gradients are averaged (DistributedDataParallel: Li et
al., 2020), or weights, gradients and the optimizer's state are shared out as well (FSDP2: Zhao et al., 2023). The first
process alone writes files. docs/scaling.md shows the lines that start them.

What the loop needs of this is `Group`, which does nothing for one process; `Ranks` is the same for several.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from enum import IntEnum
from typing import Any, NoReturn

import torch
import torch.distributed as dist
from torch import Tensor, nn

from model import GPT, ConfigError
from training.config import TrainConfig
from training.data import MASKED
from training.threads import cores

_PATIENCE = timedelta(minutes=30)  # that a process may let the others wait: the first writes and samples meanwhile
_LOOK_S, _GRACE_S = 0.5, 5.0
_GONE = "another process of this training ended before it could say why: see what torchrun printed above."


class Order(IntEnum):
    """What the first process has all of them do before the next step."""

    STEP = 0
    SAVE = 1
    STOP = 2


class Group:
    """One process alone: everything here is what a training does anyway."""

    rank = 0
    """Number of this process; 0 writes the files."""
    size = 1
    """How many there are."""
    sharded = False
    """Whether weights are shared out, so that every forward pass needs all the processes."""

    def device(self, device: torch.device) -> torch.device:
        """The one that this process trains on, where a machine has several of the kind."""
        return device

    def threads(self, chosen: int) -> int:
        """CPU threads of this process where somebody chose them, else 0: as many as there are free cores."""
        return chosen

    def place(self, model: GPT, config: TrainConfig, device: torch.device) -> GPT:
        """Bring a fresh model to where it is trained; before its optimizer is made."""
        return model.to(device)

    def join(self, model: GPT) -> None:
        """Begin to train a model that stands as it should begin."""

    def forward(self, model: GPT) -> Callable[[Tensor], Tensor]:
        """What computes its logits in training."""
        return model

    def rows(self, count: int) -> slice:
        """Which of a whole batch's rows are this process's; `count` is a multiple of `size`."""
        return slice(count // self.size * self.rank, count // self.size * (self.rank + 1))

    def adding(self, model: GPT, more: bool) -> AbstractContextManager[object]:
        """Around a forward and a backward pass; more: another part of the same batch follows, so nothing is sent."""
        return nullcontext()

    def total(self, values: Sequence[float]) -> list[float]:
        """Sums over the processes."""
        return list(values)

    def clip(
        self, parameters: list[nn.Parameter], longest: float, norms: list[Tensor] | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """The gradient's norm (), and what the gradient has yet to be multiplied by to be at most `longest`, ().

        norms: those of the parameters' gradients, where they are known already.
        """
        if norms is None:
            norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        else:
            norm = torch.linalg.vector_norm(torch.stack(norms))
        # On a CPU torch would often multiply all of it by one; an accelerator would have to be waited for to know.
        if norm.device.type == "cpu" and norm <= longest:
            return norm, None
        return norm, torch.clamp(longest / (norm + 1e-6), max=1.0)

    def shared(self, batches: Iterable[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
        """This process's part of batches that are only read."""
        return iter(batches)

    def go_on(self) -> bool:
        """Before each step: whether it is to be made. Asks the first process."""
        return True

    def ask(self, order: Order) -> bool:
        """Of the first process: have all of them do this before the next step; whether there are others to ask."""
        return False

    def whole(self, model: GPT) -> dict[str, Tensor] | None:
        """All weights, where `model.state_dict()` holds a part of them; else None. For all processes together."""
        return None

    def share(self, value: Any = None) -> Any:
        """What the first process gives here, in all of them."""
        return value

    def check_same(self, value: str, sentence: str) -> None:
        """Raises ConfigError with the sentence, in all processes, where they do not all give the same value."""

    def fail(self, sentence: str) -> bool:
        """Tell the others that this one ends, and why; whether it is the first to say so."""
        return True

    def why(self, own: str, error: BaseException) -> str:
        """The sentence for an error that came up here: its own, or that of the process that was in trouble first."""
        return own


ALONE = Group()


class Ranks(Group):
    """One of several processes; made by `join_others`."""

    def __init__(self, rank: int, size: int, local_rank: int, local_size: int, store: dist.Store) -> None:
        self.rank, self.size = rank, size
        self._local_rank, self._local_size, self._store = local_rank, local_size, store
        self._wanted, self._told = Order.STEP, False
        self._ddp: nn.parallel.DistributedDataParallel | None = None
        self.on_save: Callable[[], None] | None = None
        """Writes a sharded checkpoint; called in all processes at the same step."""
        self.on_failure: Callable[[str], None] | None = None
        """Told the sentence when another process failed and this one cannot move."""
        self._over = threading.Event()
        own: dist.Store = store.clone()  # type: ignore[attr-defined]  # a connection of its own; the stubs lack it
        self._listener = threading.Thread(target=self._listen, args=(own,), name="other processes", daemon=True)
        self._listener.start()

    def device(self, device: torch.device) -> torch.device:
        if device.type != "cuda":
            return device
        if self._local_rank >= (count := torch.cuda.device_count()):
            raise ConfigError(
                f"there are {self._local_size} processes on this machine and {count} GPUs: start "
                f"--nproc-per-node {count}, or train with --device cpu."
            )
        chosen = torch.device("cuda", self._local_rank)
        torch.cuda.set_device(chosen)
        return chosen

    def threads(self, chosen: int) -> int:
        return chosen or max(1, cores() // self._local_size)  # to each of them the others look like other work

    def place(self, model: GPT, config: TrainConfig, device: torch.device) -> GPT:
        if config.sharding != "fsdp":
            return model.to(device)
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard  # half a second to load

        self.sharded = True
        model.to(device)
        mesh = init_device_mesh(device.type, (self.size,))
        for block in model.blocks:
            fully_shard(block, mesh=mesh)
        fully_shard(model, mesh=mesh, reshard_after_forward=True)  # between steps the parameters are the shares
        return model

    def join(self, model: GPT) -> None:
        if not self.sharded:  # the first process's weights go to all of them
            self._ddp = nn.parallel.DistributedDataParallel(
                model, forward_sync_buffers=False, gradient_as_bucket_view=True
            )

    def forward(self, model: GPT) -> Callable[[Tensor], Tensor]:
        return self._ddp or model

    def adding(self, model: GPT, more: bool) -> AbstractContextManager[object]:
        if self._ddp is not None:
            return self._ddp.no_sync() if more else nullcontext()
        model.set_requires_gradient_sync(not more)  # type: ignore[operator]  # given to it by fully_shard
        return nullcontext()

    def total(self, values: Sequence[float]) -> list[float]:
        summed = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(summed)
        found: list[float] = summed.tolist()
        return found

    def clip(
        self, parameters: list[nn.Parameter], longest: float, norms: list[Tensor] | None = None
    ) -> tuple[Tensor, Tensor | None]:
        return gathered(nn.utils.clip_grad_norm_(parameters, longest)), None

    def shared(self, batches: Iterable[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
        """Every size-th batch; where they do not come out even, one with nothing to predict, so that all keep step."""
        number, last = -1, None
        for number, last in enumerate(batches):
            if number % self.size == self.rank:
                yield last
        if last is not None and self.rank > number % self.size:
            yield last[0], torch.full_like(last[1], MASKED)

    def go_on(self) -> bool:
        while True:
            order = torch.tensor(int(self._wanted))
            dist.broadcast(order, src=0)
            self._wanted = Order.STEP
            if order == Order.SAVE and self.on_save is not None:
                self.on_save()
            elif order != Order.SAVE:
                return bool(order == Order.STEP)

    def ask(self, order: Order) -> bool:
        self._wanted = max(self._wanted, order)  # a stop goes before all else
        return True

    def whole(self, model: GPT) -> dict[str, Tensor] | None:
        if not self.sharded:
            return None
        state = {}
        for name, value in model.state_dict().items():
            tensor = gathered(value)
            if self.rank == 0:  # one after the other, so that the others never hold all of them
                state[name] = tensor.cpu()
        return state

    def share(self, value: Any = None) -> Any:
        box = [value]  # pickled, and only ever among these processes
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def check_same(self, value: str, sentence: str) -> None:
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, value)
        if len(set(found)) > 1:
            raise ConfigError(sentence)

    def fail(self, sentence: str) -> bool:
        with contextlib.suppress(RuntimeError):  # the launcher may be gone as well
            if int(self._store.add("failing", 1)) == 1:
                self._store.set("failed", sentence)
                self._told = True
        return self._told

    def why(self, own: str, error: BaseException) -> str:
        lost = isinstance(error, dist.DistError) or any(word in str(error).lower() for word in ("gloo", "nccl"))
        with contextlib.suppress(RuntimeError):
            if not self._told and self._store.check(["failed"]):
                return str(self._store.get("failed").decode())
        return _GONE[0].upper() + _GONE[1:] if lost and not isinstance(error, ValueError) else own

    def leave(self, code: int) -> NoReturn:
        """End this process; all that it had to write has been written.

        A sudden end: after a failure others may never answer, and torch (2.13) takes its group of processes apart in a
        way that can wait for ever, for gloo's thread, while that one waits for Python's lock.
        """
        self._over.set()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

    def _listen(self, store: dist.Store) -> None:
        """End this process when another one failed, or the launcher is gone, and it still waits for them."""
        sentence = _GONE
        while not self._over.wait(_LOOK_S):
            try:
                if not store.check(["failed"]):
                    continue
                sentence = store.get("failed").decode()
            except RuntimeError:
                pass
            if not self._over.wait(_GRACE_S):  # its own way out, by the error of a sum that never came, is better
                if self.on_failure is not None and not self._told:
                    self.on_failure(sentence)
                os._exit(1)


def launched() -> bool:
    """Whether `torchrun` started this process together with others."""
    return dist.is_available() and int(os.environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in os.environ


def restarted() -> bool:
    """Whether `torchrun` starts this process again, because one of the processes had ended."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0


def join_others(config_device: str) -> Ranks:
    """Meet the other processes that torchrun started. config_device: `auto`, `cpu` or `cuda`.

    Sums of CPU tensors go through gloo, and of CUDA tensors through NCCL. Raises ConfigError where they do not meet.
    """
    backend = "gloo"
    if config_device != "cpu" and torch.cuda.is_available() and dist.is_nccl_available():
        backend = "cpu:gloo,cuda:nccl"
    try:
        met, rank, size = next(dist.rendezvous("env://"))
        # After a restart the store is the same one, and the addresses of those who ended are still in it.
        store = dist.PrefixStore(f"{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')} of {size}", met)
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=_PATIENCE)
    except (RuntimeError, ValueError, KeyError) as error:
        raise ConfigError(
            f"the processes of this training did not meet ({str(error).splitlines()[0]}): start them with torchrun, "
            "as docs/scaling.md shows."
        ) from error
    local = int(os.environ.get("LOCAL_RANK", rank))
    return Ranks(rank, size, local, int(os.environ.get("LOCAL_WORLD_SIZE", size)), store)


def gathered(tensor: Tensor) -> Tensor:
    """A tensor that is shared out, whole; any other as it is. For all processes together."""
    whole = getattr(tensor, "full_tensor", None)  # what a DTensor has
    return tensor if whole is None else whole()


def shared_out(tensor: Tensor, like: Tensor) -> Tensor:
    """A whole tensor as a parameter of its shape is shared out; as it is where that one is whole too."""
    if not hasattr(like, "placements") or tensor.shape != like.shape:
        return tensor
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(like, DTensor)
    return distribute_tensor(tensor, like.device_mesh, like.placements)


def check_sharding(config: TrainConfig, size: int) -> None:
    """Raises ConfigError where a new training cannot be shared out as its settings say."""
    if config.sharding != "fsdp":
        return
    if size == 1:
        raise ConfigError(
            "sharding fsdp shares the weights out among processes, and this is one alone: start it as "
            "`torchrun --nproc-per-node N -m training …`, or leave --sharding out."
        )
    if config.optimizer != "adamw":
        raise ConfigError(
            "sharding fsdp goes with --optimizer adamw: Muon needs whole matrices. Choose adamw, or leave --sharding "
            "out, where each process holds all weights."
        )


def give_up_after(seconds: float) -> None:
    """End this process if it is still there in so many seconds: one that waits for a sum hears no signal."""

    def end() -> None:
        time.sleep(seconds)
        os._exit(1)

    threading.Thread(target=end, name="give up", daemon=True).start()
