"""Logging for other tools: real files of TensorBoard and trackio, read back; and nothing at all unless asked."""

from __future__ import annotations

import importlib.util
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from model import ConfigError
from tests.training.tiny import Make, finish
from training import __main__ as cli
from training import writers
from training.events import Evaluated, Sampled, Started, Stepped
from training.writers import Log, asked, check_log_to

ROOT = Path(__file__).resolve().parents[2]


def needs(name: str) -> pytest.MarkDecorator:
    missing = importlib.util.find_spec(name) is None
    return pytest.mark.skipif(missing, reason=f"{name} is not installed: pip install -r requirements-extra.txt")


@needs("tensorboard")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of its own protocol buffers
def test_tensorboard_files_hold_every_number_of_the_run(make: Make) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    trainer = make(log_to="tensorboard", sample_every=3, steps=6, eval_every=3)
    events = finish(trainer)
    found: Any = EventAccumulator(str(trainer.folder.path / "tensorboard"))
    found.Reload()

    def numbers(name: str) -> list[tuple[int, float]]:
        return [(event.step, event.value) for event in found.Scalars(name)]

    steps = [event for event in events if isinstance(event, Stepped)]
    assert numbers("train/loss") == [(event.step, pytest.approx(event.loss)) for event in steps]
    size = next(event.learnt_bytes_per_token for event in events if isinstance(event, Started)) or 0
    bits = [(event.step, pytest.approx(event.loss / math.log(2) / size)) for event in steps]
    assert numbers("train/bits_per_byte") == bits
    assert numbers("train/lr") == [(event.step, pytest.approx(event.lr)) for event in steps]
    assert numbers("train/grad_norm") == [(event.step, pytest.approx(event.grad_norm)) for event in steps]
    evals = [event for event in events if isinstance(event, Evaluated)]
    assert numbers("val/loss") == [(event.step, pytest.approx(event.val_loss)) for event in evals]
    texts = found.Tensors("sample/text_summary")
    samples = [event for event in events if isinstance(event, Sampled)]
    assert [text.step for text in texts] == [event.step for event in samples]
    written = texts[-1].tensor_proto.string_val[0].decode()
    assert written.strip().replace("\n    ", "\n") == samples[-1].text.strip()


@needs("trackio")
def test_trackio_has_the_run(tmp_path: Path) -> None:
    """In a process of its own: trackio reads its folder's name when it is loaded."""
    program = """
import sys
from pathlib import Path
import trackio
from training import __main__ as cli
text = Path(sys.argv[1]) / "t.txt"
text.write_text("the cat sat on the mat.\\n" * 40)
flags = "--layers 1 --heads 2 --width 16 --context 8 --steps 4 --batch-size 4 --eval-every 2 --sample-every 0 --quiet"
assert cli.main([str(text), "--out", str(Path(sys.argv[1]) / "run"), *flags.split(), "--log-to", "trackio"]) == 0
from trackio.sqlite_storage import SQLiteStorage
[run] = trackio.Api().runs("glass-gpt")
assert run.name.startswith("run 20"), run.name
print(*(row["step"] for row in SQLiteStorage.get_logs("glass-gpt", run.name) if "train/loss" in row))
"""
    home = {"TRACKIO_DIR": str(tmp_path / "trackio"), "HF_HUB_OFFLINE": "1", "TRACKIO_TELEMETRY": "0"}
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], cwd=ROOT, env=os.environ | home, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines()[-1].split() == ["1", "2", "3", "4"]


def test_a_missing_package_is_named_with_what_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pip install tensorboard trackio"):
        check_log_to("both")
    (tmp_path / "t.txt").write_text("the cat sat on the mat.\n" * 40, encoding="utf-8")
    assert cli.main([str(tmp_path / "t.txt"), "--out", str(tmp_path / "run"), "--log-to", "tensorboard"]) == 2
    assert "requirements-extra.txt" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_off_by_default_and_not_even_loaded(make: Make) -> None:
    assert asked("") == []
    trainer = make()
    finish(trainer)
    assert not (trainer.folder.path / "tensorboard").exists()
    program = "import sys, training.trainer; print(*[n for n in ('tensorboard', 'trackio') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "")


class Broken:
    """A writer that refuses its second number."""

    seen = 0

    def __init__(self, *_: object) -> None:
        pass

    def numbers(self, step: int, values: dict[str, float]) -> None:
        Broken.seen += 1
        if Broken.seen == 2:
            raise OSError("no room")

    def text(self, step: int, text: str) -> None:
        raise AssertionError("it was dropped")

    def close(self) -> None:
        raise AssertionError("it was dropped")


def test_a_writer_that_fails_does_not_cost_the_run(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(writers._KINDS, "tensorboard", Broken)
    trainer = make(log_to="tensorboard")
    finish(trainer)
    assert trainer.state == "finished"
    assert Broken.seen == 2


def test_one_that_cannot_begin_is_left_out(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def no(*_: object) -> Any:
        raise OSError("no room")

    monkeypatch.setitem(writers._KINDS, "trackio", no)
    trainer = make(log_to="trackio")
    log = Log(trainer.folder.path, "a run", trainer.recipe, 0)
    log.take(Stepped(1, 0.1, 2.0, 0.01, 1.0, 100.0), None)
    log.close()
    assert finish(trainer)[-1].kind == "finished"
