import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from foreman.core.errors import StoreUnusable
from foreman.engine import lock

HOLDER = """
import sys
from pathlib import Path
from foreman.engine import lock
with lock.held(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_the_second_is_refused_and_told_who_holds_it(tmp_path: Path) -> None:
    database = tmp_path / "x.db"
    command = [sys.executable, "-c", HOLDER, str(database)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        for _ in range(2):
            with pytest.raises(StoreUnusable, match=rf"pid {holder.pid}\)$"), lock.held(database):
                pass
        holder.kill()
    with lock.held(database):
        assert (tmp_path / "x.db.lock").read_text() == f"{os.getpid()}\n"


def test_it_is_free_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyError), lock.held(tmp_path / "x.db"):
        raise KeyError
    with lock.held(tmp_path / "x.db"):
        pass


def test_a_leftover_file_means_nothing(tmp_path: Path) -> None:
    (tmp_path / "x.db.lock").write_text("123456789012345678901234567890\n")
    with lock.held(tmp_path / "x.db"):
        assert (tmp_path / "x.db.lock").read_text() == f"{os.getpid()}\n"


def test_the_database_itself_is_not_touched(tmp_path: Path) -> None:
    with lock.held(tmp_path / "x.db"):
        assert [file.name for file in tmp_path.iterdir()] == ["x.db.lock"]
    assert stat.S_IMODE((tmp_path / "x.db.lock").stat().st_mode) == 0o600


def test_a_folder_without_room_for_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreUnusable, match="lock file"), lock.held(tmp_path / "none" / "x.db"):
        pass
