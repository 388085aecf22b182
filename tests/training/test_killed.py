"""A run that is killed 30 times, at any moment, is in the end the very run that nobody disturbed."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from training.events import Evaluated, Sampled, Stepped, TakenUp
from training.runs import RunFolder

ROOT = Path(__file__).resolve().parents[2]
KILLS = 30


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of the weights and the state of both checkpoints."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted((folder / "checkpoints").rglob("*.safetensors"))
    }


def told(folder: Path) -> list[dict[str, Any]]:
    """What a run says of itself, without what depends on the clock, or on when it was killed."""
    kept = [event for event in RunFolder(folder).events() if isinstance(event, Stepped | Evaluated | Sampled)]
    return [{k: v for k, v in event.to_dict().items() if k not in ("wall_s", "tokens_per_s")} for event in kept]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_run_killed_thirty_times_is_the_run_that_was_not(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.training.killing", str(tmp_path), str(KILLS)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    counts = json.loads(done.stdout)
    assert counts["kills"] == KILLS
    assert counts["in a write"] >= 10
    assert counts["unfinished files"] >= 3, "no kill fell inside a write, so that is not tested"
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert len(digests(whole)) == 3
    assert digests(killed) == digests(whole)
    assert told(killed) == told(whole)
    assert (killed / "samples.txt").read_bytes() == (whole / "samples.txt").read_bytes()
    steps = [event.step for event in RunFolder(killed).events() if isinstance(event, Stepped)]
    assert steps == list(range(1, 251))
    walls = [event.wall_s for event in RunFolder(killed).events()]
    assert walls == sorted(walls)
    ups = [event for event in RunFolder(killed).events() if isinstance(event, TakenUp)]
    assert 0 < len(ups) <= RunFolder(killed).info().taken_up <= KILLS
    litter = [path.name for path in killed.rglob(".*")]
    assert not litter
