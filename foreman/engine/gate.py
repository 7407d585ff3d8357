"""The gate at work: looks at the machine before anything heavy starts, and remembers who is held and why.

Rules:
1. It judges load keys of the local lane, and only those that would have something loaded, or are upkeep, or a command;
   jobs of a loaded model pass unseen. While the target is down it judges commands alone.
2. A hold is for one load key. Its jobs keep their places, others that may pass do, those of the remote lane too. It is
   logged when it begins, when its cause changes and when it ends.
3. A job that overrides the gate passes.
4. Switched off it asks nothing and keeps nothing.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from typing import Final

from foreman.core import names
from foreman.core.errors import StorageFailed
from foreman.core.gate import Admit, Candidate, Hold, Kind, Readings, Refuse, Thresholds, Verdict, judge, timed
from foreman.core.job import ACTIVE, Hot, JobState, LoadKey
from foreman.core.lanes import Lane
from foreman.core.programs import matches
from foreman.core.residency import Swap, is_heavy
from foreman.core.slots import is_slot
from foreman.core.upkeep import CLIENTS, is_upkeep, work_of
from foreman.engine.clock import Clock, millis
from foreman.engine.headroom import Headroom
from foreman.engine.live import Live, LiveJobs
from foreman.engine.machine import Machine
from foreman.engine.poller import SWAP_SECONDS, Poller
from foreman.engine.refusals import Refusals
from foreman.engine.store import Store
from foreman.log import log_event

log = logging.getLogger(__name__)

# How often a held job is looked at again.
LOOK_SECONDS: Final = 5.0
# While a job runs, the machine is read so often, to know which part of its load is foreman's own.
SAMPLE_SECONDS: Final = 15.0
# So many load keys are judged at a time, those that wait longest.
JUDGED: Final = 200
# So many jobs of a load key are told to followers when it is held or released.
TOLD: Final = 100


class Gate:
    """What may be begun now. `on` decides whether it holds anything; `look` answers either way."""

    def __init__(
        self,
        machine: Machine,
        headroom: Headroom,
        store: Store,
        poller: Poller,
        jobs: LiveJobs,
        clock: Clock,
        thresholds: Thresholds,
        swap: Swap,
        *,
        on: bool,
    ) -> None:
        self.machine = machine
        self.headroom = headroom
        self.thresholds = thresholds
        self.on = on
        self._store = store
        self._poller = poller
        self._jobs = jobs
        self._clock = clock
        self._swap = swap
        self._verdicts: dict[str, Verdict] = {}
        self._unknown: tuple[str, ...] = ()
        self._unread = False  # the store did not say who waits
        self._refusals = Refusals(store, jobs, clock, self._judged)
        self._forced: set[Live] = set()  # those that wait and override the gate
        self._due = asyncio.Event()
        self._sampled_at = float("-inf")
        self.changed: Callable[[Live], None] = lambda _: None
        poller.looked = self._due.set
        jobs.lanes.held = self.held

    def __repr__(self) -> str:
        return f"<Gate on={self.on}, holds {[key for key, v in self._verdicts.items() if isinstance(v, Hold)]}>"

    # -- for the worker

    async def admits(self, preferred: Hot) -> Hot:
        """What the next claim should prefer, with the load keys that may be begun though they are not loaded."""
        if not self.on:
            return preferred
        keys = await self._others(preferred)
        heavy = [key for key in keys if self.is_heavy(key)]
        if any(not is_slot(key) for key in heavy):
            await self._seen()
            heavy = [key for key in keys if self.is_heavy(key)]
        readings = await self.machine.readings() if heavy else Readings()
        verdicts = {key: (await self.look(key, readings))[1] for key in heavy}
        unseen = {key: old for key, old in self._verdicts.items() if self._down and not is_slot(key)}
        self._note(unseen | {key: verdict for key, verdict in verdicts.items() if not self._all_override(key)})
        passing = [key for key in keys if isinstance(verdicts.get(key, Admit()), Admit)]
        for key in verdicts.keys() & passing:
            self.headroom.forget_kept(key)
        return replace(preferred, admitted=tuple(passing))

    async def _others(self, preferred: Hot) -> list[str]:
        """The load keys of ready jobs that are not loaded, the one that waits longest first."""
        self._unread = False
        if all(key in preferred.load_keys for key in self._jobs.local.depth.load_keys()):
            return []
        try:
            ready = await self._store.ready_keys(JUDGED, millis(self._clock))
        except StorageFailed as error:
            log_event(log, logging.WARNING, "gate_unread", "who waits could not be read", error=error)
            self._unread = True
            return []
        return [key for key in ready if key not in preferred.load_keys and (is_slot(key) or not self._down)]

    @property
    def _down(self) -> bool:
        """The target does not answer: nothing can be said of models."""
        return self._poller.reachable is False

    def closed(self, preferred: Hot) -> Hot:
        """What a claim without a look at the machine may take: only what is loaded."""
        return replace(preferred, admitted=()) if self.on else preferred

    def pause(self, seconds: float | None) -> float | None:
        """How long to wait where nothing may be begun: not beyond the next look at what is held."""
        if not self.holding:
            return seconds
        return LOOK_SECONDS if seconds is None else min(seconds, LOOK_SECONDS)

    @property
    def holding(self) -> bool:
        """Whether anything is held, as far as is known."""
        return self._unread or not all(isinstance(verdict, Admit) for verdict in self._verdicts.values())

    # -- for everybody

    def hold(self, load_key: LoadKey, override: str | None, lane: Lane) -> Hold | None:
        """Why a waiting job of this load key is held, None where it is not."""
        if not self._verdicts or override is not None or lane is not Lane.LOCAL:
            return None
        verdict = self._verdicts.get(str(load_key))
        # A job that overrides the gate may have had it loaded meanwhile.
        return verdict if isinstance(verdict, Hold) and self.is_heavy(str(load_key)) else None

    def held(self) -> tuple[str, ...]:
        """The load keys whose jobs are to be taken for ones that are not ready."""
        return tuple(key for key, _ in self.holds() if self.is_heavy(key))

    def holds(self) -> list[tuple[str, Hold]]:
        """All load keys that are held, and why."""
        return [(key, verdict) for key, verdict in self._verdicts.items() if isinstance(verdict, Hold)]

    @property
    def unknown(self) -> tuple[str, ...]:
        """What could not be looked at when something was let pass the last time, in words."""
        return self._unknown

    async def look(self, load_key: str, readings: Readings) -> tuple[Candidate, Verdict]:
        """What a start would need, and what the machine says to it."""
        key, now, thresholds = LoadKey.parse(load_key), self._clock.time(), self.thresholds
        work = work_of(load_key)
        if work is not None:
            candidate = Candidate(Kind(work), key.model)
            readings, thresholds = _for_upkeep(readings, thresholds)
        elif is_slot(load_key):
            candidate = self.headroom.command(key, readings)
        else:
            candidate = await self.headroom.candidate(key, readings)
        verdict = judge(candidate, readings, thresholds)
        return candidate, timed(verdict, self._verdicts.get(load_key), now, now + LOOK_SECONDS)

    async def never(self, load_key: str) -> bool:
        """Whether a start can never be let pass here."""
        return self.on and isinstance((await self.look(load_key, await self.machine.readings()))[1], Refuse)

    def is_heavy(self, load_key: str) -> bool:
        """Whether a job of this load key would have something loaded, or is upkeep, or a command."""
        if is_upkeep(load_key) or is_slot(load_key):
            return True
        key, models = LoadKey.parse(load_key), self._poller.models
        remote = names.parse(key.model).is_cloud or models.is_remote(key.model)
        return is_heavy(key, self._poller.residency, models, self._swap, remote=remote)

    def heard(self, live: Live) -> None:
        """A job has changed: it may be of a load key that never fits, or the last one of one that is held."""
        if not self.on or live.lane is not Lane.LOCAL:
            return
        key = str(live.key)
        if live.override is not None:
            (self._forced.add if live.state is JobState.QUEUED else self._forced.discard)(live)
        if live.state is JobState.QUEUED and self._refusals.arrived(key):
            self._due.set()
        if live.state in ACTIVE and self._sample_due():
            self._due.set()
        if key in self._verdicts and not self._jobs.local.depth.wants(key):
            self._note({other: verdict for other, verdict in self._verdicts.items() if other != key})

    async def run(self) -> None:
        """Fail what never fits, keep what loads took, know the own part of the load; until cancelled."""
        while True:
            self._due.clear()
            if self.on:
                await self.headroom.observe()
                await self._refusals.carry_out()
            busy = self.on and bool(self._jobs.in_lane(Lane.LOCAL))
            if busy and self._sample_due():
                self._sampled_at = self._clock.monotonic()
                await self.machine.readings()
            await self._clock.wait(self._due, SAMPLE_SECONDS if busy else None)

    # -- inside

    def _sample_due(self) -> bool:
        """Whether the machine was not read for a while: between two reads it is known what used its processors."""
        return self._clock.monotonic() - self._sampled_at >= SAMPLE_SECONDS

    async def _seen(self) -> None:
        """Know what the target has, and what it has loaded now."""
        if self._poller.inventory is None and self._poller.reachable is not False:
            await self._poller.refresh()
        await self._poller.look(max_age=SWAP_SECONDS)

    def _note(self, verdicts: dict[str, Verdict]) -> None:
        """Take new verdicts for the old ones; log and tell what has changed."""
        before, self._verdicts = self._verdicts, verdicts
        for key in before.keys() | verdicts.keys():
            old, new = before.get(key), verdicts.get(key)
            if isinstance(new, Admit | Hold):
                self._jobs.figures.judged(new, old)
            if isinstance(new, Hold) and not (isinstance(old, Hold) and old.cause is new.cause):
                _log_hold(key, new)
                self._jobs.lanes.moved_up(Lane.LOCAL)
                self._tell(key)
            elif isinstance(old, Hold) and not isinstance(new, Hold):
                self._log_end(key, old, new)
                self._tell(key)
            if isinstance(new, Refuse):
                self._refusals.doubt(key)
                self._due.set()
        passed = [verdict for verdict in verdicts.values() if isinstance(verdict, Admit)]
        unknown = {word for verdict in passed for word in verdict.unknown}
        if passed and tuple(sorted(unknown)) != self._unknown:
            self._unknown = tuple(sorted(unknown))
            if unknown:
                log_event(log, logging.WARNING, "gate_blind", "let pass unseen", unknown="; ".join(self._unknown))

    def _log_end(self, key: str, hold: Hold, new: Verdict | None) -> None:
        if new is None:
            how = "loaded" if self._jobs.local.depth.wants(key) else "gone"
        else:
            how = "admitted" if isinstance(new, Admit) else "refused"
        held = round(self._clock.time() - hold.since, 1)
        log_event(log, logging.INFO, "gate_released", "no longer held", load_key=key, how=how, held_seconds=held)

    def _all_override(self, key: str) -> bool:
        """Whether nothing waits under this load key but jobs that override the gate."""
        forced = sum(str(live.key) == key for live in self._forced)
        return 0 < forced == self._jobs.local.depth.of(key)

    def _tell(self, key: str) -> None:
        for live in list(islice(self._waiting(key), TOLD)):
            self.changed(live)

    def _waiting(self, key: str) -> Iterator[Live]:
        wanted = LoadKey.parse(key)
        queued = (live for live in self._jobs if live.state is JobState.QUEUED and live.lane is Lane.LOCAL)
        return (live for live in queued if live.key == wanted)

    async def _judged(self, key: str) -> Verdict | None:
        """What the machine says to a load key; None where nothing would be begun for it that could be too large."""
        if self._poller.inventory is None and not is_slot(key):
            await self._seen()
        if is_upkeep(key) or not self.is_heavy(key):
            return None
        return (await self.look(key, await self.machine.readings()))[1]


def _for_upkeep(readings: Readings, thresholds: Thresholds) -> tuple[Readings, Thresholds]:
    """The same, for upkeep. Its disk is looked at where it is written, and by what is known to come. Who typed
    `ollama pull` or `ollama create` may be waiting for this very job, or behind it."""
    foreign = readings.foreign and tuple(
        text for text in readings.foreign if not any(matches(client, text.split()) for client in CLIENTS)
    )
    return replace(readings, foreign=foreign), replace(thresholds, disk_reserve=0)


def _log_hold(key: str, hold: Hold) -> None:
    log_event(
        log, logging.INFO, "gate_held", "held: the machine has other things to do",
        load_key=key, cause=hold.cause, reason=hold.text, needed=hold.needed, there=hold.there,
    )  # fmt: skip
