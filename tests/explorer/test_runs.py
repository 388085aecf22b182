"""The card Runs: what is listed, renaming, deleting, downloading, and who may."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from explorer.compare import Compare
from explorer.runs import Runs
from explorer.server import Server, answering
from explorer.watch import control, pulse
from model import open_checkpoint
from tests.explorer.test_imports import Page
from tests.explorer.test_page_protocol import documented, keys_of
from tests.explorer.tiny import LONG, ask, over, paused_at_once, sentence, tiny_trainer, token
from training.bundle import is_bundle
from training.events import Evaluated
from training.runs import RunFolder

Call = Callable[..., dict[str, Any]]
HOSTILE = "</script><b id=planted>x</b>"


def caller(server: Server) -> Call:
    """Calls a server function as a visitor: call("rename", run=..., name=...); who: another visitor."""
    runs, compare = Runs(server), Compare(server)
    functions = {f.__name__: answering(f) for f in (runs.runs, runs.rename, runs.delete, runs.download)}
    functions |= {f.__name__: answering(f) for f in (compare.compare, compare.export)}

    def call(function: str, /, who: int = 1, **fields: Any) -> dict[str, Any]:
        return functions[function]({"session": token(who), **fields})

    return call


@pytest.fixture
def call(server: Server, uploads: Path) -> Call:
    return caller(server)


def shown(server: Server, run_id: str, who: int = 1) -> dict[str, Any]:
    reply = answering(lambda raw: pulse(server, raw))({"session": token(who), "run": run_id})
    assert reply["ok"], reply
    return reply


# ---- the list -----------------------------------------------------------------------------------------------------


def test_a_run_is_listed_with_its_figures(server: Server, call: Call) -> None:
    run = over(server.jobs.submit(tiny_trainer(server.jobs.root, "mine")))
    reply = call("runs")
    assert keys_of(reply) == documented("runs: reply")
    (listed,) = reply["runs"]
    events = run.log.since(0)[0]
    best = min(
        (event for event in events if isinstance(event, Evaluated) and event.step), key=lambda e: e.val_loss or 0
    )
    checkpoint = open_checkpoint(run.folder.checkpoint("best"))
    assert listed == {
        "ref": f"run:{run.info.id}", "name": "mine", "state": "finished", "corpus": "tiny.txt", "brought": False,
        "made": run.info.created, "parameters": sum(p.numel() for p in checkpoint.model.parameters()),
        "step": 6, "steps": 6, "bits_per_byte": best.bits_per_byte, "loss": best.val_loss,
        "loss_kind": "validation",
    }  # fmt: skip


def test_the_list_and_the_watched_run_agree_on_every_state(serve: Callable[..., Server], uploads: Path) -> None:
    server = serve()
    done = over(server.jobs.submit(tiny_trainer(server.jobs.root, "done")))
    paused = paused_at_once(server, name="paused")
    RunFolder.create(server.jobs.root / "left-behind", "left", done.info.recipe, {"name": "x"})
    for seen_by in (server, serve()):  # that which trains it, and another process on the same folder
        states = {run["ref"][4:]: run["state"] for run in caller(seen_by)("runs")["runs"]}
        wanted = {run: shown(seen_by, run)["run"]["state"] for run in states}
        assert states == wanted
        assert states[done.info.id] == "finished"
        assert states[paused.info.id] == "paused"
        assert states["left-behind"] == "interrupted"


def test_a_shipped_model_is_listed_where_its_curve_is(tmp_path: Path, uploads: Path) -> None:
    from explorer.limits import Limits

    server = Server(tmp_path / "runs", Path(__file__).resolve().parents[2] / "weights", Limits())
    (tales,) = caller(server)("runs")["runs"]
    assert (tales["ref"], tales["state"], tales["made"]) == ("shipped:tales", "shipped", None)
    assert tales["step"] == tales["steps"]


# ---- renaming -----------------------------------------------------------------------------------------------------


def test_a_name_changes_wherever_it_is_shown(server: Server, call: Call) -> None:
    run = over(server.jobs.submit(tiny_trainer(server.jobs.root, "old")))
    ref = f"run:{run.info.id}"
    seen = ask(server, model=ref, prompt="the")
    assert seen["model"]["name"] == "old"
    reply = call("rename", run=run.info.id, name=HOSTILE)
    assert set(reply) == documented("rename: reply")
    assert reply["name"] == HOSTILE
    assert [listed["name"] for listed in reply["runs"]] == [HOSTILE]
    assert {model["ref"]: model["name"] for model in reply["models"]}[ref] == HOSTILE
    assert shown(server, run.info.id)["run"]["name"] == HOSTILE
    again = ask(server, model=ref, ids=seen["ids"], step=seen["model"]["step"])
    assert again["model"]["name"] == HOSTILE, "also of weights that were opened before"


def test_a_run_in_training_and_other_servers_take_the_name_over(serve: Callable[..., Server], uploads: Path) -> None:
    ours, theirs = serve(), serve()
    run = paused_at_once(ours, name="old")
    assert shown(theirs, run.info.id)["run"]["name"] == "old"
    assert caller(ours)("rename", run=run.info.id, name="new")["ok"]
    for server in (ours, theirs):
        server.jobs.changed()  # or wait the seconds for which a list is kept
        assert shown(server, run.info.id)["run"]["name"] == "new"
        assert shown(server, run.info.id)["active"]["name"] == "new"
        assert [entry["name"] for entry in caller(server)("runs")["runs"]] == ["new"]
    assert caller(theirs)("rename", run=run.info.id, name="newer")["ok"], "from where it does not train"
    assert shown(ours, run.info.id)["run"]["name"] == "newer"
    ours.jobs.control(run.info.id, "stop", ours.visitors.get(token(1)).owner)
    assert run.trainer is None or over(run)
    assert open_checkpoint(run.folder.checkpoint("last")).meta["name"] == "newer", "what it writes from now on says so"


@pytest.mark.parametrize("name", ["", " ", "x" * 81, None, 3, {"a": 1}])
def test_what_is_no_name_is_refused(server: Server, call: Call, name: Any) -> None:
    run = over(server.jobs.submit(tiny_trainer(server.jobs.root, "old")))
    assert "at most 80" in sentence(call("rename", run=run.info.id, name=name))
    assert shown(server, run.info.id)["run"]["name"] == "old"


# ---- deleting -----------------------------------------------------------------------------------------------------


def test_deleted_runs_are_gone(server: Server, call: Call) -> None:
    runs = [over(server.jobs.submit(tiny_trainer(server.jobs.root, name))) for name in ("one", "two", "three")]
    reply = call("delete", runs=[run.info.id for run in runs[:2]])
    assert set(reply) == documented("delete: reply")
    assert [listed["name"] for listed in reply["runs"]] == ["three"]
    assert [model["name"] for model in reply["models"] if model["source"] == "run"] == ["three"]
    assert [path.name for path in server.jobs.root.iterdir()] == [runs[2].info.id]
    for again in ("delete", "rename", "download"):
        fields = {"runs": [runs[0].info.id]} if again == "delete" else {"run": runs[0].info.id, "name": "x"}
        assert "This run is not here" in sentence(call(again, **fields))


def test_a_run_in_training_is_not_deleted_here_or_elsewhere(serve: Callable[..., Server], uploads: Path) -> None:
    ours, theirs = serve(), serve()
    run, waits = paused_at_once(ours, name="long"), ours.jobs.submit(tiny_trainer(ours.jobs.root, "next", steps=LONG))
    for server in (ours, theirs):
        for each in (run, waits):
            assert "is still in training: stop it first" in sentence(caller(server)("delete", runs=[each.info.id]))
    assert len(list(ours.jobs.root.iterdir())) == 2
    answering(lambda raw: control(ours, raw))({"session": token(1), "run": run.info.id, "action": "stop"})
    over(run)
    assert caller(theirs)("delete", runs=[run.info.id])["ok"]


@pytest.mark.parametrize("runs", [None, [], "x", [None], ["../x"], ["a"] * 21, [""]])
def test_what_cannot_be_deleted(server: Server, call: Call, runs: Any) -> None:
    over(server.jobs.submit(tiny_trainer(server.jobs.root, "kept")))
    sentence(call("delete", runs=runs))
    assert len(call("runs")["runs"]) == 1


# ---- downloading, and opening what was downloaded -----------------------------------------------------------------


def test_a_run_goes_out_and_comes_in_again(server: Server, call: Call, uploads: Path) -> None:
    run = over(server.jobs.submit(tiny_trainer(server.jobs.root, "trip", sample_every=3)))
    before = shown(server, run.info.id)
    reply = call("download", run=run.info.id)
    assert keys_of(reply) == documented("download: reply")
    file = Path(reply["path"])
    assert (file.name, file.stat().st_size) == (reply["name"], reply["bytes"]) == ("trip.zip", reply["bytes"])
    assert file.is_relative_to(uploads), "where Gradio serves files from"
    assert len(file.parent.name) == 32, "and nobody guesses it"
    assert is_bundle(file)
    contents = file.read_bytes()
    assert call("delete", runs=[run.info.id])["ok"]
    page = Page(server, uploads)
    opened = page.opened(weights=page.put("trip.zip", contents))
    assert set(opened) == documented("open_model: reply")
    assert (opened["kind"], opened["model"], opened["name"]) == ("run", f"run:{run.info.id}", "trip")
    after = shown(server, run.info.id)
    for key in ("points", "evals", "samples", "baselines"):
        assert after[key] == before[key]
    assert (after["run"]["state"], after["run"]["mine"]) == ("finished", True)
    assert ask(server, model=opened["model"], prompt="the cat")["model"]["source"] == "run"
    again = page.opened(weights=page.put("trip.zip", contents), name="second copy")
    assert again["model"] != opened["model"]
    assert {listed["name"] for listed in call("runs")["runs"]} == {"trip", "second copy"}


def test_a_zip_whose_model_is_too_large_or_damaged_leaves_nothing(serve: Callable[..., Server], uploads: Path) -> None:
    server = serve()
    run = over(server.jobs.submit(tiny_trainer(server.jobs.root, "large")))
    contents = Path(caller(server)("download", run=run.info.id)["path"]).read_bytes()
    caller(server)("delete", runs=[run.info.id])
    small = serve(parameters=100)
    assert "this server opens up to 100" in sentence(
        Page(small, uploads).open(weights=Page(small, uploads).put("a.zip", contents))
    )
    tight = serve(run_bytes=len(contents) - 1)
    assert "opens up to" in sentence(Page(tight, uploads).open(weights=Page(tight, uploads).put("a.zip", contents)))
    tight = serve(run_bytes=len(contents) + 10)
    assert "unpacks to more than" in sentence(
        Page(tight, uploads).open(weights=Page(tight, uploads).put("a.zip", contents))
    )
    full = serve(imports_a_visitor=0)
    assert "which is the most" in sentence(Page(full, uploads).open(weights=Page(full, uploads).put("a.zip", contents)))
    page = Page(server, uploads)
    assert "damaged" in sentence(page.open(weights=page.put("bent.zip", contents.replace(b"F32", b"F33"))))
    assert list(server.jobs.root.iterdir()) == []


# ---- whose it is --------------------------------------------------------------------------------------------------


def test_on_a_shared_server_only_ones_own(serve: Callable[..., Server], uploads: Path) -> None:
    server = serve(shared=True)
    call = caller(server)
    mine = server.visitors.get(token(1)).owner
    run = over(server.jobs.submit(tiny_trainer(server.jobs.root, "mine", owner=mine)))
    assert [entry["name"] for entry in call("runs")["runs"]] == ["mine"]
    assert call("runs", who=2)["runs"] == []
    for name, fields in (
        ("rename", {"run": run.info.id, "name": "theirs"}),
        ("delete", {"runs": [run.info.id]}),
        ("download", {"run": run.info.id}),
    ):
        assert "Only the browser that started this training" in sentence(call(name, who=2, **fields))
    assert call("runs")["runs"][0]["name"] == "mine"
    assert not list(uploads.rglob("*.zip"))
    assert call("compare", who=2, models=[f"run:{run.info.id}"])["ok"], "whoever has its link may watch it"
    contents = Path(call("download", run=run.info.id)["path"]).read_bytes()
    assert mine.encode() not in contents
    page = Page(server, uploads)
    opened = page.opened(who=2, weights=page.put("run.zip", contents))
    assert [entry["ref"] for entry in call("runs", who=2)["runs"]] == [opened["model"]]
    assert [entry["ref"] for entry in call("runs")["runs"]] == [f"run:{run.info.id}"]
    assert call("rename", who=2, run=opened["model"][4:], name="now theirs")["ok"]
    assert call("delete", who=2, runs=[opened["model"][4:]])["ok"]


def test_what_nobody_asked_for_is_refused_in_words(call: Call) -> None:
    for name in ("runs", "rename", "delete", "download", "compare", "export"):
        sentence(call(name, session="x"))
        if name != "runs":
            sentence(call(name))
