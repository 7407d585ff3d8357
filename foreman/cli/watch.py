"""Following one job to its end: a line that is rewritten on a terminal, a line for each change anywhere else.

What is known comes from the job's page, asked again and again, so a foreman that restarts is only waited for; how many
tokens there are, or how much of a model, is counted in the answer itself, which is read along. An answer can break off
and begin anew: on a terminal that is told, and whatever else reads it gets it when it is whole.
"""

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Final, TextIO

import aiohttp
import orjson

from foreman.cli.api import Api, Json
from foreman.cli.jobtext import FINISHED, Heard, name_of, progress, standing
from foreman.cli.pulltext import Rate, Steps, bar_line
from foreman.cli.terminal import clipped, harmless, paint, screen_columns, wants_colour, writable
from foreman.core.errors import NotReached, Refused
from foreman.core.progress import Progress

LOOK_SECONDS: Final = 0.3
# How long a foreman that went away is waited for.
AWAY_SECONDS: Final = 60.0
STATUSES: Final = {"done": 0, "failed": 1, "cancelled": 5}


def exit_status(state: str) -> int:
    return STATUSES.get(state, 1)


class Watch:
    """Follows a job; its answer's text is written to `answer`, where one is given."""

    def __init__(
        self, api: Api, job_id: str, talk: TextIO, environ: Mapping[str, str], answer: TextIO | None = None
    ) -> None:
        self._api = api
        self._id = job_id
        self._talk = talk
        self._answer = answer
        self._aloud = answer is not None and answer.isatty()
        self._text: list[str] = []
        self._columns = screen_columns(talk)
        self._colour = wants_colour(talk, environ)
        self._heard = Heard()
        self._upkeep, self._rate, self._steps = Progress(), Rate(), Steps()
        self._attempt = ""
        self._shown = ""
        self._told: object = None  # of where it stands in the line
        self._live = self._columns is not None
        self._spoken = False  # a part of the answer is on the screen
        self._ended = False

    async def run(self) -> Json:
        """The job as it ended. Raises NotReached after a minute without foreman, and Refused."""
        began = time.monotonic()
        reading = asyncio.create_task(self._read())
        try:
            while True:
                job = await self._look()
                if job["state"] in FINISHED:
                    self._ended = True
                    # Its last bytes may still be on their way here.
                    with suppress(Refused):
                        await reading
                    self._speak(whole=True)
                    self._show(job, time.monotonic() - began)
                    if self._live and not self._spoken:
                        self._write("\n")
                    return job
                self._show(job, time.monotonic() - began)
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            reading.cancel()
            with suppress(asyncio.CancelledError, NotReached, Refused):
                await reading

    async def _look(self) -> Json:
        """The job's page; a foreman that restarts is waited for."""
        since = time.monotonic()
        while True:
            try:
                return await self._api.job(self._id)
            except NotReached:
                if time.monotonic() - since > AWAY_SECONDS:
                    raise
                self._note("foreman does not answer; its jobs are kept, waiting for it")
                await asyncio.sleep(LOOK_SECONDS * 3)

    async def _read(self) -> None:
        """Read the answer along, again from the start where a new attempt begins."""
        while True:
            try:
                async with self._api.response(self._id) as response:
                    attempt = response.headers.get("X-Foreman-Attempt", "")
                    if attempt != self._attempt:
                        self._attempt, self._heard = attempt, Heard()
                    await self._count(response)
                    return
            except NotReached:
                if self._ended:  # it broke off, and nothing follows
                    return
                await asyncio.sleep(LOOK_SECONDS)

    async def _count(self, response: aiohttp.ClientResponse) -> None:
        heard = self._heard = Heard()
        self._upkeep = Progress()
        self._text.clear()
        if self._spoken:
            self._write("\nthe answer broke off and begins anew\n")
        first: float | None = None
        rest = b""
        async for chunk in response.content.iter_any():
            now = time.monotonic()
            first = now if first is None else first
            heard.size += len(chunk)
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                text = said(line)
                heard.pieces += text != ""
                self._text.append(text)
                if not text:
                    self._upkeep.feed(line + b"\n")
            self._rate.note(now, self._upkeep.completed)
            heard.seconds = now - first
            self._speak()
        self._text.append(said(rest))

    def _speak(self, *, whole: bool = False) -> None:
        """Write what has been said since; to what is no terminal only where it is whole."""
        text = "".join(self._text)
        if self._answer is None or not (self._aloud or whole) or not (text or self._spoken):
            return
        self._text.clear()
        if not self._spoken and self._live:
            self._write("\r\x1b[K")
        self._spoken = True
        # A model can say anything, also what would move the cursor; a file gets it as it is.
        shown = harmless(text) if self._aloud else text
        self._answer.write(writable(shown + "\n" if whole else shown, self._answer))
        self._answer.flush()

    def _show(self, job: Json, elapsed: float) -> None:
        if self._spoken and job["state"] != "failed":
            return  # the answer itself is on the screen
        if self._upkeep.status and job["state"] == "working":
            self._show_upkeep(name_of(job))
            return
        line = progress(job, self._heard, elapsed)
        if self._live:
            self._write("\r" + paint(clipped(line, (self._columns or 80) - 1), self._colour) + "\x1b[K")
            return
        text = "".join(piece.text for piece in line[:-1]) if job["state"] not in FINISHED else paint(line, False)
        if job["state"] == "working":
            text = "".join(piece.text for piece in line[:3])
        if text != self._shown and not (job["state"] == "queued" and standing(job) == self._told):
            self._shown, self._told = text, standing(job)
            self._write(text + "\n")

    def _show_upkeep(self, name: str) -> None:
        """How much of a model has come, or is made."""
        rate = self._rate.per_second
        if self._live:
            room = (self._columns or 80) - 1
            line = bar_line(name, self._upkeep, rate, room)
            self._write("\r" + paint(clipped(line, room), self._colour) + "\x1b[K")
        elif told := self._steps.line(name, self._upkeep, rate):
            self._note(told)

    def _note(self, text: str) -> None:
        if self._live:
            self._write(f"\r{text}\x1b[K")
        elif text != self._shown:
            self._shown = text
            self._write(text + "\n")

    def _write(self, text: str) -> None:
        self._talk.write(writable(text, self._talk))
        self._talk.flush()


def said(line: bytes) -> str:
    """The text in one line of an answer, of whichever API; empty where there is none."""
    text = line.removeprefix(b"data:").strip()
    if not text.startswith(b"{"):
        return ""
    try:
        frame = orjson.loads(text)
    except orjson.JSONDecodeError:
        return ""
    return _content(frame) if isinstance(frame, dict) else ""


def _content(frame: Json) -> str:
    message = frame.get("message")
    if isinstance(message, dict):
        return _text(message.get("content")) or _text(message.get("thinking"))
    choices = frame.get("choices")
    if isinstance(choices, list) and choices and isinstance(choices[0], dict):
        choice = choices[0]
        inner = choice.get("delta") or choice.get("message")
        return _text(inner.get("content")) if isinstance(inner, dict) else _text(choice.get("text"))
    delta = frame.get("delta")
    if isinstance(delta, dict):
        return _text(delta.get("text"))
    return _text(frame.get("response")) or _text(delta)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
