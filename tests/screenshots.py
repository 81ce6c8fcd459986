"""`make screenshots`: the pictures of docs/pictures, of the page over the story that its tests tell."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from tests.e2e.test_monitor_page import served
from tests.support import watched_farm
from tests.support.recordings import write_recording

PICTURES = Path(__file__).parents[1] / "docs" / "pictures"
# name: view, theme, width, height
WANTED = {
    "monitor-now": ("now", "dark", 1280, 800),
    "monitor-star": ("star", "dark", 1280, 800),
    "monitor-slots": ("slots", "dark", 1280, 760),
    "monitor-build": ("build", "light", 1280, 800),
}
MOST_BYTES = 150 << 10


def take(page: Page, address: str, view: str) -> bytes:
    page.goto(f"{address}#/builds")
    page.wait_for_selector("body[data-ready=yes]")
    if view == "build":
        page.get_by_role("link", name="engine 14:06:15").click()
        page.wait_for_selector("canvas.waterfall")
    else:
        page.goto(f"{address}#/{view}")
    page.wait_for_timeout(1500)  # two rounds of drawing
    return page.screenshot()


def main() -> None:
    program = shutil.which("chromium")
    if program is None:
        sys.exit("chromium is needed: .ci/install-test-tools installs it")
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as directory, sync_playwright() as playwright:
        write_recording(directory, watched_farm.five_minutes())
        with served("--replay", directory, "--speed", "0") as (address, _):
            browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
            for name, (view, theme, width, height) in WANTED.items():
                page = browser.new_page(
                    viewport={"width": width, "height": height},
                    color_scheme="dark" if theme == "dark" else "light",
                    timezone_id="UTC",
                )
                picture = take(page, address, view)
                page.close()
                if len(picture) > MOST_BYTES:
                    sys.exit(f"{name} has {len(picture)} bytes; at most {MOST_BYTES} are wanted")
                file = PICTURES / f"{name}.png"
                file.write_bytes(picture)
                print(os.path.relpath(file), len(picture))
            browser.close()


if __name__ == "__main__":
    main()
