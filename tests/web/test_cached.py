"""What the poller knows is answered from it: as the target wrote it, and with its age once that is in doubt."""

import asyncio

import pytest

from foreman.testing import StubModel, StubOllama
from tests.web.conftest import Front, Fronts

CACHED = ["/api/tags", "/api/ps", "/api/version", "/v1/models"]


async def test_an_answer_says_how_old_it_is_only_while_the_target_is_away(stub: StubOllama, front: Front) -> None:
    async with front.http.get("/api/tags") as answer:
        assert "X-Foreman-Stale" not in answer.headers
        body = await answer.read()
    stub.refuse()
    await front.engine.poller.refresh()
    async with front.http.get("/api/tags") as answer:
        assert (answer.status, await answer.read()) == (200, body)
        assert 0 <= int(answer.headers["X-Foreman-Stale"]) < 60


@pytest.mark.parametrize("path", CACHED)
async def test_a_hundred_askers_cost_the_target_nothing(stub: StubOllama, front: Front, path: str) -> None:
    asked = len(stub.ledger.entries)

    async def ask() -> int:
        async with front.http.get(path) as answer:
            return answer.status

    assert set(await asyncio.gather(*(ask() for _ in range(100)))) == {200}
    assert len(stub.ledger.entries) == asked


@pytest.mark.parametrize("path", CACHED)
async def test_who_asks_before_the_first_look_waits_for_it(stub: StubOllama, front: Front, path: str) -> None:
    poller = front.engine.poller
    poller.inventory = poller.ps = poller.version = None
    async with front.http.get(path) as answer:
        assert answer.status == 200
    stub.refuse()
    await poller.refresh()
    poller.inventory = poller.ps = poller.version = None
    async with front.http.get(path) as answer:
        assert (answer.status, answer.headers["X-Foreman-Error"]) == (502, "target_unreachable")


async def test_a_model_is_looked_up_by_any_of_its_names(stub: StubOllama, front: Front) -> None:
    for name in ("llama3", "LLAMA3:latest", "library%2Fllama3", "llama3:latest"):
        async with front.http.get(f"/v1/models/{name}") as answer:
            model = await answer.json()
        assert (model["id"], model["owned_by"]) == (name.replace("%2F", "/"), "library")
    stub.library.add(StubModel(name="side-loaded:1b"))
    async with front.http.get("/v1/models/side-loaded:1b") as answer:
        assert answer.status == 200


@pytest.mark.parametrize(
    ("name", "status", "words"),
    [("nope", 404, "model 'nope:latest' not found"), ("foo%20bar", 400, "invalid model name")],
)
async def test_a_model_that_is_not_there(front: Front, name: str, status: int, words: str) -> None:
    async with front.http.get(f"/v1/models/{name}") as answer:
        assert answer.status == status
        assert (await answer.json())["error"]["message"] == words


async def test_a_cloud_model_is_asked_for_at_the_target(stub: StubOllama, front: Front) -> None:
    async with front.http.get("/v1/models/gpt-oss:120b-cloud") as answer:
        assert "X-Foreman-Error" not in answer.headers
    assert stub.ledger.on("/v1/models/gpt-oss:120b-cloud")


async def test_no_models_are_an_empty_list(fronts: Fronts, stub: StubOllama) -> None:
    for model in stub.library.newest_first():
        stub.library.delete(model.name)
    async with fronts() as front, front.http.get("/v1/models") as answer:
        assert await answer.json() == {"object": "list", "data": []}
