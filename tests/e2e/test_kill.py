"""kill -9 at random moments under load, and at chosen ones; afterwards the history must hold.

FOREMAN_KILL_SEED replays the moments of an earlier run (its seed is printed), FOREMAN_KILLS sets how many there are.
"""

import asyncio
import contextlib
import os
import random
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import orjson
import pytest

from foreman.testing import Script, StubOllama, StubRemote
from tests.e2e import spans
from tests.e2e.client import Got, chat, post, submit
from tests.e2e.endings import FAR, SLOTS
from tests.e2e.history import faults
from tests.e2e.load import MODELS, Load
from tests.e2e.process import PATIENCE, Foreman, arguments, go, serving, warmed
from tests.e2e.records import Call, History, Run
from tests.e2e.spans import PULL
from tests.e2e.stored import Stored, stored

CHAT = "/api/chat"
PATHS = (CHAT, "/v1/chat/completions", PULL)
TOKENS = 12
# Remote ones at once.
SLOTS_AT_ONCE = 3
CLIENTS = 6
# How many of the kills come while foreman still starts, and what a start takes.
KILLED_AT_START, START_SECONDS = 0.2, 0.15
KILLS = int(os.environ.get("FOREMAN_KILLS", "50"))


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
    """What the target and the remote API answer to each request, asked of others that are the same."""
    found = {}
    async with StubOllama(MODELS, tokens=TOKENS) as stub, StubRemote(tokens=TOKENS) as remote:
        for call in calls:
            if call.path in (SLOTS, PULL):
                continue
            far = orjson.loads(call.body)["model"] == FAR
            url = remote.base_url.removesuffix("/v1") if far else stub.url
            found[call.body] = (await post(url, call.path, call.body)).body
    return found


def text_of(body: bytes) -> str:
    """The question in a chat."""
    return str(orjson.loads(body)["messages"][0]["content"])


def billed(remote: StubRemote, calls: list[Call]) -> Counter[bytes]:
    """How often each request has reached the remote API, by the body that the client sent."""
    asked = {text_of(call.body): call.body for call in calls if FAR.encode() in call.body}
    return Counter(asked[call.text] for call in remote.calls)


async def go_for(foreman: Foreman, seconds: float) -> None:
    """Let a warmed process run for so long, ready or not."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await go(foreman)


@dataclass
class Dying:
    """When the next foreman is to die: after so many happenings, or in the middle of a certain kind of work."""

    rng: random.Random
    stub: StubOllama
    remote: StubRemote
    load: Load
    number: int = 0

    async def moment(self) -> None:
        kinds = (self._happenings, self._slot, self._happenings, self._pull, self._happenings, self._remote)
        self.number += 1
        await kinds[self.number % len(kinds)]()

    async def _happenings(self, most: int = 100) -> None:
        left = iter(range(self.rng.randrange(most)))
        await self.stub.ledger.wait_for(lambda _: next(left, None) is None, PATIENCE)

    async def _slot(self) -> None:
        await self.load.held(PATIENCE)

    async def _pull(self) -> None:
        await self.stub.ledger.wait_for(lambda ledger: any(not e.ended_at for e in ledger.on(PULL)), PATIENCE)
        await self._happenings(10)

    async def _remote(self) -> None:
        await self.remote.wait_for(lambda: self.remote.under_way() > 0, PATIENCE)


@pytest.mark.timeout(300)
async def test_kill_9_at_random_moments_under_load(tmp_path: Path) -> None:
    seed = int(os.environ.get("FOREMAN_KILL_SEED", random.randrange(1 << 32)))
    sys.stdout.write(f"FOREMAN_KILL_SEED={seed}\n")
    rng = random.Random(seed)
    db, history = tmp_path / "foreman.db", History(slots=SLOTS_AT_ONCE)
    async with (
        StubOllama(MODELS, tokens=TOKENS, tokens_per_second=1500, load_seconds=0.01) as stub,
        StubRemote(tokens=TOKENS, tokens_per_second=1500) as remote,
    ):
        settings = tmp_path / "foreman.toml"
        settings.write_text(f'[[remote]]\nname = "far"\nbase_url = "{remote.base_url}"\nmodels = ["{FAR}"]\n')
        command = arguments(stub.url, db, config=settings, poll_seconds=0.2, remote_slots=SLOTS_AT_ONCE)

        def sent(body: bytes) -> int:
            times = sum(entry.body == body for entry in stub.ledger.entries)
            return times + billed(remote, load.calls)[body]

        load = Load(random.Random(seed), sent)
        dying = Dying(rng, stub, remote, load)
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
                await dying.moment()
                load.lost()
        async with recorded(following, stub, history) as foreman:
            await go(foreman)
            load.reach(foreman.url)
            load.stop()
            await asyncio.gather(*clients)
            await foreman.healthy(lambda report: report["queue"]["depth"] == 0 and report["running"] is None)
        most = stub.ledger.max_concurrent
        history.spans = [*spans.of_target(stub), *spans.of_remote(remote), *load.spans]
        history.billed = billed(remote, load.calls)
    history.calls, history.expected = load.calls, await expected(load.calls)
    jobs = stored(db)
    found = faults(history, jobs, most)
    assert found == [], "\n".join((f"FOREMAN_KILL_SEED={seed}", *found))
    told, counts = summary(history, jobs)
    sys.stdout.write(f"{told}\n")
    assert len(jobs) > KILLS
    # Each kind of work has met its kill.
    assert all(counts), f"FOREMAN_KILL_SEED={seed}: {told}"


def summary(history: History, jobs: list[Stored]) -> tuple[str, list[int]]:
    """What the kills have met, in words and in numbers."""
    again = sum(job.attempts > 1 and job.path != PULL for job in jobs)
    pulled = sum(job.attempts > 1 and job.path == PULL for job in jobs)
    lost = sum(job.error_code == "maybe_billed" for job in jobs)
    found = sum(event["event"] == "slot_found" for run in history.runs for event in run.events)
    told = (
        f"{len(jobs)} jobs of {len(history.calls)} requests: {again} run more than once, {pulled} pulls carried on, "
        f"{lost} that may have been billed, slots found again {found} times"
    )
    return told, [again, pulled, lost, found]


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
