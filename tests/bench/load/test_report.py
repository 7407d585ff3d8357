from collections import Counter
from xml.etree import ElementTree

from bench.load.report import plot, progress, report
from bench.load.run import Result
from tests.bench.load.plans import plan

FOUND = Result(
    first_byte=[0.01, 0.02, 0.03],
    total=[0.1, 0.2, 0.4],
    failures=Counter({"status 503": 1}),
    said={"status 503": "queue full"},
    open=1,
    seconds=2.0,
)


def test_the_progress_is_one_line() -> None:
    assert progress(plan(), FOUND) == "████████████████···· 4 of 5, 1 open, 2.0 a second, p50 200 ms, 1 failed"
    assert progress(plan(), Result()) == "···················· 0 of 5, 0 open, 0.0 a second"


def test_the_report_has_percentiles_a_histogram_and_failures() -> None:
    lines = report(plan(), FOUND).splitlines()
    assert lines[0] == "3 of 5 chats answered in 2.0 s, 1.5 a second"
    assert lines[2].split() == ["p50", "p90", "p99", "max"]
    assert lines[4].split() == ["whole", "answer", "200.0", "ms", "400.0", "ms", "400.0", "ms", "400.0", "ms"]
    assert sum("█" in line for line in lines) == 3
    assert lines[-3] == "1 failed: status 503 (queue full)"
    assert lines[-1] == "stopped after 2.0 s; not asked or given up: 1"


def test_what_was_given_up_is_said() -> None:
    assert report(plan(), Result(seconds=1.0)).splitlines() == [
        "0 of 5 chats answered in 1.0 s, 0.0 a second",
        "",
        "stopped after 1.0 s; not asked or given up: 5",
    ]


def test_the_plot_names_the_run() -> None:
    texts = [one.text for one in ElementTree.fromstring(plot(plan(), FOUND)).iter("{http://www.w3.org/2000/svg}text")]
    assert texts[0] == "3 chats by 2 clients, streamed: llama3"
    assert {"first byte, ms", "whole answer, ms"} <= set(texts)
