"""The queue as a whole: who waits in which order and why, and the switch that stops new work."""

from aiohttp import web

from foreman.core.access import Caller
from foreman.engine.clock import millis
from foreman.engine.engine import Engine
from foreman.web.app_keys import ENGINE
from foreman.web.guard import CALLER
from foreman.web.jobs import answer_json
from foreman.web.jobview import job_view
from foreman.web.lanes import lanes_view

# Of each lane more than anybody reads; the depth by model in /health is always whole.
SHOWN = 1000


async def queue(request: web.Request) -> web.Response:
    return answer_json(await queue_view(request.app[ENGINE], request[CALLER]))


async def pause(request: web.Request) -> web.Response:
    engine = request.app[ENGINE]
    await engine.pause(True)
    return answer_json(await queue_view(engine, request[CALLER]))


async def resume(request: web.Request) -> web.Response:
    engine = request.app[ENGINE]
    await engine.pause(False)
    return answer_json(await queue_view(engine, request[CALLER]))


async def queue_view(engine: Engine, caller: Caller) -> dict[str, object]:
    """What runs, what waits in the order in which it will run, and what waits for its time.

    Of the jobs of other keys only the counts and places are told.
    """
    order = await engine.forecast.order()
    shown = [outlook for outlook in order if outlook.position <= SHOWN]
    stored = await engine.store.by_seq([outlook.seq for outlook in shown])
    delayed = await engine.store.delayed(SHOWN, millis(engine.clock))
    seen = [live for live in engine.jobs.running if caller.sees(live.key_id)]
    claimed = await engine.store.by_seq([live.seq for live in seen])
    views = {live.seq: job_view(claimed[live.seq], engine) for live in seen if live.seq in claimed}
    return {
        "paused": engine.paused,
        "depth": engine.jobs.waiting,
        "running": next(iter(views.values()), None),
        "lanes": lanes_view(engine, order, lambda live: views.get(live.seq)),
        "waiting": [
            job_view(stored[o.seq], engine, o) for o in shown if o.seq in stored and caller.sees(stored[o.seq].key_id)
        ],
        "delayed": [job_view(job, engine) for job in delayed if caller.sees(job.key_id)],
    }
