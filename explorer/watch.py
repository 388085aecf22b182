"""What the page asks a few times a second while something trains: how the watched run is doing, and what else is."""

from __future__ import annotations

import math
import statistics
from dataclasses import asdict
from typing import Any

from explorer.jobs import ELSEWHERE, OPENED, Run
from explorer.packing import pack_curve
from explorer.recipes import worded
from explorer.server import Server, opened_step
from explorer.shipped import is_shipped
from training.events import BaselinesKnown, Changed, Copied, Evaluated, Failed, Finished, Sampled, Started, Stepped
from training.resume import resumable_step
from training.runs import called
from training.units import in_bits
from training.unseen import told

_MOST_POINTS = 8_000
_PACE_OVER = 40  # steps
_BEGINNING = 5  # events
_LISTED = 1000  # copied tokens


def pulse(server: Server, raw: Any) -> dict[str, Any]:
    """Models, the active training, and what happened in one run after event `since`. Raises ValueError."""
    request = raw if isinstance(raw, dict) else {}
    visitor = server.visitors.get(request.get("session"))
    server.jobs.advance()  # whoever sees a run paused finds the next one begun
    active = server.jobs.active(visitor.owner)
    reply: dict[str, Any] = {
        "models": server.models(visitor.owner),
        "active": None if active is None else brief(active),
        "run": None,
    }
    if wanted := request.get("run"):
        run = server.shipped.find(wanted) if is_shipped(wanted) else server.jobs.find(wanted)
        since = request.get("since")
        since = since if isinstance(since, int) and not isinstance(since, bool) and since >= 0 else 0
        reply |= history(run, since)
        reply["run"] = describe(server, run, visitor.owner)
        if is_shipped(wanted):
            reply["run"] |= {"mine": False, "ref": wanted}
    return reply


def control(server: Server, raw: Any) -> dict[str, Any]:
    """Pause, resume or stop a run, change it in flight, or go on with one that is over. Raises ValueError."""
    request = raw if isinstance(raw, dict) else {}
    visitor = server.visitors.get(request.get("session"))
    if request.get("action") == "go_on":
        server.jobs.go_on(request.get("run"), visitor.owner, request.get("more"), request.get("rate"))
        return {}
    if request.get("action") == "change":
        with worded():
            server.jobs.change(request.get("run"), request.get("rate"), request.get("batch_size"), visitor.owner)
        return {}
    server.jobs.control(request.get("run"), request.get("action"), visitor.owner)
    return {}


def brief(run: Run) -> dict[str, Any]:
    """A training in one line of the header."""
    now = progress(run)
    return {
        "name": run.info.name,
        "run": run.info.id,
        "state": run.state,
        "step": now["step"],
        "steps": now["steps"],
        "seconds_left": now["seconds_left"],
    }


def describe(server: Server, run: Run, owner: str) -> dict[str, Any]:
    """All figures of a run at this moment."""
    return {
        "id": run.info.id,
        "name": run.info.name,
        "mine": server.jobs.owns(run, owner) and not run.elsewhere,
        "state": run.state,
        "queue_position": server.jobs.queue_position(run),
        "goes_on_from": goes_on_from(run),
        "taken_up": run.info.taken_up,
        "message": message(run) or in_front(server, run, owner),
        "snapshot_step": opened_step(run),
        "looked_at": looked_at(run),
        "diagnosis": diagnosis(run),
        "parent": parent(run),
        "batch_size": run.info.recipe.train.batch_size,
        "ref": f"run:{run.info.id}",
        "link": f"?run={run.info.id}",
        "corpus": run.info.corpus.get("name"),
        **beginning(run),
        **progress(run),
    }


def diagnosis(run: Run) -> dict[str, Any] | None:
    """How a run is doing, as training/diagnosis.py has it; None before there is anything to say."""
    if is_shipped(run.info.id) or run.state == OPENED:
        return None
    found = run.judged()
    return None if found is None else asdict(found) | {"remedies": [asdict(remedy) for remedy in found.remedies]}


def parent(run: Run) -> dict[str, Any] | None:
    """The run that this one was forked from."""
    found = run.info.parent
    return None if found is None else asdict(found) | {"ref": f"run:{found.id}", "edits": list(found.edits)}


def looked_at(run: Run) -> int | None:
    """The latest step that was made alone, whose batch can be asked for (explorer/steps.py)."""
    look = run.trainer.look if run.trainer is not None else None
    return look.step if look is not None else None


def beginning(run: Run) -> dict[str, Any]:
    """What was known when a run began: its unit of loss, and what it took from other models."""
    first, train = run.log.head(_BEGINNING), run.info.recipe.train
    started = next((event for event in first if isinstance(event, Started)), None)
    copied = next((event for event in first if isinstance(event, Copied)), None)
    return {
        "nats_to_bits": in_bits(1.0, started.bytes_per_token if started else None),
        "train_nats_to_bits": in_bits(1.0, started.learnt_bytes_per_token if started else None),
        "unseen": new_tokens(started),
        "copied": None if copied is None else {"rows": copied.rows, "of": copied.of, "tokens": copied.tokens[:_LISTED]},
        "from": {"teacher": called(train.teacher), "embeddings": called(train.embeddings_from)},
    }


def new_tokens(started: Started | None) -> str | None:
    """What is said of held-out tokens that the training part never has; None where there are none."""
    if started is None or started.unseen is None or started.spelling is None:
        return None
    return told(started.unseen, started.spelling)


def progress(run: Run) -> dict[str, Any]:
    """Step, pace and time left, from the last steps of the log."""
    steps = run.info.recipe.train.steps
    recent = [event for event in run.log.tail(2 * _PACE_OVER) if isinstance(event, Stepped)][-_PACE_OVER:]
    last = recent[-1] if recent else None
    pace = None
    if len(recent) > 1 and recent[-1].wall_s > recent[0].wall_s:
        pace = (recent[-1].step - recent[0].step) / (recent[-1].wall_s - recent[0].wall_s)
    going = run.state in ("running", "paused")
    return {
        "step": last.step if last else 0,
        "steps": steps,
        "seconds_left": (steps - last.step) / pace if going and last and pace else None,
        "tokens_per_s": statistics.median(event.tokens_per_s for event in recent) if recent else None,
        "learning_rate": last.lr if last else None,
        "grad_norm": last.grad_norm if last else None,
        "soft_loss": last.soft_loss if last else None,
    }


def goes_on_from(run: Run) -> int | None:
    """The step from which a run that is over could go on; None for another, and where it cannot."""
    over = run.trainer is None and run.state in ("interrupted", "stopped", "failed", "finished")
    return resumable_step(run.folder) if over else None


def message(run: Run) -> str | None:
    """A sentence about how a run stands or ended, where there is one to say."""
    last = next(iter(run.log.tail(1)), None)
    if isinstance(last, Failed):
        return last.message
    if isinstance(last, Finished) and last.reason == "target":
        return f"The validation loss reached its target after {last.step:,} steps."
    if run.state == OPENED:
        return f"Opened from a file, {run.info.corpus.get('name')}: it was trained elsewhere, so it has no curve here."
    if run.waits_to_go_on:
        return f"It goes on from step {progress(run)['step']:,} once another training ends or is paused."
    if run.elsewhere and run.state in ("running", "paused"):
        return ELSEWHERE
    if run.state == "interrupted":
        step = goes_on_from(run)
        if step is None:
            rest = "Its last checkpoint can be looked into, but it cannot go on: train it again."
        else:
            rest = f"It can go on from step {step:,}." if step else "It can begin anew."
        return f"The program ended before this training did. {rest}"
    if run.state == "running" and last is None:
        return "Preparing the text and the model."
    return None


def in_front(server: Server, run: Run, owner: str) -> str | None:
    """What a run waits for, as far as a visitor may know its name."""
    running = server.jobs.active(owner)
    if run.state != "queued" or running is None or running.state != "running":
        return None
    left = progress(running)["seconds_left"]
    when = "" if left is None else f" and needs about {max(1, math.ceil(left / 60)):,} min more"
    return f"{running.info.name} trains now{when}; pause it to let this one begin."


def history(run: Run, since: int) -> dict[str, Any]:
    """What happened from event `since` on, by kind, for the chart and the samples; and the cursor for the next call."""
    events, cursor = run.log.since(since)
    steps = [event for event in events if isinstance(event, Stepped)]
    steps = steps[:: max(1, -(-len(steps) // _MOST_POINTS))]
    evals = [event for event in events if isinstance(event, Evaluated)]
    return {
        "cursor": cursor,
        "points": {"step": [e.step for e in steps], "loss": pack_curve([e.loss for e in steps])},
        "evals": {
            "step": [e.step for e in evals],
            "train": pack_curve([e.loss for e in evals]),
            "val": pack_curve([e.val_loss for e in evals]),
            "bits_per_byte": pack_curve([e.bits_per_byte for e in evals]),
        },
        "changes": [
            {"step": e.step, "rate": e.rate, "batch_size": e.batch_size} for e in events if isinstance(e, Changed)
        ],
        "samples": [{"step": e.step, "prompt": e.prompt, "text": e.text} for e in events if isinstance(e, Sampled)],
        "baselines": [
            {"name": name, "value": nats, "bits": event.bits.get(name), "share": event.share}
            for event in events
            if isinstance(event, BaselinesKnown)
            for name, nats in event.nats.items()
        ],
    }
