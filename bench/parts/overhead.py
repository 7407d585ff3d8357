"""What foreman adds to a request: every subject has its turn at every workload in every round.

The order rotates, so that none is always the first after a pause or the last before one. Before a turn the way is
warmed up for a fifth of its time, and that is not counted.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Final

import asyncio

from bench.figures.turn import FOREMAN, NGINX, Turn, percentiles
from bench.parts.workloads import Workload
from bench.servers.nginx import KEPT
from bench.servers.subjects import Subject, Target, running
from bench.wire.connection import Exchange
from bench.wire.drive import Crowd
from bench.wire.timing import Timing, gaps, timing

WARM: Final = 0.2


async def overhead(
    folder: Path, workloads: Sequence[Workload], rounds: int, seconds: float, say: Callable[[str], None]
) -> list[Turn]:
    """Turns of so many seconds each. Raises StartupError, and AnswerVoid on an answer that is not a good one."""
    turns = []
    async with running(folder) as (target, subjects):
        for number in range(rounds):
            for workload in workloads:
                for name in rotated(list(subjects), number):
                    say(f"round {number + 1} of {rounds}: {workload.name}, {name}")
                    figures, requests = await _turn(target, subjects[name], workload, seconds * workload.lasts)
                    turns.append(Turn(workload.name, name, number, requests, figures))
    return turns


def rotated(names: list[str], turn: int) -> list[str]:
    """The names, beginning with another one each turn."""
    start = turn % len(names)
    return names[start:] + names[:start]


async def _turn(
    target: Target, subject: Subject, workload: Workload, seconds: float
) -> tuple[Mapping[str, float], int]:
    request = workload.request
    if workload.cached and subject.name == NGINX:
        request = replace(request, path=KEPT + request.path)
    async with AsyncExitStack() as stack:
        crowd = await stack.enter_async_context(Crowd(subject.url, request, workload.clients, workload.think))
        if workload.beside is not None:
            beside = workload.beside
            others = await stack.enter_async_context(Crowd(subject.url, beside.request, beside.clients))
            background = asyncio.ensure_future(others.ask(seconds * (1 + WARM)))
            stack.push_async_callback(asyncio.wait, (background,))
        await crowd.ask(seconds * WARM)
        await target.marks()
        began, used = monotonic(), subject.cpu_seconds()
        exchanges = await crowd.ask(seconds)
        used, took = subject.cpu_seconds() - used, monotonic() - began
        marks = await target.marks()
    return figures_of(workload, subject.name, exchanges, marks, used, took), len(exchanges)


def figures_of(
    workload: Workload,
    subject: str,
    exchanges: Sequence[Exchange],
    marks: Sequence[tuple[int, int]],
    used: float,
    took: float,
) -> dict[str, float]:
    """The turn's figures; `used` is CPU time and `took` the turn's length, in seconds."""
    timings: list[Timing] = [timing(exchange) for exchange in exchanges]
    figures = percentiles("first", [one.first for one in timings])
    figures |= percentiles("total", [one.total for one in timings])
    figures["rate"] = round(len(exchanges) / took, 1)
    if workload.beside is None:
        figures["cpu"] = round(used * 1e6 / len(exchanges), 2)
    if workload.chunks:
        figures |= percentiles("delay", [delay for one in timings for delay in one.delays])
        figures["cpu_chunk"] = round(used * 1e6 / (len(exchanges) * workload.chunks), 3)
    # Only where one request follows another is the time between them the subject's.
    if workload.beside is None and not workload.cached and (workload.clients == 1 or subject == FOREMAN):
        figures |= percentiles("gap", gaps(marks))
    return figures
