"""The rooms of the house: who may enter which, and what `model` and `training` never load."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = {  # a room and the rooms that it may import, itself apart
    "model": set(),
    "training": {"model"},
    "explorer": {"training", "model"},
    "app": {"explorer"},
}
SCREEN = {"gradio", "plotly"}

IMPORT_ALL = """
import importlib, pkgutil, sys
for room in sys.argv[1].split(","):
    package = importlib.import_module(room)
    for module in pkgutil.walk_packages(package.__path__, room + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


def loaded_by(rooms: list[str], path: Path) -> set[str]:
    """Top-level packages in sys.modules of a fresh interpreter that imported every module of the rooms under path."""
    command = [sys.executable, "-c", IMPORT_ALL, ",".join(rooms)]
    environment = os.environ | {"PYTHONPATH": str(path)}
    done = subprocess.run(command, cwd=path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def imports(path: Path, root: Path) -> Iterator[str]:
    """Full dotted names that a file imports anywhere, in functions too: `from a import b` gives `a.b`."""
    package = path.relative_to(root).with_suffix("").parts[:-1]
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else ()
            yield from (".".join([*start, *filter(None, [node.module]), alias.name]) for alias in node.names)


def tab_of(parts: list[str] | tuple[str, ...]) -> str | None:
    """The tab that a dotted name or a file lies in, if any."""
    return parts[2].removesuffix(".py") if len(parts) > 2 and tuple(parts[:2]) == ("explorer", "tabs") else None


def forbidden_imports(root: Path) -> Iterator[str]:
    """Every import against the arrows, as a sentence."""
    for path in sorted([*root.glob("app.py"), *(file for room in ROOMS for file in root.glob(f"{room}/**/*.py"))]):
        here = path.relative_to(root)
        room = here.parts[0].removesuffix(".py")
        for name in imports(path, root):
            parts = name.split(".")
            if parts[0] in ROOMS and parts[0] != room and parts[0] not in ROOMS[room]:
                yield f"{here} imports {name}: {room} may not enter {parts[0]}"
            if parts[0] in SCREEN and room in ("model", "training"):
                yield f"{here} imports {name}: only explorer and app know the screen"
            tab = tab_of(parts)
            if tab and room != "app" and tab != tab_of(here.parts):
                yield f"{here} imports {name}: tabs meet in app.py only"


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_model_and_training_never_load_the_screen() -> None:
    assert not loaded_by(["model", "training"], ROOT) & (SCREEN | {"explorer", "app"})


def test_model_never_loads_training() -> None:
    assert not loaded_by(["model"], ROOT) & {"training", "explorer", "app"}


def test_a_module_that_loads_gradio_is_caught(tmp_path: Path) -> None:
    """The tests above can fail: the same check over a room with one guilty module, deep inside and by a detour."""
    write(
        tmp_path,
        {
            "model/__init__.py": "",
            "model/formats/__init__.py": "",
            "model/formats/sneaky.py": "import helper",
            "helper.py": "import gradio",
            "gradio.py": "",
        },
    )
    assert "gradio" in loaded_by(["model"], tmp_path)
    (tmp_path / "model/formats/sneaky.py").write_text("")
    assert "gradio" not in loaded_by(["model"], tmp_path)


def test_every_import_follows_the_arrows() -> None:
    assert list(forbidden_imports(ROOT)) == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("model/gpt.py", "def f():\n    from training.loop import train_steps"),
        ("model/formats/hf.py", "import explorer.limits"),
        ("training/loop.py", "from plotly import graph_objects"),
        ("training/runs.py", "import app"),
        ("explorer/session.py", "import app"),
        ("explorer/tabs/train.py", "from explorer.tabs.decode import build"),
        ("explorer/tabs/train.py", "from explorer.tabs import decode"),
        ("explorer/tabs/train.py", "from . import decode"),
        ("explorer/tabs/train/curves.py", "from ..decode import build"),
        ("explorer/components/chart.py", "from explorer.tabs.train import build"),
        ("app.py", "from model import GPT"),
    ],
)
def test_an_import_against_an_arrow_is_caught(tmp_path: Path, name: str, text: str) -> None:
    assert len(list(forbidden_imports(write(tmp_path, {name: text})))) == 1


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("app.py", "from explorer.tabs import decode, train"),
        ("explorer/tabs/train/curves.py", "from . import table\nfrom explorer.tabs.train.table import rows"),
        ("explorer/tabs/train.py", "from ..packing import pack\nimport gradio, training.trainer, model"),
        ("training/loop.py", "from model import GPT\nfrom .optim import Muon"),
    ],
)
def test_an_import_along_the_arrows_is_not(tmp_path: Path, name: str, text: str) -> None:
    assert list(forbidden_imports(write(tmp_path, {name: text}))) == []
