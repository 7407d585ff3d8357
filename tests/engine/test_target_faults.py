"""Every way in which talking to the target can go wrong, and nothing but the errors of a target comes of it."""

import asyncio
from contextlib import ExitStack, suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foreman.core.errors import TargetCut, TargetError, TargetGarbled, TargetLost, TargetUnreachable
from foreman.engine.target import Target
from foreman.testing import StubOllama
from tests.engine.serving import (
    CHUNKED,
    OK,
    PATIENCE,
    Answer,
    full,
    payload,
    reset_by,
    rest,
    saying,
    talking_to,
    target_at,
)

pytestmark = pytest.mark.usefixtures("carried")

NO_HEAD: dict[str, tuple[type[TargetError], Answer]] = {
    "closed": (TargetLost, saying(b"")),
    "reset": (TargetLost, saying(reset=True)),
    "half a head, closed": (TargetLost, saying(OK + b"Content-Le")),
    "half a head, reset": (TargetLost, saying(OK + b"Content-Le", reset=True)),
    "not HTTP": (TargetGarbled, saying(b"SSH-2.0-OpenSSH_9.9\r\n\r\n")),
    "binary": (TargetGarbled, saying(bytes(range(256)))),
    "no number": (TargetGarbled, saying(b"HTTP/1.1 OK 200\r\n\r\n")),
    "a header without a colon": (TargetGarbled, saying(OK + b"what\r\n\r\n")),
    "a header of 100 KB": (TargetGarbled, saying(OK + b"X: " + b"x" * 100_000 + b"\r\n\r\n")),
    "no length": (TargetGarbled, saying(OK + b"Content-Length: many\r\n\r\n")),
    "two lengths": (TargetGarbled, saying(OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nok")),
    "a length and chunks": (TargetGarbled, saying(CHUNKED[:-2] + b"Content-Length: 2\r\n\r\nok")),
}


@pytest.mark.parametrize("fault", NO_HEAD)
async def test_a_fault_before_the_head(fault: str) -> None:
    kind, answer = NO_HEAD[fault]
    async with talking_to(answer) as target:
        exchange = target.exchange(payload())
        for _ in range(2):
            with pytest.raises(kind) as caught:
                await exchange.head(PATIENCE)
            assert type(caught.value) is kind
        assert exchange.ended
        with pytest.raises(TargetCut):
            await exchange.read()
        assert await exchange.abort(PATIENCE)
        with pytest.raises(kind):
            await target.get("/api/ps")
        with pytest.raises(kind):
            async with target.forward("POST", "/api/show", (), b"{}"):
                pass
        assert not await target.alive()


async def refused(url: str) -> None:
    async with target_at(url) as target:
        exchange = target.exchange(payload())
        with pytest.raises(TargetUnreachable):
            await exchange.head()
        assert exchange.ended
        exchange.close()
        with pytest.raises(TargetUnreachable):
            await target.get("/api/version")
        with pytest.raises(TargetUnreachable):
            await target.unload("m", PATIENCE)
        with pytest.raises(TargetUnreachable):
            async with target.forward("GET", "/", (), None):
                pass
        assert not await target.alive()


async def test_a_closed_port(stub: StubOllama) -> None:
    stub.refuse()
    await refused(stub.url)


async def test_a_name_that_does_not_resolve() -> None:
    await refused("http://foreman.invalid:11434")


async def test_a_server_that_wants_tls_or_does_not_speak_it(stub: StubOllama) -> None:
    await refused(stub.url.replace("http://", "https://"))


async def test_a_machine_that_does_not_answer_is_unreachable_after_the_connect_timeout() -> None:
    with ExitStack() as stack:
        async with target_at(full(stack), connect=0.05) as target:
            exchange = target.exchange(payload())
            with pytest.raises(TargetUnreachable):
                await exchange.head(PATIENCE)
            exchange.close()


CUT: dict[str, tuple[bytes, tuple[bytes, ...], bool]] = {
    "closed before the end": (b"abc", (OK + b"Content-Length: 9\r\n\r\nabc",), False),
    "reset before the end": (b"abc", (OK + b"Content-Length: 9\r\n\r\nabc",), True),
    "closed between chunks": (b"abc", (CHUNKED + b"3\r\nabc\r\n",), False),
    "closed within a chunk": (b"abc", (CHUNKED + b"9\r\nabc",), False),
    "reset within a chunk": (b"abc", (CHUNKED + b"9\r\nabc",), True),
    "closed within a size": (b"abc", (CHUNKED + b"3\r\nabc\r\n1",), False),
    "the last chunk is not ended": (b"abc", (CHUNKED + b"3\r\nabc\r\n0\r\n",), False),
    "no size": (b"abc", (CHUNKED + b"3\r\nabc\r\n", b"size\r\n"), False),
    "a chunk longer than its size": (b"abc", (CHUNKED + b"3\r\nabc\r\n", b"1\r\nxyz\r\n"), False),
}


@pytest.mark.parametrize("fault", CUT)
async def test_a_fault_after_the_head(fault: str) -> None:
    body, parts, reset = CUT[fault]
    begun = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(parts[0])
        await begun.wait()
        writer.write(b"".join(parts[1:]))
        if reset:
            reset_by(writer)
        elif parts[1:]:
            # Broken framing is enough: the connection need not end as well.
            await reader.read()

    async with talking_to(answer) as target:
        exchange = target.exchange(payload())
        assert await exchange.head() is not None
        got = await exchange.read(PATIENCE)
        begun.set()
        with suppress(TargetCut):
            while True:
                got += await exchange.read(PATIENCE)
        assert got.startswith(body)
        assert exchange.ended
        with pytest.raises(TargetCut):
            await exchange.read(PATIENCE)
        assert await exchange.abort(PATIENCE)


@pytest.mark.parametrize("fault", CUT)
async def test_half_an_answer_is_none(fault: str) -> None:
    _, parts, reset = CUT[fault]
    async with talking_to(saying(*parts, reset=reset)) as target:
        with pytest.raises(TargetError):
            await target.get("/api/tags", timeout=0.5)


async def test_a_close_delimited_answer_that_is_cut_looks_whole(stub: StubOllama, target: Target) -> None:
    """HTTP has no word for it, which is why the end of an answer is judged by its content."""
    async with talking_to(saying(OK + b"\r\n{", b'"half')) as target:
        exchange = target.exchange(payload())
        await exchange.head()
        assert await rest(exchange) == b'{"half'
        exchange.close()


FRAGMENTS = (
    *(OK, b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 307 Go\r\nLocation: /\r\n", b"HTTP/1.1 204 No Content\r\n"),
    *(b"Transfer-Encoding: chunked\r\n", b"Content-Length: 3\r\n", b"Connection: upgrade\r\nUpgrade: x\r\n", b"\r\n"),
    *(b"3\r\nabc\r\n", b"0\r\n\r\n", b"0\r\nX: y\r\n\r\n", b"abc", b"\n", b"-1\r\n", b"\x00", b"\xff"),
)
PARTS = st.lists(st.lists(st.sampled_from(FRAGMENTS), max_size=6).map(b"".join), min_size=1, max_size=3)


@settings(max_examples=60, deadline=None)
@given(parts=PARTS, reset=st.booleans())
def test_nothing_escapes_but_the_errors_of_a_target(*, parts: list[bytes], reset: bool) -> None:
    async def run() -> None:
        async with talking_to(saying(*parts, reset=reset)) as target, asyncio.timeout(PATIENCE):
            exchange = target.exchange(payload())
            with suppress(TargetError):
                await exchange.head()
                await rest(exchange)
            assert await exchange.abort(PATIENCE)
            with suppress(TargetError):
                await target.get("/api/ps")
            with suppress(TargetError):
                async with target.forward("POST", "/", (), b"x") as response:
                    response.close()

    asyncio.run(run())
