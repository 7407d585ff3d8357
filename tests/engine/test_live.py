"""The living jobs of a process: who is known, what is queued, whatever is heard of first."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, precondition, rule

from foreman.core.job import Claim, Hot, Job, JobState, LoadKey, Mode, Payload
from foreman.core.lanes import Lane
from foreman.engine.depth import Depth
from foreman.engine.live import Live, LiveJobs
from foreman.engine.relay import Budget, Head

SMALL = (("num_ctx", 2048),)
A, A_SMALL, B = LoadKey("a:latest"), LoadKey("a:latest", SMALL), LoadKey("b:latest")


def living(jobs: LiveJobs, number: int = 1, key: LoadKey = A, mode: Mode = Mode.ATTACHED) -> Live:
    return Live(str(number), key.model, key, "/api/chat", "curl 127.0.0.1", jobs.relay(), 1_000, mode)


def claim(live: Live, **changes: Any) -> Claim:
    values: dict[str, Any] = {
        "seq": int(live.id),
        "id": live.id,
        "state": JobState.LOADING,
        "lane": Lane.LOCAL,
        "model": live.model,
        "load_key": live.key,
        "path": live.path,
        "mode": live.mode,
        "client": live.client,
        "attempts": 1,
        "max_attempts": 5,
        "not_before": 0,
        "cancel_requested": False,
        "created_at": live.created_at,
    }
    return Claim(Job(**values | changes), Payload(live.path, (), b"{}"))


@pytest.fixture
def jobs() -> LiveJobs:
    return LiveJobs(Budget(100))


def counts(depth: Depth) -> dict[tuple[str, str], int]:
    assert depth.total == sum(depth.counts.values())
    return dict(depth.counts)


def test_a_job_is_known_before_it_is_counted(jobs: LiveJobs) -> None:
    live = living(jobs)
    jobs.expect(live)
    assert jobs.get("1") is live
    assert (jobs.local.depth.total, jobs.local.wake.is_set()) == (0, False)
    jobs.queued(live)
    assert (jobs.local.depth.total, jobs.local.wake.is_set()) == (1, True)


def test_a_refused_job_is_forgotten(jobs: LiveJobs) -> None:
    live = living(jobs)
    jobs.expect(live)
    jobs.refused(live)
    assert (jobs.get("1"), len(jobs), jobs.local.depth.total, jobs.local.wake.is_set()) == (None, 0, 0, False)


def test_a_claimed_job_runs_and_is_queued_no_more(jobs: LiveJobs) -> None:
    live = living(jobs)
    jobs.expect(live)
    jobs.queued(live)
    assert jobs.taken(claim(live)) is live
    assert (jobs.running, live.state, counts(jobs.local.depth)) == ([live], JobState.LOADING, {})


def test_a_job_of_an_earlier_process_gets_a_relay_of_its_own(jobs: LiveJobs) -> None:
    before = living(LiveJobs(Budget(1)), 7, A_SMALL, Mode.DETACHED)
    jobs.local.depth.fill({("a:latest", "a:latest?num_ctx=2048"): 1})
    live = jobs.taken(claim(before))
    assert live is not before
    assert (jobs.get("7"), jobs.running) == (live, [live])
    assert (live.id, live.model, live.key, live.path) == ("7", "a:latest", A_SMALL, "/api/chat")
    assert (live.client, live.mode, live.created_at) == ("curl 127.0.0.1", Mode.DETACHED, 1_000)
    assert live.relay is not before.relay
    assert counts(jobs.local.depth) == {}


@pytest.mark.parametrize(("asked", "requested"), [(True, False), (False, True), (True, True), (False, False)])
def test_a_cancel_is_heard_of_from_either_side(jobs: LiveJobs, *, asked: bool, requested: bool) -> None:
    live = living(jobs)
    jobs.expect(live)
    live.cancelled = asked
    assert jobs.taken(claim(live, cancel_requested=requested)).cancelled is (asked or requested)


def test_the_same_request_is_known_again_of_its_client_and_upkeep_of_everybody(jobs: LiveJobs) -> None:
    asked, pulled = living(jobs, 1), living(jobs, 2, LoadKey("pull a:latest"))
    for live in (asked, pulled):
        live.hash = b"h"
        jobs.expect(live)
    assert jobs.twin(asked.client, asked.key, b"h") is asked
    assert jobs.twin("another", asked.key, b"h") is None
    assert jobs.twin("another", pulled.key, b"h") is pulled
    assert jobs.twin("another", pulled.key, None) is None
    jobs.refused(pulled)
    assert jobs.twin(pulled.client, pulled.key, b"h") is None


def test_of_upkeep_of_one_model_only_the_last_is_joined(jobs: LiveJobs) -> None:
    key = LoadKey("create a:latest")
    first, second = living(jobs, 1, key), living(jobs, 2, key)
    for live, request in ((first, b"one"), (second, b"two")):
        live.hash = request
        jobs.expect(live)
    assert jobs.twin("anybody", key, b"one") is None
    assert jobs.twin("anybody", key, b"two") is second
    jobs.refused(first)
    assert jobs.twin("anybody", key, b"two") is second


def test_a_job_that_is_handed_back_is_queued_again_and_runs_no_more(jobs: LiveJobs) -> None:
    live = living(jobs)
    jobs.expect(live)
    jobs.queued(live)
    jobs.taken(claim(live))
    jobs.returned(live)
    assert (jobs.running, live.state, counts(jobs.local.depth)) == ([], JobState.QUEUED, {("a:latest", "a:latest"): 1})
    assert jobs.get("1") is live


@pytest.mark.parametrize("state", [JobState.DONE, JobState.FAILED, JobState.CANCELLED])
def test_a_finished_job_is_gone_but_not_for_who_holds_it(jobs: LiveJobs, state: JobState) -> None:
    queued, running = living(jobs, 1), living(jobs, 2)
    for live in (queued, running):
        jobs.expect(live)
        jobs.queued(live)
    jobs.taken(claim(running))
    jobs.gone(queued, state)
    assert jobs.running == [running]
    jobs.gone(running, state)
    assert (len(jobs), list(jobs), jobs.local.depth.total) == (0, [], 0)
    assert repr(jobs) == "<LiveJobs 0 queued, running []>"
    assert queued.state is running.state is state


def test_all_relays_share_one_budget(jobs: LiveJobs) -> None:
    for number in (1, 2):
        relay = living(jobs, number).relay
        relay.begin(Head(200, ()))
        relay.feed(b"x" * 40)
    assert jobs.held_bytes == 80


def test_depth_answers_what_is_wanted() -> None:
    depth = Depth()
    depth.fill({("b:latest", "b:latest"): 3, ("a:latest", "a:latest?num_ctx=2048"): 2, ("a:latest", "a:latest"): 4})
    assert depth.total == 9
    assert list(depth.by_model().items()) == [("a:latest", 6), ("b:latest", 3)]
    assert [depth.wants(key) for key in ("a:latest?num_ctx=2048", "b:latest", "b:latest?num_ctx=1")] == [1, 1, 0]


@pytest.mark.parametrize(
    ("hot", "matches"),
    [
        (Hot(), False),
        (Hot(("a:latest",), ("a:latest",)), False),
        (Hot(("b:latest",), ()), True),
        (Hot((), ("b:latest",)), True),
        (Hot(("b:latest?num_ctx=1",), ("b:latest",)), True),
        (Hot(("b:latest?num_ctx=1",), ()), False),
    ],
)
def test_depth_knows_whether_the_next_job_needs_a_swap(hot: Hot, *, matches: bool) -> None:
    depth = Depth()
    depth.add("b:latest", "b:latest")
    assert depth.matches(hot) is matches


def test_a_claim_heard_of_before_its_submit_is_no_job_that_waits(jobs: LiveJobs) -> None:
    live = living(jobs)
    jobs.expect(live)
    jobs.taken(claim(live))
    assert not jobs.local.depth.wants("a:latest")
    assert not jobs.local.depth.matches(Hot((), ("a:latest",)))
    assert jobs.local.depth.by_model() == {}
    jobs.queued(live)
    assert counts(jobs.local.depth) == {}


def test_they_say_in_a_word_how_they_stand(jobs: LiveJobs) -> None:
    live = living(jobs, 1, A_SMALL)
    jobs.expect(live)
    jobs.queued(live)
    assert repr(live) == "<Live 1 queued a:latest?num_ctx=2048 <Relay waiting, 0 bytes, 0 held, 0 readers>>"
    assert repr(jobs) == "<LiveJobs 1 queued, running []>"


@dataclass(eq=False)
class Known:
    """A job as the store has it, and whether its submitter was told already."""

    live: Live
    acked: bool = False
    taken: bool = False
    gone: bool = False


class Heard(RuleBasedStateMachine):
    """The results of submit, claim, hand-back and finish are heard of in any order that the store allows."""

    known = Bundle("known")

    def __init__(self) -> None:
        super().__init__()
        self.jobs = LiveJobs(Budget(100))
        self.all: list[Known] = []
        self.running: Known | None = None

    @rule(target=known, key=st.sampled_from([A, A_SMALL, B]))
    def submit(self, key: LoadKey) -> Known:
        known = Known(living(self.jobs, len(self.all) + 1, key))
        self.jobs.expect(known.live)
        self.all.append(known)
        return known

    @rule(known=known)
    def submit_heard(self, known: Known) -> None:
        if not known.acked:
            known.acked = True
            self.jobs.local.wake.clear()
            self.jobs.queued(known.live)
            assert self.jobs.local.wake.is_set()

    @rule(known=consumes(known))
    def submit_refused(self, known: Known) -> None:
        if known.acked or known.taken or known.gone:
            self.finish_heard(known)
            return
        self.jobs.refused(known.live)
        known.acked = known.gone = True

    @precondition(lambda self: self.running is None)
    @rule(known=known)
    def claim_heard(self, known: Known) -> None:
        if not known.gone:
            known.taken = True
            self.running = known
            assert self.jobs.taken(claim(known.live)) is known.live

    @precondition(lambda self: self.running is not None)
    @rule()
    def hand_back_heard(self) -> None:
        if self.running is not None:
            self.running.taken = False
            self.jobs.returned(self.running.live)
            self.running = None

    @rule(known=known)
    def finish_heard(self, known: Known) -> None:
        if not known.gone:
            known.gone = True
            self.jobs.gone(known.live, JobState.DONE)
            if self.running is known:
                self.running = None

    @invariant()
    def the_depth_is_what_the_store_has_but_for_what_was_not_heard_of(self) -> None:
        expected: Counter[tuple[str, str]] = Counter()
        for known in self.all:
            expected[known.live.model, str(known.live.key)] += known.acked - (known.taken or known.gone)
        found = counts(self.jobs.local.depth)
        assert found == {key: count for key, count in expected.items() if count}
        assert self.jobs.local.depth.by_model() == {
            model: total
            for model in ("a:latest", "b:latest")
            if (total := sum(n for (name, _), n in found.items() if name == model and n > 0))
        }
        for key in (A, A_SMALL, B):
            assert self.jobs.local.depth.wants(str(key)) == (found.get((key.model, str(key)), 0) > 0)

    @invariant()
    def the_living_are_known_and_one_runs(self) -> None:
        assert set(self.jobs) == {known.live for known in self.all if not known.gone}
        assert self.jobs.running == ([self.running.live] if self.running else [])

    def teardown(self) -> None:
        for known in self.all:
            self.submit_heard(known)
        self.the_depth_is_what_the_store_has_but_for_what_was_not_heard_of()
        assert all(count > 0 for count in self.jobs.local.depth.counts.values())


TestHeard = Heard.TestCase
TestHeard.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)
