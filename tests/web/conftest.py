"""The whole of foreman in this process, in front of a stub: for what only shows from inside."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from foreman.app import engine_of
from foreman.core.addresses import Address
from foreman.engine.clock import SystemClock
from foreman.engine.engine import Engine
from foreman.engine.machine import Reader
from foreman.settings import Settings
from foreman.testing import StubOllama
from foreman.web.guard import Guard
from foreman.web.server import application, listening


@dataclass(frozen=True)
class Front:
    """A listening foreman with its inner parts at hand, and a client for it."""

    url: str
    engine: Engine
    http: aiohttp.ClientSession


Fronts = Callable[..., AbstractAsyncContextManager[Front]]


@pytest.fixture
async def stub() -> AsyncIterator[StubOllama]:
    async with StubOllama() as stub:
        yield stub


@pytest.fixture
def fronts(stub: StubOllama, tmp_path: Path) -> Fronts:
    """Makes a front with these settings. Its engine has had one look at the target."""

    @asynccontextmanager
    async def serving(reader: Reader | None = None, **settings: Any) -> AsyncIterator[Front]:
        alone = {"gate": "off", "disk_reserve": 0}
        chosen = Settings(**{"target": stub.url, "db": tmp_path / "foreman.db", **alone, **settings})
        async with engine_of(chosen, SystemClock(), reader) as engine:
            await engine.start()
            app = application(chosen, engine, Guard((), (), engine.keyring, engine.clock))
            quick = chosen.http_server == "quick"
            async with listening(app, Address("127.0.0.1", 0), quick=quick) as url, aiohttp.ClientSession(url) as http:
                running = asyncio.create_task(engine.run())
                await engine.poller.refresh()
                yield Front(url, engine, http)
                await engine.settled()
                running.cancel()
                await asyncio.wait((running,))

    return serving


@pytest.fixture
async def front(fronts: Fronts) -> AsyncIterator[Front]:
    async with fronts() as front:
        yield front
