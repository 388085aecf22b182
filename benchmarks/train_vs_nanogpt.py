"""Training speed against nanoGPT's: the same model, batch and optimizer on the CPU, whole processes, A B A B.

    python benchmarks/train_vs_nanogpt.py --nanogpt DIR --corpus FILE

DIR is a checkout of https://github.com/karpathy/nanoGPT, FILE a text (tiny Shakespeare). nanoGPT runs its own train.py
with the arguments of its README for a CPU (4 layers, 4 heads, 128 wide, context 64, batch 12, no dropout, no biases);
ours is `python -m training --preset classic`, which is the same model. Prints tokens/s of each (median over the steps
of a run, median over the runs) and the ratio of each pair.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import pickle
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
TOKENS_IN_STEP = 12 * 64
WARM_UP = 20  # steps left out: the first ones pay for memory and threads


def prepare_peer(nanogpt: Path, corpus: Path, scratch: Path) -> None:
    """A folder in which nanoGPT's train.py finds itself and this text, cut into characters as its prepare.py does."""
    for name in ("train.py", "model.py", "configurator.py"):
        shutil.copy(nanogpt / name, scratch)
    text = corpus.read_text(encoding="utf-8")
    alphabet = sorted(set(text))
    ids = np.array([alphabet.index(c) for c in text] if len(alphabet) < 2 else _encode(text, alphabet), dtype=np.uint16)
    cut = int(0.9 * len(ids))
    folder = scratch / "data" / "bench"
    folder.mkdir(parents=True)
    ids[:cut].tofile(folder / "train.bin")
    ids[cut:].tofile(folder / "val.bin")
    with (folder / "meta.pkl").open("wb") as file:
        pickle.dump({"vocab_size": len(alphabet)}, file)


def _encode(text: str, alphabet: list[str]) -> list[int]:
    at = {character: i for i, character in enumerate(alphabet)}
    return [at[character] for character in text]


def run_peer(scratch: Path, steps: int, threads: int) -> float:
    """Median tokens/s of nanoGPT's own loop, from the times that it prints."""
    command = (
        f"{sys.executable} train.py --dataset=bench --device=cpu --compile=False --eval_iters=1 "
        f"--eval_interval=1000000 --log_interval=1 --block_size=64 --batch_size=12 --n_layer=4 "
        f"--n_head=4 --n_embd=128 --max_iters={steps} "
        f"--lr_decay_iters={steps} --dropout=0.0 --gradient_accumulation_steps=1"
    )
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command.split(), cwd=scratch, env=environment, capture_output=True, text=True, check=True)
    times = [float(found) for found in re.findall(r"iter \d+: loss [\d.]+, time ([\d.]+)ms", done.stdout)]
    return TOKENS_IN_STEP / (statistics.median(times[WARM_UP:]) / 1000)


def run_ours(corpus: Path, scratch: Path, steps: int, threads: int) -> float:
    """Median tokens/s of `python -m training`, from its metrics.jsonl: the time from one step's end to the next's."""
    with tempfile.TemporaryDirectory(dir=scratch) as out:
        command = [
            *(sys.executable, "-m", "training", str(corpus), "--preset", "classic", "--out", f"{out}/run", "--quiet"),
            *("--steps", str(steps), "--eval-every", "1000000", "--sample-every", "0", "--threads", str(threads)),
        ]
        subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
        lines = [json.loads(line) for line in (Path(out) / "run" / "metrics.jsonl").read_text().splitlines()]
    ends = [line["wall_s"] for line in lines if line["event"] == "step"]
    times = [after - before for before, after in itertools.pairwise(ends)]
    return TOKENS_IN_STEP / statistics.median(times[WARM_UP:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nanogpt", type=Path, required=True, help="a checkout of karpathy/nanoGPT")
    parser.add_argument("--corpus", type=Path, required=True, help="a text file, such as tiny Shakespeare")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--pairs", type=int, default=4)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        prepare_peer(options.nanogpt, options.corpus.resolve(), scratch)
        pairs = []
        for turn in range(options.pairs):
            ours = run_ours(options.corpus.resolve(), scratch, options.steps, options.threads)
            peer = run_peer(scratch, options.steps, options.threads)
            pairs.append((ours, peer))
            print(
                f"pair {turn + 1}: ours {ours:,.0f} tokens/s, nanoGPT {peer:,.0f}, ratio {ours / peer:.3f}", flush=True
            )
    ours, peer = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(a / b for a, b in pairs)
    print(f"{options.threads} threads: ours {ours:,.0f} tokens/s, nanoGPT {peer:,.0f}; median ratio {ratio:.3f}")


if __name__ == "__main__":
    main()
