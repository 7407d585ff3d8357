"""Carrying a soak out: a stub, a foreman, clients, and somebody who restarts both of them.

Each of the two is a process of its own at an address that stays. At the end every client stops asking, and everything
that foreman has taken in must come to its end.
"""

import asyncio
import random
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from time import monotonic
from typing import Final

import aiohttp
import psutil  # type: ignore[import-untyped]

from bench.accounting import memory_bytes
from bench.servers.ports import free_port
from bench.soak.clients import EMBEDDER, MODELS, Client
from bench.soak.figures import Reading, Soaked
from bench.soak.lives import Lives
from bench.soak.plan import Plan
from foreman.cli.children import DATABASE, FOREMAN_READY, STUB_READY, Child, child, serve_arguments

# How long what is left may take to come to its end.
SETTLE_SECONDS: Final = 60.0
LOOK_SECONDS: Final = 0.1
TOLD_SECONDS: Final = 0.5
# So that the database is emptied while it is written to.
RETENTION_HOURS: Final = 0.01


async def soak(plan: Plan, folder: Path, soaked: Soaked, told: Callable[[str], None]) -> None:
    """Carry it out; `told` gets a line of progress now and then. Raises StartupError."""
    target, listen = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    over, began = asyncio.Event(), monotonic()
    async with (
        Lives(lambda: _stub(target)) as stub,
        Lives(lambda: _foreman(f"http://{target}", folder, listen)) as foreman,
        aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, force_close=False), timeout=aiohttp.ClientTimeout(total=None)
        ) as session,
    ):
        clients = [
            Client(session, f"http://{listen}", random.Random(f"{plan.seed} {number}"), soaked)
            for number in range(plan.clients)
        ]
        asking = [asyncio.create_task(client.run(over)) for client in clients]
        aside = [
            asyncio.create_task(_end_the_target(stub, plan, soaked)),
            asyncio.create_task(_tell(plan, soaked, began, told)),
        ]
        try:
            await _end_foreman(foreman, plan, soaked, began)
            await _watch(foreman.child.pid, plan, folder / DATABASE, soaked, began)
            aside[0].cancel()
            stub.child.check()
            foreman.child.check()
            over.set()
            await _ended(asking, session, f"http://{listen}", soaked)
        finally:
            for task in (*asking, *aside):
                task.cancel()
            await asyncio.gather(*asking, *aside, return_exceptions=True)
        if (status := await foreman.child.stop()) != 0:
            soaked.wrong.append(f"foreman ended with status {status}")
    soaked.seconds = monotonic() - began


def _stub(listen: str) -> AbstractAsyncContextManager[Child]:
    models = (f"--model={model}" for model in (*MODELS, EMBEDDER))
    speed = ("--load-seconds=0.05", "--tokens=8", "--tokens-per-second=400", "--max-loaded=1")
    return child("the stub", "foreman.testing", f"--listen={listen}", *speed, *models, ready=STUB_READY)


def _foreman(target: str, folder: Path, listen: str) -> AbstractAsyncContextManager[Child]:
    flags = (f"--retention-hours={RETENTION_HOURS}", "--probe-seconds=0.2", "--poll-seconds=1", "--drain-seconds=2")
    return child("foreman", *serve_arguments(target, folder, listen, *flags), ready=FOREMAN_READY)


async def _end_the_target(stub: Lives, plan: Plan, soaked: Soaked) -> None:
    while True:
        await asyncio.sleep(plan.target_lives)
        await stub.kill()
        soaked.restarts["kill -9 of the target"] += 1


async def _end_foreman(foreman: Lives, plan: Plan, soaked: Soaked, began: float) -> None:
    await _until(began + plan.killed_at)
    await foreman.kill()
    soaked.restarts["kill -9 of foreman"] += 1
    await _until(began + plan.stopped_at)
    if (status := await foreman.stop()) != 0:
        soaked.wrong.append(f"foreman was stopped and ended with status {status}")
    soaked.restarts["stop of foreman"] += 1
    await _until(began + plan.watched_from)


async def _watch(pid: int, plan: Plan, database: Path, soaked: Soaked, began: float) -> None:
    watched = psutil.Process(pid)
    log = database.with_name(database.name + "-wal")
    while (at := monotonic() - began) < plan.seconds:
        held = (memory_bytes(pid), watched.num_fds(), watched.num_threads())
        soaked.readings.append(Reading(at, *held, _size(log), _size(database)))
        await asyncio.sleep(plan.read_every)


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


async def _ended(asking: list[asyncio.Task[None]], session: aiohttp.ClientSession, url: str, soaked: Soaked) -> None:
    """Wait until every client has its answer and nothing is queued or runs any more."""
    left = 0
    try:
        async with asyncio.timeout(SETTLE_SECONDS):
            await asyncio.gather(*asking)
            # Another process has no event to wait for.
            while left := await _left(session, url):  # noqa: ASYNC110
                await asyncio.sleep(LOOK_SECONDS)
    except TimeoutError:
        soaked.wrong.append(f"{left} jobs had not ended {SETTLE_SECONDS:g} s after the last request")


async def _left(session: aiohttp.ClientSession, url: str) -> int:
    async with session.get(f"{url}/health") as answer:
        health = await answer.json()
    return int(health["queue"]["depth"]) + (health["running"] is not None)


async def _tell(plan: Plan, soaked: Soaked, began: float, told: Callable[[str], None]) -> None:
    while True:
        at = monotonic() - began
        told(f"soak: {at:.0f} of {plan.seconds:.0f} s, {soaked.asked} requests, {soaked.restarts.total()} restarts")
        await asyncio.sleep(TOLD_SECONDS)


async def _until(moment: float) -> None:
    await asyncio.sleep(max(0.0, moment - monotonic()))
