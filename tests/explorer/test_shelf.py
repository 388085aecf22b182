"""Models by their refs: what is shipped, and a run at its snapshot, its checkpoint, or not at all yet."""

from __future__ import annotations

import gc
import json
import math
import os
import shutil
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from explorer import shelf as shelf_module
from explorer import text
from explorer.jobs import Run
from explorer.limits import Limits
from explorer.server import Server
from explorer.shelf import View, measured, millions, shape
from model import GPT, Checkpoint, CheckpointError, GPTConfig, open_checkpoint, save_checkpoint, trace
from tests.explorer.tiny import (
    CHAR,
    LONG,
    PATIENCE,
    ask,
    map_rows,
    over,
    paused_at_once,
    random_model,
    same_maps,
    sentence,
    tiny_recipe,
    tiny_trainer,
    token,
    try_to,
    until,
)
from training.events import Evaluated, Paused, Started, Stepped
from training.runs import RunFolder

Submit = Callable[..., Any]


def same_weights(view: View, model: GPT) -> bool:
    wanted = model.state_dict()
    return all(torch.equal(value, wanted[name]) for name, value in view.model.state_dict().items())


# Shipped


def test_shipped_models_are_listed_by_folder(server: Server, weights: Path) -> None:
    alpha = GPTConfig(vocab_size=CHAR.vocab_size, context=12, layers=2, heads=2, width=16)
    listed = server.shelf.shipped()
    assert [item["ref"] for item in listed] == ["shipped:alpha", "shipped:beta"]
    assert [item["name"] for item in listed] == ["Alpha", "beta"]  # beta's card has no name: its folder's
    assert {item["source"] for item in listed} == {"shipped"}
    assert listed[0]["detail"] == shape(alpha) == f"2 layers × 2 heads, {alpha.parameters():,} parameters"
    assert server.shelf.default() == "shipped:alpha"
    assert server.models("anybody") == listed


@pytest.fixture
def shelf(weights: Path, tmp_path: Path) -> Path:
    """A folder of shipped models of one's own, to damage."""
    return Path(shutil.copytree(weights, tmp_path / "weights"))


@pytest.mark.parametrize(
    "damage",
    [
        "",
        "{",
        "[]",
        "null",
        '{"format": "another"}',
        '{"format": "glass-gpt", "version": 99}',
        '{"format": "glass-gpt", "version": 1}',
        '{"format": "glass-gpt", "version": 1, "config": null}',
        '{"format": "glass-gpt", "version": 1, "config": {"vocab_size": 0}}',
        '{"format": "glass-gpt", "version": 1, "config": {"vocab_size": 9, "depth": 1}}',
        '{"format": "glass-gpt", "version": 1, "config": {"vocab_size": 9}, "meta": 5}',
    ],
)
def test_a_damaged_model_is_not_offered_and_opening_it_says_why(shelf: Path, tmp_path: Path, damage: str) -> None:
    (shelf / "alpha" / "checkpoint.json").write_text(damage)
    server = Server(tmp_path / "runs", shelf, Limits())
    assert [item["ref"] for item in server.shelf.shipped()] == ["shipped:beta"]
    assert server.shelf.default() == "shipped:beta"
    assert ask(server, prompt="the cat")["model"]["ref"] == "shipped:beta"
    sentence(try_to(server, {"session": token(1), "prompt": "the cat", "model": "shipped:alpha"}))


def test_weights_that_were_tampered_with_are_not_opened(shelf: Path, tmp_path: Path) -> None:
    path = next((shelf / "alpha").glob("*.safetensors"))
    path.write_bytes(path.read_bytes()[:-1] + b"\x55")
    server = Server(tmp_path / "runs", shelf, Limits())
    assert "damaged" in sentence(try_to(server, {"session": token(1), "prompt": "a", "model": "shipped:alpha"}))


def test_a_model_without_its_tokenizer_cannot_be_shown(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "weights" / "bare", random_model(CHAR))
    server = Server(tmp_path / "runs", tmp_path / "weights", Limits())
    assert "tokenizer" in sentence(try_to(server, {"session": token(1), "prompt": "a"}))


@pytest.mark.parametrize("folder", ["empty", "missing"])
def test_without_any_model_a_sentence_says_so(tmp_path: Path, folder: str) -> None:
    (tmp_path / "empty").mkdir()
    server = Server(tmp_path / "runs", tmp_path / folder, Limits())
    assert server.shelf.shipped() == []
    assert "no model is shipped" in sentence(try_to(server, {"session": token(1), "prompt": "a"})).lower()
    with pytest.raises(CheckpointError, match="no shipped model"):
        server.view("shipped:alpha")


def test_a_model_is_opened_once_and_read_only(server: Server) -> None:
    view = server.view("shipped:alpha")
    assert server.view("shipped:alpha") is view
    assert not view.model.training
    assert not any(parameter.requires_grad for parameter in view.model.parameters())


def test_a_class_that_asks_at_once_opens_a_model_once(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """And while it is being opened, another one can be."""
    begun, go_on, opened = threading.Event(), threading.Event(), []

    def slowly(folder: Path) -> Checkpoint:
        opened.append(folder.name)
        if folder.name == "alpha":
            begun.set()
            assert go_on.wait(PATIENCE)
        return open_checkpoint(folder)

    monkeypatch.setattr(shelf_module, "open_checkpoint", slowly)
    with ThreadPoolExecutor(4) as threads:
        asked = [threads.submit(server.view, "shipped:alpha") for _ in range(4)]
        assert begun.wait(PATIENCE)
        server.view("shipped:beta")
        go_on.set()
        assert len({id(found.result(PATIENCE)) for found in asked}) == 1
    assert opened == ["alpha", "beta"]


def test_a_model_written_anew_is_opened_anew(shelf: Path, tmp_path: Path) -> None:
    server = Server(tmp_path / "runs", shelf, Limits())
    before = server.view("shipped:alpha")
    model = random_model(CHAR, seed=77)
    save_checkpoint(shelf / "alpha", model, CHAR, {"name": "New", "step": 301})
    after = server.view("shipped:alpha")
    assert (before.name, after.name) == ("Alpha", "New")
    assert same_weights(after, model)


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0"), (99_999, "99,999"), (100_000, "0.10 M"), (820_000, "0.82 M"), (9_999_999, "10.00 M"),
     (10_000_000, "10 M"), (124_439_808, "124 M"), (1_234_567_890, "1,235 M")],
)  # fmt: skip
def test_parameters_are_said_as_people_say_them(count: int, text: str) -> None:
    assert millions(count) == text


def test_a_checkpoint_that_is_replaced_while_it_is_read_is_read_again(
    shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As another program's training does: the old weights are gone once the new ones are written."""
    server = Server(tmp_path / "runs", shelf, Limits())
    model = random_model(CHAR, seed=77)
    reads: list[Path] = []

    def read(folder: Path) -> Any:
        reads.append(folder)
        if len(reads) == 1:
            save_checkpoint(shelf / "alpha", model, CHAR, {"name": "New", "step": 301})
            raise CheckpointError("a file is missing")
        return open_checkpoint(folder)

    monkeypatch.setattr(shelf_module, "open_checkpoint", read)
    view = server.view("shipped:alpha")
    assert (len(reads), view.step) == (2, 301)
    assert same_weights(view, model)
    assert server.view("shipped:alpha") is view


def test_the_states_of_one_run_push_no_other_model_out(serve: Callable[..., Server]) -> None:
    """Each prompt to a run in training opens a new state of it; only the newest one is kept."""
    server = serve(opened_models=2)
    shipped = server.view("shipped:alpha")
    run = paused_at_once(server)
    first = weakref.ref(server.view(f"run:{run.info.id}", fresh=True))
    after = until(run, Paused)
    for _ in range(3):
        after = stand_still(run, after)
        server.view(f"run:{run.info.id}", fresh=True)
    assert server.view("shipped:alpha") is shipped
    gc.collect()
    assert first() is None


# A run


def test_a_run_in_the_queue_has_nothing_to_show_yet(server: Server, submit: Submit) -> None:
    submit(steps=LONG)
    waiting = submit(name="patience")
    with pytest.raises(CheckpointError, match="patience has not begun"):
        server.view(f"run:{waiting.info.id}")
    assert f"run:{waiting.info.id}" not in [item["ref"] for item in server.models("x")]


def test_a_live_run_at_step_0_shows_its_first_weights(server: Server) -> None:
    run = paused_at_once(server)
    view = server.view(f"run:{run.info.id}", fresh=True)
    assert (view.step, view.loss, view.bits_per_byte, view.source) == (0, None, None, "run")
    torch.manual_seed(run.info.recipe.train.seed)
    assert same_weights(view, GPT(run.trainer.config))
    reply = ask(server, prompt="the cat", model=f"run:{run.info.id}")
    assert (reply["model"]["step"], reply["model"]["name"]) == (0, "a run")
    assert f"run:{run.info.id}" in [item["ref"] for item in server.models("x")]


def stand_still(run: Any, after: int) -> int:
    """Let a paused run make a step or more, and pause it again; the cursor behind its Paused."""
    run.trainer.resume()
    after = until(run, Stepped, after)
    run.trainer.pause()
    return until(run, Paused, after)


def bytes_of_a_token(run: Run) -> float:
    [size] = [event.learnt_bytes_per_token for event in run.log.since(0)[0] if isinstance(event, Started)]
    assert size is not None
    return size


def test_a_paused_run_shows_the_weights_that_it_stands_at(server: Server) -> None:
    run = paused_at_once(server, eval_every=LONG)
    stand_still(run, until(run, Paused))
    step = [event for event in run.log.since(0)[0] if isinstance(event, Stepped)][-1]
    view = server.view(f"run:{run.info.id}", fresh=True)
    assert view.step == step.step > 0
    assert (view.loss, view.loss_kind) == (step.loss, "training")
    assert view.bits_per_byte == pytest.approx(step.loss / math.log(2) / bytes_of_a_token(run))
    assert all(torch.equal(value, run.trainer.snapshot.state[name]) for name, value in view.model.state_dict().items())


def test_a_running_run_shows_its_last_measurement_or_this_moment(server: Server, submit: Submit) -> None:
    run = submit(steps=LONG, eval_every=LONG)
    until(run, Stepped)
    measured = server.view(f"run:{run.info.id}")
    fresh = server.view(f"run:{run.info.id}", fresh=True)
    assert run.state == "running"
    assert (measured.step, measured.loss_kind) == (0, "validation")
    assert fresh.step > 0
    assert fresh.loss_kind == "training"
    assert not same_weights(fresh, measured.model)


def test_a_view_never_changes_while_the_run_goes_on(server: Server) -> None:
    run = paused_at_once(server)
    view = server.view(f"run:{run.info.id}", fresh=True)
    before = {name: value.clone() for name, value in view.model.state_dict().items()}
    stand_still(run, until(run, Paused))
    later = server.view(f"run:{run.info.id}", fresh=True)
    assert later.step > view.step == 0
    assert all(torch.equal(value, before[name]) for name, value in view.model.state_dict().items())
    assert not same_weights(later, view.model)


def test_a_text_stays_in_the_model_it_began_with(server: Server) -> None:
    run = paused_at_once(server)
    ref = f"run:{run.info.id}"
    begun = ask(server, prompt="the cat", model=ref)
    stand_still(run, until(run, Paused))
    more: dict[str, Any] = {"model": ref, "step": begun["model"]["step"], "prompt_tokens": 7}
    went_on = ask(server, ids=begun["ids"], append={"count": 3}, **more)
    assert went_on["model"] == begun["model"]
    again = ask(server, ids=begun["ids"], **more)
    assert again["next"] == begun["next"]
    anew = ask(server, prompt="the cat", model=ref, step=0)  # a prompt begins with what there is now
    assert anew["model"]["step"] > 0
    assert anew["next"]["rows"] != begun["next"]["rows"]
    stranger = ask(server, who=2, ids=begun["ids"], **more)  # who never looked at step 0 cannot be held there
    assert stranger["model"]["step"] == anew["model"]["step"]


def test_a_measured_snapshot_shows_the_held_out_loss(server: Server, submit: Submit) -> None:
    """The last evaluation publishes the snapshot that the run ends with."""
    run = submit(steps=4, eval_every=2)
    over(run)
    state = run.trainer.snapshot
    measured = [event for event in run.log.since(0)[0] if isinstance(event, Evaluated)][-1]
    view = server.shelf.open_snapshot(run.trainer, "a run", state)
    assert (view.step, view.loss, view.loss_kind) == (4, measured.val_loss, "validation")
    assert view.bits_per_byte == measured.bits_per_byte
    assert server.shelf.open_snapshot(run.trainer, "a run", state) is view


def test_a_run_of_another_program_shows_its_latest_checkpoint(server: Server) -> None:
    """While it goes on, that is nearest to this moment; once it is over, its best weights are the ones to see."""
    folder = RunFolder.create(server.jobs.root / "theirs", "theirs", tiny_recipe(), {"name": "tiny"})
    folder.hold()
    with pytest.raises(CheckpointError, match="theirs has no checkpoint yet"):
        server.view("run:theirs")
    for which, step in (("best", 3), ("last", 6)):
        save_checkpoint(folder.checkpoint(which), random_model(CHAR, seed=step), CHAR, {"name": "theirs", "step": step})
    assert server.view("run:theirs").step == 6
    folder.close()
    assert server.view("run:theirs").step == 3


def test_a_finished_run_shows_its_best_checkpoint(server: Server, submit: Submit) -> None:
    """A learning rate that spoils the model after its best measurement: the last weights are not the best."""
    run = over(submit(steps=40, eval_every=4, learning_rate=0.2, warmup_steps=0, schedule="constant"))
    evals = [event for event in run.log.since(0)[0] if isinstance(event, Evaluated) and event.step]
    best = min(evals, key=lambda event: event.val_loss or 0)
    assert best.step < 40  # else this shows nothing
    view = server.view(f"run:{run.info.id}", fresh=True)
    assert (view.step, view.loss, view.loss_kind) == (best.step, best.val_loss, "validation")
    assert same_weights(view, open_checkpoint(run.folder.checkpoint("best")).model)
    assert not same_weights(view, open_checkpoint(run.folder.checkpoint("last")).model)
    reply = ask(server, prompt="the cat", model=f"run:{run.info.id}")
    same_maps(map_rows(reply["maps"]), trace(view.model, reply["ids"]).patterns, 0)


def test_a_run_without_held_out_text_shows_its_training_loss(server: Server, submit: Submit) -> None:
    run = over(submit(val_fraction=0.0))
    view = server.view(f"run:{run.info.id}")
    assert view.loss_kind == "training"
    losses = [event.loss for event in run.log.since(0)[0] if isinstance(event, Stepped)]
    assert view.loss in losses
    assert view.bits_per_byte == pytest.approx(view.loss / math.log(2) / bytes_of_a_token(run))


def test_a_run_that_ended_before_its_first_checkpoint_says_so(server: Server) -> None:
    folder = RunFolder.create(server.jobs.root / "early-1", "early", tiny_recipe(), {"name": "tiny"})
    with pytest.raises(CheckpointError, match="early ended before its first checkpoint"):
        server.view(f"run:{folder.id}")
    assert server.models("x") == server.shelf.shipped()


def test_a_run_folder_with_nonsense_in_it_harms_nobody(server: Server) -> None:
    for name, config in {"a": "", "b": "{}", "c": '{"name": 5}', "d": json.dumps({"corpus": 7})}.items():
        (server.jobs.root / name).mkdir(parents=True)
        (server.jobs.root / name / "config.json").write_text(config)
        sentence(try_to(server, {"session": token(1), "prompt": "a", "model": f"run:{name}"}))
    assert server.models("x") == server.shelf.shipped()


def test_a_run_begins_with_the_first_words_of_its_text(server: Server) -> None:
    """Alive and after a restart: what its config keeps of the text is the prompt that it opens on."""
    trainer = tiny_trainer(server.jobs.root)
    config = trainer.folder.path / "config.json"
    values = json.loads(config.read_text())
    config.write_text(json.dumps({**values, "corpus": {**values["corpus"], "opening": "why, said the fox"}}))
    trainer.pause()
    run = server.jobs.submit(trainer)
    until(run, Paused)
    ref = f"run:{run.info.id}"
    live = ask(server, model=ref, opening=True)
    assert (live["prompt"], live["ids"]) == ("why, said the fox", CHAR.encode("why, said the fox"))
    trainer.resume()
    over(run)
    later = Server(server.jobs.root, server.jobs.root, Limits())
    assert ask(later, model=ref, opening=True)["ids"] == live["ids"]
    assert server.view("shipped:alpha").opening == text.PROMPT


def test_a_model_in_a_list_says_what_tells_it_from_others(weights: Path, tmp_path: Path) -> None:
    """Shape, step and loss of its checkpoint; anew once that has changed."""
    folder = tmp_path / "model"
    shutil.copytree(weights / "alpha", folder)
    index = json.loads((folder / "checkpoint.json").read_text("utf-8"))
    index["meta"] = {"step": 1200, "loss": 1.5, "val_loss": 1.765, "bits_per_byte": 2.5}
    (folder / "checkpoint.json").write_text(json.dumps(index), encoding="utf-8")
    assert measured(folder) == "2 × 2 heads, step 1,200, val loss 1.76 nats/token, 2.50 bits per byte"
    index["meta"] = {"step": 1300, "loss": 1.5, "bytes_per_token": 2 / math.log(2)}
    (folder / "checkpoint.json").write_text(json.dumps(index), encoding="utf-8")
    os.utime(folder / "checkpoint.json", ns=(1, 1))
    assert measured(folder) == "2 × 2 heads, step 1,300, train loss 1.50 nats/token, 0.75 bits per byte"
    assert measured(tmp_path / "nowhere") == ""
