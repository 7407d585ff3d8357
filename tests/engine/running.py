"""The engine at work in front of a stub, and the ways a test holds its store up."""

import asyncio
import shutil
import threading
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import orjson

from foreman.app import engine_of
from foreman.core.job import Job, LoadKey, Mode, Payload
from foreman.core.lanes import Lane
from foreman.core.submission import Submission
from foreman.engine.clock import SystemClock
from foreman.engine.engine import Engine
from foreman.engine.intake import Ticket
from foreman.engine.live import Live
from foreman.engine.machine import Reader
from foreman.engine.sqlite import SqliteStore
from foreman.engine.store import JobFilter
from foreman.settings import Settings
from foreman.testing import Ending, Script, StubOllama
from foreman.testing.ledger import Entry

GENERATE = "/api/generate"
# Far above what anything takes, so that only a hang reaches it.
PATIENCE = 30.0


class Watched(SystemClock):
    """The machine's clock, which tells who waits by it."""

    def __init__(self) -> None:
        self._waited_for: dict[asyncio.Event, asyncio.Event] = {}

    def watch(self, event: asyncio.Event) -> asyncio.Event:
        """An event that is set while somebody waits for `event`."""
        return self._waited_for.setdefault(event, asyncio.Event())

    async def wait(self, event: asyncio.Event, seconds: float | None) -> bool:
        waits = self._waited_for.get(event)
        if waits is None or event.is_set():
            return await super().wait(event, seconds)
        waits.set()
        try:
            return await super().wait(event, seconds)
        finally:
            waits.clear()


class Running:
    """A running engine, what it is made of, and what a test asks of it."""

    def __init__(self, engine: Engine, stub: StubOllama, clock: Watched, db: Path) -> None:
        self.engine = engine
        self.stub = stub
        self.clock = clock
        self.db = db
        assert isinstance(engine.store, SqliteStore)
        self.store = engine.store
        self.jobs = engine.jobs
        self.resting = clock.watch(engine.jobs.local.wake)
        self.remote_resting = clock.watch(engine.jobs.remote.wake)
        self.refused = clock.watch(engine._settlement._pause)  # the store takes no writes, and the worker waits for it

    async def rests(self) -> None:
        """Wait until nothing more is claimed for either lane."""
        async with asyncio.timeout(PATIENCE):
            await self.resting.wait()
            await self.remote_resting.wait()

    async def warm(self, model: str = "llama3") -> None:
        """Have the model loaded and the worker at rest."""
        (live,) = await self.engine.submit_many([asked("warm", model, mode=Mode.DETACHED)])
        await ended(live)
        await self.rests()

    def only(self) -> Live:
        """The one job there is."""
        (live,) = self.jobs
        return live

    async def living(self, job_id: str) -> Live:
        """A job of an earlier process that is not finished yet."""
        live = await self.engine._intake.live(job_id)
        assert live is not None
        return live

    async def at_target(self, prompt: str) -> Entry:
        """The request with this prompt, as soon as the target has it."""

        def found(_: object) -> Entry | None:
            return next(iter(self.seen(prompt)), None)

        return await self.stub.ledger.wait_for(found, PATIENCE)

    def seen(self, prompt: str | None) -> list[Entry]:
        """The requests with this prompt; without one they load a model."""
        return [entry for entry in self.stub.ledger.on(GENERATE) if entry.body and self.prompt(entry) == prompt]

    def prompt(self, entry: Entry) -> str | None:
        prompt: str | None = orjson.loads(entry.body).get("prompt")
        return prompt

    async def told(self, entry: Entry) -> None:
        """Wait until all that the target has to say is in this process."""
        await self.stub.ledger.wait_for(lambda _: entry.ending is Ending.COMPLETE, PATIENCE)
        await self.here_by_now()

    async def here_by_now(self) -> None:
        """What the target said before is here by the time it has answered a question asked later."""
        for _ in range(2):
            assert await self.engine.target.alive()

    async def lined_up(self, *prompts: str, **values: Any) -> list[Ticket]:
        """Jobs in this order, the first held back by the target as `values` say and the others queued."""
        self.stub.script(GENERATE, [Script(hold=0, **values)])
        tickets = [await self.engine.submit(asked(prompts[0]))]
        await self.stub.ledger.held()
        return tickets + [await self.engine.submit(asked(prompt)) for prompt in prompts[1:]]

    async def left(self, entry: Entry) -> None:
        """Wait until the target has seen its client go."""
        await self.stub.ledger.wait_for(lambda _: entry.ending is Ending.CLIENT_GONE, PATIENCE)

    async def stored(self) -> list[Job]:
        """All jobs but the first, which warmed the model, in the order of arrival."""
        return list(reversed(await self.store.list(JobFilter(), 1_000)))[1:]

    async def settled(self) -> None:
        """Nothing is left to do, and memory and store agree that it is so."""
        await self.engine.settled()
        for live in self.jobs.in_lane(Lane.REMOTE):
            await ended(live)
        await self.rests()
        assert (len(self.jobs), self.jobs.running, self.jobs.waiting) == (0, [], 0)
        assert not any(self.jobs.lanes.taken.values())
        assert await self.store.depth() == dict(self.jobs.local.depth.counts) == {}
        assert self.jobs.fresh._by_key == {}
        assert self.jobs.fresh._bytes == 0
        assert self.jobs.held_bytes == 0


@asynccontextmanager
async def running(stub: StubOllama, db: Path, **settings: Any) -> AsyncIterator[Running]:
    """An engine that has had its one look at the target; a `reader` among the settings reads the machine."""
    clock = Watched()
    reader: Reader | None = settings.pop("reader", None)
    alone = {"gate": "off", "disk_reserve": 0, "poll_seconds": 3600.0}
    chosen = Settings(**{"target": stub.url, "db": db, **alone, **settings})
    async with engine_of(chosen, clock, reader) as engine:
        work = Running(engine, stub, clock, db)
        await engine.start()
        working = asyncio.create_task(engine.run())
        await engine.poller.refresh()
        yield work
        hurry = asyncio.Event()
        hurry.set()
        await engine.drain(hurry)
        async with asyncio.timeout(PATIENCE):
            await working
        await engine.settled()


def asked(prompt: str, model: str = "llama3", *, pad: int = 0, **values: Any) -> Submission:
    """A submission with this prompt, `pad` bytes longer than it needs to be."""
    body = orjson.dumps({"model": model, "prompt": prompt, "context": [0] * (pad // 2)})
    payload = Payload(GENERATE, (("content-type", "application/json"),), body)
    key = LoadKey(model if ":" in model else f"{model}:latest")
    return Submission(payload, values.pop("key", key), values.pop("client", "me"), **values)


async def ended(live: Live) -> None:
    async with asyncio.timeout(PATIENCE):
        await live.ended.wait()


async def answer(ticket: Ticket) -> bytes:
    """All that its reader gets; leaves after that. Raises what the reader is told."""
    reader = ticket.reader or ticket.relay.reader()
    body = b""
    try:
        async with asyncio.timeout(PATIENCE):
            await reader.head()
            while (chunk := await reader.chunk()) is not None:
                body += chunk
    finally:
        reader.leave()
    return body


@asynccontextmanager
async def held(store: SqliteStore) -> AsyncIterator[None]:
    """Nothing is committed until the block is left."""
    gate, loop = threading.Event(), asyncio.get_running_loop()
    stands: asyncio.Future[None] = loop.create_future()

    def stand(_: object) -> None:
        loop.call_soon_threadsafe(stands.set_result, None)
        gate.wait()

    standing = asyncio.create_task(store._writer.run_bare(stand))
    await stands
    try:
        yield
    finally:
        gate.set()
        await standing


async def no_room(store: SqliteStore) -> None:
    """Let the database not grow any more."""
    await store._writer.run_bare(lambda db: db.execute("PRAGMA max_page_count=1").fetchall())


async def room(store: SqliteStore) -> None:
    await store._writer.run_bare(lambda db: db.execute(f"PRAGMA max_page_count={1 << 30}").fetchall())


def after_a_crash(db: Path, folder: Path) -> AbstractAsyncContextManager[SqliteStore]:
    """The store of the next process, had this one died now. The writer must stand still."""
    folder.mkdir()
    for tail in ("", "-wal"):
        shutil.copy(f"{db}{tail}", folder / f"foreman.db{tail}")
    return SqliteStore.open(folder / "foreman.db", "next")
