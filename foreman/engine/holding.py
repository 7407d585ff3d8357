"""The try at a job that is a slot: nothing is sent to the target, the slot is held by who asked for it.

Rules:
1. It is granted when its claim is on disk. From then on it is held until it is given back, or until no heartbeat has
   come for its expiry; a cancel is passed on to the holder and frees nothing by itself.
2. A foreman that stops leaves it as it is, in the store too: the next one finds it held.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import orjson

from foreman.core import slots
from foreman.core.errors import ForemanError, JobCancelled, JobFailed
from foreman.core.job import Answer, HandBack, JobState, Outcome, Stats
from foreman.engine.attempt import Attempt
from foreman.engine.clock import Clock, millis
from foreman.engine.held import Held, HeldSlots
from foreman.engine.relay import Head
from foreman.engine.start import Start

LOST: Final = "slot_lost"
HEADERS: Final = (("content-type", "application/json"),)


@dataclass(frozen=True, slots=True)
class Left:
    """It is held still, and not by this process any more."""


class Holding:
    """One slot from its grant to its end. `error` is what a reader is to be told after the last byte."""

    def __init__(self, start: Start, held: HeldSlots, clock: Clock) -> None:
        self._live = start.live
        self._claim = start.claim
        self._held = held
        self._clock = clock
        self._began = clock.monotonic()
        self._request = slots.read(start.claim.payload.body)
        self._slot: Held | None = held.get(start.live.id)
        self.error: ForemanError | None = None
        self.working: Callable[[], None] = lambda: None

    @property
    def number(self) -> int:
        return self._claim.job.attempts

    async def run(self) -> Outcome | HandBack | Left:
        live = self._live
        if live.cancelled and self._slot is None:
            return self.cancelled()
        slot = self._slot
        if slot is None:
            self._slot = slot = self._held.grant(live.id, self._request)
            slot.beat()
        else:
            slot.renew()  # it was found before foreman listened, and could not be heard of
        live.state = JobState.WORKING
        live.relay.begin(Head(200, HEADERS))
        live.relay.feed(self._answer())
        self.working()
        await slot.until_over()
        if slot.left:
            return Left()
        self._held.forget(live.id)
        if slot.lost:
            text = f"no heartbeat came for {self._request.expiry:g} s"
            self.error = JobFailed(text, LOST)
            return self._outcome(JobState.FAILED, LOST, text)
        return self.cancelled() if live.cancelled else self._outcome(JobState.DONE)

    async def leave(self) -> None:
        """Nothing of it is at the target."""

    def cancelled(self) -> Outcome:
        self.error = JobCancelled("the job was cancelled")
        return self._outcome(JobState.CANCELLED, "cancelled", "the job was cancelled")

    def handed_back(self) -> HandBack | Left:
        """foreman is stopping. What was granted already stays so."""
        if self._slot is not None:
            return Left()
        return HandBack(millis(self._clock), 0, False, "stopped", "foreman was stopped")

    def _outcome(self, state: JobState, code: str | None = None, text: str | None = None) -> Outcome:
        job = self._claim.job
        stats = Stats(
            waited_ms=max(0, (job.claimed_at or job.created_at) - job.created_at),
            total_ms=int((self._clock.monotonic() - self._began) * 1000),
        )
        kept = None
        if state is JobState.DONE:
            kept = Answer(200, HEADERS, self._answer(ended=True), complete=True)
        return Outcome(state, millis(self._clock), stats, kept, code, text)

    def _answer(self, *, ended: bool = False) -> bytes:
        asked = self._request
        told: dict[str, object] = {
            "id": self._live.id,
            "lane": asked.lane,
            "label": asked.label,
            "memory": asked.memory,
            "heartbeat_seconds": asked.heartbeat,
            "expiry_seconds": asked.expiry,
        }
        if ended and self._slot is not None:
            told["exit_status"] = self._slot.exit_status
        return orjson.dumps(told, option=orjson.OPT_APPEND_NEWLINE)


Try = Attempt | Holding
