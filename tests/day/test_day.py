"""A day of mixed arrivals through the lanes: what the rule promises holds, and the page shows the waits it costs."""

import asyncio

import pytest

from foreman.core.job import JobState
from foreman.core.lanes import Lane
from tests.day import table
from tests.day.loop import LeapingLoop, here
from tests.day.plan import BETWEEN, DAY, Arrival, Kind, changes, longest_waits, plan
from tests.day.run import REMOTE_SLOTS, Done, wait
from tests.test_docs import DOCS, rows

BOTH = pytest.mark.parametrize("exclusive", [True, False], ids=["exclusive", "apart"])


def bounds(done: Done, lanes: tuple[Lane, ...]) -> list[tuple[float, float]]:
    """The wait of each job of these lanes, and the one that it cannot exceed if they wait for nobody else."""
    chosen = [(arrival, job) for arrival, job in done.jobs if arrival.kind.lane in lanes]
    longest = longest_waits([arrival for arrival, _ in chosen])
    return [(wait(job), bound) for (_, job), bound in zip(chosen, longest, strict=True)]


@BOTH
def test_every_job_runs_once_and_is_done(exclusive: bool) -> None:
    done = table.day(exclusive=exclusive)
    assert {arrival.kind for arrival, _ in done.jobs} == set(Kind)
    assert {(job.state, job.attempts) for _, job in done.jobs} == {(JobState.DONE, 1)}
    assert not any(done.border.running.values())


def test_lanes_that_take_turns_are_never_mixed() -> None:
    assert table.day(exclusive=True).border.mixed == 0


def overtaken(done: Done) -> int:
    """How many jobs began before an older one of the other lane."""
    latest = dict.fromkeys(Lane, 0)
    count = 0
    for job in sorted((job for _, job in done.jobs), key=lambda job: job.seq):
        began = job.claimed_at or 0
        count += began < latest[job.lane.other]
        latest[job.lane] = max(latest[job.lane], began)
    return count


def test_nobody_overtakes_an_older_job_of_the_other_lane_while_they_take_turns() -> None:
    assert overtaken(table.day(exclusive=True)) == 0
    assert overtaken(table.day(exclusive=False)) > 0


def test_lanes_that_do_not_take_turns_run_beside_each_other() -> None:
    assert table.day(exclusive=False).border.mixed > 0


@BOTH
def test_no_lane_exceeds_its_slots_and_each_uses_all_of_them(exclusive: bool) -> None:
    assert table.day(exclusive=exclusive).border.most == {Lane.LOCAL: 1, Lane.REMOTE: REMOTE_SLOTS}


def test_nobody_starves_while_the_lanes_take_turns() -> None:
    for waited, bound in bounds(table.day(exclusive=True), tuple(Lane)):
        assert waited <= bound


@pytest.mark.parametrize("lane", Lane)
def test_a_lane_that_takes_no_turns_waits_for_itself_alone(lane: Lane) -> None:
    for waited, bound in bounds(table.day(exclusive=False), (lane,)):
        assert waited <= bound


@BOTH
def test_models_are_changed_far_less_often_than_they_are_asked_for(exclusive: bool) -> None:
    done = table.day(exclusive=exclusive)
    loads = done.border.loads.total()
    assert loads < sum(bool(arrival.model) for arrival, _ in done.jobs) / 3
    assert loads < changes([arrival for arrival, _ in done.jobs]) * 2 / 3


def test_the_page_shows_the_waits() -> None:
    """`python -m tests.day` prints the table anew."""
    assert rows(DOCS / "lanes.md", "A day") == list(table.rows())


# -- what the day is made of


def test_a_plan_follows_from_its_seed_and_lasts_a_day() -> None:
    assert plan(1) == plan(1) != plan(2)
    times = [arrival.at for arrival in plan(1)]
    assert times == sorted(times)
    assert 0 <= times[0] < times[-1] < DAY


def test_the_longest_waits_are_those_until_a_pause() -> None:
    alone, first, second = (Arrival(at, Kind.PULL, 10) for at in (0.0, 100.0, 105.0))
    assert longest_waits([alone, first, second]) == [10 + BETWEEN, 20 + 2 * BETWEEN, 15 + 2 * BETWEEN]


def test_a_load_counts_to_what_others_wait() -> None:
    assert Arrival(0.0, Kind.CHAT, 10, "llama3:70b").worst == 50
    assert Arrival(0.0, Kind.PULL, 10).worst == 10


def test_a_share_of_the_waits() -> None:
    waits = [float(n) for n in range(1, 101)]
    assert [table.shorter_than(waits, share) for share in (0.5, 0.95, 1.0)] == [50, 95, 100]
    assert table.shorter_than([7.0], 0.5) == 7


def test_the_loop_leaps_and_hears_threads_first() -> None:
    async def day() -> tuple[float, str]:
        loop = here()
        with loop.leaping():
            said: asyncio.Future[str] = loop.create_future()
            loop.call_soon_threadsafe(said.set_result, "told")
            late = loop.call_later(DAY, said.cancel)
            told = await said
            late.cancel()
            await asyncio.sleep(DAY)
        return loop.time(), told

    with asyncio.Runner(loop_factory=LeapingLoop) as runner:
        assert runner.run(day()) == (DAY, "told")


def test_the_loop_does_not_hang_where_all_wait_for_nothing() -> None:
    async def hang() -> None:
        with here().leaping():
            await asyncio.Event().wait()

    with asyncio.Runner(loop_factory=LeapingLoop) as runner, pytest.raises(RuntimeError, match="for nothing"):
        runner.run(hang())
