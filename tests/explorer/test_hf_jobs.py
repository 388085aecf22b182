"""Trainings on Hugging Face from the page: whose they are, what is kept of them, and that the token is kept nowhere."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import constants

from explorer.hf_jobs import HfJobs
from explorer.imports import Imports
from explorer.recipes import FIELDS, values_of
from explorer.server import Server, answering
from explorer.tabs.train import name_of
from model import open_checkpoint
from tests.explorer.test_page_protocol import documented, keys_of
from tests.explorer.tiny import TEXT, over, sentence, tiny_trainer, token, visitor
from tests.hf_jobs_server import GOOD, OTHER, POOR, JobsHub
from training.bundle import pack
from training.corpus import from_text
from training.hf_jobs import Job
from training.kept import read_text

Ask = Callable[..., dict[str, Any]]
SMALL = {"layers": 1, "heads": 2, "width": 16, "context": 8, "steps": 10, "batch_size": 4}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[JobsHub]:
    """A Hub whose jobs wait for ever."""
    running = JobsHub(tmp_path / "jobs", runs_jobs=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_ENDPOINT", running.address)
    monkeypatch.setenv("HF_TOKEN", GOOD)  # the server's owner is logged in; that is nobody else's account
    huggingface_hub.close_session()
    yield running
    huggingface_hub.close_session()
    running.stop()


def asking(server: Server) -> Ask:
    """The functions as the page calls them."""
    functions = HfJobs(server, Imports(server), name_of)

    def ask(call: str, /, who: int = 1, key: str | None = GOOD, **request: Any) -> dict[str, Any]:
        return answering(getattr(functions, call))({"session": token(who), "token": key, **request})

    return ask


def boxes(**changes: Any) -> list[Any]:
    return [(SMALL | changes).get(name, value) for name, value in zip(FIELDS, values_of("fast"), strict=True)]


def order(**changes: Any) -> dict[str, Any]:
    return {"preset": "fast", "values": boxes(), "name": "hired", "flavor": "cpu-basic", "minutes": 30} | changes


@pytest.fixture
def ask(server: Server, hub: JobsHub) -> Ask:
    visitor(server).take_corpus(from_text(TEXT, "cats.txt"))
    return asking(server)


def end(hub: JobsHub, server: Server, tmp_path: Path) -> None:
    """The job is over, and has left a run."""
    (job,) = hub.jobs.values()
    job.stage, job.begun, job.ended = "COMPLETED", 100.0, 160.0
    job.lines = ['glass-gpt: {"step": 6, "steps": 6, "loss": 1.25, "val_loss": 1.5, "bytes_per_token": 2.0}']
    trained = over(server.jobs.submit(tiny_trainer(server.jobs.root, name="there", kept=True)))
    (repository,) = hub.repositories.values()
    repository.files["run.zip"] = pack(trained.folder.path, tmp_path / "run.zip").read_bytes()
    trained.folder.delete()
    server.jobs.changed()


@pytest.mark.parametrize("name", ["hf_hardware", "hf_send", "hf_jobs", "hf_cancel", "hf_fetch"])
def test_the_keys_that_are_read_are_those_documented(name: str) -> None:
    keys = re.compile(r'request\.get\("(\w+)"\)')
    asked = set(keys.findall(inspect.getsource(HfJobs._asked)))
    own = inspect.getsource(getattr(HfJobs, name))
    assert set(keys.findall(own)) | (asked if "self._asked" in own else set()) == documented(f"{name}: request")


def test_hardware_as_documented(ask: Ask) -> None:
    reply = ask("hf_hardware")
    assert keys_of(reply) == documented("hf_hardware: reply")
    assert [(each["name"], each["price"], each["processes"]) for each in reply["hardware"]] == [
        ("t4-small", 0.0067, 1),
        ("cpu-basic", 0.01, 1),
        ("rtx-pro-6000", 0.04, 1),
        ("a10g-largex2", 0.05, 2),
    ]


def test_a_training_is_sent_seen_and_brought(ask: Ask, hub: JobsHub, server: Server, tmp_path: Path) -> None:
    reply = ask("hf_send", **order())
    assert keys_of(reply) == documented("hf_send: reply") | {f"jobs[].{key}" for key in documented("a job")}
    (job,) = hub.jobs.values()
    assert job.spec["timeoutSeconds"] == 1800
    (files,) = [repository.files for repository in hub.repositories.values()]
    assert "width: 16 " in files["text/config.yaml"].decode()
    place = tmp_path / "sent"
    for name, body in files.items():
        if name.startswith("text/"):
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes(body)
    texts = read_text(place / "text")
    assert texts is not None
    assert texts.train + texts.held_out == TEXT
    (row,) = reply["jobs"]
    assert (row["id"], row["stage"], row["most"], row["ready"]) == (job.id, "sent", pytest.approx(0.3), False)

    (row,) = ask("hf_jobs")["jobs"]
    assert (row["stage"], row["say"]) == ("scheduling", "It waits for a machine.")
    end(hub, server, tmp_path)
    (row,) = ask("hf_jobs", key=None)["jobs"]
    assert row["stage"] == "scheduling"  # without a token nobody is asked
    (row,) = ask("hf_jobs")["jobs"]
    assert (row["stage"], row["over"], row["ready"], row["run"]) == ("completed", True, True, None)
    assert (row["step"], row["steps"], row["loss"], row["val_loss"]) == (6, 6, 1.25, 1.5)
    assert row["bytes_per_token"] == 2
    assert (row["seconds"], row["cost"]) == (60, pytest.approx(0.01))
    assert row["repo_url"] == f"{hub.address}/{next(iter(hub.repositories))}"
    asked = len(hub.asked)
    ask("hf_jobs")
    assert len(hub.asked) == asked  # what is over is not asked about again

    brought = ask("hf_fetch", job=job.id)
    assert keys_of(brought) - {key for key in keys_of(brought) if key.startswith(("models[]", "jobs[]"))} == documented(
        "hf_fetch: reply"
    )
    run = server.jobs.find(brought["model"].removeprefix("run:"))
    assert (run.info.name, run.info.brought) == ("there", True)
    assert open_checkpoint(run.folder.path).config.width == 16
    assert brought["jobs"][0]["run"] == run.info.id
    assert brought["model"] in [model["ref"] for model in brought["models"]]
    assert ask("hf_forget", job=job.id) == {"ok": True, "jobs": []}
    assert (hub.repositories, run.folder.path.exists()) == ({}, True)


def test_what_is_kept_knows_no_token_and_outlives_the_server(
    serve: Callable[..., Server], hub: JobsHub, caplog: pytest.LogCaptureFixture
) -> None:
    server = serve()
    visitor(server).take_corpus(from_text(TEXT, "cats.txt"))
    sent = asking(server)("hf_send", **order(name="<b>hired</b>\n two"))["jobs"]
    again = asking(serve())("hf_jobs", key=None)["jobs"]
    assert [job["id"] for job in again] == [job["id"] for job in sent]
    assert again[0]["name"] == "<b>hired</b> two"
    assert sentence(asking(server)("hf_send", key=POOR, **order())).startswith("The account has no credit")
    files = [path for path in server.jobs.root.rglob("*") if path.is_file()]
    assert files
    for secret in (GOOD, POOR):
        assert not [path for path in files if secret.encode() in path.read_bytes()]
        assert secret not in caplog.text
        assert secret not in json.dumps([*sent, *again])
    assert server.jobs.listed(visitor(server).owner) == []  # the file is no run


def test_the_owner_s_own_token_is_nobody_else_s(ask: Ask, hub: JobsHub) -> None:
    for name, request in (("hf_hardware", {}), ("hf_send", order()), ("hf_cancel", {"job": "0"})):
        for key in (None, "", "  "):
            reply = ask(name, key=key, **request)
            assert "token" in sentence(reply) or "no such job" in sentence(reply)
    assert (hub.jobs, hub.repositories, hub.asked) == ({}, {}, [])


def test_a_visitor_sees_and_touches_their_own(serve: Callable[..., Server], hub: JobsHub, tmp_path: Path) -> None:
    server = serve(shared=True)
    visitor(server).take_corpus(from_text(TEXT, "cats.txt"))
    ask = asking(server)
    job = ask("hf_send", **order())["jobs"][0]["id"]
    end(hub, server, tmp_path)
    assert ask("hf_jobs", who=2)["jobs"] == []
    for name in ("hf_cancel", "hf_fetch", "hf_forget"):
        assert "There is no such job of yours" in sentence(ask(name, who=2, job=job))
    ask("hf_jobs")
    run = server.jobs.find(ask("hf_fetch", job=job)["model"].removeprefix("run:"))
    assert run.info.owner == visitor(server).owner
    assert server.jobs.listed(visitor(server, 2).owner) == []


def test_cancelling(ask: Ask, hub: JobsHub) -> None:
    job = ask("hf_send", **order())["jobs"][0]["id"]
    assert "cancel it first" in sentence(ask("hf_forget", job=job))
    (row,) = ask("hf_cancel", job=job)["jobs"]
    assert (row["stage"], row["over"], row["ready"]) == ("canceled", True, False)
    assert hub.jobs[job].stage == "CANCELED"
    assert "holds no run" in sentence(ask("hf_fetch", job=job))


def test_another_account_s_token_says_so_and_changes_nothing(ask: Ask) -> None:
    job = ask("hf_send", **order())["jobs"][0]
    (row,) = ask("hf_jobs", key=OTHER)["jobs"]
    assert "This token may not look after Jobs of this account" in row["problem"]
    assert {**row, "problem": None} == job
    assert "token" in ask("hf_jobs", key=5)["jobs"][0]["problem"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"preset": "no such"}, "The recipe cannot be read"),
        ({"values": [1]}, "The recipe cannot be read"),
        ({"values": "fast"}, "The recipe cannot be read"),
        ({"minutes": None}, "The time limit is empty"),
        ({"minutes": True}, "The time limit is empty"),
        ({"minutes": float("nan")}, "The time limit is empty"),
        ({"minutes": 1}, "The time limit is 60 s: give 5 minutes to 7 days"),
        ({"flavor": None}, 'There is no hardware "None"'),
        ({"values": boxes(heads=3)}, "idth"),
        ({"values": boxes(layers=None)}, "Layers is empty"),
    ],
)
def test_what_cannot_be_sent_is_said(ask: Ask, hub: JobsHub, changes: dict[str, Any], said: str) -> None:
    assert said in sentence(ask("hf_send", **order(**changes)))
    assert (hub.jobs, hub.repositories) == ({}, {})


def test_a_model_that_could_not_be_opened_here_is_not_sent(serve: Callable[..., Server], hub: JobsHub) -> None:
    server = serve(parameters=1000)
    visitor(server).take_corpus(from_text(TEXT, "cats.txt"))
    assert "this server opens up to" in sentence(asking(server)("hf_send", **order()))
    assert not hub.repositories


def test_a_run_too_large_or_hostile_is_not_brought(
    serve: Callable[..., Server], hub: JobsHub, server: Server, tmp_path: Path
) -> None:
    small = serve(run_bytes=1000)
    visitor(small).take_corpus(from_text(TEXT, "cats.txt"))
    ask = asking(small)
    job = ask("hf_send", **order())["jobs"][0]["id"]
    end(hub, server, tmp_path)
    assert "the most here is 1" in sentence(ask("hf_fetch", job=job))
    (repository,) = hub.repositories.values()
    repository.files["run.zip"] = b"PK\x03\x04 no zip"
    assert "is no zip" in sentence(ask("hf_fetch", job=job))
    assert [path for path in small.jobs.root.iterdir() if path.name != ".hf-jobs"] == []


def test_a_job_is_kept_as_it_was() -> None:
    job = Job("1", "ada", "cats-0", "cats", "cpu-basic", 0.01, 600, "http://127.0.0.1/jobs/ada/1")
    assert Job.from_dict(json.loads(json.dumps(vars(job)))) == job
