"""The samples for reverse proxies, as their own programs run them: chunk by chunk, and large bodies too."""

import asyncio
import re
import shutil
import socket
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import orjson
import pytest

from foreman.testing import Script, StubOllama
from tests.e2e.process import Foreman, environment
from tests.e2e.raw import ask, connected

pytestmark = pytest.mark.asyncio(loop_scope="module")

DEPLOY = Path(__file__).parents[2] / "deploy"
# Debian and Homebrew put servers where the path of a user does not always lead.
PLACES = "/usr/sbin:/usr/local/sbin:/opt/homebrew/bin:/usr/local/bin:/usr/bin"
PATIENCE = 20.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def nginx_site(port: int, foreman: str) -> str:
    """The sample without what only its owner has: name and certificate."""
    site = re.sub(r"\n *(ssl_certificate|ssl_certificate_key) .*", "", (DEPLOY / "nginx.conf").read_text())
    return site.replace("listen 443 ssl;", f"listen 127.0.0.1:{port};").replace("127.0.0.1:11435", foreman)


def nginx_command(folder: Path, port: int, foreman: str) -> list[str]:
    (folder / "site.conf").write_text(nginx_site(port, foreman))
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind}; " for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {folder}/pid; error_log stderr crit; events {{}}\n"
        f"http {{ access_log off; {temporary} include {folder}/site.conf; }}\n"
    )
    return ["-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", "stderr"]


def caddy_command(folder: Path, port: int, foreman: str) -> list[str]:
    sample = (DEPLOY / "Caddyfile").read_text()
    site = sample.replace("box.lan {", f"http://127.0.0.1:{port} {{", 1).replace("127.0.0.1:11435", foreman)
    (folder / "Caddyfile").write_text(f"{{\n\tadmin off\n}}\n{site}")
    return ["run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]


COMMANDS = {"nginx": nginx_command, "caddy": caddy_command}


@asynccontextmanager
async def proxy(name: str, folder: Path, foreman: Foreman) -> AsyncIterator[str]:
    program = shutil.which(name) or shutil.which(name, path=PLACES)
    if program is None:
        pytest.skip(f"{name} is not installed")
    port = free_port()
    command = COMMANDS[name](folder, port, urlsplit(foreman.url).netloc)
    process = await asyncio.create_subprocess_exec(
        program, *command, stdin=DEVNULL, stdout=DEVNULL, stderr=PIPE, env=environment(folder)
    )
    assert process.stderr is not None
    said = asyncio.create_task(process.stderr.read())
    try:
        async with asyncio.timeout(PATIENCE):
            while not await listens(port):
                assert process.returncode is None, (await said).decode()
        yield f"http://127.0.0.1:{port}"
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await said


async def listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


@pytest.mark.parametrize("name", COMMANDS)
async def test_an_answer_passes_chunk_by_chunk(name: str, tmp_path: Path, stub: StubOllama, foreman: Foreman) -> None:
    async with proxy(name, tmp_path, foreman) as url, connected(url) as client:
        stub.script("llama3", Script(hold=1, tokens=5))
        body = orjson.dumps({"model": "llama3", "messages": [{"role": "user", "content": "hi"}]})
        await client.request("POST /api/chat", "Content-Type: application/json", body=body)
        head = await client.head()
        assert (head.status, head.headers["content-type"]) == (200, "application/x-ndjson")
        # The second one has not left the target yet.
        assert orjson.loads(await client.piece())["done"] is False
        stub.release("llama3")
        rest = b""
        while piece := await client.piece():
            rest += piece
    stub.script("llama3", None)
    assert orjson.loads(rest.splitlines()[-1])["done"] is True


@pytest.mark.parametrize("name", COMMANDS)
async def test_a_large_request_passes(name: str, tmp_path: Path, stub: StubOllama, foreman: Foreman) -> None:
    async with proxy(name, tmp_path, foreman) as url:
        body = orjson.dumps({"model": "llama3", "prompt": "x" * 8_000_000, "stream": False})
        answer = await ask(url, "POST /api/generate", body=body)
    assert (answer.status, orjson.loads(answer.body)["done"]) == (200, True)


@pytest.mark.parametrize("name", COMMANDS)
async def test_a_client_that_leaves_is_noticed(name: str, tmp_path: Path, stub: StubOllama, foreman: Foreman) -> None:
    async with proxy(name, tmp_path, foreman) as url:
        stub.script("llama3", Script(hold=1, tokens=5))
        async with connected(url) as client:
            body = orjson.dumps({"model": "llama3", "messages": [{"role": "user", "content": "hi"}]})
            await client.request("POST /api/chat", body=body)
            job = (await client.head()).headers["x-foreman-job"]
            await client.piece()
        await foreman.event("job_finished", job=job, outcome="cancelled")
    stub.script("llama3", None)
