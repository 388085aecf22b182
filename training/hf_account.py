"""Talking to the Hugging Face Hub in the name of whoever gives a token: what there is to hire, and what goes wrong, in
sentences. hf_jobs.py sends and fetches trainings with it.

The token is an argument of each call and nothing else: it is kept nowhere and stands in no message.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from training.files import shown

TOKENS_PAGE = "https://huggingface.co/settings/tokens"
RIGHTS = "It needs the right to create repositories and write to them, and to start Jobs"


class JobsError(ValueError):
    """What the Hub refused or a job came to; the message says what to do."""


@dataclass(frozen=True)
class Hardware:
    """What can be hired. price: US dollars a minute; processes: how many train together, one a GPU; memory: bytes that
    each has, where the Hub says; about: for people."""

    name: str
    title: str
    about: str
    price: float
    processes: int
    on_gpu: bool
    memory: float | None


def hardware(token: str) -> list[Hardware]:
    """What can be hired to train on, the cheapest first. Raises JobsError."""
    with asking(token, "list its hardware") as api:
        listed = api.list_jobs_hardware()
    return sorted(filter(None, map(_hardware, listed)), key=lambda each: each.price)


def account(token: str) -> str:
    """The account that a token belongs to. Raises JobsError, also for one that may only read."""
    with asking(token, "say whose token it is") as api:
        told = api.whoami()
    if told.get("auth", {}).get("accessToken", {}).get("role") == "read":
        raise JobsError(f"This token may only read. {RIGHTS}: make one at {TOKENS_PAGE}.")
    return str(told["name"])


def _hardware(info: Any) -> Hardware | None:
    """None for machines that this program does not know to train on."""
    a_minute = {"second": 60.0, "minute": 1.0, "hour": 1 / 60}.get(info.unit_label)
    gpu = info.accelerator
    if a_minute is None or (gpu is not None and (gpu.type.lower(), gpu.manufacturer.lower()) != ("gpu", "nvidia")):
        return None
    count = int(gpu.quantity) if gpu is not None and str(gpu.quantity).isdigit() else 1
    room = _bytes(gpu.vram if gpu is not None else info.ram)
    parts = [f"{count} × {gpu.model}, {gpu.vram}"] if gpu is not None else []
    about = ", ".join([*parts, info.cpu, f"{info.ram} of memory"])
    each = None if room is None else room / max(1, count)
    price = float(info.unit_cost_usd) * a_minute
    return Hardware(info.name, info.pretty_name, about, price, max(1, count), gpu is not None, each)


def _bytes(text: str) -> float | None:
    found = re.fullmatch(r"\s*([\d.]+)\s*GB\s*", str(text), re.IGNORECASE)
    return float(found[1]) * 1e9 if found else None


def endpoint() -> str | None:
    """The address to ask; None leaves the choice to the library, which reads HF_ENDPOINT once, at its import."""
    return (os.environ.get("HF_ENDPOINT") or "").rstrip("/") or None


@contextmanager
def asking(token: str, what: str, about: str = "") -> Iterator[Any]:
    """huggingface_hub's client with this token; what goes wrong becomes a JobsError without the library's own message,
    which knows addresses. what: asked of the Hub, for the sentence; about: job, run or start."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    if not isinstance(token, str) or not re.fullmatch(r"[!-~]{8,8000}", token):
        raise JobsError(f"A token of Hugging Face is missing: make one at {TOKENS_PAGE} and give it. {RIGHTS}.")
    try:
        from huggingface_hub import HfApi
    except ImportError as error:
        raise JobsError("Jobs need huggingface_hub: pip install huggingface_hub.") from error
    try:
        yield HfApi(endpoint=endpoint(), token=token)
    except JobsError:
        raise
    except Exception as error:  # the library's own and its HTTP client's: they change between versions
        raise JobsError(_sentence(error, what, about, token)) from None


_GONE = {
    "job": "There is no such job in this account: check its id and the token.",
    "run": "The repository of this job is gone, or holds no run: what was in it is lost. Send the training again.",
}
_MAY_NOT = {
    "start": f"This token may not start Jobs, or the account's plan has none. {RIGHTS}: make one at {TOKENS_PAGE}.",
    "job": f"This token may not look after Jobs of this account. {RIGHTS}: make one at {TOKENS_PAGE}.",
}


def _sentence(error: Exception, what: str, about: str, token: str) -> str:
    """A failure of the library in a sentence."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status == 401:
        return f"The Hub does not know this token: copy it again from {TOKENS_PAGE}, or make a new one. {RIGHTS}."
    if status == 402:
        return "The account has no credit for Jobs: add some at https://huggingface.co/settings/billing and send again."
    if status == 403:
        return _MAY_NOT.get(about, f"This token may not write to the account. {RIGHTS}: make one at {TOKENS_PAGE}.")
    if status == 404 and about in _GONE:
        return _GONE[about]
    if status == 429:
        return "The Hub answers too many requests of this account just now. Try again in some minutes."
    if status is not None and status < 500:
        said = shown(str(getattr(error, "server_message", "") or "").replace(token, "…"), 200).rstrip(".")
        return f"The Hub refused to {what} ({said or status}): mend that and try again."
    if status is not None:
        return f"The Hub failed ({status}) when asked to {what}. Try again later."
    if isinstance(error, OSError) and error.filename is not None:
        return f"A file could not be read or written when the Hub was asked to {what} ({error.strerror}): make room."
    return f"The Hub could not be reached to {what}. Check the internet connection and try again."
