"""From exchanges to times: when the first token and the rest came, without what the stub itself took.

The stub writes its clock into each piece, so its thinking is known to the nanosecond and a timer that fires late costs
no way a point. An answer without clocks is timed to its last byte. Pure. Times are microseconds, spans seconds.
"""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate, pairwise

from bench.servers.answers import STAMP
from bench.wire.connection import Exchange


@dataclass(frozen=True, slots=True)
class Timing:
    """One exchange. `first` and `total` do not hold the stub's own time; `delays` is from write to arrival."""

    first: float
    total: float
    delays: tuple[float, ...] = ()


def timing(exchange: Exchange) -> Timing:
    """Times of the first token and of the last byte. The first `delay` is that of the first chunk."""
    times = [at for at, _ in exchange.pieces]
    ends = list(accumulate(len(piece) for _, piece in exchange.pieces))
    body = b"".join(piece for _, piece in exchange.pieces)
    came: list[tuple[int, int, int]] = []
    for match in STAMP.finditer(body):
        arrived, written = map(int, match.groups())
        came.append((times[bisect_right(ends, match.end() - 1)], arrived, written))
    whole = times[-1] - exchange.sent
    if not came:
        return Timing(whole / 1000, whole / 1000)
    first, arrived, began = came[0]
    return Timing(
        first=(first - exchange.sent - (began - arrived)) / 1000,
        total=(whole - (came[-1][2] - arrived)) / 1000,
        delays=tuple((at - written) / 1000 for at, _, written in came),
    )


def span(exchanges: Iterable[Exchange]) -> float:
    """Seconds from the first request to the last byte of all. Raises ValueError on no exchanges."""
    sent, ended = zip(*((exchange.sent, exchange.pieces[-1][0]) for exchange in exchanges), strict=True)
    return float(max(ended) - min(sent)) / 1e9


def gaps(marks: Iterable[tuple[int, int]]) -> list[float]:
    """How long the stub had nothing to do: from the last byte of one answer to the arrival of the next request.

    Only meaningful where requests come one at a time: a negative gap is two at once.
    """
    ordered = sorted(marks)
    return [(later[0] - earlier[1]) / 1000 for earlier, later in pairwise(ordered)]
