"""Where a run's text came from, in its config.yaml; and the same run again, from the file or from what the run kept."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import yaml

from model import ConfigError
from tests.training.test_cli import SMALL
from training import __main__ as cli
from training import origin
from training.artifacts import data_of, to_yaml
from training.config import Recipe
from training.corpus import Corpus
from training.events import Evaluated, Stepped
from training.files import CorpusError
from training.kept import read_text
from training.origin import Data, find_again
from training.runs import RunFolder

POSTS = [f"Post {i}: the {animal} &amp; the hen\nran over hill {i * 7}" for i in range(30) for animal in ("fox", "DOG")]
BROKEN = "lost,row,of,too,many,cells\n"


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A CSV with a broken row, in the folder where the program runs."""
    monkeypatch.chdir(tmp_path)
    rows = [f'{i};"{post}";x' for i, post in enumerate(POSTS)]
    path = tmp_path / "posts.csv"
    path.write_text("id;said;rest\n" + "\n".join(rows) + "\n" + BROKEN.replace(",", ";"), encoding="utf-8")
    return path


def curve(run: Path) -> list[tuple[int, float | None]]:
    """Every loss of a run."""
    return [(e.step, e.loss) for e in RunFolder(run).events() if isinstance(e, Stepped | Evaluated)]


def first(*more: str) -> list[str]:
    return ["posts.csv", "--out", "first", "--column", "said", "--keep-good-lines", "--clean-entities", "decode",
            "--clean-lower", *SMALL, *more]  # fmt: skip


@pytest.mark.parametrize(
    "shape",
    [
        ["--cut", "documents", "--max-documents", "40", "--tokenizer", "bpe", "--vocab-size", "300"],
        ["--max-documents", "40"],
        ["--tokenizer", "words", "--context", "4"],
    ],
)
def test_the_same_again_from_the_file_and_from_what_was_kept(table: Path, shape: list[str]) -> None:
    """Three ways to the same text, three times the same losses: beside the yaml, where one works, kept by the run."""
    assert cli.main(first(*shape)) == 0
    config = Path("first", "config.yaml")
    values = yaml.safe_load(config.read_text("utf-8"))
    left = "\n".join(POSTS).replace("&amp;", "&").lower()
    assert values["data"] == {
        "files": ["posts.csv"], "column": "said", "delimiter": None, "keep_good_lines": True, "hub": None,
        "characters": len(left),
    }  # fmt: skip
    assert cli.main(["--config", str(config), "--out", "again", "--quiet"]) == 0
    shutil.move(table, Path("first", "posts.csv"))
    assert cli.main(["--config", str(config), "--out", "beside", "--quiet"]) == 0
    Path("first", "posts.csv").unlink()
    assert cli.main(["--config", str(config), "--out", "kept", "--quiet"]) == 0
    for again in ("again", "beside", "kept"):
        assert curve(Path(again)) == curve(Path("first")), again
        assert read_text(Path(again)) == read_text(Path("first"))
        settings = Path(again, "config.yaml").read_text("utf-8").splitlines()[1:]
        assert settings == config.read_text("utf-8").splitlines()[1:]


def test_a_corpus_that_is_given_goes_before(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(first()) == 0
    Path("other.txt").write_text("A quite different text goes on and on here. " * 9, encoding="utf-8")
    assert cli.main(["other.txt", "--config", "first/config.yaml", "--out", "other", "--quiet"]) == 0
    texts = read_text(Path("other"))
    assert texts is not None
    assert texts.train.startswith("a quite different text")
    assert data_of(Path("other", "config.yaml").read_text("utf-8")) == Data(("other.txt",), characters=44 * 9)
    table.write_text(table.read_text("utf-8").replace("hill", "dale and hill"), encoding="utf-8")
    capsys.readouterr()
    assert cli.main(["--config", "first/config.yaml", "--out", "changed", "--quiet"]) == 0
    assert "It is not the text that the config tells of" in capsys.readouterr().out


def test_what_cannot_be_found_or_prepared_again(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each a sentence, and no folder is left behind."""
    assert cli.main(first()) == 0
    config = Path("first", "config.yaml")
    text = config.read_text("utf-8")

    def refused(*arguments: str) -> str:
        capsys.readouterr()
        assert cli.main([*arguments, "--out", "again", "--quiet"]) == 2
        said = capsys.readouterr().err
        assert re.fullmatch(r"python -m training: [^\n]+[.)]\n", said), said
        assert not Path("again").exists()
        return said

    assert "give a CORPUS, a data set by --hub, or the --config of a run" in refused()
    config.write_text(text.replace("column: said", "column: sung"), encoding="utf-8")
    assert '"sung"' in refused("--config", str(config))
    config.write_text(text, encoding="utf-8")
    assert '"nothing"' in refused("--config", str(config), "--column", "nothing")
    table.unlink()
    for flag in (["--no-clean-lower"], ["--cut", "documents"], ["--max-documents", "3"]):
        assert "cannot be changed: the text that the run kept" in refused("--config", str(config), *flag)
    shutil.rmtree(Path("first", "corpus"))
    assert "posts.csv, which first/config.yaml names, is neither beside it" in refused("--config", str(config))
    config.write_text(to_yaml(Recipe()), encoding="utf-8")
    assert "names no file to train on" in refused("--config", str(config))


def test_a_data_set_of_the_hub_is_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By owner, name and file; only where neither its file nor a kept text is at hand."""
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "input.txt").write_text("To be, or not to be.\n" * 3, encoding="utf-8")
    asked: list[tuple[str, str]] = []

    def download(repo: str, file: str) -> Path:
        asked.append((repo, file))
        return tmp_path / "cache" / "input.txt"

    monkeypatch.setattr(origin, "download", download)
    data = Data(("input.txt",), hub="glass/plays/data/input.txt")
    monkeypatch.chdir(tmp_path)
    found = find_again(tmp_path / "run" / "config.yaml", data, Recipe())
    assert asked == [("glass/plays", "data/input.txt")]
    assert found.corpus.text == "To be, or not to be.\n" * 3
    with pytest.raises(CorpusError, match="is neither beside it"):
        find_again(tmp_path / "run" / "config.yaml", Data(("input.txt",)), Recipe())


@pytest.mark.parametrize(
    ("written", "sentence"),
    [
        ("data: 3", "data is not a list of settings"),
        ("data: {file: x}", "data has an unknown setting file; known are files, column"),
        ("data: {files: 3}", "files is 3; list the names"),
        ("data: {files: [1]}", "list the names of the files"),
        ("data: {column: 1}", "column is 1; give a name"),
        ("data: {delimiter: dot}", "delimiter is 'dot'; choose one of comma"),
        ("data: {keep_good_lines: maybe}", "keep_good_lines is 'maybe'; give true or false"),
        ("data: {characters: many}", "characters is 'many'; give a whole number"),
    ],
)
def test_a_data_section_that_makes_no_sense(written: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(sentence)):
        data_of(written)


def test_a_name_alone_is_a_file_too() -> None:
    assert data_of("data: {files: one.txt}") == Data(("one.txt",))
    assert data_of("steps: 3") is None
    assert Data(("a.csv", "b.csv"), "said", "tab", True, None, 7).to_dict()["files"] == ["a.csv", "b.csv"]


def test_hostile_names_come_back(tmp_path: Path) -> None:
    names = ('a "b" #c: [d]\n.txt', "日本 'e'.csv")
    data = Data(names, column="{x}: #y", characters=3)
    assert data_of(to_yaml(Recipe(), data=data)) == data
    with pytest.raises(CorpusError) as said:
        find_again(tmp_path / "config.yaml", data, Recipe())
    assert "\n" not in str(said.value)


def test_many_files_are_one_corpus_again(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("The first text.\n", encoding="utf-8")
    (tmp_path / "b.txt").write_text("And the second.\n", encoding="utf-8")
    found = find_again(tmp_path / "config.yaml", Data(("elsewhere/a.txt", "b.txt")), Recipe())
    assert isinstance(found.corpus, Corpus)
    assert found.corpus.text == "The first text.\nAnd the second."
