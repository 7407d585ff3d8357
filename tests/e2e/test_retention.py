"""How jobs leave: by age, by size, by hand; and how they stay."""

import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from foreman.testing import StubOllama
from tests.e2e.client import chat, post
from tests.e2e.own import GENERATE, call, handed, prompt
from tests.e2e.process import Foreman, serving
from tests.e2e.stored import accepted, stored

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOUR_MS = 3_600_000


def aged(db: Path, hours: float) -> None:
    """Have all jobs be so much older. Nobody else may have the database open."""
    with closing(sqlite3.connect(db)) as connection, connection:
        connection.execute(
            "UPDATE jobs SET created_at=created_at-:ms, finished_at=finished_at-:ms", {"ms": int(hours * HOUR_MS)}
        )


async def gone(foreman: Foreman, *jobs: str) -> None:
    """Wait until these are forgotten."""
    for job in jobs:
        while (await call(foreman, "GET", f"/jobs/{job}"))[0] != 404:
            pass


async def test_old_jobs_leave_kept_ones_stay_and_the_file_shrinks(stub: StubOllama, tmp_path: Path) -> None:
    db = tmp_path / "foreman.db"
    # What cannot be compressed: the file must really grow.
    long = "".join(chr(0x4E00 + (n * n * 7919) % 20_000) for n in range(100_000))
    async with serving(stub.url, db) as foreman:
        jobs = [await handed(foreman, prompt(f"{n} {long}")) for n in range(30)]
        waits = await handed(foreman, prompt("waits"), not_before=7 * 86_400)
        await foreman.settled(*jobs)
        kept, released, *others = jobs
        for job in (kept, released):
            status, told, _ = await call(foreman, "PUT", f"/jobs/{job}/keep")
            assert (status, told["kept"]) == (200, True)
        assert (await call(foreman, "DELETE", f"/jobs/{released}/keep"))[1]["kept"] is False
        foreman.send(signal.SIGTERM)
        await foreman.ended()
    aged(db, 25)
    before = db.stat().st_size
    async with serving(stub.url, db, retention_hours=24) as foreman:
        young = await handed(foreman, prompt("young"))
        await gone(foreman, released, *others)
        await foreman.settled(young)
        assert (await post(foreman.url, *chat("llama3", "served meanwhile"))).whole
        foreman.send(signal.SIGTERM)
        await foreman.ended()
    assert {kept, waits, young} < set(accepted(db))
    assert len(accepted(db)) == 4
    assert db.stat().st_size < before / 3


async def test_the_oldest_leave_where_bodies_take_too_much_room(stub: StubOllama, tmp_path: Path) -> None:
    db = tmp_path / "foreman.db"
    async with serving(stub.url, db) as foreman:
        jobs = [await handed(foreman, prompt(f"{n} " + "x" * 300_000)) for n in range(8)]
        await foreman.settled(*jobs)
        await call(foreman, "PUT", f"/jobs/{jobs[0]}/keep")
        await foreman.kill()
    async with serving(stub.url, db, retention_bytes="1MiB") as foreman:
        await gone(foreman, *jobs[1:4])
        foreman.send(signal.SIGTERM)
        await foreman.ended()
    left = [job.id for job in stored(db)]
    # The kept one does not count; of the others the newest three fit into a mebibyte.
    assert left == [jobs[0], *jobs[-3:]]


async def test_jobs_are_forgotten_by_hand_and_their_keys_are_free_again(stub: StubOllama, foreman: Foreman) -> None:
    async def asked() -> str:
        _, _, headers = await call(foreman, "POST", GENERATE, prompt("once"), Idempotency_Key="mine")
        await foreman.settled(headers["X-Foreman-Job"])
        return str(headers["X-Foreman-Job"])

    first = await asked()
    assert await asked() == first
    waits = await handed(foreman, prompt("waits"), not_before=3600)
    status, problem, _ = await call(foreman, "DELETE", f"/jobs/{waits}?forget=true")
    assert (status, "queued" in problem["detail"]) == (409, True)
    assert (await call(foreman, "DELETE", f"/jobs/{first}?forget=true"))[0] == 204
    for method, path in (("GET", first), ("GET", f"{first}/response"), ("DELETE", f"{first}?forget=true")):
        assert (await call(foreman, method, f"/jobs/{path}"))[0] == 404
    assert await asked() != first
    status, problem, _ = await call(foreman, "DELETE", f"/jobs/{waits}?forget=perhaps")
    assert (status, "forget" in problem["detail"]) == (400, True)
