"""The writer: one thread that owns the one connection which writes and checkpoints.

Rules inside:
1. Natural group commit: a batch is whatever queued while the last commit ran; no timer.
2. A caller hears of its step only after the COMMIT that holds it.
3. After any error `in_transaction` decides. SQLite drops the whole transaction on a full disk or an I/O error, and
   the next SAVEPOINT would silently begin another one; then every step of the batch runs again in one of its own.
4. A step handed over happens, whether its caller still waits or not. Steps may run twice, so they change nothing
   but the database.
5. The thread's death is never silent: whoever waits gets StorageFailed, and `failed` resolves.
6. It alone checkpoints: two connections that checkpoint at the same instant can corrupt a database with a
   SQLite before 3.51.3 (https://sqlite.org/wal.html#walresetbug).

Knows nothing of jobs.
"""

import asyncio
import logging
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeVar

from foreman.core.errors import StorageFailed, StorageFull
from foreman.engine.database import BUSY_MS

T = TypeVar("T")
Step = Callable[[sqlite3.Connection], T]

log = logging.getLogger("foreman.store")

# What follows an idle moment: lazy steps are committed and a grown log is copied after the first pause (seconds),
# the log is cut to nothing after the second.
PAUSES: Final = (0.25, 5.0)
# A log above this many bytes is copied into the database at the next pause; above the other, at once.
LOG_GROWN: Final = 4 * 1024 * 1024
LOG_FULL: Final = 64 * 1024 * 1024


@dataclass(slots=True, eq=False)
class _Op:
    step: Step[Any]
    future: asyncio.Future[Any] | None
    durable: bool
    alone: bool
    bare: bool
    value: Any = None
    error: Exception | None = None


class Writer:
    """The event loop's handle on the thread. Made, opened, used and closed on one running loop."""

    def __init__(self, connect: Callable[[], sqlite3.Connection], log_file: Path) -> None:
        self._loop = asyncio.get_running_loop()
        self._ops: SimpleQueue[_Op | None] = SimpleQueue()
        self._opened: asyncio.Future[None] = self._loop.create_future()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._refusal: StorageFailed | None = None
        self._thread = threading.Thread(target=_Desk(self, connect, log_file).run, name="foreman-writer")
        self.failed: asyncio.Future[BaseException] = self._loop.create_future()

    async def open(self) -> None:
        """Start the thread and let it connect; raises what `connect` raised."""
        self._thread.start()
        await self._opened

    async def run(self, step: Step[T], *, durable: bool = True, alone: bool = False) -> T:
        """Run `step` inside a transaction; returns after its COMMIT.

        `durable`: the commit is synced to the disk. `alone`: big steps hold no others up. Raises what the step
        raised; StorageFull, StorageFailed for errors of SQLite.
        """
        return await self._hand_over(step, durable=durable, alone=alone)

    async def run_bare(self, step: Step[T]) -> T:
        """Run `step` between transactions, for statements that make their own."""
        return await self._hand_over(step, bare=True, alone=True)

    def later(self, step: Step[None]) -> None:
        """Run `step` with the next batch, or at the next pause. Nobody hears of it; a failure is logged."""
        if self._refusal is None:
            self._ops.put(_Op(step, None, durable=False, alone=False, bare=False))

    async def close(self) -> None:
        """Finish what was handed over, close the connection, end the thread. Safe to call twice, or before open."""
        if self._thread.ident is None:
            return
        if self._refusal is None:
            self._refusal = StorageFailed("the store is closed")
            self._ops.put(None)
        await asyncio.shield(self._ended)
        self._thread.join()

    async def _hand_over(self, step: Step[T], *, alone: bool, durable: bool = False, bare: bool = False) -> T:
        if self._refusal is not None:
            raise self._refusal
        future: asyncio.Future[T] = self._loop.create_future()
        self._ops.put(_Op(step, future, durable, alone, bare))
        return await future

    # The rest is called by the thread, through the loop.

    def on_open(self, error: BaseException | None) -> None:
        if self._opened.done():
            return
        if error is None:
            self._opened.set_result(None)
        else:
            self._opened.set_exception(error)

    def on_death(self, error: BaseException, pending: list[_Op]) -> None:
        log.error("the writer of the database died", exc_info=error)
        self._refusal = StorageFailed(f"the writer of the database died: {error!r}")
        for op in (*pending, *_drained(self._ops)):
            op.error = self._refusal
            settle([op])
        self.failed.set_result(error)

    def on_end(self) -> None:
        self._ended.set_result(None)


class _Desk:
    """The thread's side."""

    def __init__(self, writer: Writer, connect: Callable[[], sqlite3.Connection], log_file: Path) -> None:
        self._writer = writer
        self._loop = writer._loop  # noqa: SLF001 the two are halves of one thing
        self._ops = writer._ops  # noqa: SLF001
        self._connect = connect
        self._log_file = log_file
        self._log_limit = LOG_FULL
        self._pending: list[_Op] = []
        self._synced: bool | None = None
        self._dirty = False

    def run(self) -> None:
        try:
            connection = self._connect()
        except BaseException as error:
            self._tell(self._writer.on_open, error)
        else:
            self._tell(self._writer.on_open, None)
            self._work(connection)
        self._tell(self._writer.on_end)

    def _work(self, connection: sqlite3.Connection) -> None:
        try:
            with closing(connection):
                self._serve(connection)
                self._checkpoint(connection, "TRUNCATE")
        except BaseException as error:
            self._tell(self._writer.on_death, error, self._pending)

    def _serve(self, connection: sqlite3.Connection) -> None:
        pauses = 0
        stop = False
        while not stop:
            try:
                op = self._ops.get(timeout=PAUSES[pauses] if self._dirty and pauses < len(PAUSES) else None)
            except Empty:
                self._pause(connection, pauses)
                pauses += 1
                continue
            pauses = 0
            stop = self._collect(op)
            if stop or any(op.future for op in self._pending):
                self._commit_pending(connection)

    def _collect(self, op: _Op | None) -> bool:
        """Add `op` and all that queued behind it to what is pending; True when the end was asked for."""
        self._dirty = True
        stop = op is None
        if op is not None:
            self._pending.append(op)
        for later in _taken(self._ops):
            stop = stop or later is None
            if later is not None:
                self._pending.append(later)
        return stop

    def _commit_pending(self, connection: sqlite3.Connection) -> None:
        while self._pending:
            batch = _first_batch(self._pending)
            if batch[0].bare:
                _run_bare(connection, batch[0])
            else:
                self._transact(connection, batch)
            del self._pending[: len(batch)]
            self._tell(settle, batch)
        if self._log_bytes() > self._log_limit:
            self._checkpoint(connection, "PASSIVE")

    def _transact(self, connection: sqlite3.Connection, batch: list[_Op]) -> None:
        self._sync(connection, any(op.durable for op in batch))
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            for op in batch:
                op.error = error
            return
        try:
            for op in batch:
                _run(connection, op, guarded=len(batch) > 1)
            connection.execute("COMMIT")
        except Exception as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            if len(batch) == 1:
                batch[0].error = error
                return
            for op in batch:
                op.error = None
                self._transact(connection, [op])

    def _sync(self, connection: sqlite3.Connection, durable: bool) -> None:
        if durable is not self._synced:
            connection.execute("PRAGMA synchronous=FULL" if durable else "PRAGMA synchronous=NORMAL")
            self._synced = durable

    def _pause(self, connection: sqlite3.Connection, nth: int) -> None:
        self._commit_pending(connection)
        if nth + 1 == len(PAUSES):
            self._checkpoint(connection, "TRUNCATE")
            self._dirty = False
        elif self._log_bytes() > LOG_GROWN:
            self._checkpoint(connection, "PASSIVE")

    def _checkpoint(self, connection: sqlite3.Connection, how: str) -> None:
        """Copy the log into the database. A reader in the way, or a full disk, leaves it for the next time."""
        try:
            connection.execute("PRAGMA busy_timeout=0")
            ((_, frames, copied),) = connection.execute(f"PRAGMA wal_checkpoint({how})").fetchall()
        except sqlite3.Error as error:
            log.warning("the log of the database could not be copied into it: %s", error)
            frames, copied = 1, 0
        finally:
            connection.execute(f"PRAGMA busy_timeout={BUSY_MS}")
        # While something holds the log, trying again at every commit would only cost time.
        self._log_limit = LOG_FULL if frames == copied else self._log_bytes() + LOG_FULL // 4

    def _log_bytes(self) -> int:
        try:
            return self._log_file.stat().st_size
        except FileNotFoundError:
            return 0

    def _tell(self, callback: Callable[..., None], *args: Any) -> None:
        self._loop.call_soon_threadsafe(callback, *args)


def settle(batch: list[_Op]) -> None:
    """Tell the callers; runs on the loop."""
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


def storage_error(error: Exception) -> Exception:
    """What a caller of the store gets for `error`; errors that are not SQLite's stay what they are."""
    if not isinstance(error, sqlite3.Error):
        return error
    # Extended result codes carry the primary one in the low byte. Errors of the sqlite3 module itself have none.
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    full = code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)
    told = StorageFull(f"no room for the database: {error}") if full else StorageFailed(f"the database failed: {error}")
    told.__cause__ = error
    return told


def _run(connection: sqlite3.Connection, op: _Op, *, guarded: bool) -> None:
    if not guarded:
        op.value = op.step(connection)
        return
    connection.execute("SAVEPOINT op")
    try:
        op.value = op.step(connection)
    except Exception as error:
        if not connection.in_transaction:
            raise
        connection.execute("ROLLBACK TO op")
        op.error = error
    connection.execute("RELEASE op")


def _run_bare(connection: sqlite3.Connection, op: _Op) -> None:
    try:
        op.value = op.step(connection)
    except Exception as error:
        op.error = error
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _first_batch(ops: list[_Op]) -> list[_Op]:
    """The ops in front that share one transaction."""
    size = next((n for n, op in enumerate(ops) if op.alone), len(ops))
    return ops[: max(size, 1)]


def _taken(ops: SimpleQueue[_Op | None]) -> Iterator[_Op | None]:
    while True:
        try:
            yield ops.get_nowait()
        except Empty:
            return


def _drained(ops: SimpleQueue[_Op | None]) -> Iterable[_Op]:
    return [op for op in _taken(ops) if op is not None]
