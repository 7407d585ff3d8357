"""The overhead bench: workloads, and rounds in which each subject has its turn at each of them.

The subjects rotate, so that none is always the first after a pause or the last before one. Before every turn a few
requests warm it up and are not counted.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Final

import orjson

from bench.client import Connection, Request, Timing
from bench.figures import Turn, percentile
from bench.subjects import MODEL, Subjects


@dataclass(frozen=True, slots=True)
class Workload:
    """What is asked, by how many clients at once, and how long the stub thinks before a chat (in seconds)."""

    name: str
    request: Request
    clients: int = 1
    delay: float = 0.0


def _chat() -> Request:
    body = {"model": MODEL, "messages": [{"role": "user", "content": "What does a foreman do?"}], "stream": True}
    return Request("POST", "/api/chat", orjson.dumps(body))


WORKLOADS: Final = (
    Workload("lone chat, first token after 5 ms", _chat(), delay=0.005),
    Workload("tiny jobs, 8 clients", _chat(), clients=8),
    Workload("GET /api/tags", Request("GET", "/api/tags")),
)


def rotated(names: list[str], turn: int) -> list[str]:
    """The names, beginning with another one each turn."""
    start = turn % len(names)
    return names[start:] + names[:start]


async def measure(subjects: Subjects, rounds: int, requests: int, say: Callable[[str], None]) -> list[Turn]:
    """`requests` for each client in each turn. Raises AnswerVoid on an answer that is not a good one."""
    turns = []
    for number in range(rounds):
        for workload in WORKLOADS:
            await subjects.delay_chats(workload.delay)
            for subject in rotated(list(subjects.urls), number):
                say(f"round {number + 1} of {rounds}: {workload.name}, {subject}")
                turns.append(await _turn(subjects.urls[subject], workload, subject, number, requests))
    return turns


async def _turn(url: str, workload: Workload, subject: str, number: int, requests: int) -> Turn:
    await _asked(url, workload, max(2, requests // 10))
    start = perf_counter()
    timings = await _asked(url, workload, requests)
    seconds = perf_counter() - start
    first_byte = percentile([timing.first_byte for timing in timings], 0.5)
    return Turn(workload.name, subject, number, first_byte, len(timings) / seconds)


async def _asked(url: str, workload: Workload, requests: int) -> list[Timing]:
    clients = (_client(url, workload.request, requests) for _ in range(workload.clients))
    return [timing for timings in await asyncio.gather(*clients) for timing in timings]


async def _client(url: str, request: Request, requests: int) -> list[Timing]:
    async with await Connection.open(url) as connection:
        return [await connection.time(request) for _ in range(requests)]
