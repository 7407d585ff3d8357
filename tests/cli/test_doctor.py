"""What doctor makes of what it hears: the pure half, and what foreman's port may answer."""

import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from foreman.cli import doctor
from foreman.cli.api import Api, reason_of
from foreman.cli.terminal import width
from foreman.core.findings import Answer, Finding, Level, Loaded

LONG = Finding(Level.BAD, "target", "does not answer at http://127.0.0.1:11434 " * 5, "start Ollama, or set " * 6)


@pytest.mark.parametrize("columns", [45, 80, 120])
def test_findings_fit_and_nothing_of_them_is_cut(columns: int) -> None:
    found = ["".join(piece.text for piece in line) for line in doctor.lines([LONG], columns)]
    assert max(map(width, found)) <= max(columns, doctor.INDENT + 20)
    assert found[0].startswith("BAD   target       does not answer")
    (first,) = [number for number, line in enumerate(found) if "-> " in line]
    text = [line[doctor.INDENT :] for line in found]
    assert " ".join(text[:first]) == LONG.said.strip()
    assert " ".join(text[first:]) == LONG.advice.strip()


def test_for_programs() -> None:
    assert doctor.as_json([Finding(Level.OK, "SQLite", "3.52")]) == {
        "findings": [{"level": "ok", "about": "SQLite", "said": "3.52", "advice": None}]
    }


@pytest.mark.parametrize(
    ("told", "here", "off"),
    [
        (None, 0.0, None),
        ("no time", 0.0, None),
        ("Thu, 01 Jan 1970 00:01:40 GMT", 100.9, 0.0),
        ("Thu, 01 Jan 1970 00:01:40 GMT", 90.0, 10.0),
        ("Thu, 01 Jan 1970 00:01:40 GMT", 160.0, -60.0),
    ],
)
def test_how_far_a_clock_is_off(told: str | None, here: float, off: float | None) -> None:
    assert doctor._clock_off(told, here) == off


def test_the_permissions_of_what_is_there(tmp_path: Path) -> None:
    db = tmp_path / "foreman.db"
    assert doctor._modes(db) == {}
    db.touch(0o600)
    (tmp_path / "foreman.db-wal").touch()
    (tmp_path / "foreman.db-wal").chmod(0o644)
    assert doctor._modes(db) == {str(db): 0o600, f"{db}-wal": 0o644}
    assert doctor._modes(tmp_path / "none" / "foreman.db") == {}
    # A folder that cannot be looked into, also by root: a file stands there.
    assert doctor._modes(db / "foreman.db") is None
    assert stat.S_IMODE(db.stat().st_mode) == 0o600


def test_what_is_free_where_a_folder_will_be(tmp_path: Path) -> None:
    assert (doctor._free(tmp_path / "not" / "yet") or 0) > 0


@asynccontextmanager
async def answering(status: int, body: Any, **headers: str) -> AsyncIterator[str]:
    """What answers every GET like this."""

    async def answer(_: web.Request) -> web.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.json_response(body, status=status, headers=named)

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


HEALTH = {"status": "ok", "target": {}, "queue": {}}
REALM = 'Bearer realm="foreman"'


@pytest.mark.parametrize(
    ("status", "body", "headers", "answer", "health"),
    [
        (200, HEALTH, {}, Answer.FOREMAN, "ok"),
        (503, {**HEALTH, "status": "storage"}, {}, Answer.FOREMAN, "storage"),
        (
            401,
            {"detail": "a key is needed: so"},
            {"WWW_Authenticate": REALM},
            Answer.LOCKED,
            "a key is needed",
        ),
        (
            403,
            {"detail": "the scope is missing"},
            {"Server": "foreman"},
            Answer.LOCKED,
            "the scope is missing",
        ),
        (502, None, {"Server": "foreman"}, Answer.LOCKED, "it answers with status 502"),
        (401, {}, {"WWW_Authenticate": 'Basic realm="printer"'}, Answer.STRANGER, None),
        (404, "404 page not found", {}, Answer.STRANGER, None),
        (200, {"status": "ok"}, {}, Answer.STRANGER, None),
    ],
)
async def test_what_answers_at_its_port(
    status: int, body: Any, headers: dict[str, str], answer: Answer, health: str | None
) -> None:
    async with answering(status, body, **headers) as url, Api(url, None) as api:
        told = await doctor._told_by_foreman(api)
    assert (told["answer"], told.get("health")) == (answer, health)


async def test_nobody_at_its_port() -> None:
    async with Api("http://127.0.0.1:1", None) as api:
        assert await doctor._told_by_foreman(api) == {"answer": Answer.NOBODY}


@pytest.mark.parametrize(
    ("body", "version", "loaded"),
    [
        ({"version": "0.12.0", "models": []}, "0.12.0", []),
        ({"version": 3, "models": {}}, None, []),
        ([], None, []),
        (
            {"version": "1.0", "models": [{"name": "m", "size": 5, "size_vram": 4, "context_length": "?"}, 7]},
            "1.0",
            [Loaded("m", 5, 4, None)],
        ),
    ],
)
async def test_what_the_target_answers(body: Any, version: str | None, loaded: list[Loaded]) -> None:
    async with answering(200, body) as url:
        seen = await doctor._seen_of_target(url)
    assert (seen["target_version"], seen["loaded"], seen["target_is_foreman"]) == (version, loaded, False)
    assert seen["clock_off"] == 0.0


async def test_a_target_that_is_not_there_or_a_foreman() -> None:
    assert await doctor._seen_of_target("http://127.0.0.1:1") == {"target_error": "Connection refused"}
    async with answering(200, {"version": "1.0"}, Server="foreman") as url:
        assert (await doctor._seen_of_target(url))["target_is_foreman"] is True


def test_errors_are_in_the_words_of_the_system() -> None:
    assert reason_of(TimeoutError()) == "no answer in time"
    assert reason_of(aiohttp.ServerDisconnectedError()) == "Server disconnected"
