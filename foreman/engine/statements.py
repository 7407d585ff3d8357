"""What the store does inside a transaction: the SQL text and the steps made of it.

Each step takes the writing connection and runs inside a transaction that the writer opened. Every move of a job is
one compare-and-set, fenced by its owner. The text is constant, so that each statement is prepared once.
Rows of a RETURNING clause are always fetched to the end: an unfinished statement keeps the database locked.
"""

import json
import sqlite3
import zlib
from dataclasses import asdict
from typing import Any, Final

from foreman.core.job import (
    Answer,
    Claim,
    HandBack,
    Hot,
    Job,
    JobState,
    LoadKey,
    Mode,
    NewJob,
    Outcome,
    Payload,
)
from foreman.engine.store import Finished

# In the order of the fields of Job.
COLUMNS: Final = (
    "seq, id, state, lane, model, load_key, path, mode, client, attempts, max_attempts, not_before, "
    "cancel_requested, created_at, claimed_at, first_byte_at, finished_at, status, error_code, error, crashes"
)

SUBMIT: Final = """
INSERT INTO jobs (id, lane, model, load_key, path, mode, client, idem_key, req_hash, max_attempts, not_before,
                  created_at, bytes)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
KEEP_PAYLOAD: Final = "INSERT INTO payloads (seq, headers, enc, body) VALUES (?, ?, 0, ?)"

PROMOTE: Final = "UPDATE jobs SET not_before=0 WHERE state='queued' AND not_before>0 AND not_before<=?"

# One probe of an index per hot key, per hot model, and one for the oldest of all. An ORDER BY over all the queued
# rows (hot first, then seq) says the same and sorts the whole queue each time.
CLAIM: Final = f"""
UPDATE jobs SET state='loading', attempts=attempts+1, claimed_at=:now, first_byte_at=NULL, owner=:owner
WHERE seq = coalesce(
  (SELECT min((SELECT seq FROM jobs INDEXED BY jobs_ready_key
    WHERE state='queued' AND not_before=0 AND lane='local' AND load_key=hot.value ORDER BY seq LIMIT 1))
   FROM json_each(:load_keys) AS hot),
  (SELECT min((SELECT seq FROM jobs INDEXED BY jobs_ready_model
    WHERE state='queued' AND not_before=0 AND lane='local' AND model=hot.value ORDER BY seq LIMIT 1))
   FROM json_each(:models) AS hot),
  (SELECT seq FROM jobs INDEXED BY jobs_ready
    WHERE state='queued' AND not_before=0 AND lane='local' ORDER BY seq LIMIT 1))
AND NOT EXISTS (SELECT 1 FROM jobs INDEXED BY jobs_local_slot WHERE state IN ('loading', 'working') AND lane='local')
RETURNING {COLUMNS}"""  # noqa: S608 constants only
OPEN_ATTEMPT: Final = """
INSERT INTO attempts (seq, n, owner, started_at)
SELECT :seq, coalesce(max(n), 0) + 1, :owner, :now FROM attempts WHERE seq=:seq"""
PAYLOAD: Final = "SELECT headers, body FROM payloads WHERE seq=?"

NOTE_WORKING: Final = """
UPDATE jobs SET state='working', first_byte_at=:at WHERE seq=:seq AND owner=:owner AND state='loading'"""

# A job somebody asked to cancel ends as cancelled, unless it is done.
FINISH: Final = """
UPDATE jobs SET
  state=iif(cancel_requested AND :state<>'done', 'cancelled', :state),
  error_code=iif(cancel_requested AND :state<>'done', 'cancelled', :error_code),
  error=iif(cancel_requested AND :state<>'done', NULL, :error),
  owner=NULL, finished_at=:at, status=:status, stats=:stats, bytes=bytes+:bytes
WHERE seq=:seq AND owner=:owner AND state IN ('loading', 'working')
RETURNING state"""
KEEP_RESULT: Final = "INSERT INTO results (seq, status, headers, enc, complete, body) VALUES (?, ?, ?, ?, ?, ?)"
HAND_BACK: Final = """
UPDATE jobs SET
  state=iif(cancel_requested, 'cancelled', 'queued'),
  finished_at=iif(cancel_requested, :at, NULL),
  not_before=iif(cancel_requested, 0, :not_before),
  error_code=iif(cancel_requested, 'cancelled', :error_code),
  error=iif(cancel_requested, NULL, :error),
  owner=NULL, first_byte_at=NULL, attempts=attempts-:uncounted, crashes=crashes+:crash
WHERE seq=:seq AND owner=:owner AND state IN ('loading', 'working')
RETURNING state"""
CLOSE_ATTEMPT: Final = """
UPDATE attempts SET ended_at=:at, outcome=:outcome, error_code=:error_code, error=:error
WHERE seq=:seq AND ended_at IS NULL"""
STATE: Final = "SELECT state FROM jobs WHERE seq=?"

CANCEL: Final = """
UPDATE jobs SET
  state=iif(state='queued', 'cancelled', state),
  finished_at=iif(state='queued', :at, NULL),
  error_code=iif(state='queued', 'cancelled', error_code),
  cancel_requested=1, not_before=0
WHERE id=:id AND state IN ('queued', 'loading', 'working')
RETURNING state"""
STATE_OF_ID: Final = "SELECT state FROM jobs WHERE id=?"

RECOVER_ATTEMPTS: Final = """
UPDATE attempts SET ended_at=:now, outcome='crashed' WHERE ended_at IS NULL
AND seq IN (SELECT seq FROM jobs WHERE state IN ('loading', 'working') AND owner<>:owner)"""
RECOVER: Final = """
UPDATE jobs SET
  state=CASE WHEN cancel_requested THEN 'cancelled' WHEN attempts>=max_attempts THEN 'failed' ELSE 'queued' END,
  finished_at=iif(cancel_requested OR attempts>=max_attempts, :now, NULL),
  error_code=iif(cancel_requested, 'cancelled', 'interrupted'),
  error=iif(cancel_requested, NULL, 'foreman ended while the job was in flight'),
  owner=NULL, first_byte_at=NULL
WHERE state IN ('loading', 'working') AND owner<>:owner"""
DROP_ATTACHED: Final = """
UPDATE jobs SET state='cancelled', finished_at=:now, not_before=0, error_code='restarted',
  error='foreman was restarted while the client waited'
WHERE state='queued' AND mode='attached'"""

FINISHED_BYTES: Final = "SELECT coalesce(sum(bytes), 0) FROM jobs WHERE finished_at IS NOT NULL"
OLDEST_FINISHED: Final = """
SELECT seq, finished_at, bytes FROM jobs WHERE finished_at IS NOT NULL ORDER BY finished_at, seq LIMIT ?"""
FORGET: Final = "DELETE FROM jobs WHERE seq IN (SELECT value FROM json_each(?))"

JOB: Final = f"SELECT {COLUMNS} FROM jobs WHERE id=?"  # noqa: S608 constants only
ANSWER: Final = """
SELECT r.status, r.headers, r.enc, r.complete, r.body FROM jobs AS j JOIN results AS r USING (seq) WHERE j.id=?"""
ATTEMPTS: Final = """
SELECT a.n, a.started_at, a.ended_at, a.outcome, a.error_code, a.error
FROM jobs AS j JOIN attempts AS a USING (seq) WHERE j.id=? ORDER BY a.n"""
DEPTH: Final = """
SELECT model, load_key, count(*) FROM (
  SELECT model, load_key FROM jobs WHERE state='queued' AND not_before=0
  UNION ALL SELECT model, load_key FROM jobs WHERE state='queued' AND not_before>0)
GROUP BY model, load_key"""
NEXT_DUE: Final = "SELECT min(not_before) FROM jobs WHERE state='queued' AND not_before>0"
OLDEST_QUEUED: Final = """
SELECT min(created_at) FROM (
  SELECT (SELECT created_at FROM jobs WHERE state='queued' AND not_before=0 AND lane=lanes.column1
          ORDER BY seq LIMIT 1) AS created_at FROM (VALUES ('local'), ('remote')) AS lanes
  UNION ALL SELECT created_at FROM jobs WHERE state='queued' AND not_before>0)"""

# Answers of at least this many bytes are compressed; below, the pages saved are not worth the time.
COMPRESS_FROM: Final = 4096
# One transaction of a prune deletes about this many bytes at most, for each is overwritten in the log.
PRUNE_BYTES: Final = 8 * 1024 * 1024

Row = tuple[Any, ...]


def job_of(row: Row) -> Job:
    """A Job from a row of COLUMNS."""
    seq, id_, state, lane, model, load_key, path, mode, *rest = row
    client, attempts, max_attempts, not_before, cancel_requested, *tail = rest
    return Job(
        seq, id_, JobState(state), lane, model, LoadKey.parse(load_key), path, Mode(mode),
        client, attempts, max_attempts, not_before, bool(cancel_requested), *tail,
    )  # fmt: skip


def pack(body: bytes) -> tuple[int, bytes]:
    """How an answer is stored: (enc, bytes)."""
    if len(body) >= COMPRESS_FROM:
        packed = zlib.compress(body, 1)
        if len(packed) < len(body):
            return 1, packed
    return 0, body


def answer_of(row: Row) -> Answer:
    """An Answer from a row of ANSWER."""
    status, headers, enc, complete, body = row
    return Answer(status, _pairs(headers), zlib.decompress(body) if enc else body, bool(complete))


def submit(db: sqlite3.Connection, job: NewJob) -> int:
    headers = json.dumps(job.payload.headers)
    row = (
        job.id, job.lane, job.model, str(job.load_key), job.payload.path, job.mode, job.client, job.idem_key,
        job.req_hash, job.max_attempts, job.not_before, job.created_at, len(headers) + len(job.payload.body),
    )  # fmt: skip
    seq = db.execute(SUBMIT, row).lastrowid
    db.execute(KEEP_PAYLOAD, (seq, headers, job.payload.body))
    return int(seq or 0)


def claim(db: sqlite3.Connection, owner: str, hot: Hot, now: int) -> Claim | None:
    db.execute(PROMOTE, (now,))
    hot_keys = {"load_keys": json.dumps(hot.load_keys), "models": json.dumps(hot.models)}
    rows = db.execute(CLAIM, {"now": now, "owner": owner, **hot_keys}).fetchall()
    if not rows:
        return None
    job = job_of(rows[0])
    db.execute(OPEN_ATTEMPT, {"seq": job.seq, "owner": owner, "now": now})
    ((headers, body),) = db.execute(PAYLOAD, (job.seq,)).fetchall()
    return Claim(job, Payload(job.path, _pairs(headers), body))


def note_working(db: sqlite3.Connection, owner: str, seq: int, at: int) -> None:
    db.execute(NOTE_WORKING, {"seq": seq, "owner": owner, "at": at})


def finish(
    db: sqlite3.Connection, owner: str, seq: int, outcome: Outcome, packed: tuple[int, bytes] | None, hot: Hot | None
) -> Finished:
    answer = outcome.answer
    headers = json.dumps(answer.headers) if answer else ""
    values = {
        "seq": seq, "owner": owner, "at": outcome.at, "state": outcome.state, "error_code": outcome.error_code,
        "error": _text(outcome.error), "status": answer.status if answer else None,
        "stats": json.dumps(asdict(outcome.stats)), "bytes": len(headers) + len(packed[1]) if packed else 0,
    }  # fmt: skip
    finished = _move(db, FINISH, values, hot)
    if finished.applied and answer and packed:
        enc, body = packed
        db.execute(KEEP_RESULT, (seq, answer.status, headers, enc, answer.complete, body))
    return finished


def hand_back(db: sqlite3.Connection, owner: str, seq: int, back: HandBack, hot: Hot | None) -> Finished:
    values = {
        "seq": seq, "owner": owner, "at": back.at, "not_before": back.not_before, "error_code": back.error_code,
        "error": _text(back.error), "uncounted": not back.counted, "crash": back.crash,
    }  # fmt: skip
    return _move(db, HAND_BACK, values, hot)


def _move(db: sqlite3.Connection, sql: str, values: dict[str, Any], hot: Hot | None) -> Finished:
    rows = db.execute(sql, values).fetchall()
    if not rows:
        rows = db.execute(STATE, (values["seq"],)).fetchall()
        return Finished(applied=False, state=JobState(rows[0][0]) if rows else None)
    state = JobState(rows[0][0])
    outcome = "requeued" if state is JobState.QUEUED else state
    db.execute(CLOSE_ATTEMPT, {**values, "outcome": outcome})
    return Finished(True, state, claim(db, values["owner"], hot, values["at"]) if hot is not None else None)


def cancel(db: sqlite3.Connection, id_: str, at: int) -> JobState | None:
    rows = db.execute(CANCEL, {"id": id_, "at": at}).fetchall() or db.execute(STATE_OF_ID, (id_,)).fetchall()
    return JobState(rows[0][0]) if rows else None


def recover(db: sqlite3.Connection, owner: str, now: int, drop_attached: bool) -> None:
    values = {"owner": owner, "now": now}
    db.execute(RECOVER_ATTEMPTS, values)
    db.execute(RECOVER, values)
    if drop_attached:
        db.execute(DROP_ATTACHED, {"now": now})


def prune(db: sqlite3.Connection, before: int, excess: int, limit: int) -> int:
    """Delete the oldest finished jobs while they are older than `before` or `excess` bytes are not yet gone."""
    gone: list[int] = []
    freed = 0
    for seq, finished_at, size in db.execute(OLDEST_FINISHED, (limit,)).fetchall():
        if (finished_at >= before and freed >= excess) or (gone and freed + size > PRUNE_BYTES):
            break
        gone.append(seq)
        freed += size
    db.execute(FORGET, (json.dumps(gone),))
    return len(gone)


def free_pages(db: sqlite3.Connection) -> bool:
    """Give freed pages back to the file system, 8 MB at a time; whether more are left. Runs outside a transaction.

    `execute` would free a single page: the module steps a statement without columns once.
    """
    ((free,),) = db.execute("PRAGMA freelist_count").fetchall()
    if free:
        db.executescript("PRAGMA incremental_vacuum(2000)")
    return bool(free > 2000)


def _pairs(text: str) -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for name, value in json.loads(text))


def _text(text: str | None) -> str | None:
    """Text a target wrote may hold halves of surrogate pairs, which SQLite cannot store."""
    return text.encode("utf-8", "replace").decode() if text else text
