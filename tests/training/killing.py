"""A program for test_killed.py: trains the same run twice, in peace and under 30 SIGKILLs, each followed by --resume.

    python -m tests.training.killing FOLDER KILLS

Torch is loaded once; each life of a run is a forked child of it, with files of its own and a death of its own. Prints
what happened as JSON.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

import training.resume
from tests.training.tiny import TEXT
from training.__main__ import main

FLAGS = (
    "--layers 1 --heads 2 --width 16 --context 8 --steps 250 --batch-size 4 --eval-every 20 --sample-every 30 "
    "--sample-tokens 9 --warmup-steps 5 --threads 1 --device cpu --quiet --dropout 0.2 --optimizer muon "
    "--save-every-s 0.001"
).split()


def child(arguments: list[str]) -> int:
    """Run the command line in a process of its own; its id."""
    pid = os.fork()
    if pid:
        return pid
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    os._exit(main(arguments))


def killed(pid: int, now: Callable[[], bool]) -> bool:
    """SIGKILL the child as soon as `now()`; False when it had ended by itself before."""
    while not now():
        done, _ = os.waitpid(pid, os.WNOHANG)
        if done:
            return False
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    return os.WIFSIGNALED(status)


def after(seconds: float) -> Callable[[], bool]:
    until = time.monotonic() + seconds
    return lambda: time.monotonic() > until


def grown(metrics: Path, size: int) -> Callable[[], bool]:
    """True once a file has become so much larger: a moment of the training, however fast the machine is."""
    before = metrics.stat().st_size if metrics.exists() else 0
    return lambda: metrics.exists() and metrics.stat().st_size > before + size


def writing(folder: Path, chance: random.Random) -> Callable[[], bool]:
    """True inside a later write of a checkpoint: a file of it has only its temporary name."""
    seen, wanted, before = 0, chance.randrange(1, 8), False

    def now() -> bool:
        nonlocal seen, before
        try:
            unfinished = any(name.startswith(".") for name in os.listdir(folder))
        except FileNotFoundError:
            return False
        seen += unfinished and not before
        before = unfinished
        return unfinished and seen >= wanted

    return now


def run(root: Path, kills: int) -> dict[str, int]:
    corpus, out = root / "text.txt", root / "killed"
    corpus.write_text(TEXT, encoding="utf-8")
    begin = [str(corpus), *FLAGS, "--out"]
    assert os.waitpid(child([*begin, str(root / "whole")]), 0)[1] == 0
    chance, last = random.Random(7), out / "checkpoints" / "last"
    told = {"kills": 0, "in a write": 0, "begun anew": 0, "unfinished files": 0, "lives": 0}
    while True:
        anew = not (out / "corpus" / "train.txt.gz").exists() and not last.exists()  # killed before its text was kept
        if anew:
            told["begun anew"] += out.exists()
            shutil.rmtree(out, ignore_errors=True)
        told["lives"] += 1
        pid = child([*begin, str(out)] if anew else ["--resume", str(out), "--quiet"])
        if told["kills"] >= kills:
            assert os.waitpid(pid, 0)[1] == 0
            return told
        inside, early = chance.random() < 0.5, chance.random() < 0.4
        moment = after(chance.random() * 0.06) if early else grown(out / "metrics.jsonl", chance.randrange(1500))
        if not killed(pid, writing(last, chance) if inside else moment):
            raise AssertionError("the run ended before it had been killed often enough: give it more steps")
        told["kills"] += 1
        told["in a write"] += inside
        told["unfinished files"] += any(name.startswith(".") for name in os.listdir(last)) if last.exists() else 0


if __name__ == "__main__":
    torch.set_num_threads(1)
    training.resume.SHARE = 1e9  # write as often as asked for, whatever it costs
    print(json.dumps(run(Path(sys.argv[1]), int(sys.argv[2]))))
