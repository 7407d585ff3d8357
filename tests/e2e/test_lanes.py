"""Local and remote work at the target: never both at once, never more than there are slots, everything to its end."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from foreman.testing import Script, StubOllama
from foreman.testing.ledger import Entry, Ledger
from tests.e2e.client import Got, Request, chat, chat_v1, post, submit
from tests.e2e.own import call
from tests.e2e.process import Foreman, serving
from tests.e2e.stored import stored
from tests.mixing import CLOUD, HOSTED, REMOTE, at_work, local, mixed, most, remote

CHAT = "/api/chat"
MODELS = ("a", "b", HOSTED)
HELD = Script(hold=2)


@asynccontextmanager
async def both(tmp_path: Path, **settings: object) -> AsyncIterator[tuple[StubOllama, Foreman]]:
    """A stub with local and remote models, and a foreman in front of it."""
    async with (
        StubOllama(MODELS, tokens=8, tokens_per_second=2000) as stub,
        serving(stub.url, tmp_path / "foreman.db", **settings) as foreman,
    ):
        yield stub, foreman


def text_of(entry: Entry) -> str:
    return str(orjson.loads(entry.body)["messages"][0]["content"])


async def held(stub: StubOllama, count: int) -> None:
    """Wait until the target holds so many back."""

    def reached(ledger: Ledger) -> bool:
        return sum(entry.held for entry in ledger.entries) == count

    await stub.ledger.wait_for(reached)


async def crowd(foreman: Foreman, seed: int) -> list[Got]:
    """A dozen clients with eight requests each, for models of both kinds."""
    chance = random.Random(seed)
    models = ("a", "b", *REMOTE)

    def asked(text: str) -> Request:
        return chance.choice((chat, chat_v1))(chance.choice(models), text, stream=chance.random() < 0.5)

    async def client(number: int) -> list[Got]:
        return [await post(foreman.url, *asked(f"{number} {n}")) for n in range(8)]

    answers = [got for each in await asyncio.gather(*map(client, range(12))) for got in each]
    assert all(got.status == 200 and got.whole for got in answers)
    await foreman.settled(*(got.job for got in answers))
    return answers


@pytest.mark.parametrize("slots", [1, 3])
async def test_a_crowd_is_never_mixed_nor_above_the_slots_and_all_are_served(tmp_path: Path, slots: int) -> None:
    async with both(tmp_path, remote_slots=slots) as (stub, foreman):
        answers = await crowd(foreman, slots)
        assert mixed(stub) == []
        assert most(remote(stub)) <= slots
        assert (most(local(stub)), stub.ledger.max_concurrent) == (1, 1)
        sent = Counter(entry.body for entry in at_work(stub) if entry.path != "/api/generate")
        assert (len(sent), set(sent.values())) == (len(answers), {1})
        assert {load.name for load in stub.ledger.loads} == {"a:latest", "b:latest"}


async def test_lanes_that_take_no_turns_run_beside_each_other(tmp_path: Path) -> None:
    async with both(tmp_path, exclusive="false", remote_slots=3) as (stub, foreman):
        stub.script(CLOUD, HELD)
        far = [asyncio.create_task(post(foreman.url, *chat(CLOUD, f"{n}"))) for n in range(4)]
        await held(stub, 3)
        assert (await post(foreman.url, *chat("a", "beside them"))).whole
        assert (await foreman.health())["lanes"]["remote"]["waits_for"] == "slot"
        stub.script(CLOUD, None)
        for _ in range(3):
            stub.release(CLOUD)
        assert all(got.whole for got in await asyncio.gather(*far))
        await crowd(foreman, 0)
        assert mixed(stub)
        assert most(remote(stub)) == 3
        assert stub.ledger.max_concurrent == 1


async def test_the_queue_tells_of_both_lanes_and_why_the_next_one_waits(tmp_path: Path) -> None:
    async with both(tmp_path, remote_slots=2) as (stub, foreman):
        stub.script(CLOUD, HELD)
        tasks = [asyncio.create_task(post(foreman.url, *chat(CLOUD, f"far {n}"))) for n in range(2)]
        await held(stub, 2)
        tasks += await submit(foreman, chat("hosted", "far 2"), chat("a", "1"), chat("b", "2"), chat(CLOUD, "far 3"))
        _, queue, _ = await call(foreman, "GET", "/queue")
        here, there = queue["lanes"]["local"], queue["lanes"]["remote"]
        assert (here["slots"], here["running"], here["queued"], here["waits_for"]) == (1, [], 2, "remote_lane")
        assert (there["slots"], len(there["running"]), there["queued"], there["waits_for"]) == (2, 2, 2, "slot")
        assert queue["running"] == there["running"][0]
        assert [waits(job) for job in queue["waiting"]] == [
            ("a:latest", "local", 1, "remote_lane"),
            ("b:latest", "local", 2, "swap"),
            ("hosted:latest", "remote", 1, "slot"),
            (CLOUD, "remote", 2, "local_lane"),
        ]
        report = await foreman.health()
        assert [(lane["queued"], lane["waits_for"]) for lane in report["lanes"].values()] == [
            (2, "remote_lane"),
            (2, "slot"),
        ]
        _, job, _ = await call(foreman, "GET", f"/jobs/{queue['waiting'][0]['id']}")
        assert waits(job) == ("a:latest", "local", 1, "remote_lane")
        stub.script(CLOUD, None)
        for _ in range(2):
            stub.release(CLOUD)
        assert all(got.whole for got in await asyncio.gather(*tasks))
        asked = [text_of(entry) for entry in stub.ledger.on(CHAT)]
        assert (sorted(asked[:3]), asked[3:]) == (["far 0", "far 1", "far 2"], ["1", "2", "far 3"])


def waits(job: dict[str, Any]) -> tuple[str, str, int, str]:
    return job["model"], job["lane"], job["position"], job["reason"]


async def test_kill_9_with_several_remote_ones_in_flight_and_all_end_exactly_once(tmp_path: Path) -> None:
    db = tmp_path / "foreman.db"
    async with StubOllama(MODELS, tokens=8) as stub:
        async with serving(stub.url, db, remote_slots=3) as foreman:
            stub.script(CLOUD, HELD)
            clients = [asyncio.create_task(post(foreman.url, *chat(CLOUD, f"far {n}"))) for n in range(3)]
            await held(stub, 3)
            clients += await submit(foreman, chat("a", "1"), chat(CLOUD, "far 3"), chat("a", "2"))
        await asyncio.wait(clients)
        stub.script(CLOUD, None)
        async with serving(stub.url, db, remote_slots=3) as foreman:
            await foreman.healthy(lambda report: report["queue"]["depth"] == 0 and report["running"] is None)
            jobs = stored(db)
        sent = Counter(text_of(entry) for entry in stub.ledger.on(CHAT))
        found = [(text, job.lane, job.attempts, sent[text]) for job in jobs for text in [said(job.request)]]
        assert found == [
            *((f"far {n}", "remote", 2, 2) for n in range(3)),
            ("1", "local", 1, 1),
            ("far 3", "remote", 1, 1),
            ("2", "local", 1, 1),
        ]
        assert {(job.state, job.complete) for job in jobs} == {("done", True)}
        assert [text_of(entry) for entry in stub.ledger.on(CHAT)][6:] == ["1", "far 3", "2"]
        assert mixed(stub) == []


def said(body: bytes) -> str:
    return str(orjson.loads(body)["messages"][0]["content"])
