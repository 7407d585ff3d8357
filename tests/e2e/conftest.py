"""One stub and one foreman in front of it for a whole module of tests that only want both at hand."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from foreman.testing import StubOllama
from tests.e2e.process import Foreman, serving


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def stub() -> AsyncIterator[StubOllama]:
    async with StubOllama() as stub:
        yield stub


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("foreman") / "foreman.db"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def foreman(stub: StubOllama, db: Path) -> AsyncIterator[Foreman]:
    async with serving(stub.url, db) as foreman:
        yield foreman
        assert foreman.process.returncode is None, "\n".join(foreman.lines)
    assert [event for event in foreman.events if event["level"] in ("error", "critical")] == []
