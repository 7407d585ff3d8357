"""When a job is tried again, when it waits, when the answer is final."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreman.core.errors import TargetCut, TargetError, TargetGarbled, TargetLost, TargetSilent, TargetUnreachable
from foreman.core.job import Job, JobState, LoadKey, Mode
from foreman.core.lanes import Lane
from foreman.core.retry import Fail, Pass, Retry, RetryPolicy, Wait, after_error, after_status

POLICY = RetryPolicy(base=1.0, cap=60.0)
MIDDLE = 0.5  # the jitter that spreads nothing

CRASHED = "model runner has unexpectedly stopped, this may be due to resource limitations or an internal error"
CRASHED_LATE = "an error was encountered while running the model: unexpected EOF"
UNLOADABLE = [
    "llama-server process has terminated: exit status 2: error loading model",
    "llama runner process has terminated: signal: killed",
    "timed out waiting for llama-server to start - progress 0.00",
    "timed out waiting for llama runner to start",
    "llama-server reported out-of-memory during startup: cudaMalloc failed",
    "model requires more system memory (9.1 GiB) than is available (7.2 GiB)",
    "mlx runner failed: Error: no such file",
    "error loading model: unknown architecture",
    "unable to allocate CUDA0 buffer",
    "CUDA error: out of memory",
]


def job(attempts: int = 1, crashes: int = 0, max_attempts: int = 5) -> Job:
    return Job(
        seq=1,
        id="1",
        state=JobState.LOADING,
        lane=Lane.LOCAL,
        model="m:latest",
        load_key=LoadKey("m:latest"),
        path="/api/chat",
        mode=Mode.ATTACHED,
        client="",
        attempts=attempts,
        max_attempts=max_attempts,
        not_before=0,
        cancel_requested=False,
        created_at=0,
        crashes=crashes,
    )


def status(
    status: int, text: str = "", of: Job | None = None, *, retry_after: float | None = None, busy: int = 1
) -> Pass | Retry:
    return after_status(status, text, of or job(), retry_after=retry_after, busy=busy, policy=POLICY, jitter=MIDDLE)


def error(error: TargetError, of: Job | None = None, *, alive: bool) -> Retry | Wait | Fail:
    return after_error(error, of or job(), alive=alive, policy=POLICY, jitter=MIDDLE)


@pytest.mark.parametrize(
    ("failures", "seconds"), [(0, 1), (1, 1), (2, 2), (3, 4), (4, 8), (5, 16), (6, 32), (7, 60), (8, 60), (10**6, 60)]
)
def test_delays_double_up_to_the_cap(failures: int, seconds: float) -> None:
    assert POLICY.delay(failures, MIDDLE) == seconds


def test_jitter_spreads_a_delay_by_a_fifth() -> None:
    assert POLICY.delay(3, 0.0) == pytest.approx(3.2)
    assert POLICY.delay(3, 1.0) == pytest.approx(4.8)


POLICIES = st.builds(RetryPolicy, base=st.floats(0.001, 100), cap=st.floats(0.001, 1000))
JITTER = st.floats(0, 1)


@given(POLICIES, st.integers(0, 10**9), JITTER)
def test_a_delay_is_positive_and_bounded_whatever_the_count(policy: RetryPolicy, failures: int, jitter: float) -> None:
    delay = policy.delay(failures, jitter)
    assert 0.8 * min(policy.base, policy.cap) <= delay * (1 + 1e-9)
    assert delay <= 1.2 * policy.cap * (1 + 1e-9)


@given(POLICIES, JITTER)
def test_delays_never_shrink(policy: RetryPolicy, jitter: float) -> None:
    assert all(earlier <= later for earlier, later in pairwise(policy.delay(n, jitter) for n in range(40)))


def test_nothing_is_spent_while_the_target_is_down() -> None:
    for attempts in (1, 5, 50):
        assert error(TargetUnreachable("x"), job(attempts), alive=False) == Wait()


SENT = [TargetLost("x"), TargetSilent("x"), TargetGarbled("x"), TargetCut("x")]


@pytest.mark.parametrize("alive", [True, False])
@pytest.mark.parametrize("lost", SENT)
def test_what_was_sent_may_have_broken_the_target_and_stays_counted(lost: TargetError, *, alive: bool) -> None:
    assert error(lost, job(3), alive=alive) == Retry(4.0, counted=True)


@pytest.mark.parametrize("alive", [True, False])
@pytest.mark.parametrize("lost", SENT)
def test_the_last_attempt_fails_with_what_went_wrong(lost: TargetError, *, alive: bool) -> None:
    assert error(lost, job(4), alive=alive) != error(lost, job(5), alive=alive) == Fail(lost.code)


def test_a_target_that_answers_a_probe_but_no_job_uses_attempts_up() -> None:
    assert error(TargetUnreachable("x"), job(4), alive=True) == Retry(8.0, counted=True)
    assert error(TargetUnreachable("x"), job(5), alive=True) == Fail("target_unreachable")


@pytest.mark.parametrize("code", [200, 201, 204, 304, 400, 401, 403, 404, 405, 409, 413, 422, 501, 505])
@pytest.mark.parametrize("text", ["", "model 'nope' not found", CRASHED, "out of memory"])
def test_these_statuses_are_the_last_word(code: int, text: str) -> None:
    assert status(code, text) == Pass()


@pytest.mark.parametrize("text", ["", "invalid format", "template: :1: unexpected EOF", '{"error":"x"}'])
def test_a_500_of_unknown_cause_is_the_last_word(text: str) -> None:
    assert status(500, text) == Pass()


@pytest.mark.parametrize("code", [429, 503])
def test_a_busy_target_is_waited_for_without_spending_an_attempt(code: int) -> None:
    for attempts in (1, 5, 50):
        assert status(code, of=job(attempts), busy=3) == Retry(4.0, counted=False)


@pytest.mark.parametrize(
    ("asked", "after"), [(None, 4), (0, 4), (3.9, 4), (4.1, 4.1), (30, 30), (61, 60), (86_400, 60), (float("inf"), 60)]
)
def test_retry_after_is_followed_within_reason(asked: float | None, after: float) -> None:
    assert status(503, busy=3, retry_after=asked) == Retry(after, counted=False)


@pytest.mark.parametrize("text", UNLOADABLE)
def test_a_failed_load_is_tried_within_the_bound(text: str) -> None:
    for shown in (text, text.upper(), f"prefix: {text}\n"):
        assert status(500, shown, job(4)) == Retry(8.0)
        assert status(500, shown, job(5)) == Pass()
    assert status(400, text) == Pass()


@pytest.mark.parametrize("code", [499, 502, 504])
def test_what_failed_before_the_model_is_tried_within_the_bound(code: int) -> None:
    assert status(code, of=job(2)) == Retry(2.0)
    assert status(code, of=job(5)) == Pass()


@pytest.mark.parametrize("text", [CRASHED, CRASHED_LATE, CRASHED.upper()])
def test_a_crash_is_tried_once_more(text: str) -> None:
    assert status(500, text, job(1)) == Retry(1.0, crash=True)
    assert status(500, text, job(2, crashes=1)) == Pass()
    assert status(500, text, job(5)) == Pass()


def test_a_crash_counts_as_one_whatever_else_its_text_says() -> None:
    assert status(500, f"{CRASHED}: CUDA error: out of memory", job(2, crashes=1)) == Pass()


@given(
    st.integers(100, 599),
    st.sampled_from(["", CRASHED, *UNLOADABLE]),
    st.none() | st.floats(0),
    st.integers(1, 100),
    JITTER,
)
def test_every_refusal_ends(code: int, text: str, retry_after: float | None, busy: int, jitter: float) -> None:
    """Only a busy target is asked without end; all else comes to its last word within the attempts."""
    attempts = crashes = 0
    while True:
        attempts += 1
        decision = after_status(
            code, text, job(attempts, crashes), retry_after=retry_after, busy=busy, policy=POLICY, jitter=jitter
        )
        if isinstance(decision, Pass):
            return
        assert 0.8 <= decision.after <= 1.2 * POLICY.cap
        if not decision.counted:
            assert code in (429, 503)
            return
        crashes += decision.crash
        assert attempts < 5
        assert crashes < 2
