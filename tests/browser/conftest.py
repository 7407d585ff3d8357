"""The page in a real Chromium, in front of a real foreman and a stub. Without a Chromium these tests are left out."""

import os
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from playwright.async_api import Browser, ConsoleMessage, Page, expect

from foreman.testing import StubOllama
from tests.browser.chromium import chromium, found
from tests.e2e.process import Foreman, serving

# For what must happen; far above what it takes.
PATIENCE_MS = 30_000
expect.set_options(timeout=PATIENCE_MS)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = str(Path(__file__).parent)
    # Where the suite decides what lands, a missing browser must not go unnoticed.
    if found() is None and not os.environ.get("CHROMIUM_REQUIRED"):
        for item in items:
            if str(item.path).startswith(here):
                item.add_marker(pytest.mark.skip(reason="there is no Chromium on this machine"))


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def stub() -> AsyncIterator[StubOllama]:
    async with StubOllama() as stub:
        yield stub


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def foreman(stub: StubOllama, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Foreman]:
    async with serving(stub.url, tmp_path_factory.mktemp("page") / "foreman.db") as foreman:
        yield foreman


class Watched:
    """A page, and all that went wrong in it: what it complained of, and whom it asked."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.requests: list[str] = []
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("dialog", lambda dialog: self.complaints.append(f"dialog: {dialog.message}"))

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.text} {message.location.get('url', '')}")

    def hosts(self) -> set[str]:
        return {urlsplit(url).netloc for url in self.requests if not url.startswith("data:")}


Pages = Callable[..., AbstractAsyncContextManager[Watched]]
Before = Callable[[Watched], Awaitable[None]]


async def nothing(_: Watched) -> None:
    """Done before a page is asked for, where no test wants anything."""


@pytest.fixture
def pages(browser: Browser, foreman: Foreman) -> Pages:
    """Opens the page; at the end nothing may have gone wrong in it, and nobody else have been asked.

    `forgiven` is a pattern of complaints that are due, `before` what is to be done before it is asked for.
    """

    @asynccontextmanager
    async def opened(
        path: str = "", url: str = "", forgiven: str = "$^", before: Before = nothing, **look: Any
    ) -> AsyncIterator[Watched]:
        context = await browser.new_context(**{"viewport": {"width": 1200, "height": 900}, **look})
        context.set_default_timeout(PATIENCE_MS)
        watched = Watched(await context.new_page())
        at = url or foreman.url
        try:
            await before(watched)
            await watched.page.goto(f"{at}/ui{path}")
            yield watched
            assert [text for text in watched.complaints if not re.search(forgiven, text)] == []
            assert watched.hosts() == {urlsplit(at).netloc}
        finally:
            await context.close()

    return opened


@pytest.fixture
def free_port() -> int:
    """One that nobody listens on, for a server that is to come back where it was."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
