"""One foreman per database: an advisory lock on a file beside it.

The lock is on a file of its own, never on the database: closing any descriptor of the database file would drop
SQLite's own locks on it (https://sqlite.org/howtocorrupt.html, 2.2). The kernel frees it when the holder dies, so a
leftover file means nothing and is never removed (removing it would let two processes lock two files of one name).
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from foreman.core.errors import StoreInUse, StoreUnusable


@contextmanager
def held(database: Path) -> Iterator[None]:
    """Hold the lock of `database`. Raises StoreUnusable, naming the holder's pid, when another process has it."""
    path = database.with_name(database.name + ".lock")
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise StoreUnusable(f"cannot create the lock file {path}: {error.strerror}") from error
    try:
        _lock(descriptor, database)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, database: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
        raise StoreInUse(f"the database {database} is in use by another foreman (pid {holder})") from error
    except OSError as error:
        raise StoreUnusable(f"the database {database} is on a file system without locks: {error.strerror}") from error
