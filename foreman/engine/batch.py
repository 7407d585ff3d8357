"""One transaction for many steps: each stands or falls alone, and none is called done before the COMMIT.

After any error every step runs again in a transaction of its own; a savepoint for each would cost more in all the
batches without an error than that does. So a step may run twice, and changes nothing but the database.
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
    if any(op.durable for op in batch):
        _transact(connection, batch)
        return
    # The connection syncs every commit but these, so that what must be durable depends on nothing done before it.
    connection.execute("PRAGMA synchronous=NORMAL")
    try:
        _transact(connection, batch)
    finally:
        connection.execute("PRAGMA synchronous=FULL")


def _transact(connection: sqlite3.Connection, batch: list[Op]) -> None:
    try:
        connection.execute("BEGIN IMMEDIATE")
        for op in batch:
            op.value = op.step(connection)
        connection.execute("COMMIT")
    except Exception as error:
        _roll_back(connection)
        if len(batch) == 1:
            batch[0].error = error
            return
        for op in batch:
            commit(connection, [op])


def _run_bare(connection: sqlite3.Connection, op: Op) -> None:
    try:
        op.value = op.step(connection)
    except Exception as error:
        _roll_back(connection)
        op.error = error


def _roll_back(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        connection.execute("ROLLBACK")
