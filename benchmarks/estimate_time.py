"""The time that `--estimate` and the Train tab tell before a training, against what the training then takes.

    python benchmarks/estimate_time.py --corpus FILE

Recipes and shapes from a few thousand weights to a few million, cut to some seconds each. The estimate is made right
before each training, which is a process of its own and tells its time itself. Prints both and their ratio.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from training.corpus import read_corpus
from training.estimate import foreseen
from training.presets import PRESETS
from training.setup import set_up

ROOT = Path(__file__).resolve().parents[1]
TRAININGS: list[tuple[str, dict[str, Any]]] = [
    ("song", {"steps": 400}),
    ("fast", {"steps": 300}),
    ("fast", {"steps": 200, "layers": 12, "width": 64}),
    ("fast", {"steps": 500, "layers": 1, "width": 16, "heads": 2, "batch_size": 4}),
    ("fast", {"steps": 40, "layers": 6, "width": 256, "heads": 8, "context": 128}),
    ("classic", {"steps": 300}),
    ("classic", {"steps": 200, "precision": "float32"}),
    ("lyrics", {"steps": 12}),
    ("shakespeare", {"steps": 40}),
]


def told(corpus: Path, preset: str, changes: dict[str, Any]) -> float:
    """Seconds by the estimate."""
    prepared = set_up(read_corpus(corpus), PRESETS[preset].recipe.with_changes(changes))
    config = prepared.recipe.model_config(prepared.tokenizer.vocab_size)
    seconds = foreseen(config, prepared.recipe.train, 1, measure=True).seconds
    assert seconds is not None
    return seconds


def taken(corpus: Path, preset: str, changes: dict[str, Any]) -> float:
    """Seconds of training, by the run's own last event."""
    flags = [part for name, value in changes.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "training", str(corpus), "--preset", preset, "--out", f"{out}/run", "--quiet"]
        subprocess.run([*command, *flags], cwd=ROOT, capture_output=True, check=True)
        lines = (Path(out) / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return float(json.loads(lines[-1])["wall_s"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=Path, required=True, help="a text file, such as tiny Shakespeare")
    corpus = parser.parse_args().corpus.resolve()
    ratios = []
    for preset, changes in TRAININGS:
        before, then = told(corpus, preset, changes), taken(corpus, preset, changes)
        ratios.append(before / then)
        named = ", ".join(f"{name} {value}" for name, value in changes.items())
        print(f"{preset}, {named}: told {before:.1f} s, took {then:.1f} s, ratio {before / then:.2f}", flush=True)
    print(f"told / took: {min(ratios):.2f} to {max(ratios):.2f}")


if __name__ == "__main__":
    main()
