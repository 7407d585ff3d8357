"""What `foreman top` shows and what its keys mean: pure, from what was seen and typed to lines and acts.

One job may be chosen. Where it leaves the screen, its neighbour is chosen; what was asked about it is not asked any
more, so that nobody cancels what they did not mean.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from foreman.cli import jobtext
from foreman.cli.api import job_path
from foreman.cli.status import hidden, summed_up
from foreman.cli.statustext import Seen
from foreman.cli.table import Cell, table
from foreman.cli.terminal import Piece, clipped, paint, printable

KEYS: Final = "up/down choose, c cancel, p pause or resume, q quit"
# What is told and the keys.
FOOT: Final = 2
# A blank line and the head of the table.
HEAD: Final = 2
_KEY: Final = re.compile(rb"\x1b[\[O][0-9;]*[A-Za-z~]|.", re.DOTALL)
_NAMED: Final = {b"\x1b[A": "up", b"\x1bOA": "up", b"k": "up", b"\x1b[B": "down", b"\x1bOB": "down", b"j": "down"}


class Act(NamedTuple):
    """What is to be asked of foreman, and what is told once it has done it."""

    method: str
    path: str
    done: str


def keys_in(typed: bytes) -> Iterator[str]:
    """The keys among what was read at once."""
    for key in _KEY.findall(typed):
        yield _NAMED.get(key) or key.decode("ascii", "replace")


@dataclass(slots=True)
class View:
    """`asking` is the job that would be cancelled, `said` what the last key came to, `trouble` why nothing is new."""

    seen: Seen
    columns: int = 80
    rows: int = 24
    chosen: str = ""
    asking: str = ""
    said: str = ""
    trouble: str = ""
    ended: bool = False

    def see(self, seen: Seen) -> None:
        before = self.jobs()
        self.seen, self.trouble = seen, ""
        jobs = self.jobs()
        if self.chosen and self.chosen not in jobs:
            at = before.index(self.chosen) if self.chosen in before else 0
            self.chosen = jobs[min(at, len(jobs) - 1)] if jobs else ""
        if self.asking and self.asking not in jobs:
            self.said, self.asking = f"job {self.asking} has left the screen, nothing was cancelled", ""

    def press(self, key: str) -> Act | None:
        """What a key asks of foreman."""
        self.said = ""
        if key in ("\x03", "\x04"):
            self.ended = True
        elif self.asking:
            job, self.asking = self.asking, ""
            if key in ("y", "Y"):
                return Act("DELETE", job_path(job), f"job {job} is cancelled")
        elif key in ("up", "down"):
            self._move(-1 if key == "up" else 1)
        elif key == "c":
            self.asking = self.chosen
            self.said = "" if self.chosen else "choose a job first, with the arrow keys"
        elif key == "p" and self.seen.queue["paused"]:
            return Act("POST", "/queue/resume", "the queue goes on")
        elif key == "p":
            return Act("POST", "/queue/pause", "the queue is paused: what runs ends as always")
        elif key == "q":
            self.ended = True
        return None

    def jobs(self) -> list[str]:
        """The ids of those that can be chosen, from the top."""
        return [str(row[1]) for row in self._shown()]

    def _move(self, by: int) -> None:
        jobs = self.jobs()
        if jobs:
            at = jobs.index(self.chosen) + by if self.chosen in jobs else 0
            self.chosen = jobs[max(0, min(at, len(jobs) - 1))]

    def _shown(self) -> Sequence[Sequence[Cell]]:
        """As many of the jobs that run and wait as the screen has room for."""
        room = self.rows - FOOT - len(summed_up(self.seen, self.columns, colour=False)) - HEAD
        rows = jobtext.brief_rows(self.seen.queue, self.seen.at)
        return rows if len(rows) <= room else rows[: max(room - 1, 1)]

    def lines(self, colour: bool) -> list[str]:
        """The whole screen, painted and cut."""
        body = [*summed_up(self.seen, self.columns, colour), *self._jobs(colour), *self._recent(colour)]
        body = body[: max(self.rows - FOOT, 0)]
        body += [""] * (self.rows - FOOT - len(body))
        return [*body, self._cut(self._told(), "bold", colour), self._cut(KEYS, "dim", colour)][-self.rows :]

    def _jobs(self, colour: bool) -> list[str]:
        shown = self._shown()
        if not shown:
            return []
        rows = [[Piece(">" if row[1] == self.chosen else " ", "bold"), *row] for row in shown]
        lines = table(("", *jobtext.BRIEF_HEAD), rows, columns=self.columns, colour=colour).splitlines()
        more = hidden(self.seen, len(shown))
        return ["", *lines, *([f"   and {more} more"] if more > 0 else [])]

    def _recent(self, colour: bool) -> list[str]:
        if not self.seen.recent:
            return []
        rows = [jobtext.list_row(job, self.seen.at) for job in self.seen.recent]
        return ["", *table(jobtext.LIST_HEAD, rows, columns=self.columns, colour=colour).splitlines()]

    def _told(self) -> str:
        if self.asking:
            name = next((row[2] for row in self._shown() if row[1] == self.asking), "")
            return f"cancel {name} {self.asking}? y or n"
        return self.said or self.trouble

    def _cut(self, text: str, style: str, colour: bool) -> str:
        return paint(clipped([Piece(printable(text), style)], self.columns), colour)
