"""With a key: who has none gets nothing but a sign of life, and the key itself goes nowhere."""

from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest
import pytest_asyncio

from foreman.testing import StubOllama
from tests.e2e.asked import asked
from tests.e2e.process import Foreman, serving
from tests.e2e.raw import ask
from tests.e2e.stored import accepted

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEY = "a-shared-key-of-some-length"
GIVEN = (f"Authorization: Bearer {KEY}", f"authorization: bearer   {KEY}", f"X-Api-Key: {KEY}")
MISSING = (
    "Accept: */*",
    f"Authorization: Bearer {KEY}x",
    "Authorization: Bearer ",
    f"Authorization: Basic {KEY}",
    f"Authorization: {KEY}",
    "X-Api-Key: \xfc",
    f"Cookie: key={KEY}",
)
CHAT = b'{"model":"llama3","messages":[{"role":"user","content":"hi"}]}'


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def foreman(stub: StubOllama, db: Path) -> AsyncIterator[Foreman]:
    key_file = db.with_name("key")
    key_file.touch(mode=0o600)
    key_file.write_text(f"{KEY}\n")
    async with serving(stub.url, db, api_key_file=key_file) as foreman:
        yield foreman
    assert not any(KEY in line for line in foreman.lines)


@pytest.mark.parametrize("header", GIVEN)
async def test_the_key_opens_and_goes_nowhere(stub: StubOllama, foreman: Foreman, header: str) -> None:
    for line, body in (("GET /api/tags", b""), ("POST /api/chat", CHAT), ("POST /api/show", b'{"model":"llama3"}')):
        assert (await ask(foreman.url, line, header, body=body)).status == 200
    assert not any(KEY in value for entry in stub.ledger.entries for _, value in entry.headers)


@pytest.mark.parametrize("header", MISSING)
async def test_without_the_key_nothing_opens(stub: StubOllama, foreman: Foreman, db: Path, header: str) -> None:
    before, sent = accepted(db), len(asked(stub))
    for line in (
        *("GET /api/tags", "GET /health", "GET /v1/models", "POST /api/chat", "POST /v1/messages", "GET /unknown"),
        *("OPTIONS /api/chat", f"GET /api/tags?key={KEY}", "GET //", "DELETE /api/delete"),
    ):
        answer = await ask(foreman.url, line, header, body=CHAT if line.startswith("POST") else b"")
        # After ten wrong keys it is said in other words.
        refused = (answer.status, answer.headers["x-foreman-error"])
        assert refused in ((401, "key_refused"), (429, "too_many_failures"))
        assert answer.headers["www-authenticate"].startswith("Bearer")
    assert accepted(db) == before
    assert len(asked(stub)) == sent


async def test_a_refusal_has_the_shape_of_the_api(foreman: Foreman) -> None:
    refusals = {path: await ask(foreman.url, f"POST {path}", body=CHAT) for path in ("/api/chat", "/v1/messages")}
    assert isinstance(orjson.loads(refusals["/api/chat"].body)["error"], str)
    assert orjson.loads(refusals["/v1/messages"].body)["error"]["type"] == "authentication_error"
    health = await ask(foreman.url, "GET /health")
    assert health.headers["content-type"] == "application/problem+json"
    assert orjson.loads(health.body)["code"] == "key_refused"


async def test_a_sign_of_life_and_a_preflight_need_no_key(foreman: Foreman) -> None:
    assert (await ask(foreman.url, "GET /")).body == b"Ollama is running"
    assert (await ask(foreman.url, "HEAD /")).status == 200
    origin = "Origin: http://localhost:3000"
    answer = await ask(foreman.url, "OPTIONS /api/chat", origin, "Access-Control-Request-Method: POST")
    assert answer.status == 204
    # The page may learn why it was refused.
    refused = await ask(foreman.url, "POST /api/chat", origin)
    assert (refused.status, refused.headers["access-control-allow-origin"]) == (401, "http://localhost:3000")


async def test_the_host_comes_before_the_key_and_leave_to_send_after_it(foreman: Foreman) -> None:
    assert (await ask(foreman.url, "GET /api/tags", host="evil.example")).status == 403
    answer = await ask(foreman.url, "POST /api/chat", "Expect: 100-continue", "Content-Length: 5")
    assert answer.status == 401
