"""What keeping snapshots and writing the state cost a training: the same run with and without, in turns (A B A B).

    python benchmarks/snapshots_cost.py TEXT [--preset fast] [--steps 1000] [--pairs 3] [--threads 2]

A keeps snapshots (TrainConfig.snapshots_mb) and writes checkpoints/last every 10 s; B keeps no snapshots; C keeps none
either, and writes at measurements only. The ratio compares neighbours, so that what else the machine does falls on
both; beside it stands the share of its time that A itself spent on snapshots and on writing.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import training.run_writer
from training.corpus import about, read_corpus
from training.events import Finished
from training.presets import DEFAULT, PRESETS
from training.runs import RunFolder
from training.setup import set_up
from training.snapshots import Snapshots
from training.trainer import Trainer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("text", type=Path)
    parser.add_argument("--preset", default=DEFAULT, choices=list(PRESETS))
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2, help="fixed, so that both have the same")
    options = parser.parse_args()
    corpus = read_corpus(options.text)
    recipe = PRESETS[options.preset].recipe.with_changes({"steps": options.steps, "threads": options.threads})
    spent: dict[str, float] = {}
    for name, owner, method in (("snapshots", Snapshots, "after"), ("writing", training.run_writer, "save_checkpoint")):
        setattr(owner, method, timed(spent, name, getattr(owner, method)))
    kinds: dict[str, dict[str, Any]] = {
        "A": {},
        "B": {"snapshots_mb": 0},
        "C": {"snapshots_mb": 0, "save_every_s": 0.0},
    }
    ratios: dict[str, list[float]] = {"A/B": [], "B/C": []}
    shares: dict[str, list[float]] = {"snapshots": [], "writing": []}
    for pair in range(options.pairs):
        took = {}
        for kind, changes in kinds.items():
            spent.clear()
            prepared = set_up(corpus, recipe.with_changes(changes))
            with tempfile.TemporaryDirectory() as place:
                folder = RunFolder.create(Path(place) / "run", kind, prepared.recipe, about(corpus))
                trainer = Trainer(folder, prepared)
                trainer.start()
                trainer.join()
                last = trainer.log.tail(1)[0]
                assert isinstance(last, Finished), last
                took[kind] = last.wall_s
            if kind == "A":
                for name, values in shares.items():
                    values.append(spent.get(name, 0.0) / last.wall_s)
        for name in ratios:
            ratios[name].append(took[name[0]] / took[name[2]])
        print(f"pair {pair + 1}: " + ", ".join(f"{kind} {seconds:.1f} s" for kind, seconds in took.items()), flush=True)
    for name, values in ratios.items():
        print(f"time {name}: median {statistics.median(values):.3f} of {len(values)}")
    for name, values in shares.items():
        print(f"{name}: {100 * statistics.median(values):.2f} % of A's time, by its own clock")


def timed(spent: dict[str, float], name: str, call: Callable[..., Any]) -> Callable[..., Any]:
    """The call, with the seconds that it took added up."""

    def timing(*args: Any, **kwargs: Any) -> Any:
        begun = time.perf_counter()
        try:
            return call(*args, **kwargs)
        finally:
            spent[name] = spent.get(name, 0.0) + time.perf_counter() - begun

    return timing


if __name__ == "__main__":
    main()
