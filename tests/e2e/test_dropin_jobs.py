"""What the target might run is always a job, however it is written; what it would refuse gets the target's words."""

import asyncio
from pathlib import Path
from time import monotonic

import orjson
import pytest

from foreman.testing import Script, StubOllama
from tests.e2e.asked import asked
from tests.e2e.process import Foreman
from tests.e2e.raw import Answer, ask, connected
from tests.e2e.stored import accepted, stored

pytestmark = pytest.mark.asyncio(loop_scope="module")

MESSAGES = b'"messages":[{"role":"user","content":"hi"}]'
ODD = {
    "keys in other case": b'{"Model":"llama3","MESSAGES":[{"role":"user","content":"hi"}],"Stream":false}',
    "folding letters": '{"model":"llama3","me\u017fsages":[{"role":"user","content":"hi"}]}'.encode(),
    "escaped keys": rb'{"\u006dodel":"llama3","messages":[{"role":"user","content":"hi"}]}',
    "duplicate keys": b'{"model":"nope","model":"llama3",' + MESSAGES + b"}",
    "duplicate keys, null last": b'{"model":"llama3",' + MESSAGES + b',"model":null}',
    "trailing bytes": b'{"model":"llama3",' + MESSAGES + b"} \x00 and {more",
    "leading space": b'\r\n\t {"model":"llama3",' + MESSAGES + b"}",
    "invalid UTF-8": b'{"model":"llama3","messages":[{"role":"user","content":"\xff\xfe hi"}]}',
    "lone surrogate": rb'{"model":"llama3","messages":[{"role":"user","content":"\ud800"}]}',
    "deep and large numbers": b'{"n":1e999,"z":[[[[{}]]]],"model":"llama3",' + MESSAGES + b"}",
    "spaces around the name": b'{"model":"  llama3\\n",' + MESSAGES + b"}",
}
DISGUISES = [
    *("/api%2Fchat", "//api/chat", "/api//chat", "/api/./chat", "/api/tags/../chat", "/api/chat/", "/%61pi/chat"),
    *(
        "/api/chat?x=1",
        "/api/chat#x",
        "//api/chat#x",
        "/api/chat?#x",
        "//api/chat#?",
        "http://elsewhere/api/chat",
        "/api/%2e/chat",
    ),
]


async def post(foreman: Foreman, path: str, body: bytes, *headers: str) -> Answer:
    return await ask(foreman.url, f"POST {path}", *headers, body=body)


def is_job(answer: Answer, db: Path) -> bool:
    """Whether an answer came of a job that is on disk and has been done."""
    return answer.headers.get("x-foreman-job") in accepted(db)


@pytest.mark.parametrize("body", ODD.values(), ids=ODD.keys())
async def test_an_odd_body_is_a_job_that_arrives_as_it_was_sent(
    stub: StubOllama, foreman: Foreman, db: Path, body: bytes
) -> None:
    answer = await post(foreman, "/api/chat", body)
    assert answer.whole
    assert is_job(answer, db)
    assert stored(db)[-1].model == "llama3:latest"
    assert stub.ledger.on("/api/chat")[-1].body == body


@pytest.mark.parametrize("path", DISGUISES)
async def test_a_disguised_path_is_a_job(stub: StubOllama, foreman: Foreman, db: Path, path: str) -> None:
    answer = await post(foreman, path, b'{"model":"llama3",' + MESSAGES + b"}")
    assert (answer.status, answer.whole) == (200, True)
    assert is_job(answer, db)
    assert asked(stub)[-1].path == "/api/chat"


@pytest.mark.parametrize("headers", [("Content-Type: text/plain",), ("Upgrade: h2c", "Connection: Upgrade"), ()])
async def test_a_job_needs_no_content_type_and_survives_an_upgrade(
    foreman: Foreman, db: Path, headers: tuple[str, ...]
) -> None:
    assert is_job(await post(foreman, "/api/chat", ODD["trailing bytes"], *headers), db)


async def test_nothing_slips_past_the_one_worker(stub: StubOllama, foreman: Foreman) -> None:
    body = b'{"model":"llama3",' + MESSAGES + b"}"
    tries = [post(foreman, path, body) for path in DISGUISES] + [
        post(foreman, "/api/chat", odd) for odd in ODD.values()
    ]
    answers = await asyncio.gather(*tries)
    assert all(answer.whole for answer in answers)
    assert stub.ledger.max_concurrent == 1


NAMES = ["qwen3:8b", "library/qwen3:8b", "QWEN3:8B", "registry.ollama.ai/library/Qwen3:8b", "qwen3:8b:local"]


async def test_spellings_of_one_name_are_one_model_and_one_load(stub: StubOllama, foreman: Foreman, db: Path) -> None:
    await post(foreman, "/api/chat", b'{"model":"llama3",' + MESSAGES + b"}")
    loads = len(stub.ledger.loads)
    for name in NAMES:
        answer = await post(foreman, "/api/generate", orjson.dumps({"model": name, "prompt": "hi", "stream": False}))
        assert orjson.loads(answer.body)["model"] == name
    assert [load.name for load in stub.ledger.loads[loads:]] == ["qwen3:8b"]
    assert {job.model for job in stored(db)[-len(NAMES) :]} == {"qwen3:8b"}


@pytest.mark.parametrize("name", ["gpt-oss:120b-cloud", "gpt-oss:CLOUD", "me/thing:7b-cloud"])
async def test_a_cloud_model_needs_no_entry_and_no_load(
    stub: StubOllama, foreman: Foreman, db: Path, name: str
) -> None:
    loads, unloads = len(stub.ledger.loads), len(stub.ledger.unloads)
    answer = await post(foreman, "/api/chat", orjson.dumps({"model": name, "messages": [{"content": "hi"}]}))
    assert answer.status == 200
    assert is_job(answer, db)
    assert (len(stub.ledger.loads), len(stub.ledger.unloads)) == (loads, unloads)


INVALID = {
    "foo bar": "invalid model name",
    "foo@sha256:ab": "invalid model name",
    "a/b/c/d:e": "invalid model name",
    "localhost:5000/m": "invalid model name",
    "foo:cloud:local": 'use either :local or :cloud, not both: "foo:cloud:local"',
}


@pytest.mark.parametrize(("name", "words"), INVALID.items())
async def test_an_invalid_name_is_refused_at_once(foreman: Foreman, db: Path, name: str, words: str) -> None:
    before = accepted(db)
    answer = await post(foreman, "/api/generate", orjson.dumps({"model": name, "prompt": "hi"}))
    assert (answer.status, orjson.loads(answer.body)) == (400, {"error": words})
    assert answer.headers["x-foreman-error"] == "invalid_model_name"
    answer = await post(foreman, "/v1/chat/completions", orjson.dumps({"model": name, "messages": []}))
    assert orjson.loads(answer.body)["error"]["message"] == words
    assert accepted(db) == before


REFUSED = {
    "empty": b"",
    "no JSON": b"hello",
    "cut": b'{"model":"llama3","messages":[',
    "no object": b'["llama3"]',
    "no model": b"{" + MESSAGES + b"}",
    "model is a number": b'{"model":3}',
    "model is blank": b'{"model":" "}',
    "compressed": b"\x1f\x8b\x08\x00\x00",
    "large and broken": b'{"model":' + b" " * 3_000_000,
}


@pytest.mark.parametrize("path", ["/api/chat", "/api/generate", "/v1/chat/completions", "/v1/messages"])
@pytest.mark.parametrize("body", REFUSED.values(), ids=REFUSED.keys())
async def test_what_the_target_would_refuse_comes_back_in_its_words(
    stub: StubOllama, foreman: Foreman, db: Path, path: str, body: bytes
) -> None:
    before = accepted(db)
    expected, got = await ask(stub.url, f"POST {path}", body=body), await post(foreman, path, body)
    assert (got.status, got.headers["content-type"], got.body) == (
        expected.status,
        expected.headers["content-type"],
        expected.body,
    )
    assert got.status >= 400
    assert accepted(db) == before


async def test_compressed_bodies(stub: StubOllama, foreman: Foreman) -> None:
    zstd = await post(foreman, "/v1/chat/completions", b"\x28\xb5\x2f\xfd", "Content-Encoding: zstd")
    assert (zstd.status, zstd.headers["x-foreman-error"]) == (415, "body_encoded")
    gzip = await post(foreman, "/api/chat", b"\x1f\x8b\x08\x00", "Content-Encoding: gzip")
    assert gzip.status == 400
    assert "x-foreman-error" not in gzip.headers
    assert dict(stub.ledger.on("/api/chat")[-1].headers)["Content-Encoding"] == "gzip"


async def test_a_hundred_misses_a_second_cause_one_poll(stub: StubOllama, foreman: Foreman, db: Path) -> None:
    before, polls, began = accepted(db), len(stub.ledger.on("/api/tags")), monotonic()
    misses = [post(foreman, "/api/generate", b'{"model":"nope-%d","prompt":"x"}' % number) for number in range(100)]
    answers = await asyncio.gather(*misses)
    assert {(answer.status, answer.headers["x-foreman-error"]) for answer in answers} == {(404, "model_not_found")}
    assert 1 <= len(stub.ledger.on("/api/tags")) - polls <= 1 + monotonic() - began
    assert accepted(db) == before


async def test_a_load_is_a_job_and_an_unload_is_none(stub: StubOllama, foreman: Foreman, db: Path) -> None:
    await post(foreman, "/api/generate", b'{"model":"llama3","prompt":"hi"}')
    loaded = await post(foreman, "/api/generate", b'{"model":"qwen3:8b"}')
    assert orjson.loads(loaded.body)["done_reason"] == "load"
    assert is_job(loaded, db)
    assert stub.ledger.loads[-1].name == "qwen3:8b"
    before = accepted(db)
    stub.script("qwen3:8b", Script(hold=0))
    running = asyncio.create_task(post(foreman, "/api/generate", b'{"model":"qwen3:8b","prompt":"hi"}'))
    await stub.ledger.held()
    unloaded = await post(foreman, "/api/chat", b'{"model":"QWEN3:8b","keep_alive":"0s","messages":[]}')
    assert orjson.loads(unloaded.body)["done_reason"] == "unload"
    stub.release("qwen3:8b")
    stub.script("qwen3:8b", None)
    assert (await running).whole
    assert len(accepted(db)) == len(before) + 1
    await stub.ledger.wait_for(lambda ledger: ledger.unloads[-1] == "qwen3:8b")


@pytest.mark.parametrize("path", ["/api/embed", "/api/embeddings", "/v1/embeddings"])
async def test_embeddings_go_beside_a_running_job(stub: StubOllama, foreman: Foreman, db: Path, path: str) -> None:
    stub.script("llama3", Script(hold=2))
    count = len(accepted(db))
    async with connected(foreman.url) as connection:
        await connection.request("POST /api/generate", body=b'{"model":"llama3","prompt":"hi"}')
        await stub.ledger.held()
        answer = await post(foreman, path, b'{"model":"nomic-embed-text","input":"one","prompt":"one"}')
        assert answer.status == 200
        assert "x-foreman-job" not in answer.headers
        stub.release("llama3")
        assert (await connection.answer()).whole
    assert len(accepted(db)) == count + 1
    stub.script("llama3", None)
