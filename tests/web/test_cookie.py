"""Sessions of the live page: what a cookie stands for, and when it counts."""

import pytest

from foreman.web.cookie import COOKIE, KEPT, Sessions, from_the_page

HOST = {"Host": "box:11435"}


@pytest.mark.parametrize(
    ("headers", "reads", "changes"),
    [
        # Without TLS a browser says nothing of a request that changes nothing.
        ({}, True, False),
        ({"Sec-Fetch-Site": "same-origin"}, True, False),
        ({"Sec-Fetch-Site": "same-origin", "X-Foreman-Page": "1"}, True, True),
        ({"Origin": "http://box:11435"}, True, False),
        ({"Origin": "https://box:11435", "X-Foreman-Page": "1"}, True, True),
        ({"X-Foreman-Page": "1"}, True, True),
        ({"X-Foreman-Page": "yes"}, True, False),
        # Origins that may call are not therefore ours.
        ({"Origin": "http://box:3000", "X-Foreman-Page": "1"}, False, False),
        ({"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"}, False, False),
        ({"Sec-Fetch-Site": "same-site", "X-Foreman-Page": "1"}, False, False),
        ({"Sec-Fetch-Site": "cross-site"}, False, False),
        ({"Sec-Fetch-Site": "none"}, False, False),
    ],
)
def test_a_cookie_counts_where_the_page_itself_asks(headers: dict[str, str], reads: bool, changes: bool) -> None:
    sessions = Sessions()
    sent = {**HOST, **headers, "Cookie": f"other=1; {COOKIE}={sessions.begin('k')}"}
    for method, counts in (("GET", reads), ("HEAD", reads), ("POST", changes), ("DELETE", changes)):
        assert from_the_page(method, sent) is counts
        assert (sessions.key_id(method, sent) == "k") is counts


def test_a_session_ends_and_an_unknown_one_is_none() -> None:
    sessions = Sessions()
    sent = {**HOST, "Sec-Fetch-Site": "same-origin", "Cookie": f"{COOKIE}={sessions.begin('k')}"}
    sessions.end(sent)
    assert sessions.key_id("GET", sent) is None
    for cookie in ("", COOKIE, f"{COOKIE}=", f"{COOKIE}=x", "\x00;;=", f'{COOKIE}="'):
        assert sessions.key_id("GET", {**sent, "Cookie": cookie}) is None


def test_the_newest_sessions_stay() -> None:
    sessions = Sessions()
    cookies = [sessions.begin(str(n)) for n in range(KEPT + 1)]
    assert len(sessions) == KEPT
    assert len(set(cookies)) == KEPT + 1
    sent = {**HOST, "Sec-Fetch-Site": "same-origin"}
    assert sessions.key_id("GET", {**sent, "Cookie": f"{COOKIE}={cookies[0]}"}) is None
    assert sessions.key_id("GET", {**sent, "Cookie": f"{COOKIE}={cookies[-1]}"}) == str(KEPT)
