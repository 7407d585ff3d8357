"""The file of a key: whose it must be, and what may stand in it."""

import os
import subprocess
from pathlib import Path

import pytest

from foreman.core.errors import ConfigError
from foreman.keyfile import read_api_key

KEY = "0123456789abcdef"


def key_file(tmp_path: Path, content: bytes, mode: int = 0o600) -> Path:
    path = tmp_path / "key"
    path.write_bytes(content)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("content", [KEY, f"{KEY}\n", f"  {KEY} \r\nsecond line\n"])
def test_the_key_is_the_first_line(content: str, tmp_path: Path) -> None:
    assert read_api_key(key_file(tmp_path, content.encode())) == KEY


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o666])
def test_a_key_file_open_to_others_is_refused(mode: int, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="chmod 600"):
        read_api_key(key_file(tmp_path, KEY.encode(), mode))


@pytest.mark.parametrize("content", [b"", b"\n" + KEY.encode(), KEY[:-1].encode(), b"   \n"])
def test_a_short_or_missing_key_is_refused(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at least 16 characters") as caught:
        read_api_key(key_file(tmp_path, content))
    assert KEY[:-1] not in str(caught.value)


@pytest.mark.parametrize("content", [f"{KEY} {KEY}".encode(), f"{KEY}é".encode(), KEY.encode() + b"\0"])
def test_a_key_that_fits_in_no_header_is_refused(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="visible ASCII"):
        read_api_key(key_file(tmp_path, content))


def test_a_key_file_is_a_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        read_api_key(tmp_path / "none")
    with pytest.raises(ConfigError, match="Is a directory"):
        read_api_key(tmp_path)
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(ConfigError, match="is not a file"):
        read_api_key(tmp_path / "pipe")


def test_a_key_file_made_by_the_shell_works(tmp_path: Path) -> None:
    subprocess.run(["sh", "-c", "umask 077; od -An -tx1 -N16 /dev/urandom | tr -d ' ' > key"], cwd=tmp_path, check=True)
    assert len(read_api_key(tmp_path / "key")) == 32
