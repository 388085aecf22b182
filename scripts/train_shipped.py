"""Trains the model in weights/tales and writes its card: `python scripts/train_shipped.py` (ten minutes on 2 cores).

The card says what was trained, on what, how long, and what came of it, read from the run itself.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from model import open_checkpoint, save_checkpoint  # noqa: E402  # the path has to be set first
from training.__main__ import main as train  # noqa: E402

CORPUS = "assets/corpora/tales.txt"
SETTINGS = (
    "--preset fast --tokenizer bpe --vocab-size 1536 --context 128 --steps 4000 --batch-size 16 --optimizer muon "
    "--muon-learning-rate 0.03 --learning-rate 0.006 --weight-decay 0.05 --warmup-steps 20 --schedule linear "
    "--muon-momentum 0.95 --cooldown-share 1 --no-qk-norm --precision float32 "
    "--eval-every 250 --eval-tokens 32768 --sample-every 500 --seed 1337 --name Tales"
)

CARD = """# Tales

A GPT that tells small tales. It comes with Glass GPT so that the page opens on a model that works.

| | |
|---|---|
| corpus | `{corpus}`, {characters:,} characters, SHA-256 `{digest}`; written for this project |
| tokenizer | byte-level BPE of {vocab_size} entries, learnt from the corpus |
| shape | {layers} layers x {heads} heads, width {width}, context {context}, {positions} positions, {activation} |
| parameters | {parameters:,} |
| training | {steps:,} steps of {batch_size} x {context} tokens, seed {seed} |
| optimizer | Muon {muon_learning_rate} for the blocks' matrices, AdamW {learning_rate} for the rest |
| kept | step {step:,}, the lowest validation loss |
| validation | {val_loss:.4f} nats per token, {bits_per_byte:.4f} bits per byte, 32,768 tokens of the last tenth |
| licence | MIT, like the rest of the repository |

Made by `python scripts/train_shipped.py`, which runs

```
python -m training {corpus} {settings} --out RUN
```

The weights are float32 in safetensors; `checkpoint.json` holds the config and the SHA-256 of each file. A model this
small knows its tales and nothing else: it has no knowledge of the world, and what it writes is not true.
"""


def card(index: dict[str, Any], train_config: dict[str, Any], text: bytes) -> str:
    """The card's text, from the checkpoint's index and the run's recipe."""
    from model import GPTConfig

    config = GPTConfig.from_dict(index["config"])
    return CARD.format(
        corpus=CORPUS,
        characters=len(text.decode()),
        digest=hashlib.sha256(text).hexdigest(),
        parameters=config.parameters(),
        settings=SETTINGS,
        **index["config"],
        **{name: train_config[name] for name in ("steps", "batch_size", "learning_rate", "muon_learning_rate", "seed")},
        **{name: index["meta"][name] for name in ("step", "val_loss", "bits_per_byte")},
    )


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        run = Path(scratch) / "run"
        code = train([str(ROOT / CORPUS), *shlex.split(SETTINGS), "--out", str(run)])
        if code:
            raise SystemExit(code)
        best = open_checkpoint(run)
        target = ROOT / "weights" / "tales"
        shutil.rmtree(target, ignore_errors=True)
        meta = {key: value for key, value in best.meta.items() if key != "run"}
        save_checkpoint(target, best.model, best.tokenizer, meta)
        shutil.copy(run / "metrics.jsonl", target / "metrics.jsonl")  # the page shows how it learnt
        recipe = json.loads((run / "config.json").read_text())
        index = json.loads((target / "checkpoint.json").read_text())
        (target / "README.md").write_text(card(index, recipe["train"], (ROOT / CORPUS).read_bytes()), encoding="utf-8")


if __name__ == "__main__":
    main()
