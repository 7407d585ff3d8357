"""Jobs of remote APIs at work: their slots, what they wait for, and what is asked again."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from foreman.core.errors import MaybeBilled
from foreman.core.job import JobState, Mode, Payload
from foreman.core.lanes import Lane
from foreman.core.submission import Submission
from foreman.core.upstreams import Routed
from foreman.engine.intake import Ticket
from foreman.engine.relay import Head
from foreman.remotes import Remote
from foreman.testing import StubOllama, StubRemote
from tests.engine.running import PATIENCE, Running, answer, asked, ended, running
from tests.engine.serving import until

CHAT = "/v1/chat/completions"


def far(text: str, name: str = "one", **values: Any) -> Submission:
    """A submission for the remote `name`."""
    routed = Routed(name, "m")
    body = orjson.dumps({"model": "m", "messages": [{"role": "user", "content": text}]})
    payload = Payload(CHAT, (("content-type", "application/json"),), body)
    return Submission(payload, routed.key, "me", lane=Lane.REMOTE, model=routed.shown, **values)


@asynccontextmanager
async def working(
    stub: StubOllama, folder: Path, *remotes: StubRemote, table: dict[str, Any] | None = None, **settings: Any
) -> AsyncIterator[Running]:
    """An engine in front of remotes `one`, `two` and so on."""
    names = ("one", "two", "three")
    tables = [
        Remote(name=name, base_url=remote.base_url, **(table or {}))
        for name, remote in zip(names, remotes, strict=False)
    ]
    values = {"remotes": tuple(tables), "retry_base_seconds": 0.02, "retry_cap_seconds": 0.1, **settings}
    async with running(stub, folder / "foreman.db", **values) as work:
        yield work


async def head_of(ticket: Ticket) -> Head:
    reader = ticket.reader or ticket.relay.reader()
    async with asyncio.timeout(PATIENCE):
        head = await reader.head()
    reader.leave()
    return head


async def test_each_has_its_slots_and_all_together_never_more_than_the_lane(stub: StubOllama, tmp_path: Path) -> None:
    async with (
        StubRemote() as one,
        StubRemote() as two,
        working(stub, tmp_path, one, two, table={"slots": 2}, remote_slots=3) as work,
    ):
        one.open.clear()
        two.open.clear()
        tickets = [await work.engine.submit(far(f"{n}", name)) for n in range(5) for name in ("one", "two")]
        await one.wait_for(lambda: one.under_way() == 2)
        await two.wait_for(lambda: two.under_way() == 1)
        assert (work.jobs.lanes.taken[Lane.REMOTE], work.jobs.remote.depth.total) == (3, 7)
        one.open.set()
        await one.wait_for(lambda: len(one.calls) == 5 and not one.under_way())
        await two.wait_for(lambda: two.under_way() == 2)
        two.open.set()
        for ticket in tickets:
            assert await answer(ticket)
        await work.settled()
        assert (one.most, two.most) == (2, 2)
        assert [upstream.running for upstream in work.engine.upstreams] == [0, 0]


@pytest.mark.parametrize("fault", ["busy", "unavailable"])
async def test_being_told_to_wait_spends_no_attempt(stub: StubOllama, tmp_path: Path, fault: Any) -> None:
    async with StubRemote(retry_after="0.05") as one, working(stub, tmp_path, one, max_attempts=1) as work:
        one.faults.extend([fault] * 4)
        live = (await work.engine.submit(far("hi"))).live
        assert live is not None
        await ended(live)
        job = await work.engine.job(live.id)
        assert (job.state, job.attempts, len(one.calls)) == (JobState.DONE, 1, 5)
        assert [call.text for call in one.calls] == ["hi"] * 5


async def test_it_is_not_asked_before_the_time_it_named(stub: StubOllama, tmp_path: Path) -> None:
    async with StubRemote(retry_after="0.4") as one, working(stub, tmp_path, one) as work:
        one.faults.append("busy")
        tickets = [await work.engine.submit(far("hi")) for _ in range(2)]
        for ticket in tickets:
            assert await answer(ticket)
        first, *others = (call.at for call in one.calls)
        # The other one may have been under way already.
        assert sum(at - first >= 0.35 for at in others) >= 1
        assert len(one.calls) == 3


async def test_one_that_is_left_alone_holds_neither_local_work_nor_others_up(stub: StubOllama, tmp_path: Path) -> None:
    async with (
        StubRemote(retry_after="3000") as one,
        StubRemote() as two,
        working(stub, tmp_path, one, two) as work,
    ):
        one.faults.append("busy")
        waiting = [await work.engine.submit(far("hi", mode=Mode.DETACHED))]
        async with asyncio.timeout(PATIENCE):
            await until(lambda: any(upstream.pause for upstream in work.engine.upstreams))
        await work.rests()
        waiting.append(await work.engine.submit(far("older than all below", mode=Mode.DETACHED)))
        assert await answer(await work.engine.submit(asked("near")))
        assert await answer(await work.engine.submit(far("beside", "two")))
        assert await answer(await work.engine.submit(asked("near again")))
        assert len(one.calls) == 1
        for ticket in waiting:
            assert await work.engine.cancel(ticket.id) is JobState.CANCELLED


async def test_a_429_that_no_waiting_ends_is_passed_on(stub: StubOllama, tmp_path: Path) -> None:
    async with StubRemote() as one, working(stub, tmp_path, one) as work:
        one.faults.append("spent")
        assert (await head_of(await work.engine.submit(far("hi")))).status == 429
        assert len(one.calls) == 1


async def test_a_detached_job_that_broke_is_not_sent_again_but_by_hand(stub: StubOllama, tmp_path: Path) -> None:
    async with StubRemote() as one, working(stub, tmp_path, one) as work:
        one.faults.append("cut_midway")
        live = (await work.engine.submit(far("hi", mode=Mode.DETACHED))).live
        assert live is not None
        await ended(live)
        job = await work.engine.job(live.id)
        assert (job.state, job.error_code, job.attempts) == (JobState.FAILED, "maybe_billed", 1)
        with pytest.raises(MaybeBilled):
            await work.engine.ticket(live.id)
        again = await work.engine.retry(live.id)
        await ended(again)
        job = await work.engine.job(again.id)
        assert (job.state, job.model, job.lane) == (JobState.DONE, "one/m", Lane.REMOTE)
        assert len(one.calls) == 2


async def test_a_cancel_hangs_up(stub: StubOllama, tmp_path: Path) -> None:
    async with StubRemote() as one, working(stub, tmp_path, one) as work:
        one.open.clear()
        ticket = await work.engine.submit(far("hi", mode=Mode.DETACHED))
        await one.wait_for(lambda: one.under_way() == 1)
        await work.engine.cancel(ticket.id)
        await one.wait_for(lambda: one.under_way() == 0)
        assert ticket.live is not None
        await ended(ticket.live)
        assert (await work.engine.job(ticket.id)).state is JobState.CANCELLED
