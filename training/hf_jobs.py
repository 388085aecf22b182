"""Training on Hugging Face Jobs, with the account and the money of whoever gives the token.

`send` makes a private repository in that account with all that the training needs (hf_payload.py), and starts a job
that trains and leaves the run there (hf_worker.py); `look` says how it goes; `fetch` makes it a run of one's own here.

The token is an argument of each call and nothing else: it is kept nowhere, stands in no message, and reaches the job
as a secret. Everything goes to the address in `HF_ENDPOINT`, or to huggingface.co.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from training.bundle import MAX_BYTES, unpack
from training.distributed import check_sharding
from training.estimate import amount, foreseen
from training.files import megabytes, shown, shown_list
from training.flags import parser as training_parser
from training.hf_account import RIGHTS, TOKENS_PAGE, Hardware, JobsError, account, asking, endpoint, hardware
from training.hf_payload import RESULT, ROOT, Order, order_of, parcel, pins
from training.hf_worker import MARK
from training.runs import new_run_id
from training.units import both, in_bits, unit_of

CPU_IMAGE = "python:3.11"
"""Docker's own; the job installs torch without CUDA into it, a smaller download than any image with torch in it."""
GPU_IMAGE = "pytorch/pytorch:2.13.0-cuda12.6-cudnn9-runtime"
"""PyTorch's own with the torch that is pinned, so that no paid minute goes by while CUDA is installed. CUDA 12.6 asks
the least of the machine's driver."""
NEW_GPU_IMAGE = "pytorch/pytorch:2.13.0-cuda13.0-cudnn9-runtime"
"""For GPUs that CUDA 12.6 does not know yet."""
_NEWER = ("rtx-pro",)
LEAST_S, MOST_S = 300, 7 * 86_400
_LABEL, _PREFIX = "glass-gpt", "glass-gpt-"
_TAIL = 200  # lines of a log
_SHOWN = 30
OVER = ("completed", "canceled", "error", "deleted")
_BOOT = """set -e
python3 -m pip install --quiet --root-user-action=ignore {hub}
python3 -c "import os; from huggingface_hub import snapshot_download as get; \\
get(os.environ['GLASS_REPO'], revision=os.environ['GLASS_REVISION'], local_dir='glass-gpt')"
cd glass-gpt
export PYTHONPATH="$PWD/source"
exec python3 -m training.hf_worker
"""

#: What a job tells of its training.
FIGURES = ("step", "steps", "loss", "val_loss", "bytes_per_token", "train_bytes_per_token")


@dataclass(frozen=True)
class Job:
    """A training that was sent. run: its id; price: US dollars a minute; limit_s: after which the Hub ends it."""

    id: str
    namespace: str
    run: str
    name: str
    flavor: str
    price: float | None
    limit_s: int
    url: str

    @property
    def repo(self) -> str:
        """The private repository that it was sent in, and leaves its run in."""
        return f"{self.namespace}/{_PREFIX}{self.run}"

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Job:
        """What `dataclasses.asdict` gave, kept somewhere. Raises KeyError."""
        return cls(**{f.name: values[f.name] for f in fields(cls)})


@dataclass(frozen=True)
class Look:
    """How a job stands. stage: the Hub's word in lower case; say: a sentence; seconds: running so far, or None before;
    cost: US dollars; ready: the run can be fetched; lines: the last of its log where it ended before its end."""

    job: Job
    stage: str
    say: str
    seconds: int | None = None
    cost: float | None = None
    step: int | None = None
    steps: int | None = None
    loss: float | None = None
    val_loss: float | None = None
    bytes_per_token: float | None = None
    train_bytes_per_token: float | None = None
    ready: bool = False
    lines: tuple[str, ...] = ()

    @property
    def over(self) -> bool:
        """Whether it will not run any more."""
        return self.stage in OVER


# ---- the calls ----------------------------------------------------------------------------------------------------


def send(order: Order, flavor: str, limit_s: int, token: str, say: Callable[[str], None] = lambda _: None) -> Job:
    """Upload what a training needs, and start it. Raises JobsError or ConfigError; then nothing is left behind."""
    offers = hardware(token)
    chosen = next((each for each in offers if each.name == flavor), None)
    if chosen is None:
        raise JobsError(f'There is no hardware "{shown(flavor)}": choose {shown_list([e.name for e in offers], 40)}.')
    if not LEAST_S <= limit_s <= MOST_S:
        raise JobsError(f"The time limit is {limit_s:,} s: give {LEAST_S // 60} minutes to {MOST_S // 86_400} days.")
    check_sharding(order.recipe.train, chosen.processes)
    _check_room(order, chosen)
    namespace = account(token)
    job = Job("", namespace, new_run_id(order.name), order.name, flavor, chosen.price, limit_s, "")
    with tempfile.TemporaryDirectory() as scratch:
        files = parcel(order, job.run, chosen.processes, chosen.on_gpu, limit_s - _spare(limit_s), Path(scratch))
        size = sum(path.stat().st_size for path in files.values())
        say(f"{len(files)} files, {megabytes(size)}, to the private repository {job.repo}")
        with asking(token, "create the repository") as api:
            api.create_repo(job.repo, private=True)
        try:
            revision = _upload(job, files, token)
            return _start(job, revision, chosen, token)
        except BaseException as error:
            if (left := _taken_back(job, token)) and isinstance(error, ValueError):
                raise JobsError(f"{error} {left}") from None
            raise


def _taken_back(job: Job, token: str) -> str:
    """Delete the repository of a job that did not start; a sentence where it stays."""
    try:
        forget(job, token)
    except JobsError:
        return f"The repository {job.repo} is left there: delete it on its page at the Hub."
    return ""


def look(job: Job | str, token: str) -> Look:
    """How a job stands. job: what `send` returned, or an id, also as `namespace/id`. Raises JobsError."""
    info = _inspected(job, token)
    known = job if isinstance(job, Job) else _job_of(info)
    stage = str(getattr(info.status.stage, "value", info.status.stage)).lower()
    seconds = info.durations.running_secs if info.durations is not None else None
    price = known.price
    if price is None:
        with suppress(JobsError):
            price = next((each.price for each in hardware(token) if each.name == known.flavor), None)
    lines = _log(known, token) if stage != "scheduling" else []
    news = news_in(lines)
    ready = stage in OVER and _is_there(known, token)
    cost = None if price is None or seconds is None else price * seconds / 60
    say = _said(stage, ready, news, str(info.status.message or ""), known, seconds)
    plain = tuple(shown(line, 300) for line in lines if not line.startswith(MARK) and line.strip())
    known_news = {name: news.get(name) for name in FIGURES}
    ended_well = stage == "completed" and ready
    tail = plain[-_SHOWN:] if stage in OVER and not ended_well else ()
    return Look(known, stage, say, seconds, cost, **known_news, ready=ready, lines=tail)


def find(job_id: str, token: str) -> Job:
    """The job with this id, also as `namespace/id` or the address of its page. Raises JobsError."""
    return _job_of(_inspected(job_id, token))


def cancel(job: Job | str, token: str) -> None:
    """End a job. What it had learnt is lost, but for what it can still upload. Raises JobsError."""
    namespace, job_id = _named(job, token)
    with asking(token, "cancel the job", "job") as api:
        api.cancel_job(job_id=job_id, namespace=namespace)


def download(job: Job, token: str, folder: Path, most: int = MAX_BYTES) -> Path:
    """The zip of a job's run, fetched into a folder. most: bytes. Raises JobsError."""
    with asking(token, "hand out the run", "run") as api:
        from huggingface_hub import get_hf_file_metadata, hf_hub_url

        url = hf_hub_url(job.repo, RESULT, endpoint=api.endpoint)
        size = get_hf_file_metadata(url, token=token, endpoint=api.endpoint).size
        if size is not None and size > most:
            raise JobsError(
                f"The run is {megabytes(size)} and the most here is {megabytes(most)}: fetch it on a machine of your "
                "own with `python -m training.hf_jobs fetch`."
            )
        return Path(api.hf_hub_download(job.repo, RESULT, local_dir=folder))


def fetch(job: Job | str, token: str, runs: Path) -> str:
    """Make a job's run one of the folder `runs`; returns its id. Raises JobsError, or BundleError for a damaged zip."""
    if isinstance(job, str):
        job = find(job, token)
    with tempfile.TemporaryDirectory() as scratch:
        return unpack(download(job, token, Path(scratch)), runs)


def forget(job: Job, token: str) -> None:
    """Delete the repository of a job, its run included. Raises JobsError."""
    with asking(token, "delete the repository", "run") as api:
        api.delete_repo(job.repo, missing_ok=True)


# ---- how ----------------------------------------------------------------------------------------------------------


def _check_room(order: Order, chosen: Hardware) -> None:
    """Raises JobsError where the training cannot fit in the memory that is hired: nothing is paid for to learn that."""
    need = foreseen(order.config, order.recipe.train, chosen.processes).memory
    if chosen.memory is not None and need > chosen.memory:
        raise JobsError(
            f"This needs about {amount(need)} of memory in each process, and {chosen.name} has "
            f"{amount(chosen.memory)}: choose larger hardware, or a smaller batch_size with a larger accumulate."
        )


def _spare(limit_s: int) -> int:
    """Seconds at the end of a job that are kept for packing and uploading."""
    return min(600, max(60, limit_s // 10))


def _upload(job: Job, files: dict[str, Path], token: str) -> str:
    """Put the files into the repository in one commit; returns that."""
    from huggingface_hub import CommitOperationAdd

    with asking(token, "take the files") as api:
        parts = [CommitOperationAdd(name, path) for name, path in files.items()]
        return str(api.create_commit(job.repo, parts, commit_message=f"Train {shown(job.name, 80)}").oid)


def _start(job: Job, revision: str, chosen: Hardware, token: str) -> Job:
    hub = next(pin for pin in pins() if pin.startswith("huggingface_hub=="))
    env = {
        "GLASS_REPO": job.repo,
        "GLASS_REVISION": revision,
        "GLASS_NAME": job.name,
        "GLASS_LIMIT_S": str(job.limit_s),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "PIP_BREAK_SYSTEM_PACKAGES": "1",  # PyTorch's image has the system's Python, and is the job's alone
        "PYTHONUNBUFFERED": "1",
    }
    if address := endpoint():
        env["HF_ENDPOINT"] = address
    newer = GPU_IMAGE if not job.flavor.startswith(_NEWER) else NEW_GPU_IMAGE
    with asking(token, "start the job", "start") as api:
        info = api.run_job(
            image=newer if chosen.on_gpu else CPU_IMAGE,
            command=["bash", "-c", _BOOT.format(hub=hub)],
            env=env,
            secrets={"HF_TOKEN": token},
            flavor=job.flavor,
            timeout=job.limit_s,
            name=f"{_PREFIX}{job.run}",
            labels={_LABEL: job.run},
            namespace=job.namespace,
        )
    return Job(str(info.id), job.namespace, job.run, job.name, job.flavor, job.price, job.limit_s, str(info.url))


def _inspected(job: Job | str, token: str) -> Any:
    """What the Hub tells of a job. Raises JobsError."""
    namespace, job_id = _named(job, token)
    with asking(token, "tell about the job", "job") as api:
        return api.inspect_job(job_id=job_id, namespace=namespace)


def _named(job: Job | str, token: str) -> tuple[str, str]:
    """(namespace, id) of a job."""
    if isinstance(job, Job):
        return job.namespace, job.id
    parts = job.strip().rstrip("/").split("/")[-2:]
    if not all(re.fullmatch(r"[\w.-]{1,96}", part, re.ASCII) for part in parts):
        raise JobsError(f'"{shown(job)}" is no job: give its id, as `send` printed it or as its page shows it.')
    return (parts[0] if len(parts) > 1 else account(token)), parts[-1]


def _job_of(info: Any) -> Job:
    """The job that the Hub tells of. Raises JobsError for one that this program did not start."""
    labels, env = info.labels or {}, info.environment or {}
    run = labels.get(_LABEL)
    if not isinstance(run, str) or not re.fullmatch(r"[a-z0-9-]{1,80}", run):
        raise JobsError("This job was not sent by Glass GPT: give the id of one that was.")
    limit = str(env.get("GLASS_LIMIT_S", ""))
    name = str(env.get("GLASS_NAME", run))
    flavor = str(getattr(info.flavor, "value", info.flavor))
    return Job(
        str(info.id), info.owner.name, run, name, flavor, None, int(limit) if limit.isdigit() else 0, str(info.url)
    )


def _log(job: Job, token: str) -> list[str]:
    """The last lines of a job's log; none where it cannot be had. A token in it would be struck out."""
    try:
        with asking(token, "hand out the log", "job") as api:
            lines = list(api.fetch_job_logs(job_id=job.id, namespace=job.namespace, tail=_TAIL))
    except JobsError:
        return []
    return [str(line).replace(token, "…").rstrip("\n") for line in lines]


def news_in(lines: list[str]) -> dict[str, Any]:
    """What hf_worker.py told in the lines of a log: step, steps, loss, val_loss, bytes_per_token,
    train_bytes_per_token; failed, stopped, uploaded. Anything else in a log is passed over, and so is a value of
    another kind."""
    kinds: dict[str, type] = {
        "step": int, "steps": int, "uploaded": int, "loss": float, "val_loss": float, "bytes_per_token": float,
        "train_bytes_per_token": float, "failed": str, "stopped": str,
    }  # fmt: skip
    found: dict[str, Any] = {}
    for line in lines:
        if not line.startswith(MARK):
            continue
        with suppress(ValueError, RecursionError):
            values = json.loads(line.removeprefix(MARK))
            for name, kind in kinds.items():
                value = values.get(name) if isinstance(values, dict) else None
                if kind is float and type(value) is int:
                    value = float(value)
                if type(value) is kind and (not isinstance(value, float) or math.isfinite(value)):
                    found[name] = value
    return found


def _is_there(job: Job, token: str) -> bool:
    """Whether a job left its run. A repository that is gone has none."""
    with suppress(JobsError), asking(token, "look for the run", "run") as api:
        return bool(api.file_exists(job.repo, RESULT))
    return False


def _said(stage: str, ready: bool, news: dict[str, Any], message: str, job: Job, seconds: int | None) -> str:
    """A sentence about a job."""
    bring = " What it had learnt by then can be brought here." if ready else " It left no run."
    why = f" ({shown(news['failed'], 300).rstrip('.')})" if "failed" in news else ""
    told = f" The Hub says: {shown(message, 200).rstrip('.')}." if message else ""
    if stage == "scheduling":
        return "It waits for a machine." + told
    if stage == "running":
        if "uploaded" in news:
            return "It has uploaded its run and ends."
        return "It trains." if "step" in news else "The machine is there: it installs what the training needs."
    if stage == "completed":
        if not ready:
            return "It ended, and its run is not in its repository: it was removed there. Send it again."
        return "Its time was nearly over, so it was stopped and kept." if "stopped" in news else "It is done."
    if stage == "canceled":
        return "It was cancelled." + bring
    if stage == "deleted":
        return "The job was deleted at the Hub." + bring
    if seconds is not None and job.limit_s and seconds >= job.limit_s:
        return f"It ran into its time limit of {job.limit_s / 60:,.0f} minutes.{bring} Send it with a longer one."
    if "stopped" in news and not ready:
        return f"Its time was over before the training had begun.{bring} Send it with a longer one."
    return f"It failed{why}.{told}{bring}"


# ---- the command line ---------------------------------------------------------------------------------------------


def parser() -> argparse.ArgumentParser:
    """The command line of this program; `send` takes the flags of `python -m training` as well."""
    p = argparse.ArgumentParser(prog="python -m training.hf_jobs", description="Train on Hugging Face Jobs.")
    commands = p.add_subparsers(dest="command", required=True)
    commands.add_parser("hardware", help="what can be hired, and its price")
    sending = commands.add_parser(
        "send", help="start a training", parents=[training_parser()], conflict_handler="resolve", add_help=False
    )
    sending.add_argument("--flavor", required=True, help="the hardware, by its name in `hardware`")
    sending.add_argument("--time-limit", default="1h", type=duration, help="such as 45m, 2h or 1d (default 1h)")
    for name, help_ in (("look", "how a job stands"), ("cancel", "end a job"), ("forget", "delete its repository")):
        commands.add_parser(name, help=help_).add_argument("job", help="its id, or namespace/id")
    fetching = commands.add_parser("fetch", help="make a job's run one of one's own")
    fetching.add_argument("job", help="its id, or namespace/id")
    fetching.add_argument("--runs", type=Path, default=ROOT / "runs", help="the folder of runs (default runs)")
    return p


def duration(text: str) -> int:
    """Seconds in `90m`, `2h`, `1d` or `3600`. Raises argparse.ArgumentTypeError."""
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([smhd]?)", text.strip())
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no time: write 45m, 2h or 1d.")
    return int(float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}[found[2]])


def main(argv: list[str] | None = None) -> int:
    """Run the program; 0 when all went well, 2 with a sentence on stderr when something was wrong."""
    options = vars(parser().parse_args(argv))
    try:
        _carry_out(options, _own_token())
    except ValueError as error:
        print(f"python -m training.hf_jobs: {getattr(error, 'console', error)}", file=sys.stderr)
        return 2
    return 0


def _own_token() -> str:
    """Of the environment (HF_TOKEN) or of `hf auth login`."""
    from huggingface_hub import get_token

    found = get_token()
    if found is None:
        raise JobsError(f"There is no token: `hf auth login`, or set HF_TOKEN. {RIGHTS}: make one at {TOKENS_PAGE}.")
    return found


def _carry_out(options: dict[str, Any], token: str) -> None:
    command = options.pop("command")
    if command == "hardware":
        for each in hardware(token):
            print(f"{each.name:<20} ${each.price:.4f} a minute   {each.about}")
    elif command == "send":
        flavor, limit = options.pop("flavor"), options.pop("time_limit")
        job = send(order_of(options), flavor, limit, token, print)
        print(f"{job.namespace}/{job.id}", job.url, sep="\n")
        if job.price is not None:
            print(f"at most ${job.price * limit / 60:.2f}, at ${job.price:.4f} a minute")
    elif command == "look":
        print("\n".join(report(look(options["job"], token))))
    elif command == "cancel":
        cancel(options["job"], token)
        print("cancelled")
    elif command == "forget":
        job = find(options["job"], token)
        forget(job, token)
        print(f"{job.repo} is deleted")
    else:
        print(options["runs"] / fetch(options["job"], token, options["runs"]))


def report(found: Look) -> list[str]:
    """A look, in lines."""
    lines = [f"{found.job.name}: {found.say}", found.job.url]
    if found.step is not None:
        of = "" if found.steps is None else f" of {found.steps:,}"
        losses = (
            ("train loss", found.loss, found.train_bytes_per_token or found.bytes_per_token),
            ("validation", found.val_loss, found.bytes_per_token),
        )
        told = [f"{what} {both(loss, in_bits(loss, size), 3)}" for what, loss, size in losses if loss is not None]
        unit = f" {unit_of(found.bytes_per_token)}" if told else ""
        lines.append(", ".join([f"step {found.step:,}{of}", *told]) + unit)
    if found.seconds is not None:
        cost = "" if found.cost is None else f", ${found.cost:.2f} so far"
        lines.append(f"{found.seconds / 60:,.1f} minutes on {found.job.flavor}{cost}")
    if found.ready:
        lines.append(f"python -m training.hf_jobs fetch {found.job.namespace}/{found.job.id}")
    return [*lines, *(f"  {line}" for line in found.lines)]


__all__ = [
    "Hardware", "Job", "JobsError", "Look", "cancel", "download", "duration", "fetch", "find", "forget", "hardware",
    "look", "news_in", "report", "send",
]  # fmt: skip

if __name__ == "__main__":
    raise SystemExit(main())
