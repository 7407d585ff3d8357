"""`foreman doctor` as a process: beside a foreman that runs, one that does not, and all that may stand in between."""

import asyncio
import os
import signal
import socket
import sys
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

import orjson
import pytest

from foreman.testing import StubOllama
from tests.e2e.process import PATIENCE, Foreman, environment, serving

pytestmark = pytest.mark.asyncio(loop_scope="module")

NOBODY = "http://127.0.0.1:1"


async def ran(home: Path, url: str, *words: str, command: str = "doctor") -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "foreman", command, *words,
        stdin=PIPE, stdout=PIPE, stderr=PIPE, env={**environment(home), "FOREMAN_URL": url},
    )  # fmt: skip
    async with asyncio.timeout(PATIENCE):
        out, talk = await process.communicate()
    # The first is Python's own, of a machine that is slow.
    told = [line for line in talk.decode().splitlines() if not line.startswith("Executing <")]
    return process.returncode or 0, out.decode(), "\n".join(told)


class Found:
    """What doctor says, by subject."""

    def __init__(self, status: int, told: dict[str, Any]) -> None:
        self.status = status
        self.findings = told["findings"]

    def levels(self, about: str) -> list[str]:
        return [one["level"] for one in self.findings if one["about"] == about]

    def text(self, about: str) -> str:
        return " | ".join(f"{one['said']}; {one['advice']}" for one in self.findings if one["about"] == about)


async def doctor(home: Path, url: str, *flags: str) -> Found:
    db = () if any(flag.startswith("--config") for flag in flags) else (config(home),)
    status, out, talk = await ran(home, url, "--json", *db, *flags)
    assert talk == ""
    found = Found(status, orjson.loads(out))
    assert found.status == any(one["level"] == "bad" for one in found.findings)
    return found


def config(home: Path, target: str = NOBODY, **more: object) -> str:
    """Settings by which a command finds what the foreman of a test was started with."""
    file = home / "foreman.toml"
    lines = {"db": str(home / "foreman.db"), "target": target, "disk_reserve": 0, **more}
    file.write_text("".join(f"{name} = {orjson.dumps(value).decode()}\n" for name, value in lines.items()))
    return f"--config={file}"


async def test_beside_a_foreman_that_runs(foreman: Foreman, stub: StubOllama, tmp_path: Path) -> None:
    found = await doctor(tmp_path, foreman.url)
    assert (found.levels("foreman"), found.levels("target"), found.levels("clients")) == (["ok"], ["ok"], ["ok"])
    assert found.text("foreman") == f"serves at {foreman.url}; None"
    # The target of the foreman that runs, not that of the settings here.
    assert stub.url in found.text("target")
    assert found.levels("clock") == ["ok"]


async def test_where_nothing_runs(tmp_path: Path) -> None:
    found = await doctor(tmp_path, NOBODY)
    assert (found.status, found.levels("foreman"), found.levels("target")) == (1, ["note"], ["bad"])
    assert "foreman serve" in found.text("foreman")
    assert f"does not answer at {NOBODY}: Connection refused; start Ollama" in found.text("target")
    assert found.levels("permissions") == []


async def test_people_read_what_to_do(tmp_path: Path) -> None:
    status, out, talk = await ran(tmp_path, NOBODY, config(tmp_path))
    assert (status, talk) == (1, "")
    lines = out.splitlines()
    assert lines[0].startswith("note  foreman      does not run at")
    assert lines[1] == "                -> start it with foreman serve"
    assert any(line.startswith("BAD   target") for line in lines)


async def test_a_target_that_went_down_and_one_that_is_a_foreman(foreman: Foreman, tmp_path: Path) -> None:
    async with StubOllama() as stub, serving(stub.url, tmp_path / "foreman.db") as own:
        await own.healthy(lambda report: report["target"]["reachable"] is True)
        await stub.stop()
        found = await doctor(tmp_path, own.url)
        assert (found.status, found.levels("target"), found.levels("clients")) == (1, ["bad"], [])
    async with serving(foreman.url, tmp_path / "other.db") as second:
        found = await doctor(tmp_path, second.url)
        assert f"{foreman.url} is a foreman; set target to the Ollama behind it" in found.text("target")


async def test_a_port_that_another_program_has(stub: StubOllama, tmp_path: Path) -> None:
    found = await doctor(tmp_path, stub.url)
    assert (found.levels("foreman"), found.status) == (["bad"], 1)
    assert "taken by another program" in found.text("foreman")


async def test_a_foreman_that_hangs_is_told_from_another_program(stub: StubOllama, tmp_path: Path) -> None:
    async with serving(stub.url, tmp_path / "foreman.db") as foreman:
        foreman.send(signal.SIGSTOP)
        found = await doctor(tmp_path, foreman.url)
        foreman.send(signal.SIGCONT)
    assert "takes connections, and nothing answers" in found.text("foreman")


async def test_a_client_that_goes_past_foreman_is_named(foreman: Foreman, stub: StubOllama, tmp_path: Path) -> None:
    script = tmp_path / "straight.py"
    port = stub.url.rpartition(":")[2]
    script.write_text(
        f"import socket, sys\nmine = socket.create_connection(('127.0.0.1', {port}))\n"
        "print('here', flush=True)\nsys.stdin.read()\n"
    )
    client = await asyncio.create_subprocess_exec(sys.executable, str(script), "secret", stdin=PIPE, stdout=PIPE)
    assert client.stdout is not None
    assert await client.stdout.readline() == b"here\n"
    found = await doctor(tmp_path, foreman.url)
    client.kill()
    await client.communicate()
    assert (found.levels("clients"), found.status) == (["bad"], 1)
    assert f"straight.py ({client.pid}) is connected to the target past foreman" in found.text("clients")
    assert f"give it {foreman.url} instead" in found.text("clients")
    assert "secret" not in found.text("clients")


async def test_a_database_that_others_can_read(tmp_path: Path) -> None:
    db = tmp_path / "foreman.db"
    db.touch()
    db.chmod(0o644)
    found = await doctor(tmp_path, NOBODY)
    assert f"chmod go= {db}" in found.text("permissions")
    db.chmod(0o600)
    assert (await doctor(tmp_path, NOBODY)).levels("permissions") == ["ok"]


async def test_what_ollama_was_started_with(foreman: Foreman, stub: StubOllama, tmp_path: Path) -> None:
    (tmp_path / "serve").write_text("print('here', flush=True); import sys; sys.stdin.read()")
    env = {**os.environ, "OLLAMA_HOST": stub.url, "OLLAMA_NUM_PARALLEL": "4", "OLLAMA_MAX_LOADED_MODELS": "1"}
    ollama = await asyncio.create_subprocess_exec(
        "ollama", "serve", executable=sys.executable, cwd=tmp_path, env=env, stdin=PIPE, stdout=PIPE
    )
    assert ollama.stdout is not None
    assert await ollama.stdout.readline() == b"here\n"
    found = await doctor(tmp_path, foreman.url)
    ollama.kill()
    await ollama.communicate()
    text = found.text("settings")
    assert "OLLAMA_NUM_PARALLEL=4" in text
    assert "OLLAMA_MAX_LOADED_MODELS=1" in text
    assert "OLLAMA_CONTEXT_LENGTH is not set" in text
    assert set(found.levels("settings")) == {"note"}


async def test_a_key_that_is_missing_is_a_finding(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("a-key-of-more-than-16-signs\n")
    key.chmod(0o600)
    async with StubOllama() as stub, serving(stub.url, tmp_path / "foreman.db", api_key_file=key) as foreman:
        # Another user's command does not find the key that a running foreman leaves for its own.
        found = await doctor(tmp_path, foreman.url, config(tmp_path, stub.url, db=str(tmp_path / "none.db")))
        assert (found.levels("foreman"), found.levels("target")) == (["note"], ["ok"])
        assert "a valid key is needed; give a key with --api-key-file FILE" in found.text("foreman")
        found = await doctor(tmp_path, foreman.url, "--api-key-file", str(key))
        assert found.levels("foreman") == ["ok"]


async def test_of_a_foreman_elsewhere_the_machine_here_is_not_judged(tmp_path: Path) -> None:
    (tmp_path / "foreman.db").touch(0o644)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    found = await doctor(tmp_path, f"http://elsewhere.invalid:{port}")
    assert [one["about"] for one in found.findings] == ["foreman", "machine"]


async def test_status_for_programs_and_on_one_screen(foreman: Foreman, tmp_path: Path) -> None:
    status, out, talk = await ran(tmp_path, foreman.url, "--json", command="status")
    assert (status, talk) == (0, "")
    told = orjson.loads(out)
    assert set(told) == {"health", "queue", "machine", "recent"}
    assert told["health"]["status"] == "ok"
    status, out, _ = await ran(tmp_path, foreman.url, command="status")
    assert (status, out.split()[:2]) == (0, ["foreman", "ok,"])
    status, out, talk = await ran(tmp_path, NOBODY, command="status")
    assert (status, out, len(talk.splitlines())) == (3, "", 1)
