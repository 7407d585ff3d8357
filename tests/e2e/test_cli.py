"""The commands that ask a running foreman: real processes on both sides, and a real terminal."""

import asyncio
import os
import pty
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest

from foreman.testing import Die, Script, StubOllama, expected_text
from tests.e2e.process import PATIENCE, Foreman, environment, serving

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHAT = "/api/chat"


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command came to."""

    status: int
    out: str
    talk: str

    def json(self) -> Any:
        return orjson.loads(self.out)


def line_of(*command: str) -> Sequence[str]:
    return (sys.executable, "-m", "foreman", *command)


def around(foreman: Foreman, home: Path) -> dict[str, str]:
    return {**environment(home), "FOREMAN_URL": foreman.url}


async def run(foreman: Foreman, home: Path, *command: str, given: str = "") -> Ran:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *line_of(*command), stdin=pipe, stdout=pipe, stderr=pipe, env=around(foreman, home)
    )
    async with asyncio.timeout(PATIENCE):
        out, talk = await process.communicate(given.encode())
    return Ran(process.returncode or 0, out.decode(), talk.decode())


async def test_a_job_handed_over_followed_and_looked_at(foreman: Foreman, tmp_path: Path) -> None:
    handed = await run(foreman, tmp_path, "submit", "llama3", "why", "is", "it", "so")
    assert (handed.status, handed.talk) == (0, "")
    job = handed.out.strip()
    assert re.fullmatch(r"[0-9A-Z]{26}", job)
    watched = await run(foreman, tmp_path, "jobs", "watch", job)
    assert (watched.status, watched.out) == (0, f"{job} done\n")
    assert watched.talk.splitlines()[-1].startswith(f"{job}  done  llama3:latest")
    shown = await run(foreman, tmp_path, "jobs", "show", job)
    assert re.search(r"^state +done$", shown.out, re.MULTILINE)
    assert (await run(foreman, tmp_path, "jobs", "show", job, "--json")).json()["stats"]["output_tokens"]
    listed = await run(foreman, tmp_path, "jobs", "list", "--model", "llama3", "--limit", "1")
    head, row = listed.out.splitlines()
    assert (head.index("STATE"), row[:26]) == (row.index("done"), job)


async def test_an_answer_that_is_waited_for_is_printed(foreman: Foreman, tmp_path: Path) -> None:
    prompt = "why is the sky blue"
    body = {"model": "llama3", "messages": [{"role": "user", "content": prompt}]}
    waited = await run(foreman, tmp_path, "submit", "llama3", "--wait", given=prompt)
    assert (waited.status, waited.out) == (0, expected_text(body) + "\n")
    raw = orjson.dumps({**body, "stream": False}).decode()
    whole = await run(foreman, tmp_path, "submit", "--path", CHAT, "--body", "-", "--wait", "--json", given=raw)
    assert (whole.status, whole.json()["state"]) == (0, "done")


async def test_the_queue_pauses_shows_its_order_and_goes_on(stub: StubOllama, tmp_path: Path) -> None:
    async with serving(stub.url, tmp_path / "foreman.db") as foreman:
        assert "nothing runs" in (await run(foreman, tmp_path, "queue")).talk
        assert "paused" in (await run(foreman, tmp_path, "pause")).talk
        ids = [
            (await run(foreman, tmp_path, "submit", model, "x")).out.strip()
            for model in ("llama3", "qwen3:8b", "llama3")
        ]
        later = (await run(foreman, tmp_path, "submit", "llama3", "x", "--not-before", "3600")).out.strip()
        queue = await run(foreman, tmp_path, "queue")
        told = [line.split()[:2] for line in queue.out.splitlines()[1:]]
        asked = (await run(foreman, tmp_path, "queue", "--json")).json()
        assert told == [[str(job["position"]), job["id"]] for job in asked["waiting"]] + [["-", later]]
        assert {row[1] for row in told} == {*ids, later}
        assert queue.out.count("queue is paused") == 3
        cancelled = await run(foreman, tmp_path, "jobs", "cancel", ids[0], later)
        assert (cancelled.status, cancelled.out, cancelled.talk.count("is cancelled")) == (0, "", 2)
        assert (await run(foreman, tmp_path, "jobs", "watch", ids[0])).status == 5
        again = (await run(foreman, tmp_path, "jobs", "retry", ids[0])).out.strip()
        assert "goes on" in (await run(foreman, tmp_path, "resume")).talk
        assert (await run(foreman, tmp_path, "jobs", "watch", again)).status == 0


async def test_a_failed_job_and_its_words(stub: StubOllama, foreman: Foreman, tmp_path: Path) -> None:
    assert (await run(foreman, tmp_path, "submit", "llama3", "warm", "--wait")).status == 0
    stub.script(CHAT, [Script(status=400, error="no such thing\x1b[2J")])
    failed = await run(foreman, tmp_path, "submit", "llama3", "x", "--wait")
    assert (failed.status, failed.out) == (1, "")
    assert "no such thing" in failed.talk
    assert "\x1b" not in failed.talk


async def test_an_answer_that_broke_off_is_printed_once_and_whole(stub: StubOllama, tmp_path: Path) -> None:
    async with serving(stub.url, tmp_path / "foreman.db", retry_base_seconds=0.01) as foreman:
        assert (await run(foreman, tmp_path, "submit", "llama3", "warm", "--wait")).status == 0
        stub.script(CHAT, [Script(die=Die.FIN, die_after_chunks=2)])
        body = {"model": "llama3", "messages": [{"role": "user", "content": "twice"}]}
        again = await run(foreman, tmp_path, "submit", "llama3", "twice", "--wait")
        assert (again.status, again.out) == (0, expected_text(body) + "\n")


async def test_a_job_whose_answer_was_cut_ends_the_watch(stub: StubOllama, tmp_path: Path) -> None:
    async with serving(stub.url, tmp_path / "foreman.db", max_attempts=1) as foreman:
        assert (await run(foreman, tmp_path, "submit", "llama3", "warm", "--wait")).status == 0
        stub.script(CHAT, [Script(die=Die.FIN, die_after_chunks=2)])
        cut = await run(foreman, tmp_path, "submit", "llama3", "cut", "--wait")
        assert (cut.status, "failed" in cut.talk) == (1, True)


async def test_what_is_refused_and_what_is_wrong(foreman: Foreman, tmp_path: Path) -> None:
    nobody = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
    for command, status, words in (
        (("jobs", "show", nobody), 4, f"there is no job {nobody}"),
        (("jobs", "watch", "nothing"), 4, "there is no job nothing"),
        (("jobs", "list", "--state", "gone"), 4, "state must be one or more of"),
        (("submit", "nobody-has-this", "x"), 4, "nobody-has-this"),
        (("submit",), 2, "name a MODEL"),
        (("submit", "llama3"), 2, "nothing to ask"),
        (("submit", "--path", CHAT), 2, "belong together"),
        (("submit", "--path", CHAT, "--body", str(tmp_path / "none")), 2, "cannot be read"),
        (("submit", "llama3", "x", "--not-before", "soon"), 2, "no time such as"),
        (("queue", "--url", "http://127.0.0.1:1"), 3, "does not answer at http://127.0.0.1:1"),
        (("queue", "--url", "ftp://here"), 2, "must begin with http"),
    ):
        ran = await run(foreman, tmp_path, *command)
        assert (ran.status, ran.out) == (status, ""), command
        assert words in ran.talk
        assert len(ran.talk.splitlines()) == 1


async def test_a_key_is_sent_where_foreman_asks_for_one(stub: StubOllama, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("a-key-of-more-than-16-signs\n")
    key.chmod(0o600)
    async with serving(stub.url, tmp_path / "foreman.db", api_key_file=key) as foreman:
        refused = await run(foreman, tmp_path, "queue")
        assert (refused.status, "a valid key is needed" in refused.talk) == (4, True)
        assert (await run(foreman, tmp_path, "queue", "--json", "--api-key-file", str(key))).json()["depth"] == 0


async def test_a_reader_that_goes_away_is_no_error(foreman: Foreman, tmp_path: Path) -> None:
    command = " ".join(line_of("jobs", "list", "--json", "--limit", "500"))
    process = await asyncio.create_subprocess_shell(
        f"{command} | true; exec true", stderr=asyncio.subprocess.PIPE, env=around(foreman, tmp_path)
    )
    async with asyncio.timeout(PATIENCE):
        _, talk = await process.communicate()
    assert talk == b""


class Terminal:
    """A command whose stderr is a terminal; `seen` is all it wrote there so far."""

    def __init__(self, process: asyncio.subprocess.Process, end: int) -> None:
        self.process = process
        self.seen = b""
        self._end = end
        self._news = asyncio.Event()
        asyncio.get_running_loop().add_reader(end, self._read)

    def _read(self) -> None:
        try:
            data = os.read(self._end, 65536)
        except OSError:  # Linux's way to say that the other side has closed
            data = b""
        if not data:
            asyncio.get_running_loop().remove_reader(self._end)
        self.seen += data
        self._news.set()

    async def shows(self, words: bytes, since: int = 0) -> None:
        async with asyncio.timeout(PATIENCE):
            while words not in self.seen[since:]:
                self._news.clear()
                await self._news.wait()


async def on_a_terminal(foreman: Foreman, home: Path, *command: str) -> Terminal:
    ours, theirs = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *line_of(*command),
        stderr=theirs,
        stdout=asyncio.subprocess.PIPE,
        env={**around(foreman, home), "TERM": "xterm"},
    )
    os.close(theirs)
    return Terminal(process, ours)


async def test_a_terminal_gets_one_line_that_is_rewritten(stub: StubOllama, tmp_path: Path) -> None:
    async with serving(stub.url, tmp_path / "foreman.db") as foreman:
        assert (await run(foreman, tmp_path, "submit", "llama3", "warm", "--wait")).status == 0
        stub.script(CHAT, [Script(hold=20, tokens=60)])
        job = (await run(foreman, tmp_path, "submit", "llama3", "slowly")).out.strip()
        terminal = await on_a_terminal(foreman, tmp_path, "jobs", "watch", job)
        await terminal.shows(b"\x1b[1;36mworking\x1b[0m")
        await terminal.shows(b" tokens")
        stub.release(CHAT)
        await terminal.shows(b"done")
        async with asyncio.timeout(PATIENCE):
            out, _ = await terminal.process.communicate()
    assert (terminal.process.returncode, out.decode()) == (0, f"{job} done\n")
    assert terminal.seen.count(b"\n") == 1


async def test_a_watch_outlives_a_restart_and_ends_on_ctrl_c(stub: StubOllama, tmp_path: Path) -> None:
    db = tmp_path / "foreman.db"
    stub.script(CHAT, Script(hold=0))
    async with serving(stub.url, db) as foreman:
        job = (await run(foreman, tmp_path, "submit", "llama3", "x")).out.strip()
        listen = foreman.url.removeprefix("http://")
        terminal = await on_a_terminal(foreman, tmp_path, "jobs", "watch", job)
        await terminal.shows(b"working")
        await foreman.kill()
        await terminal.shows(b"does not answer")
    async with serving(stub.url, db, listen=listen) as foreman:
        await terminal.shows(b"working", terminal.seen.index(b"does not answer"))
        terminal.process.send_signal(2)
        async with asyncio.timeout(PATIENCE):
            assert await terminal.process.wait() == 130
        assert b"Traceback" not in terminal.seen
        stub.script(CHAT, None)
