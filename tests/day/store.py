"""The real store on a loop whose time leaps."""

import asyncio
import functools
import inspect
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Self
from unittest import mock

from foreman.engine import database
from foreman.engine.sqlite import SqliteStore
from tests.day.loop import here

Method = Callable[..., Coroutine[Any, Any, Any]]


def in_turn(method: Method) -> Method:
    """One call after the other, in the order in which they were made: which thread is faster decides nothing."""

    @functools.wraps(method)
    async def called(store: "TurnStore", *args: Any, **named: Any) -> Any:
        async with store.turn:
            with here().outside():
                return await method(store, *args, **named)

    return called


class TurnStore(SqliteStore):
    """Whose calls take no time."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self.turn = asyncio.Lock()

    @classmethod
    @asynccontextmanager
    async def open(cls, path: Path, boot_id: str) -> AsyncIterator[Self]:
        async with AsyncExitStack() as stack:
            store = await stack.enter_async_context(super().open(path, boot_id))
            with here().leaping():
                yield store

    async def prune(self, before: int, max_bytes: int, limit: int = 200) -> int:  # noqa: ARG002
        """Nothing of the first day is old."""
        return 0


@contextmanager
def unsynced() -> Iterator[None]:
    """No power is cut while a test runs, and thousands of syncs would be most of what it takes."""
    quick = tuple(setting.replace("synchronous=FULL", "synchronous=OFF") for setting in database._SETTINGS)
    assert quick != database._SETTINGS
    with mock.patch.object(database, "_SETTINGS", quick):
        yield


for _name, _method in vars(SqliteStore).items():
    if inspect.iscoroutinefunction(_method) and not _name.startswith("_") and _name not in ("close", "prune"):
        setattr(TurnStore, _name, in_turn(_method))
