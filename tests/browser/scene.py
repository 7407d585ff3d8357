"""A lively quarter of an hour for the pictures of the page: a stub, a made-up machine, and clients that ask."""

import asyncio
import dataclasses
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from foreman.app import engine_of
from foreman.core.addresses import Address
from foreman.core.gate import Readings
from foreman.engine.clock import SystemClock
from foreman.engine.engine import Engine
from foreman.engine.trail import EVERY_SECONDS, KEPT
from foreman.settings import Settings
from foreman.testing import Script, StubModel, StubOllama
from foreman.web.guard import Guard
from foreman.web.server import application, listening

GB = 10**9
QWEN, LLAMA, CODER, LARGE = "qwen3:32b", "llama3.1:8b", "qwen2.5-coder:14b", "llama3.3:70b"
MODELS = (
    StubModel(name=QWEN, size=20 * GB, load_seconds=1.6),
    StubModel(name=LLAMA, size=5 * GB, load_seconds=0.5),
    StubModel(name=CODER, size=9 * GB, load_seconds=0.8),
    StubModel(name=LARGE, size=43 * GB),
    StubModel(name="nomic-embed-text", size=274 * 10**6, capabilities=("embedding",)),
)
PACE = {QWEN: 34.0, LLAMA: 112.0, CODER: 61.0}
CLIENTS = ("open-webui/0.6", "ollama-python/0.6.1", "OpenAI/Python", "n8n/1.99", "continue/1.3", "llm/0.27")
# What came in bursts before the picture, in this order; what it became is the order in which it ran.
BURSTS = ((LLAMA, CODER, LLAMA, LLAMA, CODER, LLAMA), (QWEN, LLAMA, CODER, QWEN, LLAMA, CODER, LLAMA, LLAMA, CODER),
          (CODER, QWEN, CODER, QWEN, CODER, LLAMA, QWEN))  # fmt: skip
WAITING = (QWEN, LLAMA, CODER, LLAMA, LARGE, QWEN, LLAMA, CODER, QWEN, LLAMA, LLAMA, LLAMA, LLAMA, LLAMA, LLAMA)


class Desk:
    """A desktop with 64 GB, on which other things happen too."""

    def read(self, now: float) -> Readings:
        wave = 0.5 + 0.5 * math.sin(now / 95) * math.cos(now / 41)
        return Readings(
            at=now, cores=12, load=1.1 + 2.2 * wave, own_load=0.4, available=int((21 + 4 * wave) * GB), total=64 * GB,
            disk_free=int((212 - 6 * wave) * GB), disk_total=494 * GB, foreign=(),
        )  # fmt: skip

    def glance(self, now: float) -> Readings:
        return dataclasses.replace(self.read(now), foreign=None)


@asynccontextmanager
async def lively(folder: Path) -> AsyncIterator[str]:
    """The URL of a foreman with a past, a present and a queue."""
    settings = Settings(db=folder / "foreman.db", disk_reserve=30 * GB, gate="on", listen=Address("127.0.0.1", 0))
    async with StubOllama(MODELS, tokens=40) as stub:
        chosen = dataclasses.replace(settings, target=stub.url)
        async with engine_of(chosen, SystemClock(), Desk()) as engine:
            await engine.start()
            app = application(chosen, engine, Guard((), (), engine.keyring, engine.clock))
            async with listening(app, chosen.listen) as url, aiohttp.ClientSession(url) as http:
                running = asyncio.create_task(engine.run())
                await engine.poller.refresh()
                _remember(engine)
                await _past(http, stub)
                waits = await _present(http, stub, engine)
                yield url
                for wait in waits:
                    wait.cancel()
                running.cancel()
                await asyncio.wait((running, *waits))


def _remember(engine: Engine) -> None:
    """The last quarter of an hour, as this machine would have seen it."""
    now, desk = time.time(), Desk()
    engine.trail.marks.extendleft(desk.glance(now - n * EVERY_SECONDS) for n in range(1, KEPT - 1))


async def _past(http: aiohttp.ClientSession, stub: StubOllama) -> None:
    for model, pace in PACE.items():
        stub.script(model, Script(tokens_per_second=pace))
    for burst in BURSTS:
        await asyncio.gather(*(_ask(http, n, model) for n, model in enumerate(burst)))
    # The load takes the first of them.
    stub.script(CODER, [Script(), Script(status=400, error="the input is longer than the context")])
    await _ask(http, 2, CODER, path="/v1/chat/completions")
    stub.script(QWEN, Script(tokens_per_second=PACE[QWEN]))
    await _ask(http, 5, QWEN)


async def _present(http: aiohttp.ClientSession, stub: StubOllama, engine: Engine) -> list[asyncio.Task[None]]:
    """One that runs, some that wait, and one that is held: it was looked at when the first of them was begun."""
    stub.script(QWEN, Script(tokens=4000, tokens_per_second=PACE[QWEN]))
    await engine.pause(True)
    waits = [asyncio.create_task(_ask(http, 0, QWEN))]
    while engine.jobs.waiting < 1:
        await engine.events.news(engine.events.last)
    for n, model in enumerate(WAITING, 1):
        waits.append(asyncio.create_task(_ask(http, n, model, num_ctx=16384 if model == CODER else None)))
    while engine.jobs.waiting < 1 + len(WAITING):
        await engine.events.news(engine.events.last)
    await engine.pause(False)
    await stub.ledger.wait_for(lambda ledger: ledger.concurrent == 1, 30)
    return waits


async def _ask(
    http: aiohttp.ClientSession, n: int, model: str, *, path: str = "/api/chat", num_ctx: int | None = None
) -> None:
    body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": f"What does a foreman do? ({n})"}]}
    if num_ctx:
        body["options"] = {"num_ctx": num_ctx}
    async with http.post(path, json=body, headers={"User-Agent": CLIENTS[n % len(CLIENTS)]}) as answer:
        await answer.read()
