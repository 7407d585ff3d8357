"""Where jobs come in: durable first, known to the worker second; the same request twice is one job.

Rules:
1. A job is accepted when the store has it on disk, and only then.
2. No durable step hangs on the caller's task: a client that leaves in the middle leaves a cancelled job, not half one.
3. Whoever asks again joins: the living job from its first byte, or the stored answer of the finished one.
"""

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from foreman.core.errors import (
    Draining,
    ForemanError,
    IdempotencyConflict,
    JobCancelled,
    JobFailed,
    JobNotFound,
    MaybeBilled,
    NeverFits,
    QueueFull,
    StorageFailed,
    StorageFull,
    TargetError,
    TargetGarbled,
    TargetLost,
    TargetMoved,
    TargetSilent,
    TargetStatus,
    TargetUnreachable,
)
from foreman.core.job import FINISHED, Job, JobState, Mode, NewJob
from foreman.core.submission import Submission
from foreman.core.trace import trace_of
from foreman.engine.clock import Clock, millis
from foreman.engine.ids import new_id
from foreman.engine.live import Live, LiveJobs
from foreman.engine.relay import Head, Reader, Relay
from foreman.engine.store import Store, Submitted
from foreman.engine.trouble import StoreTrouble

T = TypeVar("T")
Begin = Callable[[Live, NewJob, asyncio.Future[bool]], bool]

# How an attempt can end before there is an answer, by what is stored of it.
BEFORE_THE_ANSWER: Final[dict[str | None, type[ForemanError]]] = {
    kind.code: kind
    for kind in (TargetUnreachable, TargetLost, TargetSilent, TargetGarbled, TargetMoved, TargetStatus, MaybeBilled)
}


@dataclass(frozen=True, slots=True)
class Ticket:
    """A job somebody may read: its relay, living or filled from the store; `live` is None for a finished one.

    `attempt` tells which try the answer is of; `reader` is there already for who made the job and waits for it.
    """

    id: str
    path: str
    attempt: int
    relay: Relay
    live: Live | None
    joined: bool = False
    reader: Reader | None = None


class Intake:
    """Takes submissions in.

    `withdrawn` cancels a job whose client left while it was on its way to disk; `begin` is the worker's.
    """

    def __init__(
        self,
        store: Store,
        jobs: LiveJobs,
        clock: Clock,
        trouble: StoreTrouble,
        withdrawn: Callable[[Live], Awaitable[None]],
        begin: Begin,
        *,
        max_queued: int,
        max_attempts: int,
    ) -> None:
        self._store = store
        self._jobs = jobs
        self._clock = clock
        self._trouble = trouble
        self._max_queued = max_queued
        self._max_attempts = max_attempts
        self._submitting = 0
        self._aside: set[asyncio.Task[None]] = set()
        self._withdrawn = withdrawn
        self._begin = begin

    async def submit(self, submission: Submission) -> Ticket:
        """Accept a job, or join the one that this request already is.

        Raises QueueFull, IdempotencyConflict, StorageFull or StorageFailed.
        """
        twin = self._twin(submission)
        if twin is not None:
            return dataclasses.replace(ticket_of(twin), joined=True)
        self._check_room(1)
        job, live = self._made(submission)
        self._jobs.expect(live)
        # From the beginning, for a job that is begun at once may have ended before its client hears of it.
        reader = live.relay.reader() if submission.mode is Mode.ATTACHED else None
        submitted = None
        try:
            submitted = await self._written([live], self._keep(live, job, self._begun(live, job)))
        finally:
            if reader is not None and (submitted is None or submitted.existing is not None):
                reader.leave()
        if submitted.existing is None:
            return ticket_of(live, reader)
        return await self._joined(submitted.existing, same_request=submitted.same_request)

    async def submit_many(self, submissions: Sequence[Submission]) -> list[Live]:
        """Accept all of them in one step, or none. Raises QueueFull, StorageFull or StorageFailed."""
        self._check_room(len(submissions))
        made = [self._made(submission) for submission in submissions]
        lives = [live for _, live in made]
        for live in lives:
            self._jobs.expect(live)
        await self._written(lives, self._keep_many(made))
        return lives

    async def live(self, job_id: str) -> Live | None:
        """The living job of this id, also one of an earlier process; None for a finished or an unknown one."""
        while (live := self._jobs.get(job_id)) is None:
            endings = self._jobs.endings
            job = await self._store.get(job_id)
            if job is None or job.state in FINISHED:
                return None
            if self._jobs.endings == endings and self._jobs.get(job_id) is None:
                return self._jobs.adopt(job)
        return live

    async def ticket(self, job_id: str) -> Ticket:
        """A way to read a job's answer, wherever it stands.

        Raises JobNotFound, the error of a job that left no answer, or Draining.
        """
        live = await self.live(job_id)
        if live is not None and isinstance(live.relay.error, Draining):
            raise live.relay.error
        if live is not None and not live.relay.finished:
            return ticket_of(live)
        if live is not None:
            # Its answer is between memory and disk.
            await live.ended.wait()
        job = await self._store.get(job_id)
        if job is None:
            raise JobNotFound(f"there is no job {job_id}")
        answer = await self._store.answer(job.id)
        # Of an answer that was too long to be kept there is only the head: better an error than the start of nothing.
        if answer is None or not (answer.complete or answer.body):
            raise failure_of(job)
        error = None if answer.complete else failure_of(job)
        relay = self._jobs.relay()
        relay.fill(Head(answer.status, answer.headers), answer.body, error)
        tries = await self._store.attempts(job.id)
        return Ticket(job.id, job.path, tries[-1].n if tries else 0, relay, None)

    async def settled(self) -> None:
        """Wait until nothing is left to be written for clients that have gone."""
        await asyncio.gather(*self._aside)

    def _twin(self, submission: Submission) -> Live | None:
        """The living job that this request made when it was sent before. Where it has a key, the key alone decides."""
        if not submission.again or submission.idem_key is not None:
            return None
        twin = self._jobs.twin(submission.client, submission.key, submission.hash)
        return None if twin is None or twin.cancelled or twin.relay.finished else twin

    def _check_room(self, count: int) -> None:
        self._trouble.check()
        waiting = self._jobs.waiting + self._submitting
        if waiting + count > self._max_queued:
            raise QueueFull(f"the queue is full: {waiting} jobs wait, the limit is {self._max_queued}")

    def _made(self, new: Submission) -> tuple[NewJob, Live]:
        now = millis(self._clock)
        job = NewJob(
            id=new_id(now),
            model=new.model or new.key.model,
            load_key=new.key,
            mode=new.mode,
            payload=new.payload,
            max_attempts=1 if new.once else self._max_attempts,
            created_at=now,
            client=new.client,
            not_before=new.not_before,
            idem_key=new.idem_key,
            req_hash=new.hash,
            retry_of=new.retry_of,
            lane=new.lane,
            override=new.override,
        )
        return job, Live(
            id=job.id,
            model=job.model,
            key=new.key,
            path=new.payload.path,
            client=new.client,
            relay=self._jobs.relay(),
            created_at=now,
            mode=new.mode,
            lane=new.lane,
            override=new.override,
            hash=new.hash,
            trace=trace_of(new.payload.headers),
        )

    def _begun(self, live: Live, job: NewJob) -> asyncio.Future[bool] | None:
        """Have the worker begin a job that nothing stands before; what it waits for before it lets go of an answer."""
        if job.idem_key is not None or job.not_before or self._submitting:
            return None
        written: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        return written if self._begin(live, job, written) else None

    async def _keep(self, live: Live, job: NewJob, begun: asyncio.Future[bool] | None) -> Submitted:
        try:
            submitted = await self._store.submit(job, None if begun is None else job.created_at)
        except BaseException as error:
            self._refused([live], error)
            if begun is not None:
                begun.set_result(False)
            raise
        if submitted.existing is not None:
            self._jobs.refused(live)
            return submitted
        live.seq = submitted.seq
        if begun is None:
            self._jobs.queued(live, job)
        else:
            begun.set_result(True)
            self._jobs.changed(live)
        return submitted

    async def _keep_many(self, made: Sequence[tuple[NewJob, Live]]) -> None:
        try:
            seqs = await self._store.submit_many([job for job, _ in made])
        except BaseException as error:
            self._refused([live for _, live in made], error)
            raise
        for (job, live), seq in zip(made, seqs, strict=True):
            live.seq = seq
            self._jobs.queued(live, job)

    def _refused(self, lives: Sequence[Live], error: BaseException) -> None:
        told = error if isinstance(error, ForemanError) else StorageFailed("the job could not be stored")
        for live in lives:
            live.relay.finish(told)  # for who joined it meanwhile
            self._jobs.refused(live)
        if isinstance(error, StorageFull | StorageFailed):
            self._trouble.begin(error)

    async def _written(self, lives: list[Live], step: Coroutine[object, object, T]) -> T:
        """A step to its end, whatever becomes of the caller: jobs whose client left meanwhile are cancelled."""
        self._submitting += len(lives)
        write = asyncio.get_running_loop().create_task(self._counted(len(lives), step))
        try:
            return await asyncio.shield(write)
        except asyncio.CancelledError:
            task = asyncio.get_running_loop().create_task(self._withdraw(lives, write))
            self._aside.add(task)
            task.add_done_callback(self._aside.discard)
            raise

    async def _counted(self, count: int, step: Coroutine[object, object, T]) -> T:
        try:
            return await step
        finally:
            self._submitting -= count

    async def _withdraw(self, lives: list[Live], write: asyncio.Future[T]) -> None:
        """The client left while its jobs were on the way to disk: cancel there what is its own."""
        try:
            written = await write
        except ForemanError:
            return
        if not isinstance(written, Submitted) or written.existing is None:
            for live in lives:
                await self._withdrawn(live)

    async def _joined(self, job: Job, *, same_request: bool) -> Ticket:
        if not same_request:
            raise IdempotencyConflict(f"this Idempotency-Key was used for another request, job {job.id}", job.id)
        try:
            return dataclasses.replace(await self.ticket(job.id), joined=True)
        except (JobCancelled, JobFailed, NeverFits, TargetError) as error:
            relay = self._jobs.relay()
            relay.finish(error)
            return Ticket(job.id, job.path, job.attempts, relay, None, joined=True)


def ticket_of(live: Live, reader: Reader | None = None) -> Ticket:
    return Ticket(live.id, live.path, live.number, live.relay, live, reader=reader)


def failure_of(job: Job) -> ForemanError:
    """What a reader is told of a finished job that left no whole answer."""
    if job.state is JobState.CANCELLED:
        return JobCancelled(job.error or "the job was cancelled")
    if job.error_code == NeverFits.code:
        return NeverFits(job.error or "")
    if job.error_code in BEFORE_THE_ANSWER:
        return BEFORE_THE_ANSWER[job.error_code](job.error or "")
    return JobFailed(job.error or "the answer was too long to be kept", job.error_code or "not_kept")
