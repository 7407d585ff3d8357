"""What was written down of a foreman that died again and again: what clients asked and got, and what reached others.

A request is known by its body, which nobody sends twice.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from foreman.testing.ledger import Entry
from tests.e2e.spans import Span


@dataclass
class Slot:
    """What the client of a slot knows of it.

    `silent`: it sends no heartbeat after a while, or was not there to hear of its slot. `returned`: it has begun to
    give it back. `taken`: it was told that the slot is not its own any more.
    """

    silent: bool = False
    returned: bool = False
    taken: bool = False


@dataclass
class Call:
    """One request of one client. `status` is None where no answer began; `left` that the client hung up itself.

    `twin` is what a second client got that sent the same with the same key at the same time. `ends` says that a DELETE
    of the job was begun, `cancelled` is the status it was answered with, and `sent` how often the job had been sent by
    then. `slot` is there where a slot was asked for.
    """

    path: str
    body: bytes
    status: int | None = None
    job: str | None = None
    got: bytes = b""
    whole: bool = False
    left: bool = False
    twin: "Call | None" = None
    ends: bool = False
    cancelled: int | None = None
    sent: int = 0
    slot: Slot | None = None


@dataclass
class Run:
    """One foreman, from start to death: the jobs that reached the target, and what its log said."""

    entries: list[Entry]
    events: list[dict[str, Any]]


@dataclass
class History:
    """All that was recorded. `expected` gives the bytes of the answer to a body.

    `billed` is how often a body has reached a remote API, `spans` all work in the lanes, which have so many remote
    `slots`.
    """

    calls: list[Call] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    expected: dict[bytes, bytes] = field(default_factory=dict)
    billed: Counter[bytes] = field(default_factory=Counter)
    spans: list[Span] = field(default_factory=list)
    slots: int = 1
