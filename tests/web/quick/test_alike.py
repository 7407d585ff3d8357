"""Whoever answers, the short way or aiohttp alone, says the same; only ids and dates may differ."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from foreman.testing import Die, Script
from tests.e2e.raw import connected
from tests.web.quick.serving import CHAT, TAGS, Got, Quick, Twins, bare, got, posted, state, twins, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

LIMIT = 20_000
CHATS = "POST /v1/chat/completions HTTP/1.1"
MESSAGES = "POST /v1/messages HTTP/1.1"
STREAMED = b'{"model":"llama3","messages":[{"role":"user","content":"hi"}],"stream":true,"max_tokens":9}'
PLAIN = b'{"model":"llama3","messages":[{"role":"user","content":"hi"}],"stream":false,"max_tokens":9}'


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def pair(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Twins]:
    async with twins(tmp_path_factory.mktemp("twins"), max_body_bytes=LIMIT, max_attempts=1) as pair:
        yield pair


async def answers(served: Quick, raw: bytes, *, script: Script | None = None, probe: bool = True) -> list[Got | str]:
    """All answers to one request, and what became of the connection."""
    set_script(served, script)
    async with connected(served.url) as connection:
        await connection.send(raw)
        said: list[Got | str] = [await got(connection, bodiless=raw.startswith(b"HEAD "))]
        while isinstance(said[-1], Got) and said[-1].status == 100:
            said.append(await got(connection))
        if probe:
            said.append(await state(connection))
    set_script(served, None)
    return said


def set_script(served: Quick, script: Script | None) -> None:
    """By path, or the load before a job would take it."""
    for path in ("/api/chat", "/v1/chat/completions", "/v1/messages"):
        served.stub.script(path, script)


async def alike(pair: Twins, raw: bytes, *, script: Script | None = None, probe: bool = True) -> list[Got | str]:
    one = await answers(pair.quick, raw, script=script, probe=probe)
    assert one == await answers(pair.aiohttp, raw, script=script, probe=probe)
    return one


ORDINARY = {
    "tags": TAGS,
    "models": bare("GET /v1/models HTTP/1.1", "Host: localhost"),
    "chat": posted(),
    "chat whole": posted(body=PLAIN),
    "chat streamed": posted(line=CHATS, body=STREAMED),
    "chat completion": posted(line=CHATS, body=PLAIN),
    "messages streamed": posted(line=MESSAGES, body=STREAMED),
    "messages": posted(line=MESSAGES, body=PLAIN),
    "load": posted(line="POST /api/generate HTTP/1.1", body=b'{"model":"llama3"}'),
    "keep alive": posted("Connection: keep-alive"),
    "patient": posted("Prefer: wait=50"),
    "known again": posted("Idempotency-Key: one"),
    "retried": posted("x-stainless-retry-count: 1"),
    "largest body": posted(body=CHAT + b" " * (LIMIT - len(CHAT))),
}


@pytest.mark.parametrize("raw", ORDINARY.values(), ids=ORDINARY)
async def test_an_ordinary_request_is_answered_on_the_short_way(pair: Twins, raw: bytes) -> None:
    handed = len(pair.quick.handed)
    answer, after = await alike(pair, raw)
    assert isinstance(answer, Got)
    assert (answer.status, answer.whole, after) == (200, True, "open")
    assert len(pair.quick.handed) == handed


REFUSED = {
    "foreign host": (posted(host="evil.example"), 403),
    "foreign host, list": (TAGS.replace(b"localhost", b"evil.example"), 403),
    "no host's name": (posted(host="a b"), 400),
    "foreign origin": (posted("Origin: http://evil.example"), 403),
    "other site": (posted("Sec-Fetch-Site: cross-site"), 403),
    "bad JSON": (posted(body=CHAT[:-1]), 400),
    "bad JSON, chat": (posted(line=CHATS, body=CHAT[:-1]), 400),
    "no model": (posted(body=b"{}"), 400),
    "empty body": (posted(body=b""), 400),
    "unknown model": (posted(body=b'{"model":"unknown"}'), 404),
    "unknown model, chat": (posted(line=CHATS, body=b'{"model":"unknown"}'), 404),
    "unknown model, messages": (posted(line=MESSAGES, body=b'{"model":"unknown"}'), 404),
    "bad name": (posted(body=b'{"model":"a/b/c/d/e"}'), 400),
    "bad key of its own": (posted("Idempotency-Key: " + "x" * 300), 400),
    "one byte too much": (posted(body=CHAT + b" " * (LIMIT + 1 - len(CHAT))), 413),
    "too large": (posted(body=CHAT + b" " * 60_000), 413),
    "wrong method": (posted(line="PUT /api/chat HTTP/1.1"), 405),
    "list posted": (posted(line="POST /api/tags HTTP/1.1"), 405),
    "unknown path": (posted(line="POST /api/unknown HTTP/1.1"), 404),
    "compressed": (posted("Content-Encoding: zstd"), 415),
    "two lengths": (posted(f"Content-Length: {len(CHAT)}"), 400),
    "two hosts": (posted("Host: localhost"), 400),
    "no host": (posted().replace(b"Host: localhost\r\n", b""), 400),
    "no HTTP": (b"my prompt\r\n\r\n", 400),
    "a bare line feed": (TAGS.replace(b"\r\nHost", b"\nHost"), None),
    "folded": (posted("X-A: 1", " 2"), None),
}


@pytest.mark.parametrize(("raw", "status"), REFUSED.values(), ids=REFUSED)
async def test_a_refusal_is_worded_alike(pair: Twins, raw: bytes, status: int | None) -> None:
    answer, _ = await alike(pair, raw)
    assert isinstance(answer, Got)
    assert answer.status == status or status is None


UNUSUAL = {
    "HEAD": bare("HEAD /api/tags HTTP/1.1", "Host: localhost"),
    "OPTIONS": bare("OPTIONS /api/chat HTTP/1.1", "Host: localhost"),
    "preflight": bare(
        "OPTIONS /api/chat HTTP/1.1",
        "Host: localhost",
        "Origin: http://localhost",
        "Access-Control-Request-Method: POST",
    ),
    "origin": posted("Origin: http://localhost:3000"),
    "HTTP/1.0": posted(line="POST /api/chat HTTP/1.0"),
    "HTTP/1.0 kept": posted("Connection: keep-alive", line="POST /api/chat HTTP/1.0"),
    "close": posted("Connection: close"),
    "close, list": bare("GET /api/tags HTTP/1.1", "Host: localhost", "Connection: close"),
    "absolute": posted(line="POST http://localhost/api/chat HTTP/1.1"),
    "absolute, list": bare("GET http://localhost/api/tags HTTP/1.1", "Host: localhost"),
    "query": posted(line="POST /api/chat?a=b HTTP/1.1"),
    "two slashes": posted(line="POST /api//chat HTTP/1.1"),
    "percent": posted(line="POST /api/ch%61t HTTP/1.1"),
    "expects": posted("Expect: 100-continue"),
    "chunked": bare(
        "POST /api/chat HTTP/1.1",
        "Host: localhost",
        "Transfer-Encoding: chunked",
        body=b"%x\r\n%b\r\n0\r\n\r\n" % (len(CHAT), CHAT),
    ),
    "length of a list": bare("GET /api/tags HTTP/1.1", "Host: localhost", "Content-Length: 0"),
    "gzip": posted("Content-Encoding: gzip"),
    "long head": posted("X-Long: " + "x" * 20_000),
    "version": bare("GET /api/version HTTP/1.1", "Host: localhost"),
    "health of a path": bare("GET / HTTP/1.1", "Host: localhost"),
    "embed": posted(line="POST /api/embed HTTP/1.1", body=b'{"model":"nomic-embed-text","input":"a"}'),
    "unload": posted(line="POST /api/generate HTTP/1.1", body=b'{"model":"llama3","keep_alive":0}'),
    "small letters": posted(line="post /api/chat HTTP/1.1"),
    "empty lines before": b"\r\n\r\n" + posted(),
}


@pytest.mark.parametrize("raw", UNUSUAL.values(), ids=UNUSUAL)
async def test_an_unusual_request_goes_the_other_way(pair: Twins, raw: bytes) -> None:
    handed = len(pair.quick.handed)
    await alike(pair, raw)
    assert len(pair.quick.handed) == handed + 1


SCRIPTS = {
    "cut": Script(die=Die.FIN, die_after_chunks=2),
    "reset": Script(die=Die.RST, die_after_chunks=2),
    "ended early": Script(die=Die.CLEAN, die_after_chunks=2),
    "shorter than it said": Script(extra_length=5, die=Die.FIN, die_after_chunks=2),
    "until the end": Script(close_delimited=True),
    "refused": Script(status=400, error="no"),
    "refused without a word": Script(status=403),
    "failed within": Script(error="no memory", error_after=2),
    "nothing": Script(status=204),
    "not modified": Script(status=304),
    "created": Script(status=201, body=b"{}", headers={"Content-Type": "application/json"}),
    "of its own": Script(status=418, body=b"tea", headers={"Server": "x", "X-Own": "tea", "Vary": "a"}),
    "no type": Script(status=404, body=b"x", headers={"Content-Type": ""}),
    "moved": Script(status=307, headers={"Location": "/elsewhere"}),
    "bytes": Script(slices=(1,)),
}
BODIES = {
    "chat": posted(),
    "chat whole": posted(body=PLAIN),
    "streamed": posted(line=CHATS, body=STREAMED),
    "whole": posted(line=CHATS, body=PLAIN),
    "messages": posted(line=MESSAGES, body=STREAMED),
}


# After a target that failed foreman pauses, so these have one each.
@pytest.mark.asyncio
@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
@pytest.mark.parametrize("raw", BODIES.values(), ids=BODIES)
async def test_what_the_target_does_looks_alike(tmp_path: Path, raw: bytes, script: Script) -> None:
    async with twins(tmp_path, max_attempts=1) as pair:
        await alike(pair, raw, script=script)
        assert not pair.quick.handed


@pytest.mark.asyncio
async def test_a_stream_that_the_target_cuts_says_so_within_and_has_no_end(tmp_path: Path) -> None:
    async with twins(tmp_path, max_attempts=1) as pair:
        for raw in (posted(), posted(line=CHATS, body=STREAMED), posted(line=MESSAGES, body=STREAMED)):
            answer, after = await alike(pair, raw, script=Script(die=Die.FIN, die_after_chunks=3))
            assert isinstance(answer, Got)
            assert (answer.status, answer.whole, after) == (200, False, "closed")
            assert b'"error"' in answer.body


async def test_too_long_a_body_is_refused_before_it_is_sent(pair: Twins) -> None:
    raw = bare("POST /api/chat HTTP/1.1", "Host: localhost", f"Content-Length: {LIMIT + 1}")
    (answer,) = await alike(pair, raw, probe=False)
    assert isinstance(answer, Got)
    assert answer.status == 413


async def test_who_is_told_to_wait_no_longer_is_told_where_to_look(pair: Twins) -> None:
    for served in pair:
        answer, after = await answers(served, posted("Prefer: respond-async"))
        assert isinstance(answer, Got)
        assert (answer.status, after) == (202, "open")
        names = [line.partition(b": ")[0] for line in answer.head[1:]]
        assert names == [
            *(b"Content-Length", b"Content-Type", b"Location", b"Preference-Applied", b"Server", b"X-Foreman-Job")
        ]


async def test_what_is_known_to_be_refused_is_not_asked_again(pair: Twins) -> None:
    handed = len(pair.quick.handed)
    for body, status in ((b'{"model":"unknown"}', 404), (b'{"model":"a/b/c/d/e"}', 400)):
        answer, after = await answers(pair.quick, posted(body=body))
        assert isinstance(answer, Got)
        assert (answer.status, after) == (status, "open")
    assert len(pair.quick.handed) == handed


KEYED = {
    "none": posted(),
    "wrong": posted("Authorization: Bearer wrong"),
    "wrong, list": bare("GET /api/tags HTTP/1.1", "Host: localhost", "X-Api-Key: wrong"),
    "not ASCII": posted("X-Api-Key: caf\xc3\xa9 \xff"),
    "right": posted("Authorization: Bearer secret"),
    "right, list": bare("GET /api/tags HTTP/1.1", "Host: localhost", "X-Api-Key: secret"),
}


@pytest.mark.asyncio
async def test_a_key_is_asked_for_alike(tmp_path: Path) -> None:
    async with twins(tmp_path, key="secret") as pair:
        for name, raw in KEYED.items():
            (answer,) = await alike(pair, raw, probe=False)
            assert isinstance(answer, Got)
            assert answer.status == (200 if name.startswith("right") else 401)
        assert len(pair.quick.handed) == 4


async def refused_when_full(served: Quick) -> tuple[Got, str]:
    set_script(served, Script(hold=0))
    async with connected(served.url) as working, connected(served.url) as queued, connected(served.url) as refused:
        await working.send(posted())
        await served.stub.ledger.held()
        await queued.send(posted())
        await until(lambda: len(served.engine.jobs) == 2)
        await refused.send(posted())
        said = await got(refused), await state(refused)
        set_script(served, None)
        served.stub.release("/api/chat")
        assert [(await got(connection)).whole for connection in (working, queued)] == [True, True]
    return said


@pytest.mark.asyncio
async def test_a_full_queue_says_so_alike(tmp_path: Path) -> None:
    async with twins(tmp_path, max_queued=1) as pair:
        said = await refused_when_full(pair.quick)
        assert said == await refused_when_full(pair.aiohttp)
    assert (said[0].status, said[1]) == (503, "open")


@pytest.mark.asyncio
async def test_a_mistake_is_answered_and_logged_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fails(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("foreman.web.quick.connection.take", fails)
    monkeypatch.setattr("foreman.web.queued.take", fails)
    async with twins(tmp_path) as pair:
        answer, after = await alike(pair, posted())
    assert isinstance(answer, Got)
    assert (answer.status, after) == (500, "open")
    one, other = (record for record in caplog.records if record.exc_info)
    assert (one.message, one.event, one.fields) == (other.message, other.event, other.fields)  # type: ignore[attr-defined]
