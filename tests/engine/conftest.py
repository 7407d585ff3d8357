"""A stub and the target that speaks to it."""

from collections.abc import AsyncIterator

import pytest

from foreman.engine.target import Target
from foreman.testing import StubOllama
from tests.engine import serving
from tests.engine.serving import target_at


@pytest.fixture(params=[True, False], ids=["kept", "plain"])
def carried(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Both ways in which a job can travel to the target."""
    kept: bool = request.param
    monkeypatch.setattr(serving, "kept", kept)
    return kept


@pytest.fixture
async def stub() -> AsyncIterator[StubOllama]:
    async with StubOllama() as stub:
        yield stub


@pytest.fixture
async def target(stub: StubOllama) -> AsyncIterator[Target]:
    async with target_at(stub.url) as target:
        yield target
