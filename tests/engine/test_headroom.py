"""What loads took, kept and used again; and what the target is asked of a model, and how often."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from foreman.core.errors import StorageFull
from foreman.core.gate import Candidate
from foreman.core.headroom import OVERHEAD, LoadSeen
from foreman.core.job import LoadKey, Mode
from foreman.engine import steps
from foreman.engine.headroom import Headroom
from foreman.testing import Script, StubOllama
from tests.engine.fake_machine import QUIET, FakeMachine
from tests.engine.running import PATIENCE, Running, asked, ended, running
from tests.engine.serving import until

SHOW = "/api/show"
LLAMA, QWEN = LoadKey("llama3:latest"), LoadKey("qwen3:8b")
# Of the stub's models, for each token.
CACHE = 32 * 8 * (128 + 128) * 2


@pytest.fixture
async def work(stub: StubOllama, tmp_path: Path) -> AsyncIterator[Running]:
    async with running(stub, tmp_path / "foreman.db", reader=FakeMachine(), gate="on") as work:
        yield work


async def load(work: Running, model: str, **values: Any) -> None:
    (live,) = await work.engine.submit_many([asked("load", model, mode=Mode.DETACHED, **values)])
    await ended(live)


async def kept(work: Running, count: int) -> list[LoadSeen]:
    """The forecasts in the database, the oldest first, as soon as there are so many."""
    found: list[LoadSeen] = []
    async with asyncio.timeout(PATIENCE):
        while len(found) < count:
            found = list(reversed(await work.store.forecasts(100)))
    return found


async def candidate(work: Running, key: LoadKey) -> Candidate:
    return await work.engine.gate.headroom.candidate(key, QUIET)


async def test_each_load_is_kept_beside_what_was_expected(work: Running) -> None:
    await load(work, "llama3")
    await load(work, "qwen3:8b")
    first, second = await kept(work, 2)
    # A machine of 96 GB gives 256k tokens, of which the model has half.
    assert (first.load_key, first.basis, first.expected) == (
        "llama3:latest", "estimate", 4_700_000_000 + CACHE * 131_072 + OVERHEAD)  # fmt: skip
    assert (first.size, first.size_vram, first.context, first.automatic) == (4_700_000_000, 4_700_000_000, 4096, 4096)
    # The first load has shown that this target gives 4096.
    assert second.expected == 5_200_000_000 + CACHE * 4096 + OVERHEAD


async def test_the_next_forecast_is_what_it_took(work: Running) -> None:
    await load(work, "llama3")
    await kept(work, 1)
    await load(work, "qwen3:8b")
    await load(work, "llama3")
    third = (await kept(work, 3))[2]
    assert (third.load_key, third.basis, third.expected, third.size) == (
        "llama3:latest", "last", 4_700_000_000, 4_700_000_000)  # fmt: skip


async def test_another_process_knows_what_loads_took(stub: StubOllama, tmp_path: Path) -> None:
    async with running(stub, tmp_path / "foreman.db", reader=FakeMachine(), gate="on") as work:
        await load(work, "llama3")
        await kept(work, 1)
    asked_before = len(stub.ledger.on(SHOW))
    async with running(stub, tmp_path / "foreman.db", reader=FakeMachine(), gate="on") as work:
        found = await candidate(work, LLAMA)
        assert (found.memory, found.least, found.basis) == (4_700_000_000, 0, "it took 4.7 GB the last time")
        assert len(stub.ledger.on(SHOW)) == asked_before
        assert (await candidate(work, QWEN)).memory == 5_200_000_000 + CACHE * 4096 + OVERHEAD


async def test_a_loaded_model_is_counted_once(work: Running) -> None:
    assert (await candidate(work, QWEN)).gives_back == 0
    await load(work, "llama3")
    assert (await candidate(work, QWEN)).gives_back == 4_700_000_000
    # Loaded again with other options it makes room for itself.
    other = LoadKey("llama3:latest", (("num_ctx", 8192),))
    found = await candidate(work, other)
    assert (found.gives_back, found.memory) == (4_700_000_000, 4_700_000_000 + CACHE * 8192 + OVERHEAD)


async def test_an_embedding_model_beside_it_stays_and_gives_nothing_back(work: Running) -> None:
    await work.engine.target.get("/api/version")
    async with work.engine.target.forward(
        "POST", "/api/embed", (), orjson.dumps({"model": "nomic-embed-text", "input": "x"})
    ) as answer:
        assert answer.status == 200
        await answer.read()
    await work.engine.poller.look()
    assert len(work.engine.poller.residency.runners) == 1
    assert (await candidate(work, QWEN)).gives_back == 0


async def test_the_target_is_asked_once_for_each_digest(work: Running) -> None:
    work.stub.library.copy(work.stub.library.newest_first()[0], "copy:latest")
    work.stub.library.copy(work.stub.library.newest_first()[0], "twin:latest")
    await work.engine.poller.refresh()
    for name in ("copy:latest", "twin:latest", "copy:latest"):
        await candidate(work, LoadKey(name, (("num_ctx", 10),)))
    assert len(work.stub.ledger.on(SHOW)) == 1


async def test_a_target_that_does_not_tell_is_asked_again(work: Running) -> None:
    work.stub.script(SHOW, [Script(status=500, error="no"), Script(raw=b"HTTP/1.1 200 OK\r\n\r\nno JSON")])
    for _ in range(2):
        found = await candidate(work, QWEN)
        assert (found.memory, found.least) == (5_200_000_000 + OVERHEAD, 5_200_000_000)
        assert "not told" in found.basis
    assert "context of" in (await candidate(work, QWEN)).basis


async def test_figures_of_each_layer_are_asked_for_at_length(work: Running) -> None:
    short = {"general.architecture": "x", "x.block_count": 4, "x.context_length": 1000, "x.embedding_length": 64}
    heads = {"x.attention.head_count": 8, "x.attention.head_count_kv": []}
    answers = [short | heads, short | heads | {"x.attention.head_count_kv": [0, 2, 0, 4]}]
    bodies = [orjson.dumps({"model_info": info}) for info in answers]
    work.stub.script(SHOW, [Script(raw=_http(body)) for body in bodies])
    found = await candidate(work, LoadKey("qwen3:8b", (("num_ctx", 100),)))
    assert found.memory == 5_200_000_000 + 6 * (8 + 8) * 2 * 100 + OVERHEAD
    verbose = [orjson.loads(entry.body or b"{}").get("verbose") for entry in work.stub.ledger.on(SHOW)]
    assert verbose == [False, True]


def _http(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


async def test_a_model_that_is_not_there_needs_nobody_knows_what(work: Running) -> None:
    found = await candidate(work, LoadKey("gone:latest"))
    assert (found.memory, found.least) == (None, None)


async def test_a_store_without_room_costs_the_record_and_nothing_else(
    work: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def full(_: LoadSeen) -> None:
        raise StorageFull("the disk is full")

    monkeypatch.setattr(work.store, "keep_forecast", full)
    await load(work, "llama3")
    async with asyncio.timeout(PATIENCE):
        await until(lambda: any(getattr(r, "event", "") == "forecast_unsaved" for r in caplog.records))
    assert (await candidate(work, LLAMA)).memory == 4_700_000_000
    assert await work.store.forecasts(10) == []


async def test_the_records_are_pruned(work: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "KEPT_FORECASTS", 3)
    monkeypatch.setattr(steps, "ALL_FORECASTS", 5)
    for n in range(20):
        await work.store.keep_forecast(LoadSeen(n, f"m{n % 2}:latest", None, None, n, n))
    found = await work.store.forecasts(100)
    assert [seen.at for seen in found] == [19, 18, 17, 16, 15]
    for n in range(20, 30):
        await work.store.keep_forecast(LoadSeen(n, "m0:latest", "last", 1, n, n))
    assert [seen.at for seen in await work.store.forecasts(100)] == [29, 28, 27, 19, 17]


async def test_on_a_card_of_its_own_a_model_takes_no_memory_of_the_machine(work: Running) -> None:
    apart = FakeMachine(unified=False).now
    headroom: Headroom = work.engine.gate.headroom
    assert (await headroom.candidate(QWEN, apart)).memory is None  # nothing was ever seen
    await load(work, "llama3")
    await kept(work, 1)
    assert (await headroom.candidate(LLAMA, apart)).memory == 0
    assert (await headroom.candidate(LLAMA, apart)).gives_back == 0
    # The card has held 4.7 GB; whether it holds more is not known.
    assert (await headroom.candidate(QWEN, apart)).memory == 500_000_000 + CACHE * 4096 + OVERHEAD
