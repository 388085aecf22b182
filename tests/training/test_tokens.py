"""Token files: the ids of the whole text, written and read a piece at a time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from model import Tokenizer, open_checkpoint
from tests.training.tiny import TEXT
from training import __main__ as cli
from training import tokens
from training.data import Blocks
from training.presets import PRESETS
from training.resume import fingerprint
from training.runs import RunFolder
from training.tokens import TokenFiles, open_tokens, write_tokens

ROOT = Path(__file__).resolve().parents[2]
FLAGS = (
    "--layers 1 --heads 2 --width 16 --context 8 --steps 12 --batch-size 4 --eval-every 6 --sample-every 0 "
    "--threads 1 --device cpu --quiet --snapshots-mb 0"
).split()
WILD = "Zum Beispiel: ein Satz – und «noch» einer.\r\n\tüber 3.000 km\n\n" * 700


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "wild.txt"
    path.write_bytes(WILD.encode())
    return path


def ids_of(made: TokenFiles) -> list[int]:
    data = blocks(made)
    return [*data.train.tolist(), *data.val.tolist()]


def blocks(made: TokenFiles) -> Blocks:
    data = made.prepare(PRESETS["fast"].recipe.with_changes({"context": 8})).data
    assert isinstance(data, Blocks)
    return data


@pytest.mark.parametrize("kind", ["char", "bpe", "gpt2"])
def test_the_pieces_give_the_ids_of_the_whole(
    kind: str, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.files._CHUNK", 998)  # bytes read at once, so that there are many pieces
    monkeypatch.setattr(tokens, "CHUNK", 1000)
    made = write_tokens([text], tmp_path / "out", kind, 290)
    whole = WILD.replace("\r\n", "\n")
    assert ids_of(made) == made.tokenizer.encode(whole)
    assert made.val == len(ids_of(made)) // 10
    assert made.facts["characters"] == len(whole)
    assert {"char": "uint8", "bpe": "uint16", "gpt2": "uint16"}[kind] == made.dtype
    assert (tmp_path / "out" / "train.bin").stat().st_size == made.train * (1 if kind == "char" else 2)


def test_a_vocabulary_beyond_two_bytes_takes_four(tmp_path: Path) -> None:
    text = "".join(map(chr, range(0x4E00, 0x9FFF))) + "".join(map(chr, range(0x20000, 0x2A6D0)))
    text = (text + "".join(map(chr, range(0xAC00, 0xD7A3)))) + "\n"
    (tmp_path / "han.txt").write_text(text, encoding="utf-8")
    made = write_tokens([tmp_path / "han.txt"], tmp_path / "out", "char", val_fraction=0.0)
    assert made.tokenizer.vocab_size > 65_536
    assert made.dtype == "uint32"
    assert ids_of(made) == made.tokenizer.encode(text)


def test_ids_above_the_half_of_two_bytes_come_back_as_they_were(tmp_path: Path) -> None:
    """A vocabulary of 50,257 needs all 16 bits: read as signed numbers, half of it would be negative."""
    (tmp_path / "a.txt").write_text("Zyklopen und Xylophone, 🎈 !!!!!\n" * 40, encoding="utf-8")
    made = write_tokens([tmp_path / "a.txt"], tmp_path / "out", "gpt2")
    assert max(ids_of(made)) > 32_767
    inputs, targets = blocks(made).batch(5, torch.Generator().manual_seed(1))
    assert inputs.dtype == targets.dtype == torch.int64
    assert int(inputs.min()) >= 0
    on_disk = np.fromfile(tmp_path / "out" / "train.bin", dtype="<u2")
    assert on_disk.tolist() == ids_of(made)[: made.train]


def test_documents_end_with_the_mark(tmp_path: Path) -> None:
    lines = [{"text": "one fish\n"}, {"text": "two fish"}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    made = write_tokens([tmp_path / "a.jsonl"], tmp_path / "out", "char", val_fraction=0.0)
    end = made.tokenizer.end_of_text
    assert end is not None
    expected = [*made.tokenizer.encode("one fish\n"), end, *made.tokenizer.encode("two fish"), end]
    on_disk = np.fromfile(tmp_path / "out" / "train.bin", dtype=np.uint8)
    assert on_disk.tolist() == expected


def test_files_are_joined_by_a_line_break_and_a_known_tokenizer_is_taken(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.txt").write_text(f"{name} cat", encoding="utf-8")
    Tokenizer.char(TEXT + "b").save(tmp_path / "tokenizer.json")
    made = write_tokens(
        [tmp_path / "a.txt", tmp_path / "b.txt"], tmp_path / "out", str(tmp_path / "tokenizer.json"), val_fraction=0.0
    )
    assert np.fromfile(tmp_path / "out" / "train.bin", dtype=np.uint8).tolist() == made.tokenizer.encode("a cat\nb cat")
    assert made.name == "a.txt and 1 more"


# -- training on them -----------------------------------------------------------------------------------------------


def test_training_takes_them_in_place_of_a_corpus_and_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "t.txt").write_text(TEXT, encoding="utf-8")
    assert tokens.main([str(tmp_path / "t.txt"), "--tokenizer", "char", "--out", str(tmp_path / "ids"), "--quiet"]) == 0
    assert "1,836 tokens to train on and 204 held out" in capsys.readouterr().out
    out = tmp_path / "run"
    assert cli.main([str(tmp_path / "ids"), "--out", str(out), *FLAGS]) == 0
    assert cli.main([str(tmp_path / "t.txt"), "--out", str(tmp_path / "plain"), *FLAGS]) == 0
    ours, theirs = (
        open_checkpoint(tmp_path / name / "checkpoints" / "last").model.state_dict() for name in ("run", "plain")
    )
    assert all(torch.equal(ours[name], theirs[name]) for name in ours), "the same ids, so the same weights"
    assert cli.main(["--resume", str(out), "--more", "3", "--quiet"]) == 0
    assert open_checkpoint(out / "checkpoints" / "last").meta["step"] == 15
    assert cli.main(["--config", str(out / "config.yaml"), "--out", str(tmp_path / "anew"), "--quiet"]) == 0
    info = RunFolder(out).info()
    assert info.corpus["name"] == "t.txt"
    assert info.recipe.tokenizer == "char"


@pytest.mark.parametrize("flag", [["--cut", "documents"], ["--max-documents", "3"], ["--teacher", "x"]])
def test_what_needs_a_text_is_refused(
    flag: list[str], text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_tokens([text], tmp_path / "ids", "char")
    assert cli.main([str(tmp_path / "ids"), "--out", str(tmp_path / "run"), *FLAGS, *flag]) == 2
    assert "give the CORPUS itself" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_the_fingerprint_tells_one_text_from_another(text: Path, tmp_path: Path) -> None:
    same, again = (write_tokens([text], tmp_path / name, "char") for name in ("one", "two"))
    text.write_bytes(WILD.replace("ein", "kein").encode())
    other = write_tokens([text], tmp_path / "three", "char")
    prints = [fingerprint(blocks(made)) for made in (same, again, other)]
    assert prints[0] == prints[1] != prints[2]


# -- what cannot be done ----------------------------------------------------------------------------------------------


def test_nothing_is_left_behind_where_it_fails(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n{"other": "two"}\n', encoding="utf-8")
    with pytest.raises(ValueError, match=r'Line 2 of "a\.jsonl" has no text in the field "text"'):
        write_tokens([tmp_path / "a.jsonl"], tmp_path / "out", "gpt2")
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [({"name": "a.csv"}, "a piece at a time"), ({"tokenizer": "word"}, "choose gpt2, bpe, char"), ({}, "is not empty")],
)
def test_refusals(change: dict[str, str], sentence: str, tmp_path: Path) -> None:
    path = tmp_path / change.get("name", "a.txt")
    path.write_text(TEXT, encoding="utf-8")
    out = tmp_path if not change else tmp_path / "out"
    with pytest.raises(ValueError, match=sentence):
        write_tokens([path], out, change.get("tokenizer", "char"))


@pytest.mark.parametrize("harm", ["cut", "tokenizer", "index"])
def test_damage_is_told(harm: str, text: Path, tmp_path: Path) -> None:
    made = write_tokens([text], tmp_path / "ids", "char")
    if harm == "cut":
        os.truncate(made.folder / "train.bin", 100)
    elif harm == "tokenizer":
        Tokenizer.char("other text").save(made.folder / "tokenizer.json")
    else:
        (made.folder / "tokens.json").write_text('{"format": "glass-gpt-tokens"}')
    with pytest.raises(ValueError, match="holds no whole token files"):
        open_tokens(made.folder)


# -- memory -----------------------------------------------------------------------------------------------------------

MEMORY = """
import json, sys, torch
from pathlib import Path
from training import tokens
from training.tokens import write_tokens, open_tokens
from training.presets import PRESETS
from training.loop import bytes_per_token

def held(what="RssAnon"):  # kB that are this process's own, not pages of a file
    return int(next(line for line in open("/proc/self/status") if line.startswith(what)).split()[1])

folder = Path(sys.argv[1])
write_tokens([folder / "small.txt"], folder / "small", "char")
before = held("VmHWM")  # its peak
made = write_tokens([folder / "large.txt"], folder / "large", "char")
written = held("VmHWM") - before
with open(folder / "large" / "train.bin", "r+b") as file:
    file.truncate(400_000_000)  # mostly a hole: reads as zeros
index = json.loads((folder / "large/tokens.json").read_text())
(folder / "large/tokens.json").write_text(json.dumps(index | {"train": 400_000_000}))
before = held()
data = open_tokens(folder / "large").prepare(PRESETS["fast"].recipe).data
generator = torch.Generator().manual_seed(0)
for _ in range(200):
    data.batch(64, generator)
bytes_per_token(data, 20_000)
print(json.dumps({"written": written / 1024, "read": (held() - before) / 1024}))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells whose memory it is")
def test_memory_stays_flat(tmp_path: Path) -> None:
    """48 MB are written with little more than 6 MB are; of 400 MB to train on, next to nothing is held."""
    for name, times in (("small", 120_000), ("large", 960_000)):
        (tmp_path / f"{name}.txt").write_text("the cat sat on the mat, and the dog sat on the log\n" * times)
    size = (tmp_path / "large.txt").stat().st_size / 2**20
    assert size > 45
    own = {"MALLOC_MMAP_THRESHOLD_": str(1 << 18)}  # what is freed goes back, whatever was asked for before
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(tmp_path)],
        cwd=ROOT, env=os.environ | own, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["written"] < size / 2, "megabytes; the text alone, held whole, is twice that"
    assert found["read"] < 40, "megabytes"
