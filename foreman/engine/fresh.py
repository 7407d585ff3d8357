"""The queued jobs that can be begun without asking the store: nobody has begun them, and their request is at hand.

The store chooses among all that is queued; here is chosen only where memory knows as much as the store does. A load key
under which something else is queued (a job of an earlier process, a delayed one, one that was handed back, one with a
long request) is left to the store.
"""

from collections import OrderedDict
from collections.abc import Iterable
from operator import itemgetter
from typing import Final

from foreman.core.job import NewJob
from foreman.engine.depth import Depth

# The longest request that is kept at hand, and what all of them may take together, in bytes.
LONGEST: Final = 64 * 1024
ALL: Final = 32 * 1024 * 1024


class Fresh:
    """Queued jobs by load key, each in the order of arrival."""

    def __init__(self) -> None:
        self._by_key: dict[str, OrderedDict[str, tuple[int, NewJob]]] = {}
        self._bytes = 0

    def add(self, seq: int, job: NewJob) -> None:
        """The store has the job under `seq`, and nothing more was done with it."""
        size = len(job.payload.body)
        if job.not_before or size > LONGEST or self._bytes + size > ALL:
            return
        queue = self._by_key.setdefault(str(job.load_key), OrderedDict())
        if queue and seq < next(reversed(queue.values()))[0]:
            return
        queue[job.id] = seq, job
        self._bytes += size

    def discard(self, job_id: str, key: str) -> None:
        """It is not to be begun from here any more."""
        queue = self._by_key.get(key)
        if queue is not None and (kept := queue.pop(job_id, None)) is not None:
            self._bytes -= len(kept[1].payload.body)
            if not queue:
                del self._by_key[key]

    def first(self, load_keys: Iterable[str], depth: Depth) -> NewJob | None:
        """The oldest job under these load keys; None where there is none, or where only the store can know."""
        oldest: tuple[int, NewJob] | None = None
        for key in load_keys:
            queue = self._by_key.get(key)
            if depth.of(key) != len(queue or ()):
                return None
            if queue:
                head = next(iter(queue.values()))
                oldest = head if oldest is None else min(oldest, head, key=itemgetter(0))
        return None if oldest is None else oldest[1]
