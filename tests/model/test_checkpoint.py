"""Checkpoints: what goes in comes out, a crash leaves a whole one, damage is named."""

import json
import os

import pytest
import torch

from model import CheckpointError, GPTConfig, Tokenizer, open_checkpoint, save_checkpoint
from model.checkpoint import INDEX, Extra, read_extra
from tests.model.test_gpt import KINDS, ids, random_model


@pytest.mark.parametrize("kind", KINDS)
def test_round_trip(tmp_path, kind: dict) -> None:
    model = random_model(**kind)
    tokenizer = Tokenizer.char("abcdefghijklmnopqrstuvwxyz .,")
    save_checkpoint(tmp_path / "c", model, tokenizer, {"name": "a <b>", "step": 3})
    opened = open_checkpoint(tmp_path / "c")
    assert opened.config == model.config
    assert opened.meta == {"name": "a <b>", "step": 3}
    assert opened.tokenizer is not None
    assert opened.tokenizer.encode("cab.") == tokenizer.encode("cab.")
    assert not opened.model.training
    with torch.no_grad():
        assert torch.equal(opened.model(ids(9)[None]), model(ids(9)[None]))


def test_saving_again_leaves_one_set_of_weights(tmp_path) -> None:
    save_checkpoint(tmp_path, random_model())
    save_checkpoint(tmp_path, random_model(norm="post"))
    assert len(list(tmp_path.glob("*.safetensors"))) == 1
    assert open_checkpoint(tmp_path).config.norm == "post"


@pytest.mark.parametrize("crash_at", [1, 2, 3])
def test_a_crash_between_any_two_files_leaves_the_old_checkpoint(tmp_path, monkeypatch, crash_at: int) -> None:
    """The n-th rename of the second save never happens, as if the power had gone."""
    tokenizer = Tokenizer.char("abc")
    old, new = random_model(vocab_size=3), random_model(vocab_size=3, norm="post")
    save_checkpoint(tmp_path, old, tokenizer, {"step": 1}, extra=Extra({"m": torch.ones(3)}, {"at": 1}))
    before = sorted(path.name for path in tmp_path.iterdir())
    replace, count = os.replace, 0

    def failing(source, target):
        nonlocal count
        count += 1
        if count == crash_at:
            raise OSError("no space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(OSError, match="no space"):
        save_checkpoint(tmp_path, new, tokenizer, {"step": 2}, extra=Extra({"m": torch.zeros(3)}, {"at": 2}))
    monkeypatch.undo()
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    extra = read_extra(tmp_path)
    assert extra is not None
    assert (extra.values, extra.tensors["m"].tolist()) == ({"at": 1}, [1.0, 1.0, 1.0])
    opened = open_checkpoint(tmp_path)
    assert opened.meta == {"step": 1}
    assert opened.config == old.config
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_what_a_killed_program_left_is_cleared_by_the_next_save(tmp_path) -> None:
    left = [".model-0123456789ab.safetensors.a1b2c3d4", "extra-0123456789ab.safetensors", ".checkpoint.json.abcd_123"]
    for name in [*left, "notes.txt", ".hidden", "model-mine.safetensors"]:
        (tmp_path / name).write_text("x")
    save_checkpoint(tmp_path, random_model())
    assert not [name for name in left if (tmp_path / name).exists()]
    assert all((tmp_path / name).exists() for name in ("notes.txt", ".hidden", "model-mine.safetensors"))


def test_what_belongs_to_the_same_moment(tmp_path) -> None:
    kept = Extra({"velocity": torch.randn(3, 2), "count": torch.tensor(7.0)}, {"best": 1.25, "recent": [0.1, 1 / 3]})
    save_checkpoint(tmp_path, random_model(), extra=kept)
    found = read_extra(tmp_path)
    assert found is not None
    assert found.values == kept.values
    assert all(torch.equal(found.tensors[name], value) for name, value in kept.tensors.items())
    (file,) = tmp_path.glob("extra-*")
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    with pytest.raises(CheckpointError, match="SHA-256"):
        read_extra(tmp_path)
    file.unlink()
    with pytest.raises(CheckpointError, match="missing"):
        read_extra(tmp_path)
    assert open_checkpoint(tmp_path).model.config  # the weights are whole without it
    save_checkpoint(tmp_path, random_model())
    assert read_extra(tmp_path) is None


def test_a_snapshot_is_written_in_place_of_the_current_weights(tmp_path) -> None:
    model = random_model()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():
        model.token_embedding.weight.add_(1)
    save_checkpoint(tmp_path, model, state=state)
    assert torch.equal(open_checkpoint(tmp_path).model.token_embedding.weight, state["token_embedding.weight"])


def test_a_run_folder_opens_at_its_best_then_its_last(tmp_path) -> None:
    save_checkpoint(tmp_path / "checkpoints/last", random_model(), meta={"step": 9})
    assert open_checkpoint(tmp_path).meta["step"] == 9
    save_checkpoint(tmp_path / "checkpoints/best", random_model(), meta={"step": 5})
    assert open_checkpoint(tmp_path).meta["step"] == 5


def _weights(folder):
    return next(folder.glob("*.safetensors"))


def _cut(folder):
    _weights(folder).write_bytes(_weights(folder).read_bytes()[:-100])


def _flip(folder):
    raw = bytearray(_weights(folder).read_bytes())
    raw[-1] ^= 1
    _weights(folder).write_bytes(raw)


def _edit(**changes):
    def apply(folder):
        index = json.loads((folder / INDEX).read_text())
        index.update(changes)
        (folder / INDEX).write_text(json.dumps(index))

    return apply


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_cut, "damaged"),
        (_flip, "SHA-256"),
        (lambda f: _weights(f).unlink(), "missing"),
        (lambda f: (f / INDEX).write_text("{"), "cut short"),
        (lambda f: (f / INDEX).unlink(), "without the checkpoint.json"),
        (lambda f: [p.unlink() for p in f.iterdir()], "holds no checkpoint"),
        (_edit(format="other"), "not written by this project"),
        (_edit(version=99), "update the program"),
        (_edit(config={"vocab_size": 29, "width": 30}), "damaged"),
        (_edit(config=GPTConfig(vocab_size=28).to_dict()), "do not fit their config"),
        (_edit(files={}), "does not vouch"),
        (_edit(files={"../x": "0"}), "outside its folder"),
    ],
)
def test_damage_gets_a_sentence(tmp_path, damage, message: str) -> None:
    save_checkpoint(tmp_path, random_model())
    damage(tmp_path)
    with pytest.raises(CheckpointError, match=message):
        open_checkpoint(tmp_path)


def test_a_path_that_is_not_there_gets_a_sentence(tmp_path) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        open_checkpoint(tmp_path / "nowhere")
