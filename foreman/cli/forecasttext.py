"""What people read of forecasts: what was expected of loads, what they took, and how far that was off."""

from collections.abc import Sequence
from typing import Any, Final

from foreman.cli.table import Cell, local
from foreman.core.units import gigabytes

Json = dict[str, Any]

HEAD: Final = ("LOADED", "LOAD KEY", "EXPECTED", "TOOK", "ERROR", "FROM")
FROM: Final = {"last": "the last load", "estimate": "an estimate"}


def row(load: Json) -> Sequence[Cell]:
    expected = load["expected"]
    return (
        local(load["at"]),
        load["load_key"],
        "-" if expected is None else gigabytes(expected),
        gigabytes(load["size"]),
        "-" if expected is None else percent(error_of(load)),
        FROM.get(load["basis"] or "", "-"),
    )


def error_of(load: Json) -> float:
    """How far the forecast was off, as a part of what the load took; above 0 where it expected too much."""
    return float(load["expected"] - load["size"]) / float(load["size"])


def percent(part: float) -> str:
    return f"{part * 100:+.1f} %"


def summary(loads: Sequence[Json]) -> str:
    """The errors of each sort of forecast in one line: the median, and the worst on either side."""
    sentences = []
    for basis, name in FROM.items():
        errors = sorted(error_of(load) for load in loads if load["basis"] == basis)
        if errors:
            middle = errors[len(errors) // 2]
            ends = f"{percent(errors[0])} to {percent(errors[-1])}"
            sentences.append(f"from {name}: {len(errors)}, median {percent(middle)}, {ends}")
    return "; ".join(sentences) or "nothing was expected of them"
