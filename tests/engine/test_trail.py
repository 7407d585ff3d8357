"""The last quarter of an hour: evenly spaced, and never longer."""

import asyncio

from foreman.engine.machine import Machine
from foreman.engine.trail import EVERY_SECONDS, KEPT, Trail
from tests.engine.clock import BEGIN, HandClock
from tests.engine.fake_machine import GB, FakeMachine

PATIENCE = 30.0


async def test_a_mark_is_made_again_and_again_and_the_oldest_go() -> None:
    fake, clock = FakeMachine(available=9 * GB), HandClock()
    trail = Trail(Machine(fake, clock), clock)
    running = asyncio.create_task(trail.run())
    async with asyncio.timeout(PATIENCE):
        for _ in range(KEPT + 2):
            assert await clock.waits.get() == EVERY_SECONDS
            clock.advance(EVERY_SECONDS)
        await clock.waits.get()
    running.cancel()
    await asyncio.wait((running,))
    assert len(trail.marks) == KEPT
    times = [int(mark.at - BEGIN) for mark in trail.marks]
    assert times == [int(EVERY_SECONDS) * n for n in range(3, KEPT + 3)]
    assert {mark.available for mark in trail.marks} == {9 * GB}
    assert fake.reads == 0  # glances only
