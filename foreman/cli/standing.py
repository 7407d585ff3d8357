"""Standing in line for a slot: asking for it, showing what stands before it, and going on after foreman restarted.

One line is rewritten on a terminal; anywhere else there is a line for each change. Nothing is shown where the slot is
free at once.
"""

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Final, TextIO
from uuid import uuid4

import orjson

from foreman.cli.api import Api, Json
from foreman.cli.jobtext import FINISHED, Heard, progress, standing
from foreman.cli.terminal import clipped, paint, screen_columns, wants_colour, writable
from foreman.core.errors import NotReached, Refused

LOOK_SECONDS: Final = 0.5
# How long a foreman that went away is waited for.
AWAY_SECONDS: Final = 60.0


class Cancelled(Exception):
    """Somebody has cancelled the job while it waited."""


class Standing:
    """Waits for one slot; `wanted` is the body of POST /slots."""

    def __init__(self, api: Api, wanted: Json, talk: TextIO, environ: Mapping[str, str]) -> None:
        self._api = api
        self._wanted = wanted
        self._talk = talk
        self._columns = screen_columns(talk)
        self._colour = wants_colour(talk, environ)
        self._key = uuid4().hex
        self._id = ""
        self._shown = ""
        self._told: object = None

    async def granted(self) -> Json:
        """The slot. Raises NotReached, Refused and Cancelled; leaves the queue where it is cancelled itself."""
        away_since: float | None = None
        try:
            while True:
                try:
                    return await self._asked()
                except (NotReached, Refused):
                    if not self._id:
                        raise
                    away_since = away_since or time.monotonic()
                    if time.monotonic() - away_since > AWAY_SECONDS:
                        raise
                    if await self._looked_up():
                        away_since = None
        except asyncio.CancelledError:
            with suppress(NotReached, Refused):
                if self._id:
                    await self._api.ask("DELETE", f"/slots/{self._id}")
            raise
        finally:
            self._clear()

    async def _asked(self) -> Json:
        async with self._api.slot(self._wanted, self._key) as response:
            self._id = response.headers.get("X-Foreman-Job", "")
            showing = asyncio.create_task(self._show())
            try:
                slot: Json = orjson.loads(await response.read())
                return slot
            finally:
                showing.cancel()
                await asyncio.wait((showing,))

    async def _looked_up(self) -> bool:
        """What became of the job, once foreman answers: whether it does."""
        try:
            job = await self._api.job(self._id)
        except (NotReached, Refused):
            self._print("foreman does not answer; the place in its queue is kept, waiting for it")
            await asyncio.sleep(LOOK_SECONDS)
            return False
        if job["state"] == "cancelled":
            raise Cancelled((job["error"] or {}).get("message") or "it was cancelled while it waited")
        if job["state"] in FINISHED:
            self._key = uuid4().hex  # it was granted while nobody heard of it
        return True

    async def _show(self) -> None:
        began = time.monotonic()
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            with suppress(NotReached, Refused):
                job = await self._api.job(self._id)
                if job["state"] == "queued":
                    self._line(job, time.monotonic() - began)

    def _line(self, job: Json, elapsed: float) -> None:
        line = progress(job, Heard(), elapsed)
        if self._columns is not None:
            line = clipped(line, self._columns - 1)
        elif standing(job) == self._told:
            return
        else:
            line = line[:-1]
        self._told = standing(job)
        self._print(paint(line, self._colour))

    def _print(self, text: str) -> None:
        if text == self._shown:
            return
        self._shown = text
        self._write(f"{text}\n" if self._columns is None else f"\r\x1b[K{text}")

    def _clear(self) -> None:
        if self._shown and self._columns is not None:
            self._write("\r\x1b[K")

    def _write(self, text: str) -> None:
        self._talk.write(writable(text, self._talk))
        self._talk.flush()
