import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from foreman.core.errors import StoreUnusable
from foreman.engine import database, lock, migrations, steps
from tests.engine.stored import new_job


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "foreman.db"


def refusal(path: Path) -> str:
    with pytest.raises(StoreUnusable) as caught, database.opened(path):
        pass
    text = str(caught.value)
    assert str(path.parent) in text
    assert "\n" not in text
    with lock.held(path) if path.parent.is_dir() else closing(sqlite3.connect(":memory:")):
        return text


def setting(db: sqlite3.Connection, name: str) -> object:
    ((value,),) = db.execute(f"PRAGMA {name}").fetchall()
    return value


def test_a_new_database_has_the_settings_the_store_relies_on(path: Path) -> None:
    for _ in range(2):
        with database.opened(path) as db:
            assert {name: setting(db, name) for name in (
                "auto_vacuum", "journal_mode", "foreign_keys", "trusted_schema", "secure_delete", "mmap_size",
                "journal_size_limit", "wal_autocheckpoint", "busy_timeout", "user_version", "application_id",
            )} == {
                "auto_vacuum": 2, "journal_mode": "wal", "foreign_keys": 1, "trusted_schema": 0, "secure_delete": 1,
                "mmap_size": 0, "journal_size_limit": 64 << 20, "wal_autocheckpoint": 0, "busy_timeout": 5_000,
                "user_version": len(migrations.steps()), "application_id": migrations.APPLICATION_ID,
            }  # fmt: skip


@pytest.fixture
def no_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("no_umask")
def test_everything_is_for_the_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "one" / "two" / "foreman.db"
    with database.opened(path) as db:
        steps.submit(db, new_job(1))
        modes = {file.name: oct(stat.S_IMODE(file.stat().st_mode)) for file in tmp_path.rglob("*")}
    assert modes == {"one": "0o700", "two": "0o700"} | dict.fromkeys(
        ("foreman.db", "foreman.db-wal", "foreman.db-shm", "foreman.db.lock"), "0o600"
    )


@pytest.mark.usefixtures("no_umask")
def test_a_database_that_others_could_read_is_tightened(path: Path) -> None:
    with database.opened(path):
        pass
    path.chmod(0o644)
    with database.opened(path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_folder_that_exists_keeps_its_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with database.opened(tmp_path / "x.db"):
        pass
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


def test_a_database_without_tables_is_a_new_one(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA journal_mode=WAL")
    with database.opened(path) as db:
        assert steps.submit(db, new_job(1)).seq == 1


def test_a_second_process_is_refused(path: Path) -> None:
    with database.opened(path) as db:
        with pytest.raises(StoreUnusable, match=rf"pid {os.getpid()}\)"), database.opened(path):
            pass
        assert steps.submit(db, new_job(1)).seq == 1


def test_a_newer_database_is_refused(path: Path) -> None:
    with database.opened(path) as db:
        db.execute("PRAGMA user_version=99")
    assert "schema version 99" in refusal(path)


def test_a_database_of_another_program_is_refused_and_left_alone(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE t (n)")
    before = path.read_bytes()
    assert "another program" in refusal(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("damage", ["garbage", "short", "header", "torn"])
def test_a_damaged_file_is_refused_and_left_alone(path: Path, damage: str) -> None:
    with database.opened(path) as db:
        for number in range(100):
            steps.submit(db, new_job(number))
    good = path.read_bytes()
    bad = {
        "garbage": os.urandom(20_000),
        "short": good[:100],
        "header": b"\0" * 100 + good[100:],
        "torn": good[: len(good) // 2],
    }[damage]
    path.write_bytes(bad)
    assert "damaged" in refusal(path)
    assert path.read_bytes() == bad


@pytest.mark.parametrize("place", ["jobs", "jobs_finished", "earlier_attempts"])
def test_damage_inside_is_found_after_a_stop_that_was_not_clean(path: Path, place: str) -> None:
    with database.opened(path) as db:
        for number in range(100):
            steps.submit(db, new_job(number))
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        steps.submit(db, new_job(100))
        ((root,),) = db.execute("SELECT rootpage FROM sqlite_schema WHERE name=?", (place,)).fetchall()
        copy = path.with_name("copy.db")
        shutil.copy(path, copy)
        shutil.copy(path.with_name("foreman.db-wal"), path.with_name("copy.db-wal"))
    with copy.open("r+b") as file:
        file.seek(4096 * (root - 1))
        file.write(b"\xff" * 4096)
    assert "damaged" in refusal(copy)


def test_the_constraints_hold_after_that_look(path: Path) -> None:
    with database.opened(path) as db:
        steps.submit(db, new_job(0))
        copy = path.with_name("copy.db")
        shutil.copy(path, copy)
        shutil.copy(path.with_name("foreman.db-wal"), path.with_name("copy.db-wal"))
    with database.opened(copy) as db, pytest.raises(sqlite3.IntegrityError, match="CHECK"):
        db.execute("UPDATE jobs SET crashes=-1")


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "cannot create the folder" in refusal(tmp_path / "file" / "sub" / "x.db")


def test_a_folder_in_place_of_the_file_is_refused(path: Path) -> None:
    path.mkdir()
    assert "not a file" in refusal(path)


UNPRIVILEGED = """
import os, sys
from pathlib import Path
from foreman.core.errors import StoreUnusable
from foreman.engine import database
if os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
try:
    with database.opened(Path(sys.argv[1])):
        print("opened")
except StoreUnusable as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("folder_mode", "file_mode", "told"),
    [
        (0o500, None, "cannot write in the folder"),
        (0o500, 0o600, "cannot write in the folder"),
        (0o700, 0o400, "not readable and writable"),
        (0o000, None, "cannot write in the folder"),
    ],
)
def test_what_this_user_may_not_write_is_refused(folder_mode: int, file_mode: int | None, told: str) -> None:
    # Root may write everywhere, and pytest's own folders are closed to others.
    folder = Path(tempfile.mkdtemp())
    try:
        path = folder / "foreman.db"
        if file_mode is not None:
            path.touch()
            path.chmod(file_mode)
        if os.geteuid() == 0:
            for each in (folder, *folder.iterdir()):
                os.chown(each, 65534, 65534)
        folder.chmod(folder_mode)
        command = [sys.executable, "-c", UNPRIVILEGED, str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
        assert told in done.stdout
    finally:
        folder.chmod(0o700)
        shutil.rmtree(folder)


def test_a_file_system_without_a_write_ahead_log_is_refused(path: Path) -> None:
    # A database in memory, too, keeps its journal mode.
    with (
        closing(sqlite3.connect(":memory:", isolation_level=None)) as db,
        pytest.raises(StoreUnusable, match="journal mode stays memory"),
    ):
        database._set_up(db, path)


def test_an_old_sqlite_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 37, 2))
    with pytest.raises(StoreUnusable, match=r"needs 3\.38\.0"), database.opened(path):
        pass
    assert not path.exists()


def test_a_database_locked_by_another_program_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "OPENING_BUSY_MS", 0)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert "locked by another program" in refusal(path)
