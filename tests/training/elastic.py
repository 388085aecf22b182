"""A program for test_distributed.py, started by torchrun: the command line, whose second process is killed once.

    python -m torch.distributed.run … -m tests.training.elastic STEP ARGUMENTS

Before STEP, and only the first time that torchrun starts it.
"""

from __future__ import annotations

import os
import sys

import training.resume
from tests.training.ranks import disturb
from training.__main__ import main
from training.distributed import restarted

if __name__ == "__main__":
    training.resume.SHARE = 1e9  # write as often as asked for, whatever it costs
    if not restarted():
        disturb(int(os.environ["RANK"]), (1, int(sys.argv[1]), "kill"))
    raise SystemExit(main(sys.argv[2:]))
