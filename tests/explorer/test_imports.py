"""Models opened from files: listed, decoded, looked into, removed; and what is refused leaves nothing behind."""

from __future__ import annotations

import ast
import io
import json
import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from explorer.imports import Imports
from explorer.jobs import OPENED
from explorer.server import Server, answering
from explorer.watch import pulse
from model import GPT, GPTConfig, Tokenizer, open_checkpoint, save_checkpoint, trace
from tests.explorer.test_page_protocol import documented, keys_of
from tests.explorer.tiny import CHAR, ask, random_model, sentence, tiny_trainer, token
from tests.model.formats.stand_ins import CHARACTERS, LyricsGPT, randomise, save, small_lyrics

ROOT = Path(__file__).resolve().parents[2]
TABLE = json.dumps(CHARACTERS)


class Page:
    """What the page does: put a file into the folder of uploads, then call the server."""

    def __init__(self, server: Server, uploads: Path) -> None:
        self.server, self.uploads = server, uploads
        self._imports = Imports(server)

    def put(self, name: str, contents: bytes) -> str:
        folder = self.uploads / f"{len(list(self.uploads.iterdir()))}"
        folder.mkdir()
        (folder / name).write_bytes(contents)
        return str(folder / name)

    def put_model(self, name: str = "weights.pt", model: Any = None) -> str:
        path = save(model or small_lyrics(), self.uploads / "made.pt")
        contents = path.read_bytes()
        path.unlink()
        return self.put(name, contents)

    def open(self, who: int = 1, **fields: Any) -> dict[str, Any]:
        return answering(self._imports.open_model)({"session": token(who), **fields})

    def opened(self, who: int = 1, **fields: Any) -> dict[str, Any]:
        reply = self.open(who, **fields)
        assert reply["ok"], reply["error"]
        return reply

    def remove(self, ref: Any, who: int = 1) -> dict[str, Any]:
        return answering(self._imports.remove_model)({"session": token(who), "model": ref})

    def left(self) -> list[Path]:
        """Files that are still in the folder of uploads, and folders of runs."""
        runs = list(self.server.jobs.root.iterdir()) if self.server.jobs.root.exists() else []
        return [path for path in self.uploads.rglob("*") if path.is_file()] + runs


@pytest.fixture
def page(server: Server, uploads: Path) -> Page:
    return Page(server, uploads)


def zipped(files: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", compression) as archive:
        for name, contents in files.items():
            archive.writestr(name, contents)
    return packed.getvalue()


def folder_files(folder: Path, below: str = "") -> dict[str, bytes]:
    return {f"{below}{path.relative_to(folder)}": path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# ---- what can be opened -------------------------------------------------------------------------------------------


def test_a_file_becomes_a_model_of_the_visitors_own(page: Page) -> None:
    """Listed, decoded with the very weights of the file, traced; the upload itself is gone."""
    theirs = small_lyrics()
    reply = page.opened(weights=page.put_model(model=theirs), vocabulary=page.put("chars.json", TABLE.encode()))
    assert reply["name"] == "weights"
    assert reply["detail"].startswith("2 layers × 3 heads")
    listed = next(entry for entry in reply["models"] if entry["ref"] == reply["model"])
    assert listed["source"] == "file"
    assert listed["detail"] == "2 × 3 heads · weights.pt"
    assert listed["made"].endswith("+00:00")
    assert page.server.models(page.server.visitors.get(token(1)).owner) == reply["models"]
    said = ask(page.server, model=reply["model"], prompt="Yeah, I'm in the")
    assert said["model"]["source"] == "file"
    assert said["model"]["step"] == 0
    assert said["model"]["loss"] is None
    ids = said["ids"]
    assert "".join(CHARACTERS[i] for i in ids) == "Yeah, I'm in the"
    with torch.no_grad():
        wanted = theirs(torch.tensor([ids]))[0, -1].softmax(-1)
    for row in said["next"]["rows"]:
        assert row["raw"] == pytest.approx(float(wanted[row["id"]]), abs=1e-5)
    kept = open_checkpoint(page.server.jobs.root / reply["model"].removeprefix("run:"))
    assert trace(kept.model, ids).patterns.shape == (2, 3, 16, 16)
    assert [path.name for path in page.left()] == [reply["model"].removeprefix("run:")]


@pytest.mark.parametrize("typed", [TABLE, "".join(CHARACTERS), "".join(CHARACTERS).replace("\n", "\\n")])
def test_typed_characters(page: Page, typed: str) -> None:
    reply = page.opened(weights=page.put_model(), characters=typed, name="  my lyrics ")
    assert reply["name"] == "my lyrics"
    assert ask(page.server, model=reply["model"], prompt="Yeah\n")["unknown"] == []


def test_a_checkpoint_folder_as_zip(page: Page, tmp_path: Path) -> None:
    """Of ours, with a run around it: the best checkpoint is taken, its figures are shown, its tokenizer used."""
    best, last = random_model(CHAR), random_model(CHAR, seed=8)
    meta = {"step": 42, "val_loss": 1.25, "bits_per_byte": 1.8, "corpus": {"opening": "the cat"}, "name": "<b>"}
    save_checkpoint(tmp_path / "run" / "checkpoints" / "best", best, CHAR, meta)
    save_checkpoint(tmp_path / "run" / "checkpoints" / "last", last, CHAR, {"step": 50})
    contents = zipped({**folder_files(tmp_path / "run", "some/where/"), "__MACOSX/._x": b"", "notes.txt": b"hi"})
    reply = page.opened(weights=page.put("run.zip", contents))
    said = ask(page.server, model=reply["model"], opening=True)
    assert said["prompt"] == "the cat"
    assert (said["model"]["step"], said["model"]["loss"], said["model"]["bits_per_byte"]) == (42, 1.25, 1.8)
    with torch.no_grad():
        wanted = best(torch.tensor([said["ids"]]))[0, -1].softmax(-1)
    assert said["next"]["rows"][0]["raw"] == pytest.approx(float(wanted.max()), abs=1e-5)


def test_weights_and_their_table_in_one_zip(page: Page, tmp_path: Path) -> None:
    weights = save(small_lyrics(), tmp_path / "w.pt").read_bytes()
    contents = zipped({"lyrics/weights.pt": weights, "lyrics/characters.json": TABLE.encode()})
    assert page.opened(weights=page.put("lyrics.zip", contents))["name"] == "lyrics"


def test_a_checkpoint_folder_without_a_vocabulary_takes_the_one_given(page: Page, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "c", random_model(CHAR))
    contents = zipped(folder_files(tmp_path / "c"))
    assert "give its tokenizer.json" in sentence(page.open(weights=page.put("c.zip", contents)))
    CHAR.save(tmp_path / "tokenizer.json")
    table = page.put("tokenizer.json", (tmp_path / "tokenizer.json").read_bytes())
    page.opened(weights=page.put("c.zip", contents), vocabulary=table)


# ---- in the page --------------------------------------------------------------------------------------------------


def test_a_model_from_a_file_has_no_training_to_watch(page: Page) -> None:
    run = page.opened(weights=page.put_model(), characters=TABLE)["model"].removeprefix("run:")
    reply = answering(lambda raw: pulse(page.server, raw))({"session": token(1), "run": run})
    assert reply["run"]["state"] == OPENED
    assert reply["run"]["message"].startswith("Opened from a file, weights.pt")
    assert reply["points"]["step"] == reply["evals"]["step"] == reply["samples"] == []
    with pytest.raises(ValueError, match="over already"):
        page.server.jobs.control(run, "stop", page.server.visitors.get(token(1)).owner)


def test_replies_and_requests_are_as_documented(page: Page) -> None:
    reply = page.opened(weights=page.put_model(), characters=TABLE)
    plain = {key for key in keys_of(reply) if not key.startswith("models[]")}
    assert plain == documented("open_model: reply")
    gone = page.remove(reply["model"])
    assert {key for key in keys_of(gone) if not key.startswith("models[]")} == documented("remove_model: reply")
    tree = ast.parse((ROOT / "explorer" / "imports.py").read_text(encoding="utf-8"))
    for name in ("open_model", "remove_model"):
        body = next(ast.unparse(f) for f in ast.walk(tree) if isinstance(f, ast.FunctionDef) and f.name == name)
        assert set(re.findall(r"request\.get\('(\w+)'", body)) == documented(f"{name}: request")


def test_a_model_is_removed_for_good_by_its_owner(serve: Callable[..., Server], uploads: Path) -> None:
    page = Page(serve(shared=True), uploads)
    ref = page.opened(weights=page.put_model(), characters=TABLE)["model"]
    assert "you opened" in sentence(page.remove(ref, who=2))
    assert ref not in [entry["ref"] for entry in page.server.models(page.server.visitors.get(token(2)).owner)]
    assert page.remove(ref)["ok"]
    assert page.left() == []
    for again in (ref, "run:../../etc", "shipped:alpha", None, 7, "run:"):
        sentence(page.remove(again))


def test_a_training_cannot_be_removed_here(page: Page) -> None:
    trainer = tiny_trainer(page.server.jobs.root)
    assert "opened from a file" in sentence(page.remove(f"run:{trainer.folder.id}"))
    assert trainer.folder.path.exists()


# ---- what is refused ----------------------------------------------------------------------------------------------


def test_there_is_room_for_so_many(serve: Callable[..., Server], uploads: Path) -> None:
    page = Page(serve(imports_a_visitor=1), uploads)
    ref = page.opened(weights=page.put_model(), characters=TABLE)["model"]
    assert "remove one of them first" in sentence(page.open(weights=page.put_model(), characters=TABLE))
    page.remove(ref)
    page.opened(weights=page.put_model(), characters=TABLE)


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        ({"model_bytes": 5_000}, "opens up to 0 MB"),
        ({"parameters": 100}, r"parameters and this server opens up to 100"),
        ({"held_numbers": 1_000}, r"a shorter context"),
    ],
)
def test_what_is_too_large(serve: Callable[..., Server], uploads: Path, limit: dict[str, int], said: str) -> None:
    page = Page(serve(**limit), uploads)
    assert said in sentence(page.open(weights=page.put_model(), characters=TABLE))
    assert page.left() == []


class Bomb:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.target,)


def hostile_files(tmp_path: Path) -> dict[str, tuple[bytes, str]]:
    """Name of the upload: its bytes, and what the sentence says."""
    weights = save(small_lyrics(), tmp_path / "w.pt").read_bytes()
    torch.save({"w": Bomb(tmp_path / "it ran")}, tmp_path / "bomb.pt")
    wide = dict(small_lyrics().state_dict())
    wide["vocab_projection.bias"] = torch.zeros(1).expand(10**12)
    torch.save(wide, tmp_path / "wide.pt")
    own = save_checkpoint(tmp_path / "own", GPT(GPTConfig(vocab_size=5, layers=1, heads=1, width=4, context=3)))
    index = json.loads((own / "checkpoint.json").read_text())
    index["config"] |= {"context": 10**9, "positions": "rotary"}
    claims = {**folder_files(own), "checkpoint.json": json.dumps(index).encode()}
    infinite = small_lyrics()
    with torch.no_grad():
        infinite.get_parameter("vocab_projection.weight").fill_(3e38)
    return {
        "bomb.pt": ((tmp_path / "bomb.pt").read_bytes(), "can run code"),
        "plain.pt": (pickle.dumps({"w": Bomb(tmp_path / "it ran")}), "can run code"),
        "cut.pt": (weights[:-500], "cut short"),
        "empty.pt": (b"", "empty"),
        "text.pt": (b"hello", "no weights"),
        "wide.pt": ((tmp_path / "wide.pt").read_bytes(), "claims 1,000,000,000,000 numbers"),
        "infinite.pt": (save(infinite, tmp_path / "i.pt").read_bytes(), "not numbers"),
        "claims.zip": (zipped(claims), "a shorter context"),
        "none.zip": (zipped({"readme.txt": b"hi"}), "holds no checkpoint"),
        "slip.zip": (zipped({"../../../weights.pt": b"PK", "..\\x.pt": b""}), "weights.pt"),
        "grown.zip": (zipped({"weights.pt": bytes(700_000_000)}), "unpacks to more than 600 MB"),
        "cut.zip": (zipped({"weights.pt": weights})[:-300], "damaged"),
    }


def test_hostile_files_get_a_sentence_and_leave_nothing(page: Page, tmp_path: Path) -> None:
    for name, (contents, said) in hostile_files(tmp_path).items():
        error = sentence(page.open(weights=page.put(name, contents), characters=TABLE))
        assert said in error, name
        assert str(tmp_path) not in error, name
        assert "/tmp" not in error, name
        assert page.left() == [], name
    assert not (tmp_path / "it ran").exists()


@pytest.mark.parametrize(
    ("name", "contents", "said"),
    [
        ("t.json", b'["a", "b"]', "The vocabulary has 2 entries and the model in weights.pt has 104"),
        ("t.json", b"[1]", "entries that are not text"),
        ("meta.pkl", b"\x80\x04\x95\xff", "not a text file"),
        ("tokenizer.json", b'{"model": {"type": "Unigram"}}', "cannot be read as a tokenizer"),
    ],
)
def test_a_vocabulary_that_does_not_suit(page: Page, name: str, contents: bytes, said: str) -> None:
    error = sentence(page.open(weights=page.put_model(), vocabulary=page.put(name, contents)))
    assert said in error
    assert "/" not in error
    assert page.left() == []


def test_a_disk_that_refuses_leaves_nothing(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("training.runs.write_atomically", refuse)
    assert "No space left" in sentence(page.open(weights=page.put_model(), characters=TABLE)).replace("no", "No", 1)
    assert page.left() == []


def test_only_uploads_can_be_named(page: Page, tmp_path: Path) -> None:
    """No path outside, by any spelling; and the file there stays."""
    secret = save(small_lyrics(), tmp_path / "secret.pt")
    inside = page.put("x.json", b"[]")
    (page.uploads / "link.pt").symlink_to(secret)
    tricks = [str(secret), f"{page.uploads}/../secret.pt", str(page.uploads / "link.pt"), str(page.uploads)]
    for path in [*tricks, "a" * 9_000, "\0", 5, ["x"], {"path": inside}, "/etc/passwd", "no/such/file"]:
        assert "choose it once more" in sentence(page.open(weights=path, characters=TABLE))
        assert "choose it once more" in sentence(page.open(weights=page.put_model(), vocabulary=path))
    assert secret.exists()
    assert Path(inside).exists()


@pytest.mark.parametrize(
    "fields", [{}, {"weights": ""}, {"name": 5}, {"heads": 0}, {"heads": "3"}, {"heads": True}, {"characters": ["a"]}]
)
def test_requests_that_make_no_sense(page: Page, fields: dict[str, Any]) -> None:
    sentence(page.open(**fields))
    strange: tuple[Any, ...] = (None, [], "x", {})
    for raw in strange:
        sentence(answering(Imports(page.server).open_model)(raw))


def test_a_lyrics_model_of_full_size_fits_a_public_server(serve: Callable[..., Server], uploads: Path) -> None:
    from explorer.limits import Limits

    page = Page(serve(**vars(Limits.for_host("0.0.0.0"))), uploads)
    reply = page.opened(weights=page.put_model(model=randomise(LyricsGPT())), characters=TABLE)
    assert reply["detail"] == "6 layers × 6 heads, 4.67 M parameters"
    assert Tokenizer.from_characters(CHARACTERS).vocab_size == 104
