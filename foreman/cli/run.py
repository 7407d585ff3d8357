"""`foreman run`: a command that has a slot of a lane for as long as it runs.

The command is a child in the same process group, with this process's own standard streams: the terminal sends Ctrl-C
and Ctrl-Z to both, and this process leaves them to the command. Heartbeats are sent by another program, see keeper.py.
"""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

import orjson

from foreman.cli import keeper
from foreman.cli.api import Api, Json
from foreman.cli.ask import address
from foreman.cli.run_flags import RunAsk
from foreman.cli.standing import Cancelled, Standing
from foreman.config import Configured
from foreman.core.errors import NotReached, Refused
from foreman.core.submission import GATE
from foreman.log import escape

CANCELLED: Final = 5
NOT_EXECUTABLE: Final = 126
NOT_FOUND: Final = 127
# How long a foreman that does not answer is told that the slot is free; it finds out by itself after that.
RELEASE_SECONDS: Final = 5.0
RETRY_SECONDS: Final = 0.25
# The terminal sends these to the command as well; these are sent to this process alone.
SHARED: Final = (signal.SIGINT, signal.SIGQUIT)
PASSED_ON: Final = (signal.SIGTERM, signal.SIGHUP)


def run(ask: RunAsk, configured: Configured, environ: Mapping[str, str] = os.environ) -> int:
    """Wait, run the command, and return its exit status. Raises NotReached, Refused and ConfigError."""
    url, key = address(ask.url, configured, environ)
    try:
        slot = asyncio.run(_granted(ask, url, key, environ))
    except Cancelled as error:
        _say(str(error))
        return CANCELLED
    status = None
    try:
        with _passing_on() as started, _kept(slot, url, key) as mark:
            status = _run(ask.command, started, mark)
    finally:
        asyncio.run(_release(slot["id"], status, url, key))
    return status


async def _granted(ask: RunAsk, url: str, key: str | None, environ: Mapping[str, str]) -> Json:
    wanted: Json = {"lane": ask.lane, "label": ask.label, "memory": ask.memory, "expiry_seconds": ask.expiry}
    if ask.force:
        wanted["override"] = GATE
    async with Api(url, key) as api:
        return await Standing(api, wanted, sys.stderr, environ).granted()


def _run(command: Sequence[str], started: Callable[[int], None], mark: int) -> int:
    try:
        # It inherits the mark, so that its end is noticed even where this process has none that could tell of it.
        child = subprocess.Popen(command, pass_fds=(mark,))  # noqa: S603 that is what it is for
    except FileNotFoundError as error:
        _say(f"{command[0]}: {error.strerror}")
        return NOT_FOUND
    except (OSError, ValueError) as error:
        _say(f"{command[0]}: {getattr(error, 'strerror', None) or error}")
        return NOT_EXECUTABLE
    started(child.pid)
    status = child.wait()
    return status if status >= 0 else 128 - status


@contextmanager
def _passing_on() -> Iterator[Callable[[int], None]]:
    """Signals are the command's; what came before it was there is sent to it when it is."""
    child: list[int] = []
    early: list[int] = []

    def pass_on(number: int, _: FrameType | None) -> None:
        if child:
            os.kill(child[0], number)
        else:
            early.append(number)

    def started(pid: int) -> None:
        child.append(pid)
        for missed in early:
            os.kill(pid, missed)

    before: dict[int, Any] = {}
    for number in (*SHARED, *PASSED_ON):
        # What is ignored already (nohup, a job in the background of a script) stays so for the command too.
        if signal.getsignal(number) is not signal.SIG_IGN:
            handler = _leave_it if number in SHARED else pass_on
            before[number] = signal.signal(number, handler)
    try:
        yield started
    finally:
        for restored, handler in before.items():
            signal.signal(restored, handler)


def _leave_it(number: int, frame: FrameType | None) -> None:
    """The command has got it too."""


@contextmanager
def _kept(slot: Json, url: str, key: str | None) -> Iterator[int]:
    """The slot is kept by heartbeats in the block; gives the file that must be open for as long as it is wanted."""
    told = {
        "url": f"{url.rstrip('/')}/slots/{slot['id']}",
        "key": key,
        "every": slot["heartbeat_seconds"],
        "parent": os.getpid(),
    }
    # A session of its own: a command that is stopped keeps its memory, and so its slot.
    beats = subprocess.Popen(  # noqa: S603
        [sys.executable, "-I", "-S", keeper.__file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    if beats.stdin is None:
        raise RuntimeError("the keeper has no standard input")
    try:
        beats.stdin.write(orjson.dumps(told) + b"\n")
        beats.stdin.flush()
        yield beats.stdin.fileno()
    finally:
        beats.kill()
        beats.wait()
        beats.stdin.close()


async def _release(slot_id: str, status: int | None, url: str, key: str | None) -> None:
    """Give the slot back. A foreman that does not answer frees it by itself."""
    until = time.monotonic() + RELEASE_SECONDS
    async with Api(url, key) as api:
        while True:
            try:
                await api.ask("DELETE", f"/slots/{slot_id}", body={"exit_status": status})
                return
            except (NotReached, Refused) as error:
                if isinstance(error, Refused) and "not held" in str(error):
                    return
                if time.monotonic() > until:
                    _say(f"the slot could not be given back: {error}")
                    return
                await asyncio.sleep(RETRY_SECONDS)


def _say(text: str) -> None:
    print(f"foreman: {escape(text, 1000)}", file=sys.stderr)
