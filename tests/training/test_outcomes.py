"""What a teacher or copied embeddings brought, as the command line tells it."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.__main__ import main
from training.events import Evaluated
from training.runs import RunFolder

TINY = "--layers 1 --heads 1 --width 8 --context 8 --steps 6 --batch-size 4 --eval-every 3 --sample-every 0 --quiet"
TEXT = "the cat sat on the mat and the dog sat on the log\n" * 40


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    (tmp_path / "cats.txt").write_text(TEXT, encoding="utf-8")
    return tmp_path / "cats.txt"


def train(corpus: Path, name: str, capsys: pytest.CaptureFixture[str], *more: str) -> list[str]:
    assert main([str(corpus), "--out", str(corpus.parent / "runs" / name), *TINY.split(), *more]) == 0
    return capsys.readouterr().out.splitlines()


def told(corpus: Path, name: str) -> str:
    """The lowest loss of a run on held-out text, in both units."""
    events = RunFolder(corpus.parent / "runs" / name).events()
    nats, bits = min((e.val_loss, e.bits_per_byte) for e in events if isinstance(e, Evaluated) and e.val_loss)
    return f"{nats:.3f} ({bits:.3f})"


@pytest.mark.parametrize(("flag", "what"), [("teacher", "its teacher"), ("embeddings-from", "copied embeddings")])
def test_both_losses_are_printed_once_there_are_two(
    corpus: Path, capsys: pytest.CaptureFixture[str], flag: str, what: str
) -> None:
    """Whichever run comes last; a run of another length is no comparison."""
    train(corpus, "source", capsys, "--steps", "4", "--layers", "2")
    given = (f"--{flag}", str(corpus.parent / "runs" / "source"))
    said = train(corpus, "with", capsys, *given)
    assert said[-2].startswith(f"To see what {what} brought, train the same again without --{flag}")
    assert ("--tokenizer char" in said[-2]) == (flag == "teacher")
    assert any(line.startswith("its teacher is ") and "50% of the loss" in line for line in said) == (flag == "teacher")
    assert not any("Lowest" in line for line in train(corpus, "longer", capsys, "--steps", "9"))
    said = train(corpus, "without", capsys)
    both = f"{told(corpus, 'with')} with {what}, {told(corpus, 'without')} without. The run "
    assert said[-2] == f"Lowest loss on held-out text, in nats per token (bits per byte): {both}with: with"
    again = train(corpus, "again", capsys, *given, "--name", "again")
    assert again[-2].endswith(f"{told(corpus, 'without')} without. The run without: without")


def test_what_nothing_was_held_out_for_cannot_be_told(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(corpus, "source", capsys)
    said = train(corpus, "with", capsys, "--teacher", str(corpus.parent / "runs" / "source"), "--val-fraction", "0")
    assert said[-2] == "What its teacher brought cannot be told: nothing was held out to measure on."


def test_a_text_of_the_same_name_and_length_is_another_one(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(corpus, "source", capsys, "--steps", "4", "--layers", "2")
    train(corpus, "with", capsys, "--teacher", str(corpus.parent / "runs" / "source"))
    corpus.write_text("".join(sorted(TEXT)), encoding="utf-8")
    assert not any("Lowest" in line for line in train(corpus, "other", capsys))
    corpus.write_text(TEXT, encoding="utf-8")
    assert any("Lowest" in line for line in train(corpus, "without", capsys))
