"""The program that sends the heartbeats, as a real process before a server that answers what it is told to."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from foreman.cli import keeper

PATIENCE = 30.0
WELL: tuple[int, dict[str, Any]] = (200, {"cancel_requested": False})
CANCELLED: tuple[int, dict[str, Any]] = (200, {"cancel_requested": True})


class Server:
    """Answers one request after the other with what is in `answers`, the last one again and again; 0 hangs up."""

    def __init__(self, *answers: tuple[int, dict[str, Any]]) -> None:
        self.answers = list(answers)
        self.heads: list[str] = []
        self.url = ""
        self._news = asyncio.Condition()

    @property
    def asked(self) -> list[str]:
        return [head.partition(" HTTP")[0] for head in self.heads]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        status, answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if status:
            body = json.dumps(answer).encode()
            writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body))
        writer.close()
        async with self._news:
            self.heads.append(head)
            self._news.notify_all()

    async def heard(self, count: int) -> None:
        """Wait for so many requests."""
        async with asyncio.timeout(PATIENCE), self._news:
            await self._news.wait_for(lambda: len(self.heads) >= count)


@asynccontextmanager
async def keeping(
    server: Server, *, key: str | None = None, parent: int | None = None, talk: int = PIPE
) -> AsyncIterator[Process]:
    """A keeper of the slot `one` at this server, told to send a heartbeat at every moment."""
    async with await asyncio.start_server(server.serve, "127.0.0.1", 0) as listening:
        server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        told = {"url": f"{server.url}/slots/one", "key": key, "every": 0.01, "parent": parent or os.getpid()}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-S", keeper.__file__, stdin=PIPE, stderr=talk
        )
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps(told).encode() + b"\n")
            await process.stdin.drain()
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def ended(process: Process) -> str:
    """Close what it is told through, and wait until it has ended well: what it has said."""
    async with asyncio.timeout(PATIENCE):
        _, talk = await process.communicate(b"")
    assert process.returncode == 0
    return talk.decode()


async def said(process: Process) -> str:
    assert process.stderr is not None
    async with asyncio.timeout(PATIENCE):
        return (await process.stderr.readline()).decode()


@pytest.mark.parametrize("key", [None, "a-key"])
async def test_it_beats_until_nobody_wants_the_slot_and_gives_it_back(key: str | None) -> None:
    server = Server(WELL)
    async with keeping(server, key=key) as process:
        await server.heard(3)
        assert await ended(process) == ""
    *beats, last = server.asked
    assert set(beats) == {"POST /slots/one/heartbeat"}
    assert last == "DELETE /slots/one"
    assert all((f"Authorization: Bearer {key}" in head) is (key is not None) for head in server.heads)


@pytest.mark.parametrize("status", keeper.GONE)
async def test_a_slot_that_is_gone_is_told_and_not_given_back(status: int) -> None:
    server = Server(WELL, (status, {}))
    async with keeping(server) as process:
        assert "given up" in await said(process)
        async with asyncio.timeout(PATIENCE):
            assert await process.wait() == 0
    assert server.asked == ["POST /slots/one/heartbeat"] * 2


@pytest.mark.parametrize("answer", [(0, {}), (503, {}), (200, []), (401, {})], ids=str)
async def test_a_foreman_that_does_not_answer_well_is_tried_on(answer: tuple[int, Any]) -> None:
    server = Server(WELL, answer, answer, WELL)
    async with keeping(server) as process:
        await server.heard(6)
        talk = await ended(process)
    # Told once. An answer that is no object is a heartbeat all the same.
    assert talk.count("foreman does not answer") == (answer[0] != 200)
    assert server.asked[-1] == "DELETE /slots/one"


async def test_it_goes_on_where_nobody_is_there_to_be_told() -> None:
    nobody, talk = os.pipe()
    os.close(nobody)
    server = Server(WELL, (0, {}), WELL)
    async with keeping(server, talk=talk) as process:
        os.close(talk)
        await server.heard(5)
        async with asyncio.timeout(PATIENCE):
            await process.communicate(b"")
    assert server.asked[-1] == "DELETE /slots/one"


async def test_a_cancel_is_passed_on_once_and_the_slot_is_kept() -> None:
    server, told = Server(CANCELLED), asyncio.Queue[None]()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.put_nowait, None)
    try:
        async with keeping(server) as process:
            async with asyncio.timeout(PATIENCE):
                await told.get()
            await server.heard(len(server.heads) + 3)
            talk = await ended(process)
            assert told.empty()
    finally:
        asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)
    assert talk.count("the command is told to end") == 1


async def test_a_cancel_is_for_nobody_where_the_command_has_lost_its_parent() -> None:
    server = Server(CANCELLED)
    async with keeping(server, parent=os.getppid()) as process:
        await server.heard(3)
        assert await ended(process) == ""
