"""`foreman pull` as a real process, on a real terminal and without one."""

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from foreman.testing import Ending, Script, StubOllama
from tests.e2e.client import asking, chat, post
from tests.e2e.own import call, handed
from tests.e2e.process import PATIENCE, Foreman, serving
from tests.e2e.test_cli import around, line_of, on_a_terminal, run

PULL = "/api/pull"


@pytest.fixture
async def stub() -> AsyncIterator[StubOllama]:
    async with StubOllama() as stub:
        yield stub


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "foreman.db"


@pytest.fixture
async def foreman(stub: StubOllama, db: Path) -> AsyncIterator[Foreman]:
    async with serving(stub.url, db, retry_base_seconds=0.01) as foreman:
        yield foreman


async def test_models_are_fetched_one_after_the_other(stub: StubOllama, foreman: Foreman, tmp_path: Path) -> None:
    ran = await run(foreman, tmp_path, "pull", "phi4:mini", "gemma3:4b")
    assert (ran.status, ran.out) == (0, "")
    assert [line for line in ran.talk.splitlines() if line.endswith("success")] == [
        "phi4:mini: success",
        "gemma3:4b: success",
    ]
    assert [orjson.loads(entry.body)["model"] for entry in stub.ledger.on(PULL)] == ["phi4:mini", "gemma3:4b"]


async def test_the_lines_themselves_as_json(stub: StubOllama, foreman: Foreman, tmp_path: Path) -> None:
    ran = await run(foreman, tmp_path, "pull", "--json", "phi4:mini")
    direct = await post(stub.url, PULL, {"model": "phi4:mini"})
    assert (ran.status, ran.out.encode(), ran.talk) == (0, direct.body, "")


async def test_one_that_fails_does_not_keep_the_others(stub: StubOllama, foreman: Foreman, tmp_path: Path) -> None:
    words = "pull model manifest: file does not exist"
    stub.script("nowhere:1b", Script(error=words, error_after=1))
    ran = await run(foreman, tmp_path, "pull", "../x", "nowhere:1b", "phi4:mini")
    assert (ran.status, ran.out) == (4, "")
    told = ran.talk.splitlines()
    assert told[0] == "foreman: ../x: invalid model name"
    assert f"nowhere:1b: failed: {words}" in told
    assert told[-1] == "phi4:mini: success"
    assert (await run(foreman, tmp_path, "pull", "nowhere:1b")).status == 1


async def test_a_pull_that_does_not_fit_says_why(stub: StubOllama, db: Path, tmp_path: Path) -> None:
    stub.script(PULL, Script(hold=2))
    async with serving(stub.url, db, disk_reserve=1) as foreman:
        ran = await run(foreman, tmp_path, "pull", "phi4:9000000b")
    assert (ran.status, ran.out) == (1, "")
    assert "too little" in ran.talk
    assert "does not answer" not in ran.talk


async def test_a_terminal_gets_a_bar(stub: StubOllama, foreman: Foreman, tmp_path: Path) -> None:
    stub.script(PULL, Script(tokens_per_second=4))
    terminal = await on_a_terminal(foreman, tmp_path, "pull", "phi4:14b")
    await terminal.shows(b"%  ")
    await terminal.shows(b"#")
    await terminal.shows(b" of 8.4 GB, ")
    await terminal.shows(b"/s, ")
    await terminal.shows(b" left")
    stub.script(PULL, None)
    await terminal.shows(b"success")
    async with asyncio.timeout(PATIENCE):
        await terminal.process.communicate()
    assert (terminal.process.returncode, terminal.seen.count(b"\n")) == (0, 1)


UPKEEP = pytest.mark.parametrize(
    ("path", "body", "name"),
    [
        (PULL, {"model": "phi4:14b"}, "pull phi4:14b"),
        ("/api/create", {"model": "mine", "from": "llama3", "quantize": "q4_K_M"}, "create mine:latest"),
    ],
    ids=["pull", "create"],
)


@UPKEEP
async def test_a_watch_shows_the_bar_too(
    stub: StubOllama, foreman: Foreman, tmp_path: Path, path: str, body: dict[str, Any], name: str
) -> None:
    stub.script(path, [Script(hold=5)])
    job = await handed(foreman, body, path)
    terminal = await on_a_terminal(foreman, tmp_path, "jobs", "watch", job)
    await terminal.shows(name.encode())
    await terminal.shows(b"#")
    await terminal.shows(b"%  ")
    stub.release(path)
    await terminal.shows(b"done")
    async with asyncio.timeout(PATIENCE):
        await terminal.process.communicate()
    assert (terminal.process.returncode, terminal.seen.count(b"\n")) == (0, 1)


@UPKEEP
async def test_a_watch_without_a_terminal_tells_each_step(
    stub: StubOllama, foreman: Foreman, tmp_path: Path, path: str, body: dict[str, Any], name: str
) -> None:
    stub.script(path, [Script(hold=5)])
    job = await handed(foreman, body, path)
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *line_of("jobs", "watch", job), stdout=pipe, stderr=pipe, env=around(foreman, tmp_path)
    )
    assert process.stderr is not None
    async with asyncio.timeout(PATIENCE):
        while b"%" not in (line := await process.stderr.readline()):
            assert line
        assert line.startswith(f"{name}: ".encode())
        stub.release(path)
        _, rest = await process.communicate()
    assert rest.decode().splitlines()[-1].startswith(f"{job}  done  {name}")
    assert process.returncode == 0


async def test_who_waits_sees_the_place_and_ctrl_c_leaves_the_queue(
    stub: StubOllama, foreman: Foreman, tmp_path: Path
) -> None:
    stub.script("/api/chat", [Script(hold=0)])
    first = asyncio.create_task(post(foreman.url, *chat("llama3", "first")))
    await stub.ledger.held()
    terminal = await on_a_terminal(foreman, tmp_path, "pull", "phi4:14b")
    await terminal.shows(b"position 1")
    terminal.process.send_signal(signal.SIGINT)
    async with asyncio.timeout(PATIENCE):
        assert await terminal.process.wait() == 130
    assert b"Traceback" not in terminal.seen
    await foreman.event("job_finished", outcome="cancelled", path=PULL)
    assert (await call(foreman, "GET", "/queue"))[1]["waiting"] == []
    stub.release("/api/chat")
    assert (await first).whole
    assert not stub.ledger.on(PULL)


async def test_ctrl_c_leaves_a_pull_to_others(stub: StubOllama, foreman: Foreman, tmp_path: Path) -> None:
    stub.script(PULL, Script(hold=3))
    terminal = await on_a_terminal(foreman, tmp_path, "pull", "phi4:14b")
    await terminal.shows(b"%")
    async with asking(foreman.url, PULL, {"model": "phi4:14b"}) as other:
        terminal.process.send_signal(signal.SIGINT)
        async with asyncio.timeout(PATIENCE):
            assert await terminal.process.wait() == 130
        stub.release(PULL)
        assert (await other.read()).endswith(b'{"status":"success"}\n')
    assert [entry.ending for entry in stub.ledger.on(PULL)] == [Ending.COMPLETE]


async def test_a_pull_that_somebody_cancels(stub: StubOllama, foreman: Foreman, tmp_path: Path) -> None:
    stub.script(PULL, Script(hold=3))
    terminal = await on_a_terminal(foreman, tmp_path, "pull", "phi4:14b")
    await terminal.shows(b"%")
    (job,) = (await call(foreman, "GET", "/jobs"))[1]["jobs"]
    assert (await call(foreman, "DELETE", f"/jobs/{job['id']}"))[0] == 202
    async with asyncio.timeout(PATIENCE):
        assert await terminal.process.wait() == 5
    await terminal.shows(b"cancelled")


async def test_a_pull_outlives_a_restart_of_foreman(stub: StubOllama, db: Path, tmp_path: Path) -> None:
    async with serving(stub.url, db) as foreman:
        stub.script(PULL, [Script(hold=5)])
        listen = foreman.url.removeprefix("http://")
        terminal = await on_a_terminal(foreman, tmp_path, "pull", "phi4:14b")
        await terminal.shows(b"%")
        await foreman.kill()
        await terminal.shows(b"does not answer")
    async with serving(stub.url, db, listen=listen) as foreman:
        await terminal.shows(b"success")
        async with asyncio.timeout(PATIENCE):
            assert await terminal.process.wait() == 0
        assert [job["state"] for job in (await call(foreman, "GET", "/jobs"))[1]["jobs"]][-1] == "done"
    first, *others = stub.ledger.on(PULL)
    assert first.ending is Ending.CLIENT_GONE
    assert {entry.ending for entry in others} == {Ending.COMPLETE}


async def test_without_a_foreman_there_is_no_pull(foreman: Foreman, tmp_path: Path) -> None:
    ran = await run(foreman, tmp_path, "pull", "phi4:mini", "--url", "http://127.0.0.1:1")
    assert (ran.status, "does not answer" in ran.talk) == (3, True)
