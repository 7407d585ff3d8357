"""Answering one inference request: checks, the load, the reply, and what the script makes of them."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Final

from aiohttp import web

from foreman.testing import reply
from foreman.testing.answers import ollama
from foreman.testing.answers.answer import Answer
from foreman.testing.apis import Api, Shape, refused
from foreman.testing.delivery import Delivery
from foreman.testing.durations import keep_alive_seconds
from foreman.testing.gojson import Fields, Refusal
from foreman.testing.ledger import Entry, Ledger
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
    lingering: set[asyncio.Task[None]] = field(default_factory=set)

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
        async with AsyncExitStack() as busy:
            if not model.remote_host:
                options, keep_alive = load_options(fields), keep_alive_seconds(fields.get("keep_alive"))
                if api.capability != "embedding":
                    busy.enter_context(self.ledger.working(entry))
                await busy.enter_async_context(self.residency.using(model, options, keep_alive))
            try:
                return await delivery.send(self._answer(api, fields, script))
            except (asyncio.CancelledError, ConnectionError):
                if script.linger:
                    self._linger(busy.pop_all(), script.linger)
                raise

    def _linger(self, busy: AsyncExitStack, seconds: float) -> None:
        """The client is gone, the work goes on."""

        async def work_on() -> None:
            async with busy:
                await asyncio.sleep(seconds)

        task = asyncio.create_task(work_on())
        self.lingering.add(task)
        task.add_done_callback(self.lingering.discard)

    async def close(self) -> None:
        """Ends what lingers."""
        for task in self.lingering:
            task.cancel()
        await asyncio.gather(*self.lingering, return_exceptions=True)

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
