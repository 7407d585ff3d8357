"""Remote APIs behind the real foreman: what goes there and how, what is never sent twice, and what nobody may see."""

import asyncio
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import openai
import orjson
import pytest

from foreman.testing import Script, StubOllama, StubRemote, expected_text
from tests.e2e.client import asking, chat, chat_v1, post
from tests.e2e.own import call, handed, state_of
from tests.e2e.process import PATIENCE, Foreman, serving
from tests.e2e.stored import stored
from tests.e2e.test_cli import run

KEY = "sk-canary-0123456789abcdef"
CHAT = "/v1/chat/completions"


def settings_file(folder: Path, *remotes: StubRemote | str, **more: object) -> Path:
    """A settings file with a remote `far`, and others as `far2`; their keys lie beside it."""
    lines = []
    for number, remote in enumerate(remotes, 1):
        key = folder / f"key{number}"
        key.write_text(KEY + "\n")
        key.chmod(0o600)
        name, models = ("far", ["big-*", "one"]) if number == 1 else (f"far{number}", [])
        url = remote if isinstance(remote, str) else remote.base_url
        values: dict[str, object] = {"name": name, "api_key_file": str(key), "models": models, "base_url": url}
        lines.append("[[remote]]")
        lines += [f"{name} = {orjson.dumps(value).decode()}" for name, value in {**values, **more}.items()]
    path = folder / "foreman.toml"
    path.write_text("\n".join(lines))
    return path


@asynccontextmanager
async def far(
    tmp_path: Path, remote: StubRemote | str, table: dict[str, object] | None = None, **settings: object
) -> AsyncIterator[tuple[StubOllama, Foreman]]:
    """A stub with a model `a`, and a foreman in front of it and of a remote."""
    config = settings_file(tmp_path, remote, **(table or {}))
    async with (
        StubOllama(("a",), tokens=8) as stub,
        serving(stub.url, tmp_path / "foreman.db", config=config, **settings) as foreman,
    ):
        yield stub, foreman


def on_disk(folder: Path) -> list[bytes]:
    """The database and what belongs to it."""
    return [path.read_bytes() for path in folder.glob("foreman.db*")]


def asked(remote: StubRemote) -> list[str]:
    return [call.text for call in remote.calls]


async def test_a_request_for_a_remote_goes_there_as_it_is_but_for_its_model_and_its_key(tmp_path: Path) -> None:
    async with StubRemote(KEY) as remote, far(tmp_path, remote) as (stub, foreman):
        body = b'{ "model" : "far/gpt-5","messages":[{"role":"user","content":"hi"}],  "seed": 1.50, "stream": true}'
        got = await post(foreman.url, CHAT, body)
        assert (got.status, got.whole) == (200, True)
        assert got.body.startswith(b": hello\n\n")
        assert got.body.endswith(b"data: [DONE]\n\n")
        (sent,) = remote.calls
        assert sent.body == body.replace(b'"far/gpt-5"', b'"gpt-5"')
        assert sent.headers["authorization"] == f"Bearer {KEY}"
        for name in ("one", "big-1"):
            assert (await post(foreman.url, *chat_v1(name, "hi"))).whole
        assert [call.fields["model"] for call in remote.calls] == ["gpt-5", "one", "big-1"]
        assert [entry for entry in stub.ledger.entries if entry.method == "POST"] == []
        await foreman.settled(got.job)
        _, job, _ = await call(foreman, "GET", f"/jobs/{got.job}")
        assert (job["lane"], job["model"], job["state"]) == ("remote", "far/gpt-5", "done")
        for model, count in (("far/gpt-5", 1), ("one", 1), ("far/one", 1), ("a", 0)):
            _, page, _ = await call(foreman, "GET", f"/jobs?model={model}")
            assert len(page["jobs"]) == count


async def test_the_openai_client_is_served_on_all_four_routes(tmp_path: Path) -> None:
    async with StubRemote(KEY) as remote, far(tmp_path, remote) as (_, foreman):
        async with openai.AsyncOpenAI(base_url=f"{foreman.url}/v1", api_key="own-key-of-the-client") as client:
            done = await client.chat.completions.create(model="one", messages=[{"role": "user", "content": "hi"}])
            assert done.choices[0].message.content == expected_text({"model": "one", "prompt": "hi"}, 8)
            stream = await client.chat.completions.create(
                model="far/x", messages=[{"role": "user", "content": "hi"}], stream=True
            )
            text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])
            assert text == expected_text({"model": "x", "prompt": "hi"}, 8)
            assert (await client.completions.create(model="one", prompt="hi")).choices[0].text
            assert (await client.responses.create(model="one", input="hi")).output_text
            assert len((await client.embeddings.create(model="far/e", input="hi")).data[0].embedding) > 0
            listed = [(model.id, model.owned_by) async for model in client.models.list()]
            assert (await client.models.retrieve("far/x")).owned_by == "far"
        assert listed == [("a:latest", "library"), ("one", "far")]
        assert {call.headers["authorization"] for call in remote.calls} == {f"Bearer {KEY}"}
        await foreman.event("job_finished", count=5)
        jobs = stored(tmp_path / "foreman.db")
        assert {(job.lane, job.state) for job in jobs} == {("remote", "done")}
        assert len(jobs) == 5


async def test_its_models_can_be_handed_over_by_programs_and_on_the_command_line(tmp_path: Path) -> None:
    async with StubRemote(KEY) as remote, far(tmp_path, remote, gate="off") as (stub, foreman):
        vectors = await handed(foreman, {"model": "far/e", "input": "hi"}, "/v1/embeddings")
        await foreman.settled(vectors)
        status, answer, _ = await call(foreman, "GET", f"/jobs/{vectors}/response")
        assert (status, len(answer["data"])) == (200, 1)
        wrong = {"path": "/v1/embeddings", "body": {"model": "a", "input": "hi"}}
        status, told, _ = await call(foreman, "POST", "/jobs", wrong)
        assert (status, told["detail"]) == (
            400,
            "body.model must be one of a remote: embeddings of the target are no jobs",
        )
        for model in ("far/other", "one", "big-3", "a"):
            ran = await run(foreman, tmp_path, "submit", "--wait", model, "why", "is", "it")
            assert ran.status == 0, ran.talk
            assert ran.out.strip()
        assert [call.fields["model"] for call in remote.calls] == ["e", "other", "one", "big-3"]
        assert len(stub.ledger.on("/api/chat")) == 1


async def test_elsewhere_its_models_are_unknown_and_the_target_is_as_it_was(tmp_path: Path) -> None:
    async with StubRemote(KEY) as remote, far(tmp_path, remote) as (_, foreman):
        got = await post(foreman.url, *chat("far/gpt-5", "hi"))
        assert (got.status, orjson.loads(got.body)) == (404, {"error": "model 'far/gpt-5' not found"})
        got = await post(foreman.url, *chat_v1("nowhere/gpt-5", "hi"))
        assert got.status == 404
        _, tags, _ = await call(foreman, "GET", "/api/tags")
        assert [model["name"] for model in tags["models"]] == ["a:latest"]
        assert (await post(foreman.url, *chat("a", "hi"))).whole
        assert (await post(foreman.url, "/v1/embeddings", {"model": "a", "input": "hi"})).status == 200
        assert remote.calls == []


async def test_429_slows_it_down_and_fails_no_job(tmp_path: Path) -> None:
    async with (
        StubRemote(KEY, at_once=2, retry_after="0.2") as remote,
        far(tmp_path, remote, retry_base_seconds=0.01) as (_, foreman),
    ):
        answers = await asyncio.gather(*(post(foreman.url, *chat_v1("one", f"{n}")) for n in range(30)))
        assert all(got.status == 200 and got.whole for got in answers)
        await foreman.settled(*(got.job for got in answers))
        assert remote.most <= 2
        assert {job.state for job in stored(tmp_path / "foreman.db")} == {"done"}


async def test_everybody_who_waits_for_a_remote_that_is_left_alone_is_told_so(tmp_path: Path) -> None:
    beats = {"hold_seconds": 0.05, "heartbeat_seconds": 0.05}
    async with (
        StubRemote(KEY, retry_after="3600") as remote,
        far(tmp_path, remote, {"busy_seconds": 7200}, gate="off", **beats) as (stub, foreman),
    ):
        remote.faults.append("busy")
        told = await handed(foreman, chat_v1("one", "told to wait")[1], CHAT)
        async with asyncio.timeout(PATIENCE):
            while (view := (await call(foreman, "GET", f"/jobs/{told}"))[1])["reason"] != "remote_paused":
                pass
        slowdown = view["slowdown"]
        assert (slowdown["remote"], slowdown["cause"], slowdown["retry_after"]) == ("far", "status_429", 3600)
        assert slowdown["since"] < slowdown["until"]
        assert slowdown["limit"] < slowdown["slots"]
        assert view["why"] == slowdown["text"] == "far answered 429 with Retry-After 3600 s and is left alone"
        async with asking(foreman.url, *chat_v1("one", "waits", stream=True)) as answer:
            async with asyncio.timeout(PATIENCE):
                while b"reason=remote_paused" not in (beat := await answer.content.readuntil(b"\n\n")):
                    pass
            _, queue, _ = await call(foreman, "GET", "/queue")
            shown = await run(foreman, tmp_path, "queue")
        assert f": {slowdown['text']}\n".encode() in beat
        (waits,), (delayed,) = queue["waiting"], queue["delayed"]
        assert delayed["id"] == told
        assert waits["reason"] == delayed["reason"] == queue["lanes"]["remote"]["waits_for"] == "remote_paused"
        assert waits["slowdown"]["text"] == delayed["slowdown"]["text"] == slowdown["text"]
        assert shown.out.count(f"waits for its remote: {slowdown['text']} until ") == 2
        # They hold nobody up, and are told to nobody as what comes first.
        stub.script("/api/chat", [Script(hold=0)])
        local = [await handed(foreman, chat("a", f"{n}")[1], "/api/chat") for n in range(2)]
        await stub.ledger.held()
        second = (await call(foreman, "GET", f"/jobs/{local[1]}"))[1]
        assert (second["reason"], second["position"]) == ("loaded", 1)
        assert second["why"] is None
        stub.release("/api/chat")
        await foreman.settled(*local)


async def test_a_job_told_to_wait_too_long_gets_the_answer_it_got(tmp_path: Path) -> None:
    async with (
        StubRemote(KEY, retry_after="3600") as remote,
        far(tmp_path, remote, {"busy_seconds": 60}) as (_, foreman),
    ):
        remote.faults.append("busy")
        got = await post(foreman.url, *chat_v1("one", "hi"))
        assert (got.status, got.headers["retry-after"]) == (429, "3600")
        assert len(remote.calls) == 1


@pytest.mark.parametrize("fault", ["cut", "cut_midway"])
@pytest.mark.parametrize("stream", [True, False])
async def test_what_broke_after_it_was_sent_is_not_sent_again(tmp_path: Path, fault: Any, stream: bool) -> None:
    async with StubRemote(KEY) as remote, far(tmp_path, remote) as (_, foreman):
        remote.faults.append(fault)
        got = await post(foreman.url, *chat_v1("one", "hi", stream=stream))
        await foreman.event("job_finished", error="maybe_billed", outcome="failed")
        if fault == "cut" or not stream:
            assert (got.status, got.headers["x-foreman-error"]) == (502, "maybe_billed")
            assert got.headers["x-should-retry"] == "false"
        assert b"may have been billed" in got.body
        again = await post(foreman.url, *chat_v1("one", "another", stream=stream))
        assert again.whole
        assert asked(remote) == ["hi", "another"]
        _, job, _ = await call(foreman, "GET", f"/jobs/{got.job}")
        assert (job["state"], job["error"]["code"], job["attempts"]) == ("failed", "maybe_billed", 1)


async def test_the_openai_client_does_not_send_it_again_either(tmp_path: Path) -> None:
    async with StubRemote(KEY) as remote, far(tmp_path, remote) as (_, foreman):
        remote.faults.append("cut")
        async with openai.AsyncOpenAI(base_url=f"{foreman.url}/v1", api_key="x", max_retries=2) as client:
            with pytest.raises(openai.APIStatusError, match="may have been billed"):
                await client.chat.completions.create(model="one", messages=[{"role": "user", "content": "hi"}])
        assert asked(remote) == ["hi"]


async def test_a_silent_one_is_given_up_and_not_asked_again(tmp_path: Path) -> None:
    async with StubRemote(KEY) as remote, far(tmp_path, remote, {"first_byte_timeout_seconds": 1}) as (_, foreman):
        remote.faults.append("silent")
        got = await post(foreman.url, *chat_v1("one", "hi"))
        assert (got.status, got.headers["x-foreman-error"]) == (502, "maybe_billed")
        assert asked(remote) == ["hi"]


async def test_a_redirect_is_not_followed(tmp_path: Path) -> None:
    async with StubRemote(KEY) as remote, far(tmp_path, remote) as (_, foreman):
        remote.faults.append("redirect")
        got = await post(foreman.url, *chat_v1("one", "hi"))
        assert (got.status, got.headers["x-foreman-error"]) == (502, "target_moved")
        assert (len(remote.calls), remote.redirected) == (1, 0)


async def test_one_that_is_down_is_waited_for_and_holds_nobody_else_up(tmp_path: Path) -> None:
    remote = StubRemote(KEY)
    async with remote:
        pass
    async with far(tmp_path, remote, retry_base_seconds=0.05, retry_cap_seconds=0.2) as (_, foreman):
        waiting = asyncio.create_task(post(foreman.url, *chat_v1("one", "far")))
        await foreman.event("job_handed_back", code="remote_unreachable", count=2)
        assert (await post(foreman.url, *chat("a", "near"))).whole
        report = await foreman.health()
        assert (report["status"], report["target"]["reachable"]) == ("ok", True)
        async with remote:
            got = await waiting
            assert (got.status, got.whole) == (200, True)
            assert asked(remote) == ["far"]


@contextmanager
def blackhole() -> Iterator[str]:
    """The URL of a server that never takes a connection: as many wait already as are let."""
    with socket.socket() as full, ExitStack() as stack:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(8):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(full.getsockname())
        yield f"http://127.0.0.1:{full.getsockname()[1]}/v1"


async def test_one_that_drops_packets_is_asked_ever_more_seldom_and_local_work_goes_on(tmp_path: Path) -> None:
    table: dict[str, object] = {"connect_timeout_seconds": 0.2}
    with blackhole() as url:
        async with far(tmp_path, url, table, gate="off", retry_base_seconds=0.1) as (_, foreman):
            remote = [await handed(foreman, chat_v1("one", f"{n}")[1], CHAT) for n in range(12)]
            local = [await handed(foreman, chat("a", f"{n}")[1], "/api/chat") for n in range(4)]
            await foreman.settled(*local)
            assert [await state_of(foreman, job) for job in local] == ["done"] * 4
            async with asyncio.timeout(PATIENCE):
                # A pause of which 5 s are left is one after seven failures or more.
                while (await call(foreman, "GET", "/health"))[1]["remotes"][0]["paused_seconds"] < 5:
                    pass
            views = [(await call(foreman, "GET", f"/jobs/{job}"))[1] for job in remote]
            assert {(view["state"], view["reason"]) for view in views} == {("queued", "remote_paused")}
            assert {view["why"] for view in views} == {"far cannot be reached and is left alone"}
            tried = [view for view in views if view["error"]]
            assert {view["error"]["code"] for view in tried} == {"remote_unreachable"}
            # While it is left alone, local work does not wait for it at all.
            again = await handed(foreman, chat("a", "again")[1], "/api/chat")
            await foreman.settled(again)
            assert await state_of(foreman, again) == "done"


async def test_a_target_that_is_down_does_not_hold_the_remotes_up(tmp_path: Path) -> None:
    async with StubRemote(KEY) as remote, far(tmp_path, remote, probe_seconds=0.1) as (stub, foreman):
        stub.refuse()
        near = asyncio.create_task(post(foreman.url, *chat("a", "near")))
        await foreman.healthy(lambda report: not report["target"]["reachable"] and report["queue"]["depth"] == 1)
        assert (await post(foreman.url, *chat_v1("one", "far"))).whole
        await stub.accept()
        assert (await near).whole


async def test_kill_9_with_requests_in_flight_fails_them_and_sends_none_again(tmp_path: Path) -> None:
    db = tmp_path / "foreman.db"
    async with StubRemote(KEY) as remote, StubOllama(("a",), tokens=8) as stub:
        config = settings_file(tmp_path, remote, slots=2)
        remote.open.clear()
        async with serving(stub.url, db, config=config) as foreman:
            clients = [
                asyncio.create_task(post(foreman.url, *chat_v1("one", f"{n}", stream=bool(n % 2)))) for n in range(4)
            ]
            await remote.wait_for(lambda: remote.under_way() == 2)
            await foreman.queued(2)
        await asyncio.wait(clients)
        flying = asked(remote)
        remote.open.set()
        async with serving(stub.url, db, config=config) as foreman:
            await foreman.healthy(lambda report: report["queue"]["depth"] == 0 and report["running"] is None)
            (lost, *_) = [job for job in stored(db) if job.state == "failed"]
            got = await call(foreman, "GET", f"/jobs/{lost.id}/response")
            assert got[0] == 502
        states = [(job.state, job.error_code) for job in stored(db)]
        assert sorted(states, key=str) == [("done", None)] * 2 + [("failed", "maybe_billed")] * 2
        assert sorted(asked(remote)) == [*"0123"]
        assert len(flying) == 2


async def test_a_stop_in_the_middle_fails_it_and_what_waits_goes_on(tmp_path: Path) -> None:
    db = tmp_path / "foreman.db"
    async with StubRemote(KEY) as remote, StubOllama(("a",), tokens=8) as stub:
        config = settings_file(tmp_path, remote, slots=1)
        remote.open.clear()
        async with serving(stub.url, db, config=config, drain_seconds=0) as foreman:
            clients = [asyncio.create_task(post(foreman.url, *chat_v1("one", f"{n}"))) for n in range(2)]
            await remote.wait_for(lambda: remote.under_way() == 1)
            await foreman.queued(1)
            foreman.send(signal.SIGTERM)
            assert await foreman.ended() == 0
            answers = {got.headers.get("x-foreman-error") for got in await asyncio.gather(*clients)}
            assert answers == {"maybe_billed", "draining"}
        remote.open.set()
        async with serving(stub.url, db, config=config) as foreman:
            await foreman.healthy(lambda report: report["queue"]["depth"] == 0 and report["running"] is None)
        assert sorted(job.state for job in stored(db)) == ["done", "failed"]
        assert len(remote.calls) == 2


async def test_local_and_remote_work_take_turns_and_never_more_than_its_slots(tmp_path: Path) -> None:
    async with StubRemote(KEY) as remote, far(tmp_path, remote, {"slots": 2}) as (stub, foreman):
        remote.open.clear()
        clients = [asyncio.create_task(post(foreman.url, *chat_v1("one", f"{n}"))) for n in range(4)]
        await remote.wait_for(lambda: remote.under_way() == 2)
        await foreman.queued(2)
        near = asyncio.create_task(post(foreman.url, *chat("a", "near")))
        await foreman.queued(3)
        assert stub.ledger.on("/api/chat") == []
        remote.open.set()
        assert all(got.whole for got in await asyncio.gather(near, *clients))
        assert remote.most == 2


async def test_the_key_is_nowhere_to_be_seen(tmp_path: Path) -> None:
    db = tmp_path / "foreman.db"
    seen = b""
    async with StubRemote(KEY, retry_after="0.01") as remote, far(tmp_path, remote, log_level="debug") as (_, foreman):
        remote.faults.extend(("echo", "echo_error", "refused", "busy", "cut", "cut_midway", "redirect"))
        for n in range(8):
            got = await post(foreman.url, *chat_v1("one", f"{n}"))
            seen += got.body + repr(got.headers).encode()
        remote.key = "another-key-altogether"
        got = await post(foreman.url, *chat_v1("one", "refused"))
        assert got.status == 401
        seen += got.body
        for path in ("/health", "/jobs", "/queue", "/v1/models", "/openapi.json"):
            seen += orjson.dumps((await call(foreman, "GET", path))[1])
        foreman.send(signal.SIGTERM)
        await foreman.ended()
        written = "\n".join(foreman.lines).encode()
    assert len(remote.calls) == 10
    assert b"**********" in seen
    for where in (seen, written, *on_disk(tmp_path)):
        assert where
        assert KEY.encode() not in where
        assert KEY[3:].encode() not in where
    assert db.exists()


async def test_nothing_in_a_request_chooses_where_it_goes_or_with_which_key(tmp_path: Path) -> None:
    async with StubRemote(KEY) as remote, far(tmp_path, remote) as (_, foreman):
        async with openai.AsyncOpenAI(base_url=f"{foreman.url}/v1", api_key="sk-of-the-client") as client:
            await client.chat.completions.create(
                model="one",
                messages=[{"role": "user", "content": "hi"}],
                extra_headers={
                    "X-Api-Key": "a", "Api-Key": "b", "OpenAI-Organization": "c", "OpenAI-Project": "d", "Cookie": "e",
                    "X-Forwarded-Host": "evil.example", "X-Base-Url": "http://evil.example",
                },
                extra_body={"base_url": "http://evil.example", "api_key": "f"},
            )  # fmt: skip
        (sent,) = remote.calls
        assert set(sent.headers) <= {
            "accept", "accept-encoding", "authorization", "connection", "content-length", "content-type", "host",
            "user-agent",
        }  # fmt: skip
        assert sent.headers["authorization"] == f"Bearer {KEY}"
        for name in ("far/../x", "far//evil.example/x", "far/@evil.example", "far/x?key=1", "far/x#y"):
            await post(foreman.url, *chat_v1(name, name))
        assert {call.path for call in remote.calls} == {CHAT}


async def test_a_remote_that_is_gone_from_the_settings_fails_its_jobs(tmp_path: Path) -> None:
    db = tmp_path / "foreman.db"
    async with StubRemote(KEY) as remote, far(tmp_path, remote) as (stub, foreman):
        await call(foreman, "POST", "/queue/pause")
        body: dict[str, Any] = {"path": CHAT, "body": chat_v1("one", "hi")[1]}
        assert (await call(foreman, "POST", "/jobs", body))[0] == 202
        await foreman.kill()
        async with serving(stub.url, db) as foreman:
            await call(foreman, "POST", "/queue/resume")
            await foreman.event("job_finished", error="remote_unknown")
        assert remote.calls == []
        assert [entry for entry in stub.ledger.entries if entry.method == "POST"] == []


async def test_a_slow_stream_of_the_target_is_not_disturbed(tmp_path: Path) -> None:
    async with StubRemote(KEY) as remote, far(tmp_path, remote, exclusive="false") as (stub, foreman):
        stub.script("a", Script(hold=1))
        near = asyncio.create_task(post(foreman.url, *chat("a", "near")))
        await stub.ledger.held()
        assert (await post(foreman.url, *chat_v1("one", "beside"))).whole
        stub.release("a")
        assert (await near).whole


async def test_what_waits_for_a_remote_is_counted_under_one_name_through_a_restart(tmp_path: Path) -> None:
    async with StubRemote(KEY) as remote:
        async with far(tmp_path, remote) as (_, foreman):
            await call(foreman, "POST", "/queue/pause")
            path, body = chat_v1("far/x", "hi")
            _, job, _ = await call(foreman, "POST", "/jobs", {"path": path, "body": body})
            assert (await foreman.health())["queue"]["by_model"] == {"far/x": 1}
            await foreman.kill()
        async with far(tmp_path, remote) as (_, foreman):
            assert (await foreman.health())["queue"]["by_model"] == {"far/x": 1}
            await call(foreman, "POST", "/queue/resume")
            await foreman.settled(job["id"])
            assert (await foreman.health())["queue"]["by_model"] == {}
