"""`python -m tests.browser.screenshots`: the pictures of the page in the docs."""

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, Page

from tests.browser.chromium import chromium
from tests.browser.png import smaller
from tests.browser.scene import lively

IMAGES = Path(__file__).parents[2] / "docs" / "images"
WIDE = {"width": 1240, "height": 1180}
LOOKS: dict[str, dict[str, Any]] = {
    "page-light": {"viewport": WIDE, "color_scheme": "light"},
    "page-dark": {"viewport": WIDE, "color_scheme": "dark"},
    "page-phone": {"viewport": {"width": 390, "height": 844}, "color_scheme": "light"},
}
# So long a line of tokens a second takes to be one.
WATCHED_SECONDS = 20


async def take(browser: Browser, url: str, folder: Path, *, whole: bool = False) -> None:
    """A picture of each look; `whole` goes on below the lower edge of the window, and shows a job's page too."""
    pages = {name: await browser.new_page(**look) for name, look in LOOKS.items()}
    for page in pages.values():
        await page.goto(f"{url}/ui")
    await asyncio.sleep(WATCHED_SECONDS)
    for name, page in pages.items():
        png = await page.screenshot(full_page=whole)
        (folder / f"{name}.png").write_bytes(smaller(png))
    if whole:
        await _job(pages["page-light"], folder)


async def _job(page: Page, folder: Path) -> None:
    await page.locator(".recent tbody a").first.click()
    await page.get_by_role("button", name="Show prompt").click()
    await page.locator("#answer pre").first.wait_for()
    await page.screenshot(path=folder / "job.png", full_page=True)


async def main(folder: Path, *, whole: bool) -> None:
    with tempfile.TemporaryDirectory() as store:
        async with lively(Path(store)) as url, chromium() as browser:
            await take(browser, url, folder, whole=whole)


if __name__ == "__main__":
    # With a folder as argument: the whole of it, to look at.
    place = Path(sys.argv[1]) if sys.argv[1:] else IMAGES
    place.mkdir(exist_ok=True)
    asyncio.run(main(place, whole=bool(sys.argv[1:])))
