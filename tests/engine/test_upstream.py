"""One remote API over a real socket: what is sent, what is masked, and what is known of a request that broke."""

import asyncio
import os
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from foreman.core.errors import TargetCut, TargetLost, TargetMoved, TargetUnreachable
from foreman.core.job import Payload
from foreman.engine.clock import SystemClock
from foreman.engine.upstream import Upstream
from foreman.engine.upstreams import Upstreams
from foreman.remotes import Remote
from foreman.testing import StubRemote
from tests.engine.running import PATIENCE

KEY = "sk-canary-0123456789"
BODY = b'{"model":"m","messages":[{"role":"user","content":"hi"}]}'
CHAT = "/v1/chat/completions"


@asynccontextmanager
async def upstream(base_url: str, **values: Any) -> AsyncIterator[Upstream]:
    async with Upstream(Remote(name="far", base_url=base_url, **values), KEY, 5, SystemClock()) as upstream:
        yield upstream


def payload(*headers: tuple[str, str], path: str = CHAT) -> Payload:
    return Payload(path, (("content-type", "application/json"), *headers), BODY)


async def test_only_harmless_headers_travel_and_the_key_comes_from_the_settings() -> None:
    async with StubRemote(KEY) as stub, upstream(stub.base_url) as far:
        exchange = far.exchange(payload(("authorization", "Bearer x"), ("openai-project", "p"), ("accept", "a/b")))
        head = await exchange.head(PATIENCE)
        assert head is not None
        assert head.status == 200
        while await exchange.read(PATIENCE):
            pass
        exchange.close()
    (call,) = stub.calls
    assert (call.path, call.body) == (CHAT, BODY)
    assert call.headers["authorization"] == f"Bearer {KEY}"
    assert call.headers["accept"] == "a/b"
    assert "openai-project" not in call.headers


@pytest.mark.parametrize("fault", ["echo", "echo_error"])
async def test_stars_stand_for_the_key_in_headers_and_body(fault: Any) -> None:
    async with StubRemote(KEY) as stub, upstream(stub.base_url) as far:
        stub.faults.append(fault)
        exchange = far.exchange(payload())
        head = await exchange.head(PATIENCE)
        assert head is not None
        body = b""
        while chunk := await exchange.read(PATIENCE):
            body += chunk
        exchange.close()
        said = dict(head.headers)
        assert said["x-said"] == "Bearer " + "*" * len(KEY)
        assert int(said["content-length"]) == len(body)
        assert b"Bearer " + b"*" * len(KEY) in body


@pytest.mark.parametrize(("fault", "kind"), [("cut", TargetLost), ("redirect", TargetMoved)])
async def test_what_broke_once_a_connection_stood_counts_as_sent(fault: Any, kind: type[Exception]) -> None:
    async with StubRemote(KEY) as stub, upstream(stub.base_url) as far:
        stub.faults.append(fault)
        exchange = far.exchange(payload())
        with pytest.raises(kind, match="the remote far"):
            await exchange.head(PATIENCE)
        assert exchange.sent
        exchange.close()
        assert stub.redirected == 0


async def test_an_answer_that_breaks_off_is_given_out_as_far_as_it_came() -> None:
    async with StubRemote(KEY) as stub, upstream(stub.base_url) as far:
        stub.faults.append("cut_midway")
        exchange = far.exchange(payload())
        assert await exchange.head(PATIENCE) is not None
        got: list[bytes] = []
        with pytest.raises(TargetCut, match="the remote far's answer broke off"):
            await exchange.pump(got.append, PATIENCE)
        assert b"".join(got).startswith(b'{"id":')
        exchange.close()


async def test_where_nobody_listens_nothing_was_sent() -> None:
    async with StubRemote(KEY) as stub:
        pass
    async with upstream(stub.base_url) as far:
        exchange = far.exchange(payload())
        with pytest.raises(TargetUnreachable, match="the remote far cannot be reached"):
            await exchange.head(PATIENCE)
        assert not exchange.sent
        exchange.close()


async def test_a_name_that_does_not_resolve_is_nobody() -> None:
    async with upstream("http://no-such-host.invalid/v1") as far:
        exchange = far.exchange(payload())
        with pytest.raises(TargetUnreachable):
            await exchange.head(PATIENCE)
        assert not exchange.sent
        exchange.close()


def self_signed(folder: Path) -> ssl.SSLContext:
    key, certificate = folder / "tls.key", folder / "tls.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    return context


async def test_a_certificate_that_nobody_vouches_for_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    context = await asyncio.to_thread(self_signed, tmp_path)
    got: list[bytes] = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.append(await reader.read(1))
        writer.close()

    server = await asyncio.start_server(take, "127.0.0.1", 0, ssl=context)
    async with server, upstream(f"https://localhost:{server.sockets[0].getsockname()[1]}/v1") as far:
        exchange = far.exchange(payload())
        with pytest.raises(TargetUnreachable, match="the remote far cannot be reached"):
            await exchange.head(PATIENCE)
        assert not exchange.sent
        exchange.close()
    assert b"".join(got) == b""


async def test_proxies_of_the_environment_are_not_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    async with StubRemote(KEY) as stub:
        monkeypatch.setitem(os.environ, "HTTP_PROXY", "http://127.0.0.1:9")
        monkeypatch.setitem(os.environ, "http_proxy", "http://127.0.0.1:9")
        async with upstream(stub.base_url) as far:
            exchange = far.exchange(payload())
            assert await exchange.head(PATIENCE) is not None
            exchange.close()


class Stopped(SystemClock):
    """A clock that stands where it is put."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


def two() -> tuple[Stopped, Upstream, Upstream, Upstreams]:
    clock = Stopped()
    one, other = (Upstream(Remote(name=name, base_url="http://a", slots=2), "", 5, clock) for name in ("one", "two"))
    return clock, one, other, Upstreams([one, other])


QUEUED = ("@one/a", "@two/a", "@gone/a", "gpt-oss:120b-cloud")


def test_all_load_keys_are_open_while_nothing_stands_in_the_way() -> None:
    assert Upstreams().open_keys(QUEUED, target=True) is None
    assert two()[3].open_keys(QUEUED, target=True) is None


def test_those_of_a_full_or_paused_one_and_of_a_target_that_is_down_are_not() -> None:
    clock, one, other, both = two()
    one.running = 2
    assert set(both.open_keys(QUEUED, target=True) or ()) == {"@two/a", "@gone/a", "gpt-oss:120b-cloud"}
    other.throttle.slow_down(clock.now, clock.now, 5.0, "status_429")
    assert set(both.open_keys((*QUEUED, "slot sweep"), target=False) or ()) == {"@gone/a", "slot sweep"}
    assert Upstreams().open_keys((*QUEUED, "slot sweep"), target=False) is not None
    assert both.opens_in() == 5.0
    clock.now, one.running = 105.0, 0
    assert both.open_keys(QUEUED, target=True) is None
    assert both.opens_in() is None
