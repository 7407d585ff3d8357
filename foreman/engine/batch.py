"""One transaction for many steps: each stands or falls alone, and none is called done before the COMMIT.

After any error `in_transaction` decides. On a full disk or an I/O error SQLite drops the whole transaction
(https://sqlite.org/lang_transaction.html, 3.2), and the next SAVEPOINT would silently begin another one; then every
step runs again in a transaction of its own. So a step may run twice and changes nothing but the database.
Knows nothing of threads, of jobs, or of who waits.
"""

import asyncio
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")
Step = Callable[[sqlite3.Connection], T]


@dataclass(slots=True, eq=False)
class Op:
    """A step on its way, and what came of it.

    `future` is None when nobody waits. `durable`: its commit is synced to the disk. `alone`: it shares a transaction
    with no other. `bare`: it makes its own transactions.
    """

    step: Step[Any]
    future: asyncio.Future[Any] | None = None
    durable: bool = False
    alone: bool = False
    bare: bool = False
    value: Any = None
    error: Exception | None = None


def first_batch(ops: list[Op]) -> list[Op]:
    """The ops in front that go into one transaction."""
    size = next((n for n, op in enumerate(ops) if op.alone or op.bare), len(ops))
    return ops[: max(size, 1)]


def commit(connection: sqlite3.Connection, batch: list[Op]) -> None:
    """Run a batch to its end: each op then holds its value or its error, and has been committed or undone."""
    if batch[0].bare:
        _run_bare(connection, batch[0])
        return
    durable = any(op.durable for op in batch)
    try:
        connection.execute("PRAGMA synchronous=FULL" if durable else "PRAGMA synchronous=NORMAL")
        connection.execute("BEGIN IMMEDIATE")
    except sqlite3.Error as error:
        for op in batch:
            op.error = error
    else:
        _transact(connection, batch)


def _transact(connection: sqlite3.Connection, batch: list[Op]) -> None:
    try:
        if len(batch) == 1:
            batch[0].value = batch[0].step(connection)
        else:
            for op in batch:
                _run_guarded(connection, op)
        connection.execute("COMMIT")
    except Exception as error:
        _roll_back(connection)
        if len(batch) == 1:
            batch[0].error = error
            return
        for op in batch:
            op.error = None
            commit(connection, [op])


def _run_guarded(connection: sqlite3.Connection, op: Op) -> None:
    connection.execute("SAVEPOINT op")
    try:
        op.value = op.step(connection)
    except Exception as error:
        if not connection.in_transaction:
            raise
        connection.execute("ROLLBACK TO op")
        op.error = error
    connection.execute("RELEASE op")


def _run_bare(connection: sqlite3.Connection, op: Op) -> None:
    try:
        op.value = op.step(connection)
    except Exception as error:
        _roll_back(connection)
        op.error = error


def _roll_back(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        connection.execute("ROLLBACK")
