"""Requests that are allowed but that hardly anybody sends: each gets an answer of its own, and harms no other."""

from typing import Any

import orjson
import pytest

from foreman.testing import StubOllama
from tests.e2e import raw
from tests.e2e.process import Foreman
from tests.e2e.raw import Answer

pytestmark = pytest.mark.asyncio(loop_scope="module")

BODY: dict[str, Any] = {"model": "llama3", "messages": [{"role": "user", "content": "sky"}]}


async def ask(foreman: Foreman, line: str, value: object = None, *headers: str) -> Answer:
    body = b"" if value is None else value if isinstance(value, bytes) else orjson.dumps(value)
    return await raw.ask(foreman.url, line, *headers, body=body)


def told(answer: Answer) -> Any:
    return orjson.loads(answer.body)


ODD_HEADERS = {
    "a program in latin-1": "User-Agent: caf\xe9/1",
    "a retry count that is no number": "X-Stainless-Retry-Count: \xc2\xb2",
    "a retry count beyond all numbers": "X-Stainless-Retry-Count: " + "9" * 5000,
    "a header in latin-1": "X-Name: M\xfcller",
}


@pytest.mark.parametrize("header", ODD_HEADERS.values(), ids=ODD_HEADERS.keys())
async def test_an_odd_header_is_no_hindrance(foreman: Foreman, header: str) -> None:
    answer = await ask(foreman, "POST /api/chat", BODY, header)
    assert (answer.status, answer.whole) == (200, True)
    await foreman.event("job_finished", job=answer.headers["x-foreman-job"], outcome="done")


async def test_a_preference_may_come_in_a_line_of_its_own(foreman: Foreman) -> None:
    answer = await ask(foreman, "POST /api/chat", BODY, "Prefer: return=minimal", "Prefer: respond-async")
    assert (answer.status, answer.headers["preference-applied"]) == (202, "respond-async")
    answer = await ask(foreman, "POST /api/chat", BODY, "Prefer: wait=" + "9" * 5000)
    assert (answer.status, answer.headers.get("preference-applied")) == (200, None)


@pytest.mark.parametrize("keep_alive", [b"1e300", b"-1e300", b"18446744073709551615"])
async def test_a_load_may_be_for_longer_than_a_clock_can_count(foreman: Foreman, keep_alive: bytes) -> None:
    answer = await ask(foreman, "POST /api/generate", b'{"model":"llama3","keep_alive":%b}' % keep_alive)
    assert (answer.status, told(answer)["done_reason"]) == (200, "load")


async def test_only_a_post_is_a_job(stub: StubOllama, foreman: Foreman) -> None:
    answer = await ask(foreman, "OPTIONS /api/chat", BODY)
    assert "x-foreman-job" not in answer.headers
    assert stub.ledger.on("/api/chat")[-1].method == "OPTIONS"
    answer = await ask(foreman, "OPTIONS /jobs")
    assert (answer.status, answer.headers["allow"]) == (405, "GET, POST")


FAR = {
    "beyond the last year": ("9999-12-31T23:59:59-12:00", 400),
    "before the first": ("0001-01-01T00:00:00+12:00", 400),
    "the last second": ("9999-12-31T23:59:59Z", 202),
}


@pytest.mark.parametrize(("not_before", "status"), FAR.values(), ids=FAR.keys())
async def test_a_time_that_cannot_be_shown_is_not_taken(foreman: Foreman, not_before: str, status: int) -> None:
    answer = await ask(foreman, "POST /jobs", {"path": "/api/chat", "body": BODY, "not_before": not_before})
    assert answer.status == status
    if status == 202:
        assert (await ask(foreman, f"DELETE {answer.headers['location']}")).status == 200
    else:
        assert b"not_before" in answer.body
    for path in ("/queue", "/jobs"):
        assert (await ask(foreman, f"GET {path}")).status == 200


@pytest.mark.parametrize("depth", [300, 5000])
async def test_a_body_that_is_nested_too_deeply_to_be_handed_in_is_named(foreman: Foreman, depth: int) -> None:
    deep = b"[" * depth + b"]" * depth
    answer = await ask(foreman, "POST /jobs", b'{"path":"/api/chat","body":{"model":"llama3","x":%b}}' % deep)
    assert (answer.status, b"body" in answer.body) == (400, True)


async def test_a_key_on_an_array_is_refused_rather_than_ignored(foreman: Foreman) -> None:
    entry = {"path": "/api/chat", "body": BODY}
    answer = await ask(foreman, "POST /jobs", [entry, entry], "Idempotency-Key: array")
    assert (answer.status, b"Idempotency-Key" in answer.body) == (400, True)


async def test_a_job_that_is_handed_in_again_holds_no_memory(foreman: Foreman) -> None:
    entry = {"path": "/api/chat", "body": BODY}
    first = await ask(foreman, "POST /jobs", entry, "Idempotency-Key: again")
    job = first.headers["x-foreman-job"]
    await foreman.event("job_finished", job=job, outcome="done")
    for _ in range(3):
        again = await ask(foreman, "POST /jobs", entry, "Idempotency-Key: again")
        assert (again.status, told(again)["id"], told(again)["state"]) == (202, job, "done")
    assert (await foreman.health())["relay_bytes"] == 0
