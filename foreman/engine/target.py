"""The Ollama server behind foreman, and the one place that talks to it.

Rules:
1. aiohttp's exceptions stop here; everyone above sees the TargetError family.
2. A job travels on a connection of its own. A reused one can be closed by the target at the moment of sending, and then
   nobody can tell whether the request arrived.
3. No redirect is followed, no cookie kept, no proxy variable obeyed, no body decompressed: bytes pass as they are.
4. There is no limit on the whole of an exchange. Who waits for what, and how long, is the worker's business.
"""

import asyncio
import io
import socket
import sys
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from contextvars import ContextVar
from typing import Any, Final, Self

import aiohttp
import orjson
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from foreman.core.errors import (
    TargetCut,
    TargetError,
    TargetGarbled,
    TargetLost,
    TargetSilent,
    TargetStatus,
    TargetUnreachable,
)
from foreman.core.headers import answer_headers
from foreman.core.job import LoadKey, Payload
from foreman.core.ollama import load_body
from foreman.engine.arrival import arriving, notice_close, reason_of
from foreman.engine.relay import Head

# Half a minute of silence from a sleeping machine's kernel, then the connection counts as lost.
KEEPALIVE_IDLE, KEEPALIVE_INTERVAL, KEEPALIVE_COUNT = 15, 5, 3
KEEPALIVE_IDLE_OPTION: Final = "TCP_KEEPALIVE" if sys.platform == "darwin" else "TCP_KEEPIDLE"
# aiohttp sends a bytes body in one piece and warns above this size; a file-like one goes out in pieces.
LARGE_BODY: Final = 1 << 20
# Nothing here decompresses.
PLAIN: Final = {"accept-encoding": "identity"}

_sockets: ContextVar[list[socket.socket] | None] = ContextVar("_sockets", default=None)


class Target:
    """Sends requests to the one Ollama server at `url`. Use as an async context manager.

    `connect_timeout` bounds the making of a connection, `probe_timeout` a question that must be answered at once
    (both in seconds).
    """

    def __init__(self, url: str, *, connect_timeout: float, probe_timeout: float) -> None:
        self._base = URL(url)
        self._connect_timeout = connect_timeout
        self._probe_timeout = probe_timeout
        self._sessions: list[aiohttp.ClientSession] = []

    def __repr__(self) -> str:
        return f"<Target {self._base}>"

    async def __aenter__(self) -> Self:
        self._jobs = self._session(force_close=True)
        self._control = self._session(force_close=False)
        return self

    async def __aexit__(self, *exc: object) -> None:
        for session in self._sessions:
            await session.close()

    def _session(self, *, force_close: bool) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(limit=0, force_close=force_close, socket_factory=_socket)
        session = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._connect_timeout),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            skip_auto_headers=("User-Agent", "Content-Type", "Accept"),
        )
        self._sessions.append(session)
        return session

    @property
    def origin(self) -> str:
        """Where it is, without a path prefix."""
        return str(self._base.origin())

    def url(self, path_qs: str) -> URL:
        """The target's URL for a request path as the client wrote it. The host never comes from a request."""
        return URL(f"{self._base.origin()}{self._base.raw_path.rstrip('/')}/{path_qs.lstrip('/')}", encoded=True)

    def exchange(self, payload: Payload) -> "Exchange":
        """Start sending a job's request; nothing is awaited yet."""
        headers = CIMultiDict(payload.headers)
        headers.update(PLAIN)
        body = _in_pieces(payload.body)
        return Exchange(
            lambda: self._jobs.post(self.url(payload.path), data=body, headers=headers, allow_redirects=False)
        )

    @asynccontextmanager
    async def forward(
        self, method: str, path_qs: str, headers: tuple[tuple[str, str], ...], body: AsyncIterable[bytes] | bytes | None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Pass a request on as it is, bodies streamed both ways. Raises TargetError before the answer's head."""
        sent = CIMultiDict(headers)
        sent.update(PLAIN)
        data = _in_pieces(body) if isinstance(body, bytes) else body
        with _mapped():
            response = await self._control.request(
                method, self.url(path_qs), headers=sent, data=data, allow_redirects=False
            )
        notice_close(response)
        try:
            yield response
        finally:
            response.close()

    async def get(self, path: str, timeout: float | None = None) -> bytes:
        """The body of a 200 answer. Raises TargetError, also for any other status."""
        return await self._ask("GET", path, None, timeout or self._probe_timeout)

    async def alive(self) -> bool:
        """Whether the target answers at all, within the probe timeout."""
        try:
            await self.get("/api/version")
        except TargetStatus:
            return True
        except TargetError:
            return False
        return True

    async def unload(self, model: str, timeout: float) -> None:
        """Ask the target to drop a model. It answers at once and unloads afterwards. Raises TargetError."""
        await self._ask("POST", "/api/generate", {"model": model, "keep_alive": 0, "stream": False}, timeout)

    def load(self, key: LoadKey, keep_alive: str) -> "Exchange":
        """Start loading a model with its load-time options, pinned for `keep_alive`; takes as long as it takes."""
        headers = (("content-type", "application/json"),)
        return self.exchange(Payload("/api/generate", headers, load_body(key, keep_alive)))

    async def _ask(self, method: str, path: str, body: dict[str, Any] | None, timeout: float) -> bytes:
        data = None if body is None else orjson.dumps(body)
        try:
            async with asyncio.timeout(timeout):
                with _mapped():
                    async with self._control.request(
                        method, self.url(path), headers=PLAIN, data=data, allow_redirects=False
                    ) as response:
                        answer = await response.read()
        except TimeoutError:
            raise TargetSilent(f"no answer to {path} within {timeout:g} s") from None
        if response.status != 200:
            raise TargetStatus(f"the target answered {path} with status {response.status}")
        return answer


class Exchange:
    """One request to the target and its answer: `head()` once, then `read()` until it returns b"".

    Whoever starts one must end it with `close()`, or with `abort()` where the answer is not wanted any more.
    """

    def __init__(self, send: Callable[[], Any]) -> None:
        self._sockets: list[socket.socket] = []
        self._opening = asyncio.create_task(self._open(send))
        self._response: aiohttp.ClientResponse | None = None
        self.ended = False  # the target is known to have let go of it

    async def _open(self, send: Callable[[], Any]) -> aiohttp.ClientResponse:
        _sockets.set(self._sockets)
        with _mapped():
            response: aiohttp.ClientResponse = await send()
        notice_close(response)
        return response

    async def head(self, patience: float | None = None) -> Head | None:
        """Status and headers, or None where they do not come within `patience` seconds: ask again then.

        Raises TargetUnreachable, TargetLost or TargetGarbled.
        """
        done, _ = await asyncio.wait((self._opening,), timeout=patience)
        if not done:
            return None
        try:
            self._response = response = self._opening.result()
        except TargetError:
            self.ended = True
            raise
        if 300 <= response.status < 400 and response.status != 304:
            raise TargetGarbled(f"the target answered with a redirect ({response.status}), which is not followed")
        return Head(response.status, answer_headers(response.headers))

    async def read(self, patience: float | None = None) -> bytes:
        """The next bytes as they arrived, b"" at the end. Raises TargetCut, or TargetSilent after `patience` s."""
        if self._response is None:
            raise TargetCut("the answer has no head yet")
        try:
            async with asyncio.timeout(patience):
                chunk = await arriving(self._response)
        except TimeoutError:
            raise TargetSilent(f"the target sent nothing for {patience:g} s") from None
        except TargetCut:
            self.ended = True
            raise
        self.ended = not chunk
        return chunk

    @property
    def headers(self) -> CIMultiDictProxy[str]:
        if self._response is None:
            raise TargetCut("the answer has no head yet")
        return self._response.headers

    async def abort(self, grace: float) -> bool:
        """Give the request up. Returns whether the target was seen to let go of it within `grace` seconds.

        Sending ends first and the rest is thrown away until the target closes its side: a Go server cancels the
        handler when it reads the end, and closes only after the handler has returned.
        """
        connected = False
        for sock in self._sockets:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_WR)
                connected = True
        if not connected and not self._opening.done():
            self.close()  # nothing was sent, and nothing will be
            return True
        try:
            async with asyncio.timeout(grace):
                await self._drain()
                return True
        except TimeoutError:
            return False
        finally:
            self.close()

    async def _drain(self) -> None:
        try:
            response = await asyncio.shield(self._opening)
            while await arriving(response):
                pass
        except TargetError:
            return

    def close(self) -> None:
        if not self._opening.done():
            self._opening.cancel()
        elif not self._opening.cancelled() and self._opening.exception() is None:
            self._opening.result().close()


def _in_pieces(body: bytes) -> bytes | io.BytesIO:
    return body if len(body) < LARGE_BODY else io.BytesIO(body)


@contextmanager
def _mapped() -> Iterator[None]:
    """Turn aiohttp's exceptions before an answer's head into ours."""
    try:
        yield
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
        raise TargetUnreachable(f"the target cannot be reached ({reason_of(error)})") from error
    except (aiohttp.ClientConnectionError, ConnectionError) as error:
        raise TargetLost(f"the target closed the connection before it answered ({reason_of(error)})") from error
    except aiohttp.ClientPayloadError as error:
        raise TargetCut(f"the target's answer broke off ({reason_of(error)})") from error
    except aiohttp.ClientError as error:
        raise TargetGarbled("the target's answer is not HTTP") from error


def _socket(addr_info: tuple[Any, ...]) -> socket.socket:
    family, kind, protocol, *_ = addr_info
    sock = socket.socket(family, kind, protocol)
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, KEEPALIVE_IDLE_OPTION), KEEPALIVE_IDLE)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_COUNT)
    sockets = _sockets.get()
    if sockets is not None:
        sockets.append(sock)
    return sock
