"""Whether the store takes writes: what it last complained of, and finding out that this is over.

Rules:
1. While there is trouble nothing is accepted, so that /health and a submit never tell different tales.
2. It is over when a write of the size of a job goes through, and not before.
"""

import asyncio
import logging
from typing import Final

from foreman.core.errors import StorageFailed, StorageFull
from foreman.core.job import LoadKey, Mode, NewJob, Payload
from foreman.engine.clock import Clock, millis
from foreman.engine.ids import new_id
from foreman.engine.store import Store
from foreman.log import log_event

log = logging.getLogger(__name__)

# How often the database is looked after, and tried again while it takes no writes.
LOOK_SECONDS: Final = 1.0
# What is tried: the size of an ordinary request, in bytes.
REHEARSAL_BYTES: Final = 16 * 1024

StoreError = StorageFull | StorageFailed


class StoreTrouble:
    """`error` is what the store last complained of, None while it takes writes."""

    def __init__(self) -> None:
        self.error: StoreError | None = None

    def __repr__(self) -> str:
        return f"<StoreTrouble {self.error!r}>"

    def begin(self, error: StoreError) -> None:
        """A write was refused, or would go nowhere."""
        if self.error is None:
            log_event(log, logging.ERROR, "store_refused", "the database takes no writes", error=error)
        self.error = error

    def check(self) -> None:
        """Raises what the store complained of, where it did."""
        if self.error is not None:
            raise type(self.error)(str(self.error))

    async def watch(self, store: Store, clock: Clock) -> None:
        """Look after the database until cancelled."""
        pause = asyncio.Event()
        while True:
            await clock.wait(pause, LOOK_SECONDS)
            try:
                await store.usage()
                if self.error is not None:
                    await store.rehearse(_rehearsal(millis(clock)))
            except (StorageFull, StorageFailed) as error:
                self.begin(error)
                continue
            if self.error is not None:
                log_event(log, logging.INFO, "store_recovered", "the database takes writes again")
                self.error = None


def _rehearsal(now: int) -> NewJob:
    return NewJob(new_id(now), "", LoadKey(""), Mode.ATTACHED, Payload("", (), bytes(REHEARSAL_BYTES)), 1, now)
