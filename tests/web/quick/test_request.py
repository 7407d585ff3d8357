"""What is read as an ordinary request, and that nobody could read it as another."""

import asyncio
from collections.abc import Callable, Iterator
from functools import reduce

import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpRequestParser, HttpVersion11, RawRequestMessage
from aiohttp.streams import StreamReader
from hypothesis import given, settings
from hypothesis import strategies as st

from foreman.web.quick.request import BODY_BYTES, FIELDS, HEAD_BYTES, JOB_PATHS, QuickRequest, Reading, read
from foreman.web.server import HEADER_BYTES

CHAT = b'{"model":"llama3"}'
TAGS = b"GET /api/tags HTTP/1.1\r\nHost: x\r\n\r\n"


def posted(*fields: str, line: str = "POST /api/chat HTTP/1.1", host: str | None = "x", body: bytes = CHAT) -> bytes:
    """A request with these fields before its length."""
    lines = [line, *([] if host is None else [f"Host: {host}"]), *fields]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode("latin-1") + body


def bare(*lines: str, body: bytes = b"") -> bytes:
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


PYTHON = (
    "Accept: application/json",
    "Accept-Encoding: gzip, deflate",
    "Connection: keep-alive",
    "User-Agent: ollama/1",
)
OPENAI = ("Authorization: Bearer k", "X-Stainless-Retry-Count: 0", "User-Agent: OpenAI/2", "Content-Type: text/json")
ORDINARY = {
    "python": posted(*PYTHON),
    "openai": posted(*OPENAI, line="POST /v1/chat/completions HTTP/1.1"),
    "small names": posted("content-type: application/json", host=None, body=b"{}").replace(
        b"HTTP/1.1", b"HTTP/1.1\r\nhost: x"
    ),
    "no space": posted("Accept:*/*", "X-Empty:"),
    "spaces around": posted("Accept:  \t */* \t"),
    "not ascii": posted("User-Agent: caf\xc3\xa9 \xff"),
    "no body": posted(body=b""),
    "zeros": bare("POST /api/chat HTTP/1.1", "Host: x", "Content-Length: 00002", body=b"{}"),
    "largest body": posted(body=b"x" * BODY_BYTES),
    "body like a request": posted(body=TAGS + b"\0\n"),
    "prefer": posted("Prefer: respond-async, wait=3", "Idempotency-Key: a"),
    "many fields": posted(*(f"X-{number}: {number}" for number in range(FIELDS - 2))),
    "tags": TAGS,
    "models": bare("GET /v1/models HTTP/1.1", "Host: localhost:11435", "Accept: */*"),
    **{path: posted(line=f"POST {path} HTTP/1.1") for path in sorted(JOB_PATHS)},
}

UNUSUAL = {
    "HTTP/1.0": posted(line="POST /api/chat HTTP/1.0"),
    "HTTP/1.0 kept": posted("Connection: keep-alive", line="POST /api/chat HTTP/1.0"),
    "HTTP/1.2": posted(line="POST /api/chat HTTP/1.2"),
    "HTTP/2": posted(line="POST /api/chat HTTP/2.0"),
    "HTTP/0.9": bare("GET /api/tags "),
    "no version": bare("GET /api/tags ", "Host: x"),
    "other protocol": posted(line="POST /api/chat RTSP/1.1"),
    "connection close": posted("Connection: close"),
    "connection close among others": posted("Connection: keep-alive, CLOSE"),
    "connection close without a body": posted("Connection: close", body=b""),
    "connection close of a GET": bare("GET /api/tags HTTP/1.1", "Host: x", "Connection: close"),
    "close for a proxy": posted("Proxy-Connection: close"),
    "a field for this hop": posted("Connection: keep-alive, x-a", "X-A: 1"),
    "chunked": bare("POST /api/chat HTTP/1.1", "Host: x", "Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
    "chunked and a length": posted("Transfer-Encoding: chunked"),
    "identity": posted("Transfer-Encoding: identity"),
    "encoded": posted("Content-Encoding: gzip"),
    "expect": posted("Expect: 100-continue"),
    "upgrade": posted("Upgrade: h2c", "Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAMAAABkAAQAAP__"),
    "websocket": bare("GET /api/tags HTTP/1.1", "Host: x", "Upgrade: websocket", "Connection: Upgrade"),
    "old websocket": posted("Sec-WebSocket-Key1: a"),
    "origin": posted("Origin: http://localhost"),
    "another site": posted("Sec-Fetch-Site: cross-site"),
    "range": posted("Range: bytes=0-"),
    "two hosts": posted("Host: y"),
    "two hosts alike": posted("host: x"),
    "no host": posted(host=None),
    "a field twice": posted("X-A: 1", "x-a: 1"),
    "two lengths": posted("Content-Length: 18"),
    "two other lengths": posted("Content-Length: 3"),
    "a list of lengths": bare("POST /api/chat HTTP/1.1", "Host: x", "Content-Length: 18, 18", body=CHAT),
    "no length": bare("POST /api/chat HTTP/1.1", "Host: x"),
    "empty length": bare("POST /api/chat HTTP/1.1", "Host: x", "Content-Length:"),
    **{
        f"length {length}": bare("POST /api/chat HTTP/1.1", "Host: x", f"Content-Length: {length}", body=CHAT)
        for length in ("+18", "-18", "0x12", "1_8", "18.0", "1 8", "\xb2", "99999", "0000018", "18446744073709551634")
    },
    "body too long": bare("POST /api/chat HTTP/1.1", "Host: x", f"Content-Length: {BODY_BYTES + 1}"),
    "GET with a body": bare("GET /api/tags HTTP/1.1", "Host: x", "Content-Length: 2", body=b"{}"),
    "GET with a length": bare("GET /api/tags HTTP/1.1", "Host: x", "Content-Length: 0"),
    "lone line feeds": posted().replace(b"\r\n", b"\n"),
    "one lone line feed": posted("Accept: */*").replace(b"*/*\r\n", b"*/*\n"),
    "line feed at the end": posted().replace(b"\r\n\r\n", b"\r\n\n"),
    "a lone carriage return": posted("X-A: 1\rX-B: 2"),
    "folded": posted("X-A: 1", " 2"),
    "folded by a tab": posted("X-A: 1", "\t2"),
    "NUL": posted("X-A: 1\0"),
    "NUL in a name": posted("X\0A: 1"),
    "DEL": posted("X-A: \x7f"),
    "no colon": posted("X-A"),
    "space before the colon": posted("X-A : 1"),
    "space before the length": posted().replace(b"Length:", b"Length :"),
    "no name": posted(": 1"),
    "odd name": posted("X(A): 1"),
    "name beyond ascii": posted("X-\xe9: 1"),
    "space before the first field": posted().replace(b"\r\nHost", b"\r\n Host"),
    "absolute form": posted(line="POST http://x/api/chat HTTP/1.1"),
    "query": posted(line="POST /api/chat?a=b HTTP/1.1"),
    "fragment": posted(line="POST /api/chat#a HTTP/1.1"),
    "escaped slash": posted(line="POST /api%2Fchat HTTP/1.1"),
    "escaped slash at its end": posted(line="POST /api/%63hat HTTP/1.1"),
    "double slash": posted(line="POST /api//chat HTTP/1.1"),
    "slash at the end": posted(line="POST /api/chat/ HTTP/1.1"),
    "dots": posted(line="POST /api/../api/chat HTTP/1.1"),
    "two spaces": posted(line="POST /api/chat  HTTP/1.1"),
    "a tab for a space": posted(line="POST\t/api/chat HTTP/1.1"),
    "line break first": b"\r\n" + posted(),
    "space first": b" " + posted(),
    "small method": posted(line="post /api/chat HTTP/1.1"),
    "method unknown": posted(line="BREW /api/chat HTTP/1.1"),
    "PUT": posted(line="PUT /api/chat HTTP/1.1"),
    "HEAD": bare("HEAD /api/tags HTTP/1.1", "Host: x"),
    "GET of a job path": bare("GET /api/chat HTTP/1.1", "Host: x"),
    "POST of a list": posted(line="POST /api/tags HTTP/1.1"),
    "transcription": posted(line="POST /v1/audio/transcriptions HTTP/1.1"),
    "another path": posted(line="POST /api/embed HTTP/1.1"),
    "own path": posted(line="POST /jobs HTTP/1.1"),
    "one model": bare("GET /v1/models/llama3 HTTP/1.1", "Host: x"),
    "head too long": posted("X-A: " + "a" * HEAD_BYTES),
    "head without an end": b"POST /api/chat HTTP/1.1\r\nX-A: " + b"a" * HEAD_BYTES,
    "too many fields": posted(*(f"X-{number}: {number}" for number in range(FIELDS - 1))),
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}


@pytest.mark.parametrize("name", ORDINARY)
def test_an_ordinary_request_is_read_whole_and_no_further(name: str) -> None:
    data = ORDINARY[name]
    asked = read(data)
    assert isinstance(asked, QuickRequest)
    assert asked.size == len(data)
    assert data.endswith(asked.body)
    assert data.startswith(f"{asked.method} {asked.path} HTTP/1.1\r\n".encode())
    assert read(data + TAGS) == asked
    assert read(data + b"\r\n\0 junk") == asked


@pytest.mark.parametrize("name", [name for name in ORDINARY if name != "largest body"])
def test_until_the_last_byte_more_are_needed(name: str) -> None:
    data = ORDINARY[name]
    assert {read(data[:size]) for size in range(len(data))} == {Reading.MORE}


def test_a_large_body_is_waited_for_too() -> None:
    data = ORDINARY["largest body"]
    assert {read(data[:-size]) for size in (1, 2, BODY_BYTES)} == {Reading.MORE}


@pytest.mark.parametrize("name", UNUSUAL)
def test_what_is_unusual_is_somebody_elses(name: str) -> None:
    assert read(UNUSUAL[name]) is Reading.UNUSUAL


def test_the_fields_are_what_the_client_wrote() -> None:
    asked = read(posted("X-One:  a b \t", "x-two:", "X-Caf: \xc3\xa9\xff"))
    assert isinstance(asked, QuickRequest)
    pairs = (("Host", "x"), ("X-One", "a b"), ("x-two", ""), ("X-Caf", "é\udcff"), ("Content-Length", "18"))
    assert tuple(asked.headers.items()) == pairs
    assert (asked.method, asked.path, asked.body) == ("POST", "/api/chat", CHAT)


# -- whatever arrives

SNIPPETS = [
    *(
        b"\r\n",
        b"\n",
        b"\r",
        b" ",
        b"\t",
        b":",
        b",",
        b"\0",
        b"\x7f",
        b"\xc3\xa9",
        b"\xff",
        b"0",
        b"1",
        b"+",
        b"-",
        b";",
    ),
    *(b"\r\n\r\n", b"%2F", b"?a=b", b"#", b"//", b"..", b"HTTP/1.1", b"GET ", b"POST ", b"/api/chat", b"/v1/models"),
    *(b"close", b"chunked", b"keep-alive", b"upgrade", b"Host: y", b"Content-Length: 2", b"Content-Length: 0"),
]
LINES = [
    *(
        b"Accept: */*",
        b"X-A: 1",
        b"X-A:",
        b"X-A:\t 1 ",
        b"X-A : 1",
        b" folded",
        b"\tfolded",
        b"X-\xff: 1",
        b"X-A: \xff",
    ),
    *(b"Host: y", b"Host:", b"host: x", b"Content-Length: 2", b"content-length: 18", b"Content-Length: 018"),
    *(b"Content-Length: 18 ", b"Content-Length:", b"Content-Type: a", b"Content-Type: b", b"User-Agent: a", b"ETag: a"),
    *(b"Server: a", b"Max-Forwards: 1", b"Content-Range: a", b"Content-Location: a", b"Sec-WebSocket-Key1: a"),
    *(b"Connection: close", b"Connection: keep-alive", b"Connection: upgrade", b"Proxy-Connection: close"),
    *(b"Connection: a, b", b"Keep-Alive: 1", b"Upgrade: tcp", b"Transfer-Encoding: chunked", b"TE: trailers"),
    *(b"Transfer-Encoding: identity", b"Expect: 100-continue", b"Cookie: a=b", b"Trailer: a", b"X: " + b"a" * 9000),
]


def replaced(at: int, what: bytes, data: bytes) -> bytes:
    return data[: (at := at % len(data))] + what + data[at + len(what) :]


def inserted(at: int, what: bytes, data: bytes) -> bytes:
    return data[: (at := at % len(data))] + what + data[at:]


def deleted(at: int, size: int, data: bytes) -> bytes:
    return data[: (at := at % len(data))] + data[at + size :]


def lined(at: int, what: bytes, data: bytes) -> bytes:
    """With another field among those that are there."""
    lines = data.split(b"\r\n")
    lines.insert(1 + at % len(lines), what)
    return b"\r\n".join(lines)


def doubled(at: int, data: bytes) -> bytes:
    """With one of its lines twice."""
    lines = data.split(b"\r\n")
    return lined(at, lines[at % len(lines)], data)


PLACES = st.integers(0, 1 << 10)
PARTS = st.sampled_from(SNIPPETS) | st.binary(min_size=1, max_size=2)
CHANGES = st.one_of(
    st.tuples(st.just(lined), PLACES, st.sampled_from(LINES)),
    st.tuples(st.just(doubled), PLACES),
    st.tuples(st.just(inserted), PLACES, PARTS),
    st.tuples(st.just(replaced), PLACES, PARTS),
    st.tuples(st.just(deleted), PLACES, st.integers(1, 12)),
)
BASES = [posted(*PYTHON), posted(*OPENAI), posted(body=b"{}"), posted(body=b""), TAGS, posted(body=TAGS)]


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def by_aiohttp(data: bytes, loop: asyncio.AbstractEventLoop) -> list[tuple[RawRequestMessage, StreamReader]]:
    """The requests in `data` as the other way reads them. Raises where it refuses one."""
    parser = HttpRequestParser(
        BaseProtocol(loop), loop, 1 << 20, max_line_size=HEADER_BYTES, max_field_size=HEADER_BYTES
    )
    messages, upgraded, tail = parser.feed_data(data)
    assert not upgraded
    assert not tail
    return list(messages)


def assert_read_alike(data: bytes, loop: asyncio.AbstractEventLoop) -> bool:
    """Whether it is ordinary; then it is the same request for both, and ends at the same byte."""
    asked = read(data)
    if isinstance(asked, Reading):
        return False
    first, second = by_aiohttp(data[: asked.size] + TAGS, loop)
    message, content = first
    fields = [(name.lower(), value) for name, value in message.headers.items()]
    assert fields == [(name.lower(), value) for name, value in asked.headers.items()]
    assert (message.method, message.path, message.version) == (asked.method, asked.path, HttpVersion11)
    assert (message.should_close, message.upgrade, message.chunked, message.compression) == (False, False, False, None)
    assert content.is_eof()
    assert content.read_nowait() == asked.body
    assert second[0].path == "/api/tags"
    return True


@pytest.mark.parametrize("name", ORDINARY)
def test_an_ordinary_request_is_the_same_on_the_other_way(name: str, loop: asyncio.AbstractEventLoop) -> None:
    assert assert_read_alike(ORDINARY[name], loop)


@settings(derandomize=True, max_examples=500, deadline=None, database=None)
@given(st.lists(CHANGES, min_size=1, max_size=4))
def test_whatever_is_ordinary_is_the_same_on_the_other_way(
    loop: asyncio.AbstractEventLoop, changes: list[tuple[Callable[..., bytes], *tuple[object, ...]]]
) -> None:
    for base in BASES:
        assert_read_alike(reduce(lambda data, change: change[0](*change[1:], data or b"x"), changes, base), loop)
