"""The gate: whether something heavy may start on this machine now, said as a value.

Rules:
1. What the machine has is read elsewhere and handed in; here it is only held against what is wanted.
2. `Refuse` is for what this machine can never do, `Hold` for what it cannot do now.
3. The worse a reading, the stricter the verdict, never the other way round.
4. A reading that is missing keeps models from being fetched or made; it lets inference pass, and says so.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from foreman.core.units import gigabytes


class Kind(StrEnum):
    """What a heavy start is."""

    LOAD = "load"
    PULL = "pull"
    CREATE = "create"
    COMMAND = "command"


# These write gigabytes before anybody can tell that it goes wrong.
CAUTIOUS: Final = frozenset({Kind.PULL, Kind.CREATE})


class Cause(StrEnum):
    """What stands against a start."""

    FOREIGN = "foreign"
    MEMORY = "memory"
    DISK = "disk"
    LOAD = "load"
    READING = "reading"


@dataclass(frozen=True, slots=True)
class Readings:
    """The machine at one moment; None for what could not be read. Bytes, unix seconds.

    `load` is the 1-minute load average, `own_load` the part of it that is foreman's and the target's own. `unified`:
    graphics and processor share one memory. `foreign` names the heavy programs of others that run.
    """

    at: float = 0.0
    cores: int | None = None
    load: float | None = None
    own_load: float = 0.0
    available: int | None = None
    total: int | None = None
    unified: bool = False
    disk_free: int | None = None
    disk_total: int | None = None
    foreign: tuple[str, ...] | None = None

    @property
    def load_per_core(self) -> float | None:
        """The load that others make, for each core."""
        if self.load is None or not self.cores:
            return None
        return max(0.0, self.load - self.own_load) / self.cores


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What must be left to the machine. Bytes."""

    max_load_per_core: float = 0.33
    disk_reserve: int = 30 * 10**9
    memory_reserve: int = 4 * 10**9


@dataclass(frozen=True, slots=True)
class Candidate:
    """What wants to start. Bytes; None where it is not known, or where it needs none.

    `memory` is what it will most likely take, `least` what it cannot do without; `gives_back` is what goes before it
    comes, `stays` what is loaded and stays beside it. `basis` says where the figures come from, in words.
    """

    kind: Kind
    name: str
    memory: int | None = None
    disk: int | None = None
    gives_back: int = 0
    stays: int = 0
    least: int | None = None
    basis: str = ""


@dataclass(frozen=True, slots=True)
class Admit:
    """It may start. `unknown` names what could not be looked at, in words."""

    unknown: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Hold:
    """It must wait. `needed` and `there` are bytes, or load per core; `since` and `next_look` unix seconds."""

    cause: Cause
    text: str
    needed: float | None
    there: float | None
    since: float = 0.0
    next_look: float = 0.0


@dataclass(frozen=True, slots=True)
class Refuse:
    """It can never start here. Bytes."""

    cause: Cause
    text: str
    needed: float
    there: float


Verdict = Admit | Hold | Refuse


def judge(candidate: Candidate, readings: Readings, thresholds: Thresholds) -> Verdict:
    """What the machine says to a candidate; the caller knows since when it holds, and when it looks again."""
    never = _never(candidate, readings, thresholds)
    if never is not None:
        return never
    unknown: list[str] = []
    for look in (_foreign, _memory, _disk, _load):
        found = look(candidate, readings, thresholds)
        if isinstance(found, Hold):
            return found
        if found:
            unknown.append(found)
    if unknown and candidate.kind in CAUTIOUS:
        return Hold(Cause.READING, f"{candidate.name} waits: {', '.join(unknown)}", None, None)
    return Admit(tuple(unknown))


def missing(readings: Readings) -> tuple[str, ...]:
    """What could not be read, in words."""
    absent = {
        "what other programs do is not known": readings.foreign is None,
        "the free memory is not known": readings.available is None,
        "the free disk space is not known": readings.disk_free is None,
        "the load is not known": readings.load_per_core is None,
    }
    return tuple(words for words, is_missing in absent.items() if is_missing)


def timed(verdict: Verdict, earlier: Verdict | None, now: float, next_look: float) -> Verdict:
    """The verdict with the times of a hold: one that goes on began when it began, whatever its cause is now."""
    if not isinstance(verdict, Hold):
        return verdict
    return replace(verdict, since=earlier.since if isinstance(earlier, Hold) else now, next_look=next_look)


def _never(candidate: Candidate, readings: Readings, thresholds: Thresholds) -> Refuse | None:
    if candidate.least is not None and readings.total is not None:
        there = max(0, readings.total - thresholds.memory_reserve)
        if candidate.least > there:
            text = (
                f"{candidate.name} needs at least {gigabytes(candidate.least)} of memory, and this machine has "
                f"{gigabytes(readings.total)}, of which {gigabytes(thresholds.memory_reserve)} are kept free"
            )
            return Refuse(Cause.MEMORY, text, candidate.least, there)
    if candidate.disk is not None and readings.disk_total is not None:
        there = max(0, readings.disk_total - thresholds.disk_reserve)
        if candidate.disk > there:
            text = (
                f"{candidate.name} needs {gigabytes(candidate.disk)} of disk, and this disk has "
                f"{gigabytes(readings.disk_total)}, of which {gigabytes(thresholds.disk_reserve)} are kept free"
            )
            return Refuse(Cause.DISK, text, candidate.disk, there)
    return None


def _foreign(candidate: Candidate, readings: Readings, _: Thresholds) -> Hold | str:
    if readings.foreign is None:
        return "what other programs do is not known"
    if not readings.foreign:
        return ""
    running = ", ".join(readings.foreign)
    return Hold(Cause.FOREIGN, f"{candidate.name} waits for other programs: {running}", 0, len(readings.foreign))


def free_after(candidate: Candidate, readings: Readings) -> int | None:
    """The memory that would be free once all has gone that goes; never more than there is."""
    if readings.available is None:
        return None
    # Pages of a model's file count as available while it is in use: the size of one that goes may be in both, that of
    # one that stays may be there though nobody else can have it.
    free = readings.available + candidate.gives_back
    return free if readings.total is None else min(free, max(0, readings.total - candidate.stays))


def _memory(candidate: Candidate, readings: Readings, thresholds: Thresholds) -> Hold | str:
    if candidate.memory is None:
        return f"what {candidate.name} takes is not known" if candidate.kind is Kind.LOAD else ""
    free = free_after(candidate, readings)
    if free is None:
        return "the free memory is not known"
    there = max(0, free - thresholds.memory_reserve)
    if candidate.memory <= there:
        return ""
    text = (
        f"{candidate.name} needs {gigabytes(candidate.memory)}, {gigabytes(there)} would be free "
        f"beside the {gigabytes(thresholds.memory_reserve)} that are kept free"
    )
    return Hold(Cause.MEMORY, text, candidate.memory, there)


def _disk(candidate: Candidate, readings: Readings, thresholds: Thresholds) -> Hold | str:
    if readings.disk_free is None:
        return "the free disk space is not known"
    needed = thresholds.disk_reserve + (candidate.disk or 0)
    if readings.disk_free >= needed:
        return ""
    wants = f"needs {gigabytes(candidate.disk)} of disk" if candidate.disk else "waits for disk space"
    text = (
        f"{candidate.name} {wants}: {gigabytes(readings.disk_free)} are free, and "
        f"{gigabytes(thresholds.disk_reserve)} are kept free"
    )
    return Hold(Cause.DISK, text, needed, readings.disk_free)


def _load(candidate: Candidate, readings: Readings, thresholds: Thresholds) -> Hold | str:
    load, most = readings.load_per_core, thresholds.max_load_per_core
    if load is None:
        return "the load is not known"
    if load <= most:
        return ""
    text = f"{candidate.name} waits for the load to fall: {load:.2f} for each core, at most {most:g} is allowed"
    return Hold(Cause.LOAD, text, most, load)
