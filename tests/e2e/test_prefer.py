"""`Prefer` on every route whose requests become jobs: hand over at once, or wait so long and hand over then."""

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest

from foreman.core.ollama import QUEUED_PATHS
from foreman.testing import Script, StubOllama
from tests.e2e import raw
from tests.e2e.own import call, state_of
from tests.e2e.process import Foreman, serving
from tests.e2e.stored import stored

pytestmark = pytest.mark.asyncio(loop_scope="module")

BOUNDARY = "edge"
FORM = (
    f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="model"\r\n\r\nllama3\r\n'
    f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\nRIFF\r\n--{BOUNDARY}--\r\n'
)
MESSAGES = [{"role": "user", "content": "hello"}]
BODIES: dict[str, dict[str, Any]] = {
    "/api/chat": {"messages": MESSAGES, "stream": False},
    "/api/generate": {"prompt": "hello", "stream": False},
    "/v1/chat/completions": {"messages": MESSAGES},
    "/v1/completions": {"prompt": "hello"},
    "/v1/responses": {"input": "hello"},
    "/v1/messages": {"messages": MESSAGES, "max_tokens": 10},
}


async def ask(foreman: Foreman, path: str, *headers: str) -> raw.Answer:
    if path in BODIES:
        body, kind = orjson.dumps({"model": "llama3", **BODIES[path]}), "application/json"
    else:
        body, kind = FORM.encode(), f"multipart/form-data; boundary={BOUNDARY}"
    return await raw.ask(foreman.url, f"POST {path}", f"Content-Type: {kind}", *headers, body=body)


EVERY = pytest.mark.parametrize("path", QUEUED_PATHS)


@EVERY
async def test_every_route_hands_over_at_once(foreman: Foreman, path: str) -> None:
    plain = await ask(foreman, path)
    accepted = await ask(foreman, path, "Prefer: respond-async")
    job = orjson.loads(accepted.body)
    assert (accepted.status, accepted.headers["preference-applied"]) == (202, "respond-async")
    assert accepted.headers["location"] == f"/jobs/{job['id']}" == job["links"]["self"]
    assert accepted.headers["x-foreman-job"] == job["id"]
    assert (job["mode"], job["path"]) == ("detached", path)
    await foreman.event("job_finished", job=job["id"])
    answer = await raw.ask(foreman.url, f"GET {job['links']['response']}")
    assert (answer.status, answer.headers["content-type"]) == (plain.status, plain.headers["content-type"])
    assert answer.whole


@EVERY
async def test_an_answer_within_the_wait_comes_as_always(foreman: Foreman, path: str) -> None:
    plain, waited = await ask(foreman, path), await ask(foreman, path, "Prefer: wait=60")
    assert (waited.status, waited.headers["content-type"]) == (plain.status, plain.headers["content-type"])
    assert waited.whole


async def test_beyond_the_wait_every_job_runs_on(stub: StubOllama, foreman: Foreman) -> None:
    await ask(foreman, "/api/chat")
    stub.script("/api/generate", [Script(hold=0)])
    before = asyncio.create_task(ask(foreman, "/api/generate"))
    entry = await stub.ledger.held()
    answers = await asyncio.gather(*(ask(foreman, path, "Prefer: wait=1") for path in QUEUED_PATHS))
    for accepted, path in zip(answers, QUEUED_PATHS, strict=True):
        assert (accepted.status, accepted.headers["preference-applied"]) == (202, "wait=1")
        job = orjson.loads(accepted.body)
        assert (job["path"], job["mode"], job["state"]) == (path, "detached", "queued")
    stub.release(entry.path)
    assert (await before).whole
    for accepted in answers:
        job = accepted.headers["x-foreman-job"]
        await foreman.settled(job)
        assert await state_of(foreman, job) == "done"


async def test_every_202_outlives_a_kill(stub: StubOllama, tmp_path: Path) -> None:
    db = tmp_path / "foreman.db"
    stub.script("/api/chat", Script(hold=0))
    async with serving(stub.url, db) as foreman:
        answers = await asyncio.gather(*(ask(foreman, "/api/chat", "Prefer: respond-async") for _ in range(20)))
        await foreman.kill()
    assert {answer.status for answer in answers} == {202}
    promised = {answer.headers["x-foreman-job"] for answer in answers}
    stub.script("/api/chat", None)
    async with serving(stub.url, db) as foreman:
        await foreman.settled(*promised)
        assert {(await call(foreman, "GET", f"/jobs/{job}"))[1]["state"] for job in promised} == {"done"}
    assert {job.id for job in stored(db)} == promised
