"""The front of a stub: its URL table, and what is true of every request: the ledger, freezing, 404 and 405."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

from aiohttp import web

from foreman.testing.answers import library
from foreman.testing.answers.answer import Answer, gin, plain
from foreman.testing.apis import APIS, Api, Shape, refused
from foreman.testing.delivery import Delivery
from foreman.testing.gojson import Refusal
from foreman.testing.inference import Inference
from foreman.testing.ledger import Ending, Entry
from foreman.testing.wire import Wire, Written

VERSION: Final = "0.33.0"

_ENTRY: Final = web.RequestKey("entry", Entry)
_Next = Callable[[web.Request], Awaitable[web.StreamResponse]]
_Plain = Callable[[web.Request, Entry], Answer | Awaitable[Answer]]


class Front:
    """Routes of one stub. `ps` is what /api/ps lists instead of the truth."""

    def __init__(self, inference: Inference) -> None:
        self.inference = inference
        self.ps: list[dict[str, Any]] | None = None
        self._thawed = asyncio.Event()
        self._thawed.set()

    def freeze(self) -> None:
        self._thawed.clear()

    def thaw(self) -> None:
        self._thawed.set()

    def app(self) -> web.Application:
        """The application; its body limit is off, as Ollama has none."""

        @web.middleware
        async def recorded(request: web.Request, handler: _Next) -> web.StreamResponse:
            return await self._recorded(request, handler)

        app = web.Application(middlewares=[recorded], client_max_size=0)
        for method, path, handler in self._routes():
            app.router.add_route(method, path, handler)
        return app

    def _routes(self) -> list[tuple[str, str, _Next]]:
        plain_routes: tuple[tuple[str, str, _Plain], ...] = (
            ("GET", "/", self._root),
            ("HEAD", "/", self._root),
            ("GET", "/api/version", self._version),
            ("HEAD", "/api/version", self._version),
            ("GET", "/api/tags", self._tags),
            ("HEAD", "/api/tags", self._tags),
            ("GET", "/api/ps", self._ps),
            ("GET", "/api/status", self._status),
        )
        routes = [(method, path, self._plain(handler)) for method, path, handler in plain_routes]
        return routes + [("POST", api.path, partial(self._infer, api)) for api in APIS]

    def _plain(self, handler: _Plain) -> _Next:
        async def handle(request: web.Request) -> web.StreamResponse:
            entry = request[_ENTRY]
            try:
                found = handler(request, entry)
                answer = found if isinstance(found, Answer) else await found
            except Refusal as error:
                answer = refused(Shape.OLLAMA, error)
            return await self._send(request, answer)

        return handle

    async def _infer(self, api: Api, request: web.Request) -> web.StreamResponse:
        return await self.inference.serve(api, request, request[_ENTRY])

    async def _recorded(self, request: web.Request, handler: _Next) -> web.StreamResponse:
        ledger = self.inference.ledger
        entry = request[_ENTRY] = ledger.arrived(request.method, request.path, tuple(request.headers.items()))
        try:
            await self._read(request, entry)
            await self._thawed.wait()
            return await self._handled(request, handler)
        except asyncio.CancelledError:
            ledger.ended(entry, Ending.CLIENT_GONE)
            raise
        except ConnectionError:
            ledger.ended(entry, Ending.CLIENT_GONE)
            return Written(keep_alive=False)

    async def _read(self, request: web.Request, entry: Entry) -> None:
        entry.body = await request.read()
        entry.body_sha256 = hashlib.sha256(entry.body).hexdigest()

    async def _handled(self, request: web.Request, handler: _Next) -> web.StreamResponse:
        try:
            return await handler(request)
        except web.HTTPMethodNotAllowed as error:
            allowed = {"Allow": ", ".join(sorted(error.allowed_methods))}
            return await self._send(request, plain("405 method not allowed", 405, allowed))
        except web.HTTPNotFound:
            return await self._send(request, plain("404 page not found", 404))

    async def _send(self, request: web.Request, answer: Answer) -> web.StreamResponse:
        scripts, entry = self.inference.scripts, request[_ENTRY]
        scene = scripts.take(request.path)
        script = scene.script
        if script.status is not None:
            answer = Answer(script.status, "application/json", (script.body,), headers=script.headers)
        try:
            return await Delivery(request, Wire(request), self.inference.ledger, entry, scene, 0.0).send(answer)
        finally:
            scripts.leave(scene)

    def _root(self, _request: web.Request, _entry: Entry) -> Answer:
        return plain("Ollama is running")

    def _version(self, _request: web.Request, _entry: Entry) -> Answer:
        return gin({"version": VERSION})

    def _tags(self, _request: web.Request, _entry: Entry) -> Answer:
        return gin(library.tags(self.inference.library.newest_first()))

    def _ps(self, _request: web.Request, _entry: Entry) -> Answer:
        lie = self.ps
        return gin(library.ps(self.inference.residency.longest_first()) if lie is None else {"models": lie})

    def _status(self, _request: web.Request, _entry: Entry) -> Answer:
        return gin({"cloud": {"disabled": False, "source": "none"}})
