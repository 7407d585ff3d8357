"""What foreman only passes on: any method, size and status, streamed both ways, and nothing of the client's secrets."""

import hashlib
from collections.abc import AsyncIterator

import orjson
import pytest
import pytest_asyncio

from foreman.testing import Die, Ending, Script, StubOllama
from tests.e2e.process import Foreman
from tests.e2e.raw import ask, connected

pytestmark = pytest.mark.asyncio(loop_scope="module")

BLOB = bytes(range(256)) * 20_000
DIGEST = "sha256:" + hashlib.sha256(BLOB).hexdigest()
OWN = {"date", "server", "connection"}


@pytest_asyncio.fixture(loop_scope="module", autouse=True)
async def no_scripts(stub: StubOllama) -> AsyncIterator[None]:
    yield
    stub.scripts.clear()
    stub.front._upkeep.blobs.clear()


@pytest.mark.parametrize("chunked", [False, True])
async def test_an_upload_is_not_buffered(stub: StubOllama, foreman: Foreman, chunked: bool) -> None:
    """The target has the first bytes while the client still holds back the last."""
    path = f"/api/blobs/{DIGEST}"
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(BLOB)}"
    async with connected(foreman.url) as connection:
        await connection.request(f"POST {path}", framing)
        send = connection.chunk if chunked else connection.send
        await send(BLOB[:1000])
        await stub.ledger.wait_for(lambda ledger: any(entry.ending is Ending.OPEN for entry in ledger.on(path)))
        for at in range(1000, len(BLOB), 1_000_000):
            await send(BLOB[at : at + 1_000_000])
        if chunked:
            await send(b"")
        assert (await connection.answer()).status == 201
        entry = stub.ledger.on(path)[-1]
        assert entry.body_sha256 == DIGEST.removeprefix("sha256:")
        sent = dict(entry.headers)
        assert ("Transfer-Encoding" in sent, sent.get("Content-Length")) == (
            chunked,
            None if chunked else str(len(BLOB)),
        )
        await connection.request(f"HEAD {path}")
        assert (await connection.answer(to_head=True)).status == 200


async def test_an_upload_that_waits_for_leave_gets_it_whatever_its_size(foreman: Foreman) -> None:
    async with connected(foreman.url) as connection:
        await connection.request(
            "POST /api/blobs/nonsense", "Expect: 100-continue", f"Content-Length: {200 << 20}", "Connection: close"
        )
        assert (await connection.head()).status == 100
        await connection.send(BLOB)
        assert (await connection.head()).status == 400


async def test_an_upload_that_breaks_off_is_not_taken_for_whole(stub: StubOllama, foreman: Foreman) -> None:
    path = "/api/blobs/sha256:" + hashlib.sha256(BLOB[:1000]).hexdigest()
    async with connected(foreman.url) as connection:
        await connection.request(f"POST {path}", "Transfer-Encoding: chunked")
        await connection.chunk(BLOB[:1000])
        entry = await stub.ledger.wait_for(lambda ledger: next(iter(ledger.on(path)), None))
    await stub.ledger.wait_for(lambda _: entry.ending is not Ending.OPEN)
    assert entry.ending is Ending.CLIENT_GONE
    assert not stub.front._upkeep.blobs


async def test_an_answer_is_not_buffered(stub: StubOllama, foreman: Foreman) -> None:
    stub.script("/api/pull", Script(hold=0))
    async with connected(foreman.url) as connection:
        await connection.request("POST /api/pull", body=b'{"name":"phi4:mini"}')
        await stub.ledger.held()
        assert await connection.quiet()
        stub.release("/api/pull", 1)
        assert (await connection.head()).headers["content-type"] == "application/x-ndjson"
        assert orjson.loads(await connection.piece()) == {"status": "pulling manifest"}
        stub.release("/api/pull", 1)
        assert "digest" in orjson.loads(await connection.piece())
    await stub.ledger.wait_for(lambda ledger: ledger.on("/api/pull")[-1].ending is Ending.CLIENT_GONE)


async def test_an_answer_breaks_off_where_the_targets_does(stub: StubOllama, foreman: Foreman) -> None:
    for die in (Die.FIN, Die.RST):
        stub.script("/api/push", Script(die=die, die_after_chunks=2))
        answer = await ask(foreman.url, "POST /api/push", body=b'{"name":"llama3"}')
        assert (answer.status, answer.whole) == (200, False)
    stub.script("/api/push", Script(die=Die.FIN, die_after_bytes=40))
    answer = await ask(foreman.url, "POST /api/push", body=b'{"name":"llama3"}')
    assert (len(answer.body), answer.whole) == (40, False)


async def test_what_cannot_be_passed_on_is_told_in_the_apis_shape(stub: StubOllama, foreman: Foreman) -> None:
    stub.script("/api/show", Script(die=Die.FIN))
    answer = await ask(foreman.url, "POST /api/show", body=b'{"model":"llama3"}')
    assert (answer.status, answer.headers["x-foreman-error"]) == (502, "target_lost")
    assert isinstance(orjson.loads(answer.body)["error"], str)
    stub.script("/v1/embeddings", Script(raw=b"SSH-2.0-OpenSSH_9\r\n"))
    answer = await ask(foreman.url, "POST /v1/embeddings", body=b'{"model":"nomic-embed-text","input":"x"}')
    assert (answer.status, answer.headers["x-foreman-error"]) == (502, "target_garbled")
    assert orjson.loads(answer.body)["error"]["type"] == "api_error"


STATUSES = {
    "redirect": Script(status=307, headers={"Location": "http://elsewhere/x"}),
    "moved": Script(status=301, headers={"Location": "/elsewhere", "X-Two": "2"}),
    "nothing": Script(status=204),
    "not changed": Script(status=304, headers={"ETag": '"x"'}),
    "partial": Script(status=206, body=b"\x00\xff", headers={"Content-Range": "bytes 0-1/9"}),
    "teapot": Script(status=418, body=b"{", headers={"Content-Type": "application/x-tea"}),
    "busy": Script(status=503, body=b"busy", headers={"Retry-After": "7"}),
    "large": Script(status=200, body=b"x" * 3_000_000, headers={"Content-Encoding": "br"}),
    "sliced": Script(status=200, body=b"abc" * 100, slices=(1,), headers={"Content-Type": "text/plain"}),
    "odd": Script(status=599, body=b""),
}


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("script", STATUSES.values(), ids=STATUSES.keys())
async def test_any_method_and_status_passes(stub: StubOllama, foreman: Foreman, method: str, script: Script) -> None:
    stub.script("/api/unknown", script)
    line, body = f"{method} /api/unknown?a=%2F&b", b'{"x":1}' if method != "GET" else b""
    async with connected(stub.url) as target, connected(foreman.url) as client:
        for connection in (target, client):
            await connection.request(line, body=body)
        expected, got = await target.answer(), await client.answer()
    if script.status in (204, 304):
        # There is no body to have a length; the stub says it all the same.
        assert expected.headers.pop("content-length") == "0"
    assert (got.status, got.body, got.whole) == (expected.status, expected.body, True)
    assert _of_the_target(got.headers) == _of_the_target(expected.headers)
    assert stub.ledger.on("/api/unknown")[-1].body == body


def _of_the_target(headers: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name not in OWN}


async def test_a_head_request_passes_with_the_length_of_what_it_would_have_got(
    stub: StubOllama, foreman: Foreman
) -> None:
    stub.script("/api/unknown", Script(status=200, body=b"x" * 100))
    async with connected(foreman.url) as connection:
        await connection.request("HEAD /api/unknown")
        answer = await connection.answer(to_head=True)
        assert (answer.status, answer.headers["content-length"]) == (200, "100")
        await connection.request("GET /api/unknown")
        assert (await connection.answer()).body == b"x" * 100


async def test_an_unknown_path_is_answered_by_the_target(stub: StubOllama, foreman: Foreman) -> None:
    for line in ("GET /api/nonsense", "POST /v2/chat", "GET /api/chats", "DELETE /v1/models/llama3", "GET /API/CHAT"):
        expected, got = await ask(stub.url, line), await ask(foreman.url, line)
        assert (got.status, got.body, got.headers["content-type"]) == (
            expected.status,
            expected.body,
            expected.headers["content-type"],
        )
        assert got.status in (404, 405)
        assert got.headers.get("allow") == expected.headers.get("allow")


SECRETS = [
    *("Authorization: Bearer secret-1", "Cookie: id=secret-2", "X-Api-Key: secret-3", "Proxy-Authorization: secret-4"),
    *("Origin: http://localhost:3000", "Referer: http://localhost/secret-5", "X-Forwarded-For: 10.0.0.1"),
    *("Forwarded: for=secret-6", "Sec-Fetch-Site: same-origin", "Via: 1.1 secret-7", "X-Foreman-Job: secret-8"),
    *("Connection: close, X-Hop", "X-Hop: secret-9"),
]
KEPT = ["User-Agent: GitHubCopilotChat/1.0", "X-Custom: kept", "Accept: text/html", "Content-Type: text/plain"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/show", b'{"model":"llama3"}'),
        ("/api/generate", b'{"model":"llama3","prompt":"x"}'),
        ("/v1/embeddings", b'{"model":"nomic-embed-text","input":"x"}'),
    ],
)
async def test_the_clients_secrets_stop_here_and_the_rest_goes_on(
    stub: StubOllama, foreman: Foreman, path: str, body: bytes
) -> None:
    assert (await ask(foreman.url, f"POST {path}", *SECRETS, *KEPT, body=body)).status == 200
    sent = stub.ledger.on(path)[-1].headers
    names = {name.lower() for name, _ in sent}
    assert not any("secret" in value or "10.0.0.1" in value for _, value in sent)
    assert names.isdisjoint({"origin", "cookie", "authorization", "sec-fetch-site", "x-hop"})
    assert dict(sent)["Host"] == stub.url.removeprefix("http://")
    lowered = {f"{name.lower()}: {value}" for name, value in sent}
    assert lowered >= {line[: line.index(":")].lower() + line[line.index(":") :] for line in KEPT}


async def test_nothing_is_kept_of_the_targets_own_front(stub: StubOllama, foreman: Foreman) -> None:
    """Foreman decides who may read its answers, so the target's word on that does not go on; cookies neither."""
    headers = {"Access-Control-Allow-Origin": "*", "Set-Cookie": "a=b", "Server": "stub", "X-Foreman-Job": "forged"}
    stub.script("/api/show", Script(status=200, body=b"{}", headers=headers))
    answer = await ask(foreman.url, "POST /api/show", body=b'{"model":"llama3"}')
    assert answer.headers["server"] == "foreman"
    assert answer.headers.keys().isdisjoint({"access-control-allow-origin", "set-cookie", "x-foreman-job"})
