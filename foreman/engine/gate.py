"""The gate at work: looks at the machine before a model is loaded, and remembers who is held and why.

Rules:
1. It judges load keys of the local lane, and only those that would have something loaded, or pulled; jobs of a loaded
   model pass unseen.
2. A hold is for one load key. Its jobs keep their places, others that may pass do, those of the remote lane too. It is
   logged when it begins, when its cause changes and when it ends.
3. What can never fit fails as soon as it is known, also while another job runs. A job that overrides the gate passes.
4. Switched off it asks nothing and keeps nothing.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from typing import Final

from foreman.core import names
from foreman.core.errors import NeverFits, StorageFailed, StorageFull
from foreman.core.gate import Admit, Candidate, Hold, Kind, Readings, Refuse, Thresholds, Verdict, judge, timed
from foreman.core.job import ACTIVE, Hot, JobState, LoadKey
from foreman.core.lanes import Lane
from foreman.core.programs import matches
from foreman.core.pulls import is_pull
from foreman.core.residency import Swap, is_heavy
from foreman.engine.clock import Clock, millis
from foreman.engine.headroom import Headroom
from foreman.engine.live import Live, LiveJobs
from foreman.engine.machine import Machine
from foreman.engine.poller import SWAP_SECONDS, Poller
from foreman.engine.store import Store
from foreman.log import log_event

log = logging.getLogger(__name__)

# How often a held job is looked at again.
LOOK_SECONDS: Final = 5.0
# While a job runs, the machine is read so often, to know which part of its load is foreman's own.
SAMPLE_SECONDS: Final = 15.0
# What a client of foreman may be called that waits for a pull.
PULLING: Final = "ollama pull"
# So many load keys are judged at a time, those that wait longest.
JUDGED: Final = 200
# So many load keys are remembered as fitting; clients may think of any number.
REMEMBERED: Final = 10_000
# So many jobs of a load key are told to followers when it is held or released.
TOLD: Final = 100


class Gate:
    """What may be loaded now. `on` decides whether it holds anything; `look` answers either way."""

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
        self._arrived: set[str] = set()
        self._known: set[str] = set()
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
        heavy = [key for key in keys if self._is_heavy(key)]
        if heavy:
            await self._seen()
            heavy = [key for key in keys if self._is_heavy(key)]
        readings = await self.machine.readings() if heavy else Readings()
        verdicts = {key: (await self.look(key, readings))[1] for key in heavy}
        self._note({key: verdict for key, verdict in verdicts.items() if not self._all_override(key)})
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
        return [key for key in ready if key not in preferred.load_keys]

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

    def hold(self, load_key: LoadKey, override: str | None) -> Hold | None:
        """Why a waiting job of this load key is held, None where it is not."""
        if not self._verdicts or override is not None:
            return None
        verdict = self._verdicts.get(str(load_key))
        # A job that overrides the gate may have had it loaded meanwhile.
        return verdict if isinstance(verdict, Hold) and self._is_heavy(str(load_key)) else None

    def held(self) -> tuple[str, ...]:
        """The load keys whose jobs are to be taken for ones that are not ready."""
        return tuple(key for key, _ in self.holds() if self._is_heavy(key))

    def holds(self) -> list[tuple[str, Hold]]:
        """All load keys that are held, and why."""
        return [(key, verdict) for key, verdict in self._verdicts.items() if isinstance(verdict, Hold)]

    @property
    def unknown(self) -> tuple[str, ...]:
        """What could not be looked at when a load was let pass the last time, in words."""
        return self._unknown

    async def look(self, load_key: str, readings: Readings) -> tuple[Candidate, Verdict]:
        """What a load would need, and what the machine says to it."""
        now, thresholds = self._clock.time(), self.thresholds
        if is_pull(load_key):
            candidate = Candidate(Kind.PULL, LoadKey.parse(load_key).model)
            readings, thresholds = _for_pulls(readings, thresholds)
        else:
            candidate = await self.headroom.candidate(LoadKey.parse(load_key), readings)
        verdict = judge(candidate, readings, thresholds)
        return candidate, timed(verdict, self._verdicts.get(load_key), now, now + LOOK_SECONDS)

    async def ask(self, candidate: Candidate, earlier: Verdict | None = None) -> Verdict:
        """What the machine says to any other heavy start; `earlier` is what it said to the same one before."""
        if not self.on:
            return Admit()
        verdict = judge(candidate, await self.machine.readings(), self.thresholds)
        now = self._clock.time()
        return timed(verdict, earlier, now, now + LOOK_SECONDS)

    def is_heavy(self, load_key: str) -> bool:
        """Whether a job of this load key would have something loaded, or pulls."""
        return self._is_heavy(load_key)

    def heard(self, live: Live) -> None:
        """A job has changed: it may be of a load key that never fits, or the last one of one that is held."""
        if not self.on or live.lane is not Lane.LOCAL:
            return
        key = str(live.key)
        if live.override is not None:
            (self._forced.add if live.state is JobState.QUEUED else self._forced.discard)(live)
        if live.state is JobState.QUEUED and key not in self._known:
            self._arrived.add(key)
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
                await self._refuse()
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

    def _is_heavy(self, load_key: str) -> bool:
        if is_pull(load_key):
            return True
        key, models = LoadKey.parse(load_key), self._poller.models
        remote = names.parse(key.model).is_cloud or models.is_remote(key.model)
        return is_heavy(key, self._poller.residency, models, self._swap, remote=remote)

    def _note(self, verdicts: dict[str, Verdict]) -> None:
        """Take new verdicts for the old ones; log and tell what has changed."""
        before, self._verdicts = self._verdicts, verdicts
        for key in before.keys() | verdicts.keys():
            old, new = before.get(key), verdicts.get(key)
            if new is not None and not isinstance(new, Refuse) and _words(new) != _words(old):
                self._jobs.figures.judged(*_words(new))
            if isinstance(new, Hold) and not (isinstance(old, Hold) and old.cause is new.cause):
                _log_hold(key, new)
                self._jobs.lanes.moved_up(Lane.LOCAL)
                self._tell(key)
            elif isinstance(old, Hold) and not isinstance(new, Hold):
                self._log_end(key, old, new)
                self._tell(key)
            if isinstance(new, Refuse):
                self._arrived.add(key)
                self._due.set()
        unknown = {word for verdict in verdicts.values() if isinstance(verdict, Admit) for word in verdict.unknown}
        if verdicts and tuple(sorted(unknown)) != self._unknown:
            self._unknown = tuple(sorted(unknown))
            if unknown:
                log_event(log, logging.WARNING, "gate_blind", "a load passes unseen", unknown="; ".join(self._unknown))

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
        return (live for live in self._jobs if live.state is JobState.QUEUED and live.key == wanted)

    async def _refuse(self) -> None:
        """Fail the jobs of load keys that arrived and can never fit."""
        if self._arrived and self._poller.inventory is None:
            await self._seen()
        while self._arrived:
            key = self._arrived.pop()
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            self._known.add(key)
            if is_pull(key) or not self._is_heavy(key):
                continue
            _, verdict = await self.look(key, await self.machine.readings())
            if isinstance(verdict, Refuse):
                self._jobs.figures.judged(*_words(verdict))
                self._known.discard(key)  # what comes next under it is to fail too
                await self._fail(key, verdict)

    async def _fail(self, key: str, verdict: Refuse) -> None:
        try:
            ids = await self._store.refuse(key, NeverFits.code, verdict.text, millis(self._clock))
        except (StorageFull, StorageFailed) as error:
            log_event(log, logging.WARNING, "refusal_unsaved", "a refusal could not be written", error=error)
            return
        for job_id in ids:
            live = self._jobs.get(job_id)
            if live is None:
                self._jobs.local.depth.remove(LoadKey.parse(key).model, key)
                self._jobs.lanes.moved_up(Lane.LOCAL)
                self._jobs.figures.ended(Lane.LOCAL, LoadKey.parse(key).model, JobState.FAILED, code=NeverFits.code)
            else:
                live.relay.finish(NeverFits(verdict.text))
                self._jobs.gone(live, JobState.FAILED, code=NeverFits.code)
            log_event(
                log, logging.WARNING, "job_finished", "job failed", job=job_id, trace=live and live.trace, load_key=key,
                outcome=JobState.FAILED, error=NeverFits.code, needed=verdict.needed, there=verdict.there,
            )  # fmt: skip


def _for_pulls(readings: Readings, thresholds: Thresholds) -> tuple[Readings, Thresholds]:
    """The same, for a pull. Its disk is looked at where it is written, and by what is known to come. Who typed
    `ollama pull` may be waiting for this very job."""
    foreign = readings.foreign and tuple(text for text in readings.foreign if not matches(PULLING, text.split()))
    return replace(readings, foreign=foreign), replace(thresholds, disk_reserve=0)


def _words(verdict: Verdict | None) -> tuple[str, str]:
    """A verdict as it is counted: what it says, and the cause where there is one."""
    if verdict is None or isinstance(verdict, Admit):
        return "" if verdict is None else "admit", ""
    return "hold" if isinstance(verdict, Hold) else "refuse", verdict.cause


def _log_hold(key: str, hold: Hold) -> None:
    log_event(
        log, logging.INFO, "gate_held", "held: the machine has other things to do",
        load_key=key, cause=hold.cause, reason=hold.text, needed=hold.needed, there=hold.there,
    )  # fmt: skip
