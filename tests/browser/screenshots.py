"""`python -m tests.browser.screenshots`: the pictures of the page in the docs."""

import asyncio
import tempfile
from pathlib import Path

from playwright.async_api import Browser

from tests.browser.chromium import chromium
from tests.browser.scene import lively

IMAGES = Path(__file__).parents[2] / "docs" / "images"
LOOKS = {
    "page-light": {"viewport": {"width": 1240, "height": 1000}, "color_scheme": "light"},
    "page-dark": {"viewport": {"width": 1240, "height": 1000}, "color_scheme": "dark"},
    "page-phone": {"viewport": {"width": 390, "height": 1400}, "color_scheme": "light"},
}


async def take(browser: Browser, url: str, folder: Path) -> None:
    for name, look in LOOKS.items():
        page = await browser.new_page(**look)  # type: ignore[arg-type]
        page.on("console", lambda m: print(m.text))
        page.on("pageerror", lambda m: print(m))
        await page.goto(f"{url}/ui")
        await page.wait_for_timeout(12000 if name == 'page-light' else 6000)
        await page.screenshot(path=folder / f"{name}.png")
        await page.screenshot(path=f"/tmp/pagew/{name}-full.png", full_page=True)
        if name == "page-light":
            await page.locator(".recent tbody a").first.click()
            await page.get_by_role("button", name="Show prompt").click()
            await page.wait_for_timeout(1500)
            await page.screenshot(path="/tmp/pagew/job.png", full_page=True)
        await page.close()


async def main() -> None:
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        async with lively(Path(folder)) as url, chromium() as browser:
            await take(browser, url, IMAGES)


if __name__ == "__main__":
    asyncio.run(main())
