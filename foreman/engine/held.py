"""The slots that are held: since when nothing was heard of each, and how it came to its end.

A machine that slept, or a process that stood still, has heard nothing meanwhile, which is no fault of the holders: who
wakes too late waits for one more heartbeat before a slot is given up.
"""

import asyncio
from typing import Final

from foreman.core.slots import SlotRequest
from foreman.engine.clock import Clock

# Waking so much later than asked for means that this process stood still; seconds.
STOOD_STILL: Final = 1.0


class Held:
    """One slot. `lost`: it was given up; `left`: this process stops, and it is held on."""

    def __init__(self, request: SlotRequest, clock: Clock) -> None:
        self.request = request
        self._clock = clock
        self._over = asyncio.Event()
        self._due = 0.0
        self._heard: float | None = None
        self.exit_status: int | None = None
        self.lost = False
        self.left = False
        self.renew()

    @property
    def over(self) -> bool:
        return self._over.is_set()

    @property
    def heard_at(self) -> float | None:
        """When its holder was last heard of, in unix seconds; None where not by this process."""
        return None if self._heard is None else self._unix(self._heard)

    @property
    def expires_at(self) -> float:
        """When it is lost if nothing is heard until then, in unix seconds."""
        return self._unix(self._due)

    def beat(self) -> None:
        """Its holder lives."""
        self._heard = self._clock.monotonic()
        self.renew()

    def renew(self) -> None:
        """Its holder has all of its time again, though nothing was heard of it."""
        self._due = self._clock.monotonic() + self.request.expiry

    def _unix(self, at: float) -> float:
        return self._clock.time() - self._clock.monotonic() + at

    def release(self, exit_status: int | None = None) -> None:
        self.exit_status = exit_status
        self._over.set()

    def leave(self) -> None:
        if not self._over.is_set():
            self.left = True
            self._over.set()

    async def until_over(self) -> None:
        """Wait until it is given back, lost or left."""
        while not self._over.is_set():
            began, due = self._clock.monotonic(), self._due
            if began >= due:
                self.lost = True
                return
            await self._clock.wait(self._over, due - began)
            now = self._clock.monotonic()
            if now - due > STOOD_STILL and self._due == due:
                self._due = now + self.request.heartbeat


class HeldSlots:
    """All slots that are held of this process's jobs, by their jobs' ids."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._by_id: dict[str, Held] = {}

    def __repr__(self) -> str:
        return f"<HeldSlots {len(self._by_id)}>"

    def get(self, job_id: str) -> Held | None:
        return self._by_id.get(job_id)

    def grant(self, job_id: str, request: SlotRequest) -> Held:
        """Held from now on, until `forget`."""
        held = self._by_id[job_id] = Held(request, self._clock)
        return held

    def forget(self, job_id: str) -> None:
        self._by_id.pop(job_id, None)

    def leave(self) -> None:
        """This process stops."""
        for held in self._by_id.values():
            held.leave()
