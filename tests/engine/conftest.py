"""A stub, the target that speaks to it, and an engine at work in front of it."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from foreman.core.residency import Swap
from foreman.engine.poller import Poller
from foreman.engine.store import Store
from foreman.engine.target import Target
from foreman.testing import StubOllama
from tests.engine import serving
from tests.engine.clock import HandClock
from tests.engine.looking import EVERY, PROBE_CAP
from tests.engine.running import Running, running
from tests.engine.serving import target_at
from tests.engine.storing import OPENERS


@pytest.fixture(params=[True, False], ids=["kept", "plain"])
def carried(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Both ways in which a job can travel to the target."""
    kept: bool = request.param
    monkeypatch.setattr(serving, "kept_by_default", kept)
    return kept


@pytest.fixture
async def stub() -> AsyncIterator[StubOllama]:
    async with StubOllama() as stub:
        yield stub


@pytest.fixture
async def target(stub: StubOllama) -> AsyncIterator[Target]:
    async with target_at(stub.url) as target:
        yield target


@pytest.fixture
async def work(stub: StubOllama, tmp_path: Path) -> AsyncIterator[Running]:
    """An engine at rest, with the model loaded that its jobs ask for."""
    async with running(stub, tmp_path / "foreman.db") as work:
        await work.warm()
        yield work


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
async def poller(target: Target, clock: HandClock) -> Poller:
    return Poller(target, clock, every=EVERY, probe_cap=PROBE_CAP, swap=Swap.EXCLUSIVE)


@pytest.fixture(params=OPENERS)
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], AbstractAsyncContextManager[Store]]:
    """Opens the one store of this test, for the process named."""
    return lambda boot: OPENERS[request.param](tmp_path, boot)


@pytest.fixture
async def store(opener: Callable[[str], AbstractAsyncContextManager[Store]]) -> AsyncIterator[Store]:
    async with opener("boot-1") as opened:
        yield opened
