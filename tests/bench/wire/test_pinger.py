import asyncio
import sys
from asyncio.subprocess import PIPE
from time import sleep

import orjson

from bench.servers.ports import free_port
from bench.wire import pinger
from bench.wire.pinger import Pings
from foreman.testing import StubOllama


async def asked(url: str, every: float) -> asyncio.subprocess.Process:
    arguments = ("-m", pinger.__name__, f"--url={url}", f"--every={every}")
    return await asyncio.create_subprocess_exec(sys.executable, *arguments, stdin=PIPE, stdout=PIPE)


async def test_it_asks_until_its_input_ends_and_waits_for_every_answer() -> None:
    """It is started before there is a server: it asks as soon as there is one."""
    port = free_port()
    process = await asked(f"http://127.0.0.1:{port}", 0.005)
    assert process.stdout is not None
    async with StubOllama(port=port) as stub:
        assert await process.stdout.readline() == pinger.ASKING
        await stub.ledger.wait_for(lambda ledger: len(ledger.on("/")) >= 5)
        said, _ = await process.communicate(b"")
        asked_for = len(stub.ledger.on("/"))
    found = Pings(**orjson.loads(said))
    assert process.returncode == 0
    assert found.pings == asked_for
    assert 0 < found.p50 <= found.p99 <= found.p999 <= found.longest
    assert 0 <= found.late_p999 <= found.late_longest


async def test_a_pause_of_the_server_meets_every_question_that_falls_into_it() -> None:
    async with StubOllama() as stub:
        process = await asked(stub.url, 0.001)
        await stub.ledger.wait_for(lambda ledger: len(ledger.on("/")) >= 5)
        before = len(stub.ledger.on("/"))
        # Nothing runs on this loop meanwhile, and so nothing of the stub.
        asyncio.get_running_loop().call_soon(sleep, 0.3)
        await asyncio.sleep(0)
        said, _ = await process.communicate(b"")
    found = Pings(**orjson.loads(said.removeprefix(pinger.ASKING)))
    assert found.longest >= 250.0
    # Many asked in those 300 ms; an asker that waits for answers would have asked once.
    assert found.pings - before > 3
