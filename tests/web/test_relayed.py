"""An answer passed on has the target's headers and no others, and an end that cannot be mistaken."""

from collections.abc import Awaitable, Callable

import pytest
from aiohttp import web

from foreman.core.addresses import Address
from foreman.core.headers import Headers
from foreman.web.guard import sign
from foreman.web.relayed import Relayed
from foreman.web.server import listening
from tests.e2e.raw import Answer, ask

CHUNKED: Headers = (("content-type", "text/x"), ("x-two", "1"), ("x-two", "2"))
Serve = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def answered(serve: Serve, line: str = "GET /") -> Answer:
    app = web.Application()
    app.on_response_prepare.append(sign)
    app.router.add_route("*", "/", serve)
    async with listening(app, Address("127.0.0.1", 0)) as url:
        return await ask(url, line)


def sending(headers: Headers, status: int = 200, reason: str | None = None) -> Serve:
    async def serve(request: web.Request) -> web.StreamResponse:
        response = Relayed(status, headers, reason)
        await response.prepare(request)
        await response.write(b"abc")
        await response.write_eof()
        return response

    return serve


def breaking(headers: Headers, last: bytes) -> Serve:
    async def serve(request: web.Request) -> web.StreamResponse:
        response = Relayed(200, headers)
        await response.prepare(request)
        await response.write(b"abc")
        await response.break_off(request, last)
        return response

    return serve


@pytest.mark.parametrize("headers", [(("content-type", "text/x"),), ()])
async def test_no_content_type_is_made_up(headers: Headers) -> None:
    answer = await answered(sending(headers))
    assert answer.headers.get("content-type") == dict(headers).get("content-type")
    assert (answer.body, answer.whole) == (b"abc", True)


@pytest.mark.parametrize(("status", "reason"), [(200, "Fine"), (418, None), (599, "Odd")])
async def test_the_status_is_the_targets(status: int, reason: str | None) -> None:
    assert (await answered(sending(CHUNKED, status, reason))).status == status


async def test_a_head_request_gets_headers_alone() -> None:
    answer = await answered(sending((("content-length", "3"),)), "HEAD /")
    assert (answer.headers["content-length"], answer.body) == ("3", b"")


async def test_a_break_has_last_words_and_no_final_chunk() -> None:
    answer = await answered(breaking(CHUNKED, b"!"))
    assert (answer.body, answer.whole) == (b"abc!", False)


async def test_a_break_of_an_answer_with_a_length_has_no_words() -> None:
    answer = await answered(breaking((("content-length", "9"),), b"!"))
    assert (answer.body, answer.whole) == (b"abc", False)
