"""A real Chromium, headless, from the machine: found by name, never downloaded."""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from playwright.async_api import Browser, async_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
OF_MACOS = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"
# It asks nobody but the page that is tested.
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip


def found() -> str | None:
    """Where a Chromium is; None where there is none."""
    of_path = next(filter(None, map(shutil.which, NAMES)), None)
    return of_path or (OF_MACOS if os.access(OF_MACOS, os.X_OK) else None)


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Raises RuntimeError where there is none."""
    path = found()
    if path is None:
        raise RuntimeError(f"no Chromium: none of {', '.join(NAMES)} is on the PATH")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=list(FLAGS), headless=True)
        try:
            yield browser
        finally:
            await browser.close()
