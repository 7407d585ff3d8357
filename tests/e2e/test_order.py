"""What the target gets to see: one job at a time, in the order that saves swaps, each model loaded once and pinned."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from foreman.testing import Script, StubOllama
from foreman.testing.ledger import Entry
from tests.e2e.client import Got, Request, chat, chat_v1, post, submit
from tests.e2e.process import Foreman, serving

MODELS = ("a", "b", "nomic-embed-text")
HELD = Script(hold=0)


@asynccontextmanager
async def both(tmp_path: Path, *models: str, max_loaded: int = 1, **settings: object) -> AsyncIterator[Any]:
    """A stub with these models and a foreman in front of it."""
    async with (
        StubOllama(models or MODELS, max_loaded=max_loaded) as stub,
        serving(stub.url, tmp_path / "foreman.db", **settings) as foreman,
    ):
        yield stub, foreman


async def behind_a_held_one(stub: StubOllama, foreman: Foreman, first: Request, *others: Request) -> list[Got]:
    """Queue `others` while `first` is held at the target, then let all run."""
    stub.script(first[0], [HELD])
    leading = asyncio.create_task(post(foreman.url, *first))
    await stub.ledger.held()
    waiting = await submit(foreman, *others)
    stub.release(first[0])
    answers = await asyncio.gather(leading, *waiting)
    assert [got.status for got in answers] == [200] * len(answers)
    return answers


def said(entry: Entry) -> str:
    """What a chat asked."""
    return str(orjson.loads(entry.body)["messages"][0]["content"])


def loads(stub: StubOllama) -> list[dict[str, Any]]:
    """The empty requests that loaded a model or pinned it."""
    bodies = [orjson.loads(entry.body) for entry in stub.ledger.on("/api/generate")]
    return [body for body in bodies if body["keep_alive"] != 0]


async def test_many_clients_and_one_job_at_the_target(tmp_path: Path) -> None:
    async with both(tmp_path, "a", "b", "c") as (stub, foreman):
        chats = (chat("abc"[i % 3], f"{i}", stream=bool(i % 2)) for i in range(45))
        answers = await asyncio.gather(*(post(foreman.url, *request) for request in chats))
        assert all(got.status == 200 and got.whole for got in answers)
        assert stub.ledger.max_concurrent == 1


async def test_two_mixed_models_swap_once_per_model(tmp_path: Path) -> None:
    async with both(tmp_path) as (stub, foreman):
        await behind_a_held_one(stub, foreman, chat("a", "0"), *(chat("ab"[i % 2], f"{i}") for i in range(1, 10)))
        assert [said(entry) for entry in stub.ledger.on("/api/chat")] == ["0", *"2468", *"13579"]
        assert [load.name for load in stub.ledger.loads] == ["a:latest", "b:latest"]


async def test_two_context_lengths_on_one_model_reload_once(tmp_path: Path) -> None:
    async with both(tmp_path) as (stub, foreman):
        wide = {"options": {"num_ctx": 8192, "temperature": 0}}
        mixed = (chat("a", f"{i}", **(wide if i % 2 else {})) for i in range(1, 10))
        await behind_a_held_one(stub, foreman, chat("a", "0"), chat("b", "later"), *mixed)
        asked = [said(entry) for entry in stub.ledger.on("/api/chat")]
        assert asked == ["0", *"2468", *"13579", "later"]
        assert stub.ledger.loads == [
            ("a:latest", {}),
            ("a:latest", {"num_ctx": 8192}),
            ("b:latest", {}),
        ]


async def test_aliases_share_what_is_loaded(tmp_path: Path) -> None:
    async with both(tmp_path) as (stub, foreman):
        copied = await post(foreman.url, "/api/copy", {"source": "a", "destination": "twin"})
        assert copied.status == 200
        await behind_a_held_one(stub, foreman, chat("a", "0"), chat("b", "1"), chat("twin", "2"), chat("A:LATEST", "3"))
        assert [said(entry) for entry in stub.ledger.on("/api/chat")] == ["0", "2", "3", "1"]
        assert [load.name for load in stub.ledger.loads] == ["a:latest", "b:latest"]


async def test_the_old_model_is_seen_gone_before_the_new_one_loads(tmp_path: Path) -> None:
    async with both(tmp_path, max_loaded=3) as (stub, foreman):
        assert (await post(foreman.url, "/api/embed", {"model": "nomic-embed-text", "input": "x"})).status == 200
        assert (await post(foreman.url, *chat("a", "0"))).status == 200
        async with aiohttp.ClientSession(stub.url) as http, http.get("/api/ps") as answer:
            stub.ps = (await answer.json())["models"]
        looks = len(stub.ledger.on("/api/ps"))
        second = asyncio.create_task(post(foreman.url, *chat("b", "1")))
        await stub.ledger.wait_for(lambda ledger: len(ledger.on("/api/ps")) > looks + 4)
        assert stub.ledger.unloads == ["a:latest"]
        assert "b" not in {load["model"].split(":")[0] for load in loads(stub)}
        stub.ps = None
        assert (await second).status == 200
        assert stub.ledger.unloads == ["a:latest"]
        assert [load.name for load in stub.ledger.loads] == ["nomic-embed-text:latest", "a:latest", "b:latest"]


async def test_a_deleted_model_that_is_still_loaded_holds_nobody_up(tmp_path: Path) -> None:
    async with both(tmp_path) as (stub, foreman):
        assert (await post(foreman.url, *chat("a", "0"))).status == 200
        stub.library.delete("a")
        assert (await post(foreman.url, *chat("b", "1"))).status == 200
        await foreman.event("unload_refused", model="a:latest")
        assert [load.name for load in stub.ledger.loads] == ["a:latest", "b:latest"]


async def test_every_load_carries_the_pin_and_the_options(tmp_path: Path) -> None:
    async with both(tmp_path, keep_alive="17m") as (stub, foreman):
        await post(foreman.url, *chat("a", "0", options={"num_ctx": 2048}, shift=False))
        await post(foreman.url, *chat_v1("b", "1"))
        await post(foreman.url, *chat_v1("b", "2"))
        assert loads(stub) == [
            {
                "model": "a:latest",
                "keep_alive": "17m",
                "stream": False,
                "shift": False,
                "options": {"num_ctx": 2048},
            },
            {"model": "b:latest", "keep_alive": "17m", "stream": False},
        ]
        assert [runner.keep_alive for runner in stub.residency.longest_first()] == [17 * 60.0]


async def test_a_runner_loaded_by_somebody_else_is_pinned_once(tmp_path: Path) -> None:
    async with StubOllama(MODELS) as stub:
        await post(stub.url, *chat("a", "by somebody else"))
        async with serving(stub.url, tmp_path / "foreman.db", keep_alive="1h") as foreman:
            for text in "123":
                assert (await post(foreman.url, *chat_v1("a", text))).status == 200
            assert [load["keep_alive"] for load in loads(stub)] == ["1h"]
            assert [load.name for load in stub.ledger.loads] == ["a:latest"]
            assert [runner.keep_alive for runner in stub.residency.longest_first()] == [3600.0]


async def test_the_target_may_be_left_to_swap_by_itself(tmp_path: Path) -> None:
    async with both(tmp_path, max_loaded=2, swap="target") as (stub, foreman):
        for model in "ab":
            await post(foreman.url, *chat(model, "warm"))
        await behind_a_held_one(stub, foreman, chat("a", "0"), *(chat("ba"[i % 2], f"{i}") for i in range(1, 5)))
        # Both are loaded, so both count as ready, and age alone decides.
        assert [said(entry) for entry in stub.ledger.on("/api/chat")][2:] == [*"01234"]
        assert len(stub.ledger.loads) == 2
        assert not stub.ledger.unloads


async def test_whose_keep_alive_counts(tmp_path: Path) -> None:
    body = b'{"model": "a", "keep_alive": %s , "messages":[{"role":"user","content":"x"}], "stream":false}'
    given = (b"-1", b'"2m"', b'"5h"')
    kept = {
        "own": (b'"30m"', b'"30m"', b'"30m"'),
        "clamp": (b'"30m"', b'"2m"', b'"30m"'),
        "respect": given,
    }
    for policy, values in kept.items():
        async with both(tmp_path / policy, client_keep_alive=policy) as (stub, foreman):
            for value in given:
                assert (await post(foreman.url, "/api/chat", body % value)).status == 200
            assert [entry.body for entry in stub.ledger.on("/api/chat")] == [body % value for value in values], policy


async def test_an_unknown_resident_means_first_come_first_served(tmp_path: Path) -> None:
    for knows, order in ((False, ["1", "2", "3"]), (True, ["2", "3", "1"])):
        async with StubOllama(MODELS) as stub:
            await post(stub.url, *chat("a", "by somebody else"))
            stub.script("/api/ps", None if knows else Script(status=500, error="no"))
            stub.refuse()
            async with serving(stub.url, tmp_path / f"{knows}.db", probe_seconds=0.05) as foreman:
                waiting = await submit(foreman, chat("b", "1"), chat("a", "2"), chat("a", "3"))
                await stub.accept()
                assert [got.status for got in await asyncio.gather(*waiting)] == [200] * 3
            assert [said(entry) for entry in stub.ledger.on("/api/chat")][1:] == order
