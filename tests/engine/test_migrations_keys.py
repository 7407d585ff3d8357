"""A file of version 4 gets keys and owners of jobs, and loses nothing."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from foreman.core.job import Next
from foreman.engine import migrations
from foreman.engine.sqlite import SqliteStore
from foreman.engine.store import JobFilter
from tests.engine.stored import done, job_id, new_job


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A queued job with a word that it is known again by, kept by a foreman that knew four steps."""
    path = tmp_path / "foreman.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        first = "".join(migrations.steps()[:4])
        db.executescript(
            f"BEGIN; {first} PRAGMA application_id={migrations.APPLICATION_ID}; PRAGMA user_version=4; COMMIT"
        )
        db.execute(
            "INSERT INTO jobs (seq, id, lane, model, load_key, path, mode, client, idem_key, req_hash, max_attempts,"
            " created_at, bytes) VALUES (1, ?, 'local', 'a', 'a', '/p', 'detached', 'me', 'once', x'01', 3, 1, 1)",
            (job_id(1),),
        )
        db.execute("INSERT INTO payloads (seq, headers, enc, body) VALUES (1, '[]', 0, x'78')")
    return path


async def test_jobs_of_before_are_nobodys_and_go_on(path: Path) -> None:
    async with SqliteStore.open(path, "boot-1") as store:
        (job,) = await store.list(JobFilter(), 9)
        assert (job.id, job.key_id) == (job_id(1), "")
        again = await store.submit(new_job(2, client="me", idem_key="once", req_hash=b"\x01"))
        assert again.existing is not None
        assert (again.existing.id, again.same_request) == (job_id(1), True)
        claim = await store.claim(Next(), 8_000)
        assert claim is not None
        assert (await store.finish(claim.job.seq, done())).applied
        assert list(await store.keys()) == []
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchall() == [(len(migrations.steps()),)]
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


async def test_the_same_word_of_another_key_is_another_job_and_lists_are_told_apart(path: Path) -> None:
    async with SqliteStore.open(path, "boot-1") as store:
        for number, key_id in ((2, "one"), (3, "two")):
            stored = await store.submit(new_job(number, client="me", idem_key="once", req_hash=b"\x01", key_id=key_id))
            assert stored.existing is None
        same = await store.submit(new_job(4, client="me", idem_key="once", req_hash=b"\x01", key_id="two"))
        assert same.existing is not None
        assert same.existing.id == job_id(3)
        for key_id, ids in (("one", [2]), ("two", [3]), ("three", [])):
            assert [job.id for job in await store.list(JobFilter(key_id=key_id), 9)] == [job_id(n) for n in ids]
