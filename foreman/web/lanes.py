"""The two lanes as people and programs see them: what runs, how much waits, and why the next one does."""

from collections.abc import Callable, Sequence

from foreman.core.lanes import Heads, Lane, wait
from foreman.engine.engine import Engine
from foreman.engine.forecast import Outlook
from foreman.engine.live import Live
from foreman.web.reasons import REMOTE_FULL, REMOTE_PAUSED, held_up


def lanes_view(
    engine: Engine, order: Sequence[Outlook], shown: Callable[[Live], dict[str, object] | None]
) -> dict[str, dict[str, object]]:
    """`shown` turns a running job into JSON; None where there is nothing to show any more."""
    lanes = engine.jobs.lanes
    heads: dict[Lane, int] = {}
    for outlook in order:
        if not outlook.held:
            heads[outlook.lane] = min(outlook.seq, heads.get(outlook.lane, outlook.seq))
    held = {outlook.lane for outlook in order} - heads.keys()
    return {
        lane.value: {
            "slots": lanes.slots.of(lane),
            "running": [view for live in engine.jobs.in_lane(lane) if (view := shown(live)) is not None],
            "queued": lanes.of(lane).depth.total,
            "waits_for": _waits_for(engine, lane, heads, held=lane in held),
        }
        for lane in Lane
    }


def _waits_for(engine: Engine, lane: Lane, heads: Heads, *, held: bool) -> str | None:
    """Why the next job of the lane does not run; None where none is ready, or it is about to."""
    if lane not in heads and not held:
        return None
    elsewhere = lane is Lane.REMOTE and bool(engine.upstreams)
    if (word := held_up(engine)) is not None and (word == "paused" or not elsewhere):
        return word
    if lane in heads:
        lanes = engine.jobs.lanes
        return wait(lane, lanes.taken, heads, lanes.slots)
    if not elsewhere:
        return "held"
    if any(upstream.pause for upstream in engine.upstreams):
        return REMOTE_PAUSED
    return REMOTE_FULL if any(upstream.full for upstream in engine.upstreams) else word
