"""DELETE /jobs/{id} wherever a job stands: what it answers, what the target hears, and what those who read are told."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from foreman.testing import Die, Ending, Script, StubOllama
from tests.e2e import raw
from tests.e2e.client import chat, post
from tests.e2e.own import GENERATE, call, handed, prompt, state_of
from tests.e2e.process import Foreman, serving
from tests.e2e.stored import accepted

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHAT = "/api/chat"


async def cancel(foreman: Foreman, job: str) -> tuple[int, Any]:
    status, answer, _ = await call(foreman, "DELETE", f"/jobs/{job}")
    return status, answer


async def refused(foreman: Foreman, job: str, state: str) -> None:
    """A finished job stays what it is, and the refusal says what that is."""
    status, problem = await cancel(foreman, job)
    assert (status, problem["code"]) == (409, "job_finished")
    assert state in problem["detail"]
    assert await state_of(foreman, job) == state


async def goes_on(foreman: Foreman) -> None:
    """The next job runs."""
    assert (await post(foreman.url, *chat("llama3", "next"))).whole


async def test_a_job_that_waits_is_cancelled_at_once_and_the_target_never_hears_of_it(
    stub: StubOllama, foreman: Foreman
) -> None:
    await goes_on(foreman)
    stub.script(CHAT, [Script(hold=0)])
    before = await handed(foreman, chat("llama3", "before")[1], CHAT)
    entry = await stub.ledger.held()
    queued = await handed(foreman, prompt("never asked"))
    delayed = await handed(foreman, prompt("never asked"), not_before=3600)
    for job in (queued, delayed):
        status, answer = await cancel(foreman, job)
        assert (status, answer["state"], answer["attempts"]) == (200, "cancelled", 0)
        await refused(foreman, job, "cancelled")
    stub.release(entry.path)
    await foreman.settled(before)
    await goes_on(foreman)
    assert not any(b"never asked" in entry.body for entry in stub.ledger.entries)


@pytest.mark.parametrize(
    ("model", "key", "script", "state"),
    [
        ("qwen3:8b", "qwen3:8b", Script(hold=0), "loading"),
        ("llama3", CHAT, Script(hold=0), "working"),
        ("llama3", CHAT, Script(hold=1), "working"),
    ],
    ids=["loading", "before the first byte", "mid-stream"],
)
async def test_a_job_at_the_target_is_taken_from_it(
    stub: StubOllama, foreman: Foreman, model: str, key: str, script: Script, state: str
) -> None:
    await goes_on(foreman)
    stub.script(key, [script])
    job = await handed(foreman, chat(model, "taken away")[1], CHAT)
    entry = await stub.ledger.held()
    assert await state_of(foreman, job) == state
    assert (await cancel(foreman, job))[0] == 202
    # The target may have let go of it by now.
    assert (await cancel(foreman, job))[0] in {200, 202, 409}
    await foreman.event("job_finished", job=job, outcome="cancelled")
    assert entry.ending is Ending.CLIENT_GONE
    await refused(foreman, job, "cancelled")
    await goes_on(foreman)


async def test_a_job_between_two_attempts_is_cancelled_at_once(stub: StubOllama, tmp_path: Path) -> None:
    slow = {"retry_base_seconds": 600, "retry_cap_seconds": 600}
    async with serving(stub.url, tmp_path / "foreman.db", **slow) as foreman:
        await goes_on(foreman)
        stub.script(GENERATE, [Script(die=Die.FIN)] * 2)  # the first of them on the kept connection
        job = await handed(foreman, prompt("again later"))
        await foreman.event("job_handed_back", job=job)
        answer = (await call(foreman, "GET", f"/jobs/{job}"))[1]
        assert (answer["state"], answer["reason"], answer["attempts"]) == ("queued", "delayed", 1)
        assert (await cancel(foreman, job))[0] == 200
        await refused(foreman, job, "cancelled")
        await goes_on(foreman)


async def test_a_finished_job_stays_what_it_is(stub: StubOllama, foreman: Foreman) -> None:
    await goes_on(foreman)
    done = await handed(foreman, prompt("well"))
    await foreman.settled(done)
    stub.script(GENERATE, [Script(status=400, error="no")])
    failed = await handed(foreman, prompt("badly"))
    await foreman.settled(failed)
    await refused(foreman, done, "done")
    await refused(foreman, failed, "failed")


async def test_a_cancel_that_races_with_the_end_has_one_outcome(stub: StubOllama, tmp_path: Path) -> None:
    db = tmp_path / "foreman.db"
    outcomes = set()
    async with serving(stub.url, db) as foreman:
        await goes_on(foreman)
        for round_ in range(40):
            job = await handed(foreman, prompt(f"race {round_}"))
            if round_ % 2:
                await foreman.event("job_finished", round_ + 1)  # an earlier one's; lets this one get ahead a little
            status, _ = await cancel(foreman, job)
            await foreman.settled(job)
            state = await state_of(foreman, job)
            assert (status, state) in {(200, "cancelled"), (202, "cancelled"), (202, "done"), (409, "done")}
            outcomes.add(state)
            ends = [e for e in foreman.events if e["event"] == "job_finished" and e["fields"]["job"] == job]
            assert [end["fields"]["outcome"] for end in ends] == [state]
        assert len(accepted(db)) == 41
    assert outcomes <= {"cancelled", "done"}


async def test_all_who_joined_a_job_hear_of_its_cancel(stub: StubOllama, foreman: Foreman) -> None:
    await goes_on(foreman)
    stub.script(CHAT, [Script(hold=1)])
    body = orjson.dumps(chat("llama3", "together")[1])
    key = "Idempotency-Key: together"
    async with raw.connected(foreman.url) as first, raw.connected(foreman.url) as second:
        await first.request(f"POST {CHAT}", key, body=body)
        entry = await stub.ledger.held()
        await second.request(f"POST {CHAT}", key, body=body)
        heads = [await client.head() for client in (first, second)]
        job = heads[0].headers["x-foreman-job"]
        assert heads[1].headers["x-foreman-job"] == job
        async with raw.connected(foreman.url) as reader:
            await reader.request(f"GET /jobs/{job}/response")
            assert (await reader.head()).status == 200
            beginning = await reader.piece()
            assert (await cancel(foreman, job))[0] == 202
            assert await reader.closed() == b""
        for client in (first, second):
            assert await client.piece() == beginning
            assert b"cancelled" in orjson.loads(await client.piece())["error"].encode()
            assert await client.closed() == b""
    await foreman.settled(job)
    assert entry.ending is Ending.CLIENT_GONE
    await goes_on(foreman)
