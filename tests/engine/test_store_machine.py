"""The store against a model of it in plain Python: states, order, attempts, over restarts and a moving clock."""

import asyncio
import shutil
import tempfile
from collections import Counter
from collections.abc import Coroutine
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from foreman.core.errors import StorageFailed
from foreman.core.job import ACTIVE, FINISHED, Chosen, Claim, Hot, Job, JobState, Mode, NewJob, Next
from foreman.core.lanes import Lane
from foreman.core.order import Waiting
from foreman.engine.sqlite import SqliteStore
from foreman.engine.store import Finished, JobFilter, Submitted
from tests.engine.stored import back, done, failed, job_id, new_job

T = TypeVar("T")

MODELS = ("a", "b", "c", "far")
CLIENTS = ("", "x")
KEYS = tuple(f"{model}{tail}" for model in MODELS for tail in ("", "?num_ctx=1"))
LOCAL_KEYS = tuple(key for key in KEYS if not key.startswith("far"))
NEXT = st.builds(
    Next,
    st.builds(
        Hot,
        st.lists(st.sampled_from(KEYS), max_size=2).map(tuple),
        st.lists(st.sampled_from(MODELS), max_size=2).map(tuple),
    ),
    st.sampled_from(Lane),
    st.booleans(),
)


def lane_of(model: str) -> Lane:
    return Lane.REMOTE if model == "far" else Lane.LOCAL


@dataclass
class Expected:
    """What the model knows of a job."""

    id: str
    model: str
    key: str
    mode: Mode
    max_attempts: int
    not_before: int
    created_at: int
    client: str = ""
    idem_key: str | None = None
    req_hash: bytes | None = None
    kept: bool = False
    finished_at: int | None = None
    state: JobState = JobState.QUEUED
    attempts: int = 0
    crashes: int = 0
    cancel_requested: bool = False
    first_byte_at: int | None = None
    outcomes: list[str | None] = field(default_factory=list)
    answered: bool = False

    @property
    def lane(self) -> Lane:
        return lane_of(self.model)


class StoreMachine(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.runner = asyncio.Runner()
        self.jobs: dict[int, Expected] = {}
        self.ids = 0
        self.last = 0
        self.paused = False
        self.samples: list[tuple[str, int]] = []
        self.now = 1_000
        self.boots = 0
        self.open()

    def open(self) -> None:
        self.boots += 1
        self.opened: AbstractAsyncContextManager[SqliteStore] = SqliteStore.open(
            self.folder / "foreman.db", f"boot-{self.boots}"
        )
        self.store = self.run(self.opened.__aenter__())

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(coroutine)

    def teardown(self) -> None:
        if hasattr(self, "opened"):
            self.run(self.opened.__aexit__(None, None, None))
            self.runner.close()
            shutil.rmtree(self.folder)

    # The model.

    def active(self, lane: Lane = Lane.LOCAL) -> list[int]:
        return [seq for seq, job in self.jobs.items() if job.state in ACTIVE and job.lane is lane]

    def ready(self, lane: Lane) -> list[int]:
        queued = (seq for seq, job in self.jobs.items() if job.state is JobState.QUEUED and job.not_before == 0)
        return [seq for seq in queued if self.jobs[seq].lane is lane]

    def expect_claim(self, wanted: Next, claim: Claim | None) -> None:
        for job in self.jobs.values():
            if job.state is JobState.QUEUED and job.not_before <= self.now:
                job.not_before = 0
        hot, ready = wanted.hot, self.ready(wanted.lane)
        if wanted.gives_way:
            ready = [seq for seq in ready if all(seq < older for older in self.ready(wanted.lane.other))]
        if not ready or (wanted.lane is Lane.LOCAL and self.active()):
            assert claim is None
            return

        def rank(seq: int) -> tuple[int, int]:
            job = self.jobs[seq]
            if wanted.lane is Lane.REMOTE:
                return (0, seq)
            return (0 if job.key in hot.load_keys else 1 if job.model in hot.models else 2, seq)

        first = min(ready, key=rank)
        assert claim is not None
        assert claim.job.seq == first
        self.expect_claimed(first)

    def expect_claimed(self, seq: int) -> None:
        job = self.jobs[seq]
        job.state, job.attempts, job.first_byte_at = JobState.LOADING, job.attempts + 1, None
        job.outcomes.append(None)

    def end(self, job: Expected, state: JobState) -> None:
        job.state, job.finished_at, job.not_before = state, self.now, 0

    def id_of(self, seq: int) -> str:
        return self.jobs[seq].id if seq in self.jobs else job_id(0)

    def new(self, key: str, delay: int = 0, **values: Any) -> NewJob:
        model, _, tail = key.partition("?")
        self.ids += 1
        return new_job(
            self.ids,
            model,
            (("num_ctx", 1),) if tail else (),
            not_before=self.now + delay if delay else 0,
            created_at=self.now,
            lane=lane_of(model),
            **values,
        )

    def expect_new(self, new: NewJob, seq: int) -> None:
        assert seq > self.last
        self.last = seq
        self.jobs[seq] = Expected(
            new.id, new.model, str(new.load_key), new.mode, new.max_attempts, new.not_before, new.created_at,
            new.client, new.idem_key, new.req_hash,
        )  # fmt: skip

    def expect_end(self, seq: int, state: JobState, finished: Finished, following: Next | Chosen | None) -> None:
        """`state` is where the caller wants the job to go."""
        job = self.jobs.get(seq)
        if job is None or job.state not in ACTIVE:
            assert finished == Finished(applied=False, state=None if job is None else job.state)
            return
        if job.cancel_requested and state is not JobState.DONE:
            state = JobState.CANCELLED
        assert (finished.applied, finished.state) == (True, state)
        if state is JobState.QUEUED:
            job.state = state
        else:
            self.end(job, state)
        if state is JobState.DONE:
            self.samples.append((job.key, self.now))
        job.outcomes[-1] = "requeued" if state is JobState.QUEUED else state
        if isinstance(following, Next):
            self.expect_claim(following, finished.next)
            assert not finished.chosen
            return
        assert finished.next is None
        chosen = None if following is None else self.jobs.get(following.seq)
        stands = chosen is not None and chosen.state is JobState.QUEUED and not chosen.not_before
        assert finished.chosen == (stands and not self.active())
        if following is not None and finished.chosen:
            self.expect_claimed(following.seq)

    def some_seq(self, data: st.DataObject) -> int:
        """Most often a job in flight."""
        active = [*self.active(), *self.active(Lane.REMOTE)]
        some = st.sampled_from([*self.jobs, self.last + 1])
        one = st.sampled_from(active or [0])
        return data.draw(st.one_of(one, one, some) if active else some, "seq")

    # The rules.

    @rule(
        key=st.sampled_from(KEYS),
        delay=st.sampled_from((0, 0, 0, 5, 50)),
        mode=st.sampled_from(Mode),
        max_attempts=st.integers(1, 3),
        client=st.sampled_from(CLIENTS),
        idem_key=st.sampled_from((None, None, "k1", "k2")),
        req_hash=st.sampled_from((b"1", b"2")),
    )
    def submit(
        self, key: str, delay: int, mode: Mode, max_attempts: int, client: str, idem_key: str | None, req_hash: bytes
    ) -> None:
        new = self.new(
            key, delay, mode=mode, max_attempts=max_attempts, client=client, idem_key=idem_key, req_hash=req_hash
        )
        same = [
            seq
            for seq, job in self.jobs.items()
            if job.idem_key is not None and (job.client, job.idem_key) == (client, idem_key)
        ]
        submitted = self.run(self.store.submit(new))
        if same:
            existing = self.run(self.store.get(self.jobs[same[0]].id))
            assert submitted == Submitted(same[0], existing, self.jobs[same[0]].req_hash == req_hash)
        else:
            assert submitted == Submitted(submitted.seq)
            self.expect_new(new, submitted.seq)

    @rule(keys=st.lists(st.sampled_from(KEYS), max_size=3), broken=st.booleans())
    def submit_many(self, keys: list[str], broken: bool) -> None:
        many = [self.new(key) for key in keys]
        if broken and self.jobs:
            taken = replace(self.new("a"), id=next(iter(self.jobs.values())).id)
            with pytest.raises(StorageFailed, match="UNIQUE"):
                self.run(self.store.submit_many([*many, taken]))
        else:
            for new, seq in zip(many, self.run(self.store.submit_many(many)), strict=True):
                self.expect_new(new, seq)

    @rule(key=st.sampled_from(LOCAL_KEYS), max_attempts=st.integers(1, 3))
    def submit_claimed(self, key: str, max_attempts: int) -> None:
        new = self.new(key, max_attempts=max_attempts)
        if self.active():
            with pytest.raises(StorageFailed, match="UNIQUE"):
                self.run(self.store.submit(new, self.now))
            return
        submitted = self.run(self.store.submit(new, self.now))
        assert submitted == Submitted(submitted.seq)
        self.expect_new(new, submitted.seq)
        self.expect_claimed(submitted.seq)

    @rule(wanted=NEXT)
    def claim(self, wanted: Next) -> None:
        self.expect_claim(wanted, self.run(self.store.claim(wanted, self.now)))

    @precondition(lambda self: self.jobs)
    @rule(data=st.data(), well=st.booleans(), following=st.none() | NEXT | st.builds(Chosen, st.integers(1, 9)))
    def finish(self, data: st.DataObject, well: bool, following: Next | Chosen | None) -> None:
        seq = self.some_seq(data)
        outcome = done(self.now) if well else failed(self.now)
        if well and seq in (*self.active(), *self.active(Lane.REMOTE)):
            self.jobs[seq].answered = True
        self.expect_end(seq, outcome.state, self.run(self.store.finish(seq, outcome, following)), following)

    @precondition(lambda self: self.jobs)
    @rule(
        data=st.data(),
        delay=st.sampled_from((0, 5)),
        counted=st.booleans(),
        crash=st.booleans(),
        following=st.none() | NEXT,
    )
    def hand_back(self, data: st.DataObject, delay: int, counted: bool, crash: bool, following: Next | None) -> None:
        seq = self.some_seq(data)
        not_before = self.now + delay if delay else 0
        job = self.jobs.get(seq)
        if job is not None and job.state in ACTIVE:
            job.attempts -= not counted
            job.crashes += crash
            job.first_byte_at = None
            job.not_before = 0 if job.cancel_requested else not_before
        handed = self.run(
            self.store.hand_back(seq, back(self.now, not_before, counted=counted, crash=crash), following)
        )
        self.expect_end(seq, JobState.QUEUED, handed, following)

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def note_working(self, data: st.DataObject) -> None:
        seq = self.some_seq(data)
        self.store.note_working(seq, self.now)
        job = self.jobs.get(seq)
        if job is not None and job.state is JobState.LOADING:
            job.state, job.first_byte_at = JobState.WORKING, self.now

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        seq = self.some_seq(data)
        job = self.jobs.get(seq)
        if job is not None and job.state is JobState.QUEUED:
            self.end(job, JobState.CANCELLED)
            job.cancel_requested, job.idem_key = True, None
        elif job is not None and job.state in ACTIVE:
            job.cancel_requested, job.idem_key = True, None
        assert self.run(self.store.cancel(self.id_of(seq), self.now)) == (None if job is None else job.state)

    @precondition(lambda self: self.jobs)
    @rule(data=st.data(), kept=st.booleans())
    def keep(self, data: st.DataObject, kept: bool) -> None:
        seq = self.some_seq(data)
        assert self.run(self.store.keep(self.id_of(seq), kept)) == (seq in self.jobs)
        if seq in self.jobs:
            self.jobs[seq].kept = kept

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        seq = self.some_seq(data)
        ended = seq in self.jobs and self.jobs[seq].finished_at is not None
        assert self.run(self.store.forget(self.id_of(seq))) == ended
        if ended:
            del self.jobs[seq]

    @rule(age=st.integers(-1, 60), limit=st.integers(1, 3))
    def prune(self, age: int, limit: int) -> None:
        ended = [
            (job.finished_at, seq)
            for seq, job in self.jobs.items()
            if job.finished_at is not None and not job.kept and job.finished_at < self.now - age
        ]
        gone = sorted(ended)[:limit]
        assert self.run(self.store.prune(self.now - age, 1 << 40, limit)) == len(gone)
        for _, seq in gone:
            del self.jobs[seq]

    @rule(paused=st.booleans())
    def pause(self, paused: bool) -> None:
        self.run(self.store.set_paused(paused, self.now))
        self.paused = paused

    @rule(
        states=st.frozensets(st.sampled_from(JobState)),
        model=st.none() | st.sampled_from(MODELS),
        client=st.none() | st.sampled_from(CLIENTS),
        data=st.data(),
        limit=st.integers(0, 4),
    )
    def look_for(
        self, states: frozenset[JobState], model: str | None, client: str | None, data: st.DataObject, limit: int
    ) -> None:
        since = data.draw(st.none() | st.integers(900, self.now + 1), "since")
        before = data.draw(st.none() | st.integers(0, self.last + 2), "before")
        fitting = [
            seq
            for seq, job in reversed(self.jobs.items())
            if (not states or job.state in states)
            and model in (None, job.model)
            and client in (None, job.client)
            and (since is None or job.created_at >= since)
            and (before is None or seq < before)
        ]
        found = self.run(self.store.list(JobFilter(states, model, client, since, before), limit))
        assert [job.seq for job in found] == fitting[:limit]

    @rule(drop_attached=st.booleans(), times=st.integers(1, 2))
    def restart(self, drop_attached: bool, times: int) -> None:
        self.run(self.opened.__aexit__(None, None, None))
        self.open()
        for _ in range(times):
            self.run(self.store.recover(self.now, drop_attached))
        for job in self.jobs.values():
            if job.state in ACTIVE:
                job.outcomes[-1], job.first_byte_at = "crashed", None
                over = JobState.FAILED if job.attempts >= job.max_attempts else JobState.QUEUED
                over = JobState.CANCELLED if job.cancel_requested else over
                if over is JobState.QUEUED:
                    job.state = over
                else:
                    self.end(job, over)
            if drop_attached and job.mode is Mode.ATTACHED and job.state is JobState.QUEUED:
                self.end(job, JobState.CANCELLED)
                job.idem_key = None

    @rule(ms=st.sampled_from((1, 5, 60, -20)))
    def advance(self, ms: int) -> None:
        self.now += ms

    # What always holds.

    @invariant()
    def the_store_is_the_model(self) -> None:
        if hasattr(self, "opened"):
            self.run(self._compare())

    async def _compare(self) -> None:
        await self.store._writer.run(lambda db: db.execute("SELECT 1").fetchall())  # notes are in now
        stored = await self.store.by_seq([self.last + 1, *self.jobs])
        assert stored.keys() == self.jobs.keys()
        for seq, expected in self.jobs.items():
            job = stored[seq]
            assert _known(job) == (
                seq, expected.id, expected.state, expected.attempts, expected.crashes, expected.not_before,
                expected.cancel_requested, expected.first_byte_at, expected.finished_at,
                expected.client, expected.idem_key, expected.kept,
            )  # fmt: skip
            assert (job.finished_at is not None) == (job.state in FINISHED)
        queued = {seq: job for seq, job in self.jobs.items() if job.state is JobState.QUEUED}
        for lane in Lane:
            mine = {seq: job for seq, job in queued.items() if job.lane is lane}
            assert await self.store.depth(lane) == Counter((job.model, job.key) for job in mine.values())
            ready = [Waiting(seq, job.model, job.key) for seq, job in mine.items() if job.not_before <= self.now]
            assert await self.store.waiting(1_000, self.now, lane) == ready
        due = [job.not_before for job in queued.values() if job.not_before]
        assert await self.store.next_due() == min(due, default=None)
        delayed = [seq for seq, job in queued.items() if job.not_before > self.now]
        delayed.sort(key=lambda seq: (queued[seq].not_before, seq))
        assert [job.seq for job in await self.store.delayed(1_000, self.now)] == delayed
        assert await self.store.paused() == self.paused
        assert [(each.load_key, each.at) for each in await self.store.samples()] == self.samples
        if self.jobs:
            seq = max(self.jobs)
            last = self.jobs[seq]
            assert await self.store.get(last.id) == stored[seq]
            assert [each.outcome for each in await self.store.attempts(last.id)] == last.outcomes
            assert (await self.store.answer(last.id) is not None) == last.answered


def _known(job: Job) -> tuple[object, ...]:
    return (
        job.seq, job.id, job.state, job.attempts, job.crashes, job.not_before,
        job.cancel_requested, job.first_byte_at, job.finished_at, job.client, job.idem_key, job.kept,
    )  # fmt: skip


TestStoreMachine = StoreMachine.TestCase
TestStoreMachine.settings = settings(
    max_examples=40, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
