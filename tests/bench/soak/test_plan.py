import pytest

from bench.soak.plan import Plan


@pytest.mark.parametrize("seconds", [20.0, 600.0, 7200.0])
def test_foreman_is_restarted_before_it_is_watched_and_the_target_dies_in_both_halves(seconds: float) -> None:
    plan = Plan(seconds=seconds)
    assert 0 < plan.killed_at < plan.stopped_at < plan.watched_from < seconds / 1.5
    assert plan.target_lives * 2 < seconds - plan.watched_from
    assert (seconds - plan.watched_from) / plan.read_every == pytest.approx(30)
