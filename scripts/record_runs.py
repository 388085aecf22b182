"""Record the short runs that tests/training/test_diagnosis.py judges: real trainings on texts of this repository.

    python scripts/record_runs.py [NAME ...]      # a few minutes on two cores; writes tests/training/recorded/

Of each run its events are kept, without samples, and its TrainConfig; numbers are rounded to five digits.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from training.cleaning import clean  # noqa: E402  # the path has to be set first
from training.corpus import from_text, read_corpus  # noqa: E402
from training.events import Sampled  # noqa: E402
from training.fork import fork  # noqa: E402
from training.presets import PRESETS  # noqa: E402
from training.runs import RunFolder  # noqa: E402
from training.setup import set_up  # noqa: E402
from training.trainer import Trainer  # noqa: E402

OUT = ROOT / "tests" / "training" / "recorded"
TEXTS = ROOT / "assets" / "corpora"
SMALL = {"layers": 2, "heads": 2, "width": 64, "context": 32, "sample_every": 0, "snapshots_mb": 0, "threads": 1}
SENTENCES = ":sentences"
"""A text with a floor that is reached soon: from then on every measurement is noise."""
RUNS: dict[str, tuple[str, int, str, dict[str, Any]]] = {
    # name: text, characters of it (0: all), preset, settings
    "fast": ("tales.txt", 300_000, "fast", {**SMALL, "steps": 600, "eval_every": 60}),
    "fast noisy": ("tales.txt", 60_000, "fast", {**SMALL, "steps": 300, "eval_every": 30, "batch_size": 4}),
    "classic": ("tales.txt", 300_000, "classic", {**SMALL, "steps": 600, "eval_every": 75}),
    "song": ("one_song.txt", 0, "song", {"sample_every": 0, "snapshots_mb": 0, "threads": 1, "steps": 1000}),
    "tweets": ("posts.csv", 0, "tweets", {**SMALL, "layers": 4, "width": 128, "steps": 400, "vocab_size": 1200}),
    "lyrics": ("lyrics.txt", 0, "fast", {**SMALL, "steps": 250, "eval_every": 25, "dropout": 0.2}),
    "words": ("tales.txt", 200_000, "classic", {**SMALL, "tokenizer": "word", "steps": 400, "eval_every": 50}),
    "regular": (SENTENCES, 0, "fast", {**SMALL, "steps": 900, "eval_every": 30, "schedule": "constant"}),
    "diverging": ("tales.txt", 100_000, "classic", {**SMALL, "steps": 300, "eval_every": 25, "learning_rate": 1.0}),
    "diverging late": (
        "tales.txt", 100_000, "classic",
        {**SMALL, "steps": 330, "eval_every": 33, "learning_rate": 0.24, "warmup_steps": 350, "weight_decay": 10.0},
    ),
    "diverging, jumping": (
        "tales.txt", 100_000, "classic",
        {**SMALL, "steps": 600, "eval_every": 50, "learning_rate": 1.0, "warmup_steps": 0, "grad_clip": 0.0,
         "weight_decay": 1.0, "batch_size": 8},
    ),
    "too small a rate": (
        "tales.txt", 100_000, "classic", {**SMALL, "steps": 400, "eval_every": 50, "learning_rate": 1e-6},
    ),
    "overfitting": ("tales.txt", 4_000, "fast", {**SMALL, "steps": 500, "eval_every": 25}),
    "overfitting, classic": (
        "tales.txt", 4_000, "classic", {**SMALL, "steps": 900, "eval_every": 50, "learning_rate": 3e-3},
    ),
    "overfitting, forked": (
        "tales.txt", 500, "fast",
        {**SMALL, "steps": 300, "eval_every": 50, "fork": {"at": "best", "changes": {"dropout": 0.2}, "more": 400}},
    ),
    "no number": (
        "tales.txt", 60_000, "classic",
        {**SMALL, "steps": 200, "eval_every": 50, "warmup_steps": 20, "learning_rate": 1.0, "weight_decay": 10.0},
    ),
}  # fmt: skip


def record(name: str) -> None:
    """Train one of RUNS and keep its events."""
    file, characters, preset, settings = RUNS[name]
    forked = settings.get("fork")
    settings = {key: value for key, value in settings.items() if key != "fork"}
    recipe = PRESETS[preset].recipe.with_changes({**settings, "device": "cpu", "precision": "float32"})
    if file == SENTENCES:
        lines = [f"the {a} cat saw the {b} fox." for a in ("red", "old") for b in ("sad", "wet")] * 40
        corpus = from_text("\n".join(lines))
    else:
        corpus = read_corpus(TEXTS / file)
    corpus = from_text(corpus.text[:characters]) if characters else corpus
    if recipe.cleaning.active:
        corpus = clean(corpus, recipe.cleaning).corpus
    with tempfile.TemporaryDirectory() as scratch:
        prepared = set_up(corpus, recipe, chosen=())
        trainer = Trainer(RunFolder.create(Path(scratch) / "run", name, prepared.recipe, {"name": file}), prepared)
        trainer.start()
        trainer.join()
        if forked:
            trainer = fork(trainer.folder, Path(scratch) / "fork", name, **forked)
            trainer.start()
            trainer.join()
        events = [event for event in trainer.log.since(0)[0] if not isinstance(event, Sampled)]
    lines = [json.dumps({"train": asdict(trainer.recipe.train)}), *(json.dumps(_round(e.to_dict())) for e in events)]
    OUT.mkdir(parents=True, exist_ok=True)
    packed = gzip.compress("\n".join(lines).encode(), mtime=0)
    (OUT / f"{name.replace(', ', '-').replace(' ', '-')}.jsonl.gz").write_bytes(packed)
    print(f"{name}: {len(events):,} events, {len(packed):,} bytes, {events[-1]}")


def _round(values: dict[str, Any]) -> dict[str, Any]:
    values.pop("tokens_per_s", None)
    return {key: float(f"{value:.5g}") if isinstance(value, float) else value for key, value in values.items()}


def main() -> None:
    """Record all, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[[], *RUNS], help="of runs; all where none is given")
    torch.set_num_threads(1)
    for name in parser.parse_args().names or RUNS:
        record(name)


if __name__ == "__main__":
    main()
