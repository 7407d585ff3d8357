"""What goes wrong at the target before it has answered: what is tried again, and what the client hears."""

import asyncio
import hashlib
import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest
import pytest_asyncio

from foreman.testing import Die, Script, StubOllama
from tests.e2e.client import chat, chat_v1, post
from tests.e2e.faulty import CHAT, QUICK, V1, about, failing
from tests.e2e.process import Foreman, serving
from tests.e2e.stored import job_of

pytestmark = pytest.mark.asyncio(loop_scope="module")
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


async def warm(foreman: Foreman) -> None:
    """Have a connection to the target that was used before."""
    assert (await post(foreman.url, *chat("llama3", "warm"))).whole


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
