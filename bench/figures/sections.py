"""From the record of a run to sections of tables: each part that ran, the budget, and the machine. Pure."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, TypeVar

from bench.figures.budget import BUDGET
from bench.figures.overhead import overhead_sections
from bench.figures.record import Record
from bench.figures.spread import Spread
from bench.figures.tables import NOTHING, Section, Table, number, spread_text

Row = TypeVar("Row")


def sections(record: Record) -> list[Section]:
    """All that the record holds, the budget last."""
    parts: Sequence[Callable[[Record], list[Section]]] = (
        overhead_sections,
        _capacity,
        _storage,
        _stall,
        _mixed,
        budget_sections,
        machine_sections,
    )
    return [section for part in parts for section in part(record)]


def _spread(rows: Iterable[Row], value: Callable[[Row], float]) -> str:
    return spread_text(Spread.of([value(row) for row in rows]))


def _grouped(rows: Iterable[Row], key: Callable[[Row], Any]) -> dict[Any, list[Row]]:
    groups: dict[Any, list[Row]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return groups


def _capacity(record: Record) -> list[Section]:
    found = []
    if record.waiting:
        rows = [
            (
                f"{clients:,}",
                _spread(group, lambda row: row.bytes_each / 1000),
                _spread(group, lambda row: row.accept_seconds),
                _spread(group, lambda row: row.drain_seconds),
            )
            for clients, group in _grouped(record.waiting, lambda row: row.clients).items()
        ]
        kind = record.machine.get("memory_kind", "memory")
        head = ("clients", f"{kind} each, kB", "queued after, s", "all answered after, s")
        words = (
            "Clients that wait at once with a prompt of 200 bytes behind a job that does not end, then tiny answers."
        )
        missing = set(record.settings.get("crowds", ())) - {row.clients for row in record.waiting}
        notes = tuple(map(_too_many, sorted(missing)))
        found.append(Section("Clients that wait", words, Table(head, rows), notes))
    if record.submitted:
        handed = [
            (f"{jobs:,}", _spread(group, lambda row: row.seconds), _spread(group, lambda row: row.jobs / row.seconds))
            for jobs, group in _grouped(record.submitted, lambda row: row.jobs).items()
        ]
        words = "Detached jobs by `POST /jobs`, in arrays, while the queue is paused."
        found.append(Section("Work handed in", words, Table(("jobs", "accepted after, s", "jobs/s"), handed)))
    return found


def _too_many(clients: int) -> str:
    return f"{clients:,} clients: more files than may be open here"


def _storage(record: Record) -> list[Section]:
    found = []
    if record.claims:
        rows = [
            (f"{depth:,}", _spread(group, lambda row: row.claim_us), _spread(group, lambda row: row.next_us))
            for depth, group in _grouped(record.claims, lambda row: row.rows).items()
        ]
        words = "The store alone, each step durable: a claim, and the end of a job with the claim of the next."
        found.append(Section("Claims", words, Table(("jobs queued", "claim, us", "end and claim, us"), rows)))
    if record.restarts:
        starts = [
            (f"{depth:,}", _spread(group, lambda row: row.seconds))
            for depth, group in _grouped(record.restarts, lambda row: row.rows).items()
        ]
        words = "From the start of the process, after a kill -9, until clients can connect."
        found.append(Section("Restart", words, Table(("jobs queued", "ready after, s"), starts)))
    return found


def _stall(record: Record) -> list[Section]:
    if not record.pauses:
        return []
    rows = [
        (
            phase,
            f"{sum(row.pings for row in group):,}",
            *(
                _spread(group, value)
                for value in (
                    lambda row: row.p50,
                    lambda row: row.p99,
                    lambda row: row.p999,
                    lambda row: row.longest,
                    lambda row: row.late_p999,
                )
            ),
        )
        for phase, group in _grouped(record.pauses, lambda row: row.phase).items()
    ]
    words = (
        "`GET /` at a fixed rate on a kept connection, whatever the answers take: a pause of the event loop is a late"
        " answer. The last column is how late the asking program itself was woken, which its figures include."
    )
    head = ("meanwhile", "asked", "p50, ms", "p99", "p99.9", "longest", "asker p99.9")
    crowd = max(record.settings.get("crowds", ()), default=0)
    there = not crowd or any(row.phase.startswith(f"{crowd:,} clients") for row in record.pauses)
    return [Section("Pauses of the event loop", words, Table(head, rows), () if there else (_too_many(crowd),))]


def _mixed(record: Record) -> list[Section]:
    found = []
    for scenario, group in _grouped(record.mixed, lambda row: row.scenario).items():
        one = group[0]
        rows = [
            (
                way,
                _spread(mine, lambda row: row.loads),
                _spread(mine, lambda row: row.seconds),
                _spread(mine, lambda row: row.longest_wait),
                str(sum(row.failures for row in mine)),
                str(sum(row.cut_off for row in mine)),
            )
            for way, mine in _grouped(group, lambda row: row.way).items()
        ]
        head = ("way", "loads", "all answered after, s", "longest wait, s", "failed", "cut off, asked again")
        loads = f"{one.load_keys} loads needed, {one.load_seconds:g} s each"
        words = f"{one.chats} chats in turn, a target with room for one model, {loads}."
        found.append(Section(f"Mixed models: {scenario}", words, Table(head, rows)))
    return found


def budget_sections(record: Record) -> list[Section]:
    rows = []
    for line in BUDGET:
        if line.part not in record.settings.get("parts", ()):
            continue
        found = line.measured(record)
        bars = (NOTHING if bar is None else f"{bar:g} {line.unit}" for bar in (line.first_bar, line.goal))
        rows.append((line.figure, *bars, spread_text(found), line.verdict(found)))
    head = ("figure", "first bar", "goal", "measured", "meets")
    if not rows:
        return []
    return [Section("The budget", "Medians with the least and the most of the rounds.", Table(head, rows))]


_SHOWN: Final = (
    ("at", "measured"),
    ("commit", "commit"),
    ("processor", "processor"),
    ("cores", "cores"),
    ("system", "system"),
    ("python", "Python"),
    ("nginx", "nginx"),
    ("sqlite", "SQLite"),
    ("fsync_us", "fsync of 4 kB, us"),
    ("load_average", "load average before"),
)


def machine_sections(record: Record) -> list[Section]:
    if not record.machine:
        return []
    rows = [(label, _told(record.machine.get(name))) for name, label in _SHOWN]
    rows += [(name, _told(version)) for name, version in record.machine.get("packages", {}).items()]
    rows += [
        (name.replace("_", " "), _told(value))
        for name, value in record.settings.items()
        if isinstance(value, int | float)
    ]
    return [Section("The machine", "", Table(("of this run", ""), rows))]


def _told(value: object) -> str:
    if isinstance(value, float):
        return number(value)
    return "not here" if value is None else str(value)
