"""What a request is classed by is what the target gets, for every request line that a parser lets through."""

import asyncio
from typing import cast
from unittest.mock import Mock
from urllib.parse import unquote_to_bytes

import pytest
from aiohttp import web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_exceptions import BadHttpMessage
from aiohttp.http_parser import HttpRequestParser
from aiohttp.test_utils import make_mocked_request
from hypothesis import given, settings
from hypothesis import strategies as st

from foreman.core.ollama import QUEUED_PATHS
from foreman.engine.target import Target
from foreman.web.paths import route_path, sent_path

TARGET = Target("http://127.0.0.1:1", connect_timeout=1, probe_timeout=1)


def request_of(raw: str) -> web.Request | None:
    """The request that aiohttp's own parser makes of a request line; None where it refuses it."""
    parser = HttpRequestParser(Mock(BaseProtocol), cast("asyncio.AbstractEventLoop", Mock()), 2**16)
    try:
        messages, _, _ = parser.feed_data(b"POST " + raw.encode("latin-1") + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
    except BadHttpMessage:
        return None
    ((message, _),) = messages
    request = make_mocked_request("POST", "/")
    return web.Request(
        message, request.content, request.protocol, request._payload_writer, request.task, Mock(), client_max_size=0
    )


def ollamas_route(path_qs: str) -> bytes:
    """The path by which a Go server routes what stands in a request line: cut, decoded, cleaned."""
    parts: list[bytes] = []
    for part in unquote_to_bytes(path_qs.partition("?")[0]).split(b"/"):
        if part == b"..":
            parts = parts[:-1]
        elif part not in (b"", b"."):
            parts.append(part)
    return b"/" + b"/".join(parts)


PIECES = [
    "/",
    "//",
    ".",
    "..",
    "api",
    "chat",
    "v1",
    "messages",
    "?",
    "#",
    "%2F",
    "%2f",
    "%2e",
    "%63hat",
    "x",
    "%",
    "%zz",
]
RAW = st.lists(st.sampled_from(PIECES), max_size=9).map("".join) | st.text(
    st.characters(max_codepoint=0xFF), max_size=9
)


@settings(max_examples=400)
@given(st.sampled_from(["/", "/api/chat", "http://localhost/", "http://localhost"]), RAW)
def test_a_request_is_classed_by_what_is_sent(start: str, rest: str) -> None:
    request = request_of(start + rest)
    if request is None:
        return
    sent = TARGET.url(sent_path(request)).raw_path_qs
    assert ollamas_route(sent).decode("utf-8", "replace") == route_path(request)


@pytest.mark.parametrize("path", QUEUED_PATHS)
@pytest.mark.parametrize("disguise", ["{}", "/{}", "{}/", "{}?a=b", "{}#a", "/.{}", "/x/..{}", "http://h{}", "{}?#"])
def test_a_disguise_is_seen_through(path: str, disguise: str) -> None:
    request = request_of(disguise.format(path))
    assert request is not None
    assert route_path(request) == path


@pytest.mark.parametrize(
    ("raw", "sent"),
    [
        ("/api/show?a=%2F&b=%20", "/api/show?a=%2F&b=%20"),
        ("/api/blobs/sha256:ab%3A", "/api/blobs/sha256:ab%3A"),
        ("http://elsewhere:1/api/show?x", "/api/show?x"),
        ("/api/show#x", "/api/show"),
    ],
)
def test_path_and_query_are_sent_as_they_came(raw: str, sent: str) -> None:
    request = request_of(raw)
    assert request is not None
    assert sent_path(request) == sent
    assert TARGET.url(sent_path(request)).host == "127.0.0.1"
