"""What may be wrong with an installation: each look is a function from facts to findings, each finding says what to do.

The looks at the target are in target_looks.py. Of a foreman on another machine only what it tells is judged.
"""

from collections.abc import Iterator
from typing import Final

from foreman.core import target_looks
from foreman.core.findings import Answer, Facts, Finding, Level
from foreman.core.units import GIB, gigabytes

# A second program that checkpoints can damage a database with an older one (https://sqlite.org/wal.html#walresetbug).
SQLITE_SAFE: Final = (3, 51, 3)
# Descriptors beside those of clients: the database, the target, the log.
SPARE: Final = 64
# What the database should find.
DATABASE_ROOM: Final = GIB


def findings(facts: Facts) -> list[Finding]:
    """All of them, in the order in which one would look."""
    return [found for look in (LOOKS if facts.here else ELSEWHERE) for found in look(facts)]


def foreman(facts: Facts) -> Iterator[Finding]:
    at, about = facts.listen, "foreman"
    match facts.answer:
        case Answer.FOREMAN if facts.health == "ok":
            yield Finding(Level.OK, about, f"serves at {at}")
        case Answer.FOREMAN:
            yield Finding(Level.BAD, about, f"serves at {at}, and is {facts.health}", "foreman status tells more")
        case Answer.LOCKED:
            why = f"serves at {at}, and tells nothing: {facts.health}"
            yield Finding(Level.NOTE, about, why, "give a key with --api-key-file FILE")
        case Answer.SILENT:
            why = f"{at} takes connections, and nothing answers"
            yield Finding(Level.BAD, about, why, "look at its log; end that process and start foreman again")
        case Answer.STRANGER:
            why = f"{at} is taken by another program"
            yield Finding(Level.BAD, about, why, "end that program, or set listen to another port")
        case Answer.NOBODY:
            yield Finding(Level.NOTE, about, f"does not run at {at}", "start it with foreman serve")


def elsewhere(_: Facts) -> Iterator[Finding]:
    yield Finding(Level.NOTE, "machine", "foreman is on another one", "run foreman doctor there, to look at the rest")


def disk(facts: Facts) -> Iterator[Finding]:
    folder = facts.disk_folder
    if facts.disk_free is None:
        why = f"what is free in {folder} cannot be read"
        yield Finding(Level.NOTE, "disk", why, "run foreman doctor as the user of Ollama")
    elif facts.disk_free < facts.disk_reserve:
        free, stays = gigabytes(facts.disk_free), gigabytes(facts.disk_reserve)
        why = f"{free} free in {folder}, {stays} must stay: no model is loaded or pulled"
        yield Finding(Level.BAD, "disk", why, "delete models with ollama rm, or lower disk_reserve")
    else:
        yield Finding(Level.OK, "disk", f"{gigabytes(facts.disk_free)} free in {folder}")
    if facts.database_free is not None and facts.database_free < DATABASE_ROOM:
        why = f"{gigabytes(facts.database_free)} free where the database is: a full disk stops foreman"
        yield Finding(Level.BAD, "disk", why, "make room there, or set db to another disk")


def permissions(facts: Facts) -> Iterator[Finding]:
    if facts.modes is None:
        why = f"{facts.database} is another user's"
        yield Finding(Level.NOTE, "permissions", why, "run foreman doctor as that user")
        return
    wide = [path for path, mode in facts.modes.items() if mode & 0o077]
    for path in wide:
        why = f"{path} is open to other users, and holds prompts"
        yield Finding(Level.BAD, "permissions", why, f"chmod go= {path}")
    if facts.modes and not wide:
        yield Finding(Level.OK, "permissions", f"{facts.database} is private")


def sqlite(facts: Facts) -> Iterator[Finding]:
    version, safe = ".".join(map(str, facts.sqlite)), ".".join(map(str, SQLITE_SAFE))
    if facts.sqlite < SQLITE_SAFE:
        why = f"{version}: a second program that checkpoints the database (Litestream does) can damage it"
        yield Finding(Level.NOTE, "SQLite", why, f"use foreman backup alone, or a Python with SQLite {safe}")
    else:
        yield Finding(Level.OK, "SQLite", version)


def limits(facts: Facts) -> Iterator[Finding]:
    if facts.descriptors is not None and facts.descriptors < facts.max_queued + SPARE:
        why = f"{facts.descriptors} open files, and max_queued is {facts.max_queued}: each client holds one"
        yield Finding(Level.NOTE, "limits", why, "raise the limit (ulimit -n), or lower max_queued")
    if facts.wanted_loop != facts.loop:
        why = f"{facts.wanted_loop} is not installed, {facts.loop} serves instead, more slowly"
        yield Finding(Level.NOTE, "loop", why, f"install it, or set loop to {facts.loop}")


def readings(facts: Facts) -> Iterator[Finding]:
    for unknown in facts.unknown:
        yield Finding(Level.NOTE, "gate", f"cannot be looked at: {unknown}", "see docs/gate.md")


LOOKS: Final = (
    foreman, target_looks.target, target_looks.settings, target_looks.loaded, target_looks.clients, disk, permissions,
    sqlite, target_looks.clock, limits, readings,
)  # fmt: skip
ELSEWHERE: Final = (foreman, elsewhere, readings)
