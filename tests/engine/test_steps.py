import os
import sqlite3
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from foreman.core.job import Chosen, JobState, Next, Payload, Stats
from foreman.engine import database, marks, statements, steps
from foreman.engine.batch import Op, commit
from tests.engine.stored import done, job_id, new_job


@pytest.fixture
def db(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with database.opened(tmp_path / "foreman.db") as connection:
        yield connection


def number_of(db: sqlite3.Connection, sql: str) -> int:
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
    marks.keep(db, job_id(12), True)
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
    asked = number_of(db, "SELECT bytes FROM jobs")
    steps.claim(db, "me", Next(), 1)
    steps.finish(db, "me", seq, done(), (1, b"y" * 300), None)
    stored = "SELECT (SELECT sum(length(headers) + length(body)) FROM payloads)"
    answered = " + (SELECT sum(length(headers) + length(body)) FROM results)"
    assert asked == number_of(db, stored)
    assert number_of(db, "SELECT bytes FROM jobs") == number_of(db, stored + answered) > asked + 300


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
    free = number_of(db, "PRAGMA freelist_count")
    assert steps.free_pages(db) is True
    assert number_of(db, "PRAGMA freelist_count") == free - 2_000 > 0
    assert steps.free_pages(db) is False
    assert number_of(db, "PRAGMA freelist_count") == 0
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
    assert number_of(db, "SELECT count(*) FROM samples") == 5
    for _ in range(2):
        steps.prune(db, 0, 0, 200)
        assert [n for (n,) in db.execute("SELECT n FROM samples ORDER BY n")] == [3, 4, 5]


def test_stats_of_another_version_are_read_as_far_as_they_go(db: sqlite3.Connection) -> None:
    steps.submit(db, new_job(1))
    for text, stats in (('{"load_ms": 7, "colour": "red"}', Stats(load_ms=7)), ("{}", Stats()), (None, None)):
        db.execute("UPDATE jobs SET stats=?", (text,))
        (row,) = db.execute(statements.JOB, (job_id(1),)).fetchall()
        assert steps.job_of(row).stats == stats


@pytest.mark.parametrize("value", ["plain", "caf\u00e9", "\u6f22", "\0", "half \udcff of a pair"])
def test_headers_are_kept_as_they_were(db: sqlite3.Connection, value: str) -> None:
    payload = Payload("/api/chat", (("x-name", value), ("x-name", "")), b"body")
    steps.submit(db, new_job(1, payload=payload))
    (row,) = db.execute(statements.PAYLOAD_OF_ID, (job_id(1),)).fetchall()
    assert steps.payload_of(row) == payload


def test_an_insert_that_made_no_row_is_no_key(db: sqlite3.Connection) -> None:
    insert = "INSERT INTO samples (load_key, model, run_ms, at) SELECT 'a', 'a', 1, 1 FROM jobs"
    steps.submit(db, new_job(1))
    cursor = db.execute(insert)
    assert steps.inserted(cursor) == 1
    with pytest.raises(RuntimeError, match="0 rows"):
        steps.inserted(cursor.execute(insert + " WHERE seq=99"))


def test_samples_that_are_too_many_of_their_key_go_now_and_then(
    db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "KEPT_SAMPLES", 2)
    monkeypatch.setattr(steps, "TRIM_EVERY", 6)
    kept = []
    for count in range(1, 9):
        steps.submit(db, new_job(count, "a" if count in (1, 4) else "b"))
        steps.claim(db, "me", Next(), 1)
        steps.finish(db, "me", count, done(), None, None)
        kept.append([n for (n,) in db.execute("SELECT n FROM samples ORDER BY n")])
    assert kept[4:] == [[1, 2, 3, 4, 5], [1, 4, 5, 6], [1, 4, 5, 6, 7], [1, 4, 5, 6, 7, 8]]


def test_a_statement_that_fails_half_way_goes_with_its_step_and_no_neighbour_with_it(db: sqlite3.Connection) -> None:
    for number in (1, 2, 3):
        steps.submit(db, new_job(number))
    steps.cancel(db, job_id(2), 5)
    steps.claim(db, "me", Next(), 6)

    def half(db: sqlite3.Connection) -> None:
        db.execute("UPDATE jobs SET error='left behind' WHERE seq=3")
        with pytest.raises(sqlite3.IntegrityError, match="cannot make this move") as caught:
            db.execute("UPDATE OR FAIL jobs SET state='queued', owner=NULL, finished_at=NULL, error='left behind'")
        assert number_of(db, "SELECT count(*) FROM jobs WHERE error='left behind'") == 2, "it had begun"
        raise caught.value

    note = steps.FirstByte(1, 7)
    ops = [
        Op(partial(steps.submit, job=new_job(4)), durable=True),
        Op(partial(steps.note_working, owner="me", note=note)),
        Op(half, durable=True),
        Op(partial(steps.submit_claimed, owner="me", job=new_job(5), now=8), durable=True),
        Op(partial(steps.submit, job=new_job(6)), durable=True),
    ]
    commit(db, ops)
    assert not db.in_transaction
    assert [type(op.error) for op in ops] == [
        type(None), type(None), sqlite3.IntegrityError, sqlite3.IntegrityError, type(None)]  # fmt: skip
    assert db.execute("SELECT id, state, first_byte_at, error FROM jobs ORDER BY seq").fetchall() == [
        (job_id(1), "working", 7, None), (job_id(2), "cancelled", None, None), (job_id(3), "queued", None, None),
        (job_id(4), "queued", None, None), (job_id(6), "queued", None, None),
    ]  # fmt: skip
    assert number_of(db, "SELECT count(*) FROM payloads") == 5
