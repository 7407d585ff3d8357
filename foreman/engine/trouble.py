"""Whether the store takes writes. Knows what it last complained of; who finds out that this is over is the engine."""

import asyncio
import logging

from foreman.core.errors import StorageFailed, StorageFull
from foreman.log import log_event

log = logging.getLogger(__name__)


class StoreTrouble:
    """`text` is what the store last complained of, empty while it takes writes. Shown in /health."""

    def __init__(self) -> None:
        self.text = ""
        self._begun = asyncio.Event()

    def __repr__(self) -> str:
        return f"<StoreTrouble {self.text!r}>"

    def begin(self, error: StorageFull | StorageFailed) -> None:
        """A write was refused."""
        if not self.text:
            log_event(log, logging.ERROR, "store_refused", "the database takes no writes", error=error)
        self.text = str(error)
        self._begun.set()

    def end(self) -> None:
        """A write as large as a job went through."""
        log_event(log, logging.INFO, "store_recovered", "the database takes writes again")
        self.text = ""
        self._begun.clear()

    async def begun(self) -> None:
        """Wait until there is trouble."""
        await self._begun.wait()
