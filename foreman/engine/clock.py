"""Time, as everything below the composition root gets it: handed in, so that tests can hand in another."""

import asyncio
import random
import time
from typing import Protocol


class Clock(Protocol):
    """Wall time for people and the database, monotonic time for durations, waiting, and the jitter of retries."""

    def time(self) -> float:
        """Unix time in seconds."""
        ...

    def monotonic(self) -> float:
        """Seconds since some point; never goes back."""
        ...

    async def wait(self, event: asyncio.Event, seconds: float | None) -> bool:
        """Wait until the event is set, at most so many seconds (None: without limit). Returns whether it is set."""
        ...

    def jitter(self) -> float:
        """A number from 0 to 1."""
        ...


class SystemClock:
    """The clock of the machine."""

    def time(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    async def wait(self, event: asyncio.Event, seconds: float | None) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await event.wait()
        except TimeoutError:
            return event.is_set()
        return True

    def jitter(self) -> float:
        return random.random()


def millis(clock: Clock) -> int:
    """Unix time in whole milliseconds, as the store wants it."""
    return int(clock.time() * 1000)
