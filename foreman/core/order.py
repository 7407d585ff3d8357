"""The order in which the queued jobs of a lane will run, and why each stands where it stands.

The claim in the store picks one job by indexes; this says the whole order ahead, for people who wait. Both follow the
same rule: (1) the load key that is loaded, (2) the model that is loaded, (3) the oldest; each in order of arrival.
Where the lanes take turns, a job of the other lane goes before all that are younger than it: the queue falls into
parts, and the rule holds in each.
"""

from bisect import bisect
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby
from typing import Final

from foreman.core.job import Hot
from foreman.core.slots import is_slot
from foreman.core.upkeep import work_of


class Reason(StrEnum):
    """What has to happen before a job can run, counted from the one before it."""

    LOADED = "loaded"  # its model is there, with its options
    RELOAD = "reload"  # its model is there, with other options
    SWAP = "swap"  # another model is there
    PULL = "pull"  # it needs no model: it fetches one, when none of the others is left
    CREATE = "create"  # the same, but it makes one
    COMMAND = "command"  # it needs no model, and comes when none of the others is left


# After these another model is loaded, or the same one otherwise.
LOADING: Final = frozenset({Reason.RELOAD, Reason.SWAP})


@dataclass(frozen=True, slots=True)
class Waiting:
    """A queued job as far as the order is concerned; `seq` is the order of arrival."""

    seq: int
    model: str
    load_key: str


@dataclass(frozen=True, slots=True)
class Place:
    """The place of a job in the order of work, the first being 1, and how many turns of the other lane come before."""

    position: int
    waiting: Waiting
    reason: Reason
    turns: int = 0


def parts(queued: Iterable[Waiting], others: Sequence[int]) -> Iterator[tuple[int, Iterator[Waiting]]]:
    """The queue of a lane as it runs between the turns of the other, and how many turns come before each part.

    `others` are the `seq`s that are queued in the other lane, in order.
    """
    turns = 0
    for older, part in groupby(queued, key=lambda waiting: bisect(others, waiting.seq)):
        turns += older > 0
        yield turns, part


def drain_order(queued: Iterable[Waiting], hot: Hot, others: Sequence[int] = ()) -> Iterator[Place]:
    """Every queued job in the order in which it will run, if none arrives; `queued` in order of arrival.

    `others` as in `parts`, where the lanes take turns.
    """
    position = 0
    for turns, part in parts(queued, others):
        for chosen, reason in _drained(part, hot):
            position += 1
            yield Place(position, chosen, reason, turns)
            hot = _after(hot, chosen, reason)


def _drained(queued: Iterable[Waiting], hot: Hot) -> Iterator[tuple[Waiting, Reason]]:
    by_key: dict[str, deque[Waiting]] = {}
    by_model: dict[str, deque[Waiting]] = {}
    everyone: deque[Waiting] = deque()
    for waiting in queued:
        by_key.setdefault(waiting.load_key, deque()).append(waiting)
        by_model.setdefault(waiting.model, deque()).append(waiting)
        everyone.append(waiting)
    taken: set[int] = set()

    def first(queues: Iterable[deque[Waiting] | None]) -> Waiting | None:
        heads = [head for queue in queues if queue is not None and (head := _head(queue, taken)) is not None]
        return min(heads, key=lambda waiting: waiting.seq, default=None)

    for _ in range(len(everyone)):
        reason = Reason.LOADED
        chosen = first(map(by_key.get, hot.load_keys))  # (1)
        if chosen is None:
            reason, chosen = Reason.RELOAD, first(map(by_model.get, hot.models))  # (2)
        if chosen is None:
            reason, chosen = Reason.SWAP, first([everyone])  # (3)
        if chosen is None:
            return
        if is_slot(chosen.model):
            reason = Reason.COMMAND
        taken.add(chosen.seq)
        work = work_of(chosen.model)
        if work is not None:
            reason = Reason(work)
        hot = _after(hot, chosen, reason)
        yield chosen, reason


def _after(hot: Hot, chosen: Waiting, reason: Reason) -> Hot:
    """What is loaded when it has run."""
    return Hot((chosen.load_key,), (chosen.model,)) if reason in LOADING else hot


def _head(queue: deque[Waiting], taken: set[int]) -> Waiting | None:
    while queue and queue[0].seq in taken:
        queue.popleft()
    return queue[0] if queue else None
