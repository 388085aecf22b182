"""Files for a visitor to take away: each in a folder whose name nobody can guess, and gone after a while."""

from __future__ import annotations

import contextlib
import re
import secrets
import shutil
import time
import unicodedata
from pathlib import Path

from gradio.utils import get_upload_folder

_KEPT_S = 900.0
_FOLDER = "glass-downloads"


def place_for(name: str, kind: str) -> Path:
    """Where to write a file that is to be fetched as `name`.`kind`; Gradio serves what lies below its uploads.

    What was put there more than a quarter of an hour ago is removed.
    """
    root = Path(get_upload_folder()) / _FOLDER
    root.mkdir(parents=True, exist_ok=True)
    for old in root.iterdir():
        with contextlib.suppress(OSError):
            if time.time() - old.stat().st_mtime > _KEPT_S:
                shutil.rmtree(old)
    folder = root / secrets.token_hex(16)
    folder.mkdir()
    return folder / f"{plain(name)}.{kind}"


def plain(name: str) -> str:
    """A name as every disk takes it."""
    ascii_ = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9]+", "-", ascii_).strip("-")[:60].strip("-") or "run"


def ready(path: Path) -> dict[str, object]:
    """What the page is told of a file: where it is fetched, what it is called, and its size in bytes."""
    return {"path": path.as_posix(), "name": path.name, "bytes": path.stat().st_size}
