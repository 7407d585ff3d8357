import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from foreman.core.job import Chosen, JobState, Next, Stats
from foreman.engine import database, statements, steps
from tests.engine.stored import done, job_id, new_job


@pytest.fixture
def db(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with database.opened(tmp_path / "foreman.db") as connection:
        yield connection


def number(db: sqlite3.Connection, sql: str) -> int:
    ((value,),) = db.execute(sql).fetchall()
    return int(value)


def test_only_what_shrinks_is_compressed() -> None:
    assert steps.pack(b"a" * 100) == (0, b"a" * 100)
    noise = os.urandom(10_000)
    assert steps.pack(noise) == (0, noise)
    enc, packed = steps.pack(b"a" * 10_000)
    assert enc == 1
    assert len(packed) < 200


def test_no_step_leaves_a_statement_open(db: sqlite3.Connection) -> None:
    # One would keep the lock: the other connection could not write.
    for count in range(3):
        steps.submit(db, new_job(count))
    claim = steps.claim(db, "me", Next(), 1)
    assert claim is not None
    steps.finish(db, "me", claim.job.seq, done(), (0, b"answer"), Next())
    steps.finish(db, "me", claim.job.seq + 1, done(), None, Chosen(claim.job.seq + 2))
    steps.finish(db, "me", claim.job.seq + 2, done(), None, None)
    steps.submit_claimed(db, "me", new_job(9), 1)
    for number in (10, 11):
        steps.submit(db, new_job(number, idem_key="k"))
    steps.submit_many(db, [new_job(12), new_job(13)])
    steps.rehearse(db, new_job(14))
    steps.keep(db, job_id(12), True)
    steps.set_paused(db, True, 1)
    steps.set_paused(db, False, 1)
    steps.forget(db, claim.job.id)
    steps.cancel(db, job_id(13), 3)
    steps.prune(db, 9, 0, 1)
    steps.recover(db, "other", 4, drop_attached=True)
    other = sqlite3.connect(db.execute("PRAGMA database_list").fetchall()[0][2], timeout=0, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    other.close()


def test_bytes_are_those_of_the_request_and_the_answer(db: sqlite3.Connection) -> None:
    job = new_job(1, body=b"x" * 500)
    seq = steps.submit(db, job).seq
    asked = number(db, "SELECT bytes FROM jobs")
    steps.claim(db, "me", Next(), 1)
    steps.finish(db, "me", seq, done(), (1, b"y" * 300), None)
    stored = "SELECT (SELECT sum(length(headers) + length(body)) FROM payloads)"
    answered = " + (SELECT sum(length(headers) + length(body)) FROM results)"
    assert asked == number(db, stored)
    assert number(db, "SELECT bytes FROM jobs") == number(db, stored + answered) > asked + 300


def test_a_prune_takes_the_oldest_first_and_few_bytes_at_a_time(db: sqlite3.Connection) -> None:
    for count in range(1, 7):
        steps.submit(db, new_job(count, body=bytes(3_000_000)))
        steps.cancel(db, job_id(count), 100 - count)
    assert steps.prune(db, 98, 0, 200) == 2
    assert [seq for (seq,) in db.execute("SELECT seq FROM jobs ORDER BY seq")] == [1, 2, 3, 4]
    assert steps.prune(db, 98, 0, 200) == 2
    assert steps.prune(db, 98, 0, 200) == 0
    assert steps.prune(db, 0, 1, 200) == 1
    assert steps.prune(db, 0, 9_000_000, 0) == 0


def test_pages_are_freed_by_the_thousand(db: sqlite3.Connection) -> None:
    steps.submit(db, new_job(1, body=bytes(9_500_000)))
    steps.cancel(db, job_id(1), 1)
    steps.prune(db, 2, 0, 200)
    free = number(db, "PRAGMA freelist_count")
    assert steps.free_pages(db) is True
    assert number(db, "PRAGMA freelist_count") == free - 2_000 > 0
    assert steps.free_pages(db) is False
    assert number(db, "PRAGMA freelist_count") == 0
    assert steps.free_pages(db) is False


def test_the_state_of_an_unknown_job_is_none(db: sqlite3.Connection) -> None:
    assert steps.cancel(db, job_id(1), 1) is None
    steps.submit(db, new_job(1))
    assert steps.cancel(db, job_id(1), 1) is JobState.CANCELLED


def test_a_rehearsal_leaves_nothing_and_touches_nobody(db: sqlite3.Connection) -> None:
    steps.submit(db, new_job(1, idem_key="k"))
    steps.rehearse(db, new_job(2))
    steps.rehearse(db, new_job(3, idem_key="k"))
    assert [id_ for (id_,) in db.execute("SELECT id FROM jobs")] == [job_id(1)]


def test_samples_of_many_load_keys_are_bounded(db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "ALL_SAMPLES", 3)
    for count in range(1, 6):
        steps.submit(db, new_job(count, f"model-{count}"))
        steps.claim(db, "me", Next(), 1)
        steps.finish(db, "me", count, done(), (0, b""), None)
    assert number(db, "SELECT count(*) FROM samples") == 5
    for _ in range(2):
        steps.prune(db, 0, 0, 200)
        assert [n for (n,) in db.execute("SELECT n FROM samples ORDER BY n")] == [3, 4, 5]


def test_stats_of_another_version_are_read_as_far_as_they_go(db: sqlite3.Connection) -> None:
    steps.submit(db, new_job(1))
    for text, stats in (('{"load_ms": 7, "colour": "red"}', Stats(load_ms=7)), ("{}", Stats()), (None, None)):
        db.execute("UPDATE jobs SET stats=?", (text,))
        (row,) = db.execute(statements.JOB, (job_id(1),)).fetchall()
        assert steps.job_of(row).stats == stats
