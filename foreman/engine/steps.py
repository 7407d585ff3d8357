"""What the store does inside a transaction.

Each step takes the writing connection, runs inside a transaction that the writer opened, and may run twice; when one
raises, the transaction is rolled back. All rows of a RETURNING clause are fetched: an unfinished statement keeps the
database locked.
"""

import json
import sqlite3
import zlib
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from typing import Any, Final

import orjson

from foreman.core.estimate import KEPT_SAMPLES, figures
from foreman.core.headroom import LoadSeen
from foreman.core.job import (
    Answer,
    Chosen,
    Claim,
    HandBack,
    Job,
    JobState,
    LoadKey,
    Mode,
    NewJob,
    Next,
    Outcome,
    Payload,
    Stats,
)
from foreman.core.lanes import ANY_AGE, TAKING_TURNS, Lane, older_than
from foreman.engine import statements as sql
from foreman.engine.store import Finished, JobFilter, Submitted

# Answers of at least this many bytes are compressed; below, the pages saved are not worth the time.
COMPRESS_FROM: Final = 4096
# One transaction of a prune deletes about this many bytes at most, for each is overwritten in the log.
PRUNE_BYTES: Final = 8 * 1024 * 1024
# So many samples are kept at most, however many load keys clients think of.
ALL_SAMPLES: Final = 10_000
# After so many new ones, those that are too many of their load key are deleted.
TRIM_EVERY: Final = 256
# The same of what loads took.
KEPT_FORECASTS: Final = 20
ALL_FORECASTS: Final = 1000
# SQLite's largest and smallest integer, where a filter names no bound.
_LAST: Final = (1 << 63) - 1
_FIRST: Final = -(1 << 63)
_STATS: Final = frozenset(field.name for field in fields(Stats))

Row = tuple[Any, ...]


def job_of(row: Row) -> Job:
    """A Job from a row of sql.COLUMNS."""
    seq, id_, state, lane, model, load_key, path, mode, *rest = row
    client, attempts, max_attempts, not_before, cancel, *told, stats, retry_of, kept, idem_key, override = rest
    tail: list[Any] = [*told, _stats(stats), retry_of, bool(kept), idem_key, override]
    return Job(
        seq, id_, JobState(state), Lane(lane), model, LoadKey.parse(load_key), path, Mode(mode),
        client, attempts, max_attempts, not_before, bool(cancel), *tail,
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


def payload_of(row: Row) -> Payload:
    """A Payload from a row of sql.PAYLOAD_OF_ID."""
    path, headers, body = row
    return Payload(path, _pairs(headers), body)


def search(wanted: JobFilter, limit: int) -> tuple[str, dict[str, Any]]:
    """The statement that finds such jobs, and its values: led by what most likely leaves the fewest."""
    states: list[JobState | None] = [*(wanted.states or JobState)]
    states += [None] * (len(JobState) - len(states))
    values = {
        "client": wanted.client, "model": wanted.model, "limit": limit,
        "since": _FIRST if wanted.since is None else wanted.since,
        "before": _LAST if wanted.before is None else wanted.before,
        **{f"state{n}": state for n, state in enumerate(states)},
    }  # fmt: skip
    if wanted.states or (wanted.client is None and wanted.model is None):
        return sql.LIST_OF_STATES, values
    return sql.LIST_OF_MODEL if wanted.client is None else sql.LIST_OF_CLIENT, values


def submit(db: sqlite3.Connection, job: NewJob) -> Submitted:
    headers = _headers(job.payload.headers)
    cursor = db.execute(sql.SUBMIT, _row(job, headers))
    if cursor.rowcount:
        seq = inserted(cursor)
        db.execute(sql.KEEP_PAYLOAD, (seq, headers, job.payload.body))
        return Submitted(seq)
    ((same, *row),) = db.execute(sql.SAME_KEY, (job.req_hash, job.client, job.idem_key)).fetchall()
    existing = job_of(tuple(row))
    return Submitted(existing.seq, existing, bool(same))


def submit_claimed(db: sqlite3.Connection, owner: str, job: NewJob, now: int) -> Submitted:
    headers = _headers(job.payload.headers)
    seq = inserted(db.execute(sql.SUBMIT_CLAIMED, (*_row(job, headers), now, owner)))
    db.execute(sql.KEEP_PAYLOAD, (seq, headers, job.payload.body))
    return Submitted(seq)


def inserted(cursor: sqlite3.Cursor) -> int:
    """The key of the one row that was inserted. A cursor keeps the key of an earlier one when there was none."""
    if cursor.rowcount != 1 or cursor.lastrowid is None:
        raise RuntimeError(f"{cursor.rowcount} rows were inserted, not one")
    return cursor.lastrowid


def submit_many(db: sqlite3.Connection, jobs: Sequence[NewJob]) -> list[int]:
    return [submit(db, job).seq for job in jobs]


def _row(job: NewJob, headers: str) -> Row:
    return (
        job.id, job.lane, job.model, str(job.load_key), job.payload.path, job.mode, job.client, job.idem_key,
        job.req_hash, job.max_attempts, job.not_before, job.created_at, job.retry_of, job.override,
        len(headers) + len(job.payload.body),
    )  # fmt: skip


def _headers(pairs: tuple[tuple[str, str], ...]) -> str:
    try:
        return orjson.dumps(pairs).decode()
    except TypeError:  # halves of surrogate pairs, which stand for bytes that are no text
        return json.dumps(pairs)


def claim(db: sqlite3.Connection, owner: str, wanted: Next, now: int) -> Claim | None:
    db.execute(sql.PROMOTE, (now,))
    before = older_than(wanted.lane, _heads(db, wanted), TAKING_TURNS) if wanted.gives_way else ANY_AGE
    rows = db.execute(*_next(owner, wanted, before, now)).fetchall()
    if not rows:
        return None
    number, *row = rows[0]
    job = job_of(tuple(row))
    ((headers, body),) = db.execute(sql.PAYLOAD, (job.seq,)).fetchall()
    return Claim(job, Payload(job.path, _pairs(headers), body), number)


def _next(owner: str, wanted: Next, before: int, now: int) -> tuple[str, dict[str, Any]]:
    """The statement that claims the next job, and its values."""
    hot = wanted.hot
    values: dict[str, Any] = {
        "now": now, "owner": owner, "before": before,
        "load_keys": _list(hot.load_keys), "models": _list(hot.models),
    }  # fmt: skip
    if wanted.lane is Lane.REMOTE:
        if wanted.open is None:
            return sql.CLAIM_REMOTE, values
        return sql.CLAIM_REMOTE_OPEN, {**values, "open": _list(wanted.open)}
    if wanted.near is not None:
        admitted = wanted.near if hot.admitted is None else hot.admitted
        return sql.CLAIM_NEAR, {**values, "near": _list(wanted.near), "admitted": _list(admitted)}
    if hot.admitted is None:
        return sql.CLAIM, values
    return sql.CLAIM_ADMITTED, {**values, "admitted": _list(hot.admitted)}


def _heads(db: sqlite3.Connection, wanted: Next) -> dict[Lane, int]:
    """The oldest ready job of each lane that has one; what is held or not open is not ready."""
    asked: dict[Lane, tuple[str, tuple[str, ...] | dict[str, str]]] = {lane: (sql.HEAD, (lane,)) for lane in Lane}
    if wanted.near is not None:
        asked[Lane.LOCAL] = sql.HEAD_NEAR, {"near": _list(wanted.near), "held": _list(wanted.held)}
    elif wanted.held:
        asked[Lane.LOCAL] = sql.HEAD_NOT_HELD, (_list(wanted.held),)
    if wanted.open is not None:
        asked[Lane.REMOTE] = sql.HEAD_OPEN, (_list(wanted.open),)
    found = ((lane, db.execute(text, values).fetchall()) for lane, (text, values) in asked.items())
    return {lane: rows[0][0] for lane, rows in found if rows and rows[0][0] is not None}


def _list(keys: Sequence[str]) -> str:
    """Load keys as a statement takes them."""
    return orjson.dumps(keys).decode()


def claim_chosen(db: sqlite3.Connection, owner: str, chosen: Chosen, now: int) -> bool:
    return db.execute(sql.CLAIM_CHOSEN, (now, owner, chosen.seq)).rowcount > 0


@dataclass(slots=True, eq=False)
class FirstByte:
    """That the first byte of an answer came at `at`.

    `told`: the writer came to it. `moot`: it need not, for the end of the job tells it. Where both come at once, the
    same is written twice.
    """

    seq: int
    at: int
    told: bool = False
    moot: bool = False


def note_working(db: sqlite3.Connection, owner: str, note: FirstByte) -> None:
    if not note.moot:
        note.told = True
        db.execute(sql.NOTE_WORKING, (note.at, note.seq, owner))


def finish(
    db: sqlite3.Connection,
    owner: str,
    seq: int,
    outcome: Outcome,
    packed: tuple[int, bytes] | None,
    following: Next | Chosen | None,
    first_byte_at: int | None = None,
) -> Finished:
    answer = outcome.answer if packed else None
    headers = _headers(answer.headers) if answer else ""
    state = _finish(db, owner, seq, outcome, len(headers) + len(packed[1]) if packed else 0, first_byte_at)
    if state is None:
        return _not_ours(db, seq)
    if answer and packed:
        enc, body = packed
        db.execute(sql.KEEP_RESULT, (seq, answer.status, headers, enc, answer.complete, body))
    if state is JobState.DONE:
        _learn(db, seq, outcome)
    return _moved(db, owner, state, following, outcome.at)


def _finish(
    db: sqlite3.Connection, owner: str, seq: int, outcome: Outcome, size: int, first_byte_at: int | None
) -> JobState | None:
    """The state in which the job is then; None where somebody else owns it."""
    answer, error = outcome.answer, _text(outcome.error)
    end = (outcome.at, answer.status if answer else None, orjson.dumps(outcome.stats).decode(), size, first_byte_at)
    state = outcome.state
    values = (*end, state, outcome.error_code, error, seq, owner, state is JobState.DONE)
    if db.execute(sql.FINISH, values).rowcount:
        return state
    if not db.execute(sql.FINISH_CANCELLED, (*end, seq, owner)).rowcount:
        return None
    state = JobState.CANCELLED
    _end_attempt(db, owner, seq, outcome, state)
    return state


def _learn(db: sqlite3.Connection, seq: int, outcome: Outcome) -> None:
    row = (*figures(outcome.stats), outcome.at, seq)
    if inserted(db.execute(sql.KEEP_SAMPLE, row)) % TRIM_EVERY == 0:
        db.execute(sql.TRIM_SAMPLES, (KEPT_SAMPLES,))


def hand_back(db: sqlite3.Connection, owner: str, seq: int, back: HandBack, following: Next | None) -> Finished:
    values = {
        "seq": seq, "owner": owner, "at": back.at, "not_before": back.not_before, "error_code": back.error_code,
        "error": _text(back.error), "uncounted": not back.counted, "crash": back.crash,
    }  # fmt: skip
    rows = db.execute(sql.HAND_BACK, values).fetchall()
    if not rows:
        return _not_ours(db, seq)
    state = JobState(rows[0][0])
    _end_attempt(db, owner, seq, back, "requeued" if state is JobState.QUEUED else state)
    return _moved(db, owner, state, following, back.at)


def _end_attempt(db: sqlite3.Connection, owner: str, seq: int, ended: Outcome | HandBack, outcome: str) -> None:
    """Keep what an attempt came to, where the row of the job does not tell it."""
    values = {
        "seq": seq, "owner": owner, "at": ended.at, "outcome": outcome, "error_code": ended.error_code,
        "error": _text(ended.error),
    }  # fmt: skip
    db.execute(sql.END_ATTEMPT, values)


def _not_ours(db: sqlite3.Connection, seq: int) -> Finished:
    rows = db.execute(sql.STATE, (seq,)).fetchall()
    return Finished(applied=False, state=JobState(rows[0][0]) if rows else None)


def _moved(db: sqlite3.Connection, owner: str, state: JobState, following: Next | Chosen | None, now: int) -> Finished:
    """What a move into `state` did, and claim what is to follow."""
    if isinstance(following, Chosen):
        return Finished(True, state, chosen=claim_chosen(db, owner, following, now))
    return Finished(True, state, None if following is None else claim(db, owner, following, now))


def cancel(db: sqlite3.Connection, id_: str, at: int) -> JobState | None:
    rows = db.execute(sql.CANCEL, {"id": id_, "at": at}).fetchall() or db.execute(sql.STATE_OF_ID, (id_,)).fetchall()
    return JobState(rows[0][0]) if rows else None


def refuse(db: sqlite3.Connection, load_key: str, code: str, error: str, at: int) -> list[str]:
    values = {"load_key": load_key, "error_code": code, "error": _text(error), "at": at}
    return [id_ for (id_,) in db.execute(sql.REFUSE, values).fetchall()]


def keep_forecast(db: sqlite3.Connection, loaded: LoadSeen) -> None:
    db.execute(sql.KEEP_FORECAST, astuple(loaded))
    db.execute(sql.TRIM_FORECASTS_OF_KEY, {"load_key": loaded.load_key, "kept": KEPT_FORECASTS})
    db.execute(sql.TRIM_FORECASTS, (ALL_FORECASTS,))


def rehearse(db: sqlite3.Connection, job: NewJob) -> None:
    """Both take the room they need, and the transaction ends with neither."""
    submitted = submit(db, job)
    if submitted.existing is None:
        db.execute(sql.FORGET, (json.dumps([submitted.seq]),))


def recover(db: sqlite3.Connection, owner: str, now: int, drop_attached: bool) -> int:
    values = {"owner": owner, "now": now}
    db.execute(sql.TAKE_OVER, values)
    db.execute(sql.RECOVER_ATTEMPTS, values)
    in_flight = db.execute(sql.RECOVER, values).rowcount
    if drop_attached:
        db.execute(sql.DROP_ATTACHED, {"now": now})
    return in_flight


def forget(db: sqlite3.Connection, id_: str) -> bool:
    return db.execute(sql.FORGET_ONE, (id_,)).rowcount > 0


def set_paused(db: sqlite3.Connection, paused: bool, at: int) -> None:
    if paused:
        db.execute(sql.PAUSE, (str(at),))
    else:
        db.execute(sql.RESUME)


def prune(db: sqlite3.Connection, before: int, excess: int, limit: int) -> int:
    """Delete the oldest finished jobs while they are older than `before` or `excess` bytes are not yet gone."""
    db.execute(sql.TRIM_ALL, (ALL_SAMPLES,))
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


def _stats(text: str | None) -> Stats | None:
    """Other versions may have written more or fewer figures."""
    if text is None:
        return None
    return Stats(**{name: value for name, value in orjson.loads(text).items() if name in _STATS})


def _text(text: str | None) -> str | None:
    """Text a target wrote may hold halves of surrogate pairs, which SQLite cannot store."""
    return text.encode("utf-8", "replace").decode() if text else text
