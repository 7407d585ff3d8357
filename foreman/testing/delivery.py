"""Sending one answer the way its script wants it: slowly, in pieces, held back, cut, or not as HTTP at all."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from time import time
from typing import Final, NamedTuple

from aiohttp import web

from foreman.testing.answers.answer import Answer
from foreman.testing.faults import bent
from foreman.testing.ledger import Ending, Entry, Ledger
from foreman.testing.script import Die, Scene, Script
from foreman.testing.wire import Framing, Wire

# Go's net/http measures bodies up to this size itself and chunks longer ones.
_MEASURED_BODY: Final = 2048


class _Framed(NamedTuple):
    pieces: Iterable[bytes]
    headers: dict[str, str]
    framing: Framing


@dataclass(frozen=True, slots=True)
class Delivery:
    """One answer on its way. `rate` is tokens a second, 0 for no pause between them."""

    request: web.BaseRequest
    wire: Wire
    ledger: Ledger
    entry: Entry
    scene: Scene
    rate: float

    async def send(self, answer: Answer) -> web.StreamResponse:
        """Sends it all, or as much as the script allows. Raises ConnectionError when the client is gone."""
        script = self.scene.script
        if script.delay:
            await asyncio.sleep(script.delay)
        if script.hold == 0:
            await self._held(taking=False)
        if self.rate and answer.work:
            await asyncio.sleep(answer.work / self.rate)
        if script.raw is not None:
            return await self._send_raw(script.raw)
        if script.dies_first and script.die is not Die.CLEAN:
            return await self._cut()
        return await self._send_http(answer)

    async def _send_raw(self, data: bytes) -> web.StreamResponse:
        await self.wire.raw(data)
        self.entry.count(data)
        self.ledger.ended(self.entry, Ending.CUT)
        return self.wire.fin()

    async def _send_http(self, answer: Answer) -> web.StreamResponse:
        framed = _framed(answer, self.scene.script, head_only=self.request.method == "HEAD")
        self.entry.status, self.entry.began_at = answer.status, time()
        await self.wire.head(answer.status, framed.headers.items(), framed.framing)
        self.ledger.changed()
        for index, piece in enumerate(framed.pieces):
            if self._spent():
                return await self._cut()
            await self._turn(index, answer.streamed)
            room = self._room()
            if room is not None and room < len(piece):
                await self._count(piece[:room], announced=len(piece))
                return await self._cut()
            await self._count(piece)
        if self._spent() or self.scene.script.extra_length:
            return await self._cut()
        response = await self.wire.end()
        self.ledger.ended(self.entry, Ending.COMPLETE)
        return response

    async def _count(self, data: bytes, announced: int | None = None) -> None:
        await self.wire.chunk(data, None if self.scene.script.die is Die.CLEAN else announced)
        self.entry.count(data)
        self.ledger.changed()

    async def _turn(self, index: int, streamed: bool) -> None:
        """Waits until the next piece may leave; always lets others run in between."""
        await asyncio.sleep(1 / self.rate if self.rate and streamed and index else 0)
        hold = self.scene.script.hold
        if hold is not None and index >= hold:
            await self._held(taking=True)

    async def _held(self, *, taking: bool) -> None:
        gate = self.scene.gate
        self.entry.held = gate.blocked
        self.ledger.changed()
        await (gate.passes() if taking else gate.arrives())
        self.entry.held = False
        self.ledger.changed()

    def _room(self) -> int | None:
        """Body bytes that may still leave, None for no limit."""
        limit = self.scene.script.die_after_bytes
        return None if self.scene.script.die is None or limit is None else limit - self.entry.written

    def _spent(self) -> bool:
        script = self.scene.script
        if script.die is None:
            return False
        chunks = script.die_after_chunks
        return script.dies_first or self._room() == 0 or (chunks is not None and self.entry.chunks >= chunks)

    async def _cut(self) -> web.StreamResponse:
        die = self.scene.script.die
        self.ledger.ended(self.entry, Ending.CUT)
        if die is Die.SILENCE:
            await asyncio.Event().wait()
        if die is Die.CLEAN:
            return await self.wire.end(whole=False)
        return self.wire.rst() if die is Die.RST else self.wire.fin()


def _framed(answer: Answer, script: Script, *, head_only: bool) -> _Framed:
    headers = {"Content-Type": answer.content_type} if answer.content_type else {}
    headers |= answer.headers
    pieces = bent(answer, script)
    if script.close_delimited:
        return _Framed(pieces, headers, Framing.CLOSE)
    if answer.streamed and not script.extra_length:
        return _Framed(pieces, headers, Framing.CHUNKED)
    pieces = list(pieces)
    size = sum(map(len, pieces))
    if size > _MEASURED_BODY and not script.extra_length:
        return _Framed(pieces, headers, Framing.CHUNKED)
    headers["Content-Length"] = str(size + script.extra_length)
    return _Framed(() if head_only else pieces, headers, Framing.LENGTH)
