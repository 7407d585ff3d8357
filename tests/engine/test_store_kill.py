"""kill -9 at any moment: what was acknowledged stays, nothing runs again after its end, nothing is half there."""

import random
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from foreman.core.job import Next
from foreman.engine.sqlite import SqliteStore
from tests.engine.stored import done, failed

ROOT = Path(__file__).parents[2]
KILLS = 20

# Eight clients submit, one worker works, one client cancels; each tells on stdout what it was told.
CHILD = """
import asyncio, os, sys
from pathlib import Path
from foreman.core.job import Next, JobState
from foreman.engine.sqlite import SqliteStore
from tests.engine.stored import done, job_id, new_job
from tests.engine.test_store_kill import answer_to, question

def tell(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

async def client(store, number):
    while True:
        number += 8
        tell("begins", job_id(number))
        seq = await store.submit(new_job(number, body=question(job_id(number)), max_attempts=4))
        tell("submitted", job_id(number))
        if number % 5 == 0:
            tell("cancel", await store.cancel(job_id(number), 7), job_id(number))

async def worker(store):
    claim = None
    while True:
        claim = claim or await store.claim(Next(), 1)
        if claim is None:
            await asyncio.sleep(0)
            continue
        assert claim.payload.body == question(claim.job.id)
        tell("runs", claim.job.id, claim.job.seq)
        store.note_working(claim.job.seq, 2)
        finished = await store.finish(claim.job.seq, done(body=answer_to(claim.job.id)), Next())
        tell("finished", finished.state, claim.job.id)
        claim = finished.next

async def main(path, boot):
    tell("opening")
    async with SqliteStore.open(path, f"boot-{boot}") as store:
        await store.recover(3, drop_attached=False)
        tell("recovered")
        await asyncio.gather(worker(store), *(client(store, boot * 1_000_000 + n) for n in range(8)))

asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
"""


def question(job: str) -> bytes:
    return job.encode() * (1 + int(job[-2:]))


def answer_to(job: str) -> bytes:
    return f"the answer to {job}\n".encode() * (1 + 5 * int(job[-2:]))


def killed_after(path: Path, boot: int, lines: int) -> list[list[str]]:
    """What a child told until it was killed, right after it had told so many lines."""
    command = [sys.executable, "-c", CHILD, str(path), str(boot)]
    told = []
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        for line in child.stdout:
            told.append(line.split())
            if len(told) == lines:
                child.kill()
    assert child.returncode == -signal.SIGKILL
    return told


def rows(path: Path, sql: str) -> Iterator[tuple[str, ...]]:
    with closing(sqlite3.connect(path)) as db:
        yield from db.execute(sql).fetchall()


async def test_kill_9_at_any_moment(tmp_path: Path) -> None:
    path = tmp_path / "foreman.db"
    chance = random.Random(9)
    begun: set[str] = set()
    submitted: set[str] = set()
    ends: dict[str, str] = {}
    for boot in range(1, KILLS + 1):
        ran: list[int] = []
        for event, *words in killed_after(path, boot, chance.choice((1, 2, 3, 20, 100, 300))):
            job = words[-1] if words else ""
            if event == "begins":
                begun.add(job)
            elif event == "submitted":
                submitted.add(job)
            elif event == "runs":
                assert words[0] not in ends, "a job that had ended ran again"
                ran.append(int(words[1]))
            elif event == "finished" or (event == "cancel" and words[0] == "cancelled"):
                assert ends.setdefault(job, words[0]) == words[0], "a job ended twice"
        assert ran == sorted(ran), "jobs ran in the order of arrival, the one in flight at the kill first"
    assert len(submitted) > 100
    assert {"done", "cancelled"} <= set(ends.values())

    async with SqliteStore.open(path, "last") as store:
        await store.recover(4, drop_attached=False)
        kept = {row[0]: row[1] for row in rows(path, "SELECT id, state FROM jobs")}
        assert submitted <= kept.keys() <= begun, "none lost, none invented"
        assert {job: kept[job] for job in ends} == ends
        assert set(kept.values()) <= {"queued", "done", "cancelled", "failed"}
        for job in ends:
            answer = await store.answer(job)
            assert (answer and answer.body) == (answer_to(job) if ends[job] == "done" else None)
        claim = await store.claim(Next(), 5)
        while claim is not None:
            assert claim.payload.body == question(claim.job.id)
            claim = (await store.finish(claim.job.seq, failed() if claim.job.seq % 2 else done(), Next())).next
    assert list(rows(path, "PRAGMA integrity_check")) == [("ok",)]
    assert list(rows(path, "PRAGMA foreign_key_check")) == []
    unfinished = "SELECT id FROM jobs WHERE state NOT IN ('done', 'failed', 'cancelled')"
    halves = "SELECT id FROM jobs WHERE seq NOT IN (SELECT seq FROM payloads)"
    open_tries = "SELECT seq FROM attempts WHERE ended_at IS NULL"
    bounded = "SELECT id FROM jobs WHERE attempts > max_attempts"
    assert [list(rows(path, sql)) for sql in (unfinished, halves, open_tries, bounded)] == [[], [], [], []]
