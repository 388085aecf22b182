"""How much a watching page slows training: steps per second with and without a viewer, in turns within one run.

    python benchmarks/page_attached.py --corpus FILE

A training runs behind the app; a viewer polls it four times a second as the page does (the same server function, over
HTTP), for some seconds, then does not, in turns. The ratio compares neighbouring stretches, so that what else the
machine does falls on both. `--browser` puts a real Chromium on the same machine in the viewer's place; its own drawing
then counts too.
"""

from __future__ import annotations

import argparse
import json
import secrets
import statistics
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import itertools

from benchmarks.serving import app, page  # the path has to be set first


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=8.0, help="length of a stretch")
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--browser", action="store_true", help="watch with Chromium on this machine")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as runs, app(Path(runs)) as (url, _), page() as tab:
        tab.goto(url)
        tab.locator("[role=tab]", has_text="Corpus").click()
        tab.locator("#upload input[type=file]").set_input_files(options.corpus)
        tab.locator(f"[data-testid=corpus][data-name='{options.corpus.name}']").wait_for()
        tab.locator("[role=tab]", has_text="Train").click()
        tab.locator("#set-steps input[type=number]").fill("20000")
        tab.locator("#set-steps input[type=number]").press("Tab")
        tab.locator("#train").click()
        tab.locator("[data-testid=monitor][data-state=running]").wait_for()
        run = Path(next(iter(Path(runs).iterdir())))
        if not options.browser:
            tab.goto("about:blank")
        time.sleep(15)  # the thread count settles
        ratios = []
        for turn in range(options.pairs):
            with viewer(url, run.name, tab if options.browser else None):
                watched = pace(run, options.seconds)
            alone = pace(run, options.seconds)
            ratios.append(watched / alone)
            print(
                f"pair {turn + 1}: watched {watched:.2f} steps/s, alone {alone:.2f}, ratio {watched / alone:.3f}",
                flush=True,
            )
    who = "Chromium on this machine" if options.browser else "a viewer at 4 Hz"
    print(f"{who}: training runs at {statistics.median(ratios):.3f} of its speed alone (median of {len(ratios)})")


def pace(run: Path, seconds: float) -> float:
    """Steps per second over a stretch, from the run's own log: the median step, so that evaluations stay out."""
    first = sum(1 for _ in (run / "metrics.jsonl").open())
    time.sleep(seconds)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()[first:-1]]
    ends = [line["wall_s"] if line["event"] == "step" else None for line in lines]
    times = [b - a for a, b in itertools.pairwise(ends) if a is not None and b is not None]
    return 1 / statistics.mean(sorted(times)[: int(0.95 * len(times))])


class viewer:
    """Somebody who watches while the block runs."""

    def __init__(self, url: str, run: str, tab: Any) -> None:
        self._url, self._run, self._tab = url, run, tab
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._poll)

    def __enter__(self) -> None:
        if self._tab is not None:
            self._tab.goto(f"{self._url}?run={self._run}")
            self._tab.locator("[role=tab]", has_text="Train").click()
            self._tab.locator("[data-testid=monitor][data-state=running]").wait_for()
        else:
            self._thread.start()
            time.sleep(1)

    def __exit__(self, *_: object) -> None:
        if self._tab is not None:
            self._tab.goto("about:blank")
        else:
            self._over.set()
            self._thread.join()

    def _poll(self) -> None:
        with urllib.request.urlopen(self._url + "config") as reply:
            config = json.load(reply)
        header = next(c["id"] for c in config["components"] if "pulse" in str(c["props"].get("server_fns", "")) or
                      "pulse" in json.dumps(c["props"].get("server_functions", "")))  # fmt: skip
        since, session = 0, "v" + secrets.token_hex(16)
        while not self._over.is_set():
            data = {"session": session, "run": self._run, "since": since}
            body = json.dumps(
                {"session_hash": "bench", "component_id": header, "fn_name": "pulse", "data": data}
            ).encode()
            request = urllib.request.Request(
                self._url + "gradio_api/component_server", body, {"Content-Type": "application/json"}
            )
            with urllib.request.urlopen(request) as answer:
                since = json.load(answer)["cursor"]
            self._over.wait(0.25)


if __name__ == "__main__":
    main()
