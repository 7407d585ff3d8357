"""A file of version 3, with jobs that wait and jobs that have ended, gets what the gate keeps and loses nothing."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from foreman.core.headroom import LoadSeen
from foreman.core.job import JobState, Next
from foreman.engine import migrations
from foreman.engine.sqlite import SqliteStore
from foreman.engine.store import JobFilter
from tests.engine.stored import done, job_id, new_job


@pytest.fixture
async def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two jobs, of which the first is done, kept by a foreman that knew three steps."""
    path = tmp_path / "foreman.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        first = "".join(migrations.steps()[:3])
        db.executescript(
            f"BEGIN; {first} PRAGMA application_id={migrations.APPLICATION_ID}; PRAGMA user_version=3; COMMIT"
        )
        for seq in (1, 2):
            db.execute(
                "INSERT INTO jobs (seq, id, lane, model, load_key, path, mode, client, max_attempts, created_at, bytes)"
                " VALUES (?, ?, 'local', 'a', 'a?num_ctx=1', '/p', 'detached', 'me', 3, ?, 1)",
                (seq, job_id(seq), seq),
            )
            db.execute("INSERT INTO payloads (seq, headers, enc, body) VALUES (?, '[]', 0, x'78')", (seq,))
        db.execute("UPDATE jobs SET state='loading', owner='boot-0', attempts=1, tries=1, claimed_at=5 WHERE seq=1")
        db.execute("UPDATE jobs SET state='done', owner=NULL, finished_at=7 WHERE seq=1")
    return path


async def test_jobs_of_before_override_nothing_and_go_on(path: Path) -> None:
    async with SqliteStore.open(path, "boot-1") as store:
        jobs = await store.list(JobFilter(), 9)
        assert [(job.id, job.state, job.override) for job in jobs] == [
            (job_id(2), JobState.QUEUED, None), (job_id(1), JobState.DONE, None),
        ]  # fmt: skip
        assert [each.outcome for each in await store.attempts(job_id(1))] == ["done"]
        claim = await store.claim(Next(), 8_000)
        assert claim is not None
        assert (await store.finish(claim.job.seq, done())).applied
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchall() == [(len(migrations.steps()),)]
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


async def test_what_is_new_can_be_kept(path: Path) -> None:
    seen = LoadSeen(5, "a", "estimate", 7, 8, 8, 4096, None)
    async with SqliteStore.open(path, "boot-1") as store:
        assert list(await store.forecasts(9)) == []
        await store.keep_forecast(seen)
        assert list(await store.forecasts(9)) == [seen]
        await store.submit(new_job(3, "b", override="gate"))
        job = await store.get(job_id(3))
        assert job is not None
        assert job.override == "gate"


def test_the_only_thing_to_override_is_the_gate(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        migrations.migrate(db, path)
        with pytest.raises(sqlite3.IntegrityError, match="CHECK"):
            db.execute("UPDATE jobs SET override='all' WHERE seq=2")
