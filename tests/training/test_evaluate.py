"""The figures of a text, worked out by hand on texts short enough for that."""

from __future__ import annotations

import io
import shlex
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from training.config import Recipe
from training.evaluate import distinct, evaluate, main, report, rhyme_density, rhymed_lines, rime
from training.kept import Texts, keep_text
from training.runs import RunFolder
from training.verbatim import Copied, Index

ROOT = Path(__file__).resolve().parents[2]
COUPLETS = """The moon was bright,
it was late at night,
and a little mouse
ran round the house.
"""


def test_distinct_counts_each_run_once() -> None:
    words = "a b a b a c".split()
    assert distinct(words, 1) == 3 / 6
    assert distinct(words, 2) == 3 / 5  # ab ba ac; ab and ba twice
    assert distinct(words, 3) == 3 / 4  # aba bab bac
    assert distinct(words, 7) is None
    assert distinct([], 1) is None


def test_a_text_without_repetition_and_one_of_nothing_else() -> None:
    new = evaluate("one two three four five six seven")
    assert (new.repetition, new.distinct) == (0.0, {1: 1.0, 2: 1.0, 3: 1.0})
    same = evaluate("la " * 104)
    assert same.repetition == pytest.approx(1 - 1 / 101)
    assert same.distinct == {1: 1 / 104, 2: 1 / 103, 3: 1 / 102}
    assert same.rhyme_density == 0.0, "the same word again is no rhyme"


def test_repeated_lines_are_compared_without_case_and_spacing() -> None:
    assert evaluate("a b\n\nA  b\nc\n a b \n").repeated_lines == 2 / 4
    assert evaluate("a b\nc d").repeated_lines == 0.0
    assert evaluate("one line").repeated_lines is None


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("light", "ight"),
        ("Night", "ight"),
        ("house", "ous"),
        ("cake", "ak"),
        ("the", "e"),  # its only vowel is not silent
        ("little", "ittl"),
        ("café", "e"),
        ("Bär", "ar"),
        ("rhythm", "ythm"),
        ("любовь", "овь"),
        ("καρδιά", "ια"),
        ("psst", ""),
        ("日本", ""),
        ("", ""),
    ],
)
def test_rimes_as_spelt(word: str, expected: str) -> None:
    assert rime(word) == expected


def test_line_ends_that_rhyme() -> None:
    assert rhymed_lines(COUPLETS.splitlines()) == 2 / 4
    assert rhymed_lines(["night", "house", "LIGHT!", "a mouse."]) == 2 / 4
    assert rhymed_lines(["night", "night"]) == 0.0, "the same word again is no rhyme"
    far = ["night", *["bat"] * 4, "light"]
    assert rhymed_lines(far) == 0.0
    assert rhymed_lines(far[:4] + far[5:]) == 1 / 5
    assert rhymed_lines(["night"]) is None
    assert rhymed_lines(["日本", "中国"]) is None


def test_rhyme_density_is_the_mean_length_of_the_longest_rhyme() -> None:
    # bat-hat share one vowel, a; for the rest nothing ends alike
    assert rhyme_density("bat hat".split()) == 1 / 2
    # vowels: o-i, o-i: two shared by the second word
    assert rhyme_density("coming bonding".split()) == 2 / 2
    # across words: after u, `go in` has o-i, and `foxing` ends in them
    assert rhyme_density("up go in foxing".split()) == 2 / 4
    assert rhyme_density("up down".split()) == 0.0
    assert rhyme_density("psst up".split()) is None


def test_a_rhyme_is_looked_for_fifteen_words_back() -> None:
    between = ["bed"] * 14
    assert rhyme_density(["bat", *between, "hat"]) == 1 / 16
    assert rhyme_density(["bat", *between, "bed", "hat"]) == 0.0


def test_verse_rhymes_more_than_the_same_words_shuffled() -> None:
    verse = evaluate(COUPLETS * 2)
    shuffled = evaluate("\n".join(" ".join(sorted(line.split())) for line in sorted(COUPLETS.splitlines() * 2)))
    assert verse.rhymed_lines is not None
    assert shuffled.rhymed_lines is not None
    assert verse.rhymed_lines > shuffled.rhymed_lines


def test_copies_are_those_of_the_index() -> None:
    index = Index("it was late at night and a little mouse ran round the house of the baker")
    found = evaluate("so a little mouse ran round the house of the cook", index)
    assert found.copied == Copied(2, 4, "words")
    assert found.longest_copy == len(" a little mouse ran round the house of the ")
    nothing = evaluate("so a little mouse")
    assert nothing.copied is nothing.longest_copy is None
    assert evaluate("zzzzzzzzzzzz", index).longest_copy == 0


def test_scripts_without_spaces_count_their_characters() -> None:
    found = evaluate("名前はまだ無い名前はまだ無い")
    assert (found.words, found.distinct[1]) == (14, 0.5)
    assert found.rhyme_density is None


@pytest.mark.parametrize("text", ["", "\n\n", "!?", "\x00", "a", "\ud800 \udfff", "👍🏽" * 50])
def test_any_text_can_be_measured(text: str) -> None:
    found = evaluate(text, Index("some words"))
    assert found.characters == len(text)
    for share in (*found.distinct.values(), found.repetition, found.repeated_lines, found.rhymed_lines):
        assert share is None or 0 <= share <= 1


def test_more_repetition_is_told_apart() -> None:
    texts = ["a b c d e f g h " * n + " ".join(f"w{i}" for i in range(40)) for n in (1, 3, 9)]
    for less, more in pairwise(evaluate(text) for text in texts):
        assert less.repetition is not None
        assert more.repetition is not None
        assert less.repetition < more.repetition


def test_the_report_says_what_was_measured() -> None:
    index = Index("it was late at night and a little mouse ran round the house of the baker")
    said = report("so a little mouse ran round the house of the cook", index)
    for words in (
        "distinct-1",
        "90.9 %",
        "copied runs of 8 words         50.0 %",
        "Memorised: 50 %",
        "line 1: a little",
    ):
        assert words in said, said
    assert "line 1: … it was late at night and[ a little mouse ran  … nd the house of the ]baker …" in said
    assert "copied" not in report("so a little mouse")
    often = report("so a little mouse ran round", Index("\n".join(["where a little mouse ran round and round"] * 5)))
    assert "line 1, 5 places: a little mouse ran round" in often
    placed = [line.strip().split(":")[0] for line in often.splitlines() if "where[ a little" in line]
    assert placed == ["line 1", "line 2", "line 3"], "each with what stands around it, but not all five"


def test_what_was_not_looked_through_is_told() -> None:
    text = "it was late at night and a little mouse ran round the house of the baker"
    said = report("a little mouse ran round the house of the baker", Index(text, most=20))
    assert "Only the first 20 characters of the corpus were looked through; what stands in the 52 behind them" in said
    assert "looked through" not in report("a little mouse ran", Index(text))


def test_a_reader_that_has_read_enough(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("a little mouse ran round the house\n" * 9)
    command = f"{shlex.quote(sys.executable)} -m training.evaluate {shlex.quote(str(tmp_path / 't.txt'))} | true"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_run_of_documents_is_looked_up_document_by_document(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was learnt by heart is memorised to the last run, in whatever order it is written down; and a short one."""
    posts = [f"post {n} of the red fox says that number {n} is not a good one" for n in range(9)] + ["so it goes"]
    run, written = tmp_path / "run", tmp_path / "written.txt"
    RunFolder.create(run, "a run", Recipe(cut="documents"), {"name": "posts.csv"})
    keep_text(run, Texts("\n".join(posts), ""))
    written.write_text("\n".join([posts[7], posts[2], posts[9], posts[4]]), encoding="utf-8")
    assert main([str(written), "--corpus", str(run)]) == 0
    said = capsys.readouterr().out
    assert "copied runs of 8 words         100.0 %" in said
    assert f"document 8: {posts[7]}" in said


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    written, corpus, run = tmp_path / "written.txt", tmp_path / "corpus.txt", tmp_path / "run"
    written.write_text("a little mouse ran round the house of the cook\n", encoding="utf-8")
    corpus.write_text("and a little mouse ran round the house of the baker\n", encoding="utf-8")
    RunFolder.create(run, "a run", Recipe(), {"name": "corpus.txt"})
    keep_text(run, Texts(corpus.read_text(encoding="utf-8"), ""))
    assert main([str(written), "--corpus", str(corpus)]) == 0
    from_file = capsys.readouterr().out
    assert "Memorised" in from_file
    assert main([str(written), "--corpus", str(run)]) == 0
    assert capsys.readouterr().out == from_file
    monkeypatch.setattr("sys.stdin", io.StringIO(written.read_text(encoding="utf-8")))
    assert main(["-"]) == 0
    assert "distinct-3" in capsys.readouterr().out
    for wrong in ([str(tmp_path / "none.txt")], [str(written), "--corpus", str(tmp_path)]):
        assert main(wrong) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.startswith("python -m training.evaluate: ")


def test_a_table_is_read_as_the_flags_say(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "t.txt").write_text("so a little mouse ran round the house of the cook\n")
    rows = ['{"id": 1, "said": "and a little mouse ran round the house of the baker"}'] * 3
    (tmp_path / "rows.jsonl").write_text("\n".join([*rows, '{"said": ']))
    asked = [str(tmp_path / "t.txt"), "--corpus", str(tmp_path / "rows.jsonl")]
    assert main(asked) == 2
    assert "line 4 is no JSON object" in (said := capsys.readouterr().err)
    assert "--keep-good-lines" in said
    assert main([*asked, "--keep-good-lines", "--column", "said"]) == 0
    assert "Memorised" in capsys.readouterr().out
    assert main([str(tmp_path / "t.txt"), "--column", "said"]) == 2
    assert "--column tells how a file is read: give it with --corpus FILE" in capsys.readouterr().err
