"""What people say, and what opens: in no log, no page of another key, no error, and after its time in no file."""

import base64
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
import pytest

from foreman.testing import Script, StubOllama
from tests.e2e import raw
from tests.e2e.own import call
from tests.e2e.process import Foreman, serving
from tests.e2e.test_keys import bearer, command
from tests.e2e.test_retention import gone

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHAT = "/api/chat"


def token(place: str) -> str:
    return f"canary-{place}-{uuid4().hex}"


PLACES = {name: token(name) for name in ("prompt", "answer", "image", "tool", "cookie", "header", "error", "query")}
IMAGE = base64.b64encode(PLACES["image"].encode() * 3).decode()


def body(**more: Any) -> dict[str, Any]:
    call = {"function": {"name": "look", "arguments": {"at": PLACES["tool"]}}}
    messages = [
        {"role": "user", "content": PLACES["prompt"], "images": [IMAGE]},
        {"role": "assistant", "content": "", "tool_calls": [call]},
    ]
    return {"model": "llama3", "messages": messages, "stream": False, **more}


def answering() -> Script:
    said = {"model": "llama3", "message": {"role": "assistant", "content": PLACES["answer"]}, "done": True}
    return Script(status=200, headers={"Content-Type": "application/json"}, body=orjson.dumps(said))


def canaries(keys: dict[str, str]) -> Iterator[tuple[str, bytes]]:
    """Every token as it could lie somewhere."""
    for place, text in {**PLACES, **keys, "image as sent": IMAGE}.items():
        yield place, text.encode()


def clean(keys: dict[str, str], where: str, content: bytes) -> None:
    for place, text in canaries(keys):
        assert text not in content, f"the {place} is in {where}"


async def asked_with_all_of_them(foreman: Foreman, key: str) -> list[str]:
    """Jobs of every end whose requests hold the tokens: their ids."""
    headers = {**bearer(key), "Cookie": f"session={PLACES['cookie']}", "X-Whatever": PLACES["header"]}
    jobs = []
    for path in (CHAT, CHAT, CHAT):
        _, _, told = await call(foreman, "POST", f"{path}?q={PLACES['query']}", body(), **headers)
        jobs.append(told["X-Foreman-Job"])
    waits = {"path": CHAT, "body": body(), "not_before": 3600}
    waiting = (await call(foreman, "POST", "/jobs", waits, **headers))[1]["id"]
    await call(foreman, "DELETE", f"/jobs/{waiting}", **headers)
    return [*jobs, waiting]


async def test_nothing_that_was_said_and_nothing_that_opens_is_found_elsewhere(
    stub: StubOllama, tmp_path: Path
) -> None:
    db = tmp_path / "foreman.db"
    made = [(await command(db, "keys", "create", f"--scopes={scopes}"))[1].strip() for scopes in ("infer,read",) * 2]
    admin = (await command(db, "keys", "create", "--scopes=admin"))[1].strip()
    keys = {"key": made[0], "other key": made[1], "admin key": admin}
    stub.script(CHAT, [answering(), Script(status=400, error=PLACES["error"]), Script()])
    async with serving(stub.url, db, log_level="debug") as foreman:
        jobs = await asked_with_all_of_them(foreman, made[0])
        await foreman.settled(*jobs)
        # They are where they belong.
        assert PLACES["answer"].encode() in (await raw.ask(
            foreman.url, f"GET /jobs/{jobs[0]}/response", f"X-Api-Key: {made[0]}"
        )).body  # fmt: skip
        assert PLACES["prompt"].encode() in files(db)
        for path in (
            "/jobs",
            "/queue",
            "/health",
            "/machine",
            "/machine/reloads",
            "/metrics",
            f"/jobs/{jobs[0]}",
            "/keys",
        ):
            for key in (made[1], "fm_wrong", admin):
                if key != admin or path not in ("/jobs", f"/jobs/{jobs[0]}"):
                    answer = await raw.ask(foreman.url, f"GET {path}", f"X-Api-Key: {key}")
                    clean(keys, path, answer.body + repr(answer.headers).encode())
        wrong = await raw.ask(foreman.url, f"POST {CHAT}", f"Authorization: Bearer {PLACES['header']}", body=b"{}")
        clean(keys, "a refusal", wrong.body + repr(wrong.headers).encode())
        # The target gets the prompt, and nothing that opens.
        sent = [entry for entry in stub.ledger.entries if PLACES["prompt"].encode() in entry.body]
        assert len(sent) == 3
        for entry in sent:
            opens = (*keys.values(), PLACES["cookie"])
            assert not any(text in repr(entry.headers) or text.encode() in entry.body for text in opens)
        for job in jobs:
            assert (await call(foreman, "DELETE", f"/jobs/{job}?forget=true", **bearer(made[0])))[0] == 204
        foreman.send(signal.SIGTERM)
        assert await foreman.ended() == 0
    clean(keys, "the log", "\n".join(foreman.lines).encode())
    clean(keys, "the files of the database", files(db))


async def test_nothing_is_left_in_the_files_when_the_time_is_over(stub: StubOllama, tmp_path: Path) -> None:
    db = tmp_path / "foreman.db"
    stub.script(CHAT, [answering()])
    async with serving(stub.url, db, retention_hours=0) as foreman:
        told = (await call(foreman, "POST", CHAT, body()))[2]
        foreman.send(signal.SIGTERM)
        await foreman.ended()
    async with serving(stub.url, db, retention_hours=0) as foreman:
        await gone(foreman, told["X-Foreman-Job"])
        foreman.send(signal.SIGTERM)
        await foreman.ended()
    clean({}, "the files of the database", files(db))
    clean({}, "the log", "\n".join(foreman.lines).encode())


def files(db: Path) -> bytes:
    """All that lies beside the database, and itself."""
    return b"".join(path.read_bytes() for path in db.parent.rglob("*") if path.is_file())
