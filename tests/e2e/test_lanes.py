"""Local and remote work at the target: never both at once, never more than there are slots, everything to its end."""

import asyncio
import random
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

import orjson
import pytest

from foreman.testing import StubModel, StubOllama
from foreman.testing.ledger import Entry
from tests.e2e.client import Got, chat, post
from tests.e2e.process import Foreman, serving

CHAT = "/api/chat"
LOCAL = ("a", "b")
# One whose name says that it runs elsewhere, and one of which only the target says so.
CLOUD = ("gpt-oss:120b-cloud", "hosted")
HOSTED = StubModel(name="hosted", remote_host="https://ollama.com:443")
MODELS = (*LOCAL, HOSTED)
SLOTS = 3


def is_remote(entry: Entry) -> bool:
    return entry.model in CLOUD


def at_work(stub: StubOllama) -> list[Entry]:
    """Every request that works the target or what is behind it: jobs, and loads of models."""
    return [entry for entry in stub.ledger.entries if entry.path in (CHAT, "/api/generate")]


def most(entries: Sequence[Entry]) -> int:
    """How many were there at once, at most, by the stub's own record."""
    moments = [(entry.at, 1) for entry in entries] + [(entry.ended_at or entry.at, -1) for entry in entries]
    return max(accumulate(change for _, change in sorted(moments)), default=0)


def mixed(stub: StubOllama) -> list[tuple[Entry, Entry]]:
    """What was local and remote at the same time."""
    remote = [entry for entry in at_work(stub) if is_remote(entry)]
    return [
        (one, other)
        for one in at_work(stub)
        if not is_remote(one)
        for other in remote
        if one.at < (other.ended_at or one.at) and other.at < (one.ended_at or other.at)
    ]


def said(entry: Entry) -> str:
    return str(orjson.loads(entry.body)["messages"][0]["content"])


async def idle(foreman: Foreman) -> None:
    await foreman.healthy(lambda report: report["queue"]["depth"] == 0 and report["running"] is None)


@pytest.mark.parametrize("slots", [1, SLOTS])
async def test_a_crowd_of_both_is_never_mixed_nor_above_the_slots_and_all_are_served(
    tmp_path: Path, slots: int
) -> None:
    chance = random.Random(slots)
    async with (
        StubOllama(MODELS, tokens=8, tokens_per_second=2000) as stub,
        serving(stub.url, tmp_path / "foreman.db", remote_slots=slots) as foreman,
    ):

        async def client(number: int) -> list[Got]:
            asked = [chat(chance.choice((*LOCAL, *CLOUD)), f"{number} {n}", stream=bool(n % 2)) for n in range(8)]
            return [await post(foreman.url, *request) for request in asked]

        answers = [got for each in await asyncio.gather(*map(client, range(12))) for got in each]
        assert all(got.status == 200 and got.whole for got in answers)
        await foreman.settled(*(got.job for got in answers))
        entries = at_work(stub)
        assert mixed(stub) == []
        assert most([entry for entry in entries if is_remote(entry)]) == slots
        assert most([entry for entry in entries if not is_remote(entry)]) == 1
        assert len([entry for entry in entries if entry.path == CHAT]) == 96
        assert not set(CLOUD) & {load.name.removesuffix(":latest") for load in stub.ledger.loads}
