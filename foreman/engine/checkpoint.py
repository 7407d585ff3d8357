"""When the write-ahead log is copied into the database, and how large it may grow.

SQLite's own checkpoints would stall a commit now and then, so they are off and the writer, which is the only one that
may checkpoint, calls here: two connections that checkpoint at the same instant can corrupt a database with a SQLite
before 3.51.3 (https://sqlite.org/wal.html#walresetbug).
"""

import logging
import sqlite3
from pathlib import Path
from typing import Final

# A log above this many bytes is copied when the writer pauses; above the other, at once.
GROWN: Final = 4 * 1024 * 1024
FULL: Final = 64 * 1024 * 1024

log = logging.getLogger("foreman.store")


class Checkpoint:
    """The log of one database."""

    def __init__(self, log_file: Path) -> None:
        self._file = log_file
        self._limit = FULL

    def after_commit(self, connection: sqlite3.Connection) -> None:
        if self._bytes() > self._limit:
            self._copy(connection, "PRAGMA wal_checkpoint(PASSIVE)")

    def on_pause(self, connection: sqlite3.Connection) -> None:
        if self._bytes() > GROWN:
            self._copy(connection, "PRAGMA wal_checkpoint(PASSIVE)")

    def cut(self, connection: sqlite3.Connection) -> None:
        """Copy everything and cut the log to nothing; for a long pause and the end."""
        self._copy(connection, "PRAGMA wal_checkpoint(TRUNCATE)")

    def _copy(self, connection: sqlite3.Connection, statement: str) -> None:
        """A reader in the way, another program's lock or a full disk leave the rest for the next time."""
        ((patience,),) = connection.execute("PRAGMA busy_timeout").fetchall()
        connection.execute("PRAGMA busy_timeout=0")
        try:
            ((_, frames, copied),) = connection.execute(statement).fetchall()
        except sqlite3.Error as error:
            log.warning("the log of the database could not be copied into it: %s", error)
            frames, copied = 1, 0
        finally:
            connection.execute(f"PRAGMA busy_timeout={patience:d}")
        # While something holds the log, trying again after every commit would only cost time.
        self._limit = FULL if frames == copied else max(FULL, self._bytes() + FULL // 4)

    def _bytes(self) -> int:
        try:
            return self._file.stat().st_size
        except FileNotFoundError:
            return 0
