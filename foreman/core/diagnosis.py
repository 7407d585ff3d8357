"""What may be wrong with an installation: each look is a function from facts to findings, each finding says what to do.

A fact that could not be had is None, and is never taken for a good one.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from foreman.core.units import gigabytes

# A second program that checkpoints can damage a database with an older one (https://sqlite.org/wal.html#walresetbug).
SQLITE_SAFE: Final = (3, 51, 3)
# The oldest Ollama that tells how long a context a loaded model has.
OLLAMA_FLOOR: Final = (0, 10, 0)
CLOCK_SECONDS: Final = 5.0
# Descriptors beside those of clients: the database, the target, the log.
SPARE: Final = 64


class Level(StrEnum):
    OK = "ok"
    NOTE = "note"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Finding:
    """`about` in a word or two, `said` what is the case, `advice` what to do about it."""

    level: Level
    about: str
    said: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """What was seen. Sizes are bytes, times seconds.

    target_env: what the process of a target on this machine was started with. resident: models it has loaded, by their
    context length. strangers: programs on this machine that are connected to the target past foreman.
    clock_off: by how much the target's clock is ahead. modes: permission bits by path. taken: the port is somebody
    else's.
    """

    sqlite: tuple[int, ...]
    loop: str
    wanted_loop: str
    target: str
    target_error: str | None = None
    target_version: str | None = None
    target_is_foreman: bool = False
    target_here: bool = True
    target_env: Mapping[str, str] | None = None
    resident: Mapping[str, int | None] = field(default_factory=dict)
    strangers: Sequence[str] | None = None
    clock_off: float | None = None
    listen: str = ""
    running: bool = False
    health: str | None = None
    taken: bool = False
    database: str = ""
    modes: Mapping[str, int] = field(default_factory=dict)
    disk_free: int | None = None
    disk_reserve: int = 0
    disk_folder: str = ""
    descriptors: int | None = None
    max_queued: int = 0
    unknown: Sequence[str] = ()
    swap: str = "exclusive"


def findings(facts: Facts) -> list[Finding]:
    """All of them, in the order in which one would look."""
    return [found for look in LOOKS for found in look(facts)]


def foreman(facts: Facts) -> Iterator[Finding]:
    if facts.running and facts.health == "ok":
        yield Finding(Level.OK, "foreman", f"serves at {facts.listen}")
    elif facts.running:
        yield Finding(Level.BAD, "foreman", f"serves at {facts.listen} and is {facts.health}", "see foreman status")
    elif facts.taken:
        yield Finding(
            Level.BAD,
            "foreman",
            f"{facts.listen} is taken by another program",
            "end that, or set listen to another port",
        )
    else:
        yield Finding(Level.NOTE, "foreman", f"does not run at {facts.listen}", "start it with foreman serve")


def target(facts: Facts) -> Iterator[Finding]:
    if facts.target_error is not None:
        why = f"does not answer at {facts.target}: {facts.target_error}"
        yield Finding(Level.BAD, "target", why, "start Ollama, or set target to where it is")
        return
    if facts.target_is_foreman:
        yield Finding(Level.BAD, "target", f"{facts.target} is a foreman", "set target to the Ollama behind it")
        return
    version = facts.target_version or "of an unknown version"
    yield Finding(Level.OK, "target", f"Ollama {version} answers at {facts.target}")
    if facts.target_version is not None and numbers(facts.target_version) < OLLAMA_FLOOR:
        floor = ".".join(map(str, OLLAMA_FLOOR))
        yield Finding(
            Level.BAD,
            "target",
            f"Ollama {facts.target_version} does not say what it has loaded",
            f"update it to {floor}",
        )


def target_settings(facts: Facts) -> Iterator[Finding]:
    """What Ollama was started with; over its API none of it can be seen."""
    if facts.target_error is not None or facts.target_is_foreman:
        return
    if facts.target_env is None:
        where = "its process cannot be read" if facts.target_here else "it is on another machine"
        yield Finding(
            Level.NOTE, "its settings", f"cannot be seen: {where}", "compare them with docs/target.md by hand"
        )
        return
    env = facts.target_env
    wrong = list(_settings(env, facts.swap))
    yield from wrong
    if not wrong:
        yield Finding(Level.OK, "its settings", "as recommended")


def _settings(env: Mapping[str, str], swap: str) -> Iterator[Finding]:
    parallel = env.get("OLLAMA_NUM_PARALLEL", "")
    if parallel not in ("", "0", "1"):
        yield Finding(
            Level.NOTE,
            "its settings",
            f"OLLAMA_NUM_PARALLEL is {parallel}: foreman sends one job at a time, the memory of the others is wasted",
            "set it to 1",
        )
    loaded = env.get("OLLAMA_MAX_LOADED_MODELS", "")
    if loaded == "1":
        yield Finding(
            Level.NOTE,
            "its settings",
            "OLLAMA_MAX_LOADED_MODELS is 1: each embedding unloads the model that works",
            "set it to 2",
        )
    elif swap == "exclusive" and loaded in ("", "0"):
        yield Finding(
            Level.NOTE, "its settings", "OLLAMA_MAX_LOADED_MODELS is not set: Ollama keeps three or more", "set it to 2"
        )
    if env.get("OLLAMA_CONTEXT_LENGTH", "") in ("", "0"):
        yield Finding(
            Level.NOTE,
            "its settings",
            "OLLAMA_CONTEXT_LENGTH is not set: up to 262144 by the graphics memory, which may take more than the model",
            "set it to what your clients need, such as 8192",
        )
    if env.get("OLLAMA_KEEP_ALIVE", "") in ("0", "0s"):
        yield Finding(
            Level.NOTE,
            "its settings",
            "OLLAMA_KEEP_ALIVE is 0: what is loaded past foreman goes at once",
            "set it to 30m or -1",
        )
    host = env.get("OLLAMA_HOST", "").removeprefix("http://")
    if host.startswith(("0.0.0.0", "[::]", "::", "*")):  # noqa: S104 what to warn of
        yield Finding(
            Level.BAD,
            "its settings",
            f"OLLAMA_HOST is {host}: everybody on the network can use Ollama past foreman, without a key",
            "set it to 127.0.0.1:11434, or let a firewall allow foreman alone",
        )


def clients(facts: Facts) -> Iterator[Finding]:
    if not facts.target_here or facts.target_error is not None:
        return
    if facts.strangers is None:
        yield Finding(Level.NOTE, "clients", "who is connected to the target cannot be seen by this user")
    elif facts.strangers:
        names = ", ".join(facts.strangers)
        yield Finding(
            Level.BAD, "clients", f"connected to the target past foreman: {names}", f"give them {facts.listen} instead"
        )
    else:
        yield Finding(Level.OK, "clients", "nobody on this machine is connected to the target past foreman")


def disk(facts: Facts) -> Iterator[Finding]:
    if facts.disk_free is None:
        yield Finding(Level.NOTE, "disk", f"how much is free in {facts.disk_folder} cannot be read")
    elif facts.disk_free < facts.disk_reserve:
        yield Finding(
            Level.BAD,
            "disk",
            f"{gigabytes(facts.disk_free)} are free in {facts.disk_folder}, {gigabytes(facts.disk_reserve)} must stay: "
            "no model is loaded or pulled",
            "delete models with ollama rm, or lower disk_reserve",
        )
    else:
        yield Finding(Level.OK, "disk", f"{gigabytes(facts.disk_free)} are free in {facts.disk_folder}")


def permissions(facts: Facts) -> Iterator[Finding]:
    open_ = [path for path, mode in facts.modes.items() if mode & 0o077]
    for path in open_:
        yield Finding(
            Level.BAD, "permissions", f"{path} is open to other users, and holds prompts", f"chmod go= {path}"
        )
    if facts.modes and not open_:
        yield Finding(Level.OK, "permissions", f"{facts.database} is private")


def sqlite(facts: Facts) -> Iterator[Finding]:
    version = ".".join(map(str, facts.sqlite))
    if facts.sqlite < SQLITE_SAFE:
        safe = ".".join(map(str, SQLITE_SAFE))
        yield Finding(
            Level.NOTE,
            "SQLite",
            f"{version}: a second program that checkpoints the database (Litestream does) can damage it",
            f"use none, or a Python with SQLite {safe}; foreman backup is safe",
        )
    else:
        yield Finding(Level.OK, "SQLite", version)


def clock(facts: Facts) -> Iterator[Finding]:
    if facts.clock_off is None or facts.target_error is not None:
        return
    if abs(facts.clock_off) > CLOCK_SECONDS:
        ahead = "ahead of" if facts.clock_off > 0 else "behind"
        yield Finding(
            Level.BAD,
            "clock",
            f"the target's clock is {abs(facts.clock_off):.0f} s {ahead} this one: when models unload is misread",
            "set both by NTP",
        )
    else:
        yield Finding(Level.OK, "clock", "this machine and the target agree")


def limits(facts: Facts) -> Iterator[Finding]:
    if facts.descriptors is not None and facts.descriptors < facts.max_queued + SPARE:
        yield Finding(
            Level.NOTE,
            "limits",
            f"a process may open {facts.descriptors} files here, and max_queued is {facts.max_queued}: each client "
            "that waits holds one",
            "raise it (ulimit -n; deploy/ does that), or lower max_queued",
        )
    if facts.wanted_loop != facts.loop:
        yield Finding(
            Level.NOTE, "loop", f"{facts.wanted_loop} is not installed, {facts.loop} serves instead, more slowly"
        )


def readings(facts: Facts) -> Iterator[Finding]:
    for unknown in facts.unknown:
        yield Finding(Level.NOTE, "gate", f"cannot be looked at: {unknown}", "see docs/gate.md")


LOOKS: Final = (
    foreman, target, target_settings, clients, disk, permissions, sqlite, clock, limits, readings,
)  # fmt: skip


def numbers(version: str) -> tuple[int, ...]:
    """A version as numbers: what stands behind them (`-rc1`) does not count."""
    parts: list[int] = []
    for part in version.removeprefix("v").split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        parts.append(int(digits))
    return tuple(parts)
