"""A job as the worker begins it: what it owns, and whether that is on disk yet.

The request may go to the target while the claim is still being written; no byte of the answer is released before it is
there. So a target that thinks for a moment hides what the disk costs, and nothing leaves that a crash could undo.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from foreman.core.job import Claim, Job, JobState, NewJob
from foreman.engine.exchange import Exchange
from foreman.engine.live import Live


@dataclass(slots=True, eq=False)
class Start:
    """`written` tells whether the store has the claim; None where it was there from the beginning.

    `exchange` is the request where it was sent ahead; who takes it up, ends it.
    """

    live: Live
    claim: Claim
    written: asyncio.Future[bool] | None = None
    exchange: Exchange | None = None

    async def on_disk(self) -> bool:
        """Wait for the claim to be on disk. False: it never will be, and the job is not the worker's to run."""
        if self.written is None:
            return True
        return self.written.result() if self.written.done() else await asyncio.shield(self.written)

    def unless_on_disk(self, stop: Callable[[], object]) -> None:
        """Have `stop` called as soon as it is known that the claim will never be on disk."""

        def known(written: asyncio.Future[bool]) -> None:
            if written.cancelled() or written.exception() is not None or not written.result():
                stop()

        if self.written is not None:
            self.written.add_done_callback(known)


def begun(new: NewJob, seq: int, now: int) -> Claim:
    """What the first claim of a job makes of it; `seq` is 0 while the store has not told it."""
    job = Job(
        seq=seq,
        id=new.id,
        state=JobState.LOADING,
        lane=new.lane,
        model=new.model,
        load_key=new.load_key,
        path=new.payload.path,
        mode=new.mode,
        client=new.client,
        attempts=1,
        max_attempts=new.max_attempts,
        not_before=0,
        cancel_requested=False,
        created_at=new.created_at,
        claimed_at=now,
        retry_of=new.retry_of,
        idem_key=new.idem_key,
        override=new.override,
    )
    return Claim(job, new.payload)
