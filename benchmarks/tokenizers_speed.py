"""Time to learn an own byte-pair vocabulary with its progress told, against the `tokenizers` library's own class.

Both learn the same text in turns (A B A B) and have to come to the same merges; the library's ByteLevelBPETokenizer is
given the text line by line, as its documentation does. Prints seconds and the median ratio.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

from tokenizers.implementations import ByteLevelBPETokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from model import Tokenizer


def run_ours(text: str, entries: int) -> tuple[float, list[float], Tokenizer]:
    """Seconds, the shares that a progress bar was told, and the tokenizer."""
    shares: list[float] = []
    begun = time.perf_counter()
    tokenizer = Tokenizer.bpe(text, entries, shares.append)
    return time.perf_counter() - begun, shares, tokenizer


def run_peer(text: str, entries: int) -> tuple[float, ByteLevelBPETokenizer]:
    """Seconds, and the library's tokenizer."""
    lines = text.splitlines(keepends=True)
    begun = time.perf_counter()
    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(
        iter(lines), vocab_size=entries, min_frequency=1, show_progress=False, special_tokens=["<|endoftext|>"]
    )
    return time.perf_counter() - begun, tokenizer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=Path, required=True, help="a text file, such as tiny Shakespeare")
    parser.add_argument("--characters", type=int, default=1_000_000, help="how much of it; default 1,000,000")
    parser.add_argument("--entries", type=int, default=8045)
    parser.add_argument("--pairs", type=int, default=5)
    options = parser.parse_args()
    text = options.corpus.read_text(encoding="utf-8")[: options.characters]
    pairs = []
    for turn in range(options.pairs):
        ours, shares, tokenizer = run_ours(text, options.entries)
        peer, theirs = run_peer(text, options.entries)
        pairs.append((ours, peer))
        print(f"pair {turn + 1}: ours {ours:.2f} s, library {peer:.2f} s, ratio {ours / peer:.2f}", flush=True)
    ours, peer = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(a / b for a, b in pairs)
    same = json.loads(tokenizer.to_json())["model"]["merges"] == json.loads(theirs.to_str())["model"]["merges"]
    print(f"{len(text):,} characters, {tokenizer.vocab_size:,} entries; progress told {len(shares)} times")
    print(f"ours {ours:.2f} s (slowest {max(a for a, _ in pairs):.2f}), library {peer:.2f} s; median ratio {ratio:.2f}")
    print(f"the merges are {'the same' if same else 'NOT the same'}")


if __name__ == "__main__":
    main()
