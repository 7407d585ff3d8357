"""`foreman doctor`: looks at everything around foreman that can be wrong, whether it runs or not.

It changes nothing, and asks the target only for what clients ask all day.
"""

import asyncio
import os
import resource
import shutil
import sqlite3
import stat
import textwrap
import time
from collections.abc import Iterator, Mapping, Sequence
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import orjson

from foreman.cli.api import Api, Json, reason_of
from foreman.cli.serve import loop_factory
from foreman.cli.terminal import Line, Piece, printable
from foreman.core.addresses import Address
from foreman.core.diagnosis import findings
from foreman.core.errors import NotReached, Refused
from foreman.core.findings import Answer, Facts, Finding, Level, Loaded
from foreman.engine.disk import models_folder
from foreman.engine.neighbours import ollama_server, strangers
from foreman.settings import Settings

ASK_SECONDS: Final = 5.0
# Where the words of a finding begin.
INDENT: Final = 19
MARKS: Final = {Level.OK: Piece("ok", "good"), Level.NOTE: Piece("note", "loading"), Level.BAD: Piece("BAD", "bad")}


async def examine(settings: Settings, api: Api, environ: Mapping[str, str]) -> list[Finding]:
    """All findings of this machine, this foreman and its target."""
    told = await _told_by_foreman(api)
    health, machine = told.pop("report", {}), told.pop("machine", {})
    own = _address(api.url)
    here = own.loopback or api.url == settings.listen.url
    # The one that runs may have been told of another than this command.
    url = health.get("target", {}).get("url") or settings.target
    at = _address(url)
    looked = await asyncio.to_thread(_looked, settings, environ, at, own) if here else {}
    facts = Facts(
        listen=api.url,
        here=here,
        target=url,
        target_here=at.loopback,
        swap=settings.swap,
        database=str(settings.db),
        disk_reserve=settings.disk_reserve,
        sqlite=_version(health.get("storage", {}).get("sqlite")) or sqlite3.sqlite_version_info,
        wanted_loop=settings.loop,
        max_queued=settings.max_queued,
        unknown=machine.get("unknown", ()),
        **told,
        **looked,
        **(await _seen_of_target(url) if here else {}),
    )
    return findings(facts)


def _looked(settings: Settings, environ: Mapping[str, str], target: Address, own: Address) -> dict[str, Any]:
    """What this machine itself shows; it may take a while."""
    server = ollama_server(target.port) if target.loopback else None
    told = None if server is None else server.environ
    folder = models_folder({**environ, **(told or {})}) if target.loopback else settings.db.parent
    return {
        "server": server,
        "strangers": strangers(target.port, own.port) if target.loopback else None,
        "modes": _modes(settings.db),
        "disk_folder": str(folder),
        "disk_free": _free(folder),
        "database_free": _free(settings.db.parent),
        "loop": _loop(settings.loop),
        "descriptors": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
    }


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


async def _told_by_foreman(api: Api) -> dict[str, Any]:
    """Whether one answers, and what: `report` is its health, `machine` its reading of the machine."""
    try:
        status, headers, text = await api.answer("/health", ASK_SECONDS)
    except NotReached as error:
        refused = isinstance(error.__cause__, aiohttp.ClientConnectorError)
        silent = isinstance(error.__cause__, TimeoutError) and not refused
        return {"answer": Answer.NOBODY if refused else Answer.SILENT if silent else Answer.STRANGER}
    said = _json(text)
    if {"status", "target", "queue"} <= said.keys():
        try:
            machine = await api.ask("GET", "/machine")
        except (Refused, NotReached):  # a key that may not; what it would tell is left out
            machine = {}
        return {"answer": Answer.FOREMAN, "health": str(said["status"]), "report": said, "machine": machine}
    if headers.get("Server") != "foreman" and 'realm="foreman"' not in headers.get("WWW-Authenticate", ""):
        return {"answer": Answer.STRANGER}
    # What follows the colon is for who writes programs.
    why = str(said.get("detail") or f"it answers with status {status}").partition(":")[0]
    return {"answer": Answer.LOCKED, "health": why}


async def _seen_of_target(url: str) -> dict[str, Any]:
    """What the target itself answers."""
    timeout = aiohttp.ClientTimeout(total=ASK_SECONDS)
    base = url.rstrip("/")
    try:
        async with aiohttp.ClientSession(timeout=timeout, trust_env=False) as session:
            before = time.time()
            async with session.get(f"{base}/api/version") as answer:
                version = _json(await answer.read()).get("version")
                told = answer.headers
            async with session.get(f"{base}/api/ps") as answer:
                loaded = _json(await answer.read()).get("models")
    except (aiohttp.ClientError, OSError) as error:
        return {"target_error": reason_of(error)}
    return {
        "target_version": version if isinstance(version, str) else None,
        "target_is_foreman": told.get("Server") == "foreman",
        "loaded": [_loaded(one) for one in loaded if isinstance(one, dict)] if isinstance(loaded, list) else [],
        "clock_off": _clock_off(told.get("Date"), before),
    }


def _loaded(told: Json) -> Loaded:
    sizes = (told.get(name) for name in ("size", "size_vram", "context_length"))
    return Loaded(str(told.get("name")), *(size if isinstance(size, int) else None for size in sizes))


def _clock_off(told: str | None, here: float) -> float | None:
    """By how much a clock is ahead that tells whole seconds."""
    try:
        off = None if told is None else parsedate_to_datetime(told).timestamp() - here
    except ValueError:  # no time at all
        return None
    return 0.0 if off is not None and -1.0 <= off <= 1.0 else off


def _json(text: bytes) -> Json:
    """The object in an answer; an empty one where it holds none."""
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _address(url: str) -> Address:
    at = urlsplit(url)
    return Address(at.hostname or "", at.port or (443 if at.scheme == "https" else 80))


def _version(told: object) -> tuple[int, ...]:
    return tuple(map(int, told.split("."))) if isinstance(told, str) else ()


def _modes(database: Path) -> Mapping[str, int] | None:
    """The permission bits of what is there; None where this user may not look."""
    found = {}
    for path in (database.with_name(database.name + tail) for tail in ("", "-wal", "-shm")):
        try:
            found[str(path)] = stat.S_IMODE(path.stat().st_mode)
        except FileNotFoundError:
            continue
        except OSError:
            return None
    return found if all(os.access(path, os.R_OK) for path in found) else None


def _free(folder: Path) -> int | None:
    there = next((path for path in (folder, *folder.parents) if os.path.exists(path)), folder)
    try:
        return shutil.disk_usage(there).free
    except OSError:
        return None


def _loop(wanted: str) -> str:
    loop = loop_factory(wanted)()
    try:
        return type(loop).__module__.partition(".")[0]
    finally:
        loop.close()
