"""How many can wait, and what each of them costs: clients on their connections, and jobs handed in by arrays."""

import asyncio
import resource
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Final

import aiohttp
import orjson

from bench.accounting import memory_bytes
from bench.figures.record import Submitted, Waiting
from bench.parts.workloads import TINY
from bench.servers.answers import MODEL, Ask
from bench.servers.subjects import Target, foreman, raw_stub
from bench.wire.connection import Exchange, Request
from bench.wire.drive import Crowd
from bench.wire.timing import span
from foreman.cli.children import Child

# A client that waits longer is sent heartbeats, which is another state with another size.
PATIENT: Final = ("--max-queued=1000000", "--hold-seconds=3600")
PROMPT_BYTES: Final = 200
ARRAY: Final = 1_000
_LOOK_SECONDS: Final = 0.05
# What a process needs besides its clients: the database, the log, the loop.
_OTHER_FILES: Final = 100


def descriptors(clients: int) -> bool:
    """Whether so many connections may be open at once, here and in what is started later; raises the limit for it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    need = clients + _OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < need:
        if hard != resource.RLIM_INFINITY and hard < need:
            return False
        resource.setrlimit(resource.RLIMIT_NOFILE, (need, hard))
    return True


async def waiting(folder: Path, crowds: Sequence[int], rounds: int, say: Callable[[str], None]) -> list[Waiting]:
    """Each number of clients once a round, on a fresh foreman. Raises StartupError, AnswerVoid."""
    found = []
    for number in range(rounds):
        for clients in crowds:
            if not descriptors(clients):
                say(f"{clients:,} clients are more than this process may open files")
                continue
            say(f"round {number + 1} of {rounds}: {clients:,} waiting clients")
            async with raw_stub() as target, foreman(target.url, _fresh(folder), *PATIENT) as started:
                found.append(await _waiting(target, started, clients, number))
    return found


async def _waiting(target: Target, started: Child, clients: int, number: int) -> Waiting:
    async with Crowd(started.url, TINY, 8) as warming:
        await warming.ask(0.2)
    # What a full house needs besides the clients should be there already.
    before = memory_bytes(started.pid)
    async with patient_crowd(started.url, clients) as crowd, queued(target, started, crowd) as house:
        held = memory_bytes(started.pid) - before
        drained = await house.drain()
    return Waiting(
        round=number,
        clients=clients,
        bytes_each=round(held / clients, 1),
        accept_seconds=round(house.seconds, 4),
        drain_seconds=round(drained, 4),
    )


@dataclass(frozen=True, slots=True)
class Queued:
    """Clients whose jobs are all queued, after so many seconds; the target lets none go."""

    target: Target
    asking: "asyncio.Task[list[Exchange]]"
    seconds: float

    async def drain(self) -> float:
        """Let the target go on; seconds until everybody was answered. Raises AnswerVoid."""
        began = monotonic()
        await self.target.release()
        await self.asking
        return monotonic() - began


def patient_crowd(url: str, clients: int) -> Crowd:
    """So many clients with a tiny job each, and a prompt of usual length."""
    message = {"role": "user", "content": Ask().prompt.ljust(PROMPT_BYTES)}
    return Crowd(url, Request("POST", "/api/chat", orjson.dumps({"model": MODEL, "messages": [message]})), clients)


@asynccontextmanager
async def queued(target: Target, started: Child, crowd: Crowd, apart: float = 0.0) -> AsyncIterator[Queued]:
    """All of them in the queue; the first job runs and does not end. They come at once, or so many seconds apart."""
    async with aiohttp.ClientSession() as session:
        await target.hold()
        began = monotonic()
        asking = asyncio.create_task(crowd.ask(0.0, apart))
        try:
            while await _depth(session, started.url) < crowd.clients - 1:
                done, _ = await asyncio.wait((asking,), timeout=_LOOK_SECONDS)
                if done:
                    asking.result()
            yield Queued(target, asking, monotonic() - began)
        finally:
            asking.cancel()
            await asyncio.wait((asking,))


async def _depth(session: aiohttp.ClientSession, url: str) -> int:
    async with session.get(f"{url}/health") as answer:
        depth: int = (await answer.json())["queue"]["depth"]
        return depth


async def submitted(folder: Path, jobs: int, rounds: int, say: Callable[[str], None]) -> list[Submitted]:
    """So many detached jobs in arrays, on a fresh and paused foreman. Raises StartupError, AnswerVoid."""
    size = min(ARRAY, jobs)
    body = {"model": MODEL, "messages": [{"role": "user", "content": Ask().prompt}]}
    request = Request("POST", "/jobs", orjson.dumps([{"path": "/api/chat", "body": body}] * size))
    found = []
    for number in range(rounds):
        say(f"round {number + 1} of {rounds}: {jobs:,} jobs handed in")
        async with raw_stub() as target, foreman(target.url, _fresh(folder), *PATIENT) as started:
            async with Crowd(started.url, Request("POST", "/queue/pause"), 1) as pausing:
                await pausing.ask(0.0)
            async with Crowd(started.url, request, 1) as client:
                # The time between two arrays is the client's own.
                seconds = sum([span(await client.ask(0.0)) for _ in range(jobs // size)])
        found.append(Submitted(round=number, jobs=jobs // size * size, seconds=round(seconds, 4)))
    return found


def _fresh(folder: Path) -> Path:
    """A folder without a database in it."""
    made = folder / f"fresh-{sum(1 for _ in folder.iterdir())}"
    made.mkdir()
    return made
