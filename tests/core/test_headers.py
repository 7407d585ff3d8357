"""Which headers travel, and which stay with their hop."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from foreman.core.headers import Headers, answer_headers, request_headers, value_of

HOP = [
    "Connection",
    "Keep-Alive",
    "Proxy-Authenticate",
    "Proxy-Authorization",
    "Proxy-Connection",
    "TE",
    "Trailer",
    "Transfer-Encoding",
    "Upgrade",
]
PRIVATE = ["Authorization", "Cookie", "X-Api-Key", "Proxy-Authorization"]
CALLER = ["Host", "Origin", "Referer", "Sec-Fetch-Site", "Sec-CH-UA", "Access-Control-Request-Method"]
WAY = ["Via", "Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"]
OURS = ["Idempotency-Key", "Prefer", "X-Foreman-Job", "X-Foreman-Anything"]
FRAMING = ["Content-Length", "Accept-Encoding", "Expect"]


@pytest.mark.parametrize("name", HOP + PRIVATE + CALLER + WAY + OURS + FRAMING)
def test_kept_from_the_target(name: str) -> None:
    for spelled in (name, name.lower(), name.upper()):
        assert request_headers({spelled: "x", "Accept": "y"}) == (("accept", "y"),)


@pytest.mark.parametrize(
    "name", ["Content-Type", "Content-Encoding", "User-Agent", "Accept", "X-Stainless-Retry-Count", "X-Forward", "Sec"]
)
def test_travels_to_the_target(name: str) -> None:
    assert request_headers({name: "Any Value"}) == ((name.lower(), "Any Value"),)


@pytest.mark.parametrize(
    "name", [*HOP, "Date", "Server", "Set-Cookie", "Vary", "Access-Control-Allow-Origin", "X-Foreman-Error"]
)
def test_kept_from_the_client(name: str) -> None:
    for spelled in (name, name.lower(), name.upper()):
        assert answer_headers(((spelled, "x"), ("ETag", "y"))) == (("etag", "y"),)


@pytest.mark.parametrize(
    "name", ["Content-Type", "Content-Length", "Content-Encoding", "Retry-After", "WWW-Authenticate", "Location"]
)
def test_travels_to_the_client(name: str) -> None:
    assert answer_headers(((name, "Any Value"),)) == ((name.lower(), "Any Value"),)


def of_answer(headers: CIMultiDict[str]) -> Headers:
    return answer_headers(headers.items())


@pytest.mark.parametrize("passed", [request_headers, of_answer])
def test_what_connection_names_belongs_to_the_hop(passed: Callable[[CIMultiDict[str]], Headers]) -> None:
    headers = CIMultiDict([("Connection", "close, X-One"), ("connection", " x-two "), ("X-One", "1"), ("X-Two", "2")])
    headers["X-Three"] = "3"
    assert passed(headers) == (("x-three", "3"),)


def test_a_header_sent_twice_travels_twice_in_order() -> None:
    headers = CIMultiDict([("Accept", "a"), ("X-B", "b"), ("accept", "c")])
    assert request_headers(headers) == of_answer(headers) == (("accept", "a"), ("x-b", "b"), ("accept", "c"))


def test_value_of_is_the_first_or_nothing() -> None:
    headers: Headers = (("a", "1"), ("b", "2"), ("b", "3"))
    assert [value_of(headers, name) for name in ("a", "b", "c")] == ["1", "2", ""]


NAMES = st.sampled_from(HOP + PRIVATE + CALLER + WAY + OURS + FRAMING + ["Accept", "ETag", "Vary", "X-A"]).flatmap(
    lambda name: st.sampled_from([name, name.lower(), name.upper()])
)


@given(st.lists(st.tuples(NAMES, st.sampled_from(["", "close", "x-a", "etag, accept"]))))
def test_filtering_once_is_enough_and_adds_nothing(pairs: list[tuple[str, str]]) -> None:
    for passed in (request_headers, of_answer):
        kept = passed(CIMultiDict(pairs))
        assert passed(CIMultiDict(kept)) == kept
        lowered = iter((name.lower(), value) for name, value in pairs)
        assert all(pair in lowered for pair in kept)  # a subsequence: nothing added, nothing moved
        assert not {name for name, _ in kept} & {name.lower() for name in HOP}


@given(st.lists(st.tuples(NAMES, st.just("secret"))))
def test_no_credential_ever_reaches_the_target(pairs: list[tuple[str, str]]) -> None:
    assert not {name for name, _ in request_headers(CIMultiDict(pairs))} & {name.lower() for name in PRIVATE + CALLER}
