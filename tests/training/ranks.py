"""A program for test_distributed.py: trainings of two processes each, as torchrun would start them.

    python -m tests.training.ranks SCENARIOS

SCENARIOS: JSON, a list of [arguments of the command line, what happens]: a rank, a step and a kind of trouble, or null.
Torch is loaded once; each process is a forked child of this one. Prints the exit codes and what each rank printed.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import tempfile
from typing import Any

import torch
import torch._dynamo  # as several processes together load it, once for all of them

import training.loop
import training.resume
from training.__main__ import main

SIZE = 2
Trouble = tuple[int, int, str] | None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def disturb(rank: int, trouble: Trouble) -> None:
    """Make this process fail, be stopped or be killed before a step."""
    if trouble is None or trouble[0] != rank:
        return
    step, kind = trouble[1:]
    plain = training.loop._step

    def at(training: Any) -> Any:
        if training.state.step == step:
            if kind == "memory":
                raise MemoryError
            os.kill(os.getpid(), signal.SIGINT if kind == "stop" else signal.SIGKILL)
        return plain(training)

    training.loop._step = at  # type: ignore[assignment]


def child(rank: int, port: int, arguments: list[str], trouble: Trouble, out: str) -> int:
    pid = os.fork()
    if pid:
        return pid
    where = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": SIZE, "LOCAL_WORLD_SIZE": SIZE, "MASTER_PORT": port}
    os.environ |= {name: str(value) for name, value in where.items()} | {"MASTER_ADDR": "127.0.0.1"}
    file = os.open(out, os.O_WRONLY | os.O_CREAT)
    os.dup2(file, 1)
    os.dup2(file, 2)
    disturb(rank, trouble)
    code = 99
    try:
        code = main(arguments)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def together(arguments: list[str], trouble: Trouble) -> dict[str, Any]:
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        outs = [f"{folder}/{rank}" for rank in range(SIZE)]
        pids = [child(rank, port, arguments, trouble, outs[rank]) for rank in range(SIZE)]
        codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
        said = []
        for out in outs:
            with open(out, encoding="utf-8", errors="replace") as file:
                said.append(file.read())
        return {"codes": codes, "said": said}


if __name__ == "__main__":
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in a shell's background has to ignore Ctrl-C
    training.resume.SHARE = 1e9  # write as often as asked for, whatever it costs
    print(json.dumps([together(arguments, trouble) for arguments, trouble in json.loads(sys.argv[1])]))
