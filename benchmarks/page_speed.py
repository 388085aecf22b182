"""How quickly the page answers: start of the server, first heads painted, one decoding step, a 12 x 12 grid, and the
first point of a training's loss.

    python benchmarks/page_speed.py

Times are from the click (or the request for the page) to the frame after the canvases were drawn, in headless Chromium
on the same machine as the server. Prints medians.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import Page

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.serving import app, page  # the path has to be set first

PAINTED = """
async (act) => {
  const canvases = () => [...document.querySelectorAll('[data-testid=heads-canvas], [data-testid=zoom-canvas]')];
  const frame = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done, 0)));  // after the paint
  const rows = () => canvases().map((canvas) => +canvas.dataset.tokens);
  const before = rows();
  const began = performance.now();
  document.querySelector('[data-testid=next]').click();
  while (rows().some((count, i) => count === before[i])) await new Promise((done) => setTimeout(done, 1));
  await frame();
  return performance.now() - began;
}
"""
FIRST_HEADS = """
() => new Promise((done) => {
  const look = () => {
    const canvas = document.querySelector('[data-testid=heads-canvas]');
    if (canvas && +canvas.dataset.drawn > 0) requestAnimationFrame(() => setTimeout(() => done(performance.now()), 0));
    else setTimeout(look, 5);
  };
  look();
})
"""
GRID = """
async (reply) => {
  const canvas = document.querySelector('[data-testid=heads-canvas]');
  const server = { decode: async () => JSON.parse(reply) };
  glass.decoder.connect(server);
  const before = +canvas.dataset.drawn;
  const began = performance.now();
  await glass.decoder.open('grid');
  while (+canvas.dataset.drawn === before) await new Promise((done) => setTimeout(done, 1));
  await new Promise((done) => requestAnimationFrame(() => setTimeout(done, 0)));
  return performance.now() - began;
}
"""
TRAIN = """
async () => {
  const before = glass.last('run')?.id ?? null;
  const began = performance.now();
  document.querySelector('#train').click();
  const moved = () => {
    const run = glass.last('run');
    const chart = document.querySelector('[data-testid=loss]');
    return run && run.id !== before && run.points.step.length > 0 && chart && +chart.dataset.points > 0;
  };
  while (!moved()) await new Promise((done) => setTimeout(done, 5));
  return performance.now() - began;
}
"""


def first_points(tab: Page, trainings: int) -> list[float]:
    """Seconds from pressing Train to the first point of the loss, for trainings one after the other."""
    tab.get_by_role("tab", name="2 Train").click()
    tab.locator("[data-testid=source]", has_text="Tales").wait_for()
    tab.wait_for_timeout(2000)  # as a visitor, who reads a moment before pressing
    seconds = []
    for _ in range(trainings):
        seconds.append(tab.evaluate(TRAIN) / 1000)
        tab.evaluate("glass.runs.control('stop')")
        tab.wait_for_function("['stopped', 'finished'].includes(glass.last('run').run.state)")
    return seconds


def big_reply() -> str:
    """The server's whole answer for 64 tokens of a 12-layer, 12-head model, as it goes over the wire."""
    import torch

    from explorer.decode import Append, Request, answer
    from explorer.limits import Limits
    from explorer.server import Server
    from explorer.shelf import View
    from model import GPT, GPTConfig, Tokenizer
    from model.decoding import Decoder
    from model.sampling import Settings

    torch.manual_seed(0)
    tokenizer = Tokenizer.char("".join(chr(97 + i) for i in range(26)))
    model = GPT(GPTConfig(vocab_size=26, context=64, layers=12, heads=12, width=192)).eval()
    view = View("run:grid", "grid", "run", model, tokenizer, 0, None, "training", None)
    ids = torch.randint(0, 26, (64,)).tolist()
    request = Request(None, ids, 64, Append(), Settings(), (0, 0), 0, 0, 12)
    reply: dict[str, Any] = {"ok": True, **answer(Decoder(model), view, request, Server(Path(), Path(), Limits()))}
    return json.dumps(reply)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--starts", type=int, default=5, help="how often the server is started")
    parser.add_argument("--steps", type=int, default=30, help="decoding steps measured")
    options = parser.parse_args()
    starts, heads, trainings = [], [], []
    reply = big_reply()
    with tempfile.TemporaryDirectory() as runs:
        for turn in range(options.starts):
            with app(Path(runs)) as (url, seconds), page() as tab:
                starts.append(seconds)
                tab.goto(url, wait_until="commit")
                heads.append(tab.evaluate(FIRST_HEADS) / 1000)
                if turn:
                    continue
                steps = [tab.evaluate(PAINTED) for _ in range(options.steps)]
                tab.reload()
                tab.evaluate(FIRST_HEADS)
                grids = [tab.evaluate(GRID, reply) for _ in range(10)]
        for _ in range(options.starts):  # the first training of a process loads what the others find loaded
            with app(Path(runs)) as (url, _), page() as tab:
                tab.goto(url)
                trainings.append(first_points(tab, 3))
    print(f"server answers {statistics.median(starts):.2f} s after `python app.py` (up to {max(starts):.2f})")
    print(f"first heads painted {statistics.median(heads):.2f} s after the page is asked for (up to {max(heads):.2f})")
    print(
        f"one decoding step, click to painted: {statistics.median(steps):.0f} ms ({min(steps):.0f} to {max(steps):.0f})"
    )
    print(f"12 x 12 heads, 64 tokens: {len(reply) / 1e6:.3f} MB, reply to painted {statistics.median(grids):.0f} ms")
    first, later = [t[0] for t in trainings], [s for t in trainings for s in t[1:]]
    print(
        f"Train to the first point of the loss: {statistics.median(first):.2f} s for the first training of a process "
        f"(up to {max(first):.2f}), {statistics.median(later):.2f} s for later ones (up to {max(later):.2f})"
    )


if __name__ == "__main__":
    main()
