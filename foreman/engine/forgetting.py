"""What is over, and for how long it is kept: finished jobs, and when keys were last used, looked after now and then."""

import asyncio
import logging
from typing import Final

from foreman.core.errors import StorageFailed, StorageFull
from foreman.engine.clock import Clock, millis
from foreman.engine.keyring import Keyring
from foreman.engine.rules import Rules
from foreman.engine.store import Store
from foreman.log import log_event

log = logging.getLogger(__name__)

LOOK_SECONDS: Final = 60.0


async def forgetting(store: Store, keyring: Keyring, clock: Clock, rules: Rules) -> None:
    """Delete finished jobs that are too old or take too much room, a few at a time. Never ends."""
    pause = asyncio.Event()
    while True:
        before = millis(clock) - int(rules.retention_seconds * 1000)
        try:
            while await store.prune(before, rules.retention_bytes):
                pass
            await keyring.write_down()
        except (StorageFull, StorageFailed) as error:
            log_event(log, logging.WARNING, "prune_failed", "old jobs could not be deleted", error=error)
        await clock.wait(pause, LOOK_SECONDS)
