"""The machine foreman runs on, as it is read: load, memory, disk, and the heavy programs of others.

A reader is handed in and may take its time: it runs beside the loop, once for all who ask, and what it said is good for
some seconds. What cannot be read is None, and is said in the log once.
"""

import asyncio
import importlib
import logging
import math
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

from foreman.core.gate import Readings
from foreman.core.programs import Program, foreign, ours, used
from foreman.engine.clock import Clock
from foreman.log import log_event

log = logging.getLogger(__name__)

FRESH_SECONDS: Final = 5.0
# The load average forgets with this time.
MINUTE: Final = 60.0


T = TypeVar("T")


class Reader(Protocol):
    """Reads the machine; may block."""

    def read(self, now: float) -> Readings:
        """What the machine is like; `now` is unix seconds. Raises nothing for what cannot be read."""
        ...


class Machine:
    """The last readings, taken again when they are older than `FRESH_SECONDS`.

    `known` says of the command line of a heavy program that it only waits for what foreman itself does: then it is no
    work of others.
    """

    def __init__(self, reader: Reader, clock: Clock) -> None:
        self._reader = reader
        self._clock = clock
        self._reading: asyncio.Task[Readings] | None = None
        self._last: Readings | None = None
        self._read_at = float("-inf")
        self.known: Callable[[str], bool] = lambda _: False

    async def readings(self) -> Readings:
        """The machine now, or some seconds ago."""
        if self._last is not None and self._clock.monotonic() - self._read_at < FRESH_SECONDS:
            return self._told(self._last)
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read())
        return self._told(await asyncio.shield(self._reading))

    def _told(self, readings: Readings) -> Readings:
        if not readings.foreign:
            return readings
        return replace(readings, foreign=tuple(line for line in readings.foreign if not self.known(line)))

    async def _read(self) -> Readings:
        self._last = await asyncio.to_thread(self._reader.read, self._clock.time())
        self._read_at = self._clock.monotonic()
        return self._last


class SystemReader:
    """Reads this machine: its load and disk by the system itself, memory and processes by psutil.

    `folder` lies on the disk that counts; `patterns` name the heavy programs of others.
    """

    def __init__(self, folder: Path, patterns: Sequence[str]) -> None:
        self._folder = folder
        self._patterns = tuple(patterns)
        self._psutil: Any = None
        self._missing: set[str] = set()
        self._before: tuple[float, dict[int, float]] | None = None
        self._own_load = 0.0

    def read(self, now: float) -> Readings:
        self._psutil = self._psutil or self._tried("psutil", lambda: importlib.import_module("psutil"))
        memory = self._tried("memory", lambda: self._psutil.virtual_memory()) if self._psutil else None
        programs = self._tried("programs", lambda: list(_processes(self._psutil))) if self._psutil else None
        disk = self._tried("disk", lambda: shutil.disk_usage(self._folder))
        return Readings(
            at=now,
            cores=os.cpu_count(),
            load=self._tried("load", lambda: os.getloadavg()[0]),
            own_load=self._own(programs, now),
            available=None if memory is None else int(memory.available),
            total=self._tried("all memory", _all_memory) if memory is None else int(memory.total),
            unified=sys.platform == "darwin",
            disk_free=None if disk is None else disk.free,
            disk_total=None if disk is None else disk.total,
            foreign=None if programs is None else foreign(programs, self._patterns, os.getpid()),
        )

    def _tried(self, what: str, look: Callable[[], T]) -> T | None:
        """What a look gives, None where the system does not allow it; told once."""
        try:
            return look()
        except self._errors() as error:
            if what not in self._missing:
                self._missing.add(what)
                log_event(log, logging.WARNING, "reading_missing", "the machine does not tell", what=what, error=error)
            return None

    def _errors(self) -> tuple[type[Exception], ...]:
        known: tuple[type[Exception], ...] = (ImportError, OSError, ValueError)
        return known if self._psutil is None else (*known, self._psutil.Error)

    def _own(self, programs: list[Program] | None, now: float) -> float:
        """The part of the load average that foreman and the target make, as far as the readings lie close together."""
        if programs is None:
            return 0.0
        mine = ours(programs, os.getpid())
        if self._before is not None and now > self._before[0]:
            elapsed = now - self._before[0]
            self._own_load = damped(self._own_load, used(self._before[1], mine) / elapsed, elapsed)
        self._before = now, mine
        return self._own_load


def _all_memory() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def damped(load: float, running: float, seconds: float) -> float:
    """A 1-minute load average after `seconds` more, in which `running` programs ran."""
    kept = math.exp(-seconds / MINUTE)
    return load * kept + running * (1 - kept)


def _processes(psutil: Any) -> Iterator[Program]:
    """All processes; of those of other users that do not tell their command line, the name stands for it."""
    for process in psutil.process_iter(("pid", "ppid", "name", "cmdline", "cpu_times")):
        found = process.info
        times = found["cpu_times"]
        words = tuple(found["cmdline"] or ()) or ((found["name"],) if found["name"] else ())
        seconds = times.user + times.system if times else 0.0
        yield Program(found["pid"], found["ppid"] or 0, words, seconds)
