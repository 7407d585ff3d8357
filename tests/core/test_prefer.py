"""The Prefer header: what is understood, what is ignored, and that the answer says only what was done."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreman.core.prefer import WAIT_LIMIT, Preference, preference

READ = {
    "": Preference(),
    "respond-async": Preference(0, "respond-async"),
    "Respond-Async": Preference(0, "respond-async"),
    "wait=5": Preference(5, "wait=5"),
    'WAIT = "5"': Preference(5, "wait=5"),
    "wait=0": Preference(0, "wait=0"),
    "respond-async, wait=5": Preference(5, "respond-async, wait=5"),
    "wait=5,respond-async": Preference(5, "respond-async, wait=5"),
    "return=minimal, respond-async; foo=bar": Preference(0, "respond-async"),
    "wait=5, wait=9": Preference(5, "wait=5"),  # the first counts (RFC 7240, 2)
    "wait=999999999999": Preference(WAIT_LIMIT, f"wait={WAIT_LIMIT}"),
    "wait=" + "9" * 5000: Preference(WAIT_LIMIT, f"wait={WAIT_LIMIT}"),
    "wait=-1": Preference(),
    "wait=1.5": Preference(),
    "wait=\u0665": Preference(),
    "wait": Preference(),
    "respond-asynchronously": Preference(),
    ",,;=": Preference(),
}


@pytest.mark.parametrize("header", READ)
def test_what_a_header_means(header: str) -> None:
    assert preference(header) == READ[header]


@given(st.text(alphabet='respond-async,wait=;" 0123456789\u00b2', max_size=40))
def test_nothing_malformed_breaks_it_and_what_is_applied_reads_back(header: str) -> None:
    read = preference(header)
    assert (read.wait is None) == (read.applied == "")
    assert read.wait is None or 0 <= read.wait <= WAIT_LIMIT
    assert preference(read.applied) == read


@given(st.text(max_size=40))
def test_any_text_is_a_header(header: str) -> None:
    assert preference(header).wait in (None, *range(WAIT_LIMIT + 1))
