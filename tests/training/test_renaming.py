"""Runs that are renamed: the name changes everywhere, the run stays the same one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from model import save_checkpoint
from tests.training.test_runs import NAMES, make
from tests.training.tiny import CHAR, tiny_model
from training.events import Sampled, Stepped
from training.runs import Known, RunError, RunFolder, called, list_runs


def test_a_renamed_run_is_the_same_run(tmp_path: Path) -> None:
    run = make(tmp_path / "run", "first")
    stamp, config = run.stamp(), (run.path / "config.json").read_bytes()
    assert run.name_stamp() is None
    assert run.rename("  second\n name ") == "second name"
    assert run.stamp() == stamp, "another stamp would be another run"
    assert (run.path / "config.json").read_bytes() == config
    assert run.name_stamp() is not None
    assert RunFolder(run.path).info().name == run.info().name == "second name"
    run.rename("third")
    assert run.info().name == "third"


def test_another_program_sees_the_name(tmp_path: Path) -> None:
    run, known = make(tmp_path / "run", "first"), Known()
    assert [info.name for info in list_runs(tmp_path, known)] == ["first"]
    code = "import sys, pathlib, training.runs as runs; runs.RunFolder(pathlib.Path(sys.argv[1])).rename('second')"
    subprocess.run([sys.executable, "-c", code, str(run.path)], check=True, cwd=Path(__file__).parents[2])
    assert [info.name for info in list_runs(tmp_path, known)] == ["second"], "though the list was read before"
    assert run.info().name == "second"


@pytest.mark.parametrize("name", ["", "   ", "\n\t", "x" * 81, None, 7, ["x"]])
def test_what_is_no_name(tmp_path: Path, name: object) -> None:
    run = make(tmp_path / "run", "first")
    with pytest.raises(RunError, match=r"at most 80"):
        run.rename(name)
    assert run.info().name == "first"
    assert sorted(entry.name for entry in run.path.iterdir()) == ["config.json", "snapshots"]


@pytest.mark.parametrize("name", [name for name in NAMES.values() if 0 < len(name) <= 80])
def test_hostile_names_are_text(tmp_path: Path, name: str) -> None:
    run = make(tmp_path / "run")
    wanted = " ".join(name.replace("\udcff", "?").split())
    assert run.rename(name) == run.info().name == wanted
    assert [entry.name for entry in tmp_path.iterdir()] == ["run"]


def test_a_name_that_cannot_be_read_is_that_of_the_config(tmp_path: Path) -> None:
    run = make(tmp_path / "run", "first")
    for contents in (b"", b"\xff\xfe\xff", b"x" * 500):
        (run.path / "name.txt").write_bytes(contents)
        assert run.info().name == "first"


def test_a_run_that_went_meanwhile_is_not_made_anew(tmp_path: Path) -> None:
    run = make(tmp_path / "run")
    run.delete()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(RunError, match="was removed meanwhile"):
        run.rename("second")
    assert list(tmp_path.iterdir()) == []


def test_what_a_model_is_called_follows(tmp_path: Path) -> None:
    run = make(tmp_path / "run", "first")
    save_checkpoint(run.checkpoint("best"), tiny_model(), CHAR, {"name": "first"})
    save_checkpoint(tmp_path / "loose", tiny_model(), CHAR, {"name": "Loose"})
    run.rename("second")
    assert {called(str(path)) for path in (run.path, run.checkpoint("best"))} == {"second"}
    assert called(str(tmp_path / "loose")) == "Loose"
    assert called("/gone/model") == "model"
    assert called("") is None


def test_the_last_event_is_read_from_the_end(tmp_path: Path) -> None:
    run = make(tmp_path / "run")
    assert run.last_event() is None
    for step in range(1, 2_000):
        run.append(Stepped(step, step / 10, 2.0, 0.1, 1.0, 10.0))
    assert run.last_event() == Stepped(1_999, 199.9, 2.0, 0.1, 1.0, 10.0)
    sample = Sampled(1_999, 200.0, "", "long " * 5_000)
    run.append(sample)
    assert run.last_event() == sample
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(sample.to_dict())[:50])  # a line cut short by a crash
    assert run.last_event() == sample
    run.close()
