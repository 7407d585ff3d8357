"""The schema of the database, as numbered steps.

`NNNN_name.sql` brings a database from version NNNN - 1 to NNNN (`PRAGMA user_version`). A step that was released is
never changed. Each runs in one transaction, with a copy of the file made before, so a crash leaves the old schema or
the new one. Knows nothing of how the database is used.
"""

import sqlite3
from pathlib import Path
from typing import Final

from foreman.core.errors import StoreUnusable

# Marks a SQLite file as foreman's: the letters FRMN (https://sqlite.org/pragma.html#pragma_application_id).
APPLICATION_ID: Final = 0x46524D4E


def steps() -> tuple[str, ...]:
    """The SQL of every step; the first one makes version 1."""
    return tuple(step.read_text(encoding="utf-8") for step in sorted(Path(__file__).parent.glob("*.sql")))


def check(connection: sqlite3.Connection, path: Path) -> None:
    """Raises StoreUnusable for a SQLite file that is not foreman's, or newer than this foreman. Writes nothing."""
    mark, version = _number(connection, "PRAGMA application_id"), _number(connection, "PRAGMA user_version")
    if mark != APPLICATION_ID:
        if mark or version or _number(connection, "SELECT count(*) FROM sqlite_schema"):
            raise StoreUnusable(f"{path} is a database of another program")
    elif version > len(steps()):
        raise StoreUnusable(
            f"the database {path} has schema version {version}, this foreman knows versions up to {len(steps())}"
        )


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Bring a checked database to the newest version; a database that already has one is copied beside itself first."""
    version = _number(connection, "PRAGMA user_version")
    if 0 < version < len(steps()):
        _copy(connection, path.with_name(f"{path.name}.v{version}.bak"))
    # Off, for a step may make a table anew, and dropping the old one would delete what refers to it.
    ((enforced,),) = connection.execute("PRAGMA foreign_keys").fetchall()
    connection.execute("PRAGMA foreign_keys=OFF")
    try:
        _step(connection, version)
    finally:
        connection.execute(f"PRAGMA foreign_keys={enforced:d}")


def _step(connection: sqlite3.Connection, version: int) -> None:
    for number, sql in enumerate(steps()[version:], version + 1):
        try:
            connection.executescript(
                f"BEGIN IMMEDIATE;\n{sql}\n"
                f"PRAGMA application_id={APPLICATION_ID}; PRAGMA user_version={number}; COMMIT;"
            )
        except sqlite3.Error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def _copy(connection: sqlite3.Connection, target: Path) -> None:
    target.unlink(missing_ok=True)
    # VACUUM INTO accepts an empty file and keeps its mode; by itself it would follow the umask.
    target.touch(mode=0o600)
    connection.execute("VACUUM INTO ?", (str(target),))


def _number(connection: sqlite3.Connection, sql: str) -> int:
    ((number,),) = connection.execute(sql).fetchall()
    return int(number)
