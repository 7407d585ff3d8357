"""The queue as a whole: who waits in which order and why, and the switch that stops new work."""

from aiohttp import web

from foreman.engine.clock import millis
from foreman.engine.engine import Engine
from foreman.web.app_keys import ENGINE
from foreman.web.jobs import answer_json, whole_number
from foreman.web.jobview import job_view
from foreman.web.lanes import lanes_view

# Of each lane more than anybody reads; the depth by model in /health is always whole.
SHOWN = 1000


async def queue(request: web.Request) -> web.Response:
    """`limit`: of those that wait only the first. Raises BadRequest."""
    shown = whole_number(request.query.get("limit"), "limit", SHOWN, 1, SHOWN)
    return answer_json(await queue_view(request.app[ENGINE], shown))


async def pause(request: web.Request) -> web.Response:
    engine = request.app[ENGINE]
    await engine.pause(True)
    return answer_json(await queue_view(engine))


async def resume(request: web.Request) -> web.Response:
    engine = request.app[ENGINE]
    await engine.pause(False)
    return answer_json(await queue_view(engine))


async def queue_view(engine: Engine, most: int = SHOWN) -> dict[str, object]:
    """What runs, what waits in the order in which it will run, and what waits for its time."""
    order = await engine.forecast.order()
    shown = [outlook for outlook in order if outlook.position <= most]
    stored = await engine.store.by_seq([outlook.seq for outlook in shown])
    delayed = await engine.store.delayed(most, millis(engine.clock))
    running = engine.jobs.running
    claimed = await engine.store.by_seq([live.seq for live in running])
    views = {live.seq: job_view(claimed[live.seq], engine) for live in running if live.seq in claimed}
    return {
        "paused": engine.paused,
        "depth": engine.jobs.waiting,
        "running": next(iter(views.values()), None),
        "lanes": lanes_view(engine, order, lambda live: views.get(live.seq)),
        "waiting": [job_view(stored[o.seq], engine, o) for o in shown if o.seq in stored],
        "delayed": [job_view(job, engine) for job in delayed],
    }
