"""Every fault a script can bring, seen on a raw socket."""

import asyncio
import json
from typing import Any, NamedTuple

import pytest

from foreman.testing import Die, Ending, Script, StubOllama, Terminal, expected_text

BODY = json.dumps({"model": "llama3", "prompt": "hello"}).encode()
TEXT = expected_text(BODY)


class Seen(NamedTuple):
    """What a raw client saw: the head, the bytes after it, and whether the connection was reset."""

    head: str
    body: bytes
    reset: bool = False


async def _connect(stub: StubOllama) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(stub.host, stub.port)


async def _ask(stub: StubOllama, body: bytes = BODY, *, path: str = "/api/generate") -> Seen:
    """Sends one request and reads until the connection ends."""
    reader, writer = await _connect(stub)
    writer.write(b"POST %b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" % path.encode())
    writer.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
    received, reset = bytearray(), False
    try:
        while piece := await reader.read(65536):
            received += piece
    except ConnectionResetError:
        reset = True
    finally:
        writer.close()
    head, _, rest = bytes(received).partition(b"\r\n\r\n")
    return Seen(head.decode("latin-1"), rest, reset)


def _chunks(body: bytes) -> tuple[list[bytes], bytes]:
    """The complete chunks, and what is left after them: empty when the body has its regular end."""
    found: list[bytes] = []
    while b"\r\n" in body:
        size, _, rest = body.partition(b"\r\n")
        length = int(size, 16)
        if len(rest) < length + 2:
            return found, body
        if length == 0:
            return found, b""
        found.append(rest[:length])
        body = rest[length + 2 :]
    return found, body or b"no end"


def _lines(chunks: list[bytes]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in b"".join(chunks).splitlines()]


async def _abandon(asking: asyncio.Task[Seen]) -> None:
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking


async def _whole(stub: StubOllama) -> bytes:
    """The undisturbed body of the same request."""
    chunks, left = _chunks((await _ask(stub)).body)
    assert left == b""
    return b"".join(chunks)


async def test_without_a_script_all_is_well(stub: StubOllama) -> None:
    seen = await _ask(stub)
    chunks, left = _chunks(seen.body)
    assert seen.head.startswith("HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n")
    assert (left, seen.reset, len(chunks)) == (b"", False, 17)
    assert "".join(line["response"] for line in _lines(chunks)) == TEXT
    assert stub.ledger.entries[0].ending is Ending.COMPLETE


@pytest.mark.parametrize("sizes", [(1,), (7, 13), (100_000,), (3, 1, 50)])
async def test_slices_change_the_chunks_and_no_byte(stub: StubOllama, sizes: tuple[int, ...]) -> None:
    whole = await _whole(stub)
    stub.script("llama3", Script(slices=sizes))
    chunks, left = _chunks((await _ask(stub)).body)
    assert left == b""
    assert b"".join(chunks) == whole
    assert [len(chunk) for chunk in chunks[:3]] == [min(len(whole), size) for size in sizes * 3][: len(chunks[:3])]


async def test_fin_between_chunks(stub: StubOllama) -> None:
    stub.script("llama3", Script(die=Die.FIN, die_after_chunks=3))
    seen = await _ask(stub)
    chunks, left = _chunks(seen.body)
    assert (len(chunks), left, seen.reset) == (3, b"no end", False)
    entry = stub.ledger.entries[0]
    assert (entry.ending, entry.chunks, entry.written) == (Ending.CUT, 3, sum(map(len, chunks)))


@pytest.mark.parametrize("limit", [0, 1, 200])
async def test_fin_inside_a_chunk(stub: StubOllama, limit: int) -> None:
    whole = await _whole(stub)
    stub.script("llama3", Script(die=Die.FIN, die_after_bytes=limit))
    seen = await _ask(stub)
    chunks, left = _chunks(seen.body)
    sent = b"".join(chunks) + left.partition(b"\r\n")[2]
    assert sent == whole[:limit]
    assert stub.ledger.entries[-1].written == limit


async def test_fin_before_the_headers(stub: StubOllama) -> None:
    stub.script("llama3", Script(die=Die.FIN))
    assert await _ask(stub) == Seen("", b"", reset=False)


@pytest.mark.parametrize("after", [None, 2])
async def test_rst(stub: StubOllama, after: int | None) -> None:
    stub.script("llama3", Script(die=Die.RST, die_after_chunks=after))
    assert (await _ask(stub)).reset
    assert stub.ledger.entries[0].ending is Ending.CUT


@pytest.mark.parametrize("after", [None, 2])
async def test_silence_keeps_the_connection_and_says_nothing(stub: StubOllama, after: int | None) -> None:
    stub.script("llama3", Script(die=Die.SILENCE, die_after_chunks=after))
    asking = asyncio.create_task(_ask(stub))
    entry = await stub.ledger.wait_for(lambda ledger: next(iter(ledger.entries), None))
    await stub.ledger.wait_for(lambda _: entry.ending is Ending.CUT)
    assert entry.chunks == (after or 0)
    assert stub.ledger.concurrent == 1
    await _abandon(asking)


async def test_a_clean_end_without_the_last_event(stub: StubOllama) -> None:
    stub.script("llama3", Script(die=Die.CLEAN, die_after_chunks=3))
    chunks, left = _chunks((await _ask(stub)).body)
    assert (len(chunks), left) == (3, b"")
    assert not any(line["done"] for line in _lines(chunks))


async def test_the_last_event_left_out_or_wrong(stub: StubOllama) -> None:
    for terminal, count, done in ((Terminal.OMIT, 16, False), (Terminal.WRONG, 17, False), (Terminal.KEEP, 17, True)):
        stub.script("llama3", Script(terminal=terminal))
        chunks, left = _chunks((await _ask(stub)).body)
        lines = _lines(chunks)
        assert (left, len(lines), lines[-1]["done"]) == (b"", count, done)


async def test_an_error_line(stub: StubOllama) -> None:
    for after in (0, 4):
        stub.script("llama3", Script(error="the runner died", error_after=after))
        seen = await _ask(stub)
        lines = _lines(_chunks(seen.body)[0])
        assert seen.head.startswith("HTTP/1.1 200 OK")
        assert (len(lines), lines[-1]) == (after + 1, {"error": "the runner died"})


async def test_an_error_of_a_whole_answer_is_a_500(stub: StubOllama) -> None:
    stub.script("llama3", Script(error="the runner died"))
    seen = await _ask(stub, b'{"model":"llama3","prompt":"hello","stream":false}')
    assert seen.head.startswith("HTTP/1.1 500 ")
    assert json.loads(seen.body) == {"error": "the runner died"}


async def test_a_status_with_headers_and_body_instead(stub: StubOllama) -> None:
    busy = Script(status=503, error="server busy", headers={"Retry-After": "7"})
    stub.script("*", [busy, Script(status=502, body=b"<")])
    first, second, third = [await _ask(stub) for _ in range(3)]
    assert first.head.startswith("HTTP/1.1 503 Service Unavailable")
    assert "Retry-After: 7" in first.head
    assert json.loads(first.body) == {"error": "server busy"}
    assert (second.head[:12], second.body) == ("HTTP/1.1 502", b"<")
    assert third.head.startswith("HTTP/1.1 200")
    assert len(stub.ledger.loads) == 1


async def test_a_redirect(stub: StubOllama) -> None:
    stub.script("llama3", Script(status=307, headers={"Location": "http://example.test/"}))
    assert "Location: http://example.test/" in (await _ask(stub)).head


async def test_garbage_instead_of_http(stub: StubOllama) -> None:
    stub.script("llama3", Script(raw=b"SSH-2.0-OpenSSH_9.9\r\n"))
    assert await _ask(stub) == Seen("SSH-2.0-OpenSSH_9.9\r\n", b"")


async def test_close_delimited_answers(stub: StubOllama) -> None:
    whole = await _whole(stub)
    stub.script("llama3", [Script(close_delimited=True), Script(close_delimited=True, die=Die.FIN, die_after_bytes=99)])
    complete, cut = await _ask(stub), await _ask(stub)
    assert complete.head.startswith("HTTP/1.0 200 OK")
    assert "Transfer-Encoding" not in complete.head
    assert (complete.body, cut.body) == (whole, whole[:99])
    assert [entry.ending for entry in stub.ledger.entries[1:]] == [Ending.COMPLETE, Ending.CUT]


async def test_a_content_length_that_lies(stub: StubOllama) -> None:
    stub.script("llama3", Script(extra_length=10))
    seen = await _ask(stub, b'{"model":"llama3","prompt":"hello","stream":false}')
    length = int(seen.head.lower().partition("content-length: ")[2].partition("\r")[0])
    assert length == len(seen.body) + 10
    assert json.loads(seen.body)["response"] == TEXT


async def test_a_line_of_ten_megabytes(stub: StubOllama) -> None:
    stub.script("llama3", Script(line_bytes=10_000_000))
    chunks, left = _chunks((await _ask(stub)).body)
    lines = _lines(chunks)
    assert (left, len(chunks[0])) == (b"", 10_000_000)
    assert "".join(line["response"] for line in lines) == TEXT


@pytest.mark.parametrize("path", ["/api/generate", "/v1/completions", "/v1/responses", "/v1/messages"])
async def test_endless_tokens_flow_until_the_client_leaves(stub: StubOllama, path: str) -> None:
    stub.script("llama3", Script(tokens=10**12))
    body = {"model": "llama3", "prompt": "x", "messages": [{"content": "x"}], "max_tokens": 10**12, "stream": True}
    reader, writer = await _connect(stub)
    sent = json.dumps(body).encode()
    writer.write(b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (path.encode(), len(sent), sent))
    await reader.readexactly(100_000)
    writer.close()
    await stub.ledger.wait_for(lambda ledger: ledger.entries[0].ending is Ending.CLIENT_GONE)
    await stub.ledger.wait_for(lambda ledger: ledger.concurrent == 0)


async def test_a_lingering_target_works_on_after_the_client_left(stub: StubOllama) -> None:
    stub.script("llama3", Script(hold=0, linger=0.2))
    asking = asyncio.create_task(_ask(stub))
    entry = await stub.ledger.held()
    await _abandon(asking)
    await stub.ledger.wait_for(lambda _: entry.ending is Ending.CLIENT_GONE)
    assert stub.ledger.concurrent == 1
    await stub.ledger.wait_for(lambda ledger: ledger.concurrent == 0)


async def test_ps_lies_and_hangs(stub: StubOllama) -> None:
    stub.ps = [{"name": "ghost:latest"}]
    reader, writer = await _connect(stub)
    writer.write(b"GET /api/ps HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert (await reader.read()).endswith(b'{"models":[{"name":"ghost:latest"}]}')
    writer.close()
    stub.script("/api/ps", Script(hold=0))
    reader, writer = await _connect(stub)
    writer.write(b"GET /api/ps HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    await stub.ledger.held()
    stub.release("/api/ps")
    assert (await reader.read()).startswith(b"HTTP/1.1 200 OK")
    writer.close()


async def test_a_reset_does_not_disturb_the_next_request_of_another_connection(stub: StubOllama) -> None:
    stub.script("llama3", [Script(die=Die.RST, die_after_chunks=1)])
    assert (await _ask(stub)).reset
    chunks, left = _chunks((await _ask(stub)).body)
    assert (len(chunks), left) == (17, b"")


async def test_keep_alive_connections_serve_several_requests(stub: StubOllama) -> None:
    reader, writer = await _connect(stub)
    for _ in range(3):
        writer.write(b"POST /api/generate HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY))
        assert (await reader.readuntil(b"\r\n0\r\n\r\n")).startswith(b"HTTP/1.1 200 OK")
    writer.close()
    assert [entry.ending for entry in stub.ledger.entries] == [Ending.COMPLETE] * 3
