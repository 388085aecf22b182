"""Models, requests and unpacking for the tests of the page's server side. Everything is small enough for an instant."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from explorer.decode import decode
from explorer.jobs import Jobs, Run
from explorer.server import Server, answering
from explorer.session import Visitor
from explorer.watch import pulse
from model import GPT, GPTConfig, Tokenizer, save_checkpoint
from training.config import Recipe, TrainConfig
from training.corpus import from_text
from training.data import prepare
from training.events import Event, Paused, Stepped
from training.kept import texts_of
from training.runs import RunFolder, new_run_id
from training.setup import Prepared
from training.trainer import Trainer

TEXT = "the cat sat on the mat and the dog sat on the log.\nwhy, said the fox, did it?\n" * 30
BROKEN = "the café of the naïve cat – ½ € 😀 the mat, the cat, the café\n" * 20
CHAR = Tokenizer.char(TEXT)
BPE = Tokenizer.bpe(BROKEN, 275)
CONTEXT = 12  # of the shipped model "alpha"
LONG = 10**6  # steps; such a run never ends by itself within a test
PATIENCE = 60.0  # seconds after which a test gives up; none waits for it to pass
SAYS_NOTHING = "Something broke on the server"  # the sentence for what nobody foresaw

R = TypeVar("R")


def random_model(tokenizer: Tokenizer, seed: int = 5, **shape: Any) -> GPT:
    """A small GPT in eval mode whose every parameter is random and large enough to matter."""
    values = {"context": CONTEXT, "layers": 2, "heads": 2, "width": 16, **shape}
    torch.manual_seed(seed)
    model = GPT(GPTConfig(vocab_size=tokenizer.vocab_size, **values)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return model


def ship(folder: Path) -> Path:
    """A folder of two shipped models: `alpha` reads characters, `beta` an own BPE and turns its positions."""
    alpha = {"name": "Alpha", "step": 300, "loss": 1.4, "val_loss": 1.5, "bits_per_byte": 2.2}
    save_checkpoint(folder / "alpha", random_model(CHAR), CHAR, alpha)
    beta = random_model(BPE, seed=7, context=9, layers=3, width=12, positions="rotary")
    save_checkpoint(folder / "beta", beta, BPE, {"step": 7, "loss": 3.5})
    return folder


def token(number: int) -> str:
    """The id that some visitor's browser made."""
    return f"v{number:032x}"


def visitor(server: Server, number: int = 1) -> Visitor:
    return server.visitors.get(token(number))


def ask(server: Server, who: int = 1, **fields: Any) -> dict[str, Any]:
    """`decode` as the page calls it; a refusal fails the test."""
    reply = try_to(server, {"session": token(who), **fields})
    assert reply["ok"], reply["error"]
    return reply


def try_to(server: Server, request: Any) -> dict[str, Any]:
    """`decode` behind the wrapper that app.py puts around it."""
    return answering(lambda raw: decode(server, raw))(request)


def sentence(reply: dict[str, Any]) -> str:
    """The error of a refusal, which has to be one for people."""
    assert reply["ok"] is False
    assert set(reply) == {"ok", "error"}
    error = reply["error"]
    assert error[0].isupper() or not error[0].isalpha(), error
    assert error.endswith((".", "?")), error
    assert SAYS_NOTHING not in error
    assert "Traceback" not in error
    assert len(error) < 500
    return str(error)


def in_a_loop(build: Callable[[], R]) -> R:
    """Runs `build()` where an event loop runs: outside one Gradio makes a loop for each Blocks and never closes it."""

    async def run() -> R:
        return build()

    return asyncio.run(run())


# Unpacking, written from docs/page-protocol.md


def map_rows(packed: dict[str, Any]) -> dict[int, np.ndarray]:
    """{position: (L, H, keys) bytes} of a packed `maps`; all cells have to be used up."""
    cells = np.frombuffer(base64.b64decode(packed["cells"]), dtype=np.uint8)
    rows, at = {}, 0
    for position in range(packed["from"], packed["to"]):
        keys = position - packed["start"] + 1
        size = packed["layers"] * packed["heads"] * keys
        rows[position] = cells[at : at + size].reshape(packed["layers"], packed["heads"], keys)
        at += size
    assert at == len(cells)
    return rows


def exact_rows(packed: dict[str, Any]) -> dict[int, np.ndarray]:
    """{position: (keys,) float32} of a packed `exact`."""
    cells = np.frombuffer(base64.b64decode(packed["cells"]), dtype="<f4")
    rows, at = {}, 0
    for position in range(packed["from"], packed["to"]):
        keys = position - packed["start"] + 1
        rows[position] = cells[at : at + keys]
        at += keys
    assert at == len(cells)
    return rows


def same_maps(rows: dict[int, np.ndarray], patterns: Tensor, start: int) -> None:
    """Rows of bytes against a trace's patterns (L, H, T, T) over the positions from `start` on."""
    for position, row in rows.items():
        i = position - start
        wanted = np.sqrt(patterns[:, :, i, : i + 1].numpy())
        assert np.abs(row / 255 - wanted).max() <= 0.5 / 255 + 1e-5


# Trainings


def tiny_recipe(**changes: Any) -> Recipe:
    train = TrainConfig(
        steps=6, batch_size=4, learning_rate=1e-2, warmup_steps=2, eval_every=3, sample_every=0, threads=1,
        device="cpu", snapshots_mb=0,
    )  # fmt: skip
    shape = {"layers": 1, "heads": 2, "width": 16, "context": 8}
    return Recipe(model=shape, train=train).with_changes(changes)


def tiny_trainer(
    root: Path, name: str = "a run", owner: str | None = None, kept: bool = False, **changes: Any
) -> Trainer:
    """A training that waits, in a run folder of its own under `root`. kept: it keeps its text, and so can go on."""
    recipe = tiny_recipe(**changes)
    about = {"name": "tiny.txt", "source": "file", "characters": len(TEXT), "notes": []}
    folder = RunFolder.create(root / new_run_id(name), name, recipe, about, owner)
    corpus = from_text(TEXT)
    return Trainer(
        folder, Prepared(recipe, CHAR, prepare(corpus, CHAR, recipe), texts=texts_of(corpus, recipe) if kept else None)
    )


def paused_at_once(server: Server, **changes: Any) -> Run:
    """A run that stands still right after its first event, before any step."""
    trainer = tiny_trainer(server.jobs.root, **{"steps": LONG, **changes})
    trainer.pause()  # while it is in the queue: nothing can overtake this
    run = server.jobs.submit(trainer)
    until(run, Paused)
    return run


def until(run: Run | Trainer, kind: type[Event], after: int = 0) -> int:
    """Wait for an event of a kind at or after a cursor; the cursor behind it."""
    while True:
        events, _ = run.log.since(after)
        for event in events:
            after += 1
            if isinstance(event, kind):
                return after
        assert run.log.wait(after, PATIENCE), f"no {kind.__name__} came"


def over(run: Run) -> Run:
    """Wait for the end of a run."""
    assert run.trainer is not None
    assert run.trainer.join(PATIENCE)
    return run


def states(jobs: Jobs, *runs: Run) -> list[str]:
    """`running`, `queued`, … of each."""
    return [jobs.find(run.info.id).state for run in runs]


def stand_still(jobs: Jobs, run: Run) -> int:
    """Pause a run that trains; the cursor behind its Paused."""
    after = until(run, Stepped, run.log.since(0)[1])
    jobs.control(run.info.id, "pause", run.info.owner or "x")
    return until(run, Paused, after)


def watched(server: Server, run: str) -> dict[str, Any]:
    """What a page that begins to watch a run is told."""
    reply = answering(lambda raw: pulse(server, raw))({"session": token(1), "run": run, "since": 0})
    assert reply["ok"], reply
    return reply
