"""Requests that are nearly ordinary, bent anywhere and cut anywhere: both ways take them alike, and neither hangs."""

import asyncio
from itertools import pairwise
from pathlib import Path

from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpRequestParser
from aiohttp.http_exceptions import HttpProcessingError
from hypothesis import given, settings
from hypothesis import strategies as st

from foreman.web.server import HEADER_BYTES
from tests.e2e.raw import CUT, PATIENCE, ask, connected
from tests.web.quick.serving import TAGS, Quick, Twins, got, posted, state, twins

BASES = (
    TAGS,
    posted(),
    posted("Connection: keep-alive", "Accept: */*", line="POST /v1/chat/completions HTTP/1.1"),
    posted("Authorization: Bearer k", "Prefer: wait=9", body=b"{}"),
)
WORDS = (
    *(b"\r\n", b"\n", b"\r", b" ", b"\t", b"\0", b":", b"\xff", b"/", b"0", b"9", b",", b";", b"x", b"\r\n\r\n"),
    *(b"Host: x\r\n", b"Content-Length: 3\r\n", b"Connection: close\r\n", b"Transfer-Encoding: chunked\r\n"),
    *(b"Expect: 100-continue\r\n", b"HTTP/1.0", b"HEAD", b"Origin: http://evil\r\n", b"\r\n folded"),
)


@st.composite
def bent(draw: st.DrawFn) -> list[bytes]:
    """The pieces in which a request is sent."""
    raw = draw(st.sampled_from(BASES))
    # What is in a body is no matter of HTTP.
    head = raw.find(b"\r\n\r\n") + 4
    for _ in range(draw(st.integers(0, 2))):
        at, gone = draw(st.integers(0, head)), draw(st.integers(0, 3))
        raw = raw[:at] + draw(st.sampled_from((b"", *WORDS))) + raw[at + gone :]
    cuts = sorted({0, len(raw), *draw(st.lists(st.integers(0, len(raw)), max_size=3))})
    return [raw[start:end] for start, end in pairwise(cuts)]


def asked(raw: bytes) -> tuple[list[str], bool]:
    """The methods of the requests that aiohttp finds whole, and whether nothing is left of the bytes then.

    A request it cannot read is the last, and has no method.
    """
    loop = asyncio.get_running_loop()
    parser = HttpRequestParser(
        BaseProtocol(loop), loop, 1 << 16, HEADER_BYTES, max_field_size=HEADER_BYTES, auto_decompress=False
    )
    found = []
    try:
        for byte in raw:
            found += parser.feed_data(bytes((byte,)))[0]
    except HttpProcessingError:
        return [*(message.method for message, _ in found), ""], True
    whole = [message.method for message, payload in found if payload.is_eof()]
    try:
        probes, _, _ = parser.feed_data(TAGS)
    except HttpProcessingError:
        return whole, False
    return whole, len(whole) == len(found) and [message.path for message, _ in probes] == ["/api/tags"]


async def said(served: Quick, pieces: list[bytes], methods: list[str], *, clean: bool) -> list[object]:
    """The status of every answer, and whether the connection could be used afterwards."""
    statuses: list[object] = []
    async with connected(served.url) as connection:
        try:
            for piece in pieces:
                await connection.send(piece)
                await asyncio.sleep(0)
            for method in methods:
                while (answer := await got(connection, bodiless=method == "HEAD")).status == 100:
                    pass
                statuses.append((answer.status, answer.whole))
        except CUT:
            return [*statuses, "closed"]
        if clean:
            return [*statuses, await state(connection)]
        try:
            connection._writer.write_eof()
            await connection.closed()
        except (*CUT, OSError):
            pass
    return statuses


async def once(pair: Twins, pieces: list[bytes]) -> None:
    methods, clean = asked(b"".join(pieces))
    async with asyncio.timeout(PATIENCE * 2):
        one = await said(pair.quick, pieces, methods, clean=clean)
        other = await said(pair.aiohttp, pieces, methods, clean=clean)
        # What is unreadable behind something readable costs aiohttp both where they come together.
        if "" not in methods[1:] and len(methods) < 2:
            assert one == other, (pieces, methods, clean)
        for served in pair:
            assert (await ask(served.url, "GET /api/tags")).status == 200


async def test_bent_requests_are_taken_alike(tmp_path: Path) -> None:
    async with twins(tmp_path) as pair:
        loop = asyncio.get_running_loop()

        @settings(derandomize=True, max_examples=700, deadline=None, database=None)
        @given(bent())
        def alike(pieces: list[bytes]) -> None:
            asyncio.run_coroutine_threadsafe(once(pair, pieces), loop).result()

        await asyncio.to_thread(alike)
