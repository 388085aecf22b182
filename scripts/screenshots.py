"""The README's pictures, from a real run: uploads a text, trains on it, looks into the model.

    python scripts/screenshots.py TEXT_FILE        # writes docs/images/*.png; needs requirements-dev.txt

Nothing is drawn by hand: what the pictures show is the app, on the text that is given, at the preset's own settings.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.serving import app, page  # noqa: E402  # the path has to be set first

IMAGES = ROOT / "docs" / "images"
TRAINING_TIMEOUT_MS = 30 * 60 * 1000


def picture(tab: Page, name: str, height: int = 900) -> None:
    """The page as it stands, `height` pixels of it, as a palette PNG."""
    tab.set_viewport_size({"width": 1440, "height": height})
    tab.evaluate("scrollTo(0, 0)")
    tab.wait_for_timeout(600)  # canvases redraw after a change of size
    tab.screenshot(path=IMAGES / f"{name}.png")
    image = Image.open(IMAGES / f"{name}.png").convert("RGB").quantize(192, dither=Image.Dither.NONE)
    image.save(IMAGES / f"{name}.png", optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("text", type=Path, help="the text to upload")
    parser.add_argument("--prompt", default="ROMEO:\nI ", help="what the trained model continues")
    options = parser.parse_args()
    IMAGES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as runs, app(Path(runs)) as (url, _), page() as tab:
        tab.goto(url)
        tab.locator("[data-testid=heads-canvas][data-tokens]").first.wait_for()
        tab.get_by_role("tab", name="Corpus").click()
        tab.locator("#upload input[type=file]").set_input_files(options.text)
        tab.locator(f"[data-testid=corpus][data-name='{options.text.name}']").wait_for()
        picture(tab, "corpus")
        tab.get_by_role("tab", name="Train").click()
        tab.locator("#train").click()
        tab.locator("[data-testid=monitor][data-state=finished]").wait_for(timeout=TRAINING_TIMEOUT_MS)
        picture(tab, "train", 1180)
        tab.locator("[data-testid=monitor] [data-testid=look]").click()
        prompt = tab.locator("[data-testid=prompt]").first
        prompt.fill(options.prompt)
        prompt.press("Enter")
        tab.wait_for_function("glass.decoder.state.busy === null && glass.decoder.state.model.source === 'run'")
        for _ in range(24):
            before = tab.evaluate("glass.decoder.state.length")
            tab.locator("[data-testid=next]").first.click()
            tab.wait_for_function("before => glass.decoder.state.length > before", arg=before)
        picture(tab, "decode", 1120)
        tab.get_by_role("tab", name="Attention").click()
        tab.evaluate("glass.decoder.selectHead(1, 1)")
        tab.locator("[data-testid=zoom-canvas]").last.hover()
        picture(tab, "attention", 1120)
        tab.emulate_media(color_scheme="dark")
        tab.evaluate("document.body.classList.add('dark')")
        tab.get_by_role("tab", name="Decode").click()
        picture(tab, "decode-dark", 1120)


if __name__ == "__main__":
    main()
