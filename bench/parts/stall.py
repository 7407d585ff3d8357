"""How long foreman's event loop pauses at most, under loads that might make it.

Measured from outside: a program of its own asks for `GET /` every two milliseconds, which needs nothing but a turn of
the loop. Phases: nothing else; tiny jobs; 40 kB bodies, whose log has to be copied into the database; 8 MB bodies; a
crowd that comes, waits and is served; and a start that has to delete all the jobs of the phases before.
"""

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Final

import orjson

from bench.figures.record import Pauses
from bench.parts.capacity import PATIENT, descriptors, queued_crowd
from bench.parts.workloads import TINY, generate
from bench.servers.answers import Ask
from bench.servers.nginx import free_port
from bench.servers.subjects import Target, foreman, raw_stub
from bench.wire import pinger
from bench.wire.connection import Request
from bench.wire.drive import Crowd
from bench.wire.pinger import Pings
from foreman.cli.children import Child
from foreman.core.errors import StartupError

EVERY: Final = 0.002
DELETING: Final = "old jobs deleted after a start"

Load = Callable[[], Awaitable[object]]


async def pauses(folder: Path, crowd: int, seconds: float, rounds: int, say: Callable[[str], None]) -> list[Pauses]:
    """Every phase once a round, so many seconds long or as long as it takes. Raises StartupError, AnswerVoid."""
    found = []
    for number in range(rounds):
        where = folder / f"stall-{number}"
        where.mkdir()

        def row(phase: str, pings: Pings, number: int = number) -> Pauses:
            return Pauses(round=number, phase=phase, **asdict(pings))

        async with raw_stub() as target:
            async with foreman(target.url, where, *PATIENT) as started:
                for phase, load in phases(target, started, crowd, seconds).items():
                    say(f"round {number + 1} of {rounds}: pauses, {phase}")
                    found.append(row(phase, await pinged(started.url, load)))
            say(f"round {number + 1} of {rounds}: pauses, {DELETING}")
            found.append(row(DELETING, await _deleting(target, where, seconds)))
    return found


def phases(target: Target, started: Child, crowd: int, seconds: float) -> Mapping[str, Load]:
    """What is done meanwhile, by what it is called."""

    def asked(request: Request, clients: int) -> Load:
        async def load() -> None:
            async with Crowd(started.url, request, clients) as asking:
                await asking.ask(seconds)

        return load

    async def crowded() -> None:
        async with queued_crowd(target, started, crowd) as queued:
            await queued.drain()

    found: dict[str, Load] = {
        "nothing": lambda: asyncio.sleep(seconds),
        "tiny jobs, 64 clients": asked(TINY, 64),
        "40 kB bodies, 16 clients": asked(generate(Ask(), 40_000), 16),
        "8 MB bodies, 2 clients": asked(generate(Ask(), 8_000_000), 2),
    }
    if descriptors(crowd):
        found[f"{crowd:,} clients come, wait and are served"] = crowded
    return found


async def _deleting(target: Target, where: Path, seconds: float) -> Pings:
    """Asked from the moment the new foreman takes connections."""
    listen = f"127.0.0.1:{free_port()}"
    process = await _asker(f"http://{listen}")
    try:
        async with foreman(target.url, where, "--retention-hours=0", listen=listen):
            await _begun(process)
            await asyncio.sleep(seconds)
            return await _found(process)
    finally:
        await _ended(process)


async def pinged(url: str, load: Load) -> Pings:
    """What the asker found while the load went on. Raises StartupError when it could not ask."""
    process = await _asker(url)
    try:
        await _begun(process)
        await load()
        return await _found(process)
    finally:
        await _ended(process)


async def _asker(url: str) -> Process:
    arguments = (f"--url={url}", f"--every={EVERY}")
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", pinger.__name__, *arguments, stdin=PIPE, stdout=PIPE, start_new_session=True
    )


async def _begun(process: Process) -> None:
    if process.stdout is None or await process.stdout.readline() != pinger.ASKING:
        raise StartupError("the asker did not get through")


async def _found(process: Process) -> Pings:
    # Empty input closes the pipe, which is what ends the asking.
    said, _ = await process.communicate(b"")
    if process.returncode != 0:
        raise StartupError("the asker lost its connection")
    return Pings(**orjson.loads(said))


async def _ended(process: Process) -> None:
    if process.returncode is None:
        process.kill()
    await process.wait()
