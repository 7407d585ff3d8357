"""The store alone: what a claim costs with more and more jobs queued, and how soon foreman is back in front of many.

There is a database for each depth and the rounds go from one to the next, so that a slow phase of the disk meets all.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median
from time import perf_counter, time
from typing import Final

from bench.figures.record import Claims, Restart
from bench.servers.answers import Ask
from bench.servers.subjects import foreman, raw_stub
from foreman.cli.children import DATABASE
from foreman.core.job import Hot, JobState, LoadKey, Mode, NewJob, Next, Outcome, Payload, Stats
from foreman.engine.sqlite import SqliteStore

BATCH: Final = 1_000
MODELS: Final = tuple(f"bench-{n}:latest" for n in range(8))
_BODY: Final = b'{"model":"bench","messages":[{"role":"user","content":"%s"}]}' % Ask().prompt.ljust(200).encode()
# By turns a model with queued jobs and one without, for which a claim has to look further.
_HOTS: Final = tuple(Next(Hot((model,), (model,))) for model in (MODELS[0], "bench-none:latest"))


def jobs(first: int, count: int) -> Iterator[NewJob]:
    """Detached jobs, the models by turns; the numbers make their ids."""
    now = _now()
    for number in range(first, first + count):
        model = MODELS[number % len(MODELS)]
        yield NewJob(
            id=f"{number:026}",
            model=model,
            load_key=LoadKey(model),
            mode=Mode.DETACHED,
            payload=Payload("/api/chat", (("content-type", "application/json"),), _BODY),
            max_attempts=5,
            created_at=now,
        )


async def fill(store: SqliteStore, rows: int) -> None:
    """Queue so many jobs."""
    for first in range(0, rows, BATCH):
        await store.submit_many(list(jobs(first, min(BATCH, rows - first))))


async def claims(
    folder: Path, depths: Sequence[int], rounds: int, times: int, say: Callable[[str], None]
) -> list[Claims]:
    """So many claims of each sort, at each depth, in each round. Raises StoreUnusable."""
    found = []
    async with AsyncExitStack() as stack:
        stores = {}
        for depth in depths:
            say(f"{depth:,} jobs queued")
            store = await stack.enter_async_context(SqliteStore.open(folder / f"claims-{depth}.db", "bench"))
            await fill(store, depth)
            stores[depth] = store
        for number in range(rounds):
            for depth, store in stores.items():
                say(f"round {number + 1} of {rounds}: claims at {depth:,} queued")
                found.append(await _claims(store, depth, number, times))
    return found


async def _claims(store: SqliteStore, depth: int, number: int, times: int) -> Claims:
    """The depth stays: for each job that ends another one is queued."""
    fresh = jobs(depth + 2 * number * times, 2 * times)
    alone, fused = [], []
    for turn in range(times):
        hot = _HOTS[turn % len(_HOTS)]
        await store.submit(next(fresh))
        began = perf_counter()
        claim = await store.claim(hot, _now())
        alone.append(perf_counter() - began)
        await store.submit(next(fresh))
        if claim is None:
            raise RuntimeError("the store gave no job out of many")
        began = perf_counter()
        finished = await store.finish(claim.job.seq, _done(), hot)
        fused.append(perf_counter() - began)
        if finished.next is None:
            raise RuntimeError("the store gave no job out of many")
        await store.finish(finished.next.job.seq, _done())
    return Claims(
        round=number, rows=depth, claim_us=round(median(alone) * 1e6, 1), next_us=round(median(fused) * 1e6, 1)
    )


def _done() -> Outcome:
    return Outcome(JobState.DONE, _now(), Stats())


def _now() -> int:
    return int(time() * 1000)


async def restarts(folder: Path, rows: int, rounds: int, say: Callable[[str], None]) -> list[Restart]:
    """Starts in front of no jobs and of so many, each but the first after a kill. Raises StartupError, StoreUnusable.

    The queue is paused, or the jobs would run while the start is timed.
    """
    found = []
    async with raw_stub() as target:
        for depth in (0, rows):
            say(f"{depth:,} jobs queued for a restart")
            where = folder / f"restart-{depth}"
            where.mkdir()
            async with SqliteStore.open(where / DATABASE, "bench") as store:
                await fill(store, depth)
                await store.set_paused(True, _now())
            async with foreman(target.url, where):
                pass
        for number in range(rounds):
            for depth in (0, rows):
                say(f"round {number + 1} of {rounds}: restart with {depth:,} jobs")
                began = perf_counter()
                async with foreman(target.url, folder / f"restart-{depth}"):
                    seconds = perf_counter() - began
                found.append(Restart(round=number, rows=depth, seconds=round(seconds, 4)))
    return found
