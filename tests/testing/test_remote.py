"""The stub of a remote API: its key, its rate limit and its faults."""

import asyncio
from typing import Any

import aiohttp
import pytest

from foreman.testing import StubRemote

BODY = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


async def ask(stub: StubRemote, key: str = "", **fields: Any) -> tuple[int, bytes]:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{stub.base_url}/chat/completions", json=BODY | fields, headers=headers) as response,
    ):
        return response.status, await response.read()


async def test_it_wants_its_key_and_keeps_what_it_was_asked() -> None:
    async with StubRemote("sk-1") as stub:
        assert (await ask(stub))[0] == (await ask(stub, "sk-2"))[0] == 401
        status, body = await ask(stub, "sk-1", stream=True)
        assert (status, body.endswith(b"data: [DONE]\n\n")) == (200, True)
        assert [call.text for call in stub.calls] == ["hi"] * 3
        await stub.wait_for(lambda: stub.under_way() == 0)
        assert all(call.ended_at is not None and call.at <= call.ended_at for call in stub.calls)


async def test_a_slow_one_is_heard_piece_by_piece() -> None:
    async with StubRemote(tokens=3, tokens_per_second=1000) as stub:
        slow = await ask(stub, stream=True)
        stub.tokens_per_second = 0
        assert slow == await ask(stub, stream=True)


async def test_above_its_limit_it_says_429() -> None:
    async with StubRemote(at_once=2) as stub:
        stub.open.clear()
        asking = [asyncio.create_task(ask(stub)) for _ in range(2)]
        await stub.wait_for(lambda: stub.under_way() == 2)
        assert (await ask(stub))[0] == 429
        stub.open.set()
        assert [status for status, _ in await asyncio.gather(*asking)] == [200, 200]
        assert stub.most == 2


@pytest.mark.parametrize(("fault", "status"), [("busy", 429), ("spent", 429), ("unavailable", 503), ("refused", 400)])
async def test_each_fault_befalls_one_request(fault: Any, status: int) -> None:
    async with StubRemote() as stub:
        stub.faults.append(fault)
        assert [(await ask(stub))[0] for _ in range(2)] == [status, 200]


@pytest.mark.parametrize("fault", ["cut", "cut_midway"])
@pytest.mark.parametrize("stream", [True, False])
async def test_a_cut_breaks_the_connection(fault: Any, stream: bool) -> None:
    async with StubRemote() as stub:
        stub.faults.append(fault)
        with pytest.raises(aiohttp.ClientError):
            await ask(stub, stream=stream)
