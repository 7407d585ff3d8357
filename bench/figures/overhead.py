"""The sections of the overhead part: a table for each workload, and foreman's ratios to the other ways. Pure."""

from collections.abc import Collection, Mapping
from typing import Any, Final

from bench.figures.record import Record
from bench.figures.spread import Spread
from bench.figures.tables import NOTHING, Section, Table, median, number, spread_text
from bench.figures.turn import DIRECT, FOREMAN, NGINX, PASS_THROUGH, SHARES, Run

HEAD: Final = (
    "us",
    "first token p50 / p90 / p99",
    "last byte p50 / p90 / p99",
    "chunk delay p50 / p90 / p99",
    "CPU",
    "CPU a chunk",
    "gap p50 / p99",
    "requests/s",
    "MB",
)
# Below this the stub and the client are part of what a rate shows.
FAST_ENOUGH: Final = 5.0
WORDS: Final = (
    "Microseconds; medians of the rounds. The direct way's first token and last byte are as measured, without the time"
    " the stub itself took; the others' are what they add to it (+). MB is the memory of the process after its turn."
)


def overhead_sections(record: Record) -> list[Section]:
    """A section for each workload, and one of ratios; none where the part did not run."""
    run = record.run
    if not run.turns:
        return []
    told = {workload["name"]: workload for workload in record.settings.get("workloads", ())}
    no_nginx = all(turn.subject != NGINX for turn in run.turns)
    notes = ("nginx is not installed here, so nothing is compared with it",) if no_nginx else ()
    found = [Section("What each way adds to a request", WORDS, notes=notes)]
    for name in run.workloads:
        workload = told.get(name, {})
        rows = [_row(run, name, subject) for subject in run.subjects(name)]
        table = Table(HEAD, rows).filled()
        title = f"{name}: {workload['shows']}" if "shows" in workload else name
        found.append(Section(title, "", table, _limits(run, name, workload), level=3))
    alone = [name for name in run.workloads if told.get(name, {}).get("clients") == 1]
    return [*found, _ratios(run, alone)]


def _row(run: Run, workload: str, subject: str) -> tuple[str, ...]:
    def shares(figure: str, added: bool, names: tuple[str, ...] = tuple(label for _, label in SHARES)) -> str:
        read = run.added_spread if added else run.spread
        found = [read(workload, subject, f"{figure}_{name}") for name in names]
        values = [spread.median for spread in found if spread is not None]
        text = " / ".join(map(number, values)) or NOTHING
        return f"+{text}" if added and values and values[0] >= 0 else text

    behind = subject != DIRECT
    return (
        subject,
        shares("first", behind),
        shares("total", behind),
        shares("delay", added=False),
        median(run.spread(workload, subject, "cpu")) if behind else NOTHING,
        median(run.spread(workload, subject, "cpu_chunk")) if behind else NOTHING,
        shares("gap", added=False, names=("p50", "p99")),
        median(run.spread(workload, subject, "rate")),
        median(run.spread(workload, subject, "memory")) if behind else NOTHING,
    )


def _limits(run: Run, name: str, workload: Mapping[str, Any]) -> tuple[str, ...]:
    """Whose rates are rather those of the stub and the client, which must be several times as fast."""
    if not workload.get("flat_out"):
        return ()
    notes = []
    for subject in run.subjects(name):
        found = None if subject == DIRECT else run.ratio(name, "rate", subject, subject=DIRECT)
        if found is not None and found.median < FAST_ENOUGH:
            notes.append(
                f"{subject}: the direct way is only {number(found.median)} times as fast, so the rate is not"
                f" {subject}'s alone"
            )
    return tuple(notes)


def _ratios(run: Run, alone: Collection[str]) -> Section:
    """`alone`: the workloads of one client. With several, foreman serves one and the others all at once."""
    head = (
        "workload",
        "added first token, x nginx",
        "added first token, x pass-through",
        "chunk delay, x nginx",
        "CPU, x nginx",
        "CPU, x pass-through",
    )
    rows = []
    for name in run.workloads:
        found: tuple[Spread | None, ...] = (
            run.added_ratio(name, "first_p50", NGINX) if name in alone else None,
            run.added_ratio(name, "first_p50", PASS_THROUGH) if name in alone else None,
            run.ratio(name, "delay_p50", NGINX),
            run.ratio(name, "cpu", NGINX),
            run.ratio(name, "cpu", PASS_THROUGH),
        )
        rows.append((name, *map(spread_text, found)))
    words = (
        f"{FOREMAN.capitalize()} by the others: a ratio for each round, then the median with the least and the most."
        " No ratio where in some round the other way did not come out slower than the direct one, and none of first"
        " tokens with several clients: foreman serves one of them at a time, the others all at once."
    )
    return Section("Ratios", words, Table(head, rows).filled(), level=3)
