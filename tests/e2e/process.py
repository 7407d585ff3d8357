"""The real foreman as a process of its own: started on a free port, watched through its log, killed at will."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import orjson

STARTED = "foreman listening on "
# Patience for what must happen; far above what it takes, so that only a hang reaches it.
PATIENCE = 30.0


class Foreman:
    """One run of `foreman serve`. `lines` is what it wrote to stderr so far, `events` the log lines among it."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.url = ""
        self.lines: list[str] = []
        self.events: list[dict[str, Any]] = []
        self._news = asyncio.Condition()
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        if self.process.stderr is None:
            return
        while raw := await self.process.stderr.readline():
            line = raw.decode().rstrip("\n")
            async with self._news:
                self.lines.append(line)
                if line.startswith("{"):
                    self.events.append(orjson.loads(line))
                self._news.notify_all()
        async with self._news:
            self._news.notify_all()

    async def wait_for(self, seen: Callable[[], bool]) -> None:
        """Wait until `seen`, asked again after every line the process writes, is true. Fails when the process ends."""
        async with asyncio.timeout(PATIENCE), self._news:
            await self._news.wait_for(lambda: seen() or self._reading.done() or self.process.returncode is not None)
        if not seen():
            raise AssertionError("foreman ended:\n" + "\n".join(self.lines))

    async def event(self, name: str, count: int = 1, **fields: object) -> dict[str, Any]:
        """The `count`-th log line of this event whose fields have these values, as soon as it is there."""

        def matching() -> list[dict[str, Any]]:
            named = (event for event in self.events if event["event"] == name)
            return [e for e in named if all(e["fields"].get(key) == value for key, value in fields.items())]

        await self.wait_for(lambda: len(matching()) >= count)
        return matching()[count - 1]

    async def started(self) -> None:
        await self.wait_for(lambda: any(line.startswith(STARTED) for line in self.lines))
        self.url = next(line for line in self.lines if line.startswith(STARTED)).removeprefix(STARTED)

    async def health(self) -> dict[str, Any]:
        async with aiohttp.ClientSession() as session, session.get(f"{self.url}/health") as response:
            report: dict[str, Any] = await response.json()
            return report

    async def healthy(self, seen: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Ask for /health, again and again, until `seen` is true of it."""
        async with asyncio.timeout(PATIENCE):
            while not seen(report := await self.health()):
                pass
        return report

    async def queued(self, count: int) -> None:
        """Wait until so many jobs are queued, the one at the target not counted."""
        await self.healthy(lambda report: report["queue"]["depth"] == count)

    async def settled(self, *jobs: str) -> None:
        """Wait until these jobs are finished in the database too; their clients hear the end before that."""
        for job in jobs:
            await self.event("job_finished", job=job)

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def ended(self) -> int:
        """The exit status, once the process has ended and everything it wrote was read."""
        async with asyncio.timeout(PATIENCE):
            status = await self.process.wait()
            await self._reading
        return status

    async def kill(self) -> None:
        """kill -9, and wait until it is gone."""
        if self.process.returncode is None:
            self.send(signal.SIGKILL)
        await self.ended()


def arguments(target: str, db: Path, **settings: object) -> list[str]:
    # The machine of a test run is busy, and its disk may be full.
    chosen = {"gate": "off", "disk_reserve": 0, **settings}
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in chosen.items()]
    return ["serve", "--listen=127.0.0.1:0", f"--target={target}", f"--db={db}", "--log-format=json", *flags]


def environment(home: Path) -> dict[str, str]:
    """The environment without anything that could set foreman up from outside."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("FOREMAN_", "XDG_"))}
    return {**kept, "HOME": str(home)}


def development(home: Path) -> dict[str, str]:
    """The same, and Python says what it dislikes. For servers alone: asyncio then tells of slow moments on stderr."""
    return environment(home) | {"PYTHONDEVMODE": "1"}


async def spawn(*command: str, home: Path) -> Foreman:
    """Start `foreman` with these arguments; returns before it is ready."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "foreman", *command, stderr=PIPE, stdout=PIPE, env=development(home)
    )
    return Foreman(process)


# All of a start but the reading of settings; then it waits for a line.
WARM = """
import sys
import foreman.cli.serve
from foreman.cli.main import main
sys.stdin.readline()
sys.exit(main())
"""


async def warmed(*command: str, home: Path) -> Foreman:
    """A process that has loaded its code and does nothing before `go`: for tests that restart foreman often."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", WARM, *command, stdin=PIPE, stderr=PIPE, stdout=PIPE, env=environment(home)
    )
    return Foreman(process)


async def go(foreman: Foreman) -> None:
    """Let a warmed process run; returns when clients can connect."""
    if foreman.process.stdin is not None:
        foreman.process.stdin.write_eof()
    await foreman.started()


@asynccontextmanager
async def serving(target: str, db: Path, **settings: object) -> AsyncIterator[Foreman]:
    """A ready foreman in front of `target`; killed at the end if it still runs."""
    foreman = await spawn(*arguments(target, db, **settings), home=db.parent)
    try:
        await foreman.started()
        yield foreman
    finally:
        await foreman.kill()
