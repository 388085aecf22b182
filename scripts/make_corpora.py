"""Writes the generated sample texts of assets/corpora/, byte for byte the same each time.

    python scripts/make_corpora.py            write tales.txt and posts.csv
    python scripts/make_corpora.py --check    compare them with what is on disk; exit status 1 if they differ

lyrics.txt and one_song.txt, in the same folder, are written by hand: this script leaves them alone.
"""

import argparse
import sys
from itertools import zip_longest
from pathlib import Path

from corpora import posts, tales

REMEDY = "Write it anew with: python scripts/make_corpora.py"
FOLDER = Path(__file__).resolve().parents[1] / "assets" / "corpora"


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Write the generated sample texts of assets/corpora/.")
    parser.add_argument("--seed", type=int, default=tales.SEED, help="of the tales (default: %(default)s)")
    parser.add_argument("--size", type=int, default=tales.SIZE, help="of tales.txt, in bytes (default: %(default)s)")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the files are (default: assets/corpora)")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a file differs")
    return parser.parse_args(words)


def difference(path: Path, wanted: bytes) -> str | None:
    """A sentence that says how the file at `path` differs from `wanted`; None if it does not."""
    if not path.is_file():
        return f"{path} is missing. {REMEDY}"
    found = path.read_bytes()
    if found == wanted:
        return None
    pairs = zip_longest(found.splitlines(), wanted.splitlines())
    line = next((number for number, (a, b) in enumerate(pairs, start=1) if a != b), "end")
    return f"{path} differs from what the generator writes, first at line {line}. {REMEDY}"


def main(words: list[str] | None = None) -> int:
    options = arguments(words)
    if options.size < 1:
        print("--size must be at least 1 byte: give a positive number.", file=sys.stderr)
        return 2
    wanted = {
        options.folder / "tales.txt": tales.tales_text(options.seed, options.size).encode("ascii"),
        options.folder / "posts.csv": posts.posts_text().encode("utf-8"),
    }
    if options.check:
        problems = [problem for path, content in wanted.items() if (problem := difference(path, content))]
        print("\n".join(problems) or "The files are what the generator writes.")
        return 1 if problems else 0
    options.folder.mkdir(parents=True, exist_ok=True)
    for path, content in wanted.items():
        path.write_bytes(content)
        print(f"{path}: {len(content):,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
