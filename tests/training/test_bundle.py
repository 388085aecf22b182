"""A run as a zip: what goes in comes out, what belongs to one machine stays, and what strangers send does no harm."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from model import open_checkpoint, save_checkpoint
from model.checkpoint import INDEX
from tests.training.tiny import CHAR, tiny_model, tiny_recipe
from training import bundle
from training.bundle import BundleError, is_bundle, main, pack, unpack
from training.events import Evaluated, Finished, Started, Stepped
from training.kept import Texts, keep_text, read_text
from training.runs import RunError, RunFolder, list_runs, new_run_id

RUN = "a-run-0123456789abcdef0123456789abcdef"
NAME = "A </script><b>run</b> 👍"
EVENTS = (
    Started(0, 0.0, 20, 1234, "cpu", 1.5),
    Stepped(1, 0.5, 3.25, 0.01, 1.0, 1000.0),
    Evaluated(1, 0.6, 3.25, 3.0, 2.9, True),
    Finished(1, 0.7, "done"),
)


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A run with all that a run can hold."""
    recipe = tiny_recipe(teacher=str(tmp_path / "home" / "big" / "checkpoints" / "best"))
    corpus = {"name": "poems.txt", "source": "file", "characters": 9, "notes": ["Encoding: UTF-8."]}
    folder = RunFolder.create(tmp_path / "runs" / RUN, "first name", recipe, corpus, owner="somebody's hash")
    for event in EVENTS:
        folder.append(event)
    folder.close()
    folder.rename(NAME)
    CHAR.save(folder.path / "tokenizer.json")
    for which, step in (("best", 1), ("last", 2)):
        meta = {"name": "first name", "run": RUN, "corpus": corpus, "step": step, "val_loss": 3.0, "bits_per_byte": 2.9}
        save_checkpoint(folder.checkpoint(which), tiny_model(), CHAR, meta)
    keep_text(folder.path, Texts("a rose\nis a rose", "indeed"))
    (folder.path / "samples.txt").write_text("--- step 1\nabc\n")
    (folder.path / "running").write_text("")
    (folder.path / "secret.key").write_text("mine")
    return folder


def rewritten(file: Path, change: Callable[[str, bytes], dict[str, bytes]]) -> Path:
    """A copy of a zip in which each entry became those that `change` makes of it."""
    out = file.with_name(f"changed-{file.name}")
    with zipfile.ZipFile(file) as before, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as after:
        for entry in before.infolist():
            for name, contents in change(entry.filename, before.read(entry)).items():
                after.writestr(name, contents)
    return out


def with_config(file: Path, **values: Any) -> Path:
    """The zip with other values in its config.json."""

    def change(name: str, contents: bytes) -> dict[str, bytes]:
        if name.endswith(f"{RUN}/config.json"):
            contents = json.dumps({**json.loads(contents), **values}).encode()
        return {name: contents}

    return rewritten(file, change)


def refused(file: Path, runs: Path, **options: Any) -> str:
    """The sentence of a refusal, after which nothing is left in the folder of runs."""
    before = sorted(runs.iterdir()) if runs.exists() else []
    with pytest.raises(BundleError) as raised:
        unpack(file, runs, **options)
    assert (sorted(runs.iterdir()) if runs.exists() else []) == before
    said = str(raised.value)
    assert said.endswith("."), said
    assert ".unpacking" not in said
    return said


# ---- there and back -----------------------------------------------------------------------------------------------


def test_a_run_unpacked_elsewhere_is_that_run(run: RunFolder, tmp_path: Path) -> None:
    file, elsewhere = pack(run.path, tmp_path / "run.zip"), tmp_path / "elsewhere"
    assert is_bundle(file)
    assert unpack(file, elsewhere) == RUN
    there, info = RunFolder(elsewhere / RUN), RunFolder(elsewhere / RUN).info()
    assert [known.id for known in list_runs(elsewhere)] == [RUN]
    assert (info.name, info.created, info.brought) == (NAME, run.info().created, True)
    assert info.corpus == run.info().corpus
    assert list(there.events()) == list(EVENTS)
    assert read_text(there.path) == Texts("a rose\nis a rose", "indeed")
    for which in ("best", "last"):
        theirs, ours = open_checkpoint(run.checkpoint(which)), open_checkpoint(there.checkpoint(which))
        ids = torch.tensor([[1, 2, 3]])
        assert torch.equal(theirs.model(ids), ours.model(ids))
        assert ours.meta["name"] == NAME
        assert {k: ours.meta[k] for k in ("step", "val_loss", "bits_per_byte")} == {
            k: theirs.meta[k] for k in ("step", "val_loss", "bits_per_byte")
        }
    assert (there.path / "samples.txt").read_text() == "--- step 1\nabc\n"
    again = unpack(file, elsewhere)
    assert again != RUN, "the id is taken"
    assert {known.id for known in list_runs(elsewhere)} == {RUN, again}
    assert sorted(entry.name for entry in elsewhere.iterdir()) == sorted([RUN, again])


def test_what_belongs_to_one_machine_stays_there(run: RunFolder, tmp_path: Path) -> None:
    file = pack(run.path, tmp_path / "run.zip")
    with zipfile.ZipFile(file) as archive:
        names = {name.removeprefix(f"{RUN}/") for name in archive.namelist()}
        everything = b"".join(archive.read(name) for name in archive.namelist())
    assert names == {
        "config.json", "config.yaml", "tokenizer.json", "metrics.jsonl", "samples.txt",
        "corpus/train.txt.gz", "corpus/held-out.txt.gz",
        *(f"checkpoints/{w}/{n}" for w in ("best", "last") for n in (INDEX, "tokenizer.json", weights_of(run, w))),
    }  # fmt: skip
    for private in (b"somebody's hash", str(tmp_path).encode(), b'first name",\n  "created', b"mine"):
        assert private not in everything
    unpack(file, tmp_path / "other", owner="another hash")
    info = RunFolder(tmp_path / "other" / RUN).info()
    assert info.owner == "another hash"
    assert info.recipe.train.teacher == "best", "of the teacher its name is left, which leads to no folder"


def weights_of(run: RunFolder, which: str) -> str:
    return str(json.loads((run.checkpoint(which) / INDEX).read_text())["weights"])


def test_a_folder_zipped_by_hand_and_one_without_weights(run: RunFolder, tmp_path: Path) -> None:
    for name, base in (("around", run.path.parent), ("inside", run.path)):
        file = Path(shutil.make_archive(str(tmp_path / name), "zip", base))
        unpacked = unpack(file, tmp_path / name)
        assert RunFolder(tmp_path / name / unpacked).info().name == NAME, "renamed, and name.txt says how"
        assert unpacked == RUN if name == "around" else unpacked.startswith("a-script-b-run-b-")
        assert not (tmp_path / name / unpacked / "secret.key").exists()
        assert not (tmp_path / name / unpacked / "running").exists()
    shutil.rmtree(run.path / "checkpoints")
    unpacked = unpack(pack(run.path, tmp_path / "bare.zip"), tmp_path / "bare")
    assert RunFolder(tmp_path / "bare" / unpacked).newest_checkpoint() is None


def test_a_checkpoint_that_is_replaced_while_it_is_packed(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A training that writes a newer one in between: the zip holds one of the two, whole."""
    parts, times = bundle._parts, list[int]()

    def late(index: dict[str, Any]) -> dict[str, str]:
        if len(times) < 2:  # after the index was read, before the weights it names are opened
            times.append(1)
            model = tiny_model()
            with torch.no_grad():
                next(model.parameters()).add_(len(times))
            for which in ("best", "last"):
                save_checkpoint(run.checkpoint(which), model, CHAR, {"name": "x", "step": 10 + len(times)})
        return parts(index)

    monkeypatch.setattr(bundle, "_parts", late)
    file = pack(run.path, tmp_path / "run.zip")
    monkeypatch.undo()
    assert len(times) == 2
    assert unpack(file, tmp_path / "there") == RUN
    assert open_checkpoint(tmp_path / "there" / RUN).meta["step"] == 12


def test_packing_refuses(run: RunFolder, tmp_path: Path) -> None:
    (tmp_path / "there.zip").write_text("precious")
    with pytest.raises(BundleError, match=r"is there already: choose another name"):
        pack(run.path, tmp_path / "there.zip")
    assert (tmp_path / "there.zip").read_text() == "precious"
    with pytest.raises(RunError, match="is not the folder of a run"):
        pack(tmp_path, tmp_path / "none.zip")
    with pytest.raises(BundleError, match="cannot be written"):
        pack(run.path, tmp_path / "no such folder" / "x.zip")
    (run.checkpoint("best") / INDEX).write_text("{")
    with pytest.raises(BundleError, match="is damaged"):
        pack(run.path, tmp_path / "bent.zip")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["runs", "there.zip"]


# ---- hostile zips -------------------------------------------------------------------------------------------------


def test_names_that_lead_out_of_the_folder(run: RunFolder, tmp_path: Path) -> None:
    file, runs = pack(run.path, tmp_path / "run.zip"), tmp_path / "there"
    for evil in (
        "../evil.txt",
        f"{RUN}/../../evil.json",
        "/tmp/evil",
        "C:/evil",
        "a\\..\\..\\evil",
        f"{RUN}/corpus/../../x",
    ):
        extra = {evil: b"x"}

        def beside(name: str, contents: bytes, extra: dict[str, bytes] = extra) -> dict[str, bytes]:
            return {name: contents, **(extra if name.endswith("yaml") else {})}

        changed = rewritten(file, beside)
        assert "leads out of its folder" in refused(changed, runs)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["changed-run.zip", "run.zip", "runs", "there"]


def test_only_the_files_of_a_run_are_taken(run: RunFolder, tmp_path: Path) -> None:
    others = (
        "run.py",
        ".bashrc",
        "checkpoints/best/run.pt",
        "checkpoints/x/y/z.json",
        "corpus/x.sh",
        "running",
        "checkpoints/.h.json",
    )
    first = [True]

    def change(name: str, contents: bytes) -> dict[str, bytes]:
        more = {f"{RUN}/{other}": b"x" for other in others} if first.pop() else {}
        first.append(False)
        return {name: contents, **more}

    unpacked = unpack(rewritten(pack(run.path, tmp_path / "run.zip"), change), tmp_path / "there")
    found = {path.relative_to(tmp_path / "there" / unpacked).as_posix() for path in (tmp_path / "there").rglob("*")}
    assert not found & set(others)


def test_a_link_in_a_zip_becomes_no_link(run: RunFolder, tmp_path: Path) -> None:
    file = pack(run.path, tmp_path / "run.zip")
    link = zipfile.ZipInfo(f"{RUN}/loss.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    there = tmp_path / "there" / unpack(file, tmp_path / "there") / "loss.png"
    assert there.is_file()
    assert not there.is_symlink()


def test_zips_that_grow(run: RunFolder, tmp_path: Path) -> None:
    file, runs = pack(run.path, tmp_path / "run.zip"), tmp_path / "there"
    whole = sum(entry.file_size for entry in zipfile.ZipFile(file).infolist())
    assert "unpacks to more than 30 kB" in refused(file, runs, most=30_000)
    assert unpack(file, tmp_path / "fits", most=whole + 100)
    grown = rewritten(file, lambda name, c: {name: bytes(3_000_000) if name.endswith("samples.txt") else c})
    assert grown.stat().st_size < whole
    assert "unpacks to more than 1 MB" in refused(grown, runs, most=1_000_000)
    text = gzip.compress(b"a" * 5_000_000)
    packed = rewritten(file, lambda name, c: {name: text if name.endswith("train.txt.gz") else c})
    assert len(text) < 10_000
    assert "the text in changed-run.zip is longer than" in refused(packed, runs, most=2_000_000)
    many = rewritten(
        file, lambda name, c: {name: c} | {f"{RUN}/x/{i}": b"" for i in range(2_100) if name.endswith("yaml")}
    )
    assert "a run has at most 2,000" in refused(many, runs)


def test_damaged_and_foreign_files(run: RunFolder, tmp_path: Path) -> None:
    file, runs = pack(run.path, tmp_path / "run.zip"), tmp_path / "there"
    raw = file.read_bytes()
    middle = raw.find(b"PK\x01\x02") - 300
    cases: dict[str, tuple[bytes, str]] = {
        "cut.zip": (raw[: len(raw) // 2], "is no zip, or damaged"),
        "text.zip": (b"hello", "is no zip, or damaged"),
        "empty.zip": (b"", "is no zip, or damaged"),
        "bits.zip": (raw[:middle] + bytes(64) + raw[middle + 64 :], "damaged"),
    }
    for name, (contents, sentence) in cases.items():
        (tmp_path / name).write_bytes(contents)
        assert sentence in refused(tmp_path / name, runs), name
    other = io.BytesIO()
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("config.json", json.dumps({"n_layer": 2}))
        archive.writestr("model.safetensors", b"x")
    (tmp_path / "gpt2.zip").write_bytes(other.getvalue())
    assert "holds no run" in refused(tmp_path / "gpt2.zip", runs)
    assert not is_bundle(tmp_path / "gpt2.zip")
    assert "there is no file" in refused(tmp_path / "gone.zip", runs)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"version": 2}, "update this program"),
        ({"version": None}, "update this program"),
        ({"created": "yesterday"}, "is damaged"),
        ({"created": 7}, "is damaged"),
        ({"corpus": 3}, "is damaged"),
        ({"model": {"layers": "many"}}, "is damaged"),
        ({"train": {"steps": "many"}}, "is damaged"),
        ({"train": {"sample_prompt": 7}}, "is damaged"),
        ({"train": {"teacher": ["x"]}}, "is damaged"),
        ({"vocab_size": 300.5}, "is damaged"),
        ({"cleaning": {"lower": "yes"}}, "is damaged"),
        ({"name": ""}, ""),
    ],
)
def test_configs_that_lie(run: RunFolder, tmp_path: Path, values: dict[str, Any], sentence: str) -> None:
    file = with_config(pack(run.path, tmp_path / "run.zip"), **values)
    if sentence:
        assert sentence in refused(file, tmp_path / "there")
    else:
        unpacked = unpack(file, tmp_path / "there")
        assert RunFolder(tmp_path / "there" / unpacked).info().name == "(no name)"


def test_what_a_config_says_is_cut_to_what_readers_expect(run: RunFolder, tmp_path: Path) -> None:
    corpus = {
        "name": ["x"],
        "opening": 7,
        "source": "a\x1b[31m\nb",
        "characters": "many",
        "notes": [1, "fine"],
        "data": {"x": 1},
    }
    file = with_config(pack(run.path, tmp_path / "run.zip"), name="x" * 5_000 + "\x1b", corpus=corpus, owner="me")
    info = RunFolder(tmp_path / "there" / unpack(file, tmp_path / "there")).info()
    assert len(info.name) == 80
    assert info.owner is None
    assert info.corpus == {"source": "a\ufffd[31m b", "notes": ["fine"]}


def test_checkpoints_that_lie(run: RunFolder, tmp_path: Path) -> None:
    file, runs, index = pack(run.path, tmp_path / "run.zip"), tmp_path / "there", f"{RUN}/checkpoints/best/{INDEX}"

    def having(**values: Any) -> Path:
        return rewritten(
            file, lambda name, c: {name: json.dumps({**json.loads(c), **values}).encode() if name == index else c}
        )

    weights = f"{RUN}/checkpoints/best/{weights_of(run, 'best')}"
    bent = rewritten(file, lambda name, c: {name: c[:-4] + b"\1\2\3\4" if name == weights else c})
    assert "is not the file that was packed" in refused(bent, runs)
    assert "is missing" in refused(rewritten(file, lambda name, c: {} if name == weights else {name: c}), runs)
    assert "is missing" in refused(having(files={"../../config.json": "0"}), runs)
    wrong: tuple[Any, ...] = (None, [], 7, {"x": None})
    for files in wrong:
        assert "is damaged" in refused(having(files=files), runs)
    assert "was not written by this project" in refused(having(format="other"), runs)
    assert "says no step" in refused(having(meta={"step": "many"}), runs)
    meta = {"step": 5, "loss": "low", "val_loss": float("inf"), "bits_per_byte": 2.5, "corpus": [1], "x": {"y": 1}}
    there = runs / unpack(having(meta=meta), runs)
    kept = open_checkpoint(there / "checkpoints" / "best").meta
    assert {key: value for key, value in kept.items() if key not in ("name", "corpus")} == {
        "step": 5,
        "bits_per_byte": 2.5,
    }


def test_events_are_kept_up_to_the_first_that_is_none(run: RunFolder, tmp_path: Path) -> None:
    lines = [json.dumps(event.to_dict()) for event in EVENTS]
    lines[2] = json.dumps({**EVENTS[2].to_dict(), "val_loss": "low"})
    file = rewritten(
        pack(run.path, tmp_path / "run.zip"),
        lambda name, c: {name: "\n".join(lines).encode() if name.endswith("metrics.jsonl") else c},
    )
    there = RunFolder(tmp_path / "there" / unpack(file, tmp_path / "there"))
    assert list(there.events()) == list(EVENTS[:2])


def test_what_is_not_accepted_leaves_nothing_and_is_never_listed(run: RunFolder, tmp_path: Path) -> None:
    file, runs = pack(run.path, tmp_path / "run.zip"), tmp_path / "there"
    seen: list[Path] = []

    def accept(folder: Path) -> None:
        seen.append(folder)
        assert RunFolder(folder).info().name == NAME
        assert list_runs(runs) == []
        assert list_runs(folder.parent.parent) == []
        raise ValueError("not this one.")

    with pytest.raises(ValueError, match="not this one"):
        unpack(file, runs, accept=accept)
    assert len(seen) == 1
    assert list(runs.iterdir()) == []
    (runs / ".unpacking-left").mkdir()
    shutil.copytree(run.path, runs / ".unpacking-left" / "run")
    shutil.copytree(run.path, runs / ".half")
    assert list_runs(runs) == [], "what a killed program left behind"


def test_a_full_disk(run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = pack(run.path, tmp_path / "run.zip")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(bundle, "write_atomically", full)
    assert "No space left on device" in refused(file, tmp_path / "there")


# ---- the command line ---------------------------------------------------------------------------------------------


def test_the_command_line(run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, runs = tmp_path / "x.zip", tmp_path / "there"
    assert main(["pack", str(run.path), str(file)]) == 0
    assert capsys.readouterr().out.startswith(f"{file}: ")
    assert main(["unpack", str(file), "--runs", str(runs)]) == 0
    assert capsys.readouterr().out == f"{runs / RUN}\n"
    assert main(["pack", str(run.path), str(file)]) == 2
    assert capsys.readouterr().err == (
        f"python -m training.bundle: {file} is there already: choose another name, or remove it first.\n"
    )
    assert main(["unpack", str(run.path / "config.json"), "--runs", str(runs)]) == 2
    assert "config.json is no zip" in capsys.readouterr().err
    assert [info.id for info in list_runs(runs)] == [RUN]
    assert new_run_id("x") != RUN


def test_snapshots_travel_and_what_is_no_object_is_left_out(run: RunFolder, tmp_path: Path) -> None:
    kept = {"step-00000001.json": b'{"val_loss": 3.0}', "step-00000001.safetensors": b"weights", "probe.json": b"{}"}
    for name, contents in {**kept, "step-00000002.json": b"[1]", "step-00000003.json": b"{"}.items():
        (run.path / "snapshots" / name).write_bytes(contents)
    there = tmp_path / "there" / unpack(pack(run.path, tmp_path / "run.zip"), tmp_path / "there") / "snapshots"
    assert {path.name: path.read_bytes() for path in there.iterdir()} == kept
