"""A job that runs until a test lets it go."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from playwright.async_api import Locator, Page

from foreman.testing import Script, StubOllama
from tests.e2e.own import handed
from tests.e2e.process import Foreman

CHAT = "/api/chat"
HELD = Script(hold=3)


def chat(text: str, model: str = "llama3", **options: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": text}], "options": options}


@asynccontextmanager
async def running(foreman: Foreman, stub: StubOllama, text: str = "held") -> AsyncIterator[str]:
    """A job that has three tokens and waits for the rest; let go at the end."""
    await foreman.settled(await handed(foreman, chat("warm"), path=CHAT))
    stub.script("llama3", [HELD])
    job = await handed(foreman, chat(text), path=CHAT)
    await stub.ledger.held(30)
    try:
        yield job
    finally:
        stub.script("llama3", None)
        stub.release("llama3")
        await foreman.settled(job)


def current(page: Page) -> Locator:
    return page.get_by_role("region", name="What runs")


def recent(page: Page, job: str) -> Locator:
    return page.get_by_role("region", name="Recent jobs").locator(f'[data-key="{job}"]')


def waiting(page: Page) -> Locator:
    return page.get_by_role("region", name="Queue").get_by_role("listitem")
