"""An event loop whose time leaps: as soon as nobody has anything to do, it is the time of the next timer.

Rules:
1. Time passes only where all wait. While another thread works, it stands still.
2. What threads tell comes when the loop has nothing else to do, so that their speed changes nothing.
There are no sockets and no signals on it.
"""

import asyncio
import selectors
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager
from contextvars import Context
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeVar

T = TypeVar("T")

# What no thread ever needs, so that only a hang takes as long.
PATIENCE: Final = 60.0
BEGIN: Final = 1_700_000_000.0


class Leaping(selectors.BaseSelector):
    """Waits for threads while there are any to wait for, and leaps to the next timer otherwise."""

    def __init__(self) -> None:
        self.now = 0.0
        self.outside = 1  # who waits for a thread; until the engine is up, somebody always may
        self.told: SimpleQueue[asyncio.Handle] = SimpleQueue()
        self._files: dict[int, selectors.SelectorKey] = {}

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and timeout <= 0:
            return []
        try:
            handle = self.told.get(self.outside > 0, PATIENCE)
        except Empty:
            if timeout is None or self.outside:
                raise RuntimeError("everybody waits, and for nothing") from None
            self.now += timeout
        else:
            handle._run()
        return []

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """Only the loop itself does; nothing ever comes from there."""
        key = selectors.SelectorKey(fileobj, _number(fileobj), events, data)
        self._files[key.fd] = key
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._files.pop(_number(fileobj))

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._files

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        return self._files[_number(fileobj)]


def _number(file: Any) -> int:
    return int(file if isinstance(file, int) else file.fileno())


class LeapingLoop(asyncio.SelectorEventLoop):
    """See above. Its time begins at 0."""

    def __init__(self) -> None:
        self.selector = Leaping()
        super().__init__(self.selector)

    def time(self) -> float:
        return self.selector.now

    def call_soon_threadsafe(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self.selector.told.put(handle)
        return handle

    def run_in_executor(  # type: ignore[override]
        self,
        executor: Executor | None,  # noqa: ARG002
        func: Callable[..., T],
        *args: Any,
    ) -> asyncio.Future[T]:
        """At once: nobody can tell that it was no other thread."""
        future: asyncio.Future[T] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future

    @contextmanager
    def outside(self) -> Iterator[None]:
        """Somebody waits for a thread."""
        self.selector.outside += 1
        try:
            yield
        finally:
            self.selector.outside -= 1

    @contextmanager
    def leaping(self) -> Iterator[None]:
        """Who waits for a thread says so from here on."""
        self.selector.outside -= 1
        try:
            yield
        finally:
            self.selector.outside += 1


def here() -> LeapingLoop:
    """The running one."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, LeapingLoop)
    return loop


class LoopClock:
    """The clock of the engine on such a loop."""

    def time(self) -> float:
        return BEGIN + here().time()

    def monotonic(self) -> float:
        return here().time()

    async def wait(self, event: asyncio.Event, seconds: float | None) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await event.wait()
        except TimeoutError:
            return event.is_set()
        return True

    def jitter(self) -> float:
        return 0.5
