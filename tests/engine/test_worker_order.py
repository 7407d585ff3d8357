"""The engine at work among clients that come, leave, cancel, pause and wait: in the store's order, and nothing lost."""

import asyncio
import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from foreman.core.errors import JobCancelled, JobFailed, TargetError
from foreman.core.job import Chosen, Hot, JobState, LoadKey, Mode, Next
from foreman.core.lanes import Lane
from foreman.engine import steps
from foreman.engine.clock import millis
from foreman.engine.fresh import LONGEST
from foreman.engine.intake import Ticket
from foreman.testing import Die, Script, StubOllama
from tests.engine.running import GENERATE, PATIENCE, Running, answer, asked, ended, running
from tests.mixing import CLOUD, mixed, most, remote

CLAIM_CHOSEN = steps.claim_chosen
# What the target does to a request now and then; most are answered.
MOODS = (
    *(Script(),) * 12,
    Script(status=503, error="busy"),
    Script(raw=b"no HTTP\r\n\r\n"),
    Script(die=Die.RST, die_after_chunks=2),
    Script(status=400, error="no"),
)


class Choices:
    """Each choice as it is committed: the job, what the store would have claimed, and whether it was there."""

    def __init__(self) -> None:
        self.made: list[tuple[int, int | None, bool]] = []

    def __call__(self, db: sqlite3.Connection, owner: str, chosen: Chosen, now: int) -> bool:
        ((key,),) = db.execute("SELECT load_key FROM jobs WHERE seq=?", (chosen.seq,)).fetchall()
        db.execute("SAVEPOINT look")
        claim = steps.claim(db, owner, Next(Hot((key,), (LoadKey.parse(key).model,))), now)
        db.execute("ROLLBACK TO look")
        claimed = CLAIM_CHOSEN(db, owner, chosen, now)
        self.made.append((chosen.seq, None if claim is None else claim.job.seq, claimed))
        return claimed


@pytest.fixture
def choices(monkeypatch: pytest.MonkeyPatch) -> Iterator[Choices]:
    choices = Choices()
    monkeypatch.setattr(steps, "claim_chosen", choices)
    yield choices
    assert all(first == seq for seq, first, claimed in choices.made if claimed)
    # One that was cancelled in the last moment is the only one that is not there.
    assert all(first != seq for seq, first, claimed in choices.made if not claimed)


class Crowd:
    """Clients by chance. Each hears either a whole answer or a reason."""

    def __init__(self, work: Running, seed: int, models: tuple[str, ...] = ("llama3",) * 6 + ("qwen3:8b",)) -> None:
        self._work = work
        self._models = models
        self._chance = random.Random(seed)
        self.clients: list[asyncio.Task[tuple[str, JobState | None]]] = []
        self._count = 0

    async def come(self, jobs: int) -> None:
        chance = self._chance
        while self._count < jobs:
            for _ in range(chance.choice((1, 1, 1, 2, 8))):
                self.clients.append(asyncio.create_task(self._client()))
            if chance.random() < 0.05:
                await self._work.engine.pause(True)
            if chance.random() < 0.5:
                await self._work.engine.pause(False)
            # Long enough for the queue to run dry now and then, and a lone job to be begun.
            await asyncio.sleep(chance.choice((0, 0, 0.001, 0.004, 0.02)))
        await self._work.engine.pause(False)

    async def _client(self) -> tuple[str, JobState | None]:
        """Its job, and how that has ended as far as it knows; None where it left."""
        chance, engine = self._chance, self._work.engine
        self._count += 1
        model = chance.choice(self._models)
        body = asked(
            f"job {self._count}",
            model,
            lane=Lane.REMOTE if model == CLOUD else Lane.LOCAL,
            pad=2 * LONGEST if chance.random() < 0.05 else 0,
            not_before=millis(self._work.clock) + 30 if chance.random() < 0.05 else 0,
            mode=chance.choice(tuple(Mode)),
        )
        ticket = await engine.submit(body)
        fate = chance.random()
        if fate < 0.15:
            await asyncio.sleep(chance.choice((0, 0, 0.002)))
            await engine.cancel(ticket.id)
        elif fate < 0.3 and ticket.live is not None and ticket.reader is not None:
            await asyncio.sleep(chance.choice((0, 0, 0.002)))
            engine.left(ticket.live, ticket.reader)
            return ticket.id, None
        return ticket.id, await self._hears(ticket)

    async def _hears(self, ticket: Ticket) -> JobState | None:
        if ticket.reader is None:
            assert ticket.live is not None
            await ended(ticket.live)
            return None
        try:
            body = await answer(ticket)
        except JobCancelled:
            return JobState.CANCELLED
        except (JobFailed, TargetError):
            return JobState.FAILED
        return JobState.DONE if b'"done":true' in body else JobState.FAILED


async def choices_are_made(work: Running, choices: Choices) -> None:
    """Whatever happened before, memory knows again what is queued."""
    work.stub.script(GENERATE, None)
    await work.engine.pause(True)
    lives = await work.engine.submit_many([asked(f"last {n}", client="last") for n in range(5)])
    await work.engine.pause(False)
    before = len(choices.made)
    for live in lives:
        await ended(live)
    assert [seq for seq, *_ in choices.made[before:]] == [live.seq for live in lives[1:]]
    await work.settled()


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_clients_do_the_order_is_the_stores_and_nothing_is_lost(
    stub: StubOllama, tmp_path: Path, choices: Choices, seed: int
) -> None:
    async with running(stub, tmp_path / "foreman.db", **TIRELESS) as work:
        await work.warm()
        await nothing_is_lost(work, Crowd(work, seed), seed)
        await choices_are_made(work, choices)
        assert stub.ledger.max_concurrent == 1


@pytest.mark.parametrize(("seed", "exclusive"), [(3, True), (4, True), (5, False), (6, False)])
async def test_the_same_where_some_of_it_is_remote(
    stub: StubOllama, tmp_path: Path, choices: Choices, seed: int, *, exclusive: bool
) -> None:
    settings = TIRELESS | {"exclusive": exclusive, "remote_slots": 3}
    async with running(stub, tmp_path / "foreman.db", **settings) as work:
        await work.warm()
        await nothing_is_lost(work, Crowd(work, seed, ("llama3", "llama3", "qwen3:8b", CLOUD, CLOUD)), seed)
        assert mixed(stub) == [] or not exclusive
        await choices_are_made(work, choices)
        assert stub.ledger.max_concurrent == 1
        assert most(remote(stub)) <= 3


TIRELESS = {"retry_base_seconds": 0.01, "retry_cap_seconds": 0.02, "max_attempts": 5}


async def nothing_is_lost(work: Running, crowd: Crowd, seed: int) -> None:
    """Let the crowd come, to a target in all its moods; what each client heard is what is stored."""
    chance = random.Random(-seed - 1)
    work.stub.script(GENERATE, [chance.choice(MOODS) for _ in range(2_000)])
    await crowd.come(120)
    async with asyncio.timeout(PATIENCE):
        heard = dict(await asyncio.gather(*crowd.clients))
    for live in list(work.jobs):
        await ended(live)
    await work.settled()
    jobs = await work.stored()
    assert {job.id for job in jobs} == heard.keys()
    for job in jobs:
        assert job.finished_at is not None
        told = heard.get(job.id) or job.state
        # A cancel may be asked for while the answer breaks off, of which the reader hears first.
        assert told is job.state or (told, job.state) == (JobState.FAILED, JobState.CANCELLED)
        tries = await work.store.attempts(job.id)
        assert all(each.outcome is not None for each in tries)
        # Only a try that was not the job's fault is not counted.
        assert job.attempts <= len(tries) <= job.attempts + sum(each.error_code == "status_503" for each in tries)
