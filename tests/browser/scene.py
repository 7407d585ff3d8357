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
from foreman.testing import StubModel, StubOllama
from foreman.web.guard import Guard
from foreman.web.server import application, listening

GB = 10**9
QWEN, LLAMA, CODER, NOMIC = "qwen3:32b", "llama3.1:8b", "qwen2.5-coder:14b", "nomic-embed-text:latest"
LARGE = "llama3.3:70b"
SIZES = {QWEN: 20, LLAMA: 5, CODER: 9, LARGE: 43}
# Who asks, for which model, and how often before the picture.
CLIENTS = ("open-webui/0.6", "ollama-python/0.6.1", "OpenAI/Python", "n8n/1.99", "continue/1.3", "llm/0.27")
ASKED = [QWEN] * 4 + [LLAMA] * 9 + [CODER] * 6 + [LLAMA] * 5 + [QWEN] * 3 + [CODER] * 8


class Desk:
    """A desktop with 64 GB, on which other things happen too."""

    def read(self, now: float) -> Readings:
        wave = 0.5 + 0.5 * math.sin(now / 95) * math.cos(now / 41)
        return Readings(
            at=now, cores=12, load=1.1 + 1.7 * wave, own_load=0.4, available=int((31 + 3 * wave) * GB), total=64 * GB,
            disk_free=int((412 - 6 * wave) * GB), disk_total=994 * GB, foreign=(),
        )  # fmt: skip

    def glance(self, now: float) -> Readings:
        return dataclasses.replace(self.read(now), foreign=None)


@asynccontextmanager
async def lively(folder: Path) -> AsyncIterator[str]:
    """The URL of a foreman with a past, a present and a queue."""
    stub = StubOllama(
        [*(StubModel(name=name, size=size * GB) for name, size in SIZES.items()), NOMIC],
        tokens=26, tokens_per_second=900, load_seconds=0.05,
    )  # fmt: skip
    settings = Settings(target="http://127.0.0.1:1", db=folder / "foreman.db", disk_reserve=30 * GB, gate="on")
    async with stub:
        chosen = dataclasses.replace(settings, target=stub.url)
        async with engine_of(chosen, SystemClock(), Desk()) as engine:
            await engine.start()
            app = application(chosen, engine, Guard((), (), None))
            async with listening(app, Address("127.0.0.1", 0)) as url, aiohttp.ClientSession(url) as http:
                running = asyncio.create_task(engine.run())
                await engine.poller.refresh()
                _remember(engine)
                await _past(http)
                waits = await _present(http, stub)
                yield url
                for wait in waits:
                    wait.cancel()
                running.cancel()
                await asyncio.wait((running, *waits))


def _remember(engine: Engine) -> None:
    """The last quarter of an hour, as this machine would have seen it."""
    now, desk = time.time(), Desk()
    engine.trail.marks.extendleft(desk.glance(now - n * EVERY_SECONDS) for n in range(1, KEPT - 1))


async def _past(http: aiohttp.ClientSession) -> None:
    for n, model in enumerate(ASKED):
        await _ask(http, n, model)
    await _ask(http, 3, LLAMA, path="/v1/chat/completions")


async def _present(http: aiohttp.ClientSession, stub: StubOllama) -> list[asyncio.Task[None]]:
    """One that runs, and some that wait."""
    stub.script(QWEN, None)
    waits = [asyncio.create_task(_ask(http, 0, QWEN, tokens=4000))]
    await stub.ledger.wait_for(lambda ledger: any(entry.model == QWEN and entry.began_at and entry.ending == "open" for entry in ledger.entries))
    for n, model in enumerate([QWEN, LLAMA, CODER, LLAMA, LARGE, QWEN, LLAMA, CODER, QWEN, LLAMA, LLAMA]):
        waits.append(asyncio.create_task(_ask(http, n + 1, model, num_ctx=16384 if model == CODER else None)))
        await asyncio.sleep(0.05)
    return waits


async def _ask(http: aiohttp.ClientSession, n: int, model: str, *, tokens: int = 0, path: str = "/api/chat", num_ctx: int | None = None) -> None:
    body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": f"What does a foreman do? ({n})"}]}
    if num_ctx:
        body["options"] = {"num_ctx": num_ctx}
    async with http.post(path, json=body, headers={"User-Agent": CLIENTS[n % len(CLIENTS)]}) as answer:
        await answer.read()
