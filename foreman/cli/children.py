"""Programs that run beside a command: started, waited for until they say that they are ready, and killed at its end.

A child has a session of its own, so a Ctrl-C at the terminal reaches its parent alone, which then ends it. What it
writes to standard error is read at once; the last lines are kept for the one who must say why it died.
"""

import asyncio
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from foreman.core.errors import StartupError

READY_SECONDS: Final = 30.0
LAST_WORDS: Final = 5

STUB_READY: Final = "stub ollama listening on "
FOREMAN_READY: Final = "foreman listening on "
DATABASE: Final = "foreman.db"


class Child:
    """One `python -m ...`. `url` is where it listens, empty until it has said so."""

    def __init__(self, name: str, process: Process, ready: str) -> None:
        self.name = name
        self.url = ""
        self._process = process
        self._ready = ready
        self._said_ready = asyncio.Event()
        self._last: deque[str] = deque(maxlen=LAST_WORDS)
        self._reading = asyncio.create_task(self._read(), name=f"stderr of {name}")

    @property
    def pid(self) -> int:
        return self._process.pid

    async def _read(self) -> None:
        while self._process.stderr is not None and (raw := await self._process.stderr.readline()):
            line = raw.decode("utf-8", "replace").strip()
            self._last.append(line)
            if line.startswith(self._ready):
                self.url = line.removeprefix(self._ready)
                self._said_ready.set()
        self._said_ready.set()

    async def wait_until_ready(self) -> None:
        """Raises StartupError when it ends or stays silent instead."""
        try:
            async with asyncio.timeout(READY_SECONDS):
                await self._said_ready.wait()
        except TimeoutError as error:
            raise StartupError(f"{self.name} was not ready within {READY_SECONDS:g} s") from error
        if not self.url:
            await self._process.wait()
            self.check()

    def check(self) -> None:
        """Raises StartupError when it has ended by itself."""
        if self._process.returncode is not None:
            said = "; ".join(self._last) or "it said nothing"
            raise StartupError(f"{self.name} ended by itself with status {self._process.returncode}: {said}")

    async def stop(self) -> int:
        """Ask it to end, and wait until it has; gives its exit status."""
        if self._process.returncode is None:
            self._process.terminate()
        status = await self._process.wait()
        await self._reading
        return status

    async def kill(self) -> None:
        """kill -9; on return it is gone."""
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        await self._reading


@asynccontextmanager
async def child(name: str, *arguments: str, ready: str) -> AsyncIterator[Child]:
    """`python -m` with these arguments as a ready child, killed at the end. Raises StartupError."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        *arguments,
        stdin=DEVNULL,
        stdout=DEVNULL,
        stderr=PIPE,
        env=environment(os.environ),
        start_new_session=True,
    )
    started = Child(name, process, ready)
    try:
        await started.wait_until_ready()
        yield started
    finally:
        await started.kill()


def environment(own: Mapping[str, str]) -> dict[str, str]:
    """This process's environment without what would set a foreman up."""
    return {name: value for name, value in own.items() if not name.startswith("FOREMAN_")}


def serve_arguments(target: str, folder: Path, listen: str, *flags: str) -> tuple[str, ...]:
    """`foreman serve` with its database in `folder` and every other setting at its default, whatever the user has set.

    An empty file stands in for the user's own settings. Its target loads nothing, so the gate is off.
    """
    config = folder / "empty.toml"
    config.touch()
    where = (f"--config={config}", f"--db={folder / DATABASE}", f"--listen={listen}", f"--target={target}")
    return ("foreman", "serve", *where, "--log-format=text", "--log-level=warning", "--gate=off", *flags)
