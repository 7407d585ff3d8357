"""Waiting for something to happen, with a limit that costs next to nothing.

`asyncio.timeout` would do the same and cost several times as much; here it is done for every piece of an answer.
"""

import asyncio


class Waiter:
    """One waits, others wake; a `wake` that nobody waits for is forgotten."""

    __slots__ = ("_future",)

    def __init__(self) -> None:
        self._future: asyncio.Future[bool] | None = None

    def wake(self) -> None:
        if self._future is not None and not self._future.done():
            self._future.set_result(True)

    async def wait(self, patience: float | None = None) -> bool:
        """Wait to be woken; False after `patience` seconds."""
        loop = asyncio.get_running_loop()
        self._future = future = loop.create_future()
        timer = None if patience is None else loop.call_later(patience, _expire, future)
        try:
            woken: bool = await future
            return woken
        finally:
            if self._future is future:  # who was cancelled may leave only after another has begun to wait
                self._future = None
            if timer is not None:
                timer.cancel()


def _expire(future: asyncio.Future[bool]) -> None:
    if not future.done():
        future.set_result(False)
