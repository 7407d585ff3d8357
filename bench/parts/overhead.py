"""What foreman adds to a request: every subject has its turn at every workload in every round.

A machine is slow for seconds and fast for seconds, so the turns of a round are cut into slices that alternate. The
order rotates from round to round, so that none is always the first after a pause or the last before one. Before each
slice every client asks once, which is not counted.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Self

from bench.figures.turn import FOREMAN, NGINX, Turn, percentiles
from bench.parts.workloads import Workload
from bench.servers.nginx import KEPT
from bench.servers.subjects import Subject, Target, running
from bench.wire.connection import Exchange
from bench.wire.drive import PATIENCE, Crowd
from bench.wire.timing import Timing, gaps, span, timing


async def overhead(
    folder: Path, workloads: Sequence[Workload], rounds: int, seconds: float, say: Callable[[str], None]
) -> list[Turn]:
    """Turns of so many seconds each. Raises StartupError, and AnswerVoid on an answer that is not a good one."""
    turns = []
    async with running(folder) as (target, subjects):
        for number in range(rounds):
            for workload in workloads:
                say(f"round {number + 1} of {rounds}: {workload.name}")
                turns += await _round(target, subjects, workload, number, seconds)
    return turns


def rotated(names: list[str], turn: int) -> list[str]:
    """The names, beginning with another one each turn."""
    start = turn % len(names)
    return names[start:] + names[:start]


async def _round(
    target: Target, subjects: Mapping[str, Subject], workload: Workload, number: int, seconds: float
) -> list[Turn]:
    """One turn of each subject, cut into slices that alternate."""
    slices = max(1, round(seconds * workload.lasts / workload.slice))
    async with AsyncExitStack() as stack:
        turns = [
            await stack.enter_async_context(_Turn(target, subjects[name], workload))
            for name in rotated(list(subjects), number)
        ]
        for _ in range(slices):
            for turn in turns:
                await turn.slice(min(seconds * workload.lasts, workload.slice))
    return [turn.result(number) for turn in turns]


class _Turn:
    """One subject's turn at one workload, in slices."""

    def __init__(self, target: Target, subject: Subject, workload: Workload) -> None:
        self._target = target
        self._subject = subject
        self._workload = workload
        self._stack = AsyncExitStack()
        self._exchanges: list[Exchange] = []
        self._gaps: list[float] = []
        self._used = 0.0
        self._took = 0.0

    async def __aenter__(self) -> Self:
        workload, url = self._workload, self._subject.url
        request, beside = workload.request, workload.beside
        if workload.cached and self._subject.name == NGINX:
            request = replace(request, path=KEPT + request.path)
        crowd = Crowd(url, request, workload.clients, workload.think)
        self._crowd = await self._stack.enter_async_context(crowd)
        self._others = None
        if beside is not None:
            self._others = await self._stack.enter_async_context(Crowd(url, beside.request, beside.clients))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def slice(self, seconds: float) -> None:
        """Everybody asks once, to warm the way up, and then for so long. Raises AnswerVoid."""
        async with self._beside():
            await self._crowd.ask(0.0)
            await self._target.marks()
            used = self._subject.cpu_seconds()
            exchanges = await self._crowd.ask(seconds)
            self._used += self._subject.cpu_seconds() - used
            self._took += span(exchanges)
            self._exchanges += exchanges
            self._gaps += gaps(await self._target.marks())

    @asynccontextmanager
    async def _beside(self) -> AsyncIterator[None]:
        """The load that goes on meanwhile, if there is one, and its end."""
        if self._others is None:
            yield
            return
        background = asyncio.create_task(self._others.ask(PATIENCE))
        try:
            yield
            self._others.rest()
            await background
        finally:
            background.cancel()

    def result(self, number: int) -> Turn:
        workload, name = self._workload, self._subject.name
        figures = figures_of(workload, [timing(exchange) for exchange in self._exchanges], self._used, self._took)
        # Only where one request follows another is the time between them the subject's.
        if workload.beside is None and not workload.cached and workload.clients > 1 and name == FOREMAN:
            figures |= percentiles("gap", self._gaps)
        figures["memory"] = round(self._subject.memory_bytes() / 1e6, 1)
        return Turn(workload.name, name, number, len(self._exchanges), figures)


def figures_of(workload: Workload, timings: Sequence[Timing], used: float, took: float) -> dict[str, float]:
    """The turn's figures; `used` is CPU time and `took` the turn's length, in seconds."""
    figures = percentiles("first", [one.first for one in timings])
    figures |= percentiles("total", [one.total for one in timings])
    figures["rate"] = round(len(timings) / took, 1)
    if workload.beside is None:
        figures["cpu"] = round(used * 1e6 / len(timings), 2)
    if workload.chunks:
        figures |= percentiles("delay", [delay for one in timings for delay in one.delays])
        figures["cpu_chunk"] = round(used * 1e6 / (len(timings) * workload.chunks), 3)
    return figures
