"""What was seen around foreman, and what is made of it. A fact that could not be had is None, never a good one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum


class Level(StrEnum):
    OK = "ok"
    NOTE = "note"
    BAD = "bad"


class Answer(StrEnum):
    """What answers where foreman should."""

    NOBODY = "nobody"
    FOREMAN = "foreman"
    LOCKED = "locked"  # a foreman that asks for a key
    SILENT = "silent"  # it takes connections, and says nothing
    STRANGER = "stranger"  # another program


@dataclass(frozen=True, slots=True)
class Finding:
    """`about` in a word or two, `said` what is the case, `advice` what to do about it."""

    level: Level
    about: str
    said: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model that the target has loaded. Sizes are bytes."""

    model: str
    size: int | None = None
    size_vram: int | None = None
    context_length: int | None = None


@dataclass(frozen=True, slots=True)
class Server:
    """A process `ollama serve` of this machine: what it was started with, where that can be read, and whose it is."""

    environ: Mapping[str, str] | None
    user: str
    container: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What was seen. Sizes are bytes, times seconds.

    health: what foreman says of itself, or why it does not. here, target_here: whether on this machine. strangers: who
    is connected to the target past foreman. clock_off: by how much the target's clock is ahead. modes: permission bits
    by path; None where this user may not even look.
    """

    listen: str
    answer: Answer
    health: str = ""
    here: bool = True
    target: str
    target_here: bool = True
    target_error: str | None = None
    target_version: str | None = None
    target_is_foreman: bool = False
    server: Server | None = None
    loaded: Sequence[Loaded] = ()
    strangers: Sequence[str] | None = None
    clock_off: float | None = None
    swap: str = "exclusive"
    database: str = ""
    modes: Mapping[str, int] | None = field(default_factory=dict)
    disk_folder: str = ""
    disk_free: int | None = None
    disk_reserve: int = 0
    database_free: int | None = None
    sqlite: tuple[int, ...] = ()
    loop: str = ""
    wanted_loop: str = ""
    descriptors: int | None = None
    max_queued: int = 0
    unknown: Sequence[str] = ()
