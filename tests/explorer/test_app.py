"""The app as a whole: built and imported without launching, its head, its launch, and the model that it ships with."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from explorer import text
from explorer.components import ASSETS, drawn, head
from explorer.limits import Limits
from explorer.server import Server
from model import trace
from tests.explorer.test_decode import same_numbers
from tests.explorer.tiny import ask, in_a_loop, sentence, token

ROOT = Path(__file__).resolve().parents[2]
IMPORT = """
import json, sys, threading
told = []
sys.addaudithook(lambda event, given: told.append((event, str(given[1]))) if event in (
    "socket.bind", "socket.connect", "socket.getaddrinfo", "socket.sendto") else None)
import app
print(json.dumps({
    "network": told,
    "threads": [t.name for t in threading.enumerate() if t is not threading.main_thread() and not t.daemon],
    "demo": type(app.demo).__name__,
    "running": app.demo.is_running,
    "shared": app.limits.shared,
}))
"""


@pytest.fixture(scope="module")
def app() -> Any:
    return in_a_loop(lambda: importlib.import_module("app"))


@pytest.fixture
def build(app: Any, tmp_path: Path, weights: Path) -> Callable[..., gr.Blocks]:
    """Builds the page on folders of its own."""

    def make(**options: Any) -> gr.Blocks:
        made: gr.Blocks = in_a_loop(lambda: app.build_app(**{"runs": tmp_path / "runs", "weights": weights, **options}))
        return made

    return make


def drawings(demo: gr.Blocks) -> dict[str, list[gr.HTML]]:
    """The components that our scripts draw, by the name that they are mounted under."""
    found: dict[str, list[gr.HTML]] = {}
    for block in demo.blocks.values():
        if isinstance(block, gr.HTML) and (name := re.search(r"glass\.mount\('([a-z]+)'", block.js_on_load or "")):
            found.setdefault(name[1], []).append(block)
    return found


# Importing and building


def test_importing_launches_nothing_and_asks_nobody(tmp_path: Path) -> None:
    """In a process of its own, in a foreign folder: no port is bound, no address is looked up, nothing is written."""
    before = (ROOT / "runs").exists()
    done = subprocess.run(
        [sys.executable, "-c", IMPORT],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "SPACE_ID": "somebody/space"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "network": [], "threads": [], "demo": "Blocks", "running": False, "shared": True,
    }  # fmt: skip
    assert list(tmp_path.iterdir()) == []
    assert (ROOT / "runs").exists() == before


def test_the_page_is_built_on_any_folders(build: Any, tmp_path: Path) -> None:
    demo = build(limits=Limits(shared=True))
    assert isinstance(demo.server_state, Server)
    assert demo.server_state.limits.shared
    assert demo.server_state.jobs.root == tmp_path / "runs"
    assert not (tmp_path / "runs").exists()  # nothing is written before somebody trains
    tabs = [block.label for block in demo.blocks.values() if isinstance(block, gr.Tab)]
    assert tabs == [text.CORPUS, text.TRAIN, text.DECODE, text.ATTENTION]
    assert demo.title == text.TITLE


def test_two_pages_share_nothing(build: Any, tmp_path: Path) -> None:
    one, two = build(runs=tmp_path / "one"), build(runs=tmp_path / "two")
    one.server_state.visitors.get(token(77))
    assert len(two.server_state.visitors) == len(one.server_state.visitors) - 1


def test_the_page_begins_with_a_decoded_text(build: Any) -> None:
    """What the components draw before any call: a whole reply, right in every number."""
    demo = build()
    drawn_ = drawings(demo)
    for name in ("strip", "heads", "zoom", "distribution"):
        for component in drawn_[name]:
            opening = component.value
            assert opening["ok"], name
            assert opening["model"]["ref"] == "shipped:alpha"
            assert len(opening["ids"]) > opening["prompt_tokens"]
            model = demo.server_state.view("shipped:alpha").model
            same_numbers(opening, trace(model, opening["ids"][-model.config.context :]))
    header = drawn_["header"][0].value
    assert header["models"] == demo.server_state.shelf.shipped()
    assert header["upload_bytes"] == demo.server_state.limits.upload_bytes == 50_000_000
    assert header["example"] is None  # these came without their metrics
    json.dumps(demo.get_config_file(), default=str, allow_nan=False)


def test_the_scripts_find_their_functions_by_name(build: Any) -> None:
    """`server.decode` in a script is a Python function of that very name."""
    named = {
        name: sorted({fn.__name__ for component in components for fn in component.server_fns})
        for name, components in drawings(build()).items()
    }
    assert named["header"] == ["control", "decode", "open_model", "pulse", "remove_model"]
    assert named["monitor"] == ["control", "fork", "fork_offer", "step"]
    assert named["corpus"] == named["source"] == ["corpus"]
    for name in ("strip", "heads", "zoom", "distribution"):
        assert named[name] == ["decode"]
    scripts = head()
    for name in named:
        assert f"glass.component('{name}'" in scripts, name


def test_nothing_of_a_visitor_is_ever_in_a_template(build: Any) -> None:
    for name, components in drawings(build()).items():
        for component in components:
            template = re.fullmatch(r'<div class="g-mount"( data-mode="[a-z]+")?></div>', component.html_template)
            assert template, name
            assert component.js_on_load == f"glass.mount('{name}', {{element, props, trigger, server, watch, upload}})"


@pytest.mark.parametrize("folder", ["missing", "empty", "damaged"])
def test_without_a_model_the_page_stands_and_says_so(build: Any, tmp_path: Path, folder: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "damaged" / "alpha").mkdir(parents=True)
    (tmp_path / "damaged" / "alpha" / "checkpoint.json").write_text('{"format": "glass-gpt", "version": 1}')
    drawn_ = drawings(build(weights=tmp_path / folder))
    assert "no model is shipped" in sentence(drawn_["strip"][0].value).lower()
    header = drawn_["header"][0].value
    assert (header["model"], header["models"], header["example"]) == (None, [], None)


# Launching


def test_launch_options_are_what_was_measured_to_be_right(app: Any) -> None:
    limits = Limits(visitors=17, upload_bytes=1234, model_bytes=2345, run_bytes=3456)
    options = app.launch_options(limits)
    assert options["run_history"] is False  # else the browser keeps every input and output, and slows down
    assert options["ssr_mode"] is False
    assert (options["state_session_capacity"], options["max_file_size"]) == (17, 4 * 1234)
    assert app.launch_options(Limits(model_bytes=10**9))["max_file_size"] == 2 * 10**9
    assert app.launch_options(Limits(run_bytes=10**10))["max_file_size"] == 10**10
    assert options["head"] == head()
    assert set(options) <= set(inspect.signature(gr.Blocks.launch).parameters)
    assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"


@pytest.mark.parametrize(
    ("host", "space", "shared"),
    [("127.0.0.1", "", False), ("localhost", "", False), ("::1", "", False), ("0.0.0.0", "", True),
     ("192.168.1.5", "", True), ("", "", True), ("127.0.0.1", "somebody/space", True)],
)  # fmt: skip
def test_a_server_that_strangers_reach_is_shared(
    monkeypatch: pytest.MonkeyPatch, host: str, space: str, shared: bool
) -> None:
    monkeypatch.setenv("SPACE_ID", space)
    limits = Limits.for_host(host)
    assert limits.shared is shared
    assert limits.parameters == (20_000_000 if shared else 200_000_000)


def test_the_command_line(app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("SPACE_ID", "GRADIO_SERVER_PORT"):
        monkeypatch.delenv(variable, raising=False)
    plain = app.parser().parse_args([])
    assert (plain.port, plain.host, plain.runs) == (7860, "127.0.0.1", ROOT / "runs")
    said = app.parser().parse_args(["--port", "9", "--host", "0.0.0.0", "--runs", "elsewhere"])
    assert (said.port, said.host, said.runs) == (9, "0.0.0.0", Path("elsewhere"))
    monkeypatch.setenv("SPACE_ID", "somebody/space")
    assert app.parser().parse_args([]).host == "0.0.0.0"


# The head


def test_every_script_and_style_is_in_the_head_once_and_in_order() -> None:
    joined = head()
    for kind, first in (("js", "glass.js"), ("css", "base.css")):
        files = sorted((ASSETS / kind).glob(f"*.{kind}"), key=lambda path: (path.name != first, path.name))
        assert files[0].name == first
        assert len(files) > 3
        places = [joined.index(file.read_text(encoding="utf-8")) for file in files]
        assert places == sorted(places)
        assert all(joined.count(file.read_text(encoding="utf-8")) == 1 for file in files)


def test_nothing_in_a_script_or_style_ends_it_early() -> None:
    """HTML knows no JavaScript: `</script` ends a script even in a string, and `<!--` with `<script` hides the end."""
    found = re.fullmatch(r'<link rel="icon" href="[^"]*"><style>(.*)</style><script>(.*)</script>', head(), re.DOTALL)
    assert found
    style, script = found.groups()
    assert not re.search(r"</\s*style", style, re.IGNORECASE)
    assert not re.search(r"</\s*script|<!--|<script", script, re.IGNORECASE)


def test_the_head_asks_for_nothing_from_elsewhere() -> None:
    for file in [*(ASSETS / "js").glob("*.js"), *(ASSETS / "css").glob("*.css")]:
        addresses = re.findall(r"https?://[^\s'\"`)]+", file.read_text(encoding="utf-8"))
        assert set(addresses) <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xhtml"}, file.name
    assert "@import" not in head()


def test_a_mode_is_a_word_for_the_script() -> None:
    def build() -> list[Any]:
        with gr.Blocks(analytics_enabled=False):
            return [drawn("strip", mode="full").html_template, drawn("strip").html_template]

    with_mode, without = in_a_loop(build)
    assert 'data-mode="full"' in with_mode
    assert "data-mode" not in without


# What is shipped


def test_the_shipped_model_opens_and_writes(app: Any) -> None:
    server: Server = app.demo.server_state
    shipped = server.shelf.shipped()
    if not shipped:
        pytest.skip("weights/ is not here: get the whole repository")
    for item in shipped:
        reply = ask(server, prompt=text.PROMPT, model=item["ref"], append={"count": 8})
        assert (reply["unknown"], reply["notice"]) == ([], None)  # it knows every character of the page's own prompt
        assert reply["model"]["loss_kind"] == "validation"
        assert reply["model"]["name"] == item["name"]
        view = server.view(item["ref"])
        same_numbers(reply, trace(view.model, reply["ids"][-view.model.config.context :]))
