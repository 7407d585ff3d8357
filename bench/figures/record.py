"""What a run found: the rows as they were measured, one for each round, to JSON and back. Pure.

Nothing is summed up here. Medians, ratios and the budget are formed from these rows whenever they are shown.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Final

import orjson

from bench.figures.turn import Run, Turn


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Clients that waited at once: memory of each in bytes, and seconds until all were queued and all answered."""

    round: int
    clients: int
    bytes_each: float
    accept_seconds: float
    drain_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """Detached jobs handed in by arrays, and the seconds that their acceptance took."""

    round: int
    jobs: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """The p50, in microseconds, of a claim alone and of a finish with the next claim, with so many jobs queued."""

    round: int
    rows: int
    claim_us: float
    next_us: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart:
    """Seconds from a start after a kill until foreman was ready, with so many jobs queued."""

    round: int
    rows: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Pauses:
    """How late a ready event loop answered, in milliseconds; `late` is how late the asker itself was."""

    round: int
    phase: str
    pings: int
    p50: float
    p99: float
    p999: float
    longest: float
    late_p999: float
    late_longest: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixed:
    """A workload of several models: `longest_wait` is a chat's, from its first try to its answer, in seconds."""

    round: int
    scenario: str
    way: str
    chats: int
    load_keys: int
    load_seconds: float
    loads: int
    failures: int
    cut_off: int
    seconds: float
    longest_wait: float


_ROWS: Final[Mapping[str, type[Any]]] = {
    "turns": Turn,
    "waiting": Waiting,
    "submitted": Submitted,
    "claims": Claims,
    "restarts": Restart,
    "pauses": Pauses,
    "mixed": Mixed,
}


@dataclass(slots=True, kw_only=True)
class Record:
    """A run: the machine and the settings it belongs to, and the rows of each part that ran."""

    machine: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    turns: list[Turn] = field(default_factory=list)
    waiting: list[Waiting] = field(default_factory=list)
    submitted: list[Submitted] = field(default_factory=list)
    claims: list[Claims] = field(default_factory=list)
    restarts: list[Restart] = field(default_factory=list)
    pauses: list[Pauses] = field(default_factory=list)
    mixed: list[Mixed] = field(default_factory=list)

    @property
    def run(self) -> Run:
        return Run(self.turns)

    def json(self) -> bytes:
        found: dict[str, object] = {"machine": self.machine, "settings": self.settings}
        found |= {name: list(map(asdict, getattr(self, name))) for name in _ROWS}
        return orjson.dumps(found, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)

    @classmethod
    def read(cls, text: bytes) -> "Record":
        """Raises ValueError on what is not such a record."""
        found = orjson.loads(text)
        if not isinstance(found, dict) or found.keys() != {entry.name for entry in fields(cls)}:
            raise ValueError("not the record of a run")
        try:
            rows = {name: [kind(**row) for row in found[name]] for name, kind in _ROWS.items()}
        except TypeError as error:
            raise ValueError(f"not the record of a run: {error}") from error
        return cls(machine=found["machine"], settings=found["settings"], **rows)
