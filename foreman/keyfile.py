"""A secret in a file of its own: only its owner can read it, and it fits into a header."""

import os
import stat
from pathlib import Path
from typing import Final

from foreman.core.errors import ConfigError

_KEY_FILE_LIMIT: Final = 4096
_KEY_MIN: Final = 16


def read_api_key(path: Path) -> str:
    """The shared key: the first line of a file that only its owner can read. Raises ConfigError."""
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
    key = head.partition(b"\n")[0].strip()
    if len(key) < _KEY_MIN:
        raise ConfigError(f"api_key_file {path} must hold a key of at least {_KEY_MIN} characters in its first line")
    if not all(0x21 <= byte <= 0x7E for byte in key):
        raise ConfigError(f"api_key_file {path} must hold a key of visible ASCII characters without spaces")
    return key.decode("ascii")


def _open_without_waiting(path: str, mode: int) -> int:
    # Opening a named pipe would else wait for its writer, and the start with it.
    return os.open(path, mode | os.O_NONBLOCK)
