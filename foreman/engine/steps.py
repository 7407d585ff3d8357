"""What the store does inside a transaction.

Each step takes the writing connection, runs inside a transaction that the writer opened, and may run twice. All rows
of a RETURNING clause are fetched: an unfinished statement keeps the database locked.
"""

import json
import sqlite3
import zlib
from typing import Any, Final

import orjson

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
from foreman.engine import statements as sql
from foreman.engine.store import Finished

# Answers of at least this many bytes are compressed; below, the pages saved are not worth the time.
COMPRESS_FROM: Final = 4096
# One transaction of a prune deletes about this many bytes at most, for each is overwritten in the log.
PRUNE_BYTES: Final = 8 * 1024 * 1024

Row = tuple[Any, ...]


def job_of(row: Row) -> Job:
    """A Job from a row of sql.COLUMNS."""
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
    """An Answer from a row of sql.ANSWER."""
    status, headers, enc, complete, body = row
    return Answer(status, _pairs(headers), zlib.decompress(body) if enc else body, bool(complete))


def submit(db: sqlite3.Connection, job: NewJob) -> int:
    headers = json.dumps(job.payload.headers)
    row = (
        job.id, job.lane, job.model, str(job.load_key), job.payload.path, job.mode, job.client, job.idem_key,
        job.req_hash, job.max_attempts, job.not_before, job.created_at, len(headers) + len(job.payload.body),
    )  # fmt: skip
    seq = db.execute(sql.SUBMIT, row).lastrowid
    db.execute(sql.KEEP_PAYLOAD, (seq, headers, job.payload.body))
    return int(seq or 0)


def claim(db: sqlite3.Connection, owner: str, hot: Hot, now: int) -> Claim | None:
    db.execute(sql.PROMOTE, (now,))
    values = {
        "now": now, "owner": owner,
        "load_keys": orjson.dumps(hot.load_keys).decode(), "models": orjson.dumps(hot.models).decode(),
    }  # fmt: skip
    rows = db.execute(sql.CLAIM, values).fetchall()
    if not rows:
        return None
    job = job_of(rows[0])
    db.execute(sql.OPEN_ATTEMPT, {"seq": job.seq, "owner": owner, "now": now})
    ((headers, body),) = db.execute(sql.PAYLOAD, (job.seq,)).fetchall()
    return Claim(job, Payload(job.path, _pairs(headers), body))


def note_working(db: sqlite3.Connection, owner: str, seq: int, at: int) -> None:
    db.execute(sql.NOTE_WORKING, {"seq": seq, "owner": owner, "at": at})


def finish(
    db: sqlite3.Connection, owner: str, seq: int, outcome: Outcome, packed: tuple[int, bytes] | None, hot: Hot | None
) -> Finished:
    answer = outcome.answer
    headers = json.dumps(answer.headers) if answer else ""
    values = {
        "seq": seq, "owner": owner, "at": outcome.at, "state": outcome.state, "error_code": outcome.error_code,
        "error": _text(outcome.error), "status": answer.status if answer else None,
        "stats": orjson.dumps(outcome.stats).decode(), "bytes": len(headers) + len(packed[1]) if packed else 0,
    }  # fmt: skip
    finished = _move(db, sql.FINISH, values, hot)
    if finished.applied and answer and packed:
        enc, body = packed
        db.execute(sql.KEEP_RESULT, (seq, answer.status, headers, enc, answer.complete, body))
    return finished


def hand_back(db: sqlite3.Connection, owner: str, seq: int, back: HandBack, hot: Hot | None) -> Finished:
    values = {
        "seq": seq, "owner": owner, "at": back.at, "not_before": back.not_before, "error_code": back.error_code,
        "error": _text(back.error), "uncounted": not back.counted, "crash": back.crash,
    }  # fmt: skip
    return _move(db, sql.HAND_BACK, values, hot)


def _move(db: sqlite3.Connection, move: str, values: dict[str, Any], hot: Hot | None) -> Finished:
    rows = db.execute(move, values).fetchall()
    if not rows:
        rows = db.execute(sql.STATE, (values["seq"],)).fetchall()
        return Finished(applied=False, state=JobState(rows[0][0]) if rows else None)
    state = JobState(rows[0][0])
    outcome = "requeued" if state is JobState.QUEUED else state
    db.execute(sql.CLOSE_ATTEMPT, {**values, "outcome": outcome})
    return Finished(True, state, claim(db, values["owner"], hot, values["at"]) if hot is not None else None)


def cancel(db: sqlite3.Connection, id_: str, at: int) -> JobState | None:
    rows = db.execute(sql.CANCEL, {"id": id_, "at": at}).fetchall() or db.execute(sql.STATE_OF_ID, (id_,)).fetchall()
    return JobState(rows[0][0]) if rows else None


def rehearse(db: sqlite3.Connection, job: NewJob) -> None:
    """Both take the room they need, and the transaction ends with neither."""
    db.execute(sql.FORGET, (json.dumps([submit(db, job)]),))


def recover(db: sqlite3.Connection, owner: str, now: int, drop_attached: bool) -> int:
    values = {"owner": owner, "now": now}
    db.execute(sql.RECOVER_ATTEMPTS, values)
    in_flight = db.execute(sql.RECOVER, values).rowcount
    if drop_attached:
        db.execute(sql.DROP_ATTACHED, {"now": now})
    return in_flight


def prune(db: sqlite3.Connection, before: int, excess: int, limit: int) -> int:
    """Delete the oldest finished jobs while they are older than `before` or `excess` bytes are not yet gone."""
    gone: list[int] = []
    freed = 0
    for seq, finished_at, size in db.execute(sql.OLDEST_FINISHED, (limit,)).fetchall():
        if (finished_at >= before and freed >= excess) or (gone and freed + size > PRUNE_BYTES):
            break
        gone.append(seq)
        freed += size
    if gone:
        db.execute(sql.FORGET, (json.dumps(gone),))
    return len(gone)


def free_pages(db: sqlite3.Connection) -> bool:
    """Give freed pages back to the file system, 8 MB at a time; whether more are left. Runs outside a transaction.

    `execute` would free a single page: the module steps a statement without columns once.
    """
    free = _free_pages(db)
    if free:
        db.executescript("PRAGMA incremental_vacuum(2000)")
    # Fewer than before, lest a database that was rebuilt without auto_vacuum be asked for ever.
    return 0 < _free_pages(db) < free


def _free_pages(db: sqlite3.Connection) -> int:
    ((free,),) = db.execute("PRAGMA freelist_count").fetchall()
    return int(free)


def _pairs(text: str) -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for name, value in json.loads(text))


def _text(text: str | None) -> str | None:
    """Text a target wrote may hold halves of surrogate pairs, which SQLite cannot store."""
    return text.encode("utf-8", "replace").decode() if text else text
