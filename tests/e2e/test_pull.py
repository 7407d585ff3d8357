"""Pulls at a real foreman: shared by all who ask, alone at the target, carried on where they break off."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import ollama
import orjson
import pytest

from foreman.testing import Die, Ending, Script, StubOllama
from tests.e2e import raw
from tests.e2e.client import asking, chat, post
from tests.e2e.own import call, handed, state_of
from tests.e2e.process import Foreman, serving
from tests.e2e.stored import stored

PULL = "/api/pull"
# Behind the line that names the manifest, and one of the weights.
SOME = 2


def lines(body: bytes) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in body.splitlines() if line.strip()]


async def ended(stub: StubOllama, count: int, ending: Ending) -> None:
    """Wait until so many pulls have ended so at the target."""
    await stub.ledger.wait_for(lambda led: sum(e.ending is ending for e in led.on(PULL)) >= count, 30)


async def joined(foreman: Foreman, count: int) -> None:
    await foreman.event("job_joined", count)


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


async def test_the_official_client_sees_the_progress_and_the_model_at_once(stub: StubOllama, foreman: Foreman) -> None:
    async with ollama.AsyncClient(foreman.url) as client, ollama.AsyncClient(stub.url) as direct:
        shown = [line.model_dump() async for line in await client.pull("phi4:14b", stream=True)]
        assert (await client.list()).models[0].model == "phi4:14b"
        assert shown == [line.model_dump() async for line in await direct.pull("phi4:14b", stream=True)]
        assert (await client.pull("phi4:mini", stream=False)).status == "success"
        assert {model.model for model in (await client.list()).models} >= {"phi4:14b", "phi4:mini"}


async def test_bytes_pass_as_they_are(stub: StubOllama, foreman: Foreman) -> None:
    got = await post(foreman.url, PULL, {"model": "phi4:14b"})
    direct = await post(stub.url, PULL, {"model": "phi4:14b"})
    assert (got.status, got.whole, got.body) == (200, True, direct.body)
    assert got.headers["content-type"] == direct.headers["content-type"] == "application/x-ndjson"
    (pulled, _) = stub.ledger.on(PULL)
    assert orjson.loads(pulled.body) == {"model": "phi4:14b", "stream": True}
    whole = await post(foreman.url, PULL, {"name": "phi4:14b", "stream": False})
    direct = await post(stub.url, PULL, {"name": "phi4:14b", "stream": False})
    assert (whole.status, whole.body, whole.headers["content-type"]) == (200, direct.body, "application/json")


async def test_all_who_ask_for_a_model_share_one_pull(stub: StubOllama, foreman: Foreman, db: Path) -> None:
    stub.script(PULL, Script(hold=SOME))
    first = asyncio.create_task(post(foreman.url, PULL, {"model": "phi4:14b"}))
    await stub.ledger.held()
    late = asyncio.create_task(post(foreman.url, PULL, {"name": "library/PHI4:14b", "stream": True}))
    whole = asyncio.create_task(post(foreman.url, PULL, {"model": "phi4:14b", "stream": False}))
    await joined(foreman, 2)
    stub.release(PULL)
    answers = [await first, await late, await whole]
    assert {got.job for got in answers} == {answers[0].job}
    # Who comes late sees it from the beginning.
    assert answers[0].body == answers[1].body
    assert lines(answers[0].body)[0] == {"status": "pulling manifest"}
    assert answers[2].body == b'{"status":"success"}'
    assert len(stub.ledger.on(PULL)) == 1
    await foreman.settled(answers[0].job)
    (job,) = stored(db)
    assert (job.state, job.complete, job.answer) == ("done", True, await kept(foreman, job.id))


async def kept(foreman: Foreman, job: str) -> bytes:
    return (await raw.ask(foreman.url, f"GET /jobs/{job}/response")).body


async def test_of_a_finished_pull_the_last_line_on_each_step_is_kept(stub: StubOllama, foreman: Foreman) -> None:
    got = await post(foreman.url, PULL, {"model": "phi4:14b"})
    await foreman.settled(got.job)
    told = lines(await kept(foreman, got.job))
    assert [line for line in lines(got.body) if line in told] == told
    layers = [line for line in told if "digest" in line]
    assert [line["completed"] for line in layers] == [line["total"] for line in layers]
    assert len(told) == len(layers) + 4


async def test_what_is_kept_is_another_answer_than_what_was_told(stub: StubOllama, foreman: Foreman) -> None:
    """So nobody goes on in the one where he stood in the other."""
    stub.script(PULL, [Script(hold=SOME)])
    async with asking(foreman.url, PULL, {"model": "phi4:14b"}) as pull:
        job = pull.headers["X-Foreman-Job"]
        async with raw.connected(foreman.url) as reader:
            await reader.request(f"GET /jobs/{job}/response")
            tag = (await reader.head()).headers["etag"]
        stub.release(PULL)
        await foreman.settled(job)
    again = await raw.ask(foreman.url, f"GET /jobs/{job}/response", "Range: bytes=20-", f"If-Range: {tag}")
    assert (again.status, lines(again.body)[-1]) == (200, {"status": "success"})
    assert again.headers["etag"] != tag


async def test_one_pull_waits_for_the_other(stub: StubOllama, foreman: Foreman) -> None:
    stub.script(PULL, [Script(hold=SOME)])
    first = asyncio.create_task(post(foreman.url, PULL, {"model": "phi4:14b"}))
    await stub.ledger.held()
    others = [asyncio.create_task(post(foreman.url, PULL, {"model": model})) for model in ("phi4:mini", "gemma3:4b")]
    await foreman.queued(2)
    assert len(stub.ledger.on(PULL)) == 1
    stub.release(PULL)
    for got in [await first, *[await other for other in others]]:
        assert lines(got.body)[-1] == {"status": "success"}
    assert (len(stub.ledger.on(PULL)), stub.ledger.max_concurrent) == (3, 1)


async def test_nothing_runs_or_loads_beside_a_pull_and_none_is_evicted_for_it(
    stub: StubOllama, foreman: Foreman
) -> None:
    assert (await post(foreman.url, *chat("llama3", "warm"))).whole
    loads = list(stub.ledger.loads)
    stub.script(PULL, [Script(hold=SOME)])
    # Also of a model that is loaded: it fetches, and runs nothing.
    pull = asyncio.create_task(post(foreman.url, PULL, {"model": "llama3"}))
    await stub.ledger.held()
    mixed = [post(foreman.url, *chat(model, "x")) for model in ("llama3", "qwen3:8b", "llama3")]
    mixed += [post(foreman.url, PULL, {"model": model}) for model in ("phi4:14b", "phi4:mini", "phi4:14b")]
    others = [asyncio.create_task(one) for one in mixed]
    await foreman.queued(5)
    assert (len(stub.ledger.on("/api/chat")), stub.ledger.loads) == (1, loads)
    stub.release(PULL)
    for one in [pull, *others]:
        assert (await one).whole
    assert stub.ledger.max_concurrent == 1
    assert [load.name for load in stub.ledger.loads] == ["llama3:latest", "qwen3:8b"]
    assert len(stub.ledger.on(PULL)) == 3


async def test_a_pull_stands_where_a_swap_would_and_says_why(stub: StubOllama, foreman: Foreman) -> None:
    assert (await post(foreman.url, *chat("llama3", "warm"))).whole
    stub.script("/api/chat", [Script(hold=0)])
    first = asyncio.create_task(post(foreman.url, *chat("llama3", "first")))
    await stub.ledger.held()
    pull = await handed(foreman, {"model": "llama3"}, PULL)
    swap = await handed(foreman, chat("qwen3:8b", "swap")[1], "/api/chat")
    warm = await handed(foreman, chat("llama3", "warm again")[1], "/api/chat")
    queue = (await call(foreman, "GET", "/queue"))[1]
    told = [(job["id"], job["reason"], job["model"]) for job in queue["waiting"]]
    assert told == [
        (warm, "loaded", "llama3:latest"),
        (pull, "pull", "pull llama3:latest"),
        (swap, "swap", "qwen3:8b"),
    ]
    stub.release("/api/chat")
    assert (await first).whole
    await foreman.settled(pull, swap, warm)
    ran = [e.path for e in stub.ledger.entries if e.path in (PULL, "/api/chat")]
    assert ran == ["/api/chat", "/api/chat", "/api/chat", PULL, "/api/chat"]


async def test_who_leaves_leaves_the_pull_to_the_others_and_the_last_one_ends_it(
    stub: StubOllama, foreman: Foreman
) -> None:
    stub.script(PULL, Script(hold=SOME))
    async with asking(foreman.url, PULL, {"model": "phi4:14b"}) as first:
        job = first.headers["X-Foreman-Job"]
        whole = asyncio.create_task(post(foreman.url, PULL, {"model": "phi4:14b", "stream": False}))
        await joined(foreman, 1)
        async with asking(foreman.url, PULL, {"model": "phi4:14b"}) as third:
            assert third.headers["X-Foreman-Job"] == job
            await joined(foreman, 2)
    assert await state_of(foreman, job) == "working"
    whole.cancel()
    await asyncio.wait((whole,))
    await foreman.event("job_finished", job=job, outcome="cancelled")
    (entry,) = stub.ledger.on(PULL)
    assert entry.ending is Ending.CLIENT_GONE
    # And who asks now begins a new one.
    stub.script(PULL, None)
    assert lines((await post(foreman.url, PULL, {"model": "phi4:14b"})).body)[-1] == {"status": "success"}


async def test_a_pull_that_waits_can_be_joined_and_left(stub: StubOllama, foreman: Foreman) -> None:
    stub.script("/api/chat", [Script(hold=0)])
    first = asyncio.create_task(post(foreman.url, *chat("llama3", "first")))
    await stub.ledger.held()
    pulls = [asyncio.create_task(post(foreman.url, PULL, {"model": "phi4:14b"})) for _ in range(2)]
    await joined(foreman, 1)
    await foreman.queued(1)
    for pull in pulls:
        pull.cancel()
    await foreman.event("job_finished", outcome="cancelled")
    stub.release("/api/chat")
    assert (await first).whole
    assert not stub.ledger.on(PULL)


async def test_a_pull_for_later_that_joins_one_keeps_it_when_its_client_leaves(
    stub: StubOllama, foreman: Foreman
) -> None:
    stub.script(PULL, Script(hold=SOME))
    async with asking(foreman.url, PULL, {"model": "phi4:14b"}) as first:
        job = first.headers["X-Foreman-Job"]
        assert await handed(foreman, {"model": "phi4:14b"}, PULL) == job
    stub.release(PULL)
    await foreman.event("job_finished", job=job, outcome="done")


@pytest.mark.parametrize("die", [Die.FIN, Die.RST, Die.CLEAN])
async def test_a_pull_that_is_cut_goes_on_where_it_was(stub: StubOllama, foreman: Foreman, db: Path, die: Die) -> None:
    # In the middle of a line, which nobody may see a half of.
    stub.script(PULL, [Script(die=die, die_after_bytes=700)] * 2)
    got = await post(foreman.url, PULL, {"model": "phi4:14b"})
    assert (got.status, got.whole) == (200, True)
    told = lines(got.body)
    assert [line["status"] for line in told].count("pulling manifest") == 3
    assert told[-1] == {"status": "success"}
    for digest in {line["digest"] for line in told if "digest" in line}:
        come = [line.get("completed", 0) for line in told if line.get("digest") == digest]
        assert come == sorted(come)
    await foreman.settled(got.job)
    (job,) = stored(db)
    assert (job.state, job.attempts, job.tries) == ("done", 3, ("truncated", "truncated", None))
    whole = await post(foreman.url, PULL, {"model": "phi4:14b", "stream": False})
    assert whole.body == b'{"status":"success"}'


async def test_cuts_are_bounded_and_told(stub: StubOllama, db: Path) -> None:
    async with serving(stub.url, db, retry_base_seconds=0.01, max_attempts=2) as foreman:
        stub.script(PULL, Script(die=Die.FIN, die_after_chunks=3))
        got = await post(foreman.url, PULL, {"model": "phi4:14b"})
        assert (got.status, got.whole) == (200, False)
        *_, last = lines(got.body)
        assert last["job"] == got.job
        assert "broke off" in last["error"]
        whole = await post(foreman.url, PULL, {"model": "phi4:14b", "stream": False})
        assert (whole.status, whole.headers["x-foreman-error"]) == (502, "truncated")
        assert len(stub.ledger.on(PULL)) == 4
        await foreman.settled(got.job, whole.job)
    assert [(job.state, job.error_code, job.attempts) for job in stored(db)] == [("failed", "truncated", 2)] * 2


async def test_a_pull_that_cannot_go_on_is_told_in_its_own_stream(stub: StubOllama, foreman: Foreman) -> None:
    stub.script(PULL, [Script(die=Die.FIN, die_after_chunks=3), Script(status=400, error="no such thing")])
    got = await post(foreman.url, PULL, {"model": "phi4:14b"})
    assert (got.status, got.whole) == (200, False)
    assert lines(got.body)[-1] == {"error": "no such thing", "job": got.job}


async def test_what_the_target_reports_is_final(stub: StubOllama, foreman: Foreman, db: Path) -> None:
    words = "pull model manifest: file does not exist"
    stub.script("nowhere:1b", Script(error=words, error_after=1))
    got = await post(foreman.url, PULL, {"model": "nowhere:1b"})
    assert (got.status, got.whole) == (200, True)
    assert lines(got.body) == [{"status": "pulling manifest"}, {"error": words}]
    whole = await post(foreman.url, PULL, {"model": "nowhere:1b", "stream": False})
    assert (whole.status, lines(whole.body)) == (500, [{"error": words}])
    await foreman.settled(got.job, whole.job)
    assert [(job.state, job.error_code, job.error) for job in stored(db)] == [("failed", "target_failed", words)] * 2
    async with ollama.AsyncClient(foreman.url) as client:
        with pytest.raises(ollama.ResponseError, match=words):
            await client.pull("nowhere:1b")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"model": "../../etc/passwd"}, 400),
        ({"model": "foo bar"}, 400),
        ({"model": "", "name": ""}, 400),
        ({}, 400),
        (b"no JSON", 400),
        ({"model": 5}, 400),
    ],
    ids=str,
)
async def test_what_is_no_pull_becomes_no_job(
    stub: StubOllama, foreman: Foreman, db: Path, body: dict[str, Any] | bytes, status: int
) -> None:
    got = await post(foreman.url, PULL, body)
    assert got.status == status
    assert "error" in lines(got.body)[0]
    assert stored(db) == []


async def test_silence_is_borne_while_the_target_lives(stub: StubOllama, db: Path) -> None:
    async with serving(
        stub.url, db, idle_timeout_seconds=0.05, first_byte_timeout_seconds=0.05, probe_seconds=0.05
    ) as foreman:
        count = len(lines((await post(stub.url, PULL, {"model": "phi4:14b"})).body))
        stub.script(PULL, Script(hold=count - 2))  # it says that it verifies, and then nothing for long
        pull = asyncio.create_task(post(foreman.url, PULL, {"model": "phi4:14b"}))
        await stub.ledger.held()
        probes = len(stub.ledger.on("/api/version"))
        await stub.ledger.wait_for(lambda led: len(led.on("/api/version")) >= probes + 5, 30)
        stub.release(PULL)
        got = await pull
    assert (got.whole, lines(got.body)[-1]) == (True, {"status": "success"})
    assert len(stub.ledger.on(PULL)) == 2


async def test_a_pull_begins_only_where_the_disk_has_room(stub: StubOllama, db: Path) -> None:
    async with serving(stub.url, db, disk_reserve="1024 TiB") as foreman:
        got = await post(foreman.url, PULL, {"model": "phi4:14b"})
        assert (got.status, got.headers["x-foreman-error"]) == (507, "no_room")
        assert "disk_reserve" in lines(got.body)[0]["error"]
    assert not stub.ledger.on(PULL)


async def test_a_pull_is_stopped_as_soon_as_it_is_known_not_to_fit(stub: StubOllama, db: Path) -> None:
    async with serving(stub.url, db, disk_reserve=1) as foreman:
        stub.script(PULL, Script(hold=SOME))  # nothing more is let out
        got = await post(foreman.url, PULL, {"model": "phi4:9000000b"})  # a word about 5400 TB
        assert (got.status, got.whole) == (200, False)
        *_, layer, error = lines(got.body)
        assert layer["total"] > 10**15
        assert "does not fit" in error["error"]
        assert "too little" in error["error"]
        await ended(stub, 1, Ending.CLIENT_GONE)
        stub.script(PULL, None)
        other = await post(foreman.url, PULL, {"model": "phi4:mini"})
        assert lines(other.body)[-1] == {"status": "success"}
        await foreman.settled(got.job, other.job)
    assert [(job.state, job.error_code) for job in stored(db)] == [("failed", "no_room"), ("done", None)]


async def test_a_pull_goes_on_after_a_kill_and_ends_once(stub: StubOllama, db: Path) -> None:
    async with serving(stub.url, db) as foreman:
        stub.script(PULL, [Script(hold=5)])
        async with asking(foreman.url, PULL, {"model": "phi4:14b"}) as pull:
            job = pull.headers["X-Foreman-Job"]
            await stub.ledger.held()
            await foreman.kill()
        await ended(stub, 1, Ending.CLIENT_GONE)
    stub.script(PULL, [Script(hold=2)])
    async with serving(stub.url, db) as foreman:
        await stub.ledger.held()
        # Whoever asks now joins it.
        again = asyncio.create_task(post(foreman.url, PULL, {"model": "phi4:14b"}))
        await joined(foreman, 1)
        stub.release(PULL)
        got = await again
        assert (got.job, lines(got.body)[-1]) == (job, {"status": "success"})
        come = [line.get("completed", 0) for line in lines(got.body) if "digest" in line]
        assert come[0] > 0
        async with ollama.AsyncClient(foreman.url) as client:
            assert (await client.list()).models[0].model == "phi4:14b"
        await foreman.settled(job)
        assert len([event for event in foreman.events if event["event"] == "job_finished"]) == 1
    (found,) = stored(db)
    assert (found.state, found.attempts, len(stub.ledger.on(PULL))) == ("done", 2, 2)


async def test_a_pull_for_later_is_a_job_like_others(stub: StubOllama, foreman: Foreman) -> None:
    answer = await raw.ask(foreman.url, f"POST {PULL}", "Prefer: respond-async", body=b'{"model":"phi4:mini"}')
    assert (answer.status, answer.headers["location"]) == (202, "/jobs/" + answer.headers["x-foreman-job"])
    await foreman.event("job_finished", job=answer.headers["x-foreman-job"], outcome="done")
    listed = (await call(foreman, "GET", "/jobs?model=pull%20phi4:mini"))[1]["jobs"]
    assert [(job["id"], job["path"]) for job in listed] == [(answer.headers["x-foreman-job"], PULL)]
    assert (await raw.ask(foreman.url, "GET /jobs?model=phi4:mini")).body.startswith(b'{"jobs":[]')
