import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from foreman.engine.batch import Op, commit, first_batch


class Faulty(sqlite3.Connection):
    """Fails the n-th statement from now on, and may drop the transaction as SQLite does when a disk is full."""

    fails_at = 0
    drops = False

    def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
        self.fails_at -= 1
        if self.fails_at == 0:
            if self.drops and self.in_transaction:
                super().execute("ROLLBACK")
            raise sqlite3.OperationalError("injected")
        return super().execute(sql, *values)


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Faulty]:
    connection = sqlite3.connect(tmp_path / "x.db", isolation_level=None, factory=Faulty)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("CREATE TABLE t (n INTEGER PRIMARY KEY, body BLOB)")
    yield connection
    connection.close()


def insert(n: int, size: int = 10) -> Op:
    def step(db: sqlite3.Connection) -> int:
        db.execute("INSERT INTO t VALUES (?, zeroblob(?))", (n, size))
        return n

    return Op(step, durable=True)


def stored(db: sqlite3.Connection) -> list[int]:
    return [n for (n,) in sqlite3.Connection.execute(db, "SELECT n FROM t ORDER BY n")]


def told(ops: list[Op]) -> list[int]:
    return [op.value for op in ops if op.error is None]


def statements(db: sqlite3.Connection) -> list[str]:
    seen: list[str] = []
    db.set_trace_callback(seen.append)
    return seen


def test_many_steps_share_one_commit(db: Faulty) -> None:
    seen = statements(db)
    ops = [insert(n) for n in range(20)]
    commit(db, ops)
    assert told(ops) == stored(db) == list(range(20))
    assert [seen.count(each) for each in ("BEGIN IMMEDIATE", "COMMIT")] == [1, 1]


@pytest.mark.parametrize(("durable", "level"), [([False, True], 2), ([False, False], 1)])
def test_one_durable_step_makes_the_commit_durable(db: Faulty, durable: list[bool], level: int) -> None:
    ops = [Op(lambda db: db.execute("PRAGMA synchronous").fetchone()[0], durable=each) for each in durable]
    db.execute("PRAGMA synchronous=FULL")
    commit(db, ops)
    assert told(ops) == [level, level]
    assert db.execute("PRAGMA synchronous").fetchone() == (2,)


def test_a_commit_that_fails_and_need_not_last_leaves_the_next_one_durable(db: Faulty) -> None:
    def fail(_: sqlite3.Connection) -> None:
        raise KeyError("x")

    commit(db, [Op(fail), Op(fail)])
    assert db.execute("PRAGMA synchronous").fetchone() == (2,)


def test_a_step_that_fails_harms_no_other(db: Faulty) -> None:
    ops = [insert(1), insert(1), insert(2)]
    commit(db, ops)
    assert isinstance(ops[1].error, sqlite3.IntegrityError)
    assert told(ops) == stored(db) == [1, 2]


def test_a_failed_step_leaves_nothing_of_itself(db: Faulty) -> None:
    def twice(db: sqlite3.Connection) -> None:
        insert(1).step(db)
        raise KeyError(1)

    for ops in ([Op(twice)], [insert(5), Op(twice)]):
        commit(db, ops)
        assert isinstance(ops[-1].error, KeyError)
    assert stored(db) == [5]


def test_a_full_disk_drops_the_transaction_and_nobody_is_told_a_lie(db: Faulty) -> None:
    ((pages,),) = db.execute("PRAGMA page_count").fetchall()
    db.execute(f"PRAGMA max_page_count={pages + 8}")
    seen = statements(db)
    ops = [insert(1), insert(2, 100_000), insert(3), insert(4, 100_000), insert(5)]
    commit(db, ops)
    assert seen.count("BEGIN IMMEDIATE") == 1 + len(ops), "the batch ran again, one by one"
    assert told(ops) == stored(db) == [1, 3, 5]
    assert [op.error.sqlite_errorcode for op in ops if isinstance(op.error, sqlite3.Error)] == [sqlite3.SQLITE_FULL] * 2


@pytest.mark.parametrize("size", [1, 2, 5])
@pytest.mark.parametrize("drops", [False, True])
def test_whatever_statement_fails_the_told_ones_are_the_stored_ones(db: Faulty, size: int, drops: bool) -> None:
    db.drops = drops
    for nth in range(1, 40):
        db.execute("DELETE FROM t")
        ops = [insert(n) for n in range(size)]
        db.fails_at = nth
        commit(db, ops)
        db.fails_at = 0
        assert not db.in_transaction
        assert told(ops) == stored(db)
        assert len(told(ops)) >= size - 1 or nth <= 2


def test_a_locked_database_fails_all_at_once(db: Faulty, tmp_path: Path) -> None:
    db.execute("PRAGMA busy_timeout=0")
    other = sqlite3.connect(tmp_path / "x.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    ops = [insert(1), insert(2)]
    commit(db, ops)
    other.close()
    assert all(isinstance(op.error, sqlite3.OperationalError) for op in ops)
    commit(db, [insert(3)])
    assert stored(db) == [3]


def test_a_bare_step_runs_without_a_transaction(db: Faulty) -> None:
    ops = [Op(lambda db: db.in_transaction, bare=True)]
    commit(db, ops)
    assert told(ops) == [False]

    def leaves_one_open(db: sqlite3.Connection) -> None:
        db.execute("BEGIN")
        raise KeyError(1)

    ops = [Op(leaves_one_open, bare=True)]
    commit(db, ops)
    assert isinstance(ops[0].error, KeyError)
    assert not db.in_transaction


def test_big_and_bare_steps_go_alone() -> None:
    small, big, bare = Op(insert(1).step), Op(insert(1).step, alone=True), Op(insert(1).step, bare=True)
    assert first_batch([small, small, big, small]) == [small, small]
    assert first_batch([big, small]) == [big]
    assert first_batch([bare, bare]) == [bare]
    assert first_batch([small]) == [small]
