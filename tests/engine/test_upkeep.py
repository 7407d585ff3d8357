"""Upkeep in the engine: the disk while it fills, attempts that follow each other in one answer, and who shares it."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import orjson
import pytest

from foreman import app
from foreman.core import creates
from foreman.core.errors import Draining, NoRoom
from foreman.core.job import JobState, Mode, Payload
from foreman.core.pulls import PullRequest
from foreman.core.room import Room
from foreman.core.submission import Submission, request_hash
from foreman.core.upkeep import CREATE, PULL
from foreman.engine import upkeep
from foreman.engine.intake import Ticket
from foreman.settings import Settings
from foreman.testing import Die, Ending, Script, StubOllama
from tests.engine.running import PATIENCE, Running, answer, asked, ended, running

GB = 10**9
SIZE = 8_400_000_000  # what the stub makes of 14b


def pull(
    model: str = "phi4:14b", client: str = "me", mode: Mode = Mode.ATTACHED, override: str | None = None
) -> Submission:
    wanted = PullRequest(model)
    payload = Payload(PULL, (("content-type", "application/json"),), wanted.body)
    request = request_hash(PULL, str(wanted.key).encode())
    return Submission(payload, wanted.key, client, mode, hash=request, again=True, override=override)


def create(client: str = "me", **fields: object) -> Submission:
    """A quantized child of llama3, of which the stub tells how far it is."""
    body = orjson.dumps({"model": "mine", "from": "llama3", "quantize": "q4_K_M", **fields})
    wanted = creates.read(body)
    assert wanted is not None
    payload = Payload(CREATE, (("content-type", "application/json"),), body)
    return Submission(payload, wanted.key, client, hash=request_hash(CREATE, body), again=True, once=wanted.once)


class Disk:
    """A disk that somebody fills: each look takes the next figure, the last one stays."""

    def __init__(self, *free: int | None) -> None:
        self._free = list(free)
        self._news = asyncio.Event()
        self.looks = 0

    def free(self) -> int | None:
        self.looks += 1
        self._news.set()
        return self._free[min(self.looks, len(self._free)) - 1]

    async def looked_at(self, times: int) -> None:
        async with asyncio.timeout(PATIENCE):
            while self.looks < times:
                self._news.clear()
                await self._news.wait()


class Filling(Disk):
    """A disk with room for what the stub has yet to send. The stub counts a part before it tells of it."""

    def __init__(self, stub: StubOllama) -> None:
        super().__init__(None)
        self._stub = stub

    def free(self) -> int | None:
        super().free()
        return SIZE + 32 * GB - sum(self._stub.front._upkeep.parts.values())


@pytest.fixture
def with_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[Disk], None]:
    """Gives the engines to come this disk, with 30 GB to be kept free, looked at for every piece that comes."""

    def put(disk: Disk) -> None:
        room = Room(30 * GB, "/models", disk.free)
        monkeypatch.setattr(app, "room_of", lambda *_: room)
        monkeypatch.setattr(upkeep, "LOOK_SECONDS", 0.0)

    return put


@pytest.fixture
async def work(stub: StubOllama, tmp_path: Path) -> AsyncIterator[Running]:
    async with running(stub, tmp_path / "foreman.db", retry_base_seconds=0.01) as work:
        await work.warm()
        yield work


def lines(body: bytes) -> Iterator[dict[str, object]]:
    return map(orjson.loads, body.splitlines())


async def refused(ticket: Ticket) -> str:
    with pytest.raises(NoRoom) as told:
        await answer(ticket)
    return str(told.value)


async def test_a_disk_that_is_full_already(stub: StubOllama, tmp_path: Path, with_disk: Callable[[Disk], None]) -> None:
    with_disk(Disk(29 * GB))
    async with running(stub, tmp_path / "foreman.db") as work:
        assert "29 GB are free in /models, 1 GB too little" in await refused(await work.engine.submit(pull()))
        await work.settled()
    assert not stub.ledger.on(PULL)


async def test_a_disk_that_others_fill_meanwhile(
    stub: StubOllama, tmp_path: Path, with_disk: Callable[[Disk], None]
) -> None:
    disk = Disk(100 * GB, 100 * GB, 100 * GB, 31 * GB)
    with_disk(disk)
    stub.script(PULL, Script(hold=1))
    async with running(stub, tmp_path / "foreman.db") as work:
        ticket = await work.engine.submit(pull())
        for looks in (2, 3, 4, 5):
            stub.release(PULL, 1)
            await disk.looked_at(looks)
        assert "phi4:14b does not fit: " in await refused(ticket)
        await work.settled()
        (entry,) = stub.ledger.on(PULL)
        await work.left(entry)
        job = await work.store.get(ticket.id)
        assert job is not None
        assert (job.state, job.error_code) == (JobState.FAILED, "no_room")
        kept = await work.store.answer(ticket.id)
        assert kept is not None
        assert (kept.complete, next(lines(kept.body))) == (False, {"status": "pulling manifest"})
    # One look alone may be wrong: what is told has come lags behind the disk.
    assert disk.looks == 5


async def test_a_disk_that_is_short_for_a_moment_only(
    stub: StubOllama, tmp_path: Path, with_disk: Callable[[Disk], None]
) -> None:
    disk = Disk(100 * GB, 100 * GB, 10 * GB, 100 * GB, 10 * GB, 100 * GB)
    with_disk(disk)
    stub.script(PULL, Script(hold=1))
    async with running(stub, tmp_path / "foreman.db") as work:
        ticket = await work.engine.submit(pull())
        for looks in range(2, 7):
            stub.release(PULL, 1)
            await disk.looked_at(looks)
        stub.release(PULL)
        assert list(lines(await answer(ticket)))[-1] == {"status": "success"}
        await work.settled()


async def test_a_disk_that_cannot_be_read(stub: StubOllama, tmp_path: Path, with_disk: Callable[[Disk], None]) -> None:
    with_disk(Disk(None))
    async with running(stub, tmp_path / "foreman.db") as work:
        assert "cannot be read" in await refused(await work.engine.submit(pull()))
        await work.settled()


async def test_what_has_come_is_not_asked_for_again(
    stub: StubOllama, tmp_path: Path, with_disk: Callable[[Disk], None]
) -> None:
    """A second attempt needs room only for what the first has left."""
    disk = Filling(stub)
    with_disk(disk)
    stub.script(PULL, [Script(hold=1, die=Die.FIN, die_after_chunks=7)])
    async with running(stub, tmp_path / "foreman.db", retry_base_seconds=0.01) as work:
        ticket = await work.engine.submit(pull())
        for looks in range(2, 8):  # one before, and one for each line on a layer
            stub.release(PULL, 1)
            await disk.looked_at(looks)
        body = await answer(ticket)
        await work.settled()
    assert len(stub.ledger.on(PULL)) == 2
    assert list(lines(body))[-1] == {"status": "success"}


async def test_a_create_needs_only_what_is_kept_free(
    stub: StubOllama, tmp_path: Path, with_disk: Callable[[Disk], None]
) -> None:
    """How much of it is done says nothing of what it writes."""
    disk = Disk(30 * GB)
    with_disk(disk)
    async with running(stub, tmp_path / "foreman.db") as work:
        assert list(lines(await answer(await work.engine.submit(create()))))[-1] == {"status": "success"}
        await work.settled()
    assert disk.looks > 1


async def test_a_create_that_fills_the_disk_is_stopped(
    stub: StubOllama, tmp_path: Path, with_disk: Callable[[Disk], None]
) -> None:
    with_disk(Disk(31 * GB, 29 * GB))
    stub.script(CREATE, Script(hold=1))  # more is not let out
    async with running(stub, tmp_path / "foreman.db") as work:
        ticket = await work.engine.submit(create())
        told = await refused(ticket)
        assert told.startswith("mine:latest does not fit: 30 GB are kept free (disk_reserve); 29 GB are free")
        await work.settled()
        await work.left(stub.ledger.on(CREATE)[0])


def test_only_the_disk_of_this_machine_is_looked_at(tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path)}
    settings = Settings(target="http://[::1]:11434", disk_reserve=7)
    room = app.room_of(settings, environ)
    assert room is not None
    assert room.reserve == 7
    assert app.room_of(dataclasses.replace(settings, target="http://box:11434"), environ) is None


async def test_the_lines_of_all_attempts_are_one_answer(work: Running) -> None:
    work.stub.script(PULL, [Script(die=Die.FIN, die_after_bytes=500), Script(die=Die.RST, die_after_bytes=333)])
    ticket = await work.engine.submit(pull())
    told = list(lines(await answer(ticket)))
    assert [line["status"] for line in told].count("pulling manifest") == 3
    assert told[-1] == {"status": "success"}
    await work.settled()
    assert [attempt.outcome for attempt in await work.store.attempts(ticket.id)] == ["requeued", "requeued", "done"]


async def test_jobs_run_between_the_attempts(stub: StubOllama, tmp_path: Path) -> None:
    async with running(stub, tmp_path / "foreman.db", retry_base_seconds=3600.0, retry_cap_seconds=3600.0) as work:
        await work.warm()
        stub.script(PULL, [Script(die=Die.FIN, die_after_chunks=3)])
        ticket = await work.engine.submit(pull())
        live = work.only()
        await work.rests()
        assert (live.state, live.relay.finished, live.relay.readers) == (JobState.QUEUED, False, 1)
        await answer(await work.engine.submit(asked("between")))
        assert ticket.live is live
        # It waits with its reader, and can be left as any job that waits.
        assert ticket.reader is not None
        work.engine.left(live, ticket.reader)
        await work.engine.settled()
        await ended(live)
        assert live.state is JobState.CANCELLED
        await work.settled()


async def test_a_pull_that_is_handed_back_at_the_end_tells_its_readers(stub: StubOllama, tmp_path: Path) -> None:
    db = tmp_path / "foreman.db"
    async with running(stub, db) as work:
        stub.script(PULL, [Script(hold=4)])
        ticket = await work.engine.submit(pull())
        await stub.ledger.held()
        await work.here_by_now()
    with pytest.raises(Exception, match="foreman was stopped while the answer was on its way") as told:
        await answer(ticket)
    assert not isinstance(told.value, Draining)
    async with running(stub, db) as work:
        (first,) = [entry for entry in stub.ledger.on(PULL) if entry.ending is Ending.CLIENT_GONE]
        await work.rests()
        assert [entry.ending for entry in stub.ledger.on(PULL)] == [first.ending, Ending.COMPLETE]
        job = await work.store.get(ticket.id)
        assert job is not None
        assert (job.state, job.attempts) == (JobState.DONE, 1)


async def test_everybody_shares_a_pull_and_the_last_to_leave_ends_it(work: Running) -> None:
    work.stub.script(PULL, Script(hold=3))
    first = await work.engine.submit(pull(client="one"))
    await work.stub.ledger.held()
    second = await work.engine.submit(pull("library/PHI4:14b", client="two"))
    other = await work.engine.submit(pull("phi4:mini", client="two"))
    assert (second.id, second.joined) == (first.id, True)
    assert (other.id != first.id, other.joined) == (True, False)
    live = first.live
    assert live is not None
    readers = [first.reader, second.relay.reader()]
    for reader, left in zip(readers, (1, 0), strict=True):
        assert reader is not None
        work.engine.left(live, reader)
        assert live.relay.readers == left
        assert live.cancelled is False
    async with asyncio.timeout(PATIENCE):
        await live.ended.wait()
    assert live.state is JobState.CANCELLED
    work.stub.script(PULL, None)
    assert list(lines(await answer(other)))[-1] == {"status": "success"}
    # A new one, not the one that was left.
    again = await work.engine.submit(pull(client="one"))
    assert (again.id != first.id, again.joined) == (True, False)
    await answer(again)
    await work.settled()


async def test_who_joins_while_the_last_one_leaves_keeps_it(work: Running) -> None:
    work.stub.script(PULL, Script(hold=3))
    first = await work.engine.submit(pull(client="one"))
    await work.stub.ledger.held()
    live, reader = first.live, first.reader
    assert live is not None
    assert reader is not None
    work.engine.left(live, reader)
    second = await work.engine.submit(pull(client="two"))
    joined = second.relay.reader()
    assert (second.id, second.joined) == (first.id, True)
    work.stub.release(PULL)
    body = b""
    while (chunk := await joined.chunk()) is not None:
        body += chunk
    joined.leave()
    assert list(lines(body))[-1] == {"status": "success"}
    await work.settled()


async def test_the_length_of_one_attempt_is_not_that_of_the_answer(work: Running) -> None:
    work.stub.script(PULL, [Script(die=Die.FIN, die_after_bytes=500, extra_length=50), Script(extra_length=50)])
    ticket = await work.engine.submit(pull())
    told = list(lines(await answer(ticket)))
    assert told[-1] == {"status": "success"}
    assert ticket.relay.head is not None
    assert "content-length" not in dict(ticket.relay.head.headers)
    await work.settled()


async def test_a_pull_of_an_earlier_process_is_joined(stub: StubOllama, tmp_path: Path) -> None:
    db = tmp_path / "foreman.db"
    async with running(stub, db) as work:
        await work.engine.pause(True)
        (live,) = await work.engine.submit_many([pull(mode=Mode.DETACHED)])
    async with running(stub, db) as work:
        ticket = await work.engine.submit(pull(client="somebody else"))
        assert (ticket.id, ticket.joined) == (live.id, True)
        await work.engine.pause(False)
        assert list(lines(await answer(ticket)))[-1] == {"status": "success"}
        await work.settled()


@pytest.mark.parametrize(
    ("wanted", "model"),
    [(pull(), "phi4:14b"), (create(), "mine:latest"), (create(stream=False), "mine:latest")],
    ids=["pull", "create", "create whole"],
)
async def test_the_list_has_the_model_before_anybody_hears_of_the_end(
    work: Running, wanted: Submission, model: str
) -> None:
    ticket = await work.engine.submit(wanted)
    reader = ticket.reader
    assert reader is not None
    body = b""
    while b'"success"' not in body:
        body += await reader.chunk() or b""
    assert model in work.engine.poller.models.models
    reader.leave()
    await work.settled()


@pytest.mark.parametrize("wanted", [pull("llama3"), create()], ids=["pull", "create"])
async def test_nothing_is_loaded_or_forgotten_for_upkeep(work: Running, wanted: Submission) -> None:
    loads, hot = list(work.stub.ledger.loads), work.engine._worker.hot()
    await answer(await work.engine.submit(wanted))
    await work.rests()
    assert (work.stub.ledger.loads, work.engine._worker.hot()) == (loads, hot)
    await work.settled()


async def test_one_that_is_forced_leaves_no_reserve_but_stops_where_it_cannot_fit(
    stub: StubOllama, tmp_path: Path, with_disk: Callable[[Disk], None]
) -> None:
    disk = Disk(9 * GB)
    with_disk(disk)
    async with running(stub, tmp_path / "foreman.db") as work:
        assert b"success" in await answer(await work.engine.submit(pull(override="gate")))
        words = await refused(await work.engine.submit(pull("phi4:70b", override="gate")))
        assert "have yet to come; 9 GB are free in /models, " in words
        await work.settled()
