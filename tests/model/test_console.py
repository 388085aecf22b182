"""`python -m model` on other projects' files: what stands on the console, and sentences in place of tracebacks."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from model import open_checkpoint
from model.__main__ import main
from model.beams import beam_search
from tests.model.formats.stand_ins import CHARACTERS, NanoGPT, randomise, save, small_lyrics

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def lyrics(tmp_path: Path) -> tuple[str, str]:
    """The paths of a weights.pt of 12 wide and of its table of characters."""
    table = tmp_path / "table.json"
    table.write_text(json.dumps(CHARACTERS), encoding="utf-8")
    return str(save(small_lyrics(), tmp_path / "weights.pt")), str(table)


@pytest.mark.parametrize(("prompt", "count"), [("", 300), ("Yeah, I'm in the", 5_000)])
def test_many_characters_from_weights(lyrics: tuple[str, str], prompt: str, count: int) -> None:
    """In a process of its own, from an empty context and from the case's words: the text outgrows the context."""
    weights, table = lyrics
    command = [sys.executable, "-m", "model", weights, "--characters", table]
    command += ["--prompt", prompt, "--tokens", str(count)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, encoding="utf-8", check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(prompt)
    assert len(done.stdout) == len(prompt) + count + 1  # and the line's end
    written = done.stdout[len(prompt) : -1]
    assert set(written) <= set(CHARACTERS)
    assert len(set(written)) > 20


def test_the_same_seed_writes_the_same(lyrics: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    said = []
    for seed in ("1", "1", "2"):
        assert main([lyrics[0], "--characters", lyrics[1], "--prompt", "Yeah", "--tokens", "40", "--seed", seed]) == 0
        said.append(capsys.readouterr().out)
    assert said[0] == said[1] != said[2]


def test_what_is_missing_is_said(lyrics: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def refused(*arguments: str) -> str:
        assert main([*arguments, "--prompt", "a"]) == 2
        return capsys.readouterr().err

    weights, table = lyrics
    assert "without a vocabulary" in refused(weights)
    assert "--characters" in refused(weights)
    assert "cannot be read" in refused(weights, "--characters", str(tmp_path / "no.json"))
    model = NanoGPT(vocab=104, context=9, width=12, blocks=1, heads=3, bias=True)
    torch.save(randomise(model).state_dict(), tmp_path / "bare.pt")
    assert "give their number" in refused(str(tmp_path / "bare.pt"), "--characters", table)
    told = [str(tmp_path / "bare.pt"), "--characters", table, "--heads", "3"]
    assert main([*told, "--prompt", "a", "--tokens", "3"]) == 0


def test_beams_print_the_best_or_all_of_them(lyrics: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    """The text of the search itself; with --all ranked, under lines whose figures are log-probabilities."""
    opened = open_checkpoint(lyrics[0], lyrics[1])
    assert opened.tokenizer is not None
    ids, decode = opened.tokenizer.encode("Yeah"), opened.tokenizer.decode
    command = [lyrics[0], "--characters", lyrics[1], "--prompt", "Yeah", "--tokens", "20", "--beams", "3"]
    tree = beam_search(opened.model, ids, 20, 3)
    assert main(command) == 0
    assert capsys.readouterr().out == "Yeah" + decode(list(tree.best.ids)) + "\n"
    assert main([*command, "--all", "--length-penalty", "1", "--temperature", "0.5"]) == 0
    said = capsys.readouterr().out
    tree = beam_search(opened.model, ids, 20, 3, length_penalty=1.0, temperature=0.5)
    found = re.findall(r"^(\d+)\. score (\S+), log-probability (\S+), (\S+) nats a token$", said, re.MULTILINE)
    assert [int(rank) for rank, *_ in found] == [1, 2, 3]
    for (_, score, total, nats), way in zip(found, tree.hypotheses, strict=True):
        assert math.isclose(float(total), way.total, abs_tol=1e-4)
        assert math.isclose(float(score), way.total / (25 / 6), abs_tol=1e-4)
        assert math.isclose(float(nats), -way.total / 20, abs_tol=1e-4)
        assert "\nYeah" + decode(list(way.ids)) + "\n" in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--beams", "0"], "0 beams"),
        (["--beams", "3", "--temperature", "0"], "1 beam"),
        (["--beams", "3", "--top-k", "5"], "draws nothing"),
        (["--beams", "3", "--greedy"], "--beams 1"),
        (["--all"], "how many --beams"),
        (["--length-penalty", "1"], "how many --beams"),
        (["--beams", "3", "--length-penalty", "-1"], "length penalty"),
    ],
)
def test_options_that_do_not_go_together(
    lyrics: tuple[str, str], capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    assert main([lyrics[0], "--characters", lyrics[1], "--prompt", "Yeah", *options]) == 2
    shown = capsys.readouterr()
    assert said in shown.err
    assert shown.out == ""
