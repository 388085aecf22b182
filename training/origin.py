"""Where the text of a run came from: the `data` section of its config.yaml, and how it is found again.

    data:
      files: [tweets.csv]      # looked for beside the yaml, then where the program runs
      column: text

A run that is trained again reads these files; where they are gone, the text that the run kept (kept.py), as it was
learnt from: cleaned, and cut into the same documents. A file of the Hub (`hub`) is fetched again.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

from model import ConfigError, Tokenizer
from training.config import Recipe
from training.corpus import DELIMITERS, JSONL_TYPES, Corpus, CorpusError, read_corpora, read_corpus
from training.files import shown
from training.hub import download, only_file, repo_name
from training.kept import Texts, read_text
from training.tables import GOOD_ONLY

_KINDS: dict[str, tuple[type, str]] = {
    "column": (str, "a name"),
    "delimiter": (str, f"one of {', '.join(DELIMITERS)}"),
    "keep_good_lines": (bool, "true or false"),
    "hub": (str, "owner/name/file"),
    "characters": (int, "a whole number"),
}


def _doc(help: str, default: Any) -> Any:
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class Data:
    """What a text was read from. Raises ConfigError for values that make no sense."""

    files: tuple[str, ...] = _doc("Looked for beside this file, then where the program runs; else the run's text.", ())
    column: str | None = _doc("Of a table: column or field with the text; null: what looks most like it.", None)
    delimiter: str | None = _doc("What parts the cells of a .csv; null: what fits best.", None)
    keep_good_lines: bool = _doc("Whether broken lines and ragged rows were left out.", False)
    hub: str | None = _doc("Data set of the Hugging Face Hub and its file, where it came from there.", None)
    characters: int | None = _doc("What was left after cleaning; another number tells of another text.", None)

    def __post_init__(self) -> None:
        if self.delimiter is not None and self.delimiter not in DELIMITERS:
            raise ConfigError(f"delimiter is {self.delimiter!r}; choose one of {', '.join(DELIMITERS)}, or null.")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Data:
        """What stands in a config. Raises ConfigError naming the setting and what to write."""
        names = [f.name for f in fields(cls)]
        if unknown := sorted(str(name) for name in values if name not in names):
            raise ConfigError(f"data has an unknown setting {', '.join(unknown)}; known are {', '.join(names)}.")
        files = values.get("files") or ()
        files = (files,) if isinstance(files, str) else files
        if not isinstance(files, list | tuple) or not all(isinstance(name, str) and name for name in files):
            raise ConfigError(f"data: files is {files!r}; list the names of the files, such as [tweets.csv].")
        for name, (kind, wanted) in _KINDS.items():
            value = values.get(name, False if kind is bool else None)
            if value is not None and (type(value) is not kind):
                raise ConfigError(f"data: {name} is {value!r}; give {wanted}.")
        rest = {name: values[name] for name in _KINDS if name in values}
        return cls(tuple(files), **rest)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON or YAML."""
        return {f.name: getattr(self, f.name) for f in fields(self)} | {"files": list(self.files)}

    def read(self, paths: Sequence[Path] | None = None) -> Corpus:
        """The text in these files, read as it says. paths: where they lie; None: at the Hub for one of a data set, else
        where they are named. Raises CorpusError with a sentence."""
        chosen = list(paths) if paths is not None else [Path(name) for name in self.files]
        keep, delimiter, source = self.keep_good_lines, self.delimiter, "file"
        if paths is None and self.hub is not None:
            repo, file = _hub_file(self.hub)
            chosen, source = [download(repo, file)], f"hub:{repo}/{shown(file, 120)}"
        if len(chosen) == 1:
            field = chosen[0].suffix.lower() in JSONL_TYPES
            column, name = (None, self.column) if field else (self.column, None)
            return read_corpus(
                chosen[0], column=column, field=name, delimiter=delimiter, keep_good_lines=keep, source=source
            )
        return read_corpora(chosen, column=self.column, delimiter=delimiter, keep_good_lines=keep)

    def find(self, beside: Path) -> list[Path] | None:
        """Its files as they lie beside a config or where the program runs; None unless all of them are there."""
        found = [next((p for p in _places(name, beside) if p.is_file()), None) for name in self.files]
        return [path for path in found if path is not None] if found and all(found) else None


@dataclass(frozen=True)
class Found:
    """A text to train on. notes: sentences about where it was found; ready: it is cleaned and cut already, as a recipe
    says; learn: gives the run's own tokenizer for that recipe."""

    corpus: Corpus
    data: Data
    notes: tuple[str, ...] = ()
    ready: Recipe | None = None
    learn: Callable[[Recipe], Tokenizer | None] | None = None

    @property
    def name(self) -> str:
        """Of the text."""
        return self.corpus.name

    def check(self, recipe: Recipe) -> None:
        """Raises ConfigError where a recipe wants a text that is ready otherwise than it is."""
        for name in ("cleaning", "cut", "max_documents") if self.ready is not None else ():
            if getattr(recipe, name) != getattr(self.ready, name):
                raise ConfigError(
                    f"{name} cannot be changed: the text that the run kept is prepared already. Give the CORPUS itself "
                    "to prepare it otherwise."
                )


def add_data_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of a command line that say how its CORPUS is read, or which data set of the Hub in its place."""
    parser.add_argument(
        "--hub",
        metavar="OWNER/NAME",
        help="in place of a CORPUS: a data set of the Hugging Face Hub, by its name or the address of its page",
    )
    parser.add_argument(
        "--hub-file", metavar="FILE", help="with --hub: the file to read, where the data set has several"
    )
    add_reading_flags(parser)


def add_reading_flags(parser: argparse.ArgumentParser) -> None:
    """Those of them that say how a file is read."""
    parser.add_argument(
        "--column",
        help="the column of a table that holds the text, or the field of a .jsonl (inside an object: data.text)",
    )
    parser.add_argument(
        "--delimiter", choices=list(DELIMITERS), help="what parts the cells of a .csv (default: the best)"
    )
    parser.add_argument(
        "--keep-good-lines", action="store_true", help="skip broken lines of a .jsonl and ragged rows of a .csv"
    )


def reading_given(options: argparse.Namespace) -> list[str]:
    """Those of `add_reading_flags` that were given."""
    return [
        f"--{name.replace('_', '-')}" for name in ("column", "delimiter", "keep_good_lines") if getattr(options, name)
    ]


def told(corpus: Corpus) -> list[str]:
    """What a command says of a text that it has read: name, size, encoding, and what was done to read it."""
    size = f"{corpus.name}: {len(corpus.text):,} characters, {corpus.encoding}"
    return [size, *(f"{note} (See --keep-good-lines.)" if GOOD_ONLY in note else note for note in corpus.notes)]


def names_a_text(options: Mapping[str, Any]) -> bool:
    """Whether a command line says what to read."""
    return any(options[name] for name in ("corpus", "hub", "hub_file"))


def given_by(options: Mapping[str, Any]) -> Data:
    """What a command line reads: the files of its CORPUS, or one of a data set. Raises ValueError with a sentence."""
    files, hub = tuple(options["corpus"]), None
    if options["hub"] is None and options["hub_file"] is not None:
        raise ConfigError("--hub-file goes with --hub: name the data set that the file is one of.")
    if options["hub"] is not None:
        if files:
            raise ConfigError("--hub stands in place of the CORPUS: leave out one of them.")
        repo = repo_name(options["hub"])
        file = options["hub_file"] or only_file(repo)
        files, hub = (PurePosixPath(file).name,), f"{repo}/{file}"
    for name in files if hub is None else ():
        if re.fullmatch(r"[\w-]+/[\w-]+", name) and not Path(name).exists():
            raise ConfigError(
                f"there is no file {name}: if it is a data set of the Hugging Face Hub, give --hub {name}."
            )
    return Data(files, options["column"], options["delimiter"], options["keep_good_lines"], hub)


def find_again(config: Path, data: Data | None, recipe: Recipe) -> Found:
    """The text that the run of a config was trained on. Raises CorpusError saying where it was looked for."""
    if data is not None and (paths := data.find(config.parent)) is not None:
        return Found(data.read(paths), data, (f"Found again, as {config.name} says: {_listed(paths)}.",))
    texts = read_text(config.parent)
    if texts is not None and texts.train:
        return _of_run(config.parent, texts, data or Data(), recipe)
    if data is not None and data.hub:
        return Found(data.read(), data, (f"Fetched again from the Hub: {shown(data.hub, 200)}.",))
    if data is None or not data.files:
        raise CorpusError(
            f"{config} names no file to train on, and no text is kept beside it: give the CORPUS, or write "
            "`data: {files: [name.txt]}` into it."
        )
    missing = [name for name in data.files if not any(p.is_file() for p in _places(name, config.parent))]
    raise CorpusError(
        f"{_listed(missing)}, which {config} names, is neither beside it nor where the program runs ({Path.cwd()}), "
        "and no text is kept beside it. Put it there, or give the CORPUS."
    )


def as_corpus(texts: Texts, recipe: Recipe, name: str = "the kept text") -> Corpus:
    """A run's kept text as a corpus that `set_up` cuts into the same parts again: nothing is left to clean."""
    if recipe.cut == "documents":
        documents = (*texts.documents(), *texts.held_out_documents())
        return Corpus(name, "\n".join(documents), "file", "UTF-8", documents=documents)
    text = texts.train + texts.held_out
    # one document, so that `max_documents` takes nothing away a second time
    return Corpus(name, text, "file", "UTF-8", documents=(text,) if recipe.max_documents else None)


def _of_run(folder: Path, texts: Texts, data: Data, recipe: Recipe) -> Found:
    def learnt(wanted: Recipe) -> Tokenizer | None:
        same = (wanted.tokenizer, wanted.vocab_size, wanted.cut) == (recipe.tokenizer, recipe.vocab_size, recipe.cut)
        path = folder / "tokenizer.json"
        return Tokenizer.load(path) if same and path.is_file() else None

    sought = f"{_listed(data.files)} was not found; " if data.files else ""
    corpus = as_corpus(texts, recipe, data.files[0] if len(data.files) == 1 else folder.name)
    note = f"{sought}the text that {folder} kept is used, cleaned as it was."
    return Found(corpus, data, (note[:1].upper() + note[1:],), ready=recipe, learn=learnt)


def _places(name: str, beside: Path) -> list[Path]:
    """Where a file may lie: as it is named or by its bare name, beside a config, then where the program runs."""
    bare = PurePath(name.replace("\\", "/")).name
    return [folder / each for folder in (beside, Path()) for each in dict.fromkeys((name, bare))]


def _hub_file(where: str) -> tuple[str, str]:
    owner, _, rest = where.partition("/")
    name, _, file = rest.partition("/")
    return f"{owner}/{name}", file


def _listed(names: Sequence[str | Path]) -> str:
    return ", ".join(shown(str(name), 200) for name in names)
