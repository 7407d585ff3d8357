"""The front of a stub: its URL table, and what is true of every request: the ledger, freezing, 404 and 405."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from functools import partial
from typing import Any, Final

from aiohttp import web

from foreman.testing import control
from foreman.testing.answers import library
from foreman.testing.answers.answer import Answer, gin, go_json, plain
from foreman.testing.apis import APIS, Api, Shape, refused
from foreman.testing.delivery import Delivery
from foreman.testing.gojson import Refusal
from foreman.testing.inference import Inference, scripted
from foreman.testing.ledger import Ending, Entry
from foreman.testing.models import canonical
from foreman.testing.upkeep import Upkeep
from foreman.testing.wire import Wire, Written

VERSION: Final = "0.33.0"

_ENTRY: Final = web.RequestKey("entry", Entry)
_BLOBS: Final = "/api/blobs/"
# Here a script set under the model's name counts; on the other plain routes only one set under the path does.
_HEAVY: Final = ("/api/pull", "/api/push", "/api/create")
_BUSY: Final = ("/api/pull", "/api/create")

_Next = Callable[[web.Request], Awaitable[web.StreamResponse]]
_Plain = Callable[[web.Request, Entry], Answer | Awaitable[Answer]]


class Front:
    """Routes of one stub. `ps` is what /api/ps lists instead of the truth."""

    def __init__(self, inference: Inference) -> None:
        self.inference = inference
        self.ps: list[dict[str, Any]] | None = None
        self._upkeep = Upkeep(inference.library, inference.residency)
        self._thawed = asyncio.Event()
        self._thawed.set()
        self._paths: set[str] = set()

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
            self._paths.add(path)
        return app

    def _routes(self) -> list[tuple[str, str, _Next]]:
        upkeep = self._upkeep
        plain_routes: tuple[tuple[str, str, _Plain], ...] = (
            ("GET HEAD", "/", self._root),
            ("GET HEAD", "/api/version", self._version),
            ("GET HEAD", "/api/tags", self._tags),
            ("GET", "/api/ps", self._ps),
            ("GET", "/api/status", self._status),
            ("POST", "/api/show", upkeep.show),
            ("POST", "/api/pull", upkeep.pull),
            ("POST", "/api/push", upkeep.push),
            ("POST", "/api/create", upkeep.create),
            ("POST", "/api/copy", upkeep.copy),
            ("DELETE", "/api/delete", upkeep.delete),
            ("HEAD", f"{_BLOBS}{{digest}}", upkeep.has_blob),
            ("POST", f"{_BLOBS}{{digest}}", upkeep.add_blob),
            ("GET", "/v1/models", self._models),
            ("GET", "/v1/models/{model}", self._model),
        )
        routes = [
            (method, path, self._plain(handler))
            for methods, path, handler in plain_routes
            for method in methods.split()
        ]
        return routes + [("POST", api.path, partial(self._infer, api)) for api in APIS]

    def _plain(self, handler: _Plain) -> _Next:
        async def handle(request: web.Request) -> web.StreamResponse:
            shape = Shape.OPENAI if request.path.startswith("/v1/") else Shape.OLLAMA
            try:
                found = handler(request, request[_ENTRY])
                answer = found if isinstance(found, Answer) else await found
            except Refusal as error:
                answer = refused(shape, error)
            return await self._send(request, answer, shape)

        return handle

    async def _infer(self, api: Api, request: web.Request) -> web.StreamResponse:
        return await self.inference.serve(api, request, request[_ENTRY])

    async def _recorded(self, request: web.Request, handler: _Next) -> web.StreamResponse:
        if request.path.startswith(control.PREFIX):
            return await handler(request)
        ledger = self.inference.ledger
        entry = request[_ENTRY] = ledger.arrived(request.method, request.path, tuple(request.headers.items()))
        try:
            if not request.path.startswith(_BLOBS):
                entry.body = await request.read()
                entry.body_sha256 = hashlib.sha256(entry.body).hexdigest()
            await self._thawed.wait()
            return await self._routed(request, handler)
        except asyncio.CancelledError:
            ledger.ended(entry, Ending.CLIENT_GONE)
            raise
        except ConnectionError:
            ledger.ended(entry, Ending.CLIENT_GONE)
            return Written(keep_alive=False)

    async def _routed(self, request: web.Request, handler: _Next) -> web.StreamResponse:
        try:
            return await handler(request)
        except web.HTTPMethodNotAllowed as error:
            allowed = {"Allow": ", ".join(sorted(error.allowed_methods))}
            return await self._send(request, plain("405 method not allowed", 405, allowed))
        except web.HTTPNotFound:
            return await self._send(request, self._not_found(request))

    def _not_found(self, request: web.Request) -> Answer:
        """A known path with a slash too many is redirected, as gin does."""
        bare = request.path.rstrip("/")
        if bare not in self._paths:
            return plain("404 page not found", 404)
        return plain("", 301 if request.method == "GET" else 307, {"Location": bare})

    async def _send(self, request: web.Request, answer: Answer, shape: Shape = Shape.OLLAMA) -> web.StreamResponse:
        inference, entry = self.inference, request[_ENTRY]
        keys = (entry.model, request.path) if request.path in _HEAVY and entry.model else (request.path,)
        scene = inference.scripts.take(*keys)
        script = scene.script
        answer = scripted(shape, script) or answer
        if script.error is not None and script.status is None and not answer.streamed:
            answer = refused(shape, Refusal(500, script.error))
        rate = inference.rate if script.tokens_per_second is None else script.tokens_per_second
        # Upkeep is work like inference: nothing should run beside it.
        busy = inference.ledger.working(entry) if request.path in _BUSY else nullcontext()
        try:
            with busy:
                return await Delivery(request, Wire(request), inference.ledger, entry, scene, rate).send(answer)
        finally:
            inference.scripts.leave(scene)

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

    def _models(self, _request: web.Request, _entry: Entry) -> Answer:
        listed = [library.openai_model(model.name, model) for model in self.inference.library.newest_first()]
        return go_json({"object": "list", "data": listed or None})

    def _model(self, request: web.Request, _entry: Entry) -> Answer:
        name = request.match_info["model"]
        model = self.inference.library.find(name)
        if model is None:
            raise Refusal(404, f"model '{canonical(name)}' not found")
        return go_json(library.openai_model(name, model))
