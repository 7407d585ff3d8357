"""Which process runs where: the subjects on the last core, the target and the client on the others.

So no subject is slowed down by the load it is put under. Linux only; elsewhere, and on one core, the system decides.
"""

import os
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import cache


def available_cores() -> list[int]:
    """The cores this process may use; none where that cannot be told."""
    return sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else []


@cache
def shared_out() -> tuple[list[int], list[int]]:
    """The cores of the target and the client, and those of the subjects.

    Told once: who is kept on the one half by then would share that out again.
    """
    cores = available_cores()
    return cores[:-1] or cores, cores[-1:]


@contextmanager
def pinned(cores: Collection[int]) -> Iterator[None]:
    """Keep this process, and what it starts meanwhile, on these cores."""
    if sys.platform != "linux" or not cores:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
