"""The loss of one or several runs as a page of its own: plotly's figure and plotly itself in one file of about 4.5 MB,
which needs no network.

Names are hostile: plotly reads a little HTML in texts, and the page holds them in a script. So they are escaped for the
first, and plotly's own writer escapes `<`, `>` and `/` for the second.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from explorer.compare import Curve
from training.artifacts import smooth

COLOURS = ("#3b4cca", "#d9730d", "#0f8a6b", "#b1338f", "#7a6a00", "#2f86c8")
"""Of the runs, in their order; told apart also by those who see fewer colours, because lightness differs."""
AXES = {"step": "step", "seconds": "seconds of training", "tokens": "tokens learnt from"}
UNITS = {"bits": "bits per byte", "nats": "nats per token"}
_POINTS = 8_000  # of a raw curve


def figure(curves: Sequence[Curve], unit: str = "nats", axis: str = "step") -> go.Figure:
    """Training (smoothed, and raw behind it) and validation of each run; with one run also what counting alone gives.

    unit: `nats` or `bits`, which falls back to nats where one of the runs does not know its bytes.
    axis: `step`, `seconds` or `tokens`.
    """
    if unit == "bits" and any(curve.factor is None and curve.steps for curve in curves):
        unit = "nats"
    chart = go.Figure()
    for number, curve in enumerate(curves):
        _draw(chart, curve, COLOURS[number % len(COLOURS)], unit, axis, several=len(curves) > 1)
    if len(curves) == 1:
        _draw_baselines(chart, curves[0], unit)
    chart.update_layout(
        title={"text": "Loss of " + ", ".join(safe(curve.name) for curve in curves)},
        template="plotly_white",
        hovermode="x unified",
        legend={"groupclick": "toggleitem"},
        font={"family": "system-ui, sans-serif"},
        xaxis={"title": {"text": AXES[axis]}},
        yaxis={"title": {"text": f"loss ({UNITS[unit]})"}},
    )
    return chart


def page_of(curves: Sequence[Curve], unit: object = "nats", axis: object = "step") -> str:
    """The figure as a whole HTML page. What is asked for and not known becomes nats over steps."""
    chart = figure(curves, str(unit) if unit in UNITS else "nats", str(axis) if axis in AXES else "step")
    body = chart.to_html(full_html=False, include_plotlyjs=True, default_height="94vh", config={"displaylogo": False})
    title = html.escape("Loss of " + ", ".join(curve.name for curve in curves))
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width"></head>'
        f"<body>{body}</body></html>\n"
    )


def safe(text: str) -> str:
    """A text that plotly shows letter by letter: no markup of it is read, and no line break ends it."""
    return html.escape(" ".join(text.split()), quote=False) or "(no name)"


def _draw(chart: go.Figure, curve: Curve, colour: str, unit: str, axis: str, several: bool) -> None:
    name, group = safe(curve.name) if several else "", f"{curve.ref}"
    label = f"{name} " if several else ""
    every = max(1, -(-len(curve.steps) // _POINTS))
    xs = [_x(axis, event, tokens) for event, tokens in zip(curve.steps, curve.tokens, strict=True)]
    losses = [event.loss if unit == "nats" else curve.learnt_bits(event.loss) for event in curve.steps]
    even = smooth([value for value in losses if value is not None])
    shared: dict[str, Any] = {"legendgroup": group, "mode": "lines", "hovertemplate": "%{y:.4f}"}
    if curve.steps:
        chart.add_scatter(
            x=xs[::every], y=losses[::every], name=f"{label}training, every step", line={"color": colour, "width": 0.7},
            opacity=0.35, visible="legendonly" if several else True, **shared,
        )  # fmt: skip
        chart.add_scatter(
            x=xs[::every], y=even[::every], name=f"{label}training, smoothed",
            line={"color": colour, "width": 1.5 if several else 2.2, "dash": "dot" if several else "solid"}, **shared,
        )  # fmt: skip
    held_out = [event for event in curve.evals if event.val_loss is not None]
    if held_out:
        values = [e.val_loss if unit == "nats" else curve.bits(e.val_loss, e.bits_per_byte) for e in held_out]
        chart.add_scatter(
            x=[_x(axis, event, curve.tokens_at(event.step)) for event in held_out], y=values,
            name=f"{label}validation", line={"color": colour if several else COLOURS[1], "width": 2},
            **(shared | {"mode": "lines+markers"}),
        )  # fmt: skip


def _draw_baselines(chart: go.Figure, curve: Curve, unit: str) -> None:
    known = curve.baselines
    for name, value in (known.nats if unit == "nats" else known.bits).items() if known is not None else ():
        chart.add_hline(
            y=value, line={"color": "#8a90a0", "width": 1, "dash": "dash"},
            annotation={"text": safe(f"{name} {value:.2f}"), "font": {"size": 11, "color": "#5d6472"}},
        )  # fmt: skip


def _x(axis: str, event: Any, tokens: int) -> float:
    return {"step": event.step, "seconds": event.wall_s, "tokens": tokens}[axis]
