"""The Ollama server behind foreman, and the one place that talks to it.

Rules:
1. aiohttp's exceptions stop here; everyone above sees the TargetError family.
2. A job travels on a connection that foreman keeps (see kept.py); or, where that is not wanted or the target speaks
   TLS, by aiohttp's client on a connection of its own.
3. No redirect is followed, no cookie kept, no proxy variable obeyed, no body decompressed: bytes pass as they are.
4. There is no limit on the whole of an exchange. Who waits for what, and how long, is the worker's business.
"""

import asyncio
import io
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, Self

import aiohttp
import orjson
from multidict import CIMultiDict
from yarl import URL

from foreman.core.errors import TargetError, TargetSilent, TargetStatus
from foreman.core.job import LoadKey, Payload
from foreman.core.ollama import load_body
from foreman.engine.arrival import notice_close
from foreman.engine.exchange import Exchange
from foreman.engine.kept import KeptExchange, Wires
from foreman.engine.plain import PlainExchange, job_socket, kept_alive, mapped
from foreman.engine.wire import Wire

# aiohttp sends a bytes body in one piece and warns above this size; a file-like one goes out in pieces.
LARGE_BODY: Final = 1 << 20
# A verbose description holds the whole vocabulary of a model.
VERBOSE_SECONDS: Final = 30.0
# Nothing here decompresses.
PLAIN: Final = {"accept-encoding": "identity"}


class Target:
    """Sends requests to the one Ollama server at `url`. Use as an async context manager.

    `connect_timeout` bounds the making of a connection, `probe_timeout` a question that must be answered at once
    (both in seconds). `kept`: jobs travel on kept connections.
    """

    def __init__(self, url: str, *, connect_timeout: float, probe_timeout: float, kept: bool = True) -> None:
        self._base = URL(url)
        self._kept = kept and self._base.scheme == "http" and self._base.user is None
        self._wires = Wires(self._connected)
        self._first_lines: dict[str, str] = {}
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
        await self._wires.close()
        for session in self._sessions:
            await session.close()

    def _session(self, *, force_close: bool) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(limit=0, force_close=force_close, socket_factory=job_socket)
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

    async def _connected(self) -> Wire:
        """A new connection for jobs. Raises OSError."""
        async with asyncio.timeout(self._connect_timeout):
            transport, wire = await asyncio.get_running_loop().create_connection(
                Wire, self._base.host or "", self._base.port or 80
            )
        try:
            kept_alive(transport.get_extra_info("socket"))
        except OSError:  # where the target has closed it already, some kernels take no option
            transport.abort()
            raise
        return wire

    def exchange(self, payload: Payload) -> Exchange:
        """Start sending a job's request; nothing is awaited yet."""
        if self._kept:
            return KeptExchange(self._wires, self._head(payload), payload.body)
        headers = CIMultiDict(payload.headers)
        headers.update(PLAIN)
        body = in_pieces(payload.body)
        return PlainExchange(
            lambda: self._jobs.post(self.url(payload.path), data=body, headers=headers, allow_redirects=False)
        )

    def _head(self, payload: Payload) -> bytes:
        first = self._first_lines.get(payload.path)
        if first is None:
            host, fixed = self._base.raw_authority, "".join(f"{name}: {value}\r\n" for name, value in PLAIN.items())
            first = f"POST {self.url(payload.path).raw_path_qs} HTTP/1.1\r\nhost: {host}\r\n{fixed}"
            self._first_lines[payload.path] = first
        given = "".join(f"{name}: {value}\r\n" for name, value in payload.headers if name not in PLAIN)
        return f"{first}{given}content-length: {len(payload.body)}\r\n\r\n".encode("utf-8", "surrogateescape")

    @asynccontextmanager
    async def forward(
        self, method: str, path_qs: str, headers: tuple[tuple[str, str], ...], body: AsyncIterable[bytes] | bytes | None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Pass a request on as it is, bodies streamed both ways. Raises TargetError before the answer's head."""
        sent = CIMultiDict(headers)
        sent.update(PLAIN)
        data = in_pieces(body) if isinstance(body, bytes) else body
        with mapped():
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

    async def show(self, model: str, *, verbose: bool = False) -> bytes:
        """What the target says of a model. Raises TargetError."""
        timeout = self._probe_timeout if not verbose else max(self._probe_timeout, VERBOSE_SECONDS)
        return await self._ask("POST", "/api/show", {"model": model, "verbose": verbose}, timeout)

    async def unload(self, model: str, timeout: float) -> None:
        """Ask the target to drop a model. It answers at once and unloads afterwards. Raises TargetError."""
        await self._ask("POST", "/api/generate", {"model": model, "keep_alive": 0, "stream": False}, timeout)

    def load(self, key: LoadKey, keep_alive: str) -> Exchange:
        """Start loading a model with its load-time options, pinned for `keep_alive`; takes as long as it takes."""
        headers = (("content-type", "application/json"),)
        return self.exchange(Payload("/api/generate", headers, load_body(key, keep_alive)))

    async def _ask(self, method: str, path: str, body: dict[str, Any] | None, timeout: float) -> bytes:
        data = None if body is None else orjson.dumps(body)
        try:
            async with asyncio.timeout(timeout):
                with mapped():
                    async with self._control.request(
                        method, self.url(path), headers=PLAIN, data=data, allow_redirects=False
                    ) as response:
                        answer = await response.read()
        except TimeoutError:
            raise TargetSilent(f"no answer to {path} within {timeout:g} s") from None
        if response.status != 200:
            raise TargetStatus(f"the target answered {path} with status {response.status}")
        return answer


def in_pieces(body: bytes) -> bytes | io.BytesIO:
    """A body as aiohttp takes it without a warning."""
    return body if len(body) < LARGE_BODY else io.BytesIO(body)
