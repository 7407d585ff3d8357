import os
import sys

import pytest

from bench.servers.cores import available_cores, pinned, shared_out


def test_the_last_core_is_the_subjects() -> None:
    cores = available_cores()
    others, subjects = shared_out()
    assert subjects == cores[-1:]
    assert others == (cores[:-1] or cores)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux pins")
def test_a_process_is_pinned_and_let_go() -> None:
    before = os.sched_getaffinity(0)
    with pinned([min(before)]):
        assert os.sched_getaffinity(0) == {min(before)}
    assert os.sched_getaffinity(0) == before
    with pinned([]):
        assert os.sched_getaffinity(0) == before


def test_the_subjects_keep_their_core_while_the_bench_is_pinned_to_the_others() -> None:
    shares = shared_out()
    with pinned(shares[0]):
        assert shared_out() == shares
