"""The writer: one thread that owns the one connection which writes.

Rules inside:
1. Natural group commit: a batch is whatever queued while the last commit ran; there is no timer.
2. A caller hears of its step only after the COMMIT that holds it.
3. A step handed over happens, whether its caller still waits or not.
4. The thread's death is never silent: whoever waits gets StorageFailed, and `failed` resolves.
5. Closing ends the thread, also when opening failed or was cancelled; an open one would keep the process alive.

Knows nothing of jobs.
"""

import asyncio
import logging
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from queue import Empty, SimpleQueue
from time import perf_counter
from typing import Any, Final

from foreman.core.errors import StorageFailed, StorageFull
from foreman.core.spread import SHORT, Spread
from foreman.engine.batch import Op, Step, T, commit, first_batch
from foreman.engine.checkpoint import Checkpoint

log = logging.getLogger("foreman.store")

# Seconds without work: after the first, what nobody waits for is committed and a grown log is copied; after the
# second, the log is cut to nothing. Then the thread sleeps until there is work.
PAUSES: Final = (0.25, 5.0)


class Writer:
    """Made, opened, used and closed on one running loop.

    `connect` is entered and left in the thread; `failed` resolves with what killed the thread. `commits` is what each
    batch took, in seconds.
    """

    def __init__(self, connect: Callable[[], AbstractContextManager[sqlite3.Connection]], log_file: Path) -> None:
        self._loop = asyncio.get_running_loop()
        self._ops: SimpleQueue[Op | None] = SimpleQueue()
        self._opened: asyncio.Future[None] = self._loop.create_future()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._refusal: str | None = None
        self._thread = threading.Thread(target=self._main, args=(connect, Checkpoint(log_file)), name="foreman-writer")
        self._pending: list[Op] = []  # the thread's own, as long as it lives
        self.failed: asyncio.Future[BaseException] = self._loop.create_future()
        self.commits = Spread(SHORT)

    async def open(self) -> None:
        """Start the thread and let it connect; raises what `connect` raised."""
        self._thread.start()
        await self._opened

    async def run(self, step: Step[T], *, durable: bool = True, alone: bool = False) -> T:
        """Run `step` in a transaction; returns after its COMMIT, which is synced to the disk if `durable`.

        `alone` keeps a slow step from holding others up. Raises what the step raised; StorageFull or StorageFailed
        for an error of SQLite.
        """
        future: asyncio.Future[T] = self._loop.create_future()
        self._hand_over(Op(step, future, durable=durable, alone=alone))
        return await future

    async def run_bare(self, step: Step[T]) -> T:
        """Run `step` between transactions; raises as `run` does."""
        future: asyncio.Future[T] = self._loop.create_future()
        self._hand_over(Op(step, future, bare=True))
        return await future

    def later(self, step: Step[object]) -> None:
        """Run `step` with the next batch or at the next pause. Nobody hears of it; a failure is logged."""
        if self._refusal is None:
            self._ops.put(Op(step))

    async def close(self) -> None:
        """Finish what was handed over, leave the connection, end the thread. May be called twice, or before open."""
        if self._thread.ident is None:
            return
        if self._refusal is None:
            self._refusal = "the store is closed"
            self._ops.put(None)
        await asyncio.shield(self._ended)
        self._thread.join()

    def _hand_over(self, op: Op) -> None:
        if self._refusal is not None:
            raise StorageFailed(self._refusal)
        self._ops.put(op)

    def _on_commit(self, batch: list[Op], seconds: float) -> None:
        self.commits.add(seconds)
        _settle(batch)

    def _on_open(self, error: BaseException | None) -> None:
        if self._opened.done():
            return
        if error is None:
            self._opened.set_result(None)
        else:
            self._opened.set_exception(error)

    def _on_death(self, error: BaseException) -> None:
        log.critical("the writer of the database died", exc_info=error)
        self._refusal = f"the writer of the database died: {error!r}"
        for op in (*self._pending, *_waiting(self._ops)):
            if op is not None:
                op.error = StorageFailed(self._refusal)
                _settle([op])
        self.failed.set_result(error)

    # From here on, the thread.

    def _main(self, connect: Callable[[], AbstractContextManager[sqlite3.Connection]], checkpoint: Checkpoint) -> None:
        opened = False
        try:
            with connect() as connection:
                opened = True
                self._tell(self._on_open, None)
                self._serve(connection, checkpoint)
                checkpoint.cut(connection)
        except BaseException as error:
            self._tell(self._on_death if opened else self._on_open, error)
        self._tell(self._ended.set_result, None)

    def _serve(self, connection: sqlite3.Connection, checkpoint: Checkpoint) -> None:
        pauses = len(PAUSES)
        stop = False
        while not stop:
            try:
                op = self._ops.get(timeout=PAUSES[pauses] if pauses < len(PAUSES) else None)
            except Empty:
                self._commit_pending(connection)
                (checkpoint.on_pause if pauses == 0 else checkpoint.cut)(connection)
                pauses += 1
                continue
            pauses = 0
            stop = self._collect(op)
            if stop or any(op.future for op in self._pending):
                self._commit_pending(connection)
                checkpoint.after_commit(connection)

    def _collect(self, first: Op | None) -> bool:
        """Take all that is waiting; True when the end was asked for."""
        taken = [first, *_waiting(self._ops)]
        self._pending += [op for op in taken if op is not None]
        return None in taken

    def _commit_pending(self, connection: sqlite3.Connection) -> None:
        while self._pending:
            batch = first_batch(self._pending)
            began = perf_counter()
            commit(connection, batch)
            seconds = perf_counter() - began
            del self._pending[: len(batch)]
            self._tell(self._on_commit, batch, seconds)

    def _tell(self, callback: Callable[..., None], *args: Any) -> None:
        self._loop.call_soon_threadsafe(callback, *args)


def storage_error(error: Exception) -> Exception:
    """What a caller of the store gets for `error`; errors that are not SQLite's stay what they are."""
    if not isinstance(error, sqlite3.Error):
        return error
    # Extended result codes carry the primary one in the low byte; errors of the sqlite3 module itself have none.
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    full = code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)
    told = StorageFull(f"no room for the database: {error}") if full else StorageFailed(f"the database failed: {error}")
    told.__cause__ = error
    return told


def _settle(batch: list[Op]) -> None:
    for op in batch:
        error = None if op.error is None else storage_error(op.error)
        if op.future is None:
            if error is not None:
                log.warning("a note could not be stored: %s", error)
        elif not op.future.done():
            if error is None:
                op.future.set_result(op.value)
            else:
                op.future.set_exception(error)


def _waiting(ops: SimpleQueue[Op | None]) -> Iterator[Op | None]:
    while True:
        try:
            yield ops.get_nowait()
        except Empty:
            return
