"""One attempt at upkeep, from the target's first byte to its last: what is passed on, and what is looked at meanwhile.

Rules:
1. Readers get whole lines only, so that the lines of a further attempt can follow where this one breaks off.
2. That the model is there is told only when the list of models has it: a client may ask for it at once.
3. The disk is looked at before it begins, whenever more is known to come, and now and then. What lines say has come
   lags behind what is on the disk, so in between one look alone does not stop it. What lines of a create count is work,
   not what comes to the disk, so there only the reserve is asked for.
"""

from typing import Final

from foreman.core.errors import NoRoom, TargetCut, TargetSilent
from foreman.core.framing import Framing, Verdict, Watch, framing_of
from foreman.core.headers import value_of
from foreman.core.progress import Progress
from foreman.core.room import Room, shortage
from foreman.core.upkeep import Work, subject, work_of
from foreman.engine.clock import Clock
from foreman.engine.exchange import Exchange
from foreman.engine.live import Live
from foreman.engine.patience import Patience
from foreman.engine.poller import Poller
from foreman.engine.relay import Head

# How often the disk is looked at while the parts come: others write to it too.
LOOK_SECONDS: Final = 1.0


class Upkeep:
    """Passes one attempt's progress on to the readers of `live`. Without a `room` it does not look at the disk."""

    def __init__(self, live: Live, patience: Patience, poller: Poller, clock: Clock, room: Room | None) -> None:
        self.work = work_of(live.key.model)
        self._live = live
        self._patience = patience
        self._poller = poller
        self._clock = clock
        self._room = room
        self._total = 0
        self._looked_at = float("-inf")
        self._short = False  # at the last look
        self._watch = Watch(Framing.NDJSON, live.path)
        self._progress = Progress()
        self._in_lines = True

    @property
    def summary(self) -> bytes:
        """What is kept of the progress; empty where none was asked for."""
        return self._progress.summary if self._in_lines else b""

    def verdict(self, complete: bool) -> Verdict:
        """How it ended, as far as its lines tell."""
        return self._watch.verdict(complete)

    def check(self) -> None:
        """Look at the disk before anything is asked for. Raises NoRoom."""
        self._look(sure=True)

    def _look(self, *, sure: bool) -> None:
        """`sure`: what is to come is not less than it seems."""
        self._looked_at = self._clock.monotonic()
        if self._room is None:
            return
        to_come = self._progress.to_come if self.work is Work.PULL else 0
        forced = self._live.override is not None
        short = shortage(subject(self._live.model), to_come, self._room, forced=forced)
        if short is not None and (sure or self._short):
            raise NoRoom(short)
        self._short = short is not None

    async def run(self, exchange: Exchange, head: Head, chunk: bytes) -> TargetCut | TargetSilent | None:
        """To the end, which is returned where it is a break. `chunk` are the first bytes. Raises NoRoom."""
        self._live.watch = self._watch
        self._live.relay.in_lines = True
        self._in_lines = framing_of(value_of(head.headers, "content-type")) is Framing.NDJSON
        # Others may be shorter or longer together with what follows them.
        headers = tuple((name, value) for name, value in head.headers if name != "content-length")
        self._live.relay.begin(Head(head.status, headers))
        try:
            while chunk:
                await self._pass_on(self._progress.feed(chunk))
                chunk = await self._patience.chunk(exchange)
        except (TargetCut, TargetSilent) as error:
            return error
        await self._pass_on(self._progress.rest())
        return None

    async def _pass_on(self, lines: bytes) -> None:
        if not lines:
            return
        if self._progress.succeeded:
            await self._poller.refresh(anew=True)
        self._watch.feed(lines)
        self._live.relay.feed(lines)
        more, self._total = self._progress.total != self._total, self._progress.total
        due = self._clock.monotonic() - self._looked_at >= LOOK_SECONDS
        if self._progress.to_come and (more or due):
            self._look(sure=more)
