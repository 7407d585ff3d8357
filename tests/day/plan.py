"""What arrives on one day, and what each of it would take by itself; made from a seed."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby
from typing import Final

from foreman.core.lanes import Lane

MINUTE: Final = 60.0
HOUR: Final = 3600.0
DAY: Final = 24 * HOUR


class Kind(StrEnum):
    """Who asks."""

    CHAT = "chats"
    PROGRAM = "programs in bursts"
    AGENT = "calls of agents"
    BATCH = "nightly batch"
    PULL = "pulls"
    COMMAND = "local commands"

    @property
    def lane(self) -> Lane:
        return Lane.REMOTE if self is Kind.AGENT else Lane.LOCAL


# What a load takes, in seconds.
LOADS: Final = {"llama3:latest": 6.0, "qwen3:latest": 9.0, "llama3:70b": 40.0}
BIG: Final = "llama3:70b"


@dataclass(frozen=True, slots=True)
class Arrival:
    """`at` seconds after midnight; `takes` is the time from its turn to its end, without a load."""

    at: float
    kind: Kind
    takes: float
    model: str = ""

    @property
    def worst(self) -> float:
        """The longest it can keep others waiting: another model is there when its turn comes."""
        return self.takes + LOADS.get(self.model, 0.0)


def plan(seed: int) -> tuple[Arrival, ...]:
    """All of a day in order."""
    chance = random.Random(seed)
    parts = (chats, programs, agents, batch, pulls, commands)
    return tuple(sorted((arrival for part in parts for arrival in part(chance)), key=lambda arrival: arrival.at))


def chats(chance: random.Random) -> Iterator[Arrival]:
    """By day every other minute, at night twice an hour; most with one model, few with the big one."""
    now = 0.0
    while True:
        waking = 8 * HOUR <= now % DAY < 22 * HOUR
        now += chance.expovariate(1 / (100 if waking else 1800))
        if now >= DAY:
            return
        (model,) = chance.choices([*LOADS], (70, 25, 5))
        yield Arrival(now, Kind.CHAT, chance.uniform(3, 20) * (3 if model == BIG else 1), model)


def programs(chance: random.Random) -> Iterator[Arrival]:
    """By day two of them set off together now and then, each with questions to a model of its own."""
    now = 8 * HOUR
    while (now := now + chance.expovariate(1 / (25 * MINUTE))) < 20 * HOUR:
        for _ in range(chance.randint(12, 24)):
            model = chance.choice(("llama3:latest", "qwen3:latest"))
            yield Arrival(now + chance.uniform(0, MINUTE), Kind.PROGRAM, chance.uniform(3, 12), model)


def agents(chance: random.Random) -> Iterator[Arrival]:
    """In the hours of work some of them set off now and then, with many calls in a minute."""
    now = 9 * HOUR
    while (now := now + chance.expovariate(1 / (20 * MINUTE))) < 18 * HOUR:
        for _ in range(chance.randint(6, 20)):
            yield Arrival(now + chance.uniform(0, MINUTE), Kind.AGENT, chance.uniform(5, 40))


def batch(chance: random.Random) -> Iterator[Arrival]:
    """All at once."""
    for _ in range(120):
        yield Arrival(2 * HOUR, Kind.BATCH, chance.uniform(20, 60), BIG)


def pulls(chance: random.Random) -> Iterator[Arrival]:
    for _ in range(6):
        yield Arrival(chance.uniform(7, 23) * HOUR, Kind.PULL, chance.uniform(3, 12) * MINUTE)


def commands(chance: random.Random) -> Iterator[Arrival]:
    """At the top of each hour one or two."""
    for hour in range(24):
        for _ in range(chance.randint(1, 2)):
            yield Arrival(hour * HOUR + chance.uniform(0, 1), Kind.COMMAND, chance.uniform(0.5, 3) * MINUTE)


# What foreman may need between the end of one and the beginning of the next.
BETWEEN: Final = 1.0


def longest_waits(arrivals: Sequence[Arrival]) -> list[float]:
    """For each the wait that none can exceed in whatever order they run, as long as somebody runs while somebody waits.

    Were all to run one at a time, each at its worst, then who came in a time without a pause is done when that ends.
    """
    waits: list[float] = []
    together: list[float] = []
    busy_until = 0.0
    for arrival in arrivals:
        if arrival.at > busy_until:
            waits += [busy_until - at for at in together]
            together, busy_until = [], arrival.at
        together.append(arrival.at)
        busy_until += arrival.worst + BETWEEN
    return waits + [busy_until - at for at in together]


def changes(arrivals: Sequence[Arrival]) -> int:
    """How often another model would be loaded in the order of arrival."""
    return sum(1 for _ in groupby(arrival.model for arrival in arrivals if arrival.model))
