"""Who is let in: every combination of caller and check, and what a Host header can be taken for."""

import ipaddress
import string
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreman.core import access
from foreman.core.errors import BadRequest, ForemanError, HostRefused, KeyRefused, OriginRefused
from foreman.engine.clock import SystemClock
from foreman.engine.keyring import Keyring
from foreman.engine.store import Store
from foreman.web.access import INFER
from foreman.web.guard import Guard, host_of

KEY = "a-key-that-is-long-enough"
NOBODY = cast(Store, None)
OPEN = Guard(
    ("box.example",), ("https://app.example", "https://*.team.example"), Keyring(NOBODY, SystemClock()), SystemClock()
)
HERE = "127.0.0.1"

HOSTS: dict[str | None, type[ForemanError] | None] = {
    "localhost": None,
    "Box.Example:80": None,
    "192.168.1.9:11435": None,
    "evil.example": HostRefused,
    "": BadRequest,
    None: BadRequest,
}
ORIGINS: dict[str | None, type[ForemanError] | None] = {
    None: None,
    "http://localhost:3000": None,
    "HTTPS://127.0.0.1": None,
    "http://[::1]:8080": None,
    "vscode-webview://0abc": None,
    "https://app.example": None,
    "https://a.team.example": None,
    "http://evil.example": OriginRefused,
    "https://app.example.evil": OriginRefused,
    "http://localhost.evil.example": OriginRefused,
    "null": OriginRefused,
    "file://": OriginRefused,
    "": OriginRefused,
}
METHODS = ["GET", "HEAD", "POST", "DELETE", "OPTIONS"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("host", "host_says"), HOSTS.items())
@pytest.mark.parametrize(("origin", "origin_says"), ORIGINS.items())
def test_host_comes_before_origin_whatever_the_method(
    method: str,
    host: str | None,
    host_says: type[ForemanError] | None,
    origin: str | None,
    origin_says: type[ForemanError] | None,
) -> None:
    headers = {name: value for name, value in (("Host", host), ("Origin", origin)) if value is not None}
    expected = host_says or origin_says
    if expected is None:
        OPEN.check(method, headers)
        return
    with pytest.raises(expected):
        OPEN.check(method, headers)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("site", [None, "none", "same-origin", "same-site", "cross-site"])
@pytest.mark.parametrize("mode", [None, "navigate", "cors", "no-cors"])
def test_another_site_may_link_here_and_no_more(method: str, site: str | None, mode: str | None) -> None:
    given = (("Host", "localhost"), ("Sec-Fetch-Site", site), ("Sec-Fetch-Mode", mode))
    headers = {name: value for name, value in given if value is not None}
    if site == "cross-site" and not (mode == "navigate" and method in ("GET", "HEAD")):
        with pytest.raises(OriginRefused):
            OPEN.check(method, headers)
    else:
        OPEN.check(method, headers)


def test_a_page_of_foremans_own_is_let_in_under_any_name_it_was_reached_by() -> None:
    OPEN.check("POST", {"Host": "box.example:99", "Origin": "http://box.example:99"})
    with pytest.raises(OriginRefused):
        OPEN.check("POST", {"Host": "box.example:99", "Origin": "http://box.example:98"})


@pytest.mark.parametrize(
    ("headers", "passes"),
    [
        ({"Authorization": f"Bearer {KEY}"}, True),
        ({"Authorization": f"BEARER {KEY} "}, True),
        ({"X-Api-Key": KEY}, True),
        ({"Authorization": f"Basic {KEY}", "X-Api-Key": KEY}, True),
        ({"Authorization": "Bearer wrong", "X-Api-Key": KEY}, False),
        ({"Authorization": f"Bearer{KEY}"}, False),
        ({"Authorization": KEY}, False),
        ({"X-Api-Key": KEY[:-1]}, False),
        ({"X-Api-Key": f"{KEY}\udcff"}, False),
        ({}, False),
    ],
)
def test_keys(headers: dict[str, str], passes: bool) -> None:
    locked = Guard((), (), Keyring(NOBODY, SystemClock(), KEY), SystemClock())
    assert OPEN.admit(INFER, "POST", headers, HERE).sees_all
    locked.admit(access.OPEN, "GET", headers, HERE)
    if passes:
        assert locked.admit(INFER, "POST", headers, HERE).sees_all
        return
    for needs in (access.ANY, INFER):
        with pytest.raises(KeyRefused):
            locked.admit(needs, "POST", headers, HERE)


LABEL = st.text(string.ascii_letters + string.digits + "-_", min_size=1, max_size=12)
NAME = st.lists(LABEL, min_size=1, max_size=4).map(".".join)
ADDRESS = st.ip_addresses().map(lambda ip: f"[{ip}]" if isinstance(ip, ipaddress.IPv6Address) else str(ip))
PORT = st.one_of(st.just(""), st.just(":"), st.integers(0, 65535).map(lambda port: f":{port}"))


@given(NAME | ADDRESS, PORT, st.booleans())
def test_a_host_is_its_name_whatever_port_it_has(name: str, port: str, dotted: bool) -> None:
    dot = "." if dotted and not name.startswith("[") else ""
    assert host_of(name + dot + port) == name.strip("[]").lower()


@given(st.text(st.characters(max_codepoint=0x2FF), max_size=40))
def test_no_text_passes_as_a_host_but_one_without_anything_odd(text: str) -> None:
    try:
        name = host_of(text)
    except BadRequest:
        return
    assert set(name) <= set(string.ascii_lowercase + string.digits + "-_.:")
    assert name in text.lower()


@given(st.lists(st.sampled_from(["localhost", "evil", "example", "127", "0", "1", "a", "-"]), max_size=6).map(".".join))
def test_only_what_is_listed_or_cannot_be_rebound_passes(host: str) -> None:
    try:
        OPEN.check("GET", {"Host": host})
    except (BadRequest, HostRefused):
        return
    name = host.rstrip(".")
    if name != "localhost" and not name.endswith(".localhost"):
        ipaddress.ip_address(name)


@pytest.mark.parametrize(
    "host", ["localhost:65536", "localhost:99999", "localhost:123456", "localhost:-1", "[]", ":80"]
)
def test_a_port_that_is_none_makes_no_host(host: str) -> None:
    with pytest.raises(BadRequest):
        host_of(host)
