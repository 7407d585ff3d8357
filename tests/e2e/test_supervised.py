"""foreman under systemd's protocol: a real process, and a socket that hears what systemd would hear."""

import asyncio
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from foreman.testing import StubOllama
from tests.e2e.process import arguments, spawn

PATIENCE = 30.0
FED = b"WATCHDOG=1"


@pytest.fixture
def heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(PATIENCE)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "200000")
        yield listening


async def next_of(heard: socket.socket) -> bytes:
    return await asyncio.to_thread(heard.recv, 1000)


async def other_than_fed(heard: socket.socket) -> bytes:
    while (line := await next_of(heard)) == FED:
        pass
    return line


async def silence(heard: socket.socket) -> None:
    """Hear what still comes. Raises TimeoutError when nothing does."""
    while True:
        await next_of(heard)


async def test_it_says_that_it_serves_and_lives_and_stops(heard: socket.socket, tmp_path: Path) -> None:
    async with StubOllama() as stub:
        foreman = await spawn(*arguments(stub.url, tmp_path / "foreman.db"), home=tmp_path)
        try:
            assert await other_than_fed(heard) == b"READY=1\nSTATUS=serving"
            await foreman.started()
            assert (await foreman.health())["status"] == "ok"
            for _ in range(3):
                assert await next_of(heard) == FED
            foreman.send(signal.SIGTERM)
            assert await other_than_fed(heard) == b"STOPPING=1\nSTATUS=draining"
            assert await foreman.ended() == 0
        finally:
            await foreman.kill()


async def test_a_process_that_stands_still_is_not_heard_of(heard: socket.socket, tmp_path: Path) -> None:
    async with StubOllama() as stub:
        foreman = await spawn(*arguments(stub.url, tmp_path / "foreman.db"), home=tmp_path)
        try:
            assert await other_than_fed(heard) == b"READY=1\nSTATUS=serving"
            foreman.send(signal.SIGSTOP)
            heard.settimeout(2.0)  # ten times the interval
            with pytest.raises(TimeoutError):
                await silence(heard)
            foreman.send(signal.SIGCONT)
            heard.settimeout(PATIENCE)
            assert await next_of(heard) == FED
        finally:
            await foreman.kill()
