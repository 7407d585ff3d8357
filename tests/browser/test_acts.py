"""What can be done from the page, with a question before anything is destroyed."""

import pytest
from playwright.async_api import expect

from foreman.testing import StubOllama
from tests.browser.conftest import Pages
from tests.browser.held import CHAT, chat, current, recent, running
from tests.e2e.own import call, handed, state_of
from tests.e2e.process import Foreman

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_job_is_cancelled_after_a_question(pages: Pages, foreman: Foreman, stub: StubOllama) -> None:
    async with pages() as watched, running(foreman, stub) as job:
        page = watched.page
        await current(page).get_by_role("button", name="Cancel llama3").click()
        asked = page.get_by_role("dialog", name="Cancel this job?")
        await asked.get_by_role("button", name="Keep it").click()
        await expect(asked).to_have_count(0)
        assert await state_of(foreman, job) == "working"
        await current(page).get_by_role("button", name="Cancel llama3").click()
        await asked.get_by_role("button", name="Cancel the job").click()
        await foreman.event("job_finished", job=job, outcome="cancelled")
        row = recent(page, job)
        await expect(row).to_contain_text("cancelled")
        await row.get_by_role("button", name="Retry llama3").click()
        await expect(page.locator(".toast")).to_contain_text(["Handed in again"])
        again = await foreman.event("job_finished", outcome="done", count=2)
        assert again["fields"]["job"] != job


async def test_pause_and_resume(pages: Pages, foreman: Foreman) -> None:
    async with pages() as watched:
        page = watched.page
        await page.get_by_role("button", name="Pause").click()
        await expect(page.locator(".state")).to_have_text("Paused")
        assert (await call(foreman, "GET", "/queue"))[1]["paused"] is True
        await page.get_by_role("button", name="Resume").click()
        await expect(page.locator(".state")).to_have_text("Idle")
        assert (await call(foreman, "GET", "/queue"))[1]["paused"] is False


async def test_a_job_has_a_page_with_its_words_on_request(pages: Pages, foreman: Foreman, stub: StubOllama) -> None:
    async with running(foreman, stub, "what is a foreman?") as job, pages(f"#/jobs/{job}") as watched:
        page = watched.page
        await expect(page.get_by_role("heading", level=1)).to_have_text("llama3")
        await expect(page.get_by_text("what is a foreman?")).to_have_count(0)
        assert not any(url.endswith(("/request", "/response")) for url in watched.requests)
        await page.get_by_role("button", name="Show prompt and answer").click()
        await expect(page.get_by_text("what is a foreman?")).to_be_visible()
        await expect(page.locator("#answer pre")).not_to_be_empty()
        before = await page.locator("#answer pre").inner_text()
        stub.release("llama3")
        await foreman.settled(job)
        await expect(page.locator(".head .outcome")).to_have_text("done")
        await expect(page.locator("#answer pre")).not_to_have_text(before)
        assert (await page.locator("#answer pre").inner_text()).startswith(before)
        await expect(page.get_by_role("region", name="Attempts").get_by_role("listitem")).to_have_count(1)
        await page.get_by_role("link", name="← Overview").click()
        await expect(page.get_by_role("region", name="Queue")).to_be_visible()


async def test_a_job_is_forgotten_after_a_question(pages: Pages, foreman: Foreman) -> None:
    job = await handed(foreman, chat("secret"), path=CHAT)
    await foreman.settled(job)
    async with pages(f"#/jobs/{job}") as watched:
        page = watched.page
        await page.get_by_role("button", name="Forget").click()
        await page.get_by_role("dialog").get_by_role("button", name="Forget it").click()
        await expect(page.get_by_role("region", name="Queue")).to_be_visible()
        assert (await call(foreman, "GET", f"/jobs/{job}"))[0] == 404
