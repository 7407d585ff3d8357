"""Where the models of a target on this machine lie, and how much is free there."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from foreman.core.room import Room

# Where Ollama's own installer for Linux has its service keep them.
SERVICE: Final = Path("/usr/share/ollama/.ollama/models")


def models_folder(environ: Mapping[str, str]) -> Path:
    """The folder that models are in, or one on the disk where it will most likely be made."""
    home = Path(environ.get("HOME") or Path.home())
    named = environ.get("OLLAMA_MODELS", "").strip()
    if named:
        return _there(Path(named).expanduser().absolute())
    return next((folder for folder in (home / ".ollama" / "models", SERVICE) if _is_there(folder)), home)


def room_in(folder: Path, reserve: int) -> Room:
    """What a pull may take of the disk of `folder`, which is read anew each time."""

    def free() -> int | None:
        try:
            return shutil.disk_usage(folder).free
        except OSError:
            return None

    return Room(reserve, str(folder), free)


def _there(folder: Path) -> Path:
    """The folder, or the nearest above it that is there."""
    return next((parent for parent in (folder, *folder.parents) if _is_there(parent)), folder)


def _is_there(folder: Path) -> bool:
    try:
        return folder.is_dir()
    except OSError:  # in a folder that nobody else may look into
        return False
