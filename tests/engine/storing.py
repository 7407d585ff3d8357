"""Stores for tests, and jobs in them."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Final

from foreman.core.job import Hot, JobState, Next
from foreman.engine.sqlite import SqliteStore
from foreman.engine.store import Store
from tests.engine.stored import job_id, new_job

Opener = Callable[[Path, str], AbstractAsyncContextManager[Store]]
OPENERS: Final[dict[str, Opener]] = {"sqlite": lambda folder, boot: SqliteStore.open(folder / "foreman.db", boot)}


async def submit(store: Store, *models: str) -> list[int]:
    return [(await store.submit(new_job(number, model))).seq for number, model in enumerate(models, 1)]


async def claimed(store: Store, hot: Hot = Hot(), now: int = 5_000) -> int | None:  # noqa: B008 immutable
    claim = await store.claim(Next(hot), now)
    return None if claim is None else claim.job.seq


async def state(store: Store, number: int) -> JobState:
    job = await store.get(job_id(number))
    assert job is not None
    return job.state
