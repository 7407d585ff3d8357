"""The remote control over HTTP, for a stub that is a process of its own: everything under `/_stub/`.

POST script {"key", "script": {..} | [..] | null}, release {"key", "chunks"?}, ps {"models": [..] | null},
refuse {"seconds"}, freeze, thaw, hold_loads, release_loads, reset; GET ledger, which with `requests`, `held` or
`ended` in its query waits until there are at least so many. These requests are in no ledger and never frozen.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from aiohttp import web

from foreman.testing.gojson import Fields, Refusal, decode
from foreman.testing.ledger import Ending, Ledger
from foreman.testing.script import Script, Scripts

PREFIX = "/_stub/"


class Controlled(Protocol):
    """What of a stub the remote control needs."""

    ledger: Ledger
    scripts: Scripts
    ps: list[dict[str, Any]] | None

    def freeze(self) -> None: ...
    def thaw(self) -> None: ...
    def hold_loads(self) -> None: ...
    def release_loads(self) -> None: ...
    def refuse(self) -> None: ...
    async def accept(self) -> None: ...


class Control:
    """Handlers of one stub."""

    def __init__(self, stub: Controlled) -> None:
        self._stub = stub
        self._returning: asyncio.Task[None] | None = None

    def add_to(self, router: web.UrlDispatcher) -> None:
        stub = self._stub
        router.add_get(f"{PREFIX}ledger", self._ledger)
        router.add_post(f"{PREFIX}refuse", self._refuse)
        simple: dict[str, Callable[[Fields], None]] = {
            "script": self._script,
            "release": lambda fields: stub.scripts.release(fields.get("key", "*"), fields.get("chunks")),
            "ps": self._ps,
            "freeze": lambda _: stub.freeze(),
            "thaw": lambda _: stub.thaw(),
            "hold_loads": lambda _: stub.hold_loads(),
            "release_loads": lambda _: stub.release_loads(),
            "reset": self._reset,
        }
        for name, act in simple.items():
            router.add_post(f"{PREFIX}{name}", _handler(act))

    def _script(self, fields: Fields) -> None:
        given = fields.get("script")
        script = [Script.from_json(one) for one in given] if isinstance(given, list) else given
        self._stub.scripts.set(fields.get("key", "*"), Script.from_json(given) if isinstance(given, dict) else script)

    def _ps(self, fields: Fields) -> None:
        self._stub.ps = fields.get("models")

    def _reset(self, _: Fields) -> None:
        self._stub.scripts.clear()
        self._stub.ps = None
        self._stub.thaw()
        self._stub.release_loads()

    async def _refuse(self, request: web.Request) -> web.StreamResponse:
        """Answers, refuses, and listens again after `seconds`: no later request could tell it to."""
        seconds = float((await _fields(request)).get("seconds", 1.0))
        response = web.json_response({})
        await response.prepare(request)
        await response.write_eof()
        self._stub.refuse()
        self._returning = asyncio.create_task(self._return_after(seconds))
        return response

    async def _return_after(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self._stub.accept()

    def close(self) -> None:
        """Gives up listening again."""
        if self._returning is not None:
            self._returning.cancel()

    async def _ledger(self, request: web.Request) -> web.StreamResponse:
        wanted = {name: int(request.query.get(name, "0")) for name in ("requests", "held", "ended")}
        ledger = self._stub.ledger
        try:
            await ledger.wait_for(
                lambda _: all(_counts(ledger)[name] >= count for name, count in wanted.items()),
                float(request.query.get("timeout", "10")),
            )
        except TimeoutError:
            return web.json_response({"error": "not so many in time"}, status=504)
        return web.json_response(
            {
                "entries": [entry.json() for entry in ledger.entries],
                "loads": ledger.loads,
                "unloads": ledger.unloads,
                "concurrent": ledger.concurrent,
                "max_concurrent": ledger.max_concurrent,
            }
        )


def _counts(ledger: Ledger) -> dict[str, int]:
    return {
        "requests": len(ledger.entries),
        "held": sum(entry.held for entry in ledger.entries),
        "ended": sum(entry.ending is not Ending.OPEN for entry in ledger.entries),
    }


async def _fields(request: web.Request) -> Fields:
    return decode(await request.read() or b"{}")


def _handler(act: Callable[[Fields], None]) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            act(await _fields(request))
        except (Refusal, ValueError, TypeError) as error:
            return web.json_response({"error": str(error)}, status=400)
        return web.json_response({})

    return handle
