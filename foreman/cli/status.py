"""`foreman status`: one look at everything."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from foreman.cli import jobtext, statustext
from foreman.cli.api import Api
from foreman.cli.statustext import Seen
from foreman.cli.table import table
from foreman.cli.terminal import clipped, paint
from foreman.core.errors import Refused

# So many jobs that wait, and that have ended, are shown.
WAITING: Final = 10
RECENT: Final = 5


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


def screen(seen: Seen, *, columns: int | None, colour: bool) -> Iterator[str]:
    """Its lines, painted."""
    for line in statustext.summary(seen):
        yield paint(line if columns is None else clipped(line, columns), colour).rstrip()
    rows = jobtext.queue_rows({**seen.queue, "waiting": seen.queue["waiting"][:WAITING]}, seen.at)
    if rows:
        yield ""
        yield table(jobtext.QUEUE_HEAD, rows, columns=columns, colour=colour)
        if (more := seen.queue["depth"] - len(seen.queue["waiting"][:WAITING]) - len(seen.queue["delayed"])) > 0:
            yield f"and {more} more"
    if seen.recent:
        yield ""
        ended = [jobtext.list_row(job, seen.at) for job in seen.recent]
        yield table(jobtext.LIST_HEAD, ended, columns=columns, colour=colour)
