"""The other programs of this machine: real processes and real connections."""

import asyncio
import os
import socket
import stat
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from foreman.engine import neighbours
from foreman.engine.neighbours import name_of, ollama_server, port_of, read_unit, strangers, unit_environ

NOW = "print('here', flush=True); import sys; sys.stdin.read()"
CONNECTED = f"import socket; s = socket.create_connection(('127.0.0.1', %d)); {NOW}"


@asynccontextmanager
async def program(*argv: str, cwd: Path | None = None, **environ: str) -> AsyncIterator[Process]:
    """A Python that goes by this command line, has done what it is for, and waits."""
    process = await asyncio.create_subprocess_exec(
        *argv, executable=sys.executable, stdin=PIPE, stdout=PIPE, cwd=cwd, env={**os.environ, **environ}
    )
    try:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"here\n"
        yield process
    finally:
        process.kill()
        await process.communicate()


def ollama(folder: Path, **environ: str) -> AbstractAsyncContextManager[Process]:
    """What calls itself `ollama serve`."""
    (folder / "serve").write_text(NOW)
    return program("/usr/bin/ollama", "serve", cwd=folder, **environ)


def running(code: str) -> AbstractAsyncContextManager[Process]:
    return program(sys.executable, "-c", code)


async def test_the_server_of_a_port_and_what_it_was_started_with(tmp_path: Path) -> None:
    async with (
        ollama(tmp_path, OLLAMA_HOST="127.0.0.1:45123", OLLAMA_NUM_PARALLEL="4"),
        ollama(tmp_path, OLLAMA_HOST="127.0.0.1:45124", OLLAMA_NUM_PARALLEL="2"),
    ):
        for port, parallel in ((45123, "4"), (45124, "2")):
            found = ollama_server(port)
            assert found is not None
            assert found.environ is not None
            assert found.environ["OLLAMA_NUM_PARALLEL"] == parallel
        other = ollama_server(45125)
        assert other is None or other.container or other.environ is None


async def test_who_is_connected_past_foreman() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert not strangers(port, 1)
        async with running(CONNECTED % port) as client:
            assert strangers(port, 1) == [name_of(client.pid)]


async def test_foreman_itself_is_no_stranger() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        serving = (
            "import socket; own = socket.create_server(('127.0.0.1', 0));"
            f"s = socket.create_connection(('127.0.0.1', {port}));"
            "print('here'); print(own.getsockname()[1], flush=True);"
            "import sys; sys.stdin.read()"
        )
        async with running(serving) as foreman:
            assert foreman.stdout is not None
            own = int(await foreman.stdout.readline())
            assert strangers(port, own) == []
            assert len(strangers(port, 1) or ()) == 1


async def test_a_program_is_named_without_its_arguments(tmp_path: Path) -> None:
    script = tmp_path / "sk-0123456789"
    script.write_text(NOW)
    async with program("/usr/bin/python3.12", str(script)) as process:
        assert name_of(process.pid) == f"python3.12 {script.name} ({process.pid})"
    async with program("/usr/bin/curl", str(script)) as process:
        assert name_of(process.pid) == f"curl ({process.pid})"
    assert name_of(2**22 + 1) == f"process {2**22 + 1}"


@pytest.mark.parametrize(
    ("host", "port"),
    [("", 11434), ("127.0.0.1", 11434), ("0.0.0.0:8080", 8080), ("http://h:1/", 1), ("[::1]:5", 5)],
)
def test_where_an_ollama_listens(host: str, port: int) -> None:
    assert port_of({"OLLAMA_HOST": host}) == port
    assert port_of({}) == 11434


@pytest.mark.parametrize(
    ("told", "environ"),
    [
        ("Environment=A=1 B=2\n", {"A": "1", "B": "2"}),
        ('Environment=A=1 "B=two words"\nEnvironmentFiles=\n', {"A": "1", "B": "two words"}),
        ("Environment=\n", {}),
        ("Environment=A=1\nEnvironmentFiles=/etc/ollama (ignore_errors=no)\n", None),
        ('Environment="A=1\n', None),
        ("", None),
    ],
)
def test_what_systemd_gives_a_service(told: str, environ: dict[str, str] | None) -> None:
    assert read_unit(told) == environ


def test_a_service_is_asked_of_systemd_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = tmp_path / "asked"
    systemctl = tmp_path / "systemctl"
    systemctl.write_text(f'#!/bin/sh\necho "$@" > {asked}\necho Environment=OLLAMA_NUM_PARALLEL=4\n')
    systemctl.chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert unit_environ("0::/system.slice/ollama.service\n") == {"OLLAMA_NUM_PARALLEL": "4"}
    assert asked.read_text().split()[:2] == ["show", "ollama.service"]
    asked.unlink()
    for group in ("", "0::/user.slice/user-1.slice/user@1.service/app.slice/a.scope\n", "0::/init.scope\n"):
        assert unit_environ(group) is None
    assert not asked.exists()
    systemctl.write_text("#!/bin/sh\nexit 1\n")
    assert unit_environ("0::/system.slice/ollama.service\n") is None


def test_a_container_is_known_by_its_group() -> None:
    for group in ("0::/system.slice/docker-0a1b.scope", "0::/kubepods/besteffort/pod1", "1:cpu:/lxc/one"):
        assert neighbours.CONTAINERS.search(group)
    assert not neighbours.CONTAINERS.search("0::/system.slice/ollama.service")
