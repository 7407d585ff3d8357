"""The job that is chosen from memory is the very one that the store would have claimed."""

import sqlite3
from collections import Counter, deque
from collections.abc import Callable, Iterable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from foreman.core.job import Chosen, Claim, Hot, JobState, LoadKey, NewJob, Next
from foreman.engine import fresh as fresh_module
from foreman.engine import migrations, statements, steps
from foreman.engine.depth import Depth
from foreman.engine.fresh import LONGEST, Fresh
from foreman.engine.live import Live, LiveJobs
from foreman.engine.relay import Budget
from foreman.engine.start import begun
from tests.engine.stored import back, done, new_job

A, A_SMALL, B = LoadKey("a:latest"), LoadKey("a:latest", (("num_ctx", 1),)), LoadKey("b:latest")
KEYS = (A, A_SMALL, B)
LONG = b"x" * (LONGEST + 1)


def job(number: int, key: LoadKey = A, **changes: Any) -> NewJob:
    return new_job(number, key.model, load_key=key, **changes)


def first(fresh: Fresh, counts: dict[LoadKey, int], keys: Iterable[LoadKey] = KEYS) -> str | None:
    """The number of the job that is chosen where so many are queued."""
    depth = Depth()
    depth.fill({(key.model, str(key)): count for key, count in counts.items()})
    found = fresh.first(map(str, keys), depth)
    return None if found is None else found.id.lstrip("0")


@pytest.fixture
def fresh() -> Fresh:
    return Fresh()


def test_the_oldest_of_all_that_are_asked_for_is_chosen(fresh: Fresh) -> None:
    for seq, key in enumerate((B, A_SMALL, A, A_SMALL), 1):
        fresh.add(seq, job(seq, key))
    counts = {A: 1, A_SMALL: 2, B: 1}
    assert first(fresh, counts) == "1"
    assert first(fresh, counts, (A, A_SMALL)) == "2"
    assert first(fresh, counts, (A,)) == "3"
    assert first(fresh, counts, ()) is None


def test_where_nothing_is_queued_nothing_is_chosen(fresh: Fresh) -> None:
    assert first(fresh, {}) is None
    fresh.add(1, job(1, B))
    assert first(fresh, {B: 1}, (A,)) is None
    assert first(fresh, {B: 1}, (A, B)) == "1"


@pytest.mark.parametrize("unknown", [{"not_before": 1}, {"body": LONG}])
def test_one_that_only_the_store_knows_leaves_all_of_its_load_key_to_the_store(
    fresh: Fresh, unknown: dict[str, Any]
) -> None:
    fresh.add(1, job(1))
    fresh.add(2, job(2, **unknown))
    fresh.add(3, job(3, B))
    assert first(fresh, {A: 2, B: 1}) is None
    assert first(fresh, {A: 2, B: 1}, (B,)) == "3"


def test_the_longest_that_is_kept(fresh: Fresh) -> None:
    fresh.add(1, job(1, body=LONG[1:]))
    assert first(fresh, {A: 1}) == "1"


def test_all_together_are_bounded_and_what_goes_makes_room(fresh: Fresh, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fresh_module, "ALL", 250)
    for seq in (1, 2, 3):
        fresh.add(seq, job(seq, body=b"x" * 100))
    assert first(fresh, {A: 3}) is None
    assert first(fresh, {A: 2}) == "1"
    fresh.discard(job(1).id, str(A))
    fresh.discard(job(1).id, str(A))
    fresh.discard(job(9).id, str(B))
    fresh.add(4, job(4, body=b"x" * 100))
    assert first(fresh, {A: 2}) == "2"


def test_one_that_comes_out_of_order_is_left_to_the_store(fresh: Fresh) -> None:
    fresh.add(2, job(2))
    fresh.add(1, job(1))
    assert first(fresh, {A: 2}) is None
    assert first(fresh, {A: 1}) == "2"


def known(jobs: LiveJobs, number: int) -> tuple[Live, NewJob]:
    new = job(number)
    live = Live(new.id, new.model, A, new.payload.path, new.client, jobs.relay(), new.created_at, seq=number)
    jobs.expect(live)
    return live, new


@pytest.mark.parametrize("asked", ["before it is heard of", "after that", "and it is gone"])
def test_what_is_to_end_is_not_chosen(asked: str) -> None:
    jobs = LiveJobs(Budget(1))
    live, new = known(jobs, 1)
    if asked == "before it is heard of":
        jobs.cancelling(live)
    jobs.queued(live, new)
    if asked == "after that":
        assert jobs.chosen(hot_of([A])) == (live, new)
        jobs.cancelling(live)
    if asked == "and it is gone":
        jobs.gone(live, JobState.CANCELLED)
    other = known(jobs, 2)
    jobs.queued(*other)
    # It is still queued as far as anybody knows, so the store has to tell what comes next; once it is gone, not.
    assert jobs.chosen(hot_of([A])) == (other if asked == "and it is gone" else None)


def test_one_that_was_begun_in_vain_stands_where_it_stood_and_is_left_to_the_store() -> None:
    jobs = LiveJobs(Budget(1))
    live, new = known(jobs, 1)
    jobs.queued(live, new)
    jobs.begun(live, begun(new, 1, 5_000))
    assert (jobs.running, live.state, live.attempts, jobs.local.depth.total) == ([live], JobState.LOADING, 1, 1)
    jobs.unclaimed(live)
    assert (jobs.running, live.state, live.attempts, jobs.local.depth.total) == ([], JobState.QUEUED, 0, 1)
    assert jobs.chosen(hot_of([A])) is None


def hot_of(keys: Iterable[LoadKey]) -> Hot:
    return Hot(tuple(map(str, keys)), tuple(key.model for key in keys))


class Choices:
    """A store and what memory has heard of it, driven as the intake and the worker do.

    What is committed is heard of later, in the order of the commits. Between the choice of a job and the commit of it
    anything may be committed, as in life.
    """

    def __init__(self) -> None:
        self.db = sqlite3.connect(":memory:", isolation_level=None)
        migrations.migrate(self.db, Path("unused"))
        self.now = 10_000
        self.count = 0
        self.boots = 0
        self.boot()

    def boot(self) -> None:
        self.boots += 1
        self.owner = f"boot-{self.boots}"
        self.jobs = LiveJobs(Budget(1 << 20))
        self.unheard: deque[Callable[[], None]] = deque()
        self.untried: dict[str, NewJob] = {}
        self.current: Live | None = None
        self.following: Live | None = None

    # What the store does, and what is heard of it.

    def hear_all(self) -> None:
        while self.unheard:
            self.unheard.popleft()()

    def queued(self, live: Live, new: NewJob, seq: int) -> None:
        live.seq = seq
        self.jobs.queued(live, new)

    def cancelled(self, live: Live, state: JobState | None) -> None:
        if state is JobState.CANCELLED and live.state is JobState.QUEUED:
            self.jobs.gone(live, state)

    def took(self, claim: Claim | None) -> None:
        """The store has given the worker this job."""
        self.current = None if claim is None else self.jobs.taken(claim)
        if claim is not None:
            self.untried.pop(claim.job.id, None)

    def would_claim(self, hot: Hot) -> Claim | None:
        """What the store would give to the worker after the job at hand, which is looked at and undone."""
        assert self.current is not None
        self.db.execute("BEGIN")
        finished = steps.finish(self.db, self.owner, self.current.seq, done(self.now), None, Next(hot))
        self.db.execute("ROLLBACK")
        return finished.next

    def new(self, key: LoadKey, **changes: Any) -> tuple[Live, NewJob]:
        self.count += 1
        new = job(self.count, key, created_at=self.now, **changes)
        live = Live(new.id, new.model, key, new.payload.path, new.client, self.jobs.relay(), new.created_at, new.mode)
        self.jobs.expect(live)
        return live, new

    # The steps.

    def submit(self, key: LoadKey, delay: int, short: bool, max_attempts: int) -> None:
        not_before = self.now + delay if delay else 0
        live, new = self.new(key, not_before=not_before, body=b"{}" if short else LONG, max_attempts=max_attempts)
        seq = steps.submit(self.db, new).seq
        if short and not delay:
            self.untried[new.id] = new
        self.unheard.append(partial(self.queued, live, new, seq))

    def submit_many(self, keys: list[LoadKey]) -> None:
        made = [self.new(key) for key in keys]
        for (live, new), seq in zip(made, steps.submit_many(self.db, [new for _, new in made]), strict=True):
            self.untried[new.id] = new
            self.unheard.append(partial(self.queued, live, new, seq))

    def refuse(self, key: LoadKey) -> None:
        self.jobs.refused(self.new(key)[0])

    def hear(self) -> None:
        if self.unheard:
            self.unheard.popleft()()

    def cancel(self, nth: int, chosen: bool, written: bool) -> None:
        """Of the job that was just chosen, or of any. Where it is not written, the store was out of order."""
        lives = [self.following] if chosen and self.following is not None else list(self.jobs)
        if nth >= len(lives):
            return
        live = lives[nth]
        self.jobs.cancelling(live)
        self.untried.pop(live.id, None)
        if written:
            self.unheard.append(partial(self.cancelled, live, steps.cancel(self.db, live.id, self.now)))

    def advance(self, ms: int) -> None:
        self.now += ms

    def work(self, keys: list[LoadKey], again: int | None, counted: bool, begin: bool) -> None:
        """What the worker does next. `again`: the job at hand goes back to the queue, for so long."""
        if self.following is not None:
            self.commit()
        elif self.current is None:
            self.claim(keys)
        elif again is not None:
            self.hand_back(again, counted, keys)
        else:
            self.finish(keys, begin)

    def claim(self, keys: list[LoadKey]) -> None:
        claim = steps.claim(self.db, self.owner, Next(hot_of(keys)), self.now)
        self.hear_all()
        self.took(claim)

    def hand_back(self, delay: int, counted: bool, keys: list[LoadKey]) -> None:
        live = self.current
        assert live is not None
        handed = back(self.now, self.now + delay if delay else 0, counted=counted)
        finished = steps.hand_back(self.db, self.owner, live.seq, handed, Next(hot_of(keys)) if keys else None)
        self.hear_all()
        if finished.state is JobState.CANCELLED:
            self.jobs.gone(live, JobState.CANCELLED)
        else:
            self.jobs.returned(live)
        self.took(finished.next)

    def finish(self, keys: list[LoadKey], begin: bool) -> None:
        """What this is about: the job at hand has ended, and the next one is chosen where that can be done."""
        live, hot = self.current, hot_of(keys)
        assert live is not None
        expected, found = self.would_claim(hot), self.jobs.chosen(hot)
        if found is not None:
            following, new = found
            assert expected == begun(new, following.seq, self.now)
            assert new.load_key in keys
        elif not self.unheard:
            assert expected is None or expected.job.load_key not in keys or not self.all_untried(keys)
        if found is not None and begin:
            self.following = found[0]
            self.jobs.let_go(live)
            self.jobs.begun(found[0], begun(found[1], found[0].seq, self.now))
            self.chosen_at = self.now
            return
        finished = steps.finish(self.db, self.owner, live.seq, done(self.now), None, Next(hot))
        self.hear_all()
        self.jobs.gone(live, finished.state or JobState.DONE)
        self.took(finished.next)

    def commit(self) -> None:
        """The job that was chosen is claimed, unless it was cancelled in between."""
        live, following = self.current, self.following
        assert live is not None
        assert following is not None
        stands = self.state_of(following) is JobState.QUEUED
        finished = steps.finish(self.db, self.owner, live.seq, done(self.chosen_at), None, Chosen(following.seq))
        self.hear_all()
        assert finished.applied
        assert (finished.next, finished.chosen) == (None, stands)
        self.jobs.gone(live, finished.state or JobState.DONE)
        self.current = self.following = None
        self.untried.pop(following.id, None)
        if finished.chosen:
            self.current = following
            self.jobs.claimed(following)
        else:
            self.jobs.unclaimed(following)
            self.jobs.gone(following, JobState.CANCELLED)

    def restart(self, adopted: bool) -> None:
        """What an earlier process left is for the store to choose from, and nobody else."""
        self.boot()
        steps.recover(self.db, self.owner, self.now, drop_attached=False)
        self.jobs.local.depth.fill(self.depth())
        for (id_,) in self.db.execute("SELECT id FROM jobs WHERE state='queued'").fetchall() if adopted else ():
            ((row),) = self.db.execute(statements.JOB, (id_,)).fetchall()
            self.jobs.adopt(steps.job_of(row))

    # What always holds.

    def state_of(self, live: Live) -> JobState:
        ((state,),) = self.db.execute(statements.STATE_OF_ID, (live.id,)).fetchall()
        return JobState(state)

    def depth(self) -> dict[tuple[str, str], int]:
        counts: Counter[tuple[str, str]] = Counter()
        for key, count in self.db.execute(statements.DEPTH, {"lane": "local"}).fetchall():
            counts[LoadKey.parse(key).model, key] += count
        return counts

    def all_untried(self, keys: list[LoadKey]) -> bool:
        """Whether memory knows all there is to know of what is queued under these keys."""
        texts = set(map(str, keys))
        queued = self.db.execute("SELECT id, load_key FROM jobs WHERE state='queued'").fetchall()
        return all(id_ in self.untried for id_, key in queued if key in texts)

    def check(self) -> None:
        """The depth is what is committed and heard of, and one job is in flight at most."""
        if not self.unheard:
            counts = Counter(self.depth())
            if self.following is not None and self.state_of(self.following) is not JobState.QUEUED:
                counts[self.following.model, str(self.following.key)] += 1  # the worker will hear of its cancel
            assert self.jobs.local.depth.counts == counts
            assert self.jobs.local.depth.total == counts.total()
        assert self.jobs.running == [live for live in (self.following or self.current,) if live is not None]
        active = self.db.execute("SELECT seq FROM jobs WHERE state IN ('loading', 'working')").fetchall()
        assert active == ([] if self.current is None else [(self.current.seq,)])


def step(name: str, **values: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[str, dict[str, Any]]]:
    return st.tuples(st.just(name), st.fixed_dictionaries(values))


def rarely(value: Any, but: Any = None) -> st.SearchStrategy[Any]:
    return st.sampled_from((but,) * 19 + (value,))


MOSTLY_A = st.sampled_from((A, A, A, A_SMALL, B))
SUBMIT = step(
    "submit",
    key=MOSTLY_A,
    delay=rarely(3, 0) | rarely(100, 0),
    short=rarely(False, True),
    max_attempts=st.integers(1, 3),
)
WORK = step(
    "work",
    keys=st.lists(MOSTLY_A, max_size=2, unique=True),
    again=rarely(0) | rarely(3),
    counted=st.booleans(),
    begin=rarely(False, True),
)
MEANWHILE = (
    step("submit_many", keys=st.lists(MOSTLY_A, min_size=1, max_size=5))
    | step("refuse", key=MOSTLY_A)
    | step("hear")
    | step("hear_all")
    | step("cancel", nth=st.sampled_from((0, 0, 1, 2, 3, 5, 8)), chosen=st.booleans(), written=rarely(False, True))
    | step("advance", ms=st.sampled_from((1, 3, 100)))
)
RESTART = step("restart", adopted=st.booleans())
STEPS = SUBMIT | WORK | WORK | MEANWHILE
PROCESS = st.lists(STEPS, min_size=30, max_size=60)


@settings(max_examples=60, deadline=None, phases=set(Phase) - {Phase.explain})
@given(PROCESS, RESTART, PROCESS)
def test_a_choice_is_the_claim_of_the_store_whatever_happens(first: Any, restart: Any, second: Any) -> None:
    choices = Choices()
    with closing(choices.db):
        for name, values in (*first, restart, *second):
            getattr(choices, name)(**values)
            choices.check()
