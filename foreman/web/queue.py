"""The queue as a whole: who waits in which order and why, and the switch that stops new work."""

from aiohttp import web

from foreman.core.access import Caller
from foreman.core.job import Job
from foreman.engine.clock import millis
from foreman.engine.engine import Engine
from foreman.engine.forecast import Outlook
from foreman.web.app_keys import ENGINE
from foreman.web.guard import CALLER
from foreman.web.jobs import answer_json, whole_number
from foreman.web.jobview import job_view
from foreman.web.lanes import lanes_view
from foreman.web.own import told

# Of each lane more than anybody reads; the depth by model in /health is always whole.
SHOWN = 1000


async def queue(request: web.Request) -> web.Response:
    """`limit`: of those that wait only the first. Raises BadRequest."""
    shown = whole_number(request.query.get("limit"), "limit", SHOWN, 1, SHOWN)
    return answer_json(await queue_view(request.app[ENGINE], request[CALLER], shown))


async def pause(request: web.Request) -> web.Response:
    engine = request.app[ENGINE]
    await engine.pause(True)
    return answer_json(await queue_view(engine, request[CALLER]))


async def resume(request: web.Request) -> web.Response:
    engine = request.app[ENGINE]
    await engine.pause(False)
    return answer_json(await queue_view(engine, request[CALLER]))


async def queue_view(engine: Engine, caller: Caller, most: int = SHOWN) -> dict[str, object]:
    """What runs, what waits in the order in which it will run, and what waits for its time, as the caller sees it."""

    def view(job: Job, outlook: Outlook | None = None) -> dict[str, object] | None:
        return told(job_view(job, engine, outlook), job.key_id, caller)

    order = await engine.forecast.order()
    shown = [outlook for outlook in order if outlook.position <= most]
    stored = await engine.store.by_seq([outlook.seq for outlook in shown])
    delayed = await engine.store.delayed(most, millis(engine.clock))
    running = engine.jobs.running
    claimed = await engine.store.by_seq([live.seq for live in running])
    views = {live.seq: view(claimed[live.seq]) for live in running if live.seq in claimed}
    return {
        "paused": engine.paused,
        "depth": engine.jobs.waiting,
        "running": next(filter(None, views.values()), None),
        "lanes": lanes_view(engine, order, lambda live: views.get(live.seq)),
        "waiting": [*filter(None, (view(stored[o.seq], o) for o in shown if o.seq in stored))],
        "delayed": [*filter(None, map(view, delayed))],
    }
