"""Keys at the real process: made, told once, listed, revoked; what each may do, and whose jobs it sees."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
import pytest_asyncio

from foreman.core.access import Scope
from foreman.core.failures import FREE
from foreman.testing import StubOllama
from foreman.web.routes import OWN
from tests.e2e import raw
from tests.e2e.own import GENERATE, call, prompt
from tests.e2e.process import PATIENCE, Foreman, arguments, environment, go, serving, warmed

pytestmark = pytest.mark.asyncio(loop_scope="module")


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def command(db: Path, *words: str, url: str | None = None) -> tuple[int, str, str]:
    """`foreman` with these words, on this database: its status, and what it wrote."""
    env = environment(db.parent) | {"FOREMAN_DB": str(db)} | ({"FOREMAN_URL": url} if url else {})
    pipe = asyncio.subprocess.PIPE
    line = (sys.executable, "-m", "foreman", *words)
    process = await asyncio.create_subprocess_exec(*line, stdout=pipe, stderr=pipe, env=env)
    async with asyncio.timeout(PATIENCE):
        out, talk = await process.communicate()
    return process.returncode or 0, out.decode(), talk.decode()


async def created(foreman: Foreman, admin: str, *scopes: str, **more: Any) -> dict[str, Any]:
    status, key, _ = await call(foreman, "POST", "/keys", {"scopes": scopes, **more}, **bearer(admin))
    assert status == 201, key
    return dict(key)


@dataclass
class Locked:
    """A foreman with keys: one that may everything, and two that may what keys usually may."""

    foreman: Foreman
    db: Path
    admin: str
    one: str
    two: str


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def locked(stub: StubOllama, db: Path) -> AsyncIterator[Locked]:
    status, admin, talk = await command(db, "keys", "create", "--scopes=admin", "--label=first")
    assert (status, "shown this once" in talk) == (0, True)
    async with serving(stub.url, db) as foreman:
        one, two = [(await created(foreman, admin.strip(), "infer", "read", label=label))["key"] for label in "ab"]
        yield Locked(foreman, db, admin.strip(), one, two)


async def handed(locked: Locked, key: str, text: str, **more: Any) -> str:
    """The id of a job of this key."""
    body = {"path": GENERATE, "body": prompt(text), **more}
    status, job, _ = await call(locked.foreman, "POST", "/jobs", body, **bearer(key))
    assert status == 202, job
    return str(job["id"])


async def test_a_key_that_was_made_before_the_first_start_opens(locked: Locked) -> None:
    foreman = locked.foreman
    assert (await call(foreman, "GET", "/health", **bearer(locked.admin)))[0] == 200
    assert (await call(foreman, "GET", "/health", **{"X-Api-Key": locked.one}))[0] == 200
    assert (await raw.ask(foreman.url, "GET /")).status == 200


async def test_unknown_expired_and_revoked_keys_are_told_the_same(locked: Locked) -> None:
    foreman, admin = locked.foreman, locked.admin
    revoked = await created(foreman, admin, "infer")
    expired = await created(foreman, admin, "infer", expires_in_seconds=0.001)
    assert (await call(foreman, "DELETE", f"/keys/{revoked['id']}", **bearer(admin)))[0] == 200
    unknown = revoked["key"][:-1] + ("0" if revoked["key"][-1] != "0" else "1")
    answers = [
        await raw.ask(foreman.url, "POST /api/chat", f"Authorization: Bearer {key}", body=b"{}")
        for key in (revoked["key"], expired["key"], unknown)
    ]
    answers.append(await raw.ask(foreman.url, "POST /api/chat", body=b"{}"))
    assert {(answer.status, answer.body, answer.headers["www-authenticate"]) for answer in answers} == {
        (401, answers[0].body, 'Bearer realm="foreman"')
    }


async def test_a_scope_that_is_missing_is_named(locked: Locked, stub: StubOllama) -> None:
    foreman = locked.foreman
    one = bearer(locked.one)
    before = len(stub.ledger.on("/api/delete")) + len(stub.ledger.on("/api/pull")) + len(stub.ledger.on("/nowhere"))
    for method, path, body in (
        ("DELETE", "/api/delete", {"model": "llama3"}),
        ("POST", "/api/pull", {"model": "new"}),
        ("POST", "/jobs", {"path": "/api/pull", "body": {"model": "new"}}),
        ("POST", "/jobs", [{"path": "/api/pull", "body": {"model": "new"}}]),
        ("POST", "/api/create", {"model": "new", "from": "llama3"}),
        ("POST", "/jobs", {"path": "/api/create", "body": {"model": "new", "from": "llama3"}}),
        ("POST", "/nowhere", {}),
        ("DELETE", "/v1/models/llama3", None),
        ("POST", "/queue/pause", None),
        ("GET", "/keys", None),
    ):
        status, told, headers = await call(foreman, method, path, body, **one)
        needed = Scope.ADMIN if path == "/keys" else Scope.MANAGE
        assert (status, headers["X-Foreman-Error"], needed in str(told)) == (403, "scope_missing", True), path
    now = len(stub.ledger.on("/api/delete")) + len(stub.ledger.on("/api/pull")) + len(stub.ledger.on("/nowhere"))
    assert now == before


async def test_others_jobs_are_not_there_on_any_route(locked: Locked) -> None:
    """Every route with the id of a job, as the table of routes has them."""
    foreman = locked.foreman
    job = await handed(locked, locked.one, "mine", not_before=3600)
    routes = [row[:2] for row in OWN if row[1].startswith(("/jobs/{id}", "/slots/{id}"))]
    assert len(routes) >= 8
    for method, path in routes:
        status, told, _ = await call(foreman, method, path.replace("{id}", job), **bearer(locked.two))
        missing = job[:-1] + ("0" if job[-1] != "0" else "1")
        no_such = await call(foreman, method, path.replace("{id}", missing), **bearer(locked.two))
        assert (status, told["code"], no_such[0]) == (404, "job_not_found", 404), (method, path)
        assert told["detail"].replace(job, missing) == no_such[1]["detail"]
    assert (await call(foreman, "GET", f"/jobs/{job}", **bearer(locked.one)))[1]["state"] == "queued"
    assert (await call(foreman, "GET", f"/jobs/{job}", **bearer(locked.admin)))[0] == 200
    for key, sees in ((locked.one, True), (locked.two, False), (locked.admin, True)):
        listed = (await call(foreman, "GET", "/jobs?limit=500", **bearer(key)))[1]["jobs"]
        assert (job in {each["id"] for each in listed}) is sees
        queue = (await call(foreman, "GET", "/queue", **bearer(key)))[1]
        assert (job in str(queue)) is sees
        assert "llama3" in str(queue["delayed"])
    blind = (await created(foreman, locked.admin, "infer"))["key"]
    status, queue, _ = await call(foreman, "GET", "/queue", **bearer(blind))
    assert (status, queue["delayed"], queue["depth"] > 0) == (200, [], True)
    assert (await call(foreman, "DELETE", f"/jobs/{job}", **bearer(locked.one)))[0] == 200


async def test_events_tell_of_ones_own_jobs_and_count_the_others_until_the_key_ends(locked: Locked) -> None:
    foreman = locked.foreman
    key = await created(foreman, locked.admin, "infer")
    async with (
        aiohttp.ClientSession(foreman.url, headers=bearer(key["key"])) as session,
        asyncio.timeout(PATIENCE),
        session.get("/events") as followed,
    ):
        assert b"event: snapshot" in await followed.content.readuntil(b"\n\n")
        others = await handed(locked, locked.one, "theirs", not_before=3600)
        heard = await followed.content.readuntil(b"\n\n")
        assert b"event: others\n" in heard
        assert others.encode() not in heard
        assert b"llama3" not in heard
        mine = await handed(locked, key["key"], "mine", not_before=3600)
        heard = await followed.content.readuntil(b"\n\n")
        assert b"event: job\n" in heard
        assert mine.encode() in heard
        assert (await call(foreman, "DELETE", f"/keys/{key['id']}", **bearer(locked.admin)))[0] == 200
        for job in (mine, others):
            assert (await call(foreman, "DELETE", f"/jobs/{job}", **bearer(locked.admin)))[0] == 200
        # With the first of these changes it sees that its key has ended, and hears no more.
        assert (await followed.content.read()).count(b"event: ") <= 1


async def test_the_same_key_word_of_two_keys_is_two_jobs(locked: Locked) -> None:
    body = {"path": GENERATE, "body": prompt("the same")}
    jobs = [
        (await call(locked.foreman, "POST", "/jobs", body, Idempotency_Key="once", **bearer(key)))[1]["id"]
        for key in (locked.one, locked.two, locked.one)
    ]
    assert jobs[0] == jobs[2] != jobs[1]


async def test_what_was_done_with_a_key_is_told(locked: Locked) -> None:
    foreman = locked.foreman
    key = await created(foreman, locked.admin, "infer", label="counted")
    job = await handed(locked, key["key"], "count me")
    await foreman.settled(job)
    keys = (await call(foreman, "GET", "/keys", **bearer(locked.admin)))[1]["keys"]
    (found,) = (each for each in keys if each["id"] == key["id"])
    assert found["usage"]["jobs"] == 1
    assert found["usage"]["output_tokens"] > 0
    assert found["last_used_at"] is not None
    assert key["key"] not in str(keys)
    event = await foreman.event("job_finished", job=job)
    assert event["fields"]["key"] == key["id"]


async def test_the_commands_of_this_machine_need_no_key_and_act_at_once(locked: Locked) -> None:
    foreman, db = locked.foreman, locked.db
    status, key, _ = await command(db, "keys", "create", "--label=by hand", "--expires=90d", url=foreman.url)
    assert status == 0
    assert (await call(foreman, "GET", "/queue", **bearer(key.strip())))[0] == 200
    status, out, _ = await command(db, "keys", "list", "--json", url=foreman.url)
    (found,) = (each for each in orjson.loads(out)["keys"] if each["label"] == "by hand")
    assert (found["scopes"], found["expires_at"] is not None) == (["infer", "read"], True)
    status, table, _ = await command(db, "keys", "list", url=foreman.url)
    assert "by hand" in table
    assert (await command(db, "keys", "revoke", found["id"], url=foreman.url))[0] == 0
    assert (await call(foreman, "GET", "/queue", **bearer(key.strip())))[0] == 401
    assert (await command(db, "keys", "revoke", "nosuchid", url=foreman.url))[0] == 4
    local = db.with_name(f"{db.name}.key")
    assert local.stat().st_mode & 0o777 == 0o600
    for line in foreman.lines:
        assert key.strip() not in line
        assert local.read_text().strip() not in line


async def test_each_call_that_manages_leaves_a_line(locked: Locked) -> None:
    key = await created(locked.foreman, locked.admin, "manage")
    status, _, _ = await call(locked.foreman, "DELETE", "/api/delete", {"model": "not-there"}, **bearer(key["key"]))
    assert status == 404
    line = await locked.foreman.event("managed", path="/api/delete", key=key["id"])
    assert (line["fields"]["method"], "not-there" in str(line)) == ("DELETE", False)
    await locked.foreman.event("key_created", key=key["id"])


async def test_a_session_stands_for_a_key_until_it_ends(locked: Locked) -> None:
    foreman = locked.foreman
    key = await created(foreman, locked.admin, "infer", "read", label="page")
    status, told, _ = await call(foreman, "GET", "/ui/session")
    assert (status, told) == (200, {"required": True, "scopes": [], "label": None})
    status, _, headers = await call(foreman, "POST", "/ui/session", {"key": key["key"]})
    cookie = headers["Set-Cookie"]
    assert (status, key["key"] in cookie) == (204, False)
    assert all(word in cookie for word in ("foreman_session=", "HttpOnly", "SameSite=Strict", "Path=/"))
    sent = {"Cookie": cookie.partition(";")[0]}
    ours = {"Sec-Fetch-Site": "same-origin"}
    told = (await call(foreman, "GET", "/ui/session", **sent, **ours))[1]
    assert told == {"required": True, "scopes": ["infer", "read"], "label": "page"}
    assert (await call(foreman, "GET", "/queue", **sent, **ours))[0] == 200
    assert (await call(foreman, "GET", "/queue", **sent, Origin=foreman.url))[0] == 200
    for other in ({"Sec-Fetch-Site": "same-site"}, {"Origin": "http://localhost:1"}):
        assert (await call(foreman, "GET", "/queue", **sent, **other))[0] == 401
    body = {"path": GENERATE, "body": prompt("from the page")}
    assert (await call(foreman, "POST", "/jobs", body, **sent, **ours))[0] == 401
    assert (await call(foreman, "POST", "/jobs", body, **sent, **ours, X_Foreman_Page="1"))[0] == 202
    assert (await call(foreman, "DELETE", "/ui/session", **sent, **ours))[0] == 401
    again = (await call(foreman, "POST", "/ui/session", {"key": key["key"]}))[2]["Set-Cookie"].partition(";")[0]
    assert (await call(foreman, "DELETE", "/ui/session", **sent, **ours, X_Foreman_Page="1"))[0] == 204
    assert (await call(foreman, "GET", "/queue", **sent, **ours))[0] == 401
    assert (await call(foreman, "GET", "/queue", Cookie=again, **ours))[0] == 200
    assert (await call(foreman, "DELETE", f"/keys/{key['id']}", **bearer(locked.admin)))[0] == 200
    assert (await call(foreman, "GET", "/queue", Cookie=again, **ours))[0] == 401


async def test_keys_that_are_asked_for_wrongly_are_not_made(locked: Locked) -> None:
    admin = bearer(locked.admin)
    wrong: list[dict[str, Any]] = [{"scopes": []}, {"scopes": ["all"]}, {"label": "\x1b"}, {"label": 1}, {"x": 1}]
    for body in (*wrong, {"expires_in_seconds": 0}):
        status, told, _ = await call(locked.foreman, "POST", "/keys", body, **admin)
        assert (status, told["code"]) == (400, "bad_request"), body
    for line in ("--scopes=all", "--expires=soon", "--expires=0d", "--label=\x07"):
        assert (await command(locked.db, "keys", "create", line))[0] == 2


async def test_an_address_with_many_wrong_keys_has_to_wait_and_good_keys_pass(stub: StubOllama, tmp_path: Path) -> None:
    db = tmp_path / "foreman.db"
    key = (await command(db, "keys", "create"))[1].strip()
    async with serving(stub.url, db) as foreman:
        wrong = [await raw.ask(foreman.url, "GET /api/tags", f"X-Api-Key: wrong{n}") for n in range(FREE + 2)]
        assert [answer.status for answer in wrong] == [401] * FREE + [429] * 2
        assert 0 < int(wrong[-1].headers["retry-after"]) <= 60
        assert (await raw.ask(foreman.url, "GET /api/tags")).status == 401
        assert (await call(foreman, "GET", "/api/tags", **bearer(key)))[0] == 200
        await foreman.event("wrong_keys")


async def test_the_end_of_the_last_key_opens_nothing(stub: StubOllama, tmp_path: Path) -> None:
    db = tmp_path / "foreman.db"
    key = (await command(db, "keys", "create"))[1].strip()
    (found,) = orjson.loads((await command(db, "keys", "list", "--json"))[1])["keys"]
    assert (await command(db, "keys", "revoke", "--forget", found["id"]))[0] == 4
    assert (await command(db, "keys", "revoke", found["id"]))[0] == 0
    async with serving(stub.url, db) as foreman:
        for headers in ({}, bearer(key)):
            assert (await call(foreman, "GET", "/health", **headers))[0] == 401
        assert (await command(db, "keys", "revoke", "--forget", found["id"], url=foreman.url))[0] == 0
        # What clients send where nobody asks for a key is nobody's business.
        assert (await call(foreman, "GET", "/health", **bearer("ollama")))[0] == 200
        foreman.send(signal.SIGTERM)
        await foreman.ended()
    assert not db.with_name(f"{db.name}.key").exists()


async def test_others_are_let_in_with_a_key_or_not_at_all(stub: StubOllama, tmp_path: Path) -> None:
    db = tmp_path / "foreman.db"
    exposed = [*arguments(stub.url, db), "--listen=0.0.0.0:0"]
    refused = await warmed(*exposed, home=tmp_path)
    if refused.process.stdin is not None:
        refused.process.stdin.write_eof()
    assert await refused.ended() == 2
    (line,) = refused.lines
    assert "foreman keys create" in line
    assert "--insecure-no-auth" in line
    key = (await command(db, "keys", "create", "--scopes=infer,read,admin"))[1].strip()
    foreman = await warmed(*exposed, home=tmp_path)
    try:
        await go(foreman)
        foreman.url = foreman.url.replace("0.0.0.0", "127.0.0.1")
        assert (await call(foreman, "GET", "/health"))[0] == 401
        (found,) = (await call(foreman, "GET", "/keys", **bearer(key)))[1]["keys"]
        assert (await call(foreman, "DELETE", f"/keys/{found['id']}", **bearer(key)))[0] == 200
        assert (await command(db, "keys", "revoke", "--forget", found["id"], url=foreman.url))[0] == 0
        # There is no key any more, and others can still connect.
        assert (await call(foreman, "GET", "/health"))[0] == 401
    finally:
        await foreman.kill()


async def test_where_everybody_may_connect_nobody_manages(stub: StubOllama, tmp_path: Path) -> None:
    db = tmp_path / "foreman.db"
    foreman = await warmed(*arguments(stub.url, db), "--listen=0.0.0.0:0", "--insecure-no-auth", home=tmp_path)
    try:
        await go(foreman)
        foreman.url = foreman.url.replace("0.0.0.0", "127.0.0.1")
        status, job, _ = await call(foreman, "POST", "/jobs", {"path": GENERATE, "body": prompt("hi")})
        assert status == 202
        assert (await call(foreman, "GET", f"/jobs/{job['id']}"))[0] == 200
        for method, path in (("DELETE", "/api/delete"), ("POST", "/keys"), ("POST", "/queue/pause")):
            assert (await call(foreman, method, path, {}))[0] == 403
        assert (await command(db, "pause", url=foreman.url))[0] == 0
    finally:
        await foreman.kill()
