"""A machine that is as a test says."""

import dataclasses
from typing import Any

from foreman.core.gate import Readings

GB = 10**9
QUIET = Readings(
    cores=12, load=1.0, available=80 * GB, total=96 * GB, unified=True, disk_free=500 * GB, disk_total=1000 * GB,
    foreign=(),
)  # fmt: skip


class FakeMachine:
    """Starts quiet; `becomes` changes it. `reads` counts how often it was looked at."""

    def __init__(self, **changes: Any) -> None:
        self.now = dataclasses.replace(QUIET, **changes)
        self.reads = 0

    def becomes(self, **changes: Any) -> None:
        self.now = dataclasses.replace(self.now, **changes)

    def read(self, now: float) -> Readings:
        self.reads += 1
        return dataclasses.replace(self.now, at=now)

    def glance(self, now: float) -> Readings:
        return dataclasses.replace(self.now, at=now, foreign=None)
