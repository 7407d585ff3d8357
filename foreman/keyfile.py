"""A secret in a file of its own: only its owner can read it, and it fits into a header."""

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from foreman.core.errors import ConfigError

_KEY_FILE_LIMIT: Final = 4096
_KEY_MIN: Final = 16


def read_api_key(path: Path, least: int = _KEY_MIN) -> str:
    """A key of at least `least` characters: the first line of a file that only its owner can read.

    Raises ConfigError.
    """
    try:
        with open(path, "rb", opener=_open_without_waiting) as file:
            mode = os.fstat(file.fileno()).st_mode
            head = file.read(_KEY_FILE_LIMIT) if stat.S_ISREG(mode) else b""
    except OSError as error:
        raise ConfigError(f"api_key_file {path} cannot be read: {error.strerror}") from error
    if not stat.S_ISREG(mode):
        raise ConfigError(f"api_key_file {path} is not a file")
    if mode & 0o077:
        raise ConfigError(f"api_key_file {path} is open to other users: chmod 600 it")
    return check_key(head.partition(b"\n")[0].strip(), f"api_key_file {path}", least, " in its first line")


def check_key(key: bytes, where: str, least: int, place: str = "") -> str:
    """The key as text. Raises ConfigError, which says `where` it was and never what it is."""
    if len(key) < least:
        raise ConfigError(f"{where} must hold a key of at least {least} characters{place}")
    if not all(0x21 <= byte <= 0x7E for byte in key):
        raise ConfigError(f"{where} must hold a key of visible ASCII characters without spaces")
    return key.decode("ascii")


def _open_without_waiting(path: str, mode: int) -> int:
    # Opening a named pipe would else wait for its writer, and the start with it.
    return os.open(path, mode | os.O_NONBLOCK)


def local_key_file(database: Path) -> Path:
    """Where a running foreman leaves the key for commands of its own user on this machine."""
    return database.with_name(f"{database.name}.key")


@contextmanager
def local_key(database: Path) -> Iterator[str]:
    """A new key in that file for the time of the block. Raises ConfigError where it cannot be written."""
    path, key = local_key_file(database), secrets.token_urlsafe(32)
    part = path.with_name(f"{path.name}.part")
    try:
        part.unlink(missing_ok=True)
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(f"{key}\n")
        part.replace(path)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from error
    try:
        yield key
    finally:
        path.unlink(missing_ok=True)
