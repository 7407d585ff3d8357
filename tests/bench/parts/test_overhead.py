import pytest

from bench.figures.turn import DIRECT, FOREMAN, NGINX, PASS_THROUGH
from bench.parts.overhead import figures_of, rotated
from bench.parts.workloads import WORKLOADS
from bench.wire.timing import Timing

BY_NAME = {workload.name: workload for workload in WORKLOADS}


def test_each_subject_is_first_as_often() -> None:
    subjects = [DIRECT, NGINX, PASS_THROUGH, FOREMAN]
    assert [rotated(subjects, turn)[0] for turn in range(5)] == [*subjects, DIRECT]
    assert sorted(rotated(subjects, 6)) == sorted(subjects)


def test_cpu_is_shared_out_among_requests_and_chunks() -> None:
    figures = figures_of(BY_NAME["long"], [Timing(10.0, 20.0, (1.0, 3.0)), Timing(30.0, 40.0, (5.0,))], 0.004, 2.0)
    assert figures["cpu"] == 2000.0
    assert figures["cpu_chunk"] == 10.0
    assert figures["rate"] == 1.0
    assert (figures["first_p50"], figures["first_p99"], figures["total_p50"]) == (10.0, 30.0, 20.0)
    assert (figures["delay_p50"], figures["delay_p99"]) == (3.0, 5.0)


@pytest.mark.parametrize("name", ["lone", "embeddings"])
def test_what_does_not_belong_to_a_workload_is_not_told(name: str) -> None:
    figures = figures_of(BY_NAME[name], [Timing(10.0, 20.0, (1.0,))], 0.004, 2.0)
    assert "delay_p50" not in figures
    assert ("cpu" in figures) is (name == "lone")
