from pathlib import Path

import pytest

from bench.parts.workloads import chat
from bench.servers import nginx
from bench.servers.answers import Ask
from bench.servers.subjects import raw_stub
from bench.wire.connection import Request
from bench.wire.drive import Crowd
from foreman.core.errors import StartupError

INSTALLED = pytest.mark.skipif(nginx.program() is None, reason="nginx is not installed")


def test_the_configuration_passes_through_and_serves_what_is_kept() -> None:
    text = nginx.config(Path("/somewhere"), "http://127.0.0.1:7", 8, {"/api/tags": b'{"models":[]}'})
    assert "listen 127.0.0.1:8 " in text
    assert "server 127.0.0.1:7;" in text
    assert "proxy_buffering off;" in text
    assert "location = /bench-kept/api/tags { default_type application/json; return 200 '{\"models\":[]}'; }" in text


@pytest.mark.parametrize("body", [b"it's", b"$host", b"a\\b", b"\xff"])
def test_a_body_that_nginx_would_read_as_something_else_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match="/api/tags"):
        nginx.config(Path("/somewhere"), "http://127.0.0.1:7", 8, {"/api/tags": body})


@INSTALLED
async def test_it_passes_requests_on_and_answers_what_is_kept(tmp_path: Path) -> None:
    body = b'{"models":[{"name":"bench:latest"}]}'
    async with raw_stub() as target, nginx.nginx(tmp_path, target.url, {"/api/tags": body}) as started:
        async with Crowd(started.url, chat(Ask(chunks=2), stream=True), 2) as crowd:
            assert len(await crowd.ask(0.0)) == 2
        assert len(await target.marks()) == 2
        async with Crowd(started.url, Request("GET", nginx.KEPT + "/api/tags"), 1) as crowd:
            ((exchange),) = await crowd.ask(0.0)
        assert b"".join(piece for _, piece in exchange.pieces).endswith(b"\r\n\r\n" + body)
    assert nginx.version()


@INSTALLED
async def test_what_keeps_it_from_starting_is_said(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match=r"nginx did not start: .*\[emerg\]"):
        async with nginx.nginx(tmp_path, "http://127.0.0.1:0", {}):
            pass


async def test_without_nginx_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nginx, "program", lambda: None)
    assert nginx.version() is None
    with pytest.raises(StartupError, match="not installed"):
        async with nginx.nginx(tmp_path, "http://127.0.0.1:7", {}):
            pass
