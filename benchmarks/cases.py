"""The reference cases 1 to 4, run for real; writes docs/cases.md.

    python benchmarks/cases.py --tweets elon_musk_tweets.csv --shakespeare tinyshakespeare.txt

Every training is `python -m training` with a preset, as anybody would start it, to its end; the comparisons of case 1
(a teacher, copied embeddings) take about twice --minutes (10). About 50 minutes on two cores. A case whose text is not
given, or that is left out with --only, keeps what docs/cases.md says of it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402  # the path has to be set first

from model import open_checkpoint  # noqa: E402
from tests.model.formats.stand_ins import CHARACTERS, LyricsGPT, randomise, save  # noqa: E402
from training.cleaning import TWEETS, clean, marked  # noqa: E402
from training.corpus import read_corpus  # noqa: E402
from training.data import build_tokenizer, documents_of  # noqa: E402
from training.distill import shared_rows  # noqa: E402
from training.evaluate import evaluate  # noqa: E402
from training.presets import PRESETS  # noqa: E402
from training.recital import recite  # noqa: E402
from training.units import both, in_bits  # noqa: E402
from training.verbatim import Index  # noqa: E402

PAGE = ROOT / "docs" / "cases.md"
SONG, LYRICS = (ROOT / "assets" / "corpora" / name for name in ("one_song.txt", "lyrics.txt"))
PROMPT = "for improved quality of sleep raise"
BY_HEART = f"{PROMPT} head of your bed by about or cm and dont eat hours before bedtime"
OPENING = "Yeah, I'm in the"
SEEDS = (1337, 1, 2)
TAUGHT_ENTRIES = 1024  # of the vocabulary of teacher and students: on 2,700 tweets 8,045 would hide everything else
WRITTEN = 5000  # characters, from the stand-in
PACE = 12  # steps of the run that the pace is measured on
Row = tuple[str, str, str]  # what, theirs, ours


@dataclass(frozen=True)
class Report:
    """What a case came to: its table, the commands that made it, and something to read."""

    rows: list[Row]
    commands: list[str]
    words: str = ""


def run(*arguments: object) -> str:
    """A command of the project, as at the console; what it prints. Ends this program where it fails."""
    command = [sys.executable, "-m", *map(str, arguments)]
    print("$", " ".join(["python", *command[1:]]), flush=True)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, encoding="utf-8")
    if done.returncode:
        raise SystemExit(done.stderr)
    return done.stdout


def train(folder: Path, corpus: Path, *arguments: object) -> dict[str, Any]:
    """Train, and read what came of it: seconds, parameters, last losses."""
    began = time.perf_counter()
    run("training", corpus, "--out", folder, "--quiet", *arguments)
    seconds = time.perf_counter() - began
    events = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    evals = [event for event in events if event["event"] == "eval"]
    last, began_with = evals[-1]["step"], next(event for event in events if event["event"] == "started")
    return {
        "seconds": seconds,
        "parameters": began_with["parameters"],
        "steps": last,
        "loss": statistics.fmean(e["loss"] for e in events if e["event"] == "step" and e["step"] > last - 100),
        "val_loss": min((event["val_loss"] for event in evals if "val_loss" in event), default=None),
        "val_loss bytes": began_with["bytes_per_token"],
        "loss bytes": began_with.get("train_bytes_per_token", began_with["bytes_per_token"]),
    }


def told(done: dict[str, Any], which: str = "val_loss", digits: int = 3) -> str:
    """A loss of a training in both units."""
    return both(done[which], in_bits(done[which], done[f"{which} bytes"]), digits)


def steps_within(minutes: float, most: int, scratch: Path, corpus: Path, *arguments: object) -> int:
    """How many steps these settings make in so many minutes here, by the pace of a short run; not more than `most`."""
    folder = Path(tempfile.mkdtemp(dir=scratch))
    short = ("--steps", PACE, "--sample-every", 0, "--eval-tokens", 256)
    run("training", corpus, "--out", folder, "--quiet", *arguments, *short)
    events = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    at = [event["wall_s"] for event in events if event["event"] == "step"]
    pace = (at[-1] - at[1]) / (len(at) - 2)  # the first step also warms up
    return max(PACE, min(most, int(60 * minutes / pace)))


def compared(scratch: Path, corpus: Path, name: str, shared: Sequence[object], extra: Sequence[object]) -> str:
    """Validation losses of trainings without and with `extra`, mean and spread over SEEDS."""
    said = []
    for which, more in (("without", ()), ("with", extra)):
        done = [train(scratch / f"{name} {which} {seed}", corpus, *shared, *more, "--seed", seed) for seed in SEEDS]
        losses = [one["val_loss"] for one in done]
        bits = statistics.fmean(in_bits(one["val_loss"], one["val_loss bytes"]) or 0.0 for one in done)
        said.append(f"{statistics.fmean(losses):.3f} ± {statistics.stdev(losses):.3f} ({bits:.3f}) {which}")
    return ", ".join(said)


def recited(folder: Path, path: Path) -> tuple[int, float, float]:
    """How many tweets a run was asked for, or lines where it read a stream, and the shares that came back to the letter
    and that came to an end."""
    said = run("training.recital", folder, path, "--column", "text")
    found = re.search(r"(\d+) (?:documents|lines): exact ([\d.]+), (?:stopped|at the line break) ([\d.]+)", said)
    assert found is not None
    return int(found[1]), float(found[2]), float(found[3])


def tweets(path: Path, scratch: Path, minutes: float) -> Report:
    """Case 1: memorised in documents mode, not ended in blocks mode; a teacher; embedding rows of another model."""
    recipe = PRESETS["tweets"].recipe
    raw = read_corpus(path, column="text")
    everything = clean(raw, TWEETS).corpus  # the case's own cleaning; the preset asks for two more words a tweet
    corpus = clean(raw, recipe.cleaning).corpus
    tokenizer = build_tokenizer(corpus, recipe)
    ours = ("--column", "text", "--preset", "tweets")
    documents = train(scratch / "documents", path, *ours)
    blocks = train(scratch / "blocks", path, *ours, "--cut", "blocks", "--batch-size", 8)  # as many tokens
    known, lines = (recited(scratch / name, path) for name in ("documents", "blocks"))
    stream = open_checkpoint(scratch / "blocks")
    assert stream.tokenizer is not None
    asked = documents_of(corpus)[: recipe.max_documents]
    streamed = recite(stream.model, stream.tokenizer, asked)  # as documents: does it write the end-of-text token?
    completed = run("model", scratch / "documents", "--prompt", PROMPT, "--tokens", 60, "--top-k", 1).strip()
    # with a split: does a teacher help a small student, do rows of another model's embedding?
    split = (*ours, "--max-documents", 3000, "--val-fraction", 0.1)
    words = (*split, "--vocab-size", TAUGHT_ENTRIES)
    large = (*words, "--width", 256, "--dropout", 0.3)
    small = (*words, "--width", 64, "--layers", 2)
    large_steps = steps_within(minutes / 2, 2000, scratch, path, *large)
    small_steps = steps_within(minutes / 10, 600, scratch, path, *small)
    often = ("--eval-every", max(10, large_steps // 20))
    teacher = train(scratch / "teacher", path, *large, "--steps", large_steps, *often)
    students = (*small, "--steps", small_steps, "--eval-every", max(10, small_steps // 10))
    taught = compared(scratch, path, "student", students, ("--teacher", scratch / "teacher"))
    tales = open_checkpoint(ROOT / "weights" / "tales")
    assert tales.tokenizer is not None
    pairs = shared_rows(tokenizer, tales.tokenizer)
    row_steps = steps_within(minutes / 10, 300, scratch, path, *split)
    begun = (*split, "--steps", row_steps, "--eval-every", max(5, row_steps // 10))
    transferred = compared(scratch, path, "rows", begun, ("--embeddings-from", ROOT / "weights" / "tales"))
    pieces = (tokenizer.piece(own) for own, _ in pairs)
    listed = ", ".join(piece.text.strip() for piece in pieces if piece.text.strip().isalpha() and len(piece.raw) > 2)
    return Report(
        [
            ("lines and characters after cleaning, each line closed by its mark", "3,713 / 297,491",
             f"{len(everything.documents or ()):,} / {len(marked(everything)):,}"),
            ("entries of the own BPE", "8,045", f"{tokenizer.vocab_size:,}"),
            ("parameters", "256 wide, 4 heads, 4 layers", f"128 wide, 4 heads, 4 layers: {documents['parameters']:,}"),
            ("tweets learnt", "all",
             f"the first {recipe.max_documents:,} of {len(corpus.documents or ()):,} with 7 words or more"),
            ("training loss, mean of the last 100 steps; validation", "0.0684; 2.1454",
             f"{told(documents, 'loss', 4)} after {documents['steps']:,} steps, {documents['seconds']:.0f} s; "
             "none held out"),
            ("documents: come back to the letter from their first 6 words, and stop", "reproduces whole tweets",
             f"{known[1]:.1%} of {known[0]}"),
            ("documents: stop by themselves", "yes", f"{known[2]:.1%}"),
            ("blocks: come back to the letter and stop", "no", f"{streamed.exact:.1%}"),
            ("blocks: stop by themselves", "never", f"{streamed.stopped:.1%}; training loss {told(blocks, 'loss', 4)}"),
            ("blocks: go on to the letter up to the line break that parts two tweets", "–",
             f"{lines[1]:.1%} of {lines[0]}"),
            (f"`{PROMPT}`", f"`{BY_HEART}`, then stops", f"`{completed}`, then stops" if completed == BY_HEART
             else f"`{completed}`"),
            (f"a teacher, 256 wide, 4 layers, dropout 0.3, {TAUGHT_ENTRIES:,} entries: validation loss", "–",
             f"{told(teacher)}, lowest in {teacher['steps']:,} steps, {teacher['seconds']:.0f} s"),
            (f"a student, 64 wide, 2 layers, {small_steps:,} steps: validation loss without and with it, "
             f"{len(SEEDS)} seeds", "–", taught),
            ("embedding rows that both vocabularies hold", "439 of 8,045 (5.46 %)",
             f"{len(pairs):,} of {tokenizer.vocab_size:,} ({len(pairs) / tokenizer.vocab_size:.2%}), from Tales"),
            (f"validation loss after {row_steps:,} steps without and with these rows, {len(SEEDS)} seeds", "–",
             transferred),
        ],
        [
            "python -m training TWEETS.csv --column text --preset tweets --clean-min-words 5 --estimate",
            "python -m training TWEETS.csv --column text --preset tweets --out RUN",
            "python -m training.recital RUN TWEETS.csv --column text",
            f'python -m model RUN --prompt "{PROMPT}" --tokens 60 --top-k 1',
        ],
        f"<details><summary>The copied rows, single bytes and pairs left out</summary>\n\n{listed}\n\n</details>",
    )  # fmt: skip


def stand_in(scratch: Path) -> list[Row]:
    """A weights.pt with the case's 174 keys, random, from a separate transcription of its architecture: opened,
    compared with it, and written with at full size."""
    theirs, path, table = randomise(LyricsGPT()), scratch / "weights.pt", scratch / "characters.json"
    save(theirs, path)
    table.write_text(json.dumps(CHARACTERS), encoding="utf-8")
    opened = open_checkpoint(path, table)
    ids = torch.randint(0, len(CHARACTERS), (2, opened.config.context), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        apart = float((opened.model(ids) - theirs(ids)).abs().max())
    seconds = []
    for prompt in ("", OPENING):
        began = time.perf_counter()
        written = run("model", path, "--characters", table, "--prompt", prompt, "--tokens", WRITTEN).removesuffix("\n")
        seconds.append(time.perf_counter() - began)
        grown = len(written) - len(prompt)
        assert grown == WRITTEN, grown
    shape = opened.config
    return [
        ("a stand-in `weights.pt`, random, with the case's keys: tensors; opens as", "174",
         f"{len(theirs.state_dict())}; {shape.width} wide, {shape.layers} layers, {shape.heads} heads, context "
         f"{shape.context}"),
        ("its logits against a separate transcription of the architecture, at most (asked for: 1e-4)", "–",
         f"{apart:.1e} apart"),
        (f"{WRITTEN:,} characters from an empty context; from `{OPENING}`", "–",
         f"{seconds[0]:.0f} s; {seconds[1]:.0f} s, whole process"),
    ]  # fmt: skip


def quoted(written: str) -> str:
    """What a model writes, as Markdown."""
    return "It writes:\n\n" + "\n".join("> " + line for line in written.split("\n"))


def lyrics(scratch: Path) -> Report:
    """Case 2: the shape at full size; what it writes, measured beside the text itself."""
    done = train(scratch / "lyrics", LYRICS, "--preset", "lyrics")
    written = run("model", scratch / "lyrics", "--prompt", "", "--tokens", 1000)
    text = LYRICS.read_text(encoding="utf-8")
    index = Index(text)
    found, real = evaluate(written, index), evaluate(text[-1000:])
    recipe = PRESETS["lyrics"].recipe

    def share(value: float | None) -> str:
        return "–" if value is None else f"{value:.2f}"

    rows: list[Row] = [
        ("parameters at a vocabulary of 104", "4,672,688", f"{recipe.model_config(104).parameters():,}"),
        ("validation loss on the lyrics written for this project", "–",
         f"{told(done)}, lowest in {done['steps']:,} steps, {done['seconds']:.0f} s"),
        *((f"distinct-{n} (the text itself)", "–", f"{share(found.distinct[n])} ({share(real.distinct[n])})")
          for n in (1, 2, 3)),
        ("repeated runs of four words (the text itself)", "–", f"{share(found.repetition)} ({share(real.repetition)})"),
        ("rhyme density (the text itself)", "–", f"{share(found.rhyme_density)} ({share(real.rhyme_density)})"),
        ("copied runs of eight words", "–", share(found.copied.share) if found.copied else "–"),
        *stand_in(scratch),
    ]  # fmt: skip
    return Report(rows, ["python -m training assets/corpora/lyrics.txt --preset lyrics --out RUN",
                         "python -m model weights.pt --characters characters.json --prompt \"Yeah, I'm in the\" "
                         "--tokens 5000"],
                  quoted(written.strip()[:400]))  # fmt: skip


def song(scratch: Path) -> Report:
    """Case 3: the smallest GPT that works."""
    done = train(scratch / "song", SONG, "--preset", "song")
    text = SONG.read_text(encoding="utf-8")
    first = text.split("\n")[0]
    checkpoint = open_checkpoint(scratch / "song")
    assert checkpoint.tokenizer is not None
    tokens = len(checkpoint.tokenizer.encode(text))
    written = run("model", scratch / "song", "--prompt", first, "--tokens", tokens, "--greedy")
    right = sum(a == b for a, b in zip(written.split("\n"), text.split("\n"), strict=False) if b)
    rows: list[Row] = [
        ("words, tokens", "47, 85", f"{checkpoint.tokenizer.vocab_size}, {tokens}"),
        ("parameters", "28,527", f"{done['parameters']:,}"),
        ("seconds, whole process (asked for: 15)", "seconds", f"{done['seconds']:.1f}"),
        ("training loss, mean of the last 100 of 1,500 steps", "–", told(done, "loss")),
        ("lines recited from the first one", "12 of 12", f"{right} of {len(text.split(chr(10))) - 1}"),
    ]
    return Report(rows, ["python -m training assets/corpora/one_song.txt --preset song --out RUN"])


def shakespeare(path: Path, scratch: Path) -> Report:
    """Case 4: a BPE that compresses, at the case's shape."""
    corpus = read_corpus(path)
    done = train(scratch / "shakespeare", path, "--preset", "shakespeare")
    tokenizer = open_checkpoint(scratch / "shakespeare").tokenizer
    assert tokenizer is not None
    ratio = len(corpus.text) / len(tokenizer.encode(corpus.text))
    written = run("model", scratch / "shakespeare", "--prompt", "ROMEO:\n", "--tokens", 120)
    rows: list[Row] = [
        ("characters per token at a vocabulary of 512 (asked for: 1.5)", "1 (its merges were not applied)",
         f"{ratio:.2f}"),
        ("parameters", "about 4.9 M", f"{done['parameters']:,}"),
        ("validation loss", "–", f"{told(done)}, lowest in {done['steps']:,} steps, {done['seconds']:.0f} s"),
    ]  # fmt: skip
    return Report(rows, ["python -m training tinyshakespeare.txt --preset shakespeare --out RUN",
                         "python -m model RUN --prompt ROMEO:"],
                  quoted(written.strip()))  # fmt: skip


TITLES = {
    1: "Tweets, by heart",
    2: "Lyrics, character by character",
    3: "One song, word by word",
    4: "Shakespeare with an own BPE",
}
INTRODUCTION = """# The reference cases

Five small projects, by which people taught themselves how a GPT works, are the measure of this one; four of them train.
"Theirs" is what those projects report or do, "ours" what `benchmarks/cases.py` measured here, with the presets that the
page and the command line offer. Losses are in nats per token, and in brackets in bits per byte. The fifth, the
explorer, is the page itself.
"""


def section(number: int, report: Report) -> str:
    """A case as Markdown."""
    table = "\n".join(f"| {what} | {theirs} | {ours} |" for what, theirs, ours in report.rows)
    commands = "\n".join(report.commands)
    words = f"\n{report.words}\n" if report.words else ""
    machine = f"{platform.system()}, Python {platform.python_version()}, {os.cpu_count()} cores shared with others"
    return (
        f"## {number}. {TITLES[number]}\n\n| | theirs | ours |\n|---|---|---|\n{table}\n\n"
        f"```\n{commands}\n```\n{words}\nMeasured on {machine}.\n"
    )


def kept(page: str, number: int) -> str | None:
    """What the page says of a case already."""
    found = re.search(rf"^## {number}\. .*?(?=^## |\Z)", page, re.M | re.S)
    return found.group().rstrip() + "\n" if found else None


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--tweets", type=Path, help="the 16-column CSV of tweets")
    p.add_argument("--shakespeare", type=Path, help="tiny Shakespeare")
    p.add_argument("--only", default="1,2,3,4", help="which cases to run (default: all)")
    p.add_argument("--minutes", type=float, default=10, help="for the comparisons of case 1 (default 10)")
    p.add_argument("--page", type=Path, default=PAGE, help="the page to write (default: docs/cases.md)")
    options = p.parse_args()
    for path in (options.tweets, options.shakespeare):
        if path is not None and not path.exists():
            p.error(f"there is no file {path}")
    if not 0 < options.minutes <= 600:
        p.error(f"--minutes is {options.minutes}; use a number up to 600")
    page = options.page.read_text(encoding="utf-8") if options.page.exists() else ""
    wanted = {int(number) for number in options.only.split(",")}
    given, minutes = options, options.minutes
    cases: dict[int, Callable[[Path], Report] | None] = {
        1: (lambda scratch: tweets(given.tweets.resolve(), scratch, minutes)) if given.tweets else None,
        2: lyrics,
        3: song,
        4: (lambda scratch: shakespeare(given.shakespeare.resolve(), scratch)) if given.shakespeare else None,
    }
    parts = [INTRODUCTION]
    for number, case in cases.items():
        with tempfile.TemporaryDirectory() as scratch:
            if case is None or number not in wanted:
                parts.append(kept(page, number) or f"## {number}. {TITLES[number]}\n\nNot run yet.\n")
                print(f"case {number}: left as it was", flush=True)
                continue
            report = case(Path(scratch))
            parts.append(section(number, report))
            print(parts[-1], flush=True)
    options.page.write_text("\n".join(parts), encoding="utf-8")


if __name__ == "__main__":
    main()
