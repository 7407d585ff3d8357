"""What the machine was like in the last quarter of an hour: a mark every ten seconds, kept in memory.

A mark is only a glance, so that it can be made while nobody looks, and a page that is opened has its lines at once.
"""

import asyncio
from collections import deque
from typing import Final

from foreman.core.gate import Readings
from foreman.engine.clock import Clock
from foreman.engine.machine import Machine

EVERY_SECONDS: Final = 10.0
KEPT: Final = 91


class Trail:
    """`marks`, the oldest first."""

    def __init__(self, machine: Machine, clock: Clock) -> None:
        self._machine = machine
        self._clock = clock
        self.marks: deque[Readings] = deque(maxlen=KEPT)

    def __repr__(self) -> str:
        return f"<Trail of {len(self.marks)}>"

    async def run(self) -> None:
        """Make marks until cancelled."""
        never = asyncio.Event()
        while True:
            self.marks.append(await self._machine.glance())
            await self._clock.wait(never, EVERY_SECONDS)
