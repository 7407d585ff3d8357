"""`foreman status`: one look at everything, on one screen."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from foreman.cli import jobtext
from foreman.cli.api import Api
from foreman.cli.statustext import INDENT, Seen, summary
from foreman.cli.table import table
from foreman.cli.terminal import paint, wrapped
from foreman.core.errors import Refused

# So many jobs that ended are shown where there is room, and so many where there is little.
RECENT: Final = 5
FEW: Final = 3
# Of the jobs that run and wait, so many where nothing says how high the screen is, and never fewer than the least.
ROWS: Final = 12
LEAST_ROWS: Final = 3
# What stands around both tables: two blank lines and two heads, the line that tells of more, the shell's prompt.
AROUND: Final = 6
TALL: Final = 32


async def look(api: Api, recent: int = RECENT) -> Seen:
    """Everything there is to see now. Raises NotReached and Refused."""
    health, queue = await api.ask("GET", "/health", any_status=True), await api.ask("GET", "/queue")
    ended = {"state": "done,failed,cancelled", "limit": str(recent)}
    jobs = await api.ask("GET", "/jobs", query=ended)
    try:
        machine = await api.ask("GET", "/machine")
    except Refused:  # with a key that may not
        machine = None
    return Seen(health, queue, machine, jobs["jobs"], datetime.now(UTC))


def screen(seen: Seen, *, columns: int | None, lines: int | None = None, colour: bool) -> Iterator[str]:
    """Its lines, painted; `columns` and `lines` are the size of the terminal, None where there is none."""
    head = summed_up(seen, columns, colour)
    recent = seen.recent[: FEW if lines is not None and lines < TALL else RECENT]
    room = ROWS if lines is None else max(LEAST_ROWS, lines - len(head) - len(recent) - AROUND)
    yield from head
    rows = jobtext.brief_rows(seen.queue, seen.at)
    if rows:
        yield ""
        yield table(jobtext.BRIEF_HEAD, rows[:room], columns=columns, colour=colour)
    if (more := hidden(seen, min(room, len(rows)))) > 0:
        yield f"and {more} more"
    if recent:
        yield ""
        ended = [jobtext.list_row(job, seen.at) for job in recent]
        yield table(jobtext.LIST_HEAD, ended, columns=columns, colour=colour)


def summed_up(seen: Seen, columns: int | None, colour: bool) -> list[str]:
    """The lines above the tables; none is cut, what does not fit goes on below."""
    rows = (row for line in summary(seen) for row in ([line] if columns is None else wrapped(line, columns, INDENT)))
    return [paint(row, colour).rstrip() for row in rows]


def hidden(seen: Seen, shown: int) -> int:
    """How many jobs that run or wait are not among the first so many."""
    running = sum(len(lane["running"]) for lane in seen.queue["lanes"].values())
    return running + int(seen.queue["depth"]) - shown
