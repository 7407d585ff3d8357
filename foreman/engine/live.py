"""The jobs of this process that are not finished yet: what is queued and by which load key, and who reads what.

The store holds the truth; here is only what it does not know: relays, the attempt under way, and counts that would be
too slow to ask for. Counts follow the results of the store, never the intention.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from foreman.core.job import Claim, Hot, Job, JobState, LoadKey, Mode
from foreman.engine.relay import Budget, Relay


@dataclass(slots=True, eq=False)
class Live:
    """One job: its relay, its state as people should see it, and the handles to stop it."""

    id: str
    model: str
    key: LoadKey
    path: str
    client: str
    relay: Relay
    created_at: int
    mode: Mode = Mode.ATTACHED
    seq: int = 0  # its place in the order of arrival, once the store has told it
    attempts: int = 0
    number: int = 0  # of the try under way, or of the last one
    hash: bytes | None = None  # of its request, where that may come again
    state: JobState = JobState.QUEUED
    loading: bool = False  # its model is being loaded right now
    attempt: asyncio.Task[object] | None = None
    cancelled: bool = False
    handed_back: bool = False
    busy: int = 0
    taken_at: float = 0.0  # monotonic seconds
    ended: asyncio.Event = field(default_factory=asyncio.Event)  # how it ended is in the store

    def __repr__(self) -> str:
        return f"<Live {self.id} {self.state} {self.key} {self.relay!r}>"


@dataclass(slots=True)
class Depth:
    """How many jobs are queued, by model and load key."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    total: int = 0

    def fill(self, counts: Mapping[tuple[str, str], int]) -> None:
        self.counts = Counter(counts)
        self.total = self.counts.total()

    def add(self, model: str, key: str) -> None:
        self.counts[model, key] += 1
        self.total += 1
        if self.counts[model, key] == 0:
            del self.counts[model, key]

    def remove(self, model: str, key: str) -> None:
        self.counts[model, key] -= 1
        self.total -= 1
        # A claim can be heard of before the submit it followed, so a count may be below zero for a moment.
        if self.counts[model, key] == 0:
            del self.counts[model, key]

    def wants(self, key: str) -> bool:
        """Whether a queued job has this load key."""
        return any(queued == key for _, queued in self._queued())

    def matches(self, hot: Hot) -> bool:
        """Whether the next claim would find a job that needs no swap."""
        return any(model in hot.models or key in hot.load_keys for model, key in self._queued())

    def by_model(self) -> dict[str, int]:
        models: Counter[str] = Counter()
        for model, key in self._queued():
            models[model] += self.counts[model, key]
        return dict(models.most_common())

    def _queued(self) -> Iterator[tuple[str, str]]:
        return (queued for queued, count in self.counts.items() if count > 0)


class LiveJobs:
    """All living jobs of this process by id, the queue's depth, and the event that wakes the worker."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._by_id: dict[str, Live] = {}
        self._by_request: dict[tuple[str, bytes], Live] = {}
        self.changed: Callable[[Live], None] = lambda _: None
        self.depth = Depth()
        self.running: Live | None = None
        self.endings = 0  # how many have left; who reads the store beside it can tell whether its answer is old
        self.wake = asyncio.Event()

    def __repr__(self) -> str:
        return f"<LiveJobs {self.depth.total} queued, running {self.running!r}>"

    def __iter__(self) -> Iterator[Live]:
        return iter(self._by_id.values())

    def __len__(self) -> int:
        return len(self._by_id)

    @property
    def held_bytes(self) -> int:
        """What all relays hold together."""
        return self._budget.used

    def get(self, job_id: str) -> Live | None:
        return self._by_id.get(job_id)

    def relay(self) -> Relay:
        return Relay(self._budget)

    def expect(self, live: Live) -> None:
        """It is on its way to the store. It must be known before it is there: the worker may be told first."""
        self._by_id[live.id] = live
        if live.hash is not None:
            self._by_request[live.client, live.hash] = live

    def refused(self, live: Live) -> None:
        """The store did not take it."""
        self._drop(live)

    def twin(self, client: str, request: bytes | None) -> Live | None:
        """The living job that came of the same request of the same client."""
        return None if request is None else self._by_request.get((client, request))

    def adopt(self, job: Job, request: bytes | None = None) -> Live:
        """A job of an earlier process, so that its answer can be waited for; it is counted already.

        `request` is the hash of its request, where that may come again.
        """
        live = Live(job.id, job.model, job.load_key, job.path, job.client, self.relay(), job.created_at, job.mode)
        live.seq, live.attempts, live.state, live.hash = job.seq, job.attempts, job.state, request
        self.expect(live)
        return live

    def queued(self, live: Live) -> None:
        """The store has it: count it and wake the worker."""
        self.depth.add(live.model, str(live.key))
        self.wake.set()
        self.changed(live)

    def taken(self, claim: Claim) -> Live:
        """The worker has claimed it. A job of an earlier process gets its relay only now."""
        job = claim.job
        live = self._by_id.get(job.id)
        if live is None:
            live = self.adopt(job)
        self.depth.remove(job.model, str(job.load_key))
        live.state = JobState.LOADING
        live.attempts = job.attempts
        live.number = claim.number
        live.cancelled = live.cancelled or job.cancel_requested
        self.running = live
        self.changed(live)
        return live

    def returned(self, live: Live) -> None:
        """It is queued again."""
        live.state = JobState.QUEUED
        live.attempt = None
        self.running = None
        self.depth.add(live.model, str(live.key))
        if live.relay.finished:
            # Its readers were told that this attempt has failed; the next one gets a relay of its own.
            live.relay = self.relay()
        self.changed(live)

    def gone(self, live: Live, state: JobState) -> None:
        """It is finished; who still reads holds the relay."""
        if live.state is JobState.QUEUED:
            self.depth.remove(live.model, str(live.key))
        if self.running is live:
            self.running = None
        live.state = state
        live.attempt = None
        self._drop(live)
        self.endings += 1
        live.ended.set()
        self.changed(live)

    def _drop(self, live: Live) -> None:
        self._by_id.pop(live.id, None)
        if live.hash is not None and self._by_request.get((live.client, live.hash)) is live:
            del self._by_request[live.client, live.hash]
