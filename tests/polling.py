"""Waiting for what only another process knows: it cannot tell, so it is looked at again and again."""

import asyncio
from collections.abc import Callable

# Far above what anything takes, so that only a hang reaches it.
PATIENCE = 30.0


async def until(seen: Callable[[], object], patience: float = PATIENCE) -> None:
    """Wait until it is true. Raises TimeoutError."""
    async with asyncio.timeout(patience):
        while not seen():  # noqa: ASYNC110 nobody tells
            await asyncio.sleep(0.02)
