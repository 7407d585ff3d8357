"""The URL table: every path has one home, and what is said of its methods is so."""

from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from foreman.core.access import ANY, Needs, Scope
from foreman.core.ollama import EMBEDDING_PATHS, QUEUED_PATHS
from foreman.testing import StubOllama
from foreman.web.access import ADMIN, EITHER, INFER, MANAGE, STEER
from foreman.web.errors import is_own
from foreman.web.queued import queued
from foreman.web.routes import DROP_IN, METHODS, OWN, everything_else, needs_for, table
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
    assert all(is_own(path) for _, path, *_ in OWN)


# What is open to who has no key, and no more.
WITHOUT_A_KEY = {
    ("GET", "/"),
    ("HEAD", "/"),
    ("GET", "/ui/session"),
    ("POST", "/ui/session"),
    ("DELETE", "/ui/session"),
    ("GET", "/ui"),
    ("GET", "/ui/{file}"),
}
# What changes models, the queue or keys.
STEERING = {
    ("POST", "/api/pull"): MANAGE,
    ("POST", "/api/create"): MANAGE,
    ("POST", "/queue/pause"): STEER,
    ("POST", "/queue/resume"): STEER,
    ("GET", "/keys"): ADMIN,
    ("POST", "/keys"): ADMIN,
    ("DELETE", "/keys/{id}"): ADMIN,
}


def test_every_route_says_what_it_needs() -> None:
    rows = {(method, path): needs for method, path, _, needs in (*OWN, *DROP_IN)}
    routed = {(route.method, route.path) for route in table()[:-1]}
    assert set(rows) == routed
    assert {route for route, needs in rows.items() if not needs} == WITHOUT_A_KEY
    assert {route: needs for route, needs in rows.items() if needs & {Scope.MANAGE, Scope.ADMIN} and needs != ANY} == (
        STEERING
    )


@pytest.mark.parametrize(
    ("method", "path", "needs"),
    [
        ("POST", "/api/chat", INFER),
        ("POST", "/api/embed", INFER),
        ("POST", "/api/show", EITHER),
        ("GET", "/v1/models/hf.co/a/b", EITHER),
        ("DELETE", "/v1/models/a", MANAGE),
        ("GET", "/api/show", MANAGE),
        ("POST", "/api/pull", MANAGE),
        ("DELETE", "/api/delete", MANAGE),
        ("POST", "/api/create", MANAGE),
        ("POST", "/api/copy", MANAGE),
        ("POST", "/api/push", MANAGE),
        ("HEAD", "/api/blobs/sha256:1", MANAGE),
        ("POST", "/api/blobs/sha256:1", MANAGE),
        ("GET", "/api/experimental/x", MANAGE),
        ("POST", "/api/signout", MANAGE),
        ("OPTIONS", "/api/chat", MANAGE),
        ("PUT", "/api/tags", ANY),
        ("PUT", "/jobs", ANY),
        ("GET", "/jobs/x/y", ANY),
        # What is open is so as it stands in the table, and not in disguise.
        ("GET", "/", MANAGE),
        ("GET", "/ui/session", ANY),
    ],
)
def test_what_came_to_no_row_needs_what_it_would_do(method: str, path: str, needs: Needs) -> None:
    assert needs_for(method, path) == needs


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


async def test_of_a_long_queue_only_the_first_can_be_asked_for(front: Front) -> None:
    await front.engine.pause(True)
    jobs = [{"path": "/api/chat", "body": {"model": "llama3", "messages": []}} for _ in range(3)]
    async with front.http.post("/jobs", json=jobs) as answer:
        ids = [job["id"] for job in (await answer.json())["jobs"]]
    async with front.http.get("/queue?limit=2") as answer:
        told = await answer.json()
    assert ([job["id"] for job in told["waiting"]], told["depth"]) == (ids[:2], 3)
    for limit in ("0", "1001", "x"):
        async with front.http.get(f"/queue?limit={limit}") as answer:
            assert answer.status == 400
