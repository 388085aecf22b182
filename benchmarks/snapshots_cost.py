"""What keeping snapshots and writing the state cost a training: the same run with and without, in turns (A B A B).

    python benchmarks/snapshots_cost.py --corpus FILE [--preset fast] [--steps 1000] [--pairs 3] [--threads 2]

A keeps snapshots (TrainConfig.snapshots_mb) and writes checkpoints/last every 10 s; B keeps no snapshots; C keeps none
either, and writes at measurements only. The ratios, of time and of the process's CPU time, compare neighbours, so that
what else the machine does falls on both; beside them stands the share of its time that A itself spent on snapshots and
on writing, both of which the training waits for.
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
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--preset", default=DEFAULT, choices=list(PRESETS))
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2, help="fixed, so that both have the same")
    options = parser.parse_args()
    corpus = read_corpus(options.corpus)
    recipe = PRESETS[options.preset].recipe.with_changes({"steps": options.steps, "threads": options.threads})
    spent: dict[str, float] = {}
    for name, owner, method in (("snapshots", Snapshots, "after"), ("writing", training.run_writer, "save_checkpoint")):
        setattr(owner, method, timed(spent, name, getattr(owner, method)))
    kinds: dict[str, dict[str, Any]] = {
        "A": {},
        "B": {"snapshots_mb": 0},
        "C": {"snapshots_mb": 0, "save_every_s": 0.0},
    }
    ratios: dict[str, list[tuple[float, float]]] = {"A/B": [], "B/C": []}
    shares: dict[str, list[float]] = {"snapshots": [], "writing": []}
    for pair in range(options.pairs):
        took: dict[str, tuple[float, float]] = {}
        for kind, changes in kinds.items():
            spent.clear()
            prepared = set_up(corpus, recipe.with_changes(changes))
            with tempfile.TemporaryDirectory() as place:
                folder = RunFolder.create(Path(place) / "run", kind, prepared.recipe, about(corpus))
                trainer = Trainer(folder, prepared)
                before = time.process_time()
                trainer.start()
                trainer.join()
                last = trainer.log.tail(1)[0]
                assert isinstance(last, Finished), last
                took[kind] = last.wall_s, time.process_time() - before
            if kind == "A":
                for name, values in shares.items():
                    values.append(spent.get(name, 0.0) / last.wall_s)
        for name in ratios:
            (wall, cpu), (other_wall, other_cpu) = took[name[0]], took[name[2]]
            ratios[name].append((wall / other_wall, cpu / other_cpu))
        told = (f"{kind} {wall:.1f} s, {cpu:.1f} s of CPU" for kind, (wall, cpu) in took.items())
        print(f"pair {pair + 1}: " + "; ".join(told), flush=True)
    for name, pairs in ratios.items():
        wall, cpu = map(statistics.median, zip(*pairs, strict=True))
        print(f"{name}: time {wall:.3f}, CPU time {cpu:.3f}, medians of {len(pairs)}")
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
