"""Relays for tests, and readers of them."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from foreman.engine.relay import Budget, Head, Reader, Relay

HEAD = Head(200, (("content-type", "application/x-ndjson"),))
T = TypeVar("T")


def begun(budget: Budget | None = None, *chunks: bytes) -> Relay:
    relay = Relay(budget or Budget(1 << 30))
    relay.begin(HEAD)
    for chunk in chunks:
        relay.feed(chunk)
    return relay


async def read(reader: Reader) -> bytes:
    """All there is until the end."""
    got = b""
    while (chunk := await reader.chunk()) is not None:
        assert chunk
        got += chunk
    return got


async def waiting(coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """A task that has gone as far as it can."""
    task = asyncio.create_task(coroutine)
    for _ in range(3):
        await asyncio.sleep(0)
    return task
