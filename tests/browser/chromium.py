"""Which browser the tests drive: $GLASS_CHROMIUM, else a Chromium or Chrome of this machine.

As a script (`python tests/browser/chromium.py`) prints its path, or exits with 1 when Playwright's own is needed.
"""

import os
import shutil
import sys
from pathlib import Path

NAMES = ("chromium", "google-chrome", "google-chrome-stable", "chrome")
MAC_APPS = (
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)
ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def system_chromium() -> str | None:
    """Path of the browser to launch, or None for the one that Playwright installs.

    Raises FileNotFoundError when $GLASS_CHROMIUM names no file.
    """
    named = os.environ.get("GLASS_CHROMIUM")
    if named:
        if not Path(named).is_file():
            raise FileNotFoundError(f"GLASS_CHROMIUM is {named}, and there is no such file.")
        return named
    candidates = [path for name in NAMES if (path := shutil.which(name))]
    candidates += [path for path in MAC_APPS if Path(path).is_file()]
    # A snap (Ubuntu) is confined: it does not see the profile folder that Playwright makes in /tmp.
    free = [path for path in candidates if not os.path.realpath(path).startswith(("/snap/", "/usr/bin/snap"))]
    return free[0] if free else None


if __name__ == "__main__":
    try:
        found = system_chromium()
    except FileNotFoundError as error:
        sys.exit(str(error))
    if found is None:
        sys.exit(1)
    print(found)
