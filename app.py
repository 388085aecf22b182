"""Glass GPT: `python app.py`, then open the address that it prints. This file only composes the page."""

from __future__ import annotations

import argparse
import os
import secrets
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # both have to be set before Gradio is imported
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import gradio as gr

from explorer import api, glossary, text
from explorer.branches import branches as answer_branches
from explorer.compare import Compare
from explorer.components import drawn, head
from explorer.decode import decode as answer_decode
from explorer.forks import Forks
from explorer.hf_jobs import HfJobs
from explorer.imports import Imports
from explorer.learnt import Learnt
from explorer.limits import Limits
from explorer.runs import Runs
from explorer.server import Server, answering
from explorer.steps import step as answer_step
from explorer.tabs import attention, corpus, decode, train
from explorer.theme import GlassTheme
from explorer.watch import control as answer_control
from explorer.watch import pulse as answer_pulse

ROOT = Path(__file__).resolve().parent


def parser() -> argparse.ArgumentParser:
    """The command line of the app."""
    p = argparse.ArgumentParser(description="Train small GPTs on your own text and look into every head of them.")
    p.add_argument("--port", type=int, default=int(os.environ.get("GRADIO_SERVER_PORT", "7860")), help="default 7860")
    default_host = "0.0.0.0" if os.environ.get("SPACE_ID") else "127.0.0.1"
    p.add_argument(
        "--host", default=default_host, help="0.0.0.0 lets other machines in; visitors then see their own runs only"
    )
    p.add_argument("--runs", type=Path, default=ROOT / "runs", help="the folder that trainings are kept in")
    return p


def build_app(runs: Path = ROOT / "runs", limits: Limits | None = None, weights: Path = ROOT / "weights") -> gr.Blocks:
    """The page, ready to launch. runs: the folder of trainings; weights: the shipped models."""
    server = Server(runs, weights, limits or Limits())

    @answering
    def decode_(request: Any) -> dict[str, Any]:
        return answer_decode(server, request)

    @answering
    def branches(request: Any) -> dict[str, Any]:
        return answer_branches(server, request)

    @answering
    def pulse(request: Any) -> dict[str, Any]:
        return answer_pulse(server, request)

    @answering
    def control(request: Any) -> dict[str, Any]:
        return answer_control(server, request)

    @answering
    def step(request: Any) -> dict[str, Any]:
        return answer_step(server, request)

    decode_.__name__ = "decode"  # the name that the page's scripts call it by
    learnt = Learnt(server, weights)
    look_up = [answering(f) for f in (learnt.learnt, learnt.places, learnt.measure, learnt.by_heart)]
    opening = begin(decode_)
    imports, runs_, compare = Imports(server), Runs(server), Compare(server)
    belongings = [answering(f) for f in (runs_.runs, runs_.rename, runs_.delete, runs_.download)]
    belongings += [answering(compare.compare), answering(compare.export)]
    forks = Forks(server)
    forking = [answering(forks.fork_offer), answering(forks.fork)]
    hired = HfJobs(server, imports, train.name_of)
    hiring = [answering(f) for f in (hired.hf_hardware, hired.hf_send, hired.hf_jobs, hired.hf_cancel)]
    hiring += [answering(hired.hf_fetch), answering(hired.hf_forget)]
    with gr.Blocks(title=text.TITLE, fill_width=True, analytics_enabled=False) as demo:
        visitor = gr.Textbox(visible="hidden", elem_id="visitor", show_label=False)
        opened = [answering(imports.open_model), answering(imports.remove_model)]
        drawn("header", first_words(server, opening), [pulse, control, decode_, *opened])
        corpus_state = corpus.state(server)
        with gr.Tabs(selected="decode", overflow_behavior="wrap"):
            with gr.Tab(text.CORPUS, id="corpus"):
                corpus.build(server, visitor)
            with gr.Tab(text.TRAIN, id="train") as train_tab:
                train.build(server, visitor, train_tab, corpus_state, [control, step, *forking], belongings, hiring)
            with gr.Tab(text.DECODE, id="decode"):
                decode.build(decode_, opening, look_up, branches)
            with gr.Tab(text.ATTENTION, id="attention"):
                attention.build(decode_, opening)
        api.add(server)
    demo.queue(default_concurrency_limit=2)
    demo.server_state = server
    return demo


def first_words(server: Server, opening: dict[str, Any]) -> dict[str, Any]:
    """What the header knows before it asks: the models, whose curve can be shown, and how large a file may be."""
    return {
        "model": opening.get("model"),
        "models": server.shelf.shipped(),
        "example": server.shipped.offered(),
        "upload_bytes": server.limits.upload_bytes,
        "model_bytes": server.limits.model_bytes,
        "run_bytes": server.limits.run_bytes,
        "glossary": glossary.read(),
    }


def begin(decode_: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
    """The reply that the page opens on: the shipped model wrote a little, seen through its previous-token head."""
    request: dict[str, Any] = {"session": "v" + secrets.token_hex(16), "prompt": text.PROMPT, "append": {"count": 21}}
    first = decode_(request)
    if not first["ok"]:
        return first
    scores = first["kinds"]["previous"]
    places = [(layer, head) for layer, row in enumerate(scores) for head in range(len(row))]
    return decode_({**request, "head": max(places, key=lambda place: scores[place[0]][place[1]] or 0.0)})


def launch_options(limits: Limits) -> dict[str, Any]:
    """How the page is launched, wherever it is launched."""
    return {
        "theme": GlassTheme(),
        "head": head(),
        "ssr_mode": False,
        "run_history": False,
        "footer_links": [],
        "max_file_size": max(
            4 * limits.upload_bytes, 2 * limits.model_bytes, limits.run_bytes
        ),  # up to here the page itself says what is too large
        "state_session_capacity": limits.visitors,
    }


options = parser().parse_args(None if __name__ == "__main__" else [])
limits = Limits.for_host(options.host)
demo = build_app(options.runs, limits)

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends like Ctrl-C: trainings keep their weights
    try:
        demo.launch(server_name=options.host, server_port=options.port, **launch_options(limits))
    except (OSError, OverflowError) as error:
        raise SystemExit(
            f"app.py: the address {options.host}:{options.port} cannot be used ({error}). "
            f"Use another port, such as --port {7861 if options.port == 7860 else 7860}, or stop the other program."
        ) from None
    finally:
        demo.server_state.jobs.close()  # type: ignore[attr-defined]
