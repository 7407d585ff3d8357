"""Answering one inference request: checks, the load, the reply, and what the script makes of them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from foreman.testing import reply
from foreman.testing.answers import ollama
from foreman.testing.answers.answer import Answer
from foreman.testing.apis import Api, Shape, refused
from foreman.testing.delivery import Delivery
from foreman.testing.durations import keep_alive_seconds
from foreman.testing.gojson import Fields, Refusal
from foreman.testing.ledger import Ending, Entry, Ledger
from foreman.testing.models import Library, StubModel, checked, is_cloud
from foreman.testing.residency import Residency, load_options
from foreman.testing.script import PLAIN, Scene, Script, Scripts
from foreman.testing.wire import Wire

_CLOUD: Final = ("completion", "vision", "tools", "thinking", "embedding")


@dataclass(frozen=True, slots=True)
class Inference:
    """The parts of a stub that inference needs. `tokens` and `rate` are what it says and how fast."""

    library: Library
    residency: Residency
    ledger: Ledger
    scripts: Scripts
    tokens: int
    rate: float

    async def serve(self, api: Api, request: web.Request, entry: Entry) -> web.StreamResponse:
        """Reads, checks, loads, answers. Raises ConnectionError and CancelledError when the client leaves."""
        try:
            fields = api.read(entry.body, request.headers.get("Content-Type", ""))
            entry.model = api.model_name(fields)
            unloads = api.only_loads(fields) and keep_alive_seconds(fields.get("keep_alive")) == 0
        except Refusal as error:
            return await self._delivery(request, entry, Scene("")).send(refused(api.shape, error))
        scene = Scene("") if unloads else self.scripts.take(entry.model, api.path, "*")
        delivery = self._delivery(request, entry, scene)
        try:
            if (answer := scripted(api.shape, scene.script)) is not None:
                return await delivery.send(answer)
            return await self._run(api, fields, delivery, unloads=unloads)
        except Refusal as error:
            return await delivery.send(refused(api.shape, error))
        finally:
            self.scripts.leave(scene)

    async def _run(self, api: Api, fields: Fields, delivery: Delivery, *, unloads: bool) -> web.StreamResponse:
        entry, script = delivery.entry, delivery.scene.script
        model = self._model(api, entry.model)
        api.check(entry.model, model, fields)
        if unloads:
            self.residency.unload(model)
            return await delivery.send(ollama.loaded(fields, chat=api.path == "/api/chat", reason="unload"))
        async with self._busy(model, fields, entry):
            try:
                return await delivery.send(self._answer(api, fields, script))
            except (asyncio.CancelledError, ConnectionError):
                if script.linger:
                    self.ledger.ended(entry, Ending.CLIENT_GONE)
                    await _linger(script.linger)
                raise

    @asynccontextmanager
    async def _busy(self, model: StubModel, fields: Fields, entry: Entry) -> AsyncIterator[None]:
        """The target at work on the request: counted unless it is an embedding, loaded unless it is remote."""
        options, keep_alive = load_options(fields), keep_alive_seconds(fields.get("keep_alive"))
        if model.remote_host:
            yield
        elif model.embedding_only:
            async with self.residency.using(model, options, keep_alive):
                yield
        else:
            with self.ledger.working(entry):
                async with self.residency.using(model, options, keep_alive):
                    yield

    def _answer(self, api: Api, fields: Fields, script: Script) -> Answer:
        if api.only_loads(fields):
            return ollama.loaded(fields, chat=api.path == "/api/chat", reason="load")
        tokens = self.tokens if script.tokens is None else script.tokens
        answer = api.answer(fields, reply.reply_to(fields, tokens))
        if script.error is not None and not answer.streamed:
            raise Refusal(500, script.error)
        return answer

    def _model(self, api: Api, name: str) -> StubModel:
        folded = checked(name)
        if (model := self.library.find(name)) is not None:
            return model
        if is_cloud(name):
            return StubModel(name=folded, capabilities=_CLOUD, remote_host="https://ollama.com:443")
        raise Refusal(404, api.unknown.format(name))

    def _delivery(self, request: web.Request, entry: Entry, scene: Scene) -> Delivery:
        rate = self.rate if scene.script.tokens_per_second is None else scene.script.tokens_per_second
        return Delivery(request, Wire(request), self.ledger, entry, scene, rate)


def scripted(shape: Shape, script: Script) -> Answer | None:
    """What is sent instead of any answer, before a model is even looked for."""
    if script is PLAIN or (script.status is None and script.raw is None):
        return None
    status = script.status or 200
    if script.error is not None:
        answer = refused(shape, Refusal(status, script.error))
        return Answer(status, answer.content_type, answer.frames, headers=script.headers)
    return Answer(status, "", (script.body,), headers=script.headers)


async def _linger(seconds: float) -> None:
    """Sleeps on through cancellation: the client is gone, the work is not."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while (left := until - loop.time()) > 0:
        try:
            await asyncio.sleep(left)
        except asyncio.CancelledError:
            continue
