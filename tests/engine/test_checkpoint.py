import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from foreman.engine import checkpoint
from foreman.engine.checkpoint import Checkpoint


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(checkpoint, "GROWN", 40_000)
    monkeypatch.setattr(checkpoint, "FULL", 100_000)
    return tmp_path / "x.db"


@pytest.fixture
def db(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executescript("PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0; CREATE TABLE t (body BLOB)")
        yield connection


@pytest.fixture
def subject(path: Path, db: sqlite3.Connection) -> Checkpoint:
    return Checkpoint(log_of(path))


def log_of(path: Path) -> Path:
    return path.with_name("x.db-wal")


def write(db: sqlite3.Connection, size: int) -> None:
    db.execute("INSERT INTO t VALUES (zeroblob(?))", (size,))


def test_a_pause_copies_only_a_grown_log(subject: Checkpoint, db: sqlite3.Connection, path: Path) -> None:
    write(db, 10_000)
    subject.on_pause(db)
    assert path.stat().st_size == 4_096
    write(db, 40_000)
    subject.on_pause(db)
    assert path.stat().st_size > 50_000


def test_a_commit_copies_only_a_full_log(subject: Checkpoint, db: sqlite3.Connection, path: Path) -> None:
    write(db, 60_000)
    subject.after_commit(db)
    assert path.stat().st_size == 4_096
    write(db, 60_000)
    subject.after_commit(db)
    assert path.stat().st_size > 120_000


def test_the_log_is_cut_to_nothing(subject: Checkpoint, db: sqlite3.Connection, path: Path) -> None:
    write(db, 10_000)
    subject.cut(db)
    assert log_of(path).stat().st_size == 0
    assert db.execute("PRAGMA busy_timeout").fetchall() == [(5_000,)]


def test_a_reader_in_the_way_is_neither_waited_for_nor_tried_again_at_every_commit(
    subject: Checkpoint, db: sqlite3.Connection, path: Path
) -> None:
    seen: list[str] = []
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.executescript("BEGIN; SELECT * FROM t")
        write(db, 150_000)
        db.execute("PRAGMA busy_timeout=60000")
        subject.cut(db)
        assert log_of(path).stat().st_size > 150_000
        db.set_trace_callback(seen.append)
        subject.after_commit(db)
        assert seen == []
        write(db, 60_000)
        subject.after_commit(db)
        assert any("wal_checkpoint" in each for each in seen)
    subject.cut(db)
    assert log_of(path).stat().st_size == 0


def test_a_failed_copy_is_told_to_the_log(
    subject: Checkpoint, db: sqlite3.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    db.execute("BEGIN IMMEDIATE")
    write(db, 10_000)
    with caplog.at_level(logging.WARNING, "foreman.store"):
        subject.cut(db)
    assert "could not be copied" in caplog.text


def test_no_log_is_no_trouble(db: sqlite3.Connection, path: Path) -> None:
    Checkpoint(path.with_name("none")).after_commit(db)
