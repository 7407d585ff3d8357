"""From a body to a job: the order of the questions, and what of the request the target gets."""

import asyncio
import threading
from typing import Any, Literal

import orjson
import pytest
from aiohttp import FormData
from yarl import URL

from foreman.core import body as bodies
from foreman.core.body import RequestBody
from foreman.engine.sqlite import SqliteStore
from foreman.testing import Ending, Script, StubOllama
from tests.engine.running import held
from tests.mixing import HOSTED
from tests.web.conftest import Front, Fronts

HELLO = {"model": "llama3", "prompt": "hello"}
LARGE = 1000


async def asked(front: Front, path: str, body: dict[str, Any] | bytes, **headers: str) -> tuple[int, str | None]:
    """Status, and which error of foreman's own it is."""
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    async with front.http.post(path, data=data, headers=headers) as answer:
        await answer.read()
        return answer.status, answer.headers.get("X-Foreman-Error")


async def test_each_question_comes_before_the_next(stub: StubOllama, fronts: Fronts) -> None:
    """A body that is wrong in several ways is refused for the first of them."""
    async with fronts(max_body_bytes=2000) as front:
        zstd = {"Content-Encoding": "zstd"}
        assert await asked(front, "/api/generate", b"x" * 3000, **zstd) == (415, "body_encoded")
        assert await asked(front, "/api/generate", b"x" * 3000) == (413, "body_too_large")
        assert await asked(front, "/api/generate", b"x") == (400, None)
        assert await asked(front, "/api/generate", {"model": "foo bar", "keep_alive": 0}) == (400, "invalid_model_name")
        assert await asked(front, "/api/generate", {"model": "nope", "keep_alive": 0}) == (404, "model_not_found")
        unload = orjson.dumps({"model": "llama3", "keep_alive": 0})
        front.engine.jobs.local.depth.total += 20_000
        assert await asked(front, "/api/generate", unload) == (200, None)
        assert await asked(front, "/api/generate", HELLO) == (503, "queue_full")
        front.engine.jobs.local.depth.total -= 20_000
    assert [entry.body for entry in stub.ledger.on("/api/generate")] == [b"x", unload]


async def test_a_large_body_is_looked_into_aside_so_that_other_answers_go_on(
    stub: StubOllama, front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes until another request has been answered meanwhile."""
    answered = threading.Event()
    plain = bodies.read

    def read(body: bytes) -> RequestBody | None:
        if len(body) > LARGE and not answered.wait(10):
            raise AssertionError("nothing else was answered")
        return plain(body)

    monkeypatch.setattr(bodies, "read", read)
    monkeypatch.setattr(bodies, "LARGE", LARGE)
    large = asyncio.create_task(asked(front, "/api/generate", HELLO | {"system": "x" * LARGE}))
    assert await asked(front, "/api/generate", HELLO) == (200, None)
    answered.set()
    assert await large == (200, None)


@pytest.mark.parametrize("coding", ["zstd", "ZSTD", "gzip, zstd", " zstd "])
async def test_zstd_is_not_read_whatever_it_is_called(front: Front, coding: str) -> None:
    assert await asked(front, "/v1/messages", HELLO, **{"Content-Encoding": coding}) == (415, "body_encoded")


POLICIES: list[tuple[Literal["own", "clamp", "respect"], str, bytes, bytes]] = [
    ("own", "/api/generate", b'{"model":"llama3","prompt":"x", "keep_alive" : -1}', b'"keep_alive" : "30m"}'),
    ("own", "/api/generate", b'{"model":"llama3","prompt":"x"}', b'"prompt":"x"}'),
    ("own", "/api/chat", b'{"keep_alive":0,"model":"llama3","messages":[{}]}', b'{"keep_alive":"30m",'),
    ("clamp", "/api/generate", b'{"model":"llama3","prompt":"x","keep_alive":"24h"}', b'"keep_alive":"30m"}'),
    ("clamp", "/api/generate", b'{"model":"llama3","prompt":"x","keep_alive":"1m"}', b'"keep_alive":"1m"}'),
    ("respect", "/api/generate", b'{"model":"llama3","prompt":"x","keep_alive":-1}', b'"keep_alive":-1}'),
    ("own", "/v1/completions", b'{"model":"llama3","prompt":"x","keep_alive":-1}', b'"keep_alive":-1}'),
]


@pytest.mark.parametrize(("policy", "path", "body", "part"), POLICIES)
async def test_a_clients_keep_alive_follows_the_policy(
    stub: StubOllama,
    fronts: Fronts,
    policy: Literal["own", "clamp", "respect"],
    path: str,
    body: bytes,
    part: bytes,
) -> None:
    async with fronts(client_keep_alive=policy, keep_alive="30m") as front:
        assert await asked(front, path, body) == (200, None)
    assert part in stub.ledger.on(path)[-1].body


async def test_the_job_says_who_asked_and_for_what(stub: StubOllama, front: Front) -> None:
    headers = {"User-Agent": "thing/1.2 (very long story)"}
    body = HELLO | {"options": {"num_ctx": 8192, "temperature": 1}}
    assert await asked(front, "/api/generate", body) == (200, None)
    stub.script("llama3", Script(hold=0))
    task = asyncio.create_task(asked(front, "/api/generate", body, **headers))
    await stub.ledger.held()
    (running,) = front.engine.jobs.running
    assert (running.client, str(running.key)) == ("thing/1.2 127.0.0.1", "llama3:latest?num_ctx=8192")
    assert (running.model, running.path) == ("llama3:latest", "/api/generate")
    stub.release("llama3")
    assert await task == (200, None)


async def test_a_transcription_is_a_job_of_the_model_in_its_form(stub: StubOllama, front: Front) -> None:
    form = FormData({"model": "llama3"})
    form.add_field("file", b"RIFF\x00\xff" * 1000, filename="a.wav")
    async with front.http.post("/v1/audio/transcriptions?model=nope", data=form) as answer:
        assert (answer.status, len(answer.headers["X-Foreman-Job"])) == (200, 26)
        assert (await answer.json())["text"]
    (entry,) = stub.ledger.on("/v1/audio/transcriptions")
    assert b"RIFF\x00\xff" * 1000 in entry.body


@pytest.mark.parametrize(
    "body", [b"no form", b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\na\r\n--x--\r\n']
)
async def test_a_query_names_no_model_behind_foremans_back(
    front: Front, monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    """Ollama looks there before it looks into the form."""
    sent: list[str] = []
    to_url = front.engine.target.url

    def url(path_qs: str) -> URL:
        sent.append(path_qs)
        return to_url(path_qs)

    monkeypatch.setattr(front.engine.target, "url", url)
    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    assert await asked(front, "/v1/audio/transcriptions?model=llama3", body, **kind) == (400, None)
    assert sent == ["/v1/audio/transcriptions"]


async def test_an_unload_is_seen_at_once(stub: StubOllama, front: Front) -> None:
    assert await asked(front, "/api/generate", HELLO) == (200, None)
    assert front.engine.poller.residency.runners
    assert await asked(front, "/api/chat", {"model": "LLAMA3", "messages": [], "keep_alive": "0"}) == (200, None)
    assert not front.engine.poller.residency.runners
    assert len(stub.ledger.on("/api/chat")) == 1


async def test_a_client_has_nothing_of_an_answer_before_its_job_is_on_disk(
    stub: StubOllama, front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job is begun while it is written: the target has said everything before the client hears a word."""
    worker, rested = front.engine._worker, asyncio.Event()
    rest = worker._rest

    async def resting(pause: float | None) -> None:
        rested.set()
        await rest(pause)

    monkeypatch.setattr(worker, "_rest", resting)
    assert await asked(front, "/api/generate", HELLO) == (200, None)
    store = front.engine.store
    assert isinstance(store, SqliteStore)
    reader, writer = await asyncio.open_connection("127.0.0.1", URL(front.url).port)
    async with asyncio.timeout(10):
        await rested.wait()
    async with held(store):
        body = orjson.dumps(HELLO | {"prompt": "again"})
        writer.write(b"POST /api/generate HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n")
        writer.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        entry = await stub.ledger.wait_for(lambda _: next((e for e in stub.ledger.entries if e.body == body), None))
        await stub.ledger.wait_for(lambda _: entry.ending is Ending.COMPLETE)
        assert await asked(front, "/api/show", {"model": "llama3"}) == (200, None)  # so it is here by now
        reading = asyncio.create_task(reader.read())
        assert await asked(front, "/api/show", {"model": "llama3"}) == (200, None)
        assert not reading.done()
        assert reader._buffer == b""  # type: ignore[attr-defined]
    answer = await reading
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b'"done":true' in answer
    writer.close()


@pytest.mark.parametrize(("model", "lane"), [("llama3", "local"), ("gpt-oss:cloud", "remote"), ("hosted", "remote")])
async def test_a_job_goes_to_the_lane_of_where_its_model_runs(
    stub: StubOllama, fronts: Fronts, model: str, lane: str
) -> None:
    stub.library.add(HOSTED)
    async with fronts() as front:
        assert await asked(front, "/api/generate", {"model": model, "prompt": "hello"}) == (200, None)
        body = {"path": "/api/generate", "body": {"model": model, "prompt": "hello"}}
        async with front.http.post("/jobs", json=body) as answer:
            made = await answer.json()
        await front.http.delete(f"/jobs/{made['id']}")
        async with front.http.get("/jobs") as answer:
            assert [job["lane"] for job in (await answer.json())["jobs"]] == [lane, lane]
        stub.script("*", Script(status=400, error="no"))
        assert await asked(front, "/api/generate", {"model": model, "prompt": "again"}) == (400, None)
        for live in list(front.engine.jobs):
            await live.ended.wait()  # its client hears the end before it is written
        async with front.http.get("/jobs?state=failed") as answer:
            (failed,) = (await answer.json())["jobs"]
        async with front.http.post(f"/jobs/{failed['id']}/retry") as answer:
            assert (await answer.json())["lane"] == lane
