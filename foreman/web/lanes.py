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
        if not outlook.held and held_up(engine, apart=outlook.apart) != "target_down":
            heads[outlook.lane] = min(outlook.seq, heads.get(outlook.lane, outlook.seq))
    stuck = {outlook.lane for outlook in order} - heads.keys()
    return {
        lane.value: {
            "slots": lanes.slots.of(lane),
            "running": [view for live in engine.jobs.in_lane(lane) if (view := shown(live)) is not None],
            "queued": lanes.of(lane).depth.total,
            "waits_for": _waits_for(engine, lane, heads, stuck=lane in stuck),
        }
        for lane in Lane
    }


def _waits_for(engine: Engine, lane: Lane, heads: Heads, *, stuck: bool) -> str | None:
    """Why the next job of the lane does not run; None where none is ready, or it is about to."""
    word = held_up(engine, apart=lane in heads)
    if lane in heads:
        lanes = engine.jobs.lanes
        return word or wait(lane, lanes.taken, heads, lanes.slots)
    if not stuck:
        return None
    if lane is Lane.REMOTE and word != "paused":
        if any(upstream.pause for upstream in engine.upstreams):
            return REMOTE_PAUSED
        if any(upstream.full for upstream in engine.upstreams):
            return REMOTE_FULL
    return word or "held"
