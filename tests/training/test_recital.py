"""Texts by heart: what counts as come back, and as come to an end."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from model import GPT, GPTConfig, Tokenizer, open_checkpoint
from tests.training.tiny import finish, tiny_corpus, tiny_recipe
from training import __main__ as cli
from training import recital
from training.corpus import about
from training.recital import MARGIN, Outcome, Question, recitals, recite, spread, write_on
from training.runs import RunFolder
from training.setup import set_up
from training.trainer import Trainer

POEMS = (
    "the cat sat on the mat and purred",
    "a dog ran over the hill to see the sea",
    "my hen laid one egg and then two more eggs",
    "too short to ask",
)


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that knows its poems by heart."""
    corpus = tiny_corpus("\n".join(POEMS), POEMS)
    recipe = tiny_recipe(
        cut="documents", start_mark=False, tokenizer="words", context=16, width=32, steps=200, batch_size=8,
        val_fraction=0.0, eval_every=100,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("by heart") / "run"
    prepared = set_up(corpus, recipe)
    trainer = Trainer(RunFolder.create(folder, "run", prepared.recipe, about(corpus)), prepared)
    assert prepared.recipe.train.sample_prompt == "the cat"  # nothing else would begin a sample
    finish(trainer)
    return folder


def test_a_model_recites_what_it_learnt(learnt: Path) -> None:
    checkpoint = open_checkpoint(learnt)
    assert checkpoint.tokenizer is not None
    found = recite(checkpoint.model, checkpoint.tokenizer, POEMS)
    assert (found.asked, found.exact, found.stopped) == (3, 1.0, 1.0)
    changed = [*POEMS[:2], "my hen laid one egg and then more eggs"]
    other = recite(checkpoint.model, checkpoint.tokenizer, changed)
    assert (other.asked, other.exact) == (3, pytest.approx(2 / 3))
    with pytest.raises(ValueError, match="no document has more than 20 words"):
        recite(checkpoint.model, checkpoint.tokenizer, POEMS, words=20)


def test_one_that_never_ends_has_not_stopped() -> None:
    torch.manual_seed(0)
    tokenizer = Tokenizer.word("a b c d e f g", end_of_text=True)
    model = GPT(GPTConfig(vocab_size=tokenizer.vocab_size, layers=1, heads=1, width=8, context=32, tied_head=False))
    with torch.no_grad():
        model.head.weight.zero_()  # every token alike: the first of them is taken, again and again
    found = recite(model.eval(), tokenizer, ["a b c d e f g"])
    assert tokenizer.end_of_text != 0
    assert (found.asked, found.exact, found.stopped) == (1, 0.0, 0.0)


def test_each_document_as_it_was_written(learnt: Path) -> None:
    """In one go and a token at a time; one that was changed shows what the model wrote in its place."""
    checkpoint = open_checkpoint(learnt)
    model, tokenizer = checkpoint.model, checkpoint.tokenizer
    assert tokenizer is not None
    changed = [POEMS[0], "my hen laid one egg and then more eggs"]
    outcomes = list(recitals(model, tokenizer, [*changed, POEMS[3]]))
    assert [one.given for one in outcomes] == ["the cat sat on the mat", "my hen laid one egg and"]
    assert [one.exact for one in outcomes] == [True, False]
    assert [one.written for one in outcomes] == [" and purred", " then two more eggs"]
    assert outcomes[1].expected == " then more eggs"
    assert all(one.ended and not one.longer for one in outcomes)
    for poem, whole in zip(changed, outcomes, strict=True):
        question = Question.of(tokenizer, poem, 6)
        assert question is not None
        written = list[int]()
        portions = [write_on(model, tokenizer, question, written, 1) for _ in range(len(whole.written.split()) + 1)]
        assert portions == [None] * (len(portions) - 1) + [whole]


def test_a_line_ends_with_its_line() -> None:
    """A model that always writes the same token: a line break ends a line at once, anything else never does."""
    tokenizer = Tokenizer.char("abc de\n")
    model = GPT(GPTConfig(vocab_size=tokenizer.vocab_size, layers=1, heads=1, width=8, context=32, tied_head=False))
    with torch.no_grad():
        model.head.weight.zero_()
    (first,) = tokenizer.encode("\n")
    assert first == 0, "the first token is taken where all are alike"
    question = Question.of(tokenizer, "a b c d e a b", 6, lines=True)
    assert question is not None
    assert question.ids[0] == first
    outcome = write_on(model.eval(), tokenizer, question, [], None)
    assert outcome is not None
    assert (outcome.written, outcome.ended, outcome.exact) == ("", True, False)


def test_over_a_stream_the_window_moves_on() -> None:
    """What is written behind the context is the likeliest token after the last ones that it holds."""
    torch.manual_seed(3)
    tokenizer = Tokenizer.char("abcdefgh \n")
    model = GPT(GPTConfig(vocab_size=tokenizer.vocab_size, layers=1, heads=2, width=8, context=5)).eval()
    question = Question.of(tokenizer, "a b c d e f g h h g f e", 6, lines=True)
    assert question is not None
    written = list[int]()
    outcome = write_on(model, tokenizer, question, written, None)
    ids = list(question.ids)
    with torch.no_grad():
        for token in written:
            assert token == model(torch.tensor([ids[-5:]]))[0, -1].argmax()
            ids.append(token)
    assert len(written) == question.rest + MARGIN, "of this seed no line break is ever the likeliest"
    assert outcome is not None
    assert not outcome.longer
    portions = list[int]()
    while write_on(model, tokenizer, question, portions, 3) is None:
        pass
    assert portions == written


SHORT = "Too short to be asked for: 1 of 4 documents, of 6 words or fewer.\n"


def test_documents_are_chosen_evenly() -> None:
    long = [f"{i} b c d e f g" for i in range(100)]
    assert spread(long, 4) == [long[0], long[25], long[50], long[75]]
    assert spread(long[:3], 4) == long[:3]
    assert spread(["too short", *long[:2], "again", "short"], 2) == [long[0], long[1]]
    assert spread([], 4) == spread(["short"] * 9, 4) == []


def test_at_the_console(learnt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = tmp_path / "poems.txt"
    text.write_text("\n".join(POEMS), encoding="utf-8")
    assert recital.main([str(learnt), str(text)]) == 0
    assert capsys.readouterr().out == f"3 documents: exact 1.000, stopped 1.000\n{SHORT}"
    assert recital.main([str(learnt)]) == 0, "of the text that the run kept"
    assert capsys.readouterr().out == f"3 documents: exact 1.000, stopped 1.000\n{SHORT}"
    assert recital.main([str(learnt), "--failures"]) == 0
    assert capsys.readouterr().out == f"3 documents: exact 1.000, stopped 1.000\n{SHORT}"
    assert recital.main([str(learnt), "--most", "2"]) == 0
    assert capsys.readouterr().out == "2 documents: exact 1.000, stopped 1.000\n"
    text.write_text("\n".join([*POEMS[:2], "my hen laid one egg and then more eggs"]), encoding="utf-8")
    assert recital.main([str(learnt), str(text), "--failures"]) == 0
    assert capsys.readouterr().out == (
        "3 documents: exact 0.667, stopped 1.000\n\n"
        "… my hen laid one egg and then \n    wrote: two more eggs\n    text:  more eggs\n"
    )
    bare = tmp_path / "bare"
    shutil.copytree(learnt, bare, ignore=shutil.ignore_patterns("corpus"))
    for wrong in (
        [str(bare)], [str(learnt), "--column", "said"],
        [str(tmp_path), str(text)], [str(learnt), "nowhere.txt"], [str(learnt), str(text), "--words", "0"],
        [str(learnt), "--most", "0"],
    ):  # fmt: skip
        assert recital.main(wrong) == 2
        assert capsys.readouterr().err.startswith("python -m training.recital: ")


def test_of_a_stream_the_lines_are_asked_for(learnt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each ends where the next one begins, although nothing taught the model to stop."""
    text, out = tmp_path / "song.txt", tmp_path / "run"
    text.write_text("\n".join(POEMS), encoding="utf-8")
    told = ["--preset", "song", "--tokenizer", "char", "--context", "48", "--steps", "600", "--quiet"]
    assert cli.main([str(text), *told, "--out", str(out)]) == 0
    capsys.readouterr()
    assert recital.main([str(out)]) == 0
    wanted = (
        r"(\d+) lines: exact (\S+), at the line break (\S+)\n"
        r"It was trained on a stream, which has no end: .*\nToo short to be asked for: 1 of 4 lines, .*\n"
    )
    said = re.fullmatch(wanted, capsys.readouterr().out)
    assert said is not None
    model, tokenizer = (checkpoint := open_checkpoint(out)).model, checkpoint.tokenizer
    assert tokenizer is not None
    asked = [line for line in POEMS if len(line.split()) > 6]
    found = list(recitals(model, tokenizer, asked, lines=True))
    assert int(said[1]) == len(asked)
    assert float(said[2]) == pytest.approx(sum(one.exact for one in found) / len(found), abs=1e-3)
    assert float(said[2]) > 0, "none came back, so nothing was tested"


def test_what_was_found_is_told_when_it_is_interrupted(
    learnt: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = iter([True, True])

    def interrupted(*given: object, **_: object) -> Iterator[Outcome]:
        for outcome in recitals(*given):  # type: ignore[arg-type]
            if not next(asked, False):
                raise KeyboardInterrupt
            yield outcome

    monkeypatch.setattr(recital, "recitals", interrupted)
    assert recital.main([str(learnt)]) == 0
    said = capsys.readouterr()
    assert said.out == "2 documents: exact 1.000, stopped 1.000\n" + SHORT
    assert "stopped: of those asked so far" in said.err


def test_what_is_longer_than_the_context_is_counted(
    learnt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "longer.txt"
    text.write_text("\n".join([POEMS[0], " ".join(POEMS[:3])]), encoding="utf-8")
    assert recital.main([str(learnt), str(text)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("2 documents: exact 0.500")
    assert said[1:] == ["1 of those asked for cannot come back: they are longer than the 16 tokens it sees at once."]
