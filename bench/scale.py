"""How much a run measures: all of it, or so little that it only shows that everything works. Pure."""

from dataclasses import dataclass
from typing import Final

from bench.figures.budget import CROWD, DEEP, RESTART_ROWS, SHALLOW


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """`seconds` is a turn of the overhead part, `phase_seconds` a phase of the stall part.

    `crowds` are numbers of waiting clients, `depths` of queued jobs; `few_rounds` is how often the long parts run,
    `scenarios` how many of the mixed part do.
    """

    rounds: int
    few_rounds: int
    seconds: float
    crowds: tuple[int, ...]
    submitted: int
    depths: tuple[int, ...]
    claims: int
    restart_rows: int
    phase_seconds: float
    scenarios: int
    chats: int
    load_seconds: float


FULL: Final = Scale(
    rounds=5,
    few_rounds=3,
    seconds=1.0,
    crowds=(1_000, 5_000, CROWD),
    submitted=10_000,
    depths=(SHALLOW, 1_000, 10_000, 100_000, DEEP),
    claims=200,
    restart_rows=RESTART_ROWS,
    phase_seconds=4.0,
    scenarios=3,
    chats=16,
    load_seconds=0.4,
)
QUICK: Final = Scale(
    rounds=1,
    few_rounds=1,
    seconds=0.1,
    crowds=(100,),
    submitted=200,
    depths=(SHALLOW, 1_000),
    claims=10,
    restart_rows=1_000,
    phase_seconds=0.3,
    scenarios=1,
    chats=6,
    load_seconds=0.05,
)
