"""Why a queued job waits: one word for programs, and a sentence for people. The same wherever a job is shown.

What holds all jobs comes first, then what holds this one alone, then its place in the order of work.
"""

from dataclasses import dataclass

from foreman.core.gate import Hold
from foreman.core.job import LoadKey
from foreman.core.lanes import Lane, Wait
from foreman.core.slots import is_slot, label_of
from foreman.core.slowdown import Slowdown
from foreman.core.upstreams import needs_target
from foreman.engine.engine import Engine
from foreman.engine.forecast import Outlook
from foreman.engine.upstream import Upstream

REMOTE_PAUSED, REMOTE_FULL = "remote_paused", "remote_full"
# Beside those of the order and of the lanes.
WORDS = (REMOTE_PAUSED, REMOTE_FULL, "held", "delayed", "paused", "target_down")


@dataclass(frozen=True, slots=True)
class Why:
    """`text` is None where the word says it all."""

    word: str | None = None
    text: str | None = None
    hold: Hold | None = None
    slowdown: Slowdown | None = None


def why(
    engine: Engine, key: LoadKey, lane: Lane, override: str | None, outlook: Outlook | None, *, delayed: bool = False
) -> Why:
    """Why a queued job stands where it stands; `outlook` None where it has no place in the order."""
    if (word := held_up(engine, apart=not needs_target(str(key)))) is not None:
        return Why(word)
    hold = None if outlook is None else engine.gate.hold(key, override, lane)
    if hold is not None:
        return Why("held", hold.text, hold)
    upstream = engine.upstreams.of(key)
    if upstream is not None and (found := _of_upstream(upstream, delayed=outlook is None)) is not None:
        return found
    if outlook is not None:
        return Why(outlook.reason, _of_lane(engine, outlook.reason))
    return Why("delayed" if delayed else None)


def held_up(engine: Engine, *, apart: bool = False) -> str | None:
    """Why no job at all begins; None where jobs do. `apart`: of those that do without the target."""
    if engine.paused:
        return "paused"
    return "target_down" if engine.poller.reachable is False and not apart else None


def _of_upstream(upstream: Upstream, *, delayed: bool) -> Why | None:
    slowdown = upstream.slowdown
    if upstream.pause:
        return Why(REMOTE_PAUSED, None if slowdown is None else slowdown.text, slowdown=slowdown)
    if not upstream.full or delayed:
        return None
    text = f"{upstream.name} has {upstream.running} requests under way" if slowdown is None else slowdown.text
    return Why(REMOTE_FULL, text, slowdown=slowdown)


def _of_lane(engine: Engine, reason: str) -> str | None:
    """What runs in the lane that is waited for."""
    jobs = engine.jobs
    if reason == Wait.SLOT:
        lanes = jobs.lanes
        full = lanes.taken[Lane.REMOTE] >= lanes.slots.remote
        return f"all {lanes.slots.remote} slots of the lane are taken" if full else None
    if reason == Wait.LOCAL_LANE:
        running = next(iter(jobs.in_lane(Lane.LOCAL)), None)
        if running is None:
            return "older local jobs wait"
        name = label_of(running.model) if is_slot(running.model) else running.model
        return f"a local job runs ({name})"
    if reason == Wait.REMOTE_LANE:
        count = len(jobs.in_lane(Lane.REMOTE))
        return f"{count} remote job{'s run' if count > 1 else ' runs'}" if count else "older remote jobs wait"
    return None
