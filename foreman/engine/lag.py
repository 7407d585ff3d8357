"""How late the event loop is: a wait that should take a second is measured, again and again.

What blocks the loop blocks every client, and shows here first.
"""

import asyncio
from typing import Final

from foreman.core.spread import SHORT, Spread
from foreman.engine.clock import Clock

EVERY_SECONDS: Final = 1.0


class Lag:
    """Measures until cancelled. `seconds` is how late the loop was, one value for each wait."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.seconds = Spread(SHORT)

    def __repr__(self) -> str:
        return f"<Lag of {self.seconds.sum:.3f} s in {self.seconds.count} waits>"

    async def run(self) -> None:
        never = asyncio.Event()
        while True:
            began = self._clock.monotonic()
            await self._clock.wait(never, EVERY_SECONDS)
            self.seconds.add(max(0.0, self._clock.monotonic() - began - EVERY_SECONDS))
