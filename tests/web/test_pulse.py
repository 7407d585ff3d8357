"""How far the running jobs are: said where it is news, and only looked at while something runs."""

import asyncio

import orjson

from foreman.core.access import Caller
from foreman.testing import Script, StubOllama
from foreman.web.pulse import Pulse
from tests.engine.serving import until
from tests.web.conftest import Front

CHAT = {"model": "llama3", "messages": [{"role": "user", "content": "why"}]}


async def test_it_beats_while_something_runs_and_says_nothing_twice(front: Front, stub: StubOllama) -> None:
    pulse = Pulse(front.engine, Caller())
    async with front.http.post("/api/chat", json=CHAT) as answer:
        await answer.read()
    await until(lambda: not front.engine.jobs.running)
    idle, again = pulse.beat(), pulse.beat()
    assert (orjson.loads(idle), again, pulse.beats) == ({"running": []}, b"", False)
    stub.script("llama3", Script(hold=2))
    asking = asyncio.create_task(front.http.post("/api/chat", json=CHAT))
    await stub.ledger.held(30)
    assert Pulse(front.engine, Caller()).beats
    assert len(orjson.loads(pulse.beat())["running"]) == 1
    stub.release("llama3")
    async with await asking as answer:
        await answer.read()
