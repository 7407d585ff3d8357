"""The engine: what the web layer talks to. Takes jobs in, lets readers at their answers, cancels, drains, reports.

Rules:
1. A job is accepted when the store has it on disk, and only then.
2. No durable step hangs on the caller's task: a client that leaves in the middle leaves a cancelled job, not half one.
3. While draining nothing is accepted and nothing is cancelled for a client that had to be sent away.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from foreman.core import slots
from foreman.core.errors import Draining, JobCancelled, JobFinished, JobNotFound, StorageFailed, StorageFull
from foreman.core.estimate import History
from foreman.core.job import ACTIVE, Claim, Hot, Job, JobState, Mode
from foreman.core.labels import label
from foreman.core.lanes import Lane
from foreman.core.slots import is_slot
from foreman.core.submission import Submission
from foreman.core.upkeep import is_upkeep
from foreman.engine.clock import Clock, millis
from foreman.engine.departures import Departures
from foreman.engine.events import Events
from foreman.engine.executor import Executor
from foreman.engine.forecast import Forecast
from foreman.engine.gate import Gate
from foreman.engine.held import Held
from foreman.engine.intake import Intake, Ticket
from foreman.engine.lag import Lag
from foreman.engine.live import Live, LiveJobs
from foreman.engine.overrides import Overrides
from foreman.engine.patience import Limits
from foreman.engine.poller import Poller
from foreman.engine.relay import Reader
from foreman.engine.reloads import Reloads
from foreman.engine.remote import RemoteLane
from foreman.engine.rules import Rules
from foreman.engine.settlement import Settlement
from foreman.engine.start import Start
from foreman.engine.store import Store
from foreman.engine.target import Target
from foreman.engine.upstreams import Upstreams
from foreman.engine.worker import Worker
from foreman.log import log_event

log = logging.getLogger(__name__)

RETENTION_SECONDS: Final = 60.0
# After the drain: how long the worker may take to write down how the last job ended.
SETTLE_SECONDS: Final = 10.0
# The same where somebody asked twice to stop.
HURRY_SECONDS: Final = 0.5


class Engine:
    """One queue in two lanes, one target. `start`, then `run` until `drain` has returned."""

    def __init__(
        self,
        store: Store,
        target: Target,
        poller: Poller,
        gate: Gate,
        jobs: LiveJobs,
        clock: Clock,
        limits: Limits,
        rules: Rules,
        upstreams: Upstreams | None = None,
    ) -> None:
        self.store = store
        self.target = target
        self.poller = poller
        self.gate = gate
        self.jobs = jobs
        self.clock = clock
        self._rules = rules
        self.reloads = Reloads(poller, rules.swap, clock)
        self._settlement = Settlement(store, jobs, clock, self.reloads)
        self.upstreams = upstreams or Upstreams()
        self._executor = Executor(self._settlement, target, self.upstreams, poller, clock, limits)
        self._worker = Worker(self._executor, gate)
        self._remote = RemoteLane(self._executor)
        self._departures = Departures(self._executor.held, self.cancel, cancels=rules.on_client_gone == "cancel")
        self._intake = Intake(
            store,
            jobs,
            clock,
            self._settlement.trouble,
            self._departures.withdrawn,
            self._worker.begin,
            max_queued=rules.max_queued,
            max_attempts=rules.max_attempts,
        )
        self._overrides = Overrides(store, jobs, self._intake.live)
        self.draining = False
        self.forecast = Forecast(store, jobs, clock, self._preferred)
        self.events = Events(millis(clock))
        jobs.changed = gate.changed = self._changed
        self.started_at = clock.time()
        poller.came_back = jobs.lanes.wake
        jobs.lanes.open_keys = self._open_keys
        jobs.figures.naming = self._named
        self.lag = Lag(clock)
        jobs.lanes.group = self.upstreams.group
        gate.machine.known = jobs.upkeep_for

    def __repr__(self) -> str:
        return f"<Engine draining={self.draining}, {self.jobs!r}, {self.poller!r}>"

    def _named(self, lane: Lane, model: str) -> str:
        """What a job's model is called in the figures."""
        return label(lane, model, self.poller.models, self.upstreams.remotes)

    def _open_keys(self) -> tuple[str, ...] | None:
        """The load keys of the remote lane whose jobs may be begun; None where all may."""
        queued = (key for (_, key), count in self.jobs.remote.depth.counts.items() if count > 0)
        return self.upstreams.open_keys(queued, target=self.poller.reachable is not False)

    @property
    def storage_trouble(self) -> str:
        """What the store last complained of; empty while it takes writes."""
        return str(self._settlement.trouble.error or "")

    async def start(self) -> None:
        """Put back what an earlier process left, before anybody is listened to."""
        in_flight = await self.store.recover(millis(self.clock), self._rules.drop_attached)
        self._executor.orphaned = in_flight > 0
        for lane in Lane:
            self.jobs.lanes.of(lane).depth.fill(await self.store.depth(lane))
        for job, request in await self.store.repeatable():
            self.jobs.adopt(job, request)
        for job in await self.store.active():
            await self._find(job)
        self._settlement.history = self.forecast.history = History(await self.store.samples())
        self._executor.paused = await self.store.paused()
        await self.gate.headroom.start()
        if self.jobs.waiting:
            log_event(
                log,
                logging.INFO,
                "resumed",
                "jobs of an earlier process go on",
                queued=self.jobs.waiting,
                in_flight=in_flight,
            )
        self.jobs.lanes.wake()

    async def _find(self, job: Job) -> None:
        """A slot that is held since before this process: it keeps its lane until its holder is heard of, or expired."""
        payload = await self.store.payload(job.id)
        if payload is None:
            raise RuntimeError(f"slot {job.id} has no request")
        start = Start(self.jobs.adopt(job), Claim(job, payload, len(await self.store.attempts(job.id))))
        self.jobs.begun(start.live, start.claim)
        self.jobs.lanes.occupy(job.lane)
        self._executor.held.grant(job.id, slots.read(payload.body))
        (self._worker if job.lane is Lane.LOCAL else self._remote).found(start)
        log_event(log, logging.INFO, "slot_found", "a slot is held since before the start", job=job.id, lane=job.lane)

    async def run(self) -> None:
        """Work until drained. An error in any part ends all of it: better a restart than a part that stands still."""
        async with asyncio.TaskGroup() as group:
            trouble = self._settlement.trouble.watch(self.store, self.clock)
            parts = (self.poller.run(), self.gate.run(), self._forget(), self._watch_store(), trouble)
            aside = [group.create_task(part) for part in parts]
            for lane in [group.create_task(lane.run()) for lane in (self._worker, self._remote)]:
                await lane
            for task in aside:
                task.cancel()

    async def submit(self, submission: Submission) -> Ticket:
        """Accept a job, or join the one that this request already is; on return it is on disk.

        Raises Draining, QueueFull, IdempotencyConflict, StorageFull or StorageFailed.
        """
        self._check_open()
        ticket = await self._intake.submit(submission)
        if submission.override is not None and ticket.joined and ticket.live is not None:
            await self._overrides.note(ticket.live.id, submission.override)
        return ticket

    async def submit_many(self, submissions: Sequence[Submission]) -> list[Live]:
        """Accept all of them in one step, or none. Raises Draining, QueueFull, StorageFull or StorageFailed."""
        self._check_open()
        return await self._intake.submit_many(submissions)

    async def retry(self, job_id: str, override: str | None = None) -> Live:
        """Submit a failed or cancelled job's request again, as a detached job of its own; what it overrides stays.

        Raises JobNotFound, JobFinished (where it is not finished, or done), and as `submit_many`.
        """
        job = await self.job(job_id)
        payload = await self.store.payload(job_id)
        if payload is None:
            raise JobNotFound(f"there is no job {job_id}")
        if job.state not in (JobState.FAILED, JobState.CANCELLED):
            raise JobFinished(f"job {job_id} is {job.state}: only failed and cancelled jobs can be tried again")
        if is_slot(job.model):
            raise JobFinished(f"job {job_id} was a slot: ask for another with POST {slots.PATH}")
        key, mode, lane, override = job.load_key, Mode.DETACHED, job.lane, override or job.override
        again = Submission(
            payload, key, job.client, mode, retry_of=job_id, lane=lane, model=job.model, override=override
        )
        (live,) = await self.submit_many([again])
        return live

    async def job(self, job_id: str) -> Job:
        """A job as the store knows it. Raises JobNotFound."""
        job = await self.store.get(job_id)
        if job is None:
            raise JobNotFound(f"there is no job {job_id}")
        return job

    async def ticket(self, job_id: str) -> Ticket:
        """A way to read a job's answer. Raises JobNotFound, or JobCancelled or JobFailed where there is none."""
        return await self._intake.ticket(job_id)

    async def detach(self, live: Live) -> None:
        """Let a job run on without its client; on return that is on disk."""
        await self.store.detach(live.id)
        live.mode = Mode.DETACHED

    async def pause(self, paused: bool) -> None:
        """Begin no further job, or go on; on return that is on disk. What runs ends as always."""
        await self.store.set_paused(paused, millis(self.clock))
        self._executor.paused = paused
        self.jobs.lanes.wake()
        log_event(log, logging.INFO, "paused" if paused else "resumed", "the queue is paused" if paused else "goes on")

    def _changed(self, live: Live) -> None:
        self.forecast.changed()
        self.gate.heard(live)
        self.events.publish(live, self.gate.hold(live.key, live.override, live.lane))

    @property
    def paused(self) -> bool:
        return self._executor.paused

    def _preferred(self) -> Hot:
        """What the next local claim prefers: the running job's model, else what the target holds."""
        running = next(iter(self.jobs.in_lane(Lane.LOCAL)), None)
        # Neither upkeep nor a command changes anything of what is loaded.
        if running is None or is_upkeep(running.model) or is_slot(running.model):
            return self._worker.hot()
        return Hot((str(running.key),), (running.model,))

    def left(self, live: Live, reader: Reader, *, may_return: bool = False) -> None:
        """A reader is gone. `may_return`: its client sends a request again by itself when a connection fails."""
        self._departures.left(live, reader, may_return=may_return)

    async def cancel(self, job_id: str) -> JobState | None:
        """Cancel a job wherever it stands: the state it is in now, None for an unknown one.

        A queued job is cancelled at once, a running one as soon as the target has let go of it; a finished one stays.
        """
        live = await self._intake.live(job_id)
        if live is not None:
            self.jobs.cancelling(live)
            if live.state in ACTIVE:
                self._stop(live)
        state = await self.store.cancel(job_id, millis(self.clock))
        if state is JobState.CANCELLED and live is not None and live.state is JobState.QUEUED:
            live.relay.finish(JobCancelled("the job was cancelled"))
            self.jobs.gone(live, JobState.CANCELLED)
            log_event(
                log,
                logging.INFO,
                "job_finished",
                "job cancelled",
                job=live.id,
                trace=live.trace,
                model=live.model,
                path=live.path,
                client=live.client,
                waited_ms=millis(self.clock) - live.created_at,
                outcome=JobState.CANCELLED,
            )
        return state

    async def override(self, job_id: str, what: str) -> None:
        """Have a job that waits pass what holds it; on return that is on disk. Raises JobNotFound, or JobFinished."""
        await self._overrides.ask(job_id, what)

    def held(self, job_id: str) -> Held | None:
        """The slot that is held of a job of this id."""
        return self._executor.held.get(job_id)

    async def beat(self, job_id: str) -> tuple[Held, Live]:
        """The holder of a slot lives. Raises JobNotFound, or JobFinished where nobody holds it."""
        held, live = self._executor.held.get(job_id), self.jobs.get(job_id)
        if held is None or live is None:
            job = await self.job(job_id)
            raise JobFinished(f"slot {job_id} is not held by anybody, its job is {job.state}")
        held.beat()
        return held, live

    async def release(self, job_id: str, exit_status: int | None) -> None:
        """Give a slot back, or leave the queue for it; on return that is on disk. Raises as `beat`, and Draining."""
        job = await self.job(job_id)
        if is_slot(job.model) and job.state is JobState.QUEUED and await self.cancel(job_id) is JobState.CANCELLED:
            return
        held, live = await self.beat(job_id)
        if held.left:
            raise Draining("foreman is shutting down; the slot is held on, to be given back after the restart")
        held.release(exit_status)
        await live.ended.wait()

    async def drain(self, hurry: asyncio.Event) -> None:
        """Accept nothing more, let what runs end within the drain time (or until `hurry`), hand it back else."""
        self.draining = True
        self._departures.drain()
        self.events.end()
        self._executor.stop()
        for live in list(self.jobs):
            if live.state is JobState.QUEUED:
                live.relay.finish(Draining("foreman is shutting down; the job is kept and goes on after the restart"))
        idle = asyncio.create_task(self._idle())
        hurried = asyncio.create_task(hurry.wait())
        waits = (idle, hurried)
        await asyncio.wait(waits, timeout=self._rules.drain_seconds, return_when=asyncio.FIRST_COMPLETED)
        self._hand_back()
        await asyncio.wait(waits, timeout=SETTLE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if not idle.done():
            await asyncio.wait((idle,), timeout=HURRY_SECONDS)
            self._hand_back()  # the second time ends the wait for the target to let go
            await asyncio.wait((idle,), timeout=HURRY_SECONDS)
        for wait in waits:
            wait.cancel()

    async def _idle(self) -> None:
        await self._worker.idle.wait()
        await self._remote.idle.wait()

    def _check_open(self) -> None:
        if self.draining:
            raise Draining("foreman is shutting down")

    def _hand_back(self) -> None:
        for running in self.jobs.running:
            if running.attempt is not None:
                running.handed_back = True
                running.attempt.cancel()

    async def settled(self) -> None:
        """Wait until nothing is left to be written for clients that have gone."""
        await self._intake.settled()
        await self._departures.settled()

    def _stop(self, live: Live) -> None:
        """End a running attempt. A load that other queued jobs want is let finish: stopping it would cost them one."""
        if live.attempt is None or self._executor.held.get(live.id) is not None:
            return
        if live.loading and self.jobs.local.depth.wants(str(live.key)):
            log_event(
                log,
                logging.INFO,
                "load_kept",
                "a cancelled job's model loads on: others wait for it",
                job=live.id,
                trace=live.trace,
            )
        elif not live.attempt.cancelling():  # a second one would end the wait for the target to let go of the job
            live.attempt.cancel()

    async def _watch_store(self) -> None:
        error = await asyncio.shield(self.store.failed)
        raise StorageFailed("the database can no longer be written") from error

    async def _forget(self) -> None:
        """Delete finished jobs that are too old or take too much room, a few at a time."""
        pause = asyncio.Event()
        while True:
            before = millis(self.clock) - int(self._rules.retention_seconds * 1000)
            try:
                while await self.store.prune(before, self._rules.retention_bytes):
                    pass
            except (StorageFull, StorageFailed) as error:
                log_event(log, logging.WARNING, "prune_failed", "old jobs could not be deleted", error=error)
            await self.clock.wait(pause, RETENTION_SECONDS)
