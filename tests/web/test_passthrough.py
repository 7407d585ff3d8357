"""Passing on: what a change of models makes of the list, and what breaks on either side."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from foreman.testing import Ending, Script, StubOllama
from foreman.web import bodies
from tests.e2e.raw import connected
from tests.web.conftest import Front


async def listed(front: Front) -> set[str]:
    async with front.http.get("/api/tags") as answer:
        return {model["name"] for model in (await answer.json())["models"]}


CHANGES = [
    ("POST", "/api/pull", {"model": "phi4:mini"}, {"phi4:mini"}, set()),
    ("POST", "/api/pull", {"model": "phi4:mini", "stream": False}, {"phi4:mini"}, set()),
    ("POST", "/api/pull?x=1", {"model": "phi4:mini"}, {"phi4:mini"}, set()),
    ("POST", "/api/copy", {"source": "llama3", "destination": "mine"}, {"mine:latest"}, set()),
    ("POST", "/api/create", {"model": "child", "from": "llama3"}, {"child:latest"}, set()),
    ("DELETE", "/api/delete", {"model": "llama3"}, set(), {"llama3:latest"}),
]


@pytest.mark.parametrize(("method", "path", "body", "more", "less"), CHANGES)
@pytest.mark.parametrize("slices", [(), (1,)], ids=str)
async def test_the_list_is_new_when_the_change_has_been_told(
    stub: StubOllama,
    front: Front,
    method: str,
    path: str,
    body: dict[str, object],
    more: set[str],
    less: set[str],
    slices: tuple[int, ...],
) -> None:
    before = await listed(front)
    stub.script(path.partition("?")[0], Script(slices=slices))
    async with front.http.request(method, path, json=body) as answer:
        assert answer.status == 200
        await answer.read()
    assert await listed(front) == before - less | more


async def test_a_refused_change_costs_no_look(stub: StubOllama, front: Front) -> None:
    looks = len(stub.ledger.on("/api/tags"))
    async with front.http.delete("/api/delete", json={"model": "nope"}) as answer:
        assert answer.status == 404
    assert len(stub.ledger.on("/api/tags")) == looks


async def test_an_upload_that_stalls_is_told_so_and_let_go_at_the_target(
    stub: StubOllama, front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "STALL_SECONDS", 0.05)
    path = "/api/blobs/sha256:" + "0" * 64
    async with connected(front.url) as connection:
        await connection.request(f"POST {path}", "Content-Length: 100")
        await connection.send(b"first")
        answer = await connection.answer()
    assert (answer.status, answer.headers["x-foreman-error"]) == (408, "body_stalled")
    (entry,) = stub.ledger.on(path)
    await stub.ledger.wait_for(lambda _: entry.ending is not Ending.OPEN)
    assert entry.ending is Ending.CLIENT_GONE


async def test_a_client_that_hangs_up_lets_go_of_the_target(stub: StubOllama, front: Front) -> None:
    stub.script("/api/show", Script(hold=0))
    async with connected(front.url) as connection:
        await connection.request("POST /api/show", body=b'{"model":"llama3"}')
        entry = await stub.ledger.held()
    await stub.ledger.wait_for(lambda _: entry.ending is not Ending.OPEN)
    assert entry.ending is Ending.CLIENT_GONE


async def test_a_target_that_cannot_be_reached_is_looked_at_at_once(stub: StubOllama, front: Front) -> None:
    stub.refuse()
    async with front.http.post("/api/show", json={"model": "llama3"}) as answer:
        assert (answer.status, answer.headers["X-Foreman-Error"]) == (502, "target_unreachable")
    async with asyncio.timeout(10):
        while front.engine.poller.reachable is not False:
            await front.engine.poller.refresh()
    await stub.accept()


async def test_nothing_is_passed_on_while_foreman_goes(stub: StubOllama, front: Front) -> None:
    front.engine.draining = True
    async with front.http.post("/api/embed", json={"model": "nomic-embed-text", "input": "x"}) as answer:
        assert (answer.status, answer.headers["X-Foreman-Error"]) == (503, "draining")
    front.engine.draining = False
    assert not stub.ledger.on("/api/embed")


async def test_a_body_in_pieces_is_passed_on_in_pieces(stub: StubOllama, front: Front) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b'{"model":'
        yield b'"llama3"}'

    async with front.http.post("/api/show", data=pieces()) as answer:
        assert answer.status == 200
    (entry,) = stub.ledger.on("/api/show")
    assert entry.body == b'{"model":"llama3"}'
    assert dict(entry.headers)["Transfer-Encoding"] == "chunked"
