"""Metric families and their text."""

from foreman.core.spread import Spread
from foreman.web.families import as_text, counter, gauge, histogram, one


def test_the_text_of_each_kind() -> None:
    spread = Spread((0.5, 1.0))
    for value in (0.5, 0.7, 3.0):
        spread.add(value)
    families = [
        counter("f_jobs", "Jobs.", ("model",), [(("a",), 2), (('b"\n',), 1)]),
        gauge("f_depth", "Depth.", (), [((), 3)]),
        one("f_known", "Known.", 1),
        one("f_unknown", "Unknown.", None),
        histogram("f_wait_seconds", "Wait.", ("lane",), [(("local",), spread)]),
    ]
    lines = [line for line in as_text(families).decode().splitlines() if not line.startswith("#")]
    assert lines == [
        'f_jobs_total{model="a"} 2.0',
        'f_jobs_total{model="b\\"\\n"} 1.0',
        "f_depth 3.0",
        "f_known 1.0",
        'f_wait_seconds_bucket{lane="local",le="0.5"} 1.0',
        'f_wait_seconds_bucket{lane="local",le="1.0"} 2.0',
        'f_wait_seconds_bucket{lane="local",le="+Inf"} 3.0',
        'f_wait_seconds_count{lane="local"} 3.0',
        'f_wait_seconds_sum{lane="local"} 4.2',
    ]
