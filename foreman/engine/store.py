"""The Store: where jobs live, as the engine sees it.

Owns the interface and the small values it speaks. Every time is unix milliseconds and passed in by the caller:
a store reads no clock. A call that changes something has fully happened, and will survive a power cut, when it
returns; once handed over it happens even if the caller is cancelled meanwhile. Knows nothing of SQL.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from foreman.core.estimate import Sample
from foreman.core.headroom import LoadSeen
from foreman.core.job import Answer, Chosen, Claim, HandBack, Job, JobState, NewJob, Next, Outcome, Payload
from foreman.core.lanes import Lane
from foreman.core.order import Waiting
from foreman.core.spread import Spread


@dataclass(frozen=True, slots=True)
class Submitted:
    """What became of a `submit`.

    `existing` is the job that has the key already, None for a new one; `seq` is that of the job which is there now.
    `same_request` says whether that job asks for the same, by its hash.
    """

    seq: int
    existing: Job | None = None
    same_request: bool = True


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs are looked for: those that fit everything named. No states means any state.

    `since` is the earliest `created_at`, `before` a `seq` that is just too new: the last one of an earlier answer.
    """

    states: frozenset[JobState] = frozenset()
    model: str | None = None
    client: str | None = None
    since: int | None = None
    before: int | None = None


@dataclass(frozen=True, slots=True)
class Finished:
    """What became of a `finish` or `hand_back`.

    `applied` is False when the caller no longer owned the job; then nothing was changed and nothing claimed.
    `state` is the job's state afterwards, None for an unknown job. `next` is the job claimed in the same step, and
    `chosen` whether the one that was to be claimed is.
    """

    applied: bool
    state: JobState | None
    next: Claim | None = None
    chosen: bool = False


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try. `n` counts all tries, also those a hand-back did not count.

    `outcome` is a finished state, `requeued` or `crashed`; None while the try runs.
    """

    n: int
    started_at: int
    ended_at: int | None
    outcome: str | None
    error_code: str | None
    error: str | None


@dataclass(frozen=True, slots=True)
class StoreUsage:
    """Sizes in bytes, and the version of the SQLite library that is really loaded."""

    db_bytes: int
    wal_bytes: int
    sqlite_version: str


class Store(Protocol):
    """All methods that write raise StorageFull (no room) or StorageFailed (locked, damaged, closed);
    all that read raise StorageFailed. `failed` resolves when the store can never write again."""

    failed: asyncio.Future[BaseException]
    commits: Spread  # what each took, in seconds

    async def submit(self, job: NewJob, claimed_at: int | None = None) -> Submitted:
        """Keep a new job; its `seq` is the place in the order of arrival. With `claimed_at` it is claimed as well.

        Where its client has used its `idem_key` before, nothing is kept and the earlier job is told. Raises ValueError
        for a job with an `idem_key` that is to be claimed.
        """

    async def submit_many(self, jobs: Sequence[NewJob]) -> Sequence[int]:
        """Keep all of them or none; their `seq`s. Raises ValueError for a job with an `idem_key`."""

    async def claim(self, wanted: Next, now: int) -> Claim | None:
        """Take the next job of a lane for this process and count the attempt.

        In the local lane first the oldest whose load key is hot, else the oldest whose model is hot, else the oldest of
        all, and none while one is in flight; in the remote lane the oldest, however many are in flight. A delayed job
        takes part from its `not_before` on. None when nothing is ready, or nothing but what has to give way.
        """

    async def finish(self, seq: int, outcome: Outcome, claim: Next | Chosen | None = None) -> Finished:
        """End a claimed job, and claim the next one in the same step when `claim` is given.

        A job somebody asked to cancel ends as cancelled, unless it is done.
        """

    async def hand_back(self, seq: int, back: HandBack, claim: Next | None = None) -> Finished:
        """Put a claimed job back in its place, or end it if somebody asked to cancel it; claims as `finish` does."""

    def note_working(self, seq: int, at: int) -> None:
        """Note that the first byte of the answer came at `at`. Not durable by itself: it rides with the next write."""

    async def cancel(self, id: str, at: int) -> JobState | None:  # noqa: A002
        """Cancel a queued job at once, mark a claimed one; the state afterwards, None for an unknown job."""

    async def refuse(self, load_key: str, code: str, error: str, at: int) -> Sequence[str]:
        """Fail the ready jobs of a load key that do not override the gate; their ids."""

    async def override(self, id: str, what: str) -> JobState | None:  # noqa: A002
        """Note what a queued job overrides; its state, None for an unknown one. Any other state: nothing was noted."""

    async def keep_forecast(self, loaded: LoadSeen) -> None:
        """Keep what a load took beside what was expected; the newest of each load key stay."""

    async def forecasts(self, limit: int) -> Sequence[LoadSeen]:
        """What loads took, the newest first."""

    async def rehearse(self, job: NewJob) -> None:
        """Keep a job and forget it in one step: whether there is room for one. It is never seen by anybody."""

    async def recover(self, now: int, drop_attached: bool) -> int:
        """Settle what an earlier process left in flight; to be called before anything else. Idempotent.

        Slots stay held: whoever holds one does so still.

        How many jobs were in flight.
        """

    async def active(self) -> Sequence[Job]:
        """The claimed jobs. After `recover`: the slots that are held since before, which are this process's now."""

    async def keep(self, id: str, kept: bool) -> bool:  # noqa: A002
        """Have a job stay when its time is over, or no longer; False for an unknown one."""

    async def forget(self, id: str) -> bool:  # noqa: A002
        """Delete a finished job with its bodies, also one that is kept; False for one unknown or not finished."""

    async def detach(self, id: str) -> bool:  # noqa: A002
        """Have an unfinished job run on without its client; False for any other."""

    async def set_paused(self, paused: bool, at: int) -> None:
        """Note for this process and those that follow that no job is to be begun, or that jobs may be again."""

    async def prune(self, before: int, max_bytes: int, limit: int = 200) -> int:
        """Forget some finished jobs: those finished before `before`, and the oldest while bodies exceed `max_bytes`.

        Jobs that are kept stay, and their bodies do not count. How many were forgotten, at most `limit`; the caller
        repeats until it is 0.
        """

    async def get(self, id: str) -> Job | None: ...  # noqa: A002

    async def payload(self, id: str) -> Payload | None: ...  # noqa: A002

    async def answer(self, id: str) -> Answer | None: ...  # noqa: A002

    async def attempts(self, id: str) -> Sequence[Attempt]: ...  # noqa: A002

    async def list(self, filter: JobFilter, limit: int) -> Sequence[Job]:  # noqa: A002
        """The newest jobs that fit, the newest first."""

    async def waiting(self, limit: int, now: int, lane: Lane = Lane.LOCAL) -> Sequence[Waiting]:
        """The oldest jobs of a lane that a claim at `now` could choose from, in the order of arrival."""

    async def ready_keys(self, limit: int, now: int) -> Sequence[str]:
        """The load keys of the jobs a claim at `now` could choose from, the one that waits longest first."""

    async def delayed(self, limit: int, now: int) -> Sequence[Job]:
        """The queued jobs that are not ready at `now`, by the time when they will be."""

    async def by_seq(self, seqs: Sequence[int]) -> Mapping[int, Job]:
        """Those of the jobs that are there."""

    async def repeatable(self) -> Sequence[tuple[Job, bytes]]:
        """The queued jobs whose requests may come again, each with its request's hash. Meant for the start."""

    async def paused(self) -> bool: ...

    async def samples(self) -> Sequence[Sample]:
        """What jobs that were done took, the newest of each load key, with the oldest first. Meant for the start."""

    async def depth(self, lane: Lane = Lane.LOCAL) -> dict[tuple[str, str], int]:
        """Queued jobs of a lane by (model, load key), delayed ones too. Costs time: meant for the start."""

    async def next_due(self) -> int | None:
        """When the first delayed job becomes ready."""

    async def oldest_queued(self) -> int | None:
        """When the queued job that waits longest was created."""

    async def oldest_by_model(self) -> Mapping[tuple[Lane, str], int]:
        """The same for each lane and model, without jobs whose time has not come."""

    async def usage(self) -> StoreUsage: ...
