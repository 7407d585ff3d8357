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
import orjson

from bench.load.plan import Plan

ANSWER_TOKENS: Final = 64
# How often the one who watches is told.
TOLD_SECONDS: Final = 0.2
# Of each answer, where its end or an error stands.
_LAST_BYTES: Final = 4096
_SAID_CHARACTERS: Final = 200


@dataclass(slots=True)
class Result:
    """What became of it: seconds to the first and the last byte of each good answer, and the bad ends by kind.

    `said` holds what a server said of each kind when it was first met.
    """

    first_byte: list[float] = field(default_factory=list)
    total: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)
    said: dict[str, str] = field(default_factory=dict)
    open: int = 0
    seconds: float = 0.0

    @property
    def ended(self) -> int:
        """The chats that came to an end, good or bad."""
        return len(self.total) + self.failures.total()

    def failed(self, kind: str, said: str) -> None:
        self.failures[kind] += 1
        # It is printed, and nobody knows what a server says.
        self.said.setdefault(kind, "".join(filter(str.isprintable, said[:_SAID_CHARACTERS])))


async def load(plan: Plan, result: Result, told: Callable[[], None] = lambda: None) -> None:
    """Carry it out; `told` is called several times a second. `result` is true at any time, after a cancel too."""
    numbers = iter(range(plan.requests))
    watching = asyncio.create_task(_watch(result, told))
    start = perf_counter()
    try:
        async with _session(plan) as session:
            with suppress(TimeoutError):
                async with asyncio.timeout(plan.seconds), asyncio.TaskGroup() as group:
                    for _ in range(min(plan.clients, plan.requests)):
                        group.create_task(_client(session, plan, numbers, result))
    finally:
        result.seconds = perf_counter() - start
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching


def _session(plan: Plan) -> aiohttp.ClientSession:
    headers = {"Authorization": f"Bearer {plan.key}"} if plan.key else {}
    no_limit = aiohttp.ClientTimeout(total=None)
    return aiohttp.ClientSession(headers=headers, timeout=no_limit, connector=aiohttp.TCPConnector(limit=0))


async def _watch(result: Result, told: Callable[[], None]) -> None:
    start = perf_counter()
    while True:
        result.seconds = perf_counter() - start
        told()
        await asyncio.sleep(TOLD_SECONDS)


async def _client(session: aiohttp.ClientSession, plan: Plan, numbers: Iterator[int], result: Result) -> None:
    for number in numbers:
        result.open += 1
        try:
            await _chat(session, plan, number, result)
        except (aiohttp.ClientError, OSError) as error:
            result.failed(type(error).__name__, str(error))
        finally:
            result.open -= 1


async def _chat(session: aiohttp.ClientSession, plan: Plan, number: int, result: Result) -> None:
    body = {
        "model": plan.model,
        "messages": [{"role": "user", "content": f"Say something about the number {number}."}],
        "stream": plan.stream,
        "options": {"num_predict": ANSWER_TOKENS},
    }
    url = f"{plan.url.rstrip('/')}/api/chat"
    start, first, last = perf_counter(), 0.0, b""
    # Not redirected: that could lead to another host than the one that may be put under load.
    async with session.post(url, json=body, allow_redirects=False) as answer:
        async for piece in answer.content.iter_any():
            # What a server sends to those who wait is no beginning of an answer.
            first = first or (perf_counter() if piece.strip() else 0.0)
            last = (last + piece)[-_LAST_BYTES:]
    if answer.status != 200:
        result.failed(f"status {answer.status}", _error_in(last))
    elif b'"done":true' not in last.replace(b" ", b""):
        result.failed("an answer without its end", _error_in(last))
    else:
        result.first_byte.append(first - start)
        result.total.append(perf_counter() - start)


def _error_in(last: bytes) -> str:
    """What the last line of an answer says of an error; empty where it says nothing."""
    try:
        said = orjson.loads(last.strip().rpartition(b"\n")[2])
    except ValueError:
        return ""
    return str(said["error"]) if isinstance(said, dict) and "error" in said else ""
