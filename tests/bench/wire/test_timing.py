from bench.servers.answers import STAMP_TEMPLATE
from bench.wire.connection import Exchange
from bench.wire.timing import Timing, gaps, span, timing


def stamp(arrived: int, written: int) -> bytes:
    return (STAMP_TEMPLATE % (arrived, written)).encode()


def test_the_stubs_own_time_is_taken_out() -> None:
    """Sent at 1,000 ns, at the stub at 3,000; it thinks until 103,000 and writes its last at 203,000."""
    exchange = Exchange(1_000, [(105_000, b"head " + stamp(3_000, 103_000)), (206_000, stamp(3_000, 203_000) + b"end")])
    assert timing(exchange) == Timing(first=4.0, total=5.0, delays=(2.0, 3.0))


def test_a_clock_that_is_cut_counts_when_its_last_byte_came() -> None:
    whole = stamp(3_000, 103_000)
    exchange = Exchange(1_000, [(105_000, whole[:20]), (107_000, whole[20:] + stamp(3_000, 104_000))])
    assert timing(exchange) == Timing(first=6.0, total=5.0, delays=(4.0, 3.0))


def test_an_answer_without_clocks_is_timed_to_its_end() -> None:
    assert timing(Exchange(1_000, [(5_000, b"a"), (9_000, b"b")])) == Timing(8.0, 8.0)


def test_a_span_is_from_the_first_request_to_the_last_byte() -> None:
    late, early = Exchange(3_000, [(4_000, b"a"), (9_000, b"b")]), Exchange(1_000, [(8_000, b"c")])
    assert span([late, early]) == 8e-6
    assert span([early]) == 7e-6


def test_a_gap_is_from_the_last_byte_to_the_next_arrival() -> None:
    assert gaps([(9_000, 12_000), (1_000, 5_000), (11_000, 15_000)]) == [4.0, -1.0]
    assert gaps([(1_000, 5_000)]) == []
