import asyncio
import logging
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import pytest

from foreman.core.errors import StorageFailed, StorageFull
from foreman.engine import writer as module
from foreman.engine.batch import Step
from foreman.engine.writer import Writer, storage_error


class Gate:
    """Keeps the thread inside a step until it is opened, so that what is handed over meanwhile makes one batch."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.open = threading.Event()

    def step(self, _: sqlite3.Connection) -> None:
        self.entered.set()
        self.open.wait()


class Subject:
    """A writer on a real file, and what its thread did."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seen: list[str] = []
        self.committed = asyncio.Event()
        loop = asyncio.get_running_loop()
        self._on_commit: Callable[[], object] = lambda: loop.call_soon_threadsafe(self.committed.set)
        self.writer = Writer(self.connect, path.with_name(path.name + "-wal"))

    @contextmanager
    def connect(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.path, isolation_level=None)) as db:
            db.execute("PRAGMA journal_mode=WAL").fetchall()
            db.execute("CREATE TABLE t (n INTEGER PRIMARY KEY)")
            db.set_trace_callback(self._trace)
            yield db

    def _trace(self, statement: str) -> None:
        self.seen.append(statement)
        if statement == "COMMIT":
            self._on_commit()

    def stored(self) -> list[int]:
        with closing(sqlite3.connect(self.path)) as db:
            return [n for (n,) in db.execute("SELECT n FROM t ORDER BY n")]


def insert(n: int) -> Step[int]:
    def step(db: sqlite3.Connection) -> int:
        db.execute("INSERT INTO t VALUES (?)", (n,))
        return n

    return step


def fail(_: sqlite3.Connection) -> None:
    raise KeyError("x")


@pytest.fixture
async def subject(tmp_path: Path) -> Subject:
    subject = Subject(tmp_path / "x.db")
    await subject.writer.open()
    return subject


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    assert [thread for thread in threading.enumerate() if thread.name == "foreman-writer"] == []


async def test_a_step_returns_its_value_or_raises_its_error(subject: Subject) -> None:
    writer = subject.writer
    assert await writer.run(insert(7)) == 7
    with pytest.raises(StorageFailed, match="UNIQUE"):
        await writer.run(insert(7))
    with pytest.raises(KeyError):
        await writer.run(fail)
    assert await writer.run_bare(lambda db: db.in_transaction) is False
    await writer.close()
    assert subject.stored() == [7]


async def test_what_queued_behind_a_commit_is_the_next_commit(subject: Subject) -> None:
    gate = Gate()
    first = asyncio.create_task(subject.writer.run(gate.step))
    await asyncio.to_thread(gate.entered.wait)
    rest = [asyncio.create_task(subject.writer.run(insert(n))) for n in range(50)]
    await asyncio.sleep(0)
    gate.open.set()
    assert await asyncio.gather(*rest) == list(range(50))
    await first
    assert subject.seen.count("COMMIT") == 2
    await subject.writer.close()


async def test_callers_hear_after_the_commit(subject: Subject) -> None:
    async def caller(n: int) -> bool:
        await subject.writer.run(insert(n))
        return n in subject.stored()

    assert all(await asyncio.gather(*(caller(n) for n in range(100))))
    await subject.writer.close()


async def test_a_big_step_is_committed_alone(subject: Subject) -> None:
    gate = Gate()
    tasks: list[asyncio.Task[object]] = [asyncio.create_task(subject.writer.run(gate.step))]
    await asyncio.to_thread(gate.entered.wait)
    tasks += [asyncio.create_task(subject.writer.run(insert(n), alone=n == 2)) for n in range(5)]
    await asyncio.sleep(0)
    gate.open.set()
    await asyncio.gather(*tasks)
    assert subject.seen.count("COMMIT") == 1 + 3
    await subject.writer.close()


async def test_a_note_rides_with_the_next_step_and_before_it(subject: Subject) -> None:
    subject.writer.later(insert(1))
    subject.writer.later(insert(2))
    assert await subject.writer.run(lambda db: db.execute("SELECT count(*) FROM t").fetchall()) == [(2,)]
    assert subject.seen.count("COMMIT") == 1
    await subject.writer.close()
    assert subject.stored() == [1, 2]


async def test_a_note_without_a_next_step_is_committed_at_the_pause(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAUSES", (0.01, 0.01))
    subject.writer.later(insert(1))
    await subject.committed.wait()
    assert "PRAGMA synchronous=NORMAL" in subject.seen
    await subject.writer.close()
    assert subject.stored() == [1]


async def test_a_note_that_fails_is_logged(subject: Subject, caplog: pytest.LogCaptureFixture) -> None:
    subject.writer.later(fail)
    with caplog.at_level(logging.WARNING, "foreman.store"):
        assert await subject.writer.run(insert(1)) == 1
    assert "note could not be stored" in caplog.text
    await subject.writer.close()


async def test_a_step_happens_though_its_caller_is_gone(subject: Subject) -> None:
    gate = Gate()
    first = asyncio.create_task(subject.writer.run(gate.step))
    await asyncio.to_thread(gate.entered.wait)
    gone = asyncio.create_task(subject.writer.run(insert(1)))
    await asyncio.sleep(0)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    gate.open.set()
    await first
    assert await subject.writer.run(insert(2)) == 2
    assert subject.stored() == [1, 2]
    await subject.writer.close()


async def test_closing_finishes_what_was_handed_over(subject: Subject) -> None:
    tasks = [asyncio.create_task(subject.writer.run(insert(n))) for n in range(20)]
    subject.writer.later(insert(99))
    await asyncio.sleep(0)
    await asyncio.gather(subject.writer.close(), subject.writer.close())
    assert await asyncio.gather(*tasks) == list(range(20))
    assert subject.stored() == [*range(20), 99]
    assert not subject.path.with_name("x.db-wal").exists()
    with pytest.raises(StorageFailed, match="closed"):
        await subject.writer.run(insert(100))
    subject.writer.later(insert(100))
    await subject.writer.close()
    assert not subject.writer.failed.done()


async def test_closing_before_opening_and_after_a_refusal_returns(tmp_path: Path) -> None:
    def refuse() -> AbstractContextManager[sqlite3.Connection]:
        raise KeyError("refused")

    writer = Writer(refuse, tmp_path / "none")
    await writer.close()
    with pytest.raises(KeyError, match="refused"):
        await writer.open()
    await writer.close()


async def test_closing_returns_when_opening_was_cancelled(tmp_path: Path) -> None:
    gate = Gate()

    @contextmanager
    def slowly() -> Iterator[sqlite3.Connection]:
        gate.open.wait()
        with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
            yield db

    writer = Writer(slowly, tmp_path / "none")
    opening = asyncio.create_task(writer.open())
    await asyncio.sleep(0)
    opening.cancel()
    await asyncio.wait({opening})
    gate.open.set()
    await writer.close()


class Death(BaseException):
    pass


async def test_the_death_of_the_thread_is_heard_by_everyone(subject: Subject, caplog: pytest.LogCaptureFixture) -> None:
    gate = Gate()

    def die(_: sqlite3.Connection) -> None:
        raise Death

    writer = subject.writer
    tasks: list[asyncio.Task[object]] = [asyncio.create_task(writer.run(gate.step))]
    await asyncio.to_thread(gate.entered.wait)
    tasks += [asyncio.create_task(writer.run(step)) for step in (insert(1), die, insert(2))]
    await asyncio.sleep(0)
    gate.open.set()
    first, *rest = await asyncio.gather(*tasks, return_exceptions=True)
    assert first is None
    assert [type(each) for each in rest] == [StorageFailed] * 3
    assert isinstance(await writer.failed, Death)
    assert subject.stored() == []
    with pytest.raises(StorageFailed, match="died"):
        await writer.run(insert(3))
    await writer.close()
    assert "died" in caplog.text


def sqlite_error(code: int) -> sqlite3.Error:
    error = sqlite3.OperationalError("told")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (sqlite3.SQLITE_FULL, StorageFull),
        (sqlite3.SQLITE_IOERR_WRITE, StorageFull),
        (sqlite3.SQLITE_IOERR_FSYNC, StorageFull),
        (sqlite3.SQLITE_BUSY, StorageFailed),
        (sqlite3.SQLITE_CORRUPT, StorageFailed),
        (sqlite3.SQLITE_READONLY, StorageFailed),
    ],
)
def test_errors_of_sqlite_become_errors_of_the_tree(code: int, told: type[Exception]) -> None:
    error = sqlite_error(code)
    result = storage_error(error)
    assert type(result) is told
    assert result.__cause__ is error


def test_an_error_without_a_code_is_a_failure_and_others_stay_what_they_are() -> None:
    assert type(storage_error(sqlite3.ProgrammingError("closed"))) is StorageFailed
    error = KeyError("x")
    assert storage_error(error) is error
