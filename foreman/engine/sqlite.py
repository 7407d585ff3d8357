"""The store in one SQLite file: writes go through the one writer thread, reads through a connection that cannot write.

Closing runs the opening backwards, reader first, also when it stopped half way: an aiosqlite connection left open would
keep the process from ever ending, and the last connection to close is the one that checkpoints.
"""

import asyncio
import json
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, Self

import aiosqlite

from foreman.core.errors import StorageFailed, StoreUnusable
from foreman.core.estimate import KEPT_SAMPLES, Sample
from foreman.core.headroom import LoadSeen
from foreman.core.job import Answer, Chosen, Claim, HandBack, Job, JobState, LoadKey, NewJob, Next, Outcome, Payload
from foreman.core.lanes import Lane
from foreman.core.order import Waiting
from foreman.core.upstreams import MARK
from foreman.engine import database, marks, statements, steps
from foreman.engine.store import Attempt, Finished, JobFilter, StoreUsage, Submitted
from foreman.engine.writer import Writer

# Steps with bodies above this many bytes are committed alone, so that small ones do not wait for them.
BIG: Final = 1024 * 1024
# Answers above this many bytes are (de)compressed in a thread of their own.
SLOW: Final = 64 * 1024
# More rows than this are turned into values in a thread of their own.
MANY: Final = 500


class SqliteStore:
    """A Store; see there. `failed` resolves when it can never write again: the process had better end."""

    def __init__(
        self, path: Path, boot_id: str, writer: Writer, reader: aiosqlite.Connection, stack: AsyncExitStack
    ) -> None:
        self._path = path
        self._boot_id = boot_id
        self._writer = writer
        self._reader = reader
        self._stack = stack
        self._inode = path.stat().st_ino
        self._notes: dict[int, steps.FirstByte] = {}  # of the jobs in flight
        self.failed = writer.failed
        self.commits = writer.commits

    @classmethod
    @asynccontextmanager
    async def open(cls, path: Path, boot_id: str) -> AsyncIterator[Self]:
        """Open or create the database. `boot_id` names this process and is never used again.

        Raises StoreUnusable; see `database.opened`.
        """
        async with AsyncExitStack() as stack:
            writer = Writer(partial(database.opened, path), path.with_name(path.name + "-wal"))
            stack.push_async_callback(writer.close)
            await writer.open()
            try:
                reader = await stack.enter_async_context(aiosqlite.connect(path, isolation_level=None))
                for setting in database.READER_SETTINGS:
                    await reader.execute_fetchall(setting)
            except sqlite3.Error as error:
                raise StoreUnusable(f"cannot open the database {path} for reading: {error}") from error
            yield cls(path, boot_id, writer, reader, stack)

    async def close(self) -> None:
        """Finish what was handed over and close; leaving `open` does the same. Safe to call twice."""
        await self._stack.aclose()

    async def submit(self, job: NewJob, claimed_at: int | None = None) -> Submitted:
        alone = len(job.payload.body) > BIG
        if claimed_at is None:
            return await self._writer.run(partial(steps.submit, job=job), alone=alone)
        if job.idem_key is not None:
            raise ValueError("a job with a key may be there already, so it cannot be claimed unseen")
        step = partial(steps.submit_claimed, owner=self._boot_id, job=job, now=claimed_at)
        return await self._writer.run(step, alone=alone)

    async def submit_many(self, jobs: Sequence[NewJob]) -> Sequence[int]:
        if any(job.idem_key is not None for job in jobs):
            raise ValueError("jobs with a key are submitted one by one")
        size = sum(len(job.payload.body) for job in jobs)
        return await self._writer.run(partial(steps.submit_many, jobs=tuple(jobs)), alone=size > BIG)

    async def claim(self, wanted: Next, now: int) -> Claim | None:
        return await self._writer.run(partial(steps.claim, owner=self._boot_id, wanted=wanted, now=now))

    async def finish(self, seq: int, outcome: Outcome, claim: Next | Chosen | None = None) -> Finished:
        body = b"" if outcome.answer is None else outcome.answer.body
        if len(body) > SLOW:
            # Shielded, because packing comes before the handing over.
            return await asyncio.shield(self._finish_slowly(seq, outcome, body, claim))
        packed = None if outcome.answer is None else steps.pack(body)
        return await self._finish(seq, outcome, packed, claim)

    async def _finish_slowly(self, seq: int, outcome: Outcome, body: bytes, claim: Next | Chosen | None) -> Finished:
        return await self._finish(seq, outcome, await asyncio.to_thread(steps.pack, body), claim)

    async def _finish(
        self, seq: int, outcome: Outcome, packed: tuple[int, bytes] | None, claim: Next | Chosen | None
    ) -> Finished:
        note = self._untold(seq)
        step = partial(
            steps.finish, owner=self._boot_id, seq=seq, outcome=outcome, packed=packed, following=claim,
            first_byte_at=None if note is None else note.at,
        )  # fmt: skip
        try:
            return await self._writer.run(step, alone=packed is not None and len(packed[1]) > BIG)
        except Exception:
            if note is not None:  # for the next try
                self._notes[seq] = note
            raise

    async def hand_back(self, seq: int, back: HandBack, claim: Next | None = None) -> Finished:
        self._notes.pop(seq, None)
        step = partial(steps.hand_back, owner=self._boot_id, seq=seq, back=back, following=claim)
        return await self._writer.run(step)

    def note_working(self, seq: int, at: int) -> None:
        note = self._notes.get(seq)
        if note is None or note.told:
            self._notes[seq] = note = steps.FirstByte(seq, at)
            self._writer.later(partial(steps.note_working, owner=self._boot_id, note=note))

    def _untold(self, seq: int) -> steps.FirstByte | None:
        """The note the writer has not come to; it need not any more. It is of this attempt: a claim is a write too."""
        note = self._notes.pop(seq, None)
        if note is None or note.told:
            return None
        note.moot = True
        return note

    async def cancel(self, id: str, at: int) -> JobState | None:  # noqa: A002
        return await self._writer.run(partial(steps.cancel, id_=id, at=at))

    async def refuse(self, load_key: str, code: str, error: str, at: int) -> Sequence[str]:
        return await self._writer.run(partial(steps.refuse, load_key=load_key, code=code, error=error, at=at))

    async def override(self, id: str, what: str) -> JobState | None:  # noqa: A002
        return await self._writer.run(partial(marks.override, id_=id, what=what))

    async def keep_forecast(self, loaded: LoadSeen) -> None:
        await self._writer.run(partial(steps.keep_forecast, loaded=loaded), durable=False)

    async def forecasts(self, limit: int) -> Sequence[LoadSeen]:
        return [LoadSeen(*row) for row in await self._read(statements.FORECASTS, limit)]

    async def rehearse(self, job: NewJob) -> None:
        await self._writer.run(partial(steps.rehearse, job=job))

    async def recover(self, now: int, drop_attached: bool) -> int:
        step = partial(steps.recover, owner=self._boot_id, now=now, drop_attached=drop_attached)
        return await self._writer.run(step)

    async def active(self) -> Sequence[Job]:
        return [steps.job_of(row) for row in await self._read(statements.ACTIVE)]

    async def keep(self, id: str, kept: bool) -> bool:  # noqa: A002
        return await self._writer.run(partial(marks.keep, id_=id, kept=kept))

    async def forget(self, id: str) -> bool:  # noqa: A002
        return await self._writer.run(partial(steps.forget, id_=id))

    async def detach(self, id: str) -> bool:  # noqa: A002
        return await self._writer.run(partial(marks.detach, id_=id))

    async def set_paused(self, paused: bool, at: int) -> None:
        await self._writer.run(partial(steps.set_paused, paused=paused, at=at))

    async def prune(self, before: int, max_bytes: int, limit: int = 200) -> int:
        ((kept,),) = await self._read(statements.FINISHED_BYTES)
        step = partial(steps.prune, before=before, excess=kept - max_bytes, limit=limit)
        gone = await self._writer.run(step, durable=False)
        while await self._writer.run_bare(steps.free_pages):
            pass
        return gone

    async def get(self, id: str) -> Job | None:  # noqa: A002
        rows = await self._read(statements.JOB, id)
        return steps.job_of(rows[0]) if rows else None

    async def payload(self, id: str) -> Payload | None:  # noqa: A002
        rows = await self._read(statements.PAYLOAD_OF_ID, id)
        return steps.payload_of(rows[0]) if rows else None

    async def answer(self, id: str) -> Answer | None:  # noqa: A002
        rows = await self._read(statements.ANSWER, id)
        if not rows:
            return None
        if len(rows[0][-1]) > SLOW:
            return await asyncio.to_thread(steps.answer_of, rows[0])
        return steps.answer_of(rows[0])

    async def attempts(self, id: str) -> Sequence[Attempt]:  # noqa: A002
        return [Attempt(*row) for row in await self._read(statements.ATTEMPTS, id=id)]

    async def list(self, filter: JobFilter, limit: int) -> Sequence[Job]:  # noqa: A002
        text, values = steps.search(filter, limit)
        return [steps.job_of(row) for row in await self._read(text, **values)]

    async def waiting(self, limit: int, now: int, lane: Lane = Lane.LOCAL) -> Sequence[Waiting]:
        rows = await self._read(statements.WAITING, limit=limit, now=now, lane=lane)
        if len(rows) > MANY:
            return await asyncio.to_thread(lambda: [Waiting(*row) for row in rows])
        return [Waiting(*row) for row in rows]

    async def ready_keys(self, limit: int, now: int) -> Sequence[str]:
        return [key for (key,) in await self._read(statements.READY_KEYS, limit=limit, now=now)]

    async def delayed(self, limit: int, now: int) -> Sequence[Job]:
        return [steps.job_of(row) for row in await self._read(statements.DELAYED, limit=limit, now=now)]

    async def by_seq(self, seqs: Sequence[int]) -> Mapping[int, Job]:
        rows = await self._read(statements.BY_SEQ, json.dumps(list(seqs)))
        return {job.seq: job for job in map(steps.job_of, rows)}

    async def repeatable(self) -> Sequence[tuple[Job, bytes]]:
        return [(steps.job_of(row[1:]), row[0]) for row in await self._read(statements.REPEATABLE)]

    async def paused(self) -> bool:
        return bool(await self._number(statements.PAUSED))

    async def samples(self) -> Sequence[Sample]:
        return [Sample(*row) for row in await self._read(statements.SAMPLES, KEPT_SAMPLES)]

    async def depth(self, lane: Lane = Lane.LOCAL) -> dict[tuple[str, str], int]:
        counts: Counter[tuple[str, str]] = Counter()
        for load_key, count in await self._read(statements.DEPTH, lane=lane):
            model = LoadKey.parse(load_key).model.removeprefix(MARK)  # as its jobs call it
            counts[model, load_key] += count
        return counts

    async def next_due(self) -> int | None:
        return await self._number(statements.NEXT_DUE)

    async def oldest_queued(self) -> int | None:
        return await self._number(statements.OLDEST_QUEUED)

    async def oldest_by_model(self) -> Mapping[tuple[Lane, str], int]:
        rows = await self._read(statements.OLDEST_BY_MODEL)
        return {(Lane(lane), model): at for lane, model, at in rows}

    async def usage(self) -> StoreUsage:
        """Raises StorageFailed when the file was removed or replaced: writes would go nowhere."""
        try:
            file = self._path.stat()
            log_bytes = self._path.with_name(self._path.name + "-wal").stat().st_size
        except OSError as error:
            raise StorageFailed(f"the database {self._path} is gone: {error.strerror}") from error
        if file.st_ino != self._inode:
            raise StorageFailed(f"the database {self._path} was replaced")
        return StoreUsage(file.st_size, log_bytes, sqlite3.sqlite_version)

    async def _number(self, sql: str) -> int | None:
        ((number,),) = await self._read(sql)
        return None if number is None else int(number)

    async def _read(self, sql: str, *values: Any, **named: Any) -> Sequence[steps.Row]:
        """All rows at once: a cursor kept open would keep the log from being cut."""
        try:
            return [tuple(row) for row in await self._reader.execute_fetchall(sql, named or values)]
        except (sqlite3.Error, ValueError) as error:  # aiosqlite: ValueError once it is closed
            raise StorageFailed(f"the database could not be read: {error}") from error
