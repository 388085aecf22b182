"""A mark in a folder that says that a process works there, and that the system takes away with the process.

A file with a process id in it outlives a killed program and may name another one later. A lock on an open file does
neither: however the process ends, the system lets go of it.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from pathlib import Path

if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int, shared: bool) -> None:
        """Raises OSError where somebody else has it. One byte is locked, there or not; it cannot be shared here."""
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(descriptor: int, shared: bool) -> None:
        """Raises OSError where somebody else has it."""
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)


_TRIES, _LOOKS = 100, 3
_AGAIN_S = 0.005  # who only looks has the lock for an instant


class Mark:
    """A locked file, until `remove`."""

    def __init__(self, path: Path) -> None:
        """Make the file and lock it. Raises OSError where somebody else has it, or the disk knows no locks."""
        self._path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        for attempt in range(_TRIES):
            try:
                _lock(self._descriptor, shared=False)
                return
            except OSError:
                if attempt == _TRIES - 1:
                    os.close(self._descriptor)
                    raise
                time.sleep(_AGAIN_S)

    def remove(self) -> None:
        """Let go of the lock and remove the file."""
        os.close(self._descriptor)
        with contextlib.suppress(OSError):  # removed with its folder
            self._path.unlink()


def marked(path: Path) -> bool:
    """Whether somebody, in this process or another, has the lock on a file."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return False  # most often: there is no such file
    try:
        for _ in range(_LOOKS):
            try:
                _lock(descriptor, shared=True)
                return False
            except (BlockingIOError, PermissionError):  # what Linux and macOS say, and what Windows says
                if sys.platform != "win32":  # there two who look at once are not in each other's way
                    return True
                time.sleep(_AGAIN_S)
        return True
    except OSError:
        return False  # a disk without locks tells nothing
    finally:
        os.close(descriptor)
