"""A stub of a remote OpenAI-compatible API that is a real HTTP server: a key, a rate limit, and faults on demand.

Its answers are those of the stub of Ollama. What it was asked stands in `calls`, in order.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from time import time
from typing import Any, Final, Literal, Self

from aiohttp import web

from foreman.testing.apis import APIS
from foreman.testing.gojson import Fields, decode
from foreman.testing.reply import prompt_of, reply_to

Fault = Literal[
    "cut", "cut_midway", "silent", "redirect", "busy", "spent", "unavailable", "echo", "echo_error", "refused"
]

_BY_PATH: Final = {api.path: api for api in APIS}


@dataclass(slots=True, eq=False)
class Called:
    """One request. Times are unix seconds."""

    path: str
    headers: dict[str, str]
    body: bytes
    fields: Fields
    at: float
    ended_at: float | None = None

    @property
    def ended(self) -> bool:
        return self.ended_at is not None

    @property
    def text(self) -> str:
        return prompt_of(self.fields)


@dataclass(eq=False)
class StubRemote:
    """An API at `base_url`. It answers 429 where `at_once` are under way already, and 401 without its `key`.

    `faults` befall one request each, in order. While `open` is cleared, answers wait behind their first piece.
    `tokens_per_second` is 0 for no pause between the pieces.
    """

    key: str = ""
    at_once: int = 1000
    retry_after: str = "1"
    tokens: int = 8
    tokens_per_second: float = 0.0
    faults: deque[Fault] = field(default_factory=deque)
    calls: list[Called] = field(default_factory=list)
    most: int = 0
    redirected: int = 0
    port: int = 0

    def __post_init__(self) -> None:
        self.open = asyncio.Event()
        self.open.set()
        self._working = 0
        self._news = asyncio.Condition()
        self._runner: web.AppRunner | None = None

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_post("/v1/{path:.*}", self._serve)
        app.router.add_route("*", "/elsewhere", self._elsewhere)
        self._runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.open.set()
        if self._runner is not None:
            await self._runner.cleanup()

    async def wait_for(self, seen: Callable[[], bool], patience: float = 30.0) -> None:
        """Wait until `seen`, asked again whenever a request comes or ends, is true."""
        async with asyncio.timeout(patience), self._news:
            await self._news.wait_for(seen)

    def under_way(self) -> int:
        return sum(not call.ended for call in self.calls)

    async def _elsewhere(self, _: web.Request) -> web.Response:
        self.redirected += 1
        return web.json_response({"object": "list", "data": []})

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        call = Called(request.path, headers, body, decode(body), time())
        self.calls.append(call)
        await self._changed()
        try:
            return await self._answer(request, call)
        finally:
            call.ended_at = time()
            await asyncio.shield(self._changed())

    async def _changed(self) -> None:
        async with self._news:
            self._news.notify_all()

    async def _answer(self, request: web.Request, call: Called) -> web.StreamResponse:
        if self.key and call.headers.get("authorization") != f"Bearer {self.key}":
            return _error(401, f"Incorrect API key provided: {call.headers.get('authorization')}")
        if self._working >= self.at_once:
            return _error(429, "rate limit reached", {"Retry-After": self.retry_after})
        self._working += 1
        self.most = max(self.most, self._working)
        try:
            fault = self.faults.popleft() if self.faults else None
            return await self._faulty(request, call, fault)
        finally:
            self._working -= 1

    async def _faulty(self, request: web.Request, call: Called, fault: Fault | None) -> web.StreamResponse:
        said = call.headers.get("authorization", "")
        match fault:
            case "cut":
                return self._drop(request)
            case "silent":
                await asyncio.Event().wait()
            case "redirect":
                return web.Response(status=307, headers={"Location": "/elsewhere"})
            case "busy":
                return _error(429, "slow down", {"Retry-After": self.retry_after})
            case "spent":
                return _error(429, "you exceeded your current quota", code="insufficient_quota")
            case "unavailable":
                return _error(503, "overloaded")
            case "refused":
                return _error(400, "this model does not do that")
            case "echo_error":
                return _error(500, f"failed with {said}", {"X-Said": said})
            case "echo":
                return web.json_response({"said": said}, headers={"X-Said": said})
        return await self._well(request, call, midway=fault == "cut_midway")

    async def _well(self, request: web.Request, call: Called, *, midway: bool) -> web.StreamResponse:
        api = _BY_PATH[call.path]
        answer = api.answer(call.fields, reply_to(call.fields, self.tokens))
        response = web.StreamResponse(status=answer.status, headers={"Content-Type": answer.content_type})
        if answer.streamed:
            await response.prepare(request)
            await response.write(b": hello\n\n")
        await self.open.wait()
        frames = list(answer.frames)
        if not answer.streamed:
            response.content_length = sum(map(len, frames))
            await response.prepare(request)
        for number, frame in enumerate(frames):
            if midway and (number or not answer.streamed):
                await response.write(frame[: len(frame) // 2])
                return self._drop(request)
            if self.tokens_per_second:
                await asyncio.sleep(1 / self.tokens_per_second)
            await response.write(frame)
        await response.write_eof()
        return response

    def _drop(self, request: web.Request) -> web.StreamResponse:
        if request.transport is not None:
            request.transport.abort()
        return web.Response()


def _error(status: int, message: str, headers: dict[str, str] | None = None, code: str | None = None) -> web.Response:
    error: dict[str, Any] = {"message": message, "type": "api_error", "param": None, "code": code}
    return web.json_response({"error": error}, status=status, headers=headers)
