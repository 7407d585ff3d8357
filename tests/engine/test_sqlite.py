"""What is SQLite's own in the SQLite store: full disks, locks, the order of syncs, cut logs, closing."""

import asyncio
import json
import os
import random
import re
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import aiosqlite
import pytest

from foreman.core.errors import StorageFailed, StorageFull, StoreUnusable
from foreman.core.job import JobState, Next
from foreman.engine import lock
from foreman.engine.sqlite import SqliteStore
from foreman.engine.store import Submitted
from tests.engine.stored import done, job_id, new_job

ROOT = Path(__file__).parents[2]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "foreman.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    async with SqliteStore.open(path, "boot-1") as opened:
        yield opened


def child(code: str, *args: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-X", "dev", "-c", code, *map(str, args)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)


async def submitted(store: SqliteStore, *numbers: int, size: int = 100) -> list[bool]:
    """Submit all at once; which ones were accepted."""
    results = await asyncio.gather(
        *(store.submit(new_job(number, body=os.urandom(size))) for number in numbers), return_exceptions=True
    )
    assert all(isinstance(result, Submitted | StorageFull | StorageFailed) for result in results), results
    return [isinstance(result, Submitted) for result in results]


async def present(store: SqliteStore, *numbers: int) -> list[bool]:
    return [await store.get(job_id(number)) is not None for number in numbers]


def pragma(store: SqliteStore, text: str) -> Any:
    return store._writer.run_bare(lambda db: db.execute(f"PRAGMA {text}").fetchall())


async def test_a_full_disk_refuses_the_big_ones_and_lies_to_nobody(store: SqliteStore) -> None:
    ((pages,),) = await pragma(store, "page_count")
    await pragma(store, f"max_page_count={pages + 12}")
    numbers = range(100)
    accepted = await submitted(store, *numbers, size=2_000)
    assert True in accepted
    assert False in accepted
    with pytest.raises(StorageFull, match="no room"):
        await store.submit(new_job(999, body=os.urandom(50_000)))
    assert await present(store, *numbers) == accepted
    assert (await store.claim(Next(), 1)) is not None
    await pragma(store, f"max_page_count={1 << 30}")
    assert await submitted(store, 999, size=50_000) == [True]
    assert await pragma(store, "integrity_check") == [("ok",)]


FILE_LIMIT = """
import asyncio, json, os, resource, sys
from pathlib import Path
from foreman.core.errors import StorageFull
from foreman.engine.sqlite import SqliteStore
from tests.engine.stored import job_id, new_job

async def main(path):
    async with SqliteStore.open(path, "boot-1") as store:
        wal = path.with_name(path.name + "-wal")
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (wal.stat().st_size + 200_000, hard))
        async def submit(number):
            try:
                return (await store.submit(new_job(number, body=os.urandom(3_000)))).seq
            except StorageFull:
                return None
        accepted = []
        for start in range(0, 100, 10):
            accepted += await asyncio.gather(*(submit(start + n) for n in range(10)))
        present = [await store.get(job_id(number)) is not None for number in range(100)]
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        again = await submit(1_000)
    print(json.dumps({"accepted": [seq is not None for seq in accepted], "present": present, "again": again}))

asyncio.run(main(Path(sys.argv[1])))
"""


def test_a_file_that_cannot_grow_refuses_and_recovers(path: Path) -> None:
    ended = child(FILE_LIMIT, path)
    assert ended.stderr == ""
    result = json.loads(ended.stdout)
    assert result["accepted"] == result["present"]
    assert {True, False} == set(result["accepted"])
    assert result["again"] is not None
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert db.execute("SELECT count(*) FROM jobs").fetchall() == [(sum(result["accepted"]) + 1,)]


async def test_another_programs_lock_is_waited_for(store: SqliteStore, path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        task = asyncio.create_task(store.submit(new_job(1)))
        assert await store.get(job_id(1)) is None, "reads go on"
        assert not task.done()
        other.execute("COMMIT")
    assert (await task).seq == 1


async def test_a_lock_held_for_long_fails_and_nothing_is_lost(store: SqliteStore, path: Path) -> None:
    await pragma(store, "busy_timeout=20")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageFailed, match="locked"):
            await store.submit(new_job(1))
    assert (await store.submit(new_job(1))).seq == 1


async def test_a_removed_or_replaced_file_is_noticed(store: SqliteStore, path: Path) -> None:
    await store.usage()
    elsewhere = shutil.move(path, path.with_name("elsewhere"))
    with pytest.raises(StorageFailed, match="gone"):
        await store.usage()
    shutil.copy(elsewhere, path)
    with pytest.raises(StorageFailed, match="replaced"):
        await store.usage()
    shutil.move(elsewhere, path)
    await store.usage()


async def test_pruned_space_goes_back_to_the_file_system(store: SqliteStore, path: Path) -> None:
    for number in range(1, 21):
        await store.submit(new_job(number, body=os.urandom(500_000)))
        await store.claim(Next(), 1)
        await store.finish(number, done(at=number))
    await pragma(store, "wal_checkpoint(TRUNCATE)")
    full = (await store.usage()).db_bytes
    gone = []
    while forgotten := await store.prune(1_000, 0):
        gone.append(forgotten)
    await pragma(store, "wal_checkpoint(TRUNCATE)")
    assert full > 10_000_000
    assert (await store.usage()).db_bytes < 200_000
    assert sum(gone) == 20
    assert max(gone) < 20, "a batch is bounded by bytes, too"


async def test_a_database_rebuilt_without_auto_vacuum_can_be_pruned(path: Path) -> None:
    async with SqliteStore.open(path, "boot-1") as store:
        await store.submit(new_job(1, body=os.urandom(9_000_000)))
        await store.cancel(job_id(1), 5)
    with closing(sqlite3.connect(path)) as db:
        db.executescript("PRAGMA journal_mode=DELETE; PRAGMA auto_vacuum=NONE; VACUUM")
    async with SqliteStore.open(path, "boot-2") as store:
        assert [await store.prune(6, 0) for _ in range(2)] == [1, 0]


async def test_the_log_is_gone_after_closing(path: Path) -> None:
    async with SqliteStore.open(path, "boot-1") as store:
        await submitted(store, *range(50))
        await store.close()
        assert [file.name for file in sorted(path.parent.iterdir())] == ["foreman.db", "foreman.db.lock"]
        with pytest.raises(StorageFailed, match="closed"):
            await store.submit(new_job(99))
        with pytest.raises(StorageFailed, match="could not be read"):
            await store.get(job_id(1))
        await store.close()
    with lock.held(path):
        pass


async def test_the_death_of_the_writer_is_seen(store: SqliteStore, caplog: pytest.LogCaptureFixture) -> None:
    class Death(BaseException):
        pass

    def die(db: sqlite3.Connection) -> None:
        raise Death

    with pytest.raises(StorageFailed, match="died"):
        await store._writer.run(die)
    assert isinstance(await store.failed, Death)
    with pytest.raises(StorageFailed, match="died"):
        await store.submit(new_job(1))
    assert "died" in caplog.text


async def test_opening_that_stops_half_way_leaves_nothing_behind(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(self: aiosqlite.Connection, sql: str, *values: object) -> None:
        raise sqlite3.OperationalError("refused")

    monkeypatch.setattr(aiosqlite.Connection, "execute_fetchall", refuse)
    before = set(threading.enumerate())
    with pytest.raises(StoreUnusable, match="refused"):
        async with SqliteStore.open(path, "boot-1"):
            pass
    for thread in set(threading.enumerate()) - before:
        thread.join(10)  # aiosqlite tells of the end of its thread just before it
        assert not thread.is_alive()
    with lock.held(path):
        pass


UNUSABLE = """
import asyncio, sys
from pathlib import Path
from foreman.core.errors import StoreUnusable
from foreman.engine.sqlite import SqliteStore

async def main(path):
    async with SqliteStore.open(path, "boot-1"):
        raise KeyError("while it was open")

asyncio.run(main(Path(sys.argv[1])))
"""


@pytest.mark.parametrize("damaged", [False, True])
def test_a_process_that_fails_ends(path: Path, damaged: bool) -> None:
    if damaged:
        path.write_bytes(b"x" * 10_000)
    ended = child(UNUSABLE, path)
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].startswith("foreman.core.errors.StoreUnusable" if damaged else "KeyError")


SUBMITS = """
import asyncio, os, sys
from pathlib import Path
from foreman.core.job import Next
from foreman.engine.sqlite import SqliteStore
from tests.engine.stored import back, done, new_job

async def main(path):
    async with SqliteStore.open(path, "boot-1") as store:
        os.write(1, b"ready")
        for number in range(1, 21):
            await store.submit(new_job(number))
            os.write(1, b"submitted")
        for number in range(1, 6):
            await store.claim(Next(), 1)
            os.write(1, b"claimed")
            await store.finish(number, done())
            os.write(1, b"finished")
        await asyncio.gather(*(store.submit(new_job(number)) for number in range(21, 61)))
        os.write(1, b"submitted together")

asyncio.run(main(Path(sys.argv[1])))
"""


def traced(path: Path, folder: Path) -> list[str]:
    """The system calls of SUBMITS that matter, each at the moment it returned."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    report = folder / "trace"
    calls = "trace=write,pwrite64,fsync,fdatasync"
    command = [strace, "-f", "-y", "-e", calls, "-o", str(report), sys.executable, "-c", SUBMITS, str(path)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    if ended.returncode and "ptrace" in ended.stderr:
        pytest.skip("ptrace is not permitted here")
    assert ended.returncode == 0, ended.stderr
    begun: dict[str, str] = {}
    calls_made = []
    for line in report.read_text().splitlines():
        pid, _, call = line.partition(" ")
        if call.rstrip().endswith("<unfinished ...>"):
            begun[pid] = call.strip()
        elif resumed := re.search(r"<\.\.\. \w+ resumed>(.*)", call):
            calls_made.append(begun.pop(pid) + resumed[1])
        else:
            calls_made.append(call.strip())
    return calls_made


@pytest.mark.skipif(sys.platform != "linux", reason="strace is Linux's")
def test_a_sync_of_the_log_stands_between_its_last_write_and_every_acknowledgement(path: Path, tmp_path: Path) -> None:
    told: list[str] = []
    synced = written = 0
    for call in traced(path, tmp_path):
        if re.match(r"pwrite64\(\d+<[^>]*-wal>", call):
            written += 1
            synced = 0
        elif re.match(r"f(data)?sync\(\d+<[^>]*-wal>\).*= 0", call):
            synced += 1
        elif tell := re.match(r'write\(1<[^>]*>, "([a-z ]+)"', call):
            if tell[1] != "ready":
                assert written, f"nothing was written before {tell[1]}"
                assert synced, f"nothing was synced before {tell[1]}"
            told.append(tell[1])
            written = synced = 0
    assert told == ["ready"] + ["submitted"] * 20 + ["claimed", "finished"] * 5 + ["submitted together"]


async def history(path: Path) -> tuple[list[dict[int, str]], list[int], Callable[[Path], Path]]:
    """Thirty moves of jobs: the table after each, the length of the log after each, and a copier of the files."""
    log = path.with_name(path.name + "-wal")
    tables: list[dict[int, str]] = [{}]
    lengths = [0]
    files: dict[str, bytes] = {}
    async with SqliteStore.open(path, "boot-1") as store:
        await pragma(store, "wal_checkpoint(TRUNCATE)")
        for number in range(1, 11):
            for move in (
                lambda n=number: store.submit(new_job(n, body=os.urandom(300 * n))),
                lambda: store.claim(Next(), 1),
                lambda n=number: store.finish(n, done(body=os.urandom(700))),
            ):
                await move()
                lengths.append(log.stat().st_size)
                with closing(sqlite3.connect(path)) as db:
                    tables.append(dict(db.execute("SELECT seq, state FROM jobs")))
        files = {file.name: file.read_bytes() for file in (path, log)}

    def copy(folder: Path) -> Path:
        folder.mkdir()
        for name, content in files.items():
            (folder / name).write_bytes(content)
        return folder / path.name

    return tables, lengths, copy


async def test_a_log_cut_or_torn_anywhere_is_an_exact_beginning_of_the_history(path: Path, tmp_path: Path) -> None:
    tables, lengths, copy = await history(path)
    chance = random.Random(36)
    for case in range(60):
        database = copy(tmp_path / str(case))
        log = database.with_name(database.name + "-wal")
        at = chance.randrange(lengths[-1])
        with log.open("r+b") as file:
            if case % 2:
                file.truncate(at)
            else:
                file.seek(at)
                file.write(os.urandom(chance.choice((1, 100, 5_000))))
        safe = max(n for n, length in enumerate(lengths) if length <= at)
        with closing(sqlite3.connect(database)) as db:
            found = dict(db.execute("SELECT seq, state FROM jobs"))
            assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert found in tables[safe:], (case, at)
    async with SqliteStore.open(copy(tmp_path / "whole"), "boot-2") as store:
        jobs = [await store.get(job_id(number)) for number in range(1, 11)]
        assert [job and job.state for job in jobs] == [JobState.DONE] * 10
