"""How long foreman's event loop pauses at most, under loads that might make it.

Measured from outside: a program of its own asks for `GET /` every two milliseconds, which needs nothing but a turn of
the loop. Phases: nothing else; tiny jobs; 40 kB bodies, whose log has to be copied into the database; 8 MB bodies; a
crowd that comes, waits and is served; and a start that has to delete all the jobs of the phases before.
"""

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Final

import orjson

from bench.figures.record import Pauses
from bench.parts.capacity import PATIENT, descriptors, patient_crowd, queued
from bench.parts.workloads import TINY, generate
from bench.servers.answers import Ask
from bench.servers.ports import free_port
from bench.servers.subjects import Target, foreman, raw_stub
from bench.wire import pinger
from bench.wire.drive import Crowd
from bench.wire.pinger import Pings
from foreman.cli.children import Child
from foreman.core.errors import StartupError

EVERY: Final = 0.002
# Clients that come at the same instant are many turns of the loop, not a long one.
APART: Final = 0.001


async def pauses(folder: Path, crowd: int, seconds: float, rounds: int, say: Callable[[str], None]) -> list[Pauses]:
    """Every phase once a round, so many seconds long or as long as it takes. Raises StartupError, AnswerVoid."""
    rows = []
    for number in range(rounds):
        say(f"round {number + 1} of {rounds}: pauses of the event loop")
        where = folder / f"stall-{number}"
        where.mkdir()
        found: dict[str, Pings] = {}
        async with raw_stub() as target:
            async with foreman(target.url, where, *PATIENT) as started:
                await _loaded(found, started.url, seconds)
                if descriptors(crowd):
                    await _crowded(found, target, started, crowd, seconds)
            await _deleting(found, target, where, seconds)
        rows += [Pauses(round=number, phase=phase, **asdict(pings)) for phase, pings in found.items()]
    return rows


async def _loaded(found: dict[str, Pings], url: str, seconds: float) -> None:
    """With nothing to do, and with loads of several sorts."""
    async with _noted(found, "nothing", url):
        await asyncio.sleep(seconds)
    loads = (
        ("tiny jobs, 64 clients", TINY, 64),
        ("40 kB bodies, 16 clients", generate(Ask(), 40_000), 16),
        ("8 MB bodies, 2 clients", generate(Ask(), 8_000_000), 2),
    )
    for phase, request, clients in loads:
        async with Crowd(url, request, clients) as crowd, _noted(found, phase, url):
            await crowd.ask(seconds, APART)


async def _crowded(found: dict[str, Pings], target: Target, started: Child, clients: int, seconds: float) -> None:
    """A crowd that comes, waits and is served. It connects before and hangs up after, which is not measured."""
    async with patient_crowd(started.url, clients) as crowd, AsyncExitStack() as stack:
        async with _noted(found, f"{clients:,} clients come", started.url):
            house = await stack.enter_async_context(queued(target, started, crowd, APART))
        async with _noted(found, f"{clients:,} clients wait", started.url):
            await asyncio.sleep(seconds)
        async with _noted(found, f"{clients:,} clients are served", started.url):
            await house.drain()


async def _deleting(found: dict[str, Pings], target: Target, where: Path, seconds: float) -> None:
    """Asked from the moment a new foreman takes connections, which is when it begins to delete."""
    listen = f"127.0.0.1:{free_port()}"
    async with _asker(f"http://{listen}") as process, foreman(target.url, where, "--retention-hours=0", listen=listen):
        await _begun(process)
        await asyncio.sleep(seconds)
        found["old jobs are deleted after a start"] = await _heard(process)


@asynccontextmanager
async def _noted(found: dict[str, Pings], phase: str, url: str) -> AsyncIterator[None]:
    """Asks meanwhile, and notes what the asker heard. Raises StartupError when it could not ask."""
    async with _asker(url) as process:
        await _begun(process)
        yield
        found[phase] = await _heard(process)


@asynccontextmanager
async def _asker(url: str) -> AsyncIterator[Process]:
    """The asking program, killed at the end if it still runs."""
    arguments = ("-m", pinger.__name__, f"--url={url}", f"--every={EVERY}")
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, stdin=PIPE, stdout=PIPE, start_new_session=True
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _begun(process: Process) -> None:
    if process.stdout is None or await process.stdout.readline() != pinger.ASKING:
        raise StartupError("the asker did not get through")


async def _heard(process: Process) -> Pings:
    # Empty input closes the pipe, which is what ends the asking.
    said, _ = await process.communicate(b"")
    if process.returncode != 0:
        raise StartupError("the asker lost its connection")
    return Pings(**orjson.loads(said))
