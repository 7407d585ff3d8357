"""The database file: made private, locked, checked, and opened with the settings the store relies on.

Whatever is wrong is one StoreUnusable with one line. A damaged file is never replaced. Knows nothing of jobs.
"""

import os
import sqlite3
import stat
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from foreman.core.errors import StoreUnusable
from foreman.engine import lock, migrations

# STRICT tables came with 3.37, json_each built in with 3.38.
SQLITE_FLOOR: Final = (3, 38, 0)
# How long a statement waits for another program's lock, in milliseconds; less while opening, which is to fail fast.
BUSY_MS: Final = 5000
OPENING_BUSY_MS: Final = 1000

_SETTINGS: Final = (
    "PRAGMA foreign_keys=ON",
    "PRAGMA synchronous=FULL",  # every commit; the writer lowers it for what need not last
    "PRAGMA trusted_schema=OFF",
    # What was asked and answered is private: freed pages are overwritten.
    "PRAGMA secure_delete=ON",
    "PRAGMA temp_store=MEMORY",
    "PRAGMA cache_size=-16384",
    # A mapped file turns an I/O error into a signal.
    "PRAGMA mmap_size=0",
    "PRAGMA journal_size_limit=67108864",
    "PRAGMA wal_autocheckpoint=0",
)
# A plain fsync on macOS does not empty the drive's cache (https://sqlite.org/pragma.html#pragma_fullfsync).
_SETTINGS_MACOS: Final = ("PRAGMA fullfsync=ON", "PRAGMA checkpoint_fullfsync=ON")
READER_SETTINGS: Final = (
    "PRAGMA query_only=ON",
    "PRAGMA trusted_schema=OFF",
    "PRAGMA mmap_size=0",
    "PRAGMA wal_autocheckpoint=0",
    f"PRAGMA busy_timeout={BUSY_MS}",
)


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """The writing connection, migrated and ready; the lock on the database is held until it is closed.

    Raises StoreUnusable: SQLite is too old; the database is another program's, too new, damaged, not writable, held by
    another foreman, or on a file system that cannot hold it.
    """
    if sqlite3.sqlite_version_info < SQLITE_FLOOR:
        floor = ".".join(map(str, SQLITE_FLOOR))
        raise StoreUnusable(f"Python's SQLite is {sqlite3.sqlite_version}, foreman needs {floor} or newer")
    _make_folder(path)
    with lock.held(path):
        _make_private(path)
        with closing(_connected(path)) as connection:
            yield connection


def _make_folder(path: Path) -> None:
    missing = [folder for folder in path.parents if not folder.exists()]
    try:
        for folder in reversed(missing):
            folder.mkdir(mode=0o700)
    except OSError as error:
        raise StoreUnusable(f"cannot create the folder {path.parent}: {error.strerror}") from error
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise StoreUnusable(f"cannot write in the folder {path.parent}")


def _make_private(path: Path) -> None:
    """Make an empty file for the owner alone, or take other people's rights from the one there.

    SQLite gives its log and shared memory the mode of the database file. An existing file is not opened here: closing
    the descriptor would drop SQLite's locks on it.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        _tighten(path)
    except OSError as error:
        raise StoreUnusable(f"cannot create the database {path}: {error.strerror}") from error


def _tighten(path: Path) -> None:
    if not stat.S_ISREG(path.stat().st_mode):
        raise StoreUnusable(f"{path} is not a file")
    if not os.access(path, os.R_OK | os.W_OK):
        raise StoreUnusable(f"the database {path} is not readable and writable for this user")
    for file in (path, *(path.with_name(path.name + tail) for tail in ("-wal", "-shm"))):
        if file.exists() and stat.S_IMODE(file.stat().st_mode) & 0o077:
            file.chmod(0o600)


def _connected(path: Path) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(path, isolation_level=None, cached_statements=256)
        try:
            _set_up(connection, path)
        except BaseException:
            connection.close()
            raise
    except sqlite3.Error as error:
        raise StoreUnusable(_reason(error, path)) from error
    return connection


def _set_up(connection: sqlite3.Connection, path: Path) -> None:
    # A log left behind means the last stop was none of ours to choose; reading it in happens with the first query.
    unclean = _size(path.with_name(path.name + "-wal")) > 0
    connection.execute(f"PRAGMA busy_timeout={OPENING_BUSY_MS}")
    migrations.check(connection, path)
    if unclean:
        _check_tables(connection, path)
    # Takes effect only before anything is written, and the journal mode is written.
    connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
    ((mode,),) = connection.execute("PRAGMA journal_mode=WAL").fetchall()
    if mode != "wal":
        raise StoreUnusable(f"the file system of {path} cannot hold a write-ahead log (journal mode stays {mode})")
    for setting in _SETTINGS + (_SETTINGS_MACOS if sys.platform == "darwin" else ()):
        connection.execute(setting).fetchall()
    migrations.migrate(connection, path)
    connection.execute(f"PRAGMA busy_timeout={BUSY_MS}")


def _check_tables(connection: sqlite3.Connection, path: Path) -> None:
    """Look through the narrow tables; those with bodies would take seconds.

    At pages and rows, not at the CHECK constraints: no fault of a disk is found by these alone, and they take four
    times as long as all the rest.
    """
    connection.execute("PRAGMA ignore_check_constraints=ON")
    for table in ("jobs", "attempts", "earlier_attempts"):  # the second is the third in older versions
        known = connection.execute("SELECT 1 FROM sqlite_schema WHERE type='table' AND name=?", (table,)).fetchall()
        if known and connection.execute(f"PRAGMA quick_check({table})").fetchall() != [("ok",)]:
            raise StoreUnusable(_damaged(path))
    connection.execute("PRAGMA ignore_check_constraints=OFF")


def _reason(error: sqlite3.Error, path: Path) -> str:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return _damaged(path)
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return f"the database {path} is locked by another program"
    return f"cannot open the database {path}: {error}"


def _damaged(path: Path) -> str:
    return f"{path} is damaged or not a database; it was left as it is: move it away or restore a copy"


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
