"""Carrying a plan out: so many chats by so many clients, and what became of them.

Each answer is at most a few tokens long. When the time is up, what is still open is given up.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from time import perf_counter
from typing import Final

import aiohttp

from bench.load.plan import Plan

ANSWER_TOKENS: Final = 64
# How often the one who watches is told.
TOLD_SECONDS: Final = 0.2


@dataclass(slots=True)
class Result:
    """What became of it: seconds to the first and the last byte of each good answer, and the bad ends by kind."""

    first_byte: list[float] = field(default_factory=list)
    total: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)
    open: int = 0
    seconds: float = 0.0
    timed_out: bool = False


async def load(plan: Plan, told: Callable[[Result], None] = lambda _: None) -> Result:
    """Carry it out; `told` is called with what there is, several times a second."""
    result, numbers = Result(), iter(range(plan.requests))
    watching = asyncio.create_task(_watch(result, told))
    no_limit = aiohttp.ClientTimeout(total=None)
    start = perf_counter()
    try:
        async with aiohttp.ClientSession(timeout=no_limit, connector=aiohttp.TCPConnector(limit=0)) as session:
            try:
                async with asyncio.timeout(plan.seconds), asyncio.TaskGroup() as group:
                    for _ in range(min(plan.clients, plan.requests)):
                        group.create_task(_client(session, plan, numbers, result))
            except TimeoutError:
                result.timed_out = True
    finally:
        result.seconds = perf_counter() - start
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
    return result


async def _watch(result: Result, told: Callable[[Result], None]) -> None:
    start = perf_counter()
    while True:
        result.seconds = perf_counter() - start
        told(result)
        await asyncio.sleep(TOLD_SECONDS)


async def _client(session: aiohttp.ClientSession, plan: Plan, numbers: Iterator[int], result: Result) -> None:
    for number in numbers:
        result.open += 1
        try:
            await _chat(session, plan, number, result)
        except (aiohttp.ClientError, OSError) as error:
            result.failures[type(error).__name__] += 1
        finally:
            result.open -= 1


async def _chat(session: aiohttp.ClientSession, plan: Plan, number: int, result: Result) -> None:
    body = {
        "model": plan.model,
        "messages": [{"role": "user", "content": f"Say something about the number {number}."}],
        "stream": plan.stream,
        "options": {"num_predict": ANSWER_TOKENS},
    }
    start, first, last = perf_counter(), 0.0, b""
    async with session.post(f"{plan.url.rstrip('/')}/api/chat", json=body) as answer:
        async for piece in answer.content.iter_any():
            # What a server sends to those who wait is no beginning of an answer.
            first = first or (perf_counter() if piece.strip() else 0.0)
            last = (last + piece)[-4096:]
    if answer.status != 200:
        result.failures[f"status {answer.status}"] += 1
    elif b'"done":true' not in last.replace(b" ", b""):
        result.failures["no end in sight"] += 1
    else:
        result.first_byte.append(first - start)
        result.total.append(perf_counter() - start)
