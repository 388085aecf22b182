"""A disk that fills up while a run trains: it says so, what was whole stays whole, and with room again it goes on."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from model import open_checkpoint
from tests.training.tiny import CHAR, TEXT, finish, tiny_corpus, tiny_recipe
from training.events import Failed, Finished, Stepped
from training.runs import RunError, RunFolder
from training.setup import set_up
from training.trainer import Trainer

ROOT = Path(__file__).resolve().parents[2]
SAID = (
    "The run's folder could not be written (No space left on device): free some disk space and train again. "
    "The last checkpoint that was written whole can still be opened."
)


def trainer(path: Path) -> Trainer:
    recipe = tiny_recipe(steps=12, save_every_s=0.0, snapshots_mb=0)
    prepared = set_up(tiny_corpus(TEXT), recipe, lambda _: CHAR)
    return Trainer(RunFolder.create(path, "a run", recipe, {"name": "tiny"}), prepared)


def weights(run: Path) -> str:
    return hashlib.sha256(
        b"".join(p.read_bytes() for p in sorted(run.rglob("checkpoints/*/*.safetensors")))
    ).hexdigest()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The weights of the run that had room."""
    path = tmp_path_factory.mktemp("whole") / "run"
    finish(trainer(path))
    return weights(path)


@pytest.mark.parametrize("write", range(3, 16, 2))
def test_no_room_at_any_write_of_a_run(write: int, whole: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The n-th file that is to be brought to the disk finds it full, and so do those after it."""
    fsync, made = os.fsync, 0

    def full(descriptor: int) -> None:
        nonlocal made
        made += 1
        if made >= write:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    monkeypatch.setattr("training.resume.SHARE", 1e9)
    run = trainer(tmp_path / "run")
    last = finish(run)[-1]
    assert isinstance(last, Failed)
    assert last.message == SAID
    monkeypatch.setattr(os, "fsync", fsync)
    path = tmp_path / "run"
    assert not [p for p in path.rglob("*") if p.is_file() and p.name.startswith(".")]
    for which in ("best", "last"):
        if (path / "checkpoints" / which / "checkpoint.json").exists():
            assert open_checkpoint(path / "checkpoints" / which).meta["step"] > 0
            assert len(list((path / "checkpoints" / which).glob("model-*"))) == 1
    if not (path / "corpus" / "train.txt.gz").exists():  # full before its text was kept: it is trained anew
        assert not (path / "checkpoints" / "last" / "checkpoint.json").exists()
        with pytest.raises(RunError, match=r"the text that it was trained on is not in it\. Train again\.$"):
            Trainer.resumed(RunFolder(path))
        return
    again = finish(Trainer.resumed(RunFolder(path)))
    assert isinstance(again[-1], Finished)
    assert [event.step for event in RunFolder(path).events() if isinstance(event, Stepped)] == list(range(1, 13))
    assert not [event for event in RunFolder(path).events() if isinstance(event, Failed)]
    assert weights(path) == whole


@pytest.mark.skipif(shutil.which("unshare") is None, reason="this system has no unshare, to mount a disk with")
def test_a_real_disk_that_is_full(tmp_path: Path) -> None:
    command = ["unshare", "-rm", sys.executable, "-m", "tests.training.filling", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode == errno.EPERM or "unshare" in done.stderr:
        pytest.skip("this system lets nobody mount a disk")
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout)
    assert found.pop("kept") > 0
    assert found.pop("steps") == list(range(1, 101))
    assert found == {"code": 1, "litter": [], "resumed": 0, "same": True, "failures": 0}
