"""Copies of the database: made while foreman runs or not, and put back when it does not.

Rules:
1. A copy is one file, whole and checked, before it has its name; an existing file is never overwritten.
2. Making one only reads: a second program that copied the log into the database could damage it with an SQLite before
   3.51.3 (https://sqlite.org/wal.html#walresetbug).
3. Putting one back needs the lock of the database, and keeps what was there beside it.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

from foreman.core.errors import StoreUnusable
from foreman.engine import lock, migrations

TAILS: Final = ("-wal", "-shm")


@dataclass(frozen=True, slots=True)
class Copied:
    """A copy, its size in bytes, and how many jobs are in it, finished or not."""

    path: Path
    bytes: int
    jobs: int
    unfinished: int


def back_up(database: Path, to: Path) -> Copied:
    """Write a copy of the database, which foreman may be using, to a file that is not there yet.

    Raises StoreUnusable.
    """
    if not database.is_file():
        raise StoreUnusable(f"there is no database at {database}")
    with _made(to) as part:
        try:
            with closing(sqlite3.connect(f"file:{quote(str(database))}?mode=ro", uri=True)) as connection:
                migrations.check(connection, database)
                connection.execute("VACUUM INTO ?", (str(part),))
        except sqlite3.Error as error:
            raise StoreUnusable(f"the database {database} could not be copied: {error}") from error
        return _checked(part, to)


def restore(copy: Path, database: Path, now: str) -> tuple[Copied, Path | None]:
    """Put a copy in the place of the database; gives where the old one lies now, with `now` in its name.

    Raises StoreUnusable: the copy is none, is damaged or too new, or a foreman is using the database.
    """
    if not copy.is_file():
        raise StoreUnusable(f"there is no file {copy}")
    if database.exists() and os.path.samefile(copy, database):
        raise StoreUnusable(f"{copy} is the database itself")
    database.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with lock.held(database):
        part = database.with_name(f"{database.name}.restored")
        part.unlink(missing_ok=True)
        with _made(part) as fresh:
            _copy(copy, fresh)
            found = _checked(fresh, copy)
        old = _set_aside(database, now) if database.exists() else None
        part.replace(database)
        _sync_folder(database)
    return found, old


@contextmanager
def _made(path: Path) -> Iterator[Path]:
    """A file for the owner alone that gets its name when the block has succeeded, and is gone when it has not."""
    part = path.with_name(f"{path.name}.partial")
    if path.exists():
        raise StoreUnusable(f"{path} is there already; a copy overwrites nothing")
    try:
        part.unlink(missing_ok=True)
        os.close(os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        try:
            yield part
            # Unlike a rename this never replaces a file that appeared meanwhile.
            os.link(part, path)
            _sync_folder(path)
        finally:
            part.unlink()
    except OSError as error:
        raise StoreUnusable(f"{path} cannot be written: {error.strerror}") from error


def _copy(copy: Path, to: Path) -> None:
    """With what a log beside it may hold."""
    try:
        with closing(sqlite3.connect(f"file:{quote(str(copy))}?mode=ro", uri=True)) as connection:
            connection.execute("VACUUM INTO ?", (str(to),))
    except sqlite3.Error as error:
        raise StoreUnusable(f"{copy} is no whole copy of a database: {error}") from error


def _checked(part: Path, name: Path) -> Copied:
    """What is in it, once every page of it was looked at and it is on the disk."""
    try:
        with closing(sqlite3.connect(f"file:{quote(str(part))}?mode=ro", uri=True)) as connection:
            migrations.check(connection, name)
            if connection.execute("PRAGMA integrity_check").fetchall() != [("ok",)]:
                raise StoreUnusable(f"{name} is damaged")
            jobs, unfinished = connection.execute("SELECT count(*), count(*) - count(finished_at) FROM jobs").fetchone()
    except sqlite3.Error as error:
        raise StoreUnusable(f"{name} is no database of foreman: {error}") from error
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    return Copied(name, part.stat().st_size, jobs, unfinished)


def _set_aside(database: Path, now: str) -> Path:
    """Another name for the database and its log, unopened: SQLite deletes the log of a file that it cannot read."""
    aside = database.with_name(f"{database.name}.replaced-{now}")
    if aside.exists():
        raise StoreUnusable(f"{aside} is there already")
    for tail in ("", *TAILS):
        file = database.with_name(database.name + tail)
        if file.exists():
            os.link(file, aside.with_name(aside.name + tail))
    # Before the copy has the name: SQLite would read the old log into it.
    for tail in TAILS:
        database.with_name(database.name + tail).unlink(missing_ok=True)
    return aside


def _sync_folder(path: Path) -> None:
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
