"""What runs in a job on Hugging Face: `python -m training.hf_worker` in a folder that hf_payload.py describes.

It installs the pins that are missing, trains by torchrun, and uploads the run as one zip, whatever became of it: done,
stopped before the job's time is over, ended by a signal, failed. How it goes is printed a line at a time, for `look` of
hf_jobs.py: `glass-gpt: {"step": 200, "steps": 1000, "loss": 1.93, …}`.

Only the standard library is imported before the packages are there. The Hub's token is in this process alone: neither
pip nor the training see it.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

MARK = "glass-gpt: "
CPU_WHEELS = "https://download.pytorch.org/whl/cpu"
_NEWS_S = 5.0  # between two lines about how it goes
_REFUSED = "python -m training: "  # how the command line begins what it cannot do
_SECRETS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")


def main() -> int:
    """Carry out job.json in the current folder: 0 when a run came to its end or was stopped, else what failed."""
    begun, place = time.monotonic(), Path.cwd()
    job = json.loads((place / "job.json").read_text(encoding="utf-8"))
    environment = {name: value for name, value in os.environ.items() if name not in _SECRETS}
    if (code := install(place / "source" / "requirements.txt", job["on_gpu"], environment)) != 0:
        say(failed="the packages could not be installed")
        return code
    out = place / "runs" / job["run"]
    code = _train(job, place, out, environment, begun + job["train_s"])
    return _bring(out, place / "run.zip") or code


def say(**news: Any) -> None:
    """A line that a program can read."""
    print(MARK + json.dumps(news), flush=True)


def install(requirements: Path, on_gpu: bool, environment: dict[str, str]) -> int:
    """Install what is missing, all of it by one pip. Without a GPU torch comes without CUDA's 3 GB."""
    lines = requirements.read_text(encoding="utf-8").splitlines()
    missing = [pin for line in lines if (pin := line.partition("#")[0].strip()) and not _installed(pin)]
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--root-user-action=ignore"]
    todo = [[*pip, *missing]] if missing else []
    if not on_gpu and (torch := [pin for pin in missing if pin.startswith("torch==")]):
        todo.insert(0, [*pip, *torch, "--index-url", CPU_WHEELS])
    for command in todo:
        if code := subprocess.run(command, env=environment, check=False).returncode:
            return code
    importlib.invalidate_caches()
    return 0


def _installed(pin: str) -> bool:
    """Whether a package is here in the version of its pin; `2.13.0+cu130` is 2.13.0."""
    name, _, version = pin.partition("==")
    try:
        return importlib.metadata.version(name).partition("+")[0] == version
    except importlib.metadata.PackageNotFoundError:
        return False


def _train(job: dict[str, Any], place: Path, out: Path, environment: dict[str, str], until: float) -> int:
    """Train until it is over, its time is, or the job is asked to end; returns 0 where the run ended in order."""
    from training.events import Finished
    from training.runs import RunFolder

    (place / "work").mkdir(exist_ok=True)  # no file of the job may be taken for the corpus of a config
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", str(job["processes"]), "-m", "training"]
    command += ["--config", "../text/config.yaml", "--out", str(out), "--name", job["name"], "--go-on", "--quiet"]
    source = str(place / "source")
    training = subprocess.Popen(
        command, cwd=place / "work", env=environment | {"PYTHONPATH": source}, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, errors="replace",
    )  # fmt: skip

    def stop(*_: object) -> None:
        training.send_signal(signal.SIGINT)  # torchrun passes it on, and the run ends as by Ctrl-C: with its weights

    signal.signal(signal.SIGTERM, stop)
    news, refused, stopped = _News(RunFolder(out)), list[str](), False
    reader = threading.Thread(target=_pass_on, args=(training, refused), daemon=True)
    reader.start()
    while training.poll() is None:
        try:
            training.wait(_NEWS_S)
        except subprocess.TimeoutExpired:
            news.tell()
            if time.monotonic() > until and not stopped:
                stopped = True
                say(stopped="its time is nearly over")
                stop()
    reader.join()
    news.tell()
    if refused:
        say(failed=refused[-1])
    return 0 if isinstance(RunFolder(out).last_event(), Finished) else training.returncode or 1


def _pass_on(training: subprocess.Popen[str], refused: list[str]) -> None:
    """Print what a training prints; the sentences that it was refused with are kept."""
    assert training.stdout is not None
    with training.stdout as lines:
        for line in lines:
            print(line, end="", flush=True)
            if line.startswith(_REFUSED):
                refused.append(line.removeprefix(_REFUSED).strip())


class _News:
    """Tells what a run wrote down since it was last asked."""

    def __init__(self, folder: Any) -> None:
        self._folder, self._at = folder, 0
        self._known: dict[str, Any] = {}

    def tell(self) -> None:
        from training.events import Evaluated, Failed, Started, Stepped

        before = dict(self._known)
        for event, behind in self._folder.events_from(self._at):
            self._at = behind
            match event:
                case Started():
                    sizes = (event.bytes_per_token, event.learnt_bytes_per_token)
                    self._known |= dict(zip(("bytes_per_token", "train_bytes_per_token"), sizes, strict=True))
                case Stepped():
                    self._known |= {"step": event.step, "loss": event.loss, "tokens_per_s": event.tokens_per_s}
                case Evaluated(val_loss=float()):
                    self._known["val_loss"] = event.val_loss
                case Failed():
                    self._known["failed"] = event.message
        if self._known != before:
            say(**self._known, steps=self._folder.info().recipe.train.steps)


def _bring(out: Path, file: Path) -> int:
    """Pack the run and upload it; 0 when it is there."""
    from huggingface_hub import HfApi

    from training.bundle import pack

    if not (out / "config.json").exists():
        return 1  # it was refused
    pack(out, file)
    HfApi().upload_file(
        path_or_fileobj=file,
        path_in_repo=file.name,
        repo_id=os.environ["GLASS_REPO"],
        commit_message="The run",
    )
    say(uploaded=file.stat().st_size)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
