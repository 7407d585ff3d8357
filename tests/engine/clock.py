"""A clock that stands still until a test moves it."""

import asyncio

BEGIN = 1_700_000_000.0


class HandClock:
    """Starts at BEGIN. What is waited for, in seconds, can be taken from `waits`, one wait after another."""

    def __init__(self) -> None:
        self.waits: asyncio.Queue[float | None] = asyncio.Queue()
        self._now = 0.0
        self._alarms: list[tuple[float, asyncio.Event]] = []

    def time(self) -> float:
        return BEGIN + self._now

    def monotonic(self) -> float:
        # No two looks at a real clock are the same, and what happens in between comes before the later one.
        self._now += 1e-6
        return self._now

    async def wait(self, event: asyncio.Event, seconds: float | None) -> bool:
        if event.is_set():
            return True
        self.waits.put_nowait(seconds)
        alarm = asyncio.Event()
        if seconds is not None:
            self._alarms.append((self._now + seconds, alarm))
        tasks = [asyncio.create_task(waited.wait()) for waited in (event, alarm)]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
        return event.is_set()

    def jitter(self) -> float:
        return 0.5

    def advance(self, seconds: float) -> None:
        """Let time pass and wake whoever has waited long enough."""
        self._now += seconds
        for due, alarm in self._alarms:
            if due <= self._now:
                alarm.set()
