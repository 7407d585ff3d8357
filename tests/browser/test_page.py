"""The page shows what happens as it happens, and finds its way back."""

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import expect

from foreman.testing import StubOllama
from tests.browser.conftest import Pages
from tests.browser.held import CHAT, chat, current, recent, running, waiting
from tests.e2e.own import call, handed
from tests.e2e.process import Foreman, serving

LIMIT = 100_000

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_it_loads_small_and_shows_who_is_there(pages: Pages, foreman: Foreman) -> None:
    async with pages() as watched:
        page = watched.page
        await expect(page.locator(".state")).to_have_text("Idle")
        await expect(page).to_have_title("foreman")
        for region in ("Queue", "Machine"):
            await expect(page.get_by_role("region", name=region)).to_be_visible()
        sizes = await page.evaluate(
            "performance.getEntriesByType('resource').concat(performance.getEntriesByType('navigation'))"
            ".filter(e => /\\/ui/.test(e.name)).map(e => [e.name, e.transferSize])"
        )
        assert len(sizes) > 10
        assert 0 < sum(size for _, size in sizes) < LIMIT


async def test_who_has_not_asked_yet_is_told_how(pages: Pages, stub: StubOllama, tmp_path: Path) -> None:
    async with serving(stub.url, tmp_path / "new.db") as fresh, pages(url=fresh.url) as watched:
        host = fresh.url.removeprefix("http://")
        await expect(watched.page.locator(".guide")).to_contain_text(f"OLLAMA_HOST={host}")


# Notes in the page when each event arrived, and when what was drawn changed after it.
WATCH = """() => {
  window.seen = [];
  const state = document.querySelector('.state');
  new MutationObserver(() => window.seen.push([state.textContent, performance.now()]))
    .observe(state, {subtree: true, childList: true, characterData: true});
}"""


async def test_a_change_is_shown_when_it_happens(pages: Pages, foreman: Foreman, stub: StubOllama) -> None:
    async with pages() as watched:
        page = watched.page
        await expect(page.locator(".state")).to_have_text("Idle")
        await page.evaluate(WATCH)
        async with running(foreman, stub) as job:
            await expect(page.locator(".state")).to_have_text("Working")
            await expect(current(page).locator(".figure").first).to_have_text(re.compile("3.*tokens"))
            await expect(page).to_have_title("Working · foreman")
            assert await handed(foreman, chat("behind"), path=CHAT)
            await expect(waiting(page)).to_have_count(1)
        await expect(page.locator(".state")).to_have_text("Idle")
        await expect(recent(page, job)).to_contain_text("done")


async def test_from_the_event_to_the_eye_it_takes_a_moment(pages: Pages, foreman: Foreman) -> None:
    """Measured in the page: from the arrival of an event to what is drawn. No timer lies between, only a frame."""
    async with pages() as watched:
        page = watched.page
        await expect(page.locator(".state")).to_have_text("Idle")
        await page.evaluate(WATCH)
        took = await page.evaluate("""async () => {
          const source = new EventSource('events?live=true');
          await new Promise((done) => source.addEventListener('snapshot', done, {once: true}));
          const told = (done) => source.addEventListener('state', () => done(performance.now()), {once: true});
          const arrived = new Promise(told);
          await fetch('queue/pause', {method: 'POST', headers: {'X-Foreman-Page': '1'}});
          const at = await arrived;
          while (!window.seen.some(([text]) => text.includes('Paused'))) await new Promise(requestAnimationFrame);
          source.close();
          return window.seen.find(([text]) => text.includes('Paused'))[1] - at;
        }""")
        await call(foreman, "POST", "/queue/resume")
        await expect(page.locator(".state")).to_have_text("Idle")
        assert took < 2000  # some tens of milliseconds on a machine at rest


async def test_it_connects_again_by_itself(pages: Pages, stub: StubOllama, tmp_path: Path, free_port: int) -> None:
    settings: dict[str, Any] = {"listen": f"127.0.0.1:{free_port}"}
    first = serving(stub.url, tmp_path / "f.db", **settings)
    async with first as foreman, pages(url=foreman.url, forgiven="Failed to load resource|ERR_") as watched:
        page = watched.page
        await expect(page.locator(".state")).to_have_text("Idle")
        await foreman.kill()
        await expect(page.locator(".state")).to_have_text("No connection to foreman")
        await expect(page.get_by_text("this page asks again by itself")).to_be_visible()
        async with serving(stub.url, tmp_path / "f.db", **settings) as second:
            await expect(page.locator(".state")).to_have_text("Idle")
            await call(second, "POST", "/queue/pause")
            await expect(page.locator(".state")).to_have_text("Paused")


async def test_a_target_that_is_gone_is_shown(pages: Pages, tmp_path: Path) -> None:
    async with (
        StubOllama() as own,
        serving(own.url, tmp_path / "f.db", poll_seconds=1) as foreman,
        pages(url=foreman.url) as watched,
    ):
        await expect(watched.page.locator(".state")).to_have_text("Idle")
        own.refuse()
        await expect(watched.page.locator(".state")).to_have_text("Target does not answer")
        await own.accept()
        await expect(watched.page.locator(".state")).to_have_text("Idle")


async def test_who_made_a_load_necessary_is_told(pages: Pages, tmp_path: Path) -> None:
    async with StubOllama() as own, serving(own.url, tmp_path / "f.db") as foreman:
        for model in ("llama3", "qwen3:8b"):
            await foreman.settled(await handed(foreman, chat("x", model), path=CHAT))
        async with pages(url=foreman.url) as watched:
            ledger = watched.page.get_by_role("region", name="Reloads")
            await expect(ledger.locator(".ledger li")).to_have_count(2)
            await expect(ledger).to_contain_text("in the place of llama3")
            await expect(ledger.locator(".causes")).to_contain_text("2 loads")
