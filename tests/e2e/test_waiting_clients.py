"""The official packages wait longer than their own patience, for heartbeats come."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any

import httpx
import ollama
import openai
import pytest
import pytest_asyncio

from foreman.testing import Die, Script, StubOllama, expected_text
from tests.e2e.padded import QUICK, SKY
from tests.e2e.process import Foreman, serving

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def foreman(stub: StubOllama, db: Path) -> AsyncIterator[Foreman]:
    async with serving(stub.url, db, **QUICK) as foreman:
        yield foreman
        assert foreman.process.returncode is None, "\n".join(foreman.lines)


@pytest_asyncio.fixture(loop_scope="module", autouse=True)
async def unscripted(stub: StubOllama, foreman: Foreman) -> AsyncIterator[None]:
    yield
    stub.scripts.clear()
    stub.release_loads()
    await foreman.healthy(lambda report: report["running"] is None and report["queue"]["depth"] == 0)


LIMIT = 1.0
TEXT = expected_text({"model": "llama3", "messages": SKY})


async def by_ollama(url: str, *, stream: bool) -> str:
    async with ollama.AsyncClient(url, timeout=LIMIT) as client:
        answer: Any = await client.chat("llama3", SKY, stream=stream)
        if not stream:
            return str(answer.message.content)
        return "".join([part.message.content async for part in answer])


async def by_openai(url: str, *, stream: bool) -> str:
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", timeout=LIMIT, max_retries=0) as client:
        asked: Any = {"model": "llama3", "messages": SKY, "stream": stream}
        answer: Any = await client.chat.completions.create(**asked)
        if not stream:
            return str(answer.choices[0].message.content)
        return "".join([chunk.choices[0].delta.content or "" async for chunk in answer])


def everybody(url: str) -> list[Awaitable[str]]:
    return [ask(url, stream=stream) for ask in (by_ollama, by_openai) for stream in (True, False)]


async def test_the_official_clients_wait_longer_than_their_own_limit(
    stub: StubOllama, foreman: Foreman, tmp_path: Path
) -> None:
    stub.script("llama3", [Script(hold=0)])
    async with StubOllama() as mute, serving(mute.url, tmp_path / "foreman.db", heartbeat_seconds=0) as silent:
        mute.script("llama3", Script(hold=0))
        padded = [asyncio.ensure_future(asked) for asked in everybody(foreman.url)]
        await stub.ledger.held()
        await foreman.queued(3)
        gave_up = await asyncio.gather(*everybody(silent.url), return_exceptions=True)
        assert all(isinstance(error, httpx.ReadTimeout | openai.APITimeoutError) for error in gave_up), gave_up
        assert not any(asked.done() for asked in padded)
        stub.release("llama3")
        assert await asyncio.gather(*padded) == [TEXT] * 4


FAILURES = [Script(hold=0, status=400, error="no such thing"), Script(hold=0, die=Die.FIN)]


@pytest.mark.parametrize("script", FAILURES, ids=["refused", "lost"])
async def test_the_official_clients_raise_on_a_late_failure(stub: StubOllama, tmp_path: Path, script: Script) -> None:
    # On a kept connection the first loss would be asked again unseen, and held once more.
    once = {"hold_seconds": 0, "heartbeat_seconds": 0.05, "max_attempts": 1, "target_connection": "single"}
    async with serving(stub.url, tmp_path / "foreman.db", **once) as foreman:
        for path in ("/api/chat", "/v1/chat/completions"):
            stub.script(path, [script] * 2)
        asked = [asyncio.ensure_future(one) for one in everybody(foreman.url)]
        await foreman.queued(3)
        for count in range(1, 5):
            stub.release((await stub.ledger.held()).path)
            await foreman.event("job_finished", count, outcome="failed")
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert all(isinstance(answer, Exception) for answer in answers), answers
        assert "no such thing" in str(answers[0]) or script.status is None
