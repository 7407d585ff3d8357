"""The URL table: every path has one home, and what is said of its methods is so."""

from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from foreman.core.ollama import EMBEDDING_PATHS, QUEUED_PATHS
from foreman.testing import StubOllama
from foreman.web.errors import is_own
from foreman.web.queued import queued
from foreman.web.routes import METHODS, OWN, everything_else, table
from tests.e2e.raw import Connection, connected
from tests.web.conftest import Front

NAMED = [route for route in table() if "{" not in route.path]


def methods_of(path: str) -> set[str]:
    found = {route.method for route in NAMED if route.path == path}
    heads = any(route.kwargs.get("allow_head", True) for route in NAMED if (route.path, route.method) == (path, "GET"))
    return found | ({"HEAD"} if heads else set())


def test_the_methods_named_in_a_405_are_those_with_a_route() -> None:
    assert {route.path for route in NAMED if not is_own(route.path)} == set(METHODS)
    for path, methods in METHODS.items():
        assert methods_of(path) == set(methods)


def test_what_is_foremans_own_is_known_as_such() -> None:
    assert {(route.method, route.path) for route in table() if is_own(route.path)} == {own[:2] for own in OWN}
    assert all(is_own(path) for _, path, _ in OWN)


OWN_REFUSALS = [
    ("PUT", "/jobs", 405, "GET, POST"),
    ("POST", "/jobs/01ARZ3NDEKTSV4RRFFQ69G5FAV", 405, "GET, DELETE"),
    ("GET", "/queue/pause", 405, "POST"),
    ("HEAD", "/jobs", 405, "GET, POST"),
    ("GET", "/jobs/x/y", 404, None),
    ("GET", "/queue/", 404, None),
    ("GET", "/queue/x/../../jobs", 404, None),
]


@pytest.mark.parametrize(("method", "path", "status", "allow"), OWN_REFUSALS)
async def test_what_foreman_does_not_have_is_not_asked_of_the_target(
    stub: StubOllama, connection: Connection, method: str, path: str, status: int, allow: str | None
) -> None:
    before = len(stub.ledger.entries)
    await connection.request(f"{method} {path}")
    answer = await connection.answer(to_head=method == "HEAD")
    assert (answer.status, answer.headers.get("allow")) == (status, allow)
    assert {entry.path for entry in stub.ledger.entries[before:]} <= {"/api/ps", "/api/tags", "/api/version"}


def test_everything_the_target_might_run_is_queued_and_upkeep_but_not_embeddings() -> None:
    assert {route.path for route in NAMED if route.handler is queued} == {*QUEUED_PATHS, "/api/pull", "/api/create"}
    assert not set(EMBEDDING_PATHS) & set(METHODS)


def test_whatever_has_no_route_of_its_own_comes_to_one_place() -> None:
    last = table()[-1]
    assert (last.method, last.path, last.handler) == ("*", "/{path:.*}", everything_else)


def test_no_route_is_hidden_by_one_before_it() -> None:
    app = web.Application()
    app.add_routes(table())
    assert len({(route.method, route.path) for route in table()}) == len(table())


@pytest.fixture
async def connection(front: Front) -> AsyncIterator[Connection]:
    async with connected(front.url) as connection:
        yield connection


@pytest.mark.parametrize("expect", ["100-continue", "100-Continue"])
@pytest.mark.parametrize("path", ["/api/chat", "/api/show", "/api/blobs/x"])
async def test_leave_to_send_is_given_once(connection: Connection, path: str, expect: str) -> None:
    await connection.request(f"POST {path}", f"Expect: {expect}", "Content-Length: 2")
    assert (await connection.head()).status == 100
    await connection.send(b"{}")
    assert (await connection.answer()).status >= 400
    await connection.request(f"POST {path}", body=b"{}")
    assert (await connection.answer()).status >= 400


async def test_an_expectation_nobody_knows_is_no_hindrance(connection: Connection) -> None:
    await connection.request("POST /api/chat", "Expect: the-unexpected", body=b"{}")
    assert (await connection.answer()).status == 400
