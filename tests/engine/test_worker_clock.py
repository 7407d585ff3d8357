"""The worker and the time of day, which may jump."""

import asyncio
import dataclasses
from pathlib import Path

from foreman.app import engine_of
from foreman.core.job import LoadKey, Mode, Payload
from foreman.core.submission import Submission
from foreman.engine.clock import millis
from foreman.engine.executor import RECHECK_SECONDS
from foreman.settings import Settings
from foreman.testing import StubOllama
from tests.engine.clock import HandClock

HOUR = 3600.0
PAYLOAD = Payload("/api/generate", (), b'{"model":"llama3","prompt":"sky"}')


class Slept(HandClock):
    """A clock of a machine that can sleep: the time of day goes on, nobody's waiting does."""

    slept = 0.0

    def time(self) -> float:
        return super().time() + self.slept


async def test_a_delayed_job_runs_at_its_time_of_day_though_the_machine_slept_until_then(tmp_path: Path) -> None:
    clock = Slept()
    settings = Settings(gate="off", db=tmp_path / "foreman.db", poll_seconds=77.0)
    async with StubOllama() as stub, engine_of(dataclasses.replace(settings, target=stub.url), clock) as engine:
        await engine.start()
        running = asyncio.create_task(engine.run())
        at = millis(clock) + int(8 * HOUR * 1000)
        submission = Submission(PAYLOAD, LoadKey("llama3:latest"), "", Mode.DETACHED, at)
        (live,) = await engine.submit_many([submission])
        async with asyncio.timeout(10):
            while await clock.waits.get() != RECHECK_SECONDS:
                pass
        clock.slept = 8 * HOUR
        clock.advance(RECHECK_SECONDS)
        async with asyncio.timeout(10):
            await live.ended.wait()
        await engine.drain(asyncio.Event())
        await running
        assert len(stub.ledger.on("/api/generate")) == 2  # the load, and the job
