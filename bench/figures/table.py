"""Tables as text, and the one row format of the overhead part. Pure."""

from collections.abc import Sequence

from bench.figures.spread import Spread
from bench.figures.turn import DIRECT, FOREMAN, NGINX, PASS_THROUGH, Run


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """The rows as lines: the first column to the left, the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) if not n else cell.rjust(width) for n, (cell, width) in enumerate(zip(row, widths, strict=True))).rstrip()
        for row in rows
    ]


def times(spread: Spread | None) -> str:
    """A ratio with its spread."""
    return "-" if spread is None else f"{spread.median:.2f} ({spread.low:.2f} to {spread.high:.2f})"


def micros(spread: Spread | None) -> str:
    """A time in microseconds, its median only."""
    return "-" if spread is None else f"{spread.median:,.0f}" if abs(spread.median) >= 100 else f"{spread.median:.1f}"


HEAD = ("us", "added first", "p90", "p99", "added total", "delay", "CPU", "CPU/chunk", "gap", "requests/s")


def overhead_lines(run: Run) -> list[str]:
    lines = []
    for workload in run.workloads:
        rows: list[Sequence[str]] = [HEAD]
        for subject in run.subjects(workload):
            added = [
                micros(run.spread(workload, subject, figure) if subject == DIRECT else run.added_spread(workload, subject, figure))
                for figure in ("first_p50", "first_p90", "first_p99", "total_p50")
            ]
            rest = [micros(run.spread(workload, subject, figure)) for figure in ("delay_p50", "cpu", "cpu_chunk", "gap_p50", "rate")]
            rows.append((subject, *added, *rest))
        lines += ["", workload, *("  " + line for line in aligned(rows))]
        for base in (NGINX, PASS_THROUGH):
            told = [
                f"{label} {times(found)}"
                for label, found in (
                    ("added first", run.added_ratio(workload, "first_p50", base)),
                    ("delay", run.ratio(workload, "delay_p50", base)),
                    ("CPU", run.ratio(workload, "cpu", base)),
                )
                if found is not None
            ]
            if told:
                lines.append(f"  {FOREMAN} by {base}: " + ", ".join(told))
    return lines
