"""What came of a load, as text: while it runs, and at its end. Pure."""

from collections.abc import Sequence
from typing import Final

from bench.figures.histogram import bar, binned, lines, svg
from bench.figures.spread import percentile
from bench.load.plan import Plan
from bench.load.run import Result

SHARES: Final = ((0.5, "p50"), (0.9, "p90"), (0.99, "p99"), (1.0, "max"))
_BAR: Final = 20


def progress(plan: Plan, result: Result) -> str:
    """One line: how far, how fast, how many failed, and the p50 of whole answers so far."""
    bad, done = result.failures.total(), result.ended
    rate = done / result.seconds if result.seconds else 0.0
    p50 = f", p50 {percentile(result.total, 0.5) * 1000:,.0f} ms" if result.total else ""
    failed = f", {bad:,} failed" if bad else ""
    drawn = bar(done / plan.requests, _BAR).ljust(_BAR, "·")
    return f"{drawn} {done:,} of {plan.requests:,}, {result.open:,} open, {rate:,.1f} a second{p50}{failed}"


def report(plan: Plan, result: Result) -> str:
    """The result: counts, percentiles, a histogram of whole answers, failures by kind."""
    good, left = len(result.total), plan.requests - result.ended
    rate = good / result.seconds if result.seconds else 0.0
    found = [f"{good} of {plan.requests} chats answered in {result.seconds:.1f} s, {rate:.1f} a second"]
    if good:
        found += ["", "            " + "".join(f"{name:>12}" for _, name in SHARES)]
        found += [_percentiles("first byte", result.first_byte), _percentiles("whole answer", result.total)]
        found += ["", "whole answers", *lines(binned(result.total))]
    found += ["", *_failures(result)] if result.failures else []
    found += ["", f"stopped after {result.seconds:.1f} s; not asked or given up: {left}"] if left else []
    return "\n".join(found)


def _percentiles(label: str, values: Sequence[float]) -> str:
    return f"{label:<12}" + "".join(f"{percentile(values, share) * 1000:9.1f} ms" for share, _ in SHARES)


def _failures(result: Result) -> list[str]:
    found = []
    for kind, count in result.failures.most_common():
        said = result.said.get(kind)
        found.append(f"{count} failed: {kind}" + (f" ({said})" if said else ""))
    return found


def plot(plan: Plan, result: Result) -> str:
    """An SVG of both histograms."""
    how = "streamed" if plan.stream else "not streamed"
    title = f"{len(result.total)} chats by {plan.clients} clients, {how}: {plan.model}"
    return svg(title, (("first byte", result.first_byte), ("whole answer", result.total)))
