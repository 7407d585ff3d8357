"""Who and what is let in, on raw sockets: hosts, origins, sizes, methods, and HTTP as few write it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest
import pytest_asyncio

from foreman.testing import Script, StubOllama
from tests.e2e.asked import asked
from tests.e2e.process import Foreman, serving
from tests.e2e.raw import Answer, ask, connected
from tests.e2e.stored import accepted

pytestmark = pytest.mark.asyncio(loop_scope="module")

LIMIT = 100_000
CHAT = b'{"model":"llama3","messages":[{"role":"user","content":"hi"}]}'
# What nobody may find in a log, wherever in a request it stood.
CANARY = "canary-4711"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def foreman(stub: StubOllama, db: Path) -> AsyncIterator[Foreman]:
    settings = {
        "max_body_bytes": LIMIT,
        "max_queued": 2,
        "allowed_hosts": "box.example",
        "allowed_origins": "https://app.example",
        "log_level": "debug",
    }
    async with serving(stub.url, db, **settings) as foreman:
        yield foreman
    assert not any(CANARY in line for line in foreman.lines)


def error(answer: Answer) -> tuple[int, str]:
    return answer.status, answer.headers["x-foreman-error"]


HOSTS = {
    **dict.fromkeys(("localhost", "LOCALHOST:80", "a.localhost", "127.0.0.1:1", "[::1]:2", "10.1.2.3"), 200),
    **dict.fromkeys(("box.example", "Box.Example.:99", "host.docker.internal", "localhost:"), 200),
    **dict.fromkeys(("evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "box.example.evil"), 403),
    **dict.fromkeys(("", "a b", "localhost:99999", "localhost:x", "[::1", "a@localhost", "localhost/x"), 400),
}


@pytest.mark.parametrize(("host", "status"), HOSTS.items())
async def test_hosts(foreman: Foreman, host: str, status: int) -> None:
    for line in ("GET /api/tags", "POST /api/chat", "GET /unknown"):
        answer = await ask(foreman.url, line, host=host)
        if status == 200:
            assert "x-foreman-error" not in answer.headers
        else:
            assert error(answer) == (status, "host_refused" if status == 403 else "bad_request")


@pytest.mark.parametrize("request_line", [b"GET /api/tags HTTP/1.1\r\n", b"GET /api/tags HTTP/1.0\r\n"])
async def test_a_missing_or_doubled_host_is_malformed(foreman: Foreman, request_line: bytes) -> None:
    for hosts in (b"", b"Host: localhost\r\nHost: evil.example\r\n", b"Host: localhost\r\nHost: localhost\r\n"):
        async with connected(foreman.url) as connection:
            await connection.send(request_line + hosts + b"\r\n")
            assert (await connection.answer()).status == 400


ORIGINS = {
    **dict.fromkeys(("http://localhost", "https://127.0.0.1:3000", "app://obsidian.md", "https://app.example"), True),
    **dict.fromkeys(
        ("http://evil.example", "null", "file://", "https://app.example.evil", "http://app.example"), False
    ),
}


@pytest.mark.parametrize(("origin", "allowed"), ORIGINS.items())
async def test_origins(foreman: Foreman, db: Path, origin: str, allowed: bool) -> None:
    before = accepted(db)
    for line in ("GET /api/tags", "POST /api/chat", "POST /api/show", "DELETE /api/delete", "GET /unknown"):
        answer = await ask(foreman.url, line, f"Origin: {origin}", body=b"" if line.startswith("GET") else b"{}")
        if allowed:
            assert answer.headers["access-control-allow-origin"] == origin
            assert answer.headers["vary"] == "Origin"
            assert "X-Foreman-Job" in answer.headers["access-control-expose-headers"]
        else:
            assert error(answer) == (403, "origin_refused")
            assert "access-control-allow-origin" not in answer.headers
    assert accepted(db) == before


async def test_a_request_from_another_site_is_refused_without_an_origin_too(foreman: Foreman) -> None:
    assert error(await ask(foreman.url, "GET /api/tags", "Sec-Fetch-Site: cross-site")) == (403, "origin_refused")
    for headers in (
        ("Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate"),
        ("Sec-Fetch-Site: same-origin",),
        ("Sec-Fetch-Site: none",),
    ):
        assert (await ask(foreman.url, "GET /", *headers)).status == 200
    answer = await ask(foreman.url, "POST /api/chat", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate")
    assert error(answer) == (403, "origin_refused")


@pytest.mark.parametrize("path", ["/api/chat", "/v1/models", "/health", "/unknown"])
async def test_preflights(stub: StubOllama, foreman: Foreman, path: str) -> None:
    before, wish = len(asked(stub)), "Access-Control-Request-Method: POST"
    answer = await ask(foreman.url, f"OPTIONS {path}", "Origin: http://localhost:3000", wish)
    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers["access-control-allow-origin"] == "http://localhost:3000"
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert "Authorization" in answer.headers["access-control-allow-headers"]
    refused = await ask(foreman.url, f"OPTIONS {path}", "Origin: http://evil.example", wish)
    assert error(refused) == (403, "origin_refused")
    assert len(asked(stub)) == before


@pytest.mark.parametrize(
    ("path", "allow"),
    [
        ("/api/chat", "POST"),
        ("/api//chat", "POST"),
        ("/v1/messages", "POST"),
        ("/api/ps", "GET"),
        ("/api/tags", "GET, HEAD"),
        ("/", "GET, HEAD"),
        ("/health", "GET, HEAD"),
    ],
)
async def test_a_wrong_method_is_told_the_right_ones(foreman: Foreman, path: str, allow: str) -> None:
    answer = await ask(foreman.url, f"PUT {path}", body=b"{}")
    assert error(answer) == (405, "method_not_allowed")
    assert answer.headers["allow"] == allow
    kind = "application/problem+json" if path == "/health" else "text/plain; charset=utf-8"
    assert answer.headers["content-type"] == kind


@pytest.mark.parametrize("path", ["/api/chat", "/v1/chat/completions", "/v1/messages"])
async def test_too_large_a_body_is_refused_before_it_is_read(foreman: Foreman, path: str) -> None:
    async with connected(foreman.url) as connection:
        await connection.request(f"POST {path}", f"Content-Length: {LIMIT + 1}")
        answer = await connection.answer()
    assert error(answer) == (413, "body_too_large")
    body = orjson.loads(answer.body)
    assert isinstance(body["error"], str if path == "/api/chat" else dict)


async def test_too_large_a_body_without_a_length_is_refused_where_it_goes_over(foreman: Foreman, db: Path) -> None:
    before = accepted(db)
    async with connected(foreman.url) as connection:
        await connection.request("POST /api/chat", "Transfer-Encoding: chunked")
        await connection.chunk(b" " * LIMIT)
        assert await connection.quiet()
        await connection.chunk(b" ")
        assert error(await connection.answer()) == (413, "body_too_large")
    assert accepted(db) == before


async def test_the_largest_body_is_taken(foreman: Foreman) -> None:
    answer = await ask(foreman.url, "POST /api/chat", body=CHAT + b" " * (LIMIT - len(CHAT)))
    assert (answer.status, answer.whole) == (200, True)


async def test_a_client_that_waits_for_leave_gets_it_or_the_error_alone(foreman: Foreman) -> None:
    async with connected(foreman.url) as connection:
        await connection.request("POST /api/chat", "Expect: 100-continue", f"Content-Length: {len(CHAT)}")
        assert (await connection.head()).status == 100
        await connection.send(CHAT)
        assert (await connection.answer()).whole
    refusals = [
        ("POST /api/chat", "Content-Length: 100001", 413),
        ("POST /api//chat", "Content-Length: 100001", 413),
        ("POST /api/chat", "Origin: http://evil.example", 403),
    ]
    for line, header, status in refusals:
        async with connected(foreman.url) as connection:
            await connection.request(line, "Expect: 100-continue", header)
            answer = await connection.answer()
            assert (answer.status, answer.headers["connection"]) == (status, "close")


async def test_a_full_queue_says_when_to_come_back(stub: StubOllama, foreman: Foreman) -> None:
    stub.script("llama3", Script(hold=0))
    tasks = []
    for count in range(3):
        tasks.append(asyncio.create_task(ask(foreman.url, "POST /api/chat", body=CHAT)))
        if count == 0:
            await stub.ledger.held()
        else:
            await foreman.healthy(lambda report, wanted=count: report["queue"]["depth"] == wanted)  # type: ignore[misc]
    for path in ("/api/chat", "/v1/chat/completions"):
        answer = await ask(foreman.url, f"POST {path}", body=CHAT)
        assert error(answer) == (503, "queue_full")
        assert 0 < int(answer.headers["retry-after"]) <= 60
        assert "x-foreman-job" not in answer.headers
    stub.script("llama3", None)
    stub.release("llama3")
    assert all(answer.whole for answer in await asyncio.gather(*tasks))


async def test_http_1_0_gets_an_answer_that_ends_with_the_connection(foreman: Foreman) -> None:
    async with connected(foreman.url) as connection:
        head = f"POST /api/chat HTTP/1.0\r\nHost: localhost\r\nContent-Length: {len(CHAT)}\r\n\r\n"
        await connection.send(head.encode() + CHAT)
        answer = await connection.answer()
    assert "transfer-encoding" not in answer.headers
    assert orjson.loads(answer.body.splitlines()[-1])["done"] is True


async def test_pipelined_requests_are_answered_in_order(foreman: Foreman) -> None:
    lines = ["POST /api/chat", "GET /api/version", "POST /api/generate", "GET /health"]
    async with connected(foreman.url) as connection:
        for line in lines:
            await connection.request(line, body=CHAT if line.startswith("POST") else b"")
        answers = [await connection.answer() for _ in lines]
    assert [answer.status for answer in answers] == [200] * 4
    assert orjson.loads(answers[0].body.splitlines()[-1])["message"]["content"] == ""
    assert b"version" in answers[1].body
    assert orjson.loads(answers[2].body)["done_reason"] == "load"
    assert orjson.loads(answers[3].body)["status"] == "ok"


LONG = "x" * 30_000
MALFORMED = {
    "two framings": b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    "two lengths": b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "no length": b"Content-Length: x\r\n\r\nabc",
    "unknown coding alone": b"Transfer-Encoding: gzip\r\n\r\n" + CANARY.encode(),
    "no chunk": b"Transfer-Encoding: chunked\r\n\r\n" + CANARY.encode() + b"\r\n\r\n",
    "a space before the colon": b"Content-Length : 3\r\n\r\nabc",
    "a bare line": CANARY.encode() + b"\r\n\r\n",
    "endless header": b"Authorization: Bearer " + CANARY.encode() + b"x" * 70_000 + b"\r\n\r\n",
}


@pytest.mark.parametrize("rest", MALFORMED.values(), ids=MALFORMED.keys())
async def test_what_is_not_http_is_refused_and_not_quoted_in_the_log(
    stub: StubOllama, foreman: Foreman, rest: bytes
) -> None:
    before = len(asked(stub))
    for path in (b"/api/chat", b"/api/show"):
        async with connected(foreman.url) as connection:
            await connection.send(b"POST " + path + b" HTTP/1.1\r\nHost: localhost\r\n" + rest)
            assert (await connection.answer()).status == 400
            await connection.closed()
    assert len(asked(stub)) == before


@pytest.mark.parametrize("path", ["/api/chat", "/api/show"])
async def test_a_transfer_coding_that_cannot_be_looked_into_is_refused(foreman: Foreman, path: str) -> None:
    async with connected(foreman.url) as connection:
        await connection.request(f"POST {path}", "Transfer-Encoding: gzip, chunked")
        await connection.chunk(CHAT)
        assert error(await connection.answer()) == (415, "body_encoded")


@pytest.mark.parametrize("line", ["CONNECT localhost:80", "OPTIONS *", "GET http://localhost"])
async def test_targets_that_are_no_path_reach_nobody(stub: StubOllama, foreman: Foreman, line: str) -> None:
    before = len(asked(stub))
    assert (await ask(foreman.url, line)).status == 404
    assert len(asked(stub)) == before


async def test_trace_shows_nothing_of_the_client(foreman: Foreman) -> None:
    answer = await ask(foreman.url, "TRACE /", f"Cookie: {CANARY}")
    assert answer.status == 405
    assert CANARY.encode() not in answer.body


async def test_long_headers_of_others_are_no_hindrance(foreman: Foreman) -> None:
    answer = await ask(foreman.url, f"GET /api/tags?x={LONG}", f"Cookie: {LONG}", f"Authorization: Bearer {LONG}")
    assert answer.status == 200


async def test_prompts_keys_and_answers_are_in_no_log(stub: StubOllama, foreman: Foreman) -> None:
    """Sent on every kind of way here; looked for when foreman has ended."""
    body = orjson.dumps({"model": "llama3", "prompt": CANARY, "messages": [{"role": "user", "content": CANARY}]})
    stub.script("llama3", [Script(), Script(status=400, error=CANARY), Script(error=CANARY, error_after=2)])
    for _ in range(3):
        await ask(foreman.url, "POST /api/chat", f"Authorization: Bearer {CANARY}", body=body)
    stub.script("llama3", None)
    for path in ("/api/show", "/v1/embeddings", "/api/unknown", "/api/blobs/x", f"/api/unknown?key={CANARY}"):
        await ask(foreman.url, f"POST {path}", f"X-Api-Key: {CANARY}", body=body)
    await ask(foreman.url, "POST /api/chat", body=body[:-1])
    await ask(foreman.url, "POST /api/chat", "Content-Encoding: zstd", body=body)
    await ask(foreman.url, "POST /api/chat", f"Origin: http://{CANARY}", body=body)
    await foreman.event("job_finished", count=3)
