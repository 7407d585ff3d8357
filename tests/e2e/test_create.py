"""Creates at a real foreman: alone at the target, in order, shared by all who ask for the same, made over a crash."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import ollama
import orjson
import pytest

from foreman.testing import Die, Ending, Script, StubOllama
from tests.e2e.client import asking, chat, post
from tests.e2e.own import call, handed
from tests.e2e.process import Foreman, serving
from tests.e2e.stored import stored
from tests.e2e.test_pull import joined, kept, lines

CREATE = "/api/create"
MINE = {"model": "mine", "from": "llama3", "system": "be brief"}
HEAVY = {**MINE, "quantize": "q4_K_M"}


@pytest.fixture
async def stub() -> AsyncIterator[StubOllama]:
    async with StubOllama() as stub:
        yield stub


@pytest.fixture
async def foreman(stub: StubOllama, db: Path) -> AsyncIterator[Foreman]:
    async with serving(stub.url, db, retry_base_seconds=0.01) as foreman:
        yield foreman


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "foreman.db"


async def test_the_official_client_makes_a_model_and_has_it_at_once(stub: StubOllama, foreman: Foreman) -> None:
    async with ollama.AsyncClient(foreman.url) as client, ollama.AsyncClient(stub.url) as direct:
        made = await client.create("mine", from_="llama3", system="be brief")
        assert (await client.list()).models[0].model == "mine:latest"
        assert made == await direct.create("mine", from_="llama3", system="be brief")
        create: Any = client.create("other", from_="llama3", quantize="q4_K_M", stream=True)
        shown = [line.model_dump() async for line in await create]
        assert (await client.list()).models[0].model == "other:latest"
        create = direct.create("other", from_="llama3", quantize="q4_K_M", stream=True)
        assert shown == [line.model_dump() async for line in await create]
        assert any(line["completed"] for line in shown)
        with pytest.raises(ollama.ResponseError, match="neither 'from' or 'files' was specified") as refused:
            await client.create("nothing")
        assert refused.value.status_code == 400


async def test_a_model_of_a_file_that_was_uploaded_before(
    stub: StubOllama, foreman: Foreman, db: Path, tmp_path: Path
) -> None:
    (tmp_path / "weights.gguf").write_bytes(b"GGUF" * 1000)
    async with ollama.AsyncClient(foreman.url) as client:
        digest = await client.create_blob(tmp_path / "weights.gguf")
        assert stored(db) == []
        await client.create("mine", files={"weights.gguf": digest})
        assert (await client.list()).models[0].model == "mine:latest"
    (made,) = stub.ledger.on(CREATE)
    assert orjson.loads(made.body)["files"] == {"weights.gguf": digest}


@pytest.mark.parametrize("stream", [True, False])
async def test_bytes_pass_as_they_are(stub: StubOllama, foreman: Foreman, db: Path, *, stream: bool) -> None:
    body = {**HEAVY, "stream": stream, "something": {"new": [1]}}
    got, direct = await post(foreman.url, CREATE, body), await post(stub.url, CREATE, body)
    assert (got.status, got.whole, got.body) == (200, True, direct.body)
    assert got.headers["content-type"] == direct.headers["content-type"]
    first, second = stub.ledger.on(CREATE)
    assert first.body == second.body
    await foreman.settled(got.job)
    (job,) = stored(db)
    assert (job.state, job.complete, job.answer) == ("done", True, await kept(foreman, got.job))
    if stream:  # of the lines, the last on each step
        assert lines(job.answer or b"")[0] == lines(direct.body)[8]
        assert lines(job.answer or b"")[1:] == lines(direct.body)[9:]
    else:
        assert job.answer == direct.body == b'{"status":"success"}'


async def test_it_runs_alone_and_stands_where_a_swap_would(stub: StubOllama, foreman: Foreman) -> None:
    assert (await post(foreman.url, *chat("llama3", "warm"))).whole
    stub.script("/api/chat", [Script(hold=0)])
    first = asyncio.create_task(post(foreman.url, *chat("llama3", "first")))
    await stub.ledger.held()
    jobs = [
        await handed(foreman, MINE, CREATE),
        await handed(foreman, {"model": "phi4:mini"}, "/api/pull"),
        await handed(foreman, chat("qwen3:8b", "swap")[1], "/api/chat"),
        await handed(foreman, chat("llama3", "warm again")[1], "/api/chat"),
    ]
    queue = (await call(foreman, "GET", "/queue"))[1]
    told = [(job["reason"], job["model"]) for job in queue["waiting"]]
    assert told == [
        ("loaded", "llama3:latest"),
        ("create", "create mine:latest"),
        ("pull", "pull phi4:mini"),
        ("swap", "qwen3:8b"),
    ]
    stub.release("/api/chat")
    assert (await first).whole
    await foreman.settled(*jobs)
    ran = [entry.path for entry in stub.ledger.entries if entry.path in (CREATE, "/api/pull", "/api/chat")]
    assert ran == ["/api/chat", "/api/chat", "/api/chat", CREATE, "/api/pull", "/api/chat"]
    assert stub.ledger.max_concurrent == 1


async def test_the_same_is_made_once_and_another_of_that_name_after_it(stub: StubOllama, foreman: Foreman) -> None:
    stub.script(CREATE, [Script(hold=1)])
    first = asyncio.create_task(post(foreman.url, CREATE, MINE))
    await stub.ledger.held()
    same = asyncio.create_task(post(foreman.url, CREATE, MINE))
    await joined(foreman, 1)
    other = asyncio.create_task(post(foreman.url, CREATE, HEAVY))
    await foreman.queued(1)
    # Who asks for the first one now wants it to be the last one made.
    again = asyncio.create_task(post(foreman.url, CREATE, MINE))
    await foreman.queued(2)
    stub.release(CREATE)
    answers = [await first, await same, await other, await again]
    assert answers[0].body == answers[1].body
    assert [answers.index(next(a for a in answers if a.job == got.job)) for got in answers] == [0, 0, 2, 3]
    assert ["quantize" in orjson.loads(entry.body) for entry in stub.ledger.on(CREATE)] == [False, True, False]
    assert all(lines(got.body)[-1] == {"status": "success"} for got in answers)


@pytest.mark.parametrize("die", [Die.FIN, Die.RST, Die.CLEAN])
async def test_one_that_is_cut_is_made_again_before_any_other_of_its_name(stub: StubOllama, db: Path, die: Die) -> None:
    # Were it to wait before it is tried again, the other would be made first, and be lost.
    async with serving(stub.url, db, retry_base_seconds=3600, retry_cap_seconds=3600) as foreman:
        stub.script(CREATE, [Script(die=die, die_after_bytes=300, hold=1)])
        first = asyncio.create_task(post(foreman.url, CREATE, HEAVY))
        await stub.ledger.held()
        second = asyncio.create_task(post(foreman.url, CREATE, MINE))
        await foreman.queued(1)
        stub.release(CREATE)
        for got in (await first, await second):
            assert (got.status, got.whole, lines(got.body)[-1]) == (200, True, {"status": "success"})
        assert ["quantize" in orjson.loads(entry.body) for entry in stub.ledger.on(CREATE)] == [True, True, False]
        await foreman.settled((await first).job, (await second).job)
    assert [job.tries for job in stored(db)] == [("truncated", None), (None,)]


@pytest.mark.parametrize("stream", [True, False])
async def test_cuts_are_bounded(stub: StubOllama, db: Path, *, stream: bool) -> None:
    async with serving(stub.url, db, max_attempts=2) as foreman:
        stub.script(CREATE, Script(die=Die.FIN, die_after_bytes=10))
        got = await post(foreman.url, CREATE, {**MINE, "stream": stream})
        assert not (got.status == 200 and got.whole and lines(got.body)[-1] == {"status": "success"})
        await foreman.settled(got.job)
    assert len(stub.ledger.on(CREATE)) == 2
    (job,) = stored(db)
    assert (job.state, job.error_code) == ("failed", "truncated")


async def test_a_model_that_is_made_of_itself_is_not_sent_again(stub: StubOllama, foreman: Foreman, db: Path) -> None:
    stub.script(CREATE, Script(die=Die.FIN, die_after_chunks=1))
    got = await post(foreman.url, CREATE, {"model": "llama3", "from": "library/llama3", "license": "mine"})
    assert (got.status, got.whole) == (200, False)
    assert "broke off" in lines(got.body)[-1]["error"]
    await foreman.settled(got.job)
    assert len(stub.ledger.on(CREATE)) == 1
    assert [(job.state, job.error_code, job.attempts) for job in stored(db)] == [("failed", "truncated", 1)]


async def test_what_the_target_says_is_final(stub: StubOllama, foreman: Foreman, db: Path) -> None:
    words = "unsupported architecture"
    stub.script(CREATE, [Script(error=words, error_after=1), Script(status=503, error="busy")])
    got = await post(foreman.url, CREATE, MINE)
    assert (got.status, got.whole, lines(got.body)[-1]) == (200, True, {"error": words})
    busy = await post(foreman.url, CREATE, {**MINE, "stream": False})
    assert (busy.status, lines(busy.body)) == (503, [{"error": "busy"}])
    await foreman.settled(got.job, busy.job)
    assert [(job.state, job.error_code) for job in stored(db)] == [
        ("failed", "target_failed"),
        ("failed", "status_503"),
    ]


@pytest.mark.parametrize(
    "body",
    [{"model": "a b", "from": "llama3"}, {"model": ""}, {}, b"no JSON", {"model": 5}],
    ids=str,
)
async def test_what_is_no_create_becomes_no_job(
    stub: StubOllama, foreman: Foreman, db: Path, body: dict[str, Any] | bytes
) -> None:
    got = await post(foreman.url, CREATE, body)
    assert got.status == 400
    assert "error" in lines(got.body)[0]
    assert stored(db) == []


async def test_the_last_one_who_leaves_ends_it(stub: StubOllama, foreman: Foreman) -> None:
    stub.script(CREATE, Script(hold=1))
    async with asking(foreman.url, CREATE, MINE) as first:
        job = first.headers["X-Foreman-Job"]
        async with asking(foreman.url, CREATE, MINE):
            await joined(foreman, 1)
    await foreman.event("job_finished", job=job, outcome="cancelled")
    (entry,) = stub.ledger.on(CREATE)
    assert entry.ending is Ending.CLIENT_GONE


async def test_the_disk_is_looked_at_before(stub: StubOllama, db: Path) -> None:
    async with serving(stub.url, db, disk_reserve="1024 TiB") as foreman:
        got = await post(foreman.url, CREATE, MINE)
        assert (got.status, got.headers["x-foreman-error"]) == (507, "no_room")
        assert lines(got.body)[0]["error"].startswith("mine:latest does not fit: ")
    assert not stub.ledger.on(CREATE)


@pytest.mark.parametrize("stream", [True, False])
async def test_silence_is_borne_while_the_target_lives(stub: StubOllama, db: Path, *, stream: bool) -> None:
    short = dict.fromkeys(("idle_timeout_seconds", "first_byte_timeout_seconds", "probe_seconds"), 0.05)
    async with serving(stub.url, db, **short) as foreman:
        stub.script(CREATE, [Script(hold=3 if stream else 0)])
        create = asyncio.create_task(post(foreman.url, CREATE, {**HEAVY, "stream": stream}))
        await stub.ledger.held()
        probes = len(stub.ledger.on("/api/version"))
        await stub.ledger.wait_for(lambda led: len(led.on("/api/version")) >= probes + 5, 30)
        stub.release(CREATE)
        got = await create
    assert (got.whole, lines(got.body)[-1], len(stub.ledger.on(CREATE))) == (True, {"status": "success"}, 1)


async def made(client: ollama.AsyncClient, *, stream: bool) -> list[str | None]:
    """What the official client hears while a model is made."""
    if not stream:
        return [(await client.create("mine", from_="llama3", quantize="q4_K_M")).status]
    lines = await client.create("mine", from_="llama3", quantize="q4_K_M", stream=True)
    return [line.status async for line in lines]


@pytest.mark.parametrize("stream", [True, False])
async def test_it_goes_on_after_a_kill(stub: StubOllama, db: Path, *, stream: bool) -> None:
    stub.script(CREATE, [Script(hold=1 if stream else 0)])
    async with serving(stub.url, db) as foreman:
        async with ollama.AsyncClient(foreman.url) as client:
            asked = asyncio.create_task(made(client, stream=stream))
            await stub.ledger.held()
            async with asyncio.timeout(30):
                while not (await call(foreman, "GET", "/jobs"))[1]["jobs"]:
                    pass
            await foreman.kill()
            with pytest.raises(httpx.RemoteProtocolError):
                await asked
        await stub.ledger.wait_for(lambda led: led.on(CREATE)[0].ending is Ending.CLIENT_GONE, 30)
    stub.script(CREATE, [Script(hold=1 if stream else 0)])
    async with serving(stub.url, db) as foreman:
        await stub.ledger.held()
        (found,) = (await call(foreman, "GET", "/jobs"))[1]["jobs"]
        async with ollama.AsyncClient(foreman.url) as client:
            asked = asyncio.create_task(made(client, stream=stream))
            await joined(foreman, 1)
            stub.release(CREATE)
            assert (await asked)[-1] == "success"
            assert (await client.list()).models[0].model == "mine:latest"
        await foreman.settled(found["id"])
    (job,) = stored(db)
    assert (job.id, job.state, job.attempts, len(stub.ledger.on(CREATE))) == (found["id"], "done", 2, 2)
