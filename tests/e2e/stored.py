"""Everything a foreman has stored of its jobs, read from beside it, running or not."""

import sqlite3
import zlib
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Stored:
    """One job with its answer. `tries` are the codes of its attempts, oldest first, None for those that went well."""

    seq: int
    id: str
    state: str
    lane: str
    model: str
    path: str
    attempts: int
    max_attempts: int
    crashes: int
    error_code: str | None
    error: str | None
    request: bytes
    status: int | None
    answer: bytes | None
    complete: bool
    tries: tuple[str | None, ...]


JOBS = """
SELECT seq, id, state, lane, model, path, attempts, max_attempts, crashes, error_code, error, p.body,
       r.status, r.enc, r.body, coalesce(r.complete, 0)
FROM jobs JOIN payloads AS p USING (seq) LEFT JOIN results AS r USING (seq) ORDER BY seq"""
TRIES = "SELECT seq, error_code FROM attempts ORDER BY seq, n"


def stored(db: Path) -> list[Stored]:
    """All jobs in order of arrival."""
    with closing(sqlite3.connect(f"file:{db}?mode=ro", uri=True, timeout=30)) as connection:
        connection.execute("BEGIN")
        tries: dict[int, list[str | None]] = {}
        for seq, code in connection.execute(TRIES):
            tries.setdefault(seq, []).append(code)
        jobs = []
        for *job, status, enc, body, complete in connection.execute(JOBS):
            answer = zlib.decompress(body) if enc else body
            found = tuple(tries.get(job[0], ()))
            jobs.append(Stored(*(*job, status, answer, bool(complete), found)))
        return jobs


def job_of(db: Path, asked: str) -> Stored:
    """The one job whose request holds this text."""
    (found,) = (job for job in stored(db) if asked.encode() in job.request)
    return found


def accepted(db: Path) -> list[str]:
    """The ids of all jobs in order of arrival, whatever became of them."""
    return [job.id for job in stored(db)]
