"""`foreman top` on a real terminal: its keys, its size, and how it leaves the terminal, however it ends."""

import asyncio
import fcntl
import os
import pty
import signal
import struct
import sys
import termios
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from foreman.testing import Script, StubOllama
from tests.e2e.own import GENERATE, call, handed, prompt, state_of
from tests.e2e.process import PATIENCE, Foreman, environment, serving

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOME, ON, OFF = b"\x1b[H", b"\x1b[?1049h\x1b[?25l", b"\x1b[?25h\x1b[?1049l"
UP, DOWN, CTRL_C, CTRL_Z = b"\x1b[A", b"\x1b[B", b"\x03", b"\x1a"


class Top:
    """`foreman top` with a terminal of its own; `said` is all that it wrote."""

    def __init__(self, process: Process, ours: int, theirs: int) -> None:
        self.process = process
        self.said = b""
        self._ours, self._theirs = ours, theirs
        self.before = termios.tcgetattr(theirs)
        self._news = asyncio.Event()
        asyncio.get_running_loop().add_reader(ours, self._read)

    def _read(self) -> None:
        self.said += os.read(self._ours, 65536)
        self._news.set()

    def screen(self) -> list[str]:
        """The lines of the last screen that came whole, as far as one can tell."""
        frames = self.said.split(HOME)
        whole = [frame for frame in frames[1:] if frame.count(b"\x1b[J")]
        return (
            whole[-1].decode().replace("\x1b[K", "").partition("\x1b[J")[0].replace("\r", "").split("\n")
            if whole
            else []
        )

    def row(self, words: str) -> str | None:
        return next((line for line in self.screen() if words in line), None)

    async def shows(self, *words: str) -> None:
        """Wait until these are on the screen, all at once."""
        async with asyncio.timeout(PATIENCE):
            while not all(self.row(word) for word in words):
                await self._more()

    async def hides(self, words: str) -> None:
        async with asyncio.timeout(PATIENCE):
            while HOME not in self.said or self.row(words):
                await self._more()

    async def becomes(self, rows: int) -> None:
        async with asyncio.timeout(PATIENCE):
            while len(self.screen()) != rows:
                await self._more()

    async def writes(self, words: bytes, since: int = 0) -> None:
        async with asyncio.timeout(PATIENCE):
            while words not in self.said[since:]:
                await self._more()

    async def _more(self) -> None:
        self._news.clear()
        await self._news.wait()

    def type(self, keys: bytes) -> None:
        os.write(self._ours, keys)

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self._theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def modes(self) -> list[object]:
        return termios.tcgetattr(self._theirs)

    async def sleeps(self) -> None:
        """Wait until the process is stopped."""
        async with asyncio.timeout(PATIENCE):
            while psutil.Process(self.process.pid).status() != psutil.STATUS_STOPPED:  # noqa: ASYNC110 nobody tells
                await asyncio.sleep(0.02)

    async def ended(self) -> int:
        async with asyncio.timeout(PATIENCE):
            status = await self.process.wait()
            await self.writes(OFF)
        return status

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._ours)
        os.close(self._ours)
        os.close(self._theirs)


@asynccontextmanager
async def top(url: str, home: Path, columns: int = 100, rows: int = 30) -> AsyncIterator[Top]:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "foreman", "top",
        stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        env={**environment(home), "FOREMAN_URL": url, "TERM": "dumb"},
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )  # fmt: skip
    terminal = Top(process, ours, theirs)
    try:
        yield terminal
        assert b"Traceback" not in terminal.said
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        terminal.close()


@asynccontextmanager
async def busy(tmp_path: Path) -> AsyncIterator[tuple[Foreman, list[str]]]:
    """A foreman with a job that runs for ever, and two that wait."""
    async with StubOllama() as stub, serving(stub.url, tmp_path / "foreman.db") as foreman:
        stub.script(GENERATE, Script(hold=0))
        jobs = [await handed(foreman, prompt("runs"))]
        await foreman.healthy(lambda report: report["running"] is not None)
        jobs += [await handed(foreman, prompt(text, "qwen3:8b")) for text in ("second", "third")]
        yield foreman, jobs
        stub.script(GENERATE, None)


async def test_a_job_is_chosen_and_cancelled_after_a_question(tmp_path: Path) -> None:
    async with busy(tmp_path) as (foreman, (running, second, third)), top(foreman.url, tmp_path) as terminal:
        await terminal.shows("q quit", running, second, third)
        terminal.type(DOWN + DOWN)
        await terminal.shows(f">  1    {second}")
        terminal.type(b"c")
        await terminal.shows(f"cancel qwen3:8b {second}? y or n")
        terminal.type(b"n")
        await terminal.hides("y or n")
        assert await state_of(foreman, second) == "queued"
        terminal.type(b"cy")
        await terminal.shows(f"job {second} is cancelled")
        assert await state_of(foreman, second) == "cancelled"
        # Its neighbour is chosen now, and nothing is asked of that.
        await terminal.shows(f">  1    {third}", f"{second}  cancelled")
        terminal.type(UP + UP + b"cy")
        await foreman.settled(running)
        assert await state_of(foreman, running) == "cancelled"
        assert await state_of(foreman, third) != "cancelled"
        terminal.type(b"q")
        assert await terminal.ended() == 0


async def test_p_pauses_and_resumes(tmp_path: Path) -> None:
    async with busy(tmp_path) as (foreman, _), top(foreman.url, tmp_path) as terminal:
        await terminal.shows("foreman   ok")
        terminal.type(b"p")
        await terminal.shows("foreman   paused", "the queue is paused")
        assert (await call(foreman, "GET", "/queue"))[1]["paused"] is True
        terminal.type(b"p")
        await terminal.shows("foreman   ok", "the queue goes on")
        assert (await call(foreman, "GET", "/queue"))[1]["paused"] is False
        terminal.type(b"q")
        assert await terminal.ended() == 0


async def test_the_screen_follows_the_size_of_the_terminal(tmp_path: Path) -> None:
    async with busy(tmp_path) as (foreman, (running, *_)), top(foreman.url, tmp_path) as terminal:
        await terminal.shows(running)
        assert len(terminal.screen()) == 30
        for columns, rows in ((50, 12), (120, 40), (80, 24)):
            terminal.resize(columns, rows)
            await terminal.becomes(rows)
            assert [line for line in terminal.screen() if len(line) > columns] == []
        terminal.type(b"q")
        assert await terminal.ended() == 0


@pytest.mark.parametrize(
    ("end", "status"), [(b"q", 0), (b"\x04", 0), (CTRL_C, 130), (signal.SIGTERM, 0), (signal.SIGHUP, 0)]
)
async def test_the_terminal_is_left_as_it_was_found(
    foreman: Foreman, tmp_path: Path, end: bytes | signal.Signals, status: int
) -> None:
    async with top(foreman.url, tmp_path) as terminal:
        await terminal.shows("q quit")
        assert terminal.modes() != terminal.before
        if isinstance(end, bytes):
            terminal.type(end)
        else:
            terminal.process.send_signal(end)
        assert await terminal.ended() == status
        assert terminal.modes() == terminal.before
        assert (terminal.said.count(ON), terminal.said.count(OFF)) == (1, 1)
        assert terminal.said.index(ON) < terminal.said.index(OFF)
        assert terminal.said.endswith(OFF)


async def test_ctrl_z_gives_the_terminal_back_until_it_goes_on(foreman: Foreman, tmp_path: Path) -> None:
    async with top(foreman.url, tmp_path) as terminal:
        await terminal.shows("q quit")
        # From the keyboard it comes to the foreground group; here nobody is there to bring it back but this test.
        terminal.process.send_signal(signal.SIGTSTP)
        await terminal.writes(OFF)
        assert terminal.modes() == terminal.before
        stopped = len(terminal.said)
        await terminal.sleeps()
        terminal.process.send_signal(signal.SIGCONT)
        await terminal.writes(ON, stopped)
        await terminal.writes(b"q quit", stopped)
        terminal.type(b"q")
        assert await terminal.ended() == 0
        assert terminal.modes() == terminal.before


async def test_a_foreman_that_restarts_or_hangs_is_waited_for_and_q_still_leaves(tmp_path: Path) -> None:
    db = tmp_path / "foreman.db"
    async with (
        StubOllama() as stub,
        serving(stub.url, db) as foreman,
        top(foreman.url, tmp_path) as terminal,
    ):
        await terminal.shows("q quit")
        await foreman.kill()
        await terminal.shows("foreman does not answer; its jobs are kept")
        async with serving(stub.url, db, listen=foreman.url.removeprefix("http://")) as again:
            await terminal.hides("foreman does not answer")
            again.send(signal.SIGSTOP)
            terminal.type(b"pq")
            assert await terminal.ended() == 0
            again.send(signal.SIGCONT)


async def test_without_a_foreman_it_ends_in_one_line(tmp_path: Path) -> None:
    async with top("http://127.0.0.1:1", tmp_path) as terminal:
        async with asyncio.timeout(PATIENCE):
            assert await terminal.process.wait() == 3
        await terminal.writes(b"does not answer at http://127.0.0.1:1 (Connection refused)\r\n")
        assert (ON in terminal.said, terminal.said.count(b"\n")) == (False, 1)


@pytest.mark.parametrize(("words", "told"), [((), "needs a terminal"), (("--json",), "foreman status --json")])
async def test_for_programs_there_is_status(words: tuple[str, ...], told: str, tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "foreman", "top", "--url", "http://127.0.0.1:1", *words,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env=environment(tmp_path),
    )  # fmt: skip
    async with asyncio.timeout(PATIENCE):
        out, talk = await process.communicate()
    assert (process.returncode, out, talk.decode().count("\n")) == (2, b"", 1)
    assert told in talk.decode()
