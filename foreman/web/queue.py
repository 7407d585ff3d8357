"""The queue as a whole: who waits in which order and why, and the switch that stops new work."""

from aiohttp import web

from foreman.engine.clock import millis
from foreman.engine.engine import Engine
from foreman.web.jobs import answer_json
from foreman.web.jobview import job_view
from foreman.web.keys import ENGINE

# More than anybody reads; the depth by model in /health is always whole.
SHOWN = 1000


async def queue(request: web.Request) -> web.Response:
    return answer_json(await queue_view(request.app[ENGINE]))


async def pause(request: web.Request) -> web.Response:
    engine = request.app[ENGINE]
    await engine.pause(True)
    return answer_json(await queue_view(engine))


async def resume(request: web.Request) -> web.Response:
    engine = request.app[ENGINE]
    await engine.pause(False)
    return answer_json(await queue_view(engine))


async def queue_view(engine: Engine) -> dict[str, object]:
    """What runs, what waits in the order in which it will run, and what waits for its time."""
    order = await engine.forecast.order()
    shown = order[:SHOWN]
    stored = await engine.store.by_seq([outlook.seq for outlook in shown])
    delayed = await engine.store.delayed(SHOWN, millis(engine.clock))
    running = [job for live in engine.jobs.running if (job := await engine.store.get(live.id)) is not None]
    return {
        "paused": engine.paused,
        "depth": engine.jobs.waiting,
        "running": job_view(running[0], engine) if running else None,
        "waiting": [job_view(stored[o.seq], engine, o) for o in shown if o.seq in stored],
        "delayed": [job_view(job, engine) for job in delayed],
    }
