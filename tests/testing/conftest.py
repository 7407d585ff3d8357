"""A stub and a plain HTTP client for it."""

from collections.abc import AsyncIterator

import aiohttp
import pytest

from foreman.testing import StubOllama


@pytest.fixture
async def stub() -> AsyncIterator[StubOllama]:
    async with StubOllama() as stub:
        yield stub


@pytest.fixture
async def http(stub: StubOllama) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(stub.url) as session:
        yield session
