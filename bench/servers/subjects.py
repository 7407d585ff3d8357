"""The stub and the ways to it that are compared, each a process of its own."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp
import orjson

from bench.accounting import cpu_seconds, memory_bytes
from bench.figures.turn import DIRECT, FOREMAN, NGINX, PASS_THROUGH
from bench.servers import nginx, passthrough, stub
from bench.servers.cores import pinned, shared_out
from foreman.cli.children import FOREMAN_READY, Child, child, serve_arguments

# What foreman answers from its cache, and nginx from its configuration.
CACHED: Final = ("/api/tags", "/v1/models")


@dataclass(frozen=True, slots=True)
class Subject:
    """One way to the stub. `pid` is None for the direct one, which costs nothing."""

    name: str
    url: str
    pid: int | None = None

    def cpu_seconds(self) -> float:
        return 0.0 if self.pid is None else cpu_seconds(self.pid)

    def memory_bytes(self) -> int:
        return 0 if self.pid is None else memory_bytes(self.pid)


@dataclass(frozen=True, slots=True)
class Target:
    """The raw stub, and what only it knows."""

    url: str

    async def marks(self) -> list[tuple[int, int]]:
        """Arrival and last byte of each inference request since the last time, in ns."""
        return [(arrived, written) for arrived, written in orjson.loads(await _asked("GET", self.url, "/_bench/marks"))]

    async def hold(self) -> None:
        """Keep all answers back from now on."""
        await _asked("POST", self.url, "/_bench/hold")

    async def release(self) -> None:
        await _asked("POST", self.url, "/_bench/release")


async def _asked(method: str, url: str, path: str) -> bytes:
    async with aiohttp.ClientSession() as session, session.request(method, url + path) as answer:
        answer.raise_for_status()
        return await answer.read()


@asynccontextmanager
async def raw_stub() -> AsyncIterator[Target]:
    """A ready raw stub. Raises StartupError."""
    async with child("the stub", "bench.servers.stub", ready=stub.READY) as started:
        yield Target(started.url)


@asynccontextmanager
async def foreman(target: str, folder: Path, *flags: str, listen: str = "127.0.0.1:0") -> AsyncIterator[Child]:
    """A ready foreman on the subjects' core, with its database in the folder. Raises StartupError."""
    arguments = serve_arguments(target, folder, listen, *flags)
    async with AsyncExitStack() as stack:
        with pinned(shared_out()[1]):
            started = await stack.enter_async_context(child("foreman", *arguments, ready=FOREMAN_READY))
        yield started


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[tuple[Target, Mapping[str, Subject]]]:
    """All of them, ready, in the order of the tables; nginx only where it is installed. Raises StartupError."""
    async with AsyncExitStack() as stack:
        target = await stack.enter_async_context(raw_stub())
        queueing = await stack.enter_async_context(foreman(target.url, folder))
        with pinned(shared_out()[1]):
            passing = await stack.enter_async_context(
                child("the pass-through", passthrough.__name__, f"--target={target.url}", ready=passthrough.READY)
            )
            found = [Subject(DIRECT, target.url)]
            if nginx.program() is not None:
                kept = {path: await _asked("GET", queueing.url, path) for path in CACHED}
                proxy = await stack.enter_async_context(nginx.nginx(folder, target.url, kept))
                found.append(Subject(NGINX, proxy.url, proxy.pid))
        found += [Subject(PASS_THROUGH, passing.url, passing.pid), Subject(FOREMAN, queueing.url, queueing.pid)]
        yield target, {subject.name: subject for subject in found}
