"""`python -m training` and `python -m model`, mostly as functions, and each once as the real program."""

from __future__ import annotations

import dataclasses
import json
import re
import signal
import subprocess
import sys
import typing
from pathlib import Path
from typing import Any

import pytest
import torch

from model import GPTConfig, Tokenizer, open_checkpoint, save_checkpoint, trace
from model import __main__ as model_cli
from model.decoding import generate
from model.sampling import Settings
from tests.training.tiny import CHAR, LONG, PATIENCE, TEXT, tiny_model
from training import __main__ as cli
from training.config import Recipe, TrainConfig
from training.events import Finished, Stepped
from training.flags import settings
from training.presets import DEFAULT, PRESETS
from training.runs import RunFolder

ROOT = Path(__file__).resolve().parents[2]
SMALL = (
    "--layers 1 --heads 2 --width 16 --context 8 --steps 6 --batch-size 4 --eval-every 3 --sample-every 3 "
    "--sample-tokens 9 --warmup-steps 0 --threads 1 --device cpu --quiet"
).split()


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "cats & dogs.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


def train(corpus: Path, out: Path, *more: str) -> int:
    return cli.main([str(corpus), "--out", str(out), *SMALL, *more])


# -- flags ------------------------------------------------------------------------------------------------------------

FIELDS: list[tuple[type, dataclasses.Field[Any]]] = [
    (cls, field) for cls in (GPTConfig, TrainConfig) for field in dataclasses.fields(cls)
]
FLAGGED = [(cls, field) for cls, field in FIELDS if field.name != "vocab_size"]
FLAGGED += [(Recipe, field) for field in dataclasses.fields(Recipe) if field.name in settings(Recipe)]


def test_the_help_has_a_flag_and_a_sentence_for_every_field(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        cli.main(["--help"])
    assert left.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    for _, field in FLAGGED:
        flag = f"--{field.name.replace('_', '-')}"
        assert re.search(rf"{flag}[ ,]", shown), flag
        assert " ".join(field.metadata["help"].split()) in shown, flag
    for preset in PRESETS.values():
        assert f"{preset.name} ({preset.title})" in shown


def part(recipe: Recipe, cls: type) -> Any:
    """The part of a recipe that is of this class."""
    return {GPTConfig: recipe.model_config(64), TrainConfig: recipe.train, Recipe: recipe}[cls]


def another(cls: type, field: dataclasses.Field[Any]) -> tuple[list[str], Any]:
    """A flag with a value that is not the field's in the default recipe, and what it should become."""
    recipe = PRESETS[DEFAULT].recipe
    now = getattr(part(recipe, cls), field.name)
    flag = f"--{field.name.replace('_', '-')}"
    kind = typing.get_type_hints(cls)[field.name]
    if kind is bool:
        return [f"--no-{flag[2:]}" if now else flag], not now
    special: dict[str, Any] = {
        "sample_prompt": "the cat", "device": "cpu", "until_val_loss": 1.5, "beta1": 0.7, "beta2": 0.8, "heads": 2,
        "final_lr_share": 0.5, "cooldown_share": 0.5, "val_fraction": 0.25, "learning_rate": 0.0071, "norm_eps": 1e-4,
        "muon_momentum": 0.7,
    }  # fmt: skip
    if typing.get_origin(kind) is typing.Literal:
        value: Any = next(choice for choice in typing.get_args(kind) if choice != now)
    elif field.name in special:
        value = special[field.name]
    elif kind is str:
        value = f"{now}elsewhere"
    else:
        value = (now or 0) + (0.125 if kind is float else 8)
    assert value != now
    return [flag, str(value)], value


@pytest.mark.parametrize(("cls", "field"), FLAGGED, ids=[field.name for _, field in FLAGGED])
def test_every_flag_reaches_its_field(
    cls: type, field: dataclasses.Field[Any], corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    caught: list[Recipe] = []

    def begin(out: Path, name: str, text: Any, recipe: Recipe, *_: Any) -> None:
        caught.append(recipe)
        raise ValueError("that is all")

    monkeypatch.setattr(cli, "begin", begin)
    arguments, value = another(cls, field)
    if field.name == "head_bias":
        arguments.append("--no-tied-head")
    assert cli.main([str(corpus), "--out", str(tmp_path / "run"), *arguments]) == 2
    [recipe] = caught
    after, before = part(recipe, cls), part(PRESETS[DEFAULT].recipe, cls)
    found = getattr(after, field.name)
    assert found == value
    assert type(found) is type(value)
    rest = [other for other_cls, other in FLAGGED if other_cls is cls and other.name not in (field.name, "tied_head")]
    changed = {other.name for other in rest if getattr(after, other.name) != getattr(before, other.name)}
    assert changed <= ({"mlp_width"} if field.name == "width" else set())


# -- training ---------------------------------------------------------------------------------------------------------


def test_a_run_at_the_console(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert train(corpus, out, "--seed", "3") == 0
    shown, errors = capsys.readouterr()
    assert errors == ""
    assert shown.splitlines()[-1] == f"run folder: {out}"
    parameters = tiny_model(positions="rotary", qkv_bias=False, out_bias=False, mlp_bias=False, norm_bias=False)
    assert f"{parameters.parameter_count():,} parameters on cpu" in shown
    measured = r"step (\d): validation loss [\d.]+ nats per token, [\d.]+ bits per byte"
    assert re.findall(measured, shown) == ["0", "3", "6"]
    assert shown.splitlines()[-2] == "done"
    found = {str(path.relative_to(out)) for path in out.rglob("*")}
    weights = {name for name in found if name.endswith(".safetensors")}
    assert len(weights) == 2 + 1 + 6  # best and last, what is needed to go on, and snapshots at 0, 1, 2, 3, 4, 6
    assert found - weights == {
        "config.json", "tokenizer.json", "metrics.jsonl", "checkpoints", "checkpoints/best", "checkpoints/last",
        "checkpoints/best/checkpoint.json", "checkpoints/best/tokenizer.json", "checkpoints/last/checkpoint.json",
        "checkpoints/last/tokenizer.json", "snapshots", "snapshots/probe.json", "config.yaml",
        "samples.txt", "loss.png", "corpus",
        "corpus/train.txt.gz", "corpus/held-out.txt.gz", *(f"snapshots/step-{n:08d}.json" for n in (0, 1, 2, 3, 4, 6)),
    }  # fmt: skip
    info = RunFolder(out).info()
    assert info.name == "cats & dogs fast"
    assert (info.recipe.train.steps, info.recipe.train.seed, info.recipe.model["width"]) == (6, 3, 16)
    assert info.corpus["characters"] == len(TEXT)
    samples = [line for line in map(json.loads, (out / "metrics.jsonl").read_text().splitlines()) if "text" in line]
    assert [len(sample["text"]) for sample in samples] == [9, 9, 9]
    assert samples[0]["text"].split("\n")[0] in shown


def test_the_same_command_gives_the_same_run(corpus: Path, tmp_path: Path) -> None:
    seeds = ["5", "5", "6"]
    for number, seed in enumerate(seeds):
        assert train(corpus, tmp_path / f"{number}", "--seed", seed) == 0
    curves = [
        [event.loss for event in RunFolder(tmp_path / f"{i}").events() if isinstance(event, Stepped)] for i in range(3)
    ]
    assert curves[0] == curves[1]
    assert curves[0] != curves[2]


def test_until_val_loss(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    options = ["--steps", "500", "--eval-every", "10", "--learning-rate", "0.01"]
    assert train(corpus, out, *options, "--until-val-loss", "1.5", "--name", "short") == 0
    assert "target reached" in capsys.readouterr().out
    *_, last = RunFolder(out).events()
    assert isinstance(last, Finished)
    assert last.reason == "target"
    assert 0 < last.step < 500
    assert open_checkpoint(out).meta["val_loss"] <= 1.5
    assert RunFolder(out).info().name == "short"


def test_a_column_of_a_table(tmp_path: Path) -> None:
    rows = [line for line in TEXT.splitlines() if line]
    (tmp_path / "t.csv").write_text("who,said\n" + "".join(f"xyz,{row}\n" for row in rows), encoding="utf-8")
    (tmp_path / "t.jsonl").write_text("".join(json.dumps({"who": "xyz", "said": row}) + "\n" for row in rows))
    for name in ("t.csv", "t.jsonl"):
        out = tmp_path / f"run {name}"
        assert train(tmp_path / name, out, "--column", "said") == 0
        tokenizer = Tokenizer.load(out / "tokenizer.json")
        assert tokenizer == Tokenizer.char(TEXT)
        assert train(tmp_path / name, tmp_path / f"who {name}", "--column", "who", "--context", "4") == 0
        assert Tokenizer.load(tmp_path / f"who {name}" / "tokenizer.json") == Tokenizer.char("xyz\n")


def test_what_cannot_begin(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    contents = {"empty.txt": "", "blank.txt": " \n\n ", "short.txt": "too short", "t.csv": "a,b\nx,y\nz,w\n"}
    for name, content in contents.items():
        (tmp_path / name).write_text(content)
    (tmp_path / "broken.jsonl").write_text('{"text": "one"}\n{"text": \n')
    (tmp_path / "picture.txt").write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00")
    cases: list[tuple[str, list[str], str]] = [
        ("empty.txt", [], "is empty (0 bytes)"),
        ("blank.txt", [], "only spaces and line breaks"),
        ("short.txt", [], "too short for a context of 8"),
        ("picture.txt", [], "PNG"),
        ("t.csv", ["--column", "zeal"], "zeal"),
        ("cats & dogs.txt", ["--column", "zeal"], "is not a CSV or Parquet table and has no columns"),
        ("broken.jsonl", [], "line 2"),
        ("nowhere.txt", [], "nowhere.txt"),
        (".", [], ""),
        ("cats & dogs.txt", ["--steps", "0"], "steps is 0; use at least 1."),
        ("cats & dogs.txt", ["--width", "15"], "width 15 cannot be shared out among 2 heads"),
        ("cats & dogs.txt", ["--tokenizer", "bpe", "--vocab-size", "5000"], "at most"),
        ("cats & dogs.txt", ["--until-val-loss", "1", "--val-fraction", "0"], "until_val_loss needs held-out text"),
        ("cats & dogs.txt", ["--out", str(corpus)], "cannot be written"),
        ("cats & dogs.txt", ["--out", str(corpus.parent)], "holds other files"),
        ("cats & dogs.txt", ["--out", "a" * 300], "cannot be written (File name too long)"),
        ("cats & dogs.txt", ["--out", ""], "there is no folder to train in: give --out DIR"),
    ]
    for name, more, part in cases:
        out = tmp_path / "run"
        assert train(tmp_path / name, out, *more) == 2, name
        shown, errors = capsys.readouterr()
        assert "parameters" not in shown, "a training began"
        assert re.fullmatch(r"python -m training: [^\n]+[.)]\n", errors), errors
        assert part in errors
        assert not out.exists(), "a run's folder was left behind"
    train(corpus, tmp_path / "run")
    capsys.readouterr()
    before = (tmp_path / "run" / "metrics.jsonl").read_bytes()
    assert train(corpus, tmp_path / "run") == 2
    assert "already holds a run: choose another folder" in capsys.readouterr().err
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--preset", "slow"], "invalid choice: 'slow'"),
        (["--steps", "many"], "argument --steps: invalid int value: 'many'"),
        (["--schedule", "sideways"], "invalid choice: 'sideways'"),
        (["--zeal", "9"], "unrecognized arguments: --zeal 9"),
    ],
)
def test_flags_that_are_no_flags(
    arguments: list[str], part: str, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        train(corpus, tmp_path / "run", *arguments)
    assert left.value.code == 2
    *_, last = capsys.readouterr().err.splitlines()
    assert last.startswith("python -m training: error: ")
    assert part in last
    assert not (tmp_path / "run").exists()


def test_a_run_that_fails_says_so(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wild = "--optimizer adamw --learning-rate 1 --weight-decay 10 --grad-clip 0 --schedule constant --steps 300"
    assert train(corpus, tmp_path / "run", *wild.split()) == 1
    shown = capsys.readouterr().out
    assert re.search(r"^failed: The loss is no longer a number since step \d+ .+ of 0\.1 instead of 1\.$", shown, re.M)


def test_a_name_that_is_no_text(corpus: Path, tmp_path: Path) -> None:
    """A shell passes any bytes; those that are no UTF-8 come as half surrogates."""
    assert train(corpus, tmp_path / "run", "--name", "caf\udce9", "--sample-prompt", "\udce9the") == 0
    assert RunFolder(tmp_path / "run").info().name == "caf?"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_real_program_and_control_c(number: signal.Signals, corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = [sys.executable, "-m", "training", str(corpus), "--out", str(out), *SMALL, "--steps", str(LONG)]
    # A job in a shell's background ignores Ctrl-C and hands that down; a handler is not handed down but reset.
    ours = signal.signal(signal.SIGINT, signal.default_int_handler)
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
        signal.signal(signal.SIGINT, ours)
        assert program.stdout is not None
        for line in program.stdout:
            if line.startswith("step 3: validation loss"):
                break
        program.send_signal(number)
        shown, errors = program.communicate(timeout=PATIENCE)
    assert (program.returncode, errors) == (1, "")
    assert shown.splitlines()[-2:] == ["stopped", f"run folder: {out}"]
    *_, last = RunFolder(out).events()
    assert isinstance(last, Finished)
    assert last.reason == "stopped"
    assert open_checkpoint(out / "checkpoints" / "last").meta["step"] == last.step >= 3


# -- writing ----------------------------------------------------------------------------------------------------------


def write(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert model_cli.main(list(arguments)) == 0
    shown, errors = capsys.readouterr()
    assert errors == ""
    assert shown.endswith("\n")
    return shown.removesuffix("\n")


def test_a_run_writes(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    train(corpus, run, "--steps", "30")
    capsys.readouterr()
    first = write(capsys, str(run), "--prompt", "the c", "--tokens", "37", "--seed", "1")
    assert first.startswith("the c")
    assert len(first) == len("the c") + 37
    assert write(capsys, str(run), "--prompt", "the c", "--tokens", "37", "--seed", "1") == first
    assert write(capsys, str(run), "--prompt", "the c", "--tokens", "37", "--seed", "2") != first
    assert write(capsys, str(run), "--prompt", "the c", "--tokens", "5", "--seed", "1") == first[:10]
    checkpoint = open_checkpoint(run)
    ids = CHAR.encode("the c")
    for _ in range(37):
        ids.append(int(trace(checkpoint.model, ids[-8:]).logits[-1].argmax()))
    greedy = write(capsys, str(run), "--prompt", "the c", "--tokens", "37", "--greedy")
    assert greedy == CHAR.decode(ids)
    assert write(capsys, str(run), "--prompt", "the c", "--tokens", "37", "--top-k", "1", "--seed", "9") == greedy
    assert write(capsys, str(run / "checkpoints" / "best"), "--prompt", "the c", "--tokens", "37", "--greedy") == greedy


def test_bytes_that_are_no_character_are_written_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tokenizer = Tokenizer.bpe(TEXT, 260)
    model = tiny_model(vocab_size=260)
    save_checkpoint(tmp_path / "model", model, tokenizer)
    cut = 0
    for seed in range(12):
        found = write(capsys, str(tmp_path / "model"), "--prompt", "the", "--tokens", "3", "--seed", str(seed))
        text = tokenizer.encode("the")
        settings = Settings(temperature=0.8, seed=seed)
        text += [*generate(model.eval(), text, 3, settings)]
        assert found == tokenizer.decode(text)
        cut += found.endswith("\ufffd")
    assert cut, "no text ended within a character, so nothing was tested"


def test_what_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_checkpoint(tmp_path / "model", tiny_model(), CHAR)
    save_checkpoint(tmp_path / "mute", tiny_model())
    (tmp_path / "empty").mkdir()
    cases: list[tuple[str, list[str], str]] = [
        ("nowhere", [], "there is no checkpoint at"),
        ("empty", [], "holds no checkpoint"),
        ("mute", [], "comes without a vocabulary, so text cannot be read"),
        ("model", ["--prompt", "the Zebra"], "Z"),
        ("model", ["--tokens", "0"], "--tokens is 0; ask for at least 1."),
        ("model", ["--temperature", "-1"], "temperature is -1.0; use a value from 0"),
        ("model", ["--top-p", "0"], "top_p is 0.0; use a value above 0"),
    ]
    for name, more, part in cases:
        assert model_cli.main([str(tmp_path / name), "--prompt", "the", *more]) == 2
        shown, errors = capsys.readouterr()
        assert shown == ""
        assert re.fullmatch(r"python -m model: [^\n]+\.\n", errors), errors
        assert part in errors


def test_the_real_program_writes_for_a_pipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    save_checkpoint(tmp_path / "model", tiny_model(), CHAR)
    expected = write(capsys, str(tmp_path / "model"), "--prompt", "the c", "--tokens", "20")
    command = [sys.executable, "-m", "model", str(tmp_path / "model"), "--tokens", "20"]
    given = subprocess.run([*command, "--prompt", "the c"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (given.returncode, given.stdout, given.stderr) == (0, expected + "\n", "")
