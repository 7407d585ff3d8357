"""What models, clients and targets write is only ever text."""

import asyncio
import re
from pathlib import Path

import aiohttp
import orjson
import pytest
from playwright.async_api import Browser, expect

from foreman.testing import Script, StubOllama
from tests.browser.conftest import Pages
from tests.browser.held import CHAT, chat, current, recent
from tests.e2e.own import call, handed
from tests.e2e.process import Foreman, serving

pytestmark = pytest.mark.asyncio(loop_scope="module")


TAGS = "<img src=x onerror=alert(1)><script>alert(2)</script>"
EVIL = f"{TAGS}\u202egnp.exe\u001b[31mred\u0007</pre><svg/onload=alert(3)>"


async def test_what_a_model_says_is_only_ever_text(pages: Pages, foreman: Foreman, stub: StubOllama) -> None:
    said = {"model": "llama3", "message": {"role": "assistant", "content": EVIL}, "done": True}
    line = orjson.dumps(said) + b"\n"
    stub.script(CHAT, [Script(status=200, body=line, headers={"Content-Type": "application/x-ndjson"})])
    async with aiohttp.ClientSession() as session:
        sent = session.post(foreman.url + CHAT, json=chat(EVIL), headers={"User-Agent": "<b>evil</b>"})
        async with sent as answer:
            job = answer.headers["X-Foreman-Job"]
            await answer.read()
    async with pages(f"#/jobs/{job}") as watched:
        page = watched.page
        await page.get_by_role("button", name="Show prompt and answer").click()
        for pre in (page.locator("#request pre").first, page.locator("#answer pre").first):
            await expect(pre).to_contain_text(TAGS)
            text = await pre.inner_text()
            assert "U+202E" in text
            assert "␛[31m" in text
            assert not re.search("[\u202e\u001b\u0007]", text)
        assert await page.locator("main img, main script, pre svg").count() == 0
        await page.goto(f"{foreman.url}/ui#/")
        await expect(page.get_by_role("region", name="Recent jobs")).to_contain_text("<b>evil<")


async def test_names_and_errors_are_only_ever_text(pages: Pages, tmp_path: Path) -> None:
    async with StubOllama() as own, serving(own.url, tmp_path / "f.db") as foreman:
        own.script(CHAT, [Script(status=400, error=EVIL)])
        failed = await handed(foreman, chat("x"), path=CHAT)
        await foreman.settled(failed)
        await call(foreman, "POST", "/queue/pause")
        slot = asyncio.create_task(call(foreman, "POST", "/slots", {"lane": "local", "label": TAGS}))
        async with pages(url=foreman.url) as watched:
            page = watched.page
            await expect(current(page)).to_contain_text(TAGS)
            await expect(page.get_by_role("region", name="Queue")).to_contain_text(TAGS)
            await recent(page, failed).get_by_role("link").click()
            await expect(page.locator(".note")).to_contain_text(TAGS)
            assert await page.locator("main img, main script").count() == 0
            await call(foreman, "POST", "/queue/resume")
            await slot


async def test_no_other_page_can_frame_it(browser: Browser, foreman: Foreman) -> None:
    page = await browser.new_page()
    try:
        await page.goto("data:text/html,<h1>elsewhere</h1>")
        await page.set_content(f"<iframe src='{foreman.url}/ui'></iframe>")
        frame = page.frames[-1]
        await frame.wait_for_load_state()
        assert await frame.locator("main").count() == 0
    finally:
        await page.close()
