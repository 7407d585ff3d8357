"""A program that is ended and started again, at the same address each time."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack

from foreman.cli.children import Child


class Lives:
    """One program after the other; the last one is killed at the end of the block."""

    def __init__(self, start: Callable[[], AbstractAsyncContextManager[Child]]) -> None:
        self._start = start
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> "Lives":
        await self.begin()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def begin(self) -> None:
        """Raises StartupError."""
        self.child = await self._stack.enter_async_context(self._start())

    async def kill(self) -> None:
        """kill -9, and start it again. Raises StartupError."""
        await self._stack.aclose()
        await self.begin()

    async def stop(self) -> int:
        """Have it end by itself, and start it again; gives the exit status. Raises StartupError."""
        status = await self.child.stop()
        await self._stack.aclose()
        await self.begin()
        return status
