"""A program for test_full_disk.py: a run on a disk of its own, which fills up while it trains, and has room again.

    unshare -rm python -m tests.training.filling FOLDER

Prints as JSON what was left, before and after it went on.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import torch

import training.resume
from model import open_checkpoint
from tests.training.killing import FLAGS, after, child
from tests.training.tiny import TEXT
from training.events import Failed, Stepped
from training.runs import RunFolder


def weights(run: Path) -> str:
    return hashlib.sha256(
        b"".join(p.read_bytes() for p in sorted(run.rglob("checkpoints/*/*.safetensors")))
    ).hexdigest()


def fill(disk: Path) -> None:
    with (disk / "filler").open("wb", buffering=0) as file:
        for size in (65_536, 4096, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(b"\0" * size)


def run(disk: Path) -> dict[str, object]:
    corpus, out = disk / "text.txt", disk / "filled"
    corpus.write_text(TEXT, encoding="utf-8")
    begin = [str(corpus), *FLAGS, "--steps", "100", "--snapshots-mb", "0", "--out"]
    assert os.waitpid(child([*begin, str(disk / "whole")]), 0)[1] == 0
    pid = child([*begin, str(out)])
    wait = after(60)
    while not (out / "checkpoints" / "last" / "checkpoint.json").exists() and not wait():
        time.sleep(0.001)
    fill(disk)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    kept = open_checkpoint(out / "checkpoints" / "last")
    litter = [p.name for p in out.rglob(".*")] + [
        p.name for p in out.rglob("extra-*") if len(list(p.parent.glob("extra-*"))) > 1
    ]
    (disk / "filler").unlink()
    resumed = os.waitstatus_to_exitcode(os.waitpid(child(["--resume", str(out), "--quiet"]), 0)[1])
    events = list(RunFolder(out).events())
    return {
        "code": code,
        "kept": kept.meta["step"],
        "litter": litter,
        "resumed": resumed,
        "same": weights(out) == weights(disk / "whole"),
        "steps": [event.step for event in events if isinstance(event, Stepped)],
        "failures": sum(isinstance(event, Failed) for event in events),
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    training.resume.SHARE = 1e9
    folder = Path(sys.argv[1])
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        sys.exit(errno.EPERM)
    print(json.dumps(run(folder)))
