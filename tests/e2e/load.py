"""Clients that ask on and on, whichever foreman is there, for every kind of work: what they saw goes down as calls."""

import asyncio
import contextlib
import random
import time
from collections.abc import Callable

import aiohttp
import orjson

from foreman.core.lanes import Lane
from foreman.core.slots import SlotRequest
from tests.e2e import raw
from tests.e2e.client import asking, chat, chat_v1
from tests.e2e.endings import FAR, SLOTS
from tests.e2e.raw import CUT
from tests.e2e.records import Call, Slot
from tests.e2e.spans import PULL, Span
from tests.mixing import CLOUD

MODELS = ("a", "b", "c")
# Of both lanes, but those of the remote API.
ASKED = (*MODELS, CLOUD)
# Of a holder that is heard of: no machine is that slow. Of one that falls silent: the shortest there is.
KEPT_SECONDS, SILENT_SECONDS = 600.0, 1.0
MOST_BEATS = 30


class Load:
    """`sent` tells how often a body was sent on so far.

    `holding` is how many slots are held, as far as their holders know; `spans` are those that are not any more.
    """

    def __init__(self, rng: random.Random, sent: Callable[[bytes], int]) -> None:
        self.calls: list[Call] = []
        self.spans: list[Span] = []
        self.holding = 0
        self._rng = rng
        self._sent = sent
        self._up = asyncio.Event()
        self._news = asyncio.Condition()
        self._url = ""
        self._stopped = False

    def reach(self, url: str) -> None:
        self._url = url
        self._up.set()

    def lost(self) -> None:
        self._up.clear()

    def stop(self) -> None:
        """Ask no more; what was asked may end."""
        self._stopped = True
        self._up.set()

    async def held(self, patience: float) -> None:
        """Wait until somebody holds a slot."""
        async with asyncio.timeout(patience), self._news:
            await self._news.wait_for(lambda: self.holding)

    async def client(self) -> None:
        while True:
            await self._up.wait()
            if self._stopped:
                return
            (ask,) = self._rng.choices((self._infer, self._pull, self._slot), (8, 1, 2))
            await ask(len(self.calls))

    # -- what the target or a remote API answers

    async def _infer(self, number: int) -> None:
        rng = self._rng
        text, stream = f"question {number}", rng.random() < 0.7
        if rng.random() < 0.2:
            path, fields = chat_v1(FAR, text, stream=stream)
        else:
            path, fields = rng.choice((chat, chat_v1))(rng.choice(ASKED), text, stream=stream)
        await self._ask(Call(path, orjson.dumps(fields)))

    async def _pull(self, number: int) -> None:
        await self._ask(Call(PULL, orjson.dumps({"model": f"pulled{number}:1b", "stream": True})))

    async def _ask(self, call: Call) -> None:
        self.calls.append(call)
        kinds = (self._wait, self._leave_early, self._hand_over, self._ask_twice, self._cancel)
        (kind,) = self._rng.choices(kinds, (6, 1, 2, 1, 2))
        with contextlib.suppress(*CUT, aiohttp.ClientError):  # whoever it was is dead; the next one is announced
            await kind(call)

    async def _wait(self, call: Call, *headers: str) -> None:
        got = await raw.ask(self._url, f"POST {call.path}", *headers, body=call.body)
        call.status, call.job, call.whole = got.status, got.headers.get("x-foreman-job"), got.whole
        call.got = b"" if got.status == 202 else got.body

    async def _hand_over(self, call: Call) -> None:
        await self._wait(call, "Prefer: respond-async")

    async def _ask_twice(self, call: Call) -> None:
        call.twin = Call(call.path, call.body)
        key = f"Idempotency-Key: {len(self.calls)}"
        both = await asyncio.gather(self._wait(call, key), self._wait(call.twin, key), return_exceptions=True)
        for error in both:
            if error is not None:
                raise error

    async def _cancel(self, call: Call) -> None:
        await self._hand_over(call)
        for _ in range(self._rng.randrange(60)):  # let it get somewhere
            await asyncio.sleep(0)
        await self._end(call)

    async def _end(self, call: Call) -> None:
        call.ends = True  # from here on nobody can know, but for the answer
        got = await raw.ask(self._url, f"DELETE /jobs/{call.job}")
        call.sent = self._sent(call.body)
        call.cancelled = got.status

    async def _leave_early(self, call: Call) -> None:
        call.left = True
        async with asking(self._url, call.path, call.body) as answer:
            call.status, call.job = answer.status, answer.headers.get("X-Foreman-Job")
            call.got = await answer.content.readany()

    # -- slots

    async def _slot(self, number: int) -> None:
        silent = self._rng.random() < 0.1
        lane = self._rng.choice((Lane.LOCAL, Lane.REMOTE))
        wanted = SlotRequest(lane, f"slot {number}", expiry=SILENT_SECONDS if silent else KEPT_SECONDS)
        slot = Slot(silent)
        call = Call(SLOTS, wanted.body, slot=slot)
        self.calls.append(call)
        if not silent:
            await self._keep(call, slot, lane)
            return
        with contextlib.suppress(*CUT, aiohttp.ClientError):
            if self._rng.random() < 0.5:
                await self._leave_early(call)
            else:
                await self._fall_silent(call, lane)

    async def _keep(self, call: Call, slot: Slot, lane: Lane) -> None:
        """Hold it, whatever dies meanwhile: only what foreman says can take it away."""
        key = f"Idempotency-Key: {len(self.calls)}"
        while not call.whole:
            with contextlib.suppress(*CUT):
                await self._wait(call, key)
            await self._up.wait()
        if call.status != 200:
            return
        began = time.time()
        await self._holds(1)
        cancelled_at = self._rng.randrange(5 * MOST_BEATS)
        for beat in range(self._rng.randrange(MOST_BEATS)):
            if beat == cancelled_at:
                await self._cancel_held(call)
            slot.taken = slot.taken or await self._beat(call) != 200
        slot.returned = True
        self.spans.append(Span(lane, began, time.time(), str(call.job)))
        await self._holds(-1)
        await self._insist(f"DELETE /slots/{call.job}")

    async def _fall_silent(self, call: Call, lane: Lane) -> None:
        asked_at = time.time()
        await self._wait(call)
        if not call.whole:
            return
        began = time.time()
        for _ in range(self._rng.randrange(3)):
            asked_at = time.time()
            await raw.ask(self._url, f"POST /slots/{call.job}/heartbeat")
        self.spans.append(Span(lane, began, asked_at + SILENT_SECONDS, str(call.job)))

    async def _cancel_held(self, call: Call) -> None:
        with contextlib.suppress(*CUT):
            await self._end(call)
        await self._up.wait()

    async def _beat(self, call: Call) -> int:
        return (await self._insist(f"POST /slots/{call.job}/heartbeat")).status

    async def _insist(self, line: str) -> raw.Answer:
        """The answer of whichever foreman gives one."""
        while True:
            await self._up.wait()
            with contextlib.suppress(*CUT):
                return await raw.ask(self._url, line)

    async def _holds(self, change: int) -> None:
        async with self._news:
            self.holding += change
            self._news.notify_all()
