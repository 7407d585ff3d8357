"""One day through the engine: the real lanes and the real store, in front of what answers by the clock of the loop."""

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final
from unittest import mock

import orjson

from foreman import app
from foreman.core import pulls, slots, upkeep
from foreman.core.job import Job, LoadKey, Mode, Payload
from foreman.core.lanes import Lane
from foreman.core.submission import Submission
from foreman.core.upstreams import Routed
from foreman.engine import trouble
from foreman.engine.engine import Engine
from foreman.engine.store import JobFilter
from foreman.remotes import Remote
from foreman.settings import Settings
from tests.day.border import Border
from tests.day.loop import LeapingLoop, LoopClock
from tests.day.plan import DAY, HOUR, Arrival, Kind
from tests.day.store import TurnStore, unsynced
from tests.day.target import TimedTarget, remote_api

REMOTE_SLOTS: Final = 5
_HEADERS: Final = (("content-type", "application/json"),)


@dataclass(frozen=True, slots=True)
class Done:
    """How a day went: each arrival with its job as it was stored, and what was seen beyond foreman."""

    jobs: tuple[tuple[Arrival, Job], ...]
    border: Border

    def waits(self, kind: Kind) -> list[float]:
        """From the arrival to the turn, in seconds, the shortest first."""
        return sorted(wait(job) for arrival, job in self.jobs if arrival.kind is kind)


def wait(job: Job) -> float:
    assert job.claimed_at is not None
    return (job.claimed_at - job.created_at) / 1000


def run(arrivals: tuple[Arrival, ...], *, exclusive: bool) -> Done:
    """The day from midnight to midnight, and what is left of it after that."""
    with TemporaryDirectory() as folder, asyncio.Runner(loop_factory=LeapingLoop) as runner:
        return runner.run(_day(arrivals, Path(folder), exclusive=exclusive))


async def _day(arrivals: tuple[Arrival, ...], folder: Path, *, exclusive: bool) -> Done:
    border = Border()
    settings = Settings(
        gate="off",
        db=folder / "foreman.db",
        poll_seconds=60,
        exclusive=exclusive,
        remote_slots=REMOTE_SLOTS,
        remotes=(Remote(name="far", base_url="http://far.invalid/v1"),),
    )
    with _put_in(border, arrivals):
        async with app.engine_of(settings, LoopClock()) as engine:
            await engine.start()
            running = asyncio.create_task(engine.run())
            # Who is forgotten would wait for ever.
            async with asyncio.timeout(2 * DAY), asyncio.TaskGroup() as clients:
                clients.create_task(asyncio.sleep(DAY))
                for client in _clients(engine, arrivals, border):
                    clients.create_task(client)
            await engine.drain(asyncio.Event())
            await running
            await engine.settled()
            stored = await engine.store.list(JobFilter(), len(arrivals) + 1)
    found = {int(job.client): job for job in stored}
    assert len(found) == len(stored) == len(arrivals)
    return Done(tuple((arrival, found[n]) for n, arrival in enumerate(arrivals)), border)


@contextmanager
def _put_in(border: Border, arrivals: tuple[Arrival, ...]) -> Iterator[None]:
    """Have the composition root take the parts that need no socket and no time."""
    with (
        mock.patch.object(app, "SqliteStore", TurnStore),
        mock.patch.object(app, "Upstream", remote_api(border, arrivals)),
        mock.patch.object(app, "target_of", return_value=TimedTarget(border, arrivals)),
        # Looking after the database each second of a day would be most of what there is to do.
        mock.patch.object(trouble, "LOOK_SECONDS", HOUR),
        unsynced(),
    ):
        yield


def _clients(engine: Engine, arrivals: tuple[Arrival, ...], border: Border) -> Iterator[Coroutine[Any, Any, None]]:
    for at, group in groupby(enumerate(arrivals), key=lambda numbered: numbered[1].at):
        numbered = list(group)
        if numbered[0][1].kind is Kind.BATCH:
            yield _all_at_once(engine, at, numbered)
            continue
        for number, arrival in numbered:
            yield (_command if arrival.kind is Kind.COMMAND else _reader)(engine, number, arrival, border)


async def _all_at_once(engine: Engine, at: float, numbered: list[tuple[int, Arrival]]) -> None:
    """Handed in for later, in one step."""
    await asyncio.sleep(at)
    lives = await engine.submit_many([_submission(*one, Mode.DETACHED) for one in numbered])
    for live in lives:
        await live.ended.wait()


async def _reader(engine: Engine, number: int, arrival: Arrival, _: Border) -> None:
    """Waits for its answer and reads all of it."""
    await asyncio.sleep(arrival.at)
    ticket = await engine.submit(_submission(number, arrival))
    assert ticket.reader is not None
    assert ticket.live is not None
    await ticket.reader.head()
    while await ticket.reader.chunk() is not None:
        pass
    engine.left(ticket.live, ticket.reader)
    await ticket.live.ended.wait()


async def _command(engine: Engine, number: int, arrival: Arrival, border: Border) -> None:
    """Holds a slot by its heartbeats for as long as it runs."""
    await asyncio.sleep(arrival.at)
    ticket = await engine.submit(_submission(number, arrival))
    assert ticket.reader is not None
    assert ticket.live is not None
    await ticket.reader.head()
    ticket.reader.leave()
    with border.under_way(arrival.kind.lane):
        left = arrival.takes
        while left > 0:
            beat = min(left, slots.SlotRequest(Lane.LOCAL).heartbeat)
            await asyncio.sleep(beat)
            await engine.beat(ticket.id)
            left -= beat
    await engine.release(ticket.id, 0)


def _submission(number: int, arrival: Arrival, mode: Mode = Mode.ATTACHED) -> Submission:
    client = str(number)
    if arrival.kind is Kind.COMMAND:
        slot = slots.SlotRequest(Lane.LOCAL)
        return Submission(Payload(slots.PATH, (), slot.body), slot.key, client, mode)
    if arrival.kind is Kind.PULL:
        pull = pulls.PullRequest(f"pulled-{number}")
        return Submission(Payload(upkeep.PULL, _HEADERS, pull.body), pull.key, client, mode)
    body = {"model": arrival.model, "messages": [{"role": "user", "content": str(number)}]}
    if arrival.kind is Kind.AGENT:
        there = Routed("far", "agent")
        payload = Payload("/v1/chat/completions", _HEADERS, orjson.dumps(body | {"model": there.model}))
        return Submission(payload, there.key, client, mode, lane=Lane.REMOTE, model=there.shown)
    return Submission(Payload("/api/chat", _HEADERS, orjson.dumps(body)), LoadKey(arrival.model), client, mode)
