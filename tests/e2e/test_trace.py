"""`traceparent` through the real foreman: to the target and to a remote, and into the log, on every way there is."""

from pathlib import Path

import orjson
import pytest

from foreman.testing import Script, StubOllama, StubRemote
from foreman.testing.ledger import Entry
from tests.e2e import raw
from tests.e2e.own import call, prompt
from tests.e2e.process import Foreman, serving
from tests.e2e.test_remotes import KEY, far

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
GOOD = f"00-{TRACE}-00f067aa0ba902b7-01"
STATE = "vendor=value"
# White space and a number that another writer would change: the body travels byte for byte.
BODY = b'{ "model" : "llama3", "prompt":"hi", "keep_alive": "5m", "stream": false, "options": {"temperature": 1.50} }'


def sent(stub: StubOllama, path: str) -> Entry:
    return [entry for entry in stub.ledger.on(path) if entry.body][-1]


async def asked(foreman: Foreman, *headers: str, path: str = "/v1/completions", body: bytes = BODY) -> str:
    got = await raw.ask(foreman.url, f"POST {path}", *headers, body=body)
    assert got.status == 200, got.body
    job = got.headers["x-foreman-job"]
    await foreman.settled(job)
    return job


@pytest.mark.parametrize("server", ["aiohttp", "quick"])
@pytest.mark.parametrize("connection", ["kept", "single"])
async def test_it_travels_and_is_logged_and_the_body_is_as_it_was(tmp_path: Path, server: str, connection: str) -> None:
    chosen: dict[str, object] = {"http_server": server, "target_connection": connection}
    async with StubOllama() as stub, serving(stub.url, tmp_path / "foreman.db", **chosen) as foreman:
        job = await asked(foreman, f"traceparent: {GOOD}", f"Tracestate: {STATE}")
        entry = sent(stub, "/v1/completions")
        assert {("traceparent", GOOD), ("tracestate", STATE)} <= {
            (name.lower(), value) for name, value in entry.headers
        }
        assert entry.body == BODY
        assert (await foreman.event("job_finished", job=job))["fields"]["trace"] == TRACE
        assert (await foreman.event("model_load", job=job))["fields"]["trace"] == TRACE
        for bad in ([f"traceparent: {GOOD}x"], [f"traceparent: {GOOD}", f"traceparent: {GOOD}"], []):
            job = await asked(foreman, *bad, f"tracestate: {STATE}")
            names = {name.lower() for name, _ in sent(stub, "/v1/completions").headers}
            assert names.isdisjoint({"traceparent", "tracestate"})
            assert (await foreman.event("job_finished", job=job))["fields"]["trace"] is None
        assert not any(STATE in line for line in foreman.lines)


async def test_it_reaches_a_remote_without_its_state(tmp_path: Path) -> None:
    async with StubRemote(KEY) as remote, far(tmp_path, remote) as (_, foreman):
        body = orjson.dumps({"model": "far/x", "messages": [{"role": "user", "content": "hi"}]})
        path = "/v1/chat/completions"
        job = await asked(foreman, f"traceparent: {GOOD}", f"tracestate: {STATE}", path=path, body=body)
        await asked(foreman, f"traceparent: {GOOD.upper()}", path=path, body=body)
        first, second = remote.calls
        assert first.headers["traceparent"] == GOOD
        assert "tracestate" not in first.headers
        assert "traceparent" not in second.headers
        assert (await foreman.event("job_finished", job=job))["fields"]["trace"] == TRACE


async def test_a_job_keeps_it_through_a_crash_and_a_retry(tmp_path: Path) -> None:
    db = tmp_path / "foreman.db"
    async with StubOllama() as stub:
        async with serving(stub.url, db) as foreman:
            await call(foreman, "POST", "/queue/pause")
            entry = {"path": "/api/generate", "body": prompt("hi")}
            _, job, _ = await call(foreman, "POST", "/jobs", entry, traceparent=GOOD)
            await foreman.kill()
        stub.script("/api/generate", [Script(), Script(status=503, error="busy")])
        async with serving(stub.url, db, retry_base_seconds=0.01) as foreman:
            await call(foreman, "POST", "/queue/resume")
            for event in ("model_load", "job_handed_back", "job_finished"):
                assert (await foreman.event(event, job=job["id"]))["fields"]["trace"] == TRACE
        assert dict(sent(stub, "/api/generate").headers)["traceparent"] == GOOD


async def test_what_is_only_passed_on_keeps_it_too(tmp_path: Path) -> None:
    async with StubOllama() as stub, serving(stub.url, tmp_path / "foreman.db") as foreman:
        for value, passed in ((GOOD, True), ("no", False)):
            got = await raw.ask(foreman.url, "POST /api/show", f"traceparent: {value}", body=b'{"model":"llama3"}')
            assert got.status == 200
            names = {name.lower() for name, _ in sent(stub, "/api/show").headers}
            assert ("traceparent" in names) is passed


async def test_a_slot_is_followed_as_a_job_is(tmp_path: Path) -> None:
    async with StubOllama() as stub, serving(stub.url, tmp_path / "foreman.db") as foreman:
        _, slot, _ = await call(foreman, "POST", "/slots", {"lane": "local"}, traceparent=GOOD)
        await call(foreman, "DELETE", f"/slots/{slot['id']}", {"exit_status": 0})
        assert (await foreman.event("job_finished", job=slot["id"]))["fields"]["trace"] == TRACE
