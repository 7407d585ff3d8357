"""What is sent to the target and what comes back of it, byte for byte."""

import asyncio
import hashlib
import json
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreman.core.errors import TargetCut, TargetGarbled, TargetSilent, TargetStatus
from foreman.engine.exchange import Exchange
from foreman.engine.kept import KeptExchange
from foreman.engine.plain import KEEPALIVE_IDLE_OPTION, PlainExchange
from foreman.engine.target import Target
from foreman.testing import Script, StubOllama
from tests.engine.serving import (
    CHAT,
    CHUNKED,
    OK,
    PATIENCE,
    SHORT,
    Slow,
    heard,
    payload,
    rest,
    saying,
    serving,
    talking_to,
    target_at,
)

pytestmark = pytest.mark.usefixtures("carried")


async def test_a_job_is_sent_as_it_is(carried: bool) -> None:
    requests: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append(await heard(reader))
        writer.write(SHORT)

    headers = (("content-type", "application/json"), ("x-a", "1"), ("x-a", "2"), ("accept-encoding", "gzip"))
    async with serving(answer) as url, target_at(url) as target:
        exchange = target.exchange(payload(b'{"model":"\xff"}', "/api/chat?x=%2F%20&y=", headers))
        await exchange.head()
        assert await rest(exchange) == b"ok"
        exchange.close()
    head, _, body = requests[0].partition(b"\r\n\r\n")
    line, *fields = head.decode().lower().split("\r\n")
    assert line == "post /api/chat?x=%2f%20&y= http/1.1"
    assert sorted(fields) == [
        "accept-encoding: identity",
        *([] if carried else ["connection: close"]),
        "content-length: 13",
        "content-type: application/json",
        f"host: {url.removeprefix('http://')}",
        "x-a: 1",
        "x-a: 2",
    ]
    assert body == b'{"model":"\xff"}'


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, 5 << 20])
async def test_a_body_of_any_size_arrives_whole_and_measured(stub: StubOllama, target: Target, size: int) -> None:
    stub.script("/nowhere", Script(status=200))
    body = bytes(range(251)) * (size // 251 + 1)
    exchange = target.exchange(payload(body[:size], "/nowhere"))
    head = await exchange.head()
    assert head is not None
    await rest(exchange)
    exchange.close()
    entry = stub.ledger.entries[0]
    assert entry.body_sha256 == hashlib.sha256(body[:size]).hexdigest()
    assert dict(entry.headers)["Content-Length"] == str(size)


PATHS = ["/api/chat", "/v1//x/", "/a%2Fb?c=%20+d&e", "/?q=http://other/", "/@other:80/", "/../x", "/%ff", "/api/é"]


@pytest.mark.parametrize("prefix", ["", "/ollama", "/ollama/"])
@pytest.mark.parametrize("path", PATHS)
async def test_a_path_arrives_as_the_client_wrote_it(prefix: str, path: str) -> None:
    lines: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines.append(await reader.readline())
        writer.write(SHORT)

    async with serving(answer) as url, target_at(url + prefix) as target:
        assert await target.get(path) == b"ok"
    assert lines == [b"GET " + prefix.rstrip("/").encode() + path.encode() + b" HTTP/1.1\r\n"]


@given(
    st.text()
    | st.lists(st.sampled_from(["/", "\\", "@", ":", "//", "http:", "other", "?", "#", "[", "%"])).map("".join)
)
def test_no_path_leads_elsewhere(path: str) -> None:
    target = target_at("http://127.0.0.1:11434/ollama")
    url = target.url(path)
    assert (url.scheme, url.host, url.port) == ("http", "127.0.0.1", 11434)
    assert url.user is None
    assert url.raw_path.startswith("/ollama/")
    assert target.origin == "http://127.0.0.1:11434"


async def test_jobs_and_questions_never_share_a_connection(carried: bool) -> None:
    ports: list[int] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await heard(reader)
            ports.append(writer.get_extra_info("peername")[1])
            writer.write(SHORT)

    async with talking_to(answer) as target:
        for _ in range(3):
            exchange = target.exchange(payload())
            await exchange.head()
            await rest(exchange)
            exchange.close()
        assert len(set(ports)) == (1 if carried else 3)
        for _ in range(3):
            await target.get("/api/ps")
        assert len(set(ports)) == (2 if carried else 4)


async def test_no_cookie_is_kept() -> None:
    requests: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append(await heard(reader))
        writer.write(OK + b"Set-Cookie: a=b; Path=/\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")

    # By name: of an address aiohttp takes no cookie anyway.
    async with serving(answer) as url, target_at(url.replace("127.0.0.1", "localhost")) as target:
        for _ in range(2):
            exchange = target.exchange(payload())
            head = await exchange.head()
            assert head is not None
            assert head.headers == (("content-length", "2"),)
            await rest(exchange)
            exchange.close()
            await target.get("/api/ps")
            async with target.forward("GET", "/", (), None) as response:
                await response.read()
    assert len(requests) == 6
    assert not [request for request in requests if b"cookie" in request.lower()]


async def test_nobody_is_asked_for_what_cannot_be_read() -> None:
    """Nothing here decompresses, so nothing may ask for compression either."""
    requests: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            requests.append((await heard(reader)).lower())
            writer.write(SHORT)

    async with talking_to(answer) as target:
        await target.get("/api/ps")
        await target.unload("m", PATIENCE)
        async with target.forward("GET", "/", (("accept-encoding", "br"),), None) as response:
            await response.read()
    assert [request.count(b"accept-encoding: identity\r\n") for request in requests] == [1, 1, 1]
    assert not [request for request in requests if b"gzip" in request or b"br\r\n" in request]


async def test_no_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with talking_to(saying(SHORT)) as target:
        assert await target.get("/api/ps") == b"ok"


def socket_of(exchange: Exchange) -> socket.socket:
    if isinstance(exchange, PlainExchange):
        return exchange._sockets[-1]
    assert isinstance(exchange, KeptExchange)
    assert exchange._wire is not None
    assert exchange._wire._transport is not None
    found: socket.socket = exchange._wire._transport.get_extra_info("socket")
    return found


def option(sock: socket.socket, level: int, name: int) -> int:
    return sock.getsockopt(level, name)


async def test_a_sleeping_target_is_noticed_by_the_kernel() -> None:
    async with talking_to(Slow(CHUNKED)) as target:
        exchange = target.exchange(payload())
        await exchange.head()
        async with target.forward("GET", "/", (), None) as response:
            assert response.connection is not None
            assert response.connection.transport is not None
            for sock in (socket_of(exchange), response.connection.transport.get_extra_info("socket")):
                assert option(sock, socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
                assert option(sock, socket.IPPROTO_TCP, getattr(socket, KEEPALIVE_IDLE_OPTION)) == 15
                assert option(sock, socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 5
                assert option(sock, socket.IPPROTO_TCP, socket.TCP_KEEPCNT) == 3
        exchange.close()


async def test_chunks_come_as_the_target_lets_them_go(stub: StubOllama, target: Target) -> None:
    stub.script("llama3", Script(hold=0))
    exchange = target.exchange(payload(json.dumps(CHAT).encode()))
    entry = await stub.ledger.held()
    body = b""
    for number in range(1, 4):
        stub.release("llama3", 1)
        if number == 1:
            head = await exchange.head()
            assert head is not None
            assert (head.status, dict(head.headers)["content-type"]) == (200, "application/x-ndjson")
        chunk = await exchange.read(PATIENCE)
        assert chunk.endswith(b"\n")
        assert chunk.count(b"\n") == 1
        body += chunk
    stub.release("llama3")
    body += await rest(exchange)
    assert hashlib.sha256(body).hexdigest() == entry.sha256
    assert exchange.ended
    exchange.close()


async def test_a_head_that_does_not_come_can_be_asked_for_again(stub: StubOllama, target: Target) -> None:
    stub.script("llama3", Script(hold=0))
    exchange = target.exchange(payload(json.dumps(CHAT).encode()))
    await stub.ledger.held()
    assert (await exchange.head(0.0)) is None
    impatient = asyncio.create_task(exchange.head())
    await asyncio.sleep(0)
    impatient.cancel()
    with pytest.raises(asyncio.CancelledError):
        await impatient
    with pytest.raises(TargetCut):
        await exchange.read()
    stub.release("llama3")
    assert await exchange.head() is not None
    assert await rest(exchange)
    exchange.close()


async def test_silence_in_the_middle_is_told_and_loses_nothing(stub: StubOllama, target: Target) -> None:
    stub.script("llama3", Script(hold=1))
    exchange = target.exchange(payload(json.dumps(CHAT).encode()))
    entry = await stub.ledger.held()
    await exchange.head()
    body = await exchange.read(PATIENCE)
    with pytest.raises(TargetSilent):
        await exchange.read(0.01)
    assert not exchange.ended
    stub.release("llama3")
    body += await rest(exchange)
    assert hashlib.sha256(body).hexdigest() == entry.sha256
    exchange.close()


async def test_a_head_that_comes_byte_by_byte_comes() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for byte in SHORT:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0)

    async with talking_to(answer) as target:
        exchange = target.exchange(payload())
        while (head := await exchange.head(0.001)) is None:
            pass
        assert head.status == 200
        assert await rest(exchange) == b"ok"
        exchange.close()


async def test_a_line_of_ten_megabytes_passes(stub: StubOllama, target: Target) -> None:
    stub.script("llama3", Script(line_bytes=10_000_000))
    exchange = target.exchange(payload(json.dumps(CHAT).encode()))
    await exchange.head()
    body = await rest(exchange)
    exchange.close()
    assert body.index(b"\n") >= 9_999_999
    assert hashlib.sha256(body).hexdigest() == stub.ledger.entries[0].sha256


WHOLE = {
    "measured": (SHORT, b"ok"),
    "chunked": (CHUNKED + b"1\r\no\r\n1\r\nk\r\n0\r\n\r\n", b"ok"),
    "until close": (OK + b"\r\nok", b"ok"),
    "HTTP/1.0": (b"HTTP/1.0 200 OK\r\n\r\nok", b"ok"),
    "empty": (OK + b"Content-Length: 0\r\n\r\n", b""),
    "after 100": (b"HTTP/1.1 100 Continue\r\n\r\n" + SHORT, b"ok"),
    "compressed": (OK + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n\x1f\x8b", b"\x1f\x8b"),
}


@pytest.mark.parametrize("case", WHOLE)
async def test_a_whole_answer_has_an_end(case: str) -> None:
    sent, body = WHOLE[case]
    async with talking_to(saying(sent)) as target:
        exchange = target.exchange(payload())
        head = await exchange.head()
        assert head is not None
        assert head.status == 200
        assert await rest(exchange) == body
        assert exchange.ended
        assert await exchange.read() == b""
        exchange.close()


@pytest.mark.parametrize("status", [201, 400, 404, 429, 499, 500, 503])
async def test_any_other_status_is_an_answer_too(stub: StubOllama, target: Target, status: int) -> None:
    stub.script("llama3", Script(status=status, error="so", headers={"Retry-After": "7"}))
    exchange = target.exchange(payload(json.dumps(CHAT).encode()))
    head = await exchange.head()
    assert head is not None
    assert head.status == status
    assert ("retry-after", "7") in head.headers
    assert json.loads(await rest(exchange)) == {"error": "so"}
    exchange.close()


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
async def test_no_redirect_is_followed(status: int) -> None:
    visitors: list[None] = []

    async def elsewhere(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visitors.append(None)
        writer.write(SHORT)

    async with serving(elsewhere) as other:
        redirect = b"HTTP/1.1 %d Go\r\nLocation: %b/\r\nContent-Length: 0\r\n\r\n" % (status, other.encode())
        async with talking_to(saying(redirect)) as target:
            exchange = target.exchange(payload())
            with pytest.raises(TargetGarbled):
                await exchange.head()
            assert await exchange.abort(PATIENCE)
            with pytest.raises(TargetStatus):
                await target.get("/api/ps")
            async with target.forward("GET", "/", (), None) as response:
                assert (response.status, response.headers["Location"]) == (status, f"{other}/")
    assert visitors == []
