"""`foreman top`: the screen of `foreman status`, live, with keys.

It looks as often as foreman tells of a change, and once a second for what changes by itself. The terminal is left as it
was found, whatever ends it.
"""

import asyncio
import os
import signal
import sys
import termios
import tty
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final, TextIO

from foreman.cli import jobtext
from foreman.cli.api import Api, job_path
from foreman.cli.status import WAITING, look
from foreman.cli.statustext import Seen, summary
from foreman.cli.table import Cell, table
from foreman.cli.terminal import Piece, clipped, paint, screen_columns, wants_colour, writable
from foreman.core.errors import ConfigError, NotReached, Refused

Json = dict[str, Any]

LOOK_SECONDS: Final = 1.0
RECENT: Final = 8
KEYS: Final = "up/down choose   c cancel   p pause or resume   q quit"
_SCREEN_ON, _SCREEN_OFF = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
_HOME, _REST = "\x1b[H", "\x1b[J"
_ARROWS: Final = {b"\x1b[A": "up", b"\x1b[B": "down", b"\x1bOA": "up", b"\x1bOB": "down", b"k": "up", b"j": "down"}


@dataclass(slots=True)
class View:
    """What is on the screen: what was seen, which job is chosen, what is asked or told in the last line."""

    seen: Seen | None = None
    chosen: str = ""
    asking: str = ""  # the id of the job that would be cancelled
    said: str = "asking foreman"
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def jobs(self) -> list[str]:
        """The ids of those that can be chosen, from the top."""
        if self.seen is None:
            return []
        running = [job for lane in self.seen.queue["lanes"].values() for job in lane["running"]]
        return [job["id"] for job in (*running, *self.seen.queue["waiting"][:WAITING], *self.seen.queue["delayed"])]

    def move(self, by: int) -> None:
        jobs = self.jobs()
        if jobs:
            at = jobs.index(self.chosen) + by if self.chosen in jobs else 0
            self.chosen = jobs[max(0, min(at, len(jobs) - 1))]

    def lines(self, columns: int, rows: int, colour: bool) -> list[str]:
        """The whole screen, painted and cut."""
        body: list[str] = []
        if self.seen is not None:
            body += [paint(clipped(line, columns), colour) for line in summary(self.seen)]
            body += ["", *self._queue(columns, colour)]
            ended = [jobtext.list_row(job, self.seen.at) for job in self.seen.recent]
            body += ["", *table(jobtext.LIST_HEAD, ended, columns=columns, colour=colour).splitlines()] if ended else []
        last = f"cancel job {self.asking}? y or n" if self.asking else self.said or KEYS
        body = body[: rows - 1]
        return [*body, *[""] * (rows - 1 - len(body)), paint(clipped([Piece(last, "bold")], columns), colour)]

    def _queue(self, columns: int, colour: bool) -> list[str]:
        if self.seen is None:
            return []
        queue = {**self.seen.queue, "waiting": self.seen.queue["waiting"][:WAITING]}
        rows: list[list[Cell]] = [
            [Piece(">" if row[1] == self.chosen else " ", "bold"), *row]
            for row in jobtext.queue_rows(queue, self.seen.at)
        ]
        return table(("", *jobtext.QUEUE_HEAD), rows, columns=columns, colour=colour).splitlines()


async def top(api: Api, out: TextIO, environ: Mapping[str, str]) -> int:
    """Until q or Ctrl-C. Raises ConfigError where there is no terminal, NotReached where no foreman answers."""
    if not (out.isatty() and sys.stdin.isatty()):
        raise ConfigError("foreman top needs a terminal; foreman status --json is for programs")
    view = View()
    view.seen = await look(api, RECENT)
    view.said = ""
    with _terminal(out):
        loop = asyncio.get_running_loop()
        acts: set[asyncio.Task[None]] = set()
        changed = asyncio.Event()

        def typed() -> None:
            act = asyncio.ensure_future(_typed(os.read(sys.stdin.fileno(), 64), view, api, changed))
            acts.add(act)
            act.add_done_callback(acts.discard)

        loop.add_reader(sys.stdin.fileno(), typed)
        loop.add_signal_handler(signal.SIGWINCH, changed.set)
        loop.add_signal_handler(signal.SIGTERM, view.ended.set)
        following = asyncio.create_task(_follow(api, changed))
        try:
            while not view.ended.is_set():
                _draw(view, out, environ)
                await _change(changed)
                await _again(view, api)
        finally:
            following.cancel()
            loop.remove_reader(sys.stdin.fileno())
            for number in (signal.SIGWINCH, signal.SIGTERM):
                loop.remove_signal_handler(number)
    return 0


async def _change(changed: asyncio.Event) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(LOOK_SECONDS):
            await changed.wait()
    changed.clear()


async def _again(view: View, api: Api) -> None:
    try:
        view.seen = await look(api, RECENT)
        if view.said.startswith("foreman does not answer"):
            view.said = ""
    except NotReached:
        view.said = "foreman does not answer; its jobs are kept, waiting for it"
    except Refused as error:
        view.said = str(error)


async def _follow(api: Api, changed: asyncio.Event) -> None:
    """Wake the screen at every change; a connection that ends is made again."""
    while True:
        with suppress(NotReached, Refused):
            async with api.events() as events:
                async for line in events.content:
                    if line.startswith(b"event:"):
                        changed.set()
        await asyncio.sleep(LOOK_SECONDS)


async def _typed(keys: bytes, view: View, api: Api, changed: asyncio.Event) -> None:
    arrow = _ARROWS.get(keys)
    try:
        if view.asking:
            job, view.asking = view.asking, ""
            if keys in (b"y", b"Y"):
                await api.ask("DELETE", job_path(job))
                view.said = f"job {job} is being cancelled"
        elif arrow is not None:
            view.said = ""
            view.move(-1 if arrow == "up" else 1)
        elif keys == b"c" and view.chosen in view.jobs():
            view.asking = view.chosen
        elif keys == b"c":
            view.said = "choose a job first, with the arrow keys"
        elif keys == b"p" and view.seen is not None:
            paused = view.seen.queue["paused"]
            await api.ask("POST", "/queue/resume" if paused else "/queue/pause")
            view.said = "the queue goes on" if paused else "the queue is paused: the running job ends as always"
        elif keys in (b"q", b"\x03", b"\x04"):
            view.ended.set()
        else:
            view.said = ""
    except (Refused, NotReached) as error:
        view.said = str(error)
    changed.set()


def _draw(view: View, out: TextIO, environ: Mapping[str, str]) -> None:
    columns = screen_columns(out) or 80
    rows = os.get_terminal_size(out.fileno()).lines
    lines = view.lines(columns, rows, wants_colour(out, environ))
    out.write(writable(_HOME + "\x1b[K\r\n".join(lines) + "\x1b[K" + _REST, out))
    out.flush()


@contextmanager
def _terminal(out: TextIO) -> Iterator[None]:
    """A screen of its own, and keys as they are typed."""
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    try:
        tty.setcbreak(descriptor)
        out.write(_SCREEN_ON)
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
        out.write(_SCREEN_OFF)
        out.flush()
