"""`foreman doctor`: looks at everything around foreman that can be wrong, whether it runs or not.

It changes nothing, and asks the target only for what clients ask all day.
"""

import asyncio
import os
import resource
import socket
import sqlite3
import stat
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import aiohttp
import orjson
import psutil  # type: ignore[import-untyped]

from foreman.cli.api import Api, Json
from foreman.cli.serve import loop_factory
from foreman.cli.terminal import Line, Piece, printable
from foreman.core.addresses import Address
from foreman.core.diagnosis import Facts, Finding, Level, findings
from foreman.core.errors import NotReached, Refused
from foreman.engine.disk import models_folder
from foreman.settings import Settings

ASK_SECONDS: Final = 5.0
# Where the words of a finding begin.
INDENT: Final = 22
MARKS: Final = {Level.OK: Piece("ok", "good"), Level.NOTE: Piece("note", "loading"), Level.BAD: Piece("BAD", "bad")}
# What the process of an Ollama server is called.
SERVER: Final = ("ollama", "serve")
T = TypeVar("T")


async def examine(settings: Settings, api: Api, environ: Mapping[str, str]) -> list[Finding]:
    """All findings of this machine, this foreman and its target."""
    health, machine = await _asked(api, "/health"), await _asked(api, "/machine")
    # The one that runs may have been told of another than this command.
    url = settings.target if health is None or "target" not in health else health["target"]["url"]
    at = urlsplit(url)
    here = Address(at.hostname or "", at.port or 0).loopback
    folder = models_folder(environ) if here else settings.db.parent
    port = at.port or (443 if at.scheme == "https" else 80)
    facts = Facts(
        sqlite=sqlite3.sqlite_version_info,
        loop=_loop(settings.loop),
        wanted_loop=settings.loop,
        target=url,
        target_here=here,
        target_env=await asyncio.to_thread(_server_environ) if here else None,
        strangers=await asyncio.to_thread(_strangers, port) if here else None,
        listen=api.url,
        running=health is not None,
        health=None if health is None else health["status"],
        taken=health is None and _answers(api.url),
        database=str(settings.db),
        modes=_modes(settings.db),
        disk_free=_tried(lambda: _free(folder)),
        disk_reserve=settings.disk_reserve,
        disk_folder=str(folder),
        descriptors=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        max_queued=settings.max_queued,
        unknown=[] if machine is None else machine["unknown"],
        swap=settings.swap,
        **await _seen_of_target(url),
    )
    return findings(facts)


def lines(found: Sequence[Finding], columns: int) -> Iterator[Line]:
    """Each finding, and below it what to do, in lines that fit."""
    room = max(columns - INDENT, 20)
    for one in found:
        said, advice = (textwrap.wrap(printable(text), room) for text in (one.said, one.advice))
        mark = MARKS[one.level]
        yield Piece(f"{mark.text:<6}", mark.style), Piece(f"{one.about:<{INDENT - 6}}"), Piece(said[0])
        for line in said[1:]:
            yield (Piece(" " * INDENT + line),)
        for number, line in enumerate(advice):
            yield Piece(" " * (INDENT - 3)), Piece("   " if number else "-> ", "bold"), Piece(line, "bold")


def as_json(found: Sequence[Finding]) -> Json:
    names = ("level", "about", "said", "advice")
    return {"findings": [{name: getattr(one, name) or None for name in names} for one in found]}


async def _asked(api: Api, path: str) -> Json | None:
    """What foreman answers; None where none does, or it will not."""
    try:
        return await api.ask("GET", path)
    except Refused as error:
        return orjson.loads(b"{}") if path != "/health" else {"status": f"not telling ({error})"}
    except NotReached:
        return None


async def _seen_of_target(url: str) -> dict[str, Any]:
    """What the target itself answers."""
    timeout = aiohttp.ClientTimeout(total=ASK_SECONDS)
    try:
        async with aiohttp.ClientSession(timeout=timeout, trust_env=False) as session:
            before = time.time()
            async with session.get(f"{url.rstrip('/')}/api/version") as answer:
                said = orjson.loads(await answer.read())
                version = said.get("version") if isinstance(said, dict) else None
                told = answer.headers.get("Date")
                is_foreman = answer.headers.get("Server") == "foreman"
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
        return {"target_error": getattr(getattr(error, "os_error", None), "strerror", None) or _why(error)}
    # The header tells whole seconds.
    off = None if told is None else parsedate_to_datetime(told).timestamp() - before
    return {
        "target_version": version,
        "target_is_foreman": is_foreman,
        "clock_off": None if off is None or -1.0 <= off <= 1.0 else off,
    }


def _why(error: Exception) -> str:
    return "no answer in time" if isinstance(error, TimeoutError) else str(error) or type(error).__name__


def _server_environ() -> Mapping[str, str] | None:
    """What the Ollama of this machine was started with, where this user may see it."""
    for process in psutil.process_iter(("cmdline",)):
        words = [word.rpartition("/")[2].lower() for word in process.info["cmdline"] or ()]
        if tuple(words[:2]) == SERVER:
            return _tried(process.environ)
    return None


def _strangers(port: int) -> Sequence[str] | None:
    """The programs that are connected to a port of this machine, but for foreman and whoever listens there."""
    connections = _tried(lambda: psutil.net_connections("tcp"))
    if connections is None:
        return None
    serving = {found.pid for found in connections if found.status == psutil.CONN_LISTEN and found.laddr.port == port}
    pids = {
        found.pid
        for found in connections
        if found.raddr and found.raddr.port == port and found.status == psutil.CONN_ESTABLISHED
    }
    if None in pids:
        return None
    return sorted({name for pid in pids - serving if "foreman" not in (name := _name(pid))})


def _name(pid: int) -> str:
    words = _tried(lambda: psutil.Process(pid).cmdline())
    return " ".join(words)[:60] if words else f"process {pid}"


def _answers(url: str) -> bool:
    """Whether anything listens there."""
    at = urlsplit(url)
    try:
        socket.create_connection((at.hostname or "", at.port or 80), timeout=1.0).close()
    except OSError:
        return False
    return True


def _modes(database: Path) -> Mapping[str, int]:
    files = (database.with_name(database.name + tail) for tail in ("", "-wal", "-shm"))
    found = {}
    for path in files:
        mode = _tried(lambda path=path: stat.S_IMODE(path.stat().st_mode))  # type: ignore[misc]
        if mode is not None:
            found[str(path)] = mode
    return found


def _free(folder: Path) -> int:
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def _loop(wanted: str) -> str:
    loop = loop_factory(wanted)()
    try:
        return type(loop).__module__.partition(".")[0]
    finally:
        loop.close()


def _tried(look: Callable[[], T]) -> T | None:
    try:
        return look()
    except (OSError, psutil.Error):
        return None
