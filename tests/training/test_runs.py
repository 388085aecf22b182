"""Run folders: made, read, listed, and what a crash or a hostile name leaves."""

from __future__ import annotations

import errno
import json
import math
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from model import save_checkpoint
from tests.training.tiny import CHAR, tiny_model, tiny_recipe
from training import locks
from training.events import Event, Finished, Sampled, Started, Stepped
from training.runs import Known, RunError, RunFolder, RunInfo, check_vacant, list_runs, new_run_id

NAMES = {
    "plain": "Tiny Shakespeare!",
    "emoji": "👩‍👩‍👧‍👦👍🏽",
    "right to left": "\u202eשלום مرحبا\u202c",
    "climbing": "../../etc/passwd",
    "absolute": "/etc/passwd",
    "windows": "C:\\Windows\\con",
    "nul": "a\x00b",
    "lines": "a\r\nb\x1b[31m",
    "empty": "",
    "dots": "..",
    "dash": "-rf *",
    "hidden": ".ssh",
    "half a surrogate": "a\udcffb",
    "long": "w" * 100_000,
    "a blank where it is cut": "w" * 39 + " and more",
    "markup": "<script>alert(1)</script>${x}%s{y}",
}


def make(path: Path, name: str = "a run", **about: Any) -> RunFolder:
    return RunFolder.create(path, name, tiny_recipe(), {"name": "corpus", **about})


# -- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES.values(), ids=list(NAMES))
def test_an_id_is_a_plain_folder_name_whatever_the_name(name: str, tmp_path: Path) -> None:
    run_id = new_run_id(name)
    assert re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?-[0-9a-f]{32}", run_id)
    made = make(tmp_path / run_id, name)
    assert made.path.parent == tmp_path
    assert [entry.name for entry in tmp_path.iterdir()] == [run_id]
    info = RunFolder(made.path).info()
    assert info.id == made.id == run_id
    assert info.name == name.replace("\udcff", "?")  # half a surrogate cannot be written to a file


def test_an_id_begins_readably() -> None:
    assert new_run_id("Tiny Shakespeare!").startswith("tiny-shakespeare-")
    assert new_run_id("Größe, naïve").startswith("groe-naive-")
    assert new_run_id("👍").startswith("run-")


def test_an_id_holds_128_random_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = [int(new_run_id("same name").rpartition("-")[2], 16) for _ in range(256)]
    assert len(set(parts)) == 256
    for bit in range(128):  # each bit is a coin: 128 of 256 expected, 8 is one standard deviation
        heads = sum(part >> bit & 1 for part in parts)
        assert 64 < heads < 192, f"bit {bit} is no coin"
    asked: list[int] = []

    def token_hex(count: int) -> str:
        asked.append(count)
        return "0" * 32

    monkeypatch.setattr("secrets.token_hex", token_hex)
    assert new_run_id("x") == "x-" + "0" * 32
    assert asked == [16], "the bits do not come from the system's source for secrets"


# -- making and reading -----------------------------------------------------------------------------------------------


def test_a_run_tells_what_it_was_made_of(tmp_path: Path) -> None:
    recipe = tiny_recipe(tokenizer="word", dropout=0.5, until_val_loss=2.0)
    corpus = {"name": "poems.txt", "characters": 9, "notes": ["Encoding: UTF-8."]}
    folder = RunFolder.create(tmp_path / "deep" / "er" / "run", "My “run” 👍", recipe, corpus, owner="hash")
    info = RunFolder(folder.path).info()
    assert (info.id, info.name, info.owner) == ("run", "My “run” 👍", "hash")
    assert info.recipe == recipe
    assert info.corpus == corpus
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", info.created)
    assert sorted(entry.name for entry in folder.path.iterdir()) == ["config.json", "snapshots"]
    assert make(tmp_path / "other").info().owner is None


def test_an_existing_run_is_not_touched(tmp_path: Path) -> None:
    make(tmp_path / "run", "first")
    before = (tmp_path / "run" / "config.json").read_bytes()
    with pytest.raises(RunError) as raised:
        make(tmp_path / "run", "second")
    assert str(raised.value) == (
        f"{tmp_path / 'run'} already holds a run: choose another folder, or delete that one first."
    )
    assert (tmp_path / "run" / "config.json").read_bytes() == before


def test_a_run_has_a_folder_of_its_own(tmp_path: Path) -> None:
    for name in ("photos", "texts"):
        (tmp_path / name).mkdir()
    check_vacant(tmp_path / "nowhere")
    (tmp_path / "photos" / ".hidden").touch()
    check_vacant(tmp_path / "photos")
    make(tmp_path / "photos", "beside a hidden file")
    with pytest.raises(RunError, match="photos already holds a run"):
        check_vacant(tmp_path / "photos")
    (tmp_path / "texts" / "novel.txt").write_text("Call me Ishmael.")
    with pytest.raises(RunError, match=r"texts holds other files \(novel.txt\): choose a new folder for the run\."):
        check_vacant(tmp_path / "texts")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text('{"model_type": "gpt2"}')
    for refuse in (check_vacant, make):  # to delete that one first would be bad advice
        with pytest.raises(RunError, match=r"model holds other files \(config.json\)"):
            refuse(tmp_path / "model")
    for refuse in (check_vacant, make):
        with pytest.raises(
            RunError, match=r"the folder .*…a+ cannot be written \(File name too long\): choose another"
        ):
            refuse(tmp_path / ("a" * 300))


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for path, reason in ((tmp_path / "file", "File exists"), (tmp_path / "file" / "run", "Not a directory")):
        with pytest.raises(RunError) as raised:
            make(path)
        assert str(raised.value) == f"the folder {path} cannot be written ({reason}): choose another one."
    assert (tmp_path / "file").read_text() == "in the way"


def test_checkpoints_and_deleting(tmp_path: Path) -> None:
    folder = make(tmp_path / "run")
    assert folder.newest_checkpoint() is None
    save_checkpoint(folder.checkpoint("last"), tiny_model(), CHAR)
    assert folder.newest_checkpoint() == tmp_path / "run" / "checkpoints" / "last"
    save_checkpoint(folder.checkpoint("best"), tiny_model(), CHAR)
    assert folder.newest_checkpoint() == tmp_path / "run" / "checkpoints" / "best"
    folder.append(Finished(1, 0.0, "done"))
    folder.delete()
    assert list(tmp_path.iterdir()) == []


# -- metrics ----------------------------------------------------------------------------------------------------------

LINES: list[Event] = [
    Started(0, 0.0, 9, 100, "cpu"),
    Sampled(0, 0.5, "", "naïve 日本 👍🏽\n" * 3),
    Stepped(1, 1.0, 2.5, 1e-3, 0.5, 1000.0),
    Sampled(1, 1.5, "é", "👍🏽 the end é"),
]


def test_a_file_cut_anywhere_is_read_up_to_the_cut(tmp_path: Path) -> None:
    folder = make(tmp_path / "run")
    for event in LINES:
        folder.append(event)
    folder.close()
    metrics = tmp_path / "run" / "metrics.jsonl"
    whole = metrics.read_bytes()
    lines = whole.splitlines(keepends=True)
    assert len(lines) == len(LINES)
    ends = [sum(map(len, lines[: n + 1])) for n in range(len(lines))]
    for cut in range(len(whole) + 1):
        metrics.write_bytes(whole[:cut])
        complete = sum(end - 1 <= cut for end in ends)  # the line break itself may be missing
        assert list(folder.events()) == LINES[:complete], f"cut after {cut} bytes"


@pytest.mark.parametrize(
    "damage",
    [b"\x00" * 500, b"\xff\xfe\xff", b"null", b"[]", b"7", b'{"event": "eureka", "step": 1}', b'{"step": 1}', b"{}"],
    ids=lambda damage: repr(damage[:12]),
)
def test_what_stands_before_a_damaged_line_is_kept(tmp_path: Path, damage: bytes) -> None:
    folder = make(tmp_path / "run")
    for event in LINES:
        folder.append(event)
    folder.close()
    with (tmp_path / "run" / "metrics.jsonl").open("ab") as file:
        file.write(damage + b"\n")
    folder.append(Finished(2, 3.0, "done"))
    folder.close()
    assert list(folder.events()) == LINES


def test_a_run_without_events(tmp_path: Path) -> None:
    folder = make(tmp_path / "run")
    assert list(folder.events()) == []
    (tmp_path / "run" / "metrics.jsonl").write_bytes(b"")
    assert list(folder.events()) == []


# -- lists ------------------------------------------------------------------------------------------------------------


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    values = json.loads(path.read_text(encoding="utf-8"))
    change(values)
    path.write_text(json.dumps(values), encoding="utf-8")


def test_runs_are_listed_newest_first(tmp_path: Path) -> None:
    days = {"b": "2025-01-02", "d": "2025-01-04", "a": "2024-12-31", "c": "2025-01-03"}
    for name, day in days.items():
        make(tmp_path / name, name.upper())
        edit(tmp_path / name / "config.json", lambda values, day=day: values.update(created=f"{day}T10:00:00+00:00"))  # type: ignore[misc]
    assert [(info.id, info.name) for info in list_runs(tmp_path)] == [("d", "D"), ("c", "C"), ("b", "B"), ("a", "A")]
    assert list_runs(tmp_path / "nowhere") == []


def test_folders_that_hold_no_run_are_left_out(tmp_path: Path) -> None:
    good = make(tmp_path / "good")
    whole = (good.path / "config.json").read_text()
    values = json.loads(whole)
    broken = {
        "empty": "",
        "cut": whole[: len(whole) // 2],
        "list": "[]",
        "null": "null",
        "number": "12",
        "deep": "[" * 200_000,
        "foreign": '{"model_type": "gpt2", "n_layer": 12}',
        "field": json.dumps({**values, "train": {**values["train"], "zeal": 9}}),
        "shape": json.dumps({**values, "model": {"heads": 3, "width": 16}}),
        "corpus": json.dumps({**values, "corpus": None}),
        "steps": json.dumps({**values, "train": {**values["train"], "steps": math.nan}}),
        **{f"no {key}": json.dumps({k: v for k, v in values.items() if k != key}) for key in ("name", "created")},
    }
    for name, text in broken.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(text)
    (tmp_path / "latin").mkdir()
    (tmp_path / "latin" / "config.json").write_bytes(b'{"name": "\xe9"}')
    (tmp_path / "folder" / "config.json").mkdir(parents=True)
    (tmp_path / "nothing").mkdir()
    (tmp_path / "file").write_text("no folder")
    assert [info.id for info in list_runs(tmp_path)] == ["good"]
    with pytest.raises(RunError, match=r"nothing is not the folder of a run: give one that a training wrote\.$"):
        RunFolder(tmp_path / "nothing").info()
    for name in (*broken, "latin", "folder"):
        with pytest.raises(RunError, match=r"config\.json cannot be read \(.+\): this run cannot be opened\.$"):
            RunFolder(tmp_path / name).info()


def test_configs_read_before_are_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "two", "gone"):
        make(tmp_path / name)
    (tmp_path / "bent").mkdir()
    (tmp_path / "bent" / "config.json").write_text("{")
    known: Known = {}
    first = list_runs(tmp_path, known)
    assert {info.id for info in first} == {"one", "two", "gone"}
    read: list[str] = []
    info = RunFolder.info

    def spy(folder: RunFolder) -> RunInfo:
        read.append(folder.id)
        return info(folder)

    monkeypatch.setattr(RunFolder, "info", spy)
    assert list_runs(tmp_path, known) == first
    assert read == []
    RunFolder(tmp_path / "gone").delete()
    (tmp_path / "bent" / "config.json").write_text((tmp_path / "two" / "config.json").read_text())
    edit(tmp_path / "one" / "config.json", lambda values: values.update(name="Another"))
    make(tmp_path / "new")
    assert {(info.id, info.name) for info in list_runs(tmp_path, known)} == {
        ("one", "Another"), ("two", "a run"), ("bent", "a run"), ("new", "a run"),
    }  # fmt: skip
    assert sorted(read) == ["bent", "new", "one"]
    assert len(known) == 4


# -- a run that another program trains --------------------------------------------------------------------------------


def test_a_file_that_grows_is_read_piece_by_piece(tmp_path: Path) -> None:
    """However the writing is cut into pieces, each event is read once, in order, and none before it stands there."""
    folder = make(tmp_path / "run")
    for event in LINES:
        folder.append(event)
    folder.close()
    metrics = tmp_path / "run" / "metrics.jsonl"
    whole = metrics.read_bytes()
    for piece in (1, 2, 7, 60, len(whole)):
        metrics.write_bytes(b"")
        seen: list[Event] = []
        offset = 0
        for begin in range(0, len(whole), piece):
            with metrics.open("ab") as file:
                file.write(whole[begin : begin + piece])
            for event, behind in folder.events_from(offset):
                seen.append(event)
                offset = behind
            assert seen == list(folder.events())
        assert seen == LINES, f"pieces of {piece} bytes"
        assert list(folder.events_from(offset)) == []


def test_a_run_is_held_until_it_is_closed(tmp_path: Path) -> None:
    folder, elsewhere = make(tmp_path / "run"), RunFolder(tmp_path / "run")
    assert not elsewhere.held()
    folder.hold()
    folder.hold()
    assert elsewhere.held()
    assert elsewhere.held(), "who looks takes it away"
    elsewhere.close()  # it holds nothing
    assert folder.held()
    folder.close()
    assert not elsewhere.held()
    assert sorted(entry.name for entry in folder.path.iterdir()) == ["config.json", "snapshots"]
    (folder.path / "running").touch()  # as a killed program leaves it
    assert not elsewhere.held()
    folder.hold()
    assert elsewhere.held()
    folder.delete()
    assert not elsewhere.held()


def test_holding_a_run_waits_for_those_who_look(tmp_path: Path) -> None:
    """A look takes the lock for an instant; a training that begins just then must not go unmarked for good."""
    folder = make(tmp_path / "run")
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            RunFolder(folder.path).held()

    lookers = [threading.Thread(target=look) for _ in range(2)]
    for looker in lookers:
        looker.start()
    try:
        for _ in range(50):
            folder.hold()
            assert folder.held()
            folder.close()
    finally:
        stop.set()
        for looker in lookers:
            looker.join()


def test_a_disk_without_locks_is_no_reason_not_to_train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int, shared: bool) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    folder = make(tmp_path / "run")
    monkeypatch.setattr(locks, "_lock", refuse)
    folder.hold()
    assert not folder.held()
    folder.append(LINES[0])
    folder.close()
    assert list(folder.events()) == LINES[:1]


def test_the_system_lets_go_of_a_killed_program(tmp_path: Path) -> None:
    folder = make(tmp_path / "run")
    script = (
        "import sys, time; from pathlib import Path; from training.runs import RunFolder\n"
        "folder = RunFolder(Path(sys.argv[1])); folder.hold(); print('held', flush=True); time.sleep(600)"
    )
    command, root = [sys.executable, "-c", script, str(folder.path)], Path(__file__).parents[2]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "held\n"
            assert folder.held()
        finally:
            process.kill()
    assert (folder.path / "running").exists()
    assert not folder.held()
