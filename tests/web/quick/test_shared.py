"""What all connections have in common: lines of every answer, the largest body, and the wait for the last of them."""

import asyncio
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import cast

import pytest

from foreman.engine.clock import SystemClock
from foreman.engine.engine import Engine
from foreman.engine.keyring import Keyring
from foreman.settings import Settings
from foreman.web.guard import Guard
from foreman.web.quick import shared as module
from foreman.web.quick.request import BODY_BYTES
from foreman.web.quick.shared import Shared
from tests.e2e.raw import PATIENCE


class One:
    def close(self) -> None: ...

    def abort(self) -> None: ...


def made(**settings: object) -> Shared:
    chosen = Settings(**{"target": "http://127.0.0.1:1", "db": Path("unused"), **settings})  # type: ignore[arg-type]
    return Shared(cast(Engine, None), chosen, Guard((), (), cast(Keyring, None), SystemClock()), asyncio.Protocol, 75.0)


def test_every_answer_says_who_and_when(monkeypatch: pytest.MonkeyPatch) -> None:
    now: Iterator[float] = iter((1_700_000_000.1, 1_700_000_000.9, 1_700_000_001.0))
    monkeypatch.setattr(module, "time", lambda: next(now))
    shared = made()
    first, second, third = shared.common(), shared.common(), shared.common()
    assert first == b"Server: foreman\r\nDate: Tue, 14 Nov 2023 22:13:20 GMT\r\n"
    assert second is first
    assert third == first.replace(b":20 GMT", b":21 GMT")
    date = third.split(b"\r\n")[1].removeprefix(b"Date: ").decode()
    assert parsedate_to_datetime(date).timestamp() == 1_700_000_001


@pytest.mark.parametrize(("limit", "ordinary"), [(2000, 2000), (BODY_BYTES, BODY_BYTES), (1 << 20, BODY_BYTES)])
def test_no_body_is_ordinary_that_would_be_refused(limit: int, ordinary: int) -> None:
    assert made(max_body_bytes=limit).body_bytes == ordinary


async def test_waiting_ends_with_the_last_connection() -> None:
    shared = made()
    one, other = One(), One()
    shared.connections |= {one, other}
    waiting = asyncio.create_task(shared.empty(PATIENCE))
    await asyncio.sleep(0)
    shared.forget(one)
    shared.forget(one)
    await asyncio.sleep(0)
    assert not waiting.done()
    shared.forget(other)
    async with asyncio.timeout(PATIENCE / 2):
        await waiting


async def test_waiting_has_an_end_and_no_beginning_without_connections() -> None:
    shared = made()
    async with asyncio.timeout(PATIENCE / 2):
        await shared.empty(PATIENCE)
        shared.connections.add(one := One())
        await shared.empty(0.01)
    assert shared.connections == {one}
