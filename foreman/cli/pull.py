"""`foreman pull`: models one after the other, each as a client of its own that stays until it is there.

The connection is what keeps the place in the line: a command that is interrupted leaves it, and others who want the
same model keep theirs. A foreman that restarts is waited for, and asked again: that joins the pull where it stands.
"""

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Final, TextIO

import orjson

from foreman.cli import jobtext, pulltext
from foreman.cli.api import Api, Json
from foreman.cli.terminal import Line, Piece, clipped, paint, printable, screen_columns, wants_colour, writable
from foreman.cli.watch import AWAY_SECONDS, LOOK_SECONDS, exit_status
from foreman.core.errors import InvalidModelName, NotReached, Refused
from foreman.core.progress import Progress
from foreman.core.pulls import PullRequest

# How long a job may take to be written down as finished after its stream has ended.
SETTLE_SECONDS: Final = 2.0
_UNFINISHED: Final = "queued,loading,working"


class Pull:
    """One model. Progress goes to `talk`, or every line as it came to `lines` where that is given."""

    def __init__(
        self,
        api: Api,
        asked: PullRequest,
        talk: TextIO,
        environ: Mapping[str, str],
        lines: TextIO | None = None,
        *,
        force: bool = False,
    ) -> None:
        self._api = api
        self._asked = asked
        self._force = force
        self._talk = talk
        self._lines = lines
        self._columns = screen_columns(talk)
        self._colour = wants_colour(talk, environ)
        self._progress = Progress()
        self._rate = pulltext.Rate()
        self._job = ""  # its id, once foreman has told it
        self._shown = ""
        self._place: object = None
        self._steps = pulltext.Steps()
        self._began = time.monotonic()

    async def run(self) -> int:
        """The exit status. Raises Refused, and NotReached where foreman does not answer for a minute, or at all."""
        key = _key(self._asked)
        reading = asyncio.create_task(self._read_on())
        try:
            while not reading.done():
                done, _ = await asyncio.wait((reading,), timeout=LOOK_SECONDS)
                if not done:
                    await self._show(key)
            status = reading.result()
            self._end(status)
            return status
        finally:
            reading.cancel()
            with suppress(asyncio.CancelledError, NotReached, Refused):
                await reading
            if self._columns is not None and self._lines is None:
                self._write("\n")

    # -- reading

    async def _read_on(self) -> int:
        """Read to the end, however often it has to be asked for."""
        away_since: float | None = None
        while True:
            try:
                status = await self._read() if away_since is None or not self._job else await self._asked_again()
                away_since = None
                if status is not None:
                    return status
            except NotReached:
                if not self._job:
                    raise
                away_since = time.monotonic() if away_since is None else away_since
                if time.monotonic() - away_since > AWAY_SECONDS:
                    raise
                if time.monotonic() - away_since > LOOK_SECONDS:  # not where only the stream broke off
                    self._note("foreman does not answer; its jobs are kept, waiting for it")
            await asyncio.sleep(LOOK_SECONDS)

    async def _asked_again(self) -> int | None:
        """After a break: what became of the job, or, where it goes on, what follows."""
        until = time.monotonic() + SETTLE_SECONDS
        with suppress(Refused):  # forgotten meanwhile
            while time.monotonic() < until:
                job = await self._api.job(self._job)
                if job["state"] in jobtext.FINISHED:
                    return self._finished(job)
                if job["state"] == "queued":
                    break
                await asyncio.sleep(LOOK_SECONDS)
        return await self._read()

    async def _read(self) -> int | None:
        """Ask for the model and read what comes; None where it broke off and goes on."""
        self._progress = Progress()
        body = {"model": self._asked.model, "insecure": self._asked.insecure}
        async with self._api.pull(body, force=self._force) as response:
            self._job = response.headers.get("X-Foreman-Job", self._job)
            if response.status >= 400:
                error = response.headers.get("X-Foreman-Error")
                return await self._failed(response.status, error, await response.read())
            async for chunk in response.content.iter_any():
                self._print(self._progress.feed(chunk))
                self._rate.note(time.monotonic(), self._progress.completed)
        self._print(self._progress.rest())
        if self._progress.succeeded:
            return 0
        return await self._outcome() if self._job else 1

    def _print(self, lines: bytes) -> None:
        """The lines as they came, without the heartbeats."""
        if self._lines is not None:
            for line in filter(None, map(bytes.strip, lines.splitlines())):
                self._lines.buffer.write(line + b"\n")
            self._lines.flush()

    async def _failed(self, status: int, code: str | None, body: bytes) -> int | None:
        """An answer that is an error from its head on."""
        words = _error(body) or f"foreman answered with status {status}"
        if code == "draining":
            raise NotReached(words)
        self._print(body)
        if not self._job:
            raise Refused(words)
        self._progress.error = words
        return await self._outcome()

    async def _outcome(self) -> int | None:
        """How the job ended whose stream did not end well: the stream ends before that is written."""
        while True:
            job = await self._api.job(self._job)
            if job["state"] in jobtext.FINISHED:
                return self._finished(job)
            if job["state"] == "queued":
                return None
            await asyncio.sleep(LOOK_SECONDS)

    def _finished(self, job: Json) -> int:
        self._progress.status = "success" if job["state"] == "done" else job["state"]
        if job["error"]:
            self._progress.error = job["error"]["message"] or self._progress.error
        return exit_status(job["state"])

    # -- showing

    async def _show(self, key: str) -> None:
        if self._lines is not None:
            return
        if not self._progress.status:
            await self._show_place(key)
        elif self._columns is not None:
            room = self._columns - 1
            self._rewrite(pulltext.bar_line(self._asked.model, self._progress, self._rate.per_second, room))
        elif said := self._steps.line(self._asked.model, self._progress, self._rate.per_second):
            self._note(said)

    async def _show_place(self, key: str) -> None:
        """Where it stands in the line, while nothing has come."""
        try:
            query = {"model": key.partition("?")[0], "state": _UNFINISHED, "limit": "20"}
            jobs = (await self._api.ask("GET", "/jobs", query=query))["jobs"]
        except (NotReached, Refused):  # whoever reads finds out
            return
        job = next((job for job in reversed(jobs) if job["load_key"] == key), None)
        if job is None or self._progress.status:
            return
        self._job = self._job or job["id"]
        name, *line = pulltext.place_line(self._asked.model, job, time.monotonic() - self._began)
        if self._columns is not None:
            self._rewrite([name, *line])
        elif jobtext.standing(job) != self._place:
            self._place = jobtext.standing(job)
            self._note(f"{name.text}: {''.join(piece.text for piece in line[1:-1])}")

    def _end(self, status: int) -> None:
        """The last words, which stay on the screen."""
        if self._lines is not None:
            return
        error = printable(self._progress.error)
        said = "success" if status == 0 else f"failed: {error}" if status == 1 else f"cancelled: {error}"
        if self._columns is None:
            self._note(f"{printable(self._asked.model)}: {said}")
            return
        size = f"  {pulltext.amount(self._progress.total)}" if status == 0 and self._progress.total else ""
        style = "good" if status == 0 else "bad"
        # All of an error, however narrow the screen.
        line = [Piece(printable(self._asked.model), "bold"), Piece("  "), Piece(said, style), Piece(size)]
        self._write("\r" + paint(line, self._colour) + "\x1b[K")

    def _rewrite(self, line: Line) -> None:
        self._write("\r" + paint(clipped(line, (self._columns or 80) - 1), self._colour) + "\x1b[K")

    def _note(self, text: str) -> None:
        if self._lines is not None or text == self._shown:
            return
        self._shown = text
        self._write(f"\r{text}\x1b[K" if self._columns is not None else text + "\n")

    def _write(self, text: str) -> None:
        self._talk.write(writable(text, self._talk))
        self._talk.flush()


def _key(asked: PullRequest) -> str:
    try:
        return str(asked.key)
    except InvalidModelName as error:
        raise Refused(str(error)) from error


def _error(body: bytes) -> str:
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        return ""
    return str(answer.get("error", "")) if isinstance(answer, dict) else ""
