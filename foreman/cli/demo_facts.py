"""What the demo saw, and what follows from it: the numbers of the summary, and what did not hold.

Pure: everything here is computed from the evidence, nothing is asked for.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from foreman.core.job import FINISHED

_NUMBER: Final = re.compile(rb"Chat (\d+):")


def prompt(number: int) -> str:
    """What chat `number` asks; the number makes it known again in the database and at the target."""
    return f"Chat {number}: what does a foreman do?"


def number_in(body: bytes) -> int | None:
    """The number of the chat whose request this is."""
    found = _NUMBER.search(body)
    return int(found[1]) if found else None


def fifo_loads(load_keys: Sequence[str]) -> int:
    """The loads a target with room for one model pays when it takes these arrivals in order."""
    return sum(1 for _ in groupby(load_keys))


@dataclass(frozen=True, slots=True)
class Row:
    """One job as it lies in the database; `number` is its chat's. `answer` is the SHA-256 of a whole kept answer."""

    number: int
    id: str
    state: str
    load_key: str
    answer: str = ""

    @property
    def open(self) -> bool:
        return self.state not in FINISHED


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The database before the kill, right after the restart and at the end, and what the target's ledger says.

    `sent` is the SHA-256 of each answer the target sent whole, by chat, `cut_clients` the number of clients whose
    connection the kill broke.
    """

    chats: int
    load_seconds: float
    at_kill: tuple[Row, ...]
    after_restart: tuple[Row, ...]
    at_end: tuple[Row, ...]
    loads: int
    most_at_once: int
    sent: Mapping[int, frozenset[str]]
    cut_clients: int

    @property
    def accepted(self) -> int:
        return len({row.id for row in self.at_kill})

    @property
    def done(self) -> int:
        return sum(row.state == "done" for row in self.at_end)

    @property
    def lost(self) -> int:
        """Jobs that were accepted and are not done at the end."""
        return len({row.id for row in self.at_kill} - {row.id for row in self.at_end if row.state == "done"})

    @property
    def whole(self) -> int:
        """Kept answers that are byte for byte what the target sent."""
        return sum(row.answer in self.sent.get(row.number, ()) for row in self.at_end)

    @property
    def fifo_loads(self) -> int:
        return fifo_loads([row.load_key for row in self.at_kill])

    @property
    def seconds_saved(self) -> float:
        return (self.fifo_loads - self.loads) * self.load_seconds


def summary(seen: Evidence) -> list[tuple[str, str]]:
    """The table at the end."""
    return [
        ("jobs accepted", str(seen.accepted)),
        ("jobs done", str(seen.done)),
        ("jobs lost", str(seen.lost)),
        ("answers kept whole, byte for byte", str(seen.whole)),
        ("kills survived", "1" if survived(seen) else "0"),
        ("clients cut off by the kill", str(seen.cut_clients)),
        ("most jobs at the target at once", str(seen.most_at_once)),
        ("model loads paid", str(seen.loads)),
        ("model loads plain FIFO would have paid", str(seen.fifo_loads)),
        (f"seconds saved, at {seen.load_seconds:g} s a load", f"{seen.seconds_saved:g}"),
    ]


def survived(seen: Evidence) -> bool:
    """Whether every job that was in the database at the kill was there after the restart."""
    return bool(seen.at_kill) and {row.id for row in seen.at_kill} <= {row.id for row in seen.after_restart}


def broken(seen: Evidence) -> list[str]:
    """What did not hold, as sentences; empty when all did."""
    checks = (
        (seen.accepted == seen.chats, f"{seen.accepted} of {seen.chats} chats became jobs"),
        (survived(seen), "jobs were missing from the database after the restart"),
        (any(row.open for row in seen.at_kill), "the kill came too late: no job was open any more"),
        (seen.cut_clients > 0, "the kill cut no client off"),
        (seen.lost == 0, f"{seen.lost} accepted jobs were not done at the end"),
        (seen.whole == seen.done, f"{seen.done - seen.whole} kept answers differ from what the target sent"),
        (seen.most_at_once == 1, f"the target worked on {seen.most_at_once} jobs at once"),
        (
            seen.loads == len({row.load_key for row in seen.at_kill}),
            f"{seen.loads} model loads were paid where one for each model would do",
        ),
    )
    return [sentence for holds, sentence in checks if not holds]
