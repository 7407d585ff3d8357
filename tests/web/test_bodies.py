"""Bodies as they arrive, with a limit that holds, an end to waiting, and no faith in their framing."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from aiohttp import web

from foreman.core.addresses import Address
from foreman.core.errors import BodyEncoded, BodyStalled, RequestError
from foreman.web import bodies
from foreman.web.bodies import Upload, read_body
from foreman.web.errors import errors_to_answers
from foreman.web.server import listening
from tests.e2e.raw import Connection, connected

LIMIT = 1000


async def whole(request: web.Request) -> web.Response:
    return web.Response(body=await read_body(request, LIMIT))


async def uploaded(request: web.Request) -> web.Response:
    """What an upload gives out, and what it remembers of its end."""
    upload, got = Upload(request), b""
    with suppress(RequestError):
        async for piece in upload:
            got += piece
    return web.Response(body=got, headers={} if upload.error is None else {"X-Error": upload.error.code})


@asynccontextmanager
async def client() -> AsyncIterator[Connection]:
    app = web.Application(middlewares=[errors_to_answers])
    app.router.add_post("/whole", whole)
    app.router.add_post("/upload", uploaded)
    async with listening(app, Address("127.0.0.1", 0)) as url, connected(url) as connection:
        yield connection


@pytest.mark.parametrize("path", ["/whole", "/upload"])
@pytest.mark.parametrize("body", [b"", b"x", b"\x00\xff" * 500])
async def test_a_body_is_what_was_sent(path: str, body: bytes) -> None:
    async with client() as connection:
        await connection.request(f"POST {path}", body=body)
        answer = await connection.answer()
        assert (answer.body, "x-error" in answer.headers) == (body, False)
        await connection.request(f"POST {path}", "Transfer-Encoding: chunked")
        for piece in (body[:3], body[3:]):
            if piece:
                await connection.chunk(piece)
        await connection.chunk(b"")
        assert (await connection.answer()).body == body


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br"])
async def test_a_compressed_body_is_left_as_it_is(coding: str) -> None:
    async with client() as connection:
        await connection.request("POST /whole", f"Content-Encoding: {coding}", body=b"\x1f\x8b\x08")
        assert (await connection.answer()).body == b"\x1f\x8b\x08"


async def test_the_limit_holds_before_a_body_is_read_and_while_it_is() -> None:
    async with client() as connection:
        await connection.request("POST /whole", f"Content-Length: {LIMIT + 1}")
        assert (await connection.answer()).status == 413
    async with client() as connection:
        await connection.request("POST /whole", "Transfer-Encoding: chunked")
        await connection.chunk(b"x" * LIMIT)
        await connection.chunk(b"x")
        assert (await connection.answer()).status == 413
    async with client() as connection:
        await connection.request("POST /upload", body=b"x" * (LIMIT + 1))
        assert len((await connection.answer()).body) == LIMIT + 1


async def test_a_body_that_stops_arriving_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "STALL_SECONDS", 0.01)
    async with client() as connection:
        await connection.request("POST /whole", "Content-Length: 10")
        assert (await connection.answer()).headers["x-foreman-error"] == BodyStalled.code
    async with client() as connection:
        await connection.request("POST /upload", "Transfer-Encoding: chunked")
        await connection.chunk(b"first")
        answer = await connection.answer()
        assert (answer.body, answer.headers["x-error"]) == (b"first", BodyStalled.code)


@pytest.mark.parametrize("coding", ["gzip, chunked", "chunked;x=1", "identity, chunked"])
async def test_a_transfer_coding_other_than_chunked_is_not_read(coding: str) -> None:
    async with client() as connection:
        await connection.request("POST /upload", f"Transfer-Encoding: {coding}")
        await connection.chunk(b"x")
        await connection.chunk(b"")
        answer = await connection.answer()
    # Some of them the parser refuses by itself.
    assert answer.status == 400 or answer.headers["x-error"] == BodyEncoded.code
