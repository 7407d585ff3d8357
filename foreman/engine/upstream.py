"""One remote API: its requests, its key, and how many of them it gets at once.

Rules:
1. Where it is and which key it gets come from the settings alone; of a request travel its body, and few headers.
2. The key is put in as a request leaves, and stars stand in its place in all that comes back.
3. Each request has a connection of its own. One that was kept may be closed just as a request is written to it, and
   nobody could tell whether that request was begun.
4. No redirect is followed, no cookie kept, no proxy variable obeyed, and the certificate of an https URL is checked.
"""

import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, Self

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from foreman.core.errors import TargetError
from foreman.core.job import Payload
from foreman.core.mask import Mask
from foreman.core.slowdown import Slowdown
from foreman.core.throttle import Throttle
from foreman.engine.clock import Clock
from foreman.engine.plain import PlainExchange, job_socket
from foreman.engine.relay import Head
from foreman.engine.target import PLAIN, in_pieces
from foreman.remotes import Remote

# What of a client's headers reaches a remote: others could name an account, or another key.
PASSED_ON: Final = frozenset(("accept", "content-type", "openai-beta", "traceparent", "user-agent"))


class Upstream:
    """Sends requests to one API. Use as an async context manager. `running` counts the jobs that hold a slot of it."""

    def __init__(self, remote: Remote, key: str, slots: int, clock: Clock) -> None:
        self.remote = remote
        self.throttle = Throttle(remote.slots or slots)
        self.running = 0
        self._key = key
        self._base = URL(remote.base_url)
        self._clock = clock

    def __repr__(self) -> str:
        return f"<Upstream {self.name} {self.running} of {self.throttle.limit}>"

    async def __aenter__(self) -> Self:
        tracing = aiohttp.TraceConfig()
        tracing.on_connection_create_end.append(_connected)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0, force_close=True, socket_factory=job_socket, ssl=ssl.create_default_context()
            ),
            timeout=aiohttp.ClientTimeout(total=None, connect=self.remote.connect_timeout_seconds),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            skip_auto_headers=("User-Agent", "Content-Type", "Accept"),
            trace_configs=[tracing],
        )
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._session.close()

    @property
    def name(self) -> str:
        return self.remote.name

    @property
    def open(self) -> bool:
        """Whether it may get one more request now."""
        return not self.full and not self.throttle.paused(self._clock.monotonic())

    @property
    def pause(self) -> float:
        """For how many seconds it is left alone."""
        return max(0.0, self.throttle.until - self._clock.monotonic())

    @property
    def full(self) -> bool:
        """Whether all requests that it gets at once are under way."""
        return self.running >= self.throttle.limit

    @property
    def slowdown(self) -> Slowdown | None:
        """Why it gets fewer requests than it has slots for, or none; None where it gets all."""
        throttle = self.throttle
        if not throttle.cause:
            return None
        ahead = self._clock.time() - self._clock.monotonic()
        until = ahead + throttle.until if self.pause else None
        return Slowdown(
            self.name, throttle.cause, ahead + throttle.since, until, throttle.asked, throttle.limit, throttle.slots
        )

    def exchange(self, payload: Payload) -> "UpstreamExchange":
        """Start sending a job's request; nothing is awaited yet."""
        headers = CIMultiDict((name, value) for name, value in payload.headers if name in PASSED_ON)
        headers.update(PLAIN)
        if self._key:
            headers["authorization"] = f"Bearer {self._key}"
        url = URL(f"{self._base}{payload.path.removeprefix('/v1')}", encoded=True)
        body = in_pieces(payload.body)
        trip = Trip()
        return UpstreamExchange(
            lambda: self._session.post(url, data=body, headers=headers, allow_redirects=False, trace_request_ctx=trip),
            trip,
            self._key,
            self.name,
        )


class Trip:
    """How far one request got."""

    __slots__ = ("connected",)

    def __init__(self) -> None:
        self.connected = False


async def _connected(_: aiohttp.ClientSession, found: Any, __: aiohttp.TraceConnectionCreateEndParams) -> None:
    found.trace_request_ctx.connected = True


class UpstreamExchange(PlainExchange):
    """An Exchange with a remote API; see there."""

    def __init__(self, send: Callable[[], Any], trip: Trip, key: str, name: str) -> None:
        super().__init__(send)
        self._trip = trip
        self._mask = Mask(key.encode()) if key else None
        self._who = f"the remote {name}"

    @property
    def sent(self) -> bool:
        """Whether anything of the request may have reached the API."""
        return self._trip.connected

    async def head(self, patience: float | None = None) -> Head | None:
        with self._named():
            head = await super().head(patience)
        if head is None or self._mask is None:
            return head
        return Head(head.status, tuple((name, self._mask.text(value)) for name, value in head.headers))

    async def read(self, patience: float | None = None) -> bytes:
        with self._named():
            chunk = await super().read(patience)
            while self._mask is not None and chunk:
                # Nothing let out is not the end.
                if shown := self._mask.feed(chunk):
                    return shown
                chunk = await super().read(patience)
        return chunk if self._mask is None else self._mask.feed(b"")

    async def abort(self, grace: float) -> bool:  # noqa: ARG002
        """Nobody waits for it: the API is another's machine."""
        self.close()
        return True

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Have an error say whose it is."""
        try:
            yield
        except TargetError as error:
            raise type(error)(str(error).replace("the target", self._who, 1)) from error
