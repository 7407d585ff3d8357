"""Which trace a request belongs to: the forms of W3C Trace Context, and what becomes of all others."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreman.core.trace import carried, followed, trace_id, trace_of

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GOOD = f"00-{TRACE}-{PARENT}-01"


@pytest.mark.parametrize(
    "value", [GOOD, f"00-{TRACE}-{PARENT}-ff", f"cc-{TRACE}-{PARENT}-01", f"01-{TRACE}-{PARENT}-01-x"]
)
def test_a_well_formed_one_names_its_trace(value: str) -> None:
    assert trace_id(value) == TRACE


@pytest.mark.parametrize(
    "value",
    [
        "",
        GOOD + "-x",
        GOOD + "x",
        GOOD + " ",
        GOOD + "\n",
        " " + GOOD,
        GOOD[:-1],
        GOOD.upper(),
        GOOD.replace("-", "_"),
        f"ff-{TRACE}-{PARENT}-01",
        f"0-{TRACE}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[1:]}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-0g",
        f"01-{TRACE}-{PARENT}-01.x",
        f"01-{TRACE}-{PARENT}-01-{'x' * 600}",
        f"01-{TRACE}-{PARENT}-01-\u00e9",
        f"00-{'٣' * 32}-{PARENT}-01",
    ],
)
def test_a_malformed_one_is_no_ones(value: str) -> None:
    assert trace_id(value) is None
    assert followed((("traceparent", value), ("accept", "x"), ("tracestate", "a=b"))) == (("accept", "x"),)


@given(st.text())
def test_nothing_breaks_it(text: str) -> None:
    found = trace_id(text)
    assert found is None or len(found) == 32


def test_a_good_one_passes_with_its_state() -> None:
    headers = (("accept", "x"), ("traceparent", GOOD), ("tracestate", "a=b"), ("tracestate", "c=d"))
    assert followed(headers) is headers
    assert trace_of(headers) == TRACE


def test_two_are_none() -> None:
    headers = (("traceparent", GOOD), ("traceparent", GOOD))
    assert trace_of(headers) is None
    assert followed(headers) == ()


def test_state_without_a_trace_does_not_pass() -> None:
    assert followed((("tracestate", "a=b"),)) == ()
    assert trace_of(()) is None


def test_of_a_request_only_its_trace_is_carried() -> None:
    headers = [("Traceparent", GOOD), ("Authorization", "secret"), ("TraceState", "a=b")]
    assert carried(headers) == (("traceparent", GOOD), ("tracestate", "a=b"))
    assert carried([("Traceparent", "no"), ("TraceState", "a=b")]) == ()
