"""What goes wrong at the target, and what becomes of the job and of its client."""

import asyncio
import hashlib
import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import ollama
import openai
import orjson
import pytest
import pytest_asyncio

from foreman.testing import Die, Script, StubOllama, Terminal
from foreman.testing.ledger import Entry
from tests.e2e.client import Got, chat, chat_v1, post, submit
from tests.e2e.deaf import DeafProxy
from tests.e2e.process import Foreman, serving
from tests.e2e.stored import Stored, job_of, stored

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHAT, V1 = "/api/chat", "/v1/chat/completions"
QUICK: dict[str, object] = {
    "retry_base_seconds": 0.01,
    "retry_cap_seconds": 0.02,
    "probe_seconds": 0.05,
    "idle_timeout_seconds": 0.3,
    "max_attempts": 3,
}
# The time a probe gets is also the pause between two, so it is a balance of patience here and of time.
IMPATIENT: dict[str, object] = {
    "first_byte_timeout_seconds": 0.25,
    "idle_timeout_seconds": 0.25,
    "probe_seconds": 0.25,
}
# For a target that refuses, which a probe hears at once: one that is slow to answer must not be taken for it.
AWAY: dict[str, object] = {"retry_base_seconds": 0.01, "retry_cap_seconds": 0.02, "probe_seconds": 2, "max_attempts": 3}
_numbers = itertools.count(1)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def foreman(stub: StubOllama, db: Path) -> AsyncIterator[Foreman]:
    async with serving(stub.url, db, **QUICK) as foreman:
        yield foreman


@pytest_asyncio.fixture(loop_scope="module", autouse=True)
async def _fresh(stub: StubOllama) -> AsyncIterator[None]:
    yield
    stub.scripts.clear()


@pytest.fixture
def asked() -> str:
    """A question nobody asked before."""
    return f"question {next(_numbers)}!"


def about(stub: StubOllama, asked: str) -> list[Entry]:
    """The requests of a question that reached the target."""
    return [entry for entry in stub.ledger.entries if asked.encode() in entry.body]


async def warm(foreman: Foreman) -> None:
    """Have a connection to the target that was used before."""
    assert (await post(foreman.url, *chat("llama3", "warm"))).whole


async def failing(stub: StubOllama, foreman: Foreman, db: Path, script: Script, asked: str) -> tuple[Got, Stored]:
    """A chat that meets `script` at every attempt."""
    stub.script(CHAT, script)
    got = await post(foreman.url, *chat("llama3", asked))
    await foreman.settled(got.job)
    return got, job_of(db, asked)


# -- before the first byte: tried again


ONCE = {
    "connection closed": Script(die=Die.FIN),
    "connection reset": Script(die=Die.RST),
    "closed after the head": Script(die=Die.FIN, die_after_bytes=0),
    "an empty answer": Script(die=Die.CLEAN, die_after_bytes=0),
    "server busy": Script(status=503, error="server busy, please try again.  maximum pending requests exceeded"),
    "too many requests": Script(status=429, error="slow down", headers={"Retry-After": "0"}),
    "bad gateway": Script(status=502, body=b"<html>bad gateway</html>"),
    "load failure": Script(status=500, error="llama runner process has terminated: exit status 2"),
    "runner crash": Script(status=500, error="model runner has unexpectedly stopped, this may be due to"),
    "garbage": Script(raw=b"SSH-2.0-OpenSSH_9.6\r\n"),
}
UNCOUNTED = ("server busy", "too many requests")
# On a kept connection that is a connection which was closing already: asked again at once, and nobody hears of it.
UNHEARD = ("connection closed", "connection reset")


@pytest.mark.parametrize("fault", ONCE)
@pytest.mark.parametrize("path", [CHAT, V1])
async def test_one_fault_before_the_first_byte_costs_nothing(
    stub: StubOllama, foreman: Foreman, db: Path, asked: str, fault: str, path: str
) -> None:
    await warm(foreman)
    stub.script(path, [ONCE[fault]] * (2 if fault in UNHEARD else 1))
    body = chat("llama3", asked, stream=path == V1)[1]
    got = await post(foreman.url, path, body)
    assert (got.status, got.whole) == (200, True)
    *_, last = sent = about(stub, asked)
    assert len(sent) == (3 if fault in UNHEARD else 2)
    assert last.sha256 == hashlib.sha256(got.body).hexdigest()
    await foreman.settled(got.job)
    job = job_of(db, asked)
    assert (job.state, job.attempts, job.answer) == ("done", 1 if fault in UNCOUNTED else 2, got.body)
    assert len(job.tries) == 2
    assert job.tries[0] is not None
    assert job.tries[1] is None


ALWAYS = {
    "connection closed": (ONCE["connection closed"], 502, "target_lost", b"closed the connection before it answered"),
    "garbage": (ONCE["garbage"], 502, "target_garbled", b"is not HTTP"),
    "load failure": (ONCE["load failure"], 500, "status_500", b"llama runner process has terminated"),
    "bad gateway": (ONCE["bad gateway"], 502, "status_502", b"<html>bad gateway</html>"),
}


@pytest.mark.parametrize("fault", ALWAYS)
async def test_attempts_are_bounded_and_the_last_error_is_kept(
    stub: StubOllama, foreman: Foreman, db: Path, asked: str, fault: str
) -> None:
    script, status, code, words = ALWAYS[fault]
    await warm(foreman)
    got, job = await failing(stub, foreman, db, script, asked)
    assert (got.status, got.whole) == (status, True)
    assert words in got.body
    assert len(about(stub, asked)) == 3 + (fault in UNHEARD)
    assert job.attempts == job.max_attempts == 3
    assert (job.state, job.error_code, job.tries) == ("failed", code, (code,) * 3)
    assert words.decode() in str(job.error)


async def test_a_busy_target_is_asked_as_often_as_it_takes(
    stub: StubOllama, foreman: Foreman, db: Path, asked: str
) -> None:
    busy = Script(status=503, error="server busy", headers={"Retry-After": "0"})
    stub.script(CHAT, [busy] * 8)
    got = await post(foreman.url, *chat("llama3", asked))
    await foreman.settled(got.job)
    job = job_of(db, asked)
    assert (got.status, job.state, job.attempts) == (200, "done", 1)
    assert job.tries == (*["status_503"] * 8, None)


async def test_a_crash_of_the_runner_twice_is_the_jobs_own_fault(
    stub: StubOllama, foreman: Foreman, db: Path, asked: str
) -> None:
    stub.script(V1, ONCE["runner crash"])
    poison = asyncio.create_task(post(foreman.url, *chat_v1("llama3", asked)))
    others = [asyncio.create_task(post(foreman.url, *chat("llama3", f"other {i}"))) for i in range(4)]
    assert [got.status for got in await asyncio.gather(*others)] == [200] * 4
    got = await poison
    assert got.status == 500
    assert orjson.loads(got.body)["error"]["message"].startswith("model runner has unexpectedly stopped")
    assert len(about(stub, asked)) == 2
    await foreman.settled(got.job)
    assert (job_of(db, asked).state, job_of(db, asked).crashes) == ("failed", 1)


@pytest.mark.parametrize("path", [CHAT, V1, "/v1/messages"])
async def test_a_model_that_cannot_be_loaded_is_told_in_the_words_of_the_callers_api(
    stub: StubOllama, foreman: Foreman, db: Path, asked: str, path: str
) -> None:
    stub.script("/api/generate", Script(status=500, error="llama runner process has terminated: exit status 2"))
    body = chat("qwen3:8b", asked, max_tokens=9)[1]
    got = await post(foreman.url, path, body)
    assert got.status == 500
    error = orjson.loads(got.body)["error"]
    assert (error if path == CHAT else error["message"]).startswith("llama runner process has terminated")
    assert about(stub, asked) == []
    await foreman.settled(got.job)
    assert job_of(db, asked).tries == ("status_500",) * 3


FINAL = {
    400: b'{"error":"json: cannot unmarshal"}',
    401: b'{"error":"unauthorized","signin_url":"https://ollama.com/connect"}',
    403: b"",
    404: b'{"error":"model \'llama3\' not found"}',
    500: b'{"error":"invalid format"}',
}


@pytest.mark.parametrize("status", FINAL)
async def test_a_refusal_is_final_and_unchanged(
    stub: StubOllama, foreman: Foreman, db: Path, asked: str, status: int
) -> None:
    listed = len(stub.ledger.on("/api/tags"))
    script = Script(status=status, body=FINAL[status], headers={"Content-Type": "application/json", "X-Some": "thing"})
    got, job = await failing(stub, foreman, db, script, asked)
    assert (got.status, got.body, got.whole, got.headers["x-some"]) == (status, FINAL[status], True, "thing")
    assert len(about(stub, asked)) == 1
    assert (job.state, job.error_code, job.attempts) == ("failed", f"status_{status}", 1)
    if status == 404:
        await stub.ledger.wait_for(lambda ledger: len(ledger.on("/api/tags")) > listed)


async def test_a_redirect_is_not_followed(stub: StubOllama, foreman: Foreman, db: Path, asked: str) -> None:
    async with StubOllama() as elsewhere:
        redirect = Script(status=307, headers={"Location": f"{elsewhere.url}/api/chat"})
        got, job = await failing(stub, foreman, db, redirect, asked)
        assert elsewhere.ledger.entries == []
    assert (got.status, job.state, job.error_code) == (502, "failed", "target_garbled")


# -- after the first byte: told in-band, never tried again


CUTS = {
    "in a line": Script(die=Die.FIN, die_after_bytes=300),
    "at the end of a line": Script(die=Die.FIN, die_after_chunks=3),
    "between chunks, in a line": Script(slices=(50,), die=Die.FIN, die_after_chunks=7),
    "in the first byte": Script(slices=(1,), die=Die.FIN, die_after_chunks=1),
    "a clean end too early": Script(die=Die.CLEAN, die_after_chunks=3),
    "a clean end in a line": Script(die=Die.CLEAN, die_after_bytes=300),
    "no terminal event": Script(terminal=Terminal.OMIT),
    "close-delimited, at the end of a line": Script(close_delimited=True, die=Die.FIN, die_after_chunks=3),
    "close-delimited, in a line": Script(close_delimited=True, die=Die.FIN, die_after_bytes=300),
    "reset": Script(die=Die.RST, die_after_chunks=3),
    "silence": Script(die=Die.SILENCE, die_after_chunks=3),
    "silence in a line": Script(die=Die.SILENCE, die_after_bytes=300),
    "an error the target swallows": Script(error="out of memory", error_after=3),
}
# In this API Ollama says it, in the other it ends the stream without a word.
OWN_WORDS = (CHAT, "an error the target swallows")
STREAMED = {CHAT: chat, V1: lambda model, text: chat_v1(model, text, stream=True)}


@pytest.mark.parametrize(("path", "cut"), [pair for pair in itertools.product(STREAMED, CUTS) if pair != OWN_WORDS])
async def test_a_stream_that_is_cut_never_looks_complete(
    stub: StubOllama, foreman: Foreman, db: Path, asked: str, path: str, cut: str
) -> None:
    stub.script(path, CUTS[cut])
    got = await post(foreman.url, *STREAMED[path]("llama3", asked))
    assert (got.status, got.whole) == (200, False)
    (entry,) = about(stub, asked)
    passed, last = got.body[: entry.written], got.body[entry.written :]
    assert hashlib.sha256(passed).hexdigest() == entry.sha256
    _is_an_error_on_its_own(path, passed, last)
    await foreman.settled(got.job)
    job = job_of(db, asked)
    assert (job.state, job.attempts) == ("failed", 1)
    assert job.error_code == ("target_silent" if "silence" in cut else "truncated")
    assert (job.answer, job.complete) == (passed, False)


async def test_a_stream_shorter_than_its_length_has_no_room_for_words(
    stub: StubOllama, foreman: Foreman, db: Path, asked: str
) -> None:
    got, job = await failing(stub, foreman, db, Script(terminal=Terminal.OMIT, extra_length=400), asked)
    (entry,) = about(stub, asked)
    assert (got.status, got.whole, hashlib.sha256(got.body).hexdigest()) == (200, False, entry.sha256)
    assert (job.state, job.error_code, job.attempts) == ("failed", "truncated", 1)


def _is_an_error_on_its_own(path: str, passed: bytes, last: bytes) -> None:
    if path == CHAT:
        line = last if passed.endswith(b"\n") else last.removeprefix(b"\n")
        assert line.endswith(b"\n")
        assert orjson.loads(line)["error"]
    else:
        event = last.rpartition(b"data: ")[2]
        assert orjson.loads(event)["error"]["message"]
        assert b"[DONE]" not in last
        assert (passed + last).rpartition(b"data: ")[0].endswith(b"\n\n")


async def test_the_client_hears_of_silence_before_the_target_has_let_go(tmp_path: Path) -> None:
    db = tmp_path / "foreman.db"
    async with (
        StubOllama() as stub,
        DeafProxy(stub.host, stub.port) as proxy,
        serving(proxy.url, db, **QUICK) as foreman,
    ):
        stub.script(CHAT, [Script(die=Die.SILENCE, die_after_chunks=3)])
        got = await post(foreman.url, *chat("llama3", "quiet"))
        assert (got.status, got.whole) == (200, False)
        assert not [event for event in foreman.events if event["event"] == "abort_unseen"]
        assert (await foreman.health())["running"]["id"] == got.job
        proxy.hear()
        await foreman.settled(got.job)


@pytest.mark.parametrize("cut", ["in a line", "at the end of a line", "a clean end too early", "reset", "silence"])
async def test_the_official_clients_hear_of_a_cut(
    stub: StubOllama, foreman: Foreman, db: Path, asked: str, cut: str
) -> None:
    said = [{"role": "user", "content": asked}]
    stub.script(CHAT, CUTS[cut])
    async with ollama.AsyncClient(foreman.url) as client:
        # Half a line is an error of its own to both, before they read the line that says why.
        with pytest.raises(ValueError if cut == "in a line" else ollama.ResponseError):
            [part async for part in await client.chat("llama3", said, stream=True)]
    stub.script(V1, CUTS[cut])
    async with openai.AsyncOpenAI(base_url=f"{foreman.url}/v1", api_key="x") as smart:
        create: Any = smart.chat.completions.create
        with pytest.raises(ValueError if cut == "in a line" else openai.APIError):
            [part async for part in await create(model="llama3", messages=said, stream=True)]
    assert len(about(stub, asked)) == 2


WHOLE_CUTS = {
    "in the middle": Script(die=Die.FIN, die_after_bytes=50),
    "shorter than its length": Script(extra_length=10),
    "in a chunk": Script(tokens=2000, die=Die.FIN, die_after_bytes=5000),
    "between chunks": Script(tokens=2000, slices=(1000,), die=Die.FIN, die_after_chunks=3),
    "reset": Script(die=Die.RST, die_after_bytes=50),
    "silence": Script(die=Die.SILENCE, die_after_bytes=50),
}


@pytest.mark.parametrize("cut", WHOLE_CUTS)
@pytest.mark.parametrize("path", [CHAT, V1])
async def test_a_whole_answer_that_is_cut_is_tried_again_and_then_an_error(
    stub: StubOllama, foreman: Foreman, db: Path, asked: str, path: str, cut: str
) -> None:
    stub.script(path, [WHOLE_CUTS[cut]])
    got = await post(foreman.url, path, chat("llama3", asked, stream=False)[1])
    assert (got.status, got.whole) == (200, True)
    assert about(stub, asked)[1].sha256 == hashlib.sha256(got.body).hexdigest()

    stub.script(path, WHOLE_CUTS[cut])
    got = await post(foreman.url, path, chat("llama3", f"again {asked}", stream=False)[1])
    assert got.status == (504 if cut == "silence" else 502)
    assert got.whole
    assert orjson.loads(got.body)["error"]
    await foreman.settled(got.job)
    job = job_of(db, f"again {asked}")
    assert (job.state, job.attempts) == ("failed", 3)


async def test_the_official_clients_hear_of_a_whole_answer_that_was_cut(
    stub: StubOllama, foreman: Foreman, asked: str
) -> None:
    said: Any = [{"role": "user", "content": asked}]
    stub.script("*", WHOLE_CUTS["in the middle"])
    async with ollama.AsyncClient(foreman.url) as client:
        with pytest.raises(ollama.ResponseError, match="broke off"):
            await client.chat("llama3", said)
    async with openai.AsyncOpenAI(base_url=f"{foreman.url}/v1", api_key="x", max_retries=0) as smart:
        with pytest.raises(openai.InternalServerError, match="broke off"):
            await smart.chat.completions.create(model="llama3", messages=said)


async def test_a_whole_answer_too_large_to_hold_back_is_cut_too(
    stub: StubOllama, foreman: Foreman, db: Path, asked: str
) -> None:
    stub.script(CHAT, Script(line_bytes=2_500_000, die=Die.FIN, die_after_bytes=2_000_000))
    got = await post(foreman.url, *chat("llama3", asked, stream=False))
    (entry,) = about(stub, asked)
    assert (got.status, got.whole, hashlib.sha256(got.body).hexdigest()) == (200, False, entry.sha256)
    await foreman.settled(got.job)
    assert job_of(db, asked).state == "failed"


async def test_the_targets_own_error_line_is_passed_on_and_the_job_has_failed(
    stub: StubOllama, foreman: Foreman, db: Path, asked: str
) -> None:
    error = Script(error="an error was encountered while running the model", error_after=2)
    got, job = await failing(stub, foreman, db, error, asked)
    (entry,) = about(stub, asked)
    assert (got.whole, hashlib.sha256(got.body).hexdigest()) == (True, entry.sha256)
    assert (job.state, job.error_code, job.error) == ("failed", "target_failed", error.error)


@pytest.mark.parametrize("die", [Die.FIN, Die.RST, Die.SILENCE])
@pytest.mark.parametrize("path", STREAMED)
async def test_what_breaks_after_the_terminal_event_does_not_matter(
    stub: StubOllama, foreman: Foreman, db: Path, asked: str, path: str, die: Die
) -> None:
    await post(stub.url, *STREAMED[path]("llama3", asked))
    chunks = about(stub, asked)[0].chunks
    stub.script(path, Script(die=die, die_after_chunks=chunks))
    got = await post(foreman.url, *STREAMED[path]("llama3", asked))
    whole, cut = about(stub, asked)
    assert (got.status, got.whole) == (200, True)
    assert hashlib.sha256(got.body).hexdigest() == whole.sha256 == cut.sha256
    await foreman.settled(got.job)
    assert job_of(db, asked).state == "done"


# -- the target as a whole: away, asleep, slow


async def test_a_flapping_target_costs_attempts_but_no_job(tmp_path: Path) -> None:
    db = tmp_path / "foreman.db"
    async with StubOllama() as stub, serving(stub.url, db, **{**AWAY, "max_attempts": 5}) as foreman:
        stub.script(CHAT, Script(hold=0))
        models = ("llama3", "qwen3:8b")
        clients = [asyncio.create_task(post(foreman.url, *chat(models[i % 2], f"job {i}"))) for i in range(10)]
        for count in range(1, 4):
            await stub.ledger.held()
            stub.refuse()
            await foreman.event("target_down", count)
            await stub.accept()
            await foreman.event("target_up", count + 1)
        stub.scripts.clear()
        answers = await asyncio.gather(*clients)
        assert all((got.status, got.whole) == (200, True) for got in answers)
        assert stub.ledger.max_concurrent == 1
        await foreman.settled(*(got.job for got in answers))
    jobs = stored(db)
    assert {job.state for job in jobs} == {"done"}
    assert sum(job.attempts for job in jobs) <= 10 + 3


async def test_an_outage_fails_nothing_and_burns_no_attempt(tmp_path: Path) -> None:
    db = tmp_path / "foreman.db"
    async with StubOllama() as stub, serving(stub.url, db, **AWAY) as foreman:
        await foreman.event("target_up")
        stub.refuse()
        requests = [chat(model, f"job {i}") for i, model in enumerate(["qwen3:8b", "llama3", "qwen3:8b"])]
        waiting = await submit(foreman, *requests)
        probes: set[float] = set()
        while len(probes) < 4:  # more than there are attempts
            probes.add((await foreman.health())["target"]["last_poll"])
        report = await foreman.health()
        assert (report["status"], report["target"]["reachable"], report["queue"]["depth"]) == ("degraded", False, 3)
        assert {(job.state, job.attempts) for job in stored(db)} == {("queued", 0)}
        await stub.accept()
        answers = await asyncio.gather(*waiting)
        assert all((got.status, got.whole) == (200, True) for got in answers)
        asked = [orjson.loads(entry.body)["messages"][0]["content"] for entry in stub.ledger.on(CHAT)]
        assert asked == ["job 0", "job 2", "job 1"]
        await foreman.settled(*(got.job for got in answers))
    assert {(job.state, job.attempts) for job in stored(db)} == {("done", 1)}


async def test_a_model_nobody_has_does_not_push_out_the_one_that_is_loaded(tmp_path: Path) -> None:
    db = tmp_path / "foreman.db"
    async with StubOllama() as stub, serving(stub.url, db, **AWAY) as foreman:
        assert (await post(foreman.url, *chat("llama3", "warm"))).whole
        stub.refuse()
        # While the target is away, what it has is not known for sure, so the job is taken.
        (waiting,) = await submit(foreman, chat("nobody", "who"))
        await foreman.event("target_down")
        await stub.accept()
        got = await waiting
        assert (got.status, orjson.loads(got.body)) == (404, {"error": "model 'nobody' not found"})
        assert stub.ledger.unloads == []
        await foreman.settled(got.job)
    assert job_of(db, "who").error_code == "status_404"


async def test_a_slow_target_that_answers_probes_is_waited_for(tmp_path: Path) -> None:
    db = tmp_path / "foreman.db"
    settings = {**QUICK, **IMPATIENT}
    async with StubOllama() as stub, serving(stub.url, db, **settings) as foreman:
        stub.script(CHAT, Script(hold=0))
        waiting = asyncio.create_task(post(foreman.url, *chat("llama3", "slow")))
        await stub.ledger.held()
        probed = len(stub.ledger.on("/api/version"))
        await stub.ledger.wait_for(lambda ledger: len(ledger.on("/api/version")) > probed + 3)
        stub.release(CHAT)
        got = await waiting
        assert got.whole
        assert len(stub.ledger.on(CHAT)) == 1
        await foreman.settled(got.job)
    assert job_of(db, "slow").attempts == 1


async def test_a_load_longer_than_every_timeout_is_waited_for(tmp_path: Path) -> None:
    settings = {**QUICK, **IMPATIENT}
    async with StubOllama() as stub, serving(stub.url, tmp_path / "foreman.db", **settings) as foreman:
        stub.hold_loads()
        waiting = asyncio.create_task(post(foreman.url, *chat("llama3", "slow")))
        await stub.ledger.wait_for(lambda ledger: ledger.loads)
        probed = len(stub.ledger.on("/api/version"))
        await stub.ledger.wait_for(lambda ledger: len(ledger.on("/api/version")) > probed + 3)
        stub.release_loads()
        assert (await waiting).whole
        assert len(stub.ledger.loads) == 1


async def test_a_frozen_target_is_given_up_and_the_job_tried_again(tmp_path: Path) -> None:
    db = tmp_path / "foreman.db"
    async with (
        StubOllama() as stub,
        serving(stub.url, db, **{**QUICK, "first_byte_timeout_seconds": 0.3}) as foreman,
    ):
        stub.script(CHAT, [Script(hold=0)])
        waiting = asyncio.create_task(post(foreman.url, *chat("llama3", "cold")))
        await stub.ledger.held()
        stub.freeze()
        handed_back = await foreman.event("job_handed_back")
        assert handed_back["fields"]["code"] == "target_silent"
        await foreman.event("target_down")
        stub.thaw()
        got = await waiting
        assert got.whole
        await foreman.settled(got.job)
    job = job_of(db, "cold")
    assert (job.state, job.attempts, job.tries) == ("done", 2, ("target_silent", None))
