"""The processes of a run: the stub, and the ways to it that are compared.

The ways share the last core, the stub and the client have the others, so that no subject is slowed down by the load it
is put under (Linux; elsewhere, and on one core, the machine decides).
"""

import os
import sys
from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp

from bench import passthrough
from bench.figures import DIRECT, FOREMAN, PASS_THROUGH
from foreman.cli.children import FOREMAN_READY, STUB_READY, child, serve_arguments

MODEL: Final = "bench"
TOKENS: Final = 4


@dataclass(frozen=True, slots=True)
class Subjects:
    """Where the stub and each subject listen."""

    stub: str
    urls: Mapping[str, str]

    async def delay_chats(self, seconds: float) -> None:
        """From now on the stub answers every chat after so many seconds."""
        script = {"key": "/api/chat", "script": {"delay": seconds} if seconds else None}
        async with aiohttp.ClientSession() as session, session.post(f"{self.stub}/_stub/script", json=script) as answer:
            answer.raise_for_status()


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Subjects]:
    """All of them, ready. Raises StartupError when one is not."""
    cores = available_cores()
    theirs = cores[-1:]
    async with AsyncExitStack() as stack:
        stack.enter_context(pinned(cores[:-1] or cores))

        async def url(name: str, *arguments: str, ready: str) -> str:
            return (await stack.enter_async_context(child(name, *arguments, ready=ready))).url

        models = (f"--model={MODEL}", f"--tokens={TOKENS}")
        stub = await url("the stub", "foreman.testing", "--listen=127.0.0.1:0", *models, ready=STUB_READY)
        with pinned(theirs):
            passing = await url("the pass-through", "bench.passthrough", f"--target={stub}", ready=passthrough.READY)
            serve = serve_arguments(stub, folder, "127.0.0.1:0")
            queueing = await url("foreman", *serve, ready=FOREMAN_READY)
        yield Subjects(stub, {DIRECT: stub, PASS_THROUGH: passing, FOREMAN: queueing})


def available_cores() -> list[int]:
    """The cores this process may use; none where that cannot be told."""
    return sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else []


@contextmanager
def pinned(cores: Collection[int]) -> Iterator[None]:
    """Keep this process, and what it starts meanwhile, on these cores."""
    if sys.platform != "linux" or not cores:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
