"""kill -9 at random moments under load, and at chosen ones; afterwards the history must hold.

FOREMAN_KILL_SEED replays the moments of an earlier run (its seed is printed), FOREMAN_KILLS sets how many there are.
"""

import asyncio
import contextlib
import os
import random
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import orjson
import pytest

from foreman.testing import Script, StubOllama
from tests.e2e import raw
from tests.e2e.client import Got, asking, chat, chat_v1, post, submit
from tests.e2e.history import Call, History, Run, faults
from tests.e2e.process import PATIENCE, Foreman, arguments, go, serving, warmed
from tests.e2e.raw import CUT
from tests.e2e.stored import stored
from tests.mixing import CLOUD, mixed, remote
from tests.mixing import most as most_at_once

CHAT = "/api/chat"
PATHS = (CHAT, "/v1/chat/completions")
MODELS = ("a", "b", "c")
# Of both lanes.
ASKED = (*MODELS, CLOUD)
TOKENS = 12
# Remote ones at once.
SLOTS = 3
CLIENTS = 5
# How many of the kills come while foreman still starts, and what a start takes.
KILLED_AT_START, START_SECONDS = 0.2, 0.15
KILLS = int(os.environ.get("FOREMAN_KILLS", "50"))


class Load:
    """Clients that ask on and on, whichever foreman is there."""

    def __init__(self, rng: random.Random, stub: StubOllama) -> None:
        self.calls: list[Call] = []
        self._rng = rng
        self._stub = stub
        self._up = asyncio.Event()
        self._url = ""
        self._stopped = False

    def reach(self, url: str) -> None:
        self._url = url
        self._up.set()

    def lost(self) -> None:
        self._up.clear()

    def stop(self) -> None:
        """Ask no more; what was asked may end."""
        self._stopped = True
        self._up.set()

    async def client(self) -> None:
        while True:
            await self._up.wait()
            if self._stopped:
                return
            await self._ask()

    async def _ask(self) -> None:
        rng = self._rng
        make = rng.choice((chat, chat_v1))
        path, fields = make(rng.choice(ASKED), f"question {len(self.calls)}", stream=rng.random() < 0.7)
        call = Call(path, orjson.dumps(fields))
        self.calls.append(call)
        kinds = (self._wait, self._leave_early, self._hand_over, self._ask_twice, self._cancel)
        (kind,) = rng.choices(kinds, (6, 1, 2, 1, 2))
        with contextlib.suppress(*CUT, aiohttp.ClientError):  # whoever it was is dead; the next one is announced
            await kind(call)

    async def _wait(self, call: Call, *headers: str) -> None:
        got = await raw.ask(self._url, f"POST {call.path}", *headers, body=call.body)
        call.status, call.job, call.whole = got.status, got.headers.get("x-foreman-job"), got.whole
        call.got = b"" if got.status == 202 else got.body

    async def _hand_over(self, call: Call) -> None:
        await self._wait(call, "Prefer: respond-async")

    async def _ask_twice(self, call: Call) -> None:
        call.twin = Call(call.path, call.body)
        key = f"Idempotency-Key: {len(self.calls)}"
        both = await asyncio.gather(self._wait(call, key), self._wait(call.twin, key), return_exceptions=True)
        for error in both:
            if error is not None:
                raise error

    async def _cancel(self, call: Call) -> None:
        await self._hand_over(call)
        for _ in range(self._rng.randrange(60)):  # let it get somewhere
            await asyncio.sleep(0)
        got = await raw.ask(self._url, f"DELETE /jobs/{call.job}")
        call.sent = sum(entry.body == call.body for entry in self._stub.ledger.entries)
        call.cancelled = got.status

    async def _leave_early(self, call: Call) -> None:
        call.left = True
        async with asking(self._url, call.path, call.body) as answer:
            call.status, call.job = answer.status, answer.headers.get("X-Foreman-Job")
            call.got = await answer.content.readany()


@asynccontextmanager
async def recorded(foreman: Foreman, stub: StubOllama, history: History) -> AsyncIterator[Foreman]:
    """A foreman killed at the end of the block; what it did goes down in the history."""
    before = len(stub.ledger.entries)
    try:
        yield foreman
    finally:
        await foreman.kill()
        jobs = [entry for entry in stub.ledger.entries[before:] if entry.path in PATHS]
        history.runs.append(Run(jobs, foreman.events))


async def expected(calls: list[Call]) -> dict[bytes, bytes]:
    """What the target answers to each request, asked of another one that is the same."""
    async with StubOllama(MODELS, tokens=TOKENS) as stub:
        return {call.body: (await post(stub.url, call.path, call.body)).body for call in calls}


async def go_for(foreman: Foreman, seconds: float) -> None:
    """Let a warmed process run for so long, ready or not."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await go(foreman)


async def moments(stub: StubOllama, count: int) -> None:
    """Let so many things happen at the target."""
    left = iter(range(count))
    await stub.ledger.wait_for(lambda _: next(left, None) is None, PATIENCE)


@pytest.mark.timeout(300)
async def test_kill_9_at_random_moments_under_load(tmp_path: Path) -> None:
    seed = int(os.environ.get("FOREMAN_KILL_SEED", random.randrange(1 << 32)))
    sys.stdout.write(f"FOREMAN_KILL_SEED={seed}\n")
    rng = random.Random(seed)
    db, history = tmp_path / "foreman.db", History()
    async with StubOllama(MODELS, tokens=TOKENS, tokens_per_second=1500, load_seconds=0.01) as stub:
        command = arguments(stub.url, db, poll_seconds=0.2, remote_slots=SLOTS)
        load = Load(random.Random(seed), stub)
        clients = [asyncio.create_task(load.client()) for _ in range(CLIENTS)]
        following = await warmed(*command, home=tmp_path)
        for _ in range(KILLS):
            async with recorded(following, stub, history) as foreman:
                if rng.random() < KILLED_AT_START:
                    await go_for(foreman, rng.random() * START_SECONDS)
                    following = await warmed(*command, home=tmp_path)
                    continue
                await go(foreman)
                load.reach(foreman.url)
                following = await warmed(*command, home=tmp_path)
                await moments(stub, rng.randrange(150))
                load.lost()
        async with recorded(following, stub, history) as foreman:
            await go(foreman)
            load.stop()
            await foreman.healthy(lambda report: report["queue"]["depth"] == 0 and report["running"] is None)
            await asyncio.gather(*clients)
        most = stub.ledger.max_concurrent
        assert mixed(stub) == [], f"FOREMAN_KILL_SEED={seed}"
        assert most_at_once(remote(stub)) <= SLOTS, f"FOREMAN_KILL_SEED={seed}"
    history.calls, history.expected = load.calls, await expected(load.calls)
    jobs = stored(db)
    again = sum(job.attempts > 1 for job in jobs)
    sys.stdout.write(f"{len(jobs)} jobs of {len(load.calls)} requests, {again} run more than once\n")
    assert faults(history, jobs, most) == [], f"FOREMAN_KILL_SEED={seed}"
    assert len(jobs) > KILLS > again > KILLS / 10


# -- at chosen moments


@dataclass
class Scene:
    """A foreman that is about to die, and those who wait for it."""

    stub: StubOllama
    foreman: Foreman
    clients: list[asyncio.Task[Got]] = field(default_factory=list)

    def ask(self, text: str) -> asyncio.Task[Got]:
        self.clients.append(asyncio.create_task(post(self.foreman.url, *chat("a", text))))
        return self.clients[-1]


async def queued(scene: Scene) -> None:
    scene.stub.script(CHAT, [Script(hold=0)])
    scene.ask("first")
    await scene.stub.ledger.held()
    scene.clients += await submit(scene.foreman, chat("b", "second"), chat("a", "third"))


async def loading(scene: Scene) -> None:
    scene.stub.hold_loads()
    scene.ask("first")
    await scene.stub.ledger.wait_for(lambda ledger: ledger.loads)


async def dispatched(scene: Scene) -> None:
    scene.stub.script(CHAT, [Script(hold=0)])
    scene.ask("first")
    await scene.stub.ledger.held()


async def streaming(scene: Scene) -> None:
    scene.stub.script(CHAT, [Script(hold=3)])
    scene.ask("first")
    await scene.stub.ledger.held()


async def answered(scene: Scene) -> None:
    got = await scene.ask("first")
    assert got.whole
    await scene.foreman.settled(got.job)


# What is done at the moment of death, and after it each job's (text, attempts, times sent).
MOMENTS: dict[str, tuple[Callable[[Scene], Awaitable[None]], list[tuple[str, int, int]]]] = {
    "queued": (queued, [("first", 2, 2), ("second", 1, 1), ("third", 1, 1)]),
    "loading": (loading, [("first", 2, 1)]),
    "dispatched": (dispatched, [("first", 2, 2)]),
    "streaming": (streaming, [("first", 2, 2)]),
    "answered": (answered, [("first", 1, 1)]),
}


def text_of(body: bytes) -> str:
    """The question in a chat."""
    return str(orjson.loads(body)["messages"][0]["content"])


@pytest.mark.parametrize("moment", MOMENTS)
async def test_kill_9_at_a_chosen_moment_and_again_while_starting(tmp_path: Path, moment: str) -> None:
    db = tmp_path / "foreman.db"
    reach, jobs = MOMENTS[moment]
    async with StubOllama(MODELS, tokens=TOKENS) as stub:
        command = arguments(stub.url, db)
        async with serving(stub.url, db) as foreman:
            dying, last = await warmed(*command, home=tmp_path), await warmed(*command, home=tmp_path)
            scene = Scene(stub, foreman)
            await reach(scene)
        await asyncio.wait(scene.clients)
        stub.release_loads()
        # Recovered and killed before it does anything: that must not count as an attempt.
        await go(dying)
        await dying.kill()
        await go(last)
        await last.healthy(lambda report: report["queue"]["depth"] == 0 and report["running"] is None)
        sent = [text_of(entry.body) for entry in stub.ledger.on(CHAT)]
        await last.kill()
        assert stub.ledger.max_concurrent == 1
    asked = [(text_of(job.request), job.attempts) for job in stored(db)]
    assert [(text, attempts, sent.count(text)) for text, attempts in asked] == jobs
    assert {(job.state, job.complete) for job in stored(db)} == {("done", True)}
