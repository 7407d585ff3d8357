"""Python's collector of cycles, kept from stopping the event loop.

A full collection looks at every object there is and stops everything for it: 10 ms for what the program itself is made
of, 20 ms more for each thousand clients that wait. Serving makes next to no cycles, so nearly all of that is for
nothing. Hence:
1. Nothing is collected during a start. What is there at its end stays to the last, and is never looked at again.
2. A full collection comes while nobody waits; by itself only when there is so much more than there was before that
   memory matters more than a pause.
3. Young objects are collected as always, which takes a millisecond or two.
It must not know what the jobs are.
"""

import asyncio
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from foreman.engine.clock import Clock
from foreman.engine.live import LiveJobs

# The middle collection comes after so many of the youngest, each of which comes when there are 700 objects more than
# before. With 10, as Python has it, it takes 10 ms while a crowd comes.
MIDDLE_AFTER: Final = 3
# A full one comes by itself after so many of the middle ones. Ten thousand waiting clients take two to three hundred of
# them. If all of these objects were garbage, and foreman never had a quiet moment, half a gigabyte could be lost until
# then.
FULL_AFTER: Final = 750
# How long nobody must have waited.
QUIET_SECONDS: Final = 5.0


@contextmanager
def resting() -> Iterator[None]:
    """Collect nothing in the block until `settle`; after it all is as it was before."""
    was_enabled, thresholds = gc.isenabled(), gc.get_threshold()
    gc.disable()
    try:
        yield
    finally:
        gc.unfreeze()
        gc.set_threshold(*thresholds)
        (gc.enable if was_enabled else gc.disable)()


def settle() -> None:
    """The start is over: collect from now on, but nothing of what is there already."""
    gc.freeze()
    young, _, _ = gc.get_threshold()
    gc.set_threshold(young, MIDDLE_AFTER, FULL_AFTER)
    gc.enable()


async def tidy(jobs: LiveJobs, clock: Clock) -> None:
    """Collect all of it in quiet moments, where anything has grown old since the last time. Never ends."""
    never = asyncio.Event()
    while True:
        before = jobs.endings
        await clock.wait(never, QUIET_SECONDS)
        if not jobs and jobs.endings == before and gc.get_count()[2]:
            gc.collect()
