"""How much memory reading 200 MB takes: peak of a process that imports what the command line imports, then reads.

    python benchmarks/read_memory.py [--megabytes 200] [--clean] [--train]

Files of several kinds are written into a temporary folder (about a gigabyte in all, one at a time) and each is read by
`read_corpus` in a process of its own. Asked for: below 1.5 GB, or refused with the limit named. --clean: cleaned too.
--train: brought into the form that a training reads, too, as characters in blocks (all but the steps themselves).
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parents[1]
LIMIT = 1_500_000_000  # bytes
LINE = "The quick brown fox said to the lazy dog: https://example.org/{} is @where it stands, isn't it?\n"

CHILD = """
import json, resource, sys, time
sys.path.insert(0, {root!r})
import training.__main__  # with torch, as the command line has it
from training.cleaning import Cleaning, clean
from training.corpus import CorpusError, read_corpus
started = time.perf_counter()
try:
    corpus = read_corpus({path!r})
    if {clean!r}:
        corpus = clean(corpus, Cleaning(lower=True, urls=True, punctuation=True, min_words=3)).corpus
    if {train!r}:
        from training.presets import PRESETS
        from training.setup import set_up
        prepared = set_up(corpus, PRESETS["fast"].recipe)
    said = f"{{len(corpus.text):,}} characters, {{len(corpus.documents or ()):,}} documents"
except CorpusError as error:
    said = "refused: " + str(error)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
print(json.dumps([peak, time.perf_counter() - started, said]))
"""


def plain(
    path: Path, size: int, *, ending: str = "", every: int = 0, encoding: str = "utf-8", one: bool = False
) -> None:
    """Lines of prose; `ending` at the end of every `every`-th one; one: without line breaks."""
    with path.open("w", encoding=encoding, newline="") as file:
        written = number = 0
        while written < size:
            line = LINE.format(number)
            if every and number % every == 0:
                line = line[:-1] + ending + "\n"
            line = line.replace("\n", " ") if one else line
            file.write(line)
            written += len(line.encode(encoding))
            number += 1


def rows(path: Path, size: int, write: Callable[[IO[str], int, str], None], head: str = "") -> None:
    """A row a line, written by `write(file, number, text)`."""
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(head)
        number = 0
        while file.tell() < size if number % 1000 == 0 else True:
            write(file, number, LINE.format(number).strip())
            number += 1


def as_csv(file: IO[str], number: int, text: str) -> None:
    csv.writer(file).writerow([number, text])


def as_json(file: IO[str], number: int, text: str) -> None:
    file.write(json.dumps({"id": number, "text": text}) + "\n")


def zipped(path: Path, size: int) -> None:
    """Four texts in an archive."""
    inner = path.with_suffix(".txt")
    plain(inner, size // 4)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for number in range(4):
            archive.write(inner, f"{number}.txt")
    inner.unlink()


def parquet(path: Path, size: int) -> None:
    """One column of texts."""
    import pyarrow
    from pyarrow import parquet as pq

    schema = pyarrow.schema([("text", pyarrow.string())])
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, size // len(LINE), 50_000):
            texts = [LINE.format(start + i).strip() for i in range(50_000)]
            writer.write_table(pyarrow.table({"text": texts}, schema))


KINDS: dict[str, tuple[str, Callable[[Path, int], None]]] = {
    "plain": ("lines.txt", plain),
    "one emoji in 10,000 lines": ("emoji.txt", lambda path, size: plain(path, size, ending="😀", every=10_000)),
    "an emoji in every line": ("many.txt", lambda path, size: plain(path, size, ending="😀", every=1)),
    "one line": ("one.txt", lambda path, size: plain(path, size, one=True)),
    "Windows line ends, Windows-1252": (
        "old.txt", lambda path, size: plain(path, size, ending=" é\r", every=3, encoding="cp1252"),
    ),
    "UTF-16": ("wide.txt", lambda path, size: plain(path, size, encoding="utf-16")),
    "CSV": ("rows.csv", lambda path, size: rows(path, size, as_csv, "id,text\r\n")),
    "CSV, one line": ("line.csv", lambda path, size: plain(path, size, one=True)),
    "JSON Lines": ("rows.jsonl", lambda path, size: rows(path, size, as_json)),
    "ZIP of four texts": ("texts.zip", zipped),
    "Parquet": ("rows.parquet", parquet),
}  # fmt: skip


def main() -> int:
    """0 when every kind stays below the limit."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--megabytes", type=int, default=200)
    p.add_argument("--clean", action="store_true")
    p.add_argument("--train", action="store_true")
    p.add_argument("--only", help="only kinds whose name holds this")
    options = p.parse_args()
    worst = 0
    with tempfile.TemporaryDirectory() as folder:
        for kind, (name, make) in KINDS.items():
            if options.only and options.only not in kind:
                continue
            path = Path(folder) / name
            make(path, options.megabytes * 1_000_000)
            program = CHILD.format(root=str(ROOT), path=str(path), clean=options.clean, train=options.train)
            size = path.stat().st_size
            done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
            path.unlink()
            if done.returncode:
                print(f"{kind}: failed\n{done.stderr}")
                return 1
            peak, seconds, said = json.loads(done.stdout)
            worst = max(worst, peak)
            print(f"{kind:32} {size / 1e6:4.0f} MB  peak {peak / 1e9:.2f} GB  {seconds:5.1f} s  {said}", flush=True)
    print(f"worst {worst / 1e9:.2f} GB of {LIMIT / 1e9:.1f} GB")
    return int(worst > LIMIT)


if __name__ == "__main__":
    raise SystemExit(main())
