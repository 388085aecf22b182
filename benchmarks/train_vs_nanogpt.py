"""Training against nanoGPT's own on the CPU: tokens a second, and time to a validation loss. Whole processes, in turns.

    python benchmarks/train_vs_nanogpt.py --nanogpt DIR --corpus FILE [--only throughput|quality]

DIR is a checkout of https://github.com/karpathy/nanoGPT, FILE a text (tiny Shakespeare). nanoGPT runs its own train.py
with the arguments of its README for a CPU (4 layers, 4 heads, 128 wide, context 64, batch 12, no dropout, no biases).

Throughput: ours is `python -m training --preset classic --optimizer adamw`, the same model and batch in float32. Prints
tokens/s of each (median over the steps of a run, median over the runs) and the ratio of each pair.

Quality: nanoGPT's README recipe to its end at step 2,000, against `--preset fast` cut to as many steps as it needs:
once in nanoGPT's shape, once in a smaller one. The time is that of the whole process, from its start to its exit. The
loss of each is measured afterwards from the weights that it left, in the same way: nats per character over all of the
held-out tenth in stretches of 64. Prints the ratio of the times of each round, and the losses.
"""

from __future__ import annotations

import argparse
import importlib
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
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from model import open_checkpoint

ROOT = Path(__file__).resolve().parents[1]
CONTEXT = 64
TOKENS_IN_STEP = 12 * CONTEXT
WARM_UP = 20  # steps left out: the first ones pay for memory and threads


def prepare_peer(nanogpt: Path, corpus: Path, scratch: Path) -> None:
    """A folder in which nanoGPT's train.py finds itself and this text, cut into characters as its prepare.py does."""
    for name in ("train.py", "model.py", "configurator.py"):
        shutil.copy(nanogpt / name, scratch)
    shutil.copy(nanogpt / "model.py", scratch / "model_of_nanogpt.py")  # `model` is our own package here
    text = corpus.read_text(encoding="utf-8")
    alphabet = sorted(set(text))
    at = {character: i for i, character in enumerate(alphabet)}
    ids = np.array([at[character] for character in text], dtype=np.uint16)
    cut = int(0.9 * len(ids))
    folder = scratch / "data" / "bench"
    folder.mkdir(parents=True)
    ids[:cut].tofile(folder / "train.bin")
    ids[cut:].tofile(folder / "val.bin")
    with (folder / "meta.pkl").open("wb") as file:
        pickle.dump({"vocab_size": len(alphabet)}, file)


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
            *("--steps", str(steps), "--eval-every", "1000000", "--sample-every", "0", "--precision", "float32"),
            *("--threads", str(threads)),
        ]
        subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
        lines = [json.loads(line) for line in (Path(out) / "run" / "metrics.jsonl").read_text().splitlines()]
    ends = [line["wall_s"] for line in lines if line["event"] == "step"]
    times = [after - before for before, after in itertools.pairwise(ends)]
    return TOKENS_IN_STEP / statistics.median(times[WARM_UP:])


PEER_STEPS = 2000
SHAPES = {
    "same shape": ["--steps", "280", "--batch-size", "12"],
    "smaller shape": ["--steps", "330", "--batch-size", "12", "--layers", "2"],
}
"""Of our runs for the time to quality: what differs from the preset."""


def peer_to_quality(scratch: Path, threads: int) -> tuple[float, float]:
    """Seconds of nanoGPT's README recipe, and the held-out loss of the weights that it left."""
    command = (
        f"{sys.executable} train.py --dataset=bench --out_dir=out --device=cpu --compile=False --eval_iters=20 "
        f"--eval_interval=250 --log_interval=1 --always_save_checkpoint=False --block_size=64 --batch_size=12 "
        f"--n_layer=4 --n_head=4 --n_embd=128 --max_iters={PEER_STEPS} --lr_decay_iters={PEER_STEPS} --dropout=0.0 "
        f"--gradient_accumulation_steps=1 --learning_rate=1e-3 --min_lr=1e-4 --beta2=0.99 --warmup_iters=100"
    )
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    begun = time.perf_counter()
    subprocess.run(command.split(), cwd=scratch, env=environment, capture_output=True, check=True)
    seconds = time.perf_counter() - begun
    sys.path.insert(0, str(scratch))
    theirs = importlib.import_module("model_of_nanogpt")
    saved = torch.load(scratch / "out" / "ckpt.pt", weights_only=True)
    model = theirs.GPT(theirs.GPTConfig(**saved["model_args"]))
    model.load_state_dict(saved["model"])
    return seconds, held_out_loss(scratch, lambda ids, targets: model(ids, targets)[0])


def ours_to_quality(corpus: Path, scratch: Path, threads: int, changes: list[str]) -> tuple[float, float]:
    """Seconds of `python -m training`, and the held-out loss of the weights that it left."""
    with tempfile.TemporaryDirectory(dir=scratch) as out:
        command = [
            *(sys.executable, "-m", "training", str(corpus), "--preset", "fast", "--out", f"{out}/run", "--quiet"),
            *("--eval-every", "1000000", "--sample-every", "0", "--threads", str(threads), *changes),
        ]
        begun = time.perf_counter()
        subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
        seconds = time.perf_counter() - begun
        model = open_checkpoint(Path(out) / "run" / "checkpoints" / "last").model
        return seconds, held_out_loss(scratch, lambda ids, _: model(ids))


def held_out_loss(scratch: Path, logits_of: Callable[[Tensor, Tensor], Tensor]) -> float:
    """Nats per character over the whole held-out text, in stretches of CONTEXT that do not overlap."""
    val = torch.from_numpy(np.fromfile(scratch / "data" / "bench" / "val.bin", dtype=np.uint16).astype(np.int64))
    whole = (len(val) - 1) // CONTEXT
    inputs = val[: whole * CONTEXT].view(whole, CONTEXT)
    targets = val[1 : whole * CONTEXT + 1].view(whole, CONTEXT)
    with torch.no_grad():
        sums = [
            F.cross_entropy(logits_of(ids, wanted).flatten(0, 1), wanted.flatten(), reduction="sum")
            for ids, wanted in zip(inputs.split(64), targets.split(64), strict=True)
        ]
    return float(sum(sums)) / targets.numel()


def throughput(options: argparse.Namespace, scratch: Path) -> None:
    """Tokens a second, ours and theirs, in turns."""
    pairs = []
    for turn in range(options.pairs):
        ours = run_ours(options.corpus.resolve(), scratch, options.steps, options.threads)
        peer = run_peer(scratch, options.steps, options.threads)
        pairs.append((ours, peer))
        print(f"pair {turn + 1}: ours {ours:,.0f} tokens/s, nanoGPT {peer:,.0f}, ratio {ours / peer:.3f}", flush=True)
    ours, peer = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(a / b for a, b in pairs)
    print(f"{options.threads} threads: ours {ours:,.0f} tokens/s, nanoGPT {peer:,.0f}; median ratio {ratio:.3f}")


def quality(options: argparse.Namespace, scratch: Path) -> None:
    """Seconds to the loss, ours in two shapes and theirs, in turns."""
    ratios: dict[str, list[float]] = {name: [] for name in SHAPES}
    for turn in range(options.rounds):
        found = {
            name: ours_to_quality(options.corpus.resolve(), scratch, options.threads, changes)
            for name, changes in SHAPES.items()
        }
        seconds, loss = peer_to_quality(scratch, options.threads)
        print(f"round {turn + 1}: nanoGPT {seconds:.1f} s to {loss:.4f}", flush=True)
        for name, (ours, our_loss) in found.items():
            ratios[name].append(ours / seconds)
            print(f"    {name}: {ours:.1f} s to {our_loss:.4f}, 1/{seconds / ours:.1f} of its time", flush=True)
    for name, shares in ratios.items():
        print(f"{name}: median 1/{1 / statistics.median(shares):.1f} of nanoGPT's time")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nanogpt", type=Path, required=True, help="a checkout of karpathy/nanoGPT")
    parser.add_argument("--corpus", type=Path, required=True, help="a text file, such as tiny Shakespeare")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--pairs", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3, help="of the time to quality")
    parser.add_argument("--only", choices=("throughput", "quality"))
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        prepare_peer(options.nanogpt, options.corpus.resolve(), scratch)
        if options.only != "quality":
            throughput(options, scratch)
        if options.only != "throughput":
            quality(options, scratch)


if __name__ == "__main__":
    main()
