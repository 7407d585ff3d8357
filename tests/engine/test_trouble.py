"""A store that takes no writes is noticed, told, tried again, and trusted only after a write went through."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from foreman.core.errors import StorageFailed, StorageFull
from foreman.engine.sqlite import SqliteStore
from foreman.engine.trouble import LOOK_SECONDS, StoreTrouble
from tests.engine.clock import HandClock


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    async with SqliteStore.open(tmp_path / "foreman.db", "boot") as store:
        yield store


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
async def trouble(store: SqliteStore, clock: HandClock) -> AsyncIterator[StoreTrouble]:
    """Watched, and at its first wait."""
    trouble = StoreTrouble()
    watch = asyncio.create_task(trouble.watch(store, clock))
    assert await clock.waits.get() == LOOK_SECONDS
    yield trouble
    watch.cancel()
    await asyncio.wait((watch,))


async def look(clock: HandClock) -> None:
    """Let one look happen."""
    clock.advance(LOOK_SECONDS)
    assert await clock.waits.get() == LOOK_SECONDS


async def limit_pages(store: SqliteStore, pages: int) -> None:
    """Let the file not grow beyond so many pages, or beyond what it has."""
    await store._writer.run_bare(lambda db: db.execute(f"PRAGMA max_page_count={pages}").fetchall())


async def test_no_trouble(store: SqliteStore, clock: HandClock, trouble: StoreTrouble) -> None:
    await look(clock)
    trouble.check()
    assert trouble.error is None


async def test_a_refused_write_is_trouble_until_one_of_that_size_goes_through(
    store: SqliteStore, clock: HandClock, trouble: StoreTrouble
) -> None:
    await limit_pages(store, 1)
    trouble.begin(StorageFull("no room"))
    with pytest.raises(StorageFull, match="no room"):
        trouble.check()
    await look(clock)
    with pytest.raises(StorageFull, match="full"):
        trouble.check()
    await limit_pages(store, 1 << 30)
    await look(clock)
    trouble.check()
    assert await store.depth() == {}


async def test_a_file_that_is_gone_is_trouble_until_it_is_back(
    store: SqliteStore, clock: HandClock, trouble: StoreTrouble, tmp_path: Path
) -> None:
    db, elsewhere = tmp_path / "foreman.db", tmp_path / "elsewhere"
    db.rename(elsewhere)
    await look(clock)
    with pytest.raises(StorageFailed, match="gone"):
        trouble.check()
    elsewhere.rename(db)
    await look(clock)
    trouble.check()
