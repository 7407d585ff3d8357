from bench.figures.spread import Spread
from bench.figures.turn import DIRECT, FOREMAN, NGINX, PASS_THROUGH, Run, Turn, percentiles


def run(**values: list[float]) -> Run:
    """Turns at one workload: a figure `x` by subject and round."""
    names = {"direct": DIRECT, "nginx": NGINX, "passing": PASS_THROUGH, "foreman": FOREMAN}
    rows = [(names[name], number, value) for name, found in values.items() for number, value in enumerate(found)]
    return Run([Turn("chat", subject, number, 1, {"x": value}) for subject, number, value in reversed(rows)])


def test_what_is_added_is_formed_inside_each_round() -> None:
    found = run(foreman=[9.0, 33.0, 6.0], direct=[1.0, 1.0, 2.0], passing=[5.0, 5.0, 4.0])
    assert found.subjects("chat") == [DIRECT, PASS_THROUGH, FOREMAN]
    assert found.values("chat", FOREMAN, "x") == [9.0, 33.0, 6.0]
    assert found.added("chat", FOREMAN, "x") == [8.0, 32.0, 4.0]
    assert found.added_spread("chat", FOREMAN, "x") == Spread(8.0, 4.0, 32.0)
    assert found.added_ratio("chat", "x", PASS_THROUGH) == Spread(2.0, 2.0, 8.0)
    assert found.ratio("chat", "x", PASS_THROUGH) == Spread(1.8, 1.5, 6.6)


def test_a_way_that_was_not_slower_than_the_direct_one_resolves_no_ratio() -> None:
    found = run(direct=[2.0, 2.0], nginx=[3.0, 1.9], foreman=[9.0, 9.0])
    assert found.added_ratio("chat", "x", NGINX) is None
    assert found.ratio("chat", "x", NGINX) is not None


def test_what_was_not_measured_is_none() -> None:
    found = run(direct=[2.0], foreman=[9.0])
    assert found.spread("chat", NGINX, "x") is None
    assert found.added_spread("chat", FOREMAN, "y") is None
    assert found.ratio("chat", "x", NGINX) is None
    assert found.added_ratio("none", "x", NGINX) is None


def test_percentiles_are_named() -> None:
    assert percentiles("gap", [1.0, 2.0, 3.0]) == {"gap_p50": 2.0, "gap_p90": 3.0, "gap_p99": 3.0}
    assert percentiles("gap", []) == {}
