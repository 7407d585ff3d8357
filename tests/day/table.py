"""The waits of a day as docs/lanes.md shows them."""

from collections.abc import Iterator
from functools import cache
from math import ceil
from typing import Final

from tests.day.plan import MINUTE, Kind, plan
from tests.day.run import Done, run

SEED: Final = 2
HEAD: Final = ("`exclusive`", "who", "jobs", "median", "95 of 100", "longest")


@cache
def day(*, exclusive: bool) -> Done:
    """The day that is shown."""
    return run(plan(SEED), exclusive=exclusive)


def rows() -> Iterator[list[str]]:
    for exclusive in (True, False):
        done = day(exclusive=exclusive)
        for kind in Kind:
            waits = done.waits(kind)
            shown = [shorter_than(waits, share) for share in (0.5, 0.95, 1.0)]
            yield [str(exclusive).lower(), kind, str(len(waits)), *map(told, shown)]


def shorter_than(waits: list[float], share: float) -> float:
    """The wait that so many of them do not exceed; `waits` in order."""
    return waits[ceil(share * len(waits)) - 1]


def told(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 2 * MINUTE else f"{seconds / MINUTE:.0f} min"


def table() -> str:
    """Markdown."""
    head, *body = (f"| {' | '.join(line)} |\n" for line in (HEAD, *rows()))
    return "".join((head, "|---" * len(HEAD), "|\n", *body))
