"""`foreman run`: real commands, real terminals, and kill -9 on every side."""

import asyncio
import fcntl
import os
import pty
import re
import signal
import sys
import termios
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from foreman.testing import StubOllama
from tests.e2e.holders import held, release, waits
from tests.e2e.own import GENERATE, call, handed, prompt
from tests.e2e.process import PATIENCE, Foreman, environment, serving
from tests.polling import until

# What a command does to say that it runs, and to wait until it may end: `$1` is a folder.
STEPS = 'touch "$1/begun"; while [ ! -e "$1/end" ]; do sleep 0.05; done; '


def line_of(*words: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "foreman", "run", *words)


async def started(url: str, home: Path, *words: str, **more: Any) -> Process:
    env = {**environment(home), "FOREMAN_URL": url}
    return await asyncio.create_subprocess_exec(
        *line_of(*words), stdin=PIPE, stdout=PIPE, stderr=PIPE, env=env, start_new_session=True, **more
    )


async def ended(process: Process, given: bytes = b"") -> tuple[int | None, str, str]:
    async with asyncio.timeout(PATIENCE):
        out, talk = await process.communicate(given)
    return process.returncode, out.decode(), talk.decode()


async def ran(url: str, home: Path, *words: str, given: bytes = b"") -> tuple[int | None, str, str]:
    return await ended(await started(url, home, *words), given)


async def running(foreman: Foreman) -> str:
    """The id of the one slot that is held, as soon as one is."""
    report = await foreman.healthy(lambda report: report["running"] is not None)
    return str(report["running"]["id"])


async def job_of(foreman: Foreman, job: str) -> dict[str, Any]:
    _, shown, _ = await call(foreman, "GET", f"/jobs/{job}")
    return dict(shown)


@asynccontextmanager
async def both(tmp_path: Path, **settings: object) -> AsyncIterator[tuple[StubOllama, Foreman]]:
    async with StubOllama() as stub, serving(stub.url, tmp_path / "foreman.db", **settings) as foreman:
        yield stub, foreman


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("script", "status"),
    [("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", 143), ("kill -9 $$", 137), ("kill -INT $$", 130)],
)
async def test_a_command_has_its_own_streams_and_exit_status(
    foreman: Foreman, tmp_path: Path, script: str, status: int
) -> None:
    command = ("sh", "-c", f"cat; echo talk >&2; {script}")
    found = await ran(
        foreman.url, tmp_path, "--local", "--label", "x y", "--memory", "4GB", "--", *command, given=b"in"
    )
    assert found == (status, "in", "talk\n")
    _, listed, _ = await call(foreman, "GET", "/jobs?limit=1")
    (job,) = listed["jobs"]
    assert (job["state"], job["label"], job["memory"], job["lane"]) == ("done", "x y", 4 * 10**9, "local")
    assert (await call(foreman, "GET", f"/jobs/{job['id']}/response"))[1]["exit_status"] == status


@pytest.mark.asyncio(loop_scope="module")
async def test_a_command_that_cannot_be_started_frees_its_slot_at_once(foreman: Foreman, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("no program")
    found = await ran(foreman.url, tmp_path, "--remote", "--", str(tmp_path / "none"))
    assert found == (127, "", f"foreman: {tmp_path}/none: No such file or directory\n")
    found = await ran(foreman.url, tmp_path, "--remote", "--", str(plain))
    assert found == (126, "", f"foreman: {plain}: Permission denied\n")
    assert (await foreman.health())["running"] is None


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--", "true"), "one of the arguments --local --remote is required"),
        (("--local", "--remote", "--", "true"), "not allowed with argument"),
        (("--local",), "there is no command to run"),
        (("--local", "--"), "there is no command to run"),
        (("--local", "true"), "unexpected 'true'"),
        (("--local", "--memory", "lots", "--", "true"), "must be a size such as"),
    ],
)
async def test_a_wrong_command_line_is_told(
    foreman: Foreman, tmp_path: Path, words: tuple[str, ...], told: str
) -> None:
    status, out, talk = await ran(foreman.url, tmp_path, *words)
    assert (status, out, talk.count("\n")) == (2, "", 1)
    assert told in talk


async def test_without_a_foreman_nothing_runs(tmp_path: Path) -> None:
    status, _, talk = await ran("http://127.0.0.1:9", tmp_path, "--local", "--", "touch", str(tmp_path / "begun"))
    assert (status, talk.count("\n")) == (3, 1)
    assert talk.startswith("foreman: foreman does not answer at http://127.0.0.1:9")
    assert not (tmp_path / "begun").exists()


async def test_who_waits_is_told_why_and_can_be_cancelled(tmp_path: Path) -> None:
    async with both(tmp_path) as (_, foreman):
        slot = await held(foreman)
        process = await started(foreman.url, tmp_path, "--remote", "--", "touch", str(tmp_path / "begun"))
        await foreman.queued(1)
        _, queue, _ = await call(foreman, "GET", "/queue")
        (job,) = queue["waiting"]
        assert process.stderr is not None
        line = (await process.stderr.readline()).decode()
        assert line == f"{job['id']}  queued  touch  position 1, waits for the local lane: a local job runs (command)\n"
        await call(foreman, "DELETE", f"/jobs/{job['id']}")
        assert (await ended(process))[::2] == (5, "foreman: it was cancelled while it waited\n")
        assert not (tmp_path / "begun").exists()
        await release(foreman, slot)


async def test_a_restart_of_foreman_keeps_the_place_of_who_waits(tmp_path: Path) -> None:
    db = tmp_path / "foreman.db"
    async with StubOllama() as stub:
        async with serving(stub.url, db) as foreman:
            slot = await held(foreman)
            process = await started(foreman.url, tmp_path, "--local", "--", "echo", "ran")
            await foreman.queued(1)
            _, queue, _ = await call(foreman, "GET", "/queue")
            (job,) = queue["waiting"]
            assert process.stderr is not None
            await process.stderr.readline()  # it knows its job
        async with serving(stub.url, db, listen=foreman.url.removeprefix("http://")) as foreman:
            assert (await release(foreman, slot))[0] == 200
            status, out, _ = await ended(process)
            assert (status, out) == (0, "ran\n")
            await foreman.settled(job["id"])


async def test_a_command_runs_on_while_foreman_is_killed_and_its_slot_is_found(tmp_path: Path) -> None:
    db = tmp_path / "foreman.db"
    async with StubOllama() as stub:
        async with serving(stub.url, db) as foreman:
            words = ("--local", "--expiry", "5", "--", "sh", "-c", STEPS + "exit 4", "sh", str(tmp_path))
            process = await started(foreman.url, tmp_path, *words)
            slot = await running(foreman)
            job = await handed(foreman, prompt("next"))
            await until((tmp_path / "begun").exists)
        assert process.stderr is not None
        warned = await process.stderr.readline()
        assert warned == b"foreman: foreman does not answer; the command runs on\n"
        async with serving(stub.url, db, listen=foreman.url.removeprefix("http://")) as foreman:
            await foreman.event("slot_found", job=slot)
            # For longer than it would live without a heartbeat.
            over = time.monotonic() + 6
            while time.monotonic() < over:
                await waits(foreman, job)
                assert (await job_of(foreman, slot))["state"] == "working"
            assert stub.ledger.on(GENERATE) == []
            (tmp_path / "end").touch()
            assert await ended(process) == (4, "", "")
            await foreman.settled(slot, job)
            assert (await job_of(foreman, slot))["state"] == "done"


@pytest.mark.parametrize("whole", [True, False])
async def test_a_command_that_is_killed_with_all_around_it_frees_its_slot(tmp_path: Path, whole: bool) -> None:
    """`whole`: the program that sends the heartbeats dies as well, as it would with its machine."""
    async with both(tmp_path) as (_, foreman):
        words = ("--local", "--expiry", "3" if whole else "3600", "--", "sh", "-c", STEPS, "sh", str(tmp_path))
        process = await started(foreman.url, tmp_path, *words)
        slot = await running(foreman)
        await until((tmp_path / "begun").exists)
        job = await handed(foreman, prompt("next"))
        if whole:
            for child in await children(process.pid):
                os.kill(child, signal.SIGKILL)
        os.killpg(process.pid, signal.SIGKILL)
        await foreman.settled(slot, job)
        found = await job_of(foreman, slot)
        assert (found["state"], (found["error"] or {}).get("code")) == (
            ("failed", "slot_lost") if whole else ("done", None)
        )
        assert (await ended(process))[0] == -9


async def test_a_command_that_dies_while_foreman_is_dead_holds_its_slot_no_longer_than_it_may(tmp_path: Path) -> None:
    db = tmp_path / "foreman.db"
    async with StubOllama() as stub:
        async with serving(stub.url, db) as foreman:
            words = ("--remote", "--expiry", "5", "--", "sh", "-c", STEPS, "sh", str(tmp_path))
            process = await started(foreman.url, tmp_path, *words)
            slot = await running(foreman)
            await until((tmp_path / "begun").exists)
            job = await handed(foreman, prompt("next"))
        for child in await children(process.pid):
            os.kill(child, signal.SIGKILL)
        os.killpg(process.pid, signal.SIGKILL)
        assert (await ended(process))[0] == -9
        async with serving(stub.url, db) as foreman:
            await foreman.event("slot_found", job=slot)
            await waits(foreman, job)
            await foreman.settled(slot, job)
            found = await job_of(foreman, slot)
        assert (found["state"], found["error"]["code"], found["attempts"]) == ("failed", "slot_lost", 1)
        assert len([entry for entry in stub.ledger.on(GENERATE) if b"next" in entry.body]) == 1


async def children(pid: int) -> list[int]:
    listed = await asyncio.create_subprocess_exec("ps", "-A", "-o", "pid=,ppid=", stdout=PIPE)
    out, _ = await listed.communicate()
    pairs = [line.split() for line in out.decode().splitlines()]
    return [int(child) for child, parent in pairs if int(parent) == pid]


async def test_a_command_that_outlives_what_started_it_keeps_the_slot(tmp_path: Path) -> None:
    async with both(tmp_path) as (stub, foreman):
        words = ("--local", "--expiry", "5", "--", "sh", "-c", STEPS, "sh", str(tmp_path))
        process = await started(foreman.url, tmp_path, *words)
        slot = await running(foreman)
        await until((tmp_path / "begun").exists)
        job = await handed(foreman, prompt("next"))
        process.kill()
        over = time.monotonic() + 6
        while time.monotonic() < over:
            await waits(foreman, job)
        assert stub.ledger.on(GENERATE) == []
        (tmp_path / "end").touch()
        await foreman.settled(slot, job)
        await ended(process)


async def test_a_cancelled_job_has_its_command_end_and_a_signal_is_passed_on(tmp_path: Path) -> None:
    async with both(tmp_path) as (_, foreman):
        words = ("--local", "--expiry", "3", "--", "sh", "-c", "trap 'exit 9' TERM HUP; " + STEPS, "sh", str(tmp_path))
        for number in (None, signal.SIGTERM, signal.SIGHUP):
            cancelled = number is None
            process = await started(foreman.url, tmp_path, *words)
            slot = await running(foreman)
            await until((tmp_path / "begun").exists)
            if number is None:
                await call(foreman, "DELETE", f"/jobs/{slot}")
            else:
                process.send_signal(number)
            status, _, talk = await ended(process)
            assert (status, "cancelled" in talk) == (9, cancelled)
            await foreman.settled(slot)
            assert (await job_of(foreman, slot))["state"] == ("cancelled" if cancelled else "done")
            (tmp_path / "begun").unlink()


async def test_commands_and_inference_are_never_at_once(tmp_path: Path) -> None:
    spans = tmp_path / "spans"
    spans.mkdir()
    script = f"import time, pathlib; a = time.time(); pathlib.Path({str(spans)!r}, str(a)).write_text(str(time.time()))"

    async with both(tmp_path) as (stub, foreman):

        async def command(lane: str) -> None:
            status, _, _ = await ran(foreman.url, tmp_path, lane, "--", sys.executable, "-c", script)
            assert status == 0

        async def inference(number: int) -> None:
            await foreman.settled(await handed(foreman, prompt(f"{number}", ("llama3", "qwen3:8b")[number % 2])))

        await asyncio.gather(*(command("--local") for _ in range(4)), *map(inference, range(8)))
        worked = [(entry.at, entry.ended_at or entry.at) for entry in stub.ledger.on(GENERATE)]
    commands = [(float(file.name), float(file.read_text())) for file in spans.iterdir()]
    assert len(commands) == 4
    assert all(one[1] <= other[0] for one, other in pairwise(sorted([*commands, *worked])))


# -- on a terminal


class Terminal:
    """A program whose controlling terminal this is."""

    def __init__(self, process: Process, screen: int) -> None:
        self.said = b""
        self._process = process
        self._screen = screen
        self._news = asyncio.Event()
        os.set_blocking(screen, False)
        asyncio.get_running_loop().add_reader(screen, self._read)

    @classmethod
    async def of(cls, url: str, home: Path, *command: str) -> "Terminal":
        screen, side = pty.openpty()
        env = {**environment(home), "FOREMAN_URL": url, "TERM": "dumb", "COLUMNS": "100"}
        process = await asyncio.create_subprocess_exec(
            *command, stdin=side, stdout=side, stderr=side, env=env, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )  # fmt: skip
        os.close(side)
        return cls(process, screen)

    def _read(self) -> None:
        try:
            self.said += os.read(self._screen, 65536)
        except OSError:  # the last one has closed it
            asyncio.get_running_loop().remove_reader(self._screen)
        self._news.set()

    def type(self, keys: bytes) -> None:
        os.write(self._screen, keys)

    async def shows(self, text: bytes) -> None:
        async with asyncio.timeout(PATIENCE):
            while not re.search(text, self.said):
                self._news.clear()
                await self._news.wait()

    async def ended(self) -> int:
        async with asyncio.timeout(PATIENCE):
            status = await self._process.wait()
        asyncio.get_running_loop().remove_reader(self._screen)
        os.close(self._screen)
        return status


CTRL_C, CTRL_Z = b"\x03", b"\x1a"
FOREGROUND = "import os, sys; print('front', os.isatty(0) and os.tcgetpgrp(0) == os.getpgrp(), flush=True)"


async def test_ctrl_c_while_waiting_leaves_the_queue(tmp_path: Path) -> None:
    async with both(tmp_path) as (_, foreman):
        slot = await held(foreman)
        terminal = await Terminal.of(foreman.url, tmp_path, *line_of("--local", "--", "touch", str(tmp_path / "begun")))
        await terminal.shows(b"position 1, waits its turn")
        assert b"\n" not in terminal.said  # one line, which is rewritten
        (job,) = (await call(foreman, "GET", "/queue"))[1]["waiting"]
        terminal.type(CTRL_C)
        assert await terminal.ended() == 130
        await foreman.settled(job["id"])
        assert (await job_of(foreman, job["id"]))["state"] == "cancelled"
        assert not (tmp_path / "begun").exists()
        assert (await release(foreman, slot))[0] == 200


async def test_ctrl_c_while_running_goes_to_the_command(tmp_path: Path) -> None:
    async with both(tmp_path) as (_, foreman):
        script = f"{FOREGROUND}\ntry: sys.stdin.read()\nexcept KeyboardInterrupt: print('caught'); sys.exit(9)"
        terminal = await Terminal.of(foreman.url, tmp_path, *line_of("--local", "--", sys.executable, "-c", script))
        await terminal.shows(b"front True")
        slot = await running(foreman)
        terminal.type(CTRL_C)
        assert await terminal.ended() == 9
        assert b"caught" in terminal.said
        assert b"Traceback" not in terminal.said
        await foreman.settled(slot)
        assert (await job_of(foreman, slot))["state"] == "done"


async def test_a_command_that_is_stopped_keeps_its_slot_and_goes_on(tmp_path: Path) -> None:
    """From a shell with job control: Ctrl-Z, and `fg` later."""
    async with both(tmp_path) as (_, foreman):
        line = " ".join(line_of("--local", "--expiry", "5", "--", "sh", "-c", "'echo begun; read x; echo got $x'"))
        shell = await Terminal.of(foreman.url, tmp_path, "bash", "--norc", "-i")
        shell.type(line.encode() + b"\n")
        await shell.shows(b"\nbegun")
        slot = await running(foreman)
        shell.type(CTRL_Z)
        await shell.shows(b"Stopped")
        over = time.monotonic() + 6
        while time.monotonic() < over:
            assert (await job_of(foreman, slot))["state"] == "working"
        shell.type(b"fg\n")
        await shell.shows(rb"fg\s[^$]*sh -c")
        shell.type(b"it\n")
        await shell.shows(b"\ngot it")
        await foreman.settled(slot)
        shell.type(b"exit 3\n")
        assert await shell.ended() == 3
