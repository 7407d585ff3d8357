"""What is counted of jobs, and that it stays small."""

from foreman.core.gate import Admit, Cause, Hold, Refuse
from foreman.core.job import JobState, Outcome, Stats
from foreman.core.labels import OTHER
from foreman.core.lanes import Lane
from foreman.engine import figures
from foreman.engine.figures import Figures

STATS = Stats(waited_ms=2_000, load_ms=500, first_byte_ms=40, total_ms=3_000, prompt_tokens=7, output_tokens=9)


def counting() -> Figures:
    found = Figures()
    found.naming = lambda _, model: model
    return found


def test_a_job_that_ran_is_counted_with_all_it_took() -> None:
    found = counting()
    found.ended(Lane.LOCAL, "a", JobState.DONE, Outcome(JobState.DONE, 1, STATS))
    tally = found.jobs[Lane.LOCAL, "a"]
    assert tally.ends == {JobState.DONE: 1}
    assert (tally.prompt_tokens, tally.output_tokens) == (7, 9)
    spreads = (tally.waits, tally.loads, tally.first_tokens, tally.durations)
    assert [(spread.count, spread.sum) for spread in spreads] == [(1, 2.0), (1, 0.5), (1, 0.04), (1, 5.0)]


def test_what_did_not_happen_is_in_no_time() -> None:
    found = counting()
    found.ended(Lane.LOCAL, "a", JobState.CANCELLED)
    found.ended(Lane.LOCAL, "a", JobState.FAILED, Outcome(JobState.FAILED, 1, Stats(), error_code="status_500"))
    tally = found.jobs[Lane.LOCAL, "a"]
    assert (tally.waits.count, tally.loads.count, tally.first_tokens.count) == (1, 0, 0)
    assert tally.ends == {JobState.CANCELLED: 1, JobState.FAILED: 1}
    assert found.failures == {(Lane.LOCAL, "status_500"): 1}


def test_why_a_job_failed_that_never_ran_is_counted_too() -> None:
    found = counting()
    found.ended(Lane.LOCAL, "a", JobState.FAILED, code="never_fits")
    found.ended(Lane.REMOTE, "a", JobState.FAILED)
    assert found.failures == {(Lane.LOCAL, "never_fits"): 1, (Lane.REMOTE, OTHER): 1}


def test_names_and_causes_are_bounded() -> None:
    found = counting()
    for number in range(10_000):
        found.ended(Lane.LOCAL, f"model-{number}", JobState.FAILED, code=f"cause-{number}")
        found.tried_again(Lane.REMOTE, f"cause-{number}")
    assert len(found.jobs) == figures.NAMES + 1
    assert sum(tally.ends.total() for tally in found.jobs.values()) == 10_000
    for counts in (found.failures, found.retries):
        assert len(counts) == figures.CAUSES + 1
        assert counts.total() == 10_000
    assert found.name(Lane.LOCAL, "model-1") == "model-1"


def test_a_verdict_counts_when_it_is_new() -> None:
    found = counting()
    busy, full = Hold(Cause.LOAD, "", 1, 2), Hold(Cause.MEMORY, "", 1, 2)
    for before, verdict in ((None, busy), (busy, busy), (busy, full), (full, Admit()), (Admit(), Admit(("disk",)))):
        found.judged(verdict, before)
    found.judged(Refuse(Cause.MEMORY, "", 2, 1))
    assert found.verdicts == {("hold", "load"): 1, ("hold", "memory"): 1, ("admit", ""): 1, ("refuse", "memory"): 1}
