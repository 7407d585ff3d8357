"""A file of version 2, with jobs in every state and several attempts each, goes on as if it had always been so."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from foreman.core.job import ACTIVE, FINISHED, JobState, Next
from foreman.engine import database, migrations
from foreman.engine.sqlite import SqliteStore
from tests.engine.stored import done, failed, job_id, new_job

# seq: state, attempts that count, and how each of all of them ended.
JOBS: dict[int, tuple[str, int, tuple[str | None, ...]]] = {
    1: ("done", 1, ("done",)),
    2: ("done", 3, ("crashed", "requeued", "done")),
    3: ("failed", 1, ("requeued", "requeued", "failed")),
    4: ("failed", 2, ("crashed", "crashed")),
    5: ("cancelled", 0, ()),
    6: ("cancelled", 2, ("requeued", "cancelled")),
    7: ("cancelled", 1, ("requeued",)),
    8: ("queued", 0, ()),
    9: ("queued", 2, ("crashed", "requeued", "requeued")),
    10: ("queued", 0, ("requeued",)),
    11: ("loading", 2, ("crashed", None)),
    12: ("working", 1, ("requeued", "requeued", None)),
    13: ("working", 1, (None,)),
}
REMOTE = (12, 13)  # one job in flight is all the local lane holds
LATER = {"tries", "override", "key_id"}
TRIES = "SELECT seq, n, started_at, ended_at, outcome, error_code, error FROM attempts ORDER BY seq, n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "foreman.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        first = "".join(migrations.steps()[:2])
        db.executescript(
            f"BEGIN; {first} PRAGMA application_id={migrations.APPLICATION_ID}; PRAGMA user_version=2; COMMIT"
        )
        for seq, (state, attempts, tries) in JOBS.items():
            _insert(db, seq, state, attempts, len(tries))
            for n, outcome in enumerate(tries, 1):
                told = (None, None, None) if outcome is None else (seq * 100 + n + 1, outcome, f"{outcome}-{n}")
                db.execute(
                    "INSERT INTO attempts (seq, n, owner, started_at, ended_at, outcome, error_code, error)"
                    " VALUES (?, ?, 'boot-0', ?, ?, ?, ?, 'why')",
                    (seq, n, seq * 100 + n, *told),
                )
        db.execute("UPDATE attempts SET error=NULL WHERE ended_at IS NULL")
        _insert(db, 14, "done", 0, 0)
        db.execute("PRAGMA foreign_keys=ON")
        db.execute("DELETE FROM jobs WHERE seq=14")
        db.executemany(
            "INSERT INTO samples (load_key, model, run_ms, at) VALUES ('a', 'a', ?, ?)", [(n, n) for n in range(3)]
        )
    return path


def _insert(db: sqlite3.Connection, seq: int, state: str, attempts: int, tries: int) -> None:
    row: dict[str, Any] = {
        "seq": seq, "id": job_id(seq), "state": state, "lane": "remote" if seq in REMOTE else "local",
        "model": "a", "load_key": "a?num_ctx=1", "path": "/p", "mode": "detached", "client": "me",
        "idem_key": f"k{seq}", "req_hash": b"h", "attempts": attempts, "max_attempts": 3, "crashes": seq % 2,
        "owner": "boot-0" if state in ACTIVE else None, "created_at": seq,
        "claimed_at": seq * 100 + tries if tries else None, "finished_at": 7_000 if state in FINISHED else None,
        "not_before": 50 if seq == 10 else 0, "error_code": "code", "error": "text", "status": 200, "stats": "{}",
        "bytes": seq, "retry_of": job_id(99), "kept": int(seq == 1),
        "first_byte_at": 8 if state == "working" else None,
    }  # fmt: skip
    names = ", ".join(row)
    db.execute(f"INSERT INTO jobs ({names}) VALUES ({', '.join('?' * len(row))})", tuple(row.values()))
    db.execute("INSERT INTO payloads (seq, headers, enc, body) VALUES (?, '[]', 0, ?)", (seq, bytes([seq])))
    if state == "done":
        db.execute(
            "INSERT INTO results (seq, status, headers, enc, complete, body) VALUES (?, 200, '[]', 0, 1, x'78')", (seq,)
        )


def told(path: Path) -> list[list[tuple[Any, ...]]]:
    """Every job, attempt, request, answer and sample, as every version has them."""
    with closing(sqlite3.connect(path)) as db:
        columns = ", ".join(row[1] for row in db.execute("PRAGMA table_info(jobs)") if row[1] not in LATER)
        queries = [f"SELECT {columns} FROM jobs ORDER BY seq", TRIES]
        queries += [f"SELECT * FROM {table} ORDER BY 1" for table in ("payloads", "results", "samples")]
        found = [db.execute(query).fetchall() for query in queries]
        found[0] = [tuple(sorted(zip(columns.split(", "), row, strict=True))) for row in found[0]]
        return found


def test_every_job_and_attempt_is_told_as_before(path: Path) -> None:
    before = told(path)
    assert len(before[1]) == sum(len(tries) for _, _, tries in JOBS.values())
    with database.opened(path) as db:
        assert told(path) == before
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []
        assert db.execute("PRAGMA foreign_keys").fetchall() == [(1,)]
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert db.execute("SELECT count(*) FROM earlier_attempts WHERE ended_at IS NULL").fetchall() == [(0,)]
    assert told(path.with_name("foreman.db.v2.bak")) == before


async def test_attempts_go_on_where_they_were(path: Path) -> None:
    async with SqliteStore.open(path, "boot-1") as store:
        for seq, (_, _, tries) in JOBS.items():
            found = await store.attempts(job_id(seq))
            assert [(each.n, each.outcome) for each in found] == list(enumerate(tries, 1)), seq
        assert await store.recover(8_000, drop_attached=False) == 3
        for seq in (11, 12, 13):
            found = await store.attempts(job_id(seq))
            assert [each.outcome for each in found] == [*JOBS[seq][2][:-1], "crashed"], seq
        ends = []
        while (claim := await store.claim(Next(), 8_001)) is not None:
            outcome = failed() if claim.job.seq == 9 else done()
            assert claim.number == len(JOBS[claim.job.seq][2]) + 1
            assert (await store.finish(claim.job.seq, outcome)).applied
            found = await store.attempts(claim.job.id)
            assert [each.n for each in found] == list(range(1, claim.number + 1))
            ends.append((claim.job.seq, found[-1].started_at, found[-1].outcome, found[-1].error_code))
        assert ends == [
            (8, 8_001, "done", None), (9, 8_001, "failed", "truncated"), (10, 8_001, "done", None),
            (11, 8_001, "done", None),
        ]  # fmt: skip


async def test_numbers_are_not_used_again_and_what_belongs_to_a_job_goes_with_it(path: Path) -> None:
    async with SqliteStore.open(path, "boot-1") as store:
        assert (await store.submit(new_job(15))).seq == 15, "the last one, 14, had been deleted"
        again = await store.submit(new_job(16, idem_key="k9", client="me", req_hash=b"h"))
        assert (again.seq, again.same_request) == (9, True)
        assert await store.forget(job_id(2))
        assert await store.attempts(job_id(2)) == []
    with closing(sqlite3.connect(path)) as db:
        for table in ("payloads", "results", "earlier_attempts"):
            assert db.execute(f"SELECT count(*) FROM {table} WHERE seq=2").fetchall() == [(0,)]


async def test_the_view_and_the_statement_say_the_same(path: Path) -> None:
    async with SqliteStore.open(path, "boot-1") as store:
        await store.recover(8_000, drop_attached=False)
        for number, end in ((20, None), (21, done()), (22, failed())):
            seq = (await store.submit(new_job(number), 9_000)).seq
            if end is None:
                await store.cancel(job_id(number), 9_001)
            finished = await store.finish(seq, end or failed())
            assert finished.state == (JobState.CANCELLED if end is None else end.state)
        with closing(sqlite3.connect(path)) as db:
            rows = db.execute(
                "SELECT id, n, started_at, ended_at, outcome, a.error_code, a.error"
                " FROM attempts AS a JOIN jobs USING (seq) ORDER BY seq, n"
            ).fetchall()
        ids = list(dict.fromkeys(row[0] for row in rows))
        assert job_id(20) in ids
        for id_ in ids:
            found = await store.attempts(id_)
            assert [(a.n, a.started_at, a.ended_at, a.outcome, a.error_code, a.error) for a in found] == [
                row[1:] for row in rows if row[0] == id_
            ]
