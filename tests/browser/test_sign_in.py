"""The page of a foreman with keys: whoever signs in sees his own jobs, and of those of others what may be told."""

import asyncio
from pathlib import Path

import aiohttp
import pytest
from playwright.async_api import Page, expect

from foreman.testing import Script, StubOllama
from tests.browser.conftest import Pages
from tests.e2e.process import serving
from tests.e2e.test_keys import command

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHAT = {"model": "llama3", "messages": [{"role": "user", "content": "why"}]}


async def sign_in(page: Page, key: str) -> None:
    await expect(page.get_by_role("heading", name="A key, please")).to_be_visible()
    await page.get_by_label("Key", exact=True).fill(key)
    await page.keyboard.press("Enter")


async def test_a_real_key_opens_the_page_and_shows_what_is_its_own(
    pages: Pages, stub: StubOllama, tmp_path: Path
) -> None:
    db = tmp_path / "foreman.db"
    made = [await command(db, "keys", "create", f"--scopes={scopes}") for scopes in ("admin", "infer,read")]
    admin, mine = [said.strip() for _, said, _ in made]
    stub.script("llama3", Script(hold=2))
    async with serving(stub.url, db) as foreman, aiohttp.ClientSession(foreman.url) as http:
        headers = {"Authorization": f"Bearer {admin}"}
        asking = asyncio.create_task(http.post("/api/chat", json=CHAT, headers=headers))
        await stub.ledger.held(30)
        async with pages(url=foreman.url, forgiven="401|403") as watched:
            page = watched.page
            await sign_in(page, "fm_" + "x" * 51)
            await expect(page.get_by_role("alert")).to_be_visible()
            await sign_in(page, admin)
            await expect(page.get_by_role("button", name="Cancel llama3")).to_be_visible()
            await expect(page.get_by_role("button", name="Pause")).to_be_visible()
            await page.reload()
            await expect(page.get_by_role("button", name="Pause")).to_be_visible()
            await page.get_by_role("button", name="Sign out").click()
            await sign_in(page, mine)
            await expect(page.get_by_role("region", name="Queue")).to_be_visible()
            await expect(page.get_by_role("button", name="Pause")).to_have_count(0)
            await expect(page.get_by_role("button", name="Cancel llama3")).to_have_count(0)
            stub.release("llama3")
            async with await asking as answer:
                await answer.read()
            stub.script("llama3", None)
            own = {"Authorization": f"Bearer {mine}"}
            async with http.post("/api/chat", json=CHAT, headers=own) as answer:
                await answer.read()
            await expect(page.get_by_role("region", name="Recent").get_by_role("link")).to_have_count(1)
