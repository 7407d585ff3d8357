"""What happens to jobs and to the whole, as a stream that anybody may follow and take up again.

Each event has a number; the newest are kept, so that a follower who lost its connection gets what it missed. One who
was away for longer, or follows a number of an earlier process, is told so and starts from a snapshot.
"""

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Final

from foreman.core.gate import Hold
from foreman.core.job import JobState, Mode
from foreman.engine.live import Live

KEPT: Final = 1024


@dataclass(frozen=True, slots=True)
class Event:
    """A change of a job: what it was right after it."""

    number: int
    live: Live
    state: JobState
    mode: Mode
    attempts: int
    output_bytes: int
    hold: Hold | None


@dataclass(frozen=True, slots=True)
class Notice:
    """Something else has changed: the queue was paused, the target went or came back, or holds another model."""

    number: int


class Events:
    """The stream. `publish` never waits; followers ask `since` and wait with `news`.

    Numbers start at `first`, which must be above every number of an earlier process (unix milliseconds will do), so
    that a number from before a restart is never taken for one of this process.
    """

    def __init__(self, first: int) -> None:
        self._kept: deque[Event | Notice] = deque(maxlen=KEPT)
        self._first = first
        self._waiters: set[asyncio.Future[None]] = set()
        self._ended = False
        self.last = first - 1

    def __repr__(self) -> str:
        return f"<Events {self.last - self._first + 1} so far, {len(self._waiters)} waiting>"

    def publish(self, live: Live, hold: Hold | None = None) -> None:
        """Tell of a change; `hold` says why the gate holds it, where it waits."""
        self.last += 1
        hold = hold if live.state is JobState.QUEUED else None
        self._kept.append(Event(self.last, live, live.state, live.mode, live.attempts, live.relay.size, hold))
        self._wake()

    def notice(self) -> None:
        """Tell that something other than a job has changed."""
        self.last += 1
        self._kept.append(Notice(self.last))
        self._wake()

    def end(self) -> None:
        """Have nobody wait any more: this process stops."""
        self._ended = True
        self._wake()

    def _wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    def since(self, number: int) -> list[Event | Notice] | None:
        """What came after `number`; None where that can no longer be told."""
        oldest = self._kept[0].number if self._kept else self.last + 1
        if not oldest - 1 <= number <= self.last:
            return None
        return [event for event in self._kept if event.number > number]

    async def news(self, number: int) -> None:
        """Wait until there is an event after `number`, or the end."""
        while self.last <= number and not self._ended:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.add(waiter)
            try:
                await waiter
            finally:
                self._waiters.discard(waiter)
