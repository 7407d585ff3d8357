"""How late the event loop is, by a clock that is moved by hand."""

import asyncio

import pytest

from foreman.engine.lag import EVERY_SECONDS, Lag
from tests.engine.clock import HandClock


async def test_what_a_wait_takes_beyond_its_time_is_lag() -> None:
    clock = HandClock()
    lag = Lag(clock)
    running = asyncio.create_task(lag.run())
    assert await clock.waits.get() == EVERY_SECONDS
    clock.advance(EVERY_SECONDS)
    await clock.waits.get()
    assert lag.seconds.count == 1
    assert lag.seconds.sum == pytest.approx(0, abs=1e-4)
    clock.advance(EVERY_SECONDS + 0.2)
    await clock.waits.get()
    assert lag.seconds.count == 2
    assert lag.seconds.sum == pytest.approx(0.2, abs=1e-4)
    running.cancel()
    await asyncio.wait((running,))
