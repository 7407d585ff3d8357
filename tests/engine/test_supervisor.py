"""What systemd is told: on a real socket, as systemd would hear it."""

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from foreman.engine.clock import SystemClock
from foreman.engine.supervisor import Supervisor
from tests.engine.clock import HandClock


@pytest.fixture(params=["file", "abstract"])
def heard(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[socket.socket]:
    if request.param == "abstract" and not os.path.exists("/proc/net/unix"):
        pytest.skip("only Linux has addresses without a file")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        name = str(tmp_path / "notify") if request.param == "file" else f"\0foreman-{os.getpid()}-{tmp_path.name}"
        listening.bind(name)
        listening.settimeout(30)
        yield listening


def environ_of(heard: socket.socket, **more: str) -> dict[str, str]:
    name = heard.getsockname()
    return {"NOTIFY_SOCKET": "@" + name[1:].decode() if isinstance(name, bytes) else name} | more


def test_it_hears_of_the_beginning_and_of_the_end(heard: socket.socket) -> None:
    supervisor = Supervisor(environ_of(heard), SystemClock())
    supervisor.ready()
    supervisor.stopping()
    assert heard.recv(1000) == b"READY=1\nSTATUS=serving"
    assert heard.recv(1000) == b"STOPPING=1\nSTATUS=draining"


async def test_the_watchdog_is_fed_twice_in_its_interval(heard: socket.socket) -> None:
    clock = HandClock()
    feeding = asyncio.create_task(Supervisor(environ_of(heard, WATCHDOG_USEC="30000000"), clock).feed())
    try:
        for _ in range(3):
            assert await clock.waits.get() == 15.0
            clock.advance(15.0)
            assert await asyncio.to_thread(heard.recv, 1000) == b"WATCHDOG=1"
    finally:
        feeding.cancel()


@pytest.mark.parametrize(
    "environ",
    [{}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "soon"}, {"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}],
)
async def test_where_nobody_watches_nothing_is_fed(environ: dict[str, str]) -> None:
    clock = HandClock()
    feeding = asyncio.create_task(Supervisor({"NOTIFY_SOCKET": "/nowhere", **environ}, clock).feed())
    assert await clock.waits.get() is None
    feeding.cancel()


def test_a_deaf_supervisor_is_told_of_in_the_log_and_serving_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Supervisor({"NOTIFY_SOCKET": str(tmp_path / "gone")}, SystemClock()).ready()
    assert "the supervisor could not be told" in caplog.text
