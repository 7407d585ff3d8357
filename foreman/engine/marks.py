"""What the store does inside a transaction where a job is only marked, and moves nowhere. See `steps.py`."""

import sqlite3

from foreman.core.job import JobState
from foreman.engine import statements as sql


def override(db: sqlite3.Connection, id_: str, what: str) -> JobState | None:
    if db.execute(sql.OVERRIDE, (what, id_)).rowcount > 0:
        return JobState.QUEUED
    rows = db.execute(sql.STATE_OF_ID, (id_,)).fetchall()
    return JobState(rows[0][0]) if rows else None


def keep(db: sqlite3.Connection, id_: str, kept: bool) -> bool:
    return db.execute(sql.KEEP, {"id": id_, "kept": kept}).rowcount > 0


def detach(db: sqlite3.Connection, id_: str) -> bool:
    return db.execute(sql.DETACH, (id_,)).rowcount > 0
