"""The clients of Node through a wait that is longer than Node's own limits; `make test-clients` runs them.

Those marked `long` wait for the limits that Node has by default, five minutes each.
"""

import asyncio
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from foreman.testing import Die, Script, StubOllama, expected_text
from tests.e2e.process import Foreman, serving

pytestmark = pytest.mark.clients

ASK = Path(__file__).parent / "ask.mjs"
CLIENTS = ["ollama", "openai", "ai", "undici"]
STREAM = pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
TEXT = expected_text({"model": "llama3", "messages": [{"role": "user", "content": "Why is the sky blue?"}]})
# The least that undici's timers can tell apart.
LIMIT_MS = 1000


async def ask(foreman: Foreman, client: str, *, stream: bool, limit: int | None = LIMIT_MS) -> dict[str, str]:
    """One question in a process of its own: `text`, or the `error` that the client raised."""
    asked = {"client": client, "url": foreman.url, "stream": stream}
    if limit is not None:
        asked["limit"] = limit
    process = await asyncio.create_subprocess_exec("node", str(ASK), orjson.dumps(asked).decode(), stdout=PIPE)
    try:
        out, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    answer: dict[str, str] = orjson.loads(out)
    return answer


@asynccontextmanager
async def both(db: Path, script: Script, **settings: object) -> AsyncIterator[tuple[StubOllama, Foreman]]:
    """A target with a fate for every question, and a foreman that pads at once, if it is not told otherwise."""
    padding: dict[str, Any] = {"hold_seconds": 0, "heartbeat_seconds": 0.2, "max_attempts": 1} | settings
    async with StubOllama() as stub, serving(stub.url, db, **padding) as foreman:
        for path in ("/api/chat", "/v1/chat/completions"):
            stub.script(path, script)
        yield stub, foreman


async def outwaited(
    tmp_path: Path, client: str, *, stream: bool, limit: int | None = LIMIT_MS, **settings: object
) -> dict[str, str]:
    """What a client makes of an answer that comes after the same client, without heartbeats, has given up."""
    held = Script(hold=0)
    async with (
        both(tmp_path / "padded.db", held, **settings) as (stub, foreman),
        both(tmp_path / "silent.db", held, heartbeat_seconds=0) as (_, silent),
    ):
        asked = asyncio.create_task(ask(foreman, client, stream=stream, limit=limit))
        entry = await stub.ledger.held(timeout=30)
        gave_up = await ask(silent, client, stream=stream, limit=limit)
        # The SDK of OpenAI says it in words of its own; its own limit is ten minutes.
        assert "UND_ERR_HEADERS_TIMEOUT" in gave_up["error"] or gave_up["error"] == "Error: Request timed out."
        assert not asked.done()
        stub.release(entry.path)
        return await asked


@STREAM
@pytest.mark.parametrize("client", CLIENTS)
async def test_an_answer_that_comes_after_the_clients_own_limit_arrives_whole(
    tmp_path: Path, client: str, stream: bool
) -> None:
    assert await outwaited(tmp_path, client, stream=stream) == {"text": TEXT}


LATE = {
    "refused": Script(hold=0, status=400, error="no such thing"),
    "lost": Script(hold=0, die=Die.FIN),
    "cut": Script(hold=0, die=Die.FIN, die_after_bytes=150),
}


@STREAM
@pytest.mark.parametrize("script", LATE.values(), ids=LATE.keys())
@pytest.mark.parametrize("client", CLIENTS)
async def test_a_late_failure_raises(tmp_path: Path, client: str, script: Script, stream: bool) -> None:
    async with both(tmp_path / "foreman.db", script) as (stub, foreman):
        asked = asyncio.create_task(ask(foreman, client, stream=stream))
        # By then its headers are long on their way: the model had to be loaded first.
        stub.release((await stub.ledger.held(timeout=30)).path)
        assert (await asked).keys() == {"error"}


@pytest.mark.long
@pytest.mark.timeout(500)
@STREAM
@pytest.mark.parametrize("client", ["ollama", "ai"])
async def test_an_answer_that_comes_after_nodes_default_limit_arrives_whole(
    tmp_path: Path, client: str, stream: bool
) -> None:
    settings: dict[str, Any] = {"hold_seconds": 10, "heartbeat_seconds": 10}
    answer = await outwaited(tmp_path, client, stream=stream, limit=None, **settings)
    assert answer == {"text": TEXT}
