"""The stub as a process of its own, and its remote control."""

import asyncio
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from foreman.testing import StubOllama, expected_text
from tests.polling import until

ASK = {"model": "tiny", "prompt": "hello"}
ARGUMENTS = ("--listen", "127.0.0.1:0", "--model", "tiny=1.5GB", "--model", "other:7b", "--tokens", "5")


@asynccontextmanager
async def _running(*arguments: str) -> AsyncIterator[tuple[Process, str]]:
    """The process and the URL it says it listens on."""
    command = (sys.executable, "-m", "foreman.testing", *arguments)
    process = await asyncio.create_subprocess_exec(*command, stdout=DEVNULL, stderr=PIPE)
    assert process.stderr is not None
    line = (await process.stderr.readline()).decode()
    try:
        yield process, line.removeprefix("stub ollama listening on ").strip()
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with _running(*ARGUMENTS) as (_, url), aiohttp.ClientSession(url) as session:
        yield session


async def _tell(http: aiohttp.ClientSession, what: str, **fields: Any) -> None:
    async with http.post(f"/_stub/{what}", json=fields) as answer:
        assert (answer.status, await answer.json()) == (200, {})


async def _ledger(http: aiohttp.ClientSession, **query: int) -> Any:
    async with http.get("/_stub/ledger", params=query) as answer:
        assert answer.status == 200
        return await answer.json()


async def test_the_arguments_make_the_stub(http: aiohttp.ClientSession) -> None:
    async with http.get("/api/tags") as answer:
        sizes = {model["name"]: model["size"] for model in (await answer.json())["models"]}
    assert sizes == {"tiny:latest": 1_500_000_000, "other:7b": 4_200_000_000}
    async with http.post("/api/generate", json=ASK | {"stream": False}) as answer:
        assert (await answer.json())["response"] == expected_text(ASK, tokens=5)


async def test_scripts_holds_and_the_ledger_over_http(http: aiohttp.ClientSession) -> None:
    await _tell(http, "script", key="tiny", script=[{"status": 503, "error": "busy"}, {"hold": 1, "slices": [3]}])
    async with http.post("/api/generate", json=ASK) as answer:
        assert (answer.status, await answer.json()) == (503, {"error": "busy"})
    async with http.post("/api/generate", json=ASK) as answer:
        seen = await _ledger(http, held=1)
        assert [entry["chunks"] for entry in seen["entries"]] == [1, 1]
        await _tell(http, "release", key="tiny")
        await answer.read()
    seen = await _ledger(http, ended=2)
    assert [entry["ending"] for entry in seen["entries"]] == ["complete", "complete"]
    assert (seen["max_concurrent"], seen["loads"]) == (1, [["tiny:latest", {}]])
    assert seen["entries"][1]["body"] == '{"model": "tiny", "prompt": "hello"}'


async def test_ps_freeze_and_reset_over_http(http: aiohttp.ClientSession) -> None:
    await _tell(http, "ps", models=[{"name": "ghost"}])
    async with http.get("/api/ps") as answer:
        assert await answer.json() == {"models": [{"name": "ghost"}]}
    await _tell(http, "freeze")
    asking = asyncio.create_task(http.get("/api/ps"))
    await _ledger(http, requests=2)
    assert not asking.done()
    await _tell(http, "reset")
    async with await asking as answer:
        assert await answer.json() == {"models": []}


async def test_a_script_that_makes_no_sense_is_refused(http: aiohttp.ClientSession) -> None:
    for script in ({"nonsense": 1}, {"die": "loudly"}):
        async with http.post("/_stub/script", json={"key": "tiny", "script": script}) as answer:
            assert answer.status == 400


async def test_refusing_for_a_while(http: aiohttp.ClientSession) -> None:
    await _tell(http, "refuse", seconds=0.3)
    with pytest.raises(aiohttp.ClientConnectorError):
        await http.get("/")
    await until(lambda: _listens(http))
    async with http.get("/") as answer:
        assert answer.status == 200


def _listens(http: aiohttp.ClientSession) -> bool:
    base = http._base_url
    assert base is not None
    with socket.socket() as client:
        return client.connect_ex((base.host, base.port)) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_fast_with_streams_open(number: signal.Signals) -> None:
    async with _running(*ARGUMENTS) as (process, url), aiohttp.ClientSession(url) as http:
        await _tell(http, "script", key="*", script={"hold": 1})
        async with http.post("/api/generate", json=ASK) as answer:
            await _ledger(http, held=1)
            process.send_signal(number)
            async with asyncio.timeout(5):
                assert await process.wait() == 0
            with pytest.raises(aiohttp.ClientError):
                await answer.read()


async def test_a_taken_port_is_one_line_and_an_error() -> None:
    async with StubOllama() as stub, _running("--listen", f"127.0.0.1:{stub.port}") as (process, line):
        assert await process.wait() == 1
        assert line.startswith("stub ollama: ")
