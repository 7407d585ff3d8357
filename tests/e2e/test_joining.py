"""The same request twice is one job: by its key, or as the retry of an SDK that counts its retries."""

import asyncio
import signal
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import openai
import orjson
import pytest

from foreman.testing import Die, Script, StubOllama, expected_text
from tests.e2e import raw
from tests.e2e.client import Request, chat, chat_v1, post
from tests.e2e.process import Foreman, serving
from tests.e2e.raw import Answer, connected
from tests.e2e.stored import accepted, job_of, stored

CHAT, COMPLETIONS = "/api/chat", "/v1/chat/completions"
# What may differ between an answer and its replay.
OWN = ("date", "transfer-encoding", "content-length", "connection")


@asynccontextmanager
async def both(tmp_path: Path, **settings: object) -> AsyncIterator[tuple[StubOllama, Foreman, Path]]:
    db = tmp_path / "foreman.db"
    async with StubOllama() as stub, serving(stub.url, db, **settings) as foreman:
        yield stub, foreman, db


async def keyed(foreman: Foreman, request: Request, key: str = "one") -> Answer:
    path, body = request
    return await raw.ask(foreman.url, f"POST {path}", f"Idempotency-Key: {key}", body=orjson.dumps(body))


def same(first: Answer, second: Answer) -> None:
    """Status, body and everything in the headers that is not of this moment are the same."""
    assert (first.status, first.body, first.whole) == (second.status, second.body, second.whole)
    shown = [{n: v for n, v in got.headers.items() if n not in OWN} for got in (first, second)]
    assert shown[0] == shown[1]
    assert len(first.headers["x-foreman-job"]) == 26


STREAMED = {"ollama": chat("llama3", "sky"), "openai": chat_v1("llama3", "sky", stream=True)}
WHOLE = {"ollama": chat("llama3", "sky", stream=False), "openai": chat_v1("llama3", "sky")}


@pytest.mark.parametrize("request_", STREAMED.values(), ids=STREAMED.keys())
async def test_a_living_stream_is_joined_from_its_first_byte(tmp_path: Path, request_: Request) -> None:
    async with both(tmp_path) as (stub, foreman, db):
        path, _ = request_
        stub.script(path, [Script(hold=2)])
        first = asyncio.create_task(keyed(foreman, request_))
        await stub.ledger.held()
        again = [asyncio.create_task(keyed(foreman, request_)) for _ in range(2)]
        await foreman.event("job_joined", 2)
        stub.release(path)
        answers = [await client for client in (first, *again)]
        assert answers[0].whole
        same(answers[0], answers[1])
        same(answers[0], answers[2])
        assert len(stub.ledger.on(path)) == len(stored(db)) == 1


@pytest.mark.parametrize("request_", WHOLE.values(), ids=WHOLE.keys())
async def test_a_living_job_is_joined_before_it_answers_and_outlives_who_asked_first(
    tmp_path: Path, request_: Request
) -> None:
    async with both(tmp_path) as (stub, foreman, db):
        path, body = request_
        stub.script(path, [Script(hold=0)])
        async with connected(foreman.url) as first:
            await first.request(f"POST {path}", "Idempotency-Key: one", body=orjson.dumps(body))
            await stub.ledger.held()
            second = asyncio.create_task(keyed(foreman, request_))
            await foreman.event("job_joined")
        stub.release(path)
        answer = await second
        assert (answer.status, answer.whole) == (200, True)
        same(answer, await keyed(foreman, request_))
        assert len(stub.ledger.on(path)) == len(stored(db)) == 1


ENDINGS: dict[str, tuple[Request, Script, int, str]] = {
    "done": (chat("llama3", "done"), Script(), 200, "done"),
    "done whole": (chat_v1("llama3", "done"), Script(), 200, "done"),
    "refused": (chat("llama3", "refused"), Script(status=400, error="no such thing"), 400, "failed"),
    "refused in text": (
        chat_v1("llama3", "refused"),
        Script(status=418, body=b"\xff?", headers={"Content-Type": "text/weird"}),
        418,
        "failed",
    ),
    "failed in-band": (chat("llama3", "line"), Script(error="out of memory", error_after=3), 200, "failed"),
    "cut": (chat("llama3", "cut"), Script(die=Die.FIN, die_after_bytes=700), 200, "failed"),
    "cut events": (chat_v1("llama3", "cut", stream=True), Script(die=Die.RST, die_after_chunks=5), 200, "failed"),
    "lost": (chat("llama3", "lost"), Script(die=Die.FIN), 502, "failed"),
    "lost whole": (chat_v1("llama3", "lost"), Script(die=Die.FIN), 502, "failed"),
}


async def test_a_finished_job_is_replayed_as_it_was_also_after_a_kill_and_a_restart(tmp_path: Path) -> None:
    first: dict[str, Answer] = {}
    async with both(tmp_path, max_attempts=1) as (stub, foreman, db):
        for name, (request, script, status, state) in ENDINGS.items():
            stub.script(request[0], [script])
            first[name] = await keyed(foreman, request, name)
            assert first[name].status == status
            await foreman.event("job_finished", job=first[name].headers["x-foreman-job"], outcome=state)
            same(first[name], await keyed(foreman, request, name))
        asked = len(stub.ledger.on(CHAT)) + len(stub.ledger.on(COMPLETIONS))
        await foreman.kill()
        async with serving(stub.url, db, max_attempts=1) as restarted:
            for name, (request, *_) in ENDINGS.items():
                same(first[name], await keyed(restarted, request, name))
        assert len(stub.ledger.on(CHAT)) + len(stub.ledger.on(COMPLETIONS)) == asked == len(stored(db))


async def test_the_key_of_a_cancelled_job_is_free_again(tmp_path: Path) -> None:
    async with both(tmp_path) as (stub, foreman, db):
        await keyed(foreman, chat("llama3", "loads it"), "zero")
        stub.script(CHAT, [Script(hold=0)])
        request = chat("llama3", "sky")
        running, queued = (asyncio.create_task(keyed(foreman, request, key)) for key in ("one", "two"))
        await foreman.queued(1)
        await stub.ledger.held()  # or the next request would be the one that is held
        for job in reversed(accepted(db)[1:]):
            assert (await raw.ask(foreman.url, f"DELETE /jobs/{job}")).status in (200, 202)
        for key, client in (("one", running), ("two", queued)):
            answer = await client
            assert answer.status == 410
            await foreman.event("job_finished", job=answer.headers["x-foreman-job"], outcome="cancelled")
            again = await keyed(foreman, request, key)
            assert (again.status, again.whole) == (200, True)
            assert again.headers["x-foreman-job"] != answer.headers["x-foreman-job"]


async def test_a_job_that_a_kill_cut_off_is_joined_after_the_restart(tmp_path: Path) -> None:
    async with both(tmp_path) as (stub, foreman, db):
        request = chat("llama3", "sky")
        stub.script(CHAT, [Script(hold=2)])
        cut = asyncio.create_task(keyed(foreman, request))
        await stub.ledger.held()
        waits = asyncio.create_task(keyed(foreman, request, "two"))
        await foreman.queued(1)
        await foreman.kill()
        assert not (await cut).whole
        with pytest.raises(raw.CUT):
            await waits
        async with serving(stub.url, db) as restarted:
            answers = [await keyed(restarted, request, key) for key in ("one", "two")]
            assert [(got.status, got.whole) for got in answers] == [(200, True)] * 2
            assert [got.headers["x-foreman-attempt"] for got in answers] == ["2", "1"]
            assert [got.headers["x-foreman-job"] for got in answers] == accepted(db)
        assert answers[0].body == answers[1].body
        assert (await cut).headers["x-foreman-job"] == accepted(db)[0]


async def test_a_key_belongs_to_its_request_and_to_its_owner(tmp_path: Path) -> None:
    async with both(tmp_path) as (_, foreman, db):
        job = (await keyed(foreman, chat("llama3", "sky"))).headers["x-foreman-job"]
        for other in (chat("llama3", "sea"), chat_v1("llama3", "sky"), ("/api/generate", chat("llama3", "sky")[1])):
            got = await keyed(foreman, other)
            assert (got.status, got.headers["x-foreman-job"]) == (409, job)
            assert job.encode() in got.body
            assert got.headers["x-foreman-error"] == "idempotency_conflict"
        path, body = chat("llama3", "sea")
        theirs = await raw.ask(
            foreman.url, f"POST {path}", "Idempotency-Key: one", "User-Agent: else/1", body=orjson.dumps(body)
        )
        assert (theirs.status, theirs.whole) == (200, True)
        assert accepted(db) == [job, theirs.headers["x-foreman-job"]]


@pytest.mark.parametrize(
    "key", ["", "k" * 256, "a\x7fb", "a\tb", "a\x01b", "a\xa0b"], ids=["empty", "long", "del", "tab", "soh", "nbsp"]
)
async def test_a_bad_key_is_refused(tmp_path: Path, key: str) -> None:
    async with both(tmp_path) as (_, foreman, db):
        assert (await keyed(foreman, chat("llama3", "sky"), key)).status == 400
        assert accepted(db) == []
        assert (await keyed(foreman, chat("llama3", "sky"), "k" * 255)).status == 200


# -- the retries of the SDKs


async def counted(foreman: Foreman, request: Request, count: int, *headers: str) -> Answer:
    path, body = request
    return await raw.ask(
        foreman.url, f"POST {path}", f"X-Stainless-Retry-Count: {count}", *headers, body=orjson.dumps(body)
    )


async def test_a_retry_joins_only_the_living_job_of_the_same_client_and_request(tmp_path: Path) -> None:
    async with both(tmp_path) as (stub, foreman, db):
        request, other = chat_v1("llama3", "sky", stream=True), chat_v1("llama3", "sea", stream=True)
        stub.script(COMPLETIONS, [Script(hold=2)])
        first = asyncio.create_task(counted(foreman, request, 0))
        await stub.ledger.held()
        again = [asyncio.create_task(counted(foreman, request, count)) for count in (1, 2)]
        await foreman.event("job_joined", 2)
        apart = [
            asyncio.create_task(counted(foreman, request, 0)),
            asyncio.create_task(counted(foreman, other, 1)),
            asyncio.create_task(counted(foreman, request, 1, "User-Agent: else/1")),
            asyncio.create_task(counted(foreman, request, 1, "Idempotency-Key: one")),
        ]
        await foreman.queued(4)
        stub.release(COMPLETIONS)
        answers = [await client for client in (first, *again)]
        same(answers[0], answers[1])
        same(answers[0], answers[2])
        jobs = [(await client).headers["x-foreman-job"] for client in apart]
        await foreman.settled(answers[0].headers["x-foreman-job"], *jobs)
        late = await counted(foreman, request, 1)
        assert late.whole
        assert {answers[0].headers["x-foreman-job"], *jobs, late.headers["x-foreman-job"]} == set(accepted(db))
        assert len(accepted(db)) == 6


async def test_a_retry_joins_its_job_across_a_restart_too(tmp_path: Path) -> None:
    """A restart is when the SDKs try again: what was queued for them must not be done twice."""
    async with both(tmp_path) as (stub, foreman, db):
        stub.script(COMPLETIONS, [Script(hold=2)])
        requests = chat_v1("llama3", "sky", stream=True), chat_v1("llama3", "sea")
        clients = []
        for depth, request in enumerate(requests):
            clients.append(asyncio.create_task(counted(foreman, request, 0)))
            await stub.ledger.held()
            await foreman.queued(depth)
        await raw.ask(foreman.url, "POST /queue/pause")
        await foreman.kill()
        await asyncio.gather(*clients, return_exceptions=True)
        async with serving(stub.url, db) as restarted:
            again = [asyncio.create_task(counted(restarted, request, 1)) for request in requests]
            await restarted.event("job_joined", 2)
            await raw.ask(restarted.url, "POST /queue/resume")
            answers = [await client for client in again]
        assert [(got.status, got.whole) for got in answers] == [(200, True)] * 2
        assert [got.headers["x-foreman-job"] for got in answers] == accepted(db)


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
async def test_the_official_client_gives_up_asks_again_and_gets_the_answer_of_the_one_job(
    tmp_path: Path, stream: bool
) -> None:
    async with both(tmp_path, heartbeat_seconds=0) as (stub, foreman, db):
        stub.script(COMPLETIONS, [Script(hold=0)])
        asked: Any = {"model": "llama3", "messages": [{"role": "user", "content": "sky"}], "stream": stream}
        async with openai.AsyncOpenAI(
            base_url=f"{foreman.url}/v1", api_key="none", timeout=1.5, max_retries=2
        ) as client:
            answering = asyncio.create_task(client.chat.completions.create(**asked))
            await foreman.event("job_joined")
            stub.release(COMPLETIONS)
            answer: Any = await answering
            parts = [chunk.choices[0].delta.content or "" async for chunk in answer] if stream else []
            text = "".join(parts) if stream else answer.choices[0].message.content
        assert text == expected_text(asked)
        assert [job.state for job in stored(db)] == ["done"] or (await foreman.event("job_finished"))
        assert len(stored(db)) == len(stub.ledger.on(COMPLETIONS)) == 1


async def test_who_announces_retries_gets_time_to_return_and_nobody_else_does(tmp_path: Path) -> None:
    async with both(tmp_path) as (stub, foreman, db):
        stub.script(COMPLETIONS, [Script(hold=0)])
        request = chat_v1("llama3", "sky")
        returning = asyncio.create_task(counted(foreman, request, 0))
        await stub.ledger.held()
        leaving = asyncio.create_task(keyed(foreman, chat_v1("llama3", "sea")))
        await foreman.queued(1)
        for client in (returning, leaving):
            client.cancel()
        await asyncio.wait((returning, leaving))
        assert (await foreman.event("job_finished"))["fields"]["job"] == job_of(db, "sea").id
        assert (await foreman.health())["running"]["id"] == job_of(db, "sky").id
        back = asyncio.create_task(counted(foreman, request, 1))
        await foreman.event("job_joined")
        stub.release(COMPLETIONS)
        assert ((await back).status, (await back).whole) == (200, True)
        assert len(stub.ledger.on(COMPLETIONS)) == 1


async def test_a_stop_does_not_wait_for_who_may_return(tmp_path: Path) -> None:
    async with both(tmp_path, drain_seconds=0.1) as (stub, foreman, db):
        stub.script(COMPLETIONS, [Script(hold=0)])
        leaving = asyncio.create_task(counted(foreman, chat_v1("llama3", "sky"), 0))
        await stub.ledger.held()
        leaving.cancel()
        await asyncio.wait((leaving,))
        began = time.monotonic()
        foreman.send(signal.SIGTERM)
        assert await foreman.ended() == 0
        assert time.monotonic() - began < 5
        assert job_of(db, "sky").state == "queued"


async def test_who_joins_a_job_that_is_being_written_keeps_it_though_its_first_client_leaves(
    tmp_path: Path,
) -> None:
    body = orjson.dumps(chat("llama3", "handed on")[1])
    key = "Idempotency-Key: handed on"
    async with both(tmp_path) as (_, foreman, db):
        assert (await post(foreman.url, *chat("llama3", "warm"))).whole
        with closing(sqlite3.connect(db, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            async with raw.connected(foreman.url) as leaves:
                await leaves.request("POST /api/chat", key, body=body)
                # Answered after the first has been handed to the writer, who cannot write.
                await foreman.health()
            await foreman.health()
            joins = asyncio.create_task(raw.ask(foreman.url, "POST /api/chat", key, body=body))
            await foreman.health()
            other.execute("ROLLBACK")
        answer = await joins
        assert (answer.status, answer.whole) == (200, True)
        await foreman.settled(answer.headers["x-foreman-job"])
        assert [job.state for job in stored(db)] == ["done", "done"]
