import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from foreman.core.errors import StoreUnusable
from foreman.core.job import ACTIVE, FINISHED, TRANSITIONS, Answer, JobState, Payload, Stats
from foreman.engine import migrations
from foreman.engine.sqlite import SqliteStore
from foreman.engine.store import JobFilter
from tests.engine.stored import new_job


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.db"


@pytest.fixture
def db(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


def version(db: sqlite3.Connection) -> int:
    ((number,),) = db.execute("PRAGMA user_version").fetchall()
    return int(number)


def schema(db: sqlite3.Connection) -> list[tuple[str, str]]:
    return db.execute("SELECT name, sql FROM sqlite_schema ORDER BY name").fetchall()


def steps(monkeypatch: pytest.MonkeyPatch, *added: str) -> None:
    known = (*migrations.steps(), *added)
    monkeypatch.setattr(migrations, "steps", lambda: known)


def test_a_new_database_gets_every_step(db: sqlite3.Connection, path: Path) -> None:
    migrations.check(db, path)
    migrations.migrate(db, path)
    assert version(db) == len(migrations.steps()) > 0
    assert db.execute("PRAGMA application_id").fetchall() == [(migrations.APPLICATION_ID,)]
    migrations.check(db, path)
    before = schema(db)
    migrations.migrate(db, path)
    assert schema(db) == before
    assert [file.name for file in path.parent.iterdir()] == ["x.db"]


def test_an_older_database_is_copied_and_brought_up(
    db: sqlite3.Connection, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrations.migrate(db, path)
    old = schema(db)
    steps(monkeypatch, "CREATE TABLE two (n);", "CREATE TABLE three (n);")
    last = len(migrations.steps())
    migrations.migrate(db, path)
    assert version(db) == last
    assert sorted(file.name for file in path.parent.iterdir()) == ["x.db", f"x.db.v{last - 2}.bak"]
    assert {"two", "three"} <= {name for name, _ in schema(db)}
    copy = path.with_name(f"x.db.v{last - 2}.bak")
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    with closing(sqlite3.connect(copy)) as backup:
        assert schema(backup) == old
        assert version(backup) == last - 2


def test_a_step_that_fails_leaves_the_old_schema(
    db: sqlite3.Connection, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrations.migrate(db, path)
    before = (version(db), schema(db))
    steps(monkeypatch, "CREATE TABLE two (n); CREATE TABLE jobs (n);")
    for _ in range(2):
        with pytest.raises(sqlite3.OperationalError, match="already exists"):
            migrations.migrate(db, path)
        assert not db.in_transaction
        assert (version(db), schema(db)) == before


def test_a_newer_database_is_refused_with_both_numbers(db: sqlite3.Connection, path: Path) -> None:
    migrations.migrate(db, path)
    db.execute("PRAGMA user_version=99")
    with pytest.raises(StoreUnusable, match=rf"\b99\b.*\b{len(migrations.steps())}$"):
        migrations.check(db, path)


@pytest.mark.parametrize("sql", ["CREATE TABLE t (n)", "PRAGMA application_id=7", "PRAGMA user_version=1"])
def test_a_database_of_another_program_is_refused(db: sqlite3.Connection, path: Path, sql: str) -> None:
    db.execute(sql)
    with pytest.raises(StoreUnusable, match="another program"):
        migrations.check(db, path)


def insert(db: sqlite3.Connection, state: str, seq: int = 1, **changes: Any) -> None:
    row: dict[str, Any] = {
        "seq": seq, "id": f"{seq:026d}", "state": state, "lane": "local", "model": "a", "load_key": "a", "path": "/",
        "mode": "attached", "client": "", "max_attempts": 3, "created_at": 1, "bytes": 0,
        "owner": "me" if state in ACTIVE else None, "finished_at": 1 if state in FINISHED else None,
    }  # fmt: skip
    row |= changes
    names = ", ".join(row)
    db.execute(f"INSERT INTO jobs ({names}) VALUES ({', '.join('?' * len(row))})", tuple(row.values()))


def test_the_schema_allows_the_moves_of_the_table_and_no_other(db: sqlite3.Connection, path: Path) -> None:
    migrations.migrate(db, path)
    for old, new in product(JobState, JobState):
        db.execute("DELETE FROM jobs")
        insert(db, old)
        owner, finished = ("me" if new in ACTIVE else None), (2 if new in FINISHED else None)
        move = (new, owner, finished)
        sql = "UPDATE jobs SET state=?, owner=?, finished_at=?"
        if old is new or new in TRANSITIONS[old]:
            db.execute(sql, move)
        else:
            with pytest.raises(sqlite3.IntegrityError, match="cannot make this move"):
                db.execute(sql, move)


@pytest.mark.parametrize(
    ("state", "changes"),
    [
        ("queued", {"owner": "me"}),
        ("working", {"owner": None}),
        ("done", {"finished_at": None}),
        ("queued", {"finished_at": 1}),
        ("loading", {"not_before": 5}),
        ("queued", {"cancel_requested": 1}),
        ("queued", {"attempts": -1}),
        ("queued", {"id": "short"}),
        ("queued", {"lane": "other"}),
        ("queued", {"mode": "other"}),
        ("lost", {}),
        ("queued", {"created_at": "noon"}),
        ("queued", {"kept": 2}),
        ("queued", {"kept": None}),
    ],
)
def test_illegal_rows_are_impossible(db: sqlite3.Connection, path: Path, state: str, changes: dict[str, Any]) -> None:
    migrations.migrate(db, path)
    with pytest.raises(sqlite3.IntegrityError):
        insert(db, state, **changes)


def test_one_local_slot_and_one_key_per_client(db: sqlite3.Connection, path: Path) -> None:
    migrations.migrate(db, path)
    insert(db, JobState.LOADING)
    with pytest.raises(sqlite3.IntegrityError, match="jobs_active"):
        insert(db, JobState.WORKING, 2)
    insert(db, JobState.WORKING, 3, lane="remote")
    insert(db, JobState.WORKING, 4, lane="remote")
    insert(db, JobState.QUEUED, 5, idem_key="k")
    with pytest.raises(sqlite3.IntegrityError, match="idem_key"):
        insert(db, JobState.QUEUED, 6, idem_key="k")
    insert(db, JobState.QUEUED, 7, idem_key="k", client="other")


async def test_a_database_of_the_first_version_goes_on_where_it_was(db: sqlite3.Connection, path: Path) -> None:
    db.executescript(
        f"BEGIN; {migrations.steps()[0]}"
        f"PRAGMA application_id={migrations.APPLICATION_ID}; PRAGMA user_version=1; COMMIT"
    )
    insert(db, JobState.QUEUED, 1, idem_key="k", req_hash=b"h")
    insert(db, JobState.DONE, 2, finished_at=20, stats='{"load_ms": 5}', bytes=7)
    insert(db, JobState.FAILED, 3, finished_at=30, error_code="code")
    insert(db, JobState.LOADING, 4, attempts=1, claimed_at=40)
    insert(db, JobState.QUEUED, 5, not_before=99)
    for seq in range(1, 6):
        db.execute("INSERT INTO payloads (seq, headers, enc, body) VALUES (?, '[]', 0, ?)", (seq, b"body"))
    db.execute("INSERT INTO results (seq, status, headers, enc, complete, body) VALUES (2, 200, '[]', 0, 1, x'78')")
    before = db.execute("SELECT * FROM jobs").fetchall()
    db.close()

    async with SqliteStore.open(path, "boot-2") as store:
        with closing(sqlite3.connect(path)) as now, closing(sqlite3.connect(path.with_name("x.db.v1.bak"))) as backup:
            new = sqlite3.connect(":memory:")
            migrations.migrate(new, path)
            assert schema(now) == schema(new), "as if it had been made now"
            new.close()
            assert backup.execute("SELECT * FROM jobs").fetchall() == before
            columns = ", ".join(row[1] for row in backup.execute("PRAGMA table_info(jobs)"))
            assert now.execute(f"SELECT {columns} FROM jobs").fetchall() == before
        assert await store.recover(50, drop_attached=False) == 1
        jobs = await store.list(JobFilter(), 10)
        assert [(job.seq, job.state) for job in jobs] == [
            (5, "queued"), (4, "queued"), (3, "failed"), (2, "done"), (1, "queued")]  # fmt: skip
        assert [(job.stats, job.kept, job.retry_of) for job in jobs[3:]] == [
            (Stats(load_ms=5), False, None),
            (None, False, None),
        ]
        assert await store.payload(f"{1:026d}") == Payload("/", (), b"body")
        assert await store.answer(f"{2:026d}") == Answer(200, (), b"x", complete=True)
        joined = await store.submit(new_job(6, idem_key="k", req_hash=b"h"))
        assert (joined.seq, joined.same_request) == (1, True)
        assert await store.keep(f"{2:026d}", True)
        assert await store.prune(100, 0) == 1
        assert [each.seq for each in await store.waiting(10, 99)] == [1, 4, 5]
        assert not await store.paused()
