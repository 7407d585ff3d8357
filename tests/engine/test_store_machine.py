"""The store against a model of it in plain Python: states, order, attempts, over restarts and a moving clock."""

import asyncio
import shutil
import tempfile
from collections import Counter
from collections.abc import Coroutine
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from foreman.core.job import ACTIVE, FINISHED, Claim, Hot, Job, JobState, Mode
from foreman.engine.sqlite import SqliteStore
from foreman.engine.store import Finished, Submitted
from tests.engine.stored import back, done, failed, job_id, new_job

T = TypeVar("T")

MODELS = ("a", "b", "c")
KEYS = tuple(f"{model}{tail}" for model in MODELS for tail in ("", "?num_ctx=1"))
HOT = st.builds(
    Hot,
    st.lists(st.sampled_from(KEYS), max_size=2).map(tuple),
    st.lists(st.sampled_from(MODELS), max_size=2).map(tuple),
)


@dataclass
class Expected:
    """What the model knows of a job."""

    model: str
    key: str
    mode: Mode
    max_attempts: int
    not_before: int
    created_at: int
    state: JobState = JobState.QUEUED
    attempts: int = 0
    crashes: int = 0
    cancel_requested: bool = False
    first_byte_at: int | None = None
    outcomes: list[str | None] = field(default_factory=list)
    answered: bool = False


class StoreMachine(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.runner = asyncio.Runner()
        self.jobs: dict[int, Expected] = {}
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

    def active(self) -> int | None:
        return next((seq for seq, job in self.jobs.items() if job.state in ACTIVE), None)

    def expect_claim(self, hot: Hot, claim: Claim | None) -> None:
        for job in self.jobs.values():
            if job.state is JobState.QUEUED and job.not_before <= self.now:
                job.not_before = 0
        ready = [seq for seq, job in self.jobs.items() if job.state is JobState.QUEUED and job.not_before == 0]
        if not ready or self.active() is not None:
            assert claim is None
            return

        def rank(seq: int) -> tuple[int, int]:
            job = self.jobs[seq]
            return (0 if job.key in hot.load_keys else 1 if job.model in hot.models else 2, seq)

        first = min(ready, key=rank)
        assert claim is not None
        assert claim.job.seq == first
        job = self.jobs[first]
        job.state, job.attempts, job.first_byte_at = JobState.LOADING, job.attempts + 1, None
        job.outcomes.append(None)

    def expect_end(self, seq: int, state: JobState, finished: Finished, hot: Hot | None) -> None:
        """`state` is where the caller wants the job to go."""
        job = self.jobs.get(seq)
        if job is None or job.state not in ACTIVE:
            assert finished == Finished(applied=False, state=None if job is None else job.state)
            return
        if job.cancel_requested and state is not JobState.DONE:
            state = JobState.CANCELLED
        assert (finished.applied, finished.state) == (True, state)
        job.state = state
        job.outcomes[-1] = "requeued" if state is JobState.QUEUED else state
        if hot is None:
            assert finished.next is None
        else:
            self.expect_claim(hot, finished.next)

    def some_seq(self, data: st.DataObject) -> int:
        """Most often the job in flight."""
        active = self.active()
        some = st.integers(1, len(self.jobs) + 1)
        return data.draw(some if active is None else st.one_of(st.just(active), st.just(active), some), "seq")

    # The rules.

    @rule(
        key=st.sampled_from(KEYS),
        delay=st.sampled_from((0, 0, 0, 5, 50)),
        mode=st.sampled_from(Mode),
        max_attempts=st.integers(1, 3),
    )
    def submit(self, key: str, delay: int, mode: Mode, max_attempts: int) -> None:
        model, _, tail = key.partition("?")
        not_before = self.now + delay if delay else 0
        number = len(self.jobs) + 1
        options = (("num_ctx", 1),) if tail else ()
        new = new_job(
            number, model, options, mode=mode, max_attempts=max_attempts, not_before=not_before, created_at=self.now
        )
        assert self.run(self.store.submit(new)) == Submitted(number)
        self.jobs[number] = Expected(model, key, mode, max_attempts, not_before, self.now)

    @rule(hot=HOT)
    def claim(self, hot: Hot) -> None:
        self.expect_claim(hot, self.run(self.store.claim(hot, self.now)))

    @precondition(lambda self: self.jobs)
    @rule(data=st.data(), well=st.booleans(), hot=st.none() | HOT)
    def finish(self, data: st.DataObject, well: bool, hot: Hot | None) -> None:
        seq = self.some_seq(data)
        outcome = done(self.now) if well else failed(self.now)
        if well and seq == self.active():
            self.jobs[seq].answered = True
        self.expect_end(seq, outcome.state, self.run(self.store.finish(seq, outcome, hot)), hot)

    @precondition(lambda self: self.jobs)
    @rule(
        data=st.data(), delay=st.sampled_from((0, 5)), counted=st.booleans(), crash=st.booleans(), hot=st.none() | HOT
    )
    def hand_back(self, data: st.DataObject, delay: int, counted: bool, crash: bool, hot: Hot | None) -> None:
        seq = self.some_seq(data)
        not_before = self.now + delay if delay else 0
        job = self.jobs.get(seq)
        if job is not None and job.state in ACTIVE:
            job.attempts -= not counted
            job.crashes += crash
            job.first_byte_at = None
            job.not_before = 0 if job.cancel_requested else not_before
        handed = self.run(self.store.hand_back(seq, back(self.now, not_before, counted=counted, crash=crash), hot))
        self.expect_end(seq, JobState.QUEUED, handed, hot)

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
            job.state, job.not_before, job.cancel_requested = JobState.CANCELLED, 0, True
        elif job is not None and job.state in ACTIVE:
            job.cancel_requested = True
        assert self.run(self.store.cancel(job_id(seq), self.now)) == (None if job is None else job.state)

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
                job.state = JobState.CANCELLED if job.cancel_requested else over
            if drop_attached and job.mode is Mode.ATTACHED and job.state is JobState.QUEUED:
                job.state, job.not_before = JobState.CANCELLED, 0

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
        for seq, expected in self.jobs.items():
            job = await self.store.get(job_id(seq))
            assert job is not None
            assert _known(job) == (
                seq, expected.state, expected.attempts, expected.crashes, expected.not_before,
                expected.cancel_requested, expected.first_byte_at, expected.state in FINISHED,
            )  # fmt: skip
        queued = [job for job in self.jobs.values() if job.state is JobState.QUEUED]
        assert await self.store.depth() == Counter((job.model, job.key) for job in queued)
        assert await self.store.next_due() == min((job.not_before for job in queued if job.not_before), default=None)
        if len(self.jobs) > 0:
            last = job_id(len(self.jobs))
            assert [each.outcome for each in await self.store.attempts(last)] == self.jobs[len(self.jobs)].outcomes
            assert (await self.store.answer(last) is not None) == self.jobs[len(self.jobs)].answered


def _known(job: Job) -> tuple[object, ...]:
    return (
        job.seq, job.state, job.attempts, job.crashes, job.not_before,
        job.cancel_requested, job.first_byte_at, job.finished_at is not None,
    )  # fmt: skip


TestStoreMachine = StoreMachine.TestCase
TestStoreMachine.settings = settings(
    max_examples=50, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
