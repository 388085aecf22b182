"""docs/page-protocol.md against what the code sends and reads: every key documented, and nothing else."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest

from explorer.server import Server, answering
from explorer.tabs.corpus import Uploads, state
from explorer.watch import control, pulse
from tests.explorer.tiny import BPE, TEXT, ask, over, paused_at_once, tiny_trainer, token, try_to

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = (ROOT / "docs" / "page-protocol.md").read_text(encoding="utf-8")


def documented(section: str) -> set[str]:
    """The keys in the table below a heading."""
    found = re.search(rf"^### {section}$(.*?)(?=^##|\Z)", DOCUMENT, re.MULTILINE | re.DOTALL)
    assert found, section
    keys = re.findall(r"^\| `([^`]+)` \|", found[1], re.MULTILINE)
    assert len(keys) == len(set(keys)), section
    return set(keys)


def keys_of(value: dict[str, Any], prefix: str = "") -> set[str]:
    """All keys of a reply: `a`, `a.b` inside an object, `a[].b` of objects in a list."""
    found = set()
    for key, inner in value.items():
        found.add(prefix + key)
        if isinstance(inner, dict):
            found |= keys_of(inner, f"{prefix}{key}.")
        for item in inner if isinstance(inner, list) else []:
            if isinstance(item, dict):
                found |= keys_of(item, f"{prefix}{key}[].")
    return found


def test_decode_replies_as_documented(server: Server) -> None:
    for request in ({"prompt": "the cat"}, {"ids": [1, 2], "append": {"count": 2}}, {"prompt": "é", "rows": 1}):
        assert keys_of(ask(server, **request)) == documented("decode: reply")


def test_pulse_replies_as_documented(server: Server) -> None:
    trainer = tiny_trainer(server.jobs.root, sample_every=3)
    trainer.change(rate=0.5)
    done = over(server.jobs.submit(trainer))
    paused_at_once(server)
    reply = answering(lambda raw: pulse(server, raw))({"session": token(1), "run": done.info.id})
    of_some = {key for key in documented("pulse: reply") if re.match(r"run\.(parent|diagnosis\.remedies\[\])\.", key)}
    assert keys_of(reply) == documented("pulse: reply") - of_some  # those are in test_forks.py
    alone = answering(lambda raw: pulse(server, raw))({"session": token(1)})
    assert set(alone) == {"ok", "models", "active", "run"} <= documented("pulse: reply")
    states = set(re.findall(r"`(\w+)`", re.search(r"^\| `run.state` \|(.*)\|$", DOCUMENT, re.MULTILINE)[1]))  # type: ignore[index]
    assert {"queued", "running", "paused", "finished", "stopped", "failed", "interrupted", "opened"} == states


def test_control_and_corpus_reply_as_documented(server: Server) -> None:
    run = paused_at_once(server)
    request = {"session": token(1), "run": run.info.id, "action": "stop"}
    assert keys_of(answering(lambda raw: control(server, raw))(request)) == documented("control: reply")
    card, table = Uploads(server).paste(token(1), TEXT)
    assert keys_of(card) == keys_of(state(server)({"session": token(1)})) == documented("corpus: reply")
    assert keys_of(table) == documented("reading: reply")


def test_a_refusal_is_as_documented(server: Server) -> None:
    assert set(try_to(server, {})) == {"ok", "error"}
    assert '{"ok": false, "error": "A sentence for people."}' in DOCUMENT


@pytest.mark.parametrize(
    "name",
    ["decode", "pulse", "control", "corpus", "reading", "choose", "clean", "clean_progress", "hub_files", "hub_take"],
)
def test_the_keys_that_the_code_reads_are_those_documented(name: str) -> None:
    """Every raw.get("x") and request["x"] of a handler, found in its source."""
    source = {"decode": "decode.py", "pulse": "watch.py", "control": "watch.py"}.get(name, "tabs/corpus.py")
    tree = ast.parse((ROOT / "explorer" / source).read_text(encoding="utf-8"))
    wanted = {"decode": ("decode", "parse"), "corpus": ("state",)}.get(name, (name,))
    read: set[str] = set()
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef) and function.name in wanted:
            text = ast.unparse(function)
            read |= set(re.findall(r"\b(?:raw|request)(?:\.get\(|\[)'(\w+)'", text))
    assert read == documented(f"{name}: request")


def test_the_settings_and_limits_are_those_documented(server: Server) -> None:
    limits = server.limits
    for number in (limits.prompt_characters, limits.text_tokens, limits.tokens_a_call, limits.rows):
        assert f"{number:,}" in DOCUMENT
    line = re.search(r"^\| `settings` \|(.*)\|$", DOCUMENT, re.MULTILINE)
    assert line
    defaults = {name: float(value) for name, value in re.findall(r"`(\w+)` \(([\d.]+)\)", line[1])}
    assert set(defaults) == {"temperature", "top_k", "top_p", "min_p", "repetition_penalty", "seed"}
    assert ask(server, prompt="the cat", settings=defaults) == ask(server, prompt="the cat")
    kinds = set(re.findall(r"`(\w+)`", re.search(r"kind: (.*)\|$", DOCUMENT, re.MULTILINE)[1]))  # type: ignore[index]
    assert kinds >= {BPE.piece(token_).kind for token_ in range(BPE.vocab_size)}
