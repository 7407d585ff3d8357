"""Stops, starts and refusals to start: what becomes of the jobs, and what people and clients are told."""

import asyncio
import os
import resource
import signal
import socket
import sqlite3
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from foreman.engine.migrations import APPLICATION_ID
from foreman.testing import Die, Script, StubOllama
from tests.e2e import raw
from tests.e2e.client import Got, asking, chat, chat_v1, post, submit
from tests.e2e.deaf import DeafProxy
from tests.e2e.process import Foreman, arguments, serving, spawn
from tests.e2e.stored import job_of, stored

CHAT = "/api/chat"
# Far longer than any wait here has patience: who drains so long fails.
FOR_EVER = 3600
# Half a second, but for what two clocks make of it.
ORPHANED = 0.49


async def stopping(foreman: Foreman) -> None:
    """Send SIGTERM and wait until it is being obeyed."""
    foreman.send(signal.SIGTERM)
    await foreman.event("draining")


async def refused(got: Got) -> None:
    assert (got.status, got.whole) == (503, True)
    assert 0 < int(got.headers["retry-after"]) <= 60
    assert "shutting down" in orjson.loads(got.body)["error"]


async def resumed(stub: StubOllama, db: Path, count: int, **settings: object) -> list[str]:
    """Start again on the same database, let so many jobs finish, and tell what the target was asked, in order."""
    before = len(stub.ledger.on(CHAT))
    async with serving(stub.url, db, **settings) as foreman:
        await foreman.event("job_finished", count)
        report = await foreman.health()
        assert (report["queue"]["depth"], report["running"]) == (0, None)
        foreman.send(signal.SIGTERM)
        assert await foreman.ended() == 0
    return [orjson.loads(entry.body)["messages"][0]["content"] for entry in stub.ledger.on(CHAT)[before:]]


async def test_who_follows_the_events_is_told_of_the_end_and_holds_nothing_up(tmp_path: Path) -> None:
    async with StubOllama() as stub, serving(stub.url, tmp_path / "foreman.db") as foreman:
        async with raw.connected(foreman.url) as follower:
            await follower.request("GET /events")
            assert (await follower.head()).status == 200
            assert (await follower.piece()).startswith(b"id: ")
            foreman.send(signal.SIGTERM)
            while await follower.piece():  # to an end, not a break; what is new of the target may come before it
                pass
        assert await foreman.ended() == 0


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_stop_lets_the_running_stream_end(tmp_path: Path, loop: str, number: signal.Signals) -> None:
    db = tmp_path / "foreman.db"
    async with StubOllama() as stub, serving(stub.url, db, loop=loop) as foreman:
        stub.script(CHAT, Script(hold=3))
        client = asyncio.create_task(post(foreman.url, *chat("llama3", "streaming")))
        await stub.ledger.held()
        foreman.send(number)
        await foreman.event("draining")
        await refused(await post(foreman.url, *chat("llama3", "too late")))
        assert (await foreman.health())["status"] == "draining"
        stub.release(CHAT)
        got = await client
        assert (got.status, got.whole) == (200, True)
        assert await foreman.ended() == 0
        assert len(stub.ledger.on(CHAT)) == 1
    (job,) = stored(db)
    assert (job.state, job.attempts, job.answer) == ("done", 1, got.body)


async def test_who_waits_is_sent_away_and_the_jobs_run_after_the_restart_in_order(tmp_path: Path) -> None:
    db = tmp_path / "foreman.db"
    async with StubOllama() as stub:
        async with serving(stub.url, db) as foreman:
            stub.script(CHAT, [Script(hold=0)])
            first = asyncio.create_task(post(foreman.url, *chat("llama3", "first")))
            await stub.ledger.held()
            models = ("qwen3:8b", "llama3", "qwen3:8b", "llama3")
            waiting = await submit(foreman, *(chat(model, f"{i}") for i, model in enumerate(models)))
            await stopping(foreman)
            for client in waiting:
                await refused(await client)
            stub.release(CHAT)
            assert (await first).whole
            assert await foreman.ended() == 0
        assert [(job.state, job.attempts) for job in stored(db)] == [("done", 1), *[("queued", 0)] * 4]
        # llama3 is still loaded, so its jobs go first.
        assert await resumed(stub, db, 4) == ["1", "3", "0", "2"]
    assert {(job.state, job.attempts, job.complete) for job in stored(db)} == {("done", 1, True)}


@pytest.mark.parametrize("hold", [0, 3])
async def test_a_job_longer_than_the_drain_is_handed_back_and_starts_afresh(tmp_path: Path, hold: int) -> None:
    db = tmp_path / "foreman.db"
    async with StubOllama() as stub:
        async with serving(stub.url, db, drain_seconds=0.1) as foreman:
            stub.script(CHAT, [Script(hold=hold)])
            client = asyncio.create_task(post(foreman.url, *chat("llama3", "long")))
            await stub.ledger.held()
            await stopping(foreman)
            got = await client
            if hold == 0:
                await refused(got)
            else:
                assert (got.status, got.whole) == (200, False)
                assert "stopped" in orjson.loads(got.body.splitlines()[-1])["error"]
            assert await foreman.ended() == 0
        assert [(job.state, job.attempts, job.tries) for job in stored(db)] == [("queued", 0, ("stopped",))]
        assert await resumed(stub, db, 1) == ["long"]
    job = job_of(db, "long")
    assert (job.state, job.attempts, job.complete, job.tries) == ("done", 1, True, ("stopped", None))


async def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    db = tmp_path / "foreman.db"
    async with (
        StubOllama() as stub,
        DeafProxy(stub.host, stub.port) as proxy,
        serving(proxy.url, db, drain_seconds=FOR_EVER) as foreman,
    ):
        stub.script(CHAT, Script(hold=0))
        client = asyncio.create_task(post(foreman.url, *chat("llama3", "long")))
        await stub.ledger.held()
        await stopping(foreman)
        foreman.send(signal.SIGTERM)
        await refused(await client)
        assert await foreman.ended() == 0
    assert [(job.state, job.attempts) for job in stored(db)] == [("queued", 0)]


async def test_jobs_whose_clients_left_with_the_process_may_be_dropped(tmp_path: Path) -> None:
    db = tmp_path / "foreman.db"
    async with StubOllama() as stub:
        async with serving(stub.url, db) as foreman:
            stub.script(CHAT, [Script(hold=3)])
            clients = [asyncio.create_task(post(foreman.url, *chat("llama3", "running")))]
            await stub.ledger.held()
            clients += await submit(foreman, chat("llama3", "queued"))
            await foreman.kill()
            await asyncio.wait(clients)
            assert all(client.exception() or not client.result().whole for client in clients)
        async with serving(stub.url, db, on_restart="drop-attached") as foreman:
            assert (await foreman.health())["queue"]["depth"] == 0
            assert (await post(foreman.url, *chat("llama3", "new"))).whole
        assert len(stub.ledger.on(CHAT)) == 2
    assert [(job.state, job.error_code) for job in stored(db)][:2] == [("cancelled", "restarted")] * 2


async def test_after_a_death_in_mid_stream_the_target_gets_time_to_notice(tmp_path: Path) -> None:
    db = tmp_path / "foreman.db"
    async with StubOllama() as stub, DeafProxy(stub.host, stub.port) as proxy:
        async with serving(proxy.url, db) as foreman:
            stub.script(CHAT, [Script(hold=3)])
            client = asyncio.create_task(post(foreman.url, *chat("llama3", "again")))
            await stub.ledger.held()
            await foreman.kill()
            await asyncio.wait((client,))
        await proxy.hung_up.wait()
        async with serving(proxy.url, db) as foreman:
            waited = await foreman.event("orphan_wait")
            proxy.hear()
            await foreman.event("job_finished")
        orphan, again = stub.ledger.on(CHAT)
        assert again.at - datetime.fromisoformat(waited["ts"]).timestamp() >= ORPHANED
        assert orphan.ended_at is not None
        assert orphan.ended_at < again.at
        assert stub.ledger.max_concurrent == 1
    assert [(job.state, job.attempts, job.complete) for job in stored(db)] == [("done", 2, True)]


async def test_a_stop_while_the_target_is_away_keeps_the_queue(tmp_path: Path) -> None:
    db = tmp_path / "foreman.db"
    async with StubOllama() as stub:
        stub.refuse()
        async with serving(stub.url, db, drain_seconds=FOR_EVER) as foreman:
            waiting = await submit(foreman, chat("llama3", "1"), chat("qwen3:8b", "2"))
            await foreman.event("target_down")
            foreman.send(signal.SIGTERM)
            for client in waiting:
                await refused(await client)
            assert await foreman.ended() == 0
        assert [(job.state, job.attempts) for job in stored(db)] == [("queued", 0)] * 2
        await stub.accept()
        assert await resumed(stub, db, 2) == ["1", "2"]


# -- what keeps it from starting


async def fails(*command: str, home: Path) -> str:
    """Start foreman in vain: the one line it says."""
    foreman = await spawn(*command, home=home)
    status = await foreman.ended()
    assert status == 1
    (line,) = foreman.lines
    assert line.startswith("foreman: ")
    return line


async def test_a_second_instance_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    db = tmp_path / "foreman.db"
    async with StubOllama() as stub, serving(stub.url, db) as foreman:
        stub.script(CHAT, Script(hold=3))
        client = asyncio.create_task(post(foreman.url, *chat("llama3", "first")))
        await stub.ledger.held()
        line = await fails(*arguments(stub.url, db), home=tmp_path)
        assert f"pid {foreman.process.pid}" in line
        stub.release(CHAT)
        assert (await client).whole


async def test_a_port_in_use(tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        command = ["serve", f"--listen={address}", "--target=http://127.0.0.1:9", f"--db={tmp_path / 'foreman.db'}"]
        line = await fails(*command, home=tmp_path)
    assert address in line


def newer(db: Path) -> str:
    with closing(sqlite3.connect(db)) as connection:
        connection.executescript(f"PRAGMA application_id={APPLICATION_ID}; PRAGMA user_version=999")
    return "999"


def garbage(db: Path) -> str:
    db.write_bytes(b"this is not a database at all\n" * 1000)
    return "damaged or not a database"


def damaged(db: Path) -> str:
    with closing(sqlite3.connect(db)) as connection:
        connection.executescript("CREATE TABLE a (b); PRAGMA user_version=1;")
    db.write_bytes(db.read_bytes()[:100] + os.urandom(3000))
    return "damaged or not a database"


def directory(db: Path) -> str:
    db.mkdir()
    return "is not a file"


@pytest.mark.parametrize("spoil", [newer, garbage, damaged, directory])
async def test_a_database_that_cannot_be_used_is_left_alone(tmp_path: Path, spoil: Any) -> None:
    db = tmp_path / "foreman.db"
    words = spoil(db)
    before = db.read_bytes() if db.is_file() else None
    line = await fails(*arguments("http://127.0.0.1:9", db), home=tmp_path)
    assert words in line
    assert str(db) in line
    assert (db.read_bytes() if db.is_file() else None) == before


async def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        folder = Path("/proc/foreman")  # to root no mode forbids anything
    else:
        folder = tmp_path / "closed"
        folder.mkdir(mode=0o500)
    line = await fails(*arguments("http://127.0.0.1:9", folder / "foreman.db"), home=tmp_path)
    assert str(folder) in line


# -- a full disk


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="limits of another process cannot be set here")
async def test_a_full_disk_is_told_and_left_behind_without_a_restart(tmp_path: Path) -> None:
    db = tmp_path / "foreman.db"
    async with StubOllama() as stub, serving(stub.url, db) as foreman:
        stub.script(CHAT, [Script(hold=3)])
        streaming = asyncio.create_task(post(foreman.url, *chat("llama3", "streaming")))
        await stub.ledger.held()
        _limit_files(foreman, 1)
        for path, body in (chat("llama3", "refused"), chat_v1("llama3", "refused")):
            got = await post(foreman.url, path, body)
            assert (got.status, got.whole) == (507, True)
            assert orjson.loads(got.body)["error"]
            assert 0 < int(got.headers["retry-after"]) <= 60
        report = await foreman.health()
        assert (report["status"], bool(report["storage"]["error"])) == ("storage", True)
        assert (await _get(foreman, "/api/tags")) == 200
        assert (await _get(foreman, "/health")) == 503

        stub.release(CHAT)
        got = await streaming
        assert (got.status, got.whole) == (200, True)
        assert [job.state for job in stored(db)] in (["working"], ["loading"])

        _limit_files(foreman, resource.RLIM_INFINITY)
        await foreman.event("store_recovered")
        await foreman.settled(got.job)
        assert (await foreman.health())["status"] == "ok"
        assert (await post(foreman.url, *chat("llama3", "after"))).whole
        await foreman.event("job_finished", 2)
        assert [(job.state, job.attempts) for job in stored(db)] == [("done", 1)] * 2


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="limits of another process cannot be set here")
async def test_a_full_disk_does_not_keep_foreman_from_stopping(tmp_path: Path) -> None:
    db = tmp_path / "foreman.db"
    async with StubOllama() as stub, serving(stub.url, db, drain_seconds=0.1) as foreman:
        stub.script(CHAT, [Script(hold=0)])
        running = asyncio.create_task(post(foreman.url, *chat("llama3", "running")))
        await stub.ledger.held()
        _limit_files(foreman, 1)
        await stopping(foreman)
        foreman.send(signal.SIGTERM)
        await refused(await running)
        assert await foreman.ended() == 0, foreman.lines
        assert await resumed(stub, db, 1) == ["running"]


async def test_nothing_is_accepted_into_a_database_that_was_removed(tmp_path: Path) -> None:
    db = tmp_path / "foreman.db"
    async with StubOllama() as stub, serving(stub.url, db) as foreman:
        db.rename(tmp_path / "elsewhere.db")
        await foreman.event("store_refused")
        got = await post(foreman.url, *chat("llama3", "refused"))
        assert (got.status, stub.ledger.on(CHAT)) == (503, [])
        assert "is gone" in orjson.loads(got.body)["error"]
        assert (await _get(foreman, "/health")) == 503
        (tmp_path / "elsewhere.db").rename(db)
        await foreman.event("store_recovered")
        assert (await post(foreman.url, *chat("llama3", "accepted"))).whole
        foreman.send(signal.SIGTERM)
        assert await foreman.ended() == 0


def _limit_files(foreman: Foreman, size: int) -> None:
    """Let no file be written beyond this size, which is what a full disk looks like."""
    _, hard = resource.prlimit(foreman.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(foreman.process.pid, resource.RLIMIT_FSIZE, (size, hard))


async def _get(foreman: Foreman, path: str) -> int:
    return (await raw.ask(foreman.url, f"GET {path}")).status


# -- the other event loop


async def test_the_plain_event_loop_does_all_of_it(tmp_path: Path) -> None:
    db = tmp_path / "foreman.db"
    settings: dict[str, object] = {"loop": "asyncio", "retry_base_seconds": 0.01, "retry_cap_seconds": 0.01}
    async with StubOllama() as stub, serving(stub.url, db, **settings) as foreman:
        assert (await post(foreman.url, *chat("llama3", "streamed"))).whole
        assert (await post(foreman.url, *chat("qwen3:8b", "whole", stream=False))).whole
        stub.script(CHAT, [Script(die=Die.RST), Script(die=Die.FIN, die_after_chunks=3)])
        got = await post(foreman.url, *chat("llama3", "cut"))
        assert (got.status, got.whole) == (200, False)
        assert orjson.loads(got.body.splitlines()[-1])["error"]
        stub.script(CHAT, [Script(hold=2)])
        async with asking(foreman.url, *chat("llama3", "gone")) as answer:
            await answer.content.readany()
        await foreman.event("job_finished", outcome="cancelled")
        assert (await post(foreman.url, *chat("llama3", "next"))).whole
        assert stub.ledger.max_concurrent == 1
        foreman.send(signal.SIGTERM)
        assert await foreman.ended() == 0
    assert [job.state for job in stored(db)] == ["done", "done", "failed", "cancelled", "done"]
