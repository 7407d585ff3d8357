"""Copies of the database: whole, private, and never over something else."""

import os
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from foreman.core.errors import StoreUnusable
from foreman.engine import lock
from foreman.engine.copies import back_up, restore
from foreman.engine.sqlite import SqliteStore
from tests.engine.stored import job_id, new_job

NOW = "20261121T120000"


async def filled(path: Path, count: int) -> Path:
    async with SqliteStore.open(path, "me") as store:
        for number in range(count):
            await store.submit(new_job(number), None)
    return path


async def ids(path: Path) -> set[str]:
    async with SqliteStore.open(path, "me") as store:
        return {job.id for job in [await store.get(job_id(n)) for n in range(9)] if job is not None}


async def test_what_a_running_store_has_is_copied_with_what_is_in_its_log_alone(tmp_path: Path) -> None:
    async with SqliteStore.open(tmp_path / "foreman.db", "me") as store:
        await store.submit(new_job(1), None)
        copied = back_up(tmp_path / "foreman.db", tmp_path / "copy")
        await store.submit(new_job(2), None)
    assert (copied.jobs, copied.unfinished, copied.bytes) == (1, 1, (tmp_path / "copy").stat().st_size)
    assert stat.S_IMODE((tmp_path / "copy").stat().st_mode) == 0o600
    assert await ids(tmp_path / "copy") == {job_id(1)}
    assert await ids(tmp_path / "foreman.db") == {job_id(1), job_id(2)}


async def test_a_copy_leaves_the_log_of_the_database_as_it_is(tmp_path: Path) -> None:
    async with SqliteStore.open(tmp_path / "foreman.db", "me") as store:
        await store.submit(new_job(1), None)
        log = (tmp_path / "foreman.db-wal").read_bytes()
        back_up(tmp_path / "foreman.db", tmp_path / "copy")
        assert (tmp_path / "foreman.db-wal").read_bytes() == log


async def test_a_copy_is_put_back_and_what_was_there_is_kept(tmp_path: Path) -> None:
    database = await filled(tmp_path / "foreman.db", 2)
    back_up(database, tmp_path / "copy")
    await filled(tmp_path / "other.db", 5)
    copied, old = restore(tmp_path / "copy", tmp_path / "other.db", NOW)
    assert (copied.jobs, old) == (2, tmp_path / f"other.db.replaced-{NOW}")
    assert await ids(tmp_path / "other.db") == {job_id(0), job_id(1)}
    assert old is not None
    assert await ids(old) == {job_id(n) for n in range(5)}
    assert [name for name in os.listdir(tmp_path) if "partial" in name or "restored" in name] == []


async def test_a_copy_is_put_where_nothing_was(tmp_path: Path) -> None:
    back_up(await filled(tmp_path / "foreman.db", 2), tmp_path / "copy")
    copied, old = restore(tmp_path / "copy", tmp_path / "new" / "foreman.db", NOW)
    assert (copied.unfinished, old) == (2, None)
    assert stat.S_IMODE((tmp_path / "new" / "foreman.db").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700
    assert len(await ids(tmp_path / "new" / "foreman.db")) == 2


async def test_a_damaged_database_makes_room_for_a_copy_and_is_kept(tmp_path: Path) -> None:
    back_up(await filled(tmp_path / "foreman.db", 2), tmp_path / "copy")
    (tmp_path / "foreman.db").write_bytes(b"no database at all" * 1000)
    (tmp_path / "foreman.db-wal").write_bytes(b"nor a log")
    restore(tmp_path / "copy", tmp_path / "foreman.db", NOW)
    assert (tmp_path / f"foreman.db.replaced-{NOW}").read_bytes().startswith(b"no database")
    assert (tmp_path / f"foreman.db.replaced-{NOW}-wal").read_bytes() == b"nor a log"
    assert len(await ids(tmp_path / "foreman.db")) == 2


async def test_an_existing_file_is_not_overwritten(tmp_path: Path) -> None:
    database = await filled(tmp_path / "foreman.db", 1)
    (tmp_path / "copy").write_text("mine")
    with pytest.raises(StoreUnusable, match="is there already"):
        back_up(database, tmp_path / "copy")
    assert (tmp_path / "copy").read_text() == "mine"


async def test_a_database_in_use_is_not_replaced(tmp_path: Path) -> None:
    back_up(await filled(tmp_path / "foreman.db", 1), tmp_path / "copy")
    with lock.held(tmp_path / "foreman.db"), pytest.raises(StoreUnusable, match="in use by another foreman"):
        restore(tmp_path / "copy", tmp_path / "foreman.db", NOW)


async def test_the_database_is_no_copy_of_itself(tmp_path: Path) -> None:
    database = await filled(tmp_path / "foreman.db", 1)
    with pytest.raises(StoreUnusable, match="is the database itself"):
        restore(database, database, NOW)


def garbled(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[8192:] = b"\xff" * (len(data) - 8192)
    path.write_bytes(bytes(data))


def shortened(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def another_programs(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE jobs (id)")


def too_new(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version=999")


@pytest.mark.parametrize(
    "spoil", [garbled, shortened, another_programs, too_new, lambda path: path.write_bytes(b""), Path.unlink]
)
async def test_what_is_no_whole_copy_replaces_nothing(spoil: object, tmp_path: Path) -> None:
    database = await filled(tmp_path / "foreman.db", 3)
    back_up(database, tmp_path / "copy")
    assert callable(spoil)
    spoil(tmp_path / "copy")
    with pytest.raises(StoreUnusable, match="copy"):
        restore(tmp_path / "copy", database, NOW)
    assert len(await ids(database)) == 3
    assert {name.removeprefix("foreman.db") for name in os.listdir(tmp_path)} <= {"", ".lock", "copy"}


@pytest.mark.parametrize("target", ["missing/copy", "folder/copy"])
async def test_where_a_copy_cannot_be_written_is_told(target: str, tmp_path: Path) -> None:
    database = await filled(tmp_path / "foreman.db", 1)
    (tmp_path / "folder").write_text("a file")
    with pytest.raises(StoreUnusable, match="cannot be written"):
        back_up(database, tmp_path / target)


def test_without_a_database_there_is_no_copy(tmp_path: Path) -> None:
    with pytest.raises(StoreUnusable, match="there is no database"):
        back_up(tmp_path / "foreman.db", tmp_path / "copy")
    assert list(tmp_path.iterdir()) == []
